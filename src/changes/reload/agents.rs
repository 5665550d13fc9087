//! Agents change together with the policies, because an agent's rights follow from both. Each agent that is deployed,
//! changed or removed has a record of its own, also one that changed while no gateway ran.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::error::ReloadError;
use super::state::STATE_FILE;
use super::{Reloader, file};
use crate::agents::{Digests, RegisterDraft};
use crate::audit::{AgentRecord, Record};
use crate::blocking;
use crate::events::{AgentDigests, SecurityEvent};
use crate::model::AgentId;

/// An agent that was deployed, changed or removed, with its digests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct AgentChange {
    id: AgentId,
    before: Option<String>,
    now: Option<String>,
}

impl Reloader {
    /// The agents of their directory; refused as a whole when one of them is not valid.
    pub(super) fn agents(&self) -> Result<Option<RegisterDraft>, ReloadError> {
        let Some(agent_parts) = &self.agent_parts else { return Ok(None) };
        let draft = agent_parts.agents.draft();
        if draft.problems.is_empty() {
            return Ok(Some(draft));
        }
        agent_parts.agents.tell(&draft.problems);
        let problems: Vec<String> = draft.problems.iter().map(ToString::to_string).collect();
        Err(ReloadError::Agents(problems.join("\n")))
    }

    pub(super) fn agent_changes(&self, draft: Option<&RegisterDraft>) -> Vec<AgentChange> {
        match (&self.agent_parts, draft) {
            (Some(agent_parts), Some(draft)) => changes(&agent_parts.agents.digests(), &draft.digests()),
            _ => Vec::new(),
        }
    }

    /// Puts them in force. Blocking.
    pub(super) fn install_agents(&self, draft: Option<RegisterDraft>) {
        let (Some(agent_parts), Some(draft)) = (&self.agent_parts, draft) else { return };
        let changed = !self.agent_changes(Some(&draft)).is_empty();
        agent_parts.agents.put_in_force(draft);
        if changed && let Err(error) = agent_parts.attributes.agents_changed() {
            tracing::error!(error = &error as &dyn std::error::Error, "the change of agents was not counted");
        }
    }

    pub(super) fn agent_record(&self, change: AgentChange) -> Option<Record> {
        let AgentChange { id, before, now } = change;
        let digests = AgentDigests { before: before.as_deref(), now: now.as_deref() };
        let event = match (&before, &now) {
            (None, _) => SecurityEvent::AgentDeployed(digests),
            (Some(_), Some(_)) => SecurityEvent::AgentChanged(digests),
            (Some(_), None) => SecurityEvent::AgentRemoved(digests),
        };
        let mut record = self.record_of(&event)?;
        let definition = now.or(before).unwrap_or_default();
        let definition = definition.split(' ').next().unwrap_or_default().into();
        record.agent =
            Some(AgentRecord { definition_sha256: definition, id: id.as_str().into(), version: None });
        Some(record)
    }

    /// Records the agents that changed since the last record, and stores them with the pins of tools. Under the emergency
    /// lock any change stops the start.
    pub async fn agents_at_start(self: &Arc<Self>) -> Result<(), ReloadError> {
        let Some(agent_parts) = &self.agent_parts else { return Ok(()) };
        let now = agent_parts.agents.digests();
        let (agents, pins) = {
            let state = self.state.lock();
            (state.agents.clone(), state.pins.clone())
        };
        let found = changes(agents.as_ref().unwrap_or(&BTreeMap::new()), &now);
        if found.is_empty() && agents.is_some() && pins.as_ref() == Some(&agent_parts.pins) {
            return Ok(());
        }
        // Without stored agents it is unknown what they were when the lock was engaged.
        let agent = found.first().filter(|_| agents.is_some()).map(|change| format!("agent `{}`", change.id));
        let server = pins.and_then(|pins| changed_pins(&pins, &agent_parts.pins));
        if let Some(changed) = agent.or(server) {
            let reloader = Arc::clone(self);
            let unlocked = blocking::run(move || reloader.unlocked()).await;
            if unlocked?.is_err() {
                return Err(ReloadError::LockedFile(changed));
            }
        }
        for change in found {
            let record = self.agent_record(change).ok_or(ReloadError::Unrecorded)?;
            self.journal.append(record).await.map_err(|_| ReloadError::Unrecorded)?;
        }
        let reloader = Arc::clone(self);
        let pins = agent_parts.pins.clone();
        let noted = blocking::run(move || {
            let mut state = reloader.state.lock();
            (state.agents, state.pins) = (Some(now), Some(pins));
            file::write(&reloader.settings.data_dir.join(STATE_FILE), &*state)
        });
        noted.await?.map_err(ReloadError::Remember)
    }
}

/// A server whose pins have changed.
fn changed_pins(before: &BTreeMap<String, String>, now: &BTreeMap<String, String>) -> Option<String> {
    let mut all = before.keys().chain(now.keys());
    all.find(|server| before.get(*server) != now.get(*server))
        .map(|server| format!("pins of the server `{server}`"))
}

fn changes(before: &Digests, now: &Digests) -> Vec<AgentChange> {
    let of = |id: &AgentId| AgentChange {
        id: id.clone(),
        before: before.get(id).cloned(),
        now: now.get(id).cloned(),
    };
    let gone = before.keys().filter(|id| !now.contains_key(id));
    let all = gone.chain(now.keys()).map(of);
    all.filter(|change| change.before != change.now).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_as_it_was_is_named() {
        let of = |pins: &[(&str, &str)]| -> BTreeMap<String, String> {
            pins.iter().map(|(server, digest)| ((*server).to_owned(), (*digest).to_owned())).collect()
        };
        let before = of(&[("files", "a"), ("mail", "b")]);
        for now in [of(&[("files", "a")]), of(&[("files", "a"), ("mail", "c")])] {
            assert_eq!(changed_pins(&before, &now), Some("pins of the server `mail`".to_owned()));
        }
        assert!(changed_pins(&of(&[]), &of(&[("mail", "b")])).is_some());
        assert_eq!(changed_pins(&before, &before), None);
    }
}
