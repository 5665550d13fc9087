//! The conversations of one process, in memory.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::{ConversationKey, ConversationLimit, ConversationSettings, ConversationStore, Message};
use crate::clock::SharedClock;
use crate::shared_state::PortFuture;

struct Conversation {
    last: i64,
    bytes: usize,
    messages: Vec<Arc<Message>>,
}

/// Conversations and bytes of one owner.
#[derive(Default)]
struct OwnerUsage {
    conversations: usize,
    bytes: usize,
}

#[derive(Default)]
struct ConversationTable {
    conversations: HashMap<ConversationKey, Conversation>,
    usage_by_owner: HashMap<Arc<str>, OwnerUsage>,
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
        if let Some(usage) = self.usage_by_owner.get_mut(&key.owner) {
            usage.conversations = usage.conversations.saturating_sub(1);
            usage.bytes = usage.bytes.saturating_sub(gone.bytes);
            if usage.conversations == 0 {
                self.usage_by_owner.remove(&key.owner);
            }
        }
    }

    /// Checks whether a message of `bytes` bytes fits, the owner's own bounds first.
    fn check(
        &self,
        key: &ConversationKey,
        bytes: usize,
        settings: &ConversationSettings,
    ) -> Result<(), ConversationLimit> {
        let found = self.conversations.get(key);
        if found.is_some_and(|found| found.messages.len() >= settings.max_messages) {
            return Err(ConversationLimit::ConversationFull { limit: settings.max_messages });
        }
        let none = OwnerUsage::default();
        let usage = self.usage_by_owner.get(&key.owner).unwrap_or(&none);
        if found.is_none() && usage.conversations >= settings.max_conversations_per_sender {
            let limit = format!("{} conversations", settings.max_conversations_per_sender);
            return Err(ConversationLimit::TooMany { limit });
        }
        if usage.bytes.saturating_add(bytes) > settings.max_bytes_per_sender {
            let limit = format!("{} bytes", settings.max_bytes_per_sender);
            return Err(ConversationLimit::TooMany { limit });
        }
        let full = found.is_none() && self.conversations.len() >= settings.max_conversations;
        if full || self.bytes.saturating_add(bytes) > settings.max_bytes {
            return Err(ConversationLimit::Busy);
        }
        Ok(())
    }

    fn append(&mut self, key: &ConversationKey, message: Arc<Message>, now: i64) -> Vec<Arc<Message>> {
        let bytes = message.content.len();
        let usage = self.usage_by_owner.entry(Arc::clone(&key.owner)).or_default();
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

/// The conversations of one process. They end with it.
pub struct LocalConversations {
    settings: ConversationSettings,
    clock: SharedClock,
    table: Mutex<ConversationTable>,
}

impl LocalConversations {
    /// No conversations yet.
    pub fn new(settings: ConversationSettings, clock: SharedClock) -> Self {
        Self { settings, clock, table: Mutex::default() }
    }

    /// A conversation whose last message is older than this is over.
    fn since(&self, now: i64) -> i64 {
        let timeout = i64::try_from(self.settings.conversation_timeout.as_millis()).unwrap_or(i64::MAX);
        now.saturating_sub(timeout)
    }

    fn try_append(
        &self,
        key: &ConversationKey,
        message: Arc<Message>,
    ) -> Result<Vec<Arc<Message>>, ConversationLimit> {
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

impl ConversationStore for LocalConversations {
    fn append<'a>(
        &'a self,
        key: &'a ConversationKey,
        message: Arc<Message>,
    ) -> PortFuture<'a, Result<Vec<Arc<Message>>, ConversationLimit>> {
        PortFuture::now(self.try_append(key, message))
    }

    fn messages<'a>(&'a self, key: &'a ConversationKey) -> PortFuture<'a, Option<Vec<Arc<Message>>>> {
        let since = self.since(self.clock.now_millis());
        let table = self.table.lock();
        let found = table.conversations.get(key).filter(|found| found.last >= since);
        PortFuture::now(found.map(|found| found.messages.clone()))
    }

    fn expire(&self) -> PortFuture<'_, ()> {
        let since = self.since(self.clock.now_millis());
        self.table.lock().expire(since);
        PortFuture::now(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shared_state::contract;
    use crate::shared_state::faulty::Delayed;

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn the_conversations_of_a_process_keep_the_contract() {
        let delayed = |settings, clock| Delayed(LocalConversations::new(settings, clock));
        contract::conversations::check(LocalConversations::new).await;
        contract::conversations::check(delayed).await;
    }

    #[tokio::test]
    async fn what_is_over_is_freed() {
        use crate::clock::ManualClock;
        let clock = Arc::new(ManualClock::at_millis(0));
        let conversations = LocalConversations::new(ConversationSettings::default(), clock.clone());
        let (key, message) = contract::conversations::said("a", "c1", "hello");
        conversations.append(&key, message).await.unwrap().unwrap();
        clock.advance(std::time::Duration::from_secs(31 * 60));
        conversations.expire().await.unwrap();
        let table = conversations.table.lock();
        assert!(table.conversations.is_empty() && table.usage_by_owner.is_empty() && table.bytes == 0);
    }
}
