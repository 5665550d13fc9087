//! `/mcp`: the Model Context Protocol (streamable HTTP) towards clients, all tools under `<server>___<tool>`.
//!
//! Each request stands alone: there is no session that another caller could take over. The body that reaches the
//! protocol library is the one that was read strictly here, written anew.

use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use rmcp::ServerHandler;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ErrorCode, ErrorData, Implementation,
    ListToolsResult, PaginatedRequestParams, ServerCapabilities, ServerConfig,
};
use rmcp::service::{RequestContext, RoleServer};
use rmcp::transport::streamable_http_server::session::never::NeverSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use serde_json::{Value as Json, json};

use super::body;
use super::caller::Caller;
use super::problem::Problem;
use super::state::Api;
use crate::model::ToolId;
use crate::runtime::EffectError;

/// The protocol's service, to be mounted at `/mcp` behind the caller's proof.
pub(super) fn service(api: Arc<Api>) -> StreamableHttpService<Ingress, NeverSessionManager> {
    let mut config = StreamableHttpServerConfig::default()
        .with_legacy_session_mode(false)
        .with_json_response(true)
        .with_max_request_body_bytes(api.settings.max_body_bytes);
    config = match &api.settings.allowed_hosts {
        Some(hosts) => config.with_allowed_hosts(hosts.clone()),
        None => config.disable_allowed_hosts(),
    };
    StreamableHttpService::new(move || Ok(Ingress { api: Arc::clone(&api) }), Arc::default(), config)
}

/// Reads an MCP body strictly and puts what was read in its place.
pub(super) async fn reread(State(api): State<Arc<Api>>, request: Request, next: Next) -> Response {
    let limit = api.settings.max_body_bytes;
    if request.method() != Method::POST {
        return told(next.run(request).await, limit).await;
    }
    match rewritten(&api, request).await {
        Ok(request) => told(next.run(request).await, limit).await,
        Err(problem) => problem.into_response(),
    }
}

/// The most bytes of what the library says that are told.
const LONGEST_WORD: usize = 4096;

/// What the library refuses before it speaks the protocol is a bare text; here it becomes a problem like any other.
async fn told(response: Response, limit: usize) -> Response {
    let status = response.status();
    let kind = response.headers().get(header::CONTENT_TYPE);
    let bare = kind.is_none_or(|kind| kind.as_bytes().starts_with(b"text/plain"));
    if !bare || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let (parts, content) = response.into_parts();
    let said = to_bytes(content, LONGEST_WORD).await.unwrap_or_default();
    let said = String::from_utf8_lossy(&said);
    let problem = match status {
        // The kind of the body was seen to before: what is left is a body that is no message.
        StatusCode::BAD_REQUEST | StatusCode::UNSUPPORTED_MEDIA_TYPE => Problem::malformed(said),
        StatusCode::FORBIDDEN => Problem::host(),
        StatusCode::NOT_FOUND => Problem::not_found(said),
        StatusCode::METHOD_NOT_ALLOWED => Problem::method(),
        StatusCode::NOT_ACCEPTABLE => Problem::not_acceptable(said),
        // What was read may be longer when it is written anew.
        StatusCode::PAYLOAD_TOO_LARGE => Problem::too_large(limit),
        _ => {
            tracing::error!(%status, %said, "the protocol library failed");
            Problem::internal()
        }
    };
    let methods = parts.headers.get(header::ALLOW).cloned();
    problem.with_headers(methods.map(|methods| (header::ALLOW, methods))).into_response()
}

async fn rewritten(api: &Api, request: Request) -> Result<Request, Problem> {
    let (mut parts, content) = request.into_parts();
    let head = Request::from_parts(parts.clone(), content);
    let value = body::read(head, api).await?;
    let bytes = serde_json::to_vec(&value).map_err(|_| Problem::internal())?;
    parts.headers.insert(header::CONTENT_LENGTH, bytes.len().into());
    parts.headers.remove(header::TRANSFER_ENCODING);
    Ok(Request::from_parts(parts, Body::from(bytes)))
}

/// One request of an MCP client.
#[derive(Clone)]
pub(super) struct Ingress {
    api: Arc<Api>,
}

/// Clients of protocol 2026-07-28 refuse a result that does not say so; older ones are spared it by the library.
const COMPLETE: &str = "complete";

/// JSON-RPC's range for errors of the implementation.
const REFUSED: ErrorCode = ErrorCode(-32003);

fn caller(context: &RequestContext<RoleServer>) -> Result<Caller, ErrorData> {
    context
        .extensions
        .get::<axum::http::request::Parts>()
        .and_then(|parts| parts.extensions.get::<Caller>().cloned())
        .ok_or_else(|| ErrorData::internal_error("the caller is not known", None))
}

fn refused(error: EffectError) -> ErrorData {
    let problem = Problem::from(error);
    ErrorData::new(REFUSED, problem.line(), Some(problem.data()))
}

impl ServerHandler for Ingress {
    fn get_info(&self) -> ServerConfig {
        let mut info = ServerConfig::default();
        info.capabilities = ServerCapabilities::builder().enable_tools().build();
        info.server_info = Implementation::new("caxton", env!("CARGO_PKG_VERSION"));
        info.instructions = Some(
            "A policy gateway. The list shows the tools you may use; a call that policy refuses answers with the reason and a decision id."
                .to_owned(),
        );
        info
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let caller = caller(&context)?;
        let seen = self.api.effects.list_tools(caller.asker()).await.map_err(refused)?;
        let tools: Vec<Json> = seen.iter().map(|tool| tool.definition().to_mcp(tool.id().as_str())).collect();
        serde_json::from_value(json!({ "resultType": COMPLETE, "tools": tools }))
            .map_err(|error| ErrorData::internal_error(error.to_string(), None))
    }

    /// A refusal is a tool's error, not a protocol's: clients show the first to the model and hide the second.
    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let caller = caller(&context)?;
        let id = ToolId::parse(&request.name)
            .map_err(|error| ErrorData::invalid_params(error.to_string(), None))?;
        let arguments = request.arguments.unwrap_or_default();
        let result = match self.api.effects.call_tool(caller.asker(), &id, arguments).await {
            Ok((result, decision)) => json!({
                "resultType": COMPLETE,
                "content": result.content,
                "structuredContent": result.structured,
                "isError": result.is_error,
                "_meta": { "caxton/decision_id": decision },
            }),
            Err(error) => {
                let problem = Problem::from(error);
                json!({
                    "resultType": COMPLETE,
                    "content": [{ "type": "text", "text": problem.line() }],
                    "isError": true,
                    "_meta": { "caxton/refusal": problem.data() },
                })
            }
        };
        let result: CallToolResult = serde_json::from_value(without_null(result))
            .map_err(|error| ErrorData::internal_error(error.to_string(), None))?;
        Ok(result.into())
    }
}

/// A field that is not there is left out, because `null` is a value to MCP.
fn without_null(mut value: Json) -> Json {
    if let Some(fields) = value.as_object_mut() {
        fields.retain(|_, field| !field.is_null());
    }
    value
}
