//! The database of entities. Each change is one transaction, with the version that it makes.

use std::path::Path;
use std::sync::Arc;

use rusqlite::{Connection, params};
use serde_json::{Map, Value as Json};

use super::entry::{StoredEntity, read_draft};
use super::error::AttributesError;
use super::snapshot::Snapshot;
use crate::db;
use crate::model::EntityUid;

const MIGRATIONS: [&str; 1] = ["
CREATE TABLE entity (
    type    TEXT NOT NULL,
    id      TEXT NOT NULL,
    json    TEXT NOT NULL,
    version INTEGER NOT NULL,
    PRIMARY KEY (type, id)
) STRICT, WITHOUT ROWID;
CREATE TABLE state (
    one      INTEGER PRIMARY KEY CHECK (one = 1),
    version  INTEGER NOT NULL,
    imported INTEGER
) STRICT;
INSERT INTO state (one, version) VALUES (1, 0);
"];

/// One write to the store; a change has several.
pub(super) enum StoreChange<'e> {
    Put(&'e StoredEntity),
    Remove(&'e EntityUid),
    /// All entities are removed.
    Clear,
}

pub(super) struct Store {
    connection: Connection,
}

impl Store {
    pub(super) fn open(path: &Path) -> Result<Self, AttributesError> {
        Ok(Self { connection: db::open(path, &MIGRATIONS)? })
    }

    /// Everything that is stored.
    pub(super) fn load(&self) -> Result<Snapshot, AttributesError> {
        let mut snapshot = Snapshot::default();
        let mut rows = self.connection.prepare("SELECT type, id, json, version FROM entity")?;
        let rows = rows.query_map([], |row| {
            Ok((
                row.get::<_, String>(0)?,
                row.get::<_, String>(1)?,
                row.get::<_, String>(2)?,
                row.get::<_, i64>(3)?,
            ))
        })?;
        for row in rows {
            let (kind, id, json, version) = row?;
            let uid = EntityUid::new(kind, id);
            let damaged = || AttributesError::Damaged(uid.to_string());
            let fields: Map<String, Json> = serde_json::from_str(&json).map_err(|_| damaged())?;
            let draft = read_draft(&fields, Some(&uid)).map_err(|_| damaged())?;
            let version = u64::try_from(version).map_err(|_| damaged())?;
            snapshot.put(Arc::new(StoredEntity::new(draft, version)));
        }
        let all = snapshot.after(None).map(|entry| &entry.entity.uid);
        if let Some((child, _)) = snapshot.any_circle(all) {
            return Err(AttributesError::Damaged(child.to_string()));
        }
        let state = "SELECT version, imported FROM state";
        let (version, imported): (i64, Option<i64>) =
            self.connection.query_row(state, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let version = u64::try_from(version).map_err(|_| AttributesError::Damaged("state".to_owned()))?;
        snapshot.stamp(version, imported);
        Ok(snapshot)
    }

    /// All of the steps, or none.
    pub(super) fn apply(
        &mut self,
        steps: &[StoreChange<'_>],
        version: u64,
        imported: Option<i64>,
    ) -> Result<(), AttributesError> {
        let transaction = self.connection.transaction()?;
        for step in steps {
            match step {
                StoreChange::Put(entry) => {
                    let uid = &entry.entity.uid;
                    let mut json = entry.to_json();
                    json.remove("version");
                    transaction
                        .prepare_cached("INSERT OR REPLACE INTO entity VALUES (?1, ?2, ?3, ?4)")?
                        .execute(params![
                            uid.type_name(),
                            uid.id(),
                            Json::Object(json).to_string(),
                            number(entry.version)
                        ])?;
                }
                StoreChange::Remove(uid) => {
                    transaction
                        .prepare_cached("DELETE FROM entity WHERE type = ?1 AND id = ?2")?
                        .execute(params![uid.type_name(), uid.id()])?;
                }
                StoreChange::Clear => {
                    transaction.execute("DELETE FROM entity", [])?;
                }
            }
        }
        transaction
            .execute("UPDATE state SET version = ?1, imported = ?2", params![number(version), imported])?;
        transaction.commit()?;
        Ok(())
    }
}

/// SQLite counts with a sign.
fn number(version: u64) -> i64 {
    i64::try_from(version).unwrap_or(i64::MAX)
}

/// The conversion is here so that the error type does not depend on SQLite.
impl From<rusqlite::Error> for AttributesError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Query(Box::new(error))
    }
}
