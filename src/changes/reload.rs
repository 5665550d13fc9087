//! Changes of what decides, while requests are being decided.
//!
//! Every change goes one way: the emergency lock is asked, the set is read, judged ([`crate::policy::version::Rules`]),
//! parsed and validated, all within a bound of time; then it is recorded, remembered, and swapped in whole. What fails at
//! any step changes nothing: the old set serves, and there is one record and one line for the security log.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex as AsyncMutex;

use super::file;
use super::lock::{ChangeLock, Engaged};
use super::places::{Offered, PlaceError, Places};
use crate::audit::{Journal, Record};
use crate::authz::Permit;
use crate::clock::SharedClock;
use crate::model::{EventType, Outcome, PolicyVersion, PublishPolicies, ReloadPolicies, RollbackPolicies};
use crate::policy::live::{Live, LivePolicy, Origin, Reloaded};
use crate::policy::shadow::Candidate;
use crate::policy::version::{BundleFile, Kind, Manifest, Published, Seen, VersionError, VersionStore};
use crate::policy::{Bundle, PolicyErrors};

/// The name of the file in the data directory that remembers what was accepted.
const REMEMBERED: &str = "policy-state.json";
/// The longest text about a refusal that is kept, in bytes.
const REPORT_BYTES: usize = 16 * 1024;

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

/// What brought a change about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// An operator on this host (SIGHUP).
    Signal,
    /// Files changed.
    Watch,
    /// Tools came or went.
    Tools,
    /// An operator over the API.
    Api,
    /// A bundle from the network.
    Remote,
}

impl Cause {
    /// The word in records.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Signal => "signal",
            Self::Watch => "watch",
            Self::Tools => "tools",
            Self::Api => "api",
            Self::Remote => "remote",
        }
    }
}

/// Why nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// The emergency lock is engaged.
    #[error("changes are locked: {0}")]
    Locked(String),
    /// The set could not be read, or may not decide.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// The set is not valid.
    #[error("{}", report(.0))]
    Policies(PolicyErrors),
    /// It took too long.
    #[error("the check took longer than {0:?}")]
    Slow(Duration),
    /// The gateway decides by directories, so nothing can be published to it.
    #[error("this gateway reads its policies from directories; nothing can be published to it")]
    NoStore,
    /// A rollback has to be signed like everything else.
    #[error("versions have to be signed here: sign the rollback where the key is, and publish it")]
    MustBeSigned,
    /// What was accepted could not be remembered.
    #[error("what was accepted could not be remembered")]
    Remember(#[source] std::io::Error),
    /// It could not be recorded: no record, no effect.
    #[error("the change could not be recorded")]
    Unrecorded,
    /// The check ended before its end.
    #[error("the check stopped before its end")]
    Stopped,
}

impl ReloadError {
    /// Whether the same change may come through later without anybody mending it.
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Slow(_) | Self::Remember(_) | Self::Unrecorded | Self::Stopped)
    }
}

impl From<VersionError> for ReloadError {
    fn from(error: VersionError) -> Self {
        Self::Place(error.into())
    }
}

/// What is remembered across a restart.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Remembered {
    /// The version that decides.
    pub version: Option<PolicyVersion>,
    /// What of it lies in files or in the store, when tool servers brought schema of their own to it.
    #[serde(default)]
    pub stored: Option<PolicyVersion>,
    /// The emergency lock, as far as it is on record.
    #[serde(default)]
    pub locked: Option<Engaged>,
    /// The publication that was accepted last; no older one is accepted again.
    pub seen: Option<Seen>,
    /// When that was, in milliseconds since the Unix epoch.
    pub time_millis: i64,
    /// The last refusal, if nothing was accepted since.
    pub refused: Option<Refusal>,
}

/// A change that was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refusal {
    /// When, in milliseconds since the Unix epoch.
    pub time_millis: i64,
    /// What brought it about.
    pub cause: String,
    /// Why, for the operator.
    pub why: String,
}

impl Remembered {
    /// What a gateway with this data directory remembers; nothing when it never ran.
    pub fn read(data_dir: &Path) -> std::io::Result<Self> {
        Ok(file::read(&data_dir.join(REMEMBERED))?.unwrap_or_default())
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
    /// Changes come one after another. Held by the check itself, so that one that overran its time is not joined by others.
    turn: Arc<AsyncMutex<()>>,
}

/// A set that may go live.
struct Ready {
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

/// What a gateway starts with.
pub struct First {
    /// What decides from the start.
    pub live: Live,
    remembered: Remembered,
}

/// Why a gateway has nothing to decide by.
#[derive(Debug, thiserror::Error)]
pub enum FirstError {
    /// The set could not be read, or may not decide.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// The set is not valid.
    #[error("the policies are not valid")]
    Policies(#[source] PolicyErrors),
    /// The lock, or what was accepted before, cannot be read.
    #[error("`{}` cannot be read", path.display())]
    Facts {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The files are not those that were live when the emergency lock was engaged.
    #[error("changes are locked, and the policies are {found}, not {locked}")]
    Locked {
        /// What the lock names.
        locked: String,
        /// What is there.
        found: String,
    },
}

/// Reads what a gateway starts with, under the same rules as every change.
pub fn first(
    places: &Places,
    settings: &ReloadSettings,
    policy: crate::policy::Settings,
    now_millis: i64,
) -> Result<First, FirstError> {
    let facts = |path: PathBuf| move |source| FirstError::Facts { path, source };
    let lock = ChangeLock::in_directory(&settings.data_dir);
    let engaged = lock.engaged().map_err(facts(lock.path().to_owned()))?;
    let path = settings.data_dir.join(REMEMBERED);
    let remembered = Remembered::read(&settings.data_dir).map_err(facts(path))?;
    let only = engaged.as_ref().map(|engaged| &engaged.version);
    let offered = places.read_first(remembered.seen.clone(), only, now_millis)?;
    let (origin, stored, expires_millis) = (offered.origin, offered.stored, offered.expires_millis);
    let bundle = Bundle::load_with(offered.sources, policy).map_err(FirstError::Policies)?;
    // The first reload, which the gateway makes when it is up, looks at the candidate as well.
    let live = Live { bundle: Arc::new(bundle), origin, stored, expires_millis, candidate: None };
    if let (Some(engaged), Origin::Files) = (&engaged, &live.origin)
        && engaged.version != *live.stored()
    {
        let (locked, found) = (engaged.version.short().to_owned(), live.stored().short().to_owned());
        return Err(FirstError::Locked { locked, found });
    }
    Ok(First { live, remembered })
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
            turn: Arc::default(),
        };
        let live = reloader.policy.live();
        reloader.remember(&live)?;
        Ok(reloader)
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

    /// Reads the place again, and makes live what is there.
    pub async fn reload(self: &Arc<Self>, cause: Cause) -> Result<Reloaded, ReloadError> {
        self.change(cause, |reloader| {
            let offered = reloader.places.read(reloader.seen(), reloader.clock.now_millis())?;
            reloader.ready(offered, "read again".to_owned())
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

    /// Notes a change that was refused before it came here: a bundle that could not be fetched whole.
    pub async fn refuse(self: &Arc<Self>, cause: Cause, why: &str) {
        self.note_refusal(cause, why).await;
    }

    /// Records when the emergency lock was engaged or taken away since that was on record last, also while no gateway
    /// ran. The lock holds whether this can be recorded or not. Whether nothing is left to be recorded.
    pub async fn look_at_lock(self: &Arc<Self>) -> bool {
        let looking = Arc::clone(self);
        // One that cannot be read holds, and each refusal says so.
        let looked = tokio::task::spawn_blocking(move || looking.engaged()).await;
        let Ok(Ok(now)) = looked else { return true };
        if now == self.remembered.lock().locked {
            return true;
        }
        if !self.note_lock(now.as_ref()).await {
            return false;
        }
        let noting = Arc::clone(self);
        let noted = tokio::task::spawn_blocking(move || {
            let mut remembered = noting.remembered.lock();
            remembered.locked = now;
            file::write(&noting.settings.data_dir.join(REMEMBERED), &*remembered)
        });
        if let Ok(Err(error)) = noted.await {
            // It is recorded once more after a restart, which is better than never.
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "the state of the lock is not remembered"
            );
        }
        true
    }

    async fn note_lock(&self, engaged: Option<&Engaged>) -> bool {
        let (name, detail) = match engaged {
            Some(engaged) => {
                ("changes_locked", format!("by {}: {}", engaged.author, shortened(&engaged.reason)))
            }
            None => ("changes_unlocked", String::new()),
        };
        tracing::warn!(target: "SECURITY", event_type = name, details = %detail);
        let record = self.event(name, Outcome::Allow, detail);
        match self.journal.append(record).await {
            Ok(_) => true,
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::error!(error, event = name, "an event could not be recorded");
                false
            }
        }
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
        Ok(Ready { live, what, keep: None, watching })
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
            Err(errors) => (None, Some(Watching::Refused(report(&errors)))),
        }
    }

    /// Looks at the candidate alone; the live set stays as it is. For the start.
    pub async fn watch_candidate(self: &Arc<Self>) {
        let reloader = Arc::clone(self);
        let turn = Arc::clone(&self.turn).lock_owned().await;
        let looked = tokio::task::spawn_blocking(move || {
            let live = reloader.policy.live();
            (reloader.candidate(&live.bundle), live, turn)
        });
        let Ok(((candidate, watching), live, _turn)) = looked.await else { return };
        if candidate.is_some() {
            self.policy.watch(&live, candidate);
        }
        self.note_candidate(watching).await;
    }

    async fn note_candidate(&self, watching: Option<Watching>) {
        let record = match watching {
            None => return,
            Some(Watching::Begins(version)) => {
                self.event("candidate_loaded", Outcome::Allow, version.as_str().to_owned())
            }
            Some(Watching::Refused(why)) => {
                let why = shortened(&why);
                tracing::warn!(error = why, "the candidate is refused; nothing watches");
                self.event("candidate_refused", Outcome::DenyError, why)
            }
        };
        if let Err(error) = self.journal.append(record).await {
            let error = &error as &dyn std::error::Error;
            tracing::error!(error, event = "candidate", "an event could not be recorded");
        }
    }

    /// The digest of what is in the place now, for a watcher that waits until it stays the same. Blocking.
    pub fn fingerprint(&self) -> Result<PolicyVersion, PlaceError> {
        Ok(self.places.look(self.clock.now_millis())?.version())
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
                reloader.note_refusal(cause, &told(error)).await;
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
        let checked = tokio::task::spawn_blocking(move || {
            let ready = reloader.unlocked().and_then(|()| prepare(&reloader));
            (ready, turn)
        });
        // A check that overruns is not waited for; what it comes to goes nowhere, and until then nothing else is begun.
        let (ready, turn) =
            tokio::time::timeout(bound, checked).await.map_err(slow)?.map_err(|_| ReloadError::Stopped)?;
        let Ready { live, what, keep, watching } = ready?;
        let before = self.policy.live();
        let (from, to) = (before.bundle.version().clone(), live.bundle.version().clone());
        if cause == Cause::Watch && from == to && before.origin == live.origin {
            // What was seen to change is what this gateway itself has just made live.
            return Ok(Reloaded { from, to });
        }
        // The check took its time: a lock that was engaged meanwhile holds.
        self.unlocked()?;
        let detail = format!("{}: {what}: {} -> {}", cause.as_str(), from.as_str(), to.as_str());
        let mut record = self.event("policy_reload", Outcome::Allow, detail);
        record.policy_version = Some(to);
        self.journal.append(record).await.map_err(|_| ReloadError::Unrecorded)?;
        let reloader = Arc::clone(self);
        let swapped = tokio::task::spawn_blocking(move || {
            // Until the swap is done: a caller who has gone away does not let the next change in before it.
            let _turn = turn;
            // The record took its time as well.
            reloader.unlocked()?;
            match keep {
                Some(Keep::New(bundle)) => reloader.store()?.add(bundle.published(), bundle.sources())?,
                Some(Keep::Signatures(published)) => reloader.store()?.resign(&published)?,
                None => {}
            }
            reloader.remember(&live).map_err(ReloadError::Remember)?;
            Ok::<_, ReloadError>(reloader.policy.install(live))
        });
        let reloaded = swapped.await.map_err(|_| ReloadError::Stopped)??;
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

    fn remember(&self, live: &Live) -> std::io::Result<()> {
        // Held across the write: a refusal that is noted meanwhile must not put the older mark back.
        let mut known = self.remembered.lock();
        let before = known.clone();
        let seen = match &live.origin {
            Origin::Files => before.seen,
            // Under the emergency lock an older one may be live; what was accepted stays the newest.
            Origin::Published { seen, .. } => match before.seen {
                Some(newer) if newer.sequence > seen.sequence => Some(newer),
                _ => Some(seen.clone()),
            },
        };
        let remembered = Remembered {
            version: Some(live.bundle.version().clone()),
            stored: live.stored.clone(),
            locked: before.locked,
            seen,
            time_millis: self.clock.now_millis(),
            refused: None,
        };
        file::write(&self.settings.data_dir.join(REMEMBERED), &remembered)?;
        *known = remembered;
        Ok(())
    }

    async fn note_refusal(self: &Arc<Self>, cause: Cause, why: &str) {
        let why = shortened(why);
        self.policy.count_refusal();
        tracing::warn!(
            target: "SECURITY",
            event_type = "security_violation",
            violation_type = "hot_reload_security_violation",
            details = %why,
        );
        let refusal = Refusal {
            time_millis: self.clock.now_millis(),
            cause: cause.as_str().to_owned(),
            why: why.clone(),
        };
        let reloader = Arc::clone(self);
        // For the status command alone: that nothing was changed does not hang on it.
        let noted = tokio::task::spawn_blocking(move || {
            let mut remembered = reloader.remembered.lock();
            remembered.refused = Some(refusal);
            file::write(&reloader.settings.data_dir.join(REMEMBERED), &*remembered)
        });
        let _ = noted.await;
        let record = self.event("reload_refused", Outcome::DenyError, why);
        if let Err(error) = self.journal.append(record).await {
            let error = &error as &dyn std::error::Error;
            tracing::error!(error, event = "reload_refused", "an event could not be recorded");
        }
    }

    fn event(&self, name: &'static str, outcome: Outcome, detail: String) -> Record {
        let mut record = Record::of_gateway(self.clock.now_millis(), EventType::ConfigurationChange, outcome);
        record.event = Some(name);
        record.detail = Some(detail);
        record.policy_version = Some(self.policy.current().version().clone());
        record
    }
}

/// What [`first`] found remembered; the rest of it goes to the live set.
pub struct FirstRemembered(Remembered);

impl First {
    /// What to decide by, and what was remembered.
    pub fn split(self) -> (Live, FirstRemembered) {
        (self.live, FirstRemembered(self.remembered))
    }
}

/// An error with its cause.
fn told(error: &ReloadError) -> String {
    let cause = match error {
        ReloadError::Place(PlaceError::Version(error)) => std::error::Error::source(error),
        _ => std::error::Error::source(error),
    };
    match cause {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

fn shortened(text: &str) -> String {
    let end = (0..=REPORT_BYTES.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    text.get(..end).unwrap_or_default().to_owned()
}

/// Every mistake, one to a line.
fn report(errors: &PolicyErrors) -> String {
    errors.problems().iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}
