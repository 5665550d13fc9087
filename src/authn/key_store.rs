//! The API keys: the principal and the validity of each. The keys themselves are not kept.
//!
//! Where they are kept is a port, because the gateways of a fleet have to know the same ones.

#[cfg(test)]
mod contract;
mod local;

use std::sync::Arc;

use serde::Serialize;
use subtle::ConstantTimeEq as _;

use super::AuthnError;
use super::api_key::{KeyText, Pepper, Settings, random_key};
use crate::model::{AgentId, KeyId, RoleName, ServiceName};
use crate::secret::Secret;
use crate::shared_state::{PortFuture, Unavailable};

pub use local::LocalKeys;
pub(super) use local::{COLUMNS, StoredKey};

/// The principal of a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind", content = "id")]
pub enum KeyHolder {
    /// A program of its own, named as the key is.
    Service,
    /// A deployed agent; what it may do stands in its definition, not in the key.
    Agent(AgentId),
}

/// A key without its secret. Instants are milliseconds since the Unix epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeyRecord {
    /// The public part.
    pub id: KeyId,
    /// The service's name, or what the operator calls the key of an agent.
    pub name: ServiceName,
    /// Its principal.
    pub holder: KeyHolder,
    /// Permission words; each is a role of the service.
    pub permissions: Vec<RoleName>,
    /// When it was made.
    pub created: i64,
    /// From when on it is refused.
    pub expires: i64,
    /// When it was revoked.
    pub revoked: Option<i64>,
    /// The key that takes its place.
    pub replaced_by: Option<KeyId>,
}

/// A key that was just made; the secret is shown once and kept nowhere.
pub struct NewKey {
    /// The public part.
    pub id: KeyId,
    /// The whole text of the key.
    pub secret: Secret<String>,
    /// From when on it is refused, in milliseconds since the Unix epoch.
    pub expires: i64,
}

/// A key with the hash of its text.
#[derive(Debug)]
pub struct HashedKey {
    /// HMAC-SHA256 of the whole text of the key under the pepper.
    pub hash: [u8; 32],
    /// The key; an error where the row is not one that this gateway writes.
    pub record: Result<KeyRecord, AuthnError>,
}

/// What a new key is stored with.
#[derive(Debug, Clone, Copy)]
pub struct NewHash<'a> {
    /// The public part.
    pub id: &'a KeyId,
    /// HMAC-SHA256 of the whole text of the key under the pepper.
    pub hash: &'a [u8; 32],
    /// When it was made, in milliseconds since the Unix epoch.
    pub created: i64,
    /// From when on it is refused, in milliseconds since the Unix epoch.
    pub expires: i64,
}

/// Where API keys are kept. Instants are milliseconds since the Unix epoch.
///
/// Every change is one step, and is seen by the next request of every gateway that shares the table: a key that was revoked is
/// refused. [`KeyTable::lookup`] is asked while a request waits; the other methods may wait for a disk or a network, and are
/// called on threads that may block.
pub trait KeyTable: Send + Sync + 'static {
    /// A key with its hash, also one that does not count any more.
    fn lookup<'a>(&'a self, id: &'a KeyId) -> PortFuture<'a, Option<HashedKey>>;

    /// Whether there is no key at all.
    fn is_empty(&self) -> Result<bool, AuthnError>;

    /// The record of a key, also of one that does not count any more.
    fn find(&self, id: &KeyId) -> Result<Option<KeyRecord>, AuthnError>;

    /// All keys, the oldest first.
    fn list(&self) -> Result<Vec<KeyRecord>, AuthnError>;

    /// Stores a new key with the name, the holder and the permissions of `record`.
    fn insert(&self, new: &NewHash<'_>, record: &KeyRecord) -> Result<(), AuthnError>;

    /// Stores the successor of `old`, with the same name, holder and permissions; the old one ends at `old_ends` at the
    /// latest. `false`, and nothing stored, when the old one is not there, does not count at `new.created`, or has a
    /// successor: of several at once, one succeeds.
    fn replace(&self, old: &KeyId, new: &NewHash<'_>, old_ends: i64) -> Result<bool, AuthnError>;

    /// Revokes a key; `false` when there is no such key. A key that is revoked already keeps its first instant.
    fn revoke(&self, id: &KeyId, now: i64) -> Result<bool, AuthnError>;

    /// Leaves word for the decision log; see [`KeyStore::note`].
    fn note(&self, name: &str, detail: &str, now: i64) -> Result<(), AuthnError>;
}

/// The store: the table of keys, and the pepper under which their texts are hashed.
pub struct KeyStore {
    table: Arc<dyn KeyTable>,
    pepper: Pepper,
}

impl KeyStore {
    /// Opens the local store of `settings`, making it and the pepper when neither is there.
    pub fn open(settings: &Settings) -> Result<Self, AuthnError> {
        Self::over(Arc::new(LocalKeys::open(&settings.store)?), settings)
    }

    /// The store over a table, with the pepper of `settings`, which is made when there are no keys yet.
    pub fn over(table: Arc<dyn KeyTable>, settings: &Settings) -> Result<Self, AuthnError> {
        let pepper = Pepper::open(&settings.pepper, table.is_empty()?)?;
        Ok(Self { table, pepper })
    }

    /// Makes a key. `now` and `expires` are milliseconds since the Unix epoch.
    pub fn create(
        &self,
        name: &ServiceName,
        holder: &KeyHolder,
        permissions: &[RoleName],
        now: i64,
        expires: i64,
    ) -> Result<NewKey, AuthnError> {
        if expires <= now {
            return Err(AuthnError::Expiry);
        }
        let (id, secret) = random_key()?;
        let record = KeyRecord {
            id: id.clone(),
            name: name.clone(),
            holder: holder.clone(),
            permissions: permissions.to_vec(),
            created: now,
            expires,
            revoked: None,
            replaced_by: None,
        };
        let hash = self.pepper.hash(secret.expose());
        self.table.insert(&NewHash { id: &id, hash: &hash, created: now, expires }, &record)?;
        Ok(NewKey { id, secret, expires })
    }

    /// Makes a key that takes the place of `id`: same holder, same permissions, and as long to live as that one had when
    /// it was made. The old one serves for `grace_millis` longer at most. `None` when there is no such key that still
    /// counts and has no successor yet.
    pub fn rotate(&self, id: &KeyId, now: i64, grace_millis: i64) -> Result<Option<NewKey>, AuthnError> {
        let Some(old) = self.table.find(id)? else { return Ok(None) };
        let (new_id, secret) = random_key()?;
        let expires = now.saturating_add(old.expires.saturating_sub(old.created));
        let hash = self.pepper.hash(secret.expose());
        let new = NewHash { id: &new_id, hash: &hash, created: now, expires };
        let replaced = self.table.replace(id, &new, now.saturating_add(grace_millis))?;
        Ok(replaced.then_some(NewKey { id: new_id, secret, expires }))
    }

    /// The record of a key, also of one that does not count any more.
    pub fn find(&self, id: &KeyId) -> Result<Option<KeyRecord>, AuthnError> {
        self.table.find(id)
    }

    /// Leaves word for the decision log, from a program that does not hold the log: the gateway writes it there within
    /// seconds, or when it starts, before it serves. `now` is in milliseconds since the Unix epoch.
    pub fn note(&self, name: &str, detail: &str, now: i64) -> Result<(), AuthnError> {
        self.table.note(name, detail, now)
    }

    /// All keys, the oldest first.
    pub fn list(&self) -> Result<Vec<KeyRecord>, AuthnError> {
        self.table.list()
    }

    /// Revokes a key at `now` (milliseconds since the Unix epoch); `false` when there is no such key. It counts from the
    /// next request on, in every process; a key that is revoked already keeps its first instant.
    pub fn revoke(&self, id: &KeyId, now: i64) -> Result<bool, AuthnError> {
        self.table.revoke(id, now)
    }

    /// The record of a key whose secret is right; `None` for an unknown id as for a wrong secret, which are compared in the
    /// same time.
    ///
    /// # Errors
    /// The table cannot be asked, or the row of the key is damaged.
    pub(super) async fn prove(&self, key: &KeyText<'_>) -> Result<Option<KeyRecord>, AuthnError> {
        let presented = self.pepper.hash(key.whole);
        let found = self.table.lookup(&key.id).await.map_err(|why: Unavailable| AuthnError::from(why))?;
        // An unknown id is compared as well, with a hash that nothing has.
        let stored = found.as_ref().map_or([0; 32], |found| found.hash);
        let same = bool::from(presented.ct_eq(&stored));
        match found {
            Some(found) if same => found.record.map(Some),
            _ => Ok(None),
        }
    }
}

impl std::fmt::Debug for KeyStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyStore").finish_non_exhaustive()
    }
}
