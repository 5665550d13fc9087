//! The upkeep of the decision log beside the requests: its keeper works on threads that may block, and what it did is recorded.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::build::Parts;
use crate::audit::{Keeper, KeeperEvent, SealCause};
use crate::blocking;
use crate::events::SecurityEvent;

/// How often it is looked for something to do.
const INTERVAL: Duration = Duration::from_secs(1);

/// The keeper, for one step at a time.
pub(super) type SharedKeeper = Arc<Mutex<Keeper>>;

/// Does what is due until the gateway stops.
pub(super) async fn run(parts: Arc<Parts>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(INTERVAL) => step(&parts, Keeper::step).await,
        }
    }
}

/// Signs the last checkpoint, before the journal is closed.
pub(super) async fn finish(parts: &Parts) {
    step(parts, Keeper::finish).await;
}

async fn step(parts: &Parts, work: impl FnOnce(&mut Keeper, i64) -> Vec<KeeperEvent> + Send + 'static) {
    let (keeper, now) = (Arc::clone(&parts.keeper), parts.clock.now_millis());
    // A step that panicked is reported where it panicked.
    let events = blocking::run(move || work(&mut keeper.lock(), now)).await.unwrap_or_default();
    for event in &events {
        parts.event(as_security_event(event)).await;
    }
}

fn as_security_event(event: &KeeperEvent) -> SecurityEvent<'_> {
    match event {
        KeeperEvent::Closed { cause: SealCause::Moved, first, last } => SecurityEvent::AuditFileMoved {
            what: "another program moved or removed the file; its records were kept",
            first: *first,
            last: *last,
        },
        KeeperEvent::Closed { cause: SealCause::Cut, first, last } => SecurityEvent::AuditFileMoved {
            what: "another program emptied the file; its records are where that program has put them",
            first: *first,
            last: *last,
        },
        KeeperEvent::Closed { first, last, .. } => SecurityEvent::AuditRotated { first: *first, last: *last },
        KeeperEvent::Deleted { first, last } => SecurityEvent::AuditDeleted { first: *first, last: *last },
        KeeperEvent::Checkpoint { note } => SecurityEvent::AuditCheckpoint { note },
        KeeperEvent::Failed { why } => SecurityEvent::AuditUpkeepFailed { why },
    }
}
