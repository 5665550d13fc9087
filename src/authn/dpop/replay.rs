//! Proofs that were used and could be used again (RFC 9449, section 11.1).
//!
//! INVARIANT: a proof is forgotten only when its time is over. When there is no room, a proof is refused; a table that
//! forgot early would admit an attacker who first fills it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use parking_lot::Mutex;

/// SHA-256 over the key and the `jti` of a proof.
pub(super) type ProofId = [u8; 32];

/// Why a proof does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotFresh {
    /// It was used before.
    Used,
    /// There are too many, of this principal or of all.
    Full,
}

#[derive(Default)]
struct ReplayTable {
    seen: HashSet<ProofId>,
    /// By the second in which they end.
    ends: BTreeMap<(i64, ProofId), Arc<str>>,
    of_principal: HashMap<Arc<str>, usize>,
}

/// At most `limit` proofs, and `share` of one principal.
pub(super) struct Replays {
    limit: usize,
    share: usize,
    table: Mutex<ReplayTable>,
}

impl Replays {
    pub(super) fn new(limit: usize, share: usize) -> Self {
        Self { limit, share, table: Mutex::default() }
    }

    /// Remembers a proof that could be used until the second `end`. Of several requests with one proof at the same time,
    /// one is let through.
    pub(super) fn take(&self, proof: ProofId, principal: &str, end: i64, now: i64) -> Result<(), NotFresh> {
        let mut table = self.table.lock();
        table.forget(now);
        if table.seen.contains(&proof) {
            return Err(NotFresh::Used);
        }
        let held = table.of_principal.get_key_value(principal).map(|(name, held)| (Arc::clone(name), *held));
        let (name, held) = held.unwrap_or_else(|| (principal.into(), 0));
        if table.seen.len() >= self.limit || held >= self.share {
            return Err(NotFresh::Full);
        }
        table.seen.insert(proof);
        table.ends.insert((end, proof), Arc::clone(&name));
        table.of_principal.insert(name, held.saturating_add(1));
        Ok(())
    }
}

impl ReplayTable {
    fn forget(&mut self, now: i64) {
        while let Some(entry) = self.ends.first_entry() {
            if entry.key().0 >= now {
                return;
            }
            let ((_, proof), principal) = entry.remove_entry();
            self.seen.remove(&proof);
            let left = self.of_principal.get_mut(&principal).map_or(0, |held| {
                *held = held.saturating_sub(1);
                *held
            });
            if left == 0 {
                self.of_principal.remove(&principal);
            }
        }
    }
}
