//! A record of the log as questions: the decision itself, and one for each item of a list.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Map, Value as Json};

use super::BadRecord;
use super::reads::{Hidden, Root};
use super::value::Reader;
use crate::model::{Entity, EntityUid, Outcome, PolicyMode, PolicyRef, Value};
use crate::policy::engine::schema_index::SchemaIndex;
use crate::policy::engine::types::{Mismatch, Shape};
use crate::policy::{Bundle, Query, close};

/// The record shape that this program understands.
const SCHEMA_VERSION: u32 = 1;

/// What a replay needs of a record; other fields are passed over.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Logged {
    schema_version: u32,
    pub(super) decision_id: String,
    #[serde(default)]
    pub(super) seq: Option<u64>,
    pub(super) time: String,
    pub(super) outcome: Outcome,
    pub(super) reason_code: String,
    #[serde(default)]
    pub(super) policies: Vec<PolicyRef>,
    #[serde(default)]
    pub(super) policies_omitted: usize,
    #[serde(default)]
    pub(super) errors: Vec<serde::de::IgnoredAny>,
    #[serde(default)]
    pub(super) policy_version: Option<String>,
    #[serde(default)]
    subject: Option<LoggedSubject>,
    #[serde(default)]
    action: Option<String>,
    #[serde(default)]
    resource: Option<String>,
    #[serde(default)]
    context: Option<Json>,
    #[serde(default)]
    entities: Vec<LoggedEntity>,
    #[serde(default)]
    open_input: bool,
    #[serde(default)]
    pub(super) items: Vec<LoggedItem>,
    /// Which of the lines of one list this is, from 1.
    #[serde(default)]
    part: Option<usize>,
}

#[derive(Debug, Clone, Deserialize)]
struct LoggedSubject {
    principal: String,
}

/// One item of a list.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct LoggedItem {
    #[serde(default)]
    action: Option<String>,
    pub(super) outcome: Outcome,
    #[serde(default)]
    pub(super) policies: Vec<PolicyRef>,
    #[serde(default)]
    principal: Option<String>,
    resource: String,
    #[serde(default)]
    context: Option<Json>,
    #[serde(default)]
    entities: Vec<LoggedEntity>,
    #[serde(default)]
    open_input: bool,
}

#[derive(Debug, Clone, Deserialize)]
struct LoggedEntity {
    #[serde(default)]
    attrs: Map<String, Json>,
    #[serde(default, rename = "in")]
    parents: Vec<String>,
    #[serde(default)]
    tags: Map<String, Json>,
    uid: String,
}

/// What was decided.
#[derive(Debug, Clone, Copy)]
pub(super) struct Decided<'r> {
    pub(super) outcome: Outcome,
    pub(super) policies: &'r [PolicyRef],
    /// Whether the record names all policies.
    pub(super) complete: bool,
}

impl Decided<'_> {
    /// The ids of the policies that decided.
    pub(super) fn by(&self) -> impl Iterator<Item = &str> {
        let enforced = self.policies.iter().filter(|policy| policy.mode == PolicyMode::Enforce);
        enforced.map(|policy| policy.id.as_ref())
    }
}

/// Why a record, or an item of it, cannot be evaluated again.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Without {
    /// It tells of an event, not of a decision.
    NoDecision,
    /// The gateway decided by itself, for this reason.
    Gateway(String),
    /// It holds no entities.
    Entities,
    /// It was too large, so that its circumstances are there as a digest.
    Context,
    /// A name is cut.
    Name,
}

/// One question, as the log has it.
#[derive(Debug, Clone)]
pub(super) struct Asked<'r> {
    pub(super) principal: EntityUid,
    pub(super) action: EntityUid,
    pub(super) resource: EntityUid,
    pub(super) open_input: bool,
    context: &'r Map<String, Json>,
    entities: &'r [LoggedEntity],
}

/// The entities of one record in a bundle's types: a list has one question an item, all about the same few.
#[derive(Debug, Default)]
pub(super) struct Known {
    of: Option<*const LoggedEntity>,
    entities: Vec<(Arc<Entity>, Vec<Hidden>)>,
}

impl Known {
    fn find(&self, uid: &EntityUid) -> Option<&(Arc<Entity>, Vec<Hidden>)> {
        self.entities.iter().find(|(entity, _)| entity.uid == *uid)
    }
}

/// A question in a bundle's types.
#[derive(Debug)]
pub(super) struct Typed {
    pub(super) query: Query,
    pub(super) hidden: Vec<Hidden>,
}

impl Logged {
    pub(super) fn read(json: Json) -> Result<Self, BadRecord> {
        let record: Self =
            serde_json::from_value(json).map_err(|error| BadRecord::Shape(error.to_string()))?;
        match record.schema_version {
            SCHEMA_VERSION => Ok(record),
            found => Err(BadRecord::Version { found, known: SCHEMA_VERSION }),
        }
    }

    /// The decision that the record itself is about. `None` for the head of a list, whose items were decided.
    pub(super) fn decision(&self) -> Option<Result<(Asked<'_>, Decided<'_>), Without>> {
        let decided =
            Decided { outcome: self.outcome, policies: &self.policies, complete: self.policies_omitted == 0 };
        let by_policies = matches!(
            self.reason_code.as_str(),
            "permitted" | "forbidden" | "no_permit" | "policy_error" | "schema_mismatch"
        );
        if self.action.is_none() || self.subject.is_none() {
            return Some(Err(Without::NoDecision));
        }
        if !by_policies {
            return Some(Err(Without::Gateway(self.reason_code.clone())));
        }
        // The asking itself stands on the first of its lines.
        let goes_on = self.part.is_some_and(|part| part > 1);
        if goes_on || self.outcome == Outcome::Allow && decided.by().next().is_none() {
            return None;
        }
        let asked = self.asked(None, self.resource.as_deref(), None, self.context.as_ref(), &self.entities);
        Some(asked.map(|asked| (Asked { open_input: self.open_input, ..asked }, decided)))
    }

    /// The question that an item was.
    pub(super) fn item<'r>(&'r self, item: &'r LoggedItem) -> Result<(Asked<'r>, Decided<'r>), Without> {
        let context = item.context.as_ref().or(self.context.as_ref());
        // A question about another principal says nothing of the record's own context.
        if item.principal.is_some() && item.context.is_none() {
            return Err(Without::Entities);
        }
        let entities = if item.entities.is_empty() { &self.entities } else { &item.entities };
        let (principal, action) = (item.principal.as_deref(), item.action.as_deref());
        let asked = self.asked(principal, Some(&item.resource), action, context, entities)?;
        let decided = Decided { outcome: item.outcome, policies: &item.policies, complete: true };
        Ok((Asked { open_input: item.open_input, ..asked }, decided))
    }

    fn asked<'r>(
        &'r self,
        principal: Option<&'r str>,
        resource: Option<&'r str>,
        action: Option<&'r str>,
        context: Option<&'r Json>,
        entities: &'r [LoggedEntity],
    ) -> Result<Asked<'r>, Without> {
        let own = self.subject.as_ref().map(|subject| subject.principal.as_str());
        let action = action.or(self.action.as_deref()).ok_or(Without::NoDecision)?;
        if entities.is_empty() {
            return Err(Without::Entities);
        }
        let Some(Json::Object(context)) = context else { return Err(Without::Context) };
        if context.len() == 2 && context.contains_key("sha256") && context.contains_key("bytes") {
            return Err(Without::Context);
        }
        if action.ends_with('…') {
            return Err(Without::Name);
        }
        let named = |text: Option<&str>| text.and_then(EntityUid::parse).ok_or(Without::Name);
        Ok(Asked {
            principal: named(principal.or(own))?,
            action: EntityUid::parse(action)
                .filter(|uid| uid.base_type() == "Action")
                .unwrap_or_else(|| EntityUid::action(action)),
            resource: named(resource)?,
            open_input: false,
            context,
            entities,
        })
    }
}

impl Asked<'_> {
    /// The question in the types of the schema of the first of the sets that are asked, or why it does not fit it. `known`
    /// is for that schema and one record.
    pub(super) fn typed(&self, bundles: &[&Bundle], known: &mut Known) -> Result<Typed, Mismatch> {
        let none = || Mismatch::new("no policies are asked");
        let schema = bundles.first().ok_or_else(none)?.schema_index();
        let mut hidden = Vec::new();
        let action = schema.action(&self.action)?;
        let shape = if self.open_input { &action.open_context } else { &action.context };
        let context = match shape {
            Shape::Record(shape) => Reader::new(Root::Context, &mut hidden).record(shape, self.context)?,
            _ => return Err(Mismatch::new("the context is not a record")),
        };
        let context = Value::Record(context);
        if known.of != Some(self.entities.as_ptr()) {
            let entities = self.entities.iter().map(|entity| entity.typed(schema));
            *known =
                Known { entities: entities.collect::<Result<_, _>>()?, of: Some(self.entities.as_ptr()) };
        }
        let (principal, action) = (self.principal.clone(), self.action.clone());
        let entities = Vec::new();
        let mut query = Query { principal, action, resource: self.resource.clone(), context, entities };
        let named = |query: &Query| bundles.iter().flat_map(|bundle| bundle.named_for(query)).collect();
        close(&mut query, named, usize::MAX, &|uid| known.find(uid).map(|(entity, _)| Arc::clone(entity)));
        for entity in &query.entities {
            hidden.extend(known.find(&entity.uid).iter().flat_map(|(_, lost)| lost.iter().cloned()));
        }
        Ok(Typed { query, hidden })
    }
}

impl LoggedEntity {
    fn typed(&self, schema: &SchemaIndex) -> Result<(Arc<Entity>, Vec<Hidden>), Mismatch> {
        let mut lost = Vec::new();
        let hidden = &mut lost;
        let name = |text: &String| {
            EntityUid::parse(text).ok_or_else(|| Mismatch::new("the name of an entity cannot be read"))
        };
        let uid = name(&self.uid)?;
        let within = |mismatch: Mismatch| Mismatch::new(format!("`{uid}`: {mismatch}"));
        let known = schema.entity_type(&uid)?;
        let attributes = Reader::new(Root::Attributes, hidden).record(&known.attributes, &self.attrs);
        let tags = match &known.tags {
            Some(shape) => Reader::new(Root::Tags, hidden).tags(shape, &self.tags).map_err(within)?,
            None if self.tags.is_empty() => Default::default(),
            None => return Err(within(Mismatch::new("entities of this type have no tags"))),
        };
        let attributes = attributes.map_err(within)?;
        let parents = self.parents.iter().map(name).collect::<Result<_, _>>()?;
        Ok((Arc::new(Entity { attributes, parents, tags, uid }), lost))
    }
}
