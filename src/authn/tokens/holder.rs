//! The holder of a session: an API key, which is read anew with each request, or a person who has logged in, whose
//! claims are those of the login and whose session ends at a time that was set then.

use std::sync::Arc;

use super::port::{SessionOwner, StoredSession};
use super::{METHOD, Refused, api_key, unavailable};
use crate::authn::scheme::RefusedKind;
use crate::authn::{AuthnError, KeyHolder, KeyRecord, Person};
use crate::model::{KeyId, Proof, Subject};

/// The holder of a session.
#[derive(Clone)]
pub(super) enum SessionHolder {
    Key(KeyRecord),
    Person {
        person: Box<Person>,
        /// When the login ends, in milliseconds since the Unix epoch.
        until: i64,
    },
}

impl SessionHolder {
    /// The holder of a stored session, if it still counts at `now`. A person counts as long as the provider that authenticated
    /// for them is `login_issuer`.
    pub(super) fn of(
        session: StoredSession,
        now: i64,
        max_key_age: Option<i64>,
        login_issuer: Option<&str>,
    ) -> Result<Self, Refused> {
        let Some((login, until)) = session.login else {
            let key = session.key.ok_or_else(|| Refused::invalid(METHOD, "revoked"))?;
            api_key::check(&key, now, max_key_age, METHOD)?;
            return Ok(Self::Key(key));
        };
        if now >= until {
            return Err(Refused::new(RefusedKind::Expired, METHOD, "login_over"));
        }
        let person: Box<Person> = serde_json::from_str(&login).map_err(unavailable)?;
        if login_issuer != Some(person.issuer.as_str()) {
            return Err(Refused::new(RefusedKind::Expired, METHOD, "login_over"));
        }
        Ok(Self::Person { person, until })
    }

    /// When everything of it ends, in milliseconds since the Unix epoch.
    pub(super) fn ends(&self) -> i64 {
        match self {
            Self::Key(key) => key.expires,
            Self::Person { until, .. } => *until,
        }
    }

    /// The key, when there is one.
    pub(super) fn key(&self) -> Option<&KeyId> {
        match self {
            Self::Key(key) => Some(&key.id),
            Self::Person { .. } => None,
        }
    }

    /// `sub` and `client_id` of an access token (RFC 9068, section 2.2).
    pub(super) fn names(&self) -> (&str, &str) {
        match self {
            Self::Key(key) => match &key.holder {
                KeyHolder::Agent(agent) => (agent.as_str(), key.id.as_str()),
                KeyHolder::Service => (key.name.as_str(), key.id.as_str()),
            },
            Self::Person { person, .. } => (person.name(), "login"),
        }
    }

    pub(super) fn into_subject(self, session: Arc<str>, jti: Arc<str>) -> Subject {
        let proof = Proof::Session { id: session, jti, key: self.key().cloned() };
        match self {
            Self::Key(key) => api_key::subject(key, proof),
            Self::Person { person, .. } => person.to_subject(proof),
        }
    }

    /// How the store names it; `principal` is that of a person.
    pub(super) fn owner<'a>(&'a self, principal: &'a str) -> Result<SessionOwner<'a>, AuthnError> {
        Ok(match self {
            Self::Key(key) => SessionOwner { id: key.id.as_str(), login: None },
            Self::Person { person, until } => {
                SessionOwner { id: principal, login: Some((serde_json::to_string(person)?, *until)) }
            }
        })
    }
}
