//! The embedded [`FollowerCursors`]: one small file for each follower, in a folder beside the log.
//!
//! `audit.log.followers/NAME` holds `caxton-cursor 1 SEQ`. It is written under another name, synced, and renamed, so that it is
//! whole or as it was before, also after a power cut.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::regular;
use crate::shared_state::{FollowerCursors, FollowerName, Unavailable};

const PORT: &str = "cursors of followers";
const HEADER: &str = "caxton-cursor 1 ";
/// No cursor is longer.
const MOST_BYTES: u64 = 64;

/// Cursors as files.
#[derive(Debug, Clone)]
pub struct FileCursors {
    folder: PathBuf,
}

/// The folder of the cursors, and of the dead letters, of this log.
pub fn follower_folder(log: &Path) -> PathBuf {
    let mut name = log.as_os_str().to_owned();
    name.push(".followers");
    PathBuf::from(name)
}

impl FileCursors {
    /// The cursors of the followers of this log. Opens nothing yet.
    pub fn beside(log: &Path) -> Self {
        Self { folder: follower_folder(log) }
    }

    fn path(&self, name: &FollowerName) -> PathBuf {
        self.folder.join(name.as_str())
    }

    fn write(&self, name: &FollowerName, seq: u64) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        // A name of a follower has no dot, so this is no other follower's file.
        let fresh = self.folder.join(format!("{name}.new"));
        // With a link, anyone who may write the folder could choose what is overwritten.
        match fs::remove_file(&fresh) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
        writeln!(file, "{HEADER}{seq}")?;
        file.sync_all()?;
        fs::rename(&fresh, self.path(name))?;
        File::open(&self.folder)?.sync_all()
    }
}

impl FollowerCursors for FileCursors {
    fn load(&self, name: &FollowerName) -> Result<Option<u64>, Unavailable> {
        let path = self.path(name);
        let bytes = match regular::read(&path, MOST_BYTES) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                return Err(Unavailable::new(
                    PORT,
                    format!("`{}` could not be read: {error}", path.display()),
                ));
            }
        };
        let text = str::from_utf8(&bytes).unwrap_or_default();
        let seq = text
            .strip_prefix(HEADER)
            .and_then(|rest| rest.strip_suffix('\n'))
            .and_then(|seq| seq.parse().ok());
        seq.map(Some).ok_or_else(|| {
            let advice =
                "write the number of the last record that the receiver has, or remove the file to begin anew";
            Unavailable::new(PORT, format!("`{}` is not `{HEADER}SEQ`: {advice}", path.display()))
        })
    }

    fn store(&self, name: &FollowerName, seq: u64) -> Result<(), Unavailable> {
        self.write(name, seq).map_err(|error| {
            Unavailable::new(PORT, format!("`{}` could not be written: {error}", self.path(name).display()))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::shared_state::contract;

    #[tokio::test(flavor = "multi_thread")]
    async fn files_keep_the_contract() {
        let folder = tempfile::tempdir().unwrap();
        contract::followers::check(|| FileCursors::beside(&folder.path().join("audit.log"))).await;
    }

    #[test]
    fn a_damaged_cursor_is_an_error_that_names_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("audit.log");
        let cursors = FileCursors::beside(&log);
        let name: FollowerName = "splunk".parse().unwrap();
        cursors.store(&name, 3).unwrap();
        let path = follower_folder(&log).join("splunk");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_to_string(&path).unwrap(), "caxton-cursor 1 3\n");
        for damaged in [
            "",
            "3\n",
            "caxton-cursor 1 \n",
            "caxton-cursor 1 3",
            "caxton-cursor 1 -3\n",
            "caxton-cursor 2 3\n",
        ] {
            fs::write(&path, damaged).unwrap();
            let error = cursors.load(&name).unwrap_err().to_string();
            assert!(error.contains("audit.log.followers/splunk"), "{error}");
        }
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(cursors.load(&name).is_err());
        assert!(cursors.store(&name, 4).is_err());
    }

    #[test]
    fn a_link_in_the_folder_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("audit.log");
        let cursors = FileCursors::beside(&log);
        fs::create_dir(follower_folder(&log)).unwrap();
        let other = folder.path().join("other");
        fs::write(&other, "keep").unwrap();
        std::os::unix::fs::symlink(&other, follower_folder(&log).join("splunk.new")).unwrap();
        cursors.store(&"splunk".parse().unwrap(), 5).unwrap();
        assert_eq!(fs::read_to_string(&other).unwrap(), "keep");
    }
}
