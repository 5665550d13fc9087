//! `communication.*`: the bounds of messages and conversations.

use std::time::Duration;

use crate::config::reader::Reader;
use crate::config::value_type::{Integer, Size};
use crate::messages::Settings;

pub(super) fn read(r: &mut Reader<'_>) -> Settings {
    let usual = Settings::default();
    let kilobytes: usize = r.value(
        "communication.max_message_size_kb",
        Integer::new(1..=65_536, "KB"),
        usual.max_message_bytes / 1_024,
        "Size of a message.",
    );
    let minutes: u64 = r.value(
        "communication.conversation_timeout_minutes",
        Integer::new(1..=10_080, "minutes"),
        usual.conversation_timeout.as_secs() / 60,
        "Time after which an idle conversation ends.",
    );
    Settings {
        max_message_bytes: kilobytes.saturating_mul(1_024),
        conversation_timeout: Duration::from_secs(minutes * 60),
        max_messages: r.value(
            "communication.max_messages",
            Integer::new(1..=100_000, "messages"),
            usual.max_messages,
            "Messages of one conversation.",
        ),
        max_conversations: r.value(
            "communication.max_conversations",
            Integer::new(1..=10_000_000, "conversations"),
            usual.max_conversations,
            "Conversations at once.",
        ),
        max_conversations_per_sender: r.value(
            "communication.max_conversations_per_sender",
            Integer::new(1..=1_000_000, "conversations"),
            usual.max_conversations_per_sender,
            "Conversations of one sender at once.",
        ),
        max_bytes_per_sender: r.value(
            "communication.max_bytes_per_sender",
            Size(1 << 20..=1 << 40),
            usual.max_bytes_per_sender,
            "Bytes of content in the conversations of one sender.",
        ),
        max_bytes: r.value(
            "communication.max_bytes",
            Size(1 << 20..=1 << 40),
            usual.max_bytes,
            "Bytes of content in all conversations.",
        ),
    }
}
