//! Where the keys come from: given once, files that are read again on a reload, or an address that is followed.
//!
//! A request never waits for the network. An unknown key may start one fetch in a while, and its caller is asked to
//! try again; what is fetched replaces the keys as a whole, and what cannot be fetched leaves them as they are, until
//! they are older than the operator allows: then no token counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::jwk::{self, JwkError};
use super::key::{Keyring, read};
use super::settings::{JwksPlace, JwksUrl, JwtAlgorithm, JwtKey};
use crate::authn::AuthnError;
use crate::clock::SharedClock;
use crate::telemetry::{Metrics, metrics::ResultLabels};

/// Why there are no keys at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum KeysError {
    #[error("the issuer's keys were never fetched")]
    NeverFetched,
    #[error("the issuer's keys were last fetched too long ago")]
    Stale,
}

/// Why a fetch brought nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    #[error("the issuer did not answer")]
    Http(#[source] reqwest::Error),
    #[error("the issuer answered with status {0}")]
    Status(u16),
    #[error("the answer is larger than {0} bytes")]
    TooLarge(usize),
    #[error("the key set is refused")]
    Set(#[from] JwkError),
}

/// The address may hold a key: the error does not keep it.
impl From<reqwest::Error> for FetchError {
    fn from(error: reqwest::Error) -> Self {
        Self::Http(error.without_url())
    }
}

/// A keyring and its number: tokens that an older one verified are verified again.
pub(super) struct LiveKeys {
    pub(super) ring: Keyring,
    pub(super) generation: u64,
}

/// The keys of one issuer.
pub(super) struct IssuerKeys {
    live: ArcSwap<LiveKeys>,
    place: Option<(JwtAlgorithm, JwksPlace)>,
    /// Keys that lie each in a file; none when one of them does not.
    files: Vec<JwtKey>,
    remote: Option<RemoteKeys>,
    clock: SharedClock,
    metrics: Arc<Metrics>,
}

/// The keys of an issuer that lie in files: read again with everything that one reload reads. Cheap to clone.
#[derive(Clone)]
pub struct KeyFiles(Arc<IssuerKeys>);

/// Keys as their files have them, read and not in force.
#[derive(Debug)]
pub struct KeyDraft {
    ring: Keyring,
    changed: bool,
}

impl KeyDraft {
    /// Whether they are others than those in force when they were read.
    pub fn is_change(&self) -> bool {
        self.changed
    }
}

impl KeyFiles {
    /// `None` when the keys are in no file.
    pub(super) fn of(keys: &Arc<IssuerKeys>) -> Option<Self> {
        keys.are_in_files().then(|| Self(Arc::clone(keys)))
    }

    /// Reads the files, without an effect. Blocking.
    ///
    /// # Errors
    /// A file cannot be read, or what is in it is refused.
    pub fn read(&self) -> Result<KeyDraft, AuthnError> {
        let ring = self.0.read_again()?;
        let changed = !ring.same_as(&self.0.live.load().ring);
        Ok(KeyDraft { ring, changed })
    }

    /// Puts keys in force.
    pub fn put_in_force(&self, draft: KeyDraft) {
        if draft.changed {
            self.0.replace(draft.ring);
        }
    }

    /// Takes the keys out of force that are no longer in their files, and adds none; whether there were any. Blocking.
    ///
    /// # Errors
    /// A file cannot be read, or what is in it is refused; then the keys stay.
    pub fn drop_removed(&self) -> Result<bool, AuthnError> {
        let mut ring = self.0.read_again()?;
        let live = self.0.live.load();
        ring.retain(&live.ring);
        let fewer = ring.len() < live.ring.len();
        if fewer {
            self.0.replace(ring);
        }
        Ok(fewer)
    }
}

struct RemoteKeys {
    settings: JwksUrl,
    client: reqwest::Client,
    /// Milliseconds since the Unix epoch; [`NEVER`] before the first.
    fetched: AtomicI64,
    attempted: AtomicI64,
    wanted: Notify,
    /// What the last good answer was, so that the same set again changes nothing.
    digest: AtomicU64,
}

const NEVER: i64 = i64::MIN;

impl IssuerKeys {
    /// Reads keys and key file; an address is not asked yet.
    pub(super) fn load(
        keys: Vec<JwtKey>,
        place: Option<(JwtAlgorithm, JwksPlace)>,
        clock: SharedClock,
        metrics: Arc<Metrics>,
    ) -> Result<Self, AuthnError> {
        let files = keys.iter().map(JwtKey::in_file).collect::<Option<Vec<_>>>().unwrap_or_default();
        let (ring, remote) = match &place {
            None => (Keyring::load(keys)?, None),
            Some((algorithm, JwksPlace::File(path))) => (from_file(*algorithm, path)?, None),
            Some((_, JwksPlace::Url(settings))) => {
                (Keyring::default(), Some(RemoteKeys::new(settings.clone())?))
            }
        };
        let live = ArcSwap::from_pointee(LiveKeys { ring, generation: 0 });
        Ok(Self { live, place, files, remote, clock, metrics })
    }

    /// The keys in use now.
    pub(super) fn current(&self) -> Result<arc_swap::Guard<Arc<LiveKeys>>, KeysError> {
        if let Some(remote) = &self.remote {
            let fetched = remote.fetched.load(Ordering::Acquire);
            if fetched == NEVER {
                return Err(KeysError::NeverFetched);
            }
            if self.clock.now_millis().saturating_sub(fetched) > millis(remote.settings.stale_after) {
                return Err(KeysError::Stale);
            }
        }
        Ok(self.live.load())
    }

    /// Whether keys are available now, and where they come from, for the operator.
    pub(super) fn status(&self) -> (bool, String) {
        let state = self.current().map(|live| live.ring.len());
        let place = match &self.place {
            None => "configured keys".to_owned(),
            Some((_, JwksPlace::File(path))) => format!("key set `{}`", path.display()),
            Some((_, JwksPlace::Url(settings))) => format!("key set `{}`", settings.url),
        };
        match state {
            Ok(count) => (true, format!("{place}, {count} in use")),
            Err(error) => (false, format!("{place}: {error}")),
        }
    }

    /// A token named a key that is not here. Returns whether it may come soon: a fetch is under way or started by this, which
    /// happens once in `min_interval` at most, however many ask.
    pub(super) fn unknown_kid(&self) -> bool {
        let Some(remote) = &self.remote else { return false };
        let now = self.clock.now_millis();
        let interval = millis(remote.settings.min_interval);
        let due = |last: i64| (now.saturating_sub(last) >= interval).then_some(now);
        match remote.attempted.fetch_update(Ordering::AcqRel, Ordering::Acquire, due) {
            Ok(_) => {
                remote.wanted.notify_one();
                true
            }
            Err(last) => {
                let under_way = remote.fetched.load(Ordering::Acquire) < last;
                under_way && now.saturating_sub(last) < millis(remote.settings.timeout)
            }
        }
    }

    /// Whether the keys lie in files.
    fn are_in_files(&self) -> bool {
        !self.files.is_empty() || matches!(self.place, Some((_, JwksPlace::File(_))))
    }

    /// The keys as their files have them now.
    fn read_again(&self) -> Result<Keyring, AuthnError> {
        match &self.place {
            Some((algorithm, JwksPlace::File(path))) => from_file(*algorithm, path),
            Some((_, JwksPlace::Url(_))) | None => {
                Keyring::load(self.files.iter().filter_map(JwtKey::in_file).collect())
            }
        }
    }

    fn replace(&self, ring: Keyring) {
        let generation = self.live.load().generation.wrapping_add(1);
        self.live.store(Arc::new(LiveKeys { ring, generation }));
    }

    /// Keeps the keys of an address fresh until `stop`; returns at once when there is none.
    pub(super) async fn follow(&self, stop: &CancellationToken) {
        let Some(remote) = &self.remote else { return };
        let mut failures = 0;
        loop {
            remote.attempted.store(self.clock.now_millis(), Ordering::Release);
            let fetched = tokio::select! {
                () = stop.cancelled() => return,
                fetched = self.refresh(remote) => fetched,
            };
            failures = match fetched {
                Ok(()) => 0,
                Err(error) => {
                    let advice = "tokens are checked with the keys fetched before, until these are too old";
                    tracing::warn!(error = &error as &dyn std::error::Error, url = %remote.settings.url, help = advice, "the issuer's keys could not be fetched");
                    failures + 1
                }
            };
            let result = if failures == 0 { "ok" } else { "failed" };
            self.metrics.jwks_refreshes.get_or_create(&ResultLabels { result }).inc();
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(remote.settings.wait(failures)) => {}
                () = remote.wanted.notified() => {}
            }
        }
    }

    async fn refresh(&self, remote: &RemoteKeys) -> Result<(), FetchError> {
        let body = remote.fetch().await?;
        let Some((algorithm, _)) = &self.place else { return Ok(()) };
        let digest = digest(&body);
        let fresh = remote.fetched.load(Ordering::Acquire) == NEVER
            || remote.digest.load(Ordering::Acquire) != digest;
        if fresh {
            let found = jwk::read(&body, *algorithm)?;
            tell_left_out(&found.left_out);
            self.replace(Keyring::of(found.keys));
            remote.digest.store(digest, Ordering::Release);
        }
        remote.fetched.store(self.clock.now_millis(), Ordering::Release);
        Ok(())
    }
}

impl RemoteKeys {
    fn new(settings: JwksUrl) -> Result<Self, AuthnError> {
        let client = reqwest::Client::builder()
            .timeout(settings.timeout)
            // Where the keys are is in the configuration only.
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .user_agent(concat!("caxton/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(AuthnError::Client)?;
        let never = || AtomicI64::new(NEVER);
        Ok(Self {
            settings,
            client,
            fetched: never(),
            attempted: never(),
            wanted: Notify::new(),
            digest: AtomicU64::new(0),
        })
    }

    async fn fetch(&self) -> Result<Vec<u8>, FetchError> {
        let request =
            self.client.get(self.settings.url.expose().clone()).header("accept", "application/json");
        let mut response = request.send().await?;
        if response.status() != reqwest::StatusCode::OK {
            return Err(FetchError::Status(response.status().as_u16()));
        }
        let limit = self.settings.max_bytes;
        let mut body = Vec::new();
        while let Some(part) = response.chunk().await? {
            if body.len().saturating_add(part.len()) > limit {
                return Err(FetchError::TooLarge(limit));
            }
            body.extend_from_slice(&part);
        }
        Ok(body)
    }
}

fn from_file(algorithm: JwtAlgorithm, path: &std::path::Path) -> Result<Keyring, AuthnError> {
    let found = jwk::read(read(path)?.expose(), algorithm)
        .map_err(|source| AuthnError::KeySet { path: path.to_owned(), source })?;
    tell_left_out(&found.left_out);
    Ok(Keyring::of(found.keys))
}

fn tell_left_out(left_out: &[(String, &'static str)]) {
    for (kid, reason) in left_out {
        tracing::info!(kid, reason, "a key of the issuer's set is not used");
    }
}

/// A fingerprint of an answer, which saves the work for one that did not change.
fn digest(body: &[u8]) -> u64 {
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, body);
    hash.as_ref().iter().take(8).fold(0, |sum, byte| (sum << 8) | u64::from(*byte))
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
