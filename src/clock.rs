//! The one place that asks what time it is.
//!
//! Everything that depends on time takes a [`Clock`], so that a test can hold time still and a decision
//! can be evaluated again at the moment it was made.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A source of wall-clock time, in milliseconds since the Unix epoch (UTC).
pub trait Clock: Send + Sync + 'static {
    /// Milliseconds since 1970-01-01T00:00:00Z.
    fn now_millis(&self) -> i64;

    /// Whole seconds since 1970-01-01T00:00:00Z.
    fn now_seconds(&self) -> i64 {
        self.now_millis().div_euclid(1000)
    }
}

/// A clock that many parts share.
pub type SharedClock = Arc<dyn Clock>;

/// The operating system's clock.
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the port's one implementation over the real clock"
    )]
    fn now_millis(&self) -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    }
}

/// A clock that moves only when it is told to.
#[derive(Debug, Default)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    /// A clock that stands at `millis` since the Unix epoch.
    pub fn at_millis(millis: i64) -> Self {
        Self(AtomicI64::new(millis))
    }

    /// Moves the clock forward.
    pub fn advance(&self, by: Duration) {
        let by = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
        self.0.fetch_add(by, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now_millis(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }
}

/// RFC 3339 text (UTC, millisecond precision) of an instant in milliseconds since the Unix epoch. An instant that
/// has no four-digit year is the last one (or the first one) that has.
pub fn rfc3339(millis: i64) -> String {
    thread_local! {
        /// Busy threads write the same instant many times.
        static LAST: RefCell<(i64, String)> = RefCell::new((0, "1970-01-01T00:00:00.000Z".to_owned()));
    }
    LAST.with_borrow_mut(|(last, text)| {
        if *last != millis {
            *text = format_instant(millis);
            *last = millis;
        }
        text.clone()
    })
}

fn format_instant(millis: i64) -> String {
    let nearest = if millis < 0 { jiff::Timestamp::MIN } else { jiff::Timestamp::MAX };
    let instant = jiff::Timestamp::from_millisecond(millis).unwrap_or(nearest);
    format!("{instant:.3}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_moves_only_when_told() {
        let clock = ManualClock::at_millis(1_500);
        assert_eq!(clock.now_seconds(), 1);
        clock.advance(Duration::from_millis(500));
        assert_eq!(clock.now_millis(), 2_000);
    }

    #[test]
    fn text_has_three_digits_of_a_second() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000Z");
        assert!(rfc3339(i64::MAX).starts_with("9999-12-"));
        assert!(rfc3339(i64::MIN).starts_with("-"));
        assert_eq!(rfc3339(1_768_039_200_120), "2026-01-10T10:00:00.120Z");
    }
}
