//! IBM QRadar Log Event Extended Format 2.0 ("LEEF guide", IBM Security QRadar DSM Configuration Guide).

use super::RenderSettings;
use super::cef;
use super::logged::LoggedFields;
use super::ocsf::type_uid;
use crate::audit::visible;

/// `LEEF:2.0|vendor|product|version|event id|x09|attributes`. The delimiter is the tab: it is a control character, so no
/// value has one.
pub(super) fn line(record: LoggedFields<'_>, settings: &RenderSettings) -> String {
    let event_id = format!("{}:{}", type_uid(record, settings.ocsf_version), record.reason());
    let mut out = String::from("LEEF:2.0|Caxton|Caxton Gateway");
    for field in [settings.product_version, &event_id, "x09"] {
        out.push('|');
        // A header has no escape: what would end a field is replaced.
        out.push_str(&visible(field).replace('|', "/"));
    }
    out.push('|');
    let attributes: Vec<String> =
        fields(record).into_iter().map(|(key, value)| format!("{key}={}", visible(&value))).collect();
    out.push_str(&attributes.join("\t"));
    out
}

/// The attributes: those that LEEF predefines, and the others by names of their own.
fn fields(record: LoggedFields<'_>) -> Vec<(&'static str, String)> {
    let mut attributes = vec![
        ("devTime", record.time().to_owned()),
        ("devTimeFormat", "yyyy-MM-dd'T'HH:mm:ss.SSSX".to_owned()),
        ("sev", record.severity().out_of_ten().max(1).to_string()),
    ];
    let labels =
        ["cs1Label", "cs2Label", "cs3Label", "cs4Label", "cs5Label", "cs6Label", "cn1Label", "cn2Label"];
    for (key, value) in cef::fields(record) {
        let name = match key {
            "suser" => "usrName",
            "suid" => "principal",
            "act" => "action",
            "cs1" => "policies",
            "cs2" => "policyVersion",
            "cs3" => "agent",
            "cs4" => "resource",
            "cs5" => "requestId",
            "cs6" => "traceId",
            "cn1" => "sequence",
            "cn2" => "latencyMicroseconds",
            "request" => "route",
            "requestClientApplication" => "userAgent",
            "cnt" => "count",
            // `devTime` says it.
            "rt" => continue,
            label if labels.contains(&label) => continue,
            same => same,
        };
        attributes.push((name, value));
    }
    attributes
}
