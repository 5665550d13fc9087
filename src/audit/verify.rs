//! Finds out whether the log is as the gateway wrote it, and where it is not.
//!
//! Every record is checked against its own hash and against the record before it, through all closed segments and the file
//! that grows. Signed seals stand for what is not there any more: what retention has deleted, and what was cut off from
//! outside. The tree over all records is compared with the last signed checkpoint, and with others that the caller has
//! kept elsewhere: with those, records that are missing at the very end are found as well, and a log that somebody has
//! computed anew.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use super::checkpoint::Checkpoint;
use super::digest::Digest;
use super::line::{ChainHead, LineFault, check, check_next};
use super::line_reader::{Line, LineReader};
use super::note::{NoteError, NoteVerifier, read_text};
use super::seal::{Seal, SealCause, SealFault, seals};
use super::segments::{Segment, files, segment_folder};
use super::tree::Frontier;
use super::tree_state::{TreeState, checkpoint_file, public_key_file};

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
    /// A closed file cannot be decompressed.
    #[error("the closed file `{path}` is damaged")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The fault.
        #[source]
        source: io::Error,
    },
    /// A closed file has no seal, and later ones have.
    #[error("the seal of records {first} to {last} is missing")]
    SealMissing {
        /// The first of them.
        first: u64,
        /// The last of them.
        last: u64,
    },
    /// There are signed files, and no checkpoint.
    #[error("the checkpoint `{0}` is missing, and the log has others of the files that the gateway signs")]
    NoCheckpoint(PathBuf),
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

    /// Whether a moment later it may be in order: a file is being removed, made or sealed.
    fn is_transient(&self) -> bool {
        match self {
            Self::Read { source, .. } => source.kind() == io::ErrorKind::NotFound,
            _ => false,
        }
    }

    /// The line and the number of the record where the log is wrong.
    pub fn place(&self) -> (Option<u64>, Option<u64>) {
        match self {
            Self::Broken { line, seq, .. } => (Some(*line), Some(*seq)),
            Self::Missing { first, .. }
            | Self::Truncated { first, .. }
            | Self::SealDiffers { first, .. }
            | Self::SealMissing { first, .. } => (None, Some(*first)),
            _ => (None, None),
        }
    }

    /// Advice for the operator.
    pub fn help(&self) -> &'static str {
        match self {
            Self::Read { .. } => "name the log file, and run as a user who may read it",
            Self::Given { .. } => "name a checkpoint of this log, or its public key as the gateway wrote it",
            Self::Broken { .. } | Self::Missing { .. } | Self::Damaged { .. } => {
                "everything before that record is intact; keep the files as evidence, compare them with the copies \
                 in your SIEM or backup, and start a new log"
            }
            Self::Truncated { .. } | Self::Forked { .. } => {
                "keep the files as evidence, compare them with the copies in your SIEM or backup, and start a new log"
            }
            Self::Seal(_)
            | Self::SealDiffers { .. }
            | Self::SealMissing { .. }
            | Self::Beside { .. }
            | Self::NoCheckpoint(_)
            | Self::NoKey(_) => {
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

/// How often a log is read again when its files change meanwhile.
const TRIES: usize = 5;

/// Checks the whole log, and shows each record that is in order to `visitor`. Where something is wrong, and files were closed,
/// compressed or deleted meanwhile, it is read again.
pub(super) fn verify_each(
    path: &Path,
    trusted: &Trusted,
    progress: &mut dyn FnMut(u64),
    visitor: &mut dyn Visitor,
) -> Result<VerifyReport, VerifyFailure> {
    let mut tries = 0;
    loop {
        let before = names(path);
        tries += 1;
        match verify_once(path, trusted, progress, visitor) {
            Err(failure)
                if tries < TRIES
                    && (names(path) != before || failure.is_transient() && segment_folder(path).is_dir()) =>
            {
                // A file that is being written or sealed is there a moment later.
                std::thread::sleep(Duration::from_millis(200));
            }
            verified => return verified,
        }
    }
}

/// Which files the log has.
fn names(path: &Path) -> (Vec<PathBuf>, Option<u64>) {
    let folder = std::fs::read_dir(segment_folder(path)).into_iter().flatten().flatten();
    let mut names: Vec<PathBuf> = folder.map(|entry| entry.path()).collect();
    names.sort();
    (names, std::fs::metadata(path).ok().map(|found| found.ino()))
}

fn verify_once(
    path: &Path,
    trusted: &Trusted,
    progress: &mut dyn FnMut(u64),
    visitor: &mut dyn Visitor,
) -> Result<VerifyReport, VerifyFailure> {
    // The checkpoint before the records: one that is signed meanwhile would name records that were not read.
    let (seals, targets) = signed(path, trusted)?;
    let (closed, growing) =
        files(path).map_err(|source| VerifyFailure::Read { path: path.to_owned(), source })?;
    if growing.is_none() && closed.is_empty() && targets.is_empty() {
        let source = io::ErrorKind::NotFound.into();
        return Err(VerifyFailure::Read { path: path.to_owned(), source });
    }
    let mut reading = Reading::new(seals, targets, progress, visitor)?;
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
    let has_signed = has_checkpoint || TreeState::exists(path) || has_seals(path);
    let Some(verifier) = verifier(path, trusted)? else {
        return match has_signed || !trusted.checkpoints.is_empty() {
            true => Err(VerifyFailure::NoKey(public_key_file(path))),
            false => Ok((Vec::new(), Vec::new())),
        };
    };
    // The gateway signs the state of the tree first, and before any seal.
    let has_state = TreeState::exists(path);
    if has_signed && !has_checkpoint && !has_state {
        return Err(VerifyFailure::NoCheckpoint(beside));
    }
    let mut targets = Vec::new();
    if has_checkpoint {
        let read = read_text(&beside).and_then(|note| Checkpoint::open(&note, &verifier));
        let checkpoint = read.map_err(|source| beside_fault(beside, source))?;
        targets.push(Target { name: "the checkpoint beside the log".to_owned(), checkpoint });
    }
    if !has_checkpoint && has_state {
        let checkpoint = TreeState::checkpoint(path, &verifier)
            .map_err(|source| beside_fault(TreeState::file(path), source))?;
        targets.push(Target { name: "the checkpoint beside the log".to_owned(), checkpoint });
    }
    for file in &trusted.checkpoints {
        let read = read_text(file).and_then(|note| Checkpoint::open(&note, &verifier));
        let checkpoint = read.map_err(|source| VerifyFailure::Given { path: file.clone(), source })?;
        targets.push(Target { name: format!("`{}`", file.display()), checkpoint });
    }
    Ok((seals(path, &verifier).map_err(of_seal)?, targets))
}

/// A seal that is not what the gateway wrote; or one that could not be read, which says nothing about the log.
fn of_seal(fault: SealFault) -> VerifyFailure {
    match fault {
        SealFault { source: NoteError::File { path, source }, .. } => VerifyFailure::Read { path, source },
        fault => VerifyFailure::Seal(fault),
    }
}

/// The same of a key or checkpoint beside the log.
fn beside_fault(path: PathBuf, source: NoteError) -> VerifyFailure {
    match source {
        NoteError::File { path, source } => VerifyFailure::Read { path, source },
        source => VerifyFailure::Beside { path, source },
    }
}

fn has_seals(path: &Path) -> bool {
    let folder = std::fs::read_dir(segment_folder(path)).into_iter().flatten().flatten();
    folder.map(|entry| entry.path()).any(|path| path.extension().is_some_and(|ending| ending == "seal"))
}

fn verifier(path: &Path, trusted: &Trusted) -> Result<Option<NoteVerifier>, VerifyFailure> {
    if let Some(key) = &trusted.key {
        return Ok(Some(key.clone()));
    }
    let beside = public_key_file(path);
    if !beside.try_exists().unwrap_or(true) {
        return Ok(None);
    }
    NoteVerifier::read(&beside).map(Some).map_err(|source| beside_fault(beside, source))
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
    ) -> Result<Self, VerifyFailure> {
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
        own.pass_deleted()?;
        Ok(own)
    }

    /// Begins after what retention has deleted.
    fn pass_deleted(&mut self) -> Result<(), VerifyFailure> {
        let tombstone = self.seals.iter().find(|seal| seal.cause == SealCause::Deleted);
        if let Some((seal, tree)) = tombstone.and_then(|seal| Some((seal, seal.tree()?))) {
            (self.head, self.tree) = (seal.head(), tree);
            self.report.deleted_to = Some(seal.last);
        }
        self.visitor.begins(&self.tree);
        self.compare()
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
            if seal.prev_hash != self.head.hash {
                return Err(VerifyFailure::SealDiffers { first: seal.first, last: seal.last });
            }
            self.report.cut.push((seal.first, seal.last));
            (self.head, self.tree) = (seal.head(), tree);
            self.visitor.begins(&self.tree);
            self.compare()?;
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
        let before = self.head.hash;
        let reader = segment.open().map_err(fault)?;
        let end =
            self.file(LineReader::new(reader), &segment.path, &format!("{name} "), Some(segment.last))?;
        if end.lines != segment.last - segment.first + 1 {
            return Err(VerifyFailure::Missing { first: self.head.seq + 1, last: segment.last });
        }
        self.report.segments += 1;
        let seal = self.seals.iter().find(|seal| seal.first == segment.first && seal.last == segment.last);
        let (first, last) = (segment.first, segment.last);
        match seal {
            Some(seal)
                if seal.head() != self.head
                    || seal.tree().as_ref() != Some(&self.tree)
                    || seal.prev_hash != before =>
            {
                Err(VerifyFailure::SealDiffers { first, last })
            }
            Some(_) => Ok(()),
            // The newest may have been closed a moment ago, and be sealed in the next.
            None if self.seals.iter().all(|seal| seal.last < first) => Ok(()),
            None => Err(VerifyFailure::SealMissing { first, last }),
        }
    }

    fn growing(&mut self, path: &Path, file: Option<File>) -> Result<(), VerifyFailure> {
        let Some(file) = file else { return Ok(()) };
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
            let line = lines.next().map_err(|source| unreadable(path, source, last.is_some()));
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
                    // What is written after it is the rest of this line.
                    break;
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

/// A segment whose compressed form is damaged is a finding; what the system refuses is none.
fn unreadable(path: &Path, source: io::Error, closed: bool) -> VerifyFailure {
    let path = path.to_owned();
    // Errors of zstd have no kind of their own.
    match closed
        && matches!(
            source.kind(),
            io::ErrorKind::Other | io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof
        ) {
        true => VerifyFailure::Damaged { path, source },
        false => VerifyFailure::Read { path, source },
    }
}

struct FileEnd {
    lines: u64,
}

/// Whether a last line is a whole record with something other than a newline after it: no crash does that.
pub(super) fn has_changed_end(line: &[u8]) -> bool {
    line.split_last().is_some_and(|(_, line)| check(line).is_ok())
}
