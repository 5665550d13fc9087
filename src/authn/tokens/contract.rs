//! What every implementation of [`LoginStore`] has to pass, and one that cannot be asked.

use std::sync::Arc;

use super::port::*;
use crate::authn::AuthnError;
use crate::authn::jwt::TokenDigest;
use crate::model::{EntityUid, HolderKeys};
use crate::shared_state::{PortFuture, Unavailable};

const HOUR: i64 = 3_600_000;

fn owner(id: &str) -> SessionOwner<'_> {
    SessionOwner { id, login: Some((format!("{{\"name\":\"{id}\"}}"), 24 * HOUR)) }
}

fn begin(logins: &impl LoginStore, session: &str, of: &str, refresh: u8, now: i64) {
    let held = HolderKeys { dpop: None, certificate: Some([7; 32]) };
    logins.begin(session, (&owner(of), &held), &[refresh; 32], (now, now + HOUR, now - 2 * HOUR), 2).unwrap();
}

fn alice() -> EntityUid {
    EntityUid::caxton("User", "alice")
}

/// Every promise of the port. `make` gives an empty store.
pub(crate) async fn check<L: LoginStore>(make: impl Fn() -> L) {
    a_session_is_found_until_it_is_ended_and_forgotten(&make()).await;
    an_owner_has_so_many_sessions_and_the_ones_idle_longest_end(&make()).await;
    a_refresh_token_serves_once(&make()).await;
    of_two_renewals_at_once_both_get_one_successor_or_one_gets_none(make()).await;
    a_revocation_is_seen_by_the_next_question(&make()).await;
    signing_keys_are_replaced_and_end(&make()).await;
    no_event_waits_in_an_empty_store(&make());
}

async fn a_session_is_found_until_it_is_ended_and_forgotten(logins: &impl LoginStore) {
    assert_eq!(logins.session("s1").await, Ok(None));
    begin(logins, "s1", "alice", 1, 0);
    let found = logins.session("s1").await.unwrap().unwrap();
    assert_eq!(found.login, owner("alice").login);
    assert_eq!(found.bound, HolderKeys { dpop: None, certificate: Some([7; 32]) });
    assert_eq!((found.created, found.used, found.ended), (0, 0, false));
    assert_eq!(logins.find_session("s1").unwrap(), Some(found));
    logins.touch(&[("s1".into(), HOUR), ("unknown".into(), HOUR)]).unwrap();
    logins.touch(&[("s1".into(), HOUR / 2)]).unwrap();
    assert_eq!(logins.session("s1").await.unwrap().unwrap().used, HOUR, "the last use stands");
    assert_eq!((logins.count_sessions(HOUR).unwrap(), logins.count_sessions(HOUR + 1).unwrap()), (1, 0));
    assert!(logins.end("s1", HOUR).unwrap() && !logins.end("s1", HOUR).unwrap());
    assert!(logins.session("s1").await.unwrap().unwrap().ended, "seen by the next question");
    assert!(!logins.end("unknown", HOUR).unwrap());
    begin(logins, "s2", "bob", 2, 4 * HOUR);
    assert_eq!(logins.session("s1").await, Ok(None), "not used since it was dead");
}

async fn an_owner_has_so_many_sessions_and_the_ones_idle_longest_end(logins: &impl LoginStore) {
    begin(logins, "other", "bob", 9, 0);
    for (number, session) in ["s1", "s2", "s3"].into_iter().enumerate() {
        begin(logins, session, "alice", u8::try_from(number).unwrap(), i64::try_from(number).unwrap());
    }
    let mut ended = Vec::new();
    for session in ["other", "s1", "s2", "s3"] {
        ended.push(logins.session(session).await.unwrap().unwrap().ended);
    }
    assert_eq!(ended, [false, true, false, false]);
}

async fn a_refresh_token_serves_once(logins: &impl LoginStore) {
    let times = |now: i64| (now, now + HOUR, 30_000);
    begin(logins, "s1", "alice", 1, 0);
    assert_eq!(logins.refresh(&[9; 32]).unwrap(), None);
    assert_eq!(logins.rotate(&[9; 32], &[8; 32], times(0)).unwrap(), Rotated::Lost);
    let first = logins.refresh(&[1; 32]).unwrap().unwrap();
    assert_eq!((first.session.as_str(), first.generation, first.expires), ("s1", 1, HOUR));
    assert_eq!(first.used, None);
    let done = Rotated::Done("s1".to_owned());
    assert_eq!(logins.rotate(&[1; 32], &[2; 32], times(1_000)).unwrap(), done);
    assert_eq!(logins.refresh(&[1; 32]).unwrap().unwrap().used, Some((1_000, false)));
    let second = logins.refresh(&[2; 32]).unwrap().unwrap();
    assert_eq!((second.generation, second.expires, second.used), (2, HOUR + 1_000, None));
    assert_eq!(logins.session("s1").await.unwrap().unwrap().used, 1_000, "a renewal is a use");
    // The answer was lost: the same successor again, for a while.
    assert_eq!(logins.rotate(&[1; 32], &[2; 32], times(31_000)).unwrap(), done);
    assert_eq!(logins.rotate(&[1; 32], &[2; 32], times(31_001)).unwrap(), Rotated::Lost);
    assert_eq!(logins.rotate(&[2; 32], &[3; 32], times(2_000)).unwrap(), done);
    assert_eq!(logins.rotate(&[1; 32], &[2; 32], times(2_001)).unwrap(), Rotated::Lost, "two hold a copy");
    assert_eq!(logins.refresh(&[1; 32]).unwrap().unwrap().used, Some((1_000, true)));
    assert_eq!(
        logins.rotate(&[3; 32], &[4; 32], times(2_000 + HOUR)).unwrap(),
        Rotated::Lost,
        "its time is over"
    );
    logins.end("s1", 3_000).unwrap();
    assert_eq!(logins.rotate(&[3; 32], &[4; 32], times(3_000)).unwrap(), Rotated::Lost, "with its session");
}

async fn of_two_renewals_at_once_both_get_one_successor_or_one_gets_none<L: LoginStore>(logins: L) {
    begin(&logins, "s1", "alice", 1, 0);
    let logins = &logins;
    let done: Vec<Rotated> = std::thread::scope(|scope| {
        let threads: Vec<_> = (10..18_u8)
            .map(|successor| scope.spawn(move || logins.rotate(&[1; 32], &[successor; 32], (0, HOUR, 0))))
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap().unwrap()).collect()
    });
    let stored = (10..18_u8).filter(|successor| logins.refresh(&[*successor; 32]).unwrap().is_some());
    assert_eq!(stored.count(), 1, "there is one successor: {done:?}");
    assert_eq!(logins.refresh(&[1; 32]).unwrap().unwrap().used, Some((0, false)));
}

async fn a_revocation_is_seen_by_the_next_question(logins: &impl LoginStore) {
    let (alice, bob) = (alice(), EntityUid::caxton("User", "bob"));
    let (first, second) = (TokenDigest::of("first"), TokenDigest::of("second"));
    let none = StoredRevocation { token: false, before: None };
    assert_eq!(logins.revocation_of(&first, Some("j1"), &alice).await, Ok(none));
    logins.revoke_token("j1", 10).unwrap();
    logins.revoke_token("j1", 20).unwrap();
    assert!(logins.revocation_of(&first, Some("j1"), &alice).await.unwrap().token);
    assert_eq!(logins.revocation_of(&second, Some("j2"), &bob).await, Ok(none));
    logins.revoke_subject(&alice.to_string(), 20).unwrap();
    logins.revoke_subject(&alice.to_string(), 10).unwrap();
    let revoked = logins.revocation_of(&first, Some("j1"), &alice).await.unwrap();
    assert_eq!(revoked, StoredRevocation { token: true, before: Some(20) }, "the latest stands");
    assert_eq!(
        logins.find_revocation(None, &alice).unwrap(),
        StoredRevocation { token: false, before: Some(20) }
    );
    assert_eq!(logins.find_revocation(None, &bob).unwrap(), none);
    begin(logins, "s1", "alice", 1, 0);
    begin(logins, "s2", "bob", 2, 0);
    assert_eq!(logins.revoke_all(30).unwrap(), 2);
    assert_eq!(logins.revocation_of(&second, Some("j2"), &bob).await.unwrap().before, Some(30));
    assert!(logins.session("s2").await.unwrap().unwrap().ended);
}

async fn signing_keys_are_replaced_and_end(logins: &impl LoginStore) {
    assert_eq!(logins.signing_kid().unwrap(), None);
    assert!(logins.put_signing_key("k1", &[1; 32], 0, PreviousKeys::Retired).unwrap().is_empty());
    assert_eq!(logins.put_signing_key("k2", &[2; 32], 10, PreviousKeys::Retired).unwrap(), ["k1"]);
    assert_eq!(logins.signing_kid().unwrap().as_deref(), Some("k2"));
    for since in [9, 10] {
        let counts = (since < 10).then_some([1; 32]);
        assert_eq!(logins.signing_key("k1", since).await, Ok(counts));
        assert_eq!(logins.known_signing_key("k1", since).await, Ok(counts));
    }
    assert_eq!(logins.signing_key("unknown", 0).await, Ok(None));
    assert_eq!(logins.signing_keys(9).unwrap(), [("k2".to_owned(), [2; 32]), ("k1".to_owned(), [1; 32])]);
    let mut compromised = logins.put_signing_key("k3", &[3; 32], 20, PreviousKeys::Compromised).unwrap();
    compromised.sort();
    assert_eq!(compromised, ["k1", "k2"]);
    assert_eq!(logins.known_signing_key("k1", 0).await, Ok(None), "seen by the next question");
    assert_eq!(logins.signing_keys(0).unwrap(), [("k3".to_owned(), [3; 32])]);
}

fn no_event_waits_in_an_empty_store(logins: &impl LoginStore) {
    assert!(logins.events(10).unwrap().is_empty());
    logins.forget_events(10).unwrap();
}

/// Logins that cannot be reached.
pub(crate) struct UnreachableLogins;

fn refused() -> Unavailable {
    Unavailable::new("logins", "connection refused")
}

fn unreachable<'a, T>() -> PortFuture<'a, T> {
    PortFuture::unavailable(refused())
}

fn failed<T>() -> Result<T, AuthnError> {
    Err(refused().into())
}

impl LoginStore for UnreachableLogins {
    fn session<'a>(&'a self, _: &'a str) -> PortFuture<'a, Option<StoredSession>> {
        unreachable()
    }
    fn revocation_of<'a>(
        &'a self,
        _: &'a TokenDigest,
        _: Option<&'a str>,
        _: &'a EntityUid,
    ) -> PortFuture<'a, StoredRevocation> {
        unreachable()
    }
    fn known_signing_key<'a>(&'a self, _: &'a str, _: i64) -> PortFuture<'a, Option<[u8; 32]>> {
        unreachable()
    }
    fn signing_key<'a>(&'a self, _: &'a str, _: i64) -> PortFuture<'a, Option<[u8; 32]>> {
        unreachable()
    }
    fn find_session(&self, _: &str) -> Result<Option<StoredSession>, AuthnError> {
        failed()
    }
    fn find_revocation(&self, _: Option<&str>, _: &EntityUid) -> Result<StoredRevocation, AuthnError> {
        failed()
    }
    fn begin(
        &self,
        _: &str,
        _: (&SessionOwner<'_>, &HolderKeys),
        _: &RefreshHash,
        _: (i64, i64, i64),
        _: u32,
    ) -> Result<(), AuthnError> {
        failed()
    }
    fn touch(&self, _: &[(Arc<str>, i64)]) -> Result<(), AuthnError> {
        failed()
    }
    fn end(&self, _: &str, _: i64) -> Result<bool, AuthnError> {
        failed()
    }
    fn count_sessions(&self, _: i64) -> Result<i64, AuthnError> {
        failed()
    }
    fn refresh(&self, _: &RefreshHash) -> Result<Option<StoredRefresh>, AuthnError> {
        failed()
    }
    fn rotate(&self, _: &RefreshHash, _: &RefreshHash, _: (i64, i64, i64)) -> Result<Rotated, AuthnError> {
        failed()
    }
    fn revoke_token(&self, _: &str, _: i64) -> Result<(), AuthnError> {
        failed()
    }
    fn revoke_subject(&self, _: &str, _: i64) -> Result<(), AuthnError> {
        failed()
    }
    fn revoke_all(&self, _: i64) -> Result<usize, AuthnError> {
        failed()
    }
    fn signing_kid(&self) -> Result<Option<String>, AuthnError> {
        failed()
    }
    fn put_signing_key(&self, _: &str, _: &[u8], _: i64, _: PreviousKeys) -> Result<Vec<String>, AuthnError> {
        failed()
    }
    fn signing_keys(&self, _: i64) -> Result<Vec<(String, [u8; 32])>, AuthnError> {
        failed()
    }
    fn events(&self, _: u32) -> Result<Vec<PendingEvent>, AuthnError> {
        failed()
    }
    fn forget_events(&self, _: i64) -> Result<(), AuthnError> {
        failed()
    }
}
