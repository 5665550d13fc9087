//! The database itself: opening it, and what a row of it becomes. Nothing outside this folder uses SQLite.

mod read;
mod workers;
mod write;

use std::path::Path;
use std::sync::Arc;

use rusqlite::Row;
use rusqlite::types::{FromSqlError, Type};

pub(super) use rusqlite::Connection;

use super::error::MemoryError;
use super::sql;
use super::view::{EntityView, RelationView};
use crate::clock::rfc3339;
use crate::db::{self, DbError};
use crate::model::MemoryScope;
use crate::text::one_line;

/// The longest text about a damaged file that is kept, in bytes.
const FINDING_BYTES: usize = 1024;

pub(super) use read::{entities, entity, relation, relations, row, search};
pub(super) use workers::{Cancel, Pool, Workers};
pub(super) use write::{delete, write_entity, write_relation};

impl From<rusqlite::Error> for MemoryError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(Box::new(error))
    }
}

/// Opens the connection that writes, and looks the whole file over: a damaged memory must not be served.
fn open_writer(path: &Path) -> Result<Connection, MemoryError> {
    // SQLite takes an empty file for a new database; here it is one that has lost its content.
    if std::fs::metadata(path).is_ok_and(|file| file.len() == 0) {
        return Err(MemoryError::Damaged { path: path.to_owned(), finding: "it is empty".to_owned() });
    }
    let connection = db::open(path, sql::MIGRATIONS).map_err(|error| refused(path, error))?;
    let finding = examine(&connection, path).unwrap_or_else(|error| Some(error.to_string()));
    match finding {
        None => Ok(connection),
        Some(finding) => {
            Err(MemoryError::Damaged { path: path.to_owned(), finding: one_line(&finding, FINDING_BYTES) })
        }
    }
}

/// The first fault of the file, if there is one.
fn examine(connection: &Connection, path: &Path) -> rusqlite::Result<Option<String>> {
    let verdict: String = connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    if verdict != "ok" {
        return Ok(Some(verdict));
    }
    // SQLite reads a last page that was cut off as if it ended in zeroes, and may find that in order. The log has
    // to be in the file before its length can be held against it.
    let busy: bool = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
    let pages: u32 = connection.query_row("PRAGMA page_count", [], |row| row.get(0))?;
    let page_size: u32 = connection.query_row("PRAGMA page_size", [], |row| row.get(0))?;
    let (length, expected) =
        (std::fs::metadata(path).map_or(0, |file| file.len()), u64::from(pages) * u64::from(page_size));
    Ok((!busy && length < expected).then(|| format!("it has {length} bytes of {expected}")))
}

/// Opens a connection that SQLite itself keeps from writing.
fn open_reader(path: &Path) -> Result<Connection, MemoryError> {
    let connection = db::open(path, sql::MIGRATIONS).map_err(|error| refused(path, error))?;
    connection.pragma_update(None, "query_only", true)?;
    Ok(connection)
}

fn refused(path: &Path, error: DbError) -> MemoryError {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
    match error {
        DbError::Sqlite { source, .. }
            if matches!(source.sqlite_error_code(), Some(DatabaseCorrupt | NotADatabase)) =>
        {
            MemoryError::Damaged {
                path: path.to_owned(),
                finding: one_line(&source.to_string(), FINDING_BYTES),
            }
        }
        other => MemoryError::Open(other),
    }
}

/// The two columns that say whose a row is.
fn scope_columns(scope: &MemoryScope) -> (&'static str, &str) {
    match scope {
        MemoryScope::Agent(id) => (scope.kind(), id.as_str()),
        MemoryScope::Workspace(id) => (scope.kind(), id.as_str()),
        MemoryScope::Global => (scope.kind(), ""),
    }
}

/// Reads `name, kind, owner, labels, created, updated`; the observations come by themselves.
fn entity_from(scope: &MemoryScope, row: &Row<'_>) -> rusqlite::Result<EntityView> {
    Ok(EntityView {
        scope: scope.clone(),
        name: row.get(0)?,
        kind: row.get(1)?,
        owner: row.get(2)?,
        labels: labels_from(row, 3)?,
        observations: Vec::new(),
        created: rfc3339(row.get(4)?),
        updated: rfc3339(row.get(5)?),
    })
}

/// Reads `id, source, kind, target, owner, labels, created, updated`.
fn relation_from(scope: &MemoryScope, row: &Row<'_>) -> rusqlite::Result<RelationView> {
    Ok(RelationView {
        scope: scope.clone(),
        id: row.get(0)?,
        from: row.get(1)?,
        kind: row.get(2)?,
        to: row.get(3)?,
        owner: row.get(4)?,
        labels: labels_from(row, 5)?,
        created: rfc3339(row.get(6)?),
        updated: rfc3339(row.get(7)?),
    })
}

/// Labels that cannot be read are an error, never an empty set: a policy may forbid because of one.
fn labels_from(row: &Row<'_>, column: usize) -> rusqlite::Result<std::collections::BTreeSet<Arc<str>>> {
    let text = row.get_ref(column)?.as_str().map_err(|error| unreadable(column, error))?;
    serde_json::from_str(text)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error)))
}

fn unreadable(column: usize, error: FromSqlError) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error))
}
