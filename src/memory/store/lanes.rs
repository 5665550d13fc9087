//! The threads that talk to SQLite: one that writes, a few that read, each behind a bounded queue.
//!
//! A call that has stopped waiting is not carried out: its job looks at [`Wanted`] before it starts, and a write
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

/// Which threads a job is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::memory) enum Lane {
    Read,
    Write,
}

/// Asks whether somebody still waits for a job's answer.
pub(in crate::memory) struct Wanted<'a>(&'a dyn Fn() -> bool);

impl<'a> Wanted<'a> {
    /// `waits` says whether somebody does.
    pub(in crate::memory) fn new(waits: &'a dyn Fn() -> bool) -> Self {
        Self(waits)
    }

    /// An error when nobody waits any more.
    pub(in crate::memory) fn check(&self) -> Result<(), MemoryError> {
        if (self.0)() { Ok(()) } else { Err(MemoryError::Overdue) }
    }
}

/// The queues and their threads.
pub(in crate::memory) struct Lanes {
    reads: Mutex<Option<SyncSender<Job>>>,
    writes: Mutex<Option<SyncSender<Job>>>,
    readers: Mutex<Vec<JoinHandle<()>>>,
    writer: Mutex<Option<JoinHandle<()>>>,
    deadline: Duration,
}

impl Lanes {
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

    /// Has a job done on the lane's next free thread, and waits for its answer until the deadline.
    pub(in crate::memory) async fn run<T, F>(&self, lane: Lane, job: F) -> Result<T, MemoryError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Connection, &Wanted<'_>) -> Result<T, MemoryError> + Send + 'static,
    {
        let (answer, waiting) = oneshot::channel();
        self.send(
            lane,
            Box::new(move |connection| {
                let waits = || !answer.is_closed();
                let wanted = Wanted::new(&waits);
                let result = wanted.check().and_then(|()| job(connection, &wanted));
                // Nobody waits any more: there is nobody to tell.
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

    fn send(&self, lane: Lane, job: Job) -> Result<(), MemoryError> {
        let queue = match lane {
            Lane::Read => &self.reads,
            Lane::Write => &self.writes,
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

impl Drop for Lanes {
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
