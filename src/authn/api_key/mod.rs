//! API keys: `X-API-Key: cax_live_<id>_<secret><checksum>`.
//!
//! The store holds an HMAC of each key under a pepper that is a file of its own, so that neither the database nor its
//! backup is enough to use or to guess a key. A key is looked up by its public id and compared in constant time; an
//! unknown id takes the same path. There is no cache: one indexed read is a matter of microseconds, and so a key
//! that was revoked by any process is refused on the very next request.

mod pepper;
#[cfg(test)]
mod tests;
mod text;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, header};

pub(super) use self::pepper::Pepper;
pub(super) use self::text::{KeyText, checksum, random_key, random_text};

use super::scheme::{Presented, Refused, RefusedKind};
use super::{AuthnError, KeyHolder, KeyRecord, KeyStore, KeyTable};
use crate::clock::SharedClock;
use crate::model::{Proof, Subject};

pub(super) const METHOD: &str = "api_key";

/// The store of keys and the header in which they are sent.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The database of keys.
    pub store: PathBuf,
    /// The file with the server's pepper; made when there is none.
    pub pepper: PathBuf,
    /// Headers that may carry a key.
    pub header_names: Vec<HeaderName>,
    /// The age at which a key is refused although it has not expired; `None`: its expiry alone counts.
    pub max_age: Option<Duration>,
    /// How long a key that was replaced still serves. Default 7 days.
    pub grace: Duration,
}

impl Default for Settings {
    /// Under `./.caxton`, the data directory of a gateway without configuration.
    fn default() -> Self {
        Self::in_directory(Path::new("./.caxton"))
    }
}

impl Settings {
    /// The usual file names in a data directory.
    pub fn in_directory(directory: &Path) -> Self {
        Self {
            store: directory.join("keys.db"),
            pepper: directory.join("keys.pepper"),
            header_names: vec![
                HeaderName::from_static("x-api-key"),
                HeaderName::from_static("x-caxton-api-key"),
            ],
            max_age: None,
            grace: Duration::from_secs(7 * 24 * 3600),
        }
    }
}

/// Headers with an API key in them.
pub(super) struct ApiKeyScheme {
    header_names: Vec<HeaderName>,
    store: Arc<KeyStore>,
    max_age: Option<i64>,
    clock: SharedClock,
}

impl std::fmt::Debug for ApiKeyScheme {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scheme").field("header_names", &self.header_names).finish_non_exhaustive()
    }
}

impl ApiKeyScheme {
    pub(super) fn new(
        settings: Settings,
        table: Arc<dyn KeyTable>,
        clock: SharedClock,
    ) -> Result<Self, AuthnError> {
        let taken = [header::AUTHORIZATION, header::COOKIE, header::HOST];
        if let Some(name) = settings.header_names.iter().find(|name| taken.contains(name)) {
            return Err(AuthnError::HeaderTaken { header: name.to_string() });
        }
        let store = Arc::new(KeyStore::over(table, &settings)?);
        let max_age = settings.max_age.map(|age| i64::try_from(age.as_millis()).unwrap_or(i64::MAX));
        Ok(Self { header_names: settings.header_names, store, max_age, clock })
    }

    /// The keys.
    pub(super) fn store(&self) -> &Arc<KeyStore> {
        &self.store
    }

    /// Whether a request with this key would be let in now.
    pub(super) fn counts(&self, key: &KeyRecord) -> bool {
        check(key, self.clock.now_millis(), self.max_age, METHOD).is_ok()
    }

    pub(super) fn presents(&self, headers: &HeaderMap) -> bool {
        self.header_names.iter().any(|name| headers.contains_key(name))
    }

    pub(super) async fn examine(&self, headers: &HeaderMap) -> Presented {
        let mut values = self.header_names.iter().flat_map(|name| headers.get_all(name));
        let Some(first) = values.next() else { return Presented::Nothing };
        if values.any(|other| other != first) {
            return Presented::Rejected(Refused::invalid(METHOD, "conflicting_credentials"));
        }
        match first.to_str() {
            Ok(text) => self.verify(text).await.into(),
            Err(_) => Presented::Rejected(Refused::invalid(METHOD, "malformed")),
        }
    }

    async fn verify(&self, text: &str) -> Result<Arc<Subject>, Refused> {
        // Shape and checksum first: a typo or a guess never reaches the store.
        let key =
            KeyText::parse(text).map_err(|error| Refused::invalid(METHOD, error.reason()).because(error))?;
        let record = self.prove(&key).await.map_err(|refused| refused.of_key(&key.id))?;
        let proof = Proof::ApiKey { id: record.id.clone() };
        Ok(Arc::new(subject(record, proof)))
    }

    async fn prove(&self, key: &KeyText<'_>) -> Result<KeyRecord, Refused> {
        let found = self.store.prove(key).await.map_err(|error| {
            Refused::new(RefusedKind::Unavailable, METHOD, "store_unavailable").because(error)
        })?;
        let record = found.ok_or_else(|| Refused::invalid(METHOD, "unknown_key"))?;
        check(&record, self.clock.now_millis(), self.max_age, METHOD)?;
        Ok(record)
    }
}

/// Whether the key counts at `now`, for itself and for the tokens that were made from it.
pub(super) fn check(
    record: &KeyRecord,
    now: i64,
    max_age: Option<i64>,
    method: &'static str,
) -> Result<(), Refused> {
    let refuse =
        |kind, reason| Err(Refused::new(kind, method, reason).because(format!("key `{}`", record.id)));
    if record.revoked.is_some() {
        return refuse(RefusedKind::Invalid, "revoked");
    }
    if now >= record.expires {
        return refuse(RefusedKind::Expired, "expired");
    }
    if max_age.is_some_and(|age| now.saturating_sub(record.created) >= age) {
        return refuse(RefusedKind::Expired, "rotation_overdue");
    }
    Ok(())
}

/// The principal of a key, however the key was proven.
pub(super) fn subject(record: KeyRecord, proof: Proof) -> Subject {
    match record.holder {
        KeyHolder::Agent(agent) => Subject::agent(&agent, proof),
        KeyHolder::Service => {
            let permissions: Vec<Arc<str>> = record.permissions.iter().map(|role| role.shared()).collect();
            let (name, id) = (record.name.as_str(), &record.id);
            Subject::service(name, id, record.permissions, permissions, record.created, record.expires, proof)
        }
    }
}
