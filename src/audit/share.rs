//! What one principal may have of the places in the journal's queue: a quarter. More of its records wait for each other, and
//! nobody else's for them.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::record::Record;

/// Principals are told apart by so many numbers; two that have the same one share. Which ones do is drawn at each start,
/// so that a caller cannot choose to block another.
const NUMBERS: usize = 1_024;
/// The part of the queue that is one principal's.
const PART: usize = 4;

pub(super) struct Shares {
    of: Vec<Arc<Semaphore>>,
    random: RandomState,
}

/// A place of a share; free again when this is dropped, which is when the record is written.
pub(super) type Share = OwnedSemaphorePermit;

impl Shares {
    pub(super) fn new(queue: usize) -> Self {
        let each = (queue / PART).clamp(1, Semaphore::MAX_PERMITS);
        Self {
            of: (0..NUMBERS).map(|_| Arc::new(Semaphore::new(each))).collect(),
            random: RandomState::new(),
        }
    }

    /// The next place in the share of whom the record is about: its principal, or who came from its address.
    pub(super) async fn place(&self, record: &Record) -> Option<Share> {
        let number = match &record.subject {
            Some(subject) => self.random.hash_one(&subject.principal),
            None => self.random.hash_one(record.source.ip),
        };
        let share = self.of.get(usize::try_from(number).unwrap_or(0) % NUMBERS)?;
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
        let shares = Shares::new(8);
        let of = |name: &str| {
            let mut record = event();
            let principal = name.to_owned();
            record.subject = Some(crate::audit::SubjectRecord { credential: None, method: "jwt", principal });
            record
        };
        let (greedy, event) = (of("greedy"), event());
        let held = (shares.place(&greedy).await.unwrap(), shares.place(&greedy).await.unwrap());
        let mut third = std::pin::pin!(shares.place(&greedy));
        assert!(futures::poll!(third.as_mut()).is_pending());
        // One of these may have drawn the same number, not both.
        let (one, other) = (of("one"), of("other"));
        let mut free = 0;
        for record in [&one, &other, &event] {
            free += usize::from(futures::poll!(std::pin::pin!(shares.place(record))).is_ready());
        }
        assert!(free >= 2, "{free}");
        drop(held);
        assert!(third.await.is_some());
    }
}
