//! Limits that are counted before the guard decides: for each API key, and for each principal on a route.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Limited, Rate, Remaining};
use crate::model::{CapabilityName, EntityUid, Proof, Subject};
use crate::shared_state::{CountedLimit, RateCounter, RateCounters, Unavailable};

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
            refusals: Rate::REFUSALS,
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

/// A limit with its counter.
struct Limit {
    rate: Rate,
    counter: Arc<dyn RateCounter>,
}

impl Limit {
    fn new(
        counters: &dyn RateCounters,
        scope: &'static str,
        name: &str,
        rate: Rate,
        max_keys: usize,
    ) -> Self {
        let counter = counters.counter(&CountedLimit { scope, name: name.into(), rate, max_keys });
        Self { rate, counter }
    }

    async fn count(
        &self,
        key: &EntityUid,
        policy: &'static str,
    ) -> Result<Result<LimitStatus, QuotaExceeded>, Unavailable> {
        Ok(match self.counter.take(key).await? {
            Ok(left) => Ok(LimitStatus { policy, left }),
            Err(limited) => {
                let met = LimitStatus { policy, left: self.rate.remaining(0) };
                Err(QuotaExceeded { met, limited })
            }
        })
    }
}

/// Counts requests by key and by route.
pub struct Quotas {
    per_key: Option<Limit>,
    per_route: BTreeMap<String, Limit>,
}

impl Quotas {
    /// Counts with counters of `counters`.
    pub fn new(settings: &QuotaSettings, counters: &dyn RateCounters) -> Self {
        let max = settings.max_entries;
        let per_route = settings.per_route.iter();
        Self {
            per_key: settings.per_key.map(|rate| Limit::new(counters, "key", "", rate, max)),
            per_route: per_route
                .map(|(route, rate)| (route.clone(), Limit::new(counters, "route", route, *rate, max)))
                .collect(),
        }
    }

    /// Counts a request of `subject` on `route` (a template), against every limit that it meets.
    ///
    /// # Errors
    /// A counter cannot be asked: the request is refused.
    pub async fn check(
        &self,
        subject: &Subject,
        route: &str,
    ) -> Result<Result<Vec<LimitStatus>, QuotaExceeded>, Unavailable> {
        let mut met = Vec::new();
        // A token counts with the key that it was made from.
        if let (Some(limit), Proof::ApiKey { id } | Proof::Session { key: Some(id), .. }) =
            (&self.per_key, subject.proof())
        {
            match limit.count(&EntityUid::caxton("ApiKey", id.shared()), "key").await? {
                Ok(status) => met.push(status),
                Err(exceeded) => return Ok(Err(exceeded)),
            }
        }
        if let Some(limit) = self.per_route.get(route) {
            match limit.count(subject.principal(), "route").await? {
                Ok(status) => met.push(status),
                Err(exceeded) => return Ok(Err(exceeded)),
            }
        }
        Ok(Ok(met))
    }
}

/// Counts messages to capabilities.
#[derive(Default)]
pub struct CapabilityLimits(BTreeMap<CapabilityName, Arc<dyn RateCounter>>);

impl CapabilityLimits {
    /// Counts with counters of `counters`.
    pub fn new(settings: &QuotaSettings, counters: &dyn RateCounters) -> Self {
        let counter = |(name, rate): (&CapabilityName, &Rate)| {
            let (scope, max_keys) = ("capability", settings.max_entries);
            let limit = CountedLimit { scope, name: name.shared(), rate: *rate, max_keys };
            (name.clone(), counters.counter(&limit))
        };
        Self(settings.per_capability.iter().map(counter).collect())
    }

    /// Counts a message of `sender`, where the capability has a limit.
    ///
    /// # Errors
    /// The counter cannot be asked: the message is refused.
    pub async fn check(
        &self,
        capability: &CapabilityName,
        sender: &EntityUid,
    ) -> Result<Result<(), Limited>, Unavailable> {
        match self.0.get(capability) {
            Some(counter) => Ok(counter.take(sender).await?.map(drop)),
            None => Ok(Ok(())),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use governor::clock::FakeRelativeClock;

    use super::*;
    use crate::limit::LocalCounters;
    use crate::model::KeyId;
    use crate::shared_state::faulty::Unreachable;
    use crate::telemetry::Metrics;

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

    #[tokio::test]
    async fn each_key_and_each_route_has_a_count_of_its_own() {
        let (clock, metrics) = (FakeRelativeClock::default(), Arc::new(Metrics::new()));
        clock.advance(Duration::from_secs(1_000));
        let settings = QuotaSettings {
            per_key: Some(Rate::new(60, Duration::from_secs(60), 3).unwrap()),
            per_route: [("/v1/messages".to_owned(), "1/minute".parse().unwrap())].into(),
            ..QuotaSettings::default()
        };
        let quotas = Quotas::new(&settings, &LocalCounters { clock: clock.clone(), metrics });
        let check = async |caller: &Subject, route| quotas.check(caller, route).await.unwrap();
        let (one, two) = (caller("one"), caller("two"));
        let met = check(&one, "/v1/messages").await.unwrap();
        assert_eq!(
            met.iter().map(|met| (met.policy, met.left.remaining)).collect::<Vec<_>>(),
            [("key", 2), ("route", 0)]
        );
        assert_eq!((met[0].left.reset, met[0].left.window), (Duration::from_secs(1), Duration::from_secs(3)));
        // The same principal with another key: a fresh count for the key, none left on the route.
        let exceeded = check(&two, "/v1/messages").await.unwrap_err();
        assert_eq!((exceeded.met.policy, exceeded.limited.retry_after), ("route", Duration::from_secs(60)));
        // A token is no way around the limit of its key.
        assert!(check(&one, "/v1/tools").await.is_ok());
        assert!(check(&with_token("one"), "/v1/tools").await.is_ok());
        assert_eq!(check(&with_token("one"), "/v1/tools").await.unwrap_err().met.policy, "key");
        assert_eq!(check(&one, "/v1/tools").await.unwrap_err().met.policy, "key");
        clock.advance(Duration::from_secs(1));
        assert!(check(&one, "/v1/tools").await.is_ok());
        assert_eq!(check(&Subject::for_test(), "/v1/tools").await, Ok(vec![]), "no key, no limit of keys");
    }

    #[tokio::test]
    async fn limits_that_cannot_be_asked_let_nothing_through() {
        let settings = QuotaSettings {
            per_key: Some(Rate::PER_PRINCIPAL),
            per_route: [("/v1/messages".to_owned(), Rate::PER_PRINCIPAL)].into(),
            per_capability: [(CapabilityName::parse("desk").unwrap(), Rate::PER_PRINCIPAL)].into(),
            ..QuotaSettings::default()
        };
        let quotas = Quotas::new(&settings, &Unreachable);
        assert!(quotas.check(&caller("one"), "/v1/tools").await.is_err(), "of the key");
        assert!(quotas.check(&Subject::for_test(), "/v1/messages").await.is_err(), "of the route");
        assert!(quotas.check(&Subject::for_test(), "/v1/tools").await.is_ok(), "no limit, nothing to ask");
        let capabilities = CapabilityLimits::new(&settings, &Unreachable);
        let sender = EntityUid::caxton("User", "a");
        assert!(capabilities.check(&CapabilityName::parse("desk").unwrap(), &sender).await.is_err());
        assert!(capabilities.check(&CapabilityName::parse("other").unwrap(), &sender).await.is_ok());
    }
}
