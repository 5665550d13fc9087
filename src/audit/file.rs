//! The log file: append whole batches or nothing, and notice when another process changes it.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, CWD};
use rustix::io::Errno;

use super::AuditError;
use super::note::sync_folder;
use super::segments::{Segment, segment_folder};
use super::settings::Durability;

/// Why the file did not take a batch.
#[derive(Debug, thiserror::Error)]
pub enum FileFault {
    /// The path leads to a file that the gateway cannot go on with.
    #[error("the decision log was replaced while the gateway runs, by {0}")]
    Replaced(&'static str),
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
            Self::Replaced(_) => Some("remove what stands there now; the gateway makes a new file by itself"),
            Self::Changed { .. } => {
                Some("find out who else writes to the log, and run `caxton audit verify`")
            }
            Self::Io(error) if error.kind() == io::ErrorKind::StorageFull => Some("make room on the disk"),
            Self::Io(_) => None,
        }
    }
}

/// What stands at the path of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// The file that is open, as the last append left it.
    Same,
    /// Nothing, or an empty file of this user that is not the open one: the log was moved or removed.
    Moved,
    /// The file that is open, emptied.
    Cut,
    /// The file that is open, emptied before the last append.
    CutBeforeLast,
}

/// The open log.
#[derive(Debug)]
pub(super) struct LogFile {
    file: File,
    path: PathBuf,
    identity: (u64, u64),
    /// INVARIANT: everything before this offset is whole lines that were acknowledged or may be.
    length: u64,
    /// Bytes of the last append.
    last_append: u64,
    /// Whether bytes of a failed batch may stand after `length`.
    torn: bool,
    /// The folder of the closed segments. It is locked as long as it is open: one gateway writes a log.
    folder_lock: Arc<File>,
}

impl LogFile {
    /// Locks the folder of the closed segments (0700) and opens the log (0600); makes both when they are not there.
    pub(super) fn open(path: &Path) -> Result<Self, AuditError> {
        let fault = |source| AuditError::File { path: path.to_owned(), source };
        // With a link, anyone who may write the directory could choose where the records go.
        if fs::symlink_metadata(path).is_ok_and(|found| !found.is_file()) {
            return Err(AuditError::NotAFile { path: path.to_owned() });
        }
        let segments = segment_folder(path);
        DirBuilder::new().recursive(true).mode(0o700).create(&segments).map_err(fault)?;
        let folder = File::open(&segments).map_err(fault)?;
        match folder.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(AuditError::Locked { path: path.to_owned() }),
            Err(TryLockError::Error(source)) => return Err(fault(source)),
        }
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW)
            .open(path)
            .map_err(fault)?;
        let own = Self::new(file, path, Arc::new(folder)).map_err(fault)?;
        // A new name must survive a power cut as well as its content.
        sync_folder(path).map_err(fault)?;
        Ok(own)
    }

    fn new(file: File, path: &Path, folder: Arc<File>) -> io::Result<Self> {
        file.set_permissions(Permissions::from_mode(0o600))?;
        let found = file.metadata()?;
        let identity = (found.dev(), found.ino());
        Ok(Self {
            file,
            path: path.to_owned(),
            identity,
            length: found.len(),
            last_append: 0,
            torn: false,
            folder_lock: folder,
        })
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

    /// Appends all of `bytes`, or leaves the file as it was. Only when it stands where it stood: [`LogFile::standing`].
    pub(super) fn append(&mut self, bytes: &[u8]) -> Result<(), FileFault> {
        if let Err(error) = (&self.file).write_all(bytes) {
            self.torn = true;
            self.roll_back();
            return Err(error.into());
        }
        self.last_append = bytes.len() as u64;
        self.length += self.last_append;
        Ok(())
    }

    /// Takes back the last `bytes` bytes, of which no receipt was given.
    pub(super) fn withdraw(&mut self, bytes: usize) {
        self.length = self.length.saturating_sub(bytes as u64);
        self.last_append = 0;
        self.torn = true;
        self.roll_back();
    }

    /// What stands at the path; takes back what a failed batch left.
    pub(super) fn standing(&mut self) -> Result<Standing, FileFault> {
        let found = match fs::symlink_metadata(&self.path) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Standing::Moved),
            Err(error) => return Err(error.into()),
        };
        if (found.dev(), found.ino()) != self.identity {
            return match self.why_not_mine(&found)? {
                None => Ok(Standing::Moved),
                Some(why) => Err(FileFault::Replaced(why)),
            };
        }
        if self.torn {
            self.file.set_len(self.length)?;
            self.torn = false;
        } else if found.len() == 0 && self.length > 0 {
            return Ok(Standing::Cut);
        } else if found.len() < self.length && found.len() == self.last_append {
            // It was emptied between the last look and the append.
            return Ok(Standing::CutBeforeLast);
        } else if found.len() != self.length {
            return Err(FileFault::Changed { expected: self.length, found: found.len() });
        }
        Ok(Standing::Same)
    }

    /// Why the gateway must not go on in this other file.
    fn why_not_mine(&self, found: &fs::Metadata) -> io::Result<Option<&'static str>> {
        Ok(if !found.is_file() {
            Some("something that is not a regular file")
        } else if found.len() > 0 {
            Some("a file that is not empty")
        } else if found.uid() != self.file.metadata()?.uid() || found.nlink() != 1 {
            Some("a file of another user, or one with a second name")
        } else {
            None
        })
    }

    /// After [`Standing::Cut`] and [`Standing::CutBeforeLast`]: the file begins anew, or with the last append.
    pub(super) fn accept_cut(&mut self, standing: Standing) {
        self.length = if standing == Standing::CutBeforeLast { self.last_append } else { 0 };
    }

    /// Moves the file to its place among the closed segments and goes on in a new one; the file it was before.
    ///
    /// When the new one cannot be made, this stays the open file, and the next look finds it moved.
    pub(super) fn rotate(&mut self, to: &Segment, durability: Durability) -> Result<File, FileFault> {
        fs::rename(&self.path, &to.path)?;
        self.go_on(durability)
    }

    /// After [`Standing::Moved`]: gives the file that was moved a name among the closed segments too, so that its records
    /// stay, and goes on in a new one. `false` when that file has no name any more: it was removed, or moved to another file system,
    /// and has to be copied from the handle.
    pub(super) fn replace(
        &mut self,
        to: &Segment,
        durability: Durability,
    ) -> Result<(File, bool), FileFault> {
        let open = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        let linked = rustix::fs::linkat(CWD, open, CWD, &to.path, AtFlags::SYMLINK_FOLLOW);
        let is_kept = match linked {
            Ok(()) => true,
            Err(Errno::EXIST) => is_file(&to.path, self.identity),
            Err(_) => false,
        };
        Ok((self.go_on(durability)?, is_kept))
    }

    fn go_on(&mut self, durability: Durability) -> Result<File, FileFault> {
        let create = |new: bool| {
            let mut options = OpenOptions::new();
            options.read(true).append(true).create_new(new).mode(0o600).custom_flags(libc::O_NOFOLLOW);
            options.open(&self.path)
        };
        let file = match create(true) {
            // An empty one of this user stands there already.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => create(false)?,
            made => made?,
        };
        if let Some(why) = self.why_not_mine(&file.metadata()?)? {
            return Err(FileFault::Replaced(why));
        }
        let next = Self::new(file, &self.path, Arc::clone(&self.folder_lock))?;
        if durability == Durability::Synced {
            sync_folder(&self.path)?;
            sync_folder(&segment_folder(&self.path).join("any"))?;
        }
        Ok(std::mem::replace(self, next).file)
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
    pub(super) fn probe(&self) -> Result<(), FileFault> {
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

fn is_file(path: &Path, identity: (u64, u64)) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| (found.dev(), found.ino()) == identity)
}

/// `<path>.<suffix>`.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    PathBuf::from(name)
}
