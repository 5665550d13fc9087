//! One struct for each thing that can be asked of the gateway. An effect takes the permit of its own operation.
//!
//! An operation owns its arguments, parsed once: what was judged is what is carried out.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Map, Value as Json};

use super::{
    Action, CapabilityName, ConversationId, Entity, EntityUid, EventType, MemoryScope, ToolId, Value,
};

mod credential;

pub use credential::{CreateKey, IssueToken, KeyFacts, RenewToken, RevokeKey, RotateKey};
mod entities;
mod http;

pub use entities::*;
pub use http::*;

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

    /// Whether it mends what is known of people and things, and so may be asked for when that is too old.
    const MENDS_ATTRIBUTES: bool = false;

    /// The literal action.
    fn action(&self) -> Action;

    /// The literal resource, with its attributes.
    fn resource(&self) -> Arc<Entity>;

    /// `context.input`, as the schema types it for this action.
    fn input(&self) -> Input {
        Input::Absent
    }

    /// Shows every piece of text that somebody outside wrote to the screens.
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
        #[derive(Debug)]
        pub struct $name;

        impl sealed::Sealed for $name {}
        impl Operation for $name {
            const EVENT: EventType = EventType::$event;
            fn action(&self) -> Action {
                Action::$action
            }
            fn resource(&self) -> Arc<Entity> {
                $resource.into()
            }
        }
    )*};
}

on_fixed_resource! {
    /// See which agents and capabilities there are (`agent:list` on the gateway).
    ListAgents: Authorization, AgentList, gateway();
    /// See which tools there are (`tool:list` on the gateway); each tool is asked about by itself.
    ListTools: Authorization, ToolList, gateway();
    /// Read the live policies (`policy:read`).
    ReadPolicies: Authorization, PolicyRead, live_policies();
    /// Ask the decision point about a request of one's own (`policy:test`).
    TestPolicies: Authorization, PolicyTest, live_policies();
    /// Read the policies again from where they are (`policy:publish`: another set may come to decide).
    ReloadPolicies: ConfigurationChange, PolicyPublish, live_policies();
    /// Read the decision log (`audit:read`).
    ReadAudit: Authorization, AuditRead, Entity::bare(EntityUid::caxton("AuditLog", "decisions"));
    /// See which ways to prove oneself are open, and whether they work (`config:read`).
    ReadAuthStatus: Authorization, ConfigRead, Entity::bare(EntityUid::caxton("Config", "live"));
    /// End one's own session (`auth:logout`).
    EndSession: Authentication, AuthLogout, gateway();
    /// See all API keys, without their secrets (`auth:key:list`).
    ListKeys: AdminAction, AuthKeyList, gateway();
    /// End every session and every token that was made so far (`auth:session:revoke`).
    RevokeAllSessions: AdminAction, AuthSessionRevoke, gateway();
    /// See what is known of people and things (`entity:read`).
    ReadEntities: Authorization, EntityRead, entities::store();
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

/// A tool as the live bundle knows it.
#[derive(Debug)]
pub struct ToolDescriptor {
    /// `<server>___<tool>`.
    pub id: ToolId,
    /// The `Caxton::Tool` entity, with hints, pin and labels.
    pub entity: Arc<Entity>,
    /// What its output carries; put on the session when a call is allowed.
    pub labels: BTreeSet<Arc<str>>,
}

/// Call a tool (`<server>___<tool>`, a member of `tool:call`).
#[derive(Debug)]
pub struct InvokeTool {
    /// The tool.
    pub tool: Arc<ToolDescriptor>,
    /// The arguments, valid under the tool's JSON Schema; these are what is sent.
    pub arguments: Map<String, Json>,
    /// The same arguments as Cedar types them.
    pub input: Value,
}

impl sealed::Sealed for InvokeTool {}
impl Operation for InvokeTool {
    const EVENT: EventType = EventType::ToolCall;
    fn action(&self) -> Action {
        Action::Tool(self.tool.id.clone())
    }
    fn resource(&self) -> Arc<Entity> {
        self.tool.entity.clone()
    }
    fn input(&self) -> Input {
        Input::Known(self.input.clone())
    }
    fn untrusted_text(&self, visit: &mut dyn FnMut(&str)) {
        visit_fields(&self.arguments, visit);
    }
    fn arguments(&self) -> Option<&Map<String, Json>> {
        Some(&self.arguments)
    }
    fn tool(&self) -> Option<&ToolDescriptor> {
        Some(&self.tool)
    }
}

/// A tool call that cannot be made: there is no such tool, or it does not take these arguments. Only ever refused.
#[derive(Debug)]
pub struct MisguidedCall {
    /// The name that was called.
    pub id: ToolId,
    /// The tool, where there is one. It is judged as if any arguments could still come, since these cannot be typed.
    pub tool: Option<Arc<ToolDescriptor>>,
}

impl sealed::Sealed for MisguidedCall {}
impl Operation for MisguidedCall {
    const EVENT: EventType = EventType::ToolCall;
    fn action(&self) -> Action {
        Action::Tool(self.id.clone())
    }
    fn resource(&self) -> Arc<Entity> {
        match &self.tool {
            Some(tool) => Arc::clone(&tool.entity),
            None => Entity::bare(EntityUid::caxton("Tool", self.id.shared())).into(),
        }
    }
    fn input(&self) -> Input {
        if self.tool.is_some() { Input::Open } else { Input::Absent }
    }
}

/// See one tool in a list: could any call of it be permitted? Releases its definition, never a call.
#[derive(Debug)]
pub struct SeeTool {
    /// The tool.
    pub tool: Arc<ToolDescriptor>,
}

impl sealed::Sealed for SeeTool {}
impl Operation for SeeTool {
    const EVENT: EventType = EventType::Authorization;
    fn action(&self) -> Action {
        Action::Tool(self.tool.id.clone())
    }
    fn resource(&self) -> Arc<Entity> {
        self.tool.entity.clone()
    }
    fn input(&self) -> Input {
        Input::Open
    }
}

/// What kind of row a memory operation is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemoryKind {
    /// A thing that is remembered.
    Entity,
    /// A statement that joins two things.
    Relation,
}

/// A row of memory as a resource: everything a policy may ask about it, and nothing of its content.
#[derive(Debug, Clone)]
pub struct MemoryRow {
    /// Whose memory it is in.
    pub scope: MemoryScope,
    /// Entity or relation.
    pub row: MemoryKind,
    /// The row's name, unique in its scope.
    pub id: Arc<str>,
    /// Who wrote it, as a Cedar name.
    pub owner: Arc<str>,
    /// What the writer calls this kind of thing (`person`, `depends_on`).
    pub kind: Arc<str>,
    /// What it carries (`pii`).
    pub labels: BTreeSet<Arc<str>>,
}

impl MemoryRow {
    /// The row as a Cedar entity. Its id carries the scope, so that equal names in two scopes stay two.
    pub fn entity(&self) -> Entity {
        let type_name = match self.row {
            MemoryKind::Entity => "MemoryEntity",
            MemoryKind::Relation => "MemoryRelation",
        };
        let uid = EntityUid::caxton(type_name, format!("{}/{}", self.scope, self.id));
        self.scope
            .mark(Entity::bare(uid))
            .with("owner", Value::text(&self.owner))
            .with("kind", Value::text(&self.kind))
            .with("labels", Value::texts(&self.labels))
            .in_parent(self.scope.uid())
    }
}

/// Store a thing in memory (`memory:write`). One that exists is overwritten, and judged with the labels and owner it has.
#[derive(Debug)]
pub struct WriteMemoryEntity {
    /// The row: the one that is there, else as it will be.
    pub row: MemoryRow,
    /// What the row will be like.
    pub kind: Arc<str>,
    /// What the row will carry.
    pub labels: BTreeSet<Arc<str>>,
    /// What is known about the thing, one observation a line.
    pub observations: Vec<String>,
}

impl sealed::Sealed for WriteMemoryEntity {}
impl Operation for WriteMemoryEntity {
    const EVENT: EventType = EventType::MemoryAccess;
    fn action(&self) -> Action {
        Action::MemoryWrite
    }
    fn resource(&self) -> Arc<Entity> {
        self.row.entity().into()
    }
    fn input(&self) -> Input {
        Input::Known(Value::record([("size", length(self.observations.iter().map(String::len).sum()))]))
    }
    fn untrusted_text(&self, visit: &mut dyn FnMut(&str)) {
        visit(&self.row.id);
        self.observations.iter().for_each(|text| visit(text));
    }
}

/// Join two things in memory (`memory:write`).
#[derive(Debug)]
pub struct WriteMemoryRelation {
    /// The relation; its id is `<from>--<kind>--<to>`.
    pub row: MemoryRow,
    /// Name of the thing it starts at, in the same scope.
    pub from: Arc<str>,
    /// Name of the thing it leads to, in the same scope.
    pub to: Arc<str>,
}

impl sealed::Sealed for WriteMemoryRelation {}
impl Operation for WriteMemoryRelation {
    const EVENT: EventType = EventType::MemoryAccess;
    fn action(&self) -> Action {
        Action::MemoryWrite
    }
    fn resource(&self) -> Arc<Entity> {
        self.row.entity().into()
    }
    fn input(&self) -> Input {
        Input::Known(Value::record([("size", length(self.row.id.len()))]))
    }
    fn untrusted_text(&self, visit: &mut dyn FnMut(&str)) {
        visit(&self.row.id);
    }
}

macro_rules! on_memory_row {
    ($($(#[$doc:meta])* $name:ident: $action:ident, $reads:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $name {
            /// The row.
            pub row: MemoryRow,
        }

        impl sealed::Sealed for $name {}
        impl Operation for $name {
            const EVENT: EventType = EventType::MemoryAccess;
            const READS: bool = $reads;
            fn action(&self) -> Action {
                Action::$action
            }
            fn resource(&self) -> Arc<Entity> {
                self.row.entity().into()
            }
        }
    )*};
}

on_memory_row! {
    /// See the content of a row (`memory:read`).
    ReadMemory: MemoryRead, true;
    /// Forget a row (`memory:delete`); relations of a forgotten thing go with it.
    DeleteMemory: MemoryDelete, false;
}

/// List the rows of a scope (`memory:read` on the scope); each row is asked about by itself.
#[derive(Debug)]
pub struct ListMemory {
    /// The scope.
    pub scope: MemoryScope,
    /// The most rows wanted.
    pub limit: u32,
}

impl sealed::Sealed for ListMemory {}
impl Operation for ListMemory {
    const EVENT: EventType = EventType::MemoryAccess;
    fn action(&self) -> Action {
        Action::MemoryRead
    }
    fn resource(&self) -> Arc<Entity> {
        self.scope.entity().into()
    }
}

/// Search a scope (`memory:search`); each hit is asked about by itself.
#[derive(Debug)]
pub struct SearchMemory {
    /// The scope.
    pub scope: MemoryScope,
    /// Words to look for; never a query language.
    pub words: String,
    /// The most hits wanted.
    pub limit: u32,
}

impl sealed::Sealed for SearchMemory {}
impl Operation for SearchMemory {
    const EVENT: EventType = EventType::MemoryAccess;
    fn action(&self) -> Action {
        Action::MemorySearch
    }
    fn resource(&self) -> Arc<Entity> {
        self.scope.entity().into()
    }
    fn input(&self) -> Input {
        Input::Known(Value::record([("limit", Value::Long(self.limit.into()))]))
    }
    fn untrusted_text(&self, visit: &mut dyn FnMut(&str)) {
        visit(&self.words);
    }
}

/// FIPA performatives (FIPA SC00037J) that the gateway routes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "FIPA's own words")]
pub enum Performative {
    Request,
    QueryRef,
    QueryIf,
    Inform,
    Propose,
    AcceptProposal,
    RejectProposal,
    Agree,
    Refuse,
    Failure,
    NotUnderstood,
    Cancel,
    Cfp,
}

impl Performative {
    /// FIPA's spelling.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::QueryRef => "query-ref",
            Self::QueryIf => "query-if",
            Self::Inform => "inform",
            Self::Propose => "propose",
            Self::AcceptProposal => "accept-proposal",
            Self::RejectProposal => "reject-proposal",
            Self::Agree => "agree",
            Self::Refuse => "refuse",
            Self::Failure => "failure",
            Self::NotUnderstood => "not-understood",
            Self::Cancel => "cancel",
            Self::Cfp => "cfp",
        }
    }
}

/// Who a message is for.
#[derive(Debug, Clone)]
pub enum Receiver {
    /// Any agent that offers this; the sender need not know which.
    Capability(CapabilityName),
    /// One agent, with its attributes.
    Agent(Arc<Entity>),
}

/// Send a message (`message:send` on a capability or an agent).
#[derive(Debug)]
pub struct SendMessage {
    /// What kind of speech act it is.
    pub performative: Performative,
    /// Which conversation it belongs to.
    pub conversation: ConversationId,
    /// Who it is for.
    pub receiver: Receiver,
    /// What it says.
    pub content: String,
}

impl sealed::Sealed for SendMessage {}
impl Operation for SendMessage {
    const EVENT: EventType = EventType::Message;
    fn action(&self) -> Action {
        Action::MessageSend
    }
    fn resource(&self) -> Arc<Entity> {
        match &self.receiver {
            Receiver::Capability(name) => Entity::bare(EntityUid::caxton("Capability", name.shared())).into(),
            Receiver::Agent(agent) => Arc::clone(agent),
        }
    }
    fn input(&self) -> Input {
        Input::Known(Value::record([
            ("performative", Value::text(self.performative.as_str())),
            ("size", length(self.content.len())),
        ]))
    }
    fn untrusted_text(&self, visit: &mut dyn FnMut(&str)) {
        visit(&self.content);
    }
}

/// Read a conversation (`message:receive`).
#[derive(Debug)]
pub struct ReadConversation {
    /// Which one.
    pub conversation: ConversationId,
    /// Who began it.
    pub owner: EntityUid,
}

impl sealed::Sealed for ReadConversation {}
impl Operation for ReadConversation {
    const EVENT: EventType = EventType::Message;
    fn action(&self) -> Action {
        Action::MessageReceive
    }
    fn resource(&self) -> Arc<Entity> {
        let typed_owner = match self.owner.type_name() {
            "Caxton::User" => Some("owner_user"),
            "Caxton::Service" => Some("owner_service"),
            "Caxton::Workload" => Some("owner_workload"),
            "Caxton::Agent" => Some("owner_agent"),
            _ => None,
        };
        let entity = Entity::bare(EntityUid::caxton("Conversation", self.conversation.shared()))
            .with("owner", Value::text(self.owner.to_string()));
        Arc::new(match typed_owner {
            Some(name) => entity.with(name, Value::Entity(self.owner.clone())),
            None => entity,
        })
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
