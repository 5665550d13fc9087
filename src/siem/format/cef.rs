//! ArcSight Common Event Format, "Implementing ArcSight Common Event Format (CEF)", version 25.

use super::RenderSettings;
use super::logged::LoggedFields;
use super::ocsf::{EventClass, activity, type_uid};
use crate::audit::visible;

/// `CEF:0|vendor|product|version|class id|name|severity|extension`.
pub(super) fn line(record: LoggedFields<'_>, settings: &RenderSettings) -> String {
    let class = EventClass::of(record);
    let type_uid = type_uid(record, settings.ocsf_version);
    let name = format!("{} {}", activity(record, class).1, record.verdict());
    let mut out = String::from("CEF:0|Caxton|Caxton Gateway");
    let severity = record.severity().out_of_ten().to_string();
    let class_id = format!("{type_uid}:{}", record.reason());
    for field in [settings.product_version, &class_id, &name, &severity] {
        out.push('|');
        out.push_str(&header(field));
    }
    out.push('|');
    let pairs: Vec<String> =
        fields(record).into_iter().map(|(key, value)| format!("{key}={}", extension(&value))).collect();
    out.push_str(&pairs.join(" "));
    out
}

/// The extension fields that have something to say. Keys are those of the dictionary of CEF.
pub(super) fn fields(record: LoggedFields<'_>) -> Vec<(&'static str, String)> {
    let mut pairs = Vec::new();
    let mut add = |key, value: Option<String>| pairs.extend(value.map(|value| (key, value)));
    let own = |text: Option<&str>| text.map(str::to_owned);
    add("externalId", Some(record.uid()));
    add("rt", Some(record.time_millis().to_string()));
    add("cat", own(record.text(&["event_type"])));
    add("act", Some(record.operation().to_owned()));
    add("outcome", own(record.text(&["outcome"])));
    add("reason", own(record.text(&["reason_code"])));
    add("msg", own(record.text(&["detail"])));
    add("cnt", record.number(&["count"]).map(|count| count.to_string()));
    let principal = record.principal();
    let person = record.actor();
    add("suser", person.as_ref().or(principal.as_ref()).map(|name| name.id.clone()));
    add("suid", principal.map(|name| name.full.to_owned()));
    add("src", own(record.text(&["source", "ip"])));
    add("requestClientApplication", own(record.text(&["source", "user_agent"])));
    add("request", own(record.text(&["route"])));
    let policies: Vec<&str> = record
        .list(&["policies"])
        .iter()
        .filter_map(|policy| policy.get("id").and_then(serde_json::Value::as_str))
        .collect();
    let mut custom = |key, label_key, label: &str, value: Option<String>| {
        if let Some(value) = value {
            pairs.push((label_key, label.to_owned()));
            pairs.push((key, value));
        }
    };
    custom("cs1", "cs1Label", "policies", (!policies.is_empty()).then(|| policies.join(",")));
    custom("cs2", "cs2Label", "policyVersion", own(record.text(&["policy_version"])));
    custom("cs3", "cs3Label", "agent", own(record.text(&["agent", "id"])));
    custom("cs4", "cs4Label", "resource", own(record.text(&["resource"])));
    custom("cs5", "cs5Label", "requestId", own(record.text(&["request_id"])));
    custom("cs6", "cs6Label", "traceId", own(record.text(&["trace_id"])));
    custom("cn1", "cn1Label", "sequence", Some(record.seq().to_string()));
    custom(
        "cn2",
        "cn2Label",
        "latencyMicroseconds",
        record.number(&["latency_us"]).map(|number| number.to_string()),
    );
    pairs
}

/// In the header `\` and `|` are escaped.
fn header(text: &str) -> String {
    visible(text).replace('\\', "\\\\").replace('|', "\\|")
}

/// In the extension `\` and `=` are escaped. There is no line break left to escape.
fn extension(text: &str) -> String {
    visible(text).replace('\\', "\\\\").replace('=', "\\=")
}
