//! A question in the model's words becomes Cedar's request and entities, checked against the schema.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use cedar_policy_core::ast::{Context, Entity, EntityUID, EntityUIDEntry, PartialValue, Request, Value};
use cedar_policy_core::entities::{Entities, NoEntitiesSchema, TCComputation};
use cedar_policy_core::extensions::Extensions;
use smol_str::SmolStr;

use super::shape::{Mismatch, Shape};
use super::vocabulary::{KnownAction, Vocabulary};
use crate::model;

/// May this principal do this to that, in these circumstances?
#[derive(Debug, Clone)]
pub struct Query {
    /// Who.
    pub principal: model::EntityUid,
    /// What.
    pub action: model::EntityUid,
    /// On what.
    pub resource: model::EntityUid,
    /// The circumstances: a record.
    pub context: model::Value,
    /// Principal, resource, and what else policies may look through; with their direct parents. A parent that
    /// is not listed has no attributes and no parents of its own.
    pub entities: Vec<Arc<model::Entity>>,
}

/// The field of the context that holds a tool's arguments.
pub(crate) const INPUT: &str = "input";

/// Whether the context says what the input is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Input {
    /// It does, as far as the action has one.
    Given,
    /// It does not: the question is whether some input could be permitted.
    Open,
}

/// A request that fits the schema.
#[derive(Debug, Clone)]
pub(crate) struct Prepared {
    pub(crate) request: Request,
    pub(crate) entities: Entities,
}

/// A request whose names and entities fit the schema; its context is still to come.
pub(crate) struct Framed<'a> {
    pub(crate) principal: EntityUID,
    pub(crate) action: &'a KnownAction,
    pub(crate) resource: EntityUID,
    pub(crate) entities: Entities,
}

impl<'a> Framed<'a> {
    /// `also` are action entities that policies name in their conditions.
    pub(crate) fn of(query: &Query, words: &'a Vocabulary, also: &[Arc<Entity>]) -> Result<Self, Mismatch> {
        let action = words.action(&query.action)?;
        let principal_type = words.entity_type(&query.principal)?;
        let resource_type = words.entity_type(&query.resource)?;
        let principal = principal_type.uid(&query.principal)?;
        let resource = resource_type.uid(&query.resource)?;
        if !action.principals.contains(&principal_type.name) {
            let message = format!("`{}` does not apply to the principal `{}`", query.action, query.principal);
            return Err(Mismatch::new(message));
        }
        if !action.resources.contains(&resource_type.name) {
            let message = format!("`{}` does not apply to the resource `{}`", query.action, query.resource);
            return Err(Mismatch::new(message));
        }
        let entities = hierarchy(&query.entities, &action.entity, also, words)?;
        Ok(Self { principal, action, resource, entities })
    }

    /// The request with those fields of the context that are `wanted`; all of them are checked.
    pub(crate) fn with_context(
        self,
        context: &model::Value,
        input: Input,
        words: &Vocabulary,
        wanted: impl Fn(&SmolStr) -> bool,
    ) -> Result<Prepared, Mismatch> {
        let shape = match input {
            Input::Given => &self.action.context,
            Input::Open => &self.action.open_context,
        };
        let (Shape::Record(shape), model::Value::Record(fields)) = (shape, context) else {
            shape.check(context, words)?;
            return Err(Mismatch::new("the context is not a record"));
        };
        let fields = shape.convert_some(fields, words, wanted)?;
        let known = |uid| EntityUIDEntry::known(uid, None);
        let request = Request::new_unchecked(
            known(self.principal),
            known(self.action.entity.uid().clone()),
            known(self.resource),
            Some(Context::Value(Arc::new(fields.into_iter().collect()))),
        );
        Ok(Prepared { request, entities: self.entities })
    }
}

/// The whole request; `also` are action entities that policies name in their conditions.
pub(crate) fn prepare(
    query: &Query,
    input: Input,
    words: &Vocabulary,
    also: &[Arc<Entity>],
) -> Result<Prepared, Mismatch> {
    Framed::of(query, words, also)?.with_context(&query.context, input, words, |_| true)
}

/// The entities with all their ancestors, and the actions that can be asked about.
pub(super) fn hierarchy(
    given: &[Arc<model::Entity>],
    action: &Arc<Entity>,
    also: &[Arc<Entity>],
    words: &Vocabulary,
) -> Result<Entities, Mismatch> {
    let family = Family::new(given);
    let mut built = Vec::with_capacity(given.len() + 1 + also.len());
    for entity in given {
        built.push(Arc::new(convert(entity, &family, words)?));
    }
    built.push(Arc::clone(action));
    built.extend(also.iter().filter(|other| other.uid() != action.uid()).cloned());
    Entities::new()
        .add_entities(
            built,
            None::<&NoEntitiesSchema>,
            TCComputation::AssumeAlreadyComputed,
            Extensions::all_available(),
        )
        .map_err(|error| Mismatch::new(error.to_string()))
}

fn convert(entity: &model::Entity, family: &Family<'_>, words: &Vocabulary) -> Result<Entity, Mismatch> {
    let within = |mismatch: Mismatch| Mismatch::new(format!("`{}`: {mismatch}", entity.uid));
    let known = words.entity_type(&entity.uid)?;
    let attributes = known.attributes.convert(&entity.attributes, words).map_err(within)?;
    let mut tags: BTreeMap<SmolStr, Value> = BTreeMap::new();
    for (name, value) in &entity.tags {
        let Some(shape) = &known.tags else {
            return Err(within(Mismatch::new("entities of this type have no tags")));
        };
        tags.insert(name.clone(), shape.convert(value, words).map_err(within)?);
    }
    let ancestor = |uid: &model::EntityUid| -> Result<EntityUID, Mismatch> {
        let uid = words.uid(uid).map_err(within)?;
        if known.ancestors.contains(uid.entity_type()) {
            Ok(uid)
        } else {
            let message = format!("a `{}` cannot be in a `{}`", known.name, uid.entity_type());
            Err(within(Mismatch::new(message)))
        }
    };
    let parents: HashSet<EntityUID> = entity.parents.iter().map(ancestor).collect::<Result<_, _>>()?;
    let mut indirect: HashSet<EntityUID> = HashSet::new();
    for uid in family.indirect_ancestors(entity)? {
        let uid = ancestor(uid)?;
        if !parents.contains(&uid) {
            indirect.insert(uid);
        }
    }
    let whole = |(name, value)| (name, PartialValue::Value(value));
    Ok(Entity::new_with_attr_partial_value(
        known.uid(&entity.uid)?,
        attributes.into_iter().map(whole),
        indirect,
        parents,
        tags.into_iter().map(whole),
    ))
}

/// Who stands under whom in one request.
struct Family<'a> {
    with_parents: Vec<&'a Arc<model::Entity>>,
}

impl<'a> Family<'a> {
    fn new(given: &'a [Arc<model::Entity>]) -> Self {
        Self { with_parents: given.iter().filter(|entity| !entity.parents.is_empty()).collect() }
    }

    /// A request has a handful of entities.
    fn parents(&self, uid: &model::EntityUid) -> &'a [model::EntityUid] {
        let known = self.with_parents.iter().find(|entity| entity.uid == *uid);
        known.map(|entity| entity.parents.as_slice()).unwrap_or_default()
    }

    /// What `entity` is in through its parents. Refuses a circle: Cedar's hierarchy is none.
    fn indirect_ancestors(&self, entity: &'a model::Entity) -> Result<Vec<&'a model::EntityUid>, Mismatch> {
        let mut pending: Vec<&model::EntityUid> = entity.parents.iter().collect();
        let mut seen: HashSet<&model::EntityUid> = HashSet::new();
        let mut found = Vec::new();
        while let Some(uid) = pending.pop() {
            if *uid == entity.uid {
                return Err(Mismatch::new(format!("`{uid}` is its own ancestor")));
            }
            for above in self.parents(uid) {
                if seen.insert(above) {
                    found.push(above);
                    pending.push(above);
                }
            }
        }
        Ok(found)
    }
}
