//! What a record says of its decision, for people who look for its reason.

use serde::Serialize;
use serde_json::Value as Json;

use super::BadRecord;
use crate::model::EntityUid;
use crate::workbench::case::shorthand;

/// A recorded decision, without its circumstances.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RecordedDecision {
    /// The id that the caller got.
    pub decision_id: String,
    /// When, RFC 3339.
    pub time: String,
    /// Who asked; absent for an event.
    pub principal: Option<String>,
    /// For what.
    pub action: Option<String>,
    /// On what.
    pub resource: Option<String>,
    /// How it ended.
    pub outcome: String,
    /// Why, in one word.
    pub reason_code: String,
    /// The policies that determined it.
    pub policies: Vec<String>,
    /// The version of the policies.
    pub policy_version: Option<String>,
}

impl RecordedDecision {
    /// Reads the fields that every record of a decision has.
    ///
    /// # Errors
    /// The record has no `decision_id`, `time` or `outcome`.
    pub fn read(record: &Json) -> Result<Self, BadRecord> {
        let text = |place: &str| record.pointer(place).and_then(Json::as_str).map(str::to_owned);
        let needed = |place: &str| {
            text(place)
                .ok_or_else(|| BadRecord::Shape(format!("it has no `{}`", place.trim_start_matches('/'))))
        };
        let entity = |place: &str| text(place).map(|name| short(&name));
        let policies = record.get("policies").and_then(Json::as_array).into_iter().flatten();
        let id = |policy: &Json| policy.get("id").and_then(Json::as_str).map(str::to_owned);
        Ok(Self {
            decision_id: needed("/decision_id")?,
            time: needed("/time")?,
            principal: entity("/subject/principal"),
            action: text("/action"),
            resource: entity("/resource"),
            outcome: needed("/outcome")?,
            reason_code: text("/reason_code").unwrap_or_default(),
            policies: policies.filter_map(id).collect(),
            policy_version: text("/policy_version"),
        })
    }

    /// Whether policies decided, and not the gateway by itself.
    pub fn is_of_policies(&self) -> bool {
        let words = ["permitted", "forbidden", "no_permit", "policy_error", "schema_mismatch"];
        words.contains(&self.reason_code.as_str())
    }
}

/// The name of an entity as tests write it.
fn short(name: &str) -> String {
    match name.split_once("::\"").and_then(|(kind, id)| Some((kind, id.strip_suffix('"')?))) {
        Some((kind, id)) if !id.contains(['"', '\\']) => shorthand(&EntityUid::new(kind, id)),
        _ => name.to_owned(),
    }
}
