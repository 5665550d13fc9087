//! The suite of [`Sessions`].

use std::sync::Arc;
use std::time::Duration;

use super::at_once;
use crate::clock::{ManualClock, SharedClock};
use crate::model::{EntityUid, ToolId};
use crate::shared_state::{Counted, Labels, SessionKey, SessionSettings, Sessions};

pub(crate) fn key(name: &str) -> SessionKey {
    SessionKey::new(&EntityUid::caxton("User", name), None)
}

fn labels(range: std::ops::Range<usize>) -> Labels {
    range.map(|number| format!("l{number}").into()).collect()
}

/// Every promise of the port. `make` gives an empty table on a clock that stands still.
pub(crate) async fn check<S: Sessions>(make: impl Fn(SessionSettings, SharedClock) -> S) {
    facts_last_until_the_session_was_idle_for_its_time(&make).await;
    labels_are_bounded_and_none_is_dropped(&make).await;
    a_full_table_forgets_the_one_idle_longest(&make).await;
    of_calls_at_once_no_more_are_counted_than_one_after_the_other(&make).await;
    a_turn_holds_up_no_other_session(&make).await;
}

async fn facts_last_until_the_session_was_idle_for_its_time<S: Sessions>(
    make: &impl Fn(SessionSettings, SharedClock) -> S,
) {
    let clock = Arc::new(ManualClock::at_millis(0));
    let sessions = make(SessionSettings::default(), clock.clone());
    let tool = ToolId::parse("builtin___csv_parser").unwrap();
    let in_conversation = SessionKey::new(&EntityUid::caxton("User", "a"), Some(&"c1".into()));
    let begun = sessions.facts(&key("a")).await.unwrap();
    assert!(!begun.id.is_empty() && begun.labels.is_empty() && begun.tools_called.is_empty());
    let counted = sessions.count(&key("a"), Some(&tool), &Labels::from(["pii".into()])).await.unwrap();
    assert_eq!(counted, Counted::Counted);
    sessions.denied(&key("a")).await.unwrap();
    clock.advance(Duration::from_secs(15 * 60));
    let facts = sessions.facts(&key("a")).await.unwrap();
    assert_eq!((facts.id, facts.age_seconds), (begun.id.clone(), 15 * 60));
    assert_eq!((facts.tool_calls, facts.denied), (1, 1));
    assert!(facts.labels.contains("pii") && facts.tools_called.contains(tool.as_str()));
    assert_eq!(sessions.labels(&key("a")).await.unwrap(), facts.labels);
    for other in [key("b"), in_conversation] {
        let other = sessions.facts(&other).await.unwrap();
        assert!(other.labels.is_empty() && other.tool_calls == 0 && other.denied == 0);
    }
    // A label alone is no call.
    sessions.count(&key("a"), None, &Labels::from(["mail".into()])).await.unwrap();
    assert_eq!(sessions.facts(&key("a")).await.unwrap().tool_calls, 1);
    clock.advance(Duration::from_millis(15 * 60 * 1000 + 1));
    let fresh = sessions.facts(&key("a")).await.unwrap();
    assert!(fresh.labels.is_empty() && fresh.tool_calls == 0 && fresh.denied == 0 && fresh.age_seconds == 0);
    assert_ne!(fresh.id, begun.id);
}

async fn labels_are_bounded_and_none_is_dropped<S: Sessions>(
    make: &impl Fn(SessionSettings, SharedClock) -> S,
) {
    let sessions = make(SessionSettings::default(), Arc::new(ManualClock::at_millis(0)));
    let (a, tool) = (key("a"), ToolId::parse("builtin___csv_parser").unwrap());
    assert_eq!(sessions.count(&a, None, &labels(0..60)).await, Ok(Counted::Counted));
    assert_eq!(sessions.count(&a, Some(&tool), &labels(60..65)).await, Ok(Counted::NoRoom), "one too many");
    let facts = sessions.facts(&a).await.unwrap();
    assert_eq!((facts.labels.len(), facts.tool_calls), (60, 0), "nothing of it is counted");
    assert_eq!(sessions.count(&a, None, &labels(50..64)).await, Ok(Counted::Counted));
    assert_eq!(sessions.count(&a, Some(&tool), &labels(0..64)).await, Ok(Counted::Counted), "nothing new");
}

async fn a_full_table_forgets_the_one_idle_longest<S: Sessions>(
    make: &impl Fn(SessionSettings, SharedClock) -> S,
) {
    let clock = Arc::new(ManualClock::at_millis(0));
    let sessions = make(SessionSettings { capacity: 2, ..SessionSettings::default() }, clock.clone());
    for name in ["a", "b", "c"] {
        sessions.denied(&key(name)).await.unwrap();
        clock.advance(Duration::from_secs(1));
    }
    assert_eq!(sessions.facts(&key("c")).await.unwrap().denied, 1);
    assert_eq!(sessions.facts(&key("b")).await.unwrap().denied, 1);
    assert_eq!(sessions.facts(&key("a")).await.unwrap().denied, 0);
}

async fn of_calls_at_once_no_more_are_counted_than_one_after_the_other<S: Sessions>(
    make: &impl Fn(SessionSettings, SharedClock) -> S,
) {
    let sessions = Arc::new(make(SessionSettings::default(), Arc::new(ManualClock::at_millis(0))));
    let tool = ToolId::parse("builtin___csv_parser").unwrap();
    let counted = at_once(32, |_| {
        let (sessions, tool) = (Arc::clone(&sessions), tool.clone());
        async move {
            let key = key("a");
            let _turn = sessions.turn(&key).await.unwrap();
            let before = sessions.facts(&key).await.unwrap().tool_calls;
            tokio::task::yield_now().await;
            if before < 5 {
                sessions.count(&key, Some(&tool), &Labels::new()).await.unwrap();
            }
            before < 5
        }
    });
    assert_eq!(counted.await.into_iter().filter(|counted| *counted).count(), 5);
    assert_eq!(sessions.facts(&key("a")).await.unwrap().tool_calls, 5);
}

async fn a_turn_holds_up_no_other_session<S: Sessions>(make: &impl Fn(SessionSettings, SharedClock) -> S) {
    let sessions = make(SessionSettings::default(), Arc::new(ManualClock::at_millis(0)));
    let (a, b) = (key("a"), key("b"));
    let held = sessions.turn(&a).await.unwrap();
    drop(sessions.turn(&b).await.unwrap());
    let mut next = sessions.turn(&a);
    for _ in 0..3 {
        assert!(futures::poll!(&mut next).is_pending(), "the turn is held");
    }
    drop(held);
    drop(next.await.unwrap());
}
