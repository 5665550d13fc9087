//! Sessions, refresh tokens, revocations and signing keys on disk, in the database of the keys.
//!
//! INVARIANT: every change here is one transaction, so that a crash leaves a refresh token used with its successor
//! stored, or neither. Instants are milliseconds since the Unix epoch.

use std::path::Path;

use parking_lot::Mutex;
use rusqlite::{Connection, OptionalExtension as _, Transaction, TransactionBehavior, params};

use super::refresh::RefreshHash;
use super::signing::PreviousKeys;
use crate::authn::jwt::parts::TokenDigest;
use crate::authn::key_store::{COLUMNS, StoredKey};
use crate::authn::schema::MIGRATIONS;
use crate::authn::{AuthnError, KeyRecord};
use crate::db::{self, Commits, Memo};
use crate::model::{EntityUid, HolderKeys};

/// Stands for all subjects in the table of revoked subjects; no principal has this name.
const EVERYBODY: &str = "*";

/// The holder of a new session.
pub(super) struct SessionOwner<'a> {
    /// The key's id, or the principal of a person; what sessions are counted by.
    pub(super) id: &'a str,
    /// The person who has logged in, as JSON, and when the login ends.
    pub(super) login: Option<(String, i64)>,
}

/// A session with its key or its person, as they are now.
#[derive(Clone)]
pub(super) struct StoredSession {
    pub(super) key: Option<KeyRecord>,
    pub(super) login: Option<(String, i64)>,
    /// The keys that its tokens are bound to.
    pub(super) bound: HolderKeys,
    pub(super) created: i64,
    pub(super) used: i64,
    pub(super) ended: bool,
}

/// A refresh token that was found.
pub(super) struct StoredRefresh {
    pub(super) session: String,
    pub(super) generation: i64,
    pub(super) expires: i64,
    /// When it was used, and whether its successor was used as well.
    pub(super) used: Option<(i64, bool)>,
}

/// The revocations that apply to a token.
#[derive(Clone, Copy)]
pub(super) struct StoredRevocation {
    pub(super) token: bool,
    /// Tokens of its subject that were made before this do not count.
    pub(super) before: Option<i64>,
}

/// How a rotation ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Rotated {
    /// The successor is stored, or was stored a moment ago.
    Done(String),
    /// Another request changed it since it was read.
    Lost,
}

/// An event that waits to be written to the decision log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingEvent {
    /// In the order in which they happened.
    pub id: i64,
    /// When, in milliseconds since the Unix epoch.
    pub at: i64,
    /// The name of the event (`sessions_revoked`).
    pub name: String,
    /// To what.
    pub detail: String,
}

/// A public signing key, and when it was retired.
type StoredSigningKey = ([u8; 32], Option<i64>);

/// The store. Lookups have a connection of their own, so that none waits for a change, which may wait for another process;
/// those of each request are remembered until something changes.
pub(super) struct TokenStore {
    reader: Mutex<Connection>,
    writer: Mutex<Connection>,
    sessions: Memo<String, Option<StoredSession>>,
    revocations: Memo<TokenDigest, StoredRevocation>,
    signing_keys: Memo<String, Option<StoredSigningKey>>,
}

impl TokenStore {
    /// Remembers `most` sessions, and as much about that many tokens.
    pub(super) fn open(path: &Path, most: usize) -> Result<Self, AuthnError> {
        let writer = db::open_synced(path, &MIGRATIONS)?;
        let reader = db::open(path, &MIGRATIONS)?;
        let commits = Commits::of(db::open(path, &MIGRATIONS)?);
        Ok(Self {
            writer: Mutex::new(writer),
            reader: Mutex::new(reader),
            sessions: Memo::new(&commits, most),
            revocations: Memo::new(&commits, most),
            signing_keys: Memo::new(&commits, most),
        })
    }

    fn change<T>(
        &self,
        act: impl FnOnce(&Transaction<'_>) -> Result<T, AuthnError>,
    ) -> Result<T, AuthnError> {
        let mut connection = self.writer.lock();
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let done = act(&transaction)?;
        transaction.commit()?;
        Ok(done)
    }

    // ---- sessions ----

    /// Begins a session with its first refresh token. Dead sessions go, and of its owner's living ones no more than `most`
    /// stay: the ones idle longest are ended.
    pub(super) fn begin(
        &self,
        session: &str,
        (owner, bound): (&SessionOwner<'_>, &HolderKeys),
        refresh: &RefreshHash,
        (now, expires, dead_before): (i64, i64, i64),
        most: u32,
    ) -> Result<(), AuthnError> {
        self.change(|store| {
            store.execute("DELETE FROM session WHERE used < ?1", [dead_before])?;
            store.execute(
                "UPDATE session SET ended = ?3 WHERE ended IS NULL AND id IN
                 (SELECT id FROM session WHERE key_id = ?1 AND ended IS NULL ORDER BY used DESC LIMIT -1 OFFSET ?2)",
                params![owner.id, i64::from(most).saturating_sub(1), now],
            )?;
            let (login, until) = owner.login.as_ref().map_or((None, None), |(login, at)| (Some(login), Some(at)));
            store.execute(
                "INSERT INTO session (id, key_id, created, used, login, until, jkt, x5t)
                 VALUES (?1, ?2, ?3, ?3, ?4, ?5, ?6, ?7)",
                params![session, owner.id, now, login, until, bound.dpop, bound.certificate],
            )?;
            store.execute(
                "INSERT INTO refresh (hash, session, generation, expires) VALUES (?1, ?2, 1, ?3)",
                params![refresh, session, expires],
            )?;
            Ok(())
        })
    }

    pub(super) fn session(&self, id: &str) -> Result<Option<StoredSession>, AuthnError> {
        self.sessions.get(id, || self.read_session(id))
    }

    fn read_session(&self, id: &str) -> Result<Option<StoredSession>, AuthnError> {
        let connection = self.reader.lock();
        let mut statement = connection.prepare_cached(&format!(
            "SELECT {COLUMNS}, session.created, used, ended IS NOT NULL, api_key.id IS NOT NULL, login, until, jkt, x5t
             FROM session LEFT JOIN api_key ON api_key.id = session.key_id WHERE session.id = ?1"
        ))?;
        let found = statement
            .query_row([id], |row| {
                let key = if row.get(11)? { Some(StoredKey::read(row)?) } else { None };
                let login = Option::zip(row.get(12)?, row.get(13)?);
                let bound = HolderKeys { dpop: row.get(14)?, certificate: row.get(15)? };
                Ok((key, row.get(8)?, row.get(9)?, row.get(10)?, (login, bound)))
            })
            .optional()?;
        let Some((key, created, used, ended, (login, bound))) = found else { return Ok(None) };
        Ok(Some(StoredSession {
            key: key.map(StoredKey::parse).transpose()?,
            login,
            bound,
            created,
            used,
            ended,
        }))
    }

    /// Writes down when sessions were used.
    pub(super) fn touch<'s>(&self, used: impl IntoIterator<Item = (&'s str, i64)>) -> Result<(), AuthnError> {
        self.change(|store| {
            let mut statement = store.prepare("UPDATE session SET used = max(used, ?2) WHERE id = ?1")?;
            for (session, at) in used {
                statement.execute(params![session, at])?;
            }
            Ok(())
        })
    }

    /// Ends a session; `false` when there is none or it has ended.
    pub(super) fn end(&self, id: &str, now: i64) -> Result<bool, AuthnError> {
        self.change(|store| {
            let ended = "UPDATE session SET ended = ?2 WHERE id = ?1 AND ended IS NULL";
            Ok(store.execute(ended, params![id, now])? > 0)
        })
    }

    /// Sessions that were used since.
    pub(super) fn count_sessions(&self, since: i64) -> Result<i64, AuthnError> {
        let connection = self.reader.lock();
        Ok(connection.query_row(
            "SELECT count(*) FROM session WHERE ended IS NULL AND used >= ?1",
            [since],
            |row| row.get(0),
        )?)
    }

    // ---- refresh tokens ----

    pub(super) fn refresh(&self, hash: &RefreshHash) -> Result<Option<StoredRefresh>, AuthnError> {
        find_refresh(&self.reader.lock(), hash)
    }

    /// Uses a refresh token and stores its successor. Looks again at all that may have changed since the token was
    /// proven, so that two requests at the same time both get the one successor, or one of them gets none.
    pub(super) fn rotate(
        &self,
        hash: &RefreshHash,
        successor: &RefreshHash,
        (now, expires, grace): (i64, i64, i64),
    ) -> Result<Rotated, AuthnError> {
        self.change(|store| {
            let Some(found) = find_refresh(store, hash)? else { return Ok(Rotated::Lost) };
            let open: bool = store.query_row(
                "SELECT ended IS NULL FROM session WHERE id = ?1",
                [&found.session],
                |row| row.get(0),
            )?;
            match found.used {
                _ if !open || found.expires <= now => return Ok(Rotated::Lost),
                Some((at, onward)) if onward || now.saturating_sub(at) > grace => return Ok(Rotated::Lost),
                Some(_) => return Ok(Rotated::Done(found.session)),
                None => {}
            }
            store.execute("UPDATE refresh SET used = ?2 WHERE hash = ?1", params![hash, now])?;
            store.execute(
                "DELETE FROM refresh WHERE session = ?1 AND expires <= ?2",
                params![found.session, now],
            )?;
            store.execute(
                "INSERT INTO refresh (hash, session, generation, expires) VALUES (?1, ?2, ?3, ?4)",
                params![successor, found.session, found.generation.saturating_add(1), expires],
            )?;
            store.execute(
                "UPDATE session SET used = max(used, ?2) WHERE id = ?1",
                params![found.session, now],
            )?;
            Ok(Rotated::Done(found.session))
        })
    }

    // ---- revocations ----

    /// What is revoked of the token that is known by `digest`, for a token has one `jti` and one subject.
    pub(super) fn revocation_of(
        &self,
        digest: &TokenDigest,
        jti: Option<&str>,
        subject: &EntityUid,
    ) -> Result<StoredRevocation, AuthnError> {
        self.revocations.get(digest, || self.revocation(jti, subject))
    }

    pub(super) fn revocation(
        &self,
        jti: Option<&str>,
        subject: &EntityUid,
    ) -> Result<StoredRevocation, AuthnError> {
        let subject = subject.to_string();
        let connection = self.reader.lock();
        let mut statement = connection.prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM revoked_token WHERE jti = ?1),
                    (SELECT max(at) FROM revoked_subject WHERE subject IN (?2, ?3))",
        )?;
        let found = statement.query_row(params![jti, subject, EVERYBODY], |row| {
            Ok(StoredRevocation { token: row.get(0)?, before: row.get(1)? })
        })?;
        Ok(found)
    }

    pub(super) fn revoke_token(&self, jti: &str, now: i64) -> Result<(), AuthnError> {
        self.change(|store| {
            store.execute(
                "INSERT OR IGNORE INTO revoked_token (jti, at) VALUES (?1, ?2)",
                params![jti, now],
            )?;
            Ok(())
        })
    }

    pub(super) fn revoke_subject(&self, subject: &str, now: i64) -> Result<(), AuthnError> {
        self.change(|store| revoke_subject(store, subject, now))
    }

    /// Ends every session and every token that was made until now; answers how many sessions there were.
    pub(super) fn revoke_all(&self, now: i64) -> Result<usize, AuthnError> {
        self.change(|store| {
            revoke_subject(store, EVERYBODY, now)?;
            Ok(store.execute("UPDATE session SET ended = ?1 WHERE ended IS NULL", [now])?)
        })
    }

    // ---- signing keys ----

    pub(super) fn signing_kid(&self) -> Result<Option<String>, AuthnError> {
        let connection = self.reader.lock();
        let mut statement = connection.prepare_cached(
            "SELECT kid FROM signing_key WHERE retired IS NULL ORDER BY created DESC, kid LIMIT 1",
        )?;
        Ok(statement.query_row([], |row| row.get(0)).optional()?)
    }

    /// Stores a new key as the one in use; answers with those that were.
    pub(super) fn put_signing_key(
        &self,
        kid: &str,
        public: &[u8],
        now: i64,
        old: PreviousKeys,
    ) -> Result<Vec<String>, AuthnError> {
        // A key that was retired before the Unix epoch verifies no token.
        let (at, which) = match old {
            PreviousKeys::Retired => (now, "retired IS NULL"),
            PreviousKeys::Compromised => (0, "retired IS NULL OR retired > 0"),
        };
        self.change(|store| {
            let mut statement =
                store.prepare(&format!("UPDATE signing_key SET retired = ?1 WHERE {which} RETURNING kid"))?;
            let retired = statement.query_map([at], |row| row.get(0))?.collect::<Result<Vec<_>, _>>()?;
            store.execute(
                "INSERT INTO signing_key (kid, public, created) VALUES (?1, ?2, ?3)",
                params![kid, public, now],
            )?;
            Ok(retired)
        })
    }

    /// The public half of a key that was not retired before `since`. To be asked about keys that are known to be ours:
    /// what strangers ask about is not remembered.
    pub(super) fn known_signing_key(&self, kid: &str, since: i64) -> Result<Option<[u8; 32]>, AuthnError> {
        let found = self.signing_keys.get(kid, || self.read_signing_key(kid))?;
        Ok(not_retired(found, since))
    }

    /// The same, of a key that a token names.
    pub(super) fn signing_key(&self, kid: &str, since: i64) -> Result<Option<[u8; 32]>, AuthnError> {
        Ok(not_retired(self.read_signing_key(kid)?, since))
    }

    fn read_signing_key(&self, kid: &str) -> Result<Option<StoredSigningKey>, AuthnError> {
        let connection = self.reader.lock();
        let mut statement =
            connection.prepare_cached("SELECT public, retired FROM signing_key WHERE kid = ?1")?;
        Ok(statement.query_row([kid], |row| Ok((row.get(0)?, row.get(1)?))).optional()?)
    }

    /// All keys that were not retired before `since`, the newest first.
    pub(super) fn signing_keys(&self, since: i64) -> Result<Vec<(String, [u8; 32])>, AuthnError> {
        let connection = self.reader.lock();
        let mut statement = connection.prepare(
            "SELECT kid, public FROM signing_key WHERE retired IS NULL OR retired > ?1 ORDER BY created DESC, kid",
        )?;
        let rows = statement.query_map([since], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    // ---- events ----

    pub(super) fn events(&self, most: u32) -> Result<Vec<PendingEvent>, AuthnError> {
        let connection = self.reader.lock();
        let mut statement =
            connection.prepare_cached("SELECT id, at, name, detail FROM event ORDER BY id LIMIT ?1")?;
        let rows = statement.query_map([most], |row| {
            Ok(PendingEvent { id: row.get(0)?, at: row.get(1)?, name: row.get(2)?, detail: row.get(3)? })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    pub(super) fn forget_events(&self, until: i64) -> Result<(), AuthnError> {
        self.change(|store| {
            store.execute("DELETE FROM event WHERE id <= ?1", [until])?;
            Ok(())
        })
    }
}

fn not_retired(found: Option<StoredSigningKey>, since: i64) -> Option<[u8; 32]> {
    let counts = |retired: Option<i64>| retired.is_none_or(|retired| retired > since);
    found.and_then(|(public, retired)| counts(retired).then_some(public))
}

fn find_refresh(store: &Connection, hash: &RefreshHash) -> Result<Option<StoredRefresh>, AuthnError> {
    let mut statement = store.prepare_cached(
        "SELECT session, generation, expires, used,
                EXISTS (SELECT 1 FROM refresh AS next WHERE next.session = refresh.session
                        AND next.generation = refresh.generation + 1 AND next.used IS NOT NULL)
         FROM refresh WHERE hash = ?1",
    )?;
    let found = statement.query_row([hash], |row| {
        let used: Option<i64> = row.get(3)?;
        let onward: bool = row.get(4)?;
        Ok(StoredRefresh {
            session: row.get(0)?,
            generation: row.get(1)?,
            expires: row.get(2)?,
            used: used.map(|at| (at, onward)),
        })
    });
    Ok(found.optional()?)
}

fn revoke_subject(store: &Transaction<'_>, subject: &str, now: i64) -> Result<(), AuthnError> {
    store.execute(
        "INSERT INTO revoked_subject (subject, at) VALUES (?1, ?2)
         ON CONFLICT (subject) DO UPDATE SET at = max(at, excluded.at)",
        params![subject, now],
    )?;
    Ok(())
}
