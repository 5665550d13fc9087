//! Which publication may decide: the one place where signature, age and expiry are judged.

use serde::{Deserialize, Serialize};

use super::error::VersionError;
use super::key::TrustedKeys;
use super::manifest::Published;
use crate::clock::rfc3339;

/// What a publication is held against.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    /// The keys of which one must have signed; `None`: signatures are not looked at.
    pub trusted: Option<TrustedKeys>,
    /// What was accepted last.
    pub seen: Option<Seen>,
    /// Take also what has expired: for a gateway that starts, which then denies everything by it and can fetch a newer
    /// one. To refuse to start would leave it without a way to recover.
    pub expired_too: bool,
}

/// The last publication that was accepted; kept by the one that accepts, where who publishes cannot change it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seen {
    /// Its number.
    pub sequence: u64,
    /// SHA-256 of its canonical manifest.
    pub manifest_sha256: String,
}

/// A publication that may decide.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// What to remember of it.
    pub seen: Seen,
    /// The key that signed it; `None` where no signature is required.
    pub key_id: Option<String>,
    /// From when on it denies everything.
    pub expires_millis: Option<u64>,
}

impl Rules {
    /// Judges one publication.
    ///
    /// An older number is refused even when it is well signed: an older set may have the very hole that a newer one
    /// closed, and everybody who ever saw it can send it again. So an older set comes back only as a new publication,
    /// with a new number and, where signatures are wanted, a new signature. The same number is accepted again only for
    /// the very same manifest.
    pub fn accept(&self, published: &Published, now_millis: i64) -> Result<Accepted, VersionError> {
        published.check()?;
        let manifest = &published.manifest;
        let key_id = match &self.trusted {
            Some(keys) => Some(keys.signer(published, now_millis)?),
            None => None,
        };
        let seen = Seen { sequence: manifest.sequence, manifest_sha256: manifest.digest()? };
        if let Some(before) = &self.seen
            && *before != seen
            && seen.sequence <= before.sequence
        {
            return Err(VersionError::Replayed { given: seen.sequence, seen: before.sequence });
        }
        if manifest.is_expired(now_millis) && !self.expired_too {
            let end = i64::try_from(manifest.expires_millis.unwrap_or(0)).unwrap_or(i64::MAX);
            return Err(VersionError::Expired(rfc3339(end)));
        }
        Ok(Accepted { seen, key_id, expires_millis: manifest.expires_millis })
    }
}
