//! The journal: takes a record, and gives a receipt once it is written. No receipt, no effect.
//!
//! No other module can make a receipt:
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

use std::net::IpAddr;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::sync::oneshot::{self, error::TryRecvError};
use tokio::task::yield_now;
use tokio::time::{Instant, timeout_at};

use super::AuditError;
use super::error::JournalFault;
use super::file::LogFile;
use super::fsync_thread::FsyncThread;
use super::note::NoteKey;
use super::principal_shares::PrincipalShares;
use super::queue::{Job, Queue};
use super::record::Record;
use super::recover::{Recovery, recover};
use super::refusals::Refusals;
use super::settings::Settings;
use super::tree_state::{key_file, open_key};
use super::writer::{GroupCommit, Writer};
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
    group_commit: Arc<GroupCommit>,
    metrics: Arc<Metrics>,
    deadline: Duration,
    refusals: Refusals,
    shares: PrincipalShares,
    key: NoteKey,
}

impl Journal {
    /// Opens the log, repairs a torn last line and starts the writer.
    ///
    /// Blocks for a few milliseconds; meant for start-up.
    pub fn open(settings: Settings, metrics: Arc<Metrics>) -> Result<(Self, Recovery), AuditError> {
        settings.check()?;
        let fault = |source| AuditError::File { path: settings.path.clone(), source };
        let mut file = LogFile::open(&settings.path)?;
        let default_key = key_file(&settings.path);
        let key = open_key(&settings.path, settings.checkpoint_key.as_ref().unwrap_or(&default_key))?;
        let (end, recovery) = recover(&mut file, &settings.path, &key.verifier())?;
        let queue = Arc::new(Queue::new(settings.queue));
        let fsync_thread = FsyncThread::start(&settings, &file).map_err(fault)?;
        let writer =
            Writer::new(&settings, file, end, Arc::clone(&queue), fsync_thread, Arc::clone(&metrics));
        let group_commit = Arc::new(GroupCommit::new(writer, settings.retry));
        let thread = Arc::clone(&group_commit);
        thread::Builder::new().name("audit-writer".to_owned()).spawn(move || thread.run()).map_err(fault)?;
        let refusals = Refusals::new(settings.refusal_window, settings.refusal_kinds);
        let inner = Inner {
            queue,
            group_commit,
            metrics,
            deadline: settings.deadline,
            refusals,
            shares: PrincipalShares::new(settings.queue),
            key,
        };
        Ok((Self { inner: Arc::new(inner) }, recovery))
    }

    /// Writes the record; returns once it is as durable as the settings ask.
    ///
    /// Waits at most the deadline. A record that was queued is written even when the caller has gone away.
    pub async fn append(&self, record: impl Into<Box<Record>>) -> Result<Receipt, AuditError> {
        let written = self.append_in_time(record.into()).await;
        if written.is_err() {
            self.inner.metrics.audit_dropped.inc();
        }
        written
    }

    async fn append_in_time(&self, record: Box<Record>) -> Result<Receipt, AuditError> {
        let inner = &self.inner;
        let late = || AuditError::Unavailable(JournalFault::Slow);
        let deadline = Instant::now() + inner.deadline;
        let mut left = AppendGuard::new(inner);
        let (answer, mut reply) = oneshot::channel();
        let share = timeout_at(deadline, inner.shares.acquire(&record)).await.map_err(|_| late())?;
        let share = share.ok_or(AuditError::Unavailable(JournalFault::Closed))?;
        let slot = match inner.queue.try_slot() {
            Some(slot) => slot,
            None => timeout_at(deadline, inner.queue.slot()).await.map_err(|_| late())?,
        };
        let push = |slot| inner.queue.push(slot, Job { record, answer, share });
        slot.and_then(push).map_err(AuditError::Unavailable)?;
        if inner.group_commit.is_open() {
            left.job = true;
            // Others that are ready queue theirs first: then one write serves them all.
            yield_now().await;
            if reply.is_empty() {
                inner.group_commit.write_pending();
            }
            left.job = false;
        } else {
            inner.queue.wake_writer();
        }
        let closed = |_| Err(AuditError::Unavailable(JournalFault::Closed));
        match reply.try_recv() {
            Ok(written) => written,
            Err(TryRecvError::Closed) => closed(()),
            Err(TryRecvError::Empty) => match timeout_at(deadline, reply).await {
                Ok(written) => written.unwrap_or_else(|_| closed(())),
                Err(_) => Err(late()),
            },
        }
    }

    /// Counts a refusal that no policy has a say in (a refused credential, a call above a rate) with others of this
    /// address, principal and reason. Gives it back when it is to be appended; `None`: one that comes later stands for it.
    pub fn count_refusal(
        &self,
        record: impl Into<Box<Record>>,
        address: IpAddr,
        reason: (&'static str, &'static str),
    ) -> Option<Box<Record>> {
        self.inner.refusals.note(record.into(), address, reason, std::time::Instant::now())
    }

    /// Writes down what was counted and is not on record yet, where it has waited long enough, or `all` of it. How many
    /// refusals could not be written down.
    pub async fn record_counted(&self, all: bool) -> u64 {
        let mut lost = 0;
        for record in self.inner.refusals.due(std::time::Instant::now(), all) {
            let count = record.count;
            if self.append(record).await.is_err() {
                lost += count;
            }
        }
        lost
    }

    /// The key that signs checkpoints of this log.
    pub(super) fn key(&self) -> &NoteKey {
        &self.inner.key
    }

    pub(super) fn group_commit(&self) -> &Arc<GroupCommit> {
        &self.inner.group_commit
    }

    /// Whether the last write went well. Says nothing about the next one: only a receipt does.
    pub fn available(&self) -> bool {
        self.inner.queue.is_open() && self.inner.queue.is_healthy()
    }

    /// Returns once every record that was queued before is on the disk.
    pub async fn flush(&self) -> Result<(), AuditError> {
        let (answer, reply) = oneshot::channel();
        self.inner.queue.flush(answer).map_err(AuditError::Unavailable)?;
        reply.await.unwrap_or(Err(AuditError::Unavailable(JournalFault::Closed)))
    }

    /// Takes no more records, writes and syncs those that wait, and gives the file back. Blocks.
    pub fn close(&self) {
        self.inner.close();
    }
}

/// One append under way. When it is dropped before its record was written, the writer thread is woken for it.
struct AppendGuard<'a> {
    inner: &'a Inner,
    /// Whether the record was queued without waking the writer thread, because its caller is about to write it.
    job: bool,
}

impl<'a> AppendGuard<'a> {
    fn new(inner: &'a Inner) -> Self {
        inner.metrics.audit_queue_depth.inc();
        Self { inner, job: false }
    }
}

impl Drop for AppendGuard<'_> {
    fn drop(&mut self) {
        self.inner.metrics.audit_queue_depth.dec();
        if self.job {
            self.inner.queue.wake_writer();
        }
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
