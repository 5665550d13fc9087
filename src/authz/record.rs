//! What a decision looks like to the policies (`context`) and to the journal (the record).

use std::sync::Arc;
use std::time::Instant;

use aws_lc_rs::digest::{SHA256, digest};
use serde_json::{Map, Value as Json};
use smol_str::{SmolStr, format_smolstr};

use super::guard::Asking;
use crate::audit::{AgentRecord, Item, Record, RecordError, Shadow, SourceRecord, SubjectRecord};
use crate::model::{
    Action, DecisionId, Entity, EntityUid, EventType, Input, RequestContext, Screening, SessionFacts, Value,
};
use crate::policy::{PolicyFault, Query, Verdict};

/// One decision, on its way into the journal.
pub(super) struct Decided<'a> {
    pub(super) decision: DecisionId,
    pub(super) event_type: EventType,
    pub(super) action: &'a Action,
    pub(super) resource: &'a EntityUid,
    pub(super) verdict: &'a Verdict,
    /// What would have been decided otherwise.
    pub(super) shadow: Option<Shadow>,
    /// `context`, as the policies saw it.
    pub(super) circumstances: Value,
    /// What they knew of principal, resource and others.
    pub(super) entities: Vec<Arc<Entity>>,
    /// Whether the input was not known yet.
    pub(super) open_input: bool,
    pub(super) arguments: Option<&'a Map<String, Json>>,
    pub(super) content_sha256: Option<&'a str>,
    pub(super) began: Instant,
}

/// The field of `context` that is the operation's own.
const INPUT: &str = "input";

/// A name that stands in the program. In each record here they stand in order.
pub(super) fn name(name: &'static str) -> SmolStr {
    SmolStr::new_static(name)
}

/// `context`, as `schemas/caxton.cedarschema` types it, but for the input.
pub(super) fn describe(
    context: &RequestContext,
    facts: &SessionFacts,
    screening: &Screening,
    system: Value,
) -> Value {
    let source = &context.source;
    let actor = context.actor.as_ref().map(|actor| {
        let scopes = (name("scopes"), Value::texts(&actor.scopes));
        let user = (name("user"), Value::Entity(actor.user.uid.clone()));
        (name("actor"), Value::record([scopes, user]))
    });
    let agent = source.user_agent.clone().map(|agent| (name("user_agent"), Value::String(agent)));
    let origin = [
        (name("ip"), Value::Ip(format_smolstr!("{}", source.ip).as_str().into())),
        (name("mtls"), Value::Bool(source.mtls)),
        (name("tls"), Value::Bool(source.tls)),
    ];
    let session = Value::record([
        (name("age_seconds"), Value::Long(facts.age_seconds)),
        (name("denied"), Value::Long(facts.denied)),
        (name("id"), Value::String(Arc::clone(&facts.id))),
        (name("labels"), Value::texts(&facts.labels)),
        (name("tool_calls"), Value::Long(facts.tool_calls)),
        (name("tools_called"), Value::texts(&facts.tools_called)),
    ]);
    let screens = Value::record([
        (name("findings"), Value::texts(&screening.findings)),
        (name("injection"), Value::Bool(screening.injection)),
        (name("score"), Value::Decimal(screening.score_decimal().as_str().into())),
    ]);
    let fields = [
        (name("screening"), screens),
        (name("session"), session),
        (name("source"), Value::record(origin.into_iter().chain(agent))),
        (name("system"), system),
    ];
    Value::record(actor.into_iter().chain(fields))
}

/// Puts the operation's input into the circumstances, or takes that of another one out; whether any could still come.
pub(super) fn give(circumstances: &mut Value, input: Input) -> bool {
    let open = matches!(input, Input::Open);
    if let Value::Record(fields) = circumstances {
        match input {
            Input::Known(value) => drop(fields.insert(INPUT.into(), value)),
            Input::Absent | Input::Open => drop(fields.remove(INPUT)),
        }
    }
    open
}

/// For the record, the texts among a caller's arguments stand as `sha256:…`, unless the log is to be replayable.
/// Other inputs are facts that the gateway itself states.
fn without_texts(mut circumstances: Value) -> Value {
    if let Value::Record(fields) = &mut circumstances
        && let Some(input) = fields.get_mut(INPUT)
    {
        *input = mask(input);
    }
    circumstances
}

/// The most parameters of a query that are named in a record, and the longest of their names in bytes.
const MOST_NAMES: usize = 32;
const LONGEST_NAME: usize = 64;

/// Keys, tokens and names of people travel in queries (`?api_key=…`): the record of a proxied request has the names of the
/// parameters and the digest of the whole.
fn without_query(mut circumstances: Value) -> Value {
    if let Value::Record(fields) = &mut circumstances
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
    circumstances
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
pub(super) fn item(action: &Action, resource: &EntityUid, verdict: &Verdict) -> Item {
    let mut item = Item::new(resource.to_string(), verdict.outcome, verdict.policies.clone());
    item.action = Some(action.as_str().into());
    item.errors = errors(verdict);
    item
}

/// One answer to a question about somebody else; with the question itself when the log is to be replayable.
pub(super) fn answer(question: &Query, verdict: &Verdict, replayable: bool) -> Item {
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

pub(super) fn build(asking: &Asking<'_>, replayable: bool, decided: Decided<'_>) -> Record {
    let (subject, context, attributes) = (asking.subject, asking.context, &asking.attributes);
    let verdict = decided.verdict;
    let mut record = Record::new(
        decided.decision,
        asking.now,
        context.request_id.clone(),
        SourceRecord::from(&context.source),
        decided.event_type,
        verdict.outcome,
        verdict.reason,
    );
    record.trace = context.trace.clone();
    record.policies = verdict.policies.clone();
    record.errors = errors(verdict);
    record.detail = verdict.mismatch.as_ref().map(ToString::to_string);
    record.policy_version = Some(asking.bundle.version().clone());
    record.entity_version = attributes.version();
    record.entity_age_seconds = attributes.age_seconds(asking.now);
    record.subject = Some(SubjectRecord::from(subject));
    record.actor = context.actor.as_ref().map(|actor| actor.user.uid.to_string());
    record.agent = asking.principal.as_deref().and_then(agent);
    record.action = Some(decided.action.as_str().into());
    record.resource = Some(decided.resource.to_string());
    record.set_context(match (decided.arguments, decided.action) {
        (Some(_), _) if !replayable => without_texts(decided.circumstances),
        (None, Action::Http(_)) if !replayable => without_query(decided.circumstances),
        _ => decided.circumstances,
    });
    if replayable {
        record.set_entities(&decided.entities);
        record.open_input = decided.open_input;
    }
    let content = decided.content_sha256.map(str::to_owned);
    record.args_sha256 = decided.arguments.map_or(content, crate::json::sha256);
    record.shadow = decided.shadow;
    record.latency_us = u64::try_from(decided.began.elapsed().as_micros()).unwrap_or(u64::MAX);
    record
}
