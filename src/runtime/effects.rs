//! Every effect a caller or an agent can have, each as one function: ask the guard, then spend the permit.
//!
//! The web and the agents call the same functions, so there is one place for each kind of access.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Map, Value as Json};

use crate::agents::{Agent, Register};
use crate::authz::{Denied, Guard, Refusal};
use crate::limit::CapabilityLimits;
use crate::memory::{EntityView, Memory, MemoryError, MemoryView, RelationView, relation_id};
use crate::messages::{Conversations, Delivery, Message, MessageError};
use crate::model::{
    AgentId, ConversationId, DecisionId, DeleteMemory, InvalidToolCall, ListMemory, ListTools, MemoryKind,
    MemoryRow, MemoryScope, Performative, ReadConversation, ReadMemory, ReadOffered, ReasonCode,
    ReceiveReply, Receiver, RequestContext, SearchMemory, SeeTool, SendMessage, ServerName, Subject, ToolId,
    WriteMemoryEntity, WriteMemoryRelation,
};
use crate::shared_state::Unavailable;
use crate::telemetry::Stage;
use crate::tools::{
    Answered, ArgumentError, CallOptions, ConnectionError, Listing, PrepareError, Registry, Tool, ToolError,
    ToolResult,
};

/// Why an operation had no effect.
#[derive(Debug, thiserror::Error)]
pub enum EffectError {
    /// The guard refused.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// Memory refused or failed.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// The arguments are not what the tool takes; the refusal is on record.
    #[error("{error}")]
    Arguments {
        /// The decision on record.
        decision: Option<DecisionId>,
        /// The fault in them.
        #[source]
        error: ArgumentError,
    },
    /// The tool failed.
    #[error("the call was allowed and failed: {error}")]
    Tool {
        /// The decision on record.
        decision: DecisionId,
        /// The error of the tool or of its server.
        #[source]
        error: ToolError,
    },
    /// The account was not connected, or the connection not ended.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    /// The message could not be taken.
    #[error(transparent)]
    Message(#[from] MessageError),
    /// A limit that gateways share cannot be asked: the message is refused.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// There is nothing of that name that this caller may see.
    #[error("there is no {0} of that name")]
    NotFound(&'static str),
}

/// The parts of [`Effects`].
pub struct EffectsParts {
    /// Decides about every operation.
    pub guard: Arc<Guard>,
    /// The memory of agents.
    pub memory: Memory,
    /// The tools and their servers.
    pub tools: Registry,
    /// The open conversations.
    pub conversations: Conversations,
    /// The agents in force.
    pub agents: Register,
    /// Rate limits of messages to capabilities.
    pub capabilities: CapabilityLimits,
}

/// The policy enforcement point of the API and of agents: one function for each effect, which asks the guard and spends the
/// permit.
pub struct Effects {
    guard: Arc<Guard>,
    memory: Memory,
    tools: Registry,
    conversations: Conversations,
    agents: Register,
    capabilities: CapabilityLimits,
}

/// An entity to write to memory, as a caller gives it.
#[derive(Debug)]
pub struct NewEntity {
    /// Its name, unique in the scope.
    pub name: String,
    /// Its kind.
    pub kind: String,
    /// Its labels.
    pub labels: BTreeSet<Arc<str>>,
    /// Observations about it.
    pub observations: Vec<String>,
}

/// A relation to write to memory.
#[derive(Debug)]
pub struct NewRelation {
    /// The name of the entity at which it starts.
    pub from: String,
    /// The kind of relation.
    pub kind: String,
    /// The name of the entity to which it leads.
    pub to: String,
    /// Its labels.
    pub labels: BTreeSet<Arc<str>>,
}

/// A call of a tool, as a caller gives it.
#[derive(Debug, Default)]
pub struct ToolCall {
    /// The arguments.
    pub arguments: Map<String, Json>,
    /// The other parameters of the request (`_meta` among them), for the tool's server.
    pub rest: Map<String, Json>,
    /// How it is carried out.
    pub options: CallOptions,
}

/// A tool that the caller may see.
pub type VisibleTool = Arc<Tool>;

pub(super) type Caller<'a> = (&'a Arc<Subject>, &'a Arc<RequestContext>);

impl Effects {
    /// The effects over these parts.
    pub fn new(parts: EffectsParts) -> Self {
        let EffectsParts { guard, memory, tools, conversations, agents, capabilities } = parts;
        Self { guard, memory, tools, conversations, agents, capabilities }
    }

    /// The guard, for operations that have no effect owner of their own.
    pub fn guard(&self) -> &Arc<Guard> {
        &self.guard
    }

    /// The register of agents.
    pub fn agents(&self) -> &Register {
        &self.agents
    }

    /// The tool registry.
    pub fn tools(&self) -> &Registry {
        &self.tools
    }

    /// Conversations.
    pub fn conversations(&self) -> &Conversations {
        &self.conversations
    }

    /// The tools of which some call could be permitted to the caller.
    pub async fn list_tools(&self, (subject, context): Caller<'_>) -> Result<Vec<VisibleTool>, EffectError> {
        let listing = self.guard.admit(subject, ListTools, context).await?.listing();
        let known = self.tools.tools();
        let items = known.iter().map(|tool| SeeTool { tool: Arc::clone(tool.descriptor()) }).collect();
        let seen = self.guard.admit_each(&listing, items).await?;
        let seen = seen.into_iter().filter_map(|permit| self.tools.get(&permit.into_operation().tool.id));
        Ok(seen.collect())
    }

    /// The tools that a server offers to the caller, approved or not: for who approves them.
    pub async fn offered_to(
        &self,
        (subject, context): Caller<'_>,
        server: ServerName,
    ) -> Result<Listing, EffectError> {
        let permit = self.guard.admit(subject, ReadOffered { server }, context).await?;
        let decision = permit.decision();
        let asked = self.tools.offered_to(permit).await.ok_or(EffectError::NotFound("server"))?;
        asked.map_err(|error| EffectError::Tool { decision, error })
    }

    /// Calls a tool for a caller that answers no questions of its server.
    pub async fn call_tool(
        &self,
        caller: Caller<'_>,
        id: &ToolId,
        arguments: Map<String, Json>,
    ) -> Result<(ToolResult, DecisionId), EffectError> {
        match self.call_tool_in_rounds(caller, id, ToolCall { arguments, ..ToolCall::default() }).await? {
            (Answered::Complete(result), decision) => Ok((result, decision)),
            (Answered::InputRequired(_) | Answered::Task(_), decision) => {
                let error = ToolError::NeedsMore { tool: id.clone() };
                Err(EffectError::Tool { decision, error })
            }
        }
    }

    /// Calls a tool. Its server may want answers of the client first.
    pub async fn call_tool_in_rounds(
        &self,
        (subject, context): Caller<'_>,
        id: &ToolId,
        call: ToolCall,
    ) -> Result<(Answered<ToolResult>, DecisionId), EffectError> {
        let ToolCall { arguments, rest, options } = call;
        let mut operation = match self.tools.prepare(id, arguments) {
            Ok(operation) => operation,
            Err(error) => return Err(self.refuse_call((subject, context), id, error).await),
        };
        operation.rest = rest;
        let permit = self.guard.admit(subject, operation, context).await.map_err(hide_existence)?;
        let decision = permit.decision();
        let span = context.span.execute_tool(id.as_str());
        let called = self.tools.call(permit, options).await;
        if called.is_err() {
            span.failed("tool_error");
        }
        drop(span);
        let mut result = called.map_err(|error| EffectError::Tool { decision, error })?;
        if let Answered::Task(task) = &mut result {
            // Its result comes later, perhaps into another session: what was read for it comes along.
            let labels = self.guard.labels(subject, context).await?;
            task.labels = labels.iter().map(ToString::to_string).collect();
        }
        Ok((result, decision))
    }

    /// Records a call that cannot be made. Only callers that may call the tool learn what is wrong with it.
    async fn refuse_call(
        &self,
        (subject, context): Caller<'_>,
        id: &ToolId,
        error: PrepareError,
    ) -> EffectError {
        let (reason, fault) = match error {
            PrepareError::Arguments(fault) => (ReasonCode::ArgumentsInvalid, Some(fault)),
            PrepareError::ToolUnknown(_) | PrepareError::Drifted(_) => (ReasonCode::ToolUnknown, None),
        };
        let tool = self.tools.get(id).map(|tool| Arc::clone(tool.descriptor()));
        let operation = InvalidToolCall { id: id.clone(), tool };
        let denied = self.guard.refuse(subject, &operation, Refusal::because(reason), context).await;
        match fault {
            Some(error) if denied.reason == reason => {
                EffectError::Arguments { decision: denied.decision, error }
            }
            _ => hide_existence(denied).into(),
        }
    }

    /// Writes an entity. The guard judges an existing one with its present attributes; it keeps its owner.
    pub async fn write_entity(
        &self,
        (subject, context): Caller<'_>,
        scope: MemoryScope,
        new: NewEntity,
    ) -> Result<(EntityView, DecisionId), EffectError> {
        let kind: Arc<str> = new.kind.into();
        let mut labels = new.labels;
        // What the writer has read may be in what it writes.
        labels.extend(self.guard.labels(subject, context).await?);
        let row = match self.memory.row(&scope, MemoryKind::Entity, &new.name).await? {
            Some(row) => {
                // Writing over an entity does not remove its labels.
                labels.extend(row.labels.iter().cloned());
                row
            }
            None => MemoryRow {
                scope,
                row: MemoryKind::Entity,
                id: new.name.into(),
                owner: subject.principal().to_string().into(),
                kind: Arc::clone(&kind),
                labels: labels.clone(),
            },
        };
        let operation = WriteMemoryEntity { row, kind, labels, observations: new.observations };
        let permit = self.guard.admit(subject, operation, context).await?;
        let decision = permit.decision();
        let _span = context.span.stage(Stage::Effect);
        Ok((self.memory.write_entity(permit).await?, decision))
    }

    /// Writes a relation between two entities.
    pub async fn write_relation(
        &self,
        (subject, context): Caller<'_>,
        scope: MemoryScope,
        new: NewRelation,
    ) -> Result<(RelationView, DecisionId), EffectError> {
        let id = relation_id(&new.from, &new.kind, &new.to);
        let row = match self.memory.row(&scope, MemoryKind::Relation, &id).await? {
            Some(row) => row,
            None => MemoryRow {
                scope,
                row: MemoryKind::Relation,
                id,
                owner: subject.principal().to_string().into(),
                kind: new.kind.into(),
                labels: new.labels.into_iter().chain(self.guard.labels(subject, context).await?).collect(),
            },
        };
        let operation = WriteMemoryRelation { row, from: new.from.into(), to: new.to.into() };
        let permit = self.guard.admit(subject, operation, context).await?;
        let decision = permit.decision();
        let _span = context.span.stage(Stage::Effect);
        Ok((self.memory.write_relation(permit).await?, decision))
    }

    /// Reads one entity. For one that does not exist the guard is asked all the same, so that a caller who may not read it
    /// does not learn that it does not exist.
    pub async fn read_entity(
        &self,
        (subject, context): Caller<'_>,
        scope: MemoryScope,
        name: &str,
    ) -> Result<EntityView, EffectError> {
        let row = self.row_or_placeholder(scope, name).await?;
        let permit = self.guard.admit(subject, ReadMemory { row }, context).await?;
        let _span = context.span.stage(Stage::Effect);
        match self.memory.read(permit).await? {
            MemoryView::Entity(entity) => Ok(entity),
            MemoryView::Relation(_) => Err(EffectError::NotFound("entity")),
        }
    }

    /// Deletes one entity.
    pub async fn delete_entity(
        &self,
        (subject, context): Caller<'_>,
        scope: MemoryScope,
        name: &str,
    ) -> Result<DecisionId, EffectError> {
        let row = self.row_or_placeholder(scope, name).await?;
        let permit = self.guard.admit(subject, DeleteMemory { row }, context).await?;
        let decision = permit.decision();
        let _span = context.span.stage(Stage::Effect);
        self.memory.delete(permit).await?;
        Ok(decision)
    }

    async fn row_or_placeholder(&self, scope: MemoryScope, name: &str) -> Result<MemoryRow, EffectError> {
        Ok(match self.memory.row(&scope, MemoryKind::Entity, name).await? {
            Some(row) => row,
            None => MemoryRow {
                scope,
                row: MemoryKind::Entity,
                id: name.into(),
                owner: "".into(),
                kind: "".into(),
                labels: BTreeSet::new(),
            },
        })
    }

    /// Searches a scope; only hits that the caller may read come back.
    pub async fn search(
        &self,
        (subject, context): Caller<'_>,
        scope: MemoryScope,
        words: String,
        limit: u32,
    ) -> Result<Vec<EntityView>, EffectError> {
        let permit = self.guard.admit(subject, SearchMemory { scope, words, limit }, context).await?;
        let listing = permit.listing();
        let _span = context.span.stage(Stage::Effect);
        let found = self.memory.search(permit).await?;
        let permits = self.guard.admit_each(&listing, found.operations()).await?;
        Ok(found.release(permits))
    }

    /// Lists a scope; only rows that the caller may read come back.
    pub async fn list_entities(
        &self,
        (subject, context): Caller<'_>,
        scope: MemoryScope,
        limit: u32,
    ) -> Result<Vec<EntityView>, EffectError> {
        let permit = self.guard.admit(subject, ListMemory { scope, limit }, context).await?;
        let listing = permit.listing();
        let _span = context.span.stage(Stage::Effect);
        let found = self.memory.list(permit).await?;
        let permits = self.guard.admit_each(&listing, found.operations()).await?;
        Ok(found.release(permits))
    }

    /// Accepts a message and routes it.
    pub async fn send(
        &self,
        (subject, context): Caller<'_>,
        mut message: SendMessage,
    ) -> Result<(Delivery, Arc<Agent>), EffectError> {
        let receivers = match &message.receiver {
            Receiver::Capability(name) => {
                let providers = self.agents.providers(name);
                message.candidates = providers.iter().map(|agent| Arc::clone(agent.entity())).collect();
                providers
            }
            Receiver::Agent(agent) => {
                let known = AgentId::parse(agent.uid.id()).ok().and_then(|id| self.agents.get(&id));
                known.into_iter().collect()
            }
        };
        if receivers.is_empty() {
            let refusal = Refusal::because(ReasonCode::ReceiverUnknown);
            return Err(self.guard.refuse(subject, &message, refusal, context).await.into());
        }
        if let Receiver::Capability(name) = &message.receiver
            && let Err(limited) = self.capabilities.check(name, subject.principal()).await?
        {
            let refusal = Refusal::limited(limited.retry_after);
            return Err(self.guard.refuse(subject, &message, refusal, context).await.into());
        }
        if let [receiver] = receivers.as_slice()
            && let Err(limited) = receiver.check_rate(subject.principal()).await?
        {
            let refusal = Refusal::limited(limited.retry_after);
            return Err(self.guard.refuse(subject, &message, refusal, context).await.into());
        }
        let permit = self.guard.admit(subject, message, context).await?;
        let taken_by = permit.operation().taken_by().map(|agent| agent.uid.clone());
        let receiver = receivers.iter().find(|agent| Some(&agent.entity().uid) == taken_by.as_ref());
        let receiver = receiver.ok_or(EffectError::NotFound("agent"))?;
        if receivers.len() > 1
            && let Err(limited) = receiver.check_rate(subject.principal()).await?
        {
            let refusal = Refusal::limited(limited.retry_after);
            return Err(self.guard.refuse(subject, permit.operation(), refusal, context).await.into());
        }
        // What the sender has read may be in what it says.
        let labels = self.guard.labels(subject, context).await?;
        let _span = context.span.stage(Stage::Effect);
        Ok((self.conversations.accept(permit, receiver.id(), labels).await?, Arc::clone(receiver)))
    }

    /// Puts the labels of a conversation on the session of the agent that reads it.
    ///
    /// # Errors
    /// The agent's session has no room for them: it must not see the conversation. That is on record.
    pub async fn show(&self, (subject, context): Caller<'_>, delivery: &Delivery) -> Result<(), EffectError> {
        if self.guard.carry(subject, context, &delivery.labels).await? {
            return Ok(());
        }
        let operation = ReadConversation {
            conversation: delivery.conversation().clone(),
            owner: delivery.owner().clone(),
            labels: delivery.labels.clone(),
        };
        let refusal = Refusal::because(ReasonCode::LabelsFull);
        Err(self.guard.refuse(subject, &operation, refusal, context).await.into())
    }

    /// Puts an agent's reply into its conversation, with what the agent has read, and hands it to the sender, if it may
    /// receive it: its session carries the labels from then on.
    ///
    /// # Errors
    /// The sender may not receive it, its session has no room for the labels, or the conversation is full.
    pub async fn reply(
        &self,
        delivery: Delivery,
        (performative, content): (Performative, String),
        agent: Caller<'_>,
        (subject, context): Caller<'_>,
    ) -> Result<Arc<Message>, EffectError> {
        let operation = ReceiveReply {
            conversation: delivery.conversation().clone(),
            owner: delivery.owner().clone(),
            labels: self.guard.labels(agent.0, agent.1).await?,
        };
        let permit = self.guard.admit(subject, operation, context).await?;
        let _span = context.span.stage(Stage::Effect);
        Ok(self.conversations.reply(permit, delivery, performative, content).await?)
    }

    /// Reads one of the caller's own conversations.
    pub async fn read_conversation(
        &self,
        (subject, context): Caller<'_>,
        conversation: ConversationId,
    ) -> Result<Vec<Arc<Message>>, EffectError> {
        let owner = subject.principal().clone();
        let labels = self.conversations.labels(&owner, &conversation).await?;
        let operation = ReadConversation { conversation, owner, labels };
        let permit = self.guard.admit(subject, operation, context).await?;
        let _span = context.span.stage(Stage::Effect);
        self.conversations.read(permit).await?.ok_or(EffectError::NotFound("conversation"))
    }
}

/// A caller who may not call a tool does not learn whether it exists.
fn hide_existence(mut denied: Denied) -> Denied {
    if matches!(denied.reason, ReasonCode::NoPermit | ReasonCode::ToolUnknown) {
        denied.caller_text = Some("there is no such tool, or you may not call it".into());
    }
    denied
}
