//! The log file: append whole batches or nothing, and notice when another process changes it.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::AuditError;

/// Why the file did not take a batch.
#[derive(Debug, thiserror::Error)]
pub enum FileFault {
    /// The path leads to another file than the one that is open, or to none.
    #[error("the decision log was removed or replaced while the gateway runs")]
    Replaced,
    /// Another process wrote to it or cut it.
    #[error("the decision log has {found} bytes where the gateway left {expected}")]
    Changed {
        /// Bytes that the gateway wrote.
        expected: u64,
        /// Bytes there are.
        found: u64,
    },
    /// The system refused.
    #[error("the decision log could not be written")]
    Io(#[from] io::Error),
}

impl FileFault {
    pub(super) fn help(&self) -> Option<&'static str> {
        match self {
            Self::Replaced => {
                Some("put the file back, or restart the gateway; do not rotate the log from outside")
            }
            Self::Changed { .. } => {
                Some("find out who else writes to the log, and run `caxton audit verify`")
            }
            Self::Io(error) if error.kind() == io::ErrorKind::StorageFull => Some("make room on the disk"),
            Self::Io(_) => None,
        }
    }
}

/// The open log.
#[derive(Debug)]
pub(super) struct LogFile {
    file: File,
    path: PathBuf,
    identity: (u64, u64),
    /// INVARIANT: everything before this offset is whole lines that were acknowledged or may be.
    length: u64,
    /// Whether bytes of a failed batch may stand after `length`.
    torn: bool,
}

impl LogFile {
    /// Opens and locks the log, making it (0600) and its directory (0700) when they are not there.
    pub(super) fn open(path: &Path) -> Result<Self, AuditError> {
        let fault = |source| AuditError::File { path: path.to_owned(), source };
        // With a link, anyone who may write the directory could choose where the records go.
        if fs::symlink_metadata(path).is_ok_and(|found| !found.is_file()) {
            return Err(AuditError::NotAFile { path: path.to_owned() });
        }
        let directory =
            path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(fault)?;
        let file =
            OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path).map_err(fault)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(AuditError::Locked { path: path.to_owned() }),
            Err(TryLockError::Error(source)) => return Err(fault(source)),
        }
        file.set_permissions(Permissions::from_mode(0o600)).map_err(fault)?;
        // A new name must survive a power cut as well as its content.
        File::open(directory).and_then(|directory| directory.sync_all()).map_err(fault)?;
        let found = file.metadata().map_err(fault)?;
        let identity = (found.dev(), found.ino());
        Ok(Self { file, path: path.to_owned(), identity, length: found.len(), torn: false })
    }

    /// The offset of the next line, in bytes.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// The file, for reading at an offset.
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Cuts everything after `length`, for good.
    pub(super) fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.file.set_len(length)?;
        self.file.sync_all()?;
        self.length = length;
        Ok(())
    }

    /// Appends all of `bytes`, or leaves the file as it was.
    pub(super) fn append(&mut self, bytes: &[u8]) -> Result<(), FileFault> {
        self.ready()?;
        if let Err(error) = (&self.file).write_all(bytes) {
            self.torn = true;
            self.roll_back();
            return Err(error.into());
        }
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// Takes back the last `bytes` bytes, of which no receipt was given.
    pub(super) fn withdraw(&mut self, bytes: usize) {
        self.length = self.length.saturating_sub(bytes as u64);
        self.torn = true;
        self.roll_back();
    }

    /// Proves that the path still leads to this file and that it ends where the last append left it.
    pub(super) fn ready(&mut self) -> Result<(), FileFault> {
        let found = fs::symlink_metadata(&self.path).map_err(|_| FileFault::Replaced)?;
        if (found.dev(), found.ino()) != self.identity {
            return Err(FileFault::Replaced);
        }
        if self.torn {
            self.file.set_len(self.length)?;
            self.torn = false;
        } else if found.len() != self.length {
            return Err(FileFault::Changed { expected: self.length, found: found.len() });
        }
        Ok(())
    }

    /// Writes what the kernel has to the disk.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// A second handle for the thread that syncs.
    pub(super) fn second_handle(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    /// Whether a small file beside the log can be written, which is as near as one can come to knowing that the
    /// log itself can grow without growing it.
    pub(super) fn probe(&mut self) -> Result<(), FileFault> {
        self.ready()?;
        let beside = beside(&self.path, "probe");
        let written = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&beside)
            .and_then(|mut file| file.write_all(&[b' '; 4096]).and_then(|()| file.sync_data()));
        // One that stays behind is overwritten by the next probe.
        let _ = fs::remove_file(&beside);
        self.sync()?;
        Ok(written?)
    }

    fn roll_back(&mut self) {
        // When this fails too, `torn` stays set and the next append cuts before it writes.
        if self.file.set_len(self.length).is_ok() {
            self.torn = false;
        }
    }
}

/// `<path>.<suffix>`.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    PathBuf::from(name)
}
