//! How many bytes of bodies are under way at once: of one connection, of one caller, in all. Taken before a body is read.
//!
//! The attack: ten connections of HTTP/2 with a hundred requests each, every one with the largest body, by a caller that
//! may do nothing. What a body holds is read before the policies are asked about it, so its memory is bounded here.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::HttpBody as _;
use axum::extract::Request;
use parking_lot::Mutex;

use super::problem::Problem;
use crate::model::EntityUid;

/// When a caller that found no room may try again.
const LATER: Duration = Duration::from_secs(1);

/// Bytes of a body that are read between other requests; what is longer makes the whole request one of low priority. A
/// body that does not say how long it is counts as the longest.
const LARGE: usize = 64 * 1024;

/// The bounds, in bytes. A single body may be as large as a bound: it then has all of it.
#[derive(Debug, Clone, Copy)]
pub struct RoomSettings {
    /// Of one connection. Default 4 MiB.
    pub per_connection: usize,
    /// Of one caller. Default 8 MiB.
    pub per_caller: usize,
    /// In all. Default 32 MiB.
    pub in_all: usize,
}

impl Default for RoomSettings {
    fn default() -> Self {
        Self { per_connection: 4 << 20, per_caller: 8 << 20, in_all: 32 << 20 }
    }
}

#[derive(Debug, Default)]
struct Taken {
    in_all: usize,
    callers: HashMap<EntityUid, usize>,
    connections: HashMap<SocketAddr, usize>,
}

/// The bytes that are taken.
#[derive(Debug)]
pub struct Rooms {
    settings: RoomSettings,
    taken: Mutex<Taken>,
}

/// Room for one body; free again when this is dropped.
#[derive(Debug)]
pub(super) struct Room {
    rooms: Arc<Rooms>,
    caller: EntityUid,
    connection: SocketAddr,
    bytes: Bytes,
}

/// What a body counts at each bound.
#[derive(Debug, Clone, Copy)]
struct Bytes {
    in_all: usize,
    caller: usize,
    connection: usize,
}

impl Rooms {
    /// Nothing is taken yet.
    pub fn new(settings: RoomSettings) -> Arc<Self> {
        Arc::new(Self { settings, taken: Mutex::default() })
    }

    /// Room for a body of so many bytes, or the bound that is reached: of the caller (429), or of all (503).
    pub(super) fn take(
        self: &Arc<Self>,
        caller: &EntityUid,
        connection: SocketAddr,
        length: usize,
    ) -> Result<Room, Problem> {
        let RoomSettings { per_connection, per_caller, in_all } = self.settings;
        let bytes = Bytes {
            in_all: length.min(in_all),
            caller: length.min(per_caller),
            connection: length.min(per_connection),
        };
        let mut taken = self.taken.lock();
        let of_caller = taken.callers.get(caller).copied().unwrap_or(0) + bytes.caller;
        let of_connection = taken.connections.get(&connection).copied().unwrap_or(0) + bytes.connection;
        if of_caller > per_caller || of_connection > per_connection {
            return Err(Problem::limited("other bodies of this caller are still being read", LATER));
        }
        if taken.in_all + bytes.in_all > in_all {
            return Err(Problem::busy("too many bodies are being read at the moment", LATER));
        }
        taken.in_all += bytes.in_all;
        taken.callers.insert(caller.clone(), of_caller);
        taken.connections.insert(connection, of_connection);
        drop(taken);
        Ok(Room { rooms: Arc::clone(self), caller: caller.clone(), connection, bytes })
    }
}

impl Room {
    /// Whether reading the body takes so long that it is done on threads of low priority.
    pub(super) fn is_large(&self) -> bool {
        self.bytes.in_all > LARGE
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let mut taken = self.rooms.taken.lock();
        taken.in_all = taken.in_all.saturating_sub(self.bytes.in_all);
        give_back(&mut taken.callers, &self.caller, self.bytes.caller);
        give_back(&mut taken.connections, &self.connection, self.bytes.connection);
    }
}

fn give_back<K: Eq + Hash>(counts: &mut HashMap<K, usize>, key: &K, bytes: usize) {
    if let Some(count) = counts.get_mut(key) {
        *count = count.saturating_sub(bytes);
        // INVARIANT: the table has no more entries than there are bodies under way.
        if *count == 0 {
            counts.remove(key);
        }
    }
}

/// How many bytes the body of a request may come to; none when it has no body.
pub(super) fn length(request: &Request, most: usize) -> Option<usize> {
    if request.body().is_end_stream() {
        return None;
    }
    // Of a body that does not say how long it is, and of one that says too much, the longest that is read.
    let exact = request.body().size_hint().exact().and_then(|exact| usize::try_from(exact).ok());
    Some(exact.map_or(most, |exact| exact.min(most)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    fn who(name: &str) -> EntityUid {
        EntityUid::caxton("Service", name)
    }

    fn from(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    #[test]
    fn each_bound_holds_and_what_ended_makes_room() {
        let rooms = Rooms::new(RoomSettings::default());
        let take = |name: &str, port, bytes| {
            rooms.take(&who(name), from(port), bytes).map_err(|problem| problem.status())
        };
        let first: Vec<_> = (0..4).map(|_| take("a", 1, MIB).unwrap()).collect();
        assert_eq!(take("a", 1, 1).unwrap_err(), 429, "the connection");
        let second: Vec<_> = (0..4).map(|_| take("a", 2, MIB).unwrap()).collect();
        assert_eq!(take("a", 3, 1).unwrap_err(), 429, "the caller");
        let others: Vec<_> =
            (10..34).map(|number: u16| take(&number.to_string(), number, MIB).unwrap()).collect();
        assert_eq!(take("b", 4, MIB).unwrap_err(), 503, "all");
        drop(first);
        assert!(take("a", 1, MIB).is_ok() && take("b", 4, MIB).is_ok());
        drop((second, others));
        // One that is larger than a bound has all of it.
        let large = take("a", 1, 100 * MIB).unwrap();
        assert_eq!(take("b", 2, 1).unwrap_err(), 503);
        drop(large);
        let taken = rooms.taken.lock();
        assert!(taken.in_all == 0 && taken.callers.is_empty() && taken.connections.is_empty());
    }
}
