//! Addresses whose credentials were refused too often are not listened to for a while.
//!
//! The attack: guess keys and tokens, or fill the decision log with refusals. What a blocked address presents is not
//! looked at, so that a right guess in that time gives no access and no information. A success in between resets nothing:
//! a caller with one good key cannot guess others without limit.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::Quota;
use governor::clock::{Clock, DefaultClock, Reference as _};
use governor::middleware::StateInformationMiddleware;
use parking_lot::{Mutex, RwLock};

use super::{Limited, Table};
use crate::shared_state::{AddressBlocks, PortFuture};
use crate::telemetry::{Metrics, ScopeLabels};

/// The shortest time between two sweeps of full tables.
const SWEEP_GAP: Duration = Duration::from_secs(10);

/// When an address is blocked, and for how long.
#[derive(Debug, Clone, Copy)]
pub struct FailureSettings {
    /// So many refused credentials block; 3.
    pub attempts: NonZeroU32,
    /// For so long; also the time after which all failures are forgotten. 15 minutes.
    pub block: Duration,
    /// How many addresses are counted one by one; the rest share one count.
    pub max_addresses: usize,
}

impl Default for FailureSettings {
    fn default() -> Self {
        Self {
            attempts: const { NonZeroU32::new(3).unwrap() },
            block: Duration::from_secs(15 * 60),
            max_addresses: 100_000,
        }
    }
}

/// Counts refused credentials by address. `C` is the monotonic clock; tests bring their own.
pub struct FailedAttempts<C: Clock = DefaultClock> {
    block: Duration,
    max_addresses: usize,
    failures: governor::RateLimiter<IpAddr, Table<IpAddr>, C, StateInformationMiddleware>,
    blocked: RwLock<HashMap<IpAddr, C::Instant>>,
    /// When what had run out was last thrown away.
    swept: Mutex<C::Instant>,
    metrics: Arc<Metrics>,
}

impl FailedAttempts {
    /// Counts on the system's monotonic clock.
    pub fn new(settings: FailureSettings, metrics: Arc<Metrics>) -> Self {
        Self::with_clock(settings, DefaultClock::default(), metrics)
    }
}

impl<C: Clock> FailedAttempts<C> {
    /// Counts on any clock.
    pub fn with_clock(settings: FailureSettings, clock: C, metrics: Arc<Metrics>) -> Self {
        let each = settings.block / settings.attempts.get();
        let quota = Quota::with_period(each).unwrap_or(Quota::per_minute(NonZeroU32::MIN));
        let table = Table::new(settings.max_addresses);
        let swept = Mutex::new(clock.now());
        Self {
            block: settings.block,
            max_addresses: settings.max_addresses,
            failures: governor::RateLimiter::<_, _, _, StateInformationMiddleware>::new(
                quota.allow_burst(settings.attempts),
                table,
                clock,
            ),
            blocked: RwLock::default(),
            swept,
            metrics,
        }
    }

    /// Whether the address is listened to, or when it may try again.
    pub fn check(&self, address: IpAddr) -> Result<(), Limited> {
        let until = {
            let blocked = self.blocked.read();
            if blocked.is_empty() {
                return Ok(());
            }
            blocked.get(&network(address)).copied()
        };
        let now = self.failures.clock().now();
        match until.map(|until| Duration::from(until.duration_since(now))) {
            None | Some(Duration::ZERO) => Ok(()),
            Some(retry_after) => {
                self.metrics.rate_limited.get_or_create(&ScopeLabels { scope: "address" }).inc();
                Err(Limited { retry_after })
            }
        }
    }

    /// Counts a refused credential; for how long the address is blocked, when this one was too many.
    pub fn failed(&self, address: IpAddr) -> Option<Duration> {
        let address = network(address);
        self.sweep();
        match self.failures.check_key(&address) {
            Ok(state) if state.remaining_burst_capacity() > 0 => return None,
            Ok(_) | Err(_) => {}
        }
        let now = self.failures.clock().now();
        let mut blocked = self.blocked.write();
        if blocked.len() >= self.max_addresses && !blocked.contains_key(&address) {
            // As many blocked addresses as there may be: this one goes on being refused one by one.
            return None;
        }
        blocked.insert(address, now + self.block.into());
        Some(self.block)
    }

    /// Makes room when there is none, at most once in [`SWEEP_GAP`]: an attacker with many addresses must not have both
    /// tables walked through for each of them.
    fn sweep(&self) {
        let full = |count: usize| count >= self.max_addresses;
        if !full(self.failures.len()) && !full(self.blocked.read().len()) {
            return;
        }
        let now = self.failures.clock().now();
        {
            let mut swept = self.swept.lock();
            if Duration::from(now.duration_since(*swept)) < SWEEP_GAP {
                return;
            }
            *swept = now;
        }
        self.failures.retain_recent();
        self.blocked.write().retain(|_, until| Duration::from(until.duration_since(now)) > Duration::ZERO);
    }
}

impl<C: Clock + Send + Sync + 'static> AddressBlocks for FailedAttempts<C>
where
    C::Instant: Send + Sync,
{
    fn check(&self, address: IpAddr) -> PortFuture<'_, Result<(), Limited>> {
        PortFuture::now(self.check(address))
    }

    fn failed(&self, address: IpAddr) -> PortFuture<'_, Option<Duration>> {
        PortFuture::now(self.failed(address))
    }
}

/// The network that counts as one address: a /64 for IPv6, because one host has all of it.
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
    }
}

impl<C: Clock> fmt::Debug for FailedAttempts<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FailedAttempts").field("blocked", &self.blocked.read().len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use governor::clock::FakeRelativeClock;

    use super::*;
    use crate::shared_state::contract;
    use crate::shared_state::faulty::Delayed;

    const MINUTE: Duration = Duration::from_secs(60);

    fn counter(max_addresses: usize) -> (FailedAttempts<FakeRelativeClock>, FakeRelativeClock, Arc<Metrics>) {
        let (clock, metrics) = (FakeRelativeClock::default(), Arc::new(Metrics::new()));
        clock.advance(1_000 * MINUTE);
        let settings = FailureSettings { max_addresses, ..FailureSettings::default() };
        (FailedAttempts::with_clock(settings, clock.clone(), Arc::clone(&metrics)), clock, metrics)
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn the_blocks_of_a_process_keep_the_contract() {
        let make = |max_addresses| {
            let (counter, clock, _) = counter(max_addresses);
            (counter, move |time| clock.advance(time))
        };
        contract::counters::check_blocks(make).await;
        let delayed = |max_addresses| {
            let (counter, advance) = make(max_addresses);
            (Delayed(counter), advance)
        };
        contract::counters::check_blocks(delayed).await;
    }

    #[test]
    fn the_third_failure_blocks_the_address_and_nobody_else() {
        let (counter, clock, metrics) = counter(100);
        let guesser = ip("192.0.2.1");
        assert_eq!((counter.failed(guesser), counter.failed(guesser)), (None, None));
        assert_eq!(counter.check(guesser), Ok(()));
        assert_eq!(counter.failed(guesser), Some(15 * MINUTE));
        assert_eq!(counter.check(guesser), Err(Limited { retry_after: 15 * MINUTE }));
        assert_eq!(counter.check(ip("192.0.2.2")), Ok(()));
        assert_eq!(metrics.rate_limited.get_or_create(&ScopeLabels { scope: "address" }).get(), 1);
        clock.advance(15 * MINUTE - Duration::from_millis(1));
        assert_eq!(counter.check(guesser), Err(Limited { retry_after: Duration::from_millis(1) }));
        clock.advance(Duration::from_millis(1));
        assert_eq!(counter.check(guesser), Ok(()));
        // It has its three attempts again.
        assert_eq!((counter.failed(guesser), counter.failed(guesser)), (None, None));
    }

    #[test]
    fn failures_that_lie_apart_are_forgotten() {
        let (counter, clock, _) = counter(100);
        for _ in 0..50 {
            assert_eq!(counter.failed(ip("192.0.2.1")), None);
            clock.advance(5 * MINUTE);
        }
    }

    #[test]
    fn a_network_of_ipv6_is_one_address_and_a_mapped_one_is_its_ipv4() {
        let (counter, _, _) = counter(100);
        for last in ["1", "2", "3"] {
            let _ = counter.failed(ip(&format!("2001:db8:1:2::{last}")));
        }
        assert!(counter.check(ip("2001:db8:1:2:ffff::9")).is_err());
        assert!(counter.check(ip("2001:db8:1:3::1")).is_ok());
        for address in ["192.0.2.7", "::ffff:192.0.2.7", "192.0.2.7"] {
            let _ = counter.failed(ip(address));
        }
        assert!(counter.check(ip("::ffff:192.0.2.7")).is_err());
    }

    #[test]
    fn many_addresses_do_not_fill_the_memory() {
        let (counter, clock, _) = counter(4);
        for number in 0..100 {
            for _ in 0..3 {
                let _ = counter.failed(ip(&format!("192.0.2.{number}")));
            }
        }
        assert_eq!((counter.blocked.read().len(), counter.failures.len()), (4, 4));
        assert!(counter.check(ip("192.0.2.0")).is_err());
        clock.advance(15 * MINUTE);
        for _ in 0..3 {
            let _ = counter.failed(ip("192.0.2.200"));
        }
        assert!(counter.check(ip("192.0.2.200")).is_err(), "what has run out makes room");
        assert_eq!(counter.blocked.read().len(), 1);
    }

    #[test]
    fn addresses_that_failed_long_ago_do_not_make_newcomers_share() {
        let (counter, clock, _) = counter(4);
        for number in 0..4 {
            assert_eq!(counter.failed(ip(&format!("192.0.2.{number}"))), None);
        }
        clock.advance(15 * MINUTE);
        for number in 100..103 {
            assert_eq!(counter.failed(ip(&format!("192.0.2.{number}"))), None);
        }
        assert_eq!(counter.failures.len(), 3);
    }
}
