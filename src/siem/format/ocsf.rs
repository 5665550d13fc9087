//! Open Cybersecurity Schema Framework 1.9.0 and 1.8.0 (<https://schema.ocsf.io>).
//!
//! A decision is an *API Activity* with the profiles `security_control`, `trace`, and in 1.9 `ai_operation` and
//! `record_integrity`; [`EventClass`] says which records are of another class. What OCSF has no attribute for stands under
//! `unmapped.caxton`, by the names of the decision log.

mod class;
mod objects;

use serde_json::{Map, Value, json};

use self::objects::{actor, ai_agent, attestation, delegation, http_request, policies, resources, user};
use super::logged::LoggedFields;
use super::{OcsfVersion, PreviousEvent, RenderSettings, object, text};
use crate::model::Outcome;

pub(super) use self::class::{EventClass, activity, type_uid};

/// Fields of a record that have an attribute in every version.
const MAPPED: &[&str] = &[
    "action",
    "count",
    "decision_id",
    "detail",
    "event",
    "event_type",
    "items",
    "outcome",
    "policies",
    "policy_version",
    "reason_code",
    "request_id",
    "resource",
    "schema_version",
    "seq",
    "source",
    "subject",
    "time",
    "trace_id",
];
/// Fields that 1.9 has attributes for.
const MAPPED_IN_1_9: &[&str] = &["hash", "prev_hash"];

pub(super) fn event(
    record: LoggedFields<'_>,
    settings: &RenderSettings,
    previous: Option<&PreviousEvent>,
) -> Value {
    let version = settings.ocsf_version;
    let class = EventClass::of(record).in_version(version);
    let mut event = base(record, class, settings);
    control(record, &mut event);
    let own = match class {
        EventClass::ApiActivity => api_activity(record),
        EventClass::Authentication => authentication(record),
        EventClass::Session => session(record),
        EventClass::Entity => entity_management(record),
        EventClass::Role => role_management(record),
        EventClass::Detection => detection(record),
    };
    extend(&mut event, own);
    if version == OcsfVersion::V1_9 {
        let of_1_9 = object([
            ("attestation_list", Some(json!([attestation(record, &settings.instance, previous)]))),
            ("ai_agent", ai_agent(record).filter(|_| has_ai_profile(class))),
            ("delegation", delegation(record).filter(|_| has_ai_profile(class))),
        ]);
        extend(&mut event, of_1_9);
    }
    Value::Object(event)
}

fn extend(event: &mut Map<String, Value>, more: Value) {
    if let Value::Object(fields) = more {
        event.extend(fields);
    }
}

/// 1.9 has the profile `ai_operation` on the classes of these categories, not on findings.
fn has_ai_profile(class: EventClass) -> bool {
    class != EventClass::Detection
}

/// What every class has.
fn base(record: LoggedFields<'_>, class: EventClass, settings: &RenderSettings) -> Map<String, Value> {
    let (class_uid, class_name) = class.class();
    let (category_uid, category_name) = class.category();
    let (activity_id, activity_name) = activity(record, class);
    let (severity_id, severity) = record.severity().ocsf();
    let (status_id, status) = match class {
        EventClass::Detection => (1, "New"),
        _ if record.is_allowed() => (1, "Success"),
        _ => (2, "Failure"),
    };
    let fields = json!({
        "activity_id": activity_id,
        "activity_name": activity_name,
        "category_uid": category_uid,
        "category_name": category_name,
        "class_uid": class_uid,
        "class_name": class_name,
        "type_uid": class_uid * 100 + activity_id,
        "type_name": format!("{class_name}: {activity_name}"),
        "severity_id": severity_id,
        "severity": severity,
        "status_id": status_id,
        "status": status,
        "status_code": record.reason(),
        "time": record.time_millis(),
        "message": record.message(),
        "metadata": metadata(record, class, settings),
        "unmapped": { "caxton": unmapped(record, settings.ocsf_version) },
    });
    let mut event = Map::new();
    extend(&mut event, fields);
    extend(
        &mut event,
        object([
            ("count", record.number(&["count"]).map(Value::from)),
            ("status_detail", text(record.text(&["detail"]))),
        ]),
    );
    event
}

fn metadata(record: LoggedFields<'_>, class: EventClass, settings: &RenderSettings) -> Value {
    let mut profiles = vec!["security_control"];
    if class == EventClass::ApiActivity {
        profiles.push("trace");
    }
    if settings.ocsf_version == OcsfVersion::V1_9 {
        profiles.push("record_integrity");
        if has_ai_profile(class) {
            profiles.push("ai_operation");
        }
    }
    object([
        ("version", text(Some(settings.ocsf_version.as_str()))),
        (
            "product",
            Some(json!({
                "name": "Caxton Gateway",
                "vendor_name": "Caxton",
                "version": settings.product_version,
            })),
        ),
        ("uid", Some(Value::from(record.uid()))),
        ("sequence", Some(Value::from(record.seq()))),
        ("correlation_uid", text(record.text(&["request_id"]))),
        ("event_code", text(Some(record.event()))),
        ("log_name", text(Some("decision log"))),
        ("log_provider", text(Some(&settings.instance))),
        ("log_version", record.number(&["schema_version"]).map(|version| Value::from(version.to_string()))),
        ("profiles", Some(json!(profiles))),
    ])
}

fn unmapped(record: LoggedFields<'_>, version: OcsfVersion) -> Value {
    let mut rest = record.without(MAPPED);
    if version == OcsfVersion::V1_9 {
        rest.retain(|name, _| !MAPPED_IN_1_9.contains(&name.as_str()));
    }
    for (name, keys) in [("method", ["subject", "method"]), ("tls", ["source", "tls"])] {
        if let Some(value) = record.at(&keys) {
            rest.insert(name.to_owned(), value.clone());
        }
    }
    rest.insert("event_type".to_owned(), Value::from(record.event_type()));
    rest.insert("outcome".to_owned(), Value::from(record.outcome_word()));
    Value::Object(rest)
}

/// The profile `security_control`.
fn control(record: LoggedFields<'_>, event: &mut Map<String, Value>) {
    let shadow_denies = record.text(&["shadow", "outcome"]).is_some_and(|outcome| outcome != "allow");
    let (action_id, action) = if record.is_allowed() { (1, "Allowed") } else { (2, "Denied") };
    let (disposition_id, disposition) = match record.outcome() {
        // Policies that only watch would have denied it.
        Some(Outcome::Allow) if shadow_denies => (17, "Logged"),
        Some(Outcome::Allow) => (1, "Allowed"),
        Some(Outcome::DenyError) | None => (27, "Error"),
        Some(Outcome::ApprovalRequired) => (14, "Delayed"),
        Some(Outcome::DenyExplicit | Outcome::DenyDefault | Outcome::Limited) => (2, "Blocked"),
    };
    let fields = object([
        ("action_id", Some(Value::from(action_id))),
        ("action", text(Some(action))),
        ("disposition_id", Some(Value::from(disposition_id))),
        ("disposition", text(Some(disposition))),
        ("is_alert", Some(Value::from(record.is_injection()))),
        ("authorizations", Some(policies(record)).filter(|policies| policies != &json!([]))),
    ]);
    extend(event, fields);
}

fn api_activity(record: LoggedFields<'_>) -> Value {
    object([
        ("actor", Some(actor(record))),
        ("api", Some(api(record))),
        ("src_endpoint", Some(src_endpoint(record))),
        ("http_request", http_request(record)),
        ("resources", resources(record)),
        ("trace", record.text(&["trace_id"]).map(|id| json!({ "uid": id }))),
    ])
}

fn api(record: LoggedFields<'_>) -> Value {
    let server = record.tool().map(|(server, _)| server).filter(|server| !server.is_empty());
    object([
        ("operation", text(Some(record.operation()))),
        ("service", Some(json!({ "name": server.as_deref().unwrap_or("caxton") }))),
        ("request", record.text(&["request_id"]).map(|id| json!({ "uid": id }))),
        (
            "response",
            (!record.is_allowed())
                .then(|| json!({ "error": record.outcome_word(), "error_message": record.reason() })),
        ),
    ])
}

/// Where the request came from. A mask may have taken the address away.
fn src_endpoint(record: LoggedFields<'_>) -> Value {
    match record.text(&["source", "ip"]) {
        Some(ip) if ip.parse::<std::net::IpAddr>().is_ok() => json!({ "ip": ip }),
        Some(other) => json!({ "uid": other }),
        None => json!({ "name": "unknown" }),
    }
}

fn authentication(record: LoggedFields<'_>) -> Value {
    let method = record.text(&["subject", "method"]);
    let word = method.or_else(|| record.text(&["detail"])?.split(':').next());
    let (protocol_id, protocol) = match word {
        Some("oauth2") => (6, "OAUTH 2.0"),
        Some(word @ ("jwt" | "api_key" | "mtls" | "session" | "dpop")) => (99, word),
        _ => (0, "Unknown"),
    };
    object([
        ("user", Some(user(record))),
        ("auth_protocol_id", Some(Value::from(protocol_id))),
        ("auth_protocol", text(Some(protocol))),
        ("service", Some(json!({ "name": "caxton" }))),
        ("is_cleartext", record.at(&["source", "tls"]).and_then(Value::as_bool).map(|tls| Value::from(!tls))),
        ("src_endpoint", Some(src_endpoint(record))),
        ("http_request", http_request(record)),
    ])
}

fn session(record: LoggedFields<'_>) -> Value {
    // Whose sessions: the resource names them; the one who asked is the actor.
    let of_whom = record.resource().map(|name| json!({ "uid": name.full, "name": name.id }));
    object([
        ("user", Some(of_whom.unwrap_or_else(|| user(record)))),
        ("actor", Some(actor(record))),
        // The class wants privileges or a group: those by which the sessions were ended.
        ("privileges", record.action().map(|action| json!([action]))),
        ("src_endpoint", Some(src_endpoint(record))),
        ("http_request", http_request(record)),
    ])
}

fn entity_management(record: LoggedFields<'_>) -> Value {
    object([
        ("entity", Some(entity(record))),
        ("actor", Some(actor(record))),
        ("comment", text(record.text(&["detail"]))),
        ("src_endpoint", Some(src_endpoint(record))),
        ("http_request", http_request(record)),
    ])
}

/// What was changed: the resource; without one, the part of the gateway that the event is about.
fn entity(record: LoggedFields<'_>) -> Value {
    if let Some(resource) = record.resource() {
        let kind = if resource.kind.is_empty() { "Entity" } else { resource.kind };
        return json!({ "uid": resource.full, "name": resource.id, "type": kind, "type_id": 99 });
    }
    let (kind, type_id) = match record.event() {
        event if event.starts_with("agent") => ("Agent", 99),
        event if event.starts_with("audit_") => ("Log", 99),
        "policy_reload" | "reload_refused" | "candidate_loaded" | "candidate_refused" => ("Policy", 5),
        "credentials_changed" => ("Credential", 99),
        _ => ("Gateway", 99),
    };
    let name = record.text(&["agent", "id"]).unwrap_or(match kind {
        "Policy" => "policies",
        "Credential" => "credentials",
        "Agent" => "agents",
        "Log" => "decision log",
        _ => "gateway",
    });
    json!({ "uid": name, "name": name, "type": kind, "type_id": type_id })
}

fn role_management(record: LoggedFields<'_>) -> Value {
    let role = record.resource().map_or_else(
        || json!({ "name": "unknown" }),
        |resource| json!({ "uid": resource.full, "name": resource.id }),
    );
    object([
        ("iam_role", Some(role)),
        ("actor", Some(actor(record))),
        ("src_endpoint", Some(src_endpoint(record))),
        ("http_request", http_request(record)),
    ])
}

fn detection(record: LoggedFields<'_>) -> Value {
    let evidence = json!({
        "actor": actor(record),
        "api": api(record),
        "src_endpoint": src_endpoint(record),
        "data": record.at(&["context", "screening"]).cloned().unwrap_or(Value::Null),
    });
    let finding = json!({
        "uid": record.uid(),
        "title": "Prompt injection",
        "desc": "The screens of the gateway took a text of the request for a prompt injection.",
        "types": ["Prompt Injection"],
        "created_time": record.time_millis(),
        "analytic": { "name": "prompt injection screen", "uid": "caxton.screening", "type_id": 1, "type": "Rule" },
    });
    object([
        ("finding_info", Some(finding)),
        ("evidences", Some(json!([evidence]))),
        ("resources", resources(record)),
        ("confidence_score", score(record)),
    ])
}

/// The score of the screens, of a hundred.
fn score(record: LoggedFields<'_>) -> Option<Value> {
    let score: f64 = record.text(&["context", "screening", "score"])?.parse().ok()?;
    (0.0..=1.0).contains(&score).then(|| Value::from((score * 100.0).round() as u64))
}
