//! The places of the tokens of callers at one server.
//!
//! A place is kept for a while after its last use, also where no connection of the caller's is open: in it is noted that a request
//! for a token has failed, or that the server has refused a token. Without that, each call of a caller that has no token would ask
//! the authorization server once more, with the gateway's secret.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::TokenCaller;
use super::slot::{Holder, Slot};
use crate::model::Subject;

/// A place that nothing uses is kept for so long. It is longer than each pause that is noted in it.
const IDLE: Duration = Duration::from_secs(60);

/// The places of callers, and when each was last asked for.
pub(super) struct CallerSlots {
    slots: Mutex<HashMap<TokenCaller, (Arc<Slot>, Instant)>>,
    most: usize,
}

impl CallerSlots {
    /// `most` of them are kept; more only while each is in use.
    pub(super) fn new(most: usize) -> Self {
        Self { slots: Mutex::default(), most }
    }

    /// The place of a caller. INVARIANT: a caller has one while anything uses it, so that a refresh token is not used twice.
    pub(super) fn slot(&self, caller: &Arc<Subject>, now: Instant) -> Arc<Slot> {
        let key = TokenCaller::of(caller);
        let mut slots = self.slots.lock();
        if let Some((slot, used)) = slots.get_mut(&key) {
            *used = now;
            return Arc::clone(slot);
        }
        forget_idle(&mut slots, now);
        if slots.len() >= self.most {
            let unused = slots.iter().filter(|(_, (slot, _))| is_unused(slot));
            let oldest = unused.min_by_key(|(_, (_, used))| *used).map(|(caller, _)| caller.clone());
            if let Some(oldest) = oldest {
                slots.remove(&oldest);
            }
        }
        let slot = Arc::new(Slot::new(Holder::Caller(Arc::clone(caller))));
        slots.insert(key, (Arc::clone(&slot), now));
        slot
    }

    /// Forgets the tokens of a principal, in Cedar's notation.
    pub(super) fn clear(&self, holder: &str) {
        let slots = self.slots.lock();
        slots.iter().filter(|(caller, _)| caller.is(holder)).for_each(|(_, (slot, _))| slot.clear());
    }

    /// Forgets the places that nothing has used for a while.
    pub(super) fn sweep(&self, now: Instant) {
        forget_idle(&mut self.slots.lock(), now);
    }
}

/// Whether nothing but the table has this place. The lock of the table is held, so nothing gets it meanwhile.
fn is_unused(slot: &Arc<Slot>) -> bool {
    Arc::strong_count(slot) == 1
}

fn forget_idle(slots: &mut HashMap<TokenCaller, (Arc<Slot>, Instant)>, now: Instant) {
    slots.retain(|_, (slot, used)| !is_unused(slot) || now.saturating_duration_since(*used) < IDLE);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{AgentId, Proof};

    fn caller(name: &str) -> Arc<Subject> {
        Arc::new(Subject::agent(&AgentId::parse(name).unwrap(), Proof::Internal))
    }

    #[test]
    fn a_place_is_kept_a_while_and_while_it_is_used() {
        let slots = CallerSlots::new(2);
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let first = Arc::as_ptr(&slots.slot(&caller("ann"), at(0)));
        let again = slots.slot(&caller("ann"), at(59));
        assert_eq!(Arc::as_ptr(&again), first, "what went wrong a moment ago is known");
        slots.sweep(at(200));
        assert_eq!(Arc::as_ptr(&slots.slot(&caller("ann"), at(200))), first, "it is in use");
        drop(again);
        slots.sweep(at(200) + IDLE);
        assert!(slots.slots.lock().is_empty());
    }

    #[test]
    fn the_unused_place_asked_for_longest_ago_makes_room() {
        let slots = CallerSlots::new(2);
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let ann = slots.slot(&caller("ann"), at(0));
        slots.slot(&caller("bob"), at(1));
        slots.slot(&caller("eve"), at(2));
        let names = |slots: &CallerSlots| {
            let slots = slots.slots.lock();
            let mut names: Vec<_> = slots.keys().map(|caller| caller.principal.id().to_owned()).collect();
            names.sort();
            names
        };
        assert_eq!(names(&slots), ["ann", "eve"], "ann's is in use");
        drop(ann);
    }
}
