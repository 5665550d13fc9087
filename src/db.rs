//! Opens SQLite, and is the only place that does.
//!
//! A database file is 0600 in a directory that is 0700, in WAL mode, with foreign keys on, an untrusted
//! schema (functions and virtual tables cannot be called from a tampered schema), defensive mode, and
//! temporary tables in memory. The guides' `trusted_schema: true` would weaken this and is not offered.
//!
//! INVARIANT: no descriptor of a database file, its log or its index is opened beside SQLite while a connection is open.
//! POSIX takes all locks of a process on a file when the process closes any of its descriptors of that file (fcntl(2));
//! without its locks SQLite's log can be unlinked by another program, and what is committed from then on is lost.

mod memo;

use std::fs::{self, OpenOptions, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use parking_lot::Mutex;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

pub use memo::{Commits, Memo};

/// How long a writer waits for another process's lock.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Held while a file is made and opened: a new file is closed again before SQLite has it, and never after.
static OPENING: Mutex<()> = Mutex::new(());

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
    opened(path, protect, migrations)
}

/// The same for a cache beside other data: the directory has to be there, and its mode stays as it is, because others may
/// read what is in it.
pub fn open_beside(path: &Path, migrations: &[&str]) -> Result<Connection, DbError> {
    opened(path, protect_file, migrations)
}

/// Opens a database for reading; `None` when it is not there.
pub fn open_to_read(path: &Path) -> Result<Option<Connection>, DbError> {
    let file = |source| DbError::File { path: path.to_owned(), source };
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_file() => {}
        Ok(_) => return Err(file(std::io::Error::other("it is not a regular file"))),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(file(error)),
    }
    let sqlite = |source| DbError::Sqlite { path: path.to_owned(), source };
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(sqlite)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(sqlite)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true).map_err(sqlite)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false).map_err(sqlite)?;
    Ok(Some(connection))
}

fn opened(
    path: &Path,
    protect: fn(&Path) -> std::io::Result<()>,
    migrations: &[&str],
) -> Result<Connection, DbError> {
    let opening = OPENING.lock();
    protect(path).map_err(|source| DbError::File { path: path.to_owned(), source })?;
    let sqlite = |source| DbError::Sqlite { path: path.to_owned(), source };
    #[expect(clippy::disallowed_methods, reason = "this is the one place that opens a database")]
    let mut connection = Connection::open(path).map_err(sqlite)?;
    drop(opening);
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
    protect_file(path)
}

fn protect_file(path: &Path) -> std::io::Result<()> {
    match OpenOptions::new().create_new(true).append(true).mode(0o600).open(path) {
        Ok(made) => made.set_permissions(Permissions::from_mode(0o600)),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => protect_existing(path),
        Err(error) => Err(error),
    }
}

/// By its name: a connection of this process may be open to it.
fn protect_existing(path: &Path) -> std::io::Result<()> {
    let found = fs::symlink_metadata(path)?;
    if !found.is_file() {
        return Err(std::io::Error::other("it is not a regular file"));
    }
    if found.permissions().mode() & 0o7777 == 0o600 {
        return Ok(());
    }
    fs::set_permissions(path, Permissions::from_mode(0o600))
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

    /// Locks that this process holds on files of `directory`, as the kernel tells them.
    fn locks(directory: &Path) -> usize {
        use std::os::unix::fs::MetadataExt as _;
        let inodes: Vec<String> = fs::read_dir(directory)
            .unwrap()
            .map(|entry| format!(":{}", entry.unwrap().metadata().unwrap().ino()))
            .collect();
        let own = format!(" {} ", std::process::id());
        let table = fs::read_to_string("/proc/locks").unwrap();
        let ours =
            |line: &&str| line.contains(&own) && line.split(' ').any(|word| ends_with_one(word, &inodes));
        table.lines().filter(ours).count()
    }

    fn ends_with_one(word: &str, ends: &[String]) -> bool {
        ends.iter().any(|end| word.ends_with(end.as_str()))
    }

    #[test]
    fn a_further_connection_and_a_memo_leave_the_locks_where_they_are() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("test.db");
        let migrations = ["CREATE TABLE t (a INTEGER) STRICT"];
        let connection = open(&path, &migrations).unwrap();
        connection.execute("INSERT INTO t VALUES (1)", []).unwrap();
        let before = locks(directory.path());
        assert!(before > 0, "an open database in WAL mode is locked as shared");
        let other = open(&path, &migrations).unwrap();
        let memo = Memo::<String, i64>::new(&Commits::of(open(&path, &migrations).unwrap()), 10);
        memo.get::<_, rusqlite::Error>("a", || Ok(1)).unwrap();
        drop((other, memo));
        assert_eq!(locks(directory.path()), before);
        assert_eq!(connection.query_row("SELECT a FROM t", [], |row| row.get(0)), Ok(1));
    }

    #[test]
    fn what_is_not_a_regular_file_is_not_opened() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("test.db");
        drop(open(&path, &[]).unwrap());
        let link = directory.path().join("link.db");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(matches!(open(&link, &[]), Err(DbError::File { .. })));
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
