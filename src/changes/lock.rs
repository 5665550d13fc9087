//! The emergency lock: while it is there, nothing changes what decides.
//!
//! It is a file in the data directory, so that it holds across a restart and can be set when the gateway hangs. It names
//! the version that was live: a gateway that starts under the lock decides by that version or does not start. A user who
//! can write to the data directory can remove the lock, and controls the gateway in any case.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::file;
use crate::model::PolicyVersion;

/// The name of the file in the data directory.
const NAME: &str = "change.lock";

/// The content of an engaged lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EngagedLock {
    /// The reason that the operator gave.
    pub reason: String,
    /// The operator who engaged it.
    pub author: String,
    /// When it was engaged, in milliseconds since the Unix epoch.
    pub time_millis: i64,
    /// The version that was live, which goes on deciding.
    pub version: PolicyVersion,
}

/// The emergency lock of a data directory.
#[derive(Debug, Clone)]
pub struct ChangeLock {
    path: PathBuf,
}

impl ChangeLock {
    /// The lock of this data directory.
    pub fn in_directory(data_dir: &Path) -> Self {
        Self { path: data_dir.join(NAME) }
    }

    /// The engaged lock; `None` when there is none. A lock that cannot be read counts as engaged: callers treat the error
    /// as one.
    pub fn engaged(&self) -> std::io::Result<Option<EngagedLock>> {
        file::read(&self.path)
    }

    /// Engages the lock; `AlreadyExists` when it is engaged.
    pub fn engage(&self, engaged: &EngagedLock) -> std::io::Result<()> {
        match self.path.exists() {
            true => Err(std::io::ErrorKind::AlreadyExists.into()),
            false => file::write(&self.path, engaged),
        }
    }

    /// Releases the lock.
    pub fn release(&self) -> std::io::Result<()> {
        std::fs::remove_file(&self.path)
    }

    /// The path of the lock file, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }
}
