//! Limits each principal to a quarter of the slots in the journal's queue. Further records of that principal wait for its
//! own earlier ones; the records of other principals do not wait for them.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::record::Record;

/// Principals are hashed into this many buckets; two in one bucket share its slots. The hash is keyed anew at each start,
/// so that a caller cannot choose a name that blocks another principal.
const BUCKETS: usize = 1_024;
/// A principal may hold one slot in this many.
const QUARTER: usize = 4;

pub(super) struct PrincipalShares {
    of: Vec<Arc<Semaphore>>,
    random: RandomState,
}

/// One slot of a principal; free again when this is dropped, which is when the record is written.
pub(super) type QueueShare = OwnedSemaphorePermit;

impl PrincipalShares {
    pub(super) fn new(queue: usize) -> Self {
        let each = (queue / QUARTER).clamp(1, Semaphore::MAX_PERMITS);
        Self {
            of: (0..BUCKETS).map(|_| Arc::new(Semaphore::new(each))).collect(),
            random: RandomState::new(),
        }
    }

    /// Waits for a slot of the principal that the record is about, or of its address when it has no principal. `None` when
    /// the semaphore is closed.
    pub(super) async fn acquire(&self, record: &Record) -> Option<QueueShare> {
        let number = match &record.subject {
            Some(subject) => self.random.hash_one(&subject.principal),
            None => self.random.hash_one(record.source.ip),
        };
        let share = self.of.get(usize::try_from(number).unwrap_or(0) % BUCKETS)?;
        match Arc::clone(share).try_acquire_owned() {
            Ok(place) => Some(place),
            Err(_) => Arc::clone(share).acquire_owned().await.ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::event;
    use super::*;

    #[tokio::test]
    async fn one_principal_has_a_quarter_and_others_do_not_wait_for_it() {
        let shares = PrincipalShares::new(8);
        let of = |name: &str| {
            let mut record = event();
            let principal = name.to_owned();
            record.subject = Some(crate::audit::SubjectRecord { credential: None, method: "jwt", principal });
            record
        };
        let (greedy, event) = (of("greedy"), event());
        let held = (shares.acquire(&greedy).await.unwrap(), shares.acquire(&greedy).await.unwrap());
        let mut third = std::pin::pin!(shares.acquire(&greedy));
        assert!(futures::poll!(third.as_mut()).is_pending());
        // One of these may have drawn the same number, not both.
        let (one, other) = (of("one"), of("other"));
        let mut free = 0;
        for record in [&one, &other, &event] {
            free += usize::from(futures::poll!(std::pin::pin!(shares.acquire(record))).is_ready());
        }
        assert!(free >= 2, "{free}");
        drop(held);
        assert!(third.await.is_some());
    }
}
