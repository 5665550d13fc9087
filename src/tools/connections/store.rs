//! Connections on disk: a row for each principal and server, its tokens sealed.
//!
//! INVARIANT: every change is one transaction that outlives a power cut, and a renewal replaces only the tokens that it was made
//! from: what was ended does not come back, also not in the place of a connection that was made since. For that a new connection
//! begins with a random generation: numbers that began anew would repeat. Blocking. Instants are milliseconds since the Unix epoch.

use std::collections::HashSet;
use std::path::Path;

use parking_lot::Mutex;
use rusqlite::{Connection, OptionalExtension as _, params};

use super::error::StoreError;
use super::seal::{AccountName, AccountTokens, ConnectionKey};
use crate::db;

const MIGRATIONS: [&str; 2] = [
    "
CREATE TABLE connection (
    holder     TEXT NOT NULL,
    server     TEXT NOT NULL,
    issuer     TEXT NOT NULL,
    sealed     BLOB NOT NULL,
    generation INTEGER NOT NULL,
    created    INTEGER NOT NULL,
    renewed    INTEGER NOT NULL,
    PRIMARY KEY (holder, server)
) STRICT, WITHOUT ROWID;
",
    // The rows from before name no target: they are connected nowhere, and kept so that they can be ended and revoked.
    "ALTER TABLE connection ADD COLUMN target TEXT NOT NULL DEFAULT '';",
];

/// A row, opened.
pub(in crate::tools) struct StoredAccount {
    pub(in crate::tools) tokens: AccountTokens,
    /// Begins at a random number and counts the renewals; a renewal names the one that it replaces.
    pub(in crate::tools) generation: i64,
}

/// A connection as it may be seen: no token is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionFacts {
    /// The principal in Cedar's notation.
    pub holder: String,
    /// The MCP server.
    pub server: String,
    /// The authorization server.
    pub issuer: String,
    /// When it was made, in milliseconds since the Unix epoch.
    pub created: i64,
    /// When its tokens were last replaced, in milliseconds since the Unix epoch.
    pub renewed: i64,
}

/// The connections of all principals.
pub(in crate::tools) struct ConnectionStore {
    connection: Mutex<Connection>,
    key: ConnectionKey,
    /// The rows, by holder and server, of which it was said that no key opens them.
    unopened: Mutex<HashSet<(String, String)>>,
}

/// A connection that was taken out of the store: its name and, where they can be opened, its tokens, so that they can be revoked.
pub(in crate::tools) struct RemovedAccount {
    pub(in crate::tools) name: AccountName,
    pub(in crate::tools) tokens: Option<AccountTokens>,
}

impl std::fmt::Debug for ConnectionStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConnectionStore").finish_non_exhaustive()
    }
}

impl ConnectionStore {
    pub(super) fn open(path: &Path, key: ConnectionKey) -> Result<Self, StoreError> {
        let connection = Mutex::new(db::open_synced(path, &MIGRATIONS)?);
        Ok(Self { connection, key, unopened: Mutex::default() })
    }

    /// The tokens of this name; none for a row that was sealed with a key that is not there any more, for another authorization
    /// server or for another target.
    pub(in crate::tools) fn get(&self, name: &AccountName) -> Result<Option<StoredAccount>, StoreError> {
        let connection = self.connection.lock();
        let mut statement = connection.prepare_cached(
            "SELECT sealed, generation FROM connection
             WHERE holder = ?1 AND server = ?2 AND issuer = ?3 AND target = ?4",
        )?;
        let found = statement
            .query_row([&name.holder, &name.server, &name.issuer, &name.target], |row| {
                Ok((row.get::<_, Vec<u8>>(0)?, row.get(1)?))
            })
            .optional()?;
        let Some((sealed, generation)) = found else { return Ok(None) };
        let Some(opened) = self.key.open(name, &sealed) else {
            self.note_unopened(name);
            return Ok(None);
        };
        if !opened.is_current {
            let sealed = self.key.close(name, &opened.tokens)?;
            connection.execute(
                "UPDATE connection SET sealed = ?4 WHERE holder = ?1 AND server = ?2 AND generation = ?3",
                params![name.holder, name.server, generation, sealed],
            )?;
        }
        Ok(Some(StoredAccount { tokens: opened.tokens, generation }))
    }

    /// Says once of a row that no key opens it: a caller could have it said with each call.
    fn note_unopened(&self, name: &AccountName) {
        if self.unopened.lock().insert((name.holder.clone(), name.server.clone())) {
            tracing::warn!(
                server = name.server,
                holder = name.holder,
                "a connected account was sealed with another key: it has to be connected again"
            );
        }
    }

    /// Whether the principal has a connection at the server, of whatever authorization server.
    pub(in crate::tools) fn has(&self, holder: &str, server: &str) -> Result<bool, StoreError> {
        let connection = self.connection.lock();
        let mut statement =
            connection.prepare_cached("SELECT 1 FROM connection WHERE holder = ?1 AND server = ?2")?;
        Ok(statement.exists([holder, server])?)
    }

    /// Keeps the tokens of a new connection, in the place of an earlier one, if `is_wanted` says so; says whether it did. It is
    /// asked while nothing else changes the store: what ends the connection before finds nothing, and what ends it after finds
    /// the row.
    pub(super) fn put(
        &self,
        name: &AccountName,
        tokens: &AccountTokens,
        now: i64,
        is_wanted: impl FnOnce() -> bool,
    ) -> Result<bool, StoreError> {
        let sealed = self.key.close(name, tokens)?;
        let generation = first_generation()?;
        let AccountName { holder, server, issuer, target } = name;
        let connection = self.connection.lock();
        if !is_wanted() {
            return Ok(false);
        }
        connection.execute(
            "INSERT INTO connection (holder, server, issuer, target, sealed, generation, created, renewed)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7)
             ON CONFLICT (holder, server) DO UPDATE SET issuer = excluded.issuer, target = excluded.target,
                 sealed = excluded.sealed, generation = excluded.generation, created = excluded.created,
                 renewed = excluded.renewed",
            params![holder, server, issuer, target, sealed, generation, now],
        )?;
        drop(connection);
        self.unopened.lock().remove(&(holder.clone(), server.clone()));
        Ok(true)
    }

    /// Replaces the tokens of this generation; `false` where they are gone or were replaced.
    pub(in crate::tools) fn renew(
        &self,
        name: &AccountName,
        generation: i64,
        tokens: &AccountTokens,
        now: i64,
    ) -> Result<bool, StoreError> {
        let sealed = self.key.close(name, tokens)?;
        let changed = self.connection.lock().execute(
            "UPDATE connection SET sealed = ?6, generation = generation + 1, renewed = ?7
             WHERE holder = ?1 AND server = ?2 AND issuer = ?3 AND target = ?4 AND generation = ?5",
            params![name.holder, name.server, name.issuer, name.target, generation, sealed, now],
        )?;
        Ok(changed > 0)
    }

    /// Forgets the tokens of this generation; `false` where they are gone or were replaced.
    pub(in crate::tools) fn remove_generation(
        &self,
        name: &AccountName,
        generation: i64,
    ) -> Result<bool, StoreError> {
        let changed = self.connection.lock().execute(
            "DELETE FROM connection
             WHERE holder = ?1 AND server = ?2 AND issuer = ?3 AND target = ?4 AND generation = ?5",
            params![name.holder, name.server, name.issuer, name.target, generation],
        )?;
        Ok(changed > 0)
    }

    /// Forgets a connection, of whatever authorization server, and gives what was there.
    pub(super) fn remove(&self, holder: &str, server: &str) -> Result<Option<RemovedAccount>, StoreError> {
        let connection = self.connection.lock();
        let mut statement = connection.prepare_cached(
            "DELETE FROM connection WHERE holder = ?1 AND server = ?2 RETURNING issuer, target, sealed",
        )?;
        let found = statement
            .query_row([holder, server], |row| Ok((row.get(0)?, row.get(1)?, row.get::<_, Vec<u8>>(2)?)))
            .optional()?;
        let Some((issuer, target, sealed)) = found else { return Ok(None) };
        let name = AccountName { holder: holder.to_owned(), server: server.to_owned(), issuer, target };
        let tokens = self.key.open(&name, &sealed).map(|opened| opened.tokens);
        Ok(Some(RemovedAccount { name, tokens }))
    }

    /// The connections of one principal, or of all; by principal and server.
    pub(super) fn list(&self, holder: Option<&str>) -> Result<Vec<ConnectionFacts>, StoreError> {
        let connection = self.connection.lock();
        let mut statement = connection.prepare_cached(
            "SELECT holder, server, issuer, created, renewed FROM connection
             WHERE ?1 IS NULL OR holder = ?1 ORDER BY holder, server",
        )?;
        let rows = statement.query_map([holder], |row| {
            Ok(ConnectionFacts {
                holder: row.get(0)?,
                server: row.get(1)?,
                issuer: row.get(2)?,
                created: row.get(3)?,
                renewed: row.get(4)?,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

/// 62 random bits: no two connections of one principal begin with the same number, and none reaches the largest by renewals.
fn first_generation() -> Result<i64, StoreError> {
    let mut bytes = [0_u8; 8];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| StoreError::Random)?;
    Ok(i64::from_be_bytes(bytes) & (i64::MAX >> 1))
}

/// The conversion is here so that the error type does not depend on SQLite.
impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Query(Box::new(error))
    }
}

#[cfg(test)]
mod tests {
    use super::super::settings::ConnectionSettings;
    use super::*;
    use crate::secret::Secret;
    use crate::tools::SharedSecret;

    fn open(directory: &Path, key: &str) -> ConnectionStore {
        open_with(directory, key.repeat(32))
    }

    fn open_with(directory: &Path, keys: String) -> ConnectionStore {
        let mut settings = ConnectionSettings::in_directory(directory);
        settings.key = Some(SharedSecret::Given(Secret::new(keys)));
        ConnectionStore::open(&settings.database, ConnectionKey::read(&settings).unwrap()).unwrap()
    }

    fn name(holder: &str, issuer: &str) -> AccountName {
        let [holder, server, issuer, target] = [holder, "crm", issuer, "https://crm"].map(str::to_owned);
        AccountName { holder, server, issuer, target }
    }

    fn tokens(access: &str) -> AccountTokens {
        AccountTokens { access: Secret::new(access.to_owned()), access_ends: 1, refresh: None }
    }

    fn access(store: &ConnectionStore, name: &AccountName) -> Option<(String, i64)> {
        let found = store.get(name).unwrap()?;
        Some((found.tokens.access.expose().clone(), found.generation))
    }

    fn put(store: &ConnectionStore, name: &AccountName, text: &str) -> i64 {
        assert!(store.put(name, &tokens(text), 10, || true).unwrap());
        store.get(name).unwrap().unwrap().generation
    }

    #[test]
    fn a_renewal_replaces_what_it_was_made_from_and_brings_nothing_back() {
        let directory = tempfile::tempdir().unwrap();
        let store = open(directory.path(), "0a");
        let ann = name("ann", "https://a");
        let first = put(&store, &ann, "one");
        assert!(store.renew(&ann, first, &tokens("two"), 20).unwrap());
        assert_eq!(access(&store, &ann), Some(("two".to_owned(), first + 1)));
        assert!(!store.renew(&ann, first, &tokens("late"), 30).unwrap());
        assert!(!store.remove_generation(&ann, first).unwrap());
        let facts = store.list(None).unwrap();
        assert_eq!((facts[0].created, facts[0].renewed), (10, 20));
        let removed = store.remove("ann", "crm").unwrap().unwrap();
        assert_eq!(removed.tokens.unwrap().access.expose(), "two");
        assert!(!store.renew(&ann, first + 1, &tokens("back"), 40).unwrap());
        assert_eq!(access(&store, &ann), None);
        assert!(store.remove("ann", "crm").unwrap().is_none());
        assert!(!store.put(&ann, &tokens("ended"), 10, || false).unwrap());
        assert!(!store.has("ann", "crm").unwrap());
    }

    /// The attack: a refresh of a connection that was ended comes back when another account has been connected.
    #[test]
    fn a_late_renewal_or_end_does_not_touch_a_connection_that_was_made_since() {
        let directory = tempfile::tempdir().unwrap();
        let store = open(directory.path(), "0a");
        let ann = name("ann", "https://a");
        let first = put(&store, &ann, "one");
        for removes in [true, false] {
            if removes {
                store.remove("ann", "crm").unwrap().unwrap();
            }
            put(&store, &ann, "two");
            for generation in [first, first + 1] {
                assert!(!store.renew(&ann, generation, &tokens("late"), 30).unwrap());
                assert!(!store.remove_generation(&ann, generation).unwrap());
            }
            assert_eq!(access(&store, &ann).unwrap().0, "two");
        }
    }

    /// The attack: the server's name is given another address, or its tokens another resource.
    #[test]
    fn a_row_for_another_target_is_no_connection() {
        let directory = tempfile::tempdir().unwrap();
        let store = open(directory.path(), "0a");
        let ann = name("ann", "https://a");
        put(&store, &ann, "one");
        let elsewhere = AccountName { target: "https://other".to_owned(), ..ann.clone() };
        assert_eq!(access(&store, &elsewhere), None);
        store.connection.lock().execute("UPDATE connection SET target = 'https://other'", []).unwrap();
        assert_eq!(access(&store, &elsewhere), None, "the target is sealed");
    }

    #[test]
    fn a_row_from_before_targets_were_bound_is_not_connected_and_can_be_revoked() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("connections.db");
        let old = AccountName { target: String::new(), ..name("ann", "https://a") };
        let mut settings = ConnectionSettings::in_directory(directory.path());
        settings.key = Some(SharedSecret::Given(Secret::new("0a".repeat(32))));
        let sealed = ConnectionKey::read(&settings).unwrap().close(&old, &tokens("one")).unwrap();
        let before = db::open_synced(&path, &MIGRATIONS[..1]).unwrap();
        before
            .execute(
                "INSERT INTO connection VALUES ('ann', 'crm', 'https://a', ?1, 1, 10, 10)",
                params![sealed],
            )
            .unwrap();
        drop(before);
        let store = open(directory.path(), "0a");
        assert_eq!(access(&store, &name("ann", "https://a")), None);
        let removed = store.remove("ann", "crm").unwrap().unwrap();
        assert_eq!(removed.tokens.unwrap().access.expose(), "one");
    }

    #[test]
    fn a_row_that_is_read_is_sealed_with_the_current_key() {
        let directory = tempfile::tempdir().unwrap();
        let ann = name("ann", "https://a");
        let generation = put(&open(directory.path(), "0a"), &ann, "one");
        let both = format!("{}\n{}", "0b".repeat(32), "0a".repeat(32));
        let read = || Some(("one".to_owned(), generation));
        assert_eq!(access(&open_with(directory.path(), both), &ann), read());
        assert_eq!(access(&open(directory.path(), "0b"), &ann), read());
    }

    /// The attack: who can write the file gives a row to another principal, or to another authorization server.
    #[test]
    fn a_row_under_another_name_or_key_is_no_connection() {
        let directory = tempfile::tempdir().unwrap();
        let store = open(directory.path(), "0a");
        let (ann, bob) = (name("ann", "https://a"), name("bob", "https://a"));
        put(&store, &ann, "one");
        assert_eq!(access(&store, &bob), None);
        assert_eq!(access(&store, &name("ann", "https://b")), None);
        store.connection.lock().execute("UPDATE connection SET holder = 'bob'", []).unwrap();
        assert_eq!(access(&store, &bob), None);
        store.connection.lock().execute("UPDATE connection SET holder = 'ann'", []).unwrap();
        assert!(access(&store, &ann).is_some());
        drop(store);
        assert_eq!(access(&open(directory.path(), "0b"), &ann), None);
    }

    #[test]
    fn the_connections_of_one_and_of_all_are_listed() {
        let directory = tempfile::tempdir().unwrap();
        let store = open(directory.path(), "0a");
        for holder in ["bob", "ann"] {
            put(&store, &name(holder, "https://a"), "one");
        }
        let holders = |of: Option<&str>| -> Vec<String> {
            store.list(of).unwrap().into_iter().map(|facts| facts.holder).collect()
        };
        assert_eq!(holders(None), ["ann", "bob"]);
        assert_eq!(holders(Some("bob")), ["bob"]);
    }
}
