//! Limits that are counted before the guard decides: for each API key, and for each principal on a route.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};

use super::keyed::Keyed;
use super::{Limited, Rate, Remaining, at_least_one};
use crate::model::{CapabilityName, EntityUid, KeyId, Proof, Subject};
use crate::telemetry::Metrics;

/// The limits; none by default.
#[derive(Debug, Clone)]
pub struct QuotaSettings {
    /// With one API key.
    pub per_key: Option<Rate>,
    /// By one principal on a route, by its template (`/v1/messages`).
    pub per_route: BTreeMap<String, Rate>,
    /// By one principal to a capability.
    pub per_capability: BTreeMap<CapabilityName, Rate>,
    /// Refusals of one caller, or of one address that proves nobody, that are answered at once; more are answered at this
    /// rate.
    pub refusals: Rate,
    /// How many are counted one by one for each limit; the rest share one count.
    pub max_entries: usize,
}

impl Default for QuotaSettings {
    fn default() -> Self {
        Self {
            per_key: None,
            per_route: BTreeMap::new(),
            per_capability: BTreeMap::new(),
            refusals: Rate {
                count: at_least_one(200),
                per: Duration::from_secs(1),
                burst: at_least_one(200),
            },
            max_entries: 100_000,
        }
    }
}

/// One limit that applied to a request, and what is left of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitStatus {
    /// `key`, `route` or `principal`.
    pub policy: &'static str,
    /// The quota that is left.
    pub left: Remaining,
}

/// The limit that a request exceeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuotaExceeded {
    /// The limit; nothing is left of it.
    pub met: LimitStatus,
    /// How long to wait.
    pub limited: Limited,
}

/// Counts requests by key and by route.
#[derive(Debug)]
pub struct Quotas<C: Clock = DefaultClock> {
    per_key: Option<Keyed<KeyId, C>>,
    per_route: BTreeMap<String, Keyed<EntityUid, C>>,
}

impl Quotas {
    /// Counts on the system's monotonic clock.
    pub fn new(settings: &QuotaSettings, metrics: &Arc<Metrics>) -> Self {
        Self::with_clock(settings, &DefaultClock::default(), metrics)
    }
}

impl<C: Clock + Clone> Quotas<C> {
    /// Counts on any clock.
    pub fn with_clock(settings: &QuotaSettings, clock: &C, metrics: &Arc<Metrics>) -> Self {
        let max = settings.max_entries;
        let route = |(route, rate): (&String, &Rate)| {
            (route.clone(), Keyed::new(*rate, max, "route", clock.clone(), Arc::clone(metrics)))
        };
        Self {
            per_key: settings
                .per_key
                .map(|rate| Keyed::new(rate, max, "key", clock.clone(), Arc::clone(metrics))),
            per_route: settings.per_route.iter().map(route).collect(),
        }
    }

    /// Counts a request of `subject` on `route` (a template), against every limit that it meets.
    pub fn check(&self, subject: &Subject, route: &str) -> Result<Vec<LimitStatus>, QuotaExceeded> {
        let mut met = Vec::new();
        // A token counts with the key that it was made from.
        if let (Some(limiter), Proof::ApiKey { id } | Proof::Session { key: Some(id), .. }) =
            (&self.per_key, subject.proof())
        {
            met.push(count(limiter, id, "key")?);
        }
        if let Some(limiter) = self.per_route.get(route) {
            met.push(count(limiter, subject.principal(), "route")?);
        }
        Ok(met)
    }
}

fn count<K, C>(limiter: &Keyed<K, C>, key: &K, policy: &'static str) -> Result<LimitStatus, QuotaExceeded>
where
    K: std::hash::Hash + Eq + Clone,
    C: Clock,
{
    match limiter.check(key) {
        Ok(left) => Ok(LimitStatus { policy, left }),
        Err(limited) => {
            Err(QuotaExceeded { met: LimitStatus { policy, left: limiter.rate().remaining(0) }, limited })
        }
    }
}

/// Counts messages to capabilities.
#[derive(Debug, Default)]
pub struct CapabilityLimits(BTreeMap<CapabilityName, Keyed<EntityUid>>);

impl CapabilityLimits {
    /// Counts on the system's monotonic clock.
    pub fn new(settings: &QuotaSettings, metrics: &Arc<Metrics>) -> Self {
        let limiter = |(name, rate): (&CapabilityName, &Rate)| {
            let clock = DefaultClock::default();
            let max = settings.max_entries;
            (name.clone(), Keyed::new(*rate, max, "capability", clock, Arc::clone(metrics)))
        };
        Self(settings.per_capability.iter().map(limiter).collect())
    }

    /// Counts a message of `sender`, where the capability has a limit.
    pub fn check(&self, capability: &CapabilityName, sender: &EntityUid) -> Result<(), Limited> {
        self.0.get(capability).map_or(Ok(()), |limiter| limiter.check(sender).map(drop))
    }
}

#[cfg(test)]
mod tests {
    use governor::clock::FakeRelativeClock;

    use super::*;

    fn caller(key: &str) -> Subject {
        let id = KeyId::parse(key).unwrap();
        Subject::service("ci", &id, [], [], 0, 0, Proof::ApiKey { id: id.clone() })
    }

    /// The same with a token that was made from the key.
    fn with_token(key: &str) -> Subject {
        let id = KeyId::parse(key).unwrap();
        let proof = Proof::Session { id: "s".into(), jti: "j".into(), key: Some(id.clone()) };
        Subject::service("ci", &id, [], [], 0, 0, proof)
    }

    #[test]
    fn each_key_and_each_route_has_a_count_of_its_own() {
        let (clock, metrics) = (FakeRelativeClock::default(), Arc::new(Metrics::new()));
        clock.advance(Duration::from_secs(1_000));
        let settings = QuotaSettings {
            per_key: Some(Rate::new(60, Duration::from_secs(60), 3).unwrap()),
            per_route: [("/v1/messages".to_owned(), "1/minute".parse().unwrap())].into(),
            ..QuotaSettings::default()
        };
        let quotas = Quotas::with_clock(&settings, &clock, &metrics);
        let (one, two) = (caller("one"), caller("two"));
        let met = quotas.check(&one, "/v1/messages").unwrap();
        assert_eq!(
            met.iter().map(|met| (met.policy, met.left.remaining)).collect::<Vec<_>>(),
            [("key", 2), ("route", 0)]
        );
        assert_eq!((met[0].left.reset, met[0].left.window), (Duration::from_secs(1), Duration::from_secs(3)));
        // The same principal with another key: a fresh count for the key, none left on the route.
        let exceeded = quotas.check(&two, "/v1/messages").unwrap_err();
        assert_eq!((exceeded.met.policy, exceeded.limited.retry_after), ("route", Duration::from_secs(60)));
        // A token is no way around the limit of its key.
        assert!(
            quotas.check(&one, "/v1/tools").is_ok() && quotas.check(&with_token("one"), "/v1/tools").is_ok()
        );
        assert_eq!(quotas.check(&with_token("one"), "/v1/tools").unwrap_err().met.policy, "key");
        assert_eq!(quotas.check(&one, "/v1/tools").unwrap_err().met.policy, "key");
        clock.advance(Duration::from_secs(1));
        assert!(quotas.check(&one, "/v1/tools").is_ok());
        assert_eq!(quotas.check(&Subject::for_test(), "/v1/tools").unwrap(), [], "no key, no limit of keys");
    }
}
