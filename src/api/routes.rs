//! The table of routes: what is asked for on each, or why it is open. The router is made from it and from nothing else.

use std::sync::Arc;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, any_service, delete, get, post};

use super::connection::Connection;
use super::problem::Problem;
use super::state::Api;
use super::{agents, audit, authzen, caller, mcp, memory, messages, policies, tools};
use crate::telemetry::metrics::HttpLabels;

/// Who may come through a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// The guard is asked for this action on every request.
    Action(&'static str),
    /// Anybody; the text says why.
    Open(&'static str),
}

/// One route, as the documentation and the tests see it.
#[derive(Debug, Clone, Copy)]
pub struct Endpoint {
    /// `GET`, `POST`, …
    pub method: &'static str,
    /// The template, `/v1/agents/{id}`.
    pub path: &'static str,
    /// Who may come through.
    pub access: Access,
}

type Handler = MethodRouter<Arc<Api>>;

fn guarded(
    method: &'static str,
    path: &'static str,
    action: &'static str,
    handler: Handler,
) -> (Endpoint, Handler) {
    (Endpoint { method, path, access: Access::Action(action) }, handler)
}

fn open(path: &'static str, why: &'static str, handler: Handler) -> (Endpoint, Handler) {
    (Endpoint { method: "GET", path, access: Access::Open(why) }, handler)
}

fn table() -> Vec<(Endpoint, Handler)> {
    vec![
        guarded("GET", "/agents", "agent:list", get(agents::list)),
        guarded("GET", "/v1/agents", "agent:list", get(agents::list)),
        guarded("GET", "/v1/agents/{id}", "agent:read", get(agents::read)),
        guarded("GET", "/v1/capabilities", "agent:list", get(agents::capabilities)),
        guarded(
            "POST",
            "/v1/capabilities/{name}/messages",
            "message:send",
            post(messages::send_to_capability),
        ),
        guarded("POST", "/v1/messages", "message:send", post(messages::send)),
        guarded("GET", "/v1/conversations/{id}", "message:receive", get(messages::conversation)),
        guarded("GET", "/v1/tools", "tool:list", get(tools::list)),
        guarded("POST", "/v1/tools/{server}/{tool}/call", "tool:call", post(tools::call)),
        guarded("GET", "/v1/memory/{scope}/entities", "memory:read", get(memory::list)),
        guarded("POST", "/v1/memory/{scope}/entities", "memory:write", post(memory::write_entity)),
        guarded("GET", "/v1/memory/{scope}/entities/{name}", "memory:read", get(memory::read)),
        guarded("DELETE", "/v1/memory/{scope}/entities/{name}", "memory:delete", delete(memory::forget)),
        guarded("POST", "/v1/memory/{scope}/relations", "memory:write", post(memory::write_relation)),
        guarded("POST", "/v1/memory/{scope}/search", "memory:search", post(memory::search)),
        guarded("POST", "/access/v1/evaluation", "policy:test", post(authzen::evaluation)),
        guarded("POST", "/access/v1/evaluations", "policy:test", post(authzen::evaluations)),
        guarded("GET", "/v1/policies", "policy:read", get(policies::list)),
        guarded("GET", "/v1/policies/versions", "policy:read", get(policies::versions)),
        guarded("POST", "/v1/policies/reload", "policy:publish", post(policies::reload)),
        guarded("POST", "/v1/policies/publish", "policy:publish", post(policies::publish)),
        guarded("POST", "/v1/policies/rollback", "policy:rollback", post(policies::rollback)),
        guarded("GET", "/v1/audit/events", "audit:read", get(audit::events)),
    ]
}

/// Routes of the operations port: it binds to loopback unless configured otherwise.
fn operations_table() -> Vec<(Endpoint, Handler)> {
    vec![
        open("/healthz", "liveness probes have no credentials", get(healthz)),
        open("/readyz", "readiness probes have no credentials", get(readyz)),
        open("/metrics", "Prometheus scrapes the operations port without credentials", get(metrics)),
    ]
}

/// MCP asks the guard for each method by itself.
const MCP: Endpoint = Endpoint { method: "POST", path: "/mcp", access: Access::Action("tool:list") };

/// Every route of the gateway.
pub fn endpoints() -> Vec<Endpoint> {
    let tables = table().into_iter().chain(operations_table());
    tables.map(|(endpoint, _)| endpoint).chain([MCP]).collect()
}

/// The API, without the operations port.
pub fn router(api: Arc<Api>) -> Router {
    let mut router = Router::new();
    for (endpoint, handler) in table() {
        router = router.route(endpoint.path, handler);
    }
    let reread = from_fn_with_state(Arc::clone(&api), mcp::reread);
    let mcp = any_service(mcp::service(Arc::clone(&api))).layer(reread);
    router
        .route(MCP.path, mcp)
        .route_layer(from_fn_with_state(Arc::clone(&api), caller::prove))
        .method_not_allowed_fallback(async || Problem::method())
        .fallback(async || Problem::not_found("there is nothing at this path"))
        .layer(from_fn_with_state(Arc::clone(&api), finish))
        .with_state(api)
}

/// Liveness, readiness and metrics.
pub fn operations_router(api: Arc<Api>) -> Router {
    let mut router = Router::new();
    for (endpoint, handler) in operations_table() {
        router = router.route(endpoint.path, handler);
    }
    router
        .method_not_allowed_fallback(async || Problem::method())
        .fallback(async || Problem::not_found("there is nothing at this path"))
        .with_state(api)
}

/// Counts the request. Its answer is for the caller alone and is not to be guessed at.
async fn finish(State(api): State<Arc<Api>>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map_or("(none)", MatchedPath::as_str).to_owned();
    let method = match request.method().as_str() {
        "GET" => "GET",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        _ => "other",
    };
    let encrypted = request.extensions().get::<Connection>().is_some_and(|connection| connection.tls);
    let mut response = next.run(request).await;
    let labels = HttpLabels { method, route, status: response.status().as_u16() };
    api.metrics.http_requests.get_or_create(&labels).inc();
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if encrypted {
        // A year (RFC 6797); not said over plain HTTP, where clients must not believe it.
        headers.insert(header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=31536000"));
    }
    response
}

async fn healthz() -> &'static str {
    "ok\n"
}

async fn readyz(State(api): State<Arc<Api>>) -> Response {
    if !api.readiness.is_ready() {
        return (StatusCode::SERVICE_UNAVAILABLE, "starting or draining\n").into_response();
    }
    if !api.journal.available() {
        return (StatusCode::SERVICE_UNAVAILABLE, "the decision log cannot be written\n").into_response();
    }
    "ready\n".into_response()
}

async fn metrics(State(api): State<Arc<Api>>) -> Response {
    let kind = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    ([(header::CONTENT_TYPE, kind)], api.metrics.render()).into_response()
}
