//! The upkeep of the log, apart from writing it: rotates the growing file, seals and compresses closed segments, deletes those
//! that are too old, and signs checkpoints.
//!
//! [`Keeper::step`] does what is due and blocks while it does; its caller runs it again and again on a thread of its own. Nothing
//! here stands in the way of a decision. Each step is made so that a crash in the middle leaves a log that verifies, and the
//! next step goes on.

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, BufWriter, Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use aws_lc_rs::digest::{Context, SHA256};
use jiff::Timestamp;
use serde::Deserialize;

use super::file::create_fresh;
use super::journal::Journal;
use super::line::{ChainHead, check_next};
use super::line_reader::{Line, LineReader};
use super::note::{put_in_place, sync_folder};
use super::seal::{self, ChainEnd, Seal, SealBegin, SealCause, seals};
use super::segments::{Segment, segment_folder, segments};
use super::settings::Settings;
use super::tree::Frontier;
use super::tree_state::TreeState;
use super::writer::{Closing, Snapshot};
use crate::clock::rfc3339;
use crate::json;

/// zstd's own default: fast, and JSON lines shrink to a tenth.
const LEVEL: i32 = 3;

/// The shortest time between two deletions of a segment.
const DELETION_PACE: Duration = Duration::from_secs(60);

/// A folder that has not changed for this long is what it was when it was read.
const SETTLED: Duration = Duration::from_secs(2);

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
    /// Records are to be deleted, because they are older than the retention. They are, once the caller has recorded that
    /// and said so: [`Keeper::deletion_recorded`].
    Deleting {
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
    /// The seals, and when the folder had changed last.
    known_seals: Option<(SystemTime, Vec<Seal>)>,
    /// Number of the last record of a segment whose deletion is on record.
    recorded_deletion: Option<u64>,
    last_deletion: Option<Instant>,
    /// The shortest time between two deletions.
    pub(super) deletion_pace: Duration,
}

impl Keeper {
    /// The keeper of this journal, which was opened with these settings.
    pub fn new(journal: Journal, settings: Settings) -> Self {
        Self {
            journal,
            settings,
            closings: Vec::new(),
            growing: None,
            signed: None,
            fault: None,
            known_seals: None,
            recorded_deletion: None,
            last_deletion: None,
            deletion_pace: DELETION_PACE,
        }
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
        let mut events = Vec::new();
        if let Err(error) = self.rotate_and_sign(now_millis, false, &mut events) {
            events.push(KeeperEvent::Failed { why: error.to_string() });
        }
        events
    }

    /// Deletion comes first: a full disk must not keep it from making room. A stage that fails holds none of the others up, but
    /// a checkpoint needs what was closed before it to be on the disk.
    fn try_step(&mut self, now: i64, events: &mut Vec<KeeperEvent>) -> Result<(), StepError> {
        let deleted = self.delete_old(now, events);
        let signed = self.rotate_and_sign(now, true, events);
        let compressed = self.compress_one();
        deleted.and(signed).and(compressed)
    }

    fn rotate_and_sign(
        &mut self,
        now: i64,
        may_rotate: bool,
        events: &mut Vec<KeeperEvent>,
    ) -> Result<(), StepError> {
        let Some(mut snapshot) = self.snapshot()? else { return Ok(()) };
        self.first_checkpoint(&snapshot)?;
        if may_rotate && self.is_rotation_due(&snapshot, now) {
            // What is left to be synced after it is moved is little then.
            snapshot.file.sync_data().map_err(failed("the decision log was not synced to the disk"))?;
            let Some(rotated) = self.journal.group_commit().rotate() else { return Ok(()) };
            rotated.map_err(failed("the decision log was not rotated"))?;
            match self.snapshot()? {
                Some(fresh) => snapshot = fresh,
                None => return Ok(()),
            }
        }
        let was_closed = !self.closings.is_empty();
        self.seal_closed(now, events)?;
        self.checkpoint(&snapshot, now, was_closed, events)
    }

    /// Signs the very first checkpoint of a log, before anything is sealed: seals without any checkpoint are a sign that it was
    /// removed.
    fn first_checkpoint(&self, snapshot: &Snapshot) -> Result<(), StepError> {
        let log = &self.settings.path;
        if snapshot.head.seq == 0 || TreeState::exists(log) {
            return Ok(());
        }
        let what = "the first checkpoint was not written";
        for closing in &self.closings {
            closing.nameless.iter().try_for_each(|file| file.sync_data()).map_err(failed(what))?;
        }
        for segment in segments(log).map_err(failed(what))?.iter().filter(|segment| !segment.compressed) {
            File::open(&segment.path).and_then(|file| file.sync_data()).map_err(failed(what))?;
        }
        snapshot.file.sync_data().map_err(failed(what))?;
        let written = TreeState::write(log, snapshot.head, &snapshot.tree, self.journal.key());
        written.map(drop).map_err(failed(what))
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

    /// Keeps what has no name any more, and seals every part that has no seal. A cut is sealed already.
    fn seal_closed(&mut self, now: i64, events: &mut Vec<KeeperEvent>) -> Result<(), StepError> {
        let log = self.settings.path.clone();
        while let Some(closing) = self.closings.first() {
            if let Some(file) = &closing.nameless {
                copy(&log, closing, file).map_err(failed("the records of a removed log were not saved"))?;
            }
            if closing.cause != SealCause::Cut {
                self.seal_segments(closing.cause, closing.end.seq, now)?;
            }
            let closing = self.closings.remove(0);
            let (first, last) = (closing.first, closing.end.seq);
            events.push(KeeperEvent::Closed { cause: closing.cause, first, last });
        }
        // A crash may have come between rotation and seal.
        self.seal_segments(SealCause::Rotated, u64::MAX, now)
    }

    /// Seals the segments up to record `last` that come after every seal: each is read, and has to continue the one before. A
    /// segment without a seal before a later one is none of the gateway's, and is never signed.
    fn seal_segments(&mut self, cause: SealCause, last: u64, now: i64) -> Result<(), StepError> {
        let log = self.settings.path.clone();
        let closed = segments(&log).map_err(failed("the closed segments could not be listed"))?;
        let known = self.seals()?;
        let newest = known.iter().max_by_key(|seal| seal.last);
        let mut end = match newest {
            Some(seal) => (seal.head(), seal.tree().unwrap_or_default()),
            None => (ChainHead::GENESIS, Frontier::default()),
        };
        let sealed = end.0.seq;
        for segment in closed.iter().filter(|segment| segment.last <= last && segment.last > sealed) {
            let what = || format!("records {} to {} were not sealed", segment.first, segment.last);
            if segment.first != end.0.seq + 1 {
                return Err(StepError {
                    what: what(),
                    why: format!("record {} is missing before them", end.0.seq + 1),
                });
            }
            let (seal, tree) = read_segment(segment, end, cause, now).map_err(failed(what()))?;
            seal.write(&log, self.journal.key()).map_err(failed(what()))?;
            end = (seal.head(), tree);
        }
        Ok(())
    }

    /// The seals of the log; verified again when the folder has changed.
    fn seals(&mut self) -> Result<Vec<Seal>, StepError> {
        let log = &self.settings.path;
        let changed = fs::metadata(segment_folder(log)).and_then(|found| found.modified()).ok();
        match &self.known_seals {
            // A change within the time of one tick of the file system's clock is looked at again.
            Some((at, seals)) if changed == Some(*at) && at.elapsed().is_ok_and(|age| age > SETTLED) => {
                Ok(seals.clone())
            }
            _ => {
                let found = seals(log, &self.journal.key().verifier())
                    .map_err(failed("the seals could not be read"))?;
                self.known_seals = changed.map(|at| (at, found.clone()));
                Ok(found)
            }
        }
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
    fn compress_one(&mut self) -> Result<(), StepError> {
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

    /// Deletes the oldest segment whose last record is older than the retention: one at a time, after its deletion is on
    /// record, and not faster than one a minute, so that a clock that jumps does not empty the log.
    fn delete_old(&mut self, now: i64, events: &mut Vec<KeeperEvent>) -> Result<(), StepError> {
        let Some(retention) = self.settings.retention else { return Ok(()) };
        let known = self.seals()?;
        let deleted = known.iter().find(|seal| seal.cause == SealCause::Deleted).map_or(0, |seal| seal.last);
        let log = self.settings.path.clone();
        remove_deleted(&log, deleted, &known).map_err(failed("old records were not deleted"))?;
        let oldest = known.iter().find(|seal| seal.cause != SealCause::Deleted && seal.first == deleted + 1);
        let is_old = |seal: &&Seal| {
            let time = seal.last_time.parse::<Timestamp>();
            time.is_ok_and(|time| now - time.as_millisecond() >= millis(retention))
        };
        let Some(oldest) = oldest.filter(is_old) else { return Ok(()) };
        if self.recorded_deletion != Some(oldest.last) {
            if self.last_deletion.is_none_or(|last| last.elapsed() >= self.deletion_pace) {
                events.push(KeeperEvent::Deleting { first: oldest.first, last: oldest.last });
            }
            return Ok(());
        }
        let tombstone = Seal::deleted(oldest, rfc3339(now));
        tombstone.write(&log, self.journal.key()).map_err(failed("the tombstone was not written"))?;
        (self.recorded_deletion, self.last_deletion) = (None, Some(Instant::now()));
        remove_deleted(&log, oldest.last, &known).map_err(failed("old records were not deleted"))
    }

    /// The deletion of records up to `last` is on record: it may be done.
    pub fn deletion_recorded(&mut self, last: u64) {
        self.recorded_deletion = Some(last);
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
    json::parse_as::<Timed>(line).ok().map(|timed| timed.time)
}

/// When the first record of the file was made, in milliseconds since the Unix epoch.
fn first_time(file: &File) -> Option<i64> {
    let file = File::open(format!("/proc/self/fd/{}", file.as_raw_fd())).ok()?;
    let mut line = Vec::new();
    BufReader::new(file).take(super::line::LINE_LIMIT as u64).read_until(b'\n', &mut line).ok()?;
    time_of(&line)?.parse::<Timestamp>().ok().map(|time| time.as_millisecond())
}

/// Reads a segment that has to continue `end` and puts it on the disk; what is to be signed about it, and the tree.
fn read_segment(
    segment: &Segment,
    (mut head, mut tree): (ChainHead, Frontier),
    cause: SealCause,
    now: i64,
) -> io::Result<(Seal, Frontier)> {
    let damaged = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
    if !segment.compressed {
        File::open(&segment.path)?.sync_data()?;
        sync_folder(&segment.path)?;
    }
    let begin = SealBegin { cause, first: segment.first, prev_hash: head.hash };
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
            Ok((Seal::new(begin, end, last_time, rfc3339(now)), tree))
        }
        _ => Err(damaged(format!("it ends with record {}, and not with {}", head.seq, segment.last))),
    }
}

/// Writes the records of a file without a name to the segment that it should be.
fn copy(log: &Path, closing: &Closing, file: &File) -> io::Result<()> {
    let target = Segment::new(&segment_folder(log), closing.first, closing.end.seq, false);
    put_in_place(&target.path, |fresh| copy_lines(closing, file, fresh))
}

fn copy_lines(closing: &Closing, file: &File, fresh: &Path) -> io::Result<()> {
    let mut copied = create_fresh(fresh)?;
    // Opened anew, with a position of its own.
    let file = File::open(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
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
    copied.sync_all()
}

/// Compresses a segment, reads the result back, and removes the original only when both are the same.
fn compress(log: &Path, segment: &Segment) -> io::Result<()> {
    let target = Segment::new(&segment_folder(log), segment.first, segment.last, true);
    put_in_place(&target.path, |fresh| compress_to(segment, fresh))?;
    fs::remove_file(&segment.path)
}

fn compress_to(segment: &Segment, fresh: &Path) -> io::Result<()> {
    let mut encoder = zstd::Encoder::new(create_fresh(fresh)?, LEVEL)?;
    encoder.include_checksum(true)?;
    let plain = digest(segment.open()?, Some(&mut encoder))?;
    encoder.finish()?.sync_all()?;
    if digest(zstd::Decoder::new(File::open(fresh)?)?, None)? != plain {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "what was compressed is not what is read back",
        ));
    }
    Ok(())
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
