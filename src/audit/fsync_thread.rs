//! Writes to the disk what the kernel has, behind the writer's back, so that no append waits for a disk.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::file::LogFile;
use super::settings::{Durability, Settings};

#[derive(Default)]
struct State {
    dirty: bool,
    closed: bool,
    failed: Option<Arc<io::Error>>,
}

#[derive(Default)]
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
                let shared = Arc::new(Shared::default());
                let (own, file, interval) =
                    (Arc::clone(&shared), log.second_handle()?, settings.fsync_interval);
                let thread = thread::Builder::new()
                    .name("audit-syncer".to_owned())
                    .spawn(move || run(&own, &file, interval))?;
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
            // Its handle holds the lock on the file. A thread that panicked is gone as well.
            drop(thread.join());
        }
    }
}

fn run(shared: &Shared, file: &File, interval: Duration) {
    let mut state = shared.state.lock();
    while !state.closed {
        if !state.dirty {
            shared.changed.wait(&mut state);
            continue;
        }
        // Nothing but closing wakes this early; the writer syncs by itself then.
        shared.changed.wait_for(&mut state, interval);
        state.dirty = false;
        drop(state);
        let synced = file.sync_data();
        state = shared.state.lock();
        if let Err(error) = synced {
            state.failed = Some(Arc::new(error));
        }
    }
}
