//! Writes to the disk what the kernel has, behind the writer's back, so that no append waits for a disk.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::file::LogFile;
use super::settings::{Durability, Settings};

struct State {
    /// The file that grows.
    file: Arc<File>,
    /// Files that grew before, and may not be synced to their end.
    left: Vec<Arc<File>>,
    dirty: bool,
    closed: bool,
    failed: Option<Arc<io::Error>>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

/// The thread that syncs at intervals; none when every batch is synced anyway.
pub(super) struct FsyncThread {
    shared: Option<Arc<Shared>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl FsyncThread {
    pub(super) fn start(settings: &Settings, log: &LogFile) -> io::Result<Self> {
        match settings.durability {
            Durability::Synced => Ok(Self { shared: None, thread: None }),
            Durability::Written => {
                let file = Arc::new(log.second_handle()?);
                let state = State { file, left: Vec::new(), dirty: false, closed: false, failed: None };
                let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
                let (own, interval) = (Arc::clone(&shared), settings.fsync_interval);
                let thread = thread::Builder::new()
                    .name("audit-syncer".to_owned())
                    .spawn(move || run(&own, interval))?;
                Ok(Self { shared: Some(shared), thread: Some(thread) })
            }
        }
    }

    /// Says that there is something to sync.
    pub(super) fn dirty(&self) {
        if let Some(shared) = &self.shared {
            let mut state = shared.state.lock();
            if !state.dirty {
                state.dirty = true;
                shared.changed.notify_one();
            }
        }
    }

    /// Goes on with another file, after the one before is on the disk to its end.
    pub(super) fn replace(&self, log: &LogFile) -> io::Result<()> {
        let Some(shared) = &self.shared else { return Ok(()) };
        let next = Arc::new(log.second_handle()?);
        let mut state = shared.state.lock();
        let before = std::mem::replace(&mut state.file, next);
        state.left.push(before);
        state.dirty = true;
        shared.changed.notify_one();
        Ok(())
    }

    /// Why the last sync failed, once. The kernel may have dropped what it could not write.
    pub(super) fn take_failure(&self) -> Option<Arc<io::Error>> {
        self.shared.as_ref()?.state.lock().failed.take()
    }
}

impl Drop for FsyncThread {
    fn drop(&mut self) {
        if let Some(shared) = &self.shared {
            shared.state.lock().closed = true;
            shared.changed.notify_one();
        }
        if let Some(thread) = self.thread.take() {
            // What it has left to sync must be on the disk. A thread that panicked is gone as well.
            drop(thread.join());
        }
    }
}

fn run(shared: &Shared, interval: Duration) {
    let mut state = shared.state.lock();
    loop {
        if !state.dirty && !state.closed {
            shared.changed.wait(&mut state);
            continue;
        }
        if !state.closed {
            // Nothing but closing or another file wakes this early.
            shared.changed.wait_for(&mut state, interval);
        }
        state.dirty = false;
        let mut files = std::mem::take(&mut state.left);
        if !state.closed {
            // At the end the writer syncs the file that grows by itself.
            files.push(Arc::clone(&state.file));
        }
        let closed = state.closed;
        drop(state);
        let failed = files.iter().find_map(|file| file.sync_data().err());
        if closed {
            return;
        }
        state = shared.state.lock();
        if let Some(error) = failed {
            state.failed = Some(Arc::new(error));
        }
    }
}
