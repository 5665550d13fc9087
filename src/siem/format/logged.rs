//! A record of the decision log as the formats read it: typed access to its fields, whatever a mask has left of them.

use serde::Deserialize as _;
use serde_json::{Map, Value};

use crate::model::Outcome;

/// The severity of a record, from which each format takes its own number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::siem) enum Severity {
    /// Something was allowed.
    Informational,
    /// Something was refused in the ordinary way: no permit, a rate limit, an approval that is missing.
    Low,
    /// A forbid held, or a credential was refused.
    Medium,
    /// A decision could not be evaluated, or a text looked like an injection.
    High,
}

impl Severity {
    /// OCSF's `severity_id` and its caption.
    pub(super) fn ocsf(self) -> (u8, &'static str) {
        match self {
            Self::Informational => (1, "Informational"),
            Self::Low => (2, "Low"),
            Self::Medium => (3, "Medium"),
            Self::High => (4, "High"),
        }
    }

    /// 0 to 10, for CEF, LEEF and ECS.
    pub(super) fn out_of_ten(self) -> u8 {
        match self {
            Self::Informational => 1,
            Self::Low => 4,
            Self::Medium => 6,
            Self::High => 8,
        }
    }

    /// RFC 5424, table 2: informational, notice, warning, error.
    pub(in crate::siem) fn syslog(self) -> u8 {
        match self {
            Self::Informational => 6,
            Self::Low => 5,
            Self::Medium => 4,
            Self::High => 3,
        }
    }
}

/// A Cedar entity name, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct EntityName<'r> {
    /// The last part of the type: `User`, `Agent`, `Tool`. Empty for a text that is no name.
    pub(super) kind: &'r str,
    /// The id, without quotes.
    pub(super) id: String,
    /// The name as it stands in the log.
    pub(super) full: &'r str,
}

impl<'r> EntityName<'r> {
    fn parse(full: &'r str) -> Self {
        let parts = full.split_once("::\"").and_then(|(kind, id)| Some((kind, id.strip_suffix('"')?)));
        match parts {
            Some((kind, id)) => {
                let kind = kind.rsplit("::").next().unwrap_or(kind);
                Self { kind, id: unquoted(id), full }
            }
            // Cut off, or hashed by a mask.
            None => Self { kind: "", id: full.to_owned(), full },
        }
    }
}

/// The text that Cedar's notation quotes: `\"`, `\'` and `\\` are the character; a hidden one stays as `\u{202e}`.
fn unquoted(quoted: &str) -> String {
    let mut text = String::with_capacity(quoted.len());
    let mut rest = quoted.chars();
    while let Some(c) = rest.next() {
        let escaped = rest.clone().next().filter(|next| c == '\\' && matches!(next, '"' | '\'' | '\\'));
        if escaped.is_some() {
            rest.next();
        }
        text.push(escaped.unwrap_or(c));
    }
    text
}

/// One record.
#[derive(Debug, Clone, Copy)]
pub(in crate::siem) struct LoggedFields<'r>(&'r Value);

impl<'r> LoggedFields<'r> {
    pub(in crate::siem) fn new(record: &'r Value) -> Self {
        Self(record)
    }

    /// The value under these keys.
    pub(super) fn at(self, keys: &[&str]) -> Option<&'r Value> {
        keys.iter().try_fold(self.0, |value, key| value.get(key))
    }

    /// The text under these keys.
    pub(in crate::siem) fn text(self, keys: &[&str]) -> Option<&'r str> {
        self.at(keys).and_then(Value::as_str)
    }

    /// The whole number under these keys.
    pub(in crate::siem) fn number(self, keys: &[&str]) -> Option<u64> {
        self.at(keys).and_then(Value::as_u64)
    }

    /// The elements of the list under these keys.
    pub(super) fn list(self, keys: &[&str]) -> &'r [Value] {
        self.at(keys).and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }

    /// The entity name under these keys.
    pub(super) fn name(self, keys: &[&str]) -> Option<EntityName<'r>> {
        self.text(keys).map(EntityName::parse)
    }

    pub(in crate::siem) fn seq(self) -> u64 {
        self.number(&["seq"]).unwrap_or_default()
    }

    pub(in crate::siem) fn time(self) -> &'r str {
        self.text(&["time"]).unwrap_or_default()
    }

    /// Milliseconds since the Unix epoch.
    pub(in crate::siem) fn time_millis(self) -> i64 {
        self.time().parse::<jiff::Timestamp>().map_or(0, jiff::Timestamp::as_millisecond)
    }

    pub(in crate::siem) fn decision_id(self) -> &'r str {
        self.text(&["decision_id"]).unwrap_or_default()
    }

    /// Identifies the record: the decision, and of a list of several lines which of them.
    pub(in crate::siem) fn uid(self) -> String {
        match self.number(&["part"]) {
            Some(part) if part > 1 => format!("{}/{part}", self.decision_id()),
            _ => self.decision_id().to_owned(),
        }
    }

    pub(in crate::siem) fn event_type(self) -> &'r str {
        self.text(&["event_type"]).unwrap_or_default()
    }

    /// Which event of its kind; the kind where the record has no word for it.
    pub(super) fn event(self) -> &'r str {
        self.text(&["event"]).unwrap_or_else(|| self.event_type())
    }

    /// `None` for a word that this version does not know.
    pub(super) fn outcome(self) -> Option<Outcome> {
        Outcome::deserialize(self.0.get("outcome")?).ok()
    }

    pub(super) fn outcome_word(self) -> &'r str {
        self.text(&["outcome"]).unwrap_or_default()
    }

    pub(super) fn is_allowed(self) -> bool {
        self.outcome() == Some(Outcome::Allow)
    }

    /// `allowed` or `denied`, for sentences.
    pub(super) fn verdict(self) -> &'static str {
        match self.is_allowed() {
            true => "allowed",
            false => "denied",
        }
    }

    pub(super) fn reason(self) -> &'r str {
        self.text(&["reason_code"]).unwrap_or_default()
    }

    pub(super) fn action(self) -> Option<&'r str> {
        self.text(&["action"])
    }

    /// What was done, in one word: the action, or the event where there was none.
    pub(super) fn operation(self) -> &'r str {
        self.action().unwrap_or_else(|| self.event())
    }

    pub(super) fn principal(self) -> Option<EntityName<'r>> {
        self.name(&["subject", "principal"])
    }

    /// The person for whom the principal acts.
    pub(super) fn actor(self) -> Option<EntityName<'r>> {
        self.name(&["actor"])
    }

    pub(super) fn resource(self) -> Option<EntityName<'r>> {
        self.name(&["resource"])
    }

    /// Whether the screens took a text of the request for an injection.
    pub(super) fn is_injection(self) -> bool {
        self.at(&["context", "screening", "injection"]).and_then(Value::as_bool).unwrap_or(false)
    }

    /// The tool and its server, where the resource is a tool: `server___tool`.
    pub(super) fn tool(self) -> Option<(String, String)> {
        let resource = self.resource().filter(|resource| resource.kind == "Tool")?;
        match resource.id.split_once("___") {
            Some((server, tool)) => Some((server.to_owned(), tool.to_owned())),
            None => Some((String::new(), resource.id)),
        }
    }

    pub(in crate::siem) fn severity(self) -> Severity {
        match self.outcome() {
            _ if self.is_injection() => Severity::High,
            Some(Outcome::Allow) => Severity::Informational,
            Some(Outcome::DenyDefault | Outcome::Limited | Outcome::ApprovalRequired) => Severity::Low,
            Some(Outcome::DenyExplicit) => Severity::Medium,
            Some(Outcome::DenyError) | None => Severity::High,
        }
    }

    /// One sentence: who wanted what, and how it ended. It repeats the caller's texts, so it is data as they are.
    pub(super) fn message(self) -> String {
        let who = self.principal().map_or_else(|| "unknown".to_owned(), |name| name.full.to_owned());
        let what = self.operation();
        let on = self.resource().map_or_else(String::new, |resource| format!(" on {}", resource.full));
        format!("{what} by {who}{on} {}: {}", self.verdict(), self.reason())
    }

    /// The record without these fields.
    pub(super) fn without(self, known: &[&str]) -> Map<String, Value> {
        let fields = self.0.as_object().into_iter().flatten();
        let rest = fields.filter(|(name, _)| !known.contains(&name.as_str()));
        rest.map(|(name, value)| (name.clone(), value.clone())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_taken_apart_and_a_text_that_is_none_stays_whole() {
        let name = EntityName::parse(r#"Caxton::User::"https://idp|a\"b""#);
        assert_eq!((name.kind, name.id.as_str()), ("User", "https://idp|a\"b"));
        let name = EntityName::parse(r#"Caxton::User::"it\'s \\ \u{202e}""#);
        assert_eq!(name.id, r"it's \ \u{202e}");
        for other in ["hmac-sha256:00ff", "Caxton::User::\"cut…", ""] {
            let name = EntityName::parse(other);
            assert_eq!((name.kind, name.id.as_str()), ("", other));
        }
    }
}
