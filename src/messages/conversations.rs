//! Accepts permitted messages, keeps them in conversations, and returns a conversation to those who may read it.
//!
//! Conversations are bounded for each sender before they are bounded in all, so that one sender cannot take the room of
//! the others. A conversation that is over is not shown any more, whether or not its memory has been given back.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;

use crate::authz::{Labels, Permit};
use crate::clock::{SharedClock, rfc3339};
use crate::model::{
    AgentId, ConversationId, DecisionId, EntityUid, Performative, ReadConversation, ReceiveReply, SendMessage,
};

/// Bounds of conversations.
#[derive(Debug, Clone)]
pub struct Settings {
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

impl Default for Settings {
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

/// Why a message was not accepted. Each can be corrected by the sender.
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
    /// The conversation has as many messages as are allowed.
    #[error("the conversation has {limit} messages, the most allowed: begin another")]
    ConversationFull {
        /// Messages allowed.
        limit: usize,
    },
    /// The sender is over its share of conversations or of their bytes.
    #[error(
        "you have as many open conversations as one sender may have ({limit}): go on in one of them, or wait until one is over"
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
#[derive(Debug, Clone, Serialize)]
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

/// The labels of all messages of a conversation.
fn labels_of(messages: &[Arc<Message>]) -> Labels {
    messages.iter().flat_map(|message| message.labels.iter().cloned()).collect()
}

type ConversationKey = (Arc<str>, ConversationId);

struct Conversation {
    last: i64,
    bytes: usize,
    messages: Vec<Arc<Message>>,
}

/// Conversations and bytes of one sender.
#[derive(Default)]
struct SenderUsage {
    conversations: usize,
    bytes: usize,
}

#[derive(Default)]
struct ConversationTable {
    conversations: HashMap<ConversationKey, Conversation>,
    usage_by_sender: HashMap<Arc<str>, SenderUsage>,
    bytes: usize,
}

impl ConversationTable {
    /// Removes conversations whose last message is older than `since`.
    fn expire(&mut self, since: i64) {
        let over: Vec<ConversationKey> = self
            .conversations
            .iter()
            .filter(|(_, found)| found.last < since)
            .map(|(key, _)| key.clone())
            .collect();
        over.iter().for_each(|key| self.remove(key));
    }

    fn remove(&mut self, key: &ConversationKey) {
        let Some(gone) = self.conversations.remove(key) else { return };
        self.bytes = self.bytes.saturating_sub(gone.bytes);
        if let Some(usage) = self.usage_by_sender.get_mut(&key.0) {
            usage.conversations = usage.conversations.saturating_sub(1);
            usage.bytes = usage.bytes.saturating_sub(gone.bytes);
            if usage.conversations == 0 {
                self.usage_by_sender.remove(&key.0);
            }
        }
    }

    /// Checks whether a message of `bytes` bytes fits, the sender's own bounds first.
    fn check(&self, key: &ConversationKey, bytes: usize, settings: &Settings) -> Result<(), MessageError> {
        let found = self.conversations.get(key);
        if found.is_some_and(|found| found.messages.len() >= settings.max_messages) {
            return Err(MessageError::ConversationFull { limit: settings.max_messages });
        }
        let none = SenderUsage::default();
        let usage = self.usage_by_sender.get(&key.0).unwrap_or(&none);
        if found.is_none() && usage.conversations >= settings.max_conversations_per_sender {
            let limit = format!("{} conversations", settings.max_conversations_per_sender);
            return Err(MessageError::TooMany { limit });
        }
        if usage.bytes.saturating_add(bytes) > settings.max_bytes_per_sender {
            return Err(MessageError::TooMany { limit: format!("{} bytes", settings.max_bytes_per_sender) });
        }
        let full = found.is_none() && self.conversations.len() >= settings.max_conversations;
        if full || self.bytes.saturating_add(bytes) > settings.max_bytes {
            return Err(MessageError::Busy);
        }
        Ok(())
    }

    fn append(&mut self, key: &ConversationKey, message: Arc<Message>, now: i64) -> Vec<Arc<Message>> {
        let bytes = message.content.len();
        let usage = self.usage_by_sender.entry(Arc::clone(&key.0)).or_default();
        usage.bytes += bytes;
        self.bytes += bytes;
        let found = self.conversations.entry(key.clone()).or_insert_with(|| {
            usage.conversations += 1;
            Conversation { last: now, bytes: 0, messages: Vec::new() }
        });
        found.last = now;
        found.bytes += bytes;
        found.messages.push(message);
        found.messages.clone()
    }
}

/// A message that was accepted and waits for its answer.
#[derive(Debug)]
pub struct Delivery {
    key: ConversationKey,
    owner: EntityUid,
    receiver: Arc<str>,
    /// The messages of the conversation, oldest first, with this one last.
    pub history: Vec<Arc<Message>>,
    /// The labels of the history.
    pub labels: Labels,
    /// The decision that permitted the message.
    pub decision: DecisionId,
}

impl Delivery {
    /// The conversation's id.
    pub fn conversation(&self) -> &ConversationId {
        &self.key.1
    }

    /// The principal that the message is from.
    pub fn owner(&self) -> &EntityUid {
        &self.owner
    }

    /// The owner and the id together: the name under which an agent's turn has its session.
    pub fn session(&self) -> Arc<str> {
        format!("{}/{}", self.key.0, self.key.1).into()
    }
}

/// All open conversations.
pub struct Conversations {
    settings: Settings,
    clock: SharedClock,
    table: Mutex<ConversationTable>,
}

impl Conversations {
    /// No conversations yet.
    pub fn new(settings: Settings, clock: SharedClock) -> Self {
        Self { settings, clock, table: Mutex::default() }
    }

    /// The longest content, in bytes.
    pub fn max_message_bytes(&self) -> usize {
        self.settings.max_message_bytes
    }

    /// Accepts a message for `receiver`, the agent it was routed to. `labels` are those of the sender's session.
    ///
    /// # Errors
    /// A bound of the message, of its conversation, of the sender, or of all.
    pub fn accept(
        &self,
        permit: Permit<SendMessage>,
        receiver: &AgentId,
        labels: Labels,
    ) -> Result<Delivery, MessageError> {
        let decision = permit.decision();
        let sender = permit.subject().principal().clone();
        let owner: Arc<str> = sender.to_string().into();
        let sent = permit.into_operation();
        let limit = self.settings.max_message_bytes;
        if sent.content.len() > limit {
            return Err(MessageError::TooLong { length: sent.content.len(), limit });
        }
        let receiver: Arc<str> = EntityUid::caxton("Agent", receiver.shared()).to_string().into();
        let key = (Arc::clone(&owner), sent.conversation);
        let message = Message {
            time: rfc3339(self.clock.now_millis()),
            performative: sent.performative,
            sender: owner,
            receiver: Arc::clone(&receiver),
            content: sent.content,
            decision_id: decision,
            labels,
        };
        let history = self.append(&key, message.into())?;
        let labels = labels_of(&history);
        Ok(Delivery { key, owner: sender, receiver, history, labels, decision })
    }

    /// Puts the receiver's reply into the conversation, under the decision that its sender may have it. A delivery is
    /// replied to once, and not without a permit:
    /// ```compile_fail,E0061
    /// use caxton::{messages::{Delivery, Switchboard}, model::Performative};
    /// fn reply(conversations: &Switchboard, delivery: Delivery) {
    ///     let _ = conversations.reply(delivery, Performative::Inform, String::new());
    /// }
    /// ```
    ///
    /// # Errors
    /// A bound of the conversation, of its owner, or of all.
    pub fn reply(
        &self,
        permit: Permit<ReceiveReply>,
        delivery: Delivery,
        performative: Performative,
        content: String,
    ) -> Result<Arc<Message>, MessageError> {
        let decision_id = permit.decision();
        let ReceiveReply { labels, .. } = permit.into_operation();
        let message = Arc::new(Message {
            time: rfc3339(self.clock.now_millis()),
            performative,
            sender: Arc::clone(&delivery.receiver),
            receiver: Arc::clone(&delivery.key.0),
            content,
            decision_id,
            labels,
        });
        self.append(&delivery.key, Arc::clone(&message))?;
        Ok(message)
    }

    /// The labels of a conversation, for the question whether it may be read; none when there is no such conversation.
    pub fn labels(&self, owner: &EntityUid, conversation: &ConversationId) -> Labels {
        let key = (owner.to_string().into(), conversation.clone());
        let since = self.since(self.clock.now_millis());
        let table = self.table.lock();
        let found = table.conversations.get(&key).filter(|found| found.last >= since);
        found.map(|found| labels_of(&found.messages)).unwrap_or_default()
    }

    /// What was said in a conversation; `None` when there is none of that id for that owner, or it is over.
    pub fn read(&self, permit: Permit<ReadConversation>) -> Option<Vec<Arc<Message>>> {
        let ReadConversation { conversation, owner, labels } = permit.into_operation();
        let key = (owner.to_string().into(), conversation);
        let since = self.since(self.clock.now_millis());
        let table = self.table.lock();
        let found = table.conversations.get(&key).filter(|found| found.last >= since)?;
        // What came since the question was asked may carry a label that was not judged.
        let judged = found.messages.iter().take_while(|message| message.labels.is_subset(&labels));
        Some(judged.cloned().collect())
    }

    /// Frees the memory of conversations that are over. Called by a timer.
    pub fn expire(&self) {
        let since = self.since(self.clock.now_millis());
        self.table.lock().expire(since);
    }

    /// A conversation whose last message is older than this is over.
    fn since(&self, now: i64) -> i64 {
        let timeout = i64::try_from(self.settings.conversation_timeout.as_millis()).unwrap_or(i64::MAX);
        now.saturating_sub(timeout)
    }

    fn append(
        &self,
        key: &ConversationKey,
        message: Arc<Message>,
    ) -> Result<Vec<Arc<Message>>, MessageError> {
        let now = self.clock.now_millis();
        let since = self.since(now);
        let mut table = self.table.lock();
        if table.conversations.get(key).is_some_and(|found| found.last < since) {
            table.remove(key);
        }
        if table.check(key, message.content.len(), &self.settings).is_err() {
            table.expire(since);
        }
        table.check(key, message.content.len(), &self.settings)?;
        Ok(table.append(key, message, now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::model::{CapabilityName, Receiver, Subject};

    fn conversations(settings: Settings) -> (Conversations, Arc<ManualClock>) {
        let clock = Arc::new(ManualClock::at_millis(0));
        (Conversations::new(settings, clock.clone()), clock)
    }

    fn message(sender: &str, content: &str) -> Permit<SendMessage> {
        let operation = SendMessage {
            performative: Performative::Request,
            conversation: conversation(),
            receiver: Receiver::Capability(CapabilityName::parse("desk").unwrap()),
            candidates: Vec::new(),
            chosen: None,
            content: content.to_owned(),
        };
        let agent = AgentId::parse(sender).unwrap();
        Permit::for_test(operation, Subject::agent(&agent, crate::model::Proof::Internal))
    }

    fn clerk() -> AgentId {
        AgentId::parse("clerk").unwrap()
    }

    fn reply(
        conversations: &Conversations,
        delivery: Delivery,
        content: &str,
        labels: Labels,
    ) -> Result<Arc<Message>, MessageError> {
        let operation = ReceiveReply {
            conversation: delivery.conversation().clone(),
            owner: delivery.owner().clone(),
            labels,
        };
        let permit = Permit::for_test(operation, Subject::agent(&clerk(), crate::model::Proof::Internal));
        conversations.reply(permit, delivery, Performative::Inform, content.to_owned())
    }

    fn conversation() -> ConversationId {
        ConversationId::parse("c1").unwrap()
    }

    fn read(conversations: &Conversations, owner: &str) -> Option<Vec<Arc<Message>>> {
        read_judged(conversations, owner, Labels::new())
    }

    fn read_judged(conversations: &Conversations, owner: &str, labels: Labels) -> Option<Vec<Arc<Message>>> {
        let operation = ReadConversation {
            conversation: conversation(),
            owner: EntityUid::caxton("Agent", owner),
            labels,
        };
        conversations.read(Permit::for_test(operation, Subject::for_test()))
    }

    #[test]
    fn equal_ids_of_two_senders_are_two_conversations() {
        let (conversations, _) = conversations(Settings::default());
        let delivery = conversations.accept(message("a", "hello"), &clerk(), Labels::new()).unwrap();
        conversations.accept(message("b", "other"), &clerk(), Labels::new()).unwrap();
        reply(&conversations, delivery, "hi", Labels::new()).unwrap();
        let said: Vec<_> =
            read(&conversations, "a").unwrap().into_iter().map(|message| message.content.clone()).collect();
        assert_eq!(said, ["hello", "hi"]);
        assert_eq!(read(&conversations, "b").unwrap().len(), 1);
        assert!(read(&conversations, "c").is_none());
    }

    #[test]
    fn bounds_are_kept_and_named() {
        let (conversations, clock) = conversations(Settings {
            max_message_bytes: 5,
            max_messages: 2,
            max_conversations: 1,
            ..Settings::default()
        });
        assert_eq!(
            conversations.accept(message("a", "123456"), &clerk(), Labels::new()).unwrap_err(),
            MessageError::TooLong { length: 6, limit: 5 }
        );
        conversations.accept(message("a", "1"), &clerk(), Labels::new()).unwrap();
        assert_eq!(
            conversations.accept(message("b", "1"), &clerk(), Labels::new()).unwrap_err(),
            MessageError::Busy
        );
        conversations.accept(message("a", "2"), &clerk(), Labels::new()).unwrap();
        assert_eq!(
            conversations.accept(message("a", "3"), &clerk(), Labels::new()).unwrap_err(),
            MessageError::ConversationFull { limit: 2 }
        );
        clock.advance(Duration::from_secs(31 * 60));
        conversations.accept(message("b", "1"), &clerk(), Labels::new()).unwrap();
        assert!(read(&conversations, "a").is_none());
    }

    #[test]
    fn one_sender_cannot_take_the_room_of_others_and_what_is_over_is_not_read() {
        let (conversations, clock) = conversations(Settings {
            max_conversations_per_sender: 1,
            max_bytes_per_sender: 4,
            ..Settings::default()
        });
        conversations.accept(message("a", "12"), &clerk(), Labels::new()).unwrap();
        let mut second = message("a", "1").into_operation();
        second.conversation = ConversationId::parse("c2").unwrap();
        let sender = Subject::agent(&AgentId::parse("a").unwrap(), crate::model::Proof::Internal);
        let refused =
            conversations.accept(Permit::for_test(second, sender), &clerk(), Labels::new()).unwrap_err();
        assert_eq!(refused, MessageError::TooMany { limit: "1 conversations".to_owned() });
        let refused = conversations.accept(message("a", "123"), &clerk(), Labels::new()).unwrap_err();
        assert_eq!(refused, MessageError::TooMany { limit: "4 bytes".to_owned() });
        conversations.accept(message("b", "1234"), &clerk(), Labels::new()).unwrap();

        clock.advance(Duration::from_secs(31 * 60));
        assert!(read(&conversations, "a").is_none(), "over, although nothing came since");
        conversations.expire();
        let table = conversations.table.lock();
        assert!(table.conversations.is_empty() && table.usage_by_sender.is_empty() && table.bytes == 0);
    }

    #[test]
    fn what_was_read_stays_with_what_is_said() {
        let (conversations, _) = conversations(Settings::default());
        let delivery =
            conversations.accept(message("a", "1"), &clerk(), Labels::from(["mail".into()])).unwrap();
        assert_eq!(delivery.labels, Labels::from(["mail".into()]));
        let answered = reply(&conversations, delivery, "2", Labels::from(["pii".into()]));
        assert_eq!(answered.unwrap().labels, Labels::from(["pii".into()]));
        let next = conversations.accept(message("a", "3"), &clerk(), Labels::new()).unwrap();
        assert_eq!(next.labels, Labels::from(["mail".into(), "pii".into()]));
        assert_eq!(conversations.labels(&EntityUid::caxton("Agent", "a"), &conversation()), next.labels);
        assert_eq!(labels_of(&read_judged(&conversations, "a", next.labels.clone()).unwrap()), next.labels);
        let judged = read_judged(&conversations, "a", Labels::from(["mail".into()])).unwrap();
        assert_eq!(judged.len(), 1, "what carries a label that was not judged is not shown");
    }
}
