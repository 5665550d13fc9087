//! The decision record: what one decision was about, as a SIEM, an auditor and a replay will want to know it.
//!
//! It is an API: a field is never renamed or given another meaning, new ones may come. `seq`, `prev_hash` and
//! `hash` are not here: only the journal knows them.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use serde::Serialize;

use crate::model::{
    DecisionId, EventType, Outcome, PolicyRef, PolicyVersion, ReasonCode, RequestId, Value,
};

/// One decision, or one security event.
#[derive(Debug, Clone)]
pub struct Record {
    /// Which decision.
    pub decision_id: DecisionId,
    /// When, in milliseconds since the Unix epoch.
    pub time_millis: i64,
    /// Correlates the records of one request.
    pub request_id: RequestId,
    /// W3C trace context: trace id and span id.
    pub trace: Option<(Arc<str>, Arc<str>)>,
    /// What kind of event it is.
    pub event_type: EventType,
    /// Which event of its kind (`login_failure`, `policy_reload`).
    pub event: Option<&'static str>,
    /// How it ended.
    pub outcome: Outcome,
    /// Why.
    pub reason_code: ReasonCode,
    /// The policies that determined it; the first 256 are written, the others counted.
    pub policies: Vec<PolicyRef>,
    /// Policies that could not be evaluated; the first 32 are written, the others counted.
    pub errors: Vec<RecordError>,
    /// The live policy version.
    pub policy_version: Option<PolicyVersion>,
    /// The version of the attribute store.
    pub entity_version: u64,
    /// Who asked; absent when nobody was proven.
    pub subject: Option<SubjectRecord>,
    /// The person an agent acts for, in Cedar's notation.
    pub actor: Option<String>,
    /// The agent's definition, when an agent asked.
    pub agent: Option<AgentRecord>,
    /// What was asked for.
    pub action: Option<Arc<str>>,
    /// On what, in Cedar's notation.
    pub resource: Option<String>,
    /// The circumstances. Whatever looks like a credential in them is masked before it is written.
    pub context: Option<Value>,
    /// SHA-256 of the canonical arguments.
    pub args_sha256: Option<String>,
    /// Where it came from.
    pub source: SourceRecord,
    /// The items of a list, each with its own outcome.
    pub items: Vec<Item>,
    /// How it would have ended if policies that only watch decided.
    pub shadow: Option<Outcome>,
    /// Time from the parsed operation to the decision, in microseconds.
    pub latency_us: u64,
    /// A sentence for the operator.
    pub detail: Option<String>,
}

impl Record {
    /// An event of the gateway itself; the caller fills in what it knows besides.
    pub fn event(
        event_type: EventType,
        outcome: Outcome,
        reason_code: ReasonCode,
        request_id: RequestId,
        time_millis: i64,
    ) -> Self {
        Self {
            decision_id: DecisionId::generate(),
            time_millis,
            request_id,
            trace: None,
            event_type,
            event: None,
            outcome,
            reason_code,
            policies: Vec::new(),
            errors: Vec::new(),
            policy_version: None,
            entity_version: 0,
            subject: None,
            actor: None,
            agent: None,
            action: None,
            resource: None,
            context: None,
            args_sha256: None,
            source: SourceRecord { ip: IpAddr::V4(Ipv4Addr::LOCALHOST), tls: false, user_agent: None },
            items: Vec::new(),
            shadow: None,
            latency_us: 0,
            detail: None,
        }
    }
}

/// A policy that could not be evaluated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RecordError {
    /// What the policy engine said.
    pub message: String,
    /// The policy's `@id`.
    pub policy: Arc<str>,
}

/// Who asked, and how that was proven; never the credential itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SubjectRecord {
    /// Public name of the credential: a key id, a token's `jti`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential: Option<Arc<str>>,
    /// `jwt`, `api_key`, `internal`.
    pub method: &'static str,
    /// The Cedar principal.
    pub principal: String,
}

/// Which definition of an agent asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AgentRecord {
    /// SHA-256 of the definition file.
    pub definition_sha256: Arc<str>,
    /// The agent.
    pub id: Arc<str>,
    /// The version its definition states.
    pub version: Arc<str>,
}

/// Where a request came from.
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

/// One item of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Item {
    /// What was asked for.
    pub action: Arc<str>,
    /// How it ended.
    pub outcome: Outcome,
    /// The policies that determined it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<PolicyRef>,
    /// Who was asked about, when that is not the subject.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub principal: Option<String>,
    /// Which item, in Cedar's notation.
    pub resource: String,
}
