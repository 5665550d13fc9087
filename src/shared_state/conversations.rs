//! Conversations: the messages of callers and agents, under the principal who began them.

mod local;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::{Labels, PortFuture};
use crate::model::{ConversationId, DecisionId, Performative};

pub use local::LocalConversations;

/// Bounds of conversations.
#[derive(Debug, Clone)]
pub struct ConversationSettings {
    /// The longest content, in bytes. Default 1 MiB.
    pub max_message_bytes: usize,
    /// A conversation without a message for this long is removed. Default 30 minutes.
    pub conversation_timeout: Duration,
    /// The most messages in one conversation. Default 100.
    pub max_messages: usize,
    /// The most conversations. Default 10,000.
    pub max_conversations: usize,
    /// The most conversations of one sender. Default 100.
    pub max_conversations_per_sender: usize,
    /// Bytes of content in the conversations of one sender. Default 16 MiB.
    pub max_bytes_per_sender: usize,
    /// Bytes of content in all conversations. Default 256 MiB.
    pub max_bytes: usize,
}

impl Default for ConversationSettings {
    fn default() -> Self {
        Self {
            max_message_bytes: 1024 * 1024,
            conversation_timeout: Duration::from_secs(30 * 60),
            max_messages: 100,
            max_conversations: 10_000,
            max_conversations_per_sender: 100,
            max_bytes_per_sender: 16 * 1024 * 1024,
            max_bytes: 256 * 1024 * 1024,
        }
    }
}

/// Which bound has no room for a message. Each can be corrected by the sender, or passes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConversationLimit {
    /// The conversation has as many messages as are allowed.
    #[error("the conversation has {limit} messages, the most allowed: begin another")]
    ConversationFull {
        /// Messages allowed.
        limit: usize,
    },
    /// The sender is over its share of conversations or of their bytes.
    #[error(
        "the limit of open conversations per sender is reached ({limit}): continue one of them, or wait until one ends"
    )]
    TooMany {
        /// Conversations or bytes allowed, in words.
        limit: String,
    },
    /// There are too many conversations of all senders.
    #[error("there are too many open conversations: try again later")]
    Busy,
}

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Message {
    /// RFC 3339, UTC.
    pub time: String,
    /// The speech act (FIPA performative).
    pub performative: Performative,
    /// The sender, in Cedar's notation.
    pub sender: Arc<str>,
    /// The receiver, in Cedar's notation.
    pub receiver: Arc<str>,
    /// The text.
    pub content: String,
    /// The decision that permitted it.
    pub decision_id: DecisionId,
    /// Labels on the session of the sender when it was sent: what the sender has read may be in the content.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub labels: Labels,
}

/// Identifies a conversation: its owner, in Cedar's notation, and the name that the owner gave it. Equal names of two
/// owners are two conversations.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ConversationKey {
    /// The principal who began it.
    pub owner: Arc<str>,
    /// Its name.
    pub id: ConversationId,
}

/// The open conversations.
///
/// Conversations are bounded for each owner before they are bounded in all, so that one owner cannot take the room of the
/// others. Checking the bounds and appending is one step. A conversation whose last message is older than the timeout is
/// over: it is not read any more, and its room is given back when there is none left.
pub trait ConversationStore: Send + Sync + 'static {
    /// Appends a message and gives the messages of the conversation, the oldest first, with this one last; or names the
    /// bound that has no room for it, and keeps nothing.
    fn append<'a>(
        &'a self,
        key: &'a ConversationKey,
        message: Arc<Message>,
    ) -> PortFuture<'a, Result<Vec<Arc<Message>>, ConversationLimit>>;

    /// The messages of a conversation, the oldest first; `None` when there is none of that key, or it is over.
    fn messages<'a>(&'a self, key: &'a ConversationKey) -> PortFuture<'a, Option<Vec<Arc<Message>>>>;

    /// Frees the memory of conversations that are over.
    fn expire(&self) -> PortFuture<'_, ()>;
}
