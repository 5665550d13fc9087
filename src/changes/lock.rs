//! The emergency lock: while it is there, nothing changes what decides.
//!
//! It is a file in the data directory, so that it holds across a restart and can be set when the gateway hangs. It names
//! the version that was live: a gateway that starts under the lock decides by that version or does not start. Whoever can
//! write to the data directory could take it away, and owns the gateway anyway.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::file;
use crate::model::PolicyVersion;

/// The name of the file in the data directory.
const NAME: &str = "change.lock";

/// What the lock says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Engaged {
    /// Why.
    pub reason: String,
    /// Who.
    pub author: String,
    /// Since when, in milliseconds since the Unix epoch.
    pub time_millis: i64,
    /// The version that was live, which goes on deciding.
    pub version: PolicyVersion,
}

/// The place of the lock.
#[derive(Debug, Clone)]
pub struct ChangeLock {
    path: PathBuf,
}

impl ChangeLock {
    /// The lock of this data directory.
    pub fn in_directory(data_dir: &Path) -> Self {
        Self { path: data_dir.join(NAME) }
    }

    /// What the lock says; `None` when there is none. One that cannot be read holds all the same: that is the caller's to
    /// conclude from the error.
    pub fn engaged(&self) -> std::io::Result<Option<Engaged>> {
        file::read(&self.path)
    }

    /// Engages it. One that is engaged stays as it is.
    pub fn engage(&self, engaged: &Engaged) -> std::io::Result<()> {
        match self.path.exists() {
            true => Err(std::io::ErrorKind::AlreadyExists.into()),
            false => file::write(&self.path, engaged),
        }
    }

    /// Takes it away.
    pub fn release(&self) -> std::io::Result<()> {
        std::fs::remove_file(&self.path)
    }

    /// Where it is, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }
}
