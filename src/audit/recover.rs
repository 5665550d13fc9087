//! Finds the end of the chain when the log is opened, and repairs a last line that was cut by a crash.
//!
//! Only what has no newline is cut: it was never acknowledged, so nothing happened because of it. It is kept in
//! a file of its own all the same. A whole line that is wrong is not the work of a crash, and is refused.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::AuditError;
use super::digest::Digest;
use super::file::{LogFile, beside};
use super::line::{ChainHead, LINE_LIMIT, LineFault, check, check_next};

/// The state of the log when it was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovery {
    /// Number of the last record; 0 when there is none.
    pub last_seq: u64,
    /// Hash of the last record.
    pub last_hash: Digest,
    /// A last line that was cut by a crash and is repaired.
    pub torn: Option<TornLine>,
}

/// A last line that was cut by a crash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TornLine {
    /// How much of it there was.
    pub bytes: u64,
    /// The file that keeps it.
    pub saved_to: PathBuf,
}

impl fmt::Display for TornLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a torn last line of {} bytes was moved to `{}`", self.bytes, self.saved_to.display())
    }
}

/// Checks the last lines, cuts a torn one and says where the chain goes on.
pub(super) fn recover(log: &mut LogFile, path: &Path) -> Result<(ChainHead, Recovery), AuditError> {
    let fault = |source| AuditError::File { path: path.to_owned(), source };
    let start = log.length().saturating_sub(2 * LINE_LIMIT as u64 + 2);
    let window = read_from(log.file(), start, log.length()).map_err(fault)?;
    let (whole, torn) = split_torn(&window);
    if torn.len() > LINE_LIMIT {
        return Err(AuditError::Damaged { path: path.to_owned(), source: LineFault::TooLong });
    }
    let last = check_lines(whole, start > 0)
        .map_err(|source| AuditError::Damaged { path: path.to_owned(), source })?;
    let torn = match torn {
        [] => None,
        torn => {
            let saved_to = save(path, last.seq + 1, torn).map_err(fault)?;
            log.truncate(log.length() - torn.len() as u64).map_err(fault)?;
            Some(TornLine { bytes: torn.len() as u64, saved_to })
        }
    };
    Ok((last, Recovery { last_seq: last.seq, last_hash: last.hash, torn }))
}

fn read_from(file: &File, start: u64, end: u64) -> io::Result<Vec<u8>> {
    let length = usize::try_from(end - start).map_err(io::Error::other)?;
    let mut window = vec![0; length];
    file.read_exact_at(&mut window, start)?;
    Ok(window)
}

/// Everything up to the last newline, and what stands after it.
fn split_torn(window: &[u8]) -> (&[u8], &[u8]) {
    let end = window.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
    window.split_at(end)
}

/// Checks the lines of the window; when it begins in the middle, the first piece is the end of some line.
fn check_lines(whole: &[u8], in_the_middle: bool) -> Result<ChainHead, LineFault> {
    let mut lines =
        whole.split_inclusive(|&byte| byte == b'\n').map(|line| line.strip_suffix(b"\n").unwrap_or(line));
    let mut last = ChainHead::GENESIS;
    if in_the_middle {
        lines.next();
        let first = lines.next().ok_or(LineFault::TooLong)?;
        (last, _) = check(first)?;
    }
    lines.try_fold(last, |last, line| check_next(line, last))
}

/// Keeps the torn bytes under a name that is not taken yet.
fn save(path: &Path, seq: u64, torn: &[u8]) -> io::Result<PathBuf> {
    for attempt in 0_u32..1000 {
        let name = match attempt {
            0 => format!("torn-{seq}"),
            again => format!("torn-{seq}.{again}"),
        };
        let target = beside(path, &name);
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&target) {
            Ok(mut file) => {
                file.write_all(torn)?;
                file.sync_all()?;
                return Ok(target);
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::new(io::ErrorKind::AlreadyExists, "a thousand torn lines are kept already"))
}
