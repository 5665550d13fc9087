//! Finds records in the log.
//!
//! Records are looked at as plain JSON, so that fields of a newer version are shown rather than refused. What
//! cannot be read is counted and passed over: proving that the log is whole is what `verify` is for.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::IntoDeserializer;
use serde::de::value::Error as WordError;
use serde_json::Value as Json;

use super::line_reader::{Line, LineReader};
use crate::clock::rfc3339;
use crate::events::RECORDED_EVENTS;
use crate::json;
use crate::model::EventType;
use crate::suggest::nearest;

/// Whether the wanted decisions let something happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecisionFilter {
    /// Outcome `allow`.
    Allow,
    /// Any other outcome.
    Deny,
}

/// What kind of record is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventFilter {
    /// By `event_type`.
    Type(EventType),
    /// By `event`: the name of one of the gateway's own events.
    Named(&'static str),
}

/// Which records are wanted; what is `None` does not matter.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Of this kind.
    pub event_type: Option<EventFilter>,
    /// Asked by this user or service, or by an agent for it: the whole Cedar name, the id, or for a user the
    /// part after the issuer.
    pub user: Option<String>,
    /// Asked by this agent.
    pub agent: Option<String>,
    /// That ended like this.
    pub decision: Option<DecisionFilter>,
    /// Of this decision, request or number: `decision_id`, `request_id`, `call_id` or `seq`.
    pub id: Option<String>,
    /// Asked by this principal of any kind: the whole Cedar name, with or without namespace, or the id.
    pub principal: Option<String>,
    /// About this resource, also as an item of a list; named likewise.
    pub resource: Option<String>,
    /// Determined by this policy, for the whole or for an item of a list.
    pub policy: Option<String>,
    /// Not before this instant, in milliseconds since the Unix epoch.
    pub from_millis: Option<i64>,
    /// Before this instant, in milliseconds since the Unix epoch.
    pub to_millis: Option<i64>,
    /// At most this many, the newest.
    pub limit: Option<usize>,
}

/// Why a question is not one.
#[derive(Debug, thiserror::Error)]
pub enum FilterError {
    /// Not a word of the log.
    #[error("`{word}` is not an event type{}", .near.map(|near| format!(": did you mean `{near}`?")).unwrap_or_default())]
    EventType {
        /// The word.
        word: String,
        /// The nearest known one.
        near: Option<&'static str>,
    },
    /// Neither `allow` nor `deny`.
    #[error("`{0}` is not a decision, use `allow` or `deny`")]
    Decision(String),
}

/// Why the log could not be searched.
#[derive(Debug, thiserror::Error)]
#[error("the decision log `{path}` could not be read")]
pub struct QueryError {
    /// The log.
    path: PathBuf,
    /// The system's answer.
    #[source]
    source: io::Error,
}

impl QueryError {
    pub(super) fn new(path: &Path, source: io::Error) -> Self {
        Self { path: path.to_owned(), source }
    }
}

/// The result of a search.
#[derive(Debug, Default)]
pub struct SearchResult {
    /// The records, oldest first.
    pub records: Vec<Json>,
    /// How many matched, those beyond the limit included.
    pub matched: u64,
    /// Lines that are not records.
    pub unreadable: u64,
}

impl Filter {
    /// Every record.
    pub fn all() -> Self {
        Self::default()
    }

    /// Reads the words of a command line or a URL.
    pub fn parse(
        event_type: Option<&str>,
        user: Option<&str>,
        agent: Option<&str>,
        decision: Option<&str>,
        policy: Option<&str>,
        limit: Option<usize>,
    ) -> Result<Self, FilterError> {
        Ok(Self {
            event_type: event_type.map(parse_event_type).transpose()?,
            user: user.map(str::to_owned),
            agent: agent.map(str::to_owned),
            decision: decision.map(parse_decision).transpose()?,
            policy: policy.map(str::to_owned),
            limit,
            ..Self::default()
        })
    }

    fn prepare(&self) -> PreparedFilter<'_> {
        PreparedFilter { filter: self, from: self.from_millis.map(rfc3339), to: self.to_millis.map(rfc3339) }
    }
}

fn parse_event_type(word: &str) -> Result<EventFilter, FilterError> {
    // A word of the guides.
    let word = if word == "config_change" { EventType::ConfigurationChange.as_str() } else { word };
    let deserializer: serde::de::value::StrDeserializer<'_, WordError> = word.into_deserializer();
    if let Ok(event_type) = EventType::deserialize(deserializer) {
        return Ok(EventFilter::Type(event_type));
    }
    let named = RECORDED_EVENTS.into_iter().find(|name| *name == word);
    named.map(EventFilter::Named).ok_or_else(|| FilterError::EventType {
        word: word.to_owned(),
        near: nearest(word, EventType::ALL.map(EventType::as_str).into_iter().chain(RECORDED_EVENTS)),
    })
}

fn parse_decision(word: &str) -> Result<DecisionFilter, FilterError> {
    match word {
        "allow" => Ok(DecisionFilter::Allow),
        "deny" => Ok(DecisionFilter::Deny),
        _ => Err(FilterError::Decision(word.to_owned())),
    }
}

/// The newest records that match, oldest first.
pub fn query(path: &Path, filter: &Filter) -> Result<Vec<Json>, QueryError> {
    search(path, filter).map(|found| found.records)
}

/// As [`query`], and says what it passed over. Memory is bounded by the limit.
pub fn search(path: &Path, filter: &Filter) -> Result<SearchResult, QueryError> {
    let fault = |source| QueryError::new(path, source);
    let mut lines = LineReader::new(File::open(path).map_err(fault)?);
    let prepared = filter.prepare();
    let mut newest = VecDeque::new();
    let mut found = SearchResult::default();
    while let Some(line) = lines.next().map_err(fault)? {
        let Some(record) = readable(&line) else {
            // A line without its end is being written, or was cut by a crash and never counted.
            found.unreadable += u64::from(!matches!(line, Line::Torn(_)));
            continue;
        };
        if prepared.matches(&record) {
            found.matched += 1;
            newest.push_back(record);
            if filter.limit.is_some_and(|limit| newest.len() > limit) {
                newest.pop_front();
            }
        }
    }
    found.records = newest.into();
    Ok(found)
}

fn readable(line: &Line<'_>) -> Option<Json> {
    match line {
        Line::Whole(line) => json::parse(line).ok().filter(Json::is_object),
        Line::TooLong | Line::Torn(_) => None,
    }
}

/// A filter with its instants as the log spells them: that spelling sorts as time does.
struct PreparedFilter<'a> {
    filter: &'a Filter,
    from: Option<String>,
    to: Option<String>,
}

impl PreparedFilter<'_> {
    fn matches(&self, record: &Json) -> bool {
        let filter = self.filter;
        let text = |name: &str| record.get(name).and_then(Json::as_str).unwrap_or_default();
        let is_wanted = |wanted| match wanted {
            EventFilter::Type(event_type) => text("event_type") == event_type.as_str(),
            EventFilter::Named(name) => text("event") == name,
        };
        filter.event_type.is_none_or(is_wanted)
            && filter
                .decision
                .is_none_or(|wanted| (text("outcome") == "allow") == (wanted == DecisionFilter::Allow))
            && self.from.as_deref().is_none_or(|from| text("time") >= from)
            && self.to.as_deref().is_none_or(|to| text("time") < to)
            && filter.user.as_deref().is_none_or(|user| is_of_user(record, user))
            && filter.agent.as_deref().is_none_or(|agent| is_of_agent(record, agent))
            && filter.policy.as_deref().is_none_or(|policy| is_by_policy(record, policy))
            && filter.id.as_deref().is_none_or(|id| is_of_id(record, id))
            && filter.principal.as_deref().is_none_or(|name| is_by_principal(record, name))
            && filter.resource.as_deref().is_none_or(|name| is_about(record, name))
    }
}

fn is_of_user(record: &Json, user: &str) -> bool {
    let names = [record.pointer("/subject/principal"), record.get("actor")];
    names
        .into_iter()
        .flatten()
        .filter_map(Json::as_str)
        .any(|name| is_named(name, &["User", "Service"], user))
}

fn is_of_agent(record: &Json, agent: &str) -> bool {
    let text = |pointer: &str| record.pointer(pointer).and_then(Json::as_str);
    text("/agent/id") == Some(agent)
        || text("/subject/principal").is_some_and(|name| is_named(name, &["Agent"], agent))
}

/// Whether the Cedar name `Caxton::User::"issuer|id"` is meant by `wanted`.
fn is_named(name: &str, types: &[&str], wanted: &str) -> bool {
    let Some((type_name, quoted)) = name.split_once("::\"") else { return false };
    let id = quoted.strip_suffix('"').unwrap_or(quoted);
    types.contains(&type_name.rsplit("::").next().unwrap_or(type_name))
        && (name == wanted
            || id == wanted
            || id.rsplit_once('|').is_some_and(|(_, subject)| subject == wanted))
}

fn is_of_id(record: &Json, id: &str) -> bool {
    let ids = ["decision_id", "request_id", "call_id"];
    ids.iter().any(|name| record.get(*name).and_then(Json::as_str) == Some(id))
        || record.get("seq").and_then(Json::as_u64).is_some_and(|seq| id.parse() == Ok(seq))
}

fn is_by_principal(record: &Json, wanted: &str) -> bool {
    let names = [record.pointer("/subject/principal"), record.get("actor")];
    names.into_iter().flatten().filter_map(Json::as_str).any(|name| is_entity(name, wanted))
}

fn is_about(record: &Json, wanted: &str) -> bool {
    let of =
        |of: &Json| of.get("resource").and_then(Json::as_str).is_some_and(|name| is_entity(name, wanted));
    of(record) || record.get("items").and_then(Json::as_array).into_iter().flatten().any(of)
}

/// Whether the Cedar name of an entity of any type is meant by `wanted`.
fn is_entity(name: &str, wanted: &str) -> bool {
    let Some((type_name, quoted)) = name.split_once("::\"") else { return false };
    let id = quoted.strip_suffix('"').unwrap_or(quoted);
    name == wanted
        || type_name.split_once("::").is_some_and(|(_, short)| format!("{short}::\"{id}\"") == wanted)
        || id == wanted
        || id.rsplit_once('|').is_some_and(|(_, subject)| subject == wanted)
}

fn is_by_policy(record: &Json, policy: &str) -> bool {
    let has = |of: &Json| {
        let policies = of.get("policies").and_then(Json::as_array);
        policies.into_iter().flatten().any(|found| found.get("id").and_then(Json::as_str) == Some(policy))
    };
    has(record) || record.get("items").and_then(Json::as_array).into_iter().flatten().any(has)
}
