//! Limits that are counted before a decision is made, and what an answer says about all of them.
//!
//! The headers are those of the IETF draft on RateLimit fields: `RateLimit-Policy` names each limit with its quota and
//! window in seconds, `RateLimit` what is left of it and when it is whole again.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::{IntoResponse as _, Response};

use super::problem::{Problem, whole_seconds};
use super::state::Api;
use crate::audit::{Record, SourceRecord, SubjectRecord};
use crate::events::SecurityEvent;
use crate::limit::{LimitStatus, network};
use crate::model::{RequestContext, Subject};

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const LEFT: HeaderName = HeaderName::from_static("ratelimit");

/// Counts a request of a proven caller; the limits that it met, or the answer to one too many.
pub(super) async fn within(
    api: &Api,
    subject: &Arc<Subject>,
    context: &RequestContext,
    route: &str,
) -> Result<Vec<LimitStatus>, Response> {
    let exceeded = match api.quotas.check(subject, route).await {
        Ok(Ok(met)) => return Ok(met),
        Ok(Err(exceeded)) => exceeded,
        Err(why) => return Err(Problem::from(why).into_response()),
    };
    record(api, subject, context, exceeded.met.policy).await;
    let mut answer = Problem::limited("too many requests", exceeded.limited.retry_after).into_response();
    tell(answer.headers_mut(), &[exceeded.met]);
    Err(answer)
}

/// A call above the rate of a `key`, a `route` or a `principal`, on record with others of its kind.
pub(super) async fn record(api: &Api, subject: &Subject, context: &RequestContext, limit: &'static str) {
    let route = context.route.as_deref().and_then(|route| route.split_once(' ')).map_or("", |(_, path)| path);
    let event = SecurityEvent::RateLimited { limit, route };
    let Some(mut record) = Record::of_event(&event, api.clock.now_millis()) else { return };
    record.request_id = context.request_id.clone();
    record.source = SourceRecord::from(&context.source);
    record.subject = Some(SubjectRecord::from(subject));
    let (address, reason) = (network(context.source.ip), ("rate_limited", limit));
    // A refusal has no effect to hold back, so a journal that cannot write does not change the answer.
    if let Some(record) = api.journal.count_refusal(record, address, reason) {
        let _ = api.journal.append(record).await;
    }
}

/// Says in the headers of an answer which limits the request met, the principal's among them if decisions were made.
pub(super) fn finish(
    api: &Api,
    context: &RequestContext,
    mut met: Vec<LimitStatus>,
    headers: &mut HeaderMap,
) {
    if let Some(remaining) = context.meter.remaining() {
        met.push(LimitStatus { policy: "principal", left: api.per_principal.remaining(remaining) });
    }
    tell(headers, &met);
}

fn tell(headers: &mut HeaderMap, met: &[LimitStatus]) {
    if met.is_empty() {
        return;
    }
    let (mut policy, mut left) = (String::with_capacity(64), String::with_capacity(64));
    for met in met {
        let comma = if policy.is_empty() { "" } else { ", " };
        let (name, met) = (met.policy, met.left);
        let window = whole_seconds(met.window).max(1);
        let reset = whole_seconds(met.reset);
        // A text takes whatever is written to it.
        let _ = write!(policy, "{comma}\"{name}\";q={};w={window}", met.limit);
        let _ = write!(left, "{comma}\"{name}\";r={};t={reset}", met.remaining);
    }
    for (name, value) in [(POLICY, policy), (LEFT, left)] {
        headers.extend(HeaderValue::try_from(value).map(|value| (name, value)));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::limit::Rate;

    #[test]
    fn the_headers_are_structured_lists() {
        let rate = Rate::new(600, Duration::from_secs(60), 100).unwrap();
        let met = [
            LimitStatus { policy: "key", left: rate.remaining(99) },
            LimitStatus { policy: "principal", left: rate.remaining(0) },
        ];
        let mut headers = HeaderMap::new();
        tell(&mut headers, &met);
        assert_eq!(headers["ratelimit-policy"], "\"key\";q=100;w=10, \"principal\";q=100;w=10");
        assert_eq!(headers["ratelimit"], "\"key\";r=99;t=1, \"principal\";r=0;t=10");
        let mut none = HeaderMap::new();
        tell(&mut none, &[]);
        assert!(none.is_empty());
    }
}
