//! What servers offer beside tools: prompts, resources, templates, completions. Nothing of it is kept here: lists are asked for
//! when a client asks, and each item is judged before it is shown.

use futures::future::join_all;
use serde_json::{Map, Value as Json, json};
use std::sync::Arc;
use std::time::Duration;

use crate::authz::Permit;
use crate::mcp::{NotPlain, check_name, check_template, check_uri, object, one_field};
use crate::model::{
    Complete, CompletionRef, GetPrompt, ListPrompts, ListResources, PromptRef, ReadResource, ResourceRef,
    SeePrompt, SeeResource, ServerName, SetLogLevel, Subject, is_app_uri,
};
use crate::text::one_line;

use super::error::ToolError;
use super::registry::{CallOptions, Registry};
use super::session::{Answered, ClientSession, ClientSide};
use super::tasks::unusable;
use super::upstream::{Outgoing, Upstream, items};

/// How long a server has to take a log level.
const LEVEL_TIME: Duration = Duration::from_secs(5);
/// The most bytes of one item of a list, as JSON.
const LARGEST_ITEM: usize = 64 * 1024;
/// The most bytes of all items of one list.
const LARGEST_LIST: usize = 4 * 1024 * 1024;

/// Items of servers, each with its server and its name there.
#[derive(Debug, Default)]
pub(super) struct Items(Vec<(ServerName, String, Json)>);

impl Items {
    /// The names, in order.
    pub(super) fn names(&self) -> impl Iterator<Item = (&ServerName, &str)> {
        self.0.iter().map(|(server, name, _)| (server, name.as_str()))
    }

    /// The items at these places, each with its server.
    pub(super) fn release(self, places: impl Iterator<Item = usize>) -> Vec<(ServerName, Json)> {
        let mut items: Vec<Option<(ServerName, String, Json)>> = self.0.into_iter().map(Some).collect();
        let released = places.filter_map(|place| items.get_mut(place).and_then(Option::take));
        released.map(|(server, _, item)| (server, item)).collect()
    }

    /// Takes an item in, unless it is too large or its name, the field `key`, is no plain one.
    pub(super) fn take(&mut self, server: &ServerName, item: Json, key: &str, check: NameCheck) {
        let size = item.to_string().len();
        if size > LARGEST_ITEM {
            tracing::debug!(%server, size, "an item that is too large is left out");
            return;
        }
        let name = item.get(key).and_then(Json::as_str).map(str::to_owned);
        match name.filter(|name| check(name).is_ok()) {
            Some(name) => self.0.push((server.clone(), name, item)),
            None => {
                let shown = one_line(&item.to_string(), 80);
                tracing::debug!(%server, item = shown, "an item without a plain name is left out");
            }
        }
    }
}

/// Items of servers that nobody may see before each has been judged.
#[derive(Debug)]
pub struct Offered(Items);

impl Offered {
    /// A question for each prompt.
    pub fn prompts(&self) -> Vec<SeePrompt> {
        let item = |(place, (server, name)): (usize, (&ServerName, &str))| SeePrompt {
            prompt: PromptRef { server: server.clone(), name: name.to_owned() },
            place,
        };
        self.0.names().enumerate().map(item).collect()
    }

    /// A question for each resource, or template.
    pub fn resources(&self, is_template: bool) -> Vec<SeeResource> {
        let item = |(place, (server, uri)): (usize, (&ServerName, &str))| SeeResource {
            resource: ResourceRef { server: server.clone(), uri: uri.to_owned(), is_template },
            place,
        };
        self.0.names().enumerate().map(item).collect()
    }

    /// The prompts that were permitted, each with its server.
    pub fn release_prompts(self, permits: Vec<Permit<SeePrompt>>) -> Vec<(ServerName, Json)> {
        self.0.release(permits.into_iter().map(|permit| permit.into_operation().place))
    }

    /// The resources that were permitted, each with its server.
    pub fn release_resources(self, permits: Vec<Permit<SeeResource>>) -> Vec<(ServerName, Json)> {
        self.0.release(permits.into_iter().map(|permit| permit.into_operation().place))
    }
}

/// Says what is wrong with a name.
pub(super) type NameCheck = fn(&str) -> Result<(), NotPlain>;

/// What a server has to declare for a list.
pub(super) enum Source {
    /// A capability.
    Capability(&'static str),
    /// An extension.
    Extension(&'static str),
}

/// A list of servers' items: the method, the field of the answer, the field of an item that names it, what the server has to
/// declare, and what a name must be.
pub(super) struct Kind {
    pub(super) method: &'static str,
    pub(super) list: &'static str,
    pub(super) name: &'static str,
    pub(super) source: Source,
    pub(super) check: NameCheck,
}

const PROMPTS: Kind = Kind {
    method: "prompts/list",
    list: "prompts",
    name: "name",
    source: Source::Capability("prompts"),
    check: check_name,
};
const RESOURCES: Kind = Kind {
    method: "resources/list",
    list: "resources",
    name: "uri",
    source: Source::Capability("resources"),
    check: check_uri,
};
const TEMPLATES: Kind = Kind {
    method: "resources/templates/list",
    list: "resourceTemplates",
    name: "uriTemplate",
    source: Source::Capability("resources"),
    check: check_template,
};

impl Registry {
    /// The capabilities of servers, of all or of one: what a client of them is told.
    pub fn offers(&self, only: Option<&ServerName>, capability: &str) -> bool {
        self.upstreams(only).any(|upstream| upstream.capability(capability).is_some())
    }

    /// Whether a server has a capability with this flag set: `subscribe`, `listChanged`.
    pub fn offers_flag(&self, only: Option<&ServerName>, capability: &str, flag: &str) -> bool {
        let has = |found: Json| found.get(flag).and_then(Json::as_bool) == Some(true);
        self.upstreams(only).any(|upstream| upstream.capability(capability).is_some_and(has))
    }

    /// What one server said that it has: the object behind a capability.
    pub fn capability(&self, server: &ServerName, capability: &str) -> Option<Json> {
        self.upstreams(Some(server)).next()?.capability(capability)
    }

    /// The prompts of servers, of all or of one.
    pub async fn prompts(&self, permit: Permit<ListPrompts>, only: Option<&ServerName>) -> Offered {
        let caller = Arc::clone(permit.subject());
        let ListPrompts = permit.into_operation();
        Offered(self.list(&PROMPTS, &caller, only).await)
    }

    /// The resources, or the templates, of servers, of all or of one.
    pub async fn resources(
        &self,
        permit: Permit<ListResources>,
        only: Option<&ServerName>,
        templates: bool,
    ) -> Offered {
        let caller = Arc::clone(permit.subject());
        let ListResources = permit.into_operation();
        Offered(self.list(if templates { &TEMPLATES } else { &RESOURCES }, &caller, only).await)
    }

    /// Asks the servers side by side. One that fails has no items.
    pub(super) async fn list(&self, kind: &Kind, caller: &Arc<Subject>, only: Option<&ServerName>) -> Items {
        let asked = self.upstreams(only).map(|upstream| list_of(upstream, kind, caller, self.most_items()));
        Items(join_all(asked).await.into_iter().flat_map(|items| items.0).collect())
    }

    /// Gets a prompt.
    pub async fn get_prompt(
        &self,
        permit: Permit<GetPrompt>,
        options: CallOptions,
    ) -> Result<Answered<Map<String, Json>>, ToolError> {
        let caller = Arc::clone(permit.subject());
        let GetPrompt { prompt, arguments, rest } = permit.into_operation();
        let mut params = rest;
        params.insert("name".to_owned(), prompt.name.into());
        if !arguments.is_empty() {
            params.insert("arguments".to_owned(), Json::Object(arguments));
        }
        let answer = self.ask((&caller, &prompt.server), "prompts/get", params, options).await?;
        answered(&prompt.server, answer)
    }

    /// Reads a resource.
    pub async fn read_resource(
        &self,
        permit: Permit<ReadResource>,
        options: CallOptions,
    ) -> Result<Answered<Map<String, Json>>, ToolError> {
        let caller = Arc::clone(permit.subject());
        let ReadResource { resource, rest } = permit.into_operation();
        let mut params = rest;
        let uri = resource.uri;
        params.insert("uri".to_owned(), uri.as_str().into());
        let answer = self.ask((&caller, &resource.server), "resources/read", params, options).await?;
        if shows_another_app(&uri, &answer) {
            return Err(unusable(&resource.server, "it is an app that was not asked for"));
        }
        answered(&resource.server, answer)
    }

    /// Has an argument completed.
    pub async fn complete(
        &self,
        permit: Permit<Complete>,
        options: CallOptions,
    ) -> Result<Map<String, Json>, ToolError> {
        let caller = Arc::clone(permit.subject());
        let Complete { reference, rest } = permit.into_operation();
        let (server, reference) = match reference {
            CompletionRef::Prompt(prompt) => {
                (prompt.server, json!({ "type": "ref/prompt", "name": prompt.name }))
            }
            CompletionRef::Resource(resource) => {
                (resource.server, json!({ "type": "ref/resource", "uri": resource.uri }))
            }
        };
        let mut params = rest;
        params.insert("ref".to_owned(), reference);
        self.ask_once((&caller, &server), "completion/complete", params, options).await
    }

    /// Chooses which log messages the client of a session receives.
    pub async fn set_log_level(
        &self,
        permit: Permit<SetLogLevel>,
        session: &Arc<ClientSession>,
        level: &str,
    ) {
        let SetLogLevel = permit.into_operation();
        session.set_log_level(level.to_owned());
        for (server, link) in session.open_links() {
            let request = link.request(Outgoing::new("logging/setLevel", one_field("level", level)));
            if !tokio::time::timeout(LEVEL_TIME, request).await.is_ok_and(|answer| answer.is_ok()) {
                tracing::debug!(%server, "the log level was not taken");
            }
        }
    }

    /// The same for a method whose server asks the client nothing: questions in its answer were decided by nobody.
    pub(super) async fn ask_once(
        &self,
        place: (&Arc<Subject>, &ServerName),
        method: &str,
        mut params: Map<String, Json>,
        options: CallOptions,
    ) -> Result<Map<String, Json>, ToolError> {
        for key in ["inputResponses", "requestState", "task"] {
            params.remove(key);
        }
        let mut answer = self.ask(place, method, params, options).await?;
        if !take_kind(place.1, &mut answer)? {
            return Err(unusable(place.1, "it asks the client, which this method does not"));
        }
        answer.remove("inputRequests");
        answer.remove("requestState");
        Ok(answer)
    }

    pub(super) async fn ask(
        &self,
        (caller, server): (&Arc<Subject>, &ServerName),
        method: &str,
        params: Map<String, Json>,
        options: CallOptions,
    ) -> Result<Map<String, Json>, ToolError> {
        let upstream = self.upstreams(Some(server)).next();
        let upstream = upstream.ok_or_else(|| ToolError::Unavailable { server: server.clone() })?;
        let mut outgoing = Outgoing::new(method, params);
        outgoing.events = options.events;
        upstream.request(outgoing, (caller, options.client.as_ref()), || true).await
    }
}

/// Whether a resource that was read is an app, where none was asked for.
fn shows_another_app(asked: &str, answer: &Map<String, Json>) -> bool {
    let shown = answer.get("contents").and_then(Json::as_array).into_iter().flatten();
    let mut uris = shown.filter_map(|content| content.get("uri")).filter_map(Json::as_str);
    !is_app_uri(asked) && uris.any(is_app_uri)
}

/// What a server says of the kind of its answer, taken out: `true` for a result, `false` for questions to the client. Nothing else
/// is passed on.
pub(super) fn take_kind(server: &ServerName, answer: &mut Map<String, Json>) -> Result<bool, ToolError> {
    match answer.remove("resultType") {
        None => Ok(true),
        Some(Json::String(kind)) if kind == "complete" => Ok(true),
        Some(Json::String(kind)) if kind == "input_required" => Ok(false),
        Some(_) => Err(unusable(server, "it is of a kind that is not passed on")),
    }
}

fn answered(
    server: &ServerName,
    mut answer: Map<String, Json>,
) -> Result<Answered<Map<String, Json>>, ToolError> {
    let is_result = take_kind(server, &mut answer)?;
    Ok(if is_result { Answered::Complete(answer) } else { Answered::InputRequired(answer) })
}

async fn list_of(upstream: &Arc<Upstream>, kind: &Kind, caller: &Arc<Subject>, most: usize) -> Items {
    let server = &upstream.settings.name;
    let declared = match kind.source {
        Source::Capability(name) => upstream.capability(name),
        Source::Extension(name) => upstream.extension(name),
    };
    if declared.is_none() {
        return Items::default();
    }
    let asked = async {
        let _kept = upstream.tokens_for(caller).await.map_err(|error| super::error::chain(&error))?;
        // One caller's lists leave places for the requests of others.
        let _place = upstream.place(caller.principal()).await;
        let way = upstream.way_of(caller).await.map_err(|error| super::error::chain(&error))?;
        let found = items(&way.link, kind.method, kind.list, (most, LARGEST_LIST)).await;
        found.map_err(|error| {
            if error.is_session_lost() {
                upstream.lost(&way, caller);
            }
            super::error::chain(&error)
        })
    };
    let found = match tokio::time::timeout(upstream.settings.connect_timeout, asked).await {
        Ok(Ok(found)) => found,
        Ok(Err(reason)) => {
            tracing::warn!(%server, method = kind.method, reason, "a list of an upstream server cannot be used");
            return Items::default();
        }
        Err(_) => {
            tracing::warn!(%server, method = kind.method, "an upstream server did not answer in time");
            return Items::default();
        }
    };
    let mut named = Items::default();
    for item in found {
        named.take(server, item, kind.name, kind.check);
    }
    named
}

/// The level of the session, as a request of 2026-07-28 says it.
pub(super) fn log_level(client: Option<&ClientSide>) -> Option<(String, Json)> {
    let Some(ClientSide::Session(session)) = client else { return None };
    let level = session.log_level()?;
    Some((crate::mcp::meta::LOG_LEVEL.to_owned(), level.into()))
}

/// `_meta` of a request to a server of 2026-07-28, with what its client can do.
pub(super) fn add_client(params: &mut Map<String, Json>, client: Option<&ClientSide>) {
    let Some(client) = client else { return };
    let fields = params.entry("_meta").or_insert_with(|| Json::Object(object(json!({}))));
    if let Some(fields) = fields.as_object_mut() {
        let capabilities = Json::Object(client.capabilities().clone());
        fields.insert(crate::mcp::meta::CLIENT_CAPABILITIES.to_owned(), capabilities);
        fields.extend(log_level(Some(client)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The attack: a server asks the client, or shows it a page, in an answer that nobody decided as such.
    #[test]
    fn an_answer_is_a_result_or_questions_and_no_other_app() {
        let server = ServerName::parse("up").unwrap();
        let kind = |kind: Json| take_kind(&server, &mut object(json!({ "resultType": kind })));
        assert!(take_kind(&server, &mut Map::new()).unwrap() && kind(json!("complete")).unwrap());
        assert!(!kind(json!("input_required")).unwrap());
        for other in [json!("task"), json!("later"), json!(1), json!(null)] {
            assert!(matches!(kind(other.clone()), Err(ToolError::Unusable { .. })), "{other}");
            let answer = object(json!({ "resultType": other }));
            assert!(answered(&server, answer).is_err(), "{other}");
        }
        let shows = |uri: &str| object(json!({ "contents": [{ "uri": "file:///a" }, { "uri": uri }] }));
        for app in ["ui://board/page", "UI://board/page"] {
            assert!(shows_another_app("file:///a", &shows(app)), "{app}");
            assert!(!shows_another_app("ui://board/page", &shows(app)), "{app}");
        }
        assert!(!shows_another_app("file:///a", &shows("uix://board")));
    }
}
