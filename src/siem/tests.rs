//! A log with records of every kind, as the journal writes them.

use std::path::Path;
use std::sync::Arc;

use crate::audit::{
    AgentRecord, Item, Journal, Record, RecordError, Settings, Shadow, SourceRecord, SubjectRecord,
};
use crate::events::{AgentDigests, SecurityEvent};
use crate::model::{
    CallId, DecisionId, EntityUid, EventType, Outcome, PolicyMode, PolicyRef, PolicyVersion, ReasonCode,
    RequestId, Value,
};
use crate::telemetry::Metrics;

const TIME: i64 = 1_768_039_200_121;

fn decision(number: u64) -> DecisionId {
    serde_json::from_value(format!("01989f00-0000-7000-8000-{number:012}").into()).unwrap()
}

fn request(number: u64) -> RequestId {
    RequestId::from_caller(&format!("request-{number}")).with_call(CallId::from_number(number.into()))
}

fn source() -> SourceRecord {
    SourceRecord { ip: [10, 0, 0, 7].into(), tls: true, user_agent: Some("mcp/1.0".into()) }
}

/// A decision about this action on this entity.
pub(crate) fn record(
    number: u64,
    event_type: EventType,
    outcome: Outcome,
    action: &str,
    resource: (&str, &str),
) -> Record {
    let reason = match outcome {
        Outcome::Allow => ReasonCode::Permitted,
        Outcome::DenyExplicit => ReasonCode::Forbidden,
        Outcome::DenyDefault | Outcome::ApprovalRequired => ReasonCode::NoPermit,
        Outcome::DenyError => ReasonCode::PolicyError,
        Outcome::Limited => ReasonCode::RateLimited,
    };
    let mut record =
        Record::new(decision(number), TIME, request(number), source(), event_type, outcome, reason);
    record.action = Some(action.into());
    record.resource = Some(EntityUid::caxton(resource.0, resource.1).to_string());
    record.subject = Some(SubjectRecord {
        principal: EntityUid::caxton("User", "https://idp|alice").to_string(),
        method: "api_key",
        credential: Some("k1".into()),
    });
    record.policy_version = Some(PolicyVersion::from_hex(&"ab".repeat(32)));
    record.latency_us = 42;
    record
}

fn policy(effect: &str, id: &str, mode: PolicyMode) -> PolicyRef {
    PolicyRef { effect: effect.into(), id: id.into(), mode }
}

/// A tool call of an agent with everything that a record can have.
fn whole() -> Record {
    let tool = ("Tool", "web___get-page");
    let mut record = record(1, EventType::ToolCall, Outcome::Allow, "web___get-page", tool);
    record.trace = Some(("4bf92f3577b34da6a3ce929d0e0e4736".into(), "00f067aa0ba902b7".into()));
    record.policies = vec![
        policy("permit", "tools.researcher", PolicyMode::Enforce),
        policy("forbid", "tools.watch", PolicyMode::LogOnly),
    ];
    record.errors =
        vec![RecordError { message: "`a` is not there".to_owned(), policy: "tools.other".into() }];
    record.obligations = vec!["label:pii".to_owned()];
    record.entity_version = 7;
    record.entity_age_seconds = Some(42);
    record.subject = Some(SubjectRecord {
        principal: EntityUid::caxton("Agent", "researcher").to_string(),
        method: "internal",
        credential: None,
    });
    record.actor = Some(EntityUid::caxton("User", "https://idp|alice").to_string());
    record.delegation = vec![EntityUid::caxton("User", "https://idp|assistant").to_string()];
    record.agent = Some(AgentRecord {
        id: "researcher".into(),
        version: Some("1.2.0".into()),
        definition_sha256: "cd".repeat(32).into(),
    });
    record.set_context(Value::record([
        (
            "input",
            Value::record([("url", Value::text("https://a")), ("token", Value::text("hunter2hunter2"))]),
        ),
        ("size", Value::Long(3)),
    ]));
    record.args_sha256 = Some("ef".repeat(32));
    record.shadow = Some(Shadow {
        outcome: Outcome::DenyDefault,
        policy_version: PolicyVersion::from_hex(&"12".repeat(32)),
    });
    record.detail = Some("said \"no\"\n".to_owned());
    record
}

fn injection() -> Record {
    let tool = ("Tool", "web___get-page");
    let mut record = record(2, EventType::ToolCall, Outcome::DenyExplicit, "web___get-page", tool);
    record.policies = vec![policy("forbid", "screening.injection", PolicyMode::Enforce)];
    record.set_context(Value::record([(
        "screening",
        Value::record([
            ("injection", Value::Bool(true)),
            ("score", Value::Decimal("0.9500".into())),
            ("findings", Value::texts(["instruction_override"])),
        ]),
    )]));
    record
}

fn list() -> Record {
    let mut record = record(3, EventType::Authorization, Outcome::Allow, "tool:list", ("Gateway", "caxton"));
    let item = |name: &str, outcome, policies| {
        Item::new(EntityUid::caxton("Tool", name).to_string(), outcome, policies)
    };
    record.items = vec![
        item("web___get-page", Outcome::Allow, vec![policy("permit", "tools.all", PolicyMode::Enforce)]),
        item("web___post", Outcome::DenyDefault, vec![]),
    ];
    record
}

fn refused_credential() -> Record {
    let facts = (Outcome::DenyExplicit, ReasonCode::Unauthenticated);
    let mut record =
        Record::new(decision(4), TIME, request(4), source(), EventType::Authentication, facts.0, facts.1);
    record.event = Some("login_failure");
    record.detail = Some("jwt: expired".to_owned());
    record.count = 7;
    record.route = Some("GET /v1/agents/{id}".into());
    record.key_id = Some("k1".into());
    record
}

fn of_event(number: u64, event: &SecurityEvent<'_>) -> Record {
    let mut record = Record::of_event(event, TIME).unwrap();
    record.decision_id = decision(number);
    record.request_id = request(number);
    record
}

/// Records of every event type, class, outcome and event, in an order that does not change.
pub(crate) fn records() -> Vec<Record> {
    let mut records = vec![whole(), injection(), list(), refused_credential()];
    let decisions = [
        (EventType::MemoryAccess, Outcome::DenyDefault, "memory:read", ("Memory", "agent/other")),
        (EventType::MemoryAccess, Outcome::Allow, "memory:write", ("Memory", "agent/own")),
        (EventType::MemoryAccess, Outcome::Allow, "memory:delete", ("Memory", "agent/own")),
        (EventType::Message, Outcome::Allow, "message:send", ("Agent", "writer")),
        (EventType::Authorization, Outcome::Limited, "agent:list", ("Gateway", "caxton")),
        (EventType::Authorization, Outcome::ApprovalRequired, "http:post", ("HttpRoute", "/orders")),
        (EventType::Authorization, Outcome::DenyError, "http:get", ("HttpRoute", "/orders")),
        (EventType::Authorization, Outcome::Allow, "model:call", ("Model", "small")),
        (EventType::AdminAction, Outcome::Allow, "auth:token", ("Gateway", "caxton")),
        (EventType::AdminAction, Outcome::Allow, "auth:logout", ("Gateway", "caxton")),
        (EventType::AdminAction, Outcome::Allow, "auth:session:revoke", ("User", "https://idp|bob")),
        (EventType::AdminAction, Outcome::Allow, "auth:key:create", ("ApiKey", "ci")),
        (EventType::AdminAction, Outcome::Allow, "auth:key:list", ("Gateway", "caxton")),
        (EventType::AdminAction, Outcome::DenyDefault, "auth:key:revoke", ("ApiKey", "ci")),
        (EventType::ConfigurationChange, Outcome::Allow, "policy:publish", ("Gateway", "caxton")),
        (EventType::AdminAction, Outcome::Allow, "entity:write", ("Role", "operators")),
        (EventType::AdminAction, Outcome::Allow, "entity:write", ("User", "https://idp|bob")),
    ];
    for (event_type, outcome, action, resource) in decisions {
        records.push(record(records.len() as u64 + 1, event_type, outcome, action, resource));
    }
    let digests = AgentDigests { before: Some("aa"), now: Some("bb") };
    let events = [
        SecurityEvent::GatewayStarted,
        SecurityEvent::GatewayStopped,
        SecurityEvent::AgentDeployed(digests),
        SecurityEvent::AgentChanged(digests),
        SecurityEvent::AgentRemoved(digests),
        SecurityEvent::PoliciesReloaded { detail: "aa -> bb" },
        SecurityEvent::PolicyReloadRefused { why: "not valid" },
        SecurityEvent::CandidateLoaded { version: "cc" },
        SecurityEvent::CredentialsChanged { name: "key_created", at_millis: TIME, detail: "key `ci`" },
        SecurityEvent::RateLimited { limit: "principal", route: "/v1/agents" },
        SecurityEvent::ChangesLocked { author: "root", reason: "incident 7" },
        SecurityEvent::ChangesUnlocked,
        SecurityEvent::TlsReloaded { summary: "one certificate" },
        SecurityEvent::AuditCheckpoint { note: "log\n9\nAAAA\n" },
        SecurityEvent::AuditDeleted { first: 1, last: 9 },
    ];
    for event in events {
        records.push(of_event(records.len() as u64 + 1, &event));
    }
    records
}

/// A journal in this folder, with a deadline for a busy machine.
pub(crate) fn journal(folder: &Path) -> Journal {
    let settings = Settings {
        path: folder.join("audit.log"),
        deadline: std::time::Duration::from_secs(180),
        refusal_window: std::time::Duration::ZERO,
        ..Settings::default()
    };
    Journal::open(settings, Arc::new(Metrics::new())).unwrap().0
}

/// The lines that a journal writes for these records.
pub(crate) async fn lines(records: Vec<Record>) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let journal = journal(folder.path());
    for record in records {
        journal.append(record).await.unwrap();
    }
    journal.close();
    let text = std::fs::read_to_string(folder.path().join("audit.log")).unwrap();
    text.lines().map(str::to_owned).collect()
}
