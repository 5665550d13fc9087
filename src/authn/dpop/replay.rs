//! Proofs that were used and could be used again (RFC 9449, section 11.1).
//!
//! INVARIANT: a proof is forgotten only when its time is over. When there is no room, a proof is refused; a table that
//! forgot early would admit an attacker who first fills it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use parking_lot::Mutex;

use super::Settings;
use crate::shared_state::{NotFresh, PortFuture, ProofId, ReplayTable};

#[derive(Default)]
struct UsedProofs {
    seen: HashSet<ProofId>,
    /// By the second in which they end.
    ends: BTreeMap<(i64, ProofId), Arc<str>>,
    of_principal: HashMap<Arc<str>, usize>,
}

/// The used proofs of one process: at most `limit`, and `share` of one principal.
pub struct LocalReplays {
    limit: usize,
    share: usize,
    table: Mutex<UsedProofs>,
}

impl LocalReplays {
    /// An empty table with the bounds of these settings.
    pub fn new(settings: &Settings) -> Self {
        let (limit, share) = (settings.max_proofs, settings.max_proofs_per_principal);
        Self { limit, share, table: Mutex::default() }
    }

    fn try_take(&self, proof: ProofId, principal: &str, end: i64, now: i64) -> Result<(), NotFresh> {
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

impl ReplayTable for LocalReplays {
    fn take<'a>(
        &'a self,
        proof: ProofId,
        principal: &'a str,
        end: i64,
        now: i64,
    ) -> PortFuture<'a, Result<(), NotFresh>> {
        PortFuture::now(self.try_take(proof, principal, end, now))
    }
}

impl UsedProofs {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shared_state::contract;
    use crate::shared_state::faulty::Delayed;

    fn table(max_proofs: usize, max_proofs_per_principal: usize) -> LocalReplays {
        LocalReplays::new(&Settings { max_proofs, max_proofs_per_principal, ..Settings::default() })
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn the_proofs_of_a_process_keep_the_contract() {
        contract::replay::check(table).await;
        contract::replay::check(|all, each| Delayed(table(all, each))).await;
    }
}
