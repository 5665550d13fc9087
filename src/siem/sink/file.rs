//! A file of records, one a line.
//!
//! The file is opened by its name for every batch, so that it can be rotated by renaming it. It is synced before the batch
//! counts as delivered.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::{Acknowledged, OutgoingRecord, SendError, Sink};
use crate::blocking;

/// A file as receiver.
#[derive(Debug, Clone)]
pub struct FileSinkSettings {
    /// The file; made with mode 0600.
    pub path: PathBuf,
}

#[derive(Debug)]
pub(in crate::siem) struct FileSink(FileSinkSettings);

impl FileSink {
    pub(in crate::siem) fn new(settings: FileSinkSettings) -> Self {
        Self(settings)
    }
}

#[async_trait::async_trait]
impl Sink for FileSink {
    async fn send(&mut self, batch: &[OutgoingRecord]) -> Result<Acknowledged, SendError> {
        let mut text = String::with_capacity(batch.iter().map(|record| record.text.len() + 1).sum());
        for record in batch {
            text.push_str(&record.text);
            text.push('\n');
        }
        let path = self.0.path.clone();
        let written = blocking::try_run(move || append(&path, &text)).await;
        written.map_err(|error| SendError::retry(format!("`{}`: {error}", self.0.path.display())))?;
        Ok(Acknowledged::default())
    }
}

/// Appends all of the text, or leaves the file as it was.
fn append(path: &Path, text: &str) -> io::Result<()> {
    let file = open(path)?;
    let length = file.metadata()?.len();
    let written = write(&file, length, text);
    if written.is_err() {
        // When this fails too, the line that is cut ends before the next batch.
        let _ = file.set_len(length);
    }
    written
}

fn open(path: &Path) -> io::Result<File> {
    // A FIFO would be waited for, and a device can do as it likes.
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
    let file =
        OpenOptions::new().read(true).append(true).create(true).mode(0o600).custom_flags(flags).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a file"));
    }
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(io::Error::other("another sink or gateway writes to it")),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

fn write(mut file: &File, length: u64, text: &str) -> io::Result<()> {
    let mut last = [b'\n'];
    if length > 0 {
        file.read_exact_at(&mut last, length - 1)?;
    }
    if last != *b"\n" {
        // A crash cut a line. The record comes again, on a line of its own.
        file.write_all(b"\n")?;
    }
    file.write_all(text.as_bytes())?;
    file.sync_data()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_line_that_a_crash_cut_does_not_swallow_the_next_record() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("records.jsonl");
        append(&path, "one\ntwo\n").unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        std::fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"thr").unwrap();
        append(&path, "three\n").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "one\ntwo\nthr\nthree\n");
    }

    #[test]
    fn only_a_file_that_nobody_else_writes_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("fifo");
        assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        assert!(append(&fifo, "one\n").is_err());
        assert!(append(folder.path(), "one\n").is_err());
        let path = folder.path().join("locked");
        let other = open(&path).unwrap();
        assert!(append(&path, "one\n").unwrap_err().to_string().contains("another sink"));
        drop(other);
        append(&path, "one\n").unwrap();
    }
}
