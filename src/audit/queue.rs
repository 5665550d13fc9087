//! What stands between those who append and those who write: a bounded queue, taken as a whole.
//!
//! Taking everything that waits is what makes group commit: while one batch is written, the next gathers.

use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tokio::sync::{Semaphore, SemaphorePermit, TryAcquireError, oneshot};

use super::AuditError;
use super::error::Unavailable;
use super::journal::Receipt;
use super::record::Record;
use super::share::Share;

/// A record, and where to say that it is written.
pub(super) struct Job {
    pub(super) record: Box<Record>,
    pub(super) answer: oneshot::Sender<Result<Receipt, AuditError>>,
    /// Given back when the record is written, whether its caller still waits or not.
    pub(super) share: Share,
}

/// Where to say that everything is on the disk.
pub(super) type Flush = oneshot::Sender<Result<(), AuditError>>;

/// Why the writing thread was woken.
pub(super) enum Woken {
    /// There is something to write, or to flush.
    Called(Vec<Flush>),
    /// Nothing came for as long as it wanted to wait.
    Nothing,
    /// Closed, and empty.
    Closed,
}

#[derive(Default)]
struct Waiting {
    jobs: Vec<Job>,
    flushes: Vec<Flush>,
    /// The thread is wanted: somebody has left a job to it, or the journal became unhealthy.
    called: bool,
    closed: bool,
    finished: bool,
}

/// The queue, and the state that all sides look at.
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    arrived: Condvar,
    finished: Condvar,
    slots: Semaphore,
    healthy: AtomicBool,
}

impl Queue {
    pub(super) fn new(slots: usize) -> Self {
        Self {
            waiting: Mutex::default(),
            arrived: Condvar::new(),
            finished: Condvar::new(),
            slots: Semaphore::new(slots.min(Semaphore::MAX_PERMITS)),
            healthy: AtomicBool::new(true),
        }
    }

    /// A free slot, when there is one now.
    pub(super) fn try_slot(&self) -> Option<Result<SemaphorePermit<'_>, Unavailable>> {
        match self.slots.try_acquire() {
            Ok(slot) => Some(Ok(slot)),
            Err(TryAcquireError::Closed) => Some(Err(Unavailable::Closed)),
            Err(TryAcquireError::NoPermits) => None,
        }
    }

    /// Waits for a free slot.
    pub(super) async fn slot(&self) -> Result<SemaphorePermit<'_>, Unavailable> {
        self.slots.acquire().await.map_err(|_| Unavailable::Closed)
    }

    /// Queues the job; whoever writes it gives the slot back. Nobody is told: see [`Queue::call`].
    pub(super) fn push(&self, slot: SemaphorePermit<'_>, job: Job) -> Result<(), Unavailable> {
        let mut waiting = self.waiting.lock();
        if waiting.closed {
            return Err(Unavailable::Closed);
        }
        waiting.jobs.push(job);
        slot.forget();
        Ok(())
    }

    /// Asks the thread to look.
    pub(super) fn call(&self) {
        self.waiting.lock().called = true;
        self.arrived.notify_one();
    }

    /// Asks the thread for a flush.
    pub(super) fn flush(&self, answer: Flush) -> Result<(), Unavailable> {
        let mut waiting = self.waiting.lock();
        if waiting.closed {
            return Err(Unavailable::Closed);
        }
        waiting.flushes.push(answer);
        drop(waiting);
        self.arrived.notify_one();
        Ok(())
    }

    /// Puts everything that waits into `jobs`, which is empty.
    pub(super) fn take(&self, jobs: &mut Vec<Job>) {
        mem::swap(&mut self.waiting.lock().jobs, jobs);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.lock().jobs.is_empty()
    }

    /// The thread waits until it is wanted; at most `wait`, or for ever.
    pub(super) fn wait(&self, wait: Option<Duration>) -> Woken {
        let mut waiting = self.waiting.lock();
        loop {
            if mem::take(&mut waiting.called) || !waiting.flushes.is_empty() {
                return Woken::Called(mem::take(&mut waiting.flushes));
            }
            if waiting.closed {
                let left = !waiting.jobs.is_empty();
                return if left { Woken::Called(Vec::new()) } else { Woken::Closed };
            }
            match wait {
                None => self.arrived.wait(&mut waiting),
                Some(wait) => {
                    let late = self.arrived.wait_for(&mut waiting, wait).timed_out();
                    if late && !waiting.called && waiting.flushes.is_empty() && !waiting.closed {
                        return Woken::Nothing;
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
        self.waiting.lock().closed = true;
        self.slots.close();
        self.arrived.notify_all();
    }

    /// There is no writer any more; whatever still waits will not be written.
    pub(super) fn finish(&self) {
        self.close();
        let left = {
            let mut waiting = self.waiting.lock();
            waiting.finished = true;
            (mem::take(&mut waiting.jobs), mem::take(&mut waiting.flushes))
        };
        drop(left);
        self.finished.notify_all();
    }

    /// Waits until the writer is gone, at most `wait`.
    pub(super) fn await_finish(&self, wait: Duration) {
        let mut waiting = self.waiting.lock();
        while !waiting.finished {
            if self.finished.wait_for(&mut waiting, wait).timed_out() {
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
