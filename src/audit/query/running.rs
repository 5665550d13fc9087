//! A search under way: which lines are looked at, in which order, and when it ends.
//!
//! The index has the records up to some number, in whole chunks; the few that came since are read one by one. Newest first,
//! these come first.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Instant;

use serde_json::Value as Json;

use super::matching::PreparedFilter;
use super::{FoundRecord, LogSearch, Order, QueryError, SearchResult};
use crate::audit::follow::read_record;
use crate::audit::index::{Candidate, Candidates, IndexReader};
use crate::audit::scan::{LogScan, Place, ScannedLine};

/// After how many lines it is asked whether to go on.
const ASKED_EVERY: u64 = 256;

/// How a search goes on after a record.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Taken {
    /// There is room for more.
    More,
    /// The limit is reached.
    Enough,
}

/// A line of the log that is a record.
struct ReadRecord {
    line: String,
    json: Json,
}

impl ReadRecord {
    fn read(line: Vec<u8>) -> Option<Self> {
        let line = String::from_utf8(line).ok()?;
        let json = read_record(line.as_bytes())?;
        Some(Self { line, json })
    }

    fn seq(&self) -> Option<u64> {
        self.json.get("seq").and_then(Json::as_u64)
    }

    fn found(self) -> FoundRecord {
        FoundRecord { seq: self.seq().unwrap_or_default(), line: self.line.into(), json: self.json }
    }
}

pub(super) struct Running<'s> {
    log: &'s Path,
    search: &'s LogSearch<'s>,
    filter: PreparedFilter<'s>,
    index: Option<IndexReader>,
    pub(super) result: SearchResult,
    /// Lines that were read.
    lines: u64,
    /// Bytes of the records that were found.
    bytes: usize,
}

impl<'s> Running<'s> {
    pub(super) fn new(log: &'s Path, search: &'s LogSearch<'s>) -> Self {
        let mut result = SearchResult::default();
        let index = match search.use_index {
            true => IndexReader::open(log).unwrap_or_else(|error| {
                result.passed_over = Some(error);
                None
            }),
            false => None,
        };
        let filter = PreparedFilter::new(search.filter);
        Self { log, search, filter, index, result, lines: 0, bytes: 0 }
    }

    fn limit(&self) -> usize {
        self.search.filter.limit.unwrap_or(usize::MAX)
    }

    fn is_too_late(&self) -> bool {
        self.search.bounds.until.is_some_and(|until| Instant::now() >= until)
    }

    /// Whether a bound is reached.
    fn is_exhausted(&self) -> bool {
        let bounds = &self.search.bounds;
        self.lines >= bounds.lines || self.bytes >= bounds.bytes || self.is_too_late()
    }

    /// Takes a record in, in the order that was asked for.
    fn take(&mut self, record: ReadRecord) -> Taken {
        if self.result.records.len() >= self.limit() {
            // One more is there: the next search begins after the last one that was taken.
            self.result.next = self.result.records.last().map(|last| last.seq).or(self.search.after);
            return Taken::Enough;
        }
        self.bytes += record.line.len();
        self.result.records.push(record.found());
        Taken::More
    }

    /// Records that are not in the index, then those that are.
    pub(super) fn newest_first(&mut self) -> Result<(), QueryError> {
        let before = self.search.after.unwrap_or(u64::MAX);
        let end = self.index.as_ref().and_then(IndexReader::end);
        let goes_on_in_index = self.index.as_ref().is_some_and(|index| before <= index.last_seq());
        if !goes_on_in_index {
            for record in self.newest_unindexed(end, before)? {
                let is_full = self.search.bounds.bytes <= self.bytes;
                if is_full {
                    self.result.next = self.result.records.last().map(|last| last.seq);
                }
                if is_full || self.take(record) == Taken::Enough {
                    return Ok(());
                }
            }
        }
        self.indexed(before)
    }

    /// Of the records after `begin` those that match, newest first: one more than the limit at most, and not many more bytes
    /// than the bound.
    fn newest_unindexed(&mut self, begin: Option<Place>, before: u64) -> Result<Vec<ReadRecord>, QueryError> {
        let most = self.limit().saturating_add(1);
        let mut newest: VecDeque<ReadRecord> = VecDeque::new();
        let mut kept = 0;
        let mut scan = self.scan(begin)?;
        while let Some(record) = self.next_record(&mut scan)? {
            // These are read from the oldest on, so what is newest is not known before the end.
            if self.lines > self.search.bounds.lines || self.is_too_late() {
                return Err(QueryError::Behind { lines: self.search.bounds.lines });
            }
            let is_before = record.seq().is_none_or(|seq| seq < before);
            if !is_before || !self.filter.matches(&record.json) {
                continue;
            }
            kept += record.line.len();
            newest.push_back(record);
            while newest.len() > most
                || (newest.len() > 2 && kept > self.search.bounds.bytes.saturating_mul(2))
            {
                kept -= newest.pop_front().map_or(0, |oldest| oldest.line.len());
            }
        }
        Ok(newest.into_iter().rev().collect())
    }

    pub(super) fn oldest_first(&mut self) -> Result<(), QueryError> {
        let after = self.search.after.unwrap_or_default();
        let end = self.index.as_ref().and_then(IndexReader::end);
        let indexed = self.index.as_ref().map_or(0, IndexReader::last_seq);
        if after < indexed {
            self.indexed(after)?;
            if self.result.next.is_some() {
                return Ok(());
            }
        }
        let mut scan = self.scan(end)?;
        let mut skipped = 0;
        let mut last = None;
        while let Some(record) = self.next_record(&mut scan)? {
            if record.seq().is_some_and(|seq| seq <= after) {
                // Read once more on the way to where the search before ended; no page may end among these.
                skipped += 1;
                self.lines -= 1;
                if skipped > self.search.bounds.lines || self.is_too_late() {
                    return Err(QueryError::Behind { lines: self.search.bounds.lines });
                }
                continue;
            }
            if self.is_exhausted() {
                self.result.next = last.or(Some(after.max(indexed)));
                return Ok(());
            }
            last = record.seq().or(last);
            if self.filter.matches(&record.json) && self.take(record) == Taken::Enough {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Candidates of the index, read from the log. `bound` is the number before which, or after which, they are wanted.
    fn indexed(&mut self, bound: u64) -> Result<(), QueryError> {
        let Some(mut index) = self.index.take() else { return Ok(()) };
        let mut candidates = index.candidates(&self.filter, self.search.order, bound);
        loop {
            if self.is_exhausted() {
                let taken = self.result.records.last().map(|record| record.seq);
                self.result.next = candidates.last_seen().or(taken).or(self.search.after).or(Some(bound));
                return Ok(());
            }
            let room = self.limit().saturating_sub(self.result.records.len()).saturating_add(1);
            let batch = candidates.next_batch(&mut index, room, self.search.bounds.until)?;
            if batch.is_empty() && candidates.is_done() {
                return Ok(());
            }
            for record in self.read(&mut index, &batch)? {
                if self.take(record) == Taken::Enough {
                    return Ok(());
                }
            }
        }
    }

    /// The candidates that match.
    fn read(&mut self, index: &mut IndexReader, batch: &[Candidate]) -> Result<Vec<ReadRecord>, QueryError> {
        let mut matching = Vec::new();
        for (candidate, line) in index.lines(batch)? {
            self.lines += 1;
            let record = ReadRecord::read(line).filter(|record| record.seq() == Some(candidate.seq));
            let record = record.ok_or_else(|| index.differs(candidate))?;
            if self.filter.matches(&record.json) {
                matching.push(record);
            }
        }
        Ok(matching)
    }

    pub(super) fn each_oldest_first(
        &mut self,
        goes_on: &mut dyn FnMut() -> bool,
        visit: &mut dyn FnMut(FoundRecord) -> ControlFlow<()>,
    ) -> Result<(), QueryError> {
        let end = self.index.as_ref().and_then(IndexReader::end);
        if let Some(mut index) = self.index.take() {
            let mut candidates: Candidates = index.candidates(&self.filter, Order::OldestFirst, 0);
            while !candidates.is_done() {
                if !goes_on() {
                    return Ok(());
                }
                let batch = candidates.next_batch(&mut index, usize::MAX, None)?;
                for record in self.read(&mut index, &batch)? {
                    if visit(record.found()).is_break() {
                        return Ok(());
                    }
                }
            }
        }
        let mut scan = self.scan(end)?;
        while let Some(record) = self.next_record(&mut scan)? {
            if self.lines.is_multiple_of(ASKED_EVERY) && !goes_on() {
                return Ok(());
            }
            if self.filter.matches(&record.json) && visit(record.found()).is_break() {
                return Ok(());
            }
        }
        Ok(())
    }

    fn scan(&self, begin: Option<Place>) -> Result<LogScan, QueryError> {
        LogScan::open(self.log, begin).map_err(|source| QueryError::new(self.log, source))
    }

    /// The next line that is a record.
    fn next_record(&mut self, scan: &mut LogScan) -> Result<Option<ReadRecord>, QueryError> {
        while let Some(line) = scan.next_line().map_err(|source| QueryError::new(self.log, source))? {
            self.lines += 1;
            let record = match line {
                ScannedLine::Whole(line) => ReadRecord::read(line),
                ScannedLine::TooLong => None,
                // It is being written, or was cut by a crash and never counted.
                ScannedLine::Torn => continue,
            };
            match record {
                Some(record) => return Ok(Some(record)),
                None => self.result.unreadable += 1,
            }
        }
        Ok(None)
    }
}
