//! Asks the index where records may stand that match a filter.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::chunk::{Candidate, Positions, decode_places};
use super::files::LogFiles;
use super::store::{ChunkSummary, IndexEnd, Store};
use super::terms::{Clause, clauses};
use super::{IndexError, index_path};
use crate::audit::Digest;
use crate::audit::query::{Order, PreparedFilter};
use crate::audit::scan::Place;

/// Bytes of lines that are read at once.
const BATCH_BYTES: u64 = 8 << 20;

/// The index at one moment.
pub(in crate::audit) struct IndexReader {
    log: PathBuf,
    store: Store,
    chunks: Vec<ChunkSummary>,
    end: Option<IndexEnd>,
    files: LogFiles,
}

impl IndexReader {
    /// Opens the index of this log; `None` when it has none.
    ///
    /// # Errors
    /// It is not one of this log, or cannot be read.
    pub(in crate::audit) fn open(log: &Path) -> Result<Option<Self>, IndexError> {
        let Some(store) = Store::open_to_read(&index_path(log))? else { return Ok(None) };
        let mut files = LogFiles::new(log);
        let end = store.end()?;
        if let Some(end) = &end {
            check_end(&store, end, &mut files)?;
        }
        let chunks = store.chunks()?;
        Ok(Some(Self { log: log.to_owned(), store, chunks, end, files }))
    }

    /// Number of the last record that is in the index; 0 when there is none.
    pub(in crate::audit) fn last_seq(&self) -> u64 {
        self.end.as_ref().map_or(0, |end| end.seq)
    }

    /// Number of the first record that is in the index; 0 when there is none.
    #[cfg(test)]
    pub(super) fn first_seq(&self) -> u64 {
        self.chunks.first().map_or(0, |chunk| chunk.seqs.0)
    }

    /// Where the first record stands that is not in the index; `None` when none is in it.
    pub(in crate::audit) fn end(&self) -> Option<Place> {
        self.end.as_ref().map(|end| end.place)
    }

    /// Where records may stand that match, in this order: those before number `bound`, or after it.
    pub(in crate::audit) fn candidates(
        &self,
        filter: &PreparedFilter<'_>,
        order: Order,
        bound: u64,
    ) -> Candidates {
        let may_have = |chunk: &&ChunkSummary| {
            let (earliest, latest) = (&chunk.times.0, &chunk.times.1);
            let in_order = match order {
                Order::NewestFirst => chunk.seqs.0 < bound,
                Order::OldestFirst => chunk.seqs.1 > bound,
            };
            in_order
                && filter.from.as_ref().is_none_or(|from| latest >= from)
                && filter.to.as_ref().is_none_or(|to| earliest < to)
        };
        let mut chunks: VecDeque<ChunkSummary> = self.chunks.iter().filter(may_have).cloned().collect();
        if order == Order::NewestFirst {
            chunks.make_contiguous().reverse();
        }
        let clauses = clauses(filter.filter, &self.store.key());
        Candidates { clauses, order, bound, chunks, pending: VecDeque::new(), seen: None }
    }

    /// The candidates of one chunk, oldest first.
    fn candidates_of(&self, clauses: &[Clause], chunk: &ChunkSummary) -> Result<Vec<Candidate>, IndexError> {
        let damaged = || IndexError::Version(self.store.path().to_owned());
        let mut positions = Positions::ALL;
        let mut places = None;
        for clause in clauses {
            let mut of_clause = Positions::NONE;
            for term in &clause.terms {
                let list = self.store.list(chunk.number, term.list())?;
                of_clause.add_of(&list, *term).ok_or_else(damaged)?;
            }
            if let Some(seq) = clause.seq.filter(|seq| (chunk.seqs.0..=chunk.seqs.1).contains(seq)) {
                let records = self.places(chunk)?;
                let position = records.iter().position(|record| record.seq == seq);
                position.into_iter().for_each(|position| of_clause.insert(position));
                places = Some(records);
            }
            positions.intersect(&of_clause);
            if positions.is_empty() {
                return Ok(Vec::new());
            }
        }
        let places = places.map_or_else(|| self.places(chunk), Ok)?;
        let wanted = places.into_iter().enumerate().filter(|(position, _)| positions.has(*position));
        Ok(wanted.map(|(_, record)| record).collect())
    }

    fn places(&self, chunk: &ChunkSummary) -> Result<Vec<Candidate>, IndexError> {
        let places = decode_places(&self.store.places(chunk.number)?);
        places.ok_or_else(|| IndexError::Version(self.store.path().to_owned()))
    }

    /// The lines at the places of these records, which are of one file. Without those of a file that was removed.
    pub(in crate::audit) fn lines(
        &mut self,
        batch: &[Candidate],
    ) -> Result<Vec<(Candidate, Vec<u8>)>, IndexError> {
        self.files.lines(batch).map_err(|source| IndexError::Log { path: self.log.clone(), source })
    }

    /// Another line stands where this record should be.
    pub(in crate::audit) fn differs(&self, candidate: Candidate) -> IndexError {
        let Candidate { seq, place: Place { segment, offset }, .. } = candidate;
        IndexError::Differs { seq, segment, offset }
    }
}

/// Where records may stand that match, chunk by chunk.
pub(in crate::audit) struct Candidates {
    clauses: Vec<Clause>,
    order: Order,
    bound: u64,
    chunks: VecDeque<ChunkSummary>,
    pending: VecDeque<Candidate>,
    seen: Option<u64>,
}

impl Candidates {
    /// Whether there are no more.
    pub(in crate::audit) fn is_done(&self) -> bool {
        self.chunks.is_empty() && self.pending.is_empty()
    }

    /// The number of the last record that was looked at: the search can go on after it.
    pub(in crate::audit) fn last_seen(&self) -> Option<u64> {
        self.seen
    }

    /// The next candidates of one file: at most `room`, and not more than can be read at once. May be empty before the
    /// end, when it is too late.
    pub(in crate::audit) fn next_batch(
        &mut self,
        index: &mut IndexReader,
        room: usize,
        until: Option<Instant>,
    ) -> Result<Vec<Candidate>, IndexError> {
        while self.pending.is_empty() {
            let Some(chunk) = self.chunks.pop_front() else { return Ok(Vec::new()) };
            self.fill(index, &chunk)?;
            if until.is_some_and(|until| Instant::now() >= until) {
                break;
            }
        }
        let mut batch: Vec<Candidate> = Vec::new();
        let mut bytes = 0;
        while let Some(next) = self.pending.front() {
            let fits = batch.first().is_none_or(|first| {
                first.place.segment == next.place.segment && bytes + next.length <= BATCH_BYTES
            });
            if batch.len() >= room || !fits {
                break;
            }
            bytes += next.length;
            self.seen = Some(next.seq);
            batch.extend(self.pending.pop_front());
            if self.pending.is_empty()
                && let Some(chunk) = self.chunks.pop_front()
            {
                self.fill(index, &chunk)?;
            }
        }
        Ok(batch)
    }

    fn fill(&mut self, index: &IndexReader, chunk: &ChunkSummary) -> Result<(), IndexError> {
        let mut found = index.candidates_of(&self.clauses, chunk)?;
        let bound = self.bound;
        match self.order {
            Order::NewestFirst => {
                found.retain(|record| record.seq < bound);
                found.reverse();
            }
            Order::OldestFirst => found.retain(|record| record.seq > bound),
        }
        if found.is_empty() {
            self.seen = Some(match self.order {
                Order::NewestFirst => chunk.seqs.0,
                Order::OldestFirst => chunk.seqs.1,
            });
        }
        self.pending.extend(found);
        Ok(())
    }
}

/// Proves that the last record of the index stands in the log where it should. In a compressed segment, which is never
/// changed, the look at its name is enough.
pub(super) fn check_end(store: &Store, end: &IndexEnd, files: &mut LogFiles) -> Result<(), IndexError> {
    let other = || IndexError::OtherLog(store.path().to_owned());
    let failed = |source| IndexError::Log { path: store.path().to_owned(), source };
    if files.is_compressed(end.place.segment).map_err(failed)? {
        return Ok(());
    }
    let places = decode_places(&store.places(end.number)?).ok_or_else(other)?;
    let last = *places.last().ok_or_else(other)?;
    let lines = files.lines(&[last]).map_err(failed)?;
    let hex = lines.first().map(|(_, line)| Digest::of(line).to_string());
    if hex.as_deref() == Some(end.last_line.as_str()) { Ok(()) } else { Err(other()) }
}
