//! The emergency lock of one data directory: while it is there, nothing changes what decides.
//!
//! It is a file, so that it holds across a restart and can be set when the gateway hangs. It names
//! the version that was live: a gateway that starts under the lock decides by that version or does not start. A user who
//! can write to the data directory can remove the lock, and controls the gateway in any case.

use std::io;
use std::path::{Path, PathBuf};

use super::file;
use crate::shared_state::{EmergencyLock, EngageError, EngagedLock, Unavailable};

/// The name of the file in the data directory.
const NAME: &str = "change.lock";

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

    fn unavailable(&self, error: &io::Error) -> Unavailable {
        Unavailable::new("emergency lock", format_args!("`{}`: {error}", self.path.display()))
    }
}

impl EmergencyLock for ChangeLock {
    fn engaged(&self) -> Result<Option<EngagedLock>, Unavailable> {
        file::read(&self.path).map_err(|error| self.unavailable(&error))
    }

    fn engage(&self, engaged: &EngagedLock) -> Result<(), EngageError> {
        match file::create(&self.path, engaged) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(EngageError::Engaged),
            Err(error) => Err(self.unavailable(&error).into()),
        }
    }

    fn release(&self) -> Result<bool, Unavailable> {
        match std::fs::remove_file(&self.path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(self.unavailable(&error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shared_state::contract;

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn the_lock_of_a_data_directory_keeps_the_contract() {
        let directory = tempfile::tempdir().unwrap();
        contract::emergency_lock::check(|| ChangeLock::in_directory(directory.path())).await;
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0, "nothing is left beside it");
    }

    #[test]
    fn a_lock_that_cannot_be_read_is_not_taken_for_none() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join(NAME), "{").unwrap();
        let lock = ChangeLock::in_directory(directory.path());
        assert!(lock.engaged().is_err());
    }
}
