//! How many streams and exports there are at once: of one caller, and in all. Each holds a file open and a task.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::api::problem::Problem;
use crate::model::EntityUid;

/// Of one principal, and in all.
const OF_ONE: usize = 4;
const IN_ALL: usize = 64;
/// When one may have ended.
const LATER: Duration = Duration::from_secs(5);

/// The streams and exports of the decision log that are under way.
#[derive(Debug, Default)]
pub struct AuditReaders(Mutex<HashMap<EntityUid, usize>>);

/// One of them; it gives its place back when it is dropped.
#[derive(Debug)]
pub(super) struct ReaderSlot {
    readers: Arc<AuditReaders>,
    principal: EntityUid,
}

impl ReaderSlot {
    /// Takes a place for this principal.
    pub(super) fn take(readers: &Arc<AuditReaders>, principal: &EntityUid) -> Result<Self, Problem> {
        let mut held = readers.0.lock();
        if held.values().sum::<usize>() >= IN_ALL {
            return Err(Problem::busy(
                "too many streams and exports of the decision log are under way",
                LATER,
            ));
        }
        let own = held.entry(principal.clone()).or_default();
        if *own >= OF_ONE {
            let detail = format!("{OF_ONE} streams and exports of yours are under way: end one of them");
            return Err(Problem::busy(detail, LATER));
        }
        *own += 1;
        Ok(Self { readers: Arc::clone(readers), principal: principal.clone() })
    }
}

impl Drop for ReaderSlot {
    fn drop(&mut self) {
        let mut held = self.readers.0.lock();
        if let Some(own) = held.get_mut(&self.principal) {
            *own -= 1;
            if *own == 0 {
                held.remove(&self.principal);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_caller_has_few_and_leaves_room_for_others() {
        let readers = Arc::new(AuditReaders::default());
        let user = |number: usize| EntityUid::caxton("User", format!("u{number}"));
        let take = |number: usize| ReaderSlot::take(&readers, &user(number));
        let mut held: Vec<ReaderSlot> = (0..OF_ONE).map(|_| take(0).unwrap()).collect();
        assert_eq!(take(0).unwrap_err().status(), 503);
        drop(held.pop());
        held.push(take(0).unwrap());
        held.extend((OF_ONE..IN_ALL).map(|number| take(number).unwrap()));
        assert_eq!(take(IN_ALL).unwrap_err().status(), 503);
        drop(held);
        assert!(readers.0.lock().is_empty());
    }
}
