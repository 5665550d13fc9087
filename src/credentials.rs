//! The owner of API keys and sessions: each is created, listed, replaced and ended only with a permit.
//!
//! `authn` verifies credentials and has no permits; this module is the one way to change them from outside. Every
//! function reads or writes a file: call it off the async threads.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::authn::{
    Authenticator, AuthnError, Issued, KeyHolder, KeyRecord, KeyStore, LoggedIn, MethodStatus, NewKey,
    Renewal, Tokens,
};
use crate::authz::Permit;
use crate::clock::SharedClock;
use crate::model::{
    CreateKey, EndSession, EntityUid, IssueToken, KeyFacts, KeyId, ListKeys, Proof, ReadAuthStatus,
    RenewToken, RevokeAllSessions, RevokeKey, RotateKey,
};

/// Why a credential was not changed.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// The caller has no API key that a token could be issued for.
    #[error("a token is issued for an api key, and the caller has presented none")]
    NoKey,
    /// The caller is in no session.
    #[error("there is no session to end: the caller has presented no access token of this gateway")]
    NoSession,
    /// There is no such key, or it has ended, or it has a successor.
    #[error("there is no such key that could be changed")]
    NoSuchKey,
    /// The refresh token was used or ended while the request was decided.
    #[error("the refresh token is no longer valid")]
    Gone,
    /// The permit was given for another credential than the one at hand.
    #[error("the permit is for another credential")]
    Mismatch,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] AuthnError),
}

/// A principal of API keys that has none any more, because the last one was revoked: whatever else is kept for it may have been
/// made by who held that key, and a new key of the same name may be for another program.
#[derive(Debug)]
pub struct KeylessPrincipal(EntityUid);

impl KeylessPrincipal {
    /// The principal.
    pub fn uid(&self) -> &EntityUid {
        &self.0
    }
}

/// Owns the stores of keys and tokens.
pub struct Credentials {
    keys: Arc<KeyStore>,
    tokens: Arc<Tokens>,
    grace: Duration,
    longest_login: Duration,
    clock: SharedClock,
}

impl Credentials {
    /// Takes the stores; `grace` is how long a key that was replaced still serves, `longest_login` how long a session
    /// is valid after its login.
    pub fn new(
        keys: Arc<KeyStore>,
        tokens: Arc<Tokens>,
        (grace, longest_login): (Duration, Duration),
        clock: SharedClock,
    ) -> Self {
        Self { keys, tokens, grace, longest_login, clock }
    }

    /// The facts of a key for policies; an unknown key looks like one without permissions.
    pub fn facts(&self, id: &KeyId) -> Result<KeyFacts, CredentialError> {
        Ok(match self.keys.find(id)? {
            Some(key) => KeyFacts { id: key.id, name: key.name.shared(), permissions: key.permissions },
            None => KeyFacts::unknown(id.clone()),
        })
    }

    /// Which ways to prove oneself are open, and whether they work. It is not shown without a permit:
    /// ```compile_fail,E0061
    /// fn read(credentials: &caxton::credentials::Credentials, authenticator: &caxton::authn::Authenticator) {
    ///     let _ = credentials.status(authenticator);
    /// }
    /// ```
    pub fn status(&self, permit: Permit<ReadAuthStatus>, authenticator: &Authenticator) -> Vec<MethodStatus> {
        let ReadAuthStatus = permit.into_operation();
        authenticator.status()
    }

    /// Begins a session of the person who has logged in and was admitted.
    pub fn log_in(&self, permit: Permit<IssueToken>, login: LoggedIn) -> Result<Issued, CredentialError> {
        if !Arc::ptr_eq(permit.subject(), &login.subject) {
            return Err(CredentialError::Mismatch);
        }
        Ok(self.tokens.log_in(login, self.longest_login, permit.operation().holder)?)
    }

    /// Begins a session for the API key of the caller.
    pub fn issue(&self, permit: Permit<IssueToken>) -> Result<Issued, CredentialError> {
        let Proof::ApiKey { id } = permit.subject().proof() else { return Err(CredentialError::NoKey) };
        let record = self.keys.find(id)?.ok_or(CredentialError::NoKey)?;
        Ok(self.tokens.issue(record, permit.operation().holder)?)
    }

    /// Renews a session with the refresh token that was verified and admitted.
    pub fn renew(&self, permit: Permit<RenewToken>, renewal: Renewal) -> Result<Issued, CredentialError> {
        if permit.operation().presented != renewal.presented
            || !Arc::ptr_eq(permit.subject(), &renewal.subject)
        {
            return Err(CredentialError::Mismatch);
        }
        self.tokens.renew(renewal)?.ok_or(CredentialError::Gone)
    }

    /// Ends the caller's own session.
    pub fn end(&self, permit: Permit<EndSession>) -> Result<(), CredentialError> {
        let Proof::Session { id, .. } = permit.subject().proof() else {
            return Err(CredentialError::NoSession);
        };
        self.tokens.end(id)?;
        Ok(())
    }

    /// Creates a key; its text is only in the answer.
    pub fn create_key(&self, permit: Permit<CreateKey>) -> Result<NewKey, CredentialError> {
        let wanted = permit.into_operation();
        let now = self.clock.now_millis();
        let expires = now.saturating_add(i64::from(wanted.lifetime_seconds).saturating_mul(1000));
        let holder = wanted.agent.map_or(KeyHolder::Service, KeyHolder::Agent);
        Ok(self.keys.create(&wanted.name, &holder, &wanted.permissions, now, expires)?)
    }

    /// All keys, the oldest first.
    pub fn list_keys(&self, permit: Permit<ListKeys>) -> Result<Vec<KeyRecord>, CredentialError> {
        let _spent = permit.into_operation();
        Ok(self.keys.list()?)
    }

    /// Creates the successor of a key.
    pub fn rotate_key(&self, permit: Permit<RotateKey>) -> Result<NewKey, CredentialError> {
        let key = permit.into_operation().key;
        let grace = i64::try_from(self.grace.as_millis()).unwrap_or(i64::MAX);
        self.keys.rotate(&key.id, self.clock.now_millis(), grace)?.ok_or(CredentialError::NoSuchKey)
    }

    /// Revokes a key and every token that was issued for it. Gives its principal, where that has no key any more.
    pub fn revoke_key(&self, permit: Permit<RevokeKey>) -> Result<Option<KeylessPrincipal>, CredentialError> {
        let key = permit.into_operation().key;
        if !self.keys.revoke(&key.id, self.clock.now_millis())? {
            return Err(CredentialError::NoSuchKey);
        }
        let Some(record) = self.keys.find(&key.id)? else { return Ok(None) };
        let principal = principal_of(&record);
        Ok(self.keyless()?.into_iter().find(|keyless| keyless.0 == principal))
    }

    /// The principals of API keys that have none any more, and whose last one was revoked. One whose last key has run out is not
    /// among them: nobody took it back.
    pub fn keyless(&self) -> Result<Vec<KeylessPrincipal>, CredentialError> {
        let now = self.clock.now_millis();
        let mut last_ends: HashMap<EntityUid, (i64, bool)> = HashMap::new();
        for record in self.keys.list()? {
            let revoked = record.revoked.filter(|revoked| *revoked < record.expires);
            let end = (revoked.unwrap_or(record.expires), revoked.is_some());
            let last = last_ends.entry(principal_of(&record)).or_insert(end);
            *last = end.max(*last);
        }
        let keyless = last_ends.into_iter().filter(|(_, (end, is_revoked))| *is_revoked && *end <= now);
        Ok(keyless.map(|(principal, _)| KeylessPrincipal(principal)).collect())
    }

    /// Ends every session and every token that was issued until now; returns the number of sessions.
    pub fn revoke_all(&self, permit: Permit<RevokeAllSessions>) -> Result<usize, CredentialError> {
        let _spent = permit.into_operation();
        Ok(self.tokens.revoke_all()?)
    }
}

/// The principal that a key proves.
fn principal_of(record: &KeyRecord) -> EntityUid {
    match &record.holder {
        KeyHolder::Service => EntityUid::caxton("Service", record.name.as_str()),
        KeyHolder::Agent(agent) => EntityUid::caxton("Agent", agent.shared()),
    }
}
