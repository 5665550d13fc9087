//! The API keys on disk: the principal and the validity of each. The keys themselves are not in it.

use parking_lot::Mutex;
use rusqlite::{Connection, OptionalExtension as _, Row, TransactionBehavior, params};
use serde::Serialize;
use subtle::ConstantTimeEq as _;

use super::AuthnError;
use super::api_key::{KeyText, Pepper, Settings, random_key};
use super::schema::MIGRATIONS;
use crate::db;
use crate::model::{AgentId, KeyId, RoleName, ServiceName};
use crate::secret::Secret;

/// The columns of a [`StoredKey`], in its order.
pub(super) const COLUMNS: &str =
    "api_key.id, name, agent, permissions, api_key.created, api_key.expires, revoked, replaced_by";

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

/// A row as SQLite gives it, not yet believed.
pub(super) struct StoredKey {
    id: String,
    name: String,
    agent: Option<String>,
    permissions: String,
    created: i64,
    expires: i64,
    revoked: Option<i64>,
    replaced_by: Option<String>,
}

impl StoredKey {
    pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: row.get(0)?,
            name: row.get(1)?,
            agent: row.get(2)?,
            permissions: row.get(3)?,
            created: row.get(4)?,
            expires: row.get(5)?,
            revoked: row.get(6)?,
            replaced_by: row.get(7)?,
        })
    }

    pub(super) fn parse(self) -> Result<KeyRecord, AuthnError> {
        Ok(KeyRecord {
            id: KeyId::parse(self.id)?,
            name: ServiceName::parse(self.name)?,
            holder: match self.agent {
                Some(agent) => KeyHolder::Agent(AgentId::parse(agent)?),
                None => KeyHolder::Service,
            },
            permissions: serde_json::from_str(&self.permissions)?,
            created: self.created,
            expires: self.expires,
            revoked: self.revoked,
            replaced_by: self.replaced_by.map(KeyId::parse).transpose()?,
        })
    }
}

/// The store. Lookups take microseconds and have a connection of their own, so that none waits for a change, which may
/// wait for another process.
pub struct KeyStore {
    connection: Mutex<Connection>,
    writer: Mutex<Connection>,
    pepper: Pepper,
}

impl KeyStore {
    /// Opens the store of `settings`, making it and the pepper when neither is there.
    pub fn open(settings: &Settings) -> Result<Self, AuthnError> {
        let connection = db::open(&settings.store, &MIGRATIONS)?;
        let has_keys: bool =
            connection.query_row("SELECT EXISTS (SELECT 1 FROM api_key)", [], |row| row.get(0))?;
        let pepper = Pepper::open(&settings.pepper, !has_keys)?;
        let writer = Mutex::new(db::open_synced(&settings.store, &MIGRATIONS)?);
        Ok(Self { connection: Mutex::new(connection), writer, pepper })
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
        self.insert(&self.writer.lock(), (name, holder, permissions), now, expires)
    }

    fn insert(
        &self,
        connection: &Connection,
        (name, holder, permissions): (&ServiceName, &KeyHolder, &[RoleName]),
        now: i64,
        expires: i64,
    ) -> Result<NewKey, AuthnError> {
        let (id, secret) = random_key()?;
        let agent = match holder {
            KeyHolder::Service => None,
            KeyHolder::Agent(agent) => Some(agent.as_str()),
        };
        let hash = self.pepper.hash(secret.expose());
        connection.execute(
            "INSERT INTO api_key (id, hash, name, agent, permissions, created, expires) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            params![id.as_str(), hash, name.as_str(), agent, serde_json::to_string(permissions)?, now, expires],
        )?;
        Ok(NewKey { id, secret, expires })
    }

    /// Makes a key that takes the place of `id`: same holder, same permissions, and as long to live as that one had when
    /// it was made. The old one serves for `grace_millis` longer at most. `None` when there is no such key that still
    /// counts and has no successor yet.
    pub fn rotate(&self, id: &KeyId, now: i64, grace_millis: i64) -> Result<Option<NewKey>, AuthnError> {
        let mut connection = self.writer.lock();
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let Some(old) = find(&transaction, id)? else { return Ok(None) };
        if old.revoked.is_some() || old.expires <= now || old.replaced_by.is_some() {
            return Ok(None);
        }
        let expires = now.saturating_add(old.expires.saturating_sub(old.created));
        let new = self.insert(&transaction, (&old.name, &old.holder, &old.permissions), now, expires)?;
        transaction.execute(
            "UPDATE api_key SET replaced_by = ?2, expires = min(expires, ?3) WHERE id = ?1",
            params![id.as_str(), new.id.as_str(), now.saturating_add(grace_millis)],
        )?;
        transaction.commit()?;
        Ok(Some(new))
    }

    /// The record of a key, also of one that does not count any more.
    pub fn find(&self, id: &KeyId) -> Result<Option<KeyRecord>, AuthnError> {
        find(&self.connection.lock(), id)
    }

    /// Leaves word for the decision log, from a program that does not hold the log: the gateway writes it there within
    /// seconds, or when it starts, before it serves. `now` is in milliseconds since the Unix epoch.
    pub fn note(&self, name: &str, detail: &str, now: i64) -> Result<(), AuthnError> {
        self.writer.lock().execute(
            "INSERT INTO event (at, name, detail) VALUES (?1, ?2, ?3)",
            params![now, name, detail],
        )?;
        Ok(())
    }

    /// All keys, the oldest first.
    pub fn list(&self) -> Result<Vec<KeyRecord>, AuthnError> {
        let connection = self.connection.lock();
        let mut statement =
            connection.prepare(&format!("SELECT {COLUMNS} FROM api_key ORDER BY created, id"))?;
        let rows = statement.query_map([], StoredKey::read)?;
        rows.map(|row| row.map_err(AuthnError::from).and_then(StoredKey::parse)).collect()
    }

    /// Revokes a key at `now` (milliseconds since the Unix epoch); `false` when there is no such key. It counts from the
    /// next request on, in every process; a key that is revoked already keeps its first instant.
    pub fn revoke(&self, id: &KeyId, now: i64) -> Result<bool, AuthnError> {
        let changed = self.writer.lock().execute(
            "UPDATE api_key SET revoked = coalesce(revoked, ?2) WHERE id = ?1",
            params![id.as_str(), now],
        )?;
        Ok(changed > 0)
    }

    /// The record of a key whose secret is right; `None` for an unknown id as for a wrong secret, in the same time.
    pub(super) fn prove(&self, key: &KeyText<'_>) -> Result<Option<KeyRecord>, AuthnError> {
        let presented = self.pepper.hash(key.whole);
        let found = self.lookup(&key.id)?;
        // An unknown id is compared as well, with a hash that nothing has.
        let stored = found.as_ref().map_or([0; 32], |(hash, _)| *hash);
        let same = bool::from(presented.ct_eq(&stored));
        match found {
            Some((_, row)) if same => row.parse().map(Some),
            _ => Ok(None),
        }
    }

    fn lookup(&self, id: &KeyId) -> Result<Option<([u8; 32], StoredKey)>, AuthnError> {
        let connection = self.connection.lock();
        let mut statement =
            connection.prepare_cached(&format!("SELECT {COLUMNS}, hash FROM api_key WHERE id = ?1"))?;
        let found =
            statement.query_row([id.as_str()], |row| Ok((row.get(8)?, StoredKey::read(row)?))).optional()?;
        Ok(found)
    }
}

fn find(connection: &Connection, id: &KeyId) -> Result<Option<KeyRecord>, AuthnError> {
    let mut statement = connection.prepare_cached(&format!("SELECT {COLUMNS} FROM api_key WHERE id = ?1"))?;
    statement.query_row([id.as_str()], StoredKey::read).optional()?.map(StoredKey::parse).transpose()
}

/// The conversion is here so that the error type does not depend on SQLite.
impl From<rusqlite::Error> for AuthnError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Query(Box::new(error))
    }
}

impl std::fmt::Debug for KeyStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyStore").finish_non_exhaustive()
    }
}
