//! Agents change together with the policies: what an agent may do hangs on both. Each that is deployed, changed or removed
//! is a record of its own, also what became of them while no gateway ran.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::error::ReloadError;
use super::remembered::REMEMBERED;
use super::{Reloader, file};
use crate::agents::{Digests, RegisterDraft};
use crate::audit::{AgentRecord, Record};
use crate::blocking;
use crate::events::{AgentDigests, SecurityEvent};
use crate::model::AgentId;

/// What became of an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct AgentChange {
    id: AgentId,
    before: Option<String>,
    now: Option<String>,
}

impl Reloader {
    /// The agents as their directory has them; refused as a whole when one of them is.
    pub(super) fn agents(&self) -> Result<Option<RegisterDraft>, ReloadError> {
        let Some(beside) = &self.beside else { return Ok(None) };
        let draft = beside.agents.draft();
        if draft.problems.is_empty() {
            return Ok(Some(draft));
        }
        beside.agents.tell(&draft.problems);
        let told: Vec<String> = draft.problems.iter().map(ToString::to_string).collect();
        Err(ReloadError::Agents(told.join("\n")))
    }

    pub(super) fn changes_of_agents(&self, draft: Option<&RegisterDraft>) -> Vec<AgentChange> {
        match (&self.beside, draft) {
            (Some(beside), Some(draft)) => changes(&beside.agents.digests(), &draft.digests()),
            _ => Vec::new(),
        }
    }

    /// Puts them in force. Blocking.
    pub(super) fn install_agents(&self, draft: Option<RegisterDraft>) {
        let (Some(beside), Some(draft)) = (&self.beside, draft) else { return };
        let changed = !self.changes_of_agents(Some(&draft)).is_empty();
        beside.agents.put_in_force(draft);
        if changed && let Err(error) = beside.attributes.agents_changed() {
            tracing::error!(error = &error as &dyn std::error::Error, "the change of agents was not counted");
        }
    }

    pub(super) fn record_of_agent(&self, change: AgentChange) -> Option<Record> {
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

    /// Records what became of agents since that was on record last, and remembers it, with the pins of tools. Under the
    /// emergency lock nothing may have: then the gateway does not start.
    pub async fn agents_at_start(self: &Arc<Self>) -> Result<(), ReloadError> {
        let Some(beside) = &self.beside else { return Ok(()) };
        let now = beside.agents.digests();
        let (agents, pins) = {
            let remembered = self.remembered.lock();
            (remembered.agents.clone(), remembered.pins.clone())
        };
        let found = changes(agents.as_ref().unwrap_or(&BTreeMap::new()), &now);
        if found.is_empty() && agents.is_some() && pins.as_ref() == Some(&beside.pins) {
            return Ok(());
        }
        // A gateway that never remembered any cannot tell what they were when the lock was engaged.
        let agent = found.first().filter(|_| agents.is_some()).map(|change| format!("agent `{}`", change.id));
        let server = pins.and_then(|pins| changed_pins(&pins, &beside.pins));
        if let Some(changed) = agent.or(server) {
            let reloader = Arc::clone(self);
            let unlocked = blocking::run(move || reloader.unlocked()).await;
            if unlocked?.is_err() {
                return Err(ReloadError::LockedFile(changed));
            }
        }
        for change in found {
            let record = self.record_of_agent(change).ok_or(ReloadError::Unrecorded)?;
            self.journal.append(record).await.map_err(|_| ReloadError::Unrecorded)?;
        }
        let reloader = Arc::clone(self);
        let pins = beside.pins.clone();
        let noted = blocking::run(move || {
            let mut remembered = reloader.remembered.lock();
            (remembered.agents, remembered.pins) = (Some(now), Some(pins));
            file::write(&reloader.settings.data_dir.join(REMEMBERED), &*remembered)
        });
        noted.await?.map_err(ReloadError::Remember)
    }
}

/// A server whose pins are not what they were.
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
