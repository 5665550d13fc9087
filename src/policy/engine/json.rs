//! Questions in Cedar's own JSON: for Cedar's test data, for other tools' requests, and to compare this
//! evaluator with Cedar's.

use std::collections::BTreeSet;

use cedar_policy::{Context, Entities, EntityUid, Request};

use super::compiled::Effect;
use super::request::Prepared;
use super::verdict::Verdict;
use crate::policy::set::bundle::Bundle;

/// A question that came as JSON, with the entities it is about.
#[derive(Debug, Clone)]
pub struct JsonQuery {
    request: Request,
    entities: JsonEntities,
}

/// Entities that came as JSON. Cheap to share between questions.
#[derive(Debug, Clone)]
pub struct JsonEntities(std::sync::Arc<Entities>);

impl JsonQuery {
    /// The question as it is evaluated.
    pub(crate) fn into_prepared(self) -> Prepared {
        Prepared {
            request: self.request.as_ref().clone(),
            entities: self.entities.0.as_ref().as_ref().clone(),
        }
    }
}

/// Whether JSON is held against the bundle's schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntityCheck {
    /// It must fit the schema; types are read by it.
    Schema,
    /// It is taken as it is.
    Nothing,
}

/// Why JSON is not a question.
#[derive(Debug, thiserror::Error)]
#[error("the {part} cannot be used: {reason}")]
pub struct RequestJsonError {
    part: &'static str,
    reason: String,
}

impl RequestJsonError {
    fn of(part: &'static str) -> impl FnOnce(String) -> Self {
        move |reason| Self { part, reason }
    }
}

/// What Cedar itself would say, without the rule that an erring forbid denies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CedarAnswer {
    /// Allow or deny.
    pub allow: bool,
    /// The ids of the policies that determined it.
    pub reasons: BTreeSet<String>,
    /// The ids of the policies that could not be evaluated.
    pub errors: BTreeSet<String>,
}

/// The names in a question, as Cedar's JSON or as text: `{"type": "User", "id": "a"}`.
#[derive(Debug, Clone)]
pub struct JsonNames<'a> {
    /// The principal of the request.
    pub principal: &'a serde_json::Value,
    /// The action of the request.
    pub action: &'a serde_json::Value,
    /// The resource of the request.
    pub resource: &'a serde_json::Value,
}

impl Bundle {
    /// Reads entities.
    pub fn entities_from_json(
        &self,
        text: &str,
        check: EntityCheck,
    ) -> Result<JsonEntities, RequestJsonError> {
        let schema = (check == EntityCheck::Schema).then_some(self.schema());
        let entities = Entities::from_json_str(text, schema);
        let entities =
            entities.map_err(|error| whole(&error)).map_err(RequestJsonError::of("list of entities"))?;
        Ok(JsonEntities(entities.into()))
    }

    /// Reads a question about entities.
    pub fn query_from_json(
        &self,
        names: &JsonNames<'_>,
        context: serde_json::Value,
        entities: &JsonEntities,
        check: EntityCheck,
    ) -> Result<JsonQuery, RequestJsonError> {
        let name = |part, value: &serde_json::Value| {
            EntityUid::from_json(value.clone())
                .map_err(|error| whole(&error))
                .map_err(RequestJsonError::of(part))
        };
        let (principal, action, resource) = (
            name("principal", names.principal)?,
            name("action", names.action)?,
            name("resource", names.resource)?,
        );
        let schema = (check == EntityCheck::Schema).then_some(self.schema());
        let context = Context::from_json_value(context, schema.map(|schema| (schema, &action)));
        let context = context.map_err(|error| whole(&error)).map_err(RequestJsonError::of("context"))?;
        let request = Request::new(principal, action, resource, context, schema);
        let request = request.map_err(|error| whole(&error)).map_err(RequestJsonError::of("request"))?;
        Ok(JsonQuery { request, entities: entities.clone() })
    }

    /// Decides a question that came as JSON, fail-closed like [`Bundle::decide`].
    pub fn decide_json(&self, query: &JsonQuery) -> Verdict {
        self.decide_prepared(query.request.as_ref(), query.entities.0.as_ref().as_ref())
    }

    /// Answers as Cedar's own authoriser does: a policy that errs is left out, even a forbid.
    pub fn decide_as_cedar(&self, query: &JsonQuery) -> CedarAnswer {
        let answer = self.answer(query.request.as_ref(), query.entities.0.as_ref().as_ref());
        let ids = |effect| -> BTreeSet<String> {
            let held = answer.held.iter().filter(|policy| policy.effect == effect);
            held.map(|policy| policy.id.to_string()).collect()
        };
        let (forbids, permits) = (ids(Effect::Forbid), ids(Effect::Permit));
        let errors = answer.erred.iter().map(|(policy, _)| policy.id.to_string()).collect();
        let allow = forbids.is_empty() && !permits.is_empty();
        CedarAnswer { allow, reasons: if forbids.is_empty() { permits } else { forbids }, errors }
    }
}

fn whole(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}
