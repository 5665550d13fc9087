//! Writes the log: takes all records that wait, writes them with one call, then answers their callers.
//!
//! The thread that holds the writer writes for all. Under load that is the thread of a caller: the others find their
//! records written, and no thread was woken. A thread of its own stands by. It writes what a cancelled caller left,
//! everything while the disk is slow or a sync is asked for, and it probes a file that fails.

use std::fs::File;
use std::mem;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::oneshot;

use super::AuditError;
use super::error::JournalFault;
use super::file::{FileFault, LogFile, Standing};
use super::fsync_thread::FsyncThread;
use super::journal::Receipt;
use super::line::{ChainHead, Encoder};
use super::principal_shares::QueueShare;
use super::queue::{Flush, Job, Queue, Wakeup};
use super::record::Record;
use super::recover::LogEnd;
use super::seal::SealCause;
use super::segments::{Segment, segment_folder};
use super::settings::{Durability, Settings};
use super::tree::Frontier;
use crate::telemetry::{Metrics, SinkLabels};

/// A batch is written when it has this many bytes, even when more waits.
const BATCH_BYTES: usize = 1 << 20;

/// A write that takes longer than this is the thread's: an async thread must not wait for a disk twice.
const SLOW: Duration = Duration::from_millis(2);
/// How often a caller writes for others before it leaves them to the thread.
const ROUNDS: usize = 4;

type ReceiptSender = oneshot::Sender<Result<Receipt, AuditError>>;

/// A part of the log that the writer has closed.
#[derive(Debug)]
pub(super) struct Closing {
    pub(super) cause: SealCause,
    /// Number of its first record; the last one is that of `end`.
    pub(super) first: u64,
    pub(super) end: ChainHead,
    pub(super) tree: Frontier,
    /// The file that was open, when its records have no name any more and have to be copied.
    pub(super) nameless: Option<File>,
}

/// The state of the log at one moment.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub(super) head: ChainHead,
    pub(super) tree: Frontier,
    /// The file that grows, to be synced.
    pub(super) file: File,
    /// Number of its first record.
    pub(super) first: u64,
    /// Its length in bytes.
    pub(super) length: u64,
    /// Parts that were closed since the last snapshot.
    pub(super) closings: Vec<Closing>,
}

pub(super) struct Writer {
    path: PathBuf,
    queue: Arc<Queue>,
    metrics: Arc<Metrics>,
    fsync_thread: FsyncThread,
    file: LogFile,
    durability: Durability,
    record_bytes: usize,
    encoder: Encoder,
    /// The last record on file.
    written: ChainHead,
    /// The tree up to it.
    tree: Frontier,
    /// The last record and the tree before the last batch.
    previous: (ChainHead, Frontier),
    /// Number of the first record of the file that grows.
    first: u64,
    closings: Vec<Closing>,
    /// The last record in `batch`.
    staged: ChainHead,
    batch: String,
    receipts_due: Vec<(ReceiptSender, Receipt)>,
    /// Of the records of this round.
    shares: Vec<QueueShare>,
    /// Empty, with the room of earlier batches.
    jobs: Vec<Job>,
}

impl Writer {
    pub(super) fn new(
        settings: &Settings,
        file: LogFile,
        end: LogEnd,
        queue: Arc<Queue>,
        fsync_thread: FsyncThread,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            queue,
            metrics,
            fsync_thread,
            file,
            durability: settings.durability,
            record_bytes: settings.record_bytes,
            encoder: Encoder::default(),
            path: settings.path.clone(),
            previous: (end.head, end.tree.clone()),
            written: end.head,
            tree: end.tree,
            first: end.first,
            closings: Vec::new(),
            staged: end.head,
            batch: String::new(),
            receipts_due: Vec::new(),
            shares: Vec::new(),
            jobs: Vec::new(),
        }
    }

    /// Writes everything that waits, and answers all callers.
    fn serve(&mut self) {
        let mut jobs = mem::take(&mut self.jobs);
        self.queue.take(&mut jobs);
        let count = jobs.len();
        for job in jobs.drain(..) {
            let Job { record, answer, share } = job;
            self.stage(&record, answer);
            self.shares.push(share);
            if self.batch.len() >= BATCH_BYTES {
                self.commit();
            }
        }
        self.commit();
        self.jobs = jobs;
        self.shares.clear();
        self.queue.done(count);
    }

    fn flush(&mut self) -> Result<(), AuditError> {
        let flushed = self.follow().and_then(|()| Ok(self.file.sync()?));
        flushed.map_err(|fault| AuditError::Unavailable(self.failed(fault)))
    }

    fn stage(&mut self, record: &Record, answer: ReceiptSender) {
        match self.encoder.line(record, self.staged, self.record_bytes, &mut self.batch) {
            Ok(head) => {
                self.staged = head;
                self.receipts_due.push((answer, Receipt::new(record.decision_id, head.seq)));
            }
            Err(error) => drop(answer.send(Err(error))),
        }
    }

    /// Writes the batch and answers all its callers: either all records are written, or none is.
    fn commit(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        let written = self.write();
        self.batch.clear();
        match written {
            Ok(()) => {
                self.previous.0 = self.written;
                self.previous.1.clone_from(&self.tree);
                self.written = self.staged;
                self.encoder.take_hashes(|hash| self.tree.push(hash));
                self.queue.set_healthy(true);
                for (answer, receipt) in self.receipts_due.drain(..) {
                    // The record stays also when its caller no longer waits for the receipt.
                    drop(answer.send(Ok(receipt)));
                }
            }
            Err(fault) => {
                self.staged = self.written;
                self.encoder.take_hashes(|_| {});
                let cause = self.failed(fault);
                for (answer, _) in self.receipts_due.drain(..) {
                    drop(answer.send(Err(AuditError::Unavailable(cause.clone()))));
                }
            }
        }
    }

    fn write(&mut self) -> Result<(), FileFault> {
        if let Some(error) = self.fsync_thread.take_failure() {
            // What the kernel lost is lost, but nothing more may follow it unless the disk takes it.
            tracing::error!(%error, "the decision log was not synced to the disk");
            self.file.sync()?;
        }
        self.follow()?;
        self.file.append(self.batch.as_bytes())?;
        match self.durability {
            Durability::Written => self.fsync_thread.dirty(),
            Durability::Synced => {
                if let Err(error) = self.file.sync() {
                    self.file.withdraw(self.batch.len());
                    return Err(error.into());
                }
            }
        }
        Ok(())
    }

    /// Goes on in a new file when the log was moved, removed or emptied from outside.
    fn follow(&mut self) -> Result<(), FileFault> {
        match self.file.standing()? {
            Standing::Same => Ok(()),
            cut @ (Standing::Cut | Standing::CutBeforeLast) => {
                self.file.accept_cut(cut);
                let (end, tree) = match cut {
                    Standing::CutBeforeLast => self.previous.clone(),
                    _ => (self.written, self.tree.clone()),
                };
                self.close(SealCause::Cut, end, tree, None);
                Ok(())
            }
            Standing::Moved => {
                let (before, is_kept) = self.file.replace(&self.segment(), self.durability)?;
                self.close(SealCause::Moved, self.written, self.tree.clone(), (!is_kept).then_some(before));
                Ok(self.fsync_thread.replace(&self.file)?)
            }
        }
    }

    /// The segment that the growing file becomes.
    fn segment(&self) -> Segment {
        Segment::new(&segment_folder(&self.path), self.first, self.written.seq.max(self.first), false)
    }

    /// Remembers that the records from `first` to `end` are closed.
    fn close(&mut self, cause: SealCause, end: ChainHead, tree: Frontier, nameless: Option<File>) {
        let first = self.first;
        if first <= end.seq {
            self.closings.push(Closing { cause, first, end, tree, nameless });
            self.first = end.seq + 1;
        }
    }

    /// Moves the growing file to the closed segments, when there is a record in it.
    fn rotate(&mut self) -> Result<(), FileFault> {
        self.follow()?;
        if self.first > self.written.seq {
            return Ok(());
        }
        self.file.rotate(&self.segment(), self.durability)?;
        self.close(SealCause::Rotated, self.written, self.tree.clone(), None);
        Ok(self.fsync_thread.replace(&self.file)?)
    }

    fn snapshot(&mut self) -> Result<Snapshot, FileFault> {
        self.follow()?;
        let file = self.file.second_handle()?;
        Ok(Snapshot {
            head: self.written,
            tree: self.tree.clone(),
            file,
            first: self.first,
            length: self.file.length(),
            closings: mem::take(&mut self.closings),
        })
    }

    /// Looks whether a journal that could not write can again, so that it takes records again without a request that
    /// has to fail first.
    fn probe(&mut self) {
        match self.follow().and_then(|()| self.file.probe()) {
            Ok(()) => self.queue.set_healthy(true),
            Err(fault) => drop(self.failed(fault)),
        }
    }

    /// Marks the journal as unhealthy, so that requests are refused, and logs that on the first failure.
    fn failed(&self, fault: FileFault) -> JournalFault {
        self.metrics.audit_sink_errors.get_or_create(&SinkLabels { sink: "file".to_owned() }).inc();
        if self.queue.is_healthy() {
            tracing::error!(
                error = &fault as &dyn std::error::Error,
                help = fault.help(),
                "the decision log cannot take records, every request is refused"
            );
        }
        self.queue.set_healthy(false);
        // From now on the thread probes the file.
        self.queue.wake_writer();
        JournalFault::File(Arc::new(fault))
    }
}

/// The writer, shared by callers and the thread; gone once the journal is closed.
pub(super) struct GroupCommit {
    writer: Mutex<Option<Writer>>,
    queue: Arc<Queue>,
    retry: Duration,
    /// Whether callers may write: every batch need not be synced, and the last write was fast.
    open: AtomicBool,
    syncs: bool,
}

impl GroupCommit {
    pub(super) fn new(writer: Writer, retry: Duration) -> Self {
        let syncs = writer.durability == Durability::Synced;
        Self {
            queue: Arc::clone(&writer.queue),
            retry,
            open: AtomicBool::new(!syncs),
            syncs,
            writer: Mutex::new(Some(writer)),
        }
    }

    /// Whether a caller should come to [`GroupCommit::write_pending`] instead of calling the thread.
    pub(super) fn is_open(&self) -> bool {
        self.open.load(Ordering::Relaxed)
    }

    /// Writes all records that wait, on the thread of a caller. When another thread holds the writer, that one writes this
    /// record too, because it looks at the queue again after it has released the writer.
    pub(super) fn write_pending(&self) {
        for _ in 0..ROUNDS {
            let Some(mut held) = self.writer.try_lock() else { return };
            let Some(writer) = held.as_mut() else { return };
            let began = Instant::now();
            self.guarded(|| writer.serve());
            if began.elapsed() > SLOW {
                self.open.store(false, Ordering::Relaxed);
            }
            drop(held);
            if self.queue.is_empty() {
                return;
            }
        }
        self.queue.wake_writer();
    }

    /// The thread's work, until the queue is closed and empty.
    pub(super) fn run(&self) {
        // Runs however the thread ends, so that no caller waits for a writer that is gone.
        let finish = Finish(&self.queue);
        loop {
            let patience = (!self.queue.is_healthy()).then_some(self.retry);
            let woken = self.queue.wait(patience);
            let mut held = self.writer.lock();
            let Some(writer) = held.as_mut() else { break };
            match woken {
                Wakeup::Work(flushes) => self.serve(writer, flushes),
                Wakeup::TimedOut => writer.probe(),
                Wakeup::Closed => {
                    drop(writer.flush());
                    // The lock on the file must be released before `close` returns.
                    drop(held.take());
                    break;
                }
            }
            self.release(held);
        }
        drop(finish);
    }

    /// Moves the growing file to the closed segments. `None` when the journal is closed.
    pub(super) fn rotate(&self) -> Option<Result<(), JournalFault>> {
        let mut held = self.writer.lock();
        let writer = held.as_mut()?;
        let rotated = self.guarded(|| writer.rotate().map_err(|fault| writer.failed(fault)));
        self.release(held);
        Some(rotated)
    }

    /// The state of the log. `None` when the journal is closed.
    pub(super) fn snapshot(&self) -> Option<Result<Snapshot, JournalFault>> {
        let mut held = self.writer.lock();
        let writer = held.as_mut()?;
        let snapshot = self.guarded(|| writer.snapshot().map_err(|fault| writer.failed(fault)));
        self.release(held);
        Some(snapshot)
    }

    /// Releases the writer; a caller that found it taken has left its record in the queue.
    fn release(&self, held: MutexGuard<'_, Option<Writer>>) {
        drop(held);
        if !self.queue.is_empty() {
            self.queue.wake_writer();
        }
    }

    fn serve(&self, writer: &mut Writer, flushes: Vec<Flush>) {
        let began = Instant::now();
        writer.serve();
        if !self.syncs {
            self.open.store(began.elapsed() <= SLOW, Ordering::Relaxed);
        }
        for answer in flushes {
            // The caller may have gone away.
            drop(answer.send(writer.flush()));
        }
    }

    /// A writer that panicked half way is not used again.
    fn guarded<T>(&self, work: impl FnOnce() -> T) -> T {
        let finish = Finish(&self.queue);
        let done = work();
        mem::forget(finish);
        done
    }
}

/// Says that the writer is gone when it goes out of scope.
struct Finish<'a>(&'a Queue);

impl Drop for Finish<'_> {
    fn drop(&mut self) {
        self.0.finish();
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Waker};

    use super::*;
    use crate::audit::Journal;
    use crate::audit::tests::{TestLog, event};

    #[tokio::test]
    async fn after_a_slow_write_the_thread_writes_until_it_is_fast_again() {
        let place = TestLog::new();
        let (journal, _) = place.open();
        let group_commit = journal.group_commit();
        assert!(group_commit.is_open());
        group_commit.open.store(false, Ordering::Relaxed);
        let mut seq = 0;
        // On a busy machine a write may be slow once more.
        while !group_commit.is_open() {
            seq += 1;
            assert_eq!(journal.append(event()).await.unwrap().seq(), seq);
            // A flush waits for the thread to be done with its round.
            journal.flush().await.unwrap();
        }
        assert_eq!(journal.append(event()).await.unwrap().seq(), seq + 1);
    }

    #[tokio::test]
    async fn what_a_caller_cannot_take_is_seen_by_whoever_holds_the_writer() {
        let place = TestLog::new();
        let (journal, _) = place.open();
        let group_commit = journal.group_commit();
        let append = journal.append(event());
        tokio::pin!(append);
        {
            let _held = group_commit.writer.lock();
            let mut context = Context::from_waker(Waker::noop());
            assert!(append.as_mut().poll(&mut context).is_pending(), "queued");
            assert!(append.as_mut().poll(&mut context).is_pending(), "the writer is taken");
        }
        // What the holder does after letting go.
        group_commit.write_pending();
        assert_eq!(append.await.unwrap().seq(), 1);
    }

    #[tokio::test]
    async fn a_writer_that_panics_closes_the_journal() {
        let place = TestLog::new();
        let (journal, _) = place.open();
        let group_commit = Arc::clone(journal.group_commit());
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            group_commit.guarded(|| panic!("half way"));
        }));
        assert!(panicked.is_err() && !journal.available());
        assert!(journal.append(event()).await.is_err());
    }

    #[tokio::test]
    async fn with_a_sync_for_each_batch_callers_never_write() {
        let place = TestLog::new();
        let settings = Settings { durability: Durability::Synced, ..place.settings() };
        let (journal, _) = Journal::open(settings, Arc::new(Metrics::new())).unwrap();
        for seq in 1..=3 {
            assert!(!journal.group_commit().is_open());
            assert_eq!(journal.append(event()).await.unwrap().seq(), seq);
        }
    }
}
