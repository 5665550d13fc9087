//! The methods of the protocol: what each asks of the gateway, and what it answers.

use std::sync::Arc;

use serde_json::{Map, Value as Json, json};

use super::Arrived;
use super::era::Era;
use crate::api::problem::Problem;
use crate::api::state::Api;
use crate::mcp::{RpcError, Version, code, meta, object, one_field};
use crate::model::{DecisionId, ServerName, ToolId};
use crate::runtime::{EffectError, ToolCall};
use crate::tools::{CallOptions, ServerEvents, Tool, ToolError, ToolResult};

/// Which tools stand behind an address, and under which names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Scope {
    /// `/mcp`: all, as `<server>___<tool>`.
    All,
    /// `/servers/{name}/mcp`: those of one server, under its own names.
    One(ServerName),
}

impl Scope {
    fn has(&self, tool: &Tool) -> bool {
        match self {
            Self::All => true,
            Self::One(server) => tool.server() == server,
        }
    }

    fn name_of<'a>(&self, tool: &'a Tool) -> &'a str {
        match self {
            Self::All => tool.id().as_str(),
            Self::One(_) => tool.definition().wire_name(),
        }
    }

    /// The tool that a client means by a name.
    fn tool_id(&self, name: &str) -> Result<ToolId, RpcError> {
        let id = match self {
            Self::All => ToolId::parse(name),
            Self::One(server) => ToolId::new(server, name),
        };
        id.map_err(|error| RpcError::invalid_params(error.to_string()))
    }
}

/// The tool that a client means, when there is one.
pub(super) fn tool_named(api: &Api, scope: &Scope, name: &str) -> Option<Arc<Tool>> {
    api.effects.tools().get(&scope.tool_id(name).ok()?)
}

/// Told to every client that connects.
const INSTRUCTIONS: &str = "A policy gateway. The list shows the tools you may use; a call that policy refuses answers with \
                            the reason and a decision id.";

/// What a method gave.
pub(super) struct Given {
    pub(super) result: Map<String, Json>,
    /// The session that `initialize` opened.
    pub(super) session: Option<Box<str>>,
}

impl From<Map<String, Json>> for Given {
    fn from(result: Map<String, Json>) -> Self {
        Self { result, session: None }
    }
}

impl Arrived {
    /// Carries a request out. `events` takes what a server says before it answers.
    pub(super) async fn carry_out(
        &self,
        method: &str,
        mut params: Map<String, Json>,
        events: Option<ServerEvents>,
    ) -> Result<Given, RpcError> {
        let own = take_meta(&mut params)?;
        let mut given: Given = match (method, self.era.is_stateless()) {
            ("initialize", false) => return self.initialize(&params),
            ("ping", false) => Map::new().into(),
            ("server/discover", true) => self.discover().into(),
            ("tools/list", _) => self.list_tools().await?.into(),
            ("tools/call", _) => self.call_tool(params, own, events).await?.into(),
            _ => return Err(RpcError::method_not_found(method)),
        };
        dress(&mut given.result, method, &self.era);
        Ok(given)
    }

    fn initialize(&self, params: &Map<String, Json>) -> Result<Given, RpcError> {
        let Some(asked) = params.get("protocolVersion").and_then(Json::as_str) else {
            return Err(RpcError::invalid_params("`protocolVersion` is missing"));
        };
        let version = Version::negotiate(asked);
        let capabilities = match params.get("capabilities") {
            Some(Json::Object(capabilities)) => capabilities.clone(),
            None => Map::new(),
            Some(_) => return Err(RpcError::invalid_params("`capabilities` must be an object")),
        };
        let principal = self.caller.subject.principal();
        let session = self
            .api
            .mcp_sessions
            .open(principal, self.scope.clone(), version, capabilities)
            .map_err(|full| RpcError::new(code::REFUSED, full.to_string()))?;
        let result = object(json!({
            "protocolVersion": version,
            "capabilities": self.capabilities(),
            "serverInfo": server_info(),
            "instructions": INSTRUCTIONS,
        }));
        Ok(Given { result, session: Some(session.id.clone()) })
    }

    fn discover(&self) -> Map<String, Json> {
        object(json!({
            "supportedVersions": Version::ALL,
            "capabilities": self.capabilities(),
            "instructions": INSTRUCTIONS,
            "_meta": { "io.modelcontextprotocol/serverInfo": server_info() },
        }))
    }

    fn capabilities(&self) -> Json {
        json!({ "tools": { "listChanged": true } })
    }

    async fn list_tools(&self) -> Result<Map<String, Json>, RpcError> {
        let seen = self.api.effects.list_tools(self.caller.asker()).await.map_err(refused)?;
        let in_scope = seen.iter().filter(|tool| self.scope.has(tool));
        let tools: Vec<Json> =
            in_scope.map(|tool| tool.definition().to_mcp(self.scope.name_of(tool))).collect();
        Ok(one_field("tools", tools))
    }

    /// A refusal is a tool's error, not a protocol's: clients show the first to the model and hide the second.
    async fn call_tool(
        &self,
        mut params: Map<String, Json>,
        own: Map<String, Json>,
        events: Option<ServerEvents>,
    ) -> Result<Map<String, Json>, RpcError> {
        let Some(Json::String(name)) = params.remove("name") else {
            return Err(RpcError::invalid_params("`name` must be a string"));
        };
        let arguments = match params.remove("arguments") {
            Some(Json::Object(arguments)) => arguments,
            None | Some(Json::Null) => Map::new(),
            Some(_) => return Err(RpcError::invalid_params("`arguments` must be an object")),
        };
        let id = self.scope.tool_id(&name)?;
        let call = ToolCall { arguments, meta: self.passed_on(own), options: CallOptions { events } };
        match self.api.effects.call_tool(self.caller.asker(), &id, call).await {
            Ok((result, decision)) => Ok(answer(result, decision)),
            // The server's own word, as the client would have had it without a gateway.
            Err(EffectError::Tool { error: ToolError::Refused { error, .. }, .. }) => Err(*error),
            Err(error) => Ok(refusal(error)),
        }
    }

    /// `_meta` of a request as it goes on to a server: without what is between the client and the gateway, with the trace.
    fn passed_on(&self, mut own: Map<String, Json>) -> Map<String, Json> {
        own.retain(|key, _| !key.starts_with(meta::PROTOCOL_PREFIX));
        if let Some((trace, span)) = &self.caller.context.trace {
            own.entry(meta::TRACEPARENT).or_insert_with(|| format!("00-{trace}-{span}-01").into());
        }
        own
    }
}

/// `_meta` of the parameters, taken out of them.
fn take_meta(params: &mut Map<String, Json>) -> Result<Map<String, Json>, RpcError> {
    match params.remove("_meta") {
        None => Ok(Map::new()),
        Some(Json::Object(fields)) => Ok(fields),
        Some(_) => Err(RpcError::invalid_params("`_meta` must be an object")),
    }
}

fn server_info() -> Json {
    json!({ "name": "caxton", "version": env!("CARGO_PKG_VERSION") })
}

/// The result of a call, with the decision that allowed it.
fn answer(result: ToolResult, decision: DecisionId) -> Map<String, Json> {
    let ToolResult { content, structured, is_error, rest } = result;
    let mut fields = rest;
    fields.insert("content".to_owned(), Json::Array(content));
    fields.extend(structured.map(|value| ("structuredContent".to_owned(), value)));
    fields.insert("isError".to_owned(), is_error.into());
    add_meta(&mut fields, "caxton/decision_id", decision.to_string().into());
    fields
}

fn refusal(error: EffectError) -> Map<String, Json> {
    let problem = Problem::from(error);
    object(json!({
        "content": [{ "type": "text", "text": problem.line() }],
        "isError": true,
        "_meta": { "caxton/refusal": problem.data() },
    }))
}

fn refused(error: EffectError) -> RpcError {
    let problem = Problem::from(error);
    RpcError::new(code::REFUSED, problem.line()).with_data(problem.data())
}

fn add_meta(fields: &mut Map<String, Json>, key: &str, value: Json) {
    let own = fields.entry("_meta").or_insert_with(|| json!({}));
    if let Some(own) = own.as_object_mut() {
        own.insert(key.to_owned(), value);
    }
}

/// Gives a result the fields of its generation: 2026-07-28 has a type in every result and the age of lists; earlier versions
/// have neither.
fn dress(result: &mut Map<String, Json>, method: &str, era: &Era) {
    let caches = matches!(
        method,
        "server/discover"
            | "tools/list"
            | "prompts/list"
            | "resources/list"
            | "resources/templates/list"
            | "resources/read"
    );
    if era.is_stateless() {
        result.entry("resultType").or_insert_with(|| "complete".into());
        if caches {
            // What one caller may see is nobody else's, and may change with the next policy.
            result.insert("ttlMs".to_owned(), 0.into());
            result.insert("cacheScope".to_owned(), "private".into());
        }
    } else {
        result.remove("resultType");
        if caches {
            result.remove("ttlMs");
            result.remove("cacheScope");
        }
    }
}
