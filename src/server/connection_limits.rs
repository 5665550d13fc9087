//! How many connections one address may have at once: one address must not take every place, and must not
//! keep those out who share it.
//!
//! The attack: behind one NAT a client opens as many connections as its address may have, and sends nothing on them. So
//! a newcomer takes the place of the connection that waits: first of those without an authenticated request, then of the
//! others, the one that waits longest. Only where all of them are busy is the newcomer turned away.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::activity::Activity;
use crate::limit::network;

/// How often a connection that has to go is looked at for a request that came at the last moment.
const AGAIN: Duration = Duration::from_millis(20);

/// The connections by address; a host of IPv6, which has a /64, counts as one.
#[derive(Debug)]
pub(super) struct Crowd {
    max: usize,
    members: Mutex<Members>,
}

#[derive(Debug, Default)]
struct Members {
    next: u64,
    by_address: HashMap<IpAddr, Vec<Member>>,
}

#[derive(Debug)]
struct Member {
    id: u64,
    activity: Activity,
    go: CancellationToken,
}

/// One of the places of an address; it is free again when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    crowd: Arc<Crowd>,
    address: IpAddr,
    id: u64,
    activity: Activity,
    go: CancellationToken,
}

impl Crowd {
    pub(super) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { max, members: Mutex::default() })
    }

    /// A place for a connection of `address`, or `None` when it has them all and each is busy.
    pub(super) fn enter(self: &Arc<Self>, address: IpAddr, activity: Activity) -> Option<Place> {
        let address = network(address);
        let mut members = self.members.lock();
        members.next = members.next.wrapping_add(1);
        let (id, go) = (members.next, CancellationToken::new());
        let own = members.by_address.entry(address).or_default();
        let staying = own.iter().filter(|member| !member.go.is_cancelled()).count();
        // What has to go is gone in a moment; until then there may be twice as many.
        let room = staying < self.max || own.len() < self.max.saturating_mul(2) && send_one_off(own);
        if !room {
            return None;
        }
        own.push(Member { id, activity: activity.clone(), go: go.clone() });
        Some(Place { crowd: Arc::clone(self), address, id, activity, go })
    }

    /// Has one connection go that waits, of the address that has the most.
    pub(super) fn make_room(&self) {
        let members = self.members.lock();
        if let Some(largest) = members.by_address.values().max_by_key(|own| own.len()) {
            send_one_off(largest);
        }
    }
}

/// Has the connection go that waits longest. Whether one waits.
fn send_one_off(members: &[Member]) -> bool {
    let staying = members.iter().filter(|member| !member.go.is_cancelled());
    let waiting = staying.filter_map(|member| Some((member.activity.waits()?, member)));
    match waiting.min_by_key(|(waits, _)| *waits) {
        Some((_, member)) => {
            member.go.cancel();
            true
        }
        None => false,
    }
}

impl Place {
    /// Cancelled when the place is given to another connection.
    pub(super) async fn taken(&self) {
        self.go.cancelled().await;
        while self.activity.waits().is_none() {
            tokio::time::sleep(AGAIN).await;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut members = self.crowd.members.lock();
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
        let crowd = Crowd::new(2);
        let busy = |text: &str| {
            let activity = Activity::new();
            let running = activity.begin();
            crowd.enter(ip(text), activity).map(|place| (place, running))
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
        assert!(crowd.members.lock().by_address.is_empty());
    }

    #[tokio::test]
    async fn a_newcomer_takes_the_place_of_who_waits_longest_and_proves_nobody() {
        let crowd = Crowd::new(3);
        let enter = || crowd.enter(ip("192.0.2.1"), Activity::new());
        let proven = enter().unwrap();
        let answer = axum::response::Response::new(axum::body::Body::empty());
        drop(proven.activity.begin().until_sent(answer));
        let older = enter().unwrap();
        let newer = enter().unwrap();
        let gone = |place: &Place| place.go.is_cancelled();
        let fourth = enter().unwrap();
        assert_eq!((gone(&proven), gone(&older), gone(&newer)), (false, true, false));
        older.taken().await;
        let running = newer.activity.begin();
        let _fifth = enter().unwrap();
        assert!(gone(&fourth) && !gone(&newer) && !gone(&proven), "who is busy stays");
        let _sixth = enter().unwrap();
        // They stay until they are dropped, and there is an end of it.
        assert!(enter().is_none());
        drop((older, fourth));
        assert!(enter().is_some());
        drop(running);
        crowd.make_room();
    }
}
