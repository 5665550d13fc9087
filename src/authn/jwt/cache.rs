//! Tokens that were proven, so that their signatures need not be checked again.
//!
//! INVARIANT: an entry proves the signature and the claims that do not change; the caller still checks its
//! times. Only proven tokens enter, so a stranger cannot fill the cache.

use std::collections::HashMap;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use parking_lot::Mutex;

use super::claims::Validity;
use crate::model::{HolderKeys, Subject};

/// SHA-256 of a token's text; the token itself is not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenDigest([u8; 32]);

impl TokenDigest {
    pub(in crate::authn) fn of(token: &str) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
        Self(bytes)
    }

    pub(in crate::authn) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// The verified content of a token, with its end.
pub(in crate::authn) trait Ends: Clone {
    /// Seconds since the Unix epoch.
    fn expires(&self) -> i64;
}

/// The verified content of a token of the issuer.
#[derive(Clone)]
pub(in crate::authn) struct VerifiedToken {
    pub(in crate::authn) validity: Validity,
    pub(in crate::authn) subject: Arc<Subject>,
    pub(in crate::authn) holder: HolderKeys,
    /// Under which keys it was proven; under others it has to be proven again.
    pub(in crate::authn) generation: u64,
}

impl Ends for VerifiedToken {
    fn expires(&self) -> i64 {
        self.validity.expires
    }
}

/// At most `limit` tokens.
pub(in crate::authn) struct Cache<T> {
    limit: usize,
    entries: Mutex<HashMap<TokenDigest, T>>,
}

impl<T: Ends> Cache<T> {
    pub(in crate::authn) fn new(limit: usize) -> Self {
        Self { limit, entries: Mutex::new(HashMap::new()) }
    }

    pub(in crate::authn) fn find(&self, digest: &TokenDigest) -> Option<T> {
        self.entries.lock().get(digest).cloned()
    }

    pub(in crate::authn) fn knows(&self, digest: &TokenDigest) -> bool {
        self.entries.lock().contains_key(digest)
    }

    /// Makes room when it must: first what expired before `oldest` (epoch seconds), then an eighth of the rest in the
    /// map's random order, so that the sweep is paid for by the entries that follow.
    pub(in crate::authn) fn remember(&self, digest: TokenDigest, known: T, oldest: i64) {
        if self.limit == 0 {
            return;
        }
        let mut entries = self.entries.lock();
        if entries.len() >= self.limit {
            entries.retain(|_, known| known.expires() > oldest);
            let room = (self.limit / 8).max(1);
            let mut surplus = (entries.len() + room).saturating_sub(self.limit);
            entries.retain(|_, _| {
                let stays = surplus == 0;
                surplus = surplus.saturating_sub(1);
                stays
            });
        }
        entries.insert(digest, known);
    }

    #[cfg(test)]
    pub(in crate::authn) fn len(&self) -> usize {
        self.entries.lock().len()
    }
}
