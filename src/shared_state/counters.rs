//! Counters: how often a key may ask, and which addresses are not listened to.

mod rate;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::PortFuture;
use crate::model::EntityUid;

pub use rate::{Rate, RateError};

/// Let through; how much is left goes into the answer's headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remaining {
    /// The most at once.
    pub limit: u32,
    /// How many more may follow at once.
    pub remaining: u32,
    /// In how long all of them may follow at once again.
    pub reset: Duration,
    /// In how long as many come back as are let through at once.
    pub window: Duration,
}

/// Not let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the rate limit is reached, try again in {retry_after:?}")]
pub struct Limited {
    /// When the next request has a chance.
    pub retry_after: Duration,
}

/// Counts the requests of each key against one rate (GCRA: a steady flow, and a burst).
///
/// Counting is atomic: of requests at the same time no more are let through than one after the other. An implementation
/// counts a bounded number of keys one by one; the rest share one count, and are never let through uncounted.
pub trait RateCounter: Send + Sync + 'static {
    /// Counts one request of `key`, or says when to come back. A refused request counts nothing.
    fn take<'a>(&'a self, key: &'a EntityUid) -> PortFuture<'a, Result<Remaining, Limited>>;

    /// Whether the next request of `key` would be let through, without counting it.
    fn peek<'a>(&'a self, key: &'a EntityUid) -> PortFuture<'a, Result<(), Limited>>;

    /// Counts `more` requests of a `key` that has just been let through. What the rate does not hold is owed: nothing of
    /// this key is let through until it has been made up for.
    fn owe<'a>(&'a self, key: &'a EntityUid, more: u32) -> PortFuture<'a, ()>;
}

/// One limit that is counted.
#[derive(Debug, Clone)]
pub struct CountedLimit {
    /// A word of `caxton_rate_limited_total{scope}`: `principal`, `key`, `route`, `capability`.
    pub scope: &'static str,
    /// Which of its scope: a route, a capability, an agent. The gateways of a fleet share the counts of one scope and name.
    pub name: Arc<str>,
    /// How many are let through.
    pub rate: Rate,
    /// How many keys are counted one by one.
    pub max_keys: usize,
}

/// Makes the counters of a gateway, one for each limit.
pub trait RateCounters: Send + Sync + 'static {
    /// The counter of this limit.
    fn counter(&self, limit: &CountedLimit) -> Arc<dyn RateCounter>;
}

/// Addresses whose credentials were refused too often, which are not listened to for a while.
///
/// A /64 of IPv6 counts as one address, because one host has all of it.
pub trait AddressBlocks: Send + Sync + 'static {
    /// Whether the address is listened to, or when it may try again.
    fn check(&self, address: IpAddr) -> PortFuture<'_, Result<(), Limited>>;

    /// Counts a refused credential; for how long the address is blocked, when this one was too many.
    fn failed(&self, address: IpAddr) -> PortFuture<'_, Option<Duration>>;
}
