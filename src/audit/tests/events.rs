//! Every security event with its record, its metric and its line, as the golden file has them.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Value as Json, json};

use crate::audit::Record;
use crate::events::{AgentDigests, JudgedRequest, SecurityEvent};
use crate::model::{AgentId, DecisionId, EntityUid, ReasonCode};
use crate::telemetry::Metrics;

const GOLDEN: &str = "tests/golden/security-events.json";

/// What the events of a decision are made of.
struct Parts {
    agent: AgentId,
    principal: EntityUid,
    resource: EntityUid,
    decision: DecisionId,
}

/// The variant after `event` and its name, the first one for `None`. A variant that is missing here does not compile.
fn next<'e>(
    event: Option<&SecurityEvent<'_>>,
    parts: &'e Parts,
) -> Option<(&'static str, SecurityEvent<'e>)> {
    use SecurityEvent as E;
    let path = Path::new("/etc/caxton/file.pem");
    let request = JudgedRequest {
        agent: Some(&parts.agent),
        principal: &parts.principal,
        resource: &parts.resource,
        reason: ReasonCode::NoPermit,
        decision: parts.decision,
    };
    let digests = AgentDigests { before: Some("aa"), now: Some("bb") };
    Some(match event {
        None => ("GatewayStarted", E::GatewayStarted),
        Some(E::GatewayStarted) => ("GatewayStopped", E::GatewayStopped),
        Some(E::GatewayStopped) => ("JournalRepaired", E::JournalRepaired { bytes: 7, saved_to: path }),
        Some(E::JournalRepaired { .. }) => ("AuditRotated", E::AuditRotated { first: 1, last: 9 }),
        Some(E::AuditRotated { .. }) => {
            ("AuditFileMoved", E::AuditFileMoved { what: "it was emptied", first: 1, last: 9 })
        }
        Some(E::AuditFileMoved { .. }) => ("AuditDeleted", E::AuditDeleted { first: 1, last: 9 }),
        Some(E::AuditDeleted { .. }) => ("AuditCheckpoint", E::AuditCheckpoint { note: "log\n9\nAAAA\n" }),
        Some(E::AuditCheckpoint { .. }) => {
            ("AuditUpkeepFailed", E::AuditUpkeepFailed { why: "not compressed: no room" })
        }
        Some(E::AuditUpkeepFailed { .. }) => {
            ("AuditRecordsLost", E::AuditRecordsLost { sink: "splunk", first: 3, last: 7 })
        }
        Some(E::AuditRecordsLost { .. }) => (
            "WeakSetting",
            E::WeakSetting { key: "server.tls", value: "off", why: "it is open", fix: "set it" },
        ),
        Some(E::WeakSetting { .. }) => {
            ("RevocationListEnded", E::RevocationListEnded { path, ended_millis: 1_767_225_600_000 })
        }
        Some(E::RevocationListEnded { .. }) => ("AuthorityNotInForce", E::AuthorityNotInForce { path }),
        Some(E::AuthorityNotInForce { .. }) => ("TlsReloaded", E::TlsReloaded { summary: "one certificate" }),
        Some(E::TlsReloaded { .. }) => {
            ("TlsReloadRefused", E::TlsReloadRefused { problem: "the key is another", help: "replace it" })
        }
        Some(E::TlsReloadRefused { .. }) => ("OcspRefused", E::OcspRefused { error: "timeout" }),
        Some(E::OcspRefused { .. }) => ("IssuerKeysReloaded", E::IssuerKeysReloaded),
        Some(E::IssuerKeysReloaded) => ("IssuerKeysRefused", E::IssuerKeysRefused { error: "not JSON" }),
        Some(E::IssuerKeysRefused { .. }) => (
            "CredentialsChanged",
            E::CredentialsChanged { name: "key_created", at_millis: 1_767_225_600_000, detail: "key `ci`" },
        ),
        Some(E::CredentialsChanged { .. }) => {
            ("SessionsRevoked", E::SessionsRevoked { sessions: 3, decision: parts.decision })
        }
        Some(E::SessionsRevoked { .. }) => (
            "ConnectionEnded",
            E::ConnectionEnded { server: "crm", holder: "Caxton::Service::\"ci\"", why: "no refresh token" },
        ),
        Some(E::ConnectionEnded { .. }) => {
            ("ConnectionReplaced", E::ConnectionReplaced { server: "crm", holder: "Caxton::Service::\"ci\"" })
        }
        Some(E::ConnectionReplaced { .. }) => (
            "LoginFailure",
            E::LoginFailure { method: "jwt", reason: "expired", detail: Some("exp"), count: 2 },
        ),
        Some(E::LoginFailure { .. }) => (
            "AddressBlocked",
            E::AddressBlocked { address: IpAddr::V4(Ipv4Addr::LOCALHOST), time: Duration::from_secs(60) },
        ),
        Some(E::AddressBlocked { .. }) => {
            ("RateLimited", E::RateLimited { limit: "principal", route: "/v1/messages" })
        }
        Some(E::RateLimited { .. }) => ("PromptInjection", E::PromptInjection(request)),
        Some(E::PromptInjection(_)) => ("ToolAccessDenied", E::ToolAccessDenied(request)),
        Some(E::ToolAccessDenied(_)) => ("ToolArgumentsRefused", E::ToolArgumentsRefused(request)),
        Some(E::ToolArgumentsRefused(_)) => ("MemoryScopeViolation", E::MemoryScopeViolation(request)),
        Some(E::MemoryScopeViolation(_)) => ("RequestDenied", E::RequestDenied(request)),
        Some(E::RequestDenied(_)) => (
            "ProxiedRequestRefused",
            E::ProxiedRequestRefused { principal: &parts.principal, why: "no host" },
        ),
        Some(E::ProxiedRequestRefused { .. }) => {
            ("AgentFileRefused", E::AgentFileRefused { problem: "agents/a.md: no name" })
        }
        Some(E::AgentFileRefused { .. }) => {
            ("AgentDeployed", E::AgentDeployed(AgentDigests { before: None, ..digests }))
        }
        Some(E::AgentDeployed(_)) => ("AgentChanged", E::AgentChanged(digests)),
        Some(E::AgentChanged(_)) => ("AgentRemoved", E::AgentRemoved(AgentDigests { now: None, ..digests })),
        Some(E::AgentRemoved(_)) => {
            ("SettingsReloaded", E::SettingsReloaded { detail: "`server.log_level: debug`" })
        }
        Some(E::SettingsReloaded { .. }) => {
            ("SettingsRefused", E::SettingsRefused { why: "caxton.yaml is not valid" })
        }
        Some(E::SettingsRefused { .. }) => {
            ("PoliciesReloaded", E::PoliciesReloaded { detail: "watch: a -> b" })
        }
        Some(E::PoliciesReloaded { .. }) => {
            ("PolicyReloadRefused", E::PolicyReloadRefused { why: "not valid" })
        }
        Some(E::PolicyReloadRefused { .. }) => ("CandidateLoaded", E::CandidateLoaded { version: "cc" }),
        Some(E::CandidateLoaded { .. }) => ("CandidateRefused", E::CandidateRefused { why: "not valid" }),
        Some(E::CandidateRefused { .. }) => {
            ("ChangesLocked", E::ChangesLocked { author: "root", reason: "incident 7" })
        }
        Some(E::ChangesLocked { .. }) => ("ChangesUnlocked", E::ChangesUnlocked),
        Some(E::ChangesUnlocked) => return None,
    })
}

#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl io::Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The line that `emit` writes, without its time.
fn line(event: &SecurityEvent<'_>, metrics: &Metrics) -> Json {
    let written = Written::default();
    let writer = written.clone();
    let log = tracing_subscriber::fmt().json().without_time().with_writer(move || writer.clone()).finish();
    tracing::subscriber::with_default(log, || event.emit(metrics));
    let bytes = written.0.lock();
    if bytes.is_empty() { Json::Null } else { serde_json::from_slice(&bytes).unwrap() }
}

/// The counters that are not zero.
fn counted(metrics: &Metrics) -> Vec<String> {
    let text = metrics.render();
    let counters = text.lines().filter(|line| line.contains("_total") && !line.ends_with(" 0"));
    counters.map(str::to_owned).collect()
}

fn record(event: &SecurityEvent<'_>) -> Json {
    Record::of_event(event, 0).map_or(Json::Null, |record| {
        json!({
            "event": record.event,
            "event_type": record.event_type,
            "outcome": record.outcome,
            "reason_code": record.reason_code,
            "detail": record.detail,
        })
    })
}

fn parts() -> Parts {
    Parts {
        agent: AgentId::parse("researcher").unwrap(),
        principal: EntityUid::caxton("Agent", "researcher"),
        resource: EntityUid::caxton("Tool", "mail___send"),
        decision: serde_json::from_value(json!("01900000-0000-7000-8000-000000000001")).unwrap(),
    }
}

#[test]
fn every_event_is_the_golden_one() {
    let parts = parts();
    let mut found = BTreeMap::new();
    let mut event = None;
    while let Some((name, one)) = next(event.as_ref(), &parts) {
        let metrics = Metrics::new();
        let line = line(&one, &metrics);
        assert_eq!(line.is_null(), !one.facts().has_line, "{name}");
        found.insert(name, json!({ "record": record(&one), "line": line, "metric": counted(&metrics) }));
        event = Some(one);
    }
    let found = json!(found);
    let shown = serde_json::to_string_pretty(&found).unwrap() + "\n";
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(GOLDEN, &shown).unwrap();
    }
    let golden: Json = serde_json::from_slice(&std::fs::read(GOLDEN).unwrap()).unwrap();
    assert_eq!(golden, found, "a changed event is an API change; the events are now:\n{shown}");
}

#[test]
fn the_events_with_a_record_are_listed_by_name() {
    let parts = parts();
    let mut names = Vec::new();
    let mut event = None;
    while let Some((_, one)) = next(event.as_ref(), &parts) {
        let facts = one.facts();
        names.extend(facts.record.is_some().then_some(facts.name));
        event = Some(one);
    }
    names.sort_unstable();
    assert_eq!(names, crate::events::RECORDED_EVENTS);
}
