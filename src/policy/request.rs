//! A question in the model's words becomes Cedar's request and entities, checked against the schema.

use std::collections::HashSet;
use std::sync::Arc;

use cedar_policy_core::ast::{Context, Entity, EntityUID, EntityUIDEntry, PartialValue, Request, Value};
use cedar_policy_core::entities::err::EntitiesError;
use cedar_policy_core::entities::{Entities, NoEntitiesSchema, TCComputation};
use cedar_policy_core::extensions::Extensions;
use smol_str::SmolStr;

use super::evaluate::Asked;
use super::program::{Above, Compiled, Place, Reads};
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
    kin: Vec<Kin>,
}

/// The name of an entity with those of its ancestors.
#[derive(Debug)]
pub(crate) struct Kin {
    uid: EntityUID,
    parents: Vec<EntityUID>,
    /// What it is in through its parents.
    indirect: Vec<EntityUID>,
}

impl Kin {
    pub(crate) fn uid(&self) -> &EntityUID {
        &self.uid
    }

    /// What it is in, at any depth.
    pub(crate) fn ancestors(&self) -> impl Iterator<Item = &EntityUID> {
        self.parents.iter().chain(&self.indirect)
    }
}

/// What the policies in question can see. A value that none of them can see is checked and not handed to them.
#[derive(Debug, Default)]
pub(crate) struct Sight<'p> {
    context: Option<Vec<&'p SmolStr>>,
    attributes: Option<Vec<&'p SmolStr>>,
    tags: bool,
    actions: bool,
}

impl<'p> Sight<'p> {
    /// Everything there is.
    pub(crate) const ALL: Self = Self { context: None, attributes: None, tags: true, actions: true };

    pub(crate) fn of(policies: &[&'p Compiled]) -> Self {
        let whole = policies.iter().any(|policy| policy.reads == Reads::Everything);
        let fields = policies.iter().flat_map(|policy| match &policy.reads {
            Reads::Fields(fields) => fields.as_slice(),
            Reads::Everything => &[],
        });
        let attributes = policies.iter().flat_map(|policy| &policy.looks_at.attributes);
        Self {
            context: (!whole).then(|| fields.collect()),
            attributes: Some(attributes.collect()),
            tags: policies.iter().any(|policy| policy.looks_at.tags),
            actions: policies.iter().any(|policy| policy.looks_at.actions),
        }
    }

    // A handful of names, often the same one in several policies: no order pays.
    fn has(names: Option<&[&SmolStr]>, name: &SmolStr) -> bool {
        names.is_none_or(|names| names.contains(&name))
    }
}

impl<'a> Framed<'a> {
    pub(crate) fn of(query: &'a Query, words: &'a Vocabulary) -> Result<Self, Mismatch> {
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
        Ok(Self { principal, action, resource, given: &query.entities, kin: kin(&query.entities, words)? })
    }

    /// The three names, for finding the policies in question.
    pub(crate) fn asked(&self) -> Asked<'_> {
        let above = |uid| Above::among(&self.kin, uid);
        let (principal, resource) = (&self.principal, &self.resource);
        Asked {
            principal: Place { uid: principal, above: above(principal) },
            action: Place { uid: self.action.entity.uid(), above: Above::Entity(&self.action.entity) },
            resource: Place { uid: resource, above: above(resource) },
        }
    }

    /// Whether the request fits the schema, where no policy in question has a condition that looks at it.
    pub(crate) fn check(
        self,
        context: &model::Value,
        input: Input,
        words: &Vocabulary,
    ) -> Result<(), Mismatch> {
        if stand_alone(&self.kin) {
            for entity in self.given {
                check(entity, words)?;
            }
            return self.action.shape_of_context(input).check(context, words);
        }
        self.complete(context, input, words, &[], &Sight::ALL).map(drop)
    }

    /// The request with what is in `sight`; all else is checked as well. `also` are action entities that policies name
    /// in their conditions.
    pub(crate) fn complete(
        self,
        context: &model::Value,
        input: Input,
        words: &Vocabulary,
        also: &[Arc<Entity>],
        sight: &Sight<'_>,
    ) -> Result<Prepared, Mismatch> {
        let entities = populate(self.given, self.kin, &self.action.entity, also, words, sight)?;
        let shape = self.action.shape_of_context(input);
        let (Shape::Record(shape), model::Value::Record(fields)) = (shape, context) else {
            shape.check(context, words)?;
            return Err(Mismatch::new("the context is not a record"));
        };
        let seen = |name: &SmolStr| Sight::has(sight.context.as_deref(), name);
        let fields = shape.convert_some(fields, words, seen)?;
        let known = |uid| EntityUIDEntry::known(uid, None);
        let request = Request::new_unchecked(
            known(self.principal),
            known(self.action.entity.uid().clone()),
            known(self.resource),
            Some(Context::Value(Arc::new(fields.into_iter().collect()))),
        );
        Ok(Prepared { request, entities })
    }
}

/// The whole request; `also` are action entities that policies name in their conditions.
pub(crate) fn prepare(
    query: &Query,
    input: Input,
    words: &Vocabulary,
    also: &[Arc<Entity>],
) -> Result<Prepared, Mismatch> {
    Framed::of(query, words)?.complete(&query.context, input, words, also, &Sight::ALL)
}

/// The names of the entities with those of all their ancestors.
pub(super) fn kin(given: &[Arc<model::Entity>], words: &Vocabulary) -> Result<Vec<Kin>, Mismatch> {
    let family = Family::new(given);
    given.iter().map(|entity| related(entity, &family, words)).collect()
}

/// Whether no two of them have one name. Of two that do Cedar asks whether they are the same: then all of both has to be
/// there.
fn stand_alone(kin: &[Kin]) -> bool {
    let mut rest = kin;
    kin.len() <= MANY
        && kin.iter().all(|one| {
            rest = rest.get(1..).unwrap_or_default();
            rest.iter().all(|other| other.uid != one.uid)
        })
}

fn populate(
    given: &[Arc<model::Entity>],
    kin: Vec<Kin>,
    action: &Arc<Entity>,
    also: &[Arc<Entity>],
    words: &Vocabulary,
    sight: &Sight<'_>,
) -> Result<Entities, Mismatch> {
    let all = Sight::ALL;
    let sight = if stand_alone(&kin) { sight } else { &all };
    let built = given.iter().zip(kin).map(|(entity, names)| endow(entity, names, words, sight));
    let built: Vec<Entity> = built.collect::<Result<_, _>>()?;
    let (schema, known) = (None::<&NoEntitiesSchema>, TCComputation::AssumeAlreadyComputed);
    let extensions = Extensions::all_available();
    let mismatch = |error: EntitiesError| Mismatch::new(error.to_string());
    let entities = Entities::from_entities(built, schema, known, extensions).map_err(mismatch)?;
    if !sight.actions {
        return Ok(entities);
    }
    let others = also.iter().filter(|other| other.uid() != action.uid());
    let actions = [action].into_iter().chain(others).cloned();
    entities.add_entities(actions, schema, known, extensions).map_err(mismatch)
}

/// The entity's name with those of its ancestors.
fn related(entity: &model::Entity, family: &Family<'_>, words: &Vocabulary) -> Result<Kin, Mismatch> {
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
    let indirect = family.indirect_ancestors(entity)?.into_iter().map(ancestor).collect::<Result<_, _>>()?;
    Ok(Kin { uid: known.uid(&entity.uid)?, parents, indirect })
}

/// Whether the entity's attributes and tags are those of its type.
fn check(entity: &model::Entity, words: &Vocabulary) -> Result<(), Mismatch> {
    let within = |mismatch: Mismatch| Mismatch::new(format!("`{}`: {mismatch}", entity.uid));
    let known = words.entity_type(&entity.uid)?;
    known.attributes.check(&entity.attributes, words).map_err(within)?;
    for value in entity.tags.values() {
        let shape = known.tags.as_ref().ok_or_else(|| within(no_tags()))?;
        shape.check(value, words).map_err(within)?;
    }
    Ok(())
}

fn no_tags() -> Mismatch {
    Mismatch::new("entities of this type have no tags")
}

/// The entity with those of its attributes and tags that are in sight; the others are checked.
fn endow(
    entity: &model::Entity,
    names: Kin,
    words: &Vocabulary,
    sight: &Sight<'_>,
) -> Result<Entity, Mismatch> {
    let within = |mismatch: Mismatch| Mismatch::new(format!("`{}`: {mismatch}", entity.uid));
    let known = words.entity_type(&entity.uid)?;
    let seen = |name: &SmolStr| Sight::has(sight.attributes.as_deref(), name);
    let attributes = known.attributes.convert_some(&entity.attributes, words, seen).map_err(within)?;
    let mut tags: Vec<(SmolStr, Value)> = Vec::new();
    for (name, value) in &entity.tags {
        let Some(shape) = &known.tags else {
            return Err(within(no_tags()));
        };
        match sight.tags {
            true => tags.push((name.clone(), shape.convert(value, words).map_err(within)?)),
            false => shape.check(value, words).map_err(within)?,
        }
    }
    let whole = |(name, value)| (name, PartialValue::Value(value));
    let Kin { uid, parents, indirect } = names;
    let parents: HashSet<EntityUID> = parents.into_iter().collect();
    let indirect = indirect.into_iter().filter(|uid| !parents.contains(uid)).collect();
    let (attributes, tags) = (attributes.into_iter().map(whole), tags.into_iter().map(whole));
    Ok(Entity::new_with_attr_partial_value(uid, attributes, indirect, parents, tags))
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
