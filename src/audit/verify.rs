//! Finds out whether the log is as the gateway wrote it, and where it is not.
//!
//! Every record is checked against its own hash and against the record before it, through all closed segments and the file
//! that grows. Signed seals stand for what is not there any more: what retention has deleted, and what was cut off from
//! outside. The tree over all records is compared with the last signed checkpoint, and with others that the caller has
//! kept elsewhere: with those, records that are missing at the very end are found as well, and a log that somebody has
//! computed anew.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::checkpoint::Checkpoint;
use super::digest::Digest;
use super::line::{ChainHead, LineFault, check, check_next};
use super::line_reader::{Line, LineReader};
use super::note::{NoteError, NoteVerifier, read_text};
use super::seal::{Seal, SealCause, SealFault, seals};
use super::segments::{Segment, files};
use super::tree::Frontier;
use super::tree_state::{checkpoint_file, public_key_file};

/// The result for a sound log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VerifyReport {
    /// The number of records that were read.
    pub records: u64,
    /// Number of the first one.
    pub first_seq: Option<u64>,
    /// Number of the last one.
    pub last_seq: Option<u64>,
    /// Hash of the last one.
    pub last_hash: String,
    /// Root of the tree over all records from the first ever written (RFC 6962).
    pub root: String,
    /// Closed segments that were read.
    pub segments: u64,
    /// Bytes of a last line that a crash cut; the gateway repairs it when it starts.
    pub torn_tail: u64,
    /// Number of the last record that retention has deleted; the signed tombstone says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deleted_to: Option<u64>,
    /// Records that were cut off from outside, as signed seals say: first and last number.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cut: Vec<(u64, u64)>,
    /// Number of records in each checkpoint that the log was compared with and agrees with.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub checkpoints: Vec<u64>,
    /// Checkpoints of records that were deleted: they could not be compared.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub checkpoints_too_old: Vec<u64>,
}

/// Why the log did not verify.
#[derive(Debug, thiserror::Error)]
pub enum VerifyFailure {
    /// It could not be read.
    #[error("the decision log `{path}` could not be read")]
    Read {
        /// Which file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// The key or a checkpoint that the caller has named cannot be used.
    #[error("`{path}` cannot be used")]
    Given {
        /// Which file.
        path: PathBuf,
        /// The fault.
        #[source]
        source: NoteError,
    },
    /// A record is not as the gateway wrote it.
    #[error("{file}line {line}, where record {seq} should be: {what}")]
    Broken {
        /// The segment with `: `; empty for the file that grows.
        file: String,
        /// The line in that file, from 1.
        line: u64,
        /// The record that should be there.
        seq: u64,
        /// The fault.
        what: LineFault,
    },
    /// Records are missing between two files, and no seal says why.
    #[error("records {first} to {last} are missing")]
    Missing {
        /// The first of them.
        first: u64,
        /// The last of them.
        last: u64,
    },
    /// The log ends before the last record of a checkpoint.
    #[error("records {first} to {last} are missing at the end: {checkpoint} was signed over them")]
    Truncated {
        /// The first of them.
        first: u64,
        /// The last of them.
        last: u64,
        /// Which checkpoint.
        checkpoint: String,
    },
    /// The records are not those that a checkpoint was signed over.
    #[error(
        "the first {size} records are not those that {checkpoint} was signed over: the log was written anew"
    )]
    Forked {
        /// The number of records in the checkpoint.
        size: u64,
        /// Which checkpoint.
        checkpoint: String,
    },
    /// A seal is not what the gateway wrote.
    #[error(transparent)]
    Seal(#[from] SealFault),
    /// A seal says something else than the records.
    #[error("the seal of records {first} to {last} does not fit these records")]
    SealDiffers {
        /// The first of them.
        first: u64,
        /// The last of them.
        last: u64,
    },
    /// The key or the checkpoint beside the log is not what the gateway wrote.
    #[error("`{path}` is not what the gateway wrote")]
    Beside {
        /// Which file.
        path: PathBuf,
        /// The fault.
        #[source]
        source: NoteError,
    },
    /// There are signed files, and no public key.
    #[error("the public key `{0}` is missing, so checkpoints and seals cannot be verified")]
    NoKey(PathBuf),
}

impl VerifyFailure {
    /// Whether the log is wrong, and not the way it was asked about.
    pub fn is_finding(&self) -> bool {
        !matches!(self, Self::Read { .. } | Self::Given { .. })
    }

    /// The line and the number of the record where the log is wrong.
    pub fn place(&self) -> (Option<u64>, Option<u64>) {
        match self {
            Self::Broken { line, seq, .. } => (Some(*line), Some(*seq)),
            Self::Missing { first, .. } | Self::Truncated { first, .. } | Self::SealDiffers { first, .. } => {
                (None, Some(*first))
            }
            _ => (None, None),
        }
    }

    /// Advice for the operator.
    pub fn help(&self) -> &'static str {
        match self {
            Self::Read { .. } => "name the log file, and run as a user who may read it",
            Self::Given { .. } => "name a checkpoint of this log, or its public key as the gateway wrote it",
            Self::Broken { .. } | Self::Missing { .. } => {
                "everything before that record is intact; keep the files as evidence, compare them with the copies \
                 in your SIEM or backup, and start a new log"
            }
            Self::Truncated { .. } | Self::Forked { .. } => {
                "keep the files as evidence, compare them with the copies in your SIEM or backup, and start a new log"
            }
            Self::Seal(_) | Self::SealDiffers { .. } | Self::Beside { .. } | Self::NoKey(_) => {
                "put back what the gateway wrote from your backup; else keep the files as evidence, and start a new log"
            }
        }
    }
}

/// What the log is compared with beside what lies with it.
#[derive(Debug, Default)]
pub struct Trusted {
    /// The public key of the log, kept elsewhere; without it the one beside the log counts.
    pub key: Option<NoteVerifier>,
    /// Files with checkpoints, kept elsewhere.
    pub checkpoints: Vec<PathBuf>,
}

/// A checkpoint, and how it is called in a message.
struct Target {
    name: String,
    checkpoint: Checkpoint,
}

/// Checks the whole log.
///
/// # Errors
/// The log is not as the gateway wrote it, or could not be read.
pub fn verify(path: &Path) -> Result<VerifyReport, VerifyFailure> {
    verify_with(path, &Trusted::default(), &mut |_| {})
}

/// Checks the whole log, and calls `progress` now and then with the bytes that are done.
///
/// # Errors
/// The log is not as the gateway wrote it, or could not be read.
pub fn verify_with(
    path: &Path,
    trusted: &Trusted,
    progress: &mut dyn FnMut(u64),
) -> Result<VerifyReport, VerifyFailure> {
    verify_each(path, trusted, progress, &mut Silent)
}

/// Sees the records while they are verified.
pub(super) trait Visitor {
    /// The records that follow come after this tree: the first ones, or those after a gap.
    fn begins(&mut self, before: &Frontier);
    /// A record that is in order.
    fn record(&mut self, seq: u64, hash: &Digest);
}

struct Silent;

impl Visitor for Silent {
    fn begins(&mut self, _: &Frontier) {}
    fn record(&mut self, _: u64, _: &Digest) {}
}

/// Checks the whole log, and shows each record that is in order to `visitor`.
pub(super) fn verify_each(
    path: &Path,
    trusted: &Trusted,
    progress: &mut dyn FnMut(u64),
    visitor: &mut dyn Visitor,
) -> Result<VerifyReport, VerifyFailure> {
    // The checkpoint before the records: one that is signed meanwhile would name records that were not read.
    let (seals, targets) = signed(path, trusted)?;
    let (closed, growing) =
        files(path).map_err(|source| VerifyFailure::Read { path: path.to_owned(), source })?;
    let mut reading = Reading::new(seals, targets, progress, visitor);
    for segment in &closed {
        reading.segment(segment)?;
    }
    reading.growing(path, growing)?;
    reading.report()
}

/// The seals of the log and the checkpoints to compare it with.
fn signed(path: &Path, trusted: &Trusted) -> Result<(Vec<Seal>, Vec<Target>), VerifyFailure> {
    let beside = checkpoint_file(path);
    let has_checkpoint = beside.try_exists().unwrap_or(true);
    let Some(verifier) = verifier(path, trusted)? else {
        return match trusted.checkpoints.first() {
            Some(_) => Err(VerifyFailure::NoKey(public_key_file(path))),
            None if has_checkpoint => Err(VerifyFailure::NoKey(public_key_file(path))),
            None => Ok((Vec::new(), Vec::new())),
        };
    };
    let mut targets = Vec::new();
    if has_checkpoint {
        let read = read_text(&beside).and_then(|note| Checkpoint::open(&note, &verifier));
        let checkpoint = read.map_err(|source| VerifyFailure::Beside { path: beside, source })?;
        targets.push(Target { name: "the checkpoint beside the log".to_owned(), checkpoint });
    }
    for file in &trusted.checkpoints {
        let read = read_text(file).and_then(|note| Checkpoint::open(&note, &verifier));
        let checkpoint = read.map_err(|source| VerifyFailure::Given { path: file.clone(), source })?;
        targets.push(Target { name: format!("`{}`", file.display()), checkpoint });
    }
    Ok((seals(path, &verifier)?, targets))
}

fn verifier(path: &Path, trusted: &Trusted) -> Result<Option<NoteVerifier>, VerifyFailure> {
    if let Some(key) = &trusted.key {
        return Ok(Some(key.clone()));
    }
    let beside = public_key_file(path);
    if !beside.try_exists().unwrap_or(true) {
        return Ok(None);
    }
    NoteVerifier::read(&beside).map(Some).map_err(|source| VerifyFailure::Beside { path: beside, source })
}

/// A log that is being read.
struct Reading<'r> {
    head: ChainHead,
    tree: Frontier,
    seals: Vec<Seal>,
    targets: Vec<Target>,
    progress: &'r mut dyn FnMut(u64),
    visitor: &'r mut dyn Visitor,
    done: u64,
    report: VerifyReport,
}

impl<'r> Reading<'r> {
    fn new(
        seals: Vec<Seal>,
        targets: Vec<Target>,
        progress: &'r mut dyn FnMut(u64),
        visitor: &'r mut dyn Visitor,
    ) -> Self {
        let report = VerifyReport {
            records: 0,
            first_seq: None,
            last_seq: None,
            last_hash: String::new(),
            root: String::new(),
            segments: 0,
            torn_tail: 0,
            deleted_to: None,
            cut: Vec::new(),
            checkpoints: Vec::new(),
            checkpoints_too_old: Vec::new(),
        };
        let (head, tree) = (ChainHead::GENESIS, Frontier::default());
        let mut own = Self { head, tree, seals, targets, progress, visitor, done: 0, report };
        own.pass_deleted();
        own
    }

    /// Begins after what retention has deleted.
    fn pass_deleted(&mut self) {
        let tombstone = self.seals.iter().find(|seal| seal.cause == SealCause::Deleted);
        if let Some((seal, tree)) = tombstone.and_then(|seal| Some((seal, seal.tree()?))) {
            (self.head, self.tree) = (seal.head(), tree);
            self.report.deleted_to = Some(seal.last);
        }
        self.visitor.begins(&self.tree);
    }

    /// Passes over what was cut off before record `next`; an error when records are missing without a seal.
    fn pass_cut(&mut self, next: u64) -> Result<(), VerifyFailure> {
        while self.head.seq + 1 < next {
            let wanted = self.head.seq + 1;
            let cut = self
                .seals
                .iter()
                .find(|seal| seal.cause == SealCause::Cut && seal.first == wanted && seal.last < next);
            let Some((seal, tree)) = cut.and_then(|seal| Some((seal, seal.tree()?))) else {
                return Err(VerifyFailure::Missing { first: wanted, last: next - 1 });
            };
            self.report.cut.push((seal.first, seal.last));
            (self.head, self.tree) = (seal.head(), tree);
            self.visitor.begins(&self.tree);
        }
        Ok(())
    }

    fn segment(&mut self, segment: &Segment) -> Result<(), VerifyFailure> {
        // The tombstone was written, and the file not removed yet.
        if self.report.deleted_to.is_some_and(|deleted| segment.last <= deleted) {
            return Ok(());
        }
        self.pass_cut(segment.first)?;
        let fault = |source| VerifyFailure::Read { path: segment.path.clone(), source };
        let name =
            segment.path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        let reader = segment.open().map_err(fault)?;
        let end =
            self.file(LineReader::new(reader), &segment.path, &format!("{name} "), Some(segment.last))?;
        if end.lines != segment.last - segment.first + 1 {
            return Err(VerifyFailure::Missing { first: self.head.seq + 1, last: segment.last });
        }
        self.report.segments += 1;
        let seal = self.seals.iter().find(|seal| seal.first == segment.first && seal.last == segment.last);
        match seal {
            Some(seal) if seal.head() != self.head || seal.tree().as_ref() != Some(&self.tree) => {
                Err(VerifyFailure::SealDiffers { first: segment.first, last: segment.last })
            }
            // The last segment may have been closed a moment ago, and be sealed in the next.
            _ => Ok(()),
        }
    }

    fn growing(&mut self, path: &Path, file: File) -> Result<(), VerifyFailure> {
        let fault = |source| VerifyFailure::Read { path: path.to_owned(), source };
        if let Some(first) = super::follow::first_record(&file).map_err(fault)? {
            // A number that is not the next one is found with its line; one behind a seal is not.
            if self.seals.iter().any(|seal| seal.cause == SealCause::Cut && seal.last + 1 == first) {
                self.pass_cut(first)?;
            }
        } else if let Some(last) = self.seals.iter().map(|seal| seal.last).max() {
            self.pass_cut(last + 1)?;
        }
        self.file(LineReader::new(file), path, "", None).map(drop)
    }

    /// Checks the lines of one file; of a closed one none may be after `last`, and its last line must be whole.
    fn file(
        &mut self,
        mut lines: LineReader,
        path: &Path,
        name: &str,
        last: Option<u64>,
    ) -> Result<FileEnd, VerifyFailure> {
        let mut number = 0;
        loop {
            if number % 1024 == 0 {
                (self.progress)(self.done + lines.consumed());
            }
            let seq = self.head.seq + 1;
            let broken =
                |what| Err(VerifyFailure::Broken { file: name.to_owned(), line: number + 1, seq, what });
            let line = lines.next().map_err(|source| VerifyFailure::Read { path: path.to_owned(), source });
            let head = match line? {
                None => break,
                Some(Line::Whole(_)) if last.is_some_and(|last| seq > last) => {
                    return broken(LineFault::Sequence { expected: seq, found: seq });
                }
                Some(Line::Whole(line)) => check_next(line, self.head),
                Some(Line::TooLong) => Err(LineFault::TooLong),
                Some(Line::Torn(line)) if last.is_some() || has_changed_end(line) => Err(LineFault::Spelling),
                Some(Line::Torn(line)) => {
                    self.report.torn_tail += line.len() as u64;
                    continue;
                }
            };
            match head {
                Ok(head) => self.accept(head)?,
                Err(what) => return broken(what),
            }
            number += 1;
        }
        self.done += lines.consumed();
        Ok(FileEnd { lines: number })
    }

    fn accept(&mut self, head: ChainHead) -> Result<(), VerifyFailure> {
        self.head = head;
        self.tree.push(&head.hash);
        self.visitor.record(head.seq, &head.hash);
        self.report.records += 1;
        self.report.first_seq.get_or_insert(head.seq);
        self.report.last_seq = Some(head.seq);
        self.compare()
    }

    /// Compares the tree with the checkpoints over as many records.
    fn compare(&mut self) -> Result<(), VerifyFailure> {
        let size = self.tree.size();
        for target in self.targets.iter().filter(|target| target.checkpoint.size == size) {
            if target.checkpoint.root != self.tree.root() {
                return Err(VerifyFailure::Forked { size, checkpoint: target.name.clone() });
            }
            self.report.checkpoints.push(size);
        }
        Ok(())
    }

    /// After the last record.
    fn report(mut self) -> Result<VerifyReport, VerifyFailure> {
        let last = self.head.seq;
        for target in &self.targets {
            let size = target.checkpoint.size;
            if size > last {
                let checkpoint = target.name.clone();
                return Err(VerifyFailure::Truncated { first: last + 1, last: size, checkpoint });
            }
            if size > 0 && !self.report.checkpoints.contains(&size) {
                self.report.checkpoints_too_old.push(size);
            }
        }
        (self.progress)(self.done);
        self.report.last_hash = self.head.hash.to_string();
        self.report.root = self.tree.root().to_string();
        Ok(self.report)
    }
}

struct FileEnd {
    lines: u64,
}

/// Whether a last line is a whole record with something other than a newline after it: no crash does that.
pub(super) fn has_changed_end(line: &[u8]) -> bool {
    line.split_last().is_some_and(|(_, line)| check(line).is_ok())
}
