//! The decision record: what one decision was about, for a SIEM, an auditor and a replay.
//!
//! It is an API: a field is never renamed or given another meaning, new ones may come. `seq`, `prev_hash` and
//! `hash` are not here: the journal adds them.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;

use serde::Serialize;

use super::redact;
use crate::events::SecurityEvent;
use crate::model::{
    DecisionId, Entity, EntityUid, EventType, Fields, Outcome, PolicyRef, PolicyVersion, Proof, ReasonCode,
    RequestId, RequestSource, Subject, Value,
};

/// One decision, or one security event.
#[derive(Debug, Clone)]
pub struct Record {
    /// Identifies the decision.
    pub decision_id: DecisionId,
    /// When, in milliseconds since the Unix epoch.
    pub time_millis: i64,
    /// Correlates the records of one request.
    pub request_id: RequestId,
    /// W3C trace context: trace id and span id.
    pub trace: Option<(Arc<str>, Arc<str>)>,
    /// The kind of event.
    pub event_type: EventType,
    /// Which event of its kind (`login_failure`, `policy_reload`).
    pub event: Option<&'static str>,
    /// For how many events this record stands, itself included: refusals that come in floods are counted. 1 as a rule.
    pub count: u64,
    /// Of a refused credential: the route that was called, `GET /v1/agents/{id}`.
    pub route: Option<Arc<str>>,
    /// Of a refused credential: the public id of the key that was shown.
    pub key_id: Option<Arc<str>>,
    /// The outcome of the decision.
    pub outcome: Outcome,
    /// The reason in one stable word; a SIEM groups by it.
    pub reason_code: ReasonCode,
    /// The policies that determined it; the first 256 are written, the others counted.
    pub policies: Vec<PolicyRef>,
    /// Policies that could not be evaluated; the first 32 are written, the others counted.
    pub errors: Vec<RecordError>,
    /// What had to be done with the operation or its result: `label:pii`, `redact:/customer/ssn`. The first 64 are written.
    pub obligations: Vec<String>,
    /// The live policy version.
    pub policy_version: Option<PolicyVersion>,
    /// The version of the attribute store.
    pub entity_version: u64,
    /// How long ago attributes were last imported, in seconds; absent when they never were.
    pub entity_age_seconds: Option<u64>,
    /// The authenticated requester; absent when authentication failed.
    pub subject: Option<SubjectRecord>,
    /// The person an agent acts for, in Cedar's notation.
    pub actor: Option<String>,
    /// Those that the requester's token, or that of the person, was delegated to, in Cedar's notation: the one that acted first
    /// in the list, then those before it.
    pub delegation: Vec<String>,
    /// The agent's definition, when an agent asked.
    pub agent: Option<AgentRecord>,
    /// The action that was asked for, `tool:call`.
    pub action: Option<Arc<str>>,
    /// On what, in Cedar's notation.
    pub resource: Option<String>,
    /// The circumstances; private, so that nothing gets in past the masks. See [`Record::set_context`].
    context: Option<Value>,
    /// What the policies knew of principal, resource and others; private for the same reason. See
    /// [`Record::set_entities`].
    entities: Vec<EntityRecord>,
    /// Whether the operation's input was not known yet when it was decided.
    pub open_input: bool,
    /// SHA-256 of the canonical arguments.
    pub args_sha256: Option<String>,
    /// The source of the request.
    pub source: SourceRecord,
    /// The items of a list, each with its own outcome.
    pub items: Vec<Item>,
    /// How it would have ended if policies that only watch had decided.
    pub shadow: Option<Shadow>,
    /// Time from the parsed operation to the decision, in microseconds.
    pub latency_us: u64,
    /// Paths in `context` whose values were masked (`input.api_key`).
    masked: Vec<String>,
    /// A sentence for the operator.
    pub detail: Option<String>,
}

impl Record {
    /// A record of something that the gateway did by itself: a change when it was allowed, else one that was refused.
    pub(super) fn of_gateway(time_millis: i64, event_type: EventType, outcome: Outcome) -> Self {
        let reason = match outcome {
            Outcome::Allow => ReasonCode::Permitted,
            _ => ReasonCode::PolicyError,
        };
        let source = SourceRecord::from(&RequestSource::local());
        let decision = DecisionId::generate();
        let request = RequestId::generate();
        Self::new(decision, time_millis, request, source, event_type, outcome, reason)
    }

    /// The record of a security event of the gateway itself, without policy version; `None` for an event that has no
    /// record of its own. The caller puts in the request where one was the cause.
    pub fn of_event(event: &SecurityEvent<'_>, time_millis: i64) -> Option<Self> {
        let facts = event.facts();
        let (event_type, outcome, reason) = facts.record?;
        let mut record = Self::of_gateway(time_millis, event_type, outcome);
        record.reason_code = reason;
        record.event = Some(facts.name);
        record.detail = event.detail();
        Some(record)
    }

    /// The record of an event of another program. What it says stands in the context, in `application`.
    pub(super) fn of_application(time_millis: i64, context: Value) -> Self {
        let mut record = Self::of_gateway(time_millis, EventType::Application, Outcome::Allow);
        record.event = Some(APPLICATION);
        record.set_context(context);
        record
    }

    /// A record with what every record has; the rest is empty until the caller fills it in.
    pub fn new(
        decision_id: DecisionId,
        time_millis: i64,
        request_id: RequestId,
        source: SourceRecord,
        event_type: EventType,
        outcome: Outcome,
        reason_code: ReasonCode,
    ) -> Self {
        Self {
            decision_id,
            time_millis,
            request_id,
            source,
            event_type,
            outcome,
            reason_code,
            trace: None,
            event: None,
            count: 1,
            route: None,
            key_id: None,
            policies: Vec::new(),
            errors: Vec::new(),
            obligations: Vec::new(),
            policy_version: None,
            entity_version: 0,
            entity_age_seconds: None,
            subject: None,
            actor: None,
            delegation: Vec::new(),
            agent: None,
            action: None,
            resource: None,
            context: None,
            entities: Vec::new(),
            open_input: false,
            args_sha256: None,
            items: Vec::new(),
            shadow: None,
            latency_us: 0,
            masked: Vec::new(),
            detail: None,
        }
    }

    /// Takes the circumstances in, with everything that looks like a credential masked and named in `masked`.
    pub fn set_context(&mut self, mut context: Value) {
        self.masked.retain(|path| path.starts_with(ENTITIES));
        self.masked.extend(redact::mask(&mut context));
        self.context = Some(context);
    }

    /// Takes in what the policies knew, each entity once, so that the decision can be evaluated again. Masked like
    /// the context.
    pub fn set_entities<'e>(&mut self, entities: impl IntoIterator<Item = &'e Arc<Entity>>) {
        let mut seen = HashSet::new();
        let once = entities.into_iter().filter(|entity| seen.insert(&entity.uid));
        self.entities = once.map(|entity| EntityRecord::new(entity)).collect();
        for (number, entity) in self.entities.iter_mut().enumerate() {
            let masked = entity.mask().into_iter();
            self.masked.extend(masked.map(|path| format!("{ENTITIES}{number}.{path}")));
        }
    }

    /// Leaves out what can be long, for a record that waits for others of its kind.
    pub(super) fn shorten(&mut self) {
        self.context = None;
        self.entities = Vec::new();
        self.masked = Vec::new();
        for text in [&mut self.resource, &mut self.detail].into_iter().flatten() {
            text.truncate(text.floor_char_boundary(redact::TEXT_BYTES));
            text.shrink_to_fit();
        }
    }

    /// The entities, masked.
    pub(super) fn entities(&self) -> &[EntityRecord] {
        &self.entities
    }

    /// The paths of what was masked.
    pub(super) fn masked(&self) -> &[String] {
        &self.masked
    }

    /// The circumstances, masked.
    pub fn context(&self) -> Option<&Value> {
        self.context.as_ref()
    }
}

/// `event` of the record of another program's event.
const APPLICATION: &str = "application";

/// The prefix of paths of masked entity values.
const ENTITIES: &str = "entities.";

/// An entity as the policies saw it; its values are records by the names that tests use too (`attrs`, `tags`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct EntityRecord {
    pub(super) values: Value,
    pub(super) parents: Vec<EntityUid>,
    pub(super) uid: EntityUid,
}

impl EntityRecord {
    fn new(entity: &Entity) -> Self {
        let record = |fields: &Fields| Value::Record(fields.clone());
        let values = Value::record([("attrs", record(&entity.attributes)), ("tags", record(&entity.tags))]);
        Self { values, parents: entity.parents.clone(), uid: entity.uid.clone() }
    }

    fn mask(&mut self) -> Vec<String> {
        redact::mask(&mut self.values)
    }

    /// Its attributes or its tags, when it has any.
    pub(super) fn field(&self, name: &str) -> Option<&Value> {
        let Value::Record(fields) = &self.values else { return None };
        fields.get(name).filter(|value| !matches!(value, Value::Record(fields) if fields.is_empty()))
    }
}

/// A policy that could not be evaluated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RecordError {
    /// The message of the policy engine.
    pub message: String,
    /// The policy's `@id`.
    pub policy: Arc<str>,
}

/// The authenticated requester and the method of authentication; never the credential itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SubjectRecord {
    /// Public name of the credential: a key id, a token's `jti`, a certificate's SHA-256.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential: Option<Arc<str>>,
    /// `jwt`, `api_key`, `oauth2`, `session`, `mtls`, `internal`.
    pub method: &'static str,
    /// The Cedar principal.
    pub principal: String,
}

impl From<&Subject> for SubjectRecord {
    fn from(subject: &Subject) -> Self {
        let credential = match subject.proof() {
            Proof::Jwt { jti, key } => Some(jti.as_ref().map_or_else(|| Arc::clone(key), Arc::clone)),
            Proof::ApiKey { id } => Some(id.shared()),
            Proof::Login { key } => Some(Arc::clone(key)),
            Proof::Session { jti, .. } => Some(Arc::clone(jti)),
            Proof::Certificate { fingerprint } => Some(Arc::clone(fingerprint)),
            Proof::Internal => None,
        };
        Self { credential, method: subject.proof().method(), principal: subject.principal().to_string() }
    }
}

/// Which definition of an agent asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AgentRecord {
    /// SHA-256 of the definition file.
    pub definition_sha256: Arc<str>,
    /// The agent.
    pub id: Arc<str>,
    /// The version its definition states.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<Arc<str>>,
}

/// The source of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SourceRecord {
    /// The peer's address.
    pub ip: IpAddr,
    /// Whether the connection was encrypted.
    pub tls: bool,
    /// The `User-Agent` header.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<Arc<str>>,
}

impl From<&RequestSource> for SourceRecord {
    fn from(source: &RequestSource) -> Self {
        Self { ip: source.ip, tls: source.tls, user_agent: source.user_agent.clone() }
    }
}

/// One item of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// The action, when it differs from the record's action.
    pub action: Option<Arc<str>>,
    /// The outcome of the decision.
    pub outcome: Outcome,
    /// The policies that determined it.
    pub policies: Vec<PolicyRef>,
    /// Policies that could not be evaluated.
    pub errors: Vec<RecordError>,
    /// The principal of this item, when it is not the record's subject.
    pub principal: Option<String>,
    /// Which item, in Cedar's notation.
    pub resource: String,
    /// Whether the question was about some input, not about a certain one.
    pub open_input: bool,
    /// How it would have ended if policies that only watch had decided.
    pub shadow: Option<Shadow>,
    /// Its own circumstances, masked.
    pub(super) context: Option<Value>,
    /// Its own entities, masked.
    pub(super) entities: Vec<EntityRecord>,
}

impl Item {
    /// An item about which nothing is kept but how it ended.
    pub fn new(resource: String, outcome: Outcome, policies: Vec<PolicyRef>) -> Self {
        Self {
            action: None,
            outcome,
            policies,
            errors: Vec::new(),
            principal: None,
            resource,
            open_input: false,
            shadow: None,
            context: None,
            entities: Vec::new(),
        }
    }

    /// Keeps circumstances that are not those of the record, masked.
    pub fn set_context(&mut self, mut context: Value) {
        redact::mask(&mut context);
        self.context = Some(context);
    }

    /// Keeps entities that are not those of the record, masked.
    pub fn set_entities(&mut self, entities: &[Arc<Entity>]) {
        self.entities = entities.iter().map(|entity| EntityRecord::new(entity)).collect();
        self.entities.iter_mut().for_each(|entity| drop(entity.mask()));
    }
}

/// The decision of a candidate bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Shadow {
    /// How it would have ended.
    pub outcome: Outcome,
    /// The candidate.
    pub policy_version: PolicyVersion,
}
