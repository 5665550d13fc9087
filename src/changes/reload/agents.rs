//! Agents, pins of tools and the issuer's keys change together with the policies, because what a caller or an agent may
//! follows from all of them. Each agent that is deployed, changed or removed has a record of its own, also one that changed while no gateway ran.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::error::ReloadError;
use super::state::STATE_FILE;
use super::{PreparedParts, Reloader, file};
use crate::agents::{Digests, Register, RegisterDraft};
use crate::audit::{AgentRecord, Record};
use crate::authn::KeyFiles;
use crate::blocking;
use crate::events::{AgentDigests, SecurityEvent};
use crate::model::AgentId;
use crate::policy::live::{Live, Reloaded};

/// An agent that was deployed, changed or removed, with its digests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct AgentChange {
    id: AgentId,
    before: Option<String>,
    now: Option<String>,
}

impl std::fmt::Display for AgentChange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let word = match (&self.before, &self.now) {
            (None, _) => "deployed",
            (Some(_), Some(_)) => "changed",
            (Some(_), None) => "removed",
        };
        write!(f, "agent `{}` {word}", self.id)
    }
}

impl Reloader {
    /// The agents of their directory and the pins of tools; refused as a whole when one of them is not valid.
    pub(super) fn parts(&self) -> Result<Option<PreparedParts>, ReloadError> {
        let Some(agent_parts) = &self.agent_parts else { return Ok(None) };
        let pins = agent_parts.tools.read_pins().map_err(|error| ReloadError::Pins(Box::new(error)))?;
        let agents = agent_parts.agents.draft(pins.known());
        if !agents.problems.is_empty() {
            agent_parts.agents.tell(&agents.problems);
            let problems: Vec<String> = agents.problems.iter().map(ToString::to_string).collect();
            return Err(ReloadError::Agents(problems.join("\n")));
        }
        Register::warn(&agents.warnings);
        let keys = agent_parts.keys.as_ref().map(KeyFiles::read).transpose();
        let keys = keys.map_err(|error| ReloadError::Keys(Box::new(error)))?;
        Ok(Some(PreparedParts { agents, pins, keys }))
    }

    /// Under the emergency lock: a key of the issuer that was taken out of its file opens nothing any more, and none is
    /// added. What is refused leaves the keys as they are, and is on record.
    pub async fn drop_removed_keys(&self) {
        let Some(files) = self.agent_parts.as_ref().and_then(|parts| parts.keys.clone()) else { return };
        match blocking::run(move || files.drop_removed()).await {
            Ok(Ok(false)) | Err(_) => {}
            Ok(Ok(true)) => {
                self.note(SecurityEvent::IssuerKeysReloaded).await;
            }
            Ok(Err(error)) => {
                let error = ReloadError::Keys(Box::new(error)).with_cause();
                self.note(SecurityEvent::IssuerKeysRefused { error: &error }).await;
            }
        }
    }

    pub(super) fn agent_changes(&self, draft: Option<&RegisterDraft>) -> Vec<AgentChange> {
        match (&self.agent_parts, draft) {
            (Some(agent_parts), Some(draft)) => changes(&agent_parts.agents.digests(), &draft.digests()),
            _ => Vec::new(),
        }
    }

    /// The servers whose pins are not those of the last change, in words.
    pub(super) fn pin_changes(&self, parts: Option<&PreparedParts>) -> Vec<String> {
        let Some(parts) = parts else { return Vec::new() };
        let before = self.state.lock().pins.clone().unwrap_or_default();
        changed_pins(&before, parts.pins.digests())
    }

    /// Puts a set in force, with the agents and pins beside it. Blocking.
    pub(super) fn install(&self, live: Live, parts: Option<PreparedParts>) -> Reloaded {
        let (Some(agent_parts), Some(parts)) = (&self.agent_parts, parts) else {
            return self.policy.install(live, || {});
        };
        let changed = !self.agent_changes(Some(&parts.agents)).is_empty();
        let reloaded = self.policy.install(live, || {
            agent_parts.agents.put_in_force(parts.agents);
            agent_parts.tools.put_pins_in_force(parts.pins);
            if let (Some(files), Some(keys)) = (&agent_parts.keys, parts.keys) {
                files.put_in_force(keys);
            }
        });
        if changed && let Err(error) = agent_parts.attributes.agents_changed() {
            tracing::error!(error = &error as &dyn std::error::Error, "the change of agents was not counted");
        }
        reloaded
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
        let tools = agent_parts.tools.clone();
        let now_pinned = blocking::run(move || tools.pin_digests()).await?;
        let (agents, pins) = {
            let state = self.state.lock();
            (state.agents.clone(), state.pins.clone())
        };
        let found = changes(agents.as_ref().unwrap_or(&BTreeMap::new()), &now);
        if found.is_empty() && agents.is_some() && pins.as_ref() == Some(&now_pinned) {
            return Ok(());
        }
        // Without stored agents it is unknown what they were when the lock was engaged.
        let agent = found.first().filter(|_| agents.is_some()).map(|change| format!("agent `{}`", change.id));
        let server = pins.and_then(|pins| changed_pins(&pins, &now_pinned).into_iter().next());
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
        let noted = blocking::run(move || {
            let mut state = reloader.state.lock();
            (state.agents, state.pins) = (Some(now), Some(now_pinned));
            file::write(&reloader.settings.data_dir.join(STATE_FILE), &*state)
        });
        noted.await?.map_err(ReloadError::Remember)
    }
}

/// The servers whose pins have changed, in words.
fn changed_pins(before: &BTreeMap<String, String>, now: &BTreeMap<String, String>) -> Vec<String> {
    let all: BTreeSet<&String> = before.keys().chain(now.keys()).collect();
    all.into_iter()
        .filter(|server| before.get(*server) != now.get(*server))
        .map(|server| format!("pins of the server `{server}`"))
        .collect()
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
            assert_eq!(changed_pins(&before, &now), ["pins of the server `mail`"]);
        }
        assert_eq!(changed_pins(&of(&[]), &of(&[("mail", "b")])).len(), 1);
        assert_eq!(changed_pins(&before, &before).len(), 0);
    }
}
