//! How many connections one address may have at once: one client must not use all connections, and must not
//! keep others out that share its address.
//!
//! The attack: behind one NAT a client opens as many connections as its address may have, and sends nothing on them. So
//! a new connection replaces an idle one: the one that is idle longest, first among those without an authenticated
//! request. When all of them are busy, a few more are accepted and kept for others than the caller who fills them: one that
//! turns out to be of a caller with a quarter of the connections already is answered with 503 and closed.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::activity::Activity;
use crate::api::{ConnectionPlace, Crowded};
use crate::limit::network;
use crate::model::EntityUid;

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
    caller: Arc<Mutex<Option<EntityUid>>>,
}

/// One of the connections that an address may have; free again when this is dropped.
#[derive(Debug)]
pub(super) struct Slot {
    held: Arc<HeldPlace>,
    id: u64,
    activity: Activity,
    evict: CancellationToken,
}

/// What the requests of a connection know of its place. They may outlive it.
#[derive(Debug)]
struct HeldPlace {
    per_address: Arc<PerAddress>,
    address: IpAddr,
    /// Who was proven on it last.
    caller: Arc<Mutex<Option<EntityUid>>>,
    /// Whether it came when all connections of the address were busy.
    is_reserve: bool,
}

/// One reserved connection for so many that an address may have.
const RESERVE_SHARE: usize = 8;
/// A caller with more than one in so many of the connections gets no reserved one.
const CALLER_SHARE: usize = 4;

impl PerAddress {
    pub(super) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { max, members: Mutex::default() })
    }

    /// A slot for a connection of `address`, or `None` when all of them are used and busy, the reserved ones too.
    pub(super) fn try_acquire(self: &Arc<Self>, address: IpAddr, activity: Activity) -> Option<Slot> {
        let address = network(address);
        let mut members = self.members.lock();
        members.next = members.next.wrapping_add(1);
        let id = members.next;
        let evict = CancellationToken::new();
        let own = members.by_address.entry(address).or_default();
        let staying = own.iter().filter(|member| !member.evict.is_cancelled()).count();
        // Evicted connections close soon; until then there may be twice as many.
        let evicted =
            staying >= self.max && own.len() < self.max.saturating_mul(2) && evict_longest_waiting(own);
        let staying = staying - usize::from(evicted);
        let is_reserve = staying >= self.max;
        if is_reserve && staying >= self.max + self.max / RESERVE_SHARE {
            return None;
        }
        let caller = Arc::default();
        let connection = OpenConnection {
            id,
            activity: activity.clone(),
            evict: evict.clone(),
            caller: Arc::clone(&caller),
        };
        own.push(connection);
        let held = HeldPlace { per_address: Arc::clone(self), address, caller, is_reserve };
        Some(Slot { held: Arc::new(held), id, activity, evict })
    }

    /// How many connections of an address are of this caller.
    fn count(&self, address: IpAddr, caller: &EntityUid) -> usize {
        let members = self.members.lock();
        let own = members.by_address.get(&address).map_or(&[][..], Vec::as_slice);
        own.iter().filter(|connection| connection.caller.lock().as_ref() == Some(caller)).count()
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
    /// For the requests of the connection.
    pub(super) fn place(&self) -> Arc<dyn ConnectionPlace> {
        Arc::<HeldPlace>::clone(&self.held)
    }

    /// Completes when the slot is given to another connection.
    pub(super) async fn evicted(&self) {
        self.evict.cancelled().await;
        while self.activity.waits().is_none() {
            tokio::time::sleep(RECHECK).await;
        }
    }
}

impl ConnectionPlace for HeldPlace {
    fn proven(&self, caller: &EntityUid) -> Result<(), Crowded> {
        {
            let mut known = self.caller.lock();
            if known.as_ref() == Some(caller) {
                return Ok(());
            }
            // A connection that is refused below counts for nobody.
            *known = (!self.is_reserve).then(|| caller.clone());
        }
        if self.is_reserve {
            if self.per_address.count(self.address, caller) > self.per_address.max / CALLER_SHARE {
                return Err(Crowded);
            }
            *self.caller.lock() = Some(caller.clone());
        }
        Ok(())
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let HeldPlace { per_address, address, .. } = self.held.as_ref();
        let mut members = per_address.members.lock();
        if let Some(own) = members.by_address.get_mut(address) {
            own.retain(|member| member.id != self.id);
            // INVARIANT: the table has no more entries than there are connections.
            if own.is_empty() {
                members.by_address.remove(address);
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
    async fn who_fills_an_address_gets_none_of_the_reserved_places_and_others_do() {
        let per_address = PerAddress::new(16);
        let service = |name: &str| EntityUid::caxton("Service", name);
        let busy = |name: &str| {
            let activity = Activity::new();
            let running = activity.begin();
            let place = per_address.try_acquire(ip("192.0.2.1"), activity)?;
            Some((place.place().proven(&service(name)), place, running))
        };
        let held: Vec<_> = (0..16).map(|_| busy("hostile").unwrap()).collect();
        assert!(held.iter().all(|(proven, ..)| proven.is_ok()), "all of them, while there is room");
        let (proven, refused, _running) = busy("hostile").unwrap();
        assert_eq!(proven, Err(Crowded));
        // Whatever it is asked again.
        assert_eq!(refused.place().proven(&service("hostile")), Err(Crowded));
        let honest = busy("honest").unwrap();
        assert_eq!(honest.0, Ok(()));
        assert_eq!(
            honest.1.place().proven(&service("hostile")),
            Err(Crowded),
            "nor one that another has begun"
        );
        assert!(busy("third").is_none(), "there are two of them");
        drop((honest, refused));
        assert_eq!(busy("third").unwrap().0, Ok(()));
        // A connection of the other that rests makes room, and not for the one that fills the address.
        let idle = per_address.try_acquire(ip("192.0.2.1"), Activity::new()).unwrap();
        idle.place().proven(&service("honest")).unwrap();
        let (proven, _place, _running) = busy("hostile").unwrap();
        assert_eq!((proven, idle.evict.is_cancelled()), (Err(Crowded), true));
        // With room for all, it has as many as it likes.
        drop(held);
        assert_eq!(busy("hostile").unwrap().0, Ok(()));
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
