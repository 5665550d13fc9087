//! Switches, numbers, and numbers with a unit.

use std::marker::PhantomData;
use std::ops::RangeInclusive;
use std::time::Duration;

use serde_json::{Value as Json, json};

use super::{ReadContext, ValueType, or_variable};
use crate::config::document::Node;
use crate::config::problem::ProblemCode;

/// `true` or `false`, and no other spelling.
pub(in crate::config) struct Flag;

impl ValueType for Flag {
    type Value = bool;

    fn read(&self, node: &Node, scope: &mut ReadContext<'_>) -> Option<bool> {
        let word = scope.unquoted_word(node, "`true` or `false`")?;
        match word.text.as_str() {
            "true" => Some(true),
            "false" => Some(false),
            _ => scope.reject(
                node,
                ProblemCode::WrongType,
                format!("`{}` is neither `true` nor `false`", word.shown),
                "write `true` or `false`",
            ),
        }
    }

    fn show(&self, value: &bool) -> String {
        value.to_string()
    }

    fn type_name(&self) -> String {
        String::from("`true` or `false`")
    }

    fn schema(&self) -> Json {
        or_variable(json!({ "type": "boolean" }))
    }
}

/// A whole number in a range.
pub(in crate::config) struct Integer<T> {
    range: RangeInclusive<u64>,
    unit: &'static str,
    number: PhantomData<T>,
}

impl<T> Integer<T> {
    pub(in crate::config) fn new(range: RangeInclusive<u64>, unit: &'static str) -> Self {
        Self { range, unit, number: PhantomData }
    }
}

impl<T: TryFrom<u64> + ToString> ValueType for Integer<T> {
    type Value = T;

    fn read(&self, node: &Node, scope: &mut ReadContext<'_>) -> Option<T> {
        let low = self.range.start();
        let high = self.range.end();
        let word = scope.unquoted_word(node, "a whole number")?;
        let Ok(number) = word.text.parse::<i128>() else {
            return scope.reject(
                node,
                ProblemCode::WrongType,
                format!("`{}` is not a whole number", word.shown),
                &format!("write a number from {low} to {high}"),
            );
        };
        let fits = u64::try_from(number).ok().filter(|number| self.range.contains(number));
        match fits.and_then(|number| T::try_from(number).ok()) {
            Some(value) => Some(value),
            None => scope.reject(
                node,
                ProblemCode::OutOfRange,
                format!("`{}` is out of range", word.shown),
                &format!("write a number from {low} to {high}"),
            ),
        }
    }

    fn show(&self, value: &T) -> String {
        value.to_string()
    }

    fn type_name(&self) -> String {
        let unit = if self.unit.is_empty() { String::new() } else { format!(" {}", self.unit) };
        format!("{} to {}{unit}", self.range.start(), self.range.end())
    }

    fn schema(&self) -> Json {
        or_variable(json!({ "type": "integer", "minimum": self.range.start(), "maximum": self.range.end() }))
    }
}

const TIMES: &[(&str, u64)] = &[("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// A length of time, such as `5s`, `30m` or `90d`.
pub(in crate::config) struct DurationRange(pub(in crate::config) RangeInclusive<Duration>);

impl DurationRange {
    /// From `low` to `high` seconds.
    pub(in crate::config) fn seconds(low: u64, high: u64) -> Self {
        Self(Duration::from_secs(low)..=Duration::from_secs(high))
    }

    /// From `low` to `high` milliseconds.
    pub(in crate::config) fn millis(low: u64, high: u64) -> Self {
        Self(Duration::from_millis(low)..=Duration::from_millis(high))
    }
}

impl ValueType for DurationRange {
    type Value = Duration;

    fn read(&self, node: &Node, scope: &mut ReadContext<'_>) -> Option<Duration> {
        let word = scope.word(node, "a duration")?;
        let Some(millis) = with_unit(&word.text, TIMES) else {
            return scope.reject(
                node,
                ProblemCode::WrongType,
                format!("`{}` is not a duration", word.shown),
                "write a whole number and `ms`, `s`, `m`, `h` or `d`, such as `30s`",
            );
        };
        let value = Duration::from_millis(millis);
        if self.0.contains(&value) {
            return Some(value);
        }
        let help = format!("write a duration from {} to {}", time(*self.0.start()), time(*self.0.end()));
        scope.reject(node, ProblemCode::OutOfRange, format!("`{}` is out of range", word.shown), &help)
    }

    fn show(&self, value: &Duration) -> String {
        time(*value)
    }

    fn type_name(&self) -> String {
        format!("duration, {} to {}", time(*self.0.start()), time(*self.0.end()))
    }

    fn schema(&self) -> Json {
        json!({ "type": "string", "pattern": "^[0-9]+(ms|s|m|h|d)$|\\$\\{" })
    }
}

const SIZES: &[(&str, u64)] = &[
    ("B", 1),
    ("KB", 1 << 10),
    ("MB", 1 << 20),
    ("GB", 1 << 30),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
];

/// A number of bytes, such as `10MB`; a KB is 1,024 bytes.
pub(in crate::config) struct Size(pub(in crate::config) RangeInclusive<u64>);

impl ValueType for Size {
    type Value = usize;

    fn read(&self, node: &Node, scope: &mut ReadContext<'_>) -> Option<usize> {
        let word = scope.word(node, "a size")?;
        let Some(bytes) = with_unit(&word.text, SIZES) else {
            return scope.reject(
                node,
                ProblemCode::WrongType,
                format!("`{}` is not a size", word.shown),
                "write a whole number and `B`, `KB`, `MB` or `GB`, such as `10MB`",
            );
        };
        match usize::try_from(bytes).ok().filter(|_| self.0.contains(&bytes)) {
            Some(value) => Some(value),
            None => {
                let help = format!("write a size from {} to {}", size(*self.0.start()), size(*self.0.end()));
                scope.reject(
                    node,
                    ProblemCode::OutOfRange,
                    format!("`{}` is out of range", word.shown),
                    &help,
                )
            }
        }
    }

    fn show(&self, value: &usize) -> String {
        u64::try_from(*value).map_or_else(|_| format!("{value}B"), size)
    }

    fn type_name(&self) -> String {
        format!("size, {} to {}", size(*self.0.start()), size(*self.0.end()))
    }

    fn schema(&self) -> Json {
        json!({ "type": "string", "pattern": "^[0-9]+(B|KB|MB|GB|KiB|MiB|GiB)$|\\$\\{" })
    }
}

const PERIODS: &[(&str, u64)] = &[("second", 1), ("minute", 60), ("hour", 3_600), ("day", 86_400)];

/// So many in a period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::config) struct Frequency {
    /// How many; at least 1.
    pub(in crate::config) count: u32,
    /// In what time; at least a second.
    pub(in crate::config) per: Duration,
}

/// A rate, such as `50/minute`.
pub(in crate::config) struct RateType {
    /// The period of a number without one; `None`: a rate names its period.
    pub(in crate::config) period_of_number: Option<Duration>,
}

impl RateType {
    /// A rate that names its period.
    pub(in crate::config) const WITH_PERIOD: Self = Self { period_of_number: None };
    /// A rate; a number alone is one an hour.
    pub(in crate::config) const HOURLY: Self = Self { period_of_number: Some(Duration::from_secs(3_600)) };
}

impl ValueType for RateType {
    type Value = Frequency;

    fn read(&self, node: &Node, scope: &mut ReadContext<'_>) -> Option<Frequency> {
        let word = scope.word(node, "a rate")?;
        let (count, per) = match word.text.split_once('/') {
            Some((count, period)) => {
                let known = PERIODS.iter().find(|(name, _)| *name == period.trim());
                (count, known.map(|(_, seconds)| Duration::from_secs(*seconds)))
            }
            None => (word.text.as_str(), self.period_of_number),
        };
        let count = digits(count.trim()).and_then(|count| count.try_into().ok());
        let rate = count.zip(per).map(|(count, per)| Frequency { count, per });
        match rate {
            Some(rate) if rate.count > 0 => Some(rate),
            Some(_) => scope.reject(
                node,
                ProblemCode::OutOfRange,
                format!("`{}` would let nothing through", word.shown),
                "write a rate of at least 1",
            ),
            None => scope.reject(
                node,
                ProblemCode::WrongType,
                format!("`{}` is not a rate", word.shown),
                "write a whole number, `/` and `second`, `minute`, `hour` or `day`, such as `50/minute`",
            ),
        }
    }

    fn show(&self, value: &Frequency) -> String {
        let period = PERIODS.iter().find(|(_, seconds)| Duration::from_secs(*seconds) == value.per);
        match period {
            Some((name, _)) => format!("{}/{name}", value.count),
            None => format!("{}/{}s", value.count, value.per.as_secs()),
        }
    }

    fn type_name(&self) -> String {
        let number = if self.period_of_number.is_some() { ", or a number an hour" } else { "" };
        format!("rate, such as `50/minute`{number}")
    }

    fn schema(&self) -> Json {
        let rate = json!({ "type": "string", "pattern": "^[0-9]+ */ *(second|minute|hour|day)$|\\$\\{" });
        if self.period_of_number.is_some() {
            json!({ "anyOf": [rate, { "type": "integer", "minimum": 1 }] })
        } else {
            rate
        }
    }
}

/// Digits and one of `units`, with checked arithmetic.
fn with_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at_checked(end)?;
    let (_, factor) = units.iter().find(|(name, _)| *name == unit.trim_start())?;
    digits(number)?.checked_mul(*factor)
}

fn digits(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// The largest unit that divides the value.
fn largest(value: u64, units: &[(&str, u64)]) -> String {
    let fits = units.iter().rev().find(|(_, factor)| value > 0 && value.is_multiple_of(*factor));
    match (fits, units.first()) {
        (Some((unit, factor)), _) => format!("{}{unit}", value / factor),
        (None, Some((unit, _))) => format!("{value}{unit}"),
        (None, None) => value.to_string(),
    }
}

fn time(value: Duration) -> String {
    u64::try_from(value.as_millis())
        .map_or_else(|_| format!("{}s", value.as_secs()), |millis| largest(millis, TIMES))
}

fn size(value: u64) -> String {
    largest(value, SIZES.get(..4).unwrap_or(SIZES))
}
