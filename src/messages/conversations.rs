//! Accepts permitted messages, keeps them in conversations, and returns a conversation to those who may read it.

use std::sync::Arc;

use crate::authz::Permit;
use crate::clock::{SharedClock, rfc3339};
use crate::model::{
    AgentId, ConversationId, DecisionId, EntityUid, Performative, ReadConversation, ReceiveReply, SendMessage,
};
use crate::shared_state::{
    ConversationKey, ConversationLimit, ConversationStore, Labels, Message, Unavailable,
};

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
    /// A bound of the conversation, of its owner, or of all has no room for it.
    #[error(transparent)]
    Limit(#[from] ConversationLimit),
    /// The conversations cannot be asked.
    #[error("conversations are not available at the moment: try again later")]
    Unavailable(#[from] Unavailable),
}

/// The labels of all messages of a conversation.
fn labels_of(messages: &[Arc<Message>]) -> Labels {
    messages.iter().flat_map(|message| message.labels.iter().cloned()).collect()
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
        &self.key.id
    }

    /// The principal that the message is from.
    pub fn owner(&self) -> &EntityUid {
        &self.owner
    }

    /// The owner and the id together: the name under which an agent's turn has its session.
    pub fn session(&self) -> Arc<str> {
        format!("{}/{}", self.key.owner, self.key.id).into()
    }
}

/// All open conversations.
pub struct Conversations {
    max_message_bytes: usize,
    clock: SharedClock,
    store: Arc<dyn ConversationStore>,
}

impl Conversations {
    /// The conversations of `store`, with messages of at most `max_message_bytes` of content.
    pub fn new(max_message_bytes: usize, store: Arc<dyn ConversationStore>, clock: SharedClock) -> Self {
        Self { max_message_bytes, clock, store }
    }

    /// The longest content, in bytes.
    pub fn max_message_bytes(&self) -> usize {
        self.max_message_bytes
    }

    /// Accepts a message for `receiver`, the agent it was routed to. `labels` are those of the sender's session.
    ///
    /// # Errors
    /// A bound of the message, of its conversation, of the sender, or of all; or the conversations cannot be asked.
    pub async fn accept(
        &self,
        permit: Permit<SendMessage>,
        receiver: &AgentId,
        labels: Labels,
    ) -> Result<Delivery, MessageError> {
        let decision = permit.decision();
        let sender = permit.subject().principal().clone();
        let owner: Arc<str> = sender.to_string().into();
        let sent = permit.into_operation();
        let limit = self.max_message_bytes;
        if sent.content.len() > limit {
            return Err(MessageError::TooLong { length: sent.content.len(), limit });
        }
        let receiver: Arc<str> = EntityUid::caxton("Agent", receiver.shared()).to_string().into();
        let key = ConversationKey { owner: Arc::clone(&owner), id: sent.conversation };
        let message = Message {
            time: rfc3339(self.clock.now_millis()),
            performative: sent.performative,
            sender: owner,
            receiver: Arc::clone(&receiver),
            content: sent.content,
            decision_id: decision,
            labels,
        };
        let history = self.store.append(&key, message.into()).await??;
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
    /// A bound of the conversation, of its owner, or of all; or the conversations cannot be asked.
    pub async fn reply(
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
            receiver: Arc::clone(&delivery.key.owner),
            content,
            decision_id,
            labels,
        });
        self.store.append(&delivery.key, Arc::clone(&message)).await??;
        Ok(message)
    }

    /// The labels of a conversation, for the question whether it may be read; none when there is no such conversation.
    ///
    /// # Errors
    /// The conversations cannot be asked: it may not be read.
    pub async fn labels(
        &self,
        owner: &EntityUid,
        conversation: &ConversationId,
    ) -> Result<Labels, MessageError> {
        let key = ConversationKey { owner: owner.to_string().into(), id: conversation.clone() };
        let found = self.store.messages(&key).await?;
        Ok(found.map(|messages| labels_of(&messages)).unwrap_or_default())
    }

    /// What was said in a conversation; `None` when there is none of that id for that owner, or it is over.
    ///
    /// # Errors
    /// The conversations cannot be asked.
    pub async fn read(
        &self,
        permit: Permit<ReadConversation>,
    ) -> Result<Option<Vec<Arc<Message>>>, MessageError> {
        let ReadConversation { conversation, owner, labels } = permit.into_operation();
        let key = ConversationKey { owner: owner.to_string().into(), id: conversation };
        let mut found = self.store.messages(&key).await?;
        if let Some(messages) = &mut found {
            // What came since the question was asked may carry a label that was not judged.
            let judged = messages.iter().take_while(|message| message.labels.is_subset(&labels)).count();
            messages.truncate(judged);
        }
        Ok(found)
    }

    /// Frees the memory of conversations that are over. Called by a timer.
    ///
    /// # Errors
    /// The conversations cannot be asked.
    pub async fn expire(&self) -> Result<(), MessageError> {
        Ok(self.store.expire().await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::model::{CapabilityName, Receiver, Subject};
    use crate::shared_state::faulty::Unreachable;
    use crate::shared_state::{ConversationSettings, LocalConversations};

    fn conversations(settings: ConversationSettings) -> Conversations {
        let clock = Arc::new(ManualClock::at_millis(0));
        let longest = settings.max_message_bytes;
        Conversations::new(longest, Arc::new(LocalConversations::new(settings, clock.clone())), clock)
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

    async fn reply(
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
        conversations.reply(permit, delivery, Performative::Inform, content.to_owned()).await
    }

    fn conversation() -> ConversationId {
        ConversationId::parse("c1").unwrap()
    }

    async fn read(conversations: &Conversations, owner: &str) -> Option<Vec<Arc<Message>>> {
        read_judged(conversations, owner, Labels::new()).await
    }

    async fn read_judged(
        conversations: &Conversations,
        owner: &str,
        labels: Labels,
    ) -> Option<Vec<Arc<Message>>> {
        let operation = ReadConversation {
            conversation: conversation(),
            owner: EntityUid::caxton("Agent", owner),
            labels,
        };
        conversations.read(Permit::for_test(operation, Subject::for_test())).await.unwrap()
    }

    #[tokio::test]
    async fn equal_ids_of_two_senders_are_two_conversations() {
        let conversations = conversations(ConversationSettings::default());
        let delivery = conversations.accept(message("a", "hello"), &clerk(), Labels::new()).await.unwrap();
        conversations.accept(message("b", "other"), &clerk(), Labels::new()).await.unwrap();
        reply(&conversations, delivery, "hi", Labels::new()).await.unwrap();
        let read_of_a = read(&conversations, "a").await.unwrap();
        let said: Vec<_> = read_of_a.into_iter().map(|message| message.content.clone()).collect();
        assert_eq!(said, ["hello", "hi"]);
        assert_eq!(read(&conversations, "b").await.unwrap().len(), 1);
        assert!(read(&conversations, "c").await.is_none());
    }

    #[tokio::test]
    async fn bounds_are_kept_and_named() {
        let conversations = conversations(ConversationSettings {
            max_message_bytes: 5,
            max_messages: 1,
            ..ConversationSettings::default()
        });
        assert_eq!(
            conversations.accept(message("a", "123456"), &clerk(), Labels::new()).await.unwrap_err(),
            MessageError::TooLong { length: 6, limit: 5 }
        );
        let delivery = conversations.accept(message("a", "12345"), &clerk(), Labels::new()).await.unwrap();
        let full = MessageError::Limit(ConversationLimit::ConversationFull { limit: 1 });
        assert_eq!(conversations.accept(message("a", "2"), &clerk(), Labels::new()).await.unwrap_err(), full);
        assert_eq!(reply(&conversations, delivery, "2", Labels::new()).await.unwrap_err(), full);
    }

    #[tokio::test]
    async fn what_was_read_stays_with_what_is_said() {
        let conversations = conversations(ConversationSettings::default());
        let mail = Labels::from(["mail".into()]);
        let delivery = conversations.accept(message("a", "1"), &clerk(), mail.clone()).await.unwrap();
        assert_eq!(delivery.labels, mail);
        let answered = reply(&conversations, delivery, "2", Labels::from(["pii".into()])).await;
        assert_eq!(answered.unwrap().labels, Labels::from(["pii".into()]));
        let next = conversations.accept(message("a", "3"), &clerk(), Labels::new()).await.unwrap();
        assert_eq!(next.labels, Labels::from(["mail".into(), "pii".into()]));
        let owner = EntityUid::caxton("Agent", "a");
        assert_eq!(conversations.labels(&owner, &conversation()).await, Ok(next.labels.clone()));
        let all = read_judged(&conversations, "a", next.labels.clone()).await.unwrap();
        assert_eq!(labels_of(&all), next.labels);
        let judged = read_judged(&conversations, "a", mail).await.unwrap();
        assert_eq!(judged.len(), 1, "what carries a label that was not judged is not shown");
    }

    #[tokio::test]
    async fn conversations_that_cannot_be_asked_take_and_show_nothing() {
        let conversations =
            Conversations::new(100, Arc::new(Unreachable), Arc::new(ManualClock::at_millis(0)));
        let unavailable = |result: MessageError| matches!(result, MessageError::Unavailable(_));
        let accepted = conversations.accept(message("a", "1"), &clerk(), Labels::new()).await;
        assert!(unavailable(accepted.unwrap_err()));
        let owner = EntityUid::caxton("Agent", "a");
        assert!(unavailable(conversations.labels(&owner, &conversation()).await.unwrap_err()));
        let operation = ReadConversation { conversation: conversation(), owner, labels: Labels::new() };
        let read = conversations.read(Permit::for_test(operation, Subject::for_test())).await;
        assert!(unavailable(read.unwrap_err()));
    }
}
