//! What is known of people and things: a store of entities with a version, and how it meets what credentials claim.
//!
//! A decision reads one [`Snapshot`] from memory and never waits. A change is checked against the schema, written to
//! SQLite, and seen by the next decision. What a principal proves about itself and what the store says are merged by a
//! rule by which no caller can gain rights (see `view.rs`).

mod change;
mod directory;
mod entry;
mod error;
mod search;
mod snapshot;
mod store;
mod view;

#[cfg(test)]
mod tests;

pub use directory::{Attributes, ChangedEntity, ChangesSince, ImportResult, WriteResult};
pub use entry::{StoredEntity, read_draft, read_patch};
pub use error::AttributesError;
pub use snapshot::Snapshot;

use std::path::{Path, PathBuf};
use std::time::Duration;

/// The database of attributes and its limits.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The database file.
    pub database: PathBuf,
    /// The most entities. Default 100,000.
    pub max_entities: usize,
    /// The most direct parents of one entity. Default 256.
    pub max_parents: usize,
    /// The largest entity as JSON, in bytes. Default 64 KiB.
    pub max_entity_bytes: usize,
    /// The most entities that one decision may look at. Default 1,000.
    pub max_per_decision: usize,
    /// How old the last import may be before everything is denied; `None`: any age.
    pub max_age: Option<Duration>,
    /// The most changes that a watcher may be behind. Default 10,000.
    pub max_changes: usize,
}

impl Settings {
    /// The defaults, with the database in a data directory.
    pub fn in_directory(data: &Path) -> Self {
        Self {
            database: data.join("entities.db"),
            max_entities: 100_000,
            max_parents: 256,
            max_entity_bytes: 64 * 1024,
            max_per_decision: 1_000,
            max_age: None,
            max_changes: 10_000,
        }
    }
}
