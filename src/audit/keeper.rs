//! The upkeep of the log, apart from writing it: rotates the growing file, seals and compresses closed segments, deletes those
//! that are too old, and signs checkpoints.
//!
//! [`Keeper::step`] does what is due and blocks while it does; its caller runs it again and again on a thread of its own. Nothing
//! here stands in the way of a decision. Each step is made so that a crash in the middle leaves a log that verifies, and the
//! next step goes on.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, BufWriter, Read as _, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};
use jiff::Timestamp;
use serde::Deserialize;

use super::file::beside;
use super::journal::Journal;
use super::line::{ChainHead, check_next};
use super::line_reader::{Line, LineReader};
use super::note::sync_folder;
use super::seal::{self, ChainEnd, Seal, SealCause, seals};
use super::segments::{Segment, segment_folder, segments};
use super::settings::Settings;
use super::tree::Frontier;
use super::tree_state::TreeState;
use super::writer::{Closing, Snapshot};
use crate::clock::rfc3339;

/// zstd's own default: fast, and JSON lines shrink to a tenth.
const LEVEL: i32 = 3;

/// Something that the keeper did and that belongs on record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeeperEvent {
    /// The growing file was closed; `cause` says how.
    Closed {
        /// How.
        cause: SealCause,
        /// Number of the first record in it.
        first: u64,
        /// Number of the last record in it.
        last: u64,
    },
    /// Retention has deleted records.
    Deleted {
        /// Number of the first of them.
        first: u64,
        /// Number of the last of them.
        last: u64,
    },
    /// A checkpoint was signed.
    Checkpoint {
        /// The signed note.
        note: String,
    },
    /// Something could not be done; it is tried again.
    Failed {
        /// What, and why.
        why: String,
    },
}

/// Why a step could not be made.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {why}")]
struct StepError {
    what: String,
    why: String,
}

fn failed<E: std::fmt::Display>(what: impl Into<String>) -> impl FnOnce(E) -> StepError {
    let what = what.into();
    move |error| StepError { what, why: error.to_string() }
}

/// Does the upkeep of one log.
#[derive(Debug)]
pub struct Keeper {
    journal: Journal,
    settings: Settings,
    /// Closed parts that are not sealed yet.
    closings: Vec<Closing>,
    /// The growing file: number and time of its first record.
    growing: Option<(u64, i64)>,
    /// The size and time of the last checkpoint of this run.
    signed: Option<(u64, i64)>,
    /// The last fault, so that it is reported once.
    fault: Option<String>,
}

impl Keeper {
    /// The keeper of this journal, which was opened with these settings.
    pub fn new(journal: Journal, settings: Settings) -> Self {
        Self { journal, settings, closings: Vec::new(), growing: None, signed: None, fault: None }
    }

    /// Does what is due at `now_millis` (since the Unix epoch). Blocks, and can take seconds.
    pub fn step(&mut self, now_millis: i64) -> Vec<KeeperEvent> {
        let mut events = Vec::new();
        match self.try_step(now_millis, &mut events) {
            Ok(()) => self.fault = None,
            Err(error) => {
                let why = error.to_string();
                if self.fault.as_ref() != Some(&why) {
                    events.push(KeeperEvent::Failed { why: why.clone() });
                }
                self.fault = Some(why);
            }
        }
        events
    }

    /// Signs a last checkpoint, over every record that is on the disk. Meant for the end of the gateway.
    pub fn finish(&mut self, now_millis: i64) -> Vec<KeeperEvent> {
        self.signed = None;
        let mut events = self.step(now_millis);
        // There is nobody left to record it.
        events.retain(|event| !matches!(event, KeeperEvent::Checkpoint { .. }));
        events
    }

    fn try_step(&mut self, now: i64, events: &mut Vec<KeeperEvent>) -> Result<(), StepError> {
        let Some(mut snapshot) = self.snapshot()? else { return Ok(()) };
        if self.is_rotation_due(&snapshot, now) {
            let Some(rotated) = self.journal.group_commit().rotate() else { return Ok(()) };
            rotated.map_err(failed("the decision log was not rotated"))?;
            match self.snapshot()? {
                Some(fresh) => snapshot = fresh,
                None => return Ok(()),
            }
        }
        let was_closed = !self.closings.is_empty();
        self.seal_closed(now, events)?;
        self.checkpoint(&snapshot, now, was_closed, events)?;
        self.compress_one()?;
        self.delete_old(now, events)
    }

    fn snapshot(&mut self) -> Result<Option<Snapshot>, StepError> {
        let Some(snapshot) = self.journal.group_commit().snapshot() else { return Ok(None) };
        let mut snapshot = snapshot.map_err(failed("the decision log could not be looked at"))?;
        self.closings.append(&mut snapshot.closings);
        Ok(Some(snapshot))
    }

    fn is_rotation_due(&mut self, snapshot: &Snapshot, now: i64) -> bool {
        if snapshot.head.seq < snapshot.first {
            return false;
        }
        if self.growing.is_none_or(|(first, _)| first != snapshot.first) {
            let time = first_time(&snapshot.file).unwrap_or(now);
            self.growing = Some((snapshot.first, time));
        }
        let age = self.growing.map_or(0, |(_, time)| now - time);
        snapshot.length >= self.settings.rotation_bytes as u64
            || age >= millis(self.settings.rotation_interval)
    }

    /// Keeps what has no name any more, and seals every part that has no seal.
    fn seal_closed(&mut self, now: i64, events: &mut Vec<KeeperEvent>) -> Result<(), StepError> {
        let log = self.settings.path.clone();
        while let Some(closing) = self.closings.first() {
            if let Some(file) = &closing.nameless {
                copy(&log, closing, file).map_err(failed("the records of a removed log were not saved"))?;
            }
            if closing.cause == SealCause::Cut {
                let end = ChainEnd { head: closing.end, tree: &closing.tree };
                let now = rfc3339(now);
                let seal = Seal::new(SealCause::Cut, closing.first, end, now.clone(), now);
                seal.write(&log, self.journal.key())
                    .map_err(failed("a cut of the decision log was not sealed"))?;
            } else {
                self.seal_segments(closing.cause, closing.end.seq, now)?;
            }
            let closing = self.closings.remove(0);
            let (first, last) = (closing.first, closing.end.seq);
            events.push(KeeperEvent::Closed { cause: closing.cause, first, last });
        }
        // A crash may have come between rotation and seal.
        self.seal_segments(SealCause::Rotated, u64::MAX, now)
    }

    /// Seals all segments up to record `last` that have none: each is read, and has to continue the one before.
    fn seal_segments(&self, cause: SealCause, last: u64, now: i64) -> Result<(), StepError> {
        let log = &self.settings.path;
        let closed = segments(log).map_err(failed("the closed segments could not be listed"))?;
        let mut known = self.seals()?;
        for segment in closed.iter().filter(|segment| segment.last <= last) {
            let is_sealed = |seal: &Seal| seal.last >= segment.last && seal.first <= segment.first;
            if known.iter().any(is_sealed) {
                continue;
            }
            let what = || format!("records {} to {} were not sealed", segment.first, segment.last);
            let before = known.iter().find(|seal| seal.last + 1 == segment.first);
            let (head, tree) = match before {
                Some(seal) => (seal.head(), seal.tree().unwrap_or_default()),
                None if segment.first == 1 => (ChainHead::GENESIS, Frontier::default()),
                None => {
                    return Err(StepError {
                        what: what(),
                        why: "the seal before them is missing".to_owned(),
                    });
                }
            };
            let seal = read_segment(segment, head, tree, cause, now).map_err(failed(what()))?;
            seal.write(log, self.journal.key()).map_err(failed(what()))?;
            known.push(seal);
        }
        Ok(())
    }

    fn seals(&self) -> Result<Vec<Seal>, StepError> {
        seals(&self.settings.path, &self.journal.key().verifier())
            .map_err(failed("the seals could not be read"))
    }

    /// Signs a checkpoint over the records of the snapshot, after they are on the disk.
    fn checkpoint(
        &mut self,
        snapshot: &Snapshot,
        now: i64,
        at_once: bool,
        events: &mut Vec<KeeperEvent>,
    ) -> Result<(), StepError> {
        // The record of the last checkpoint is no reason for another one.
        let (signed, is_due) = match self.signed {
            None => (0, true),
            Some((size, _)) if at_once => (size, true),
            Some((size, at)) => (size + 1, now - at >= millis(self.settings.checkpoint_interval)),
        };
        if snapshot.head.seq <= signed || !is_due {
            return Ok(());
        }
        snapshot.file.sync_data().map_err(failed("the decision log was not synced to the disk"))?;
        let key = self.journal.key();
        let note = TreeState::write(&self.settings.path, snapshot.head, &snapshot.tree, key)
            .map_err(failed("the checkpoint was not written"))?;
        // The first one of a run names what was there before it: it is no news.
        if self.signed.is_some() {
            events.push(KeeperEvent::Checkpoint { note });
        }
        self.signed = Some((snapshot.head.seq, now));
        Ok(())
    }

    /// Compresses the oldest sealed segment that is not compressed.
    fn compress_one(&self) -> Result<(), StepError> {
        if !self.settings.compresses {
            return Ok(());
        }
        let closed =
            segments(&self.settings.path).map_err(failed("the closed segments could not be listed"))?;
        let known = self.seals()?;
        let is_sealed = |segment: &Segment| known.iter().any(|seal| seal.last == segment.last);
        match closed.iter().find(|segment| !segment.compressed && is_sealed(segment)) {
            Some(segment) => compress(&self.settings.path, segment).map_err(failed(format!(
                "records {} to {} were not compressed",
                segment.first, segment.last
            ))),
            None => Ok(()),
        }
    }

    /// Deletes the oldest segments whose last record is older than the retention.
    fn delete_old(&self, now: i64, events: &mut Vec<KeeperEvent>) -> Result<(), StepError> {
        let Some(retention) = self.settings.retention else { return Ok(()) };
        let log = &self.settings.path;
        let known = self.seals()?;
        let tombstone = known.iter().find(|seal| seal.cause == SealCause::Deleted);
        let mut deleted = tombstone.map_or(0, |seal| seal.last);
        let is_old = |seal: &Seal| {
            let time = seal.last_time.parse::<Timestamp>();
            time.is_ok_and(|time| now - time.as_millisecond() >= millis(retention))
        };
        let first = deleted + 1;
        let mut newest = None;
        for seal in known.iter().filter(|seal| seal.cause != SealCause::Deleted) {
            if seal.last <= deleted {
                continue;
            }
            if seal.first != deleted + 1 || !is_old(seal) {
                break;
            }
            deleted = seal.last;
            newest = Some(seal);
        }
        if let Some(seal) = newest {
            let tombstone = Seal::deleted(seal, 1, rfc3339(now));
            tombstone.write(log, self.journal.key()).map_err(failed("the tombstone was not written"))?;
            events.push(KeeperEvent::Deleted { first, last: deleted });
        }
        remove_deleted(log, deleted, &known).map_err(failed("old records were not deleted"))
    }
}

/// Removes segments and seals up to record `deleted`: the tombstone stands for them.
fn remove_deleted(log: &Path, deleted: u64, known: &[Seal]) -> io::Result<()> {
    for segment in segments(log)?.iter().filter(|segment| segment.last <= deleted) {
        fs::remove_file(&segment.path)?;
    }
    for seal in known.iter().filter(|seal| seal.cause != SealCause::Deleted && seal.last <= deleted) {
        seal::remove(log, seal)?;
    }
    Ok(())
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

#[derive(Deserialize)]
struct Timed {
    time: String,
}

fn time_of(line: &[u8]) -> Option<String> {
    serde_json::from_slice::<Timed>(line).ok().map(|timed| timed.time)
}

/// When the first record of the file was made, in milliseconds since the Unix epoch.
fn first_time(file: &File) -> Option<i64> {
    let mut file = file.try_clone().ok()?;
    file.rewind().ok()?;
    let mut line = Vec::new();
    BufReader::new(file).take(super::line::LINE_LIMIT as u64).read_until(b'\n', &mut line).ok()?;
    time_of(&line)?.parse::<Timestamp>().ok().map(|time| time.as_millisecond())
}

/// Reads a segment that has to continue `head` and puts it on the disk; what is to be signed about it.
fn read_segment(
    segment: &Segment,
    mut head: ChainHead,
    mut tree: Frontier,
    cause: SealCause,
    now: i64,
) -> io::Result<Seal> {
    let damaged = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
    if !segment.compressed {
        File::open(&segment.path)?.sync_data()?;
        sync_folder(&segment.path)?;
    }
    let mut lines = LineReader::new(segment.open()?);
    let mut last_time = None;
    while let Some(line) = lines.next()? {
        let Line::Whole(line) = line else {
            return Err(damaged(format!("after record {} there is no whole line", head.seq)));
        };
        head =
            check_next(line, head).map_err(|fault| damaged(format!("after record {}: {fault}", head.seq)))?;
        tree.push(&head.hash);
        if head.seq == segment.last {
            last_time = time_of(line);
        }
    }
    match last_time {
        Some(last_time) if head.seq == segment.last => {
            let end = ChainEnd { head, tree: &tree };
            Ok(Seal::new(cause, segment.first, end, last_time, rfc3339(now)))
        }
        _ => Err(damaged(format!("it ends with record {}, and not with {}", head.seq, segment.last))),
    }
}

/// Writes the whole lines of a file without a name to the segment that it should be.
fn copy(log: &Path, closing: &Closing, file: &File) -> io::Result<()> {
    let target = Segment::new(&segment_folder(log), closing.first, closing.end.seq, false);
    if target.path.try_exists()? {
        return Ok(());
    }
    let fresh = beside(&target.path, "new");
    let mut copied = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
    let mut file = file.try_clone()?;
    file.rewind()?;
    // Lines after the last record were never acknowledged.
    let mut lines = LineReader::new(file);
    let mut writer = BufWriter::new(&mut copied);
    for _ in closing.first..=closing.end.seq {
        let Some(Line::Whole(line)) = lines.next()? else {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "records are missing in the removed file",
            ));
        };
        writer.write_all(line)?;
        writer.write_all(b"\n")?;
    }
    writer.flush()?;
    drop(writer);
    copied.sync_all()?;
    fs::rename(&fresh, &target.path)?;
    sync_folder(&target.path)
}

/// Compresses a segment, reads the result back, and removes the original only when both are the same.
fn compress(log: &Path, segment: &Segment) -> io::Result<()> {
    let target = Segment::new(&segment_folder(log), segment.first, segment.last, true);
    let fresh = beside(&target.path, "new");
    let made = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
    let mut encoder = zstd::Encoder::new(made, LEVEL)?;
    encoder.include_checksum(true)?;
    let plain = digest(segment.open()?, Some(&mut encoder))?;
    encoder.finish()?.sync_all()?;
    if digest(zstd::Decoder::new(File::open(&fresh)?)?, None)? != plain {
        fs::remove_file(&fresh)?;
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "what was compressed is not what is read back",
        ));
    }
    fs::rename(&fresh, &target.path)?;
    sync_folder(&target.path)?;
    fs::remove_file(&segment.path)
}

/// The SHA-256 of what is read, which is also written to `copy`.
fn digest(mut from: impl io::Read, mut copy: Option<&mut dyn io::Write>) -> io::Result<Vec<u8>> {
    let mut context = Context::new(&SHA256);
    let mut block = vec![0; 1 << 18];
    loop {
        let read = from.read(&mut block)?;
        let part = block.get(..read).unwrap_or_default();
        if part.is_empty() {
            return Ok(context.finish().as_ref().to_vec());
        }
        context.update(part);
        if let Some(copy) = &mut copy {
            copy.write_all(part)?;
        }
    }
}
