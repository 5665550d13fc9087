//! The bounds of memory. Each is there because without it one caller could fill the disk or hold up the others.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The database of memory and its limits. The defaults suit a small installation.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The SQLite file. It is made 0600, its directory 0700.
    pub database: PathBuf,
    /// Most entities in one scope.
    pub max_entities: u32,
    /// Most relations in one scope.
    pub max_relations: u32,
    /// Most observations of one entity.
    pub max_observations: usize,
    /// Most bytes of one observation.
    pub max_observation_bytes: usize,
    /// Most bytes of all observations of one entity together.
    pub max_entity_bytes: usize,
    /// Most bytes of a name, of a kind, and of a label.
    pub max_name_bytes: usize,
    /// Most labels of one row.
    pub max_labels: usize,
    /// Most rows that a search or a list answers, also when more is asked for.
    pub max_search_results: u32,
    /// Most bytes of a search.
    pub max_search_bytes: usize,
    /// Most words of a search.
    pub max_search_words: usize,
    /// Threads that read; each has a connection of its own. One more thread writes.
    pub readers: NonZeroUsize,
    /// Most calls that wait for the writer, and most that wait for the readers.
    pub queue: usize,
    /// The longest that a call waits for its answer.
    pub deadline: Duration,
}

impl Settings {
    /// The defaults, with the database `memory.db` in `data_dir`.
    pub fn in_directory(data_dir: &Path) -> Self {
        Self {
            database: data_dir.join("memory.db"),
            max_entities: 10_000,
            max_relations: 50_000,
            max_observations: 128,
            max_observation_bytes: 8 * 1024,
            max_entity_bytes: 64 * 1024,
            max_name_bytes: 256,
            max_labels: 32,
            max_search_results: 100,
            max_search_bytes: 1024,
            max_search_words: 16,
            readers: NonZeroUsize::MIN.saturating_add(1),
            queue: 256,
            deadline: Duration::from_secs(5),
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self::in_directory(Path::new("data"))
    }
}
