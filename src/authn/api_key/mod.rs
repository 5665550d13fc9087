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

use http::{HeaderMap, HeaderName, header};

pub(super) use self::pepper::Pepper;
pub(super) use self::text::{KeyText, random_key};

use super::scheme::{Presented, Refused, RefusedKind};
use super::{AuthnError, KeyHolder, KeyRecord, KeyStore};
use crate::clock::SharedClock;
use crate::model::{Proof, Subject};

pub(super) const METHOD: &str = "api_key";

/// Where keys are kept and how they arrive.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The database of keys.
    pub store: PathBuf,
    /// The file with the server's pepper; made when there is none.
    pub pepper: PathBuf,
    /// Headers that may carry a key.
    pub header_names: Vec<HeaderName>,
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
        }
    }
}

/// Headers with an API key in them.
pub(super) struct Scheme {
    header_names: Vec<HeaderName>,
    store: KeyStore,
    clock: SharedClock,
}

impl std::fmt::Debug for Scheme {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scheme").field("header_names", &self.header_names).finish_non_exhaustive()
    }
}

impl Scheme {
    pub(super) fn new(settings: Settings, clock: SharedClock) -> Result<Self, AuthnError> {
        let taken = [header::AUTHORIZATION, header::COOKIE, header::HOST];
        if let Some(name) = settings.header_names.iter().find(|name| taken.contains(name)) {
            return Err(AuthnError::HeaderTaken { header: name.to_string() });
        }
        let store = KeyStore::open(&settings)?;
        Ok(Self { header_names: settings.header_names, store, clock })
    }

    pub(super) fn examine(&self, headers: &HeaderMap) -> Presented {
        let mut values = self.header_names.iter().flat_map(|name| headers.get_all(name));
        let Some(first) = values.next() else { return Presented::Nothing };
        if values.any(|other| other != first) {
            return Presented::Rejected(Refused::invalid(METHOD, "conflicting_credentials"));
        }
        match first.to_str() {
            Ok(text) => self.verify(text).into(),
            Err(_) => Presented::Rejected(Refused::invalid(METHOD, "malformed")),
        }
    }

    fn verify(&self, text: &str) -> Result<Arc<Subject>, Refused> {
        // Shape and checksum first: a typo or a guess never reaches the store.
        let key =
            KeyText::parse(text).map_err(|error| Refused::invalid(METHOD, error.reason()).because(error))?;
        let record = self
            .store
            .prove(&key)
            .map_err(|error| {
                Refused::new(RefusedKind::Unavailable, METHOD, "store_unavailable").because(error)
            })?
            .ok_or_else(|| Refused::invalid(METHOD, "unknown_key"))?;
        if record.revoked.is_some() {
            return Err(Refused::invalid(METHOD, "revoked").because(format!("key `{}`", record.id)));
        }
        if self.clock.now_millis() >= record.expires {
            return Err(
                Refused::new(RefusedKind::Expired, METHOD, "expired").because(format!("key `{}`", record.id))
            );
        }
        Ok(Arc::new(subject(record)))
    }
}

fn subject(record: KeyRecord) -> Subject {
    match record.holder {
        KeyHolder::Agent(agent) => Subject::agent(&agent, Proof::ApiKey { id: record.id }),
        KeyHolder::Service => {
            let permissions: Vec<Arc<str>> = record.permissions.iter().map(|role| role.shared()).collect();
            let name = record.name.as_str();
            Subject::service(name, record.id, record.permissions, permissions, record.created, record.expires)
        }
    }
}
