//! Proves who calls, before anything else of the request is looked at.

use std::sync::Arc;

use axum::extract::{FromRequestParts, Request, State};
use axum::http::{HeaderMap, HeaderValue, header, request::Parts};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::connection::Connection;
use super::problem::Problem;
use super::state::Api;
use crate::audit::{Record, SourceRecord};
use crate::authn::{Refused, RefusedKind};
use crate::model::{DecisionId, EventType, Outcome, ReasonCode, RequestContext, RequestId, Source, Subject};

/// The proven caller and the circumstances of the request.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    pub(super) subject: Arc<Subject>,
    pub(super) context: Arc<RequestContext>,
}

impl Caller {
    /// The pair that the gate asks for.
    pub(super) fn asker(&self) -> (&Arc<Subject>, &Arc<RequestContext>) {
        (&self.subject, &self.context)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        // INVARIANT: `prove` has put the caller there on every route but the open ones.
        parts.extensions.get::<Caller>().cloned().ok_or_else(Problem::internal)
    }
}

const REQUEST_ID: &str = "x-request-id";
/// The most of a `User-Agent` that is kept, in characters.
const LONGEST_AGENT: usize = 256;

/// Middleware of every guarded route.
pub(super) async fn prove(State(api): State<Arc<Api>>, mut request: Request, next: Next) -> Response {
    let context = Arc::new(circumstances(&request));
    let id = HeaderValue::from_str(context.request_id.as_str());
    let mut response = match admit_caller(&api, request.headers(), &context).await {
        Ok(subject) => {
            request.extensions_mut().insert(Caller { subject, context });
            match tokio::time::timeout(api.settings.request_timeout, next.run(request)).await {
                Ok(response) => response,
                Err(_) => Problem::timeout().into_response(),
            }
        }
        Err(problem) => problem.into_response(),
    };
    if let Ok(id) = id {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}

async fn admit_caller(
    api: &Api,
    headers: &HeaderMap,
    context: &RequestContext,
) -> Result<Arc<Subject>, Problem> {
    if !origin_allowed(headers, &api.settings.allowed_origins) {
        return Err(Problem::origin());
    }
    if api.settings.require_tls && !context.source.is_private() {
        let refused = Refused::insecure_transport();
        report(api, context, &refused).await;
        return Err(Problem::tls_required());
    }
    let address = context.source.ip;
    if let Some(Err(limited)) = api.failures.as_ref().map(|failures| failures.check(address)) {
        let detail = "credentials from this address were refused too often";
        return Err(Problem::limited(detail, limited.retry_after));
    }
    match api.authenticator.authenticate(headers).await {
        Ok(subject) => Ok(subject),
        Err(refused) => {
            // Who presents nothing guesses nothing, and what has expired was good once.
            if let (Some(failures), RefusedKind::Invalid) = (&api.failures, refused.kind)
                && let Some(time) = failures.failed(address)
            {
                tracing::warn!(
                    target: "SECURITY",
                    event_type = "security_violation",
                    violation_type = "api_security_event",
                    details = %format_args!("address_blocked: {address} for {} s", time.as_secs()),
                );
            }
            report(api, context, &refused).await;
            Err(match refused.kind {
                RefusedKind::Unavailable => Problem::unavailable(refused.client_text),
                RefusedKind::Missing | RefusedKind::Invalid | RefusedKind::Expired => {
                    Problem::unauthenticated(refused.client_text)
                }
            })
        }
    }
}

/// Tells the operator of a refused credential.
async fn report(api: &Api, context: &RequestContext, refused: &Refused) {
    tracing::warn!(
        target: "SECURITY",
        event_type = "security_violation",
        violation_type = "api_security_event",
        details = %format_args!("login_failure: {} {}", refused.method, refused.reason),
    );
    // A failed login has no effect to hold back, so a journal that cannot write does not change the answer.
    let _ = api.journal.append(login_failure(api, context, refused)).await;
}

fn login_failure(api: &Api, context: &RequestContext, refused: &Refused) -> Record {
    let mut record = Record::new(
        DecisionId::generate(),
        api.clock.now_millis(),
        context.request_id.clone(),
        SourceRecord::from(&context.source),
        EventType::Authentication,
        Outcome::DenyExplicit,
        ReasonCode::Unauthenticated,
    );
    record.event = Some("login_failure");
    record.detail = Some(format!("{}: {}", refused.method, refused.reason));
    record
}

/// A request of a browser page comes with its origin (RFC 6454); only pages that were named may call. This stops a
/// page that had its own name resolve to this host (DNS rebinding).
fn origin_allowed(headers: &HeaderMap, allowed: &[String]) -> bool {
    headers
        .get_all(header::ORIGIN)
        .iter()
        .all(|origin| origin.to_str().is_ok_and(|origin| allowed.iter().any(|name| name == origin)))
}

fn circumstances(request: &Request) -> RequestContext {
    let headers = request.headers();
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let mut source = Source::local();
    if let Some(connection) = request.extensions().get::<Connection>() {
        source.ip = connection.peer.ip().to_canonical();
        source.tls = connection.tls;
    }
    source.user_agent = text("user-agent").map(|agent| {
        let plain: String = agent.chars().filter(|c| !c.is_control()).take(LONGEST_AGENT).collect();
        plain.into()
    });
    RequestContext {
        request_id: text(REQUEST_ID).map_or_else(RequestId::generate, RequestId::from_caller),
        source,
        session: None,
        actor: None,
        trace: text("traceparent").and_then(traceparent),
    }
}

/// W3C Trace Context, version 00: `00-<32 hex>-<16 hex>-<2 hex>`.
fn traceparent(text: &str) -> Option<(Arc<str>, Arc<str>)> {
    let mut parts = text.split('-');
    let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let hex = |text: &str, length: usize| {
        text.len() == length && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    let good = version == "00" && hex(trace, 32) && hex(span, 16) && hex(flags, 2) && parts.next().is_none();
    good.then(|| (trace.into(), span.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_is_taken_over_only_when_it_is_well_formed() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert_eq!(traceparent(good).unwrap().1.as_ref(), "00f067aa0ba902b7");
        for bad in
            ["", "00-x-y-01", "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", &format!("{good}-1")]
        {
            assert!(traceparent(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn only_named_origins_may_call() {
        let allowed = ["https://console.example".to_owned()];
        let from = |origin: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ORIGIN, HeaderValue::from_static(origin));
            origin_allowed(&headers, &allowed)
        };
        assert!(origin_allowed(&HeaderMap::new(), &allowed));
        assert!(from("https://console.example"));
        assert!(!from("https://console.example.evil") && !from("null") && !from("http://127.0.0.1:8080"));
    }
}
