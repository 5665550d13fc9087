//! One rate, counted for each key by itself.

use std::fmt;
use std::hash::Hash;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use governor::Quota;
use governor::clock::{Clock, DefaultClock, Reference as _};
use governor::middleware::StateInformationMiddleware;
use governor::nanos::Nanos;
use governor::state::StateStore as _;

use super::{Limited, Rate, Remaining, Table};
use crate::model::EntityUid;
use crate::shared_state::{PortFuture, RateCounter};
use crate::telemetry::{Metrics, ScopeLabels};

/// Full buckets are removed once in this many checks.
pub(super) const SWEEP_EVERY: u64 = 4096;

/// The longest that one request can owe.
const MAX_OWED: Duration = Duration::from_secs(366 * 24 * 3600);

fn quota(rate: Rate) -> Option<Quota> {
    let burst = NonZeroU32::new(rate.burst())?;
    Quota::with_period(rate.interval()).map(|quota| quota.allow_burst(burst))
}

/// Counts by key. `C` is the monotonic clock; tests bring their own.
pub(super) struct Keyed<K: Hash + Eq + Clone, C: Clock = DefaultClock> {
    limiter: governor::RateLimiter<K, Table<K>, C, StateInformationMiddleware>,
    table: Table<K>,
    rate: Rate,
    /// A word of `caxton_rate_limited_total{scope}`.
    scope: &'static str,
    checks: AtomicU64,
    /// The instant from which the limiter counts its time.
    start: C::Instant,
    metrics: Arc<Metrics>,
}

impl<K: Hash + Eq + Clone, C: Clock> Keyed<K, C> {
    /// Counts `max` keys one by one; the rest share one count.
    pub(super) fn new(rate: Rate, max: usize, scope: &'static str, clock: C, metrics: Arc<Metrics>) -> Self {
        // `Rate` cannot be zero; were it so, one in a minute would be the answer that fails closed.
        let quota = quota(rate).unwrap_or(Quota::per_minute(NonZeroU32::MIN));
        let table = Table::new(max);
        let start = clock.now();
        let limiter =
            governor::RateLimiter::<_, _, _, StateInformationMiddleware>::new(quota, table.clone(), clock);
        Self { limiter, table, rate, scope, checks: AtomicU64::new(0), start, metrics }
    }

    /// Counts one request of `key`, or returns how long to wait.
    pub(super) fn check(&self, key: &K) -> Result<Remaining, Limited> {
        if self.checks.fetch_add(1, Ordering::Relaxed) % SWEEP_EVERY == SWEEP_EVERY - 1 {
            self.limiter.retain_recent();
        }
        match self.limiter.check_key(key) {
            Ok(state) => Ok(self.rate.remaining(state.remaining_burst_capacity())),
            Err(not_until) => {
                self.metrics.rate_limited.get_or_create(&ScopeLabels { scope: self.scope }).inc();
                Err(Limited { retry_after: not_until.wait_time_from(self.limiter.clock().now()) })
            }
        }
    }

    /// Whether a request of `key` would be let through now; counts nothing.
    pub(super) fn peek(&self, key: &K) -> Result<(), Limited> {
        let found: Result<(), _> = self.table.measure_and_replace(key, Err);
        // INVARIANT: `Err` replaces nothing. A key without an entry has its whole burst.
        let Err(Some(full_again)) = found else { return Ok(()) };
        let now = u64::from(self.limiter.clock().now().duration_since(self.start));
        let interval = self.rate.interval();
        // The first of a burst owes nothing.
        let burst = interval.checked_mul(self.rate.burst().saturating_sub(1)).unwrap_or(Duration::MAX);
        let from = full_again.as_u64().saturating_sub(u64::try_from(burst.as_nanos()).unwrap_or(u64::MAX));
        match from.saturating_sub(now) {
            0 => Ok(()),
            wait => {
                self.metrics.rate_limited.get_or_create(&ScopeLabels { scope: self.scope }).inc();
                Err(Limited { retry_after: Duration::from_nanos(wait) })
            }
        }
    }

    /// Counts `more` requests of a `key` that has just been let through, although the bucket may not hold as many: what
    /// it cannot hold is owed, and nothing of this key is let through until it has been made up for.
    pub(super) fn owe(&self, key: &K, more: u32) {
        if more == 0 {
            return;
        }
        let interval = self.rate.interval();
        let time = interval.checked_mul(more).unwrap_or(MAX_OWED).min(MAX_OWED);
        let time = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        // A key that was forgotten meanwhile has been quiet for long enough.
        let _ = self.table.measure_and_replace(key, |full_again| match full_again {
            Some(full_again) => {
                let most = u64::MAX / 2;
                Ok(((), Nanos::new(full_again.as_u64().saturating_add(time).min(most))))
            }
            None => Err(()),
        });
    }

    /// How many keys have a count of their own at the moment.
    pub(super) fn len(&self) -> usize {
        self.limiter.len()
    }
}

impl<K: Hash + Eq + Clone, C: Clock> fmt::Debug for Keyed<K, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyed").field("scope", &self.scope).field("keys", &self.len()).finish_non_exhaustive()
    }
}

impl<C> RateCounter for Keyed<EntityUid, C>
where
    C: Clock + Send + Sync + 'static,
    C::Instant: Send + Sync,
{
    fn take<'a>(&'a self, key: &'a EntityUid) -> PortFuture<'a, Result<Remaining, Limited>> {
        PortFuture::now(self.check(key))
    }

    fn peek<'a>(&'a self, key: &'a EntityUid) -> PortFuture<'a, Result<(), Limited>> {
        PortFuture::now(self.peek(key))
    }

    fn owe<'a>(&'a self, key: &'a EntityUid, more: u32) -> PortFuture<'a, ()> {
        self.owe(key, more);
        PortFuture::now(())
    }
}
