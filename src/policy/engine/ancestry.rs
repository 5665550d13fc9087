//! Who stands under whom among the entities of a question.

use std::sync::Arc;

use cedar_policy_core::ast::{Entity, EntityUID};

use super::entity_cache;
use super::projection::Projection;
use super::request::endow;
use super::schema_index::SchemaIndex;
use super::types::Mismatch;
use crate::model;
use crate::small_set::SmallSet;

/// One of a question's entities with all its ancestors.
#[derive(Debug)]
pub(crate) enum EntityState {
    /// By its names. What else it has is still to be checked.
    Unbuilt(Box<Names>),
    /// It has come before, fitted the schema, and is whole.
    Cached(Arc<Entity>),
}

/// The name of an entity with those of its ancestors.
#[derive(Debug)]
pub(crate) struct Names {
    pub(crate) uid: EntityUID,
    pub(crate) parents: Vec<EntityUID>,
    /// What it is in through its parents.
    pub(crate) indirect: Vec<EntityUID>,
}

impl EntityState {
    pub(crate) fn uid(&self) -> &EntityUID {
        match self {
            Self::Unbuilt(names) => &names.uid,
            Self::Cached(entity) => entity.uid(),
        }
    }
}

impl Names {
    /// What it is in, at any depth.
    pub(crate) fn ancestors(&self) -> impl Iterator<Item = &EntityUID> {
        self.parents.iter().chain(&self.indirect)
    }
}

/// The entities, in their order, with all their ancestors.
pub(crate) fn entity_states(
    given: &[Arc<model::Entity>],
    schema: &SchemaIndex,
) -> Result<Vec<EntityState>, Mismatch> {
    let hierarchy = Hierarchy::new(given);
    given.iter().map(|entity| entity_state(entity, &hierarchy, schema)).collect()
}

/// One entity with its ancestors: as it is cached, or its names alone.
fn entity_state(
    entity: &Arc<model::Entity>,
    hierarchy: &Hierarchy<'_>,
    schema: &SchemaIndex,
) -> Result<EntityState, Mismatch> {
    let via = hierarchy.via(entity)?;
    let whole = || endow(entity, names(entity, &via, schema)?, schema, &Projection::ALL);
    match entity_cache::get_or_build(entity, &via, schema, whole) {
        Some(form) => Ok(EntityState::Cached(form)),
        None => names(entity, &via, schema).map(|names| EntityState::Unbuilt(Box::new(names))),
    }
}

/// The entity's name with those of its ancestors; `via` are those of the question that lift it into more than its parents.
fn names(
    entity: &model::Entity,
    via: &[&Arc<model::Entity>],
    schema: &SchemaIndex,
) -> Result<Names, Mismatch> {
    let within = |mismatch: Mismatch| Mismatch::new(format!("`{}`: {mismatch}", entity.uid));
    let known = schema.entity_type(&entity.uid)?;
    let ancestor = |uid: &model::EntityUid| -> Result<EntityUID, Mismatch> {
        let uid = schema.uid(uid).map_err(within)?;
        if known.ancestors.contains(uid.entity_type()) {
            Ok(uid)
        } else {
            let message = format!("a `{}` cannot be in a `{}`", known.name, uid.entity_type());
            Err(within(Mismatch::new(message)))
        }
    };
    let parents: Vec<EntityUID> = entity.parents.iter().map(ancestor).collect::<Result<_, _>>()?;
    let mut seen = SmallSet::default();
    let above = via.iter().flat_map(|link| &link.parents).filter(|uid| seen.insert(*uid));
    let indirect = above.map(ancestor).collect::<Result<_, _>>()?;
    Ok(Names { uid: known.uid(&entity.uid)?, parents, indirect })
}

struct Hierarchy<'a> {
    with_parents: Vec<&'a Arc<model::Entity>>,
}

impl<'a> Hierarchy<'a> {
    fn new(given: &'a [Arc<model::Entity>]) -> Self {
        Self { with_parents: given.iter().filter(|entity| !entity.parents.is_empty()).collect() }
    }

    /// Those through which `entity` is in others than its parents. Refuses a circle: Cedar's hierarchy is none.
    fn via(&self, entity: &'a model::Entity) -> Result<Vec<&'a Arc<model::Entity>>, Mismatch> {
        let mut via: Vec<&Arc<model::Entity>> = Vec::new();
        let (mut step, mut next) = (entity, 0);
        loop {
            for parent in &step.parents {
                if *parent == entity.uid {
                    return Err(Mismatch::new(format!("`{parent}` is its own ancestor")));
                }
                // A request has a handful of entities.
                let link = self.with_parents.iter().find(|other| other.uid == *parent);
                via.extend(link.filter(|link| !via.iter().any(|known| Arc::ptr_eq(known, link))));
            }
            let Some(above) = via.get(next) else { return Ok(via) };
            (step, next) = (above, next + 1);
        }
    }
}
