//! The table of routes: what is asked for on each, or why it is open. The router is made from it and from nothing else.

mod row;

use std::future::ready;
use std::sync::Arc;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, delete, get, patch, post, put};

pub use self::row::{Access, Endpoint};
use self::row::{OnDisconnect, guarded, proven};
pub(super) use self::row::{Route, open};
use super::caller::RefreshBody;
use super::connection::Connection;
use super::openapi::{self, AnyObject, Doc};
use super::problem::Problem;
use super::room::Room;
use super::state::Api;
use super::{
    agents, attributes, audit, auth, auth_keys, authzen, caller, connections, cors, ext_authz, host, login,
    mcp, memory, messages, operations, policies, resource, roles, search, security_txt, tools,
};
use crate::heavy;
use crate::memory::{EntityView, RelationView};
use crate::model::{ActionKind, HttpMethod};
use crate::telemetry::metrics::HttpLabels;

fn table() -> Vec<Route> {
    vec![
        guarded("GET", "/agents", ActionKind::AgentList, get(agents::list)).gives::<agents::Agents>(),
        guarded("GET", "/v1/agents", ActionKind::AgentList, get(agents::list)).gives::<agents::Agents>(),
        guarded("GET", "/v1/agents/{id}", ActionKind::AgentRead, get(agents::read))
            .gives::<agents::AgentView>(),
        guarded("GET", "/v1/capabilities", ActionKind::AgentList, get(agents::capabilities))
            .gives::<agents::Capabilities>(),
        guarded(
            "POST",
            "/v1/capabilities/{name}/messages",
            ActionKind::MessageSend,
            post(messages::send_to_capability),
        )
        .computes_long()
        .ends_with_its_caller()
        .takes::<messages::Envelope>()
        .gives::<messages::Answered>(),
        guarded("POST", "/v1/messages", ActionKind::MessageSend, post(messages::send))
            .computes_long()
            .ends_with_its_caller()
            .takes::<messages::Envelope>()
            .gives::<messages::Answered>(),
        guarded("GET", "/v1/conversations/{id}", ActionKind::MessageReceive, get(messages::conversation))
            .computes_long()
            .gives::<messages::Conversation>(),
        guarded("GET", "/v1/tools", ActionKind::ToolList, get(tools::list)).gives::<tools::Tools>(),
        guarded("GET", "/v1/tools/servers", ActionKind::ToolList, get(tools::servers))
            .gives::<tools::Servers>(),
        guarded("GET", "/v1/tools/servers/{server}/offered", ActionKind::ToolList, get(tools::offered))
            .gives::<tools::OfferedTools>()
            .names::<tools::LeftOut>(),
        guarded("POST", "/v1/tools/{server}/{tool}/call", ActionKind::ToolCall, post(tools::call))
            .ends_with_its_caller()
            .takes::<tools::Call>()
            .gives::<tools::Called>(),
        guarded("GET", "/v1/connections", ActionKind::AuthConnection, get(connections::list))
            .asks::<connections::WhoseConnections>()
            .gives::<connections::ConnectionList>(),
        guarded("POST", "/v1/connections/{server}", ActionKind::AuthConnection, post(connections::begin))
            .may_take::<connections::ConnectBody>()
            .makes::<connections::ConnectionStarted>(),
        guarded(
            "POST",
            "/v1/connections/{server}/confirm",
            ActionKind::AuthConnection,
            post(connections::confirm),
        )
        .takes::<connections::ConfirmBody>()
        .gives::<connections::BrowserConfirmed>(),
        guarded("DELETE", "/v1/connections/{server}", ActionKind::AuthConnection, delete(connections::end))
            .asks::<connections::WhoseConnection>()
            .gives::<connections::ConnectionEnded>(),
        guarded("GET", "/v1/memory/{scope}/entities", ActionKind::MemoryRead, get(memory::list))
            .asks::<memory::Page>()
            .gives::<memory::Entities>(),
        guarded("POST", "/v1/memory/{scope}/entities", ActionKind::MemoryWrite, post(memory::write_entity))
            .takes::<memory::EntityBody>()
            .gives::<memory::WrittenEntity>()
            .names::<EntityView>(),
        guarded("GET", "/v1/memory/{scope}/entities/{name}", ActionKind::MemoryRead, get(memory::read))
            .gives::<EntityView>(),
        guarded(
            "DELETE",
            "/v1/memory/{scope}/entities/{name}",
            ActionKind::MemoryDelete,
            delete(memory::forget),
        )
        .gives_nothing(204),
        guarded(
            "POST",
            "/v1/memory/{scope}/relations",
            ActionKind::MemoryWrite,
            post(memory::write_relation),
        )
        .takes::<memory::RelationBody>()
        .gives::<memory::WrittenRelation>()
        .names::<RelationView>(),
        guarded("POST", "/v1/memory/{scope}/search", ActionKind::MemorySearch, post(memory::search))
            .ends_with_its_caller()
            .takes::<memory::Search>()
            .gives::<memory::Entities>(),
        guarded("POST", "/access/v1/evaluation", ActionKind::PolicyTest, post(authzen::evaluation))
            .ends_with_its_caller()
            .takes::<authzen::Question>()
            .gives::<authzen::Decision>(),
        guarded("POST", "/access/v1/evaluations", ActionKind::PolicyTest, post(authzen::evaluations))
            .ends_with_its_caller()
            .takes::<authzen::Batch>()
            .gives::<authzen::Answer>(),
        guarded("POST", "/access/v1/search/subject", ActionKind::PolicyTest, post(search::subjects))
            .computes_long()
            .ends_with_its_caller()
            .takes::<search::SubjectSearch>()
            .gives::<search::Results>(),
        guarded("POST", "/access/v1/search/resource", ActionKind::PolicyTest, post(search::resources))
            .computes_long()
            .ends_with_its_caller()
            .takes::<search::ResourceSearch>()
            .gives::<search::Results>(),
        guarded("POST", "/access/v1/search/action", ActionKind::PolicyTest, post(search::actions))
            .computes_long()
            .ends_with_its_caller()
            .takes::<search::ActionSearch>()
            .gives::<search::Results>(),
        guarded("GET", "/v1/entities", ActionKind::EntityRead, get(attributes::list))
            .asks::<attributes::Pages>()
            .gives::<attributes::Page>(),
        guarded("GET", "/v1/entities/changes", ActionKind::EntityRead, get(attributes::watch))
            .asks::<attributes::Watch>()
            .gives::<attributes::News>(),
        guarded("POST", attributes::IMPORT, ActionKind::EntityImport, post(attributes::import))
            .takes::<attributes::Import>()
            .gives::<attributes::Taken>(),
        guarded("GET", "/v1/entities/{type}/{id}", ActionKind::EntityRead, get(attributes::read))
            .gives::<AnyObject>(),
        guarded("PUT", "/v1/entities/{type}/{id}", ActionKind::EntityWrite, put(attributes::put))
            .takes::<AnyObject>()
            .gives::<attributes::Done>(),
        guarded("PATCH", "/v1/entities/{type}/{id}", ActionKind::EntityWrite, patch(attributes::patch))
            .takes::<AnyObject>()
            .gives::<attributes::Done>(),
        guarded("DELETE", "/v1/entities/{type}/{id}", ActionKind::EntityWrite, delete(attributes::delete))
            .gives::<attributes::Done>(),
        guarded("GET", "/v1/auth/roles", ActionKind::EntityRead, get(roles::list)).gives::<roles::Roles>(),
        guarded("POST", "/v1/auth/roles", ActionKind::EntityWrite, post(roles::assign))
            .takes::<roles::Membership>()
            .gives::<attributes::Done>(),
        guarded("DELETE", "/v1/auth/roles", ActionKind::EntityWrite, delete(roles::revoke))
            .asks::<roles::Membership>()
            .gives::<attributes::Done>(),
        guarded("POST", "/v1/auth/check", ActionKind::PolicyTest, post(roles::check))
            .ends_with_its_caller()
            .takes::<roles::Check>()
            .gives::<roles::Checked>(),
        guarded("GET", "/v1/ext_authz/nginx", ActionKind::Http(HttpMethod::Get), get(ext_authz::nginx))
            .gives_nothing(204),
        guarded("GET", "/v1/ext_authz/envoy/", ActionKind::Http(HttpMethod::Get), any(ext_authz::envoy))
            .gives_nothing(200),
        guarded(
            "GET",
            "/v1/ext_authz/envoy/{*path}",
            ActionKind::Http(HttpMethod::Get),
            any(ext_authz::envoy),
        )
        .gives_nothing(200),
        guarded("GET", "/v1/policies", ActionKind::PolicyRead, get(policies::list))
            .gives::<policies::Policies>(),
        guarded("POST", "/v1/auth/logout", ActionKind::AuthLogout, post(auth::logout)).gives_nothing(204),
        guarded("GET", "/v1/auth/status", ActionKind::ConfigRead, get(auth::status)).gives::<auth::Status>(),
        guarded("GET", "/v1/auth/keys", ActionKind::AuthKeyList, get(auth_keys::list))
            .gives::<auth_keys::Keys>(),
        guarded("POST", "/v1/auth/keys", ActionKind::AuthKeyCreate, post(auth_keys::create))
            .takes::<auth_keys::Wanted>()
            .makes::<auth_keys::Created>(),
        guarded("POST", "/v1/auth/keys/{id}/rotate", ActionKind::AuthKeyRotate, post(auth_keys::rotate))
            .makes::<auth_keys::Created>(),
        guarded("DELETE", "/v1/auth/keys/{id}", ActionKind::AuthKeyRevoke, delete(auth_keys::revoke))
            .gives_nothing(204),
        guarded(
            "POST",
            "/v1/admin/sessions/revoke-all",
            ActionKind::AuthSessionRevoke,
            post(auth::revoke_all),
        )
        .gives::<auth::Ended>(),
        guarded("GET", "/v1/policies/versions", ActionKind::PolicyRead, get(policies::versions))
            .asks::<policies::Ask>()
            .gives::<policies::Versions>(),
        guarded("POST", "/v1/policies/reload", ActionKind::PolicyPublish, post(policies::reload))
            .gives::<policies::Changed>(),
        guarded("POST", "/v1/policies/publish", ActionKind::PolicyPublish, post(policies::publish))
            .takes::<AnyObject>()
            .gives::<policies::Changed>(),
        guarded("POST", "/v1/policies/rollback", ActionKind::PolicyRollback, post(policies::rollback))
            .takes::<policies::Back>()
            .gives::<policies::Changed>(),
        guarded("GET", "/v1/audit/events", ActionKind::AuditRead, get(audit::events))
            .computes_long()
            .asks::<audit::EventsQuery>()
            .gives::<audit::Events>(),
        guarded("POST", "/v1/audit/events", ActionKind::AuditRecord, post(audit::record))
            .takes::<audit::EventBody>()
            .makes::<audit::RecordedEvent>(),
        guarded("GET", "/v1/audit/checkpoint", ActionKind::AuditRead, get(audit::checkpoint))
            .gives::<audit::SignedCheckpoint>(),
        guarded("GET", "/v1/audit/stream", ActionKind::AuditRead, get(audit::stream))
            .asks::<audit::StreamQuery>()
            .gives_text("text/event-stream"),
        guarded("GET", "/v1/audit/export", ActionKind::AuditExport, get(audit::export))
            .asks::<audit::ExportQuery>()
            .gives_text("application/x-ndjson"),
    ]
}

/// The route whose credential is a refresh token in the body.
fn refresh_table() -> Vec<Route> {
    vec![
        guarded("POST", "/v1/auth/refresh", ActionKind::AuthToken, post(auth::refresh))
            .takes::<RefreshBody>()
            .gives::<auth::Pair>(),
    ]
}

/// The route that takes a credential, or a login in the body.
fn token_table() -> Vec<Route> {
    vec![
        guarded("POST", "/v1/auth/token", ActionKind::AuthToken, post(auth::token))
            .may_take::<login::Grant>()
            .gives::<auth::Pair>(),
    ]
}

/// The way of a person to the provider and back.
fn login_table() -> Vec<Route> {
    let why = "a user who logs in has no credentials yet; it only leads to the provider";
    let mut begin = open("/v1/auth/oauth2/device", why, post(login::device)).gives::<login::DeviceAnswer>();
    begin.endpoint.method = "POST";
    vec![
        open("/v1/auth/oauth2/authorize", why, get(login::authorize))
            .asks::<login::Wish>()
            .gives_nothing(303),
        guarded("GET", login::CALLBACK, ActionKind::AuthToken, get(login::callback))
            .runs_to_completion()
            .asks::<login::Returning>()
            .gives::<auth::Pair>(),
        begin,
        open(
            "/v1/connect/{server}",
            "a browser that connects an account has no credentials yet; it only leads to a login",
            get(connections::open),
        )
        .runs_to_completion()
        .asks::<connections::LinkQuery>()
        .gives_nothing(303),
        guarded("GET", connections::CALLBACK, ActionKind::AuthConnection, get(connections::callback))
            .runs_to_completion()
            .asks::<login::Returning>()
            .gives::<connections::AccountConnected>(),
    ]
}

/// Routes of the API that need no credentials.
fn open_table() -> Vec<Route> {
    let keys = "a verifier of our tokens has no credentials here, and public keys are public";
    let describe =
        "programs read it before they have credentials; it says what can be asked for, not who may";
    let resource = "a client looks up where to get credentials before it has any (RFC 9728)";
    let client = "authorization servers read how the gateway describes itself, as it is known to all of them";
    let ask = "a client looks up where to ask before it has credentials (AuthZEN 1.0, section 9)";
    let report = "people who report a vulnerability have no credentials here (RFC 9116)";
    vec![
        open(security_txt::PATH, report, get(security_txt::serve)).gives_text("text/plain"),
        open("/openapi.json", describe, get(openapi::serve)).gives::<AnyObject>(),
        open("/.well-known/jwks.json", keys, get(auth::key_set)).gives::<AnyObject>(),
        open("/.well-known/authzen-configuration", ask, get(authzen::configuration))
            .gives::<authzen::Configuration>(),
        open("/v1/connect/{server}/client.json", client, get(connections::client_document))
            .gives::<AnyObject>(),
        open(resource::METADATA, resource, get(resource::api)).gives::<resource::Metadata>(),
        open(resource::MCP_METADATA, resource, get(resource::mcp)).gives::<resource::Metadata>(),
    ]
}

/// MCP, whose methods each ask the guard by themselves: a message, the stream of a session, and its end.
fn mcp_table() -> Vec<Route> {
    ["/mcp", "/servers/{name}/mcp"].into_iter().flat_map(mcp_rows).collect()
}

fn mcp_rows(path: &'static str) -> [Route; 3] {
    let own = "a session belongs to the caller who began it; what comes over its stream has been decided";
    [
        guarded("POST", path, ActionKind::ToolList, post(mcp::post))
            .ends_with_its_caller()
            .takes::<AnyObject>()
            .gives::<AnyObject>()
            .speaks::<AnyObject>(),
        proven("GET", path, own, get(mcp::listen))
            .needs_header("Mcp-Session-Id")
            .gives_text("text/event-stream"),
        proven("DELETE", path, own, delete(mcp::end)).needs_header("Mcp-Session-Id").gives_nothing(200),
    ]
}

pub(super) fn routes(api: &Arc<Api>, table: Vec<Route>) -> Router<Arc<Api>> {
    table.into_iter().fold(Router::new(), |router, Route { endpoint, handler, computes, .. }| {
        let handler = match endpoint.on_disconnect {
            OnDisconnect::RunToCompletion => {
                handler.route_layer(from_fn_with_state(Arc::clone(api), run_to_completion))
            }
            OnDisconnect::Cancel => handler,
        };
        let handler = if computes { handler.route_layer(from_fn(on_heavy_threads)) } else { handler };
        router.route(endpoint.path, handler)
    })
}

/// Runs a request to completion although its caller has gone: hyper drops the future of a closed connection. Rates bound
/// how many there are, and each has its own bounds of time.
async fn run_to_completion(State(api): State<Arc<Api>>, request: Request, next: Next) -> Response {
    // Its bytes are under way until it is done.
    let room = request.extensions().get::<Arc<Room>>().cloned();
    let work = async move {
        let answer = next.run(request).await;
        drop(room);
        answer
    };
    let ended = api.under_way.spawn(work).await;
    ended.unwrap_or_else(|_| Problem::internal().into_response())
}

/// Answers a request on the threads of low priority.
async fn on_heavy_threads(request: Request, next: Next) -> Response {
    heavy::run(next.run(request)).await.unwrap_or_else(caller::stopped)
}

/// Every route of the gateway.
pub fn endpoints() -> Vec<Endpoint> {
    tables().into_iter().chain([operations::table()]).flatten().map(|route| route.endpoint).collect()
}

/// The tables of the API port.
fn tables() -> [Vec<Route>; 6] {
    [table(), mcp_table(), refresh_table(), token_table(), login_table(), open_table()]
}

/// Every route of the API port with what it takes and gives.
pub(super) fn documented() -> Vec<(Endpoint, Doc)> {
    tables().into_iter().flatten().map(|route| (route.endpoint, route.doc)).collect()
}

/// The API, without the operations port.
pub fn router(api: Arc<Api>) -> Router {
    let router = routes(&api, table()).merge(routes(&api, mcp_table()));
    let refreshing = routes(&api, refresh_table())
        .route_layer(from_fn_with_state(Arc::clone(&api), caller::prove_refresh));
    let taking =
        routes(&api, token_table()).route_layer(from_fn_with_state(Arc::clone(&api), login::prove_token));
    let logging_in =
        routes(&api, login_table()).route_layer(from_fn_with_state(Arc::clone(&api), login::hear));
    let open = refreshing.merge(taking).merge(logging_in).merge(routes(&api, open_table()));
    router
        .route_layer(from_fn_with_state(Arc::clone(&api), prove))
        .merge(open.route_layer(from_fn_with_state(Arc::clone(&api), finish)))
        .method_not_allowed_fallback(no_such_method)
        .fallback(no_such_path)
        .with_state(api)
}

/// Proves the caller and finishes, in one layer: each costs every request a few allocations.
pub(super) async fn prove(State(api): State<Arc<Api>>, request: Request, next: Next) -> Response {
    finished(&api, request, |request| caller::prove(State(Arc::clone(&api)), request, next)).await
}

async fn finish(State(api): State<Arc<Api>>, request: Request, next: Next) -> Response {
    finished(&api, request, |request| next.run(request)).await
}

async fn no_such_method(State(api): State<Arc<Api>>, request: Request) -> Response {
    finished(&api, request, |_| ready(Problem::method().into_response())).await
}

async fn no_such_path(State(api): State<Arc<Api>>, request: Request) -> Response {
    let nothing = Problem::not_found("there is nothing at this path");
    finished(&api, request, |_| ready(nothing.into_response())).await
}

/// Counts the request. Its answer is for the caller alone and is not to be guessed at.
///
/// INVARIANT: every request of the API comes through here, also one for no route, and is settled here for one host.
async fn finished<F: Future<Output = Response>>(
    api: &Api,
    mut request: Request,
    answer: impl FnOnce(Request) -> F,
) -> Response {
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
    let address = request.uri().clone();
    let own_id = caller::own_id(request.headers());
    let origin = cors::allowed_origin(request.headers(), &api.settings);
    let mut response = match host::settle(&mut request) {
        Ok(()) => match cors::preflight(&request, origin.as_ref()) {
            Some(told) => told,
            None => answer(request).await,
        },
        Err(problem) => problem.into_response(),
    };
    let labels = HttpLabels { method, route, status: response.status().as_u16() };
    api.metrics.http_requests.get_or_create(&labels).inc();
    let refused = response.status() == StatusCode::UNAUTHORIZED;
    let headers = response.headers_mut();
    if refused {
        resource::challenge(&api.settings, address.path(), headers);
    }
    caller::name_anyway(own_id, headers);
    if let Some(origin) = origin {
        cors::share(headers, origin);
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if encrypted {
        // A year (RFC 6797); not said over plain HTTP, where clients must not believe it.
        headers.insert(header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=31536000"));
    }
    response
}
