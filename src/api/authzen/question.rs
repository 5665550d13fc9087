//! A question of AuthZEN 1.0 becomes a question to the policies.
//!
//! Names and types of AuthZEN are those of the schema. `properties` become attributes, those of the action `context.input`.
//! What the schema does not declare has no place there: it stays where it is, so that the question is denied, or it is
//! carried in `context.extra`, as the operator has decided.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Any};
use smol_str::format_smolstr;

use crate::api::body::Object;
use crate::model::cedar_json::read_fields;
use crate::model::{Entity, EntityUid, Value};
use crate::policy::{Bundle, Query, UndeclaredValues as Extra};

pub(in crate::api) type Properties = Map<String, Any>;

/// The field of the context that has the properties of the action.
const INPUT: &str = "input";

/// What becomes of properties and context keys that the schema does not declare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Undeclared {
    /// The question is denied: a name that was mistyped is never taken for one that was not given.
    #[default]
    Refuse,
    /// Policies see them in `context.extra`, as pairs of a path and a text.
    Carry,
}

/// A subject or a resource.
#[derive(Debug, Clone, Deserialize, Serialize, utoipa::ToSchema)]
pub(in crate::api) struct Party {
    #[serde(rename = "type")]
    pub(in crate::api) kind: String,
    pub(in crate::api) id: String,
    #[serde(default)]
    #[schema(value_type = Object)]
    pub(in crate::api) properties: Properties,
}

impl Party {
    pub(in crate::api) fn uid(&self) -> EntityUid {
        EntityUid::new(self.kind.as_str(), self.id.as_str())
    }
}

#[derive(Debug, Clone, Deserialize, Serialize, utoipa::ToSchema)]
pub(in crate::api) struct Action {
    pub(in crate::api) name: String,
    /// Its input: `context.input` of policies.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub(in crate::api) properties: Properties,
}

/// A party of which the batch may say the rest.
#[derive(Debug, Clone, Default, Deserialize)]
struct PartialParty {
    #[serde(rename = "type")]
    kind: Option<String>,
    id: Option<String>,
    #[serde(default)]
    properties: Properties,
}

/// The same for an action.
#[derive(Debug, Clone, Default, Deserialize)]
struct PartialAction {
    name: Option<String>,
    #[serde(default)]
    properties: Properties,
}

/// One question; in a batch, what is left out is taken from the batch.
#[derive(Debug, Clone, Default, Deserialize, utoipa::ToSchema)]
pub(in crate::api) struct Question {
    #[schema(value_type = Option<Party>)]
    subject: Option<Object<PartialParty>>,
    #[schema(value_type = Option<Action>)]
    action: Option<Object<PartialAction>>,
    #[schema(value_type = Option<Party>)]
    resource: Option<Object<PartialParty>>,
    #[schema(value_type = Option<Object>)]
    context: Option<Properties>,
}

impl Question {
    /// The question with what the batch says in place of what it leaves out itself: a whole subject, action, resource or
    /// context, and of one that is given `type`, `id` or `name` (AuthZEN 1.0, section 7.1).
    pub(super) fn query(
        self,
        defaults: &Self,
        bundle: &Bundle,
        undeclared: Undeclared,
    ) -> Result<Query, String> {
        let subject = whole("subject", self.subject, defaults.subject.as_ref())?;
        let action = named(self.action, defaults.action.as_ref())?;
        let resource = whole("resource", self.resource, defaults.resource.as_ref())?;
        let context = self.context.or_else(|| defaults.context.clone()).unwrap_or_default();
        let (principal, target) = (subject.uid(), resource.uid());
        let uid = action_uid(bundle, &subject.kind, &resource.kind, &action.name);
        let mut stated = Stated::new(bundle, undeclared);
        let mut entities = vec![Arc::new(stated.entity("subject", &principal, subject.properties)?)];
        if target != principal {
            entities.push(Arc::new(stated.entity("resource", &target, resource.properties)?));
        }
        let context = stated.context(&uid, action.properties, context)?;
        Ok(Query { principal, action: uid, resource: target, context, entities })
    }
}

fn whole(
    field: &str,
    own: Option<Object<PartialParty>>,
    default: Option<&Object<PartialParty>>,
) -> Result<Party, String> {
    let default = default.map(|Object(party)| party);
    let own = own.map(|Object(party)| party).or_else(|| default.cloned());
    let own = own.ok_or_else(|| format!("`{field}` is missing"))?;
    let rest = |of: fn(&PartialParty) -> &Option<String>| default.and_then(|party| of(party).clone());
    let kind = own.kind.or_else(|| rest(|party| &party.kind));
    let id = own.id.or_else(|| rest(|party| &party.id));
    Ok(Party {
        kind: kind.ok_or_else(|| format!("`{field}.type` is missing"))?,
        id: id.ok_or_else(|| format!("`{field}.id` is missing"))?,
        properties: own.properties,
    })
}

fn named(
    own: Option<Object<PartialAction>>,
    default: Option<&Object<PartialAction>>,
) -> Result<Action, String> {
    let default = default.map(|Object(action)| action);
    let own = own.map(|Object(action)| action).or_else(|| default.cloned());
    let own = own.ok_or("`action` is missing")?;
    let name = own.name.or_else(|| default.and_then(|action| action.name.clone()));
    Ok(Action { name: name.ok_or("`action.name` is missing")?, properties: own.properties })
}

/// The action lives in the namespace of the subject's type, or else in that of the resource's.
pub(in crate::api) fn action_uid(bundle: &Bundle, subject: &str, resource: &str, name: &str) -> EntityUid {
    let beside = |kind: &str| match kind.rsplit_once("::") {
        Some((namespace, _)) => EntityUid::new(format_smolstr!("{namespace}::Action"), name),
        None => EntityUid::new("Action", name),
    };
    let first = beside(subject);
    if bundle.knows_action(&first) {
        return first;
    }
    let second = beside(resource);
    if bundle.knows_action(&second) { second } else { first }
}

/// Reads what one question states, against one bundle.
#[derive(Clone)]
pub(in crate::api) struct Stated<'b> {
    bundle: &'b Bundle,
    undeclared: Undeclared,
    extra: Extra,
}

impl<'b> Stated<'b> {
    pub(in crate::api) fn new(bundle: &'b Bundle, undeclared: Undeclared) -> Self {
        Self { bundle, undeclared, extra: Extra::default() }
    }

    /// A subject or resource; `party` is which of them.
    pub(in crate::api) fn entity(
        &mut self,
        party: &str,
        uid: &EntityUid,
        properties: Properties,
    ) -> Result<Entity, String> {
        let declared = match self.undeclared {
            Undeclared::Refuse => properties,
            Undeclared::Carry => {
                let taken = self.bundle.declared_properties(party, uid, properties, &mut self.extra);
                taken.map_err(|error| error.to_string())?
            }
        };
        let attributes = read_fields("", &declared).map_err(|fault| fault.to_string())?;
        Ok(Entity { attributes, ..Entity::bare(uid.clone()) })
    }

    /// Whether a context that is the same for several actions can be read, where that does not depend on the action.
    pub(in crate::api) fn check_context(&self, given: &Properties) -> Result<(), String> {
        match self.undeclared {
            Undeclared::Refuse => read_fields("", given).map(drop).map_err(|fault| fault.to_string()),
            Undeclared::Carry => Ok(()),
        }
    }

    /// The context, with the properties of the action in it. The last of what is read: all that is carried is known then.
    pub(in crate::api) fn context(
        mut self,
        action: &EntityUid,
        properties: Properties,
        given: Properties,
    ) -> Result<Value, String> {
        let text = |error: crate::policy::UndeclaredError| error.to_string();
        if !properties.is_empty() && given.contains_key(INPUT) && self.bundle.has_input(action) {
            return Err("`action.properties` are `context.input`: give one of the two".to_owned());
        }
        let (input, mut context) = match self.undeclared {
            Undeclared::Refuse => (properties, given),
            Undeclared::Carry => {
                let context = self.bundle.declared_context(action, given, &mut self.extra).map_err(text)?;
                let input = self.bundle.declared_input(action, properties, &mut self.extra);
                (input.map_err(text)?, context)
            }
        };
        if !input.is_empty() {
            context.insert(INPUT.to_owned(), Any::Object(input));
        }
        let mut fields = read_fields("", &context).map_err(|fault| fault.to_string())?;
        self.bundle.carry(action, self.extra, &mut fields);
        Ok(Value::Record(fields))
    }
}
