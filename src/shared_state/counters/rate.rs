//! A rate: so many in such a time, and so many at once.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::time::Duration;

use super::Remaining;

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

const fn at_least_one(number: u32) -> NonZeroU32 {
    match NonZeroU32::new(number) {
        Some(number) => number,
        None => NonZeroU32::MIN,
    }
}

impl Rate {
    /// 600 a minute, 100 at once: what one principal may ask for when nothing is configured.
    pub const PER_PRINCIPAL: Self =
        Self { count: at_least_one(600), per: Duration::from_secs(60), burst: at_least_one(100) };

    /// 200 a second and at once: what one caller is refused before its refusals wait, when nothing is configured.
    pub const REFUSALS: Self =
        Self { count: at_least_one(200), per: Duration::from_secs(1), burst: at_least_one(200) };

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

    /// The time between two requests of a steady flow.
    pub fn interval(self) -> Duration {
        self.per / self.count.get()
    }

    /// The state of a bucket with `left` in it, for the headers of an answer.
    pub fn remaining(self, left: u32) -> Remaining {
        let missing = self.burst().saturating_sub(left);
        let times = |count: u32| self.interval().checked_mul(count).unwrap_or(Duration::MAX);
        Remaining { limit: self.burst(), remaining: left, reset: times(missing), window: times(self.burst()) }
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
