//! Microsoft Sentinel: the columns of ASIM's *Agent Event* (table `ASimAgentEventLogs`,
//! <https://learn.microsoft.com/azure/azure-monitor/reference/tables/asimagenteventlogs>).
//!
//! Every field is a column of that table, so that a data collection rule can send it to a custom table with these columns.
//! What has no column stands in `AdditionalFields`, which is dynamic.

use serde_json::{Value, json};

use super::logged::LoggedFields;
use super::{RenderSettings, object, text};

/// Fields of a record that have a column.
const MAPPED: &[&str] = &[
    "action",
    "actor",
    "agent",
    "count",
    "decision_id",
    "event",
    "event_type",
    "reason_code",
    "request_id",
    "resource",
    "source",
    "time",
];

pub(super) fn row(record: LoggedFields<'_>, settings: &RenderSettings) -> Value {
    let time = text(Some(record.time()));
    let principal = record.principal();
    let actor = record.actor();
    let user = actor.as_ref().or(principal.as_ref());
    let agent = record.text(&["agent", "id"]);
    let target = record.resource().filter(|resource| resource.kind == "Agent");
    let tool = record.tool();
    let denied = !record.is_allowed();
    object([
        ("TimeGenerated", time.clone()),
        ("EventStartTime", time.clone()),
        ("EventEndTime", time),
        ("EventCount", Some(Value::from(record.number(&["count"]).unwrap_or(1)))),
        ("EventType", Some(Value::from(camel(record.event_type())))),
        ("EventOriginalType", text(Some(record.operation()))),
        ("EventOriginalUid", text(Some(record.decision_id()))),
        ("EventUid", Some(Value::from(record.uid()))),
        ("EventVendor", text(Some("Caxton"))),
        ("EventProduct", text(Some("Caxton Gateway"))),
        ("EventSchema", text(Some("AgentEvent"))),
        ("EventSchemaVersion", text(Some("0.1.0"))),
        ("EventFinishReasons", Some(json!([record.outcome_word()]))),
        ("EventOriginalResultDetails", text(Some(record.reason()))),
        ("EventErrorDetails", denied.then(|| Value::from(record.message()))),
        ("EventOriginalErrorType", denied.then(|| Value::from(record.outcome_word()))),
        ("EventRequestId", text(record.text(&["request_id"]))),
        ("ActorUserId", user.map(|name| Value::from(name.full))),
        ("ActorUserIdType", user.map(|_| Value::from("Other"))),
        ("ActorUsername", user.map(|name| Value::from(name.id.as_str()))),
        ("ActorUsernameType", user.map(|_| Value::from("Simple"))),
        ("ActingAppId", text(record.text(&["subject", "credential"]))),
        ("ActingAppName", text(record.text(&["source", "user_agent"]))),
        ("SrcAgentId", principal.as_ref().filter(|_| agent.is_some()).map(|name| Value::from(name.full))),
        ("SrcAgentName", text(agent)),
        ("SrcAgentBlueprintId", text(record.text(&["agent", "definition_sha256"]))),
        ("SrcIpAddr", text(record.text(&["source", "ip"]))),
        ("TargetAgentId", target.as_ref().map(|name| Value::from(name.full))),
        ("TargetAgentName", target.as_ref().map(|name| Value::from(name.id.as_str()))),
        ("ToolId", tool.as_ref().and_then(|_| text(record.text(&["resource"])))),
        ("ToolName", tool.as_ref().map(|(_, name)| Value::from(name.as_str()))),
        ("ToolOriginalType", tool.as_ref().map(|(server, _)| Value::from(server.as_str()))),
        ("AdditionalFields", Some(additional(record, settings))),
    ])
}

fn additional(record: LoggedFields<'_>, settings: &RenderSettings) -> Value {
    let mut rest = record.without(MAPPED);
    rest.insert("gateway".to_owned(), Value::from(&*settings.instance));
    if let Some(version) = record.text(&["agent", "version"]) {
        rest.insert("agent_version".to_owned(), Value::from(version));
    }
    if let Some(resource) = record.text(&["resource"]) {
        rest.insert("resource".to_owned(), Value::from(resource));
    }
    Value::Object(rest)
}

/// `tool_call` as `ToolCall`.
fn camel(word: &str) -> String {
    word.split('_')
        .map(|part| {
            let mut letters = part.chars();
            letters
                .next()
                .map_or_else(String::new, |first| first.to_ascii_uppercase().to_string() + letters.as_str())
        })
        .collect()
}
