//! Where logins are kept: sessions with their refresh tokens, revocations, signing keys, and events for the decision log.
//!
//! A port, because the gateways of a fleet have to know the same ones. It stands here and not with the other ports, because
//! it speaks of keys and of people who have logged in. Instants are milliseconds since the Unix epoch.

use std::sync::Arc;

use crate::authn::jwt::TokenDigest;
use crate::authn::{AuthnError, KeyRecord};
use crate::model::{EntityUid, HolderKeys};
use crate::shared_state::PortFuture;

/// The stored hash of a refresh token.
pub type RefreshHash = [u8; 32];

/// The holder of a new session.
#[derive(Debug, Clone)]
pub struct SessionOwner<'a> {
    /// The key's id, or the principal of a person; what sessions are counted by.
    pub id: &'a str,
    /// The person who has logged in, as JSON, and when the login ends.
    pub login: Option<(String, i64)>,
}

/// A session with its key or its person, as they are now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredSession {
    /// The API key it was begun with, as it is now.
    pub key: Option<KeyRecord>,
    /// The person who has logged in, as JSON, and when the login ends.
    pub login: Option<(String, i64)>,
    /// The keys that its tokens are bound to.
    pub bound: HolderKeys,
    /// When it began.
    pub created: i64,
    /// When it was last used, as far as that was written down.
    pub used: i64,
    /// Whether it was ended.
    pub ended: bool,
}

/// A refresh token that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRefresh {
    /// Its session.
    pub session: String,
    /// 1 for the first of a session.
    pub generation: i64,
    /// From when on it is refused.
    pub expires: i64,
    /// When it was used, and whether its successor was used as well.
    pub used: Option<(i64, bool)>,
}

/// The revocations that apply to a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredRevocation {
    /// It was revoked by its `jti`.
    pub token: bool,
    /// Tokens of its subject that were made before this do not count.
    pub before: Option<i64>,
}

/// How a rotation ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rotated {
    /// The successor is stored, or was stored a moment ago.
    Done(String),
    /// Another request changed it since it was read.
    Lost,
}

/// The fate of the public halves of earlier keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PreviousKeys {
    /// They verify the tokens that they have signed until those have ended.
    Retired,
    /// An attacker may sign with them: they verify no token any more.
    Compromised,
}

/// An event that waits to be written to the decision log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingEvent {
    /// In the order in which they happened.
    pub id: i64,
    /// When, in milliseconds since the Unix epoch.
    pub at: i64,
    /// The name of the event (`sessions_revoked`).
    pub name: String,
    /// To what.
    pub detail: String,
}

/// Logins.
///
/// Every change is one step, so that a crash leaves a refresh token used with its successor stored, or neither. A change is
/// seen by the next question of every gateway that shares the store: an ended session, a revoked token or a replaced signing
/// key is refused with the next request.
///
/// Methods that answer with a [`PortFuture`] are asked while a request waits. The others may wait for a disk or a network:
/// they are called on threads that may block.
pub trait LoginStore: Send + Sync + 'static {
    /// A session, also one that has ended.
    fn session<'a>(&'a self, id: &'a str) -> PortFuture<'a, Option<StoredSession>>;

    /// What is revoked of the token that is known by `digest`, for a token has one `jti` and one subject.
    fn revocation_of<'a>(
        &'a self,
        digest: &'a TokenDigest,
        jti: Option<&'a str>,
        subject: &'a EntityUid,
    ) -> PortFuture<'a, StoredRevocation>;

    /// The public half of a key that was not retired before `since`. To be asked about keys that are known to be ours:
    /// what strangers ask about is not remembered.
    fn known_signing_key<'a>(&'a self, kid: &'a str, since: i64) -> PortFuture<'a, Option<[u8; 32]>>;

    /// The same, of a key that a token names.
    fn signing_key<'a>(&'a self, kid: &'a str, since: i64) -> PortFuture<'a, Option<[u8; 32]>>;

    /// [`LoginStore::session`], on a thread that may block.
    fn find_session(&self, id: &str) -> Result<Option<StoredSession>, AuthnError>;

    /// What is revoked of a token, on a thread that may block.
    fn find_revocation(&self, jti: Option<&str>, subject: &EntityUid)
    -> Result<StoredRevocation, AuthnError>;

    /// Begins a session with its first refresh token. Sessions that were not used since `dead_before` are forgotten, and of
    /// its owner's living ones no more than `most` stay: the ones idle longest are ended.
    fn begin(
        &self,
        session: &str,
        holder: (&SessionOwner<'_>, &HolderKeys),
        refresh: &RefreshHash,
        times: (i64, i64, i64),
        most: u32,
    ) -> Result<(), AuthnError>;

    /// Writes down when sessions were used.
    fn touch(&self, used: &[(Arc<str>, i64)]) -> Result<(), AuthnError>;

    /// Ends a session; `false` when there is none or it has ended.
    fn end(&self, id: &str, now: i64) -> Result<bool, AuthnError>;

    /// How many sessions were used since.
    fn count_sessions(&self, since: i64) -> Result<i64, AuthnError>;

    /// A refresh token.
    fn refresh(&self, hash: &RefreshHash) -> Result<Option<StoredRefresh>, AuthnError>;

    /// Uses a refresh token and stores its successor. `times` are now, when the successor ends, and for how long after its
    /// use a token still gives the same successor. Looks again at all that may have changed since the token was proven, so
    /// that two requests at the same time both get the one successor, or one of them gets none.
    fn rotate(
        &self,
        hash: &RefreshHash,
        successor: &RefreshHash,
        times: (i64, i64, i64),
    ) -> Result<Rotated, AuthnError>;

    /// Revokes a token by its `jti`.
    fn revoke_token(&self, jti: &str, now: i64) -> Result<(), AuthnError>;

    /// Revokes every token of a principal, in Cedar's notation, that was made until now.
    fn revoke_subject(&self, subject: &str, now: i64) -> Result<(), AuthnError>;

    /// Ends every session and every token that was made until now; answers how many sessions there were.
    fn revoke_all(&self, now: i64) -> Result<usize, AuthnError>;

    /// The `kid` of the signing key in use.
    fn signing_kid(&self) -> Result<Option<String>, AuthnError>;

    /// Stores a new key as the one in use; answers with those that were.
    fn put_signing_key(
        &self,
        kid: &str,
        public: &[u8],
        now: i64,
        old: PreviousKeys,
    ) -> Result<Vec<String>, AuthnError>;

    /// All keys that were not retired before `since`, the newest first.
    fn signing_keys(&self, since: i64) -> Result<Vec<(String, [u8; 32])>, AuthnError>;

    /// The oldest events that wait, at most `most`.
    fn events(&self, most: u32) -> Result<Vec<PendingEvent>, AuthnError>;

    /// Forgets events up to and with this one.
    fn forget_events(&self, until: i64) -> Result<(), AuthnError>;
}
