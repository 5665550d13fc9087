//! Receivers of records. Each sink sends one batch at a time and says what became of it; what follows from that (the cursor,
//! waiting, splitting, dead letters) is the business of `delivery` alone.

pub(super) mod elastic;
pub(super) mod file;
pub(super) mod http;
pub(super) mod otlp;
pub(super) mod sentinel;
pub(super) mod splunk_hec;
pub(super) mod syslog;
pub(super) mod webhook;

use std::time::Duration;

use serde_json::Value;

use super::format::logged::{LoggedFields, Severity};

/// A record in the form in which it leaves, with the facts that transports need beside it.
#[derive(Debug, Clone)]
pub(super) struct OutgoingRecord {
    /// Its number in the log.
    pub(super) seq: u64,
    /// Identifies the record for a receiver that keeps one of several copies.
    pub(super) uid: String,
    pub(super) decision_id: String,
    pub(super) event_type: String,
    pub(super) time_millis: i64,
    /// RFC 3339.
    pub(super) time: String,
    pub(super) severity: Severity,
    /// Trace id and span id, where they are those of W3C.
    pub(super) trace: Option<(String, String)>,
    /// The record in the format of the sink, on one line.
    pub(super) text: String,
}

impl OutgoingRecord {
    pub(super) fn new(record: &Value, text: String) -> Self {
        let fields = LoggedFields::new(record);
        let word = |name: &str| fields.text(&[name]).map(str::to_owned);
        Self {
            seq: fields.seq(),
            uid: fields.uid(),
            decision_id: fields.decision_id().to_owned(),
            event_type: fields.event_type().to_owned(),
            time_millis: fields.time_millis(),
            time: fields.time().to_owned(),
            severity: fields.severity(),
            trace: word("trace_id").zip(word("span_id")),
            text,
        }
    }
}

/// A record that the receiver will never take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RefusedRecord {
    /// Its place in the batch.
    pub(super) index: usize,
    pub(super) reason: String,
}

/// The receiver has acknowledged the batch, but for those that it refuses for good.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Acknowledged {
    pub(super) refused: Vec<RefusedRecord>,
}

/// What became of a batch that was not acknowledged.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum SendError {
    /// It may be taken later: the receiver cannot be reached, is overloaded, or refuses the sink itself (a wrong token).
    #[error("{why}")]
    Retry {
        why: String,
        /// What the receiver said about when.
        after: Option<Duration>,
    },
    /// The receiver refuses something in it for good.
    #[error("{0}")]
    Refused(String),
}

impl SendError {
    pub(super) fn retry(why: impl Into<String>) -> Self {
        Self::Retry { why: why.into(), after: None }
    }
}

/// One receiver.
#[async_trait::async_trait]
pub(super) trait Sink: Send {
    /// Sends the batch, in order. It returns within bounds of its own, and when it returns `Ok` the receiver has every
    /// record but the refused ones. Cancelled, it may have sent some of them, or all.
    async fn send(&mut self, batch: &[OutgoingRecord]) -> Result<Acknowledged, SendError>;
}

/// A file that a sink needs could not be used, or its settings do not fit together.
#[derive(Debug, thiserror::Error)]
pub enum SinkSetupError {
    /// A file could not be read.
    #[error("`{path}` could not be read")]
    Read {
        /// Which file.
        path: std::path::PathBuf,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
    /// A file does not hold what it should.
    #[error("`{path}` {what}")]
    Content {
        /// Which file.
        path: std::path::PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The client for the receiver could not be made.
    #[error("the client could not be made: {0}")]
    Client(String),
}
