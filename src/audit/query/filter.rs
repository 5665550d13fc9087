//! Which records are wanted: the words of a command line or a URL, read once into a [`Filter`].

use std::net::IpAddr;

use ipnet::IpNet;
use serde::Deserialize;
use serde::de::IntoDeserializer;
use serde::de::value::Error as WordError;

use super::times::{TimeError, end_of, start_of, time_span};
use crate::events::RECORDED_EVENTS;
use crate::model::{EventType, Outcome, ReasonCode};
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

/// Which records are wanted; what is `None` does not matter. All that is said has to hold.
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
    /// Of this decision: `decision_id`.
    pub decision_id: Option<String>,
    /// Of this request: `request_id` or `call_id`.
    pub request_id: Option<String>,
    /// Of this trace: `trace_id`.
    pub trace_id: Option<String>,
    /// Asked by this principal of any kind: the whole Cedar name, with or without namespace, or the id.
    pub principal: Option<String>,
    /// Asked by an agent for this person; named likewise.
    pub actor: Option<String>,
    /// With this action, for the whole or for an item of a list.
    pub action: Option<String>,
    /// About this resource, also as an item of a list; named likewise.
    pub resource: Option<String>,
    /// Determined by this policy, for the whole or for an item of a list.
    pub policy: Option<String>,
    /// With this outcome.
    pub outcome: Option<Outcome>,
    /// For this reason.
    pub reason: Option<ReasonCode>,
    /// With the obligation `label:` and this label.
    pub label: Option<String>,
    /// From an address in this network.
    pub address: Option<IpNet>,
    /// Not before this instant, in milliseconds since the Unix epoch.
    pub from_millis: Option<i64>,
    /// Before this instant, in milliseconds since the Unix epoch.
    pub to_millis: Option<i64>,
    /// At most this many.
    pub limit: Option<usize>,
}

/// A filter as a person or a program writes it; what is `None` does not matter.
#[derive(Debug, Clone, Default)]
pub struct FilterWords {
    /// A kind of record, or the name of an event.
    pub event_type: Option<String>,
    /// A user or service.
    pub user: Option<String>,
    /// An agent.
    pub agent: Option<String>,
    /// `allow` or `deny`.
    pub decision: Option<String>,
    /// An id of a decision or request, or the number of a record.
    pub id: Option<String>,
    /// The id of a decision.
    pub decision_id: Option<String>,
    /// The id of a request.
    pub request_id: Option<String>,
    /// The id of a trace.
    pub trace_id: Option<String>,
    /// A principal.
    pub principal: Option<String>,
    /// A person for whom an agent acted.
    pub actor: Option<String>,
    /// An action.
    pub action: Option<String>,
    /// A resource.
    pub resource: Option<String>,
    /// The `@id` of a policy.
    pub policy: Option<String>,
    /// An outcome, `deny_explicit`.
    pub outcome: Option<String>,
    /// A reason code, `no_permit`.
    pub reason: Option<String>,
    /// A label.
    pub label: Option<String>,
    /// An address, or a network (`10.0.0.0/8`).
    pub address: Option<String>,
    /// The last hours or days: `24h`.
    pub last: Option<String>,
    /// The beginning: an instant or a day.
    pub from: Option<String>,
    /// The end: an instant or a day.
    pub to: Option<String>,
}

/// Why a question is not one.
#[derive(Debug, thiserror::Error)]
pub enum FilterError {
    /// Not a word of the log.
    #[error("`{word}` is not an event type{}", suggestion(.near))]
    EventType {
        /// The word.
        word: String,
        /// The nearest known one.
        near: Option<&'static str>,
    },
    /// Neither `allow` nor `deny`.
    #[error("`{0}` is not a decision, use `allow` or `deny`")]
    Decision(String),
    /// Not an outcome.
    #[error("`{word}` is not an outcome{}", suggestion(.near))]
    Outcome {
        /// The word.
        word: String,
        /// The nearest known one.
        near: Option<&'static str>,
    },
    /// Not a reason code.
    #[error("`{word}` is not a reason code{}", suggestion(.near))]
    Reason {
        /// The word.
        word: String,
        /// The nearest known one.
        near: Option<&'static str>,
    },
    /// Neither an address nor a network.
    #[error("`{0}` is not an address or network, use for example `10.1.2.3` or `10.0.0.0/8`")]
    Address(String),
    /// Not a time.
    #[error(transparent)]
    Time(#[from] TimeError),
    /// Two ways to say the same.
    #[error("`last` stands beside `from` or `to`: use one of them")]
    TwoTimes,
}

fn suggestion(near: &Option<&'static str>) -> String {
    near.map(|near| format!(": did you mean `{near}`?")).unwrap_or_default()
}

impl Filter {
    /// Every record.
    pub fn all() -> Self {
        Self::default()
    }

    /// Reads the words of a command line or a URL. `now_millis` is the instant from which `last` counts back, in
    /// milliseconds since the Unix epoch.
    ///
    /// # Errors
    /// A word has no meaning.
    pub fn read(words: FilterWords, now_millis: i64) -> Result<Self, FilterError> {
        if words.last.is_some() && (words.from.is_some() || words.to.is_some()) {
            return Err(FilterError::TwoTimes);
        }
        let from_millis = match (&words.last, &words.from) {
            (Some(last), _) => Some(now_millis.saturating_sub(time_span(last)?)),
            (None, Some(from)) => Some(start_of(from)?),
            (None, None) => None,
        };
        Ok(Self {
            event_type: words.event_type.as_deref().map(parse_event_type).transpose()?,
            user: words.user,
            agent: words.agent,
            decision: words.decision.as_deref().map(parse_decision).transpose()?,
            id: words.id,
            decision_id: words.decision_id,
            request_id: words.request_id,
            trace_id: words.trace_id,
            principal: words.principal,
            actor: words.actor,
            action: words.action,
            resource: words.resource,
            policy: words.policy,
            outcome: words.outcome.as_deref().map(parse_outcome).transpose()?,
            reason: words.reason.as_deref().map(parse_reason).transpose()?,
            label: words.label,
            address: words.address.as_deref().map(parse_address).transpose()?,
            from_millis,
            to_millis: words.to.as_deref().map(end_of).transpose()?,
            limit: None,
        })
    }
}

/// Reads one of a closed list of words.
fn parse_word<'de, T: Deserialize<'de>>(word: &'de str) -> Option<T> {
    let deserializer: serde::de::value::StrDeserializer<'de, WordError> = word.into_deserializer();
    T::deserialize(deserializer).ok()
}

fn parse_event_type(word: &str) -> Result<EventFilter, FilterError> {
    // A word of the guides.
    let word = if word == "config_change" { EventType::ConfigurationChange.as_str() } else { word };
    if let Some(event_type) = parse_word(word) {
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

fn parse_outcome(word: &str) -> Result<Outcome, FilterError> {
    parse_word(word).ok_or_else(|| FilterError::Outcome {
        word: word.to_owned(),
        near: nearest(word, Outcome::ALL.map(Outcome::as_str)),
    })
}

fn parse_reason(word: &str) -> Result<ReasonCode, FilterError> {
    parse_word(word).ok_or_else(|| FilterError::Reason {
        word: word.to_owned(),
        near: nearest(word, ReasonCode::ALL.map(ReasonCode::as_str)),
    })
}

fn parse_address(text: &str) -> Result<IpNet, FilterError> {
    let network =
        text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(|ip| ip.to_canonical().into()));
    network.map(|network| network.trunc()).map_err(|_| FilterError::Address(text.to_owned()))
}
