//! The bounded queue between callers of `append` and the writer, which takes all of it at once.
//!
//! That makes group commit: while one batch is written, the next gathers.

use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tokio::sync::{Semaphore, SemaphorePermit, TryAcquireError, oneshot};

use super::AuditError;
use super::error::JournalFault;
use super::journal::Receipt;
use super::principal_shares::QueueShare;
use super::record::Record;

/// A record and the channel for its receipt.
pub(super) struct Job {
    pub(super) record: Box<Record>,
    pub(super) answer: oneshot::Sender<Result<Receipt, AuditError>>,
    /// Released when the record is written, whether its caller still waits or not.
    pub(super) share: QueueShare,
}

/// Receives the result once everything is on the disk.
pub(super) type Flush = oneshot::Sender<Result<(), AuditError>>;

/// Why the writing thread was woken.
pub(super) enum Wakeup {
    /// There is something to write, or to flush.
    Work(Vec<Flush>),
    /// The wait was over and nothing had come.
    TimedOut,
    /// Closed, and empty.
    Closed,
}

#[derive(Default)]
struct Pending {
    jobs: Vec<Job>,
    flushes: Vec<Flush>,
    /// The thread has to run: a caller has left a job to it, or the journal became unhealthy.
    woken: bool,
    closed: bool,
    finished: bool,
}

/// The queue and the state that callers and writer share.
pub(super) struct Queue {
    pending: Mutex<Pending>,
    arrived: Condvar,
    finished: Condvar,
    slots: Semaphore,
    healthy: AtomicBool,
}

impl Queue {
    pub(super) fn new(slots: usize) -> Self {
        Self {
            pending: Mutex::default(),
            arrived: Condvar::new(),
            finished: Condvar::new(),
            slots: Semaphore::new(slots.min(Semaphore::MAX_PERMITS)),
            healthy: AtomicBool::new(true),
        }
    }

    /// A free slot, when there is one now.
    pub(super) fn try_slot(&self) -> Option<Result<SemaphorePermit<'_>, JournalFault>> {
        match self.slots.try_acquire() {
            Ok(slot) => Some(Ok(slot)),
            Err(TryAcquireError::Closed) => Some(Err(JournalFault::Closed)),
            Err(TryAcquireError::NoPermits) => None,
        }
    }

    /// Waits for a free slot.
    pub(super) async fn slot(&self) -> Result<SemaphorePermit<'_>, JournalFault> {
        self.slots.acquire().await.map_err(|_| JournalFault::Closed)
    }

    /// Queues the job; its slot is free again when the job was written. The writer thread is not woken: see
    /// [`Queue::wake_writer`].
    pub(super) fn push(&self, slot: SemaphorePermit<'_>, job: Job) -> Result<(), JournalFault> {
        let mut pending = self.pending.lock();
        if pending.closed {
            return Err(JournalFault::Closed);
        }
        pending.jobs.push(job);
        slot.forget();
        Ok(())
    }

    /// Wakes the writer thread.
    pub(super) fn wake_writer(&self) {
        self.pending.lock().woken = true;
        self.arrived.notify_one();
    }

    /// Asks the thread for a flush.
    pub(super) fn flush(&self, answer: Flush) -> Result<(), JournalFault> {
        let mut pending = self.pending.lock();
        if pending.closed {
            return Err(JournalFault::Closed);
        }
        pending.flushes.push(answer);
        drop(pending);
        self.arrived.notify_one();
        Ok(())
    }

    /// Puts everything that waits into `jobs`, which is empty.
    pub(super) fn take(&self, jobs: &mut Vec<Job>) {
        mem::swap(&mut self.pending.lock().jobs, jobs);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pending.lock().jobs.is_empty()
    }

    /// Blocks the writer thread until there is work, at most for `wait`; without a bound for `None`.
    pub(super) fn wait(&self, wait: Option<Duration>) -> Wakeup {
        let mut pending = self.pending.lock();
        loop {
            if mem::take(&mut pending.woken) || !pending.flushes.is_empty() {
                return Wakeup::Work(mem::take(&mut pending.flushes));
            }
            if pending.closed {
                let left = !pending.jobs.is_empty();
                return if left { Wakeup::Work(Vec::new()) } else { Wakeup::Closed };
            }
            match wait {
                None => self.arrived.wait(&mut pending),
                Some(wait) => {
                    let late = self.arrived.wait_for(&mut pending, wait).timed_out();
                    if late && !pending.woken && pending.flushes.is_empty() && !pending.closed {
                        return Wakeup::TimedOut;
                    }
                }
            }
        }
    }

    /// Gives the slots of done jobs back.
    pub(super) fn done(&self, jobs: usize) {
        self.slots.add_permits(jobs);
    }

    /// Takes no more jobs; those that wait are still done.
    pub(super) fn close(&self) {
        self.pending.lock().closed = true;
        self.slots.close();
        self.arrived.notify_all();
    }

    /// Marks the writer as gone; jobs that still wait will not be written and their callers get an error.
    pub(super) fn finish(&self) {
        self.close();
        let left = {
            let mut pending = self.pending.lock();
            pending.finished = true;
            (mem::take(&mut pending.jobs), mem::take(&mut pending.flushes))
        };
        drop(left);
        self.finished.notify_all();
    }

    /// Waits until the writer is gone, at most `wait`.
    pub(super) fn await_finish(&self, wait: Duration) {
        let mut pending = self.pending.lock();
        while !pending.finished {
            if self.finished.wait_for(&mut pending, wait).timed_out() {
                return;
            }
        }
    }

    pub(super) fn set_healthy(&self, healthy: bool) {
        self.healthy.store(healthy, Ordering::Release);
    }

    pub(super) fn is_healthy(&self) -> bool {
        self.healthy.load(Ordering::Acquire)
    }

    pub(super) fn is_open(&self) -> bool {
        !self.slots.is_closed()
    }
}
