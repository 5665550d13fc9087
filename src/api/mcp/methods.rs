//! The methods of the protocol: what each asks of the gateway, and what it answers.

use std::sync::Arc;

use serde_json::{Map, Value as Json, json};

use super::Arrived;
use super::era::Era;
use super::params::{self, Target, What};
use super::result::{self, server_info};
use crate::mcp::{RpcError, Version, code, extension, meta, object, one_field};
use crate::model::{Complete, CompletionRef, ServerName, SubscribeResource, ToolId};
use crate::runtime::{EffectError, ToolCall};
use crate::secret::Secret;
use crate::tools::{Answered, CallOptions, ClientSide, ServerEvents, ToolError};

/// Told to every client that connects.
const INSTRUCTIONS: &str = "A policy gateway. The list shows the tools you may use; a call that policy refuses answers with \
                            the reason and a decision id.";

/// The log levels of RFC 5424, as MCP names them.
const LEVELS: [&str; 8] = ["debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"];

/// The methods below, as they stand in spans.
const KNOWN: [&str; 20] = [
    "completion/complete",
    "initialize",
    "logging/setLevel",
    "ping",
    "prompts/get",
    "prompts/list",
    "resources/directory/read",
    "resources/list",
    "resources/read",
    "resources/subscribe",
    "resources/templates/list",
    "resources/unsubscribe",
    "server/discover",
    "skills/get",
    "skills/list",
    "tasks/cancel",
    "tasks/get",
    "tasks/update",
    "tools/call",
    "tools/list",
];

/// The name of a method that there is, else `_OTHER`.
pub(super) fn known(method: &str) -> &'static str {
    KNOWN.into_iter().find(|known| *known == method).unwrap_or("_OTHER")
}

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
        let own = params::take_object(&mut params, "_meta")?.unwrap_or_default();
        let stateless = self.era.is_stateless();
        if method.ends_with("/list") && params.get("cursor").is_some_and(|cursor| !cursor.is_null()) {
            // Every list is one page.
            return Err(RpcError::invalid_params("there is no page at this `cursor`"));
        }
        let result = match method {
            "initialize" if !stateless => return self.initialize(&params),
            "ping" if !stateless => Map::new(),
            "logging/setLevel" if !stateless => self.set_log_level(params).await?,
            "resources/subscribe" if !stateless => self.subscribe(params, true).await?,
            "resources/unsubscribe" if !stateless => self.subscribe(params, false).await?,
            "server/discover" if stateless => return Ok(self.discover().into()),
            "tools/list" => self.list_tools().await?,
            "tools/call" => self.call_tool(params, own, events).await?,
            "prompts/list" if self.offers("prompts") => self.list_prompts().await?,
            "prompts/get" => self.get_prompt(params, own, events).await?,
            "resources/list" if self.offers("resources") => self.list_resources(false).await?,
            "resources/templates/list" if self.offers("resources") => self.list_resources(true).await?,
            "resources/read" => self.read_resource(params, own, events).await?,
            "completion/complete" if self.offers("completions") => self.complete(params, own).await?,
            "tasks/get" | "tasks/update" | "tasks/cancel" if self.has_tasks() => {
                self.follow_task(method, params, own).await?
            }
            "skills/list" if self.has_skills() => self.list_skills().await?,
            "skills/get" if self.has_skills() => self.get_skill(params, own).await?,
            "resources/directory/read" if self.has_directories() => self.read_directory(params, own).await?,
            _ => return Err(RpcError::method_not_found(method)),
        };
        Ok(result::dressed(result, method, &self.era).into())
    }

    fn initialize(&self, params: &Map<String, Json>) -> Result<Given, RpcError> {
        let Some(asked) = params.get("protocolVersion").and_then(Json::as_str) else {
            return Err(RpcError::invalid_params("`protocolVersion` is missing"));
        };
        let version = Version::negotiate(asked);
        let capabilities = match params.get("capabilities") {
            Some(Json::Object(capabilities)) => {
                params::capabilities(capabilities, &[extension::SKILLS, extension::APPS])?
            }
            None => Map::new(),
            Some(_) => return Err(RpcError::invalid_params("`capabilities` must be an object")),
        };
        let principal = self.caller.subject.principal();
        let session = self
            .api
            .mcp
            .sessions
            .open(principal, self.scope.clone(), version, (capabilities, self.api.mcp.changes.subscribe()))
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
            "resultType": "complete",
            "ttlMs": 0,
            "cacheScope": "private",
            "supportedVersions": Version::ALL,
            "capabilities": self.capabilities(),
            "instructions": INSTRUCTIONS,
            "_meta": { (meta::SERVER_INFO): server_info() },
        }))
    }

    fn offers(&self, capability: &str) -> bool {
        self.api.effects.tools().offers(self.scope.only(), capability)
    }

    /// What the servers behind the address have, as far as it is passed on.
    fn capabilities(&self) -> Json {
        let mut capabilities = object(json!({ "tools": { "listChanged": true } }));
        let with_sessions = !self.era.is_stateless();
        let tools = self.api.effects.tools();
        for (name, is_passed_on) in
            [("prompts", true), ("resources", true), ("completions", true), ("logging", with_sessions)]
        {
            if !is_passed_on || !self.offers(name) {
                continue;
            }
            // Of changed lists hears a client of 2026-07-28 that subscribes to them.
            let flags = ["subscribe"].into_iter().chain((!with_sessions).then_some("listChanged"));
            let held = flags.filter(|flag| tools.offers_flag(self.scope.only(), name, flag));
            let inner: Map<String, Json> = held.map(|flag| (flag.to_owned(), true.into())).collect();
            capabilities.insert(name.to_owned(), Json::Object(inner));
        }
        let extensions = self.extensions();
        if !extensions.is_empty() {
            capabilities.insert("extensions".to_owned(), Json::Object(extensions));
        }
        Json::Object(capabilities)
    }

    async fn set_log_level(&self, mut params: Map<String, Json>) -> Result<Map<String, Json>, RpcError> {
        if !self.offers("logging") {
            return Err(RpcError::method_not_found("logging/setLevel"));
        }
        let level = params::take_text(&mut params, "level")?;
        if !LEVELS.contains(&level.as_str()) {
            return Err(RpcError::invalid_params("`level` is none of RFC 5424"));
        }
        let Some(session) = &self.session else { return Err(needs_session("a log level")) };
        let asked = self.api.effects.set_log_level(self.caller.asker(), &session.client, &level);
        asked.await.map_err(result::refused)?;
        Ok(Map::new())
    }

    async fn subscribe(
        &self,
        mut params: Map<String, Json>,
        begins: bool,
    ) -> Result<Map<String, Json>, RpcError> {
        if !self.api.effects.tools().offers_flag(self.scope.only(), "resources", "subscribe") {
            let method = if begins { "resources/subscribe" } else { "resources/unsubscribe" };
            return Err(RpcError::method_not_found(method));
        }
        let uri = params::take_text(&mut params, "uri")?;
        let Some(session) = &self.session else { return Err(needs_session("a subscription")) };
        let operation = SubscribeResource { resource: self.scope.resource(&uri, false)?, begins };
        let effects = &self.api.effects;
        let answer = effects.subscribe_resource(self.caller.asker(), operation, &session.client).await;
        answer.map_err(result::refused)
    }

    async fn list_tools(&self) -> Result<Map<String, Json>, RpcError> {
        let seen = self.api.effects.list_tools(self.caller.asker()).await.map_err(result::refused)?;
        let named = seen.iter().filter_map(|tool| Some((tool, self.scope.tool_name(tool)?)));
        let shown = named.map(|(tool, name)| self.scope.with_app(tool, tool.definition().to_mcp(name)));
        let tools: Vec<Json> = shown.collect();
        Ok(one_field("tools", tools))
    }

    /// A refusal is a tool's error, not a protocol's: clients show the first to the model and hide the second.
    async fn call_tool(
        &self,
        mut params: Map<String, Json>,
        own: Map<String, Json>,
        events: Option<ServerEvents>,
    ) -> Result<Map<String, Json>, RpcError> {
        let name = params::take_text(&mut params, "name")?;
        let arguments = params::take_object(&mut params, "arguments")?.unwrap_or_default();
        let id = self.scope.tool_id(&name)?;
        self.check_param_headers(&id, &arguments).await?;
        let server = ServerName::parse(id.server()).map_err(|_| RpcError::invalid_params("no such tool"))?;
        let target = Target { server, what: What::Tool(id), arguments };
        self.in_rounds(&target, (params, own), events).await
    }

    async fn ask_tool(
        &self,
        (id, arguments): (&ToolId, &Map<String, Json>),
        rest: Map<String, Json>,
        options: CallOptions,
    ) -> Result<Answered<Map<String, Json>>, RpcError> {
        let call = ToolCall { arguments: arguments.clone(), rest, options };
        match self.api.effects.call_tool_in_rounds(self.caller.asker(), id, call).await {
            Ok((answer, decision)) => Ok(answer.map(|found| {
                let mut shown = result::of_call(found);
                result::add_meta(&mut shown, "caxton/decision_id", decision.to_string().into());
                shown
            })),
            Err(EffectError::Tool { error: ToolError::Refused { error, .. }, .. }) => {
                Err(result::of_server(*error))
            }
            Err(EffectError::Tool { error: ToolError::NotConnected { server }, decision }) => {
                let link = self.account_page(&server).await?;
                let error = EffectError::Tool { error: ToolError::NotConnected { server }, decision };
                Ok(Answered::Complete(match link {
                    Some(link) => result::refusal_with(error, link.expose()),
                    None => result::refusal(error),
                }))
            }
            Err(error) => Ok(Answered::Complete(result::refusal(error))),
        }
    }

    /// The caller has to connect an account first. A client that can show an address to its person gets the one of the gateway's
    /// own page (2025-11-25, "URL Elicitation Required Error"), as the error; for another one, the page is in what it is refused with.
    async fn account_page(&self, server: &ServerName) -> Result<Option<Secret<String>>, RpcError> {
        // A principal that cannot log in is not given the page: whoever logs in there would be another principal.
        if !self.api.authenticator.can_log_in(self.caller.subject.principal()) {
            return Ok(None);
        }
        // Who may not connect an account hears of no page.
        let begun = self.api.effects.begin_connection(self.caller.asker(), server.clone(), None).await;
        let Ok((started, _)) = begun else { return Ok(None) };
        let is_asked = self.session.as_ref().is_some_and(|session| session.client.takes_addresses());
        if is_asked {
            Err(result::needs_account(server, started.link.expose()))
        } else {
            Ok(Some(started.link))
        }
    }

    /// A refused request that is no call, with the page where an account has to be connected first.
    async fn refused(&self, server: &ServerName, error: EffectError) -> RpcError {
        if !matches!(error, EffectError::Tool { error: ToolError::NotConnected { .. }, .. }) {
            return result::refused(error);
        }
        match self.account_page(server).await {
            Ok(Some(link)) => result::refused_with(error, link.expose()),
            Ok(None) => result::refused(error),
            Err(asks) => asks,
        }
    }

    /// The arguments that header fields repeat (2026-07-28). Who may not see the tool does not learn that it has any: its call is
    /// refused as that of every other tool.
    async fn check_param_headers(&self, id: &ToolId, arguments: &Map<String, Json>) -> Result<(), RpcError> {
        let Some(tool) = self.api.effects.tools().get(id).filter(|_| self.era.is_stateless()) else {
            return Ok(());
        };
        let Err(mismatch) = tool.param_headers().check(&self.headers, arguments) else { return Ok(()) };
        let seen = self.api.effects.list_tools(self.caller.asker()).await.map_err(result::refused)?;
        if seen.iter().any(|seen| seen.id() == id) {
            return Err(RpcError::new(code::HEADER_MISMATCH, mismatch.to_string()));
        }
        Ok(())
    }

    async fn list_prompts(&self) -> Result<Map<String, Json>, RpcError> {
        let listed = self.api.effects.list_prompts(self.caller.asker(), self.scope.only()).await;
        let mut prompts = Vec::new();
        for (server, mut prompt) in listed.map_err(result::refused)? {
            if let Some(Json::String(name)) = prompt.get_mut("name") {
                *name = self.scope.prompt_name(&server, name);
            }
            prompts.push(prompt);
        }
        Ok(one_field("prompts", prompts))
    }

    async fn get_prompt(
        &self,
        mut params: Map<String, Json>,
        own: Map<String, Json>,
        events: Option<ServerEvents>,
    ) -> Result<Map<String, Json>, RpcError> {
        let name = params::take_text(&mut params, "name")?;
        let arguments = params::take_object(&mut params, "arguments")?.unwrap_or_default();
        let prompt = self.scope.prompt(&name)?;
        let target = Target { server: prompt.server.clone(), what: What::Prompt(prompt), arguments };
        self.in_rounds(&target, (params, own), events).await
    }

    async fn list_resources(&self, templates: bool) -> Result<Map<String, Json>, RpcError> {
        let effects = &self.api.effects;
        let listed = effects.list_resources(self.caller.asker(), self.scope.only(), templates).await;
        let mut resources = Vec::new();
        for (server, mut resource) in listed.map_err(result::refused)? {
            self.scope.show_uri(&server, &mut resource);
            resources.push(resource);
        }
        Ok(one_field(if templates { "resourceTemplates" } else { "resources" }, resources))
    }

    async fn read_resource(
        &self,
        mut params: Map<String, Json>,
        own: Map<String, Json>,
        events: Option<ServerEvents>,
    ) -> Result<Map<String, Json>, RpcError> {
        let uri = params::take_text(&mut params, "uri")?;
        let resource = self.scope.resource(&uri, false)?;
        let server = resource.server.clone();
        let target = Target { server, what: What::Resource(resource), arguments: Map::new() };
        self.in_rounds(&target, (params, own), events).await
    }

    /// Asks a server until it answers with a result, or with questions for the client that come as the result.
    async fn in_rounds(
        &self,
        target: &Target,
        (params, own): (Map<String, Json>, Map<String, Json>),
        events: Option<ServerEvents>,
    ) -> Result<Map<String, Json>, RpcError> {
        let mut rest = self.rest(params, own, target)?;
        for _ in 0..params::MOST_ROUNDS {
            let answer = self.ask(target, rest.clone(), self.options(events.clone())).await?;
            match self.settle(answer, target, events.as_ref()).await? {
                params::Settled::Complete(mut found) => {
                    self.scope.show_uris(&target.server, &mut found);
                    return Ok(found);
                }
                params::Settled::AskTheClient(round) => return Ok(round),
                params::Settled::Again(answers) => {
                    // The state is that of the last round, also where that has none.
                    rest.remove("requestState");
                    rest.extend(answers);
                }
            }
        }
        Err(params::too_many_rounds())
    }

    async fn ask(
        &self,
        target: &Target,
        rest: Map<String, Json>,
        options: CallOptions,
    ) -> Result<Answered<Map<String, Json>>, RpcError> {
        let (effects, asker, arguments) = (&self.api.effects, self.caller.asker(), &target.arguments);
        let (answer, _) = match &target.what {
            What::Tool(id) => return self.ask_tool((id, arguments), rest, options).await,
            What::Prompt(prompt) => {
                let asked = effects.get_prompt(asker, prompt.clone(), arguments.clone(), (rest, options));
                match asked.await {
                    Ok(answer) => answer,
                    Err(error) => return Err(self.refused(&prompt.server, error).await),
                }
            }
            What::Resource(resource) => {
                let asked = effects.read_resource(asker, resource.clone(), (rest, options)).await;
                match asked {
                    Ok(answer) => answer,
                    Err(error) => {
                        let uri = self.scope.uri(&resource.server, &resource.uri);
                        let refused = self.refused(&resource.server, error).await;
                        return Err(result::of_resource(refused, &uri, &self.era));
                    }
                }
            }
        };
        Ok(answer.map(result::without_forged))
    }

    async fn complete(
        &self,
        mut params: Map<String, Json>,
        own: Map<String, Json>,
    ) -> Result<Map<String, Json>, RpcError> {
        let Some(mut reference) = params::take_object(&mut params, "ref")? else {
            return Err(RpcError::invalid_params("`ref` is missing"));
        };
        let reference = match reference.get("type").and_then(Json::as_str) {
            Some("ref/prompt") => {
                let name = params::take_text(&mut reference, "name")?;
                CompletionRef::Prompt(self.scope.prompt(&name)?)
            }
            Some("ref/resource") => {
                let uri = params::take_text(&mut reference, "uri")?;
                CompletionRef::Resource(self.scope.resource(&uri, uri.contains('{'))?)
            }
            _ => {
                return Err(RpcError::invalid_params(
                    "`ref.type` is neither `ref/prompt` nor `ref/resource`",
                ));
            }
        };
        let rest = self.with_meta(params, own);
        let asked =
            self.api.effects.complete(self.caller.asker(), Complete { reference, rest }, self.options(None));
        asked.await.map(result::without_forged).map_err(result::refused)
    }

    pub(super) fn options(&self, events: Option<ServerEvents>) -> CallOptions {
        let client = match (&self.era, &self.session) {
            (Era::Stateless(capabilities), _) => Some(ClientSide::Stateless(capabilities.clone())),
            (_, Some(session)) => Some(ClientSide::Session(Arc::clone(&session.client))),
            (_, None) => None,
        };
        CallOptions { events, client }
    }

    /// The parameters that go on as they came, with `_meta` as a server gets it: without what is between the client and the
    /// gateway, with the trace.
    pub(super) fn with_meta(
        &self,
        mut params: Map<String, Json>,
        mut own: Map<String, Json>,
    ) -> Map<String, Json> {
        own.retain(|key, _| !key.starts_with(meta::PROTOCOL_PREFIX) || key == meta::LOG_LEVEL);
        if let Some((trace, span)) = &self.caller.context.trace {
            own.entry(meta::TRACEPARENT).or_insert_with(|| format!("00-{trace}-{span}-01").into());
        }
        if !own.is_empty() {
            params.insert("_meta".to_owned(), Json::Object(own));
        }
        params
    }
}

fn needs_session(what: &str) -> RpcError {
    RpcError::new(code::INVALID_REQUEST, format!("{what} belongs to a session: initialize first"))
}
