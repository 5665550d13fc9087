//! The sessions that clients have of their own at servers, bounded for each principal over all servers.
//!
//! The attack: one key opens a hundred sessions whose client can be asked for something, and calls a tool of each of ten servers
//! in each: a thousand connections, which take the open files that the calls of others need. The one used longest ago makes room.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use crate::model::{EntityUid, ServerName};
use crate::tools::session::ClientSession;

/// The most sessions at servers of one principal.
const MOST_OF_ONE: usize = 64;

type Place = (Weak<ClientSession>, ServerName);

/// Which principal has sessions at which servers, those used longest ago first.
#[derive(Debug, Default)]
pub(in crate::tools) struct SessionPlaces(Mutex<HashMap<EntityUid, VecDeque<Place>>>);

impl SessionPlaces {
    /// Notes that the principal's session is about to be used at the server. Where that is one too many, the one used longest
    /// ago is closed.
    pub(super) fn used(&self, principal: &EntityUid, session: &Arc<ClientSession>, server: &ServerName) {
        let evicted = {
            let mut places = self.0.lock();
            if !places.contains_key(principal) {
                places.retain(|_, of_one| of_one.iter().any(|(session, _)| session.strong_count() > 0));
            }
            let of_one = places.entry(principal.clone()).or_default();
            let is_this = |(known, at): &Place| at == server && known.as_ptr() == Arc::as_ptr(session);
            of_one.retain(|place| place.0.strong_count() > 0 && !is_this(place));
            of_one.push_back((Arc::downgrade(session), server.clone()));
            (of_one.len() > MOST_OF_ONE).then(|| of_one.pop_front()).flatten()
        };
        if let Some((session, server)) = evicted
            && let Some(session) = session.upgrade()
        {
            session.close(&server);
        }
    }

    /// Closes the sessions of a principal, in Cedar's notation, at one server.
    pub(super) fn close_of(&self, holder: &str, server: &ServerName) {
        let places = self.0.lock();
        let own = places.iter().filter(|(principal, _)| principal.to_string() == holder);
        let at_server = own.flat_map(|(_, of_one)| of_one).filter(|(_, at)| at == server);
        let sessions: Vec<_> = at_server.filter_map(|(session, _)| session.upgrade()).collect();
        drop(places);
        sessions.iter().for_each(|session| session.close(server));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Map;
    use tokio::sync::mpsc;

    use super::*;
    use crate::mcp::Version;

    #[test]
    fn one_principal_has_so_many_and_the_one_used_longest_ago_makes_room() {
        let places = SessionPlaces::default();
        let server = ServerName::parse("s").unwrap();
        let (ann, bob) = (EntityUid::caxton("User", "ann"), EntityUid::caxton("User", "bob"));
        let session = || {
            let (sender, _) = mpsc::channel(1);
            Arc::new(ClientSession::new(Version::NEWEST_WITH_SESSIONS, Map::new(), sender))
        };
        let opened = |principal: &EntityUid, session: &Arc<ClientSession>| {
            places.used(principal, session, &server);
            session.place(&server);
        };
        let sessions: Vec<_> = (0..=MOST_OF_ONE).map(|_| session()).collect();
        let of_bob = session();
        opened(&bob, &of_bob);
        for one in &sessions[..MOST_OF_ONE] {
            opened(&ann, one);
        }
        // The first is used again, so the second is the one used longest ago.
        opened(&ann, &sessions[0]);
        opened(&ann, &sessions[MOST_OF_ONE]);
        let is_open = |session: &Arc<ClientSession>| session.has_place(&server);
        assert!(is_open(&sessions[0]) && !is_open(&sessions[1]) && is_open(&sessions[2]) && is_open(&of_bob));
        drop(sessions);
        opened(&EntityUid::caxton("User", "eve"), &of_bob);
        assert!(!places.0.lock().contains_key(&ann), "what is over is forgotten");
    }
}
