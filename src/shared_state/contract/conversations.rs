//! The suite of [`ConversationStore`].

use std::sync::Arc;
use std::time::Duration;

use super::at_once;
use crate::clock::{ManualClock, SharedClock};
use crate::model::{ConversationId, DecisionId, Performative};
use crate::shared_state::{
    ConversationKey, ConversationLimit, ConversationSettings, ConversationStore, Labels, Message,
};

/// A message of `owner` in its conversation `id`.
pub(crate) fn said(owner: &str, id: &str, content: &str) -> (ConversationKey, Arc<Message>) {
    let owner: Arc<str> = owner.into();
    let message = Message {
        time: "2026-01-10T10:00:00.000Z".to_owned(),
        performative: Performative::Request,
        sender: Arc::clone(&owner),
        receiver: "Caxton::Agent::\"clerk\"".into(),
        content: content.to_owned(),
        decision_id: DecisionId::generate(),
        labels: Labels::from(["mail".into()]),
    };
    (ConversationKey { owner, id: ConversationId::parse(id).unwrap() }, message.into())
}

async fn append(
    store: &impl ConversationStore,
    (key, message): (ConversationKey, Arc<Message>),
) -> Result<usize, ConversationLimit> {
    store.append(&key, message).await.unwrap().map(|messages| messages.len())
}

/// Every promise of the port. `make` gives an empty store on a clock that stands still.
pub(crate) async fn check<C: ConversationStore>(make: impl Fn(ConversationSettings, SharedClock) -> C) {
    messages_stay_in_order_and_with_their_owner(&make).await;
    a_conversation_ends_when_nothing_is_said_for_its_time(&make).await;
    bounds_are_kept_and_the_owner_is_bounded_first(&make).await;
    of_messages_at_once_no_more_are_kept_than_there_is_room(&make).await;
}

async fn messages_stay_in_order_and_with_their_owner<C: ConversationStore>(
    make: &impl Fn(ConversationSettings, SharedClock) -> C,
) {
    let store = make(ConversationSettings::default(), Arc::new(ManualClock::at_millis(0)));
    let (key, first) = said("a", "c1", "hello");
    let (_, second) = said("a", "c1", "again");
    assert_eq!(store.append(&key, Arc::clone(&first)).await, Ok(Ok(vec![Arc::clone(&first)])));
    assert_eq!(append(&store, said("b", "c1", "other")).await, Ok(1), "of another owner");
    assert_eq!(append(&store, said("a", "c2", "other")).await, Ok(1));
    let both = vec![first, second];
    assert_eq!(store.append(&key, Arc::clone(&both[1])).await, Ok(Ok(both.clone())));
    assert_eq!(store.messages(&key).await, Ok(Some(both)));
    assert_eq!(store.messages(&said("c", "c1", "").0).await, Ok(None));
}

async fn a_conversation_ends_when_nothing_is_said_for_its_time<C: ConversationStore>(
    make: &impl Fn(ConversationSettings, SharedClock) -> C,
) {
    let clock = Arc::new(ManualClock::at_millis(0));
    let store = make(ConversationSettings::default(), clock.clone());
    let (key, message) = said("a", "c1", "hello");
    store.append(&key, message).await.unwrap().unwrap();
    clock.advance(Duration::from_secs(30 * 60));
    assert_eq!(store.messages(&key).await.unwrap().unwrap().len(), 1);
    assert_eq!(append(&store, said("a", "c1", "go on")).await, Ok(2));
    clock.advance(Duration::from_secs(30 * 60));
    store.expire().await.unwrap();
    assert_eq!(store.messages(&key).await.unwrap().unwrap().len(), 2, "each message prolongs it");
    clock.advance(Duration::from_millis(1));
    assert_eq!(store.messages(&key).await, Ok(None), "over, whether or not its room was given back");
    assert_eq!(append(&store, said("a", "c1", "anew")).await, Ok(1));
    store.expire().await.unwrap();
    assert_eq!(store.messages(&key).await.unwrap().unwrap().len(), 1);
}

async fn bounds_are_kept_and_the_owner_is_bounded_first<C: ConversationStore>(
    make: &impl Fn(ConversationSettings, SharedClock) -> C,
) {
    let clock = Arc::new(ManualClock::at_millis(0));
    let settings = ConversationSettings {
        max_messages: 2,
        max_conversations: 2,
        max_conversations_per_sender: 1,
        max_bytes_per_sender: 4,
        max_bytes: 6,
        ..ConversationSettings::default()
    };
    let store = make(settings, clock.clone());
    assert_eq!(append(&store, said("a", "c1", "1")).await, Ok(1));
    let limit = "1 conversations".to_owned();
    assert_eq!(append(&store, said("a", "c2", "1")).await, Err(ConversationLimit::TooMany { limit }));
    let limit = "4 bytes".to_owned();
    assert_eq!(append(&store, said("a", "c1", "1234")).await, Err(ConversationLimit::TooMany { limit }));
    assert_eq!(append(&store, said("a", "c1", "2")).await, Ok(2), "what was refused took no room");
    let full = ConversationLimit::ConversationFull { limit: 2 };
    assert_eq!(append(&store, said("a", "c1", "3")).await, Err(full));
    assert_eq!(append(&store, said("b", "c1", "1234")).await, Ok(1));
    assert_eq!(append(&store, said("c", "c1", "")).await, Err(ConversationLimit::Busy), "too many in all");
    clock.advance(Duration::from_secs(31 * 60));
    assert_eq!(append(&store, said("c", "c1", "1234")).await, Ok(1), "what is over makes room");
    assert_eq!(append(&store, said("d", "c1", "123")).await, Err(ConversationLimit::Busy), "too many bytes");
}

async fn of_messages_at_once_no_more_are_kept_than_there_is_room<C: ConversationStore>(
    make: &impl Fn(ConversationSettings, SharedClock) -> C,
) {
    let settings = ConversationSettings { max_messages: 10, ..ConversationSettings::default() };
    let store = Arc::new(make(settings, Arc::new(ManualClock::at_millis(0))));
    let kept = at_once(32, |_| {
        let store = Arc::clone(&store);
        async move { append(&*store, said("a", "c1", "hello")).await }
    });
    let mut lengths: Vec<usize> = kept.await.into_iter().flatten().collect();
    lengths.sort_unstable();
    assert_eq!(lengths, (1..=10).collect::<Vec<_>>(), "each sees those before it");
}
