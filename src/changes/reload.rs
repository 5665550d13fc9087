//! Changes of what decides, while requests are being decided.
//!
//! Every change goes one way: the emergency lock is asked, the set is read, judged ([`crate::policy::version::Rules`]),
//! parsed and validated, all within a bound of time; then it is recorded, remembered, and swapped in whole. What fails at
//! any step changes nothing: the old set serves, and there is one record and one line for the security log.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Mutex as AsyncMutex;

use super::file;
use super::lock::{ChangeLock, Engaged};
use super::places::{Offered, Place, Places};
use crate::agents::{Register, RegisterDraft};
use crate::attributes::Attributes;
use crate::audit::Journal;
use crate::authz::Permit;
use crate::blocking;
use crate::clock::SharedClock;
use crate::events::SecurityEvent;
use crate::model::{PolicyVersion, PublishPolicies, ReloadPolicies, RollbackPolicies};
use crate::policy::Bundle;
use crate::policy::live::{Live, LivePolicy, Reloaded};
use crate::policy::shadow::Candidate;
use crate::policy::version::{BundleFile, Kind, Manifest, Published, Seen, VersionError, VersionStore};
use crate::stack;

mod agents;
mod error;
mod first;
mod note;
mod remembered;

pub use error::{Cause, ReloadError};
pub use first::{First, FirstError, FirstRemembered, first};
pub use remembered::{Refusal, Remembered};

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

/// Changes what decides.
pub struct Reloader {
    policy: Arc<LivePolicy>,
    places: Places,
    lock: ChangeLock,
    settings: ReloadSettings,
    journal: Journal,
    clock: SharedClock,
    remembered: Mutex<Remembered>,
    /// What is changed together with the policies; nothing in tests of policies alone.
    beside: Option<Beside>,
    /// Changes come one after another. Held by the check itself, so that one that overran its time is not joined by others.
    turn: Arc<AsyncMutex<()>>,
}

/// The agents, which are read and put in force together with the policies.
struct Beside {
    agents: Register,
    attributes: Attributes,
    /// The pins of tools, which are read at the start only, by server.
    pins: BTreeMap<String, String>,
}

/// A set that may go live.
struct Ready {
    /// The agents beside it; `None` where a change is of policies alone.
    agents: Option<RegisterDraft>,
    live: Live,
    what: String,
    /// What is kept in the store first, once the change is on record.
    keep: Option<Keep>,
    watching: Option<Watching>,
}

/// What the store gets.
enum Keep {
    /// A publication that is not there yet.
    New(BundleFile),
    /// Other signatures for one that is there.
    Signatures(Published),
}

/// What there is to say of a candidate.
enum Watching {
    /// It is asked from now on.
    Begins(PolicyVersion),
    /// It cannot be asked.
    Refused(String),
}

impl Reloader {
    /// Takes over from [`first`], whose live set `policy` holds.
    pub fn new(
        policy: Arc<LivePolicy>,
        places: Places,
        settings: ReloadSettings,
        remembered: FirstRemembered,
        journal: Journal,
        clock: SharedClock,
    ) -> Result<Self, std::io::Error> {
        let lock = ChangeLock::in_directory(&settings.data_dir);
        let reloader = Self {
            policy,
            places,
            lock,
            settings,
            journal,
            clock,
            remembered: Mutex::new(remembered.0),
            beside: None,
            turn: Arc::default(),
        };
        let live = reloader.policy.live();
        reloader.remember(&live, None)?;
        Ok(reloader)
    }

    /// From now on agents change together with the policies, or neither does. `pins` are the digests of the tools' pins by
    /// server.
    #[must_use]
    pub fn with_agents(
        mut self,
        agents: Register,
        attributes: Attributes,
        pins: BTreeMap<String, String>,
    ) -> Self {
        self.beside = Some(Beside { agents, attributes, pins });
        self
    }

    /// Where policies come from.
    pub fn places(&self) -> &Places {
        &self.places
    }

    /// The live policies.
    pub fn policy(&self) -> &Arc<LivePolicy> {
        &self.policy
    }

    /// The bounds of a change.
    pub fn settings(&self) -> &ReloadSettings {
        &self.settings
    }

    /// What is remembered.
    pub fn remembered(&self) -> Remembered {
        self.remembered.lock().clone()
    }

    /// Where the emergency lock is.
    pub fn lock_file(&self) -> PathBuf {
        self.lock.path().to_owned()
    }

    /// What the emergency lock says. Blocking.
    pub fn engaged(&self) -> std::io::Result<Option<Engaged>> {
        self.lock.engaged()
    }

    /// Reads the place and the agents again, and makes live what is there: all of it, or none.
    pub async fn reload(self: &Arc<Self>, cause: Cause) -> Result<Reloaded, ReloadError> {
        self.change(cause, move |reloader| {
            let offered = reloader.places.read(reloader.seen(), reloader.clock.now_millis())?;
            let ready = reloader.ready(offered, "read again".to_owned())?;
            // That tools came or went, or that something was published, says nothing of files.
            let of_files = match cause {
                Cause::Signal | Cause::Api => true,
                Cause::Watch => matches!(reloader.places.place, Place::Files { .. }),
                Cause::Tools | Cause::Remote => false,
            };
            let agents = if of_files { reloader.agents()? } else { None };
            Ok(Ready { agents, ..ready })
        })
        .await
    }

    /// The same for an operator who was admitted.
    pub async fn reload_for(
        self: &Arc<Self>,
        permit: Permit<ReloadPolicies>,
    ) -> Result<Reloaded, ReloadError> {
        drop(permit);
        self.reload(Cause::Api).await
    }

    /// Keeps a bundle that an operator sent, and makes it live.
    pub async fn publish(self: &Arc<Self>, permit: Permit<PublishPolicies>) -> Result<Reloaded, ReloadError> {
        let by = permit.subject().principal().to_string();
        let bundle = permit.into_operation().bundle;
        self.change(Cause::Api, move |reloader| {
            let bundle = BundleFile::from_json(bundle)?;
            reloader.take(bundle, &format!("published by {by}"))
        })
        .await
    }

    /// Keeps a bundle that came over the network, and makes it live.
    pub async fn receive(self: &Arc<Self>, bytes: Vec<u8>) -> Result<Reloaded, ReloadError> {
        self.change(Cause::Remote, move |reloader| {
            let bundle = BundleFile::parse(&bytes, reloader.settings.max_bundle_bytes)?;
            reloader.take(bundle, "fetched")
        })
        .await
    }

    /// Publishes an older version again. Where versions have to be signed, nobody here can do that.
    pub async fn rollback(
        self: &Arc<Self>,
        permit: Permit<RollbackPolicies>,
    ) -> Result<Reloaded, ReloadError> {
        let by = permit.subject().principal().to_string();
        let RollbackPolicies { version, message } = permit.into_operation();
        self.change(Cause::Api, move |reloader| {
            let store = reloader.store()?;
            if matches!(reloader.places.store(), Some((_, true))) {
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
            reloader.take(bundle, &format!("rolled back by {by}"))
        })
        .await
    }

    fn store(&self) -> Result<&VersionStore, ReloadError> {
        self.places.store().map(|(store, _)| store).ok_or(ReloadError::NoStore)
    }

    fn seen(&self) -> Option<Seen> {
        self.remembered.lock().seen.clone()
    }

    /// Judges a bundle that is not in the store yet.
    fn take(&self, bundle: BundleFile, how: &str) -> Result<Ready, ReloadError> {
        let store = self.store()?;
        let offered = self.places.offer_bundle(&bundle, self.seen(), self.clock.now_millis())?;
        let manifest = &bundle.published().manifest;
        let ready = self.ready(offered, format!("@{} {how}", manifest.sequence))?;
        // The very same publication may be there from before a restart, without the signatures that count now.
        let keep = match store.read(manifest.sequence) {
            Ok(there) if there == *bundle.published() => None,
            Ok(there) if there.manifest == *manifest => {
                Some(Keep::Signatures(bundle.published().signed_also_as(&there)))
            }
            _ => Some(Keep::New(bundle)),
        };
        Ok(Ready { keep, ..ready })
    }

    fn ready(&self, offered: Offered, what: String) -> Result<Ready, ReloadError> {
        let Offered { sources, origin, stored, expires_millis } = offered;
        let bundle = self.policy.prepare(sources).map_err(ReloadError::Policies)?;
        let bundle = Arc::new(bundle);
        let (candidate, watching) = self.candidate(&bundle);
        let live = Live { bundle, origin, stored, expires_millis, candidate };
        Ok(Ready { agents: None, live, what, keep: None, watching })
    }

    /// The candidate beside a set, and what there is to say of it. That it cannot be had keeps nothing from going live.
    fn candidate(&self, beside: &Bundle) -> (Option<Arc<Candidate>>, Option<Watching>) {
        let sources = match self.places.candidate() {
            Ok(Some(sources)) => sources,
            Ok(None) => return (None, None),
            Err(error) => return (None, Some(Watching::Refused(error.to_string()))),
        };
        let version = sources.version();
        if version == *beside.version() {
            return (None, None);
        }
        let live = self.policy.live();
        if let Some(known) = &live.candidate
            && *known.bundle().version() == version
            && live.bundle.version() == beside.version()
        {
            // The same two sets: what was counted goes on.
            return (Some(Arc::clone(known)), None);
        }
        match self.policy.prepare(sources) {
            Ok(bundle) => (Some(Arc::new(Candidate::new(Arc::new(bundle)))), Some(Watching::Begins(version))),
            Err(errors) => (None, Some(Watching::Refused(error::report(&errors)))),
        }
    }

    /// Looks at the candidate alone; the live set stays as it is. For the start.
    pub async fn watch_candidate(self: &Arc<Self>) {
        let reloader = Arc::clone(self);
        let turn = Arc::clone(&self.turn).lock_owned().await;
        let looked = blocking::run(move || {
            let live = reloader.policy.live();
            (reloader.candidate(&live.bundle), live, turn)
        });
        let Ok(((candidate, watching), live, _turn)) = looked.await else { return };
        if candidate.is_some() {
            self.policy.watch(&live, candidate);
        }
        self.note_candidate(watching).await;
    }

    /// One change, from the lock to the swap or the record of its refusal, whether its caller waits for that or not.
    async fn change(
        self: &Arc<Self>,
        cause: Cause,
        prepare: impl FnOnce(&Self) -> Result<Ready, ReloadError> + Send + 'static,
    ) -> Result<Reloaded, ReloadError> {
        let reloader = Arc::clone(self);
        let whole = tokio::spawn(async move {
            let done = reloader.attempt(cause, prepare).await;
            if let Err(error) = &done {
                reloader.note_refusal(cause, &error.told()).await;
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
        prepare: impl FnOnce(&Self) -> Result<Ready, ReloadError> + Send + 'static,
    ) -> Result<Reloaded, ReloadError> {
        let bound = self.settings.timeout;
        let slow = |_| ReloadError::Slow(bound);
        let turn = tokio::time::timeout(bound, Arc::clone(&self.turn).lock_owned()).await.map_err(slow)?;
        let reloader = Arc::clone(self);
        // On a thread that ends with it: what a load takes in between, several times what stays, goes back then, and does
        // not lie with one thread of the pool after the other.
        let (done, checked) = tokio::sync::oneshot::channel();
        let check = move || {
            let ready = reloader.unlocked().and_then(|()| prepare(&reloader));
            drop(done.send((ready, turn)));
        };
        stack::spawn("policies", check).map_err(|_| ReloadError::Stopped)?;
        // A check that overruns is not waited for; what it comes to goes nowhere, and until then nothing else is begun.
        let (ready, turn) =
            tokio::time::timeout(bound, checked).await.map_err(slow)?.map_err(|_| ReloadError::Stopped)?;
        let Ready { agents, live, what, keep, watching } = ready?;
        let before = self.policy.live();
        let (from, to) = (before.bundle.version().clone(), live.bundle.version().clone());
        let of_agents = self.changes_of_agents(agents.as_ref());
        if cause == Cause::Watch && from == to && before.origin == live.origin && of_agents.is_empty() {
            // What was seen to change is what this gateway itself has just made live.
            return Ok(Reloaded { from, to });
        }
        // The check took its time: a lock that was engaged meanwhile holds.
        self.unlocked()?;
        let detail = format!("{}: {what}: {} -> {}", cause.as_str(), from.as_str(), to.as_str());
        let event = SecurityEvent::PoliciesReloaded { detail: &detail };
        let mut record = self.record_of(&event).ok_or(ReloadError::Unrecorded)?;
        record.policy_version = Some(to);
        self.journal.append(record).await.map_err(|_| ReloadError::Unrecorded)?;
        for change in of_agents {
            let record = self.record_of_agent(change).ok_or(ReloadError::Unrecorded)?;
            self.journal.append(record).await.map_err(|_| ReloadError::Unrecorded)?;
        }
        let reloader = Arc::clone(self);
        let swapped = blocking::run(move || {
            // Until the swap is done: a caller who has gone away does not let the next change in before it.
            let _turn = turn;
            // The record took its time as well.
            reloader.unlocked()?;
            match keep {
                Some(Keep::New(bundle)) => reloader.store()?.add(bundle.published(), bundle.sources())?,
                Some(Keep::Signatures(published)) => reloader.store()?.resign(&published)?,
                None => {}
            }
            reloader.remember(&live, agents.as_ref()).map_err(ReloadError::Remember)?;
            reloader.install_agents(agents);
            Ok::<_, ReloadError>(reloader.policy.install(live))
        });
        let reloaded = swapped.await??;
        self.note_candidate(watching).await;
        tracing::info!(from = reloaded.from.short(), to = reloaded.to.short(), "policies reloaded");
        Ok(reloaded)
    }

    /// Whether nothing is locked; a lock that cannot be read holds. Blocking.
    pub fn unlocked(&self) -> Result<(), ReloadError> {
        match self.lock.engaged() {
            Ok(None) => Ok(()),
            Ok(Some(engaged)) => Err(ReloadError::Locked(engaged.reason)),
            Err(error) => {
                Err(ReloadError::Locked(format!("`{}` cannot be read: {error}", self.lock.path().display())))
            }
        }
    }
}
