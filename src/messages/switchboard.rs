//! Takes allowed messages in, keeps what was said, and hands conversations back to those allowed to read them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;

use crate::authz::Permit;
use crate::clock::{SharedClock, rfc3339};
use crate::model::{
    AgentId, ConversationId, DecisionId, EntityUid, Performative, ReadConversation, SendMessage,
};

/// Bounds of conversations.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The longest content, in bytes. Default 1 MiB.
    pub max_message_bytes: usize,
    /// A conversation that is silent for this long is forgotten. Default 30 minutes.
    pub conversation_timeout: Duration,
    /// The most messages in one conversation. Default 100.
    pub max_messages: usize,
    /// The most conversations. Default 10,000.
    pub max_conversations: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_message_bytes: 1024 * 1024,
            conversation_timeout: Duration::from_secs(30 * 60),
            max_messages: 100,
            max_conversations: 10_000,
        }
    }
}

/// Why a message was not taken. Each is the sender's to mend.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// The content is over the bound.
    #[error("the content is {length} bytes long, at most {limit} are allowed")]
    TooLong {
        /// Bytes given.
        length: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// The conversation is over its bound.
    #[error("the conversation has {limit} messages, the most allowed: begin another")]
    ConversationFull {
        /// Messages allowed.
        limit: usize,
    },
    /// There are too many conversations.
    #[error("there are too many open conversations: try again later")]
    Busy,
}

/// One thing that was said.
#[derive(Debug, Clone, Serialize)]
pub struct Line {
    /// RFC 3339, UTC.
    pub time: String,
    /// What kind of speech act it is.
    pub performative: Performative,
    /// Who said it, as a Cedar name.
    pub sender: Arc<str>,
    /// Who it was for, as a Cedar name.
    pub receiver: Arc<str>,
    /// What was said.
    pub content: String,
    /// The decision that let it through.
    pub decision_id: DecisionId,
}

type Key = (Arc<str>, ConversationId);

struct Conversation {
    last: i64,
    lines: Vec<Line>,
}

/// A message that was taken in and waits for its answer.
#[derive(Debug)]
pub struct Delivery {
    key: Key,
    receiver: Arc<str>,
    /// What was said before, oldest first, with this message last.
    pub history: Vec<Line>,
    /// The decision that let the message through.
    pub decision: DecisionId,
}

impl Delivery {
    /// The conversation's id.
    pub fn conversation(&self) -> &ConversationId {
        &self.key.1
    }

    /// The owner and the id together: the name under which an agent's turn has its session.
    pub fn session(&self) -> Arc<str> {
        format!("{}/{}", self.key.0, self.key.1).into()
    }
}

/// All open conversations.
pub struct Switchboard {
    settings: Settings,
    clock: SharedClock,
    conversations: Mutex<HashMap<Key, Conversation>>,
}

impl Switchboard {
    /// An empty switchboard.
    pub fn new(settings: Settings, clock: SharedClock) -> Self {
        Self { settings, clock, conversations: Mutex::new(HashMap::new()) }
    }

    /// The longest content, in bytes.
    pub fn max_message_bytes(&self) -> usize {
        self.settings.max_message_bytes
    }

    /// Takes a message in for `receiver`, the agent it was routed to.
    pub fn accept(&self, permit: Permit<SendMessage>, receiver: &AgentId) -> Result<Delivery, MessageError> {
        let decision = permit.decision();
        let owner: Arc<str> = permit.subject().principal().to_string().into();
        let message = permit.into_operation();
        let limit = self.settings.max_message_bytes;
        if message.content.len() > limit {
            return Err(MessageError::TooLong { length: message.content.len(), limit });
        }
        let receiver: Arc<str> = EntityUid::caxton("Agent", receiver.shared()).to_string().into();
        let key = (Arc::clone(&owner), message.conversation);
        let line = Line {
            time: rfc3339(self.clock.now_millis()),
            performative: message.performative,
            sender: owner,
            receiver: Arc::clone(&receiver),
            content: message.content,
            decision_id: decision,
        };
        let history = self.append(&key, line)?;
        Ok(Delivery { key, receiver, history, decision })
    }

    /// Puts the receiver's answer into the conversation.
    pub fn answer(
        &self,
        delivery: &Delivery,
        performative: Performative,
        content: String,
    ) -> Result<Line, MessageError> {
        let line = Line {
            time: rfc3339(self.clock.now_millis()),
            performative,
            sender: Arc::clone(&delivery.receiver),
            receiver: Arc::clone(&delivery.key.0),
            content,
            decision_id: delivery.decision,
        };
        self.append(&delivery.key, line.clone())?;
        Ok(line)
    }

    /// What was said in a conversation; `None` when there is none of that id for that owner.
    pub fn read(&self, permit: Permit<ReadConversation>) -> Option<Vec<Line>> {
        let operation = permit.into_operation();
        let conversations = self.conversations.lock();
        conversations
            .get(&(operation.owner.to_string().into(), operation.conversation))
            .map(|found| found.lines.clone())
    }

    fn append(&self, key: &Key, line: Line) -> Result<Vec<Line>, MessageError> {
        let now = self.clock.now_millis();
        let timeout = i64::try_from(self.settings.conversation_timeout.as_millis()).unwrap_or(i64::MAX);
        let mut conversations = self.conversations.lock();
        if conversations.get(key).is_some_and(|found| now.saturating_sub(found.last) > timeout) {
            conversations.remove(key);
        }
        if !conversations.contains_key(key) && conversations.len() >= self.settings.max_conversations {
            conversations.retain(|_, found| now.saturating_sub(found.last) <= timeout);
            if conversations.len() >= self.settings.max_conversations {
                return Err(MessageError::Busy);
            }
        }
        let found =
            conversations.entry(key.clone()).or_insert_with(|| Conversation { last: now, lines: Vec::new() });
        let limit = self.settings.max_messages;
        if found.lines.len() >= limit {
            return Err(MessageError::ConversationFull { limit });
        }
        found.last = now;
        found.lines.push(line);
        Ok(found.lines.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::model::{CapabilityName, Receiver, Subject};

    fn board(settings: Settings) -> (Switchboard, Arc<ManualClock>) {
        let clock = Arc::new(ManualClock::at_millis(0));
        (Switchboard::new(settings, clock.clone()), clock)
    }

    fn message(sender: &str, content: &str) -> Permit<SendMessage> {
        let operation = SendMessage {
            performative: Performative::Request,
            conversation: ConversationId::parse("c1").unwrap(),
            receiver: Receiver::Capability(CapabilityName::parse("desk").unwrap()),
            content: content.to_owned(),
        };
        let agent = AgentId::parse(sender).unwrap();
        Permit::for_test(operation, Subject::agent(&agent, crate::model::Proof::Internal))
    }

    fn clerk() -> AgentId {
        AgentId::parse("clerk").unwrap()
    }

    fn read(board: &Switchboard, owner: &str) -> Option<Vec<Line>> {
        let operation = ReadConversation {
            conversation: ConversationId::parse("c1").unwrap(),
            owner: EntityUid::caxton("Agent", owner),
        };
        board.read(Permit::for_test(operation, Subject::system()))
    }

    #[test]
    fn equal_ids_of_two_senders_are_two_conversations() {
        let (board, _) = board(Settings::default());
        let delivery = board.accept(message("a", "hello"), &clerk()).unwrap();
        board.accept(message("b", "other"), &clerk()).unwrap();
        board.answer(&delivery, Performative::Inform, "hi".to_owned()).unwrap();
        let said: Vec<_> = read(&board, "a").unwrap().into_iter().map(|line| line.content).collect();
        assert_eq!(said, ["hello", "hi"]);
        assert_eq!(read(&board, "b").unwrap().len(), 1);
        assert!(read(&board, "c").is_none());
    }

    #[test]
    fn bounds_are_kept_and_named() {
        let (board, clock) = board(Settings {
            max_message_bytes: 5,
            max_messages: 2,
            max_conversations: 1,
            ..Settings::default()
        });
        assert_eq!(
            board.accept(message("a", "123456"), &clerk()).unwrap_err(),
            MessageError::TooLong { length: 6, limit: 5 }
        );
        board.accept(message("a", "1"), &clerk()).unwrap();
        assert_eq!(board.accept(message("b", "1"), &clerk()).unwrap_err(), MessageError::Busy);
        board.accept(message("a", "2"), &clerk()).unwrap();
        assert_eq!(
            board.accept(message("a", "3"), &clerk()).unwrap_err(),
            MessageError::ConversationFull { limit: 2 }
        );
        clock.advance(Duration::from_secs(31 * 60));
        board.accept(message("b", "1"), &clerk()).unwrap();
        assert!(read(&board, "a").is_none());
    }
}
