//! One struct for each thing that can be asked of the gateway. An effect takes the permit of its own operation.
//!
//! An operation owns its arguments, parsed once: what was judged is what is carried out.

use std::sync::{Arc, LazyLock};

use serde_json::{Map, Value as Json};

use super::{Action, Entity, EntityUid, EventType, JsonPointer, Value};

mod connection;
mod credential;
mod entities;
mod extensions;
mod http;
mod mcp;
mod memory;
mod messages;
mod tools;

pub use connection::{BeginConnection, EndConnection, FinishConnection, ListConnections};
pub use credential::{CreateKey, IssueToken, KeyFacts, RenewToken, RevokeKey, RotateKey};
pub use entities::*;
pub use extensions::*;
pub use http::*;
pub use mcp::*;
pub use memory::*;
pub use messages::*;
pub use tools::*;

mod sealed {
    pub trait Sealed {}
}

/// What a policy finds in `context.input`.
#[derive(Debug, Clone)]
pub enum Input {
    /// The action has none.
    Absent,
    /// These values, as the schema types them for this action.
    Known(Value),
    /// Not known yet: the question is whether *some* input could be permitted (a tool in a list).
    Open,
}

/// Something that can be asked for: an action on a resource, with arguments.
///
/// Sealed: a new operation is a change to the vocabulary, to the schema and to the shipped policies.
pub trait Operation: sealed::Sealed + Send + Sync + 'static {
    /// The kind of event its record is.
    const EVENT: EventType;

    /// Whether the caller sees the resource's content, so that its labels go on the session.
    const READS: bool = false;

    /// Whether it brings the attributes of people and things up to date, and so may be asked for when they are too old.
    const ALLOWED_WHEN_STALE: bool = false;

    /// Whether its arguments and its result can be redacted. A permit that demands that of another operation denies it.
    const REDACTS: bool = false;

    /// The literal action.
    fn action(&self) -> Action;

    /// The literal resource, with its attributes.
    fn resource(&self) -> Arc<Entity>;

    /// `context.input`, as the schema types it for this action.
    fn input(&self) -> Input {
        Input::Absent
    }

    /// Shows every piece of text that was written outside the gateway to the screens.
    fn untrusted_text(&self, visit: &mut dyn FnMut(&str)) {
        let _ = visit;
    }

    /// The arguments whose digest goes into the record (`args_sha256`).
    fn arguments(&self) -> Option<&Map<String, Json>> {
        None
    }

    /// The digest of what it brings, for the record (`args_sha256`), where `input` says no more than what is in it.
    fn content_sha256(&self) -> Option<&str> {
        None
    }

    /// Further resources, in order, of which one has to be allowed as well: the agents that could take a message.
    fn candidates(&self) -> &[Arc<Entity>] {
        &[]
    }

    /// The first of the candidates that is allowed, by its place among them.
    fn choose(&mut self, candidate: usize) {
        let _ = candidate;
    }

    /// Masks its arguments, and takes along what is to be masked in its result. Called where [`Self::REDACTS`] holds.
    fn redact(&mut self, pointers: Vec<JsonPointer>) {
        let _ = pointers;
    }

    /// Whether this is a tool call that counts in the session.
    fn tool(&self) -> Option<&ToolDescriptor> {
        None
    }
}

fn length(bytes: usize) -> Value {
    Value::Long(i64::try_from(bytes).unwrap_or(i64::MAX))
}

fn gateway() -> Entity {
    Entity::bare(EntityUid::caxton("Gateway", "caxton"))
}

fn live_policies() -> Entity {
    Entity::bare(EntityUid::caxton("PolicySet", "live"))
}

/// Visits every string inside a JSON value, keys included.
fn visit_json(value: &Json, visit: &mut dyn FnMut(&str)) {
    match value {
        Json::String(text) => visit(text),
        Json::Array(items) => items.iter().for_each(|item| visit_json(item, visit)),
        Json::Object(fields) => visit_fields(fields, visit),
        Json::Null | Json::Bool(_) | Json::Number(_) => {}
    }
}

fn visit_fields(fields: &Map<String, Json>, visit: &mut dyn FnMut(&str)) {
    for (name, value) in fields {
        visit(name);
        visit_json(value, visit);
    }
}

macro_rules! on_fixed_resource {
    ($($(#[$doc:meta])* $name:ident: $event:ident, $action:ident, $resource:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default)]
        pub struct $name;

        impl sealed::Sealed for $name {}
        impl Operation for $name {
            const EVENT: EventType = EventType::$event;
            fn action(&self) -> Action {
                Action::$action
            }
            fn resource(&self) -> Arc<Entity> {
                static RESOURCE: LazyLock<Arc<Entity>> = LazyLock::new(|| $resource.into());
                Arc::clone(&RESOURCE)
            }
        }
    )*};
}

on_fixed_resource! {
    /// See which agents and capabilities there are (`agent:list` on the gateway).
    ListAgents: Authorization, AgentList, gateway();
    /// See which tools there are (`tool:list` on the gateway); each tool is asked about by itself.
    ListTools: Authorization, ToolList, gateway();
    /// See which prompts there are (`prompt:list` on the gateway); each is asked about by itself.
    ListPrompts: Authorization, PromptList, gateway();
    /// See which resources and templates there are (`resource:list` on the gateway); each is asked about by itself.
    ListResources: Authorization, ResourceList, gateway();
    /// See which skills there are (`skill:list` on the gateway); each is asked about by itself.
    ListSkills: Authorization, SkillList, gateway();
    /// Choose which log messages servers send (`logging:set` on the gateway).
    SetLogLevel: Authorization, LoggingSet, gateway();
    /// Read the live policies (`policy:read`).
    ReadPolicies: Authorization, PolicyRead, live_policies();
    /// Ask the decision point about a request of one's own (`policy:test`).
    TestPolicies: Authorization, PolicyTest, live_policies();
    /// Read the policies again from where they are (`policy:publish`: another set may come to decide).
    ReloadPolicies: ConfigurationChange, PolicyPublish, live_policies();
    /// Read the decision log (`audit:read`).
    ReadAudit: Authorization, AuditRead, Entity::bare(EntityUid::caxton("AuditLog", "decisions"));
    /// Take records of the decision log away as a file (`audit:export`).
    ExportAudit: Authorization, AuditExport, Entity::bare(EntityUid::caxton("AuditLog", "decisions"));
    /// See which ways to prove oneself are open, and whether they work (`config:read`).
    ReadAuthStatus: Authorization, ConfigRead, Entity::bare(EntityUid::caxton("Config", "live"));
    /// Read what the gateway counts (`metrics:read`).
    ReadMetrics: Authorization, MetricsRead, Entity::bare(EntityUid::caxton("Metrics", "gateway"));
    /// End one's own session (`auth:logout`).
    EndSession: Authentication, AuthLogout, gateway();
    /// See all API keys, without their secrets (`auth:key:list`).
    ListKeys: AdminAction, AuthKeyList, gateway();
    /// End every session and every token that was made so far (`auth:session:revoke`).
    RevokeAllSessions: AdminAction, AuthSessionRevoke, gateway();
    /// See what is known of people and things (`entity:read`).
    ReadEntities: Authorization, EntityRead, entities::store();
}

/// Have an event of one's own program recorded (`audit:record`).
#[derive(Debug)]
pub struct RecordEvent {
    /// What happened, in a word of the program's own.
    pub event_type: String,
    /// Who did it, as the program says.
    pub identity: String,
    /// To what.
    pub resource: String,
    /// How it ended.
    pub outcome: String,
    /// What else the program says.
    pub metadata: Map<String, Json>,
}

impl sealed::Sealed for RecordEvent {}
impl Operation for RecordEvent {
    const EVENT: EventType = EventType::Authorization;
    fn action(&self) -> Action {
        Action::AuditRecord
    }
    fn resource(&self) -> Arc<Entity> {
        Entity::bare(EntityUid::caxton("AuditLog", "decisions")).into()
    }
    fn untrusted_text(&self, visit: &mut dyn FnMut(&str)) {
        [&self.event_type, &self.identity, &self.resource, &self.outcome]
            .into_iter()
            .for_each(|text| visit(text));
        visit_fields(&self.metadata, visit);
    }
    fn arguments(&self) -> Option<&Map<String, Json>> {
        Some(&self.metadata)
    }
}

/// Make a set of policies live (`policy:publish`).
#[derive(Debug)]
pub struct PublishPolicies {
    /// The bundle, as it came; judged when it is carried out.
    pub bundle: Json,
}

impl sealed::Sealed for PublishPolicies {}
impl Operation for PublishPolicies {
    const EVENT: EventType = EventType::ConfigurationChange;
    fn action(&self) -> Action {
        Action::PolicyPublish
    }
    fn resource(&self) -> Arc<Entity> {
        live_policies().into()
    }
}

/// Make an older set of policies live again (`policy:rollback`).
#[derive(Debug)]
pub struct RollbackPolicies {
    /// Which one, as a person names it.
    pub version: String,
    /// Why.
    pub message: String,
}

impl sealed::Sealed for RollbackPolicies {}
impl Operation for RollbackPolicies {
    const EVENT: EventType = EventType::ConfigurationChange;
    fn action(&self) -> Action {
        Action::PolicyRollback
    }
    fn resource(&self) -> Arc<Entity> {
        live_policies().into()
    }
}

/// Read one agent's definition (`agent:read`).
#[derive(Debug)]
pub struct ReadAgent {
    /// The agent, with its attributes.
    pub agent: Arc<Entity>,
}

impl sealed::Sealed for ReadAgent {}
impl Operation for ReadAgent {
    const EVENT: EventType = EventType::Authorization;
    fn action(&self) -> Action {
        Action::AgentRead
    }
    fn resource(&self) -> Arc<Entity> {
        self.agent.clone()
    }
}

/// One turn of an agent at the language model, or at its handler module (`model:call`).
#[derive(Debug)]
pub struct CallModel {
    /// The model's name, or the handler's (`handler:<file>`).
    pub model: Arc<str>,
    /// The whole request body as it will be sent.
    pub request: Json,
}

impl sealed::Sealed for CallModel {}
impl Operation for CallModel {
    const EVENT: EventType = EventType::Authorization;
    fn action(&self) -> Action {
        Action::ModelCall
    }
    fn resource(&self) -> Arc<Entity> {
        Entity::bare(EntityUid::caxton("Model", Arc::clone(&self.model))).into()
    }
    fn input(&self) -> Input {
        Input::Known(Value::record([("size", length(self.request.to_string().len()))]))
    }
    /// The system message is the agent's own definition; everything else came from outside, tool results included.
    fn untrusted_text(&self, visit: &mut dyn FnMut(&str)) {
        let messages = self.request.get("messages").and_then(Json::as_array);
        for message in messages.into_iter().flatten() {
            if message.get("role").and_then(Json::as_str) != Some("system")
                && let Some(content) = message.get("content")
            {
                visit_json(content, visit);
            }
        }
    }
}
