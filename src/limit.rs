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

use std::fmt;
use std::hash::Hash;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use governor::Quota;
use governor::clock::{Clock, DefaultClock};
use governor::nanos::Nanos;
use governor::state::keyed::{DashMapStateStore, ShrinkableKeyedStateStore};
use governor::state::{InMemoryState, NotKeyed, StateStore};

use crate::model::EntityUid;
use crate::telemetry::Metrics;

pub use failures::{FailedAttempts, FailureSettings, network};
pub use pace::Pace;
pub use quotas::{CapabilityLimits, LimitStatus, QuotaExceeded, QuotaSettings, Quotas};
pub use turns::{Turn, Turns};

use keyed::Keyed;

/// The longest time in which a bucket may fill; keeps the arithmetic in nanoseconds far from its end.
const MAX_REFILL: Duration = Duration::from_secs(366 * 24 * 3600);

/// Why a text or a triple of numbers is no rate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RateError {
    /// Not `<count>/<unit>`.
    #[error("`{0}` is not a rate such as `50/minute`")]
    Syntax(String),
    /// Nothing would ever be let through.
    #[error("a rate needs a count, a period and a burst of at least 1")]
    Zero,
    /// Too fast or too slow to be counted.
    #[error(
        "the rate is out of range: at most one in a nanosecond, and a burst that refills within 366 days"
    )]
    Range,
}

/// So many in such a time, and so many at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    count: NonZeroU32,
    per: Duration,
    burst: NonZeroU32,
}

impl Rate {
    /// `count` in `per`, at most `burst` of them at once.
    pub fn new(count: u32, per: Duration, burst: u32) -> Result<Self, RateError> {
        let (Some(count), Some(burst)) = (NonZeroU32::new(count), NonZeroU32::new(burst)) else {
            return Err(RateError::Zero);
        };
        if per.is_zero() {
            return Err(RateError::Zero);
        }
        let interval = per / count.get();
        let refill = interval.checked_mul(burst.get()).ok_or(RateError::Range)?;
        if interval.is_zero() || refill > MAX_REFILL {
            return Err(RateError::Range);
        }
        Ok(Self { count, per, burst })
    }

    /// The same rate with another burst.
    pub fn with_burst(self, burst: u32) -> Result<Self, RateError> {
        Self::new(self.count.get(), self.per, burst)
    }

    /// How many in [`per`](Self::per).
    pub fn count(self) -> u32 {
        self.count.get()
    }

    /// The period.
    pub fn per(self) -> Duration {
        self.per
    }

    /// How many at once.
    pub fn burst(self) -> u32 {
        self.burst.get()
    }

    fn quota(self) -> Option<Quota> {
        Quota::with_period(self.per / self.count.get()).map(|quota| quota.allow_burst(self.burst))
    }
}

/// `50/minute`; units are `second`, `minute`, `hour` and `day`, also as `s`, `m`, `h`, `d`. The burst is the count.
impl FromStr for Rate {
    type Err = RateError;

    fn from_str(text: &str) -> Result<Self, RateError> {
        let syntax = || RateError::Syntax(text.chars().take(64).collect());
        let (count, unit) = text.split_once('/').ok_or_else(syntax)?;
        let seconds = match unit.trim() {
            "s" | "sec" | "second" => 1,
            "m" | "min" | "minute" => 60,
            "h" | "hour" => 3600,
            "d" | "day" => 24 * 3600,
            _ => return Err(syntax()),
        };
        let count: u32 = count.trim().parse().map_err(|_| syntax())?;
        Self::new(count, Duration::from_secs(seconds), count)
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.per.as_secs() {
            1 => write!(f, "{}/second", self.count),
            60 => write!(f, "{}/minute", self.count),
            3600 => write!(f, "{}/hour", self.count),
            86_400 => write!(f, "{}/day", self.count),
            _ => write!(f, "{} in {:?}", self.count, self.per),
        }
    }
}

/// The limits.
#[derive(Debug, Clone)]
pub struct Settings {
    /// For each principal; 600 a minute, 100 at once.
    pub per_principal: Rate,
    /// How many principals are counted one by one; the rest share one count.
    pub max_principals: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            per_principal: Rate {
                count: at_least_one(600),
                per: Duration::from_secs(60),
                burst: at_least_one(100),
            },
            max_principals: 100_000,
        }
    }
}

fn at_least_one(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN)
}

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

/// Counts requests of principals. `C` is the monotonic clock; tests bring their own.
pub struct RateLimiter<C: Clock = DefaultClock>(Keyed<EntityUid, C>);

impl RateLimiter {
    /// A limiter on the system's monotonic clock.
    pub fn new(settings: &Settings, metrics: Arc<Metrics>) -> Self {
        Self::with_clock(settings, DefaultClock::default(), metrics)
    }
}

impl<C: Clock> RateLimiter<C> {
    /// A limiter on any clock.
    pub fn with_clock(settings: &Settings, clock: C, metrics: Arc<Metrics>) -> Self {
        Self(Keyed::new(settings.per_principal, settings.max_principals, "principal", clock, metrics))
    }

    /// Counts one request of `principal`, or says when to come back.
    pub fn check(&self, principal: &EntityUid) -> Result<Remaining, Limited> {
        self.0.check(principal)
    }

    /// Counts `more` decisions of a `principal` whose request has just been let through and came to so many. What the
    /// limit does not hold is owed.
    pub fn owe(&self, principal: &EntityUid, more: u32) {
        self.0.owe(principal, more);
    }

    /// Whether the next request of `principal` would be let through, without counting it.
    pub fn peek(&self, principal: &EntityUid) -> Result<(), Limited> {
        self.0.peek(principal)
    }

    /// How many principals have a count of their own at the moment.
    pub fn principals(&self) -> usize {
        self.0.len()
    }
}

impl<C: Clock> fmt::Debug for RateLimiter<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimiter").field("principals", &self.principals()).finish_non_exhaustive()
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
    use governor::clock::FakeRelativeClock;

    use super::keyed::SWEEP_EVERY;
    use super::*;
    use crate::telemetry::ScopeLabels;

    fn limiter(
        rate: Rate,
        max_principals: usize,
    ) -> (RateLimiter<FakeRelativeClock>, FakeRelativeClock, Arc<Metrics>) {
        let (clock, metrics) = (FakeRelativeClock::default(), Arc::new(Metrics::new()));
        // Not at the epoch of the clock, as in a process that has run for a while.
        clock.advance(Duration::from_secs(1_000));
        let settings = Settings { per_principal: rate, max_principals };
        (RateLimiter::with_clock(&settings, clock.clone(), Arc::clone(&metrics)), clock, metrics)
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
        assert_eq!((allowed, limiter.principals()), (2, 10));
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
        assert_eq!(limiter.principals(), 1);
    }

    #[test]
    fn rates_are_read_or_refused() {
        for (text, count, seconds) in
            [("50/minute", 50, 60), ("1000/hour", 1000, 3600), (" 5 / s", 5, 1), ("1/day", 1, 86_400)]
        {
            let rate: Rate = text.parse().unwrap();
            assert_eq!(
                (rate.count(), rate.per(), rate.burst()),
                (count, Duration::from_secs(seconds), count)
            );
            assert_eq!(rate.to_string().parse::<Rate>(), Ok(rate));
        }
        for text in [
            "",
            "50",
            "50/",
            "/minute",
            "-1/minute",
            "1.5/minute",
            "50/fortnight",
            "99999999999/s",
            "5/minute/x",
        ] {
            assert!(matches!(text.parse::<Rate>(), Err(RateError::Syntax(_))), "{text}");
        }
        assert_eq!("0/minute".parse::<Rate>(), Err(RateError::Zero));
        assert_eq!("5/minute".parse::<Rate>().unwrap().with_burst(0), Err(RateError::Zero));
        assert_eq!(Rate::new(1, Duration::ZERO, 1), Err(RateError::Zero));
        assert_eq!(Rate::new(u32::MAX, Duration::from_nanos(1), 1), Err(RateError::Range));
        assert_eq!(Rate::new(1, Duration::from_secs(86_400), u32::MAX), Err(RateError::Range));
        assert_eq!(Rate::new(1, Duration::MAX, u32::MAX), Err(RateError::Range));
    }

    #[test]
    fn the_default_is_what_the_guides_say() {
        let rate = Settings::default().per_principal;
        assert_eq!((rate.to_string().as_str(), rate.burst()), ("600/minute", 100));
    }
}
