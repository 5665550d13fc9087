//! How often a principal may ask.
//!
//! GCRA (a leaky bucket) for each principal, on a monotonic clock: a wall clock that is set back must neither lock
//! callers out nor let them in. Memory is bounded: when the table is full, principals without an entry of their own
//! share one.

mod failures;
mod keyed;
mod pace;
mod quotas;
mod turns;

use std::hash::Hash;
use std::sync::Arc;

use governor::clock::{Clock, DefaultClock};
use governor::nanos::Nanos;
use governor::state::keyed::{DashMapStateStore, ShrinkableKeyedStateStore};
use governor::state::{InMemoryState, NotKeyed, StateStore};

use crate::model::EntityUid;
use crate::shared_state::{CountedLimit, RateCounter, RateCounters};
use crate::telemetry::Metrics;

pub use failures::{FailedAttempts, FailureSettings, network};
pub use pace::Pace;
pub use quotas::{CapabilityLimits, LimitStatus, QuotaExceeded, QuotaSettings, Quotas};
pub use turns::{Turn, Turns};

pub use crate::shared_state::{Limited, Rate, RateError, Remaining};

use keyed::Keyed;

/// The limits.
#[derive(Debug, Clone)]
pub struct Settings {
    /// For each principal; 600 a minute, 100 at once.
    pub per_principal: Rate,
    /// How many principals are counted one by one; the rest share one count.
    pub max_principals: usize,
}

impl Settings {
    /// What is counted of each principal.
    pub fn limit(&self) -> CountedLimit {
        let (rate, max_keys) = (self.per_principal, self.max_principals);
        CountedLimit { scope: "principal", name: "".into(), rate, max_keys }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self { per_principal: Rate::PER_PRINCIPAL, max_principals: 100_000 }
    }
}

/// Makes the counters of one process. `C` is the monotonic clock; tests bring their own.
#[derive(Debug)]
pub struct LocalCounters<C: Clock = DefaultClock> {
    clock: C,
    metrics: Arc<Metrics>,
}

impl LocalCounters {
    /// Counters on the system's monotonic clock.
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self { clock: DefaultClock::default(), metrics }
    }
}

impl<C: Clock + Clone + Send + Sync + 'static> RateCounters for LocalCounters<C>
where
    C::Instant: Send + Sync,
{
    fn counter(&self, limit: &CountedLimit) -> Arc<dyn RateCounter> {
        let (clock, metrics) = (self.clock.clone(), Arc::clone(&self.metrics));
        Arc::new(Keyed::<EntityUid, C>::new(limit.rate, limit.max_keys, limit.scope, clock, metrics))
    }
}

/// A count for each key, and one for all that do not fit. Clones are the same table.
#[derive(Clone)]
struct Table<K: Hash + Eq + Clone> {
    max: usize,
    own: Arc<DashMapStateStore<K>>,
    shared: Arc<InMemoryState>,
}

impl<K: Hash + Eq + Clone> Table<K> {
    fn new(max: usize) -> Self {
        Self { max, own: Arc::default(), shared: Arc::default() }
    }
}

impl<K: Hash + Eq + Clone> StateStore for Table<K> {
    type Key = K;

    fn measure_and_replace<T, F, E>(&self, key: &K, f: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        // Racing newcomers may exceed the bound by the number of threads, which is bounded too.
        if self.own.contains_key(key) || self.own.len() < self.max {
            self.own.measure_and_replace(key, f)
        } else {
            self.shared.measure_and_replace(&NotKeyed::NonKey, f)
        }
    }
}

impl<K: Hash + Eq + Clone> ShrinkableKeyedStateStore<K> for Table<K> {
    fn retain_recent(&self, drop_below: Nanos) {
        ShrinkableKeyedStateStore::retain_recent(&*self.own, drop_below);
    }

    fn len(&self) -> usize {
        self.own.len()
    }

    fn is_empty(&self) -> bool {
        self.own.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use governor::clock::FakeRelativeClock;

    use super::keyed::SWEEP_EVERY;
    use super::*;
    use crate::shared_state::contract;
    use crate::shared_state::faulty::Delayed;
    use crate::telemetry::ScopeLabels;

    fn limiter(
        rate: Rate,
        max_principals: usize,
    ) -> (Keyed<EntityUid, FakeRelativeClock>, FakeRelativeClock, Arc<Metrics>) {
        let (clock, metrics) = (FakeRelativeClock::default(), Arc::new(Metrics::new()));
        // Not at the epoch of the clock, as in a process that has run for a while.
        clock.advance(Duration::from_secs(1_000));
        let limiter = Keyed::new(rate, max_principals, "principal", clock.clone(), Arc::clone(&metrics));
        (limiter, clock, metrics)
    }

    fn user(name: &str) -> EntityUid {
        EntityUid::caxton("User", name)
    }

    #[test]
    fn a_burst_then_a_steady_flow() {
        let (limiter, clock, metrics) = limiter(Rate::new(60, Duration::from_secs(60), 3).unwrap(), 100);
        let alice = user("alice");
        let left: Vec<_> = (0..3).map(|_| limiter.check(&alice).unwrap()).collect();
        assert_eq!(left.iter().map(|one| one.remaining).collect::<Vec<_>>(), [2, 1, 0]);
        assert_eq!(left[0].limit, 3);
        assert_eq!(limiter.check(&alice), Err(Limited { retry_after: Duration::from_secs(1) }));
        assert!(limiter.peek(&user("bob")).is_ok());
        assert_eq!(metrics.rate_limited.get_or_create(&ScopeLabels { scope: "principal" }).get(), 1);
        // Another principal has a count of its own, and so has another kind of principal of that name.
        assert!(
            limiter.check(&user("bob")).is_ok()
                && limiter.check(&EntityUid::caxton("Agent", "alice")).is_ok()
        );
        clock.advance(Duration::from_millis(999));
        assert_eq!(limiter.peek(&alice), Err(Limited { retry_after: Duration::from_millis(1) }));
        assert!(limiter.check(&alice).is_err());
        clock.advance(Duration::from_millis(1));
        assert!((0..5).all(|_| limiter.peek(&alice).is_ok()), "looking counts nothing");
        assert!(
            limiter.check(&alice).is_ok() && limiter.peek(&alice).is_err() && limiter.check(&alice).is_err()
        );
    }

    #[test]
    fn what_a_request_came_to_is_made_up_for_before_the_next() {
        let (limiter, clock, _) = limiter(Rate::new(60, Duration::from_secs(60), 3).unwrap(), 100);
        let alice = user("alice");
        assert!(limiter.check(&alice).is_ok());
        limiter.owe(&alice, 0);
        assert_eq!(limiter.check(&alice).unwrap().remaining, 1);
        // A thousand decisions at one in a second, of which one was left.
        limiter.owe(&alice, 1_000);
        assert_eq!(limiter.check(&alice), Err(Limited { retry_after: Duration::from_secs(1_000) }));
        clock.advance(Duration::from_secs(999));
        assert!(limiter.check(&alice).is_err() && limiter.check(&user("bob")).is_ok());
        clock.advance(Duration::from_secs(1));
        assert!(limiter.check(&alice).is_ok());
        // A key without a request owes nothing, and no sum overflows.
        limiter.owe(&user("carol"), u32::MAX);
        assert!(limiter.check(&user("carol")).is_ok());
        (0..3).for_each(|_| limiter.owe(&alice, u32::MAX));
        assert!(limiter.check(&alice).is_err());
    }

    #[test]
    fn a_full_table_makes_newcomers_share_and_keeps_the_others() {
        let (limiter, _, _) = limiter(Rate::new(60, Duration::from_secs(60), 2).unwrap(), 10);
        for number in 0..10 {
            assert!(limiter.check(&user(&number.to_string())).is_ok());
        }
        let allowed = (10..1_000).filter(|number| limiter.check(&user(&number.to_string())).is_ok()).count();
        assert_eq!((allowed, limiter.len()), (2, 10));
        assert!(limiter.check(&user("0")).is_ok());
    }

    #[test]
    fn who_has_been_quiet_is_forgotten() {
        let (limiter, clock, _) = limiter(Rate::new(60, Duration::from_secs(60), 2).unwrap(), 100_000);
        for number in 0..1_000 {
            assert!(limiter.check(&user(&number.to_string())).is_ok());
        }
        clock.advance(Duration::from_secs(60));
        for _ in 0..SWEEP_EVERY {
            let _ = limiter.check(&user("busy"));
        }
        assert_eq!(limiter.len(), 1);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn the_counters_of_a_process_keep_the_contract() {
        let make = |burst, max_keys| {
            let rate = Rate::new(60, Duration::from_secs(60), burst).unwrap();
            let (limiter, clock, _) = limiter(rate, max_keys);
            (limiter, move |time| clock.advance(time))
        };
        contract::counters::check_rates(make).await;
        let delayed = |burst, max_keys| {
            let (limiter, advance) = make(burst, max_keys);
            (Delayed(limiter), advance)
        };
        contract::counters::check_rates(delayed).await;
    }

    #[test]
    fn the_default_is_what_the_guides_say() {
        let rate = Settings::default().per_principal;
        assert_eq!((rate.to_string().as_str(), rate.burst()), ("600/minute", 100));
    }
}
