//! How many connections one address may have at once: whoever has a single address must not take every place.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::limit::network;

/// Counts connections by address; a host of IPv6, which has a /64, counts as one.
#[derive(Debug)]
pub(super) struct Crowd {
    max: usize,
    counts: Mutex<HashMap<IpAddr, usize>>,
}

/// One of the places of an address; it is free again when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    crowd: Arc<Crowd>,
    address: IpAddr,
}

impl Crowd {
    pub(super) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { max, counts: Mutex::default() })
    }

    /// A place for a connection of `address`, or `None` when it has them all.
    pub(super) fn enter(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let address = network(address);
        let mut counts = self.counts.lock();
        let count = counts.entry(address).or_default();
        if *count >= self.max {
            return None;
        }
        *count += 1;
        Some(Place { crowd: Arc::clone(self), address })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.crowd.counts.lock();
        if let Some(count) = counts.get_mut(&self.address) {
            *count -= 1;
            // INVARIANT: the table has no more entries than there are connections.
            if *count == 0 {
                counts.remove(&self.address);
            }
        }
    }
}

/// What each address may have under way at once of something that all of them share; more of one address wait for each
/// other, and hold nobody else up.
#[derive(Debug)]
pub(super) struct Shares {
    each: usize,
    taken: Mutex<HashMap<IpAddr, Arc<Semaphore>>>,
}

/// A turn of an address, or its waiting for one; given back when this is dropped.
#[derive(Debug)]
pub(super) struct Share {
    shares: Arc<Shares>,
    address: IpAddr,
    turns: Option<Arc<Semaphore>>,
    turn: Option<OwnedSemaphorePermit>,
}

impl Shares {
    pub(super) fn new(each: usize) -> Arc<Self> {
        Arc::new(Self { each, taken: Mutex::default() })
    }

    /// The next turn of `address`.
    pub(super) async fn turn(self: &Arc<Self>, address: IpAddr) -> Option<Share> {
        let address = network(address);
        let new = || Arc::new(Semaphore::new(self.each));
        let turns = Arc::clone(self.taken.lock().entry(address).or_insert_with(new));
        let mut share =
            Share { shares: Arc::clone(self), address, turns: Some(Arc::clone(&turns)), turn: None };
        share.turn = Some(turns.acquire_owned().await.ok()?);
        Some(share)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        // Before the lock: the turn holds on to the semaphore as well.
        self.turn = None;
        let mut taken = self.shares.taken.lock();
        self.turns = None;
        // INVARIANT: handed out under the lock only, so what the table alone holds belongs to nobody.
        if taken.get(&self.address).is_some_and(|turns| Arc::strong_count(turns) == 1) {
            taken.remove(&self.address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_waits_for_itself_alone() {
        let shares = Shares::new(1);
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let first = shares.turn(ip("192.0.2.1")).await.unwrap();
        let _other = shares.turn(ip("192.0.2.2")).await.unwrap();
        let mut second = std::pin::pin!(shares.turn(ip("192.0.2.1")));
        assert!(futures::poll!(second.as_mut()).is_pending());
        drop(first);
        drop(second.await.unwrap());
        drop(_other);
        // Who gives up waiting leaves nothing behind.
        let held = shares.turn(ip("2001:db8::1")).await.unwrap();
        let mut waiting = Box::pin(shares.turn(ip("2001:db8::2")));
        assert!(futures::poll!(waiting.as_mut()).is_pending(), "a /64 is one host");
        drop(held);
        drop(waiting);
        assert!(shares.taken.lock().is_empty());
    }

    #[test]
    fn an_address_has_so_many_places_and_gets_them_back() {
        let crowd = Crowd::new(2);
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let first = crowd.enter(ip("192.0.2.1")).unwrap();
        let _second = crowd.enter(ip("::ffff:192.0.2.1")).unwrap();
        assert!(crowd.enter(ip("192.0.2.1")).is_none());
        let _other = crowd.enter(ip("192.0.2.2")).unwrap();
        drop(first);
        assert!(crowd.enter(ip("192.0.2.1")).is_some());
        let _six = (crowd.enter(ip("2001:db8::1")), crowd.enter(ip("2001:db8::2")));
        assert!(crowd.enter(ip("2001:db8::3")).is_none(), "a /64 is one host");
        drop((_second, _other, _six));
        assert!(crowd.counts.lock().is_empty());
    }
}
