//! Checks what a caller wants to store against the bounds, before the database is asked for anything.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::error::{MemoryError, escaped_name};
use super::settings::Settings;
use super::view::relation_id;
use crate::model::{WriteMemoryEntity, WriteMemoryRelation};

pub(super) fn check_entity(settings: &Settings, write: &WriteMemoryEntity) -> Result<(), MemoryError> {
    check_name(settings, "the name", &write.row.id)?;
    check_name(settings, "the kind", &write.kind)?;
    check_labels(settings, &write.labels)?;
    let observations = &write.observations;
    check_limit("the list of observations", observations.len(), settings.max_observations, "observations")?;
    for text in observations {
        check_limit("an observation", text.len(), settings.max_observation_bytes, "bytes")?;
    }
    let all = observations.iter().map(String::len).sum();
    check_limit("the text of all observations", all, settings.max_entity_bytes, "bytes")
}

pub(super) fn check_relation(settings: &Settings, write: &WriteMemoryRelation) -> Result<(), MemoryError> {
    check_name(settings, "the start of the relation", &write.from)?;
    check_name(settings, "the kind", &write.row.kind)?;
    check_name(settings, "the end of the relation", &write.to)?;
    check_labels(settings, &write.row.labels)?;
    // INVARIANT: what was judged by its id is what is stored by its parts.
    if write.row.id != relation_id(&write.from, &write.row.kind, &write.to) {
        return Err(MemoryError::RelationId(escaped_name(&write.row.id)));
    }
    Ok(())
}

fn check_labels(settings: &Settings, labels: &BTreeSet<Arc<str>>) -> Result<(), MemoryError> {
    check_limit("the list of labels", labels.len(), settings.max_labels, "labels")?;
    labels.iter().try_for_each(|label| check_name(settings, "a label", label))
}

fn check_name(settings: &Settings, what: &'static str, text: &str) -> Result<(), MemoryError> {
    if text.is_empty() {
        return Err(MemoryError::Empty { what });
    }
    check_limit(what, text.len(), settings.max_name_bytes, "bytes")
}

fn check_limit(
    what: &'static str,
    found: usize,
    limit: usize,
    unit: &'static str,
) -> Result<(), MemoryError> {
    if found > limit { Err(MemoryError::TooLarge { what, found, limit, unit }) } else { Ok(()) }
}
