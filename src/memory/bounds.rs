//! Checks what a caller wants to store against the bounds, before the database is asked for anything.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::error::{MemoryError, shown};
use super::settings::Settings;
use super::view::relation_id;
use crate::model::{WriteMemoryEntity, WriteMemoryRelation};

pub(super) fn entity(settings: &Settings, write: &WriteMemoryEntity) -> Result<(), MemoryError> {
    name(settings, "the name", &write.row.id)?;
    name(settings, "the kind", &write.kind)?;
    labels(settings, &write.labels)?;
    let observations = &write.observations;
    within("the list of observations", observations.len(), settings.max_observations, "observations")?;
    for text in observations {
        within("an observation", text.len(), settings.max_observation_bytes, "bytes")?;
    }
    let all = observations.iter().map(String::len).sum();
    within("the text of all observations", all, settings.max_entity_bytes, "bytes")
}

pub(super) fn relation(settings: &Settings, write: &WriteMemoryRelation) -> Result<(), MemoryError> {
    name(settings, "the start of the relation", &write.from)?;
    name(settings, "the kind", &write.row.kind)?;
    name(settings, "the end of the relation", &write.to)?;
    labels(settings, &write.row.labels)?;
    // INVARIANT: what was judged by its id is what is stored by its parts.
    if write.row.id != relation_id(&write.from, &write.row.kind, &write.to) {
        return Err(MemoryError::RelationId(shown(&write.row.id)));
    }
    Ok(())
}

fn labels(settings: &Settings, labels: &BTreeSet<Arc<str>>) -> Result<(), MemoryError> {
    within("the list of labels", labels.len(), settings.max_labels, "labels")?;
    labels.iter().try_for_each(|label| name(settings, "a label", label))
}

fn name(settings: &Settings, what: &'static str, text: &str) -> Result<(), MemoryError> {
    if text.is_empty() {
        return Err(MemoryError::Empty { what });
    }
    within(what, text.len(), settings.max_name_bytes, "bytes")
}

fn within(what: &'static str, found: usize, limit: usize, unit: &'static str) -> Result<(), MemoryError> {
    if found > limit { Err(MemoryError::TooLarge { what, found, limit, unit }) } else { Ok(()) }
}
