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
use super::follow::{FollowError, Follower, first_record};
use super::line::{ChainHead, LINE_LIMIT, LineFault, check, check_next};
use super::note::NoteVerifier;
use super::seal::{SealCause, seals};
use super::segments::segments;
use super::tree::Frontier;
use super::tree_state::TreeState;

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

/// Where the log goes on.
#[derive(Debug)]
pub(super) struct LogEnd {
    /// The last record.
    pub(super) head: ChainHead,
    /// The tree up to it.
    pub(super) tree: Frontier,
    /// Number of the first record of the file that grows, or of the one that comes.
    pub(super) first: u64,
}

/// Cuts a torn line, and reads what was written since the last checkpoint or seal: the chain has to continue it, and no
/// record that was there may be missing.
pub(super) fn recover(
    log: &mut LogFile,
    path: &Path,
    verifier: &NoteVerifier,
) -> Result<(LogEnd, Recovery), AuditError> {
    let fault = |source| AuditError::File { path: path.to_owned(), source };
    let start = log.length().saturating_sub(2 * LINE_LIMIT as u64 + 2);
    let window = read_from(log.file(), start, log.length()).map_err(fault)?;
    let (whole, torn) = split_torn(&window);
    let damaged = |source| AuditError::Damaged { path: path.to_owned(), source };
    if torn.len() > LINE_LIMIT {
        return Err(damaged(LineFault::TooLong));
    }
    let last = check_lines(whole, start > 0).map_err(damaged)?;
    let begin = begin(path, verifier)?;
    let in_file = match last {
        Some(_) => Some(first_record(log.file()).map_err(fault)?.ok_or(damaged(LineFault::TooLong))?),
        None => None,
    };
    let (head, tree) = read_on(path, begin.head, begin.tree)?;
    let kept = last.map_or(0, |last| last.seq).max(begin.kept);
    if kept < head.seq {
        return Err(AuditError::Missing { path: path.to_owned(), first: kept + 1, last: head.seq });
    }
    let torn = match torn {
        [] => None,
        torn => {
            let saved_to = save(path, head.seq + 1, torn).map_err(fault)?;
            log.truncate(log.length() - torn.len() as u64).map_err(fault)?;
            Some(TornLine { bytes: torn.len() as u64, saved_to })
        }
    };
    let recovery = Recovery { last_seq: head.seq, last_hash: head.hash, torn };
    Ok((LogEnd { head, tree, first: in_file.unwrap_or(head.seq + 1) }, recovery))
}

/// From where the log is read on.
struct Begin {
    head: ChainHead,
    tree: Frontier,
    /// The highest number of a record that is in a closed segment, or is known to be gone.
    kept: u64,
}

/// The last checkpoint or seal; before the first record when there is none.
fn begin(path: &Path, verifier: &NoteVerifier) -> Result<Begin, AuditError> {
    let fault = |source| AuditError::File { path: path.to_owned(), source };
    let segments = segments(path).map_err(fault)?;
    let seals = seals(path, verifier).map_err(AuditError::Seal)?;
    let gone = seals.iter().filter(|seal| matches!(seal.cause, SealCause::Cut | SealCause::Deleted));
    let kept = segments.iter().map(|segment| segment.last).chain(gone.map(|seal| seal.last)).max();
    let mut begin = Begin { head: ChainHead::GENESIS, tree: Frontier::default(), kept: kept.unwrap_or(0) };
    if let Some(state) = TreeState::read(path, verifier).map_err(AuditError::Tree)? {
        (begin.head, begin.tree) = state;
    }
    let newest = seals.iter().max_by_key(|seal| seal.last).filter(|seal| seal.last > begin.head.seq);
    if let Some((seal, tree)) = newest.and_then(|seal| Some((seal, seal.tree()?))) {
        (begin.head, begin.tree) = (seal.head(), tree);
    }
    Ok(begin)
}

/// Reads the records after `head` to the end of the log, and checks that each continues the one before.
fn read_on(
    path: &Path,
    mut head: ChainHead,
    mut tree: Frontier,
) -> Result<(ChainHead, Frontier), AuditError> {
    let mut follower = Follower::new(path, head.seq);
    loop {
        match follower.next_record() {
            Ok(None) => return Ok((head, tree)),
            Ok(Some(record)) => {
                head = check_next(record.text.as_bytes(), head)
                    .map_err(|source| AuditError::Damaged { path: path.to_owned(), source })?;
                tree.push(&head.hash);
            }
            Err(FollowError::Gone { log, first, last }) => {
                return Err(AuditError::Missing { path: log, first, last });
            }
            Err(FollowError::NotARecord { path, .. }) => {
                return Err(AuditError::Damaged { path, source: LineFault::NotARecord });
            }
            Err(FollowError::Read { path, source }) => return Err(AuditError::File { path, source }),
        }
    }
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

/// Checks the lines of the window; when it begins in the middle, the first piece is the end of some line. `None` when there
/// is no line.
fn check_lines(whole: &[u8], in_the_middle: bool) -> Result<Option<ChainHead>, LineFault> {
    let mut lines =
        whole.split_inclusive(|&byte| byte == b'\n').map(|line| line.strip_suffix(b"\n").unwrap_or(line));
    if in_the_middle {
        lines.next();
    }
    let Some(first) = lines.next() else {
        return if in_the_middle { Err(LineFault::TooLong) } else { Ok(None) };
    };
    let (first, _) = check(first)?;
    lines.try_fold(first, |last, line| check_next(line, last)).map(Some)
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
