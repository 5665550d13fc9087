//! Tokens that were proven, so that their signatures need not be checked again.
//!
//! INVARIANT: an entry proves the signature and the claims that do not change; whoever finds one still checks its
//! times. Only proven tokens enter, so a stranger cannot fill the cache.

use std::collections::HashMap;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use parking_lot::Mutex;

use super::claims::Validity;
use crate::model::Subject;

/// SHA-256 of a token's text; the token itself is not kept.
#[derive(PartialEq, Eq, Hash)]
pub(super) struct TokenDigest([u8; 32]);

impl TokenDigest {
    pub(super) fn of(token: &str) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
        Self(bytes)
    }
}

/// What is known about a proven token.
#[derive(Clone)]
pub(super) struct Verified {
    pub(super) validity: Validity,
    pub(super) subject: Arc<Subject>,
    /// Under which keys it was proven; under others it has to be proven again.
    pub(super) generation: u64,
}

/// At most `limit` tokens.
pub(super) struct Cache {
    limit: usize,
    entries: Mutex<HashMap<TokenDigest, Verified>>,
}

impl Cache {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, entries: Mutex::new(HashMap::new()) }
    }

    pub(super) fn find(&self, digest: &TokenDigest) -> Option<Verified> {
        self.entries.lock().get(digest).cloned()
    }

    /// Makes room when it must: first what expired before `oldest` (epoch seconds), then an eighth of the rest in the
    /// map's random order, so that the sweep is paid for by the entries that follow.
    pub(super) fn remember(&self, digest: TokenDigest, verified: Verified, oldest: i64) {
        if self.limit == 0 {
            return;
        }
        let mut entries = self.entries.lock();
        if entries.len() >= self.limit {
            entries.retain(|_, known| known.validity.expires > oldest);
            let room = (self.limit / 8).max(1);
            let mut surplus = (entries.len() + room).saturating_sub(self.limit);
            entries.retain(|_, _| {
                let stays = surplus == 0;
                surplus = surplus.saturating_sub(1);
                stays
            });
        }
        entries.insert(digest, verified);
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.entries.lock().len()
    }
}
