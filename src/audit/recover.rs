//! Finds the end of the chain when the log is opened, and repairs a last line that was cut by a crash.
//!
//! Only what has no newline is cut: it was never acknowledged, so nothing happened because of it. It is kept in
//! a file of its own all the same. A whole line that is wrong is not the work of a crash, and is refused.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::AuditError;
use super::digest::Digest;
use super::file::{LogFile, beside};
use super::follow::{FollowError, Follower, first_record};
use super::line::{ChainHead, LINE_LIMIT, LineFault, check, check_next};
use super::line_reader::{Line, LineReader};
use super::note::{NoteVerifier, sync_folder};
use super::seal::{SealCause, seals};
use super::segments::{Segment, segment_folder, segments};
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
    /// The hash of the record before that one.
    pub(super) before_first: Digest,
}

/// Cuts a torn line, and reads what was written since the last checkpoint or seal: the chain has to continue it, and no
/// record that was there may be missing.
pub(super) fn recover(
    log: &mut LogFile,
    path: &Path,
    verifier: &NoteVerifier,
) -> Result<(LogEnd, Recovery), AuditError> {
    let fault = |source| AuditError::File { path: path.to_owned(), source };
    let damaged = |source| AuditError::Damaged { path: path.to_owned(), source };
    let FileEnd { last, torn } = file_end(log.file(), path, log.length())?;
    let begin = begin(path, verifier)?;
    let in_file = match last {
        Some(_) => Some(first_record(log.file()).map_err(fault)?.ok_or(damaged(LineFault::TooLong))?),
        None => None,
    };
    let BeforeFirst { head, tree, before_first } = read_on(path, begin.head, begin.tree, in_file)?;
    let kept = last.or(begin.kept).unwrap_or(ChainHead::GENESIS);
    if kept.seq < head.seq {
        return Err(AuditError::Missing { path: path.to_owned(), first: kept.seq + 1, last: head.seq });
    }
    if kept != head {
        return Err(damaged(LineFault::Chain));
    }
    let torn = match torn.as_slice() {
        [] => None,
        torn => {
            let saved_to = save(path, head.seq + 1, torn).map_err(fault)?;
            log.truncate(log.length() - torn.len() as u64).map_err(fault)?;
            Some(TornLine { bytes: torn.len() as u64, saved_to })
        }
    };
    let recovery = Recovery { last_seq: head.seq, last_hash: head.hash, torn };
    let first = in_file.unwrap_or(head.seq + 1);
    let before_first = if in_file.is_some() { before_first } else { head.hash };
    Ok((LogEnd { head, tree, first, before_first }, recovery))
}

/// From where the log is read on.
struct Begin {
    head: ChainHead,
    tree: Frontier,
    /// The last record that is in a closed segment, or that a seal says is gone.
    kept: Option<ChainHead>,
}

/// The last checkpoint or seal; before the first record when there is none.
fn begin(path: &Path, verifier: &NoteVerifier) -> Result<Begin, AuditError> {
    let fault = |source| AuditError::File { path: path.to_owned(), source };
    let seals = seals(path, verifier).map_err(AuditError::Seal)?;
    let sealed = seals.iter().map(|seal| seal.last).max().unwrap_or(0);
    mend_segments(path, sealed)?;
    let segments = segments(path).map_err(fault)?;
    let mut kept: Option<ChainHead> = None;
    for seal in &seals {
        let is_gone = matches!(seal.cause, SealCause::Cut | SealCause::Deleted);
        let is_there =
            segments.iter().any(|segment| (segment.first, segment.last) == (seal.first, seal.last));
        if (is_gone || is_there) && kept.is_none_or(|kept| kept.seq < seal.last) {
            kept = Some(seal.head());
        }
    }
    if let Some(unsealed) = segments.last().filter(|segment| segment.last > sealed) {
        kept = Some(last_record(unsealed)?);
    }
    let mut begin = Begin { head: ChainHead::GENESIS, tree: Frontier::default(), kept };
    if let Some(state) = TreeState::read(path, verifier).map_err(AuditError::Tree)? {
        (begin.head, begin.tree) = state;
    }
    let newest = seals.iter().max_by_key(|seal| seal.last).filter(|seal| seal.last > begin.head.seq);
    if let Some((seal, tree)) = newest.and_then(|seal| Some((seal, seal.tree()?))) {
        (begin.head, begin.tree) = (seal.head(), tree);
    }
    Ok(begin)
}

/// Shortens a segment that was closed a moment before a power cut, where its end did not reach the disk: what is missing was
/// never promised to be there (`written`), or a checkpoint says so. Segments up to record `sealed` were synced and read.
fn mend_segments(path: &Path, sealed: u64) -> Result<(), AuditError> {
    let fault = |source| AuditError::File { path: path.to_owned(), source };
    let all = segments(path).map_err(fault)?;
    // Only the newest can be short: it was the growing file when the power went.
    let Some(segment) = all.last().filter(|segment| segment.last > sealed && !segment.compressed) else {
        return Ok(());
    };
    let file = OpenOptions::new().read(true).write(true).open(&segment.path).map_err(fault)?;
    let length = file.metadata().map_err(fault)?.len();
    let damaged = |source| AuditError::Damaged { path: segment.path.clone(), source };
    let FileEnd { last, torn } = file_end(&file, &segment.path, length)?;
    if torn.is_empty() && last.is_some_and(|last| last.seq == segment.last) {
        return Ok(());
    }
    if !torn.is_empty() {
        save(path, last.map_or(segment.first, |last| last.seq + 1), &torn).map_err(fault)?;
        file.set_len(length - torn.len() as u64).and_then(|()| file.sync_all()).map_err(fault)?;
    }
    let folder = segment_folder(path);
    match last {
        Some(last) if (segment.first..=segment.last).contains(&last.seq) => {
            let shorter = Segment::new(&folder, segment.first, last.seq, false);
            fs::rename(&segment.path, shorter.path).map_err(fault)?;
        }
        Some(_) => return Err(damaged(LineFault::NotARecord)),
        None => fs::remove_file(&segment.path).map_err(fault)?,
    }
    sync_folder(&segment.path).map_err(fault)
}

/// The last record of a segment.
fn last_record(segment: &Segment) -> Result<ChainHead, AuditError> {
    let fault = |source| AuditError::File { path: segment.path.clone(), source };
    let damaged = |source| AuditError::Damaged { path: segment.path.clone(), source };
    let mut lines = LineReader::new(segment.open().map_err(fault)?);
    let mut last = None;
    while let Some(line) = lines.next().map_err(fault)? {
        let Line::Whole(line) = line else { return Err(damaged(LineFault::NotARecord)) };
        last = Some(
            match last {
                None => check(line).map(|(head, _)| head),
                Some(last) => check_next(line, last),
            }
            .map_err(damaged)?,
        );
    }
    last.ok_or(damaged(LineFault::NotARecord))
}

/// Where reading has come to, and the hash of the record before the growing file.
struct BeforeFirst {
    head: ChainHead,
    tree: Frontier,
    before_first: Digest,
}

/// Reads the records after `head` to the end of the log, and checks that each continues the one before. `first`: the first
/// record of the growing file.
fn read_on(
    path: &Path,
    mut head: ChainHead,
    mut tree: Frontier,
    first: Option<u64>,
) -> Result<BeforeFirst, AuditError> {
    let damaged = |source| AuditError::Damaged { path: path.to_owned(), source };
    let mut before_first = None;
    let mut follower = Follower::new(path, head.seq);
    loop {
        if first == Some(head.seq + 1) {
            before_first = Some(head.hash);
        }
        match follower.next_record() {
            Ok(None) => break,
            Ok(Some(record)) => {
                head = check_next(record.text.as_bytes(), head).map_err(damaged)?;
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
    // The file began before the last checkpoint: its first line says what came before it.
    let before_first = match (before_first, first) {
        (Some(hash), _) => hash,
        (None, Some(first)) => {
            let mut growing = Follower::new(path, first - 1);
            let record = growing.next_record().ok().flatten();
            let line = record.ok_or(damaged(LineFault::NotARecord))?.text.as_bytes();
            check(line).map_err(damaged)?.1
        }
        (None, None) => head.hash,
    };
    Ok(BeforeFirst { head, tree, before_first })
}

/// How a file with records ends.
struct FileEnd {
    /// The last whole record; `None` when there is none.
    last: Option<ChainHead>,
    /// What stands after its line.
    torn: Vec<u8>,
}

/// Looks at the last lines of a file of this length: each has to continue the one before.
fn file_end(file: &File, path: &Path, length: u64) -> Result<FileEnd, AuditError> {
    let damaged = |source| AuditError::Damaged { path: path.to_owned(), source };
    let start = length.saturating_sub(2 * LINE_LIMIT as u64 + 2);
    let window = read_from(file, start, length)
        .map_err(|source| AuditError::File { path: path.to_owned(), source })?;
    let (whole, torn) = split_torn(&window);
    if torn.len() > LINE_LIMIT {
        return Err(damaged(LineFault::TooLong));
    }
    let last = check_lines(whole, start > 0).map_err(damaged)?;
    Ok(FileEnd { last, torn: torn.to_owned() })
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
