//! Sessions, refresh tokens, revocations and signing keys on disk, in the database of the keys.
//!
//! INVARIANT: every change here is one transaction, so that a crash leaves a refresh token used with its successor
//! stored, or neither. Instants are milliseconds since the Unix epoch.

use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use rusqlite::{Connection, OptionalExtension as _, Transaction, TransactionBehavior, params};

use super::port::{
    LoginStore, PendingEvent, PreviousKeys, RefreshHash, Rotated, SessionOwner, StoredRefresh,
    StoredRevocation, StoredSession,
};
use crate::authn::AuthnError;
use crate::authn::jwt::parts::TokenDigest;
use crate::authn::key_store::{COLUMNS, StoredKey};
use crate::authn::schema::MIGRATIONS;
use crate::db::{self, Commits, Memo};
use crate::model::{EntityUid, HolderKeys};
use crate::shared_state::PortFuture;

/// The kind of state, for messages.
const PORT: &str = "logins";
/// Stands for all subjects in the table of revoked subjects; no principal has this name.
const EVERYBODY: &str = "*";

/// A public signing key, and when it was retired.
type StoredSigningKey = ([u8; 32], Option<i64>);

/// The logins in the database of the API keys. Lookups have a connection of their own, so that none waits for a change, which may wait for another process;
/// those of each request are remembered until something changes.
pub struct LocalLogins {
    reader: Mutex<Connection>,
    writer: Mutex<Connection>,
    sessions: Memo<String, Option<StoredSession>>,
    revocations: Memo<TokenDigest, StoredRevocation>,
    signing_keys: Memo<String, Option<StoredSigningKey>>,
}

impl LocalLogins {
    /// Remembers `most` sessions, and as much about that many tokens.
    pub fn open(path: &Path, most: usize) -> Result<Self, AuthnError> {
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

    fn read_signing_key(&self, kid: &str) -> Result<Option<StoredSigningKey>, AuthnError> {
        let connection = self.reader.lock();
        let mut statement =
            connection.prepare_cached("SELECT public, retired FROM signing_key WHERE kid = ?1")?;
        Ok(statement.query_row([kid], |row| Ok((row.get(0)?, row.get(1)?))).optional()?)
    }
}

impl LoginStore for LocalLogins {
    // ---- sessions ----

    fn begin(
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

    fn session<'a>(&'a self, id: &'a str) -> PortFuture<'a, Option<StoredSession>> {
        PortFuture::of(PORT, self.find_session(id))
    }

    fn find_session(&self, id: &str) -> Result<Option<StoredSession>, AuthnError> {
        self.sessions.get(id, || self.read_session(id))
    }

    fn touch(&self, used: &[(Arc<str>, i64)]) -> Result<(), AuthnError> {
        self.change(|store| {
            let mut statement = store.prepare("UPDATE session SET used = max(used, ?2) WHERE id = ?1")?;
            for (session, at) in used {
                statement.execute(params![&**session, at])?;
            }
            Ok(())
        })
    }

    fn end(&self, id: &str, now: i64) -> Result<bool, AuthnError> {
        self.change(|store| {
            let ended = "UPDATE session SET ended = ?2 WHERE id = ?1 AND ended IS NULL";
            Ok(store.execute(ended, params![id, now])? > 0)
        })
    }

    fn count_sessions(&self, since: i64) -> Result<i64, AuthnError> {
        let connection = self.reader.lock();
        Ok(connection.query_row(
            "SELECT count(*) FROM session WHERE ended IS NULL AND used >= ?1",
            [since],
            |row| row.get(0),
        )?)
    }

    // ---- refresh tokens ----

    fn refresh(&self, hash: &RefreshHash) -> Result<Option<StoredRefresh>, AuthnError> {
        find_refresh(&self.reader.lock(), hash)
    }

    fn rotate(
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

    fn revocation_of<'a>(
        &'a self,
        digest: &'a TokenDigest,
        jti: Option<&'a str>,
        subject: &'a EntityUid,
    ) -> PortFuture<'a, StoredRevocation> {
        PortFuture::of(PORT, self.revocations.get(digest, || self.find_revocation(jti, subject)))
    }

    fn find_revocation(
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

    fn revoke_token(&self, jti: &str, now: i64) -> Result<(), AuthnError> {
        self.change(|store| {
            store.execute(
                "INSERT OR IGNORE INTO revoked_token (jti, at) VALUES (?1, ?2)",
                params![jti, now],
            )?;
            Ok(())
        })
    }

    fn revoke_subject(&self, subject: &str, now: i64) -> Result<(), AuthnError> {
        self.change(|store| revoke_subject(store, subject, now))
    }

    fn revoke_all(&self, now: i64) -> Result<usize, AuthnError> {
        self.change(|store| {
            revoke_subject(store, EVERYBODY, now)?;
            Ok(store.execute("UPDATE session SET ended = ?1 WHERE ended IS NULL", [now])?)
        })
    }

    // ---- signing keys ----

    fn signing_kid(&self) -> Result<Option<String>, AuthnError> {
        let connection = self.reader.lock();
        let mut statement = connection.prepare_cached(
            "SELECT kid FROM signing_key WHERE retired IS NULL ORDER BY created DESC, kid LIMIT 1",
        )?;
        Ok(statement.query_row([], |row| row.get(0)).optional()?)
    }

    fn put_signing_key(
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

    fn known_signing_key<'a>(&'a self, kid: &'a str, since: i64) -> PortFuture<'a, Option<[u8; 32]>> {
        let found = self.signing_keys.get(kid, || self.read_signing_key(kid));
        PortFuture::of(PORT, found.map(|found| not_retired(found, since)))
    }

    fn signing_key<'a>(&'a self, kid: &'a str, since: i64) -> PortFuture<'a, Option<[u8; 32]>> {
        PortFuture::of(PORT, self.read_signing_key(kid).map(|found| not_retired(found, since)))
    }

    fn signing_keys(&self, since: i64) -> Result<Vec<(String, [u8; 32])>, AuthnError> {
        let connection = self.reader.lock();
        let mut statement = connection.prepare(
            "SELECT kid, public FROM signing_key WHERE retired IS NULL OR retired > ?1 ORDER BY created DESC, kid",
        )?;
        let rows = statement.query_map([since], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    // ---- events ----

    fn events(&self, most: u32) -> Result<Vec<PendingEvent>, AuthnError> {
        let connection = self.reader.lock();
        let mut statement =
            connection.prepare_cached("SELECT id, at, name, detail FROM event ORDER BY id LIMIT ?1")?;
        let rows = statement.query_map([most], |row| {
            Ok(PendingEvent { id: row.get(0)?, at: row.get(1)?, name: row.get(2)?, detail: row.get(3)? })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    fn forget_events(&self, until: i64) -> Result<(), AuthnError> {
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
