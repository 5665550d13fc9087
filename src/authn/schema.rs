//! The tables of the identity store, one file for keys, sessions and revocations, so that what belongs together changes
//! together.

/// Migrations, in order; one that was shipped is never changed.
pub(super) const MIGRATIONS: [&str; 3] = [
    "
CREATE TABLE api_key (
    id          TEXT PRIMARY KEY,
    hash        BLOB NOT NULL CHECK (length(hash) = 32),
    name        TEXT NOT NULL,
    agent       TEXT,
    permissions TEXT NOT NULL,
    created     INTEGER NOT NULL,
    expires     INTEGER NOT NULL,
    revoked     INTEGER
) STRICT, WITHOUT ROWID;
",
    "
ALTER TABLE api_key ADD COLUMN replaced_by TEXT;
CREATE TABLE signing_key (
    kid         TEXT PRIMARY KEY,
    public      BLOB NOT NULL CHECK (length(public) = 32),
    created     INTEGER NOT NULL,
    retired     INTEGER
) STRICT, WITHOUT ROWID;
CREATE TABLE session (
    id          TEXT PRIMARY KEY,
    key_id      TEXT NOT NULL,
    created     INTEGER NOT NULL,
    used        INTEGER NOT NULL,
    ended       INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX session_by_key ON session (key_id, used);
CREATE INDEX session_by_use ON session (used);
CREATE TABLE refresh (
    hash        BLOB PRIMARY KEY CHECK (length(hash) = 32),
    session     TEXT NOT NULL REFERENCES session (id) ON DELETE CASCADE,
    generation  INTEGER NOT NULL,
    expires     INTEGER NOT NULL,
    used        INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX refresh_by_session ON refresh (session, generation);
CREATE TABLE revoked_token (jti TEXT PRIMARY KEY, at INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE revoked_subject (subject TEXT PRIMARY KEY, at INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE event (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    at          INTEGER NOT NULL,
    name        TEXT NOT NULL,
    detail      TEXT NOT NULL
) STRICT;
",
    "
ALTER TABLE session ADD COLUMN jkt BLOB CHECK (length(jkt) = 32);
ALTER TABLE session ADD COLUMN x5t BLOB CHECK (length(x5t) = 32);
",
];
