//! `memory.*`: how much agents may remember.

use std::num::NonZeroUsize;
use std::path::Path;
use std::time::Duration;

use crate::config::reader::Reader;
use crate::config::value_type::{DurationRange, Integer, Size};
use crate::memory::Settings;

pub(super) fn read(r: &mut Reader<'_>, data_dir: &Path) -> Settings {
    let usual = Settings::in_directory(data_dir);
    Settings {
        database: usual.database,
        max_entities: r.value(
            "memory.max_entities",
            Integer::new(1..=10_000_000, "entities"),
            usual.max_entities,
            "Entities of one scope.",
        ),
        max_relations: r.value(
            "memory.max_relations",
            Integer::new(1..=10_000_000, "relations"),
            usual.max_relations,
            "Relations of one scope.",
        ),
        max_observations: r.value(
            "memory.max_observations",
            Integer::new(1..=10_000, "observations"),
            usual.max_observations,
            "Observations of one entity.",
        ),
        max_observation_bytes: r.value(
            "memory.max_observation_bytes",
            Size(1..=1 << 20),
            usual.max_observation_bytes,
            "Bytes of one observation.",
        ),
        max_name_bytes: r.value(
            "memory.max_name_bytes",
            Integer::new(16..=4_096, "bytes"),
            usual.max_name_bytes,
            "Bytes of a name, a kind or a label.",
        ),
        max_entity_bytes: r.value(
            "memory.max_entity_bytes",
            Size(1 << 10..=16 << 20),
            usual.max_entity_bytes,
            "Bytes of all observations of one entity.",
        ),
        max_labels: r.value(
            "memory.max_labels",
            Integer::new(0..=1_000, "labels"),
            usual.max_labels,
            "Labels of one row.",
        ),
        max_search_bytes: r.value(
            "memory.max_search_bytes",
            Size(16..=64 << 10),
            usual.max_search_bytes,
            "Bytes of a search.",
        ),
        max_search_words: r.value(
            "memory.max_search_words",
            Integer::new(1..=256, "words"),
            usual.max_search_words,
            "Words of a search.",
        ),
        max_search_results: r.value(
            "memory.max_search_results",
            Integer::new(1..=1_000, "rows"),
            usual.max_search_results,
            "Rows that a search returns.",
        ),
        readers: readers(r, usual.readers),
        queue: r.value(
            "memory.queue",
            Integer::new(1..=65_536, "requests"),
            usual.queue,
            "Requests that may wait; more are refused.",
        ),
        deadline: r.value(
            "memory.deadline",
            DurationRange(Duration::from_millis(100)..=Duration::from_secs(60)),
            usual.deadline,
            "Time a request may wait and run.",
        ),
    }
}

fn readers(r: &mut Reader<'_>, usual: NonZeroUsize) -> NonZeroUsize {
    let readers = r.value(
        "memory.readers",
        Integer::new(1..=64, "connections"),
        usual.get(),
        "Connections that read; one more writes.",
    );
    NonZeroUsize::new(readers).unwrap_or(usual)
}
