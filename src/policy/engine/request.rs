//! A question in the model's words becomes Cedar's request and entities, checked against the schema.

use std::collections::HashSet;
use std::sync::Arc;

use cedar_policy_core::ast::{Context, Entity, EntityUID, EntityUIDEntry, PartialValue, Request, Value};
use cedar_policy_core::entities::err::EntitiesError;
use cedar_policy_core::entities::{Entities, NoEntitiesSchema, TCComputation};
use cedar_policy_core::extensions::Extensions;
use smol_str::SmolStr;

use super::ancestry::{EntityState, Names, entity_states};
use super::compiled::{Ancestors, ScopeSubject};
use super::evaluate::Asked;
use super::projection::Projection;
use super::schema_index::{KnownAction, SchemaIndex};
use super::types::{Mismatch, Shape};
use crate::model;

/// A question to the policies: may this principal perform this action on this resource, in this context?
#[derive(Debug, Clone)]
pub struct Query {
    /// The principal of the request.
    pub principal: model::EntityUid,
    /// The action of the request.
    pub action: model::EntityUid,
    /// The resource of the request.
    pub resource: model::EntityUid,
    /// `context`: a record.
    pub context: model::Value,
    /// Principal, resource, and what else policies may look through; with their direct parents. A parent that
    /// is not listed has no attributes and no parents of its own.
    pub entities: Vec<Arc<model::Entity>>,
}

/// The field of the context that holds a tool's arguments.
pub(crate) const INPUT: &str = "input";

/// More entities than this are handed over whole, without looking for pairs among them.
const MANY: usize = 32;

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

/// A request whose names and hierarchy fit the schema. That is enough to find the policies in question; attributes and
/// context are still to come.
pub(crate) struct Framed<'a> {
    principal: EntityUID,
    action: &'a KnownAction,
    resource: EntityUID,
    given: &'a [Arc<model::Entity>],
    /// The entities that were given, in their order, with all their ancestors.
    states: Vec<EntityState>,
}

impl<'a> Framed<'a> {
    pub(crate) fn of(query: &'a Query, schema: &'a SchemaIndex) -> Result<Self, Mismatch> {
        let action = schema.action(&query.action)?;
        let principal_type = schema.entity_type(&query.principal)?;
        let resource_type = schema.entity_type(&query.resource)?;
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
        Ok(Self {
            principal,
            action,
            resource,
            given: &query.entities,
            states: entity_states(&query.entities, schema)?,
        })
    }

    /// The three names, for finding the policies in question.
    pub(crate) fn asked(&self) -> Asked<'_> {
        let ancestors_of = |uid| Ancestors::among(&self.states, uid);
        let (principal, resource) = (&self.principal, &self.resource);
        Asked {
            principal: ScopeSubject { uid: principal, ancestors: ancestors_of(principal) },
            action: ScopeSubject {
                uid: self.action.entity.uid(),
                ancestors: Ancestors::Entity(&self.action.entity),
            },
            resource: ScopeSubject { uid: resource, ancestors: ancestors_of(resource) },
        }
    }

    /// Whether the request fits the schema, where no policy in question has a condition that looks at it.
    pub(crate) fn check(
        self,
        context: &model::Value,
        input: Input,
        schema: &SchemaIndex,
    ) -> Result<(), Mismatch> {
        if stand_alone(&self.states) {
            for (entity, state) in self.given.iter().zip(&self.states) {
                if let EntityState::Unbuilt(_) = state {
                    check(entity, schema)?;
                }
            }
            return self.action.shape_of_context(input).check(context, schema);
        }
        self.complete(context, input, schema, &[], &Projection::ALL).map(drop)
    }

    /// The request with what is in `projection`; all else is checked as well. `also` are action entities that policies name
    /// in their conditions.
    pub(crate) fn complete(
        self,
        context: &model::Value,
        input: Input,
        schema: &SchemaIndex,
        also: &[Arc<Entity>],
        projection: &Projection<'_>,
    ) -> Result<Prepared, Mismatch> {
        let entities = populate(self.given, self.states, &self.action.entity, also, schema, projection)?;
        let shape = self.action.shape_of_context(input);
        let (Shape::Record(shape), model::Value::Record(fields)) = (shape, context) else {
            shape.check(context, schema)?;
            return Err(Mismatch::new("the context is not a record"));
        };
        let fields = match &projection.context {
            None => shape.convert(fields, schema)?.into_iter().collect(),
            Some(views) => shape.convert_seen(fields, schema, views)?,
        };
        let known = |uid| EntityUIDEntry::known(uid, None);
        let request = Request::new_unchecked(
            known(self.principal),
            EntityUIDEntry::Known { euid: Arc::clone(&self.action.uid), loc: None },
            known(self.resource),
            Some(Context::Value(Arc::new(fields))),
        );
        Ok(Prepared { request, entities })
    }
}

/// The whole request; `also` are action entities that policies name in their conditions.
pub(crate) fn prepare(
    query: &Query,
    input: Input,
    schema: &SchemaIndex,
    also: &[Arc<Entity>],
) -> Result<Prepared, Mismatch> {
    Framed::of(query, schema)?.complete(&query.context, input, schema, also, &Projection::ALL)
}

/// Whether no two of them have one name. Of two that do Cedar asks whether they are the same: then all of both has to be
/// there.
fn stand_alone(states: &[EntityState]) -> bool {
    let mut rest = states;
    states.len() <= MANY
        && states.iter().all(|one| {
            rest = rest.get(1..).unwrap_or_default();
            rest.iter().all(|other| other.uid() != one.uid())
        })
}

fn populate(
    given: &[Arc<model::Entity>],
    states: Vec<EntityState>,
    action: &Arc<Entity>,
    also: &[Arc<Entity>],
    schema: &SchemaIndex,
    projection: &Projection<'_>,
) -> Result<Entities, Mismatch> {
    let all = Projection::ALL;
    let projection = if stand_alone(&states) { projection } else { &all };
    let (mut built, mut made) = (Vec::new(), Vec::new());
    for (entity, state) in given.iter().zip(states) {
        let known = schema.entity_type(&entity.uid)?;
        match state {
            EntityState::Unbuilt(_) if !projection.has_entity(known, schema) => check(entity, schema)?,
            EntityState::Unbuilt(names) => built.push(endow(entity, *names, schema, projection)?),
            EntityState::Cached(entity) if projection.has_entity(known, schema) => made.push(entity),
            EntityState::Cached(_) => {}
        }
    }
    if projection.actions {
        let others = also.iter().filter(|other| other.uid() != action.uid());
        made.extend([action].into_iter().chain(others).cloned());
    }
    let (schema, known) = (None::<&NoEntitiesSchema>, TCComputation::AssumeAlreadyComputed);
    let extensions = Extensions::all_available();
    let mismatch = |error: EntitiesError| Mismatch::new(error.to_string());
    let entities = Entities::from_entities(built, schema, known, extensions).map_err(mismatch)?;
    entities.add_entities(made, schema, known, extensions).map_err(mismatch)
}

/// Whether the entity's attributes and tags are those of its type.
fn check(entity: &model::Entity, schema: &SchemaIndex) -> Result<(), Mismatch> {
    let within = |mismatch: Mismatch| Mismatch::new(format!("`{}`: {mismatch}", entity.uid));
    let known = schema.entity_type(&entity.uid)?;
    known.attributes.check(&entity.attributes, schema).map_err(within)?;
    for value in entity.tags.values() {
        let shape = known.tags.as_ref().ok_or_else(|| within(no_tags()))?;
        shape.check(value, schema).map_err(within)?;
    }
    Ok(())
}

fn no_tags() -> Mismatch {
    Mismatch::new("entities of this type have no tags")
}

/// The entity with those of its attributes and tags that are in sight; the others are checked.
pub(crate) fn endow(
    entity: &model::Entity,
    names: Names,
    schema: &SchemaIndex,
    projection: &Projection<'_>,
) -> Result<Entity, Mismatch> {
    let within = |mismatch: Mismatch| Mismatch::new(format!("`{}`: {mismatch}", entity.uid));
    let known = schema.entity_type(&entity.uid)?;
    let seen = |name: &SmolStr| projection.has_attribute(name);
    let attributes = known.attributes.convert_some(&entity.attributes, schema, seen).map_err(within)?;
    let mut tags: Vec<(SmolStr, Value)> = Vec::new();
    for (name, value) in &entity.tags {
        let Some(shape) = &known.tags else {
            return Err(within(no_tags()));
        };
        match projection.tags {
            true => tags.push((name.clone(), shape.convert(value, schema).map_err(within)?)),
            false => shape.check(value, schema).map_err(within)?,
        }
    }
    let whole = |(name, value)| (name, PartialValue::Value(value));
    let Names { uid, parents, indirect } = names;
    let parents: HashSet<EntityUID> = parents.into_iter().collect();
    let indirect = indirect.into_iter().filter(|uid| !parents.contains(uid)).collect();
    let (attributes, tags) = (attributes.into_iter().map(whole), tags.into_iter().map(whole));
    Ok(Entity::new_with_attr_partial_value(uid, attributes, indirect, parents, tags))
}
