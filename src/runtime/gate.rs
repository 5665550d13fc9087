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
use crate::messages::{Delivery, Line, MessageError, Switchboard};
use crate::model::{
    AgentId, ConversationId, DecisionId, DeleteMemory, InvalidToolCall, ListMemory, ListTools, MemoryKind,
    MemoryRow, MemoryScope, Performative, ReadConversation, ReadMemory, ReasonCode, ReceiveReply, Receiver,
    RequestContext, SearchMemory, SeeTool, SendMessage, Subject, ToolId, WriteMemoryEntity,
    WriteMemoryRelation,
};
use crate::tools::{ArgumentError, PrepareError, Registry, Tool, ToolError, ToolResult};

/// Why there was no effect.
#[derive(Debug, thiserror::Error)]
pub enum GateError {
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
        /// What is wrong with them.
        #[source]
        error: ArgumentError,
    },
    /// The tool failed.
    #[error("the call was allowed and failed: {error}")]
    Tool {
        /// The decision on record.
        decision: DecisionId,
        /// What happened.
        #[source]
        error: ToolError,
    },
    /// The message could not be taken.
    #[error(transparent)]
    Message(#[from] MessageError),
    /// There is nothing of that name, for this caller.
    #[error("there is no {0} of that name")]
    NotFound(&'static str),
}

/// What the gate is built from.
pub struct GateParts {
    /// Decides.
    pub guard: Arc<Guard>,
    /// Remembers.
    pub memory: Memory,
    /// Calls.
    pub tools: Registry,
    /// Keeps conversations.
    pub switchboard: Switchboard,
    /// Knows the agents.
    pub agents: Register,
    /// Counts messages to capabilities.
    pub capabilities: CapabilityLimits,
}

/// The one way to effects for those who face callers and agents.
pub struct Gate {
    guard: Arc<Guard>,
    memory: Memory,
    tools: Registry,
    switchboard: Switchboard,
    agents: Register,
    capabilities: CapabilityLimits,
}

/// A thing to remember, as a caller gives it.
#[derive(Debug)]
pub struct NewEntity {
    /// Its name, unique in the scope.
    pub name: String,
    /// What kind of thing it is.
    pub kind: String,
    /// What it carries.
    pub labels: BTreeSet<Arc<str>>,
    /// What is known about it.
    pub observations: Vec<String>,
}

/// A relation to remember.
#[derive(Debug)]
pub struct NewRelation {
    /// Where it starts.
    pub from: String,
    /// What it says.
    pub kind: String,
    /// Where it leads.
    pub to: String,
    /// What it carries.
    pub labels: BTreeSet<Arc<str>>,
}

/// A tool that the caller may see.
pub type SeenTool = Arc<Tool>;

type Asker<'a> = (&'a Arc<Subject>, &'a Arc<RequestContext>);

impl Gate {
    /// Puts the gate together.
    pub fn new(parts: GateParts) -> Self {
        let GateParts { guard, memory, tools, switchboard, agents, capabilities } = parts;
        Self { guard, memory, tools, switchboard, agents, capabilities }
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
    pub fn switchboard(&self) -> &Switchboard {
        &self.switchboard
    }

    /// The tools of which some call could be permitted to the caller.
    pub async fn list_tools(&self, (subject, context): Asker<'_>) -> Result<Vec<SeenTool>, GateError> {
        let listing = self.guard.admit(subject, ListTools, context).await?.listing();
        let known = self.tools.tools();
        let items = known.iter().map(|tool| SeeTool { tool: Arc::clone(tool.descriptor()) }).collect();
        let seen = self.guard.admit_each(&listing, items).await?;
        let seen = seen.into_iter().filter_map(|permit| self.tools.get(&permit.into_operation().tool.id));
        Ok(seen.collect())
    }

    /// Calls a tool.
    pub async fn call_tool(
        &self,
        (subject, context): Asker<'_>,
        id: &ToolId,
        arguments: Map<String, Json>,
    ) -> Result<(ToolResult, DecisionId), GateError> {
        let operation = match self.tools.prepare(id, arguments) {
            Ok(operation) => operation,
            Err(error) => return Err(self.refuse_call((subject, context), id, error).await),
        };
        let permit = self.guard.admit(subject, operation, context).await.map_err(as_if_there_were_none)?;
        let decision = permit.decision();
        let result = self.tools.call(permit).await.map_err(|error| GateError::Tool { decision, error })?;
        Ok((result, decision))
    }

    /// A call that cannot be made: on record, and explained to those who may call the tool at all.
    async fn refuse_call(
        &self,
        (subject, context): Asker<'_>,
        id: &ToolId,
        error: PrepareError,
    ) -> GateError {
        let (reason, fault) = match error {
            PrepareError::Arguments(fault) => (ReasonCode::ArgumentsInvalid, Some(fault)),
            PrepareError::ToolUnknown(_) | PrepareError::Drifted(_) => (ReasonCode::ToolUnknown, None),
        };
        let tool = self.tools.get(id).map(|tool| Arc::clone(tool.descriptor()));
        let operation = InvalidToolCall { id: id.clone(), tool };
        let denied = self.guard.refuse(subject, &operation, Refusal::because(reason), context).await;
        match fault {
            Some(error) if denied.reason == reason => {
                GateError::Arguments { decision: denied.decision, error }
            }
            _ => as_if_there_were_none(denied).into(),
        }
    }

    /// Remembers a thing. One that exists is judged as it is, and keeps its owner.
    pub async fn write_entity(
        &self,
        (subject, context): Asker<'_>,
        scope: MemoryScope,
        new: NewEntity,
    ) -> Result<(EntityView, DecisionId), GateError> {
        let kind: Arc<str> = new.kind.into();
        let mut labels = new.labels;
        // What the writer has read may be in what it writes.
        labels.extend(self.guard.labels(subject, context));
        let row = match self.memory.row(&scope, MemoryKind::Entity, &new.name).await? {
            Some(row) => {
                // What a thing carries is not shed by writing over it.
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
        Ok((self.memory.write_entity(permit).await?, decision))
    }

    /// Joins two things.
    pub async fn write_relation(
        &self,
        (subject, context): Asker<'_>,
        scope: MemoryScope,
        new: NewRelation,
    ) -> Result<(RelationView, DecisionId), GateError> {
        let id = relation_id(&new.from, &new.kind, &new.to);
        let row = match self.memory.row(&scope, MemoryKind::Relation, &id).await? {
            Some(row) => row,
            None => MemoryRow {
                scope,
                row: MemoryKind::Relation,
                id,
                owner: subject.principal().to_string().into(),
                kind: new.kind.into(),
                labels: new.labels.into_iter().chain(self.guard.labels(subject, context)).collect(),
            },
        };
        let operation = WriteMemoryRelation { row, from: new.from.into(), to: new.to.into() };
        let permit = self.guard.admit(subject, operation, context).await?;
        let decision = permit.decision();
        Ok((self.memory.write_relation(permit).await?, decision))
    }

    /// Reads one thing. A thing that is not there is asked about as if it were: who may not read it does not learn
    /// that it does not exist.
    pub async fn read_entity(
        &self,
        (subject, context): Asker<'_>,
        scope: MemoryScope,
        name: &str,
    ) -> Result<EntityView, GateError> {
        let row = self.row_or_shadow(scope, name).await?;
        let permit = self.guard.admit(subject, ReadMemory { row }, context).await?;
        match self.memory.read(permit).await? {
            MemoryView::Entity(entity) => Ok(entity),
            MemoryView::Relation(_) => Err(GateError::NotFound("entity")),
        }
    }

    /// Forgets one thing.
    pub async fn delete_entity(
        &self,
        (subject, context): Asker<'_>,
        scope: MemoryScope,
        name: &str,
    ) -> Result<DecisionId, GateError> {
        let row = self.row_or_shadow(scope, name).await?;
        let permit = self.guard.admit(subject, DeleteMemory { row }, context).await?;
        let decision = permit.decision();
        self.memory.delete(permit).await?;
        Ok(decision)
    }

    async fn row_or_shadow(&self, scope: MemoryScope, name: &str) -> Result<MemoryRow, GateError> {
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
        (subject, context): Asker<'_>,
        scope: MemoryScope,
        words: String,
        limit: u32,
    ) -> Result<Vec<EntityView>, GateError> {
        let permit = self.guard.admit(subject, SearchMemory { scope, words, limit }, context).await?;
        let listing = permit.listing();
        let found = self.memory.search(permit).await?;
        let permits = self.guard.admit_each(&listing, found.operations()).await?;
        Ok(found.release(permits))
    }

    /// Lists a scope; only rows that the caller may read come back.
    pub async fn list_entities(
        &self,
        (subject, context): Asker<'_>,
        scope: MemoryScope,
        limit: u32,
    ) -> Result<Vec<EntityView>, GateError> {
        let permit = self.guard.admit(subject, ListMemory { scope, limit }, context).await?;
        let listing = permit.listing();
        let found = self.memory.list(permit).await?;
        let permits = self.guard.admit_each(&listing, found.operations()).await?;
        Ok(found.release(permits))
    }

    /// Takes a message in and routes it.
    pub async fn send(
        &self,
        (subject, context): Asker<'_>,
        mut message: SendMessage,
    ) -> Result<(Delivery, Arc<Agent>), GateError> {
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
            && let Err(limited) = self.capabilities.check(name, subject.principal())
        {
            let refusal = Refusal::limited(limited.retry_after);
            return Err(self.guard.refuse(subject, &message, refusal, context).await.into());
        }
        if let [receiver] = receivers.as_slice()
            && let Err(limited) = receiver.check_rate(subject.principal())
        {
            let refusal = Refusal::limited(limited.retry_after);
            return Err(self.guard.refuse(subject, &message, refusal, context).await.into());
        }
        let permit = self.guard.admit(subject, message, context).await?;
        let taken_by = permit.operation().taken_by().map(|agent| agent.uid.clone());
        let receiver = receivers.iter().find(|agent| Some(&agent.entity().uid) == taken_by.as_ref());
        let receiver = receiver.ok_or(GateError::NotFound("agent"))?;
        if receivers.len() > 1
            && let Err(limited) = receiver.check_rate(subject.principal())
        {
            let refusal = Refusal::limited(limited.retry_after);
            return Err(self.guard.refuse(subject, permit.operation(), refusal, context).await.into());
        }
        // What the sender has read may be in what it says.
        let labels = self.guard.labels(subject, context);
        Ok((self.switchboard.accept(permit, receiver.id(), labels)?, Arc::clone(receiver)))
    }

    /// Puts the labels of a conversation on the session of the agent that reads it.
    ///
    /// # Errors
    /// The agent's session has no room for them: it must not see the conversation. That is on record.
    pub async fn show(&self, (subject, context): Asker<'_>, delivery: &Delivery) -> Result<(), GateError> {
        if self.guard.carry(subject, context, &delivery.labels) {
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
        agent: Asker<'_>,
        (subject, context): Asker<'_>,
    ) -> Result<Arc<Line>, GateError> {
        let operation = ReceiveReply {
            conversation: delivery.conversation().clone(),
            owner: delivery.owner().clone(),
            labels: self.guard.labels(agent.0, agent.1),
        };
        let permit = self.guard.admit(subject, operation, context).await?;
        Ok(self.switchboard.reply(permit, delivery, performative, content)?)
    }

    /// Reads one of the caller's own conversations.
    pub async fn read_conversation(
        &self,
        (subject, context): Asker<'_>,
        conversation: ConversationId,
    ) -> Result<Vec<Arc<Line>>, GateError> {
        let owner = subject.principal().clone();
        let labels = self.switchboard.labels(&owner, &conversation);
        let operation = ReadConversation { conversation, owner, labels };
        let permit = self.guard.admit(subject, operation, context).await?;
        self.switchboard.read(permit).ok_or(GateError::NotFound("conversation"))
    }
}

/// Who may not call a tool does not learn whether there is one.
fn as_if_there_were_none(mut denied: Denied) -> Denied {
    if matches!(denied.reason, ReasonCode::NoPermit | ReasonCode::ToolUnknown) {
        denied.caller_text = Some("there is no such tool, or you may not call it".into());
    }
    denied
}
