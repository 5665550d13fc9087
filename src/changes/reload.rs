//! Changes of the live policy set while requests are being decided.
//!
//! Every change takes the same steps: the emergency lock is checked, the set is read, accepted ([`crate::policy::version::Rules`]),
//! parsed and validated, all within a bound of time; then it is recorded, remembered, and swapped in whole. What fails at
//! any step changes nothing: the old set serves, and there is one record and one line for the security log.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Mutex as AsyncMutex;

use super::file;
use super::loader::{LoadedSources, PolicyLoader, PolicySource};
use crate::agents::{Register, RegisterDraft};
use crate::attributes::Attributes;
use crate::audit::Journal;
use crate::authn::{KeyDraft, KeyFiles};
use crate::authz::Permit;
use crate::blocking;
use crate::clock::SharedClock;
use crate::events::SecurityEvent;
use crate::model::{PolicyVersion, PublishPolicies, ReloadPolicies, RollbackPolicies};
use crate::policy::Bundle;
use crate::policy::live::{Live, LivePolicy, Reloaded, differences};
use crate::policy::shadow::Candidate;
use crate::policy::version::{BundleFile, Kind, Manifest, Published, Seen, VersionError, VersionSource};
use crate::shared_state::{EmergencyLock, EngagedLock, Unavailable};
use crate::stack;
use crate::tools::{PinDraft, Registry};

mod agents;
mod error;
mod events;
mod read;
mod startup;
mod state;
#[cfg(test)]
mod tests;

pub use error::{Cause, ReloadError};
pub use read::Publications;
pub use startup::{Startup, StartupError, StartupState, load_startup};
pub use state::{ChangeState, RefusedChange};

/// Bounds of a change.
#[derive(Debug, Clone)]
pub struct ReloadSettings {
    /// The longest that reading, judging and validating a set may take. Default 5 s.
    pub timeout: Duration,
    /// The largest bundle that is taken, in bytes. Default 16 MiB.
    pub max_bundle_bytes: u64,
    /// Where the lock is, and where is remembered what was accepted.
    pub data_dir: PathBuf,
}

impl ReloadSettings {
    /// The defaults, with the facts kept in this directory.
    pub fn in_directory(data_dir: &Path) -> Self {
        Self { timeout: Duration::from_secs(5), max_bundle_bytes: 16 << 20, data_dir: data_dir.to_owned() }
    }
}

/// Replaces the live policy set.
pub struct Reloader {
    policy: Arc<LivePolicy>,
    loader: PolicyLoader,
    lock: Arc<dyn EmergencyLock>,
    settings: ReloadSettings,
    journal: Journal,
    clock: SharedClock,
    state: Mutex<ChangeState>,
    /// What is changed together with the policies; `None` in tests of policies alone.
    agent_parts: Option<AgentParts>,
    /// Serialises changes. The check itself holds it, so that no other change begins beside one that overran its time.
    turn: Arc<AsyncMutex<()>>,
}

/// What is read and put in force together with the policies.
struct AgentParts {
    agents: Register,
    attributes: Attributes,
    tools: Registry,
    keys: Option<KeyFiles>,
}

/// Agents, pins of tools and the issuer's keys, read and not in force.
struct PreparedParts {
    agents: RegisterDraft,
    pins: PinDraft,
    keys: Option<KeyDraft>,
}

/// A set that may become live.
struct PreparedChange {
    /// The agents and pins beside it; `None` where a change is of policies alone.
    parts: Option<PreparedParts>,
    live: Live,
    what: String,
    /// What is written to the version store first, once the change is on record.
    store_write: Option<StoreWrite>,
    candidate_change: Option<CandidateChange>,
}

/// What is written to the version store.
enum StoreWrite {
    /// A publication that is not there yet.
    New(BundleFile),
    /// Other signatures for one that is there.
    Signatures(Published),
}

/// What happened to the candidate.
enum CandidateChange {
    /// It is evaluated from now on.
    Begins(PolicyVersion),
    /// It is not valid, for this reason.
    Refused(String),
}

impl Reloader {
    /// Takes over from [`load_startup`], whose live set `policy` holds, under the same `lock`.
    pub fn new(
        policy: Arc<LivePolicy>,
        (loader, lock): (PolicyLoader, Arc<dyn EmergencyLock>),
        settings: ReloadSettings,
        state: StartupState,
        journal: Journal,
        clock: SharedClock,
    ) -> Result<Self, std::io::Error> {
        let reloader = Self {
            policy,
            loader,
            lock,
            settings,
            journal,
            clock,
            state: Mutex::new(state.0),
            agent_parts: None,
            turn: Arc::default(),
        };
        let live = reloader.policy.live();
        reloader.remember(&live, None)?;
        Ok(reloader)
    }

    /// From now on agents, pins of tools and the keys in files change together with the policies, or none of them does.
    #[must_use]
    pub fn with_agents(
        mut self,
        agents: Register,
        attributes: Attributes,
        tools: Registry,
        keys: Option<KeyFiles>,
    ) -> Self {
        self.agent_parts = Some(AgentParts { agents, attributes, tools, keys });
        self
    }

    /// Reads the policies.
    pub fn loader(&self) -> &PolicyLoader {
        &self.loader
    }

    /// The live policies.
    pub fn policy(&self) -> &Arc<LivePolicy> {
        &self.policy
    }

    /// The bounds of a change.
    pub fn settings(&self) -> &ReloadSettings {
        &self.settings
    }

    /// The persistent state.
    pub fn state(&self) -> ChangeState {
        self.state.lock().clone()
    }

    /// The engaged emergency lock. Blocking.
    pub fn engaged(&self) -> Result<Option<EngagedLock>, Unavailable> {
        self.lock.engaged()
    }

    /// Reads the policies, the agents, the pins of tools and the issuer's keys again and makes them live: all of them, or none.
    pub async fn reload(self: &Arc<Self>, cause: Cause) -> Result<Reloaded, ReloadError> {
        self.change(cause, move |reloader| {
            let loaded = reloader.loader.read(reloader.seen(), reloader.clock.now_millis())?;
            let prepared = reloader.prepare_live(loaded, "read again".to_owned())?;
            // A change of tools or a publication is not a change of files.
            let of_files = match cause {
                Cause::Signal | Cause::Api => true,
                Cause::Watch => matches!(reloader.loader.source, PolicySource::Files { .. }),
                Cause::Tools | Cause::Remote => false,
            };
            let parts = if of_files { reloader.parts()? } else { None };
            Ok(PreparedChange { parts, ..prepared })
        })
        .await
    }

    /// The same for an admitted operator.
    pub async fn reload_for(
        self: &Arc<Self>,
        permit: Permit<ReloadPolicies>,
    ) -> Result<Reloaded, ReloadError> {
        drop(permit);
        self.reload(Cause::Api).await
    }

    /// Stores a bundle that an operator sent, and makes it live.
    pub async fn publish(self: &Arc<Self>, permit: Permit<PublishPolicies>) -> Result<Reloaded, ReloadError> {
        let by = permit.subject().principal().to_string();
        let bundle = permit.into_operation().bundle;
        self.change(Cause::Api, move |reloader| {
            let bundle = BundleFile::from_json(bundle)?;
            reloader.prepare_bundle(bundle, &format!("published by {by}"))
        })
        .await
    }

    /// Stores a bundle that was fetched, and makes it live.
    pub async fn receive(self: &Arc<Self>, bytes: Vec<u8>) -> Result<Reloaded, ReloadError> {
        self.change(Cause::Remote, move |reloader| {
            let bundle = BundleFile::parse(&bytes, reloader.settings.max_bundle_bytes)?;
            reloader.prepare_bundle(bundle, "fetched")
        })
        .await
    }

    /// Publishes an older version again. Refused where versions have to be signed: the key is not here.
    pub async fn rollback(
        self: &Arc<Self>,
        permit: Permit<RollbackPolicies>,
    ) -> Result<Reloaded, ReloadError> {
        let by = permit.subject().principal().to_string();
        let RollbackPolicies { version, message } = permit.into_operation();
        self.change(Cause::Api, move |reloader| {
            let store = reloader.store()?;
            if matches!(reloader.loader.store(), Some((_, true))) {
                return Err(ReloadError::MustBeSigned);
            }
            let wanted = version.parse().map_err(|_| VersionError::NotFound(version.clone()))?;
            let target = store.find(&wanted)?.manifest;
            let sources = store.sources(&target)?;
            let now = reloader.clock.now_millis();
            let manifest = Manifest::new(&sources, Kind::Rollback, &by, &message, now);
            // Going back does not make a version last longer than its publisher gave it.
            let manifest =
                Manifest { checks: target.checks, expires_millis: target.expires_millis, ..manifest };
            let manifest = store.next(manifest)?;
            let published = Published { manifest, signatures: Vec::new() };
            let bundle = BundleFile::new(published, sources)?;
            reloader.prepare_bundle(bundle, &format!("rolled back by {by}"))
        })
        .await
    }

    fn store(&self) -> Result<&dyn VersionSource, ReloadError> {
        self.loader.store().map(|(store, _)| store).ok_or(ReloadError::NoStore)
    }

    fn seen(&self) -> Option<Seen> {
        self.state.lock().seen.clone()
    }

    /// Checks a bundle that is not in the store yet.
    fn prepare_bundle(&self, bundle: BundleFile, how: &str) -> Result<PreparedChange, ReloadError> {
        let store = self.store()?;
        let loaded = self.loader.accept_bundle(&bundle, self.seen(), self.clock.now_millis())?;
        let manifest = &bundle.published().manifest;
        let prepared = self.prepare_live(loaded, format!("@{} {how}", manifest.sequence))?;
        // The very same publication may be there from before a restart, without the signatures that count now.
        let store_write = match store.read(manifest.sequence) {
            Ok(there) if there == *bundle.published() => None,
            Ok(there) if there.manifest == *manifest => {
                Some(StoreWrite::Signatures(bundle.published().signed_also_as(&there)))
            }
            _ => Some(StoreWrite::New(bundle)),
        };
        Ok(PreparedChange { store_write, ..prepared })
    }

    fn prepare_live(&self, loaded: LoadedSources, what: String) -> Result<PreparedChange, ReloadError> {
        let LoadedSources { sources, origin, stored, expires_millis } = loaded;
        let bundle = self.policy.prepare(sources).map_err(ReloadError::Policies)?;
        let bundle = Arc::new(bundle);
        let (candidate, candidate_change) = self.candidate(&bundle);
        let live = Live { bundle, origin, stored, expires_millis, candidate };
        Ok(PreparedChange { parts: None, live, what, store_write: None, candidate_change })
    }

    /// The candidate beside a set, and what happened to it. A candidate that cannot be loaded does not keep the set from
    /// becoming live.
    fn candidate(&self, live_set: &Bundle) -> (Option<Arc<Candidate>>, Option<CandidateChange>) {
        let sources = match self.loader.candidate() {
            Ok(Some(sources)) => sources,
            Ok(None) => return (None, None),
            Err(error) => return (None, Some(CandidateChange::Refused(error.to_string()))),
        };
        let version = sources.version();
        if version == *live_set.version() {
            return (None, None);
        }
        let live = self.policy.live();
        if let Some(known) = &live.candidate
            && *known.bundle().version() == version
            && live.bundle.version() == live_set.version()
        {
            // The same two sets: what was counted goes on.
            return (Some(Arc::clone(known)), None);
        }
        match self.policy.prepare(sources) {
            Ok(bundle) => {
                (Some(Arc::new(Candidate::new(Arc::new(bundle)))), Some(CandidateChange::Begins(version)))
            }
            Err(errors) => (None, Some(CandidateChange::Refused(error::report(&errors)))),
        }
    }

    /// Loads the candidate alone; the live set stays as it is. For the start.
    pub async fn watch_candidate(self: &Arc<Self>) {
        let reloader = Arc::clone(self);
        let turn = Arc::clone(&self.turn).lock_owned().await;
        let looked = blocking::run(move || {
            let live = reloader.policy.live();
            (reloader.candidate(&live.bundle), live, turn)
        });
        let Ok(((candidate, candidate_change), live, _turn)) = looked.await else { return };
        if candidate.is_some() {
            self.policy.watch(&live, candidate);
        }
        self.record_candidate(candidate_change).await;
    }

    /// One change, from the lock to the swap or the record of its refusal. It runs to its end when its caller is gone.
    async fn change(
        self: &Arc<Self>,
        cause: Cause,
        prepare: impl FnOnce(&Self) -> Result<PreparedChange, ReloadError> + Send + 'static,
    ) -> Result<Reloaded, ReloadError> {
        let reloader = Arc::clone(self);
        let whole = tokio::spawn(async move {
            let done = reloader.attempt(cause, prepare).await;
            if let Err(error) = &done {
                reloader.record_refusal(cause, &error.with_cause()).await;
                if let ReloadError::Keys(_) = error {
                    reloader.note(SecurityEvent::IssuerKeysRefused { error: &error.with_cause() }).await;
                }
            }
            done
        });
        whole.await.unwrap_or(Err(ReloadError::Stopped))
    }

    /// Waits for a change that is under way, as long as one may take.
    pub async fn settle(&self) {
        let _ = tokio::time::timeout(self.settings.timeout, self.turn.lock()).await;
    }

    async fn attempt(
        self: &Arc<Self>,
        cause: Cause,
        prepare: impl FnOnce(&Self) -> Result<PreparedChange, ReloadError> + Send + 'static,
    ) -> Result<Reloaded, ReloadError> {
        let bound = self.settings.timeout;
        let slow = |_| ReloadError::Slow(bound);
        let turn = tokio::time::timeout(bound, Arc::clone(&self.turn).lock_owned()).await.map_err(slow)?;
        let reloader = Arc::clone(self);
        // On a thread that ends with it: what a load takes in between, several times what stays, goes back then, and does
        // not lie with one thread of the pool after the other.
        let (done, checked) = tokio::sync::oneshot::channel();
        let check = move || {
            let prepared = reloader.unlocked().and_then(|()| prepare(&reloader));
            drop(done.send((prepared, turn)));
        };
        stack::spawn("policies", check).map_err(|_| ReloadError::Stopped)?;
        // A check that overruns is not waited for; what it comes to goes nowhere, and until then nothing else is begun.
        let (prepared, turn) =
            tokio::time::timeout(bound, checked).await.map_err(slow)?.map_err(|_| ReloadError::Stopped)?;
        let PreparedChange { parts, live, mut what, store_write, candidate_change } = prepared?;
        let before = self.policy.live();
        let from = before.bundle.version().clone();
        let to = live.bundle.version().clone();
        let of_agents = self.agent_changes(parts.as_ref().map(|parts| &parts.agents));
        let of_pins = self.pin_changes(parts.as_ref());
        let of_keys = parts.as_ref().and_then(|parts| parts.keys.as_ref()).is_some_and(KeyDraft::is_change);
        let unchanged = of_agents.is_empty() && of_pins.is_empty() && !of_keys;
        if cause == Cause::Watch && from == to && before.origin == live.origin && unchanged {
            // What was seen to change is what this gateway itself has just made live.
            return Ok(Reloaded { from, to, warnings: Vec::new(), changes: Vec::new() });
        }
        // The check took its time: a lock that was engaged meanwhile holds.
        let reloader = Arc::clone(self);
        blocking::run(move || reloader.unlocked()).await??;
        let both = (Arc::clone(&before.bundle), Arc::clone(&live.bundle));
        let mut changes = blocking::run(move || differences(&both.0, &both.1)).await?;
        changes.extend(of_agents.iter().map(ToString::to_string));
        changes.extend(of_keys.then(|| "keys of the issuer changed".to_owned()));
        for changed in of_pins {
            what.push_str(", ");
            what.push_str(&changed);
            changes.push(format!("{changed} changed"));
        }
        let detail = format!("{}: {what}: {} -> {}", cause.as_str(), from.as_str(), to.as_str());
        let event = SecurityEvent::PoliciesReloaded { detail: &detail };
        let mut record = self.record_of(&event).ok_or(ReloadError::Unrecorded)?;
        record.policy_version = Some(to);
        self.journal.append(record).await.map_err(|_| ReloadError::Unrecorded)?;
        if of_keys && !self.note(SecurityEvent::IssuerKeysReloaded).await {
            return Err(ReloadError::Unrecorded);
        }
        for change in of_agents {
            let record = self.agent_record(change).ok_or(ReloadError::Unrecorded)?;
            self.journal.append(record).await.map_err(|_| ReloadError::Unrecorded)?;
        }
        let reloader = Arc::clone(self);
        let swapped = blocking::run(move || {
            // Until the swap is done: a caller who has gone away does not let the next change in before it.
            let _turn = turn;
            // The record took its time as well.
            reloader.unlocked()?;
            match store_write {
                Some(StoreWrite::New(bundle)) => {
                    reloader.store()?.add(bundle.published(), bundle.sources())?
                }
                Some(StoreWrite::Signatures(published)) => reloader.store()?.resign(&published)?,
                None => {}
            }
            reloader.remember(&live, parts.as_ref()).map_err(ReloadError::Remember)?;
            Ok::<_, ReloadError>(reloader.install(live, parts))
        });
        let reloaded = swapped.await??;
        self.record_candidate(candidate_change).await;
        let told = changes.join(", ");
        let told = if told.is_empty() { "nothing changed" } else { &*told };
        tracing::info!(
            from = reloaded.from.short(),
            to = reloaded.to.short(),
            changes = told,
            "policies reloaded"
        );
        Ok(Reloaded { changes, ..reloaded })
    }

    /// Whether nothing is locked; a lock that cannot be read holds. Blocking.
    pub fn unlocked(&self) -> Result<(), ReloadError> {
        match self.lock.engaged() {
            Ok(None) => Ok(()),
            Ok(Some(engaged)) => Err(ReloadError::Locked(engaged.reason)),
            Err(error) => Err(ReloadError::Locked(error.to_string())),
        }
    }
}
