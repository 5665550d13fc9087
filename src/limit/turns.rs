//! What each caller may have under way at once of something that all of them share: more of one wait for each other, and
//! delay no other caller.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Turns by key.
#[derive(Debug)]
pub struct Turns<K: Eq + Hash + Clone> {
    each: usize,
    taken: Mutex<HashMap<K, Arc<Semaphore>>>,
}

/// A turn, or the waiting for one; given back when this is dropped.
#[derive(Debug)]
pub struct Turn<K: Eq + Hash + Clone> {
    turns: Arc<Turns<K>>,
    key: K,
    semaphore: Option<Arc<Semaphore>>,
    permit: Option<OwnedSemaphorePermit>,
}

impl<K: Eq + Hash + Clone> Turns<K> {
    /// So many at once of each.
    pub fn new(each: usize) -> Arc<Self> {
        Arc::new(Self { each, taken: Mutex::default() })
    }

    /// The next turn of `key`. None only where there are no turns at all.
    pub async fn turn(self: &Arc<Self>, key: K) -> Option<Turn<K>> {
        let new = || Arc::new(Semaphore::new(self.each));
        let semaphore = Arc::clone(self.taken.lock().entry(key.clone()).or_insert_with(new));
        let mut turn =
            Turn { turns: Arc::clone(self), key, semaphore: Some(Arc::clone(&semaphore)), permit: None };
        turn.permit = Some(semaphore.acquire_owned().await.ok()?);
        Some(turn)
    }
}

impl<K: Eq + Hash + Clone> Drop for Turn<K> {
    fn drop(&mut self) {
        // Before the lock: the permit holds on to the semaphore as well.
        self.permit = None;
        let mut taken = self.turns.taken.lock();
        self.semaphore = None;
        // INVARIANT: handed out under the lock only, so what the table alone holds has no other owner.
        if taken.get(&self.key).is_some_and(|semaphore| Arc::strong_count(semaphore) == 1) {
            taken.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_caller_waits_for_itself_alone() {
        let turns = Turns::new(1);
        let first = turns.turn("a").await.unwrap();
        let other = turns.turn("b").await.unwrap();
        let mut second = std::pin::pin!(turns.turn("a"));
        assert!(futures::poll!(second.as_mut()).is_pending());
        drop(first);
        drop(second.await.unwrap());
        drop(other);
        // A waiter that is dropped leaves no entry behind.
        let held = turns.turn("c").await.unwrap();
        let mut waiting = Box::pin(turns.turn("c"));
        assert!(futures::poll!(waiting.as_mut()).is_pending());
        drop(held);
        drop(waiting);
        assert!(turns.taken.lock().is_empty());
    }
}
