//! The sessions of one process, in memory.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;

use super::{Counted, Labels, MOST_LABELS, MOST_TOOLS, SessionKey, SessionSettings, SessionTurn, Sessions};
use crate::clock::SharedClock;
use crate::model::{SessionFacts, ToolId};
use crate::shared_state::PortFuture;

struct State {
    id: Arc<str>,
    /// Held with the turn.
    turn: Arc<tokio::sync::Mutex<()>>,
    began: i64,
    last: i64,
    labels: Labels,
    tools_called: BTreeSet<Arc<str>>,
    tool_calls: i64,
    denied: i64,
}

impl State {
    fn begin(now: i64) -> Self {
        Self {
            id: uuid::Uuid::now_v7().to_string().into(),
            turn: Arc::default(),
            began: now,
            last: now,
            labels: BTreeSet::new(),
            tools_called: BTreeSet::new(),
            tool_calls: 0,
            denied: 0,
        }
    }

    fn facts(&self, now: i64) -> SessionFacts {
        SessionFacts {
            id: Arc::clone(&self.id),
            age_seconds: (now - self.began) / 1000,
            labels: self.labels.clone(),
            tool_calls: self.tool_calls,
            denied: self.denied,
            tools_called: self.tools_called.clone(),
        }
    }

    fn count(&mut self, tool: Option<&ToolId>, labels: &Labels) -> Counted {
        let new = labels.iter().filter(|label| !self.labels.contains(*label)).count();
        if self.labels.len() + new > MOST_LABELS {
            return Counted::NoRoom;
        }
        self.labels.extend(labels.iter().cloned());
        if let Some(tool) = tool {
            self.tool_calls = self.tool_calls.saturating_add(1);
            if self.tools_called.len() < MOST_TOOLS {
                self.tools_called.insert(tool.shared());
            }
        }
        Counted::Counted
    }
}

/// The sessions of one process. They end with it.
pub struct LocalSessions {
    settings: SessionSettings,
    clock: SharedClock,
    table: Mutex<HashMap<SessionKey, State>>,
}

impl LocalSessions {
    /// No sessions yet.
    pub fn new(settings: SessionSettings, clock: SharedClock) -> Self {
        Self { settings, clock, table: Mutex::default() }
    }

    fn with<T>(&self, key: &SessionKey, act: impl FnOnce(&mut State, i64) -> T) -> T {
        let now = self.clock.now_millis();
        let timeout = i64::try_from(self.settings.timeout.as_millis()).unwrap_or(i64::MAX);
        let idle = |state: &State| now.saturating_sub(state.last) > timeout;
        let mut table = self.table.lock();
        if let Some(state) = table.get_mut(key) {
            if idle(state) {
                *state = State::begin(now);
            }
            state.last = now;
            return act(state, now);
        }
        if table.len() >= self.settings.capacity {
            table.retain(|_, state| !idle(state));
        }
        if table.len() >= self.settings.capacity {
            let oldest = table.iter().min_by_key(|(_, state)| state.last).map(|(key, _)| key.clone());
            oldest.and_then(|oldest| table.remove(&oldest));
        }
        act(table.entry(key.clone()).or_insert_with(|| State::begin(now)), now)
    }
}

impl Sessions for LocalSessions {
    fn facts<'a>(&'a self, key: &'a SessionKey) -> PortFuture<'a, SessionFacts> {
        PortFuture::now(self.with(key, |state, now| state.facts(now)))
    }

    fn turn<'a>(&'a self, key: &'a SessionKey) -> PortFuture<'a, SessionTurn> {
        let turn = self.with(key, |state, _| Arc::clone(&state.turn));
        match Arc::clone(&turn).try_lock_owned() {
            Ok(held) => PortFuture::now(SessionTurn::new(held)),
            Err(_) => PortFuture::later(async { Ok(SessionTurn::new(turn.lock_owned().await)) }),
        }
    }

    fn count<'a>(
        &'a self,
        key: &'a SessionKey,
        tool: Option<&'a ToolId>,
        labels: &'a Labels,
    ) -> PortFuture<'a, Counted> {
        PortFuture::now(self.with(key, |state, _| state.count(tool, labels)))
    }

    fn denied<'a>(&'a self, key: &'a SessionKey) -> PortFuture<'a, ()> {
        self.with(key, |state, _| state.denied = state.denied.saturating_add(1));
        PortFuture::now(())
    }

    fn labels<'a>(&'a self, key: &'a SessionKey) -> PortFuture<'a, Labels> {
        PortFuture::now(self.with(key, |state, _| state.labels.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::shared_state::contract;
    use crate::shared_state::faulty::Delayed;

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn the_sessions_of_a_process_keep_the_contract() {
        contract::sessions::check(LocalSessions::new).await;
        contract::sessions::check(|settings, clock| Delayed(LocalSessions::new(settings, clock))).await;
    }

    #[tokio::test]
    async fn the_table_is_bounded() {
        let settings = SessionSettings { capacity: 2, ..SessionSettings::default() };
        let sessions = LocalSessions::new(settings, Arc::new(ManualClock::at_millis(0)));
        for name in ["a", "b", "c"] {
            sessions.denied(&contract::sessions::key(name)).await.unwrap();
        }
        assert_eq!(sessions.table.lock().len(), 2);
    }
}
