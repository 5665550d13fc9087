//! Objects of OCSF that several classes have.

use serde_json::{Value, json};

use super::super::logged::{EntityName, LoggedFields};
use super::super::{PreviousEvent, object, text};
use crate::json;

/// Methods that the enumeration of 1.8 has.
const METHODS: [&str; 9] = ["OPTIONS", "GET", "HEAD", "POST", "PUT", "DELETE", "TRACE", "CONNECT", "PATCH"];
/// The most items of a list that are resources of its event; the record has them all.
const RESOURCES: usize = 1_000;

/// `actor`: the person for whom an agent acts, else the principal. In a delegation the AI agent stands beside it, in `ai_agent`.
pub(super) fn actor(record: LoggedFields<'_>) -> Value {
    json!({ "user": user(record) })
}

/// A user object; one that says so when nobody was authenticated, or when the gateway acted by itself.
pub(super) fn user(record: LoggedFields<'_>) -> Value {
    let by_itself = record.action().is_none()
        && record.event_type() != "authentication"
        && record.event() != "rate_limited";
    if by_itself && record.principal().is_none() {
        return json!({ "name": "caxton", "type_id": 3, "type": "System" });
    }
    let Some(name) = record.actor().or_else(|| record.principal()) else {
        return object([
            ("name", text(Some("unknown"))),
            ("type_id", Some(Value::from(0))),
            ("type", text(Some("Unknown"))),
            ("credential_uid", text(record.text(&["key_id"]))),
        ]);
    };
    let (type_id, kind) = user_type(&name);
    // The credential is that of the principal.
    let credential = record.text(&["subject", "credential"]).filter(|_| record.actor().is_none());
    object([
        ("uid", text(Some(name.full))),
        ("name", text(Some(&name.id))),
        ("type_id", Some(Value::from(type_id))),
        ("type", text(Some(kind))),
        ("credential_uid", text(credential)),
    ])
}

fn user_type<'n>(name: &EntityName<'n>) -> (u8, &'n str) {
    match name.kind {
        "User" => (1, "User"),
        "Service" => (4, "Service"),
        "" => (0, "Unknown"),
        other => (99, other),
    }
}

/// `authorizations`: one for each policy that decided.
pub(super) fn policies(record: LoggedFields<'_>) -> Value {
    let version = record.text(&["policy_version"]);
    let each = record.list(&["policies"]).iter().map(|policy| {
        let word = |name: &str| policy.get(name).and_then(Value::as_str);
        let effect = word("effect");
        object([
            ("decision", text(effect.map(|effect| if effect == "permit" { "Allowed" } else { "Denied" }))),
            (
                "policy",
                Some(object([
                    ("uid", text(Some(word("id").unwrap_or("unknown")))),
                    ("name", text(word("id"))),
                    ("version", text(version)),
                    ("type", text(Some("Cedar"))),
                    ("is_applied", word("mode").map(|mode| Value::from(mode == "enforce"))),
                ])),
            ),
        ])
    });
    Value::Array(each.collect())
}

/// `http_request`, where something is known of it.
pub(super) fn http_request(record: LoggedFields<'_>) -> Option<Value> {
    let agent = record.text(&["source", "user_agent"]);
    let (method, path) = record.text(&["route"]).and_then(|route| route.split_once(' ')).unzip();
    (agent.is_some() || path.is_some()).then(|| {
        object([
            ("user_agent", text(agent)),
            ("http_method", text(method.filter(|method| METHODS.contains(method)))),
            ("url", path.map(|path| json!({ "path": path }))),
        ])
    })
}

/// `resources`: what was asked for, or the items of a list, each with its outcome.
pub(super) fn resources(record: LoggedFields<'_>) -> Option<Value> {
    let items = record.list(&["items"]);
    if items.is_empty() {
        return record.resource().map(|resource| json!([named(&resource)]));
    }
    let each = items.iter().take(RESOURCES).map(|item| {
        let fields = LoggedFields::new(item);
        let mut named = fields.resource().map_or_else(|| json!({ "name": "unknown" }), |name| named(&name));
        if let Some(named) = named.as_object_mut() {
            named.insert(
                "data".to_owned(),
                Value::Object(fields.without(&["resource", "entities", "context"])),
            );
        }
        named
    });
    Some(Value::Array(each.collect()))
}

fn named(resource: &EntityName<'_>) -> Value {
    let kind = (!resource.kind.is_empty()).then_some(resource.kind);
    object([("uid", text(Some(resource.full))), ("name", text(Some(&resource.id))), ("type", text(kind))])
}

/// `ai_agent` of the profile `ai_operation` (1.9): the agent that asked, with its file as charter.
pub(super) fn ai_agent(record: LoggedFields<'_>) -> Option<Value> {
    let id = record.text(&["agent", "id"])?;
    let digest = record.text(&["agent", "definition_sha256"]);
    let charter = digest.map(|digest| {
        json!({
            "name": format!("{id}.md"),
            "type_id": 1,
            "hashes": [{ "algorithm_id": 3, "algorithm": "SHA-256", "value": digest }],
        })
    });
    let full = record.principal().filter(|principal| principal.kind == "Agent");
    Some(object([
        ("uid", text(Some(full.map_or(id, |principal| principal.full)))),
        ("name", text(Some(id))),
        ("version", text(record.text(&["agent", "version"]))),
        ("type_id", Some(Value::from(1))),
        ("type", text(Some("Native"))),
        ("charter", charter),
    ]))
}

/// `delegation` of the profile `ai_operation` (1.9), where somebody acts for another.
///
/// The gateway derives its id from the names in the chain, so it is the same for every event of the same delegation. The
/// names stand under `unmapped.caxton`.
pub(super) fn delegation(record: LoggedFields<'_>) -> Option<Value> {
    let delegates = record.list(&["delegation"]).iter().filter_map(Value::as_str);
    // From the one who acts back to the person.
    let mut chain: Vec<&str> =
        record.principal().map(|name| name.full).into_iter().chain(delegates).collect();
    chain.extend(record.text(&["actor"]));
    chain.dedup();
    if chain.len() < 2 {
        return None;
    }
    let parent = chain.get(1..).filter(|parent| parent.len() > 1).and_then(|parent| json::sha256(&parent));
    Some(object([("uid", json::sha256(&chain).map(Value::from)), ("parent_uid", parent.map(Value::from))]))
}

/// `attestation_list` of the profile `record_integrity` (1.9): the place in the chain of the decision log.
///
/// The fingerprint is that of the record in the log, of which the event is a view (SHA-256 over canonical JSON, RFC 8785).
pub(super) fn attestation(
    record: LoggedFields<'_>,
    instance: &str,
    previous: Option<&PreviousEvent>,
) -> Value {
    let before = previous.map(|previous| {
        object([
            ("uid", text(Some(&previous.uid))),
            ("type_uid", Some(Value::from(previous.type_uid))),
            ("fingerprint", record.text(&["prev_hash"]).and_then(fingerprint)),
        ])
    });
    object([
        ("uid", Some(Value::from(format!("{instance}/{}", record.seq())))),
        ("chain_uid", text(Some(instance))),
        ("authority_uid", text(Some(instance))),
        ("fingerprint", record.text(&["hash"]).and_then(fingerprint)),
        ("prev_event", before),
    ])
}

/// `None` for one that was masked: it is no SHA-256 any more.
fn fingerprint(hash: &str) -> Option<Value> {
    let is_digest = hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_digest.then(|| {
        json!({
            "algorithm_id": 3,
            "algorithm": "SHA-256",
            "value": hash,
            "encoding_id": 1,
            "encoding": "Hex",
            "serialization_id": 2,
            "serialization": "JCS",
        })
    })
}
