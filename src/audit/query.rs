//! Finds records in the log.
//!
//! Records are looked at as plain JSON, so that fields of a newer version are shown rather than refused. What
//! cannot be read is counted and passed over: proving that the log is whole is what `verify` is for.
//!
//! There are two ways to a record: through the [index](super::index), which says where it may stand, and by reading every
//! line. Either way the line is read from the log and compared with the filter, so both find the same.

mod filter;
mod matching;
mod running;
mod times;

use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde_json::Value as Json;

pub use self::filter::{DecisionFilter, EventFilter, Filter, FilterError, FilterWords};
pub use self::matching::PreparedFilter;
pub(super) use self::matching::{all_of, ip, name_parts, parties, subject};
pub(crate) use self::matching::{labels, policies};
use self::running::Running;
pub use self::times::{TimeError, end_of, start_of, time_span};
use super::index::IndexError;

/// In which order records are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// The newest first.
    #[default]
    NewestFirst,
    /// The oldest first.
    OldestFirst,
}

/// How much a search may do. What comes after is found by the next search, which begins where this one ended.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Lines that are read.
    pub lines: u64,
    /// Bytes of the records that are found.
    pub bytes: usize,
    /// When it ends.
    pub until: Option<Instant>,
}

impl Bounds {
    /// As much as it takes: of a command on the log's own host.
    pub const NONE: Self = Self { lines: u64::MAX, bytes: usize::MAX, until: None };
}

/// One search. `limit` of the filter is the most records of its result.
#[derive(Debug, Clone, Copy)]
pub struct LogSearch<'f> {
    /// Which records.
    pub filter: &'f Filter,
    /// In which order.
    pub order: Order,
    /// The number of the record after which it begins, in that order: the last one of the search before.
    pub after: Option<u64>,
    /// Whether the index is used, where there is one.
    pub use_index: bool,
    /// How much it may do.
    pub bounds: Bounds,
}

impl<'f> LogSearch<'f> {
    /// The newest records, without bounds.
    pub fn newest(filter: &'f Filter) -> Self {
        Self { filter, order: Order::NewestFirst, after: None, use_index: true, bounds: Bounds::NONE }
    }
}

/// A record that was found.
#[derive(Debug, Clone)]
pub struct FoundRecord {
    /// Its number; 0 for one without a number, in a file that is no log.
    pub seq: u64,
    /// Its line, as it stands in the log.
    pub line: Box<str>,
    /// The same, read.
    pub json: Json,
}

/// The result of a search.
#[derive(Debug, Default)]
pub struct SearchResult {
    /// The records, in the order that was asked for.
    pub records: Vec<FoundRecord>,
    /// Where the next search begins; `None` when there are no more records.
    pub next: Option<u64>,
    /// Lines that are not records.
    pub unreadable: u64,
    /// Why an index that is there was not used.
    pub passed_over: Option<IndexError>,
}

/// Why the log could not be searched.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// A file could not be read.
    #[error("the decision log `{path}` could not be read")]
    Read {
        /// The log.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// The index says something else than the log.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// More than the search may read is not in the index yet.
    #[error(
        "the index of the decision log is behind by more than {lines} records: try again when it has caught up"
    )]
    Behind {
        /// Lines that the search may read.
        lines: u64,
    },
}

impl QueryError {
    pub(super) fn new(path: &Path, source: io::Error) -> Self {
        Self::Read { path: path.to_owned(), source }
    }
}

/// The newest records that match, oldest first, without the index.
///
/// # Errors
/// The log cannot be read.
pub fn query(path: &Path, filter: &Filter) -> Result<Vec<Json>, QueryError> {
    let found = search(path, &LogSearch { use_index: false, ..LogSearch::newest(filter) })?;
    Ok(found.records.into_iter().rev().map(|record| record.json).collect())
}

/// Finds records. Reads files: call it off the async threads. Memory is bounded by the limit and the bounds.
///
/// # Errors
/// The log cannot be read, or the index says something else than the log.
pub fn search(log: &Path, search: &LogSearch<'_>) -> Result<SearchResult, QueryError> {
    let mut running = Running::new(log, search);
    match search.order {
        Order::NewestFirst => running.newest_first()?,
        Order::OldestFirst => running.oldest_first()?,
    }
    Ok(running.result)
}

/// Shows every record that matches to `visit`, oldest first, until it says that it is enough. How many lines are not
/// records.
///
/// # Errors
/// The log cannot be read, or the index says something else than the log.
pub fn for_each(
    log: &Path,
    filter: &Filter,
    use_index: bool,
    visit: &mut dyn FnMut(FoundRecord) -> ControlFlow<()>,
) -> Result<u64, QueryError> {
    for_each_while(log, filter, use_index, &mut || true, visit)
}

/// The same, as long as `goes_on` holds, which is also asked where nothing matches for long.
///
/// # Errors
/// The log cannot be read, or the index says something else than the log.
pub fn for_each_while(
    log: &Path,
    filter: &Filter,
    use_index: bool,
    goes_on: &mut dyn FnMut() -> bool,
    visit: &mut dyn FnMut(FoundRecord) -> ControlFlow<()>,
) -> Result<u64, QueryError> {
    let search =
        LogSearch { filter, order: Order::OldestFirst, after: None, use_index, bounds: Bounds::NONE };
    let mut running = Running::new(log, &search);
    running.each_oldest_first(goes_on, visit)?;
    Ok(running.result.unreadable)
}
