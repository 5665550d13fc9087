//! Memory: how much of it there may be.

use std::time::Duration;

use crate::config::kind::{Integer, Size, Span};
use crate::config::reader::Reader;

/// `memory.*`
#[derive(Debug)]
pub struct Memory {
    /// Entities of one scope.
    pub max_entities: u32,
    /// Relations of one scope.
    pub max_relations: u32,
    /// Observations of one entity.
    pub max_observations: usize,
    /// Bytes of one observation.
    pub max_observation_bytes: usize,
    /// Bytes of all observations of one entity.
    pub max_entity_bytes: usize,
    /// Labels of one row.
    pub max_labels: usize,
    /// Bytes of a search.
    pub max_search_bytes: usize,
    /// Words of a search.
    pub max_search_words: usize,
    /// Bytes of a name, a kind or a label.
    pub max_name_bytes: usize,
    /// Rows that a search returns.
    pub max_search_results: u32,
    /// Connections that read.
    pub readers: usize,
    /// Requests that may wait.
    pub queue: usize,
    /// Time a request may wait and run.
    pub deadline: Duration,
}

impl Memory {
    pub(super) fn read(r: &mut Reader<'_>) -> Self {
        Self {
            max_entities: r.value(
                "memory.max_entities",
                Integer::new(1..=10_000_000, "entities"),
                10_000,
                "Entities of one scope.",
            ),
            max_relations: r.value(
                "memory.max_relations",
                Integer::new(1..=10_000_000, "relations"),
                50_000,
                "Relations of one scope.",
            ),
            max_observations: r.value(
                "memory.max_observations",
                Integer::new(1..=10_000, "observations"),
                128,
                "Observations of one entity.",
            ),
            max_observation_bytes: r.value(
                "memory.max_observation_bytes",
                Size(1..=1 << 20),
                8 << 10,
                "Bytes of one observation.",
            ),
            max_name_bytes: r.value(
                "memory.max_name_bytes",
                Integer::new(16..=4_096, "bytes"),
                256,
                "Bytes of a name, a kind or a label.",
            ),
            max_entity_bytes: r.value(
                "memory.max_entity_bytes",
                Size(1 << 10..=16 << 20),
                64 << 10,
                "Bytes of all observations of one entity.",
            ),
            max_labels: r.value(
                "memory.max_labels",
                Integer::new(0..=1_000, "labels"),
                32,
                "Labels of one row.",
            ),
            max_search_bytes: r.value(
                "memory.max_search_bytes",
                Size(16..=64 << 10),
                1 << 10,
                "Bytes of a search.",
            ),
            max_search_words: r.value(
                "memory.max_search_words",
                Integer::new(1..=256, "words"),
                16,
                "Words of a search.",
            ),
            max_search_results: r.value(
                "memory.max_search_results",
                Integer::new(1..=1_000, "rows"),
                100,
                "Rows that a search returns.",
            ),
            readers: r.value(
                "memory.readers",
                Integer::new(1..=64, "connections"),
                2,
                "Connections that read; one more writes.",
            ),
            queue: r.value(
                "memory.queue",
                Integer::new(1..=65_536, "requests"),
                256,
                "Requests that may wait; more are refused.",
            ),
            deadline: r.value(
                "memory.deadline",
                Span(Duration::from_millis(100)..=Duration::from_secs(60)),
                Duration::from_secs(5),
                "Time a request may wait and run.",
            ),
        }
    }
}
