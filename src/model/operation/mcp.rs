//! What is asked of MCP servers beside their tools: prompts, resources, completions, and what a server asks of a client.

use std::sync::Arc;

use serde_json::{Map, Value as Json};

use super::{Action, Entity, EntityUid, EventType, Operation, Value, sealed, visit_fields};
use crate::model::ServerName;

/// What stands between a server's name and its own name for a thing, in ids.
pub(super) const SEPARATOR: &str = "___";

/// The scheme of the URIs of apps.
const APP_SCHEME: &str = "ui";

pub(super) fn server_entity(server: &ServerName) -> EntityUid {
    EntityUid::caxton("McpServer", server.as_str())
}

/// A prompt of a server as policies see it: `Caxton::Prompt`, with the id `<server>___<name>`.
#[derive(Debug, Clone)]
pub struct PromptRef {
    /// The server.
    pub server: ServerName,
    /// The server's own name for the prompt.
    pub name: String,
}

impl PromptRef {
    fn entity(&self) -> Arc<Entity> {
        let id = format!("{}{SEPARATOR}{}", self.server, self.name);
        Entity::bare(EntityUid::caxton("Prompt", &*id))
            .with("name", Value::text(self.name.as_str()))
            .with("server", Value::text(self.server.as_str()))
            .in_parent(server_entity(&self.server))
            .into()
    }
}

/// A resource of a server, or a template of some, as policies see it: `Caxton::McpResource`, with the id `<server>___<uri>`.
#[derive(Debug, Clone)]
pub struct ResourceRef {
    /// The server.
    pub server: ServerName,
    /// The URI, or the URI template (RFC 6570), as the server writes it.
    pub uri: String,
    /// Whether it is a template.
    pub is_template: bool,
}

/// Whether a URI is that of an app: a page that a client shows (extension `io.modelcontextprotocol/ui`).
pub fn is_app_uri(uri: &str) -> bool {
    scheme_of(uri).eq_ignore_ascii_case(APP_SCHEME)
}

fn scheme_of(uri: &str) -> &str {
    uri.split_once(':').map_or("", |(scheme, _)| scheme)
}

impl ResourceRef {
    fn is_app(&self) -> bool {
        is_app_uri(&self.uri)
    }

    /// What is asked about who reads it.
    fn read_action(&self) -> Action {
        if self.is_app() { Action::AppRead } else { Action::ResourceRead }
    }

    /// The entity that is read: `Caxton::App` for an app.
    fn read_entity(&self) -> Arc<Entity> {
        if !self.is_app() {
            return self.entity();
        }
        let id = format!("{}{SEPARATOR}{}", self.server, self.uri);
        Entity::bare(EntityUid::caxton("App", &*id))
            .with("uri", Value::text(self.uri.as_str()))
            .with("server", Value::text(self.server.as_str()))
            .in_parent(server_entity(&self.server))
            .into()
    }

    fn entity(&self) -> Arc<Entity> {
        let id = format!("{}{SEPARATOR}{}", self.server, self.uri);
        let scheme = scheme_of(&self.uri).to_ascii_lowercase();
        Entity::bare(EntityUid::caxton("McpResource", &*id))
            .with("uri", Value::text(self.uri.as_str()))
            .with("scheme", Value::text(scheme.as_str()))
            .with("server", Value::text(self.server.as_str()))
            .with("template", Value::Bool(self.is_template))
            .in_parent(server_entity(&self.server))
            .into()
    }
}

/// See one prompt in a list (`prompt:get`).
#[derive(Debug)]
pub struct SeePrompt {
    /// The prompt.
    pub prompt: PromptRef,
    /// Its place in the list.
    pub place: usize,
}

/// See one resource, or one template, in a list (`resource:read`; `app:read` for an app).
#[derive(Debug)]
pub struct SeeResource {
    /// The resource.
    pub resource: ResourceRef,
    /// Its place in the list.
    pub place: usize,
}

/// Get a prompt (`prompt:get`).
#[derive(Debug)]
pub struct GetPrompt {
    /// The prompt.
    pub prompt: PromptRef,
    /// The arguments.
    pub arguments: Map<String, Json>,
    /// The other parameters, which go to the server as they came.
    pub rest: Map<String, Json>,
}

/// Read a resource (`resource:read`; `app:read` for an app).
#[derive(Debug)]
pub struct ReadResource {
    /// The resource.
    pub resource: ResourceRef,
    /// The other parameters, which go to the server as they came.
    pub rest: Map<String, Json>,
}

/// Be told when a resource changes, or be told no more (`resource:subscribe`).
#[derive(Debug)]
pub struct SubscribeResource {
    /// The resource.
    pub resource: ResourceRef,
    /// Whether the subscription begins.
    pub begins: bool,
}

/// What a completion is for.
#[derive(Debug, Clone)]
pub enum CompletionRef {
    /// An argument of a prompt.
    Prompt(PromptRef),
    /// A part of a template.
    Resource(ResourceRef),
}

/// Have an argument completed (`completion:complete`).
#[derive(Debug)]
pub struct Complete {
    /// What it is for.
    pub reference: CompletionRef,
    /// The parameters without the reference.
    pub rest: Map<String, Json>,
}

/// What a server may ask of the client of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerRequest {
    /// `sampling/createMessage`: an answer of the client's language model.
    Sampling,
    /// `elicitation/create`: an answer of the person.
    Elicitation,
    /// `roots/list`: the directories that the client works in.
    Roots,
}

impl ServerRequest {
    /// By its method.
    pub fn of_method(method: &str) -> Option<Self> {
        Some(match method {
            "sampling/createMessage" => Self::Sampling,
            "elicitation/create" => Self::Elicitation,
            "roots/list" => Self::Roots,
            _ => return None,
        })
    }

    /// The capability that a client declares which answers it.
    pub fn capability(self) -> &'static str {
        match self {
            Self::Sampling => "sampling",
            Self::Elicitation => "elicitation",
            Self::Roots => "roots",
        }
    }
}

/// Pass a request of a server on to the client (`sampling:create`, `elicitation:create`, `roots:list`): asked for the client's
/// principal, on the server.
#[derive(Debug)]
pub struct AskClient {
    /// The server that asks.
    pub server: ServerName,
    /// What it asks for.
    pub request: ServerRequest,
    /// The parameters, as the server sent them.
    pub params: Map<String, Json>,
}

impl sealed::Sealed for SeePrompt {}
impl Operation for SeePrompt {
    const EVENT: EventType = EventType::Authorization;
    fn action(&self) -> Action {
        Action::PromptGet
    }
    fn resource(&self) -> Arc<Entity> {
        self.prompt.entity()
    }
}

impl sealed::Sealed for SeeResource {}
impl Operation for SeeResource {
    const EVENT: EventType = EventType::Authorization;
    fn action(&self) -> Action {
        self.resource.read_action()
    }
    fn resource(&self) -> Arc<Entity> {
        self.resource.read_entity()
    }
}

impl sealed::Sealed for GetPrompt {}
impl Operation for GetPrompt {
    const EVENT: EventType = EventType::Authorization;
    fn action(&self) -> Action {
        Action::PromptGet
    }
    fn resource(&self) -> Arc<Entity> {
        self.prompt.entity()
    }
    fn untrusted_text(&self, visit: &mut dyn FnMut(&str)) {
        visit(&self.prompt.name);
        visit_fields(&self.arguments, visit);
        visit_fields(&self.rest, visit);
    }
    fn arguments(&self) -> Option<&Map<String, Json>> {
        Some(&self.arguments)
    }
}

impl sealed::Sealed for ReadResource {}
impl Operation for ReadResource {
    const EVENT: EventType = EventType::Authorization;
    fn action(&self) -> Action {
        self.resource.read_action()
    }
    fn resource(&self) -> Arc<Entity> {
        self.resource.read_entity()
    }
    fn untrusted_text(&self, visit: &mut dyn FnMut(&str)) {
        visit(&self.resource.uri);
        visit_fields(&self.rest, visit);
    }
}

impl sealed::Sealed for SubscribeResource {}
impl Operation for SubscribeResource {
    const EVENT: EventType = EventType::Authorization;
    fn action(&self) -> Action {
        // Of an app hears who may read it.
        if self.resource.is_app() { Action::AppRead } else { Action::ResourceSubscribe }
    }
    fn resource(&self) -> Arc<Entity> {
        self.resource.read_entity()
    }
    fn untrusted_text(&self, visit: &mut dyn FnMut(&str)) {
        visit(&self.resource.uri);
    }
}

impl sealed::Sealed for Complete {}
impl Operation for Complete {
    const EVENT: EventType = EventType::Authorization;
    fn action(&self) -> Action {
        match &self.reference {
            CompletionRef::Resource(resource) if resource.is_app() => Action::AppRead,
            CompletionRef::Prompt(_) | CompletionRef::Resource(_) => Action::CompletionComplete,
        }
    }
    fn resource(&self) -> Arc<Entity> {
        match &self.reference {
            CompletionRef::Prompt(prompt) => prompt.entity(),
            CompletionRef::Resource(resource) => resource.read_entity(),
        }
    }
    fn untrusted_text(&self, visit: &mut dyn FnMut(&str)) {
        visit_fields(&self.rest, visit);
    }
    fn arguments(&self) -> Option<&Map<String, Json>> {
        Some(&self.rest)
    }
}

impl sealed::Sealed for AskClient {}
impl Operation for AskClient {
    const EVENT: EventType = EventType::Authorization;
    fn action(&self) -> Action {
        match self.request {
            ServerRequest::Sampling => Action::SamplingCreate,
            ServerRequest::Elicitation => Action::ElicitationCreate,
            ServerRequest::Roots => Action::RootsList,
        }
    }
    fn resource(&self) -> Arc<Entity> {
        Entity::bare(server_entity(&self.server)).into()
    }
    fn untrusted_text(&self, visit: &mut dyn FnMut(&str)) {
        visit_fields(&self.params, visit);
    }
    fn arguments(&self) -> Option<&Map<String, Json>> {
        Some(&self.params)
    }
}
