//! Messages to agents, by capability or by id, and the conversations they make.

use std::sync::Arc;

use axum::extract::State;
use serde::{Deserialize, Serialize};

use super::address::Path;
use super::body::StrictJson;
use super::caller::Caller;
use super::json::Json;
use super::problem::Problem;
use super::state::Api;
use crate::messages::Message;
use crate::model::{
    AgentId, CapabilityName, ConversationId, DecisionId, Performative, Receiver, SendMessage,
};

/// A FIPA envelope. The sender is who the credential proves, never what the body says.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Envelope {
    #[serde(default = "request")]
    performative: Performative,
    conversation_id: Option<ConversationId>,
    capability: Option<CapabilityName>,
    receiver: Option<AgentId>,
    content: String,
}

fn request() -> Performative {
    Performative::Request
}

#[derive(Serialize, utoipa::ToSchema)]
pub(super) struct Answered {
    conversation_id: ConversationId,
    decision_id: DecisionId,
    #[schema(value_type = Message)]
    reply: Arc<Message>,
}

pub(super) async fn send(
    State(api): State<Arc<Api>>,
    caller: Caller,
    StrictJson(envelope): StrictJson<Envelope>,
) -> Result<Json<Answered>, Problem> {
    deliver(&api, &caller, envelope).await
}

pub(super) async fn send_to_capability(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(name): Path<CapabilityName>,
    StrictJson(mut envelope): StrictJson<Envelope>,
) -> Result<Json<Answered>, Problem> {
    if envelope.capability.replace(name).is_some() || envelope.receiver.is_some() {
        return Err(Problem::invalid("the path names the capability: leave `capability` and `receiver` out"));
    }
    deliver(&api, &caller, envelope).await
}

async fn deliver(api: &Api, caller: &Caller, envelope: Envelope) -> Result<Json<Answered>, Problem> {
    let receiver = match (envelope.capability, envelope.receiver) {
        (Some(capability), None) => Receiver::Capability(capability),
        (None, Some(id)) => Receiver::Agent(api.effects.agents().entity(&id)),
        _ => return Err(Problem::invalid("name either a `capability` or a `receiver`")),
    };
    let conversation = match envelope.conversation_id {
        Some(id) => id,
        None => ConversationId::parse(uuid::Uuid::now_v7().to_string()).map_err(|_| Problem::internal())?,
    };
    let message = SendMessage {
        performative: envelope.performative,
        conversation,
        receiver,
        candidates: Vec::new(),
        chosen: None,
        content: envelope.content,
    };
    let (delivery, agent) = api.effects.send(caller.asker(), message).await?;
    let (conversation_id, decision_id) = (delivery.conversation().clone(), delivery.decision);
    let reply = api.runtime.converse(delivery, &agent, &caller.subject, &caller.context).await?;
    Ok(Json(Answered { conversation_id, decision_id, reply }))
}

#[derive(Serialize, utoipa::ToSchema)]
pub(super) struct Conversation {
    conversation_id: ConversationId,
    #[schema(value_type = Vec<Message>)]
    messages: Vec<Arc<Message>>,
}

/// One of the caller's own conversations.
pub(super) async fn conversation(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(id): Path<ConversationId>,
) -> Result<Json<Conversation>, Problem> {
    let messages = api.effects.read_conversation(caller.asker(), id.clone()).await?;
    Ok(Json(Conversation { conversation_id: id, messages }))
}
