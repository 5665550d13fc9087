//! Records that a receiver refuses for good, kept for the operator: `NAME.dead-letters.jsonl` beside the cursors.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use serde_json::json;

use super::cursor::follower_folder;
use super::format::json_line;
use super::sink::OutgoingRecord;
use crate::clock::rfc3339;
use crate::shared_state::FollowerName;

/// The largest file. A sink whose letters are full waits: a receiver that refuses everything is a mistake somewhere, and
/// nothing is lost by it.
pub(super) const MOST_BYTES: u64 = 256 << 20;

/// A longer record is named by its number only, and is in the log: callers make records long, and must not fill the letters.
const LETTER_BYTES: usize = 4 << 10;

/// Whether the file is empty or its last line is whole.
fn ends_with_line(file: &File) -> io::Result<bool> {
    let Some(last) = file.metadata()?.len().checked_sub(1) else { return Ok(true) };
    let mut byte = [0];
    file.read_exact_at(&mut byte, last)?;
    Ok(byte == *b"\n")
}

/// The file of one sink.
#[derive(Debug, Clone)]
pub(super) struct DeadLetters {
    sink: FollowerName,
    path: PathBuf,
}

impl DeadLetters {
    pub(super) fn beside(log: &Path, sink: &FollowerName) -> Self {
        let path = follower_folder(log).join(format!("{sink}.dead-letters.jsonl"));
        Self { sink: sink.clone(), path }
    }

    /// Appends one letter and syncs it. Blocks.
    pub(super) fn write(&self, now_millis: i64, record: &OutgoingRecord, reason: &str) -> io::Result<()> {
        let letter = json!({
            "time": rfc3339(now_millis),
            "sink": self.sink.as_str(),
            "seq": record.seq,
            "reason": reason,
            "record": (record.text.len() <= LETTER_BYTES).then_some(&record.text),
        });
        let mut line = json_line(&letter);
        line.push('\n');
        let mut file = self.open()?;
        if file.metadata()?.len().saturating_add(line.len() as u64) > MOST_BYTES {
            let full = format!(
                "`{}` has {MOST_BYTES} bytes: look at what is refused, then move it away",
                self.path.display()
            );
            return Err(io::Error::new(io::ErrorKind::StorageFull, full));
        }
        if !ends_with_line(&file)? {
            // A full disk or a crash has cut the last letter.
            line.insert(0, '\n');
        }
        file.write_all(line.as_bytes())?;
        file.sync_all()
    }

    fn open(&self) -> io::Result<File> {
        if let Some(folder) = self.path.parent() {
            DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        // A link would lead the letters to a place that somebody else chose.
        let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            .custom_flags(flags)
            .open(&self.path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("`{}` is not a file", self.path.display()),
            ));
        }
        Ok(file)
    }
}
