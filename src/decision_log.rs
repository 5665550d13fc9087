//! The decision log as an effect owner: its records leave the gateway against a permit to read or to export them.
//!
//! How records are written, chained and found lives in `audit`, which knows no permit; this is the one way to them from
//! outside. Nothing is read without a permit:
//! ```compile_fail,E0061
//! use caxton::{audit::query::{Filter, LogSearch}, decision_log::DecisionLog};
//! fn read(log: &DecisionLog, filter: &Filter) {
//!     let _ = log.search(&LogSearch::newest(filter));
//! }
//! ```

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::Value as Json;

use crate::audit::follow::{FollowError, Follower, read_record};
use crate::audit::query::{
    Filter, FoundRecord, LogSearch, PreparedFilter, QueryError, SearchResult, for_each_while, search,
};
use crate::audit::{
    ApplicationEvent, ApplicationEventError, Journal, NoteError, Receipt, SourceRecord, SubjectRecord,
    signed_checkpoint, tail,
};
use crate::authz::Permit;
use crate::model::{ExportAudit, ReadAudit, RecordEvent};

/// The log of this gateway.
#[derive(Debug, Clone)]
pub struct DecisionLog {
    path: PathBuf,
    journal: Journal,
}

impl DecisionLog {
    /// The log in this file, which this journal writes.
    pub fn new(path: PathBuf, journal: Journal) -> Self {
        Self { path, journal }
    }

    /// Records an event of a caller's own program, with the caller as its subject.
    ///
    /// # Errors
    /// The event is not one, or the log did not take it.
    pub async fn record(
        &self,
        permit: Permit<RecordEvent>,
        time_millis: i64,
    ) -> Result<Receipt, ApplicationEventError> {
        let (subject, context) = (Arc::clone(permit.subject()), Arc::clone(permit.context()));
        let said = permit.into_operation();
        let event = ApplicationEvent {
            event_type: &said.event_type,
            identity: &said.identity,
            resource: &said.resource,
            outcome: &said.outcome,
            metadata: Json::Object(said.metadata),
        };
        let mut record = event.record(time_millis)?;
        record.subject = Some(SubjectRecord::from(&*subject));
        record.request_id = context.request_id.clone();
        record.trace = context.trace.clone();
        record.source = SourceRecord::from(&context.source);
        Ok(self.journal.append(record).await?)
    }

    /// Finds records. Reads files: call it off the async threads.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn search(
        &self,
        permit: Permit<ReadAudit>,
        asked: &LogSearch<'_>,
    ) -> Result<SearchResult, QueryError> {
        let ReadAudit = permit.into_operation();
        search(&self.path, asked)
    }

    /// Shows every record that matches to `visit`, oldest first, up to the last one that there is now, as long as `goes_on`
    /// holds. Reads files: call it off the async threads.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn export(
        &self,
        permit: Permit<ExportAudit>,
        filter: &Filter,
        goes_on: &mut dyn FnMut() -> bool,
        visit: &mut dyn FnMut(FoundRecord) -> ControlFlow<()>,
    ) -> Result<(), QueryError> {
        let ExportAudit = permit.into_operation();
        let last = tail(&self.path, 0)?.position();
        // What comes after the decision is not exported by it.
        let mut visit = |record: FoundRecord| match record.seq > last {
            true => ControlFlow::Break(()),
            false => visit(record),
        };
        for_each_while(&self.path, filter, true, goes_on, &mut visit).map(drop)
    }

    /// The last signed checkpoint and the public key of the log; `None` before the first one. Reads files: call it off the
    /// async threads.
    ///
    /// # Errors
    /// The files cannot be read.
    pub fn checkpoint(&self, permit: Permit<ReadAudit>) -> Result<Option<(String, String)>, NoteError> {
        let ReadAudit = permit.into_operation();
        signed_checkpoint(&self.path)
    }

    /// Stands after record `after`, or at the end. Reads files: call it off the async threads.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn follow(&self, permit: Permit<ReadAudit>, after: Option<u64>) -> Result<LogStream, QueryError> {
        let ReadAudit = permit.into_operation();
        let follower = match after {
            Some(after) => Follower::new(&self.path, after),
            None => tail(&self.path, 0)?,
        };
        Ok(LogStream { follower })
    }
}

/// Records as they come, for who was allowed to read them a short time ago.
#[derive(Debug)]
pub struct LogStream {
    follower: Follower,
}

/// What a reader of the stream learns.
#[derive(Debug, PartialEq, Eq)]
pub enum LogEvent {
    /// A record that matches.
    Record {
        /// Its number.
        seq: u64,
        /// Its line.
        line: String,
    },
    /// Records that were removed before they were read.
    Gone {
        /// The first of them.
        first: u64,
        /// The last of them.
        last: u64,
    },
}

/// Some events of a stream.
#[derive(Debug, Default)]
pub struct LogEvents {
    /// The events.
    pub events: VecDeque<LogEvent>,
    /// Whether there were no more when they were read.
    pub is_at_end: bool,
}

/// What is read at once: lines, and bytes of records that match.
const LINES: usize = 2_000;
const BYTES: usize = 1 << 20;

impl LogStream {
    /// It may go on: whoever reads it was allowed to once more.
    pub fn renew(&mut self, permit: Permit<ReadAudit>) {
        let ReadAudit = permit.into_operation();
    }

    /// The next records that match: those of a few thousand lines, a megabyte at most and one record more. Reads files:
    /// call it off the async threads.
    ///
    /// # Errors
    /// The log cannot be read on.
    pub fn read(&mut self, filter: &Filter) -> Result<LogEvents, FollowError> {
        let wanted = PreparedFilter::new(filter);
        let mut found = LogEvents::default();
        let mut bytes = 0;
        for _ in 0..LINES {
            if bytes >= BYTES {
                break;
            }
            let record = match self.follower.next_record() {
                Ok(Some(record)) => record,
                Ok(None) => {
                    found.is_at_end = true;
                    break;
                }
                Err(FollowError::Gone { first, last, .. }) => {
                    found.events.push_back(LogEvent::Gone { first, last });
                    self.follower.seek(last);
                    continue;
                }
                Err(error) => return Err(error),
            };
            let is_wanted = read_record(record.text.as_bytes()).is_some_and(|json| wanted.matches(&json));
            if is_wanted {
                bytes += record.text.len();
                found.events.push_back(LogEvent::Record { seq: record.seq, line: record.text.to_owned() });
            }
        }
        Ok(found)
    }
}
