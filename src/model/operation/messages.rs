//! What is asked of conversations: to say something, and to read what was said.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::sealed;
use super::{Action, Entity, EntityUid, EventType, Input, Operation, Value, length};
use crate::model::{CapabilityName, ConversationId};

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
    /// The agents that could take a message to a capability, the next in turn first; none for a message to one agent.
    pub candidates: Vec<Arc<Entity>>,
    /// Which of them takes it; told by the guard.
    pub chosen: Option<usize>,
    /// What it says.
    pub content: String,
}

impl SendMessage {
    /// The agent that takes the message, once the guard has allowed it.
    pub fn taken_by(&self) -> Option<&Arc<Entity>> {
        match &self.receiver {
            Receiver::Agent(agent) => Some(agent),
            Receiver::Capability(_) => self.candidates.get(self.chosen?),
        }
    }
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
        let capability = match &self.receiver {
            Receiver::Capability(name) => Some(("capability", Value::String(name.shared()))),
            Receiver::Agent(_) => None,
        };
        let fields =
            [("performative", Value::text(self.performative.as_str())), ("size", length(self.content.len()))];
        Input::Known(Value::record(capability.into_iter().chain(fields)))
    }
    fn candidates(&self) -> &[Arc<Entity>] {
        &self.candidates
    }
    fn choose(&mut self, candidate: usize) {
        self.chosen = Some(candidate);
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
    /// The principal that began it.
    pub owner: EntityUid,
    /// The labels of what was said in it.
    pub labels: BTreeSet<Arc<str>>,
}

/// Receive the reply to a message of one's own (`message:receive` on its conversation).
#[derive(Debug)]
pub struct ReceiveReply {
    /// The conversation.
    pub conversation: ConversationId,
    /// The principal that began it, which receives the reply.
    pub owner: EntityUid,
    /// The labels on the session of the agent that replies: what it has read may be in the reply.
    pub labels: BTreeSet<Arc<str>>,
}

/// `message:receive` on a conversation, with the labels of what is received. Two types, so that the permit of one is not spent
/// for the other.
macro_rules! receives {
    ($($operation:ident),*) => {$(
        impl sealed::Sealed for $operation {}
        impl Operation for $operation {
            const EVENT: EventType = EventType::Message;
            const READS: bool = true;
            fn action(&self) -> Action {
                Action::MessageReceive
            }
            fn resource(&self) -> Arc<Entity> {
                conversation(&self.conversation, &self.owner, &self.labels)
            }
        }
    )*};
}

receives!(ReadConversation, ReceiveReply);

fn conversation(id: &ConversationId, owner: &EntityUid, labels: &BTreeSet<Arc<str>>) -> Arc<Entity> {
    let entity = Entity::bare(EntityUid::caxton("Conversation", id.shared()));
    entity.with("labels", Value::texts(labels)).owned_by(owner).into()
}
