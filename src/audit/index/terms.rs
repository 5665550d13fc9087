//! What a record is found by, and what a filter asks for, as terms.
//!
//! INVARIANT: whatever a filter accepts has a term of each of its clauses ([`terms_of`] and [`clauses`] are written side by
//! side). A candidate that the filter does not accept is dropped later; a record without the term would be lost.
//! `index/tests.rs` compares both ways to search over many filters.

use std::net::IpAddr;

use aws_lc_rs::digest::{Context, SHA256};
use ipnet::IpNet;
use serde_json::Value as Json;

use crate::audit::query::{
    DecisionFilter, EventFilter, Filter, all_of, ip, labels, name_parts, parties, policies, subject,
};

const TERM_BITS: u32 = 26;
const LIST_BITS: u32 = 6;

/// A fact of a record, as 26 bits of a keyed hash. The first 6 say in which list of a chunk it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Term(u32);

impl Term {
    pub(super) fn from_bits(bits: u32) -> Self {
        Self(bits & ((1 << TERM_BITS) - 1))
    }

    /// Its list.
    pub(super) fn list(self) -> usize {
        (self.0 >> (TERM_BITS - LIST_BITS)) as usize
    }

    /// What tells it from others of its list, 20 bits.
    pub(super) fn rest(self) -> u32 {
        self.0 & ((1 << (TERM_BITS - LIST_BITS)) - 1)
    }
}

/// Which kind of fact.
#[derive(Debug, Clone, Copy)]
#[repr(u8)]
enum Field {
    /// Principal, actor or agent, by the last part of the name.
    Who = 1,
    Actor = 2,
    Action = 3,
    Resource = 4,
    Policy = 5,
    Outcome = 6,
    Reason = 7,
    Label = 8,
    Kind = 9,
    Event = 10,
    /// `decision_id`, `request_id`, `call_id` or `trace_id`.
    Id = 11,
    Address = 12,
    Network = 13,
    /// Any outcome but `allow`.
    Denied = 14,
}

/// The key of an index. Callers choose ids and names; without the key they cannot choose them so that they collide.
#[derive(Clone, Copy)]
pub(super) struct TermKey(pub(super) [u8; 16]);

impl TermKey {
    fn term(&self, field: Field, value: &str) -> Term {
        let mut context = Context::new(&SHA256);
        context.update(&self.0);
        context.update(&[field as u8]);
        context.update(value.as_bytes());
        let digest = context.finish();
        let bits = digest.as_ref().first_chunk().map_or(0, |first| u32::from_be_bytes(*first));
        Term::from_bits(bits)
    }
}

/// The last part of an id: what stands after the issuer, or all of it.
fn last_part(id: &str) -> &str {
    subject(id).unwrap_or(id)
}

/// The last part of the id in a Cedar name.
fn last_of_name(name: &str) -> &str {
    last_part(name_parts(name).map_or(name, |(_, id)| id))
}

/// The facts of a record; some may be there twice.
pub(super) fn terms_of(record: &Json, key: &TermKey) -> Vec<Term> {
    let mut terms = Vec::with_capacity(24);
    let text = |name: &str| record.get(name).and_then(Json::as_str);
    let mut add = |field: Field, value: &str| terms.push(key.term(field, value));
    parties(record).for_each(|name| add(Field::Who, last_of_name(name)));
    if let Some(agent) = record.pointer("/agent/id").and_then(Json::as_str) {
        add(Field::Who, last_part(agent));
    }
    if let Some(actor) = text("actor") {
        add(Field::Actor, last_of_name(actor));
    }
    all_of(record, "action").for_each(|action| add(Field::Action, action));
    all_of(record, "resource").for_each(|name| add(Field::Resource, last_of_name(name)));
    policies(record).for_each(|id| add(Field::Policy, id));
    labels(record).for_each(|label| add(Field::Label, label));
    let outcome = text("outcome").unwrap_or_default();
    add(Field::Outcome, outcome);
    if outcome != "allow" {
        add(Field::Denied, "");
    }
    for (field, name) in
        [(Field::Reason, "reason_code"), (Field::Kind, "event_type"), (Field::Event, "event")]
    {
        if let Some(value) = text(name) {
            add(field, value);
        }
    }
    for id in ["decision_id", "request_id", "call_id", "trace_id"].into_iter().filter_map(text) {
        add(Field::Id, id);
    }
    if let Some(ip) = ip(record) {
        add(Field::Address, &ip.to_string());
        for network in networks(ip) {
            add(Field::Network, &network.to_string());
        }
    }
    terms
}

/// The networks of an address that can be asked for.
fn networks(ip: IpAddr) -> impl Iterator<Item = IpNet> {
    let lengths = if ip.is_ipv4() { V4_LENGTHS } else { V6_LENGTHS };
    lengths.into_iter().filter_map(move |length| Some(IpNet::new(ip, length).ok()?.trunc()))
}

const V4_LENGTHS: [u8; 2] = [24, 16];
const V6_LENGTHS: [u8; 2] = [64, 48];

/// What a record must have: one of the terms, or this number.
#[derive(Debug, Default)]
pub(super) struct Clause {
    pub(super) terms: Vec<Term>,
    pub(super) seq: Option<u64>,
}

/// What the filter asks for beside the time. A record that it accepts satisfies all clauses.
pub(super) fn clauses(filter: &Filter, key: &TermKey) -> Vec<Clause> {
    let one = |field, value: &str| Clause { terms: vec![key.term(field, value)], seq: None };
    let named = |field, wanted: &str| named(key, field, wanted);
    let mut clauses = Vec::new();
    let who = [&filter.user, &filter.agent, &filter.principal];
    clauses.extend(who.into_iter().flatten().map(|wanted| named(Field::Who, wanted)));
    clauses.extend(filter.actor.iter().map(|wanted| named(Field::Actor, wanted)));
    clauses.extend(filter.resource.iter().map(|wanted| named(Field::Resource, wanted)));
    clauses.extend(filter.action.iter().map(|action| one(Field::Action, action)));
    clauses.extend(filter.policy.iter().map(|id| one(Field::Policy, id)));
    clauses.extend(filter.label.iter().map(|label| one(Field::Label, label)));
    clauses.extend(filter.outcome.map(|outcome| one(Field::Outcome, outcome.as_str())));
    clauses.extend(filter.reason.map(|reason| one(Field::Reason, reason.as_str())));
    clauses.extend(filter.decision.map(|decision| match decision {
        DecisionFilter::Allow => one(Field::Outcome, "allow"),
        DecisionFilter::Deny => one(Field::Denied, ""),
    }));
    clauses.extend(filter.event_type.map(|wanted| match wanted {
        EventFilter::Type(kind) => one(Field::Kind, kind.as_str()),
        EventFilter::Named(name) => one(Field::Event, name),
    }));
    let ids = [&filter.decision_id, &filter.request_id, &filter.trace_id];
    clauses.extend(ids.into_iter().flatten().map(|id| one(Field::Id, id)));
    clauses.extend(filter.id.iter().map(|id| Clause { seq: id.parse().ok(), ..one(Field::Id, id) }));
    clauses.extend(filter.address.and_then(|network| of_network(key, network)));
    clauses
}

/// A name may be written as a whole, as the id, or as its last part; only the last part is in the index.
fn named(key: &TermKey, field: Field, wanted: &str) -> Clause {
    let ways = [last_of_name(wanted), last_part(wanted)];
    Clause { terms: ways.map(|way| key.term(field, way)).into(), seq: None }
}

/// `None` for a network that is larger than those in the index: then every record is a candidate.
fn of_network(key: &TermKey, network: IpNet) -> Option<Clause> {
    let wanted = network.prefix_len();
    let (field, value) = if wanted == network.max_prefix_len() {
        (Field::Address, network.addr().to_string())
    } else {
        let larger = networks(network.addr()).find(|larger| larger.prefix_len() <= wanted)?;
        (Field::Network, larger.to_string())
    };
    Some(Clause { terms: vec![key.term(field, &value)], seq: None })
}
