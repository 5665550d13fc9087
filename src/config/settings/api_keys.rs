//! `security.api_keys.*`: how API keys arrive, how long they serve, and how often.

use std::path::Path;
use std::time::Duration;

use super::rate_limit::checked_rate;
use crate::authn::api_key::Settings;
use crate::config::problem::{ConfigProblem, ProblemCode};
use crate::config::reader::Reader;
use crate::config::value_type::{Choice, DurationRange, Flag, Frequency, Integer, ParsedWord, RateType};
use crate::limit;

/// What the section says of two modules.
pub(super) struct ApiKeys {
    pub(super) keys: Settings,
    /// Calls with one key.
    pub(super) rate: limit::Rate,
}

/// How keys are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sha256;

impl ApiKeys {
    pub(super) fn read(r: &mut Reader<'_>, data_dir: &Path) -> Self {
        let header = http::HeaderName::from_static("x-api-key");
        let header_name = r.value(
            "security.api_keys.header_name",
            ParsedWord::new("the name of a header field"),
            header,
            "Header field of an API key; `X-Caxton-Api-Key` works as well.",
        );
        if matches!(
            header_name.as_str(),
            "authorization" | "cookie" | "host" | "content-length" | "content-type"
        ) {
            let problem =
                ConfigProblem::error(ProblemCode::Contradiction, "this header field has another meaning");
            r.report(problem.with_help("write `X-API-Key`"), "security.api_keys.header_name");
        }
        r.value(
            "security.api_keys.hash_algorithm",
            Choice(&[("sha256", Sha256)]),
            Sha256,
            "Keys are kept as HMAC-SHA-256 with a secret of the data directory.",
        );
        let (max_age, grace) = Self::rotation(r);
        let mut keys = Settings { max_age, grace, ..Settings::in_directory(data_dir) };
        if !keys.header_names.contains(&header_name) {
            keys.header_names.push(header_name);
        }
        Self { keys, rate: Self::rate(r) }
    }

    fn rate(r: &mut Reader<'_>) -> limit::Rate {
        const PER_KEY: &str = "security.api_keys.rate_limit_per_key";
        const BURST: &str = "security.api_keys.burst_limit";
        let hourly = Frequency { count: 1_000, per: Duration::from_secs(3_600) };
        let rate =
            r.value(PER_KEY, RateType::HOURLY, hourly, "Calls with one API key; more are answered with 429.");
        let burst =
            r.value(BURST, Integer::new(1..=1_000_000, "calls"), 100, "Calls with one API key at once.");
        checked_rate(r, rate, burst, (PER_KEY, BURST))
    }

    fn rotation(r: &mut Reader<'_>) -> (Option<Duration>, Duration) {
        const INTERVAL: &str = "security.api_keys.rotation_interval";
        let day = 86_400;
        let most = 3_660 * 86_400;
        let auto = r.value(
            "security.api_keys.auto_rotate",
            Flag,
            false,
            "A key that is older than `rotation_interval` and `grace_period` together is refused, although it has not expired: it must have been replaced by then.",
        );
        let interval = r.value(
            INTERVAL,
            DurationRange::seconds(3_600, most),
            Duration::from_secs(30 * day),
            "Age at which a key is to be replaced, with `auto_rotate`.",
        );
        let grace = r.value(
            "security.api_keys.grace_period",
            DurationRange::seconds(0, 365 * day),
            Duration::from_secs(7 * day),
            "How long a key that was replaced still serves.",
        );
        if r.is_given(INTERVAL) && !auto {
            let problem = ConfigProblem::error(
                ProblemCode::Missing,
                "has no effect: keys may grow as old as they were made for",
            );
            r.report(
                problem.with_help("set `security.api_keys.auto_rotate: true`, or remove the key"),
                INTERVAL,
            );
        }
        (auto.then(|| interval.saturating_add(grace)), grace)
    }
}
