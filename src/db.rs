//! Opens SQLite, and is the only place that does.
//!
//! A database file is 0600 in a directory that is 0700, in WAL mode, with foreign keys on, an untrusted
//! schema (functions and virtual tables cannot be called from a tampered schema), defensive mode, and
//! temporary tables in memory. The guides' `trusted_schema: true` would weaken this and is not offered.

mod memo;

use std::fs::{self, OpenOptions, Permissions};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::Connection;
use rusqlite::config::DbConfig;

pub use memo::Memo;

/// How long a writer waits for another process's lock.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a database could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    /// The file or its directory could not be made or protected.
    #[error("the database `{path}` could not be opened")]
    File {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
    /// SQLite refused.
    #[error("the database `{path}` could not be prepared")]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// SQLite's answer.
        #[source]
        source: rusqlite::Error,
    },
    /// A newer Caxton wrote this file.
    #[error("the database `{path}` has version {found}, this build knows {known}")]
    TooNew {
        /// The file.
        path: PathBuf,
        /// `user_version` of the file.
        found: usize,
        /// Number of migrations of this build.
        known: usize,
    },
}

/// Opens the database at `path`, making it when it is not there, and brings it to the newest of `migrations`.
///
/// Each migration is SQL text; migration number *n* (from 1) takes a file from `user_version` *n - 1* to *n*, in
/// one transaction.
pub fn open(path: &Path, migrations: &[&str]) -> Result<Connection, DbError> {
    protect(path).map_err(|source| DbError::File { path: path.to_owned(), source })?;
    let sqlite = |source| DbError::Sqlite { path: path.to_owned(), source };
    #[expect(clippy::disallowed_methods, reason = "this is the one place that opens a database")]
    let mut connection = Connection::open(path).map_err(sqlite)?;
    configure(&connection).map_err(sqlite)?;
    migrate(&mut connection, path, migrations)?;
    Ok(connection)
}

/// The same, and what is committed outlives a power cut: for what must not come back, as a revoked key.
pub fn open_synced(path: &Path, migrations: &[&str]) -> Result<Connection, DbError> {
    let connection = open(path, migrations)?;
    let sqlite = |source| DbError::Sqlite { path: path.to_owned(), source };
    connection.pragma_update(None, "synchronous", "full").map_err(sqlite)?;
    Ok(connection)
}

fn protect(path: &Path) -> std::io::Result<()> {
    if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
        fs::create_dir_all(directory)?;
        fs::set_permissions(directory, Permissions::from_mode(0o700))?;
    }
    let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
    file.set_permissions(Permissions::from_mode(0o600))
}

fn configure(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, true)?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", "normal")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "recursive_triggers", false)?;
    connection.pragma_update(None, "temp_store", "memory")?;
    connection.pragma_update(None, "secure_delete", true)
}

fn migrate(connection: &mut Connection, path: &Path, migrations: &[&str]) -> Result<(), DbError> {
    let sqlite = |source| DbError::Sqlite { path: path.to_owned(), source };
    let found: usize =
        connection.query_row("PRAGMA user_version", [], |row| row.get::<_, u32>(0)).map_err(sqlite)? as usize;
    if found > migrations.len() {
        return Err(DbError::TooNew { path: path.to_owned(), found, known: migrations.len() });
    }
    for (version, sql) in (1_u32..).zip(migrations).skip(found) {
        let transaction = connection.transaction().map_err(sqlite)?;
        transaction.execute_batch(sql).map_err(sqlite)?;
        transaction.pragma_update(None, "user_version", version).map_err(sqlite)?;
        transaction.commit().map_err(sqlite)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_is_private_and_strict() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("data/test.db");
        let connection =
            open(&path, &["CREATE TABLE t (a) STRICT".replace("(a)", "(a INTEGER)").as_str()]).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        let pragma = |name: &str| -> String {
            connection
                .query_row(&format!("PRAGMA {name}"), [], |row| row.get::<_, rusqlite::types::Value>(0))
                .map(|value| format!("{value:?}"))
                .unwrap()
        };
        assert_eq!(pragma("journal_mode"), "Text(\"wal\")");
        assert_eq!(pragma("foreign_keys"), "Integer(1)");
        assert_eq!(pragma("trusted_schema"), "Integer(0)");
        assert_eq!(pragma("user_version"), "Integer(1)");
    }

    #[test]
    fn a_file_of_a_newer_build_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("test.db");
        drop(open(&path, &["CREATE TABLE a (x)", "CREATE TABLE b (x)"]).unwrap());
        assert!(matches!(
            open(&path, &["CREATE TABLE a (x)"]),
            Err(DbError::TooNew { found: 2, known: 1, .. })
        ));
    }
}
