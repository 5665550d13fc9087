//! Connections of single callers to one server, where each caller has credentials of its own there.
//!
//! INVARIANT: a connection carries the credentials of the caller under whose name it lies, and no other's request is sent
//! over it. Their number is bounded; one that is idle, or the one idle longest where there are too many, is closed.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::OnceCell;
use tokio::time::Instant;

use super::connection::Connection;
use super::link::Link;
use crate::tools::auth::TokenCaller;

/// A connection that was idle for this long is closed, and its token forgotten.
const IDLE: Duration = Duration::from_secs(600);

/// A connection, once it is open. Who uses it holds this, so that it stays open meanwhile.
pub(super) type OwnConnection = Arc<OnceCell<Connection>>;

/// The connections of callers.
#[derive(Debug)]
pub(super) struct CallerConnections {
    places: Mutex<HashMap<TokenCaller, (OwnConnection, Instant)>>,
    most: usize,
}

impl CallerConnections {
    pub(super) fn new(most: usize) -> Self {
        Self { places: Mutex::default(), most }
    }

    /// The place of a caller's connection.
    pub(super) fn place(&self, caller: &TokenCaller, now: Instant) -> OwnConnection {
        let mut places = self.places.lock();
        if let Some((place, used)) = places.get_mut(caller) {
            *used = now;
            return Arc::clone(place);
        }
        close_idle(&mut places, now);
        if places.len() >= self.most
            && let Some(oldest) =
                places.iter().min_by_key(|(_, (_, used))| *used).map(|(caller, _)| caller.clone())
        {
            places.remove(&oldest);
        }
        let place = OwnConnection::default();
        places.insert(caller.clone(), (Arc::clone(&place), now));
        place
    }

    /// The server has forgotten this connection's session.
    pub(super) fn forget(&self, caller: &TokenCaller, lost: &Arc<Link>) {
        let mut places = self.places.lock();
        let is_lost = |place: &OwnConnection| {
            place.get().is_some_and(|connection| Arc::ptr_eq(connection.link(), lost))
        };
        if places.get(caller).is_some_and(|(place, _)| is_lost(place)) {
            places.remove(caller);
        }
    }

    /// Closes the connections of a principal, in Cedar's notation.
    pub(super) fn forget_holder(&self, holder: &str) {
        self.places.lock().retain(|caller, _| !caller.is(holder));
    }

    /// Closes all connections.
    pub(super) fn forget_all(&self) {
        self.places.lock().clear();
    }

    /// Closes what is idle.
    pub(super) fn sweep(&self, now: Instant) {
        close_idle(&mut self.places.lock(), now);
    }
}

fn close_idle(places: &mut HashMap<TokenCaller, (OwnConnection, Instant)>, now: Instant) {
    places.retain(|_, (_, used)| now.saturating_duration_since(*used) < IDLE);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uid(name: &str) -> TokenCaller {
        let agent = crate::model::AgentId::parse(name).unwrap();
        TokenCaller::of(&crate::model::Subject::agent(&agent, crate::model::Proof::Internal))
    }

    #[test]
    fn each_caller_has_one_place_and_the_one_idle_longest_makes_room() {
        let callers = CallerConnections::new(2);
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let ann = callers.place(&uid("ann"), at(0));
        assert!(Arc::ptr_eq(&ann, &callers.place(&uid("ann"), at(0))));
        let bob = callers.place(&uid("bob"), at(1));
        assert!(!Arc::ptr_eq(&ann, &bob));
        assert!(Arc::ptr_eq(&ann, &callers.place(&uid("ann"), at(2))));
        callers.place(&uid("eve"), at(3));
        assert!(Arc::ptr_eq(&ann, &callers.place(&uid("ann"), at(4))), "it was used later than bob's");
        assert!(!Arc::ptr_eq(&bob, &callers.place(&uid("bob"), at(5))), "it made room");
        callers.sweep(at(5) + IDLE);
        assert!(callers.places.lock().is_empty());
    }
}
