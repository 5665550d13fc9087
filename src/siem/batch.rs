//! Reads the log for one sink: follows it, masks, and writes each record in the format of the sink. Blocks.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::format::Renderer;
use super::mask::RecordMask;
use super::sink::OutgoingRecord;
use crate::audit::follow::{FollowError, Follower};
use crate::audit::tail;
use crate::json;

/// How often the end of the log is looked for while a sink is behind.
const LOOK: Duration = Duration::from_secs(1);
/// Tries to read a place that holds no record, before it counts as damaged.
const TRIES: u32 = 5;

/// The most that is sent at once.
#[derive(Debug, Clone, Copy)]
pub struct BatchLimits {
    /// Records.
    pub records: usize,
    /// Bytes of their texts. One record that is longer goes alone.
    pub bytes: usize,
}

/// Records that are not in the log any more, or cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LostRecords {
    pub(super) first: u64,
    pub(super) last: u64,
}

/// What was read.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) records: Vec<OutgoingRecord>,
    /// What is missing after them.
    pub(super) lost: Vec<LostRecords>,
    /// Whether no more fits.
    pub(super) is_full: bool,
}

/// Follows the log for one sink.
pub(super) struct BatchReader {
    log: PathBuf,
    follower: Follower,
    renderer: Renderer,
    mask: RecordMask,
    limits: BatchLimits,
    /// The last record that the receiver has.
    acknowledged: u64,
    /// The last record of the log, as far as it is known.
    end: u64,
    looked: Option<Instant>,
    /// A record that did not fit into the batch before.
    held: Option<OutgoingRecord>,
    /// Whether the log may begin later than the sink would.
    starts_anywhere: bool,
    /// Whether the record before the first one was shown to the renderer.
    primed: bool,
    damage: u32,
}

impl BatchReader {
    /// Reads after record `after`. A sink that `starts_anywhere` has no cursor yet: what the log does not have any more is not
    /// lost to it.
    pub(super) fn new(
        log: &Path,
        after: u64,
        starts_anywhere: bool,
        (renderer, mask): (Renderer, RecordMask),
        limits: BatchLimits,
    ) -> Self {
        Self {
            log: log.to_owned(),
            follower: Follower::new(log, after),
            renderer,
            mask,
            limits,
            acknowledged: after,
            end: after,
            looked: None,
            held: None,
            starts_anywhere,
            primed: false,
            damage: 0,
        }
    }

    /// The receiver has everything up to this record.
    pub(super) fn acknowledge(&mut self, seq: u64) {
        self.acknowledged = seq;
    }

    /// How many records of the log the receiver does not have.
    pub(super) fn behind(&self) -> u64 {
        self.end.saturating_sub(self.acknowledged)
    }

    /// The records after those in `begun`, up to the limits. They are on the disk: else a power cut could leave a receiver with
    /// records that the log does not have, whose numbers others get after the next start.
    pub(super) fn read(&mut self, begun: Vec<OutgoingRecord>) -> Result<Batch, FollowError> {
        let batch = self.read_some(begun)?;
        if !batch.records.is_empty() {
            let synced = File::open(&self.log).and_then(|file| file.sync_data());
            match synced {
                // It is being rotated, and was synced for that.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => return Err(FollowError::Read { path: self.log.clone(), source }),
                Ok(()) => {}
            }
        }
        Ok(batch)
    }

    fn read_some(&mut self, begun: Vec<OutgoingRecord>) -> Result<Batch, FollowError> {
        let mut batch = Batch { records: begun, ..Batch::default() };
        let mut bytes: usize = batch.records.iter().map(|record| record.text.len()).sum();
        self.prime();
        loop {
            let next = match self.held.take() {
                Some(held) => Ok(Some(held)),
                None => self.next(),
            };
            let record = match next {
                Ok(Some(record)) => record,
                Ok(None) => {
                    self.end = self.end.max(self.follower.position());
                    return Ok(batch);
                }
                Err(FollowError::Gone { first, last, .. }) => {
                    self.follower.seek(last);
                    if self.starts_anywhere {
                        continue;
                    }
                    batch.lost.push(LostRecords { first, last });
                    return Ok(batch);
                }
                // What was read goes first; the next read comes to the same place.
                Err(_) if !batch.records.is_empty() => return Ok(batch),
                Err(error) => return Err(self.note_damage(error)),
            };
            self.starts_anywhere = false;
            self.damage = 0;
            let more = bytes.saturating_add(record.text.len());
            if !batch.records.is_empty() && more > self.limits.bytes {
                self.held = Some(record);
                batch.is_full = true;
            } else {
                bytes = more;
                batch.records.push(record);
                batch.is_full = batch.records.len() >= self.limits.records || bytes >= self.limits.bytes;
            }
            if batch.is_full {
                self.look_for_the_end();
                return Ok(batch);
            }
        }
    }

    /// Goes back to the last good record; after some tries what is damaged is passed over, and told as lost.
    fn note_damage(&mut self, error: FollowError) -> FollowError {
        if let FollowError::NotARecord { after, .. } = &error {
            self.follower.seek(*after);
            self.damage += 1;
            if self.damage >= TRIES {
                self.follower.pass_damage();
            }
        }
        error
    }

    fn next(&mut self) -> Result<Option<OutgoingRecord>, FollowError> {
        let Some(followed) = self.follower.next_record()? else { return Ok(None) };
        let seq = followed.seq;
        self.end = self.end.max(seq);
        let Ok(mut record) = json::parse(followed.text.as_bytes()) else {
            // The follower has seen its number, so it is JSON of some kind. It is told as one that cannot be read.
            return Err(FollowError::Gone { log: self.log.clone(), first: seq, last: seq });
        };
        let line = self.mask.is_empty().then_some(followed.text);
        self.mask.apply(&mut record);
        let text = self.renderer.render(&record, line);
        Ok(Some(OutgoingRecord::new(&record, text)))
    }

    /// Shows the renderer the record before the first one, where it is still there.
    fn prime(&mut self) {
        if std::mem::replace(&mut self.primed, true) || self.acknowledged == 0 {
            return;
        }
        let mut before = Follower::new(&self.log, self.acknowledged - 1);
        let found = before.next_record().ok().flatten();
        let record = found.and_then(|followed| json::parse(followed.text.as_bytes()).ok());
        record.iter().for_each(|record| self.renderer.follows(record));
    }

    /// Looks where the log ends, once a second at most. Blocks.
    pub(super) fn look_for_the_end(&mut self) {
        if self.looked.is_some_and(|looked| looked.elapsed() < LOOK) {
            return;
        }
        self.looked = Some(Instant::now());
        self.end = self.end.max(last_record(&self.log).unwrap_or_default());
    }
}

/// The number of the last record of the log; `None` where it cannot be read or there is none. Blocks.
pub(super) fn last_record(log: &Path) -> Option<u64> {
    tail(log, 0).ok().map(|end| end.position()).filter(|last| *last > 0)
}
