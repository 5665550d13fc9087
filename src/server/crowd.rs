//! How many connections one address may have at once: whoever has a single address must not take every place.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;

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

#[cfg(test)]
mod tests {
    use super::*;

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
