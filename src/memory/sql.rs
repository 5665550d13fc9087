//! Every SQL statement of memory, in one place, so that one test can see that each is bound to a scope.
//!
//! The guard has already judged the scope; that the statements name it again means that a mistake above cannot
//! reach another scope's rows.

/// The tables. Names are unique in a scope; a relation cannot leave its scope, because its foreign keys carry it.
pub(super) const MIGRATIONS: &[&str] = &["
CREATE TABLE entities (
  number INTEGER PRIMARY KEY,
  scope_kind TEXT NOT NULL CHECK (scope_kind IN ('agent', 'workspace', 'global')),
  scope_id TEXT NOT NULL CHECK ((scope_kind = 'global') = (scope_id = '')),
  name TEXT NOT NULL CHECK (name <> ''),
  kind TEXT NOT NULL CHECK (kind <> ''),
  owner TEXT NOT NULL CHECK (owner <> ''),
  labels TEXT NOT NULL CHECK (json_valid(labels) AND json_type(labels) = 'array'),
  created INTEGER NOT NULL,
  updated INTEGER NOT NULL CHECK (updated >= created),
  UNIQUE (scope_kind, scope_id, name)
) STRICT;

CREATE TABLE observations (
  scope_kind TEXT NOT NULL,
  scope_id TEXT NOT NULL,
  entity TEXT NOT NULL,
  position INTEGER NOT NULL CHECK (position >= 0),
  text TEXT NOT NULL,
  PRIMARY KEY (scope_kind, scope_id, entity, position),
  FOREIGN KEY (scope_kind, scope_id, entity) REFERENCES entities (scope_kind, scope_id, name) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

CREATE TABLE relations (
  scope_kind TEXT NOT NULL,
  scope_id TEXT NOT NULL,
  id TEXT NOT NULL CHECK (id <> ''),
  source TEXT NOT NULL,
  kind TEXT NOT NULL CHECK (kind <> ''),
  target TEXT NOT NULL,
  owner TEXT NOT NULL CHECK (owner <> ''),
  labels TEXT NOT NULL CHECK (json_valid(labels) AND json_type(labels) = 'array'),
  created INTEGER NOT NULL,
  updated INTEGER NOT NULL CHECK (updated >= created),
  PRIMARY KEY (scope_kind, scope_id, id),
  FOREIGN KEY (scope_kind, scope_id, source) REFERENCES entities (scope_kind, scope_id, name) ON DELETE CASCADE,
  FOREIGN KEY (scope_kind, scope_id, target) REFERENCES entities (scope_kind, scope_id, name) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
CREATE INDEX relations_by_source ON relations (scope_kind, scope_id, source);
CREATE INDEX relations_by_target ON relations (scope_kind, scope_id, target);

CREATE VIRTUAL TABLE search USING fts5 (
  scope, name, kind, observations, tokenize = 'porter unicode61 remove_diacritics 2'
);
-- What is forgotten leaves the index at once, not at some later merge.
INSERT INTO search (search, rank) VALUES ('secure-delete', 1);
"];

macro_rules! statements {
    ($($(#[$doc:meta])* $name:ident = $sql:literal;)*) => {
        $($(#[$doc])* pub(super) const $name: &str = $sql;)*
        #[cfg(test)]
        pub(super) const ALL: &[(&str, &str)] = &[$((stringify!($name), $name)),*];
    };
}

statements! {
    ENTITY = "SELECT name, kind, owner, labels, created, updated FROM entities
        WHERE scope_kind = :scope_kind AND scope_id = :scope_id AND name = :name";
    ENTITIES = "SELECT name, kind, owner, labels, created, updated FROM entities
        WHERE scope_kind = :scope_kind AND scope_id = :scope_id ORDER BY name LIMIT :limit";
    COUNT_ENTITIES = "SELECT count(*) FROM entities
        WHERE scope_kind = :scope_kind AND scope_id = :scope_id";
    INSERT_ENTITY = "INSERT INTO entities
        (scope_kind, scope_id, name, kind, owner, labels, created, updated)
        VALUES (:scope_kind, :scope_id, :name, :kind, :owner, :labels, :now, :now)";
    UPDATE_ENTITY = "UPDATE entities SET kind = :kind, labels = :labels, updated = max(created, :now)
        WHERE scope_kind = :scope_kind AND scope_id = :scope_id AND name = :name";
    DELETE_ENTITY = "DELETE FROM entities
        WHERE scope_kind = :scope_kind AND scope_id = :scope_id AND name = :name";

    OBSERVATIONS = "SELECT text FROM observations
        WHERE scope_kind = :scope_kind AND scope_id = :scope_id AND entity = :name ORDER BY position";
    INSERT_OBSERVATION = "INSERT INTO observations (scope_kind, scope_id, entity, position, text)
        VALUES (:scope_kind, :scope_id, :name, :position, :text)";
    DELETE_OBSERVATIONS = "DELETE FROM observations
        WHERE scope_kind = :scope_kind AND scope_id = :scope_id AND entity = :name";

    RELATION = "SELECT id, source, kind, target, owner, labels, created, updated FROM relations
        WHERE scope_kind = :scope_kind AND scope_id = :scope_id AND id = :id";
    RELATIONS = "SELECT id, source, kind, target, owner, labels, created, updated FROM relations
        WHERE scope_kind = :scope_kind AND scope_id = :scope_id ORDER BY id LIMIT :limit";
    COUNT_RELATIONS = "SELECT count(*) FROM relations
        WHERE scope_kind = :scope_kind AND scope_id = :scope_id";
    COUNT_RELATIONS_OF = "SELECT count(*) FROM relations
        WHERE scope_kind = :scope_kind AND scope_id = :scope_id AND (source = :name OR target = :name)";
    INSERT_RELATION = "INSERT INTO relations
        (scope_kind, scope_id, id, source, kind, target, owner, labels, created, updated)
        VALUES (:scope_kind, :scope_id, :id, :from, :kind, :to, :owner, :labels, :now, :now)";
    TOUCH_RELATION = "UPDATE relations SET updated = max(created, :now)
        WHERE scope_kind = :scope_kind AND scope_id = :scope_id AND id = :id";
    DELETE_RELATION = "DELETE FROM relations
        WHERE scope_kind = :scope_kind AND scope_id = :scope_id AND id = :id";

    INDEX_ENTITY = "INSERT INTO search (rowid, scope, name, kind, observations)
        SELECT number, :scope_word, name, kind, :observations FROM entities
        WHERE scope_kind = :scope_kind AND scope_id = :scope_id AND name = :name";
    UNINDEX_ENTITY = "DELETE FROM search WHERE rowid = (SELECT number FROM entities
        WHERE scope_kind = :scope_kind AND scope_id = :scope_id AND name = :name)";
    // Not `bm25`: its weights are counted over all scopes, so the order would reveal what is written in other scopes.
    SEARCH = "SELECT e.name, e.kind, e.owner, e.labels, e.created, e.updated
        FROM search JOIN entities AS e ON e.number = search.rowid
        WHERE search MATCH :anywhere AND e.scope_kind = :scope_kind AND e.scope_id = :scope_id
        ORDER BY e.name = :whole COLLATE NOCASE DESC,
                 e.number IN (SELECT rowid FROM search WHERE search MATCH :in_name) DESC,
                 e.updated DESC, e.name
        LIMIT :limit";
}
