//! The threads that use SQLite: one that writes, a few that read, each kind behind a bounded queue.
//!
//! A call that has stopped waiting is not carried out: its job checks [`Cancel`] before it starts, and a write
//! once more before it commits. So "not in time" means "not done", but for the instant of the commit itself.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;
use rusqlite::Connection;
use tokio::sync::oneshot;

use super::{open_reader, open_writer};
use crate::memory::error::MemoryError;
use crate::memory::settings::Settings;

type Job = Box<dyn FnOnce(&mut Connection) + Send>;

/// The threads that a job runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::memory) enum Pool {
    Read,
    Write,
}

/// Cancellation of a job: its caller has stopped waiting for the answer.
pub(in crate::memory) struct Cancel<'a>(&'a dyn Fn() -> bool);

impl<'a> Cancel<'a> {
    /// `waits` returns whether the caller still waits.
    pub(in crate::memory) fn new(waits: &'a dyn Fn() -> bool) -> Self {
        Self(waits)
    }

    /// # Errors
    /// The caller does not wait any more.
    pub(in crate::memory) fn check(&self) -> Result<(), MemoryError> {
        if (self.0)() { Ok(()) } else { Err(MemoryError::Overdue) }
    }
}

/// Both queues with their threads.
pub(in crate::memory) struct Workers {
    reads: Mutex<Option<SyncSender<Job>>>,
    writes: Mutex<Option<SyncSender<Job>>>,
    readers: Mutex<Vec<JoinHandle<()>>>,
    writer: Mutex<Option<JoinHandle<()>>>,
    deadline: Duration,
}

impl Workers {
    /// Opens all connections and starts the threads. The writer comes first: it makes the tables.
    pub(in crate::memory) fn open(settings: &Settings) -> Result<Self, MemoryError> {
        let path: PathBuf = settings.database.clone();
        let writer = open_writer(&path)?;
        let readers =
            (0..settings.readers.get()).map(|_| open_reader(&path)).collect::<Result<Vec<_>, _>>()?;
        let (reads, waiting_reads) = sync_channel(settings.queue.max(1));
        let (writes, waiting_writes) = sync_channel(settings.queue.max(1));
        let waiting_reads = Arc::new(Mutex::new(waiting_reads));
        let readers = readers
            .into_iter()
            .map(|connection| start("memory-read", connection, Arc::clone(&waiting_reads)))
            .collect::<Result<Vec<_>, _>>()?;
        let writer = start("memory-write", writer, Arc::new(Mutex::new(waiting_writes)))?;
        Ok(Self {
            reads: Mutex::new(Some(reads)),
            writes: Mutex::new(Some(writes)),
            readers: Mutex::new(readers),
            writer: Mutex::new(Some(writer)),
            deadline: settings.deadline,
        })
    }

    /// Runs a job on the next free thread of a pool, and waits for its answer until the deadline.
    pub(in crate::memory) async fn run<T, F>(&self, pool: Pool, job: F) -> Result<T, MemoryError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Connection, &Cancel<'_>) -> Result<T, MemoryError> + Send + 'static,
    {
        let (answer, waiting) = oneshot::channel();
        self.send(
            pool,
            Box::new(move |connection| {
                let waits = || !answer.is_closed();
                let cancel = Cancel::new(&waits);
                let result = cancel.check().and_then(|()| job(connection, &cancel));
                // It fails when the caller has stopped waiting.
                let _ = answer.send(result);
            }),
        )?;
        match tokio::time::timeout(self.deadline, waiting).await {
            Ok(Ok(result)) => result,
            // The thread dropped the job unanswered: it is gone.
            Ok(Err(_)) => Err(MemoryError::Closed),
            Err(_) => Err(MemoryError::Overdue),
        }
    }

    fn send(&self, pool: Pool, job: Job) -> Result<(), MemoryError> {
        let queue = match pool {
            Pool::Read => &self.reads,
            Pool::Write => &self.writes,
        };
        let queue = queue.lock();
        let Some(queue) = queue.as_ref() else { return Err(MemoryError::Closed) };
        queue.try_send(job).map_err(|error| match error {
            TrySendError::Full(_) => MemoryError::Busy,
            TrySendError::Disconnected(_) => MemoryError::Closed,
        })
    }

    /// Takes no more jobs, does those that wait, and closes the database. Blocks until that is done.
    ///
    /// The writer goes last, because the last connection to close brings the log back into the database file.
    pub(in crate::memory) fn close(&self) {
        self.reads.lock().take();
        let readers = std::mem::take(&mut *self.readers.lock());
        for thread in readers {
            // A thread that panicked has nothing left to close.
            let _ = thread.join();
        }
        self.writes.lock().take();
        let writer = self.writer.lock().take();
        if let Some(thread) = writer {
            let _ = thread.join();
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.close();
    }
}

fn start(
    name: &str,
    mut connection: Connection,
    queue: Arc<Mutex<Receiver<Job>>>,
) -> Result<JoinHandle<()>, MemoryError> {
    let work = move || {
        loop {
            // The lock is held while waiting for a job, and not while doing it.
            let next = queue.lock().recv();
            match next {
                Ok(job) => job(&mut connection),
                Err(_) => return,
            }
        }
    };
    std::thread::Builder::new().name(name.to_owned()).spawn(work).map_err(MemoryError::Thread)
}
