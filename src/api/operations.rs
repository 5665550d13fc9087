//! The operations port: liveness, readiness and metrics.

use std::sync::Arc;

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::caller::Admitted;
use super::problem::Problem;
use super::routes::{Route, open, prove, routes};
use super::state::Api;
use super::{host, tools};
use crate::model::ReadMetrics;
use crate::tools::Health;

const METRICS: &str = "/metrics";

/// Routes of the operations port: it binds to loopback unless configured otherwise.
pub(super) fn table() -> Vec<Route> {
    let scrape = "Prometheus scrapes it on loopback without credentials; elsewhere `metrics:read` is asked";
    vec![
        open("/healthz", "liveness probes have no credentials", get(healthz)).gives_text("text/plain"),
        open("/readyz", "readiness probes have no credentials", get(readyz)).gives_text("text/plain"),
        open(METRICS, scrape, get(metrics)).gives_text("application/openmetrics-text"),
    ]
}

/// Liveness, readiness and metrics.
pub fn operations_router(api: Arc<Api>, on_loopback: bool) -> Router {
    let mut table = table();
    let router = if on_loopback {
        routes(&api, table)
    } else {
        table.retain(|route| route.endpoint.path != METRICS);
        let guarded = Router::new()
            .route(METRICS, get(guarded_metrics))
            .route_layer(from_fn_with_state(Arc::clone(&api), prove));
        routes(&api, table).merge(guarded)
    };
    router
        .method_not_allowed_fallback(async || Problem::method())
        .fallback(async || Problem::not_found("there is nothing at this path"))
        .layer(from_fn(host::settled))
        .with_state(api)
}

async fn healthz() -> &'static str {
    "ok\n"
}

/// Whether requests are taken. With `?verbose`, a line for each upstream server as well: one that is away does not make the gateway
/// unready.
async fn readyz(State(api): State<Arc<Api>>, RawQuery(query): RawQuery) -> Response {
    if !api.readiness.is_ready() {
        return (StatusCode::SERVICE_UNAVAILABLE, "starting or draining\n").into_response();
    }
    if !api.journal.available() {
        return (StatusCode::SERVICE_UNAVAILABLE, "the decision log cannot be written\n").into_response();
    }
    if api.readiness.is_blind() {
        return (StatusCode::SERVICE_UNAVAILABLE, "the policy files cannot be watched\n").into_response();
    }
    let mut text = "ready\n".to_owned();
    if query.as_deref() == Some("verbose") {
        for (server, health) in api.effects.tools().health() {
            let more = if health == Health::NeedsAccount { " (needs an account)" } else { "" };
            text.push_str(&format!("upstream {server} {}{more}\n", tools::state_of(&health)));
        }
    }
    text.into_response()
}

/// What the gateway counts; with `?security=true` the families of security alone.
async fn metrics(State(api): State<Arc<Api>>, RawQuery(query): RawQuery) -> Response {
    let kind = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    let text = match query.as_deref() {
        Some("security=true") => api.metrics.render_security(),
        None | Some("" | "security=false") => api.metrics.render(),
        Some(_) => return Problem::malformed("known is `security=true`").into_response(),
    };
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}

/// The same on an address that others reach.
async fn guarded_metrics(
    State(api): State<Arc<Api>>,
    Admitted(permit): Admitted<ReadMetrics>,
    query: RawQuery,
) -> Response {
    let ReadMetrics = permit.into_operation();
    metrics(State(api), query).await
}
