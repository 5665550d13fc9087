//! Instants and spans as people write them. A time without a zone is UTC; nothing that was written is passed over.

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{Span, SpanRelativeTo, Timestamp, Unit};

/// Why a text is not a time.
#[derive(Debug, thiserror::Error)]
pub enum TimeError {
    /// Neither an instant nor a day.
    #[error(
        "`{0}` is not a time, use for example `2026-01-31`, `2026-01-31T12:00:00Z` or `2026-01-31T12:00:00+01:00`; without a zone it is UTC"
    )]
    Instant(String),
    /// Not a time span.
    #[error("`{0}` is not a time span, use for example `24h`, `7d` or `90m`")]
    Span(String),
}

/// An instant in milliseconds since the Unix epoch; of a day its beginning (UTC).
///
/// # Errors
/// The text is not a time.
pub fn start_of(text: &str) -> Result<i64, TimeError> {
    instant(text, false).ok_or_else(|| TimeError::Instant(text.to_owned()))
}

/// An instant in milliseconds since the Unix epoch; of a day its end (UTC).
///
/// # Errors
/// The text is not a time.
pub fn end_of(text: &str) -> Result<i64, TimeError> {
    instant(text, true).ok_or_else(|| TimeError::Instant(text.to_owned()))
}

fn instant(text: &str, end: bool) -> Option<i64> {
    if let Ok(instant) = text.parse::<Timestamp>() {
        return Some(instant.as_millisecond());
    }
    let utc = |time: DateTime| Some(time.to_zoned(TimeZone::UTC).ok()?.timestamp().as_millisecond());
    // A date would be read from the beginning of a time without a zone, and the rest passed over.
    if text.contains(':') || text.contains(['T', 't', ' ']) {
        return utc(text.parse().ok()?);
    }
    let day: Date = text.parse().ok()?;
    let day = if end { day.tomorrow().ok()? } else { day };
    utc(day.to_datetime(jiff::civil::Time::midnight()))
}

/// A time span in milliseconds: `24h`, `7d`, `90m`. A day has 24 hours.
///
/// # Errors
/// The text is not a time span, or one that is negative or has no end.
pub fn time_span(text: &str) -> Result<i64, TimeError> {
    let wrong = || TimeError::Span(text.to_owned());
    let span: Span = text.parse().map_err(|_| wrong())?;
    let millis = span.total((Unit::Millisecond, SpanRelativeTo::days_are_24_hours())).map_err(|_| wrong())?;
    if !(0.0..9e15).contains(&millis) {
        return Err(wrong());
    }
    Ok(millis as i64)
}
