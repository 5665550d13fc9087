//! Opens files that are named by the configuration or lie in a directory that it names.
//!
//! A user who may write such a directory could put a FIFO there: opening one waits until it has a writer, and a reload that
//! waits holds up every one after it. A device can do as it likes. So nothing but a regular file is opened, without
//! waiting, and what was opened is looked at, not what the name meant a moment before.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::Path;

/// Opens a regular file, by way of links as well. Closed in programs that are started, as all files are.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    // A FIFO opens at once, and a terminal does not become that of this process.
    let opened = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path);
    let file = match opened {
        Ok(file) => file,
        // A socket cannot be opened at all.
        Err(error) if error.raw_os_error() == Some(libc::ENXIO) => return Err(other("a socket or device")),
        Err(error) => return Err(error),
    };
    let kind = file.metadata()?.file_type();
    match kind {
        _ if kind.is_file() => Ok(file),
        _ if kind.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
        _ if kind.is_fifo() => Err(other("a FIFO")),
        _ => Err(other("a device")),
    }
}

fn other(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, format!("it is {what}, and only regular files are read"))
}

/// The bytes of a regular file, of a larger one `most` and one more.
pub(crate) fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let file = open(path)?;
    // All of it at once: a vector that grows leaves its beginning behind in memory, and it may be a key.
    let length = usize::try_from(file.metadata()?.len().min(most)).unwrap_or_default();
    let mut bytes = Vec::with_capacity(length.saturating_add(1));
    file.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::process::Command;

    use super::*;

    #[test]
    fn only_a_regular_file_is_opened_and_nothing_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("plain"), "text").unwrap();
        std::os::unix::fs::symlink(path("plain"), path("link")).unwrap();
        assert!(Command::new("mkfifo").arg(path("fifo")).status().unwrap().success());
        let _listener = UnixListener::bind(path("socket")).unwrap();
        for good in ["plain", "link"] {
            assert_eq!(read(&path(good), 10).unwrap(), b"text");
            assert_eq!(read(&path(good), 2).unwrap(), b"tex");
        }
        let refused = |path: &Path| open(path).unwrap_err().to_string();
        assert_eq!(refused(&path("fifo")), "it is a FIFO, and only regular files are read");
        assert_eq!(refused(&path("socket")), "it is a socket or device, and only regular files are read");
        assert_eq!(refused(Path::new("/dev/zero")), "it is a device, and only regular files are read");
        assert_eq!(open(folder.path()).unwrap_err().kind(), io::ErrorKind::IsADirectory);
        assert_eq!(open(&path("none")).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
