//! `telemetry.*`: spans of requests for a collector of OpenTelemetry.

use std::sync::Arc;

use crate::config::problem::{ConfigProblem, ProblemCode};
use crate::config::reader::Reader;
use crate::config::value_type::{FilePath, HttpsUrl, Integer, SecretText};
use crate::telemetry::TraceSettings;

/// `telemetry.traces.*`; `None` without an address.
pub(super) fn read(r: &mut Reader<'_>) -> Option<TraceSettings> {
    const URL: &str = "telemetry.traces.url";
    const OTHERS: [&str; 3] =
        ["telemetry.traces.authorization", "telemetry.traces.ca_file", "telemetry.traces.sample_percent"];
    let url = r.optional(
        URL,
        HttpsUrl { may_weaken: false },
        "Address of an OpenTelemetry collector that takes traces over OTLP/HTTP, such as `https://collector:4318/v1/traces`.",
    );
    let authorization = r.optional(
        "telemetry.traces.authorization",
        SecretText,
        "Value of the header field `Authorization` for the collector.",
    );
    let ca_file = r.optional(
        "telemetry.traces.ca_file",
        FilePath { must_exist: true },
        "Further certificate authorities that the collector's certificate may be issued by, in PEM.",
    );
    let sample_percent = r.value(
        "telemetry.traces.sample_percent",
        Integer::new(0..=100, "percent"),
        100,
        "How many of a hundred traces are kept. The trace's id decides, and never a flag of the caller.",
    );
    let Some(url) = url else {
        if let Some(given) = OTHERS.into_iter().find(|key| r.is_given(key)) {
            let problem =
                ConfigProblem::error(ProblemCode::Contradiction, "without a collector it does nothing");
            r.report(problem.with_help(format!("set `{URL}`, or remove the key")), given);
        }
        return None;
    };
    Some(TraceSettings { url, authorization: authorization.map(Arc::new), ca_file, sample_percent })
}
