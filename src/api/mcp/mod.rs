//! The Model Context Protocol towards clients, over streamable HTTP: `/mcp` with the tools of all servers under
//! `<server>___<tool>`, and `/servers/{name}/mcp` with one server under its own names.
//!
//! A message is read once, strictly; the guard is asked; what goes on is what was read. Both generations are spoken: the
//! versions with a handshake and sessions, and 2026-07-28, where each request stands alone.

mod accept;
mod era;
mod extensions;
mod methods;
mod names;
mod params;
mod reply;
mod result;
mod seal;
mod sessions;
mod streams;

use std::sync::Arc;

use axum::extract::{FromRequestParts, MatchedPath, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Map, Value as Json};
use tokio::sync::watch;

use super::address::Path;
use super::body;
use super::caller::Caller;
use super::host::Called;
use super::problem::Problem;
use super::state::Api;
use crate::authz::Permit;
use crate::clock::SharedClock;
use crate::mcp::{HEADER_SESSION, Id, Message, RpcError, code};
use crate::model::{ListTools, ServerName, ToolId};
use crate::telemetry::{TraceIds, TraceSpan};
use accept::Accept;
use era::Era;
use names::Scope;
pub use seal::NoRandomness;
use seal::Seal;
use sessions::{McpSessions, Session};
pub(super) use streams::Lifetime;

/// What the gateway keeps of its MCP clients.
pub struct McpState {
    sessions: McpSessions,
    seal: Seal,
    /// Counts the changes of what clients may see, once they are in force.
    changes: watch::Sender<u64>,
}

impl McpState {
    /// No session is open, and no state is sealed.
    ///
    /// # Errors
    /// The system has no randomness for the key.
    pub fn new(clock: &SharedClock) -> Result<Self, NoRandomness> {
        let (sessions, seal) = (McpSessions::new(Arc::clone(clock)), Seal::new(Arc::clone(clock))?);
        Ok(Self { sessions, seal, changes: watch::Sender::new(0) })
    }
}

/// Which servers stand behind the address of a request: all at `/mcp`, one at `/servers/{name}/mcp`.
impl FromRequestParts<Arc<Api>> for Scope {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, Problem> {
        if !parts.extensions.get::<MatchedPath>().is_some_and(|path| path.as_str().contains("{name}")) {
            return Ok(Self::All);
        }
        let Path(server) = Path::<ServerName>::from_request_parts(parts, api).await?;
        if !api.effects.tools().has_server(&server) {
            // Only who may see tools learns which servers there are.
            let caller = Caller::from_request_parts(parts, api).await?;
            let Permit { .. } = caller.admit(api, ListTools).await?;
            return Err(Problem::not_found(format!("there is no server `{server}`")));
        }
        Ok(Self::One(server))
    }
}

/// A page whose own name was made to resolve to this host (DNS rebinding) calls under that name.
fn check_host(api: &Api, request: &Request) -> Result<(), Problem> {
    let Some(names) = &api.settings.allowed_hosts else { return Ok(()) };
    let host = request.extensions().get::<Called>().and_then(|called| called.0.as_ref());
    let Some(host) = host else {
        return Err(Problem::malformed("the `Host` field is missing: send it once"));
    };
    let is_allowed = {
        let bare = host.host().trim_start_matches('[').trim_end_matches(']');
        names.iter().any(|name| name.eq_ignore_ascii_case(bare) || name.eq_ignore_ascii_case(host.as_str()))
    };
    if is_allowed { Ok(()) } else { Err(Problem::host()) }
}

/// One message of a client and how it came.
struct Arrived {
    api: Arc<Api>,
    caller: Caller,
    scope: Scope,
    era: Era,
    session: Option<Arc<Session>>,
    accept: Accept,
    headers: HeaderMap,
}

/// `POST`: one message.
pub(super) async fn post(
    State(api): State<Arc<Api>>,
    caller: Caller,
    scope: Scope,
    request: Request,
) -> Result<Response, Problem> {
    check_host(&api, &request)?;
    let accept = Accept::of(request.headers())?;
    let (parts, content) = request.into_parts();
    body::check_coding(&parts.headers)?;
    if !body::is_json(&parts.headers) {
        return Err(Problem::media_type());
    }
    let bytes = body::bounded(content, api.settings.max_body_bytes, api.settings.body_timeout).await?;
    let message = match Message::read(&bytes) {
        Ok(message) => message,
        Err(unreadable) => {
            return Ok(reply::error(StatusCode::BAD_REQUEST, unreadable.id, *unreadable.error));
        }
    };
    drop(bytes);
    let mut caller = caller;
    let era = match Era::of(&parts.headers, &message) {
        Ok(era) => era,
        Err(refused) => return Ok(reply::error(StatusCode::BAD_REQUEST, request_id(&message), refused)),
    };
    let session = match session(&api, &caller, &scope, &era, &parts.headers) {
        Ok(session) => session,
        Err(lost) => return Ok(reply::error(StatusCode::NOT_FOUND, request_id(&message), lost)),
    };
    if let Message::Request { method, params, .. } = &message {
        follow_trace(&api, &mut caller, method, params);
    }
    let arrived = Arrived { api, caller, scope, era, session, accept, headers: parts.headers };
    match message {
        Message::Request { id, method, params } => Ok(reply::to_request(arrived, id, method, params).await),
        Message::Notification { method, params } => {
            arrived.take_notification(&method, &params);
            Ok(StatusCode::ACCEPTED.into_response())
        }
        Message::Response { id, outcome } => {
            arrived.take_response(id, outcome);
            Ok(StatusCode::ACCEPTED.into_response())
        }
    }
}

fn request_id(message: &Message) -> Option<Id> {
    match message {
        Message::Request { id, .. } => Some(id.clone()),
        _ => None,
    }
}

/// The session that a request names. One of another caller is none.
fn session(
    api: &Api,
    caller: &Caller,
    scope: &Scope,
    era: &Era,
    headers: &HeaderMap,
) -> Result<Option<Arc<Session>>, RpcError> {
    if era.is_stateless() {
        return Ok(None);
    }
    let Some(id) = headers.get(&HEADER_SESSION) else { return Ok(None) };
    let id = id.to_str().unwrap_or_default();
    match api.mcp.sessions.get(id, caller.subject.principal(), scope) {
        Some(session) => Ok(Some(session)),
        None => Err(RpcError::new(code::INVALID_REQUEST, "there is no such session; initialize again")),
    }
}

/// The span of the message, in the trace that its `_meta` names (W3C Trace Context). Where no traces are kept, that trace stands in
/// the records, when the header fields had none.
fn follow_trace(api: &Api, caller: &mut Caller, method: &str, params: &Map<String, Json>) {
    let fields = params.get("_meta");
    let text = fields.and_then(|fields| fields.get(crate::mcp::meta::TRACEPARENT)).and_then(Json::as_str);
    let sent = text.and_then(super::caller::traceparent);
    let span = message_span(api, caller, method, params, sent.as_ref());
    let trace = match span.ids() {
        Some(own) => Some(own.clone()),
        None if caller.context.trace.is_none() => sent,
        None => return,
    };
    if trace.is_some() {
        let mut context = (*caller.context).clone();
        context.trace = trace;
        context.span = span;
        caller.context = Arc::new(context);
    }
}

/// Names of methods and tools are in a span when they are known here: a caller can write anything in their place.
fn message_span(
    api: &Api,
    caller: &Caller,
    method: &str,
    params: &Map<String, Json>,
    sent: Option<&TraceIds>,
) -> TraceSpan {
    if caller.context.span.ids().is_none() {
        return TraceSpan::default();
    }
    let method = methods::known(method);
    let name = params.get("name").and_then(Json::as_str).filter(|_| method == "tools/call");
    let tool =
        name.and_then(|name| ToolId::parse(name).ok()).filter(|id| api.effects.tools().get(id).is_some());
    caller.context.span.mcp_message(sent, method, tool.as_ref().map(ToolId::as_str))
}

/// `GET`: the stream on which the gateway speaks by itself to a client with a session.
pub(super) async fn listen(
    State(api): State<Arc<Api>>,
    caller: Caller,
    scope: Scope,
    request: Request,
) -> Result<Response, Problem> {
    check_host(&api, &request)?;
    let headers = request.headers();
    if !Accept::of(headers)?.events {
        return Err(Problem::not_acceptable("send `Accept: text/event-stream`"));
    }
    let session = named_session(&api, &caller, &scope, headers)?;
    streams::of_session(&api, &caller, &session, headers)
}

/// `DELETE`: the client is done.
pub(super) async fn end(
    State(api): State<Arc<Api>>,
    caller: Caller,
    scope: Scope,
    request: Request,
) -> Result<Response, Problem> {
    check_host(&api, &request)?;
    let session = named_session(&api, &caller, &scope, request.headers())?;
    api.mcp.sessions.end(&session);
    Ok(StatusCode::OK.into_response())
}

fn named_session(
    api: &Api,
    caller: &Caller,
    scope: &Scope,
    headers: &HeaderMap,
) -> Result<Arc<Session>, Problem> {
    let Some(id) = headers.get(&HEADER_SESSION) else {
        return Err(Problem::malformed("send `Mcp-Session-Id`: only a session has a stream"));
    };
    let id = id.to_str().unwrap_or_default();
    let session = api.mcp.sessions.get(id, caller.subject.principal(), scope);
    session.ok_or_else(|| Problem::not_found("there is no such session"))
}

impl Arrived {
    fn take_notification(&self, method: &str, params: &Map<String, Json>) {
        let Some(session) = &self.session else { return };
        if method == "notifications/cancelled"
            && let Some(id) = params.get("requestId").cloned().and_then(|id| serde_json::from_value(id).ok())
        {
            session.cancel(&id);
        }
    }

    /// The client's answer to a request of a server.
    fn take_response(&self, id: Option<Id>, outcome: Result<Map<String, Json>, RpcError>) {
        if let (Some(session), Some(id)) = (&self.session, id) {
            session.answer(&id, outcome);
        }
    }
}
