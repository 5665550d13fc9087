//! API keys in a database of the data directory.

use std::path::Path;

use parking_lot::Mutex;
use rusqlite::{Connection, OptionalExtension as _, Row, TransactionBehavior, params};

use super::{HashedKey, KeyHolder, KeyRecord, KeyTable, NewHash};
use crate::authn::AuthnError;
use crate::authn::schema::MIGRATIONS;
use crate::db;
use crate::model::{AgentId, KeyId, ServiceName};
use crate::shared_state::PortFuture;

/// The columns of a [`StoredKey`], in its order.
pub(in crate::authn) const COLUMNS: &str =
    "api_key.id, name, agent, permissions, api_key.created, api_key.expires, revoked, replaced_by";

/// A row as SQLite gives it, not yet believed.
pub(in crate::authn) struct StoredKey {
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
    pub(in crate::authn) fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
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

    pub(in crate::authn) fn parse(self) -> Result<KeyRecord, AuthnError> {
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

/// The API keys of a data directory. Lookups take microseconds and have a connection of their own, so that none waits for a
/// change, which may wait for another process.
pub struct LocalKeys {
    connection: Mutex<Connection>,
    writer: Mutex<Connection>,
}

impl LocalKeys {
    /// Opens the database, or makes it.
    pub fn open(path: &Path) -> Result<Self, AuthnError> {
        let connection = Mutex::new(db::open(path, &MIGRATIONS)?);
        let writer = Mutex::new(db::open_synced(path, &MIGRATIONS)?);
        Ok(Self { connection, writer })
    }

    fn find_hashed(&self, id: &KeyId) -> Result<Option<HashedKey>, AuthnError> {
        let connection = self.connection.lock();
        let mut statement =
            connection.prepare_cached(&format!("SELECT {COLUMNS}, hash FROM api_key WHERE id = ?1"))?;
        let found =
            statement.query_row([id.as_str()], |row| Ok((row.get(8)?, StoredKey::read(row)?))).optional()?;
        let Some((hash, stored)) = found else { return Ok(None) };
        Ok(Some(HashedKey { hash, record: stored.parse() }))
    }
}

fn insert(connection: &Connection, new: &NewHash<'_>, record: &KeyRecord) -> Result<(), AuthnError> {
    let agent = match &record.holder {
        KeyHolder::Service => None,
        KeyHolder::Agent(agent) => Some(agent.as_str()),
    };
    let permissions = serde_json::to_string(&record.permissions)?;
    connection.execute(
        "INSERT INTO api_key (id, hash, name, agent, permissions, created, expires) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        params![
            new.id.as_str(),
            new.hash,
            record.name.as_str(),
            agent,
            permissions,
            new.created,
            new.expires
        ],
    )?;
    Ok(())
}

fn find(connection: &Connection, id: &KeyId) -> Result<Option<KeyRecord>, AuthnError> {
    let mut statement = connection.prepare_cached(&format!("SELECT {COLUMNS} FROM api_key WHERE id = ?1"))?;
    statement.query_row([id.as_str()], StoredKey::read).optional()?.map(StoredKey::parse).transpose()
}

impl KeyTable for LocalKeys {
    fn lookup<'a>(&'a self, id: &'a KeyId) -> PortFuture<'a, Option<HashedKey>> {
        PortFuture::of("api keys", self.find_hashed(id))
    }

    fn is_empty(&self) -> Result<bool, AuthnError> {
        let connection = self.connection.lock();
        Ok(!connection.query_row("SELECT EXISTS (SELECT 1 FROM api_key)", [], |row| row.get::<_, bool>(0))?)
    }

    fn find(&self, id: &KeyId) -> Result<Option<KeyRecord>, AuthnError> {
        find(&self.connection.lock(), id)
    }

    fn list(&self) -> Result<Vec<KeyRecord>, AuthnError> {
        let connection = self.connection.lock();
        let mut statement =
            connection.prepare(&format!("SELECT {COLUMNS} FROM api_key ORDER BY created, id"))?;
        let rows = statement.query_map([], StoredKey::read)?;
        rows.map(|row| row.map_err(AuthnError::from).and_then(StoredKey::parse)).collect()
    }

    fn insert(&self, new: &NewHash<'_>, record: &KeyRecord) -> Result<(), AuthnError> {
        insert(&self.writer.lock(), new, record)
    }

    fn replace(&self, old: &KeyId, new: &NewHash<'_>, old_ends: i64) -> Result<bool, AuthnError> {
        let mut connection = self.writer.lock();
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let Some(found) = find(&transaction, old)? else { return Ok(false) };
        if found.revoked.is_some() || found.expires <= new.created || found.replaced_by.is_some() {
            return Ok(false);
        }
        insert(&transaction, new, &found)?;
        transaction.execute(
            "UPDATE api_key SET replaced_by = ?2, expires = min(expires, ?3) WHERE id = ?1",
            params![old.as_str(), new.id.as_str(), old_ends],
        )?;
        transaction.commit()?;
        Ok(true)
    }

    fn revoke(&self, id: &KeyId, now: i64) -> Result<bool, AuthnError> {
        let changed = self.writer.lock().execute(
            "UPDATE api_key SET revoked = coalesce(revoked, ?2) WHERE id = ?1",
            params![id.as_str(), now],
        )?;
        Ok(changed > 0)
    }

    fn note(&self, name: &str, detail: &str, now: i64) -> Result<(), AuthnError> {
        self.writer.lock().execute(
            "INSERT INTO event (at, name, detail) VALUES (?1, ?2, ?3)",
            params![now, name, detail],
        )?;
        Ok(())
    }
}

/// The conversion is here so that the error type does not depend on SQLite.
impl From<rusqlite::Error> for AuthnError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Query(Box::new(error))
    }
}
