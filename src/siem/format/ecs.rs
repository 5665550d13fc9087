//! Elastic Common Schema 9.0 (<https://www.elastic.co/docs/reference/ecs>): what detection rules of Elastic Security read.
//!
//! Fields of ours stand under `caxton.*`. What callers can put keys into (`context`, `entities`) is a JSON text there: as
//! fields they would be new columns of the index, and two callers could make them collide.

use serde_json::{Map, Value, json};

use super::logged::LoggedFields;
use super::ocsf::EventClass;
use super::{RenderSettings, json_line, object, text};

/// The version of ECS that the field names are from.
const ECS_VERSION: &str = "9.0.0";

/// Fields of a record that have a place of their own in ECS.
const MAPPED: &[&str] = &[
    "action",
    "detail",
    "event_type",
    "policies",
    "policy_version",
    "reason_code",
    "request_id",
    "seq",
    "source",
    "span_id",
    "time",
    "trace_id",
];

/// Fields with keys that callers choose.
const OPEN: &[&str] = &["context", "entities", "items"];

pub(super) fn document(record: LoggedFields<'_>, settings: &RenderSettings) -> Value {
    let mut document = object([
        ("@timestamp", text(Some(record.time()))),
        ("message", Some(Value::from(record.message()))),
        ("ecs", Some(json!({ "version": ECS_VERSION }))),
        ("event", Some(event(record))),
        ("rule", rule(record)),
        ("user", user(record)),
        ("source", source(record)),
        ("user_agent", record.text(&["source", "user_agent"]).map(|agent| json!({ "original": agent }))),
        ("trace", record.text(&["trace_id"]).map(|id| json!({ "id": id }))),
        ("span", record.text(&["span_id"]).map(|id| json!({ "id": id }))),
        ("http", http(record)),
        ("gen_ai", gen_ai(record)),
        ("related", related(record)),
        ("tags", Some(json!(["caxton"]))),
        (
            "observer",
            Some(json!({
                "vendor": "Caxton",
                "product": "Caxton Gateway",
                "type": "gateway",
                "version": settings.product_version,
                "hostname": &*settings.instance,
            })),
        ),
        ("service", Some(json!({ "name": "caxton", "type": "caxton", "version": settings.product_version }))),
        ("caxton", Some(own_fields(record))),
    ]);
    if let (Some(route), Some(document)) = (record.text(&["route"]), document.as_object_mut()) {
        let path = route.split_once(' ').map_or(route, |(_, path)| path);
        document.insert("url".to_owned(), json!({ "path": path }));
    }
    document
}

/// `event.category` and `event.type`, of the allowed values.
fn classification(record: LoggedFields<'_>) -> (&'static [&'static str], Vec<&'static str>) {
    let action = record.operation();
    let verdict = if record.is_allowed() { "allowed" } else { "denied" };
    let change = || match action.rsplit(':').next().unwrap_or_default() {
        "create" | "agent_deployed" => "creation",
        "revoke" | "delete" | "agent_removed" => "deletion",
        "list" | "read" => "info",
        _ => "change",
    };
    match EventClass::of(record) {
        EventClass::Authentication if action == "auth:logout" => (&["authentication"], vec!["end"]),
        EventClass::Authentication => (&["authentication"], vec!["start"]),
        EventClass::Session => (&["session"], vec!["end"]),
        EventClass::Entity if action.starts_with("auth:") => (&["iam"], vec!["admin", change()]),
        EventClass::Role => (&["iam"], vec!["admin", "change"]),
        EventClass::Entity => (&["configuration"], vec![change()]),
        EventClass::Detection => (&["intrusion_detection", "api"], vec!["info", verdict]),
        EventClass::ApiActivity => (&["api"], vec!["access", verdict]),
    }
}

fn event(record: LoggedFields<'_>) -> Value {
    let (category, types) = classification(record);
    let kind = if record.is_injection() { "alert" } else { "event" };
    object([
        ("kind", text(Some(kind))),
        ("category", Some(json!(category))),
        ("type", Some(json!(types))),
        ("outcome", text(Some(if record.is_allowed() { "success" } else { "failure" }))),
        ("action", text(Some(record.operation()))),
        ("code", text(Some(record.event()))),
        ("reason", text(Some(record.reason()))),
        ("id", Some(Value::from(record.uid()))),
        ("sequence", Some(Value::from(record.seq()))),
        ("severity", Some(Value::from(record.severity().out_of_ten()))),
        // Nanoseconds.
        ("duration", record.number(&["latency_us"]).map(|micros| Value::from(micros.saturating_mul(1_000)))),
        ("module", text(Some("caxton"))),
        ("dataset", text(Some("caxton.decision"))),
        ("provider", text(Some("caxton"))),
    ])
}

/// The policies that decided. A field of ECS may have several values.
fn rule(record: LoggedFields<'_>) -> Option<Value> {
    let ids: Vec<&str> =
        record.list(&["policies"]).iter().filter_map(|policy| policy.get("id")?.as_str()).collect();
    let version = record.text(&["policy_version"]);
    if ids.is_empty() && version.is_none() {
        return None;
    }
    let names = (!ids.is_empty()).then(|| json!(ids));
    Some(object([
        ("id", names.clone()),
        ("name", names),
        ("version", text(version)),
        ("ruleset", text(Some("cedar"))),
        ("category", text(Some(record.outcome_word()))),
    ]))
}

/// The person, or the principal where no person stands behind it; then also who acts.
fn user(record: LoggedFields<'_>) -> Option<Value> {
    let principal = record.principal();
    let actor = record.actor();
    let shown = actor.as_ref().or(principal.as_ref())?;
    let effective = actor.is_some().then_some(principal.as_ref()).flatten();
    Some(object([
        ("id", text(Some(shown.full))),
        ("name", text(Some(&shown.id))),
        ("effective", effective.map(|name| json!({ "id": name.full, "name": name.id }))),
    ]))
}

fn http(record: LoggedFields<'_>) -> Option<Value> {
    let method = record.text(&["route"]).and_then(|route| Some(route.split_once(' ')?.0));
    let id = record.text(&["request_id"]);
    (method.is_some() || id.is_some())
        .then(|| json!({ "request": object([("id", text(id)), ("method", text(method))]) }))
}

fn gen_ai(record: LoggedFields<'_>) -> Option<Value> {
    let agent = record.text(&["agent", "id"]);
    let tool = record.tool();
    (agent.is_some() || tool.is_some()).then(|| {
        object([
            ("agent", agent.map(|id| json!({ "id": id, "name": id }))),
            ("tool", tool.map(|(_, name)| json!({ "name": name, "type": "extension" }))),
            ("operation", (record.event_type() == "tool_call").then(|| json!({ "name": "execute_tool" }))),
        ])
    })
}

/// A masked address is no `ip`: an index would refuse the document.
fn source(record: LoggedFields<'_>) -> Option<Value> {
    let address = record.text(&["source", "ip"])?;
    Some(match is_address(address) {
        true => json!({ "ip": address, "address": address }),
        false => json!({ "address": address }),
    })
}

fn is_address(text: &str) -> bool {
    text.parse::<std::net::IpAddr>().is_ok()
}

fn related(record: LoggedFields<'_>) -> Option<Value> {
    let mut users: Vec<String> =
        record.principal().into_iter().chain(record.actor()).map(|name| name.id).collect();
    users.dedup();
    let ip = record.text(&["source", "ip"]).filter(|ip| is_address(ip)).map(|ip| json!([ip]));
    Some(object([("ip", ip), ("user", (!users.is_empty()).then(|| json!(users)))]))
}

/// What has no place in ECS, with open objects as JSON text.
fn own_fields(record: LoggedFields<'_>) -> Value {
    let mut own = Map::new();
    for (name, value) in record.without(MAPPED) {
        let value = if OPEN.contains(&name.as_str()) { Value::from(json_line(&value)) } else { value };
        own.insert(name, value);
    }
    if let Some(detail) = record.text(&["detail"]) {
        own.insert("detail".to_owned(), Value::from(detail));
    }
    if let Some(tls) = record.at(&["source", "tls"]) {
        own.insert("tls".to_owned(), tls.clone());
    }
    own.insert("event_type".to_owned(), Value::from(record.event_type()));
    Value::Object(own)
}
