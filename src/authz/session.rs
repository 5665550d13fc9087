//! What each principal has done so far: counters and labels that policies may ask about.
//!
//! A session belongs to its principal, and for an agent to the conversation it is in. It is never named by
//! a header of the client: one who could name a session could begin a fresh one and shed its labels.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::clock::SharedClock;
use crate::model::{EntityUid, SessionFacts, ToolDescriptor};

/// Bounds of the session table.
#[derive(Debug, Clone)]
pub struct SessionSettings {
    /// A session that was idle for this long is forgotten. Default 15 minutes.
    pub timeout: Duration,
    /// The most sessions kept; the one idle longest makes room. Default 100,000.
    pub capacity: usize,
}

impl Default for SessionSettings {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(15 * 60), capacity: 100_000 }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct SessionKey {
    principal: EntityUid,
    conversation: Option<Arc<str>>,
}

impl SessionKey {
    pub(super) fn new(principal: &EntityUid, conversation: Option<&Arc<str>>) -> Self {
        Self { principal: principal.clone(), conversation: conversation.cloned() }
    }
}

struct State {
    id: Arc<str>,
    /// Held from the reading of the facts to their counting, so that calls at once cannot all be the last one allowed.
    turn: Arc<Mutex<()>>,
    began: i64,
    last: i64,
    labels: BTreeSet<Arc<str>>,
    tools_called: BTreeSet<Arc<str>>,
    tool_calls: i64,
    denied: i64,
}

/// The most names a session remembers, so that a caller cannot grow it without end.
const MOST_NAMES: usize = 1_000;
/// The most labels of one session. What would add another is refused: a label that was dropped would be forgotten.
const MOST_LABELS: usize = 64;

/// Labels of things that were read: `pii`.
pub type Labels = BTreeSet<Arc<str>>;

pub(super) struct Sessions {
    settings: SessionSettings,
    clock: SharedClock,
    table: Mutex<HashMap<SessionKey, State>>,
}

impl Sessions {
    pub(super) fn new(settings: SessionSettings, clock: SharedClock) -> Self {
        Self { settings, clock, table: Mutex::new(HashMap::new()) }
    }

    /// The facts as they stand before this decision; begins the session when there is none.
    pub(super) fn facts(&self, key: &SessionKey) -> SessionFacts {
        self.with(key, |state, now| SessionFacts {
            id: Arc::clone(&state.id),
            age_seconds: (now - state.began) / 1000,
            labels: state.labels.clone(),
            tool_calls: state.tool_calls,
            denied: state.denied,
            tools_called: state.tools_called.clone(),
        })
    }

    pub(super) fn denied(&self, key: &SessionKey) {
        self.with(key, |state, _| state.denied = state.denied.saturating_add(1));
    }

    /// The lock of the session's tool calls: who holds it from [`Sessions::facts`] to [`Sessions::count`] is alone.
    pub(super) fn turn(&self, key: &SessionKey) -> Arc<Mutex<()>> {
        self.with(key, |state, _| Arc::clone(&state.turn))
    }

    /// Counts an allowed operation, before anything comes of it. The labels go on the session before the call is made:
    /// what it answers may be read even when the call fails half way. `false`, and nothing counted, when the session
    /// has no room for the labels.
    pub(super) fn count(&self, key: &SessionKey, tool: Option<&ToolDescriptor>, read: &Labels) -> bool {
        let none = Labels::new();
        let answered = tool.map_or(&none, |tool| &tool.labels);
        if tool.is_none() && read.is_empty() {
            return true;
        }
        self.with(key, |state, _| {
            let new = answered.union(read).filter(|label| !state.labels.contains(*label)).count();
            if state.labels.len() + new > MOST_LABELS {
                return false;
            }
            state.labels.extend(answered.union(read).cloned());
            if let Some(tool) = tool {
                state.tool_calls = state.tool_calls.saturating_add(1);
                if state.tools_called.len() < MOST_NAMES {
                    state.tools_called.insert(tool.id.shared());
                }
            }
            true
        })
    }

    /// The labels on a session.
    pub(super) fn labels(&self, key: &SessionKey) -> Labels {
        self.with(key, |state, _| state.labels.clone())
    }

    fn with<T>(&self, key: &SessionKey, act: impl FnOnce(&mut State, i64) -> T) -> T {
        let now = self.clock.now_millis();
        let timeout = i64::try_from(self.settings.timeout.as_millis()).unwrap_or(i64::MAX);
        let mut table = self.table.lock();
        match table.get_mut(key) {
            Some(state) if now.saturating_sub(state.last) <= timeout => {
                state.last = now;
                return act(state, now);
            }
            Some(_) => drop(table.remove(key)),
            None => {}
        }
        if !table.contains_key(key) && table.len() >= self.settings.capacity {
            table.retain(|_, state| now.saturating_sub(state.last) <= timeout);
            if table.len() >= self.settings.capacity
                && let Some(oldest) =
                    table.iter().min_by_key(|(_, state)| state.last).map(|(key, _)| key.clone())
            {
                table.remove(&oldest);
            }
        }
        let state = table.entry(key.clone()).or_insert_with(|| State {
            id: uuid::Uuid::now_v7().to_string().into(),
            turn: Arc::default(),
            began: now,
            last: now,
            labels: BTreeSet::new(),
            tools_called: BTreeSet::new(),
            tool_calls: 0,
            denied: 0,
        });
        state.last = now;
        act(state, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    fn key(name: &str) -> SessionKey {
        SessionKey::new(&EntityUid::caxton("User", name), None)
    }

    #[test]
    fn labels_stay_until_the_session_ends() {
        let clock = Arc::new(ManualClock::at_millis(0));
        let sessions = Sessions::new(SessionSettings::default(), clock.clone());
        assert!(sessions.count(&key("a"), None, &BTreeSet::from(["pii".into()])));
        clock.advance(Duration::from_secs(60));
        let facts = sessions.facts(&key("a"));
        assert!(facts.labels.contains("pii"));
        assert_eq!(facts.age_seconds, 60);
        assert!(sessions.facts(&key("b")).labels.is_empty());
        clock.advance(Duration::from_secs(16 * 60));
        assert!(sessions.facts(&key("a")).labels.is_empty());
    }

    #[test]
    fn labels_are_bounded_and_none_is_dropped() {
        let sessions = Sessions::new(SessionSettings::default(), Arc::new(ManualClock::at_millis(0)));
        let labels =
            |range: std::ops::Range<usize>| range.map(|n| format!("l{n}").into()).collect::<Labels>();
        assert!(sessions.count(&key("a"), None, &labels(0..60)));
        assert!(!sessions.count(&key("a"), None, &labels(60..65)), "one too many: none is taken");
        assert_eq!(sessions.labels(&key("a")).len(), 60);
        assert!(sessions.count(&key("a"), None, &labels(50..64)));
        assert!(sessions.count(&key("a"), None, &labels(0..64)), "nothing new");
    }

    #[test]
    fn a_full_table_forgets_the_one_idle_longest() {
        let clock = Arc::new(ManualClock::at_millis(0));
        let settings = SessionSettings { capacity: 2, ..SessionSettings::default() };
        let sessions = Sessions::new(settings, clock.clone());
        for name in ["a", "b", "c"] {
            sessions.denied(&key(name));
            clock.advance(Duration::from_secs(1));
        }
        assert_eq!(sessions.table.lock().len(), 2);
        assert_eq!(sessions.facts(&key("c")).denied, 1);
        assert_eq!(sessions.facts(&key("a")).denied, 0);
    }
}
