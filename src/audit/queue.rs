//! What stands between those who append and the thread that writes: a bounded queue, taken as a whole.
//!
//! Taking everything that waits is what makes group commit: while one batch is written, the next gathers.

use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tokio::sync::{Semaphore, oneshot};

use super::AuditError;
use super::error::Unavailable;
use super::journal::Receipt;
use super::record::Record;

/// Something for the writer to do, and where to say that it is done.
pub(super) enum Job {
    Append(Box<Record>, oneshot::Sender<Result<Receipt, AuditError>>),
    Flush(oneshot::Sender<Result<(), AuditError>>),
}

/// What the writer finds when it looks.
pub(super) enum Taken {
    Jobs(Vec<Job>),
    /// Nothing came for as long as it wanted to wait.
    Nothing,
    /// Closed, and empty.
    Closed,
}

struct Waiting {
    jobs: Vec<Job>,
    closed: bool,
    finished: bool,
}

/// The queue, and the state that both sides look at.
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
            waiting: Mutex::new(Waiting { jobs: Vec::new(), closed: false, finished: false }),
            arrived: Condvar::new(),
            finished: Condvar::new(),
            slots: Semaphore::new(slots.min(Semaphore::MAX_PERMITS)),
            healthy: AtomicBool::new(true),
        }
    }

    /// Waits for a free slot and queues the job.
    pub(super) async fn push(&self, job: Job) -> Result<(), Unavailable> {
        let slot = self.slots.acquire().await.map_err(|_| Unavailable::Closed)?;
        {
            let mut waiting = self.waiting.lock();
            if waiting.closed {
                return Err(Unavailable::Closed);
            }
            waiting.jobs.push(job);
        }
        // The writer gives it back.
        slot.forget();
        self.arrived.notify_one();
        Ok(())
    }

    /// Takes everything that waits; waits at most `wait`, or for ever.
    pub(super) fn take(&self, wait: Option<Duration>) -> Taken {
        let mut waiting = self.waiting.lock();
        while waiting.jobs.is_empty() {
            if waiting.closed {
                return Taken::Closed;
            }
            match wait {
                None => self.arrived.wait(&mut waiting),
                Some(wait) => {
                    if self.arrived.wait_for(&mut waiting, wait).timed_out() && waiting.jobs.is_empty() {
                        return if waiting.closed { Taken::Closed } else { Taken::Nothing };
                    }
                }
            }
        }
        Taken::Jobs(mem::take(&mut waiting.jobs))
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

    /// The writer says that it is gone; whatever still waits will not be written.
    pub(super) fn finish(&self) {
        self.close();
        let left = {
            let mut waiting = self.waiting.lock();
            waiting.finished = true;
            mem::take(&mut waiting.jobs)
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
