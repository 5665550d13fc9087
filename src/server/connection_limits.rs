//! How many connections one address may have at once: one client must not use all connections, and must not
//! keep others out that share its address.
//!
//! The attack: behind one NAT a client opens as many connections as its address may have, and sends nothing on them. So
//! a new connection replaces an idle one: the one that is idle longest, first among those without an authenticated
//! request. It is refused only when all connections of the address are busy.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::activity::Activity;
use crate::limit::network;

/// How often an evicted connection is checked for a request that came at the last moment.
const RECHECK: Duration = Duration::from_millis(20);

/// The open connections by address; a /64 of IPv6 is one address.
#[derive(Debug)]
pub(super) struct PerAddress {
    max: usize,
    members: Mutex<AddressTable>,
}

#[derive(Debug, Default)]
struct AddressTable {
    next: u64,
    by_address: HashMap<IpAddr, Vec<OpenConnection>>,
}

#[derive(Debug)]
struct OpenConnection {
    id: u64,
    activity: Activity,
    evict: CancellationToken,
}

/// One of the connections that an address may have; free again when this is dropped.
#[derive(Debug)]
pub(super) struct Slot {
    per_address: Arc<PerAddress>,
    address: IpAddr,
    id: u64,
    activity: Activity,
    evict: CancellationToken,
}

impl PerAddress {
    pub(super) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { max, members: Mutex::default() })
    }

    /// A slot for a connection of `address`, or `None` when all of them are used and busy.
    pub(super) fn try_acquire(self: &Arc<Self>, address: IpAddr, activity: Activity) -> Option<Slot> {
        let address = network(address);
        let mut members = self.members.lock();
        members.next = members.next.wrapping_add(1);
        let id = members.next;
        let evict = CancellationToken::new();
        let own = members.by_address.entry(address).or_default();
        let staying = own.iter().filter(|member| !member.evict.is_cancelled()).count();
        // Evicted connections close soon; until then there may be twice as many.
        let room = staying < self.max || own.len() < self.max.saturating_mul(2) && evict_longest_waiting(own);
        if !room {
            return None;
        }
        own.push(OpenConnection { id, activity: activity.clone(), evict: evict.clone() });
        Some(Slot { per_address: Arc::clone(self), address, id, activity, evict })
    }

    /// Evicts an idle connection of the address that has the most.
    pub(super) fn evict_one(&self) {
        let members = self.members.lock();
        if let Some(largest) = members.by_address.values().max_by_key(|own| own.len()) {
            evict_longest_waiting(largest);
        }
    }
}

/// Evicts the connection that is idle longest; `false` when none is idle.
fn evict_longest_waiting(members: &[OpenConnection]) -> bool {
    let staying = members.iter().filter(|member| !member.evict.is_cancelled());
    let waiting = staying.filter_map(|member| Some((member.activity.waits()?, member)));
    match waiting.min_by_key(|(waits, _)| *waits) {
        Some((_, member)) => {
            member.evict.cancel();
            true
        }
        None => false,
    }
}

impl Slot {
    /// Completes when the slot is given to another connection.
    pub(super) async fn evicted(&self) {
        self.evict.cancelled().await;
        while self.activity.waits().is_none() {
            tokio::time::sleep(RECHECK).await;
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut members = self.per_address.members.lock();
        if let Some(own) = members.by_address.get_mut(&self.address) {
            own.retain(|member| member.id != self.id);
            // INVARIANT: the table has no more entries than there are connections.
            if own.is_empty() {
                members.by_address.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[tokio::test]
    async fn an_address_has_so_many_busy_places_and_gets_them_back() {
        let per_address = PerAddress::new(2);
        let busy = |text: &str| {
            let activity = Activity::new();
            let running = activity.begin();
            per_address.try_acquire(ip(text), activity).map(|place| (place, running))
        };
        let first = busy("192.0.2.1").unwrap();
        let second = busy("::ffff:192.0.2.1").unwrap();
        assert!(busy("192.0.2.1").is_none());
        let other = busy("192.0.2.2").unwrap();
        drop(first);
        let third = busy("192.0.2.1").unwrap();
        let six = (busy("2001:db8::1").unwrap(), busy("2001:db8::2").unwrap());
        assert!(busy("2001:db8::3").is_none(), "a /64 is one host");
        drop((second, third, other, six));
        assert!(per_address.members.lock().by_address.is_empty());
    }

    #[tokio::test]
    async fn a_newcomer_takes_the_place_of_who_waits_longest_and_proves_nobody() {
        let per_address = PerAddress::new(3);
        let try_acquire = || per_address.try_acquire(ip("192.0.2.1"), Activity::new());
        let proven = try_acquire().unwrap();
        let answer = axum::response::Response::new(axum::body::Body::empty());
        drop(proven.activity.begin().until_sent(answer));
        let older = try_acquire().unwrap();
        let newer = try_acquire().unwrap();
        let gone = |place: &Slot| place.evict.is_cancelled();
        let fourth = try_acquire().unwrap();
        assert_eq!((gone(&proven), gone(&older), gone(&newer)), (false, true, false));
        older.evicted().await;
        let running = newer.activity.begin();
        let _fifth = try_acquire().unwrap();
        assert!(gone(&fourth) && !gone(&newer) && !gone(&proven), "who is busy stays");
        let _sixth = try_acquire().unwrap();
        // They stay until they are dropped, and there is an end of it.
        assert!(try_acquire().is_none());
        drop((older, fourth));
        assert!(try_acquire().is_some());
        drop(running);
        per_address.evict_one();
    }
}
