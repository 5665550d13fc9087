//! Builds the index: follows the log, and writes a chunk whenever 4,096 records have come.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::chunk::{Candidate, ChunkBuilder, RECORDS};
use super::files::LogFiles;
use super::store::Store;
use super::terms::terms_of;
use super::{IndexError, index_path};
use crate::audit::Digest;
use crate::audit::file::beside;
use crate::audit::follow::{FollowError, FollowedRecord, Follower, read_record};
use crate::audit::scan::Place;
use crate::audit::segments::segments;

/// Whether there is more to index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IndexStep {
    /// A chunk was written, and there may be another.
    Written,
    /// Fewer records than a chunk are not in the index.
    UpToDate,
}

/// Keeps the index of a log. There is one for each log: it holds a lock.
pub struct Indexer {
    log: PathBuf,
    store: Store,
    follower: Follower,
    chunk: ChunkBuilder,
    /// Records of a chunk.
    chunk_records: usize,
    _lock: File,
}

impl std::fmt::Debug for Indexer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Indexer").field("log", &self.log).finish_non_exhaustive()
    }
}

impl Indexer {
    /// Opens the index of this log, or makes it; one that cannot be used is built anew. The records are read later, by
    /// [`Indexer::step`]. Touches files: call it off the async threads.
    ///
    /// # Errors
    /// Another process keeps the index, or files beside the log cannot be written.
    pub fn open(log: &Path) -> Result<Self, IndexError> {
        let lock = take_lock(log)?;
        let path = index_path(log);
        match Store::open(&path).and_then(|store| fitting(log, store)) {
            Ok((store, after)) => Ok(Self::new(log, store, after, lock)),
            Err(IndexError::Log { path, source }) => Err(IndexError::Log { path, source }),
            Err(_) => Self::anew(log, lock),
        }
    }

    /// Begins a new index of this log.
    ///
    /// # Errors
    /// As [`Indexer::open`].
    pub fn rebuild(log: &Path) -> Result<Self, IndexError> {
        let lock = take_lock(log)?;
        Self::anew(log, lock)
    }

    fn anew(log: &Path, lock: File) -> Result<Self, IndexError> {
        let path = index_path(log);
        remove(&path)?;
        Ok(Self::new(log, Store::open(&path)?, 0, lock))
    }

    fn new(log: &Path, store: Store, after: u64, lock: File) -> Self {
        let follower = Follower::new(log, after);
        Self {
            log: log.to_owned(),
            store,
            follower,
            chunk: ChunkBuilder::new(RECORDS),
            chunk_records: RECORDS,
            _lock: lock,
        }
    }

    /// The same with small chunks, so that a short log has many.
    #[cfg(test)]
    pub(super) fn with_chunks_of(self, records: usize) -> Self {
        Self { chunk: ChunkBuilder::new(records), chunk_records: records, ..self }
    }

    /// Reads on until a chunk is full, or the log ends. Touches files: call it off the async threads.
    ///
    /// # Errors
    /// The log cannot be read on, or the index cannot be written. The next call tries again.
    pub fn step(&mut self) -> Result<IndexStep, IndexError> {
        let key = self.store.key();
        loop {
            let record = match self.follower.next_record() {
                Ok(Some(record)) => record,
                Ok(None) => return Ok(IndexStep::UpToDate),
                // The oldest segments may be removed; what is there is indexed.
                Err(FollowError::Gone { last, .. }) => {
                    self.follower.seek(last);
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            let Some(json) = read_record(record.text.as_bytes()) else {
                let (path, after) = (self.log.clone(), record.seq.saturating_sub(1));
                self.follower.seek(after);
                return Err(FollowError::NotARecord { path, after }.into());
            };
            let time = json.get("time").and_then(serde_json::Value::as_str).unwrap_or_default();
            self.chunk.add(candidate(&record), time, &terms_of(&json, &key));
            if self.chunk.is_full() {
                let last_line = Digest::of(record.text.as_bytes());
                return self.write(last_line);
            }
        }
    }

    fn write(&mut self, last_line: Digest) -> Result<IndexStep, IndexError> {
        let chunk = std::mem::replace(&mut self.chunk, ChunkBuilder::new(self.chunk_records));
        let Some(chunk) = chunk.finish() else { return Ok(IndexStep::UpToDate) };
        let written = self.store.append(&chunk, last_line).and_then(|()| self.forget_removed());
        if let Err(error) = written {
            let indexed = self.store.end().ok().flatten().map_or(0, |end| end.seq);
            self.follower.seek(indexed);
            return Err(error);
        }
        Ok(IndexStep::Written)
    }

    /// Forgets records whose segments were removed.
    fn forget_removed(&mut self) -> Result<(), IndexError> {
        let closed =
            segments(&self.log).map_err(|source| IndexError::Log { path: self.log.clone(), source })?;
        match closed.first() {
            Some(oldest) => self.store.forget_before(oldest.first),
            None => Ok(()),
        }
    }

    /// Number of the last record that is in the index.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn indexed(&self) -> Result<u64, IndexError> {
        Ok(self.store.end()?.map_or(0, |end| end.seq))
    }

    /// Number of the last record that was read: those after [`Indexer::indexed`] are not written yet.
    pub fn position(&self) -> u64 {
        self.follower.position()
    }
}

fn candidate(record: &FollowedRecord<'_>) -> Candidate {
    let place = Place { segment: record.segment, offset: record.offset };
    Candidate { seq: record.seq, place, length: record.text.len() as u64 + 1 }
}

/// The store, and the number of the last record in it, when it is of this log.
fn fitting(log: &Path, store: Store) -> Result<(Store, u64), IndexError> {
    let Some(end) = store.end()? else { return Ok((store, 0)) };
    let mut files = LogFiles::new(log);
    super::reader::check_end(&store, &end, &mut files)?;
    Ok((store, end.seq))
}

/// One process writes the index. The lock is on a file of its own: SQLite's files are opened by SQLite alone.
fn take_lock(log: &Path) -> Result<File, IndexError> {
    let path = beside(log, "index.lock");
    let failed = |source| IndexError::Write { path: path.clone(), source };
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(0o600);
    // What is no regular file is not followed and not waited for.
    options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
    let lock = options.open(&path).map_err(failed)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(IndexError::Locked(log.to_owned())),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

/// Removes the database with SQLite's files beside it.
fn remove(path: &Path) -> Result<(), IndexError> {
    let mut names = vec![path.to_owned()];
    for suffix in ["-wal", "-shm"] {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        names.push(name.into());
    }
    for path in names {
        match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(IndexError::Write { path, source });
            }
            _ => {}
        }
    }
    Ok(())
}
