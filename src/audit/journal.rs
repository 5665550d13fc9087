//! The journal: takes a record, and gives a receipt once it is written. No receipt, no effect.
//!
//! A receipt cannot be made by anybody else:
//! ```compile_fail,E0451
//! fn forge(decision: caxton::model::DecisionId) -> caxton::audit::Receipt {
//!     caxton::audit::Receipt { decision, seq: 1 }
//! }
//! ```
//! nor be used for two effects:
//! ```compile_fail,E0599
//! fn twice(receipt: caxton::audit::Receipt) -> (caxton::audit::Receipt, caxton::audit::Receipt) {
//!     (receipt.clone(), receipt)
//! }
//! ```

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

use super::AuditError;
use super::error::Unavailable;
use super::file::LogFile;
use super::queue::{Job, Queue};
use super::record::Record;
use super::recover::{Recovery, recover};
use super::settings::Settings;
use super::syncer::Syncer;
use super::writer::Writer;
use crate::model::DecisionId;
use crate::telemetry::Metrics;

/// How long closing waits for a disk that does not answer.
const CLOSE_WAIT: Duration = Duration::from_secs(5);

/// The proof that a decision is on record.
#[derive(Debug)]
pub struct Receipt {
    decision: DecisionId,
    seq: u64,
}

impl Receipt {
    /// Only the writer makes one, after the write.
    pub(super) fn new(decision: DecisionId, seq: u64) -> Self {
        Self { decision, seq }
    }

    /// Which decision is on record.
    pub fn decision(&self) -> DecisionId {
        self.decision
    }

    /// Its number in the log.
    pub fn seq(&self) -> u64 {
        self.seq
    }
}

/// The decision log, open for appending. Clones write to the same log; the last one to go closes it.
#[derive(Clone)]
pub struct Journal {
    inner: Arc<Inner>,
}

struct Inner {
    queue: Arc<Queue>,
    metrics: Arc<Metrics>,
    deadline: Duration,
}

impl Journal {
    /// Opens the log, repairs a torn last line and starts the writer.
    ///
    /// Blocks for a few milliseconds; meant for start-up.
    pub fn open(settings: Settings, metrics: Arc<Metrics>) -> Result<(Self, Recovery), AuditError> {
        settings.check()?;
        let fault = |source| AuditError::File { path: settings.path.clone(), source };
        let mut file = LogFile::open(&settings.path)?;
        let (last, recovery) = recover(&mut file, &settings.path)?;
        let queue = Arc::new(Queue::new(settings.queue));
        let syncer = Syncer::start(&settings, &file).map_err(fault)?;
        let writer = Writer::new(&settings, file, last, Arc::clone(&queue), syncer, Arc::clone(&metrics));
        thread::Builder::new().name("audit-writer".to_owned()).spawn(move || writer.run()).map_err(fault)?;
        let inner = Inner { queue, metrics, deadline: settings.deadline };
        Ok((Self { inner: Arc::new(inner) }, recovery))
    }

    /// Writes the record; returns once it is as durable as the settings ask.
    ///
    /// Waits at most the deadline. A record that was queued is written even when the caller has gone away.
    pub async fn append(&self, record: Record) -> Result<Receipt, AuditError> {
        let (answer, reply) = oneshot::channel();
        let inner = &self.inner;
        inner.metrics.audit_queue_depth.inc();
        let job = Job::Append(Box::new(record), answer);
        let written = timeout(inner.deadline, async {
            inner.queue.push(job).await.map_err(AuditError::Unavailable)?;
            reply.await.unwrap_or(Err(AuditError::Unavailable(Unavailable::Closed)))
        })
        .await;
        inner.metrics.audit_queue_depth.dec();
        written.unwrap_or(Err(AuditError::Unavailable(Unavailable::Slow)))
    }

    /// Whether the last write went well. Says nothing about the next one: only a receipt does.
    pub fn available(&self) -> bool {
        self.inner.queue.is_open() && self.inner.queue.is_healthy()
    }

    /// Returns once every record that was queued before is on the disk.
    pub async fn flush(&self) -> Result<(), AuditError> {
        let (answer, reply) = oneshot::channel();
        self.inner.queue.push(Job::Flush(answer)).await.map_err(AuditError::Unavailable)?;
        reply.await.unwrap_or(Err(AuditError::Unavailable(Unavailable::Closed)))
    }

    /// Takes no more records, writes and syncs those that wait, and gives the file back. Blocks.
    pub fn close(&self) {
        self.inner.close();
    }
}

impl std::fmt::Debug for Journal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Journal").field("available", &self.available()).finish_non_exhaustive()
    }
}

impl Inner {
    fn close(&self) {
        self.queue.close();
        self.queue.await_finish(CLOSE_WAIT);
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.close();
    }
}
