//! What a decision looks like to the journal: its record.

use std::sync::Arc;
use std::time::Instant;

use aws_lc_rs::digest::{SHA256, digest};
use serde_json::{Map, Value as Json};

use super::context::INPUT;
use super::decide::RequestState;
use crate::audit::{AgentRecord, Item, Record, RecordError, Shadow, SourceRecord, SubjectRecord};
use crate::model::{Action, DecisionId, Entity, EntityUid, EventType, Value};
use crate::policy::{PolicyFault, Query, Verdict};

/// One decision, on its way into the journal.
pub(super) struct DecisionFacts<'a> {
    pub(super) decision: DecisionId,
    pub(super) event_type: EventType,
    pub(super) action: &'a Action,
    pub(super) resource: &'a EntityUid,
    pub(super) verdict: &'a Verdict,
    /// What would have been decided otherwise.
    pub(super) shadow: Option<Shadow>,
    /// `context`, as the policies saw it.
    pub(super) cedar_context: Value,
    /// What they knew of principal, resource and others.
    pub(super) entities: Vec<Arc<Entity>>,
    /// Whether the input was not known yet.
    pub(super) open_input: bool,
    pub(super) arguments: Option<&'a Map<String, Json>>,
    pub(super) content_sha256: Option<&'a str>,
    /// The agents that a message to a capability could go to, as far as they were asked about.
    pub(super) items: Vec<Item>,
    pub(super) began: Instant,
}

/// For the record, the texts among a caller's arguments stand as `sha256:…`, unless the log is to be replayable.
/// Other inputs are facts that the gateway itself states.
fn without_texts(mut cedar_context: Value) -> Value {
    if let Value::Record(fields) = &mut cedar_context
        && let Some(input) = fields.get_mut(INPUT)
    {
        *input = mask(input);
    }
    cedar_context
}

/// The most parameters of a query that are named in a record, and the longest of their names in bytes.
const MOST_NAMES: usize = 32;
const LONGEST_NAME: usize = 64;

/// Keys, tokens and names of people travel in queries (`?api_key=…`): the record of a proxied request has the names of the
/// parameters and the digest of the whole.
fn without_query(mut cedar_context: Value) -> Value {
    if let Value::Record(fields) = &mut cedar_context
        && let Some(Value::Record(input)) = fields.get_mut(INPUT)
        && let Some(query) = input.get_mut("query")
        && let Value::String(text) = &*query
        && !text.is_empty()
    {
        // What has no `=` is no parameter, and may be a secret itself.
        let names = text.split('&').map(|part| part.split_once('=').map_or("", |(name, _)| name));
        let short = |name: &str| match name.len() <= LONGEST_NAME {
            true => name.to_owned(),
            false => String::new(),
        };
        let named: Vec<String> = names.take(MOST_NAMES).map(short).collect();
        let digest = hex::encode(digest(&SHA256, text.as_bytes()));
        *query = Value::text(format!("{} sha256:{digest}", named.join("&")));
    }
    cedar_context
}

fn mask(value: &Value) -> Value {
    match value {
        Value::String(text) => {
            Value::text(format!("sha256:{}", hex::encode(digest(&SHA256, text.as_bytes()))))
        }
        Value::Set(items) => Value::Set(items.iter().map(mask).collect()),
        Value::Record(fields) => {
            Value::Record(fields.iter().map(|(name, value)| (name.clone(), mask(value))).collect())
        }
        Value::Bool(_)
        | Value::Long(_)
        | Value::Entity(_)
        | Value::Decimal(_)
        | Value::Datetime(_)
        | Value::Duration(_)
        | Value::Ip(_) => value.clone(),
    }
}

/// The policies that could not be evaluated.
fn errors(verdict: &Verdict) -> Vec<RecordError> {
    let error = |fault: &PolicyFault| RecordError {
        policy: Arc::clone(&fault.policy),
        message: fault.message.to_string(),
    };
    verdict.errors.iter().map(error).collect()
}

/// One line of a list's record.
pub(super) fn list_item(action: &Action, resource: &EntityUid, verdict: &Verdict) -> Item {
    let mut item = Item::new(resource.to_string(), verdict.outcome, verdict.policies.clone());
    item.action = Some(action.as_str().into());
    item.errors = errors(verdict);
    item
}

/// One answer to a question about another principal; with the question itself when the log is to be replayable.
pub(super) fn answer_item(question: &Query, verdict: &Verdict, replayable: bool) -> Item {
    let mut item = Item::new(question.resource.to_string(), verdict.outcome, verdict.policies.clone());
    item.errors = errors(verdict);
    item.principal = Some(question.principal.to_string());
    item.action = Some(question.action.to_string().into());
    if replayable {
        item.set_context(question.context.clone());
        item.set_entities(&question.entities);
    }
    item
}

fn agent(entity: &Entity) -> Option<AgentRecord> {
    let text = |name: &str| match entity.attributes.get(name) {
        Some(Value::String(text)) => Some(Arc::clone(text)),
        _ => None,
    };
    (entity.uid.base_type() == "Agent").then(|| AgentRecord {
        id: entity.uid.id().into(),
        version: text("version"),
        definition_sha256: text("definition_sha256").unwrap_or_default(),
    })
}

pub(super) fn build_record(state: &RequestState<'_>, replayable: bool, facts: DecisionFacts<'_>) -> Record {
    let (subject, context, attributes) = (state.subject, state.context, &state.attributes);
    let verdict = facts.verdict;
    let mut record = Record::new(
        facts.decision,
        state.now,
        context.request_id.clone(),
        SourceRecord::from(&context.source),
        facts.event_type,
        verdict.outcome,
        verdict.reason,
    );
    record.trace = context.trace.clone();
    record.policies = verdict.policies.clone();
    record.errors = errors(verdict);
    record.obligations = verdict.obligations.iter().map(ToString::to_string).collect();
    record.detail = verdict.mismatch.as_ref().map(ToString::to_string);
    record.policy_version = Some(state.bundle.version().clone());
    record.entity_version = attributes.version();
    record.entity_age_seconds = attributes.age_seconds(state.now);
    record.subject = Some(SubjectRecord::from(subject));
    record.actor = context.actor.as_ref().map(|actor| actor.principal.uid.to_string());
    let chain = super::context::delegation(context, subject);
    record.delegation = chain.iter().map(|delegate| delegate.uid().to_string()).collect();
    record.agent = state.principal.as_deref().and_then(agent);
    record.action = Some(facts.action.as_str().into());
    record.resource = Some(facts.resource.to_string());
    record.set_context(match (facts.arguments, facts.action) {
        (Some(_), _) if !replayable => without_texts(facts.cedar_context),
        (None, Action::Http(_)) if !replayable => without_query(facts.cedar_context),
        _ => facts.cedar_context,
    });
    if replayable {
        record.set_entities(&facts.entities);
        record.open_input = facts.open_input;
    }
    let content = facts.content_sha256.map(str::to_owned);
    record.args_sha256 = facts.arguments.map_or(content, crate::json::sha256);
    record.shadow = facts.shadow;
    record.items = facts.items;
    record.latency_us = u64::try_from(facts.began.elapsed().as_micros()).unwrap_or(u64::MAX);
    record
}
