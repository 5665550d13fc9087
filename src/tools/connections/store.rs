//! Connections on disk: a row for each principal and server, its tokens sealed.
//!
//! INVARIANT: every change is one transaction that outlives a power cut, and a renewal replaces only the tokens that it was made
//! from: what was ended does not come back. Blocking. Instants are milliseconds since the Unix epoch.

use std::path::Path;

use parking_lot::Mutex;
use rusqlite::{Connection, OptionalExtension as _, params};

use super::error::StoreError;
use super::seal::{AccountName, AccountTokens, ConnectionKey};
use crate::db;

const MIGRATIONS: [&str; 1] = ["
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
"];

/// A row, opened.
pub(in crate::tools) struct StoredAccount {
    pub(in crate::tools) tokens: AccountTokens,
    /// Counts the renewals; a renewal names the one that it replaces.
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
}

impl std::fmt::Debug for ConnectionStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConnectionStore").finish_non_exhaustive()
    }
}

impl ConnectionStore {
    pub(super) fn open(path: &Path, key: ConnectionKey) -> Result<Self, StoreError> {
        Ok(Self { connection: Mutex::new(db::open_synced(path, &MIGRATIONS)?), key })
    }

    /// The tokens of this name; none for a row that was sealed with another key or for another authorization server.
    pub(in crate::tools) fn get(&self, name: &AccountName) -> Result<Option<StoredAccount>, StoreError> {
        let connection = self.connection.lock();
        let mut statement = connection.prepare_cached(
            "SELECT sealed, generation FROM connection WHERE holder = ?1 AND server = ?2 AND issuer = ?3",
        )?;
        let found = statement
            .query_row([&name.holder, &name.server, &name.issuer], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let Some((sealed, generation)) = found else { return Ok(None) };
        let tokens = self.key.open(name, sealed);
        if tokens.is_none() {
            tracing::warn!(
                server = name.server,
                holder = name.holder,
                "a connected account was sealed with another key: it has to be connected again"
            );
        }
        Ok(tokens.map(|tokens| StoredAccount { tokens, generation }))
    }

    /// Keeps the tokens of a new connection, in the place of an earlier one.
    pub(super) fn put(&self, name: &AccountName, tokens: &AccountTokens, now: i64) -> Result<(), StoreError> {
        let sealed = self.key.close(name, tokens)?;
        let AccountName { holder, server, issuer } = name;
        self.connection.lock().execute(
            "INSERT INTO connection (holder, server, issuer, sealed, generation, created, renewed)
             VALUES (?1, ?2, ?3, ?4, 1, ?5, ?5)
             ON CONFLICT (holder, server) DO UPDATE SET issuer = excluded.issuer, sealed = excluded.sealed,
                 generation = generation + 1, created = excluded.created, renewed = excluded.renewed",
            params![holder, server, issuer, sealed, now],
        )?;
        Ok(())
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
            "UPDATE connection SET sealed = ?5, generation = generation + 1, renewed = ?6
             WHERE holder = ?1 AND server = ?2 AND issuer = ?3 AND generation = ?4",
            params![name.holder, name.server, name.issuer, generation, sealed, now],
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
            "DELETE FROM connection WHERE holder = ?1 AND server = ?2 AND issuer = ?3 AND generation = ?4",
            params![name.holder, name.server, name.issuer, generation],
        )?;
        Ok(changed > 0)
    }

    /// Forgets a connection, of whatever authorization server. Gives its name and, where they can be opened, its tokens, so that
    /// they can be revoked; `None` where there was none.
    pub(super) fn remove(
        &self,
        holder: &str,
        server: &str,
    ) -> Result<Option<(AccountName, Option<AccountTokens>)>, StoreError> {
        let connection = self.connection.lock();
        let mut statement = connection.prepare_cached(
            "DELETE FROM connection WHERE holder = ?1 AND server = ?2 RETURNING issuer, sealed",
        )?;
        let found = statement.query_row([holder, server], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
        let Some((issuer, sealed)) = found else { return Ok(None) };
        let name = AccountName { holder: holder.to_owned(), server: server.to_owned(), issuer };
        let tokens = self.key.open(&name, sealed);
        Ok(Some((name, tokens)))
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
        let mut settings = ConnectionSettings::in_directory(directory);
        settings.key = Some(SharedSecret::Given(Secret::new(key.repeat(32))));
        ConnectionStore::open(&settings.database, ConnectionKey::read(&settings).unwrap()).unwrap()
    }

    fn name(holder: &str, issuer: &str) -> AccountName {
        AccountName { holder: holder.to_owned(), server: "crm".to_owned(), issuer: issuer.to_owned() }
    }

    fn tokens(access: &str) -> AccountTokens {
        AccountTokens { access: Secret::new(access.to_owned()), access_ends: 1, refresh: None }
    }

    fn access(store: &ConnectionStore, name: &AccountName) -> Option<(String, i64)> {
        let found = store.get(name).unwrap()?;
        Some((found.tokens.access.expose().clone(), found.generation))
    }

    #[test]
    fn a_renewal_replaces_what_it_was_made_from_and_brings_nothing_back() {
        let directory = tempfile::tempdir().unwrap();
        let store = open(directory.path(), "0a");
        let ann = name("ann", "https://a");
        store.put(&ann, &tokens("one"), 10).unwrap();
        assert!(store.renew(&ann, 1, &tokens("two"), 20).unwrap());
        assert_eq!(access(&store, &ann), Some(("two".to_owned(), 2)));
        assert!(!store.renew(&ann, 1, &tokens("late"), 30).unwrap());
        assert!(!store.remove_generation(&ann, 1).unwrap());
        let facts = store.list(None).unwrap();
        assert_eq!((facts[0].created, facts[0].renewed), (10, 20));
        let (_, removed) = store.remove("ann", "crm").unwrap().unwrap();
        assert_eq!(removed.unwrap().access.expose(), "two");
        assert!(!store.renew(&ann, 2, &tokens("back"), 40).unwrap());
        assert_eq!(access(&store, &ann), None);
        assert!(store.remove("ann", "crm").unwrap().is_none());
    }

    /// The attack: who can write the file gives a row to another principal, or to another authorization server.
    #[test]
    fn a_row_under_another_name_or_key_is_no_connection() {
        let directory = tempfile::tempdir().unwrap();
        let store = open(directory.path(), "0a");
        let (ann, bob) = (name("ann", "https://a"), name("bob", "https://a"));
        store.put(&ann, &tokens("one"), 10).unwrap();
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
            store.put(&name(holder, "https://a"), &tokens("one"), 10).unwrap();
        }
        let holders = |of: Option<&str>| -> Vec<String> {
            store.list(of).unwrap().into_iter().map(|facts| facts.holder).collect()
        };
        assert_eq!(holders(None), ["ann", "bob"]);
        assert_eq!(holders(Some("bob")), ["bob"]);
    }
}
