//! Whether a record is meant by a filter. Both ways to find records ask here, so they find the same.

use std::net::IpAddr;

use serde_json::Value as Json;

use super::filter::{DecisionFilter, EventFilter, Filter};
use crate::clock::rfc3339;
use crate::model::{Outcome, ReasonCode};

/// The beginning of an obligation that is a label.
pub(in crate::audit) const LABEL: &str = "label:";

/// A filter with its instants as the log spells them: that spelling sorts as time does.
#[derive(Debug)]
pub struct PreparedFilter<'a> {
    pub(in crate::audit) filter: &'a Filter,
    pub(in crate::audit) from: Option<String>,
    pub(in crate::audit) to: Option<String>,
}

impl<'a> PreparedFilter<'a> {
    /// Of this filter.
    pub fn new(filter: &'a Filter) -> Self {
        Self { filter, from: filter.from_millis.map(rfc3339), to: filter.to_millis.map(rfc3339) }
    }

    /// Whether this record is wanted.
    pub fn matches(&self, record: &Json) -> bool {
        self.is_in_time(record)
            && self.is_of_kind(record)
            && self.is_of_ids(record)
            && self.is_of_parties(record)
    }

    fn is_in_time(&self, record: &Json) -> bool {
        let time = text(record, "time");
        self.from.as_deref().is_none_or(|from| time >= from) && self.to.as_deref().is_none_or(|to| time < to)
    }

    fn is_of_kind(&self, record: &Json) -> bool {
        let Filter { event_type, decision, outcome, reason, policy, label, .. } = self.filter;
        let is_wanted = |wanted| match wanted {
            EventFilter::Type(event_type) => text(record, "event_type") == event_type.as_str(),
            EventFilter::Named(name) => text(record, "event") == name,
        };
        let ended = text(record, "outcome");
        event_type.is_none_or(is_wanted)
            && decision.is_none_or(|wanted| (ended == "allow") == (wanted == DecisionFilter::Allow))
            && outcome.is_none_or(|wanted: Outcome| ended == wanted.as_str())
            && reason.is_none_or(|wanted: ReasonCode| text(record, "reason_code") == wanted.as_str())
            && policy.as_deref().is_none_or(|policy| policies(record).any(|id| id == policy))
            && label.as_deref().is_none_or(|label| labels(record).any(|found| found == label))
    }

    fn is_of_ids(&self, record: &Json) -> bool {
        let Filter { id, decision_id, request_id, trace_id, .. } = self.filter;
        let is = |names: &[&str], wanted: &str| {
            names.iter().any(|name| record.get(*name).and_then(Json::as_str) == Some(wanted))
        };
        id.as_deref()
            .is_none_or(|id| is(&["decision_id", "request_id", "call_id"], id) || is_number(record, id))
            && decision_id.as_deref().is_none_or(|id| is(&["decision_id"], id))
            && request_id.as_deref().is_none_or(|id| is(&["request_id", "call_id"], id))
            && trace_id.as_deref().is_none_or(|id| is(&["trace_id"], id))
    }

    fn is_of_parties(&self, record: &Json) -> bool {
        let Filter { user, agent, principal, actor, action, resource, address, .. } = self.filter;
        let is_entity = |name: &str, wanted: &str| is_entity(name, wanted);
        user.as_deref()
            .is_none_or(|user| parties(record).any(|name| is_named(name, &["User", "Service"], user)))
            && agent.as_deref().is_none_or(|agent| is_of_agent(record, agent))
            && principal.as_deref().is_none_or(|wanted| parties(record).any(|name| is_entity(name, wanted)))
            && actor.as_deref().is_none_or(|wanted| is_entity(text(record, "actor"), wanted))
            && action.as_deref().is_none_or(|wanted| all_of(record, "action").any(|name| name == wanted))
            && resource
                .as_deref()
                .is_none_or(|wanted| all_of(record, "resource").any(|name| is_entity(name, wanted)))
            && address.is_none_or(|network| ip(record).is_some_and(|ip| network.contains(&ip)))
    }
}

fn text<'r>(record: &'r Json, name: &str) -> &'r str {
    record.get(name).and_then(Json::as_str).unwrap_or_default()
}

fn is_number(record: &Json, wanted: &str) -> bool {
    record.get("seq").and_then(Json::as_u64).is_some_and(|seq| wanted.parse() == Ok(seq))
}

/// The record itself, and each item of its list.
fn with_items(record: &Json) -> impl Iterator<Item = &Json> {
    std::iter::once(record).chain(record.get("items").and_then(Json::as_array).into_iter().flatten())
}

/// This field of the record, and of the items of its list.
pub(in crate::audit) fn all_of<'r>(record: &'r Json, name: &'static str) -> impl Iterator<Item = &'r str> {
    with_items(record).filter_map(move |of| of.get(name).and_then(Json::as_str))
}

/// Who asked, and for whom.
pub(in crate::audit) fn parties(record: &Json) -> impl Iterator<Item = &str> {
    [record.pointer("/subject/principal"), record.get("actor")].into_iter().flatten().filter_map(Json::as_str)
}

/// The ids of the policies that determined the record or an item of its list.
pub(crate) fn policies(record: &Json) -> impl Iterator<Item = &str> {
    with_items(record).flat_map(policies_of).filter_map(|policy| policy.get("id").and_then(Json::as_str))
}

fn policies_of(of: &Json) -> &[Json] {
    of.get("policies").and_then(Json::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// The labels among the obligations.
pub(crate) fn labels(record: &Json) -> impl Iterator<Item = &str> {
    let obligations = record.get("obligations").and_then(Json::as_array).into_iter().flatten();
    obligations.filter_map(Json::as_str).filter_map(|text| text.strip_prefix(LABEL))
}

/// The address that the request came from; one of IPv4 that was mapped into IPv6 counts as what it is.
pub(in crate::audit) fn ip(record: &Json) -> Option<IpAddr> {
    let ip: IpAddr = record.pointer("/source/ip")?.as_str()?.parse().ok()?;
    Some(ip.to_canonical())
}

fn is_of_agent(record: &Json, agent: &str) -> bool {
    let text = |pointer: &str| record.pointer(pointer).and_then(Json::as_str);
    text("/agent/id") == Some(agent)
        || text("/subject/principal").is_some_and(|name| is_named(name, &["Agent"], agent))
}

/// Whether the Cedar name `Caxton::User::"issuer|id"` is meant by `wanted`.
fn is_named(name: &str, types: &[&str], wanted: &str) -> bool {
    let Some((type_name, id)) = name_parts(name) else { return false };
    types.contains(&type_name.rsplit("::").next().unwrap_or(type_name))
        && (name == wanted || id == wanted || subject(id) == Some(wanted))
}

/// Whether the Cedar name of an entity of any type is meant by `wanted`.
fn is_entity(name: &str, wanted: &str) -> bool {
    let Some((type_name, id)) = name_parts(name) else { return false };
    name == wanted
        || type_name.split_once("::").is_some_and(|(_, short)| format!("{short}::\"{id}\"") == wanted)
        || id == wanted
        || subject(id) == Some(wanted)
}

/// The type and the id of a Cedar name, as it is written.
pub(in crate::audit) fn name_parts(name: &str) -> Option<(&str, &str)> {
    let (type_name, quoted) = name.split_once("::\"")?;
    Some((type_name, quoted.strip_suffix('"').unwrap_or(quoted)))
}

/// The part of a person's id after the issuer.
pub(in crate::audit) fn subject(id: &str) -> Option<&str> {
    id.rsplit_once('|').map(|(_, subject)| subject)
}
