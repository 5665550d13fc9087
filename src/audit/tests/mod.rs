//! What the decision log promises, case by case.

mod crash;
mod events;
mod faults;
mod journal;
mod keeping;
mod lines;
mod reading;
mod verifying;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::line::{ChainHead, Encoder};
use super::{
    AgentRecord, Item, Journal, Record, RecordError, Recovery, Settings, Shadow, SourceRecord, SubjectRecord,
};
use crate::model::{
    CallId, DecisionId, Entity, EntityUid, EventType, Outcome, PolicyMode, PolicyRef, PolicyVersion,
    ReasonCode, RequestId, Value,
};
use crate::telemetry::Metrics;

/// A directory with a log in it.
pub(super) struct TestLog {
    directory: tempfile::TempDir,
}

impl TestLog {
    pub(super) fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    pub(super) fn log(&self) -> PathBuf {
        self.directory.path().join("audit.log")
    }

    pub(super) fn settings(&self) -> Settings {
        // The deadline is for real disks; a test machine may be busy for longer.
        Settings { path: self.log(), deadline: std::time::Duration::from_secs(180), ..Settings::default() }
    }

    pub(super) fn open(&self) -> (Journal, Recovery) {
        Journal::open(self.settings(), Arc::new(Metrics::new())).unwrap()
    }

    fn text(&self) -> String {
        std::fs::read_to_string(self.log()).unwrap()
    }

    /// A log of `count` small records, written at once.
    fn with_lines(count: usize) -> Self {
        let place = Self::new();
        std::fs::write(place.log(), lines(&vec![event(); count])).unwrap();
        place
    }
}

/// The lines that a journal writes for these records, from the first on.
fn lines(records: &[Record]) -> String {
    let (mut encoder, mut last, mut text) = (Encoder::default(), ChainHead::GENESIS, String::new());
    for record in records {
        last = encoder.line(record, last, Settings::default().record_bytes, &mut text).unwrap();
    }
    text
}

fn line(record: &Record) -> String {
    lines(std::slice::from_ref(record)).trim_end().to_owned()
}

fn decision(text: &str) -> DecisionId {
    serde_json::from_value(text.into()).unwrap()
}

fn source() -> SourceRecord {
    SourceRecord { ip: [127, 0, 0, 1].into(), tls: false, user_agent: None }
}

pub(super) fn event() -> Record {
    let mut record = Record::new(
        decision("01989f00-0000-7000-8000-000000000001"),
        1_768_039_200_120,
        RequestId::from_caller("request-1").with_call(CallId::from_number(1)),
        source(),
        EventType::Authentication,
        Outcome::DenyExplicit,
        ReasonCode::Unauthenticated,
    );
    record.event = Some("login_failure");
    record
}

fn policy(effect: &str, id: &str) -> PolicyRef {
    PolicyRef { effect: effect.into(), id: id.into(), mode: PolicyMode::Enforce }
}

/// A record with everything in it.
fn whole() -> Record {
    let mut record = Record::new(
        decision("01989f00-0000-7000-8000-000000000002"),
        1_768_039_200_121,
        RequestId::from_caller("request-2").with_call(CallId::from_number(2)),
        SourceRecord { ip: [10, 0, 0, 7].into(), tls: true, user_agent: Some("mcp/1.0".into()) },
        EventType::ToolCall,
        Outcome::Allow,
        ReasonCode::Permitted,
    );
    record.trace = Some(("4bf92f3577b34da6a3ce929d0e0e4736".into(), "00f067aa0ba902b7".into()));
    record.policies = vec![policy("permit", "tools.researcher")];
    record.errors =
        vec![RecordError { message: "`a` is not there".to_owned(), policy: "tools.other".into() }];
    record.policy_version = Some(PolicyVersion::from_hex(&"ab".repeat(32)));
    record.entity_version = 7;
    record.entity_age_seconds = Some(42);
    record.subject = Some(SubjectRecord {
        principal: EntityUid::caxton("Agent", "researcher").to_string(),
        method: "api_key",
        credential: Some("k1".into()),
    });
    record.actor = Some(EntityUid::caxton("User", "https://idp|alice").to_string());
    record.delegation = vec![EntityUid::caxton("User", "https://idp|assistant").to_string()];
    record.agent = Some(AgentRecord {
        id: "researcher".into(),
        version: Some("1.2.0".into()),
        definition_sha256: "cd".repeat(32).into(),
    });
    record.action = Some("web___get-page".into());
    record.resource = Some(EntityUid::caxton("Tool", "web___get-page").to_string());
    record.set_context(Value::record([
        ("big", Value::Long(i64::MAX)),
        (
            "input",
            Value::record([("api_key", Value::text("hunter2hunter2")), ("url", Value::text("https://a"))]),
        ),
        ("now", Value::Datetime(1_768_039_200_121)),
        ("score", Value::Decimal("0.8500".into())),
        ("text", Value::text("x".repeat(2_000))),
    ]));
    record.args_sha256 = Some("ef".repeat(32));
    let resource = EntityUid::caxton("Tool", "web___other").to_string();
    let mut item = Item::new(resource, Outcome::DenyExplicit, vec![policy("forbid", "tools.drifted")]);
    item.action = Some("tool:call".into());
    item.open_input = true;
    item.errors = vec![RecordError { message: "`b` is not there".to_owned(), policy: "tools.other".into() }];
    item.set_context(Value::record([("token", Value::text("hunter2hunter2")), ("size", Value::Long(3))]));
    let tool = Entity::bare(EntityUid::caxton("Tool", "web___other")).with("pinned", Value::Bool(true));
    item.set_entities(&[tool.into()]);
    record.items = vec![item];
    let agent = Entity::bare(EntityUid::caxton("Agent", "researcher"))
        .with("status", Value::text("active"))
        .with("about", Value::text("x".repeat(2_000)))
        .in_parent(EntityUid::caxton("Role", "agent"));
    let user = Entity::bare(EntityUid::caxton("User", "https://idp|alice"))
        .tagged("api_token", Value::texts(["hunter2hunter2"]))
        .tagged("groups", Value::texts(["lab"]));
    let (agent, user) = (Arc::new(agent), Arc::new(user));
    record.set_entities([&agent, &user, &agent]);
    record.shadow = Some(Shadow {
        outcome: Outcome::DenyDefault,
        policy_version: PolicyVersion::from_hex(&"12".repeat(32)),
    });
    record.latency_us = 42;
    record.detail = Some("said \"no\"\n".to_owned());
    record
}

fn testdata(name: &str) -> Option<PathBuf> {
    let path = Path::new("../shared/testdata").join(name);
    path.exists().then_some(path)
}
