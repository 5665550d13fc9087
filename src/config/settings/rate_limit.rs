//! `security.rate_limit.*`: how often one principal may call.

use std::collections::{BTreeMap, BTreeSet};

use crate::api;
use crate::config::problem::{ConfigProblem, ProblemCode};
use crate::config::reader::Reader;
use crate::config::value_type::{Frequency, Integer, NamedValues, RateType, printable};
use crate::limit::{self, QuotaSettings};
use crate::model::CapabilityName;

const PER_ROUTE: &str = "security.rate_limit.per_route";
const REFUSALS: &str = "security.rate_limit.refusals";
const PER_CAPABILITY: &str = "security.rate_limit.per_capability";

/// What the section says of both kinds of limits.
pub(super) struct RateLimits {
    pub(super) principals: limit::Settings,
    pub(super) quotas: QuotaSettings,
}

impl RateLimits {
    /// `per_key` is the rate of one API key, which stands in another section.
    pub(super) fn read(r: &mut Reader<'_>, per_key: limit::Rate) -> Self {
        const PER_PRINCIPAL: &str = "security.rate_limit.per_principal";
        const BURST: &str = "security.rate_limit.burst";
        let usual = limit::Settings::default();
        let per_principal = r.value(
            PER_PRINCIPAL,
            RateType::WITH_PERIOD,
            Frequency { count: usual.per_principal.count(), per: usual.per_principal.per() },
            "Calls of one principal; more are answered with 429.",
        );
        let burst = r.value(
            BURST,
            Integer::new(1..=1_000_000, "calls"),
            usual.per_principal.burst(),
            "Calls of one principal at once.",
        );
        let per_route = r.value(
            PER_ROUTE,
            NamedValues::of_tools(RateType::WITH_PERIOD),
            Vec::new(),
            "Calls of one principal on a route, by its template, such as `/v1/messages: 50/minute`. The count of the rate may come at once.",
        );
        let per_capability = r.value(
            PER_CAPABILITY,
            NamedValues::of_tools(RateType::WITH_PERIOD),
            Vec::new(),
            "Messages of one principal to a capability, such as `desk: 50/minute`, whichever agent takes them.",
        );
        let usual_refusals = QuotaSettings::default().refusals;
        let refusals = r.value(
            REFUSALS,
            RateType::WITH_PERIOD,
            Frequency { count: usual_refusals.count(), per: usual_refusals.per() },
            "Requests of one caller, or of one unauthenticated address, that are refused at once with 400, 401, 413, 415, 429 or 503. More of them are answered at this rate, delayed by two seconds at most. The count of the rate is the burst.",
        );
        let max_principals = r.value(
            "security.rate_limit.max_principals",
            Integer::new(100..=10_000_000, "principals"),
            usual.max_principals,
            "Principals that are counted at once.",
        );
        let per_principal = checked_rate(r, per_principal, burst, (PER_PRINCIPAL, BURST));
        let quotas = QuotaSettings {
            per_key: Some(per_key),
            per_route: routes(r, per_route),
            per_capability: capabilities(r, per_capability),
            refusals: checked_rate(r, refusals, refusals.count, (REFUSALS, REFUSALS)),
            max_entries: max_principals,
        };
        Self { principals: limit::Settings { per_principal, max_principals }, quotas }
    }
}

/// A limit of a route that is not there would look like a protection.
fn routes(r: &mut Reader<'_>, rates: Vec<(String, Frequency)>) -> BTreeMap<String, limit::Rate> {
    let known = guarded_routes();
    let mut limits = BTreeMap::new();
    for (route, rate) in rates {
        if !known.contains(route.as_str()) {
            let problem = ConfigProblem::error(
                ProblemCode::OutOfRange,
                format!("`{}` is not a route", printable(&route)),
            );
            let names: Vec<_> = known.iter().copied().collect();
            r.report(problem.with_help(format!("write one of {}", names.join(", "))), PER_ROUTE);
        }
        limits.insert(route, checked_rate(r, rate, rate.count, (PER_ROUTE, PER_ROUTE)));
    }
    limits
}

fn guarded_routes() -> BTreeSet<&'static str> {
    let guarded = |endpoint: &&api::Endpoint| matches!(endpoint.access, api::Access::Action(_));
    api::endpoints().iter().filter(guarded).map(|endpoint| endpoint.path).collect()
}

/// The same of capabilities.
fn capabilities(
    r: &mut Reader<'_>,
    rates: Vec<(String, Frequency)>,
) -> BTreeMap<CapabilityName, limit::Rate> {
    let mut limits = BTreeMap::new();
    for (name, rate) in rates {
        let limit = checked_rate(r, rate, rate.count, (PER_CAPABILITY, PER_CAPABILITY));
        match CapabilityName::parse(&name) {
            Ok(capability) => {
                limits.insert(capability, limit);
            }
            Err(_) => {
                let message = format!("`{}` is not the name of a capability", printable(&name));
                r.report(ConfigProblem::error(ProblemCode::WrongType, message), PER_CAPABILITY);
            }
        }
    }
    limits
}

/// The rate as the limiter counts it. One that it could not count is a mistake, and the shipped rate stands in for it.
pub(super) fn checked_rate(
    r: &mut Reader<'_>,
    rate: Frequency,
    burst: u32,
    (rate_key, burst_key): (&str, &str),
) -> limit::Rate {
    limit::Rate::new(rate.count, rate.per, burst).unwrap_or_else(|_| {
        let problem = ConfigProblem::error(
            ProblemCode::Contradiction,
            "a burst would take more than 366 days to refill, or no time at all",
        );
        let problem = problem.with_help(format!("make `{burst_key}` smaller, or the rate usual"));
        r.report(problem, if r.is_given(rate_key) { rate_key } else { burst_key });
        limit::Settings::default().per_principal
    })
}
