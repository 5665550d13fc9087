//! Who stands under whom among the entities of a question.

use std::sync::Arc;

use cedar_policy_core::ast::{Entity, EntityUID};

use super::entity_cache;
use super::projection::Sight;
use super::request::endow;
use super::schema_index::Vocabulary;
use super::types::Mismatch;
use crate::model;
use crate::seen::Seen;

/// One of a question's entities with all its ancestors.
#[derive(Debug)]
pub(crate) enum Kin {
    /// By its names. What else it has is still to be checked.
    Named(Box<Names>),
    /// It has come before, fitted the schema, and is whole.
    Standing(Arc<Entity>),
}

/// The name of an entity with those of its ancestors.
#[derive(Debug)]
pub(crate) struct Names {
    pub(crate) uid: EntityUID,
    pub(crate) parents: Vec<EntityUID>,
    /// What it is in through its parents.
    pub(crate) indirect: Vec<EntityUID>,
}

impl Kin {
    pub(crate) fn uid(&self) -> &EntityUID {
        match self {
            Self::Named(names) => &names.uid,
            Self::Standing(entity) => entity.uid(),
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
pub(crate) fn kin(given: &[Arc<model::Entity>], words: &Vocabulary) -> Result<Vec<Kin>, Mismatch> {
    let family = Family::new(given);
    let related = |entity: &Arc<model::Entity>| {
        let lifts = family.lifts(entity)?;
        let whole = || endow(entity, names(entity, &lifts, words)?, words, &Sight::ALL);
        match entity_cache::form(entity, &lifts, words, whole) {
            Some(form) => Ok(Kin::Standing(form)),
            None => names(entity, &lifts, words).map(|names| Kin::Named(Box::new(names))),
        }
    };
    given.iter().map(related).collect()
}

/// The entity's name with those of its ancestors; `lifts` are those of the question that lift it into more than its parents.
fn names(
    entity: &model::Entity,
    lifts: &[&Arc<model::Entity>],
    words: &Vocabulary,
) -> Result<Names, Mismatch> {
    let within = |mismatch: Mismatch| Mismatch::new(format!("`{}`: {mismatch}", entity.uid));
    let known = words.entity_type(&entity.uid)?;
    let ancestor = |uid: &model::EntityUid| -> Result<EntityUID, Mismatch> {
        let uid = words.uid(uid).map_err(within)?;
        if known.ancestors.contains(uid.entity_type()) {
            Ok(uid)
        } else {
            let message = format!("a `{}` cannot be in a `{}`", known.name, uid.entity_type());
            Err(within(Mismatch::new(message)))
        }
    };
    let parents: Vec<EntityUID> = entity.parents.iter().map(ancestor).collect::<Result<_, _>>()?;
    let mut seen = Seen::default();
    let above = lifts.iter().flat_map(|lift| &lift.parents).filter(|uid| seen.insert(*uid));
    let indirect = above.map(ancestor).collect::<Result<_, _>>()?;
    Ok(Names { uid: known.uid(&entity.uid)?, parents, indirect })
}

struct Family<'a> {
    with_parents: Vec<&'a Arc<model::Entity>>,
}

impl<'a> Family<'a> {
    fn new(given: &'a [Arc<model::Entity>]) -> Self {
        Self { with_parents: given.iter().filter(|entity| !entity.parents.is_empty()).collect() }
    }

    /// Those through which `entity` is in others than its parents. Refuses a circle: Cedar's hierarchy is none.
    fn lifts(&self, entity: &'a model::Entity) -> Result<Vec<&'a Arc<model::Entity>>, Mismatch> {
        let mut lifts: Vec<&Arc<model::Entity>> = Vec::new();
        let (mut step, mut next) = (entity, 0);
        loop {
            for parent in &step.parents {
                if *parent == entity.uid {
                    return Err(Mismatch::new(format!("`{parent}` is its own ancestor")));
                }
                // A request has a handful of entities.
                let lift = self.with_parents.iter().find(|other| other.uid == *parent);
                lifts.extend(lift.filter(|lift| !lifts.iter().any(|known| Arc::ptr_eq(known, lift))));
            }
            let Some(above) = lifts.get(next) else { return Ok(lifts) };
            (step, next) = (above, next + 1);
        }
    }
}
