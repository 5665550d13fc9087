//! Many refusals of one kind in few records.
//!
//! The attack: fill the disk, and the log's readers, with refused credentials and calls above a rate. Of what one
//! address and one principal are refused for one reason, the first is a record, then the second, the fourth, the
//! eighth, and so on, whatever came since in each ten seconds, and the last when the window is over. Each says in `count`
//! for how many it stands, itself included, so that the counts add up to what there was. A process that is killed loses what
//! was counted in the last ten seconds, and no record. What was allowed, and what a policy has denied, is never counted here.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::record::Record;
use crate::model::{Outcome, ReasonCode};

/// The longest that counted refusals wait for their record.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// Refusals with an equal key are counted together.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct RefusalKey {
    /// Address and principal; `None` for all that came when the table was full.
    of: Option<(IpAddr, Option<String>)>,
    reason: (&'static str, &'static str),
}

#[derive(Debug)]
struct RefusalCount {
    since: Instant,
    /// When the last record of them was written.
    written: Instant,
    all: u64,
    /// Those that no record stands for yet.
    left: u64,
    /// The last of these.
    last: Option<Box<Record>>,
}

/// Counts refusals by address, principal and reason, each for a window that its first one begins.
#[derive(Debug)]
pub(super) struct Refusals {
    window: Duration,
    max: usize,
    counts: Mutex<HashMap<RefusalKey, RefusalCount>>,
}

impl Refusals {
    pub(super) fn new(window: Duration, max: usize) -> Self {
        Self { window, max, counts: Mutex::default() }
    }

    /// The record if it is to be written, with the number that it stands for; `None` when it was only counted.
    pub(super) fn note(
        &self,
        mut record: Box<Record>,
        address: IpAddr,
        reason: (&'static str, &'static str),
        now: Instant,
    ) -> Option<Box<Record>> {
        if self.window.is_zero() || !is_countable(&record) {
            return Some(record);
        }
        let principal = record.subject.as_ref().map(|subject| subject.principal.clone());
        let mut key = RefusalKey { of: Some((address, principal)), reason };
        let mut counts = self.counts.lock();
        if counts.len() >= self.max && !counts.contains_key(&key) {
            key.of = None;
        }
        let new = RefusalCount { since: now, written: now, all: 0, left: 0, last: None };
        let counted = counts.entry(key).or_insert(new);
        counted.all = counted.all.saturating_add(1);
        counted.left = counted.left.saturating_add(1);
        if counted.all.is_power_of_two() {
            record.count = std::mem::take(&mut counted.left);
            counted.last = None;
            counted.written = now;
            return Some(record);
        }
        record.shorten();
        counted.last = Some(record);
        None
    }

    /// What is to be written now: of each window that is over, and of each whose last record is [`LONGEST_WAIT`] old, the
    /// last refusal with those it stands for. `all`: of every window.
    pub(super) fn due(&self, now: Instant, all: bool) -> Vec<Record> {
        let mut due = Vec::new();
        self.counts.lock().retain(|_, counted| {
            let over = all || now.duration_since(counted.since) >= self.window;
            if over || now.duration_since(counted.written) >= LONGEST_WAIT {
                due.extend(counted.take(now));
            }
            !over
        });
        due
    }
}

impl RefusalCount {
    /// The record of those that none stands for yet; `None` when there are none.
    fn take(&mut self, now: Instant) -> Option<Record> {
        let mut record = self.last.take()?;
        record.count = std::mem::take(&mut self.left);
        self.written = now;
        Some(*record)
    }
}

/// Whether nothing was allowed and no policy was asked.
fn is_countable(record: &Record) -> bool {
    let without_policies = record.policies.is_empty() && record.errors.is_empty() && record.items.is_empty();
    let refused = match record.outcome {
        Outcome::Limited => true,
        Outcome::DenyExplicit => record.reason_code == ReasonCode::Unauthenticated,
        Outcome::Allow | Outcome::DenyDefault | Outcome::DenyError | Outcome::ApprovalRequired => false,
    };
    without_policies && refused
}

#[cfg(test)]
mod tests {
    use super::super::tests::event;
    use super::*;
    use crate::model::{PolicyMode, PolicyRef};

    const MINUTE: Duration = Duration::from_secs(60);
    const REASON: (&str, &str) = ("api_key", "unknown_key");

    fn ip(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    fn written(refusals: &Refusals, address: IpAddr, now: Instant) -> Option<u64> {
        refusals.note(Box::new(event()), address, REASON, now).map(|record| record.count)
    }

    #[test]
    fn the_first_each_doubling_and_the_last_are_written_and_the_counts_add_up() {
        let (refusals, now) = (Refusals::new(MINUTE, 100), Instant::now());
        let counts: Vec<u64> = (0..1_000).filter_map(|_| written(&refusals, ip(1), now)).collect();
        assert_eq!(counts, [1, 1, 2, 4, 8, 16, 32, 64, 128, 256]);
        assert_eq!(refusals.due(now, false).len(), 0, "the window is not over");
        let over: Vec<u64> = refusals.due(now + MINUTE, false).iter().map(|record| record.count).collect();
        assert_eq!(over, [1_000 - 512]);
        assert_eq!(refusals.due(now + MINUTE, true).len(), 0, "said once");
        assert_eq!(written(&refusals, ip(1), now + MINUTE), Some(1), "a new window");
    }

    #[test]
    fn what_is_counted_waits_ten_seconds_at_most() {
        let (refusals, now) = (Refusals::new(MINUTE, 100), Instant::now());
        let second = Duration::from_secs(1);
        for _ in 0..7 {
            written(&refusals, ip(1), now);
        }
        let due = |after: Duration| -> Vec<u64> {
            refusals.due(now + after, false).iter().map(|record| record.count).collect()
        };
        assert!(due(9 * second).is_empty());
        assert_eq!(due(10 * second), [3], "one, one and two had records");
        assert!(due(20 * second).is_empty(), "nothing came since");
        // The eighth is a doubling and has its record; the ninth waits again.
        assert_eq!(written(&refusals, ip(1), now + 21 * second), Some(1));
        assert_eq!(written(&refusals, ip(1), now + 22 * second), None);
        assert_eq!((due(30 * second), due(31 * second)), (vec![], vec![1]));
        assert!(due(MINUTE).is_empty(), "the window is over, and all of it was said");
        assert!(refusals.counts.lock().is_empty());
    }

    #[test]
    fn others_and_other_reasons_have_counts_of_their_own() {
        let (refusals, now) = (Refusals::new(MINUTE, 100), Instant::now());
        let note = |address, reason| {
            let found = refusals.note(Box::new(event()), address, reason, now);
            found.map(|record| record.count)
        };
        assert_eq!((0..3).filter_map(|_| note(ip(1), REASON)).count(), 2);
        assert_eq!(note(ip(2), REASON), Some(1));
        assert_eq!(note(ip(1), ("api_key", "expired")), Some(1));
        let mut of_one = event();
        of_one.subject = Some(crate::audit::SubjectRecord {
            credential: None,
            method: "jwt",
            principal: "Caxton::User::\"a\"".to_owned(),
        });
        let found = refusals.note(Box::new(of_one), ip(1), REASON, now);
        assert_eq!(found.map(|record| record.count), Some(1));
        assert_eq!(refusals.due(now, true).len(), 1, "only the first has one that was not written");
    }

    #[test]
    fn what_was_allowed_or_denied_by_policy_is_never_counted() {
        let (refusals, now) = (Refusals::new(MINUTE, 100), Instant::now());
        let policy = PolicyRef { effect: "forbid".into(), id: "a".into(), mode: PolicyMode::Enforce };
        for outcome in [
            Outcome::Allow,
            Outcome::DenyExplicit,
            Outcome::DenyDefault,
            Outcome::DenyError,
            Outcome::ApprovalRequired,
        ] {
            let mut record = event();
            record.outcome = outcome;
            record.reason_code = ReasonCode::Permitted;
            for _ in 0..5 {
                let written = refusals.note(Box::new(record.clone()), ip(1), REASON, now);
                assert_eq!(written.map(|record| record.count), Some(1), "{outcome:?}");
            }
        }
        let mut named = event();
        named.policies = vec![policy];
        assert!((0..5).all(|_| refusals.note(Box::new(named.clone()), ip(1), REASON, now).is_some()));
        assert!(refusals.due(now, true).is_empty());
    }

    #[test]
    fn a_full_table_counts_the_rest_together_and_keeps_no_long_records() {
        let (refusals, now) = (Refusals::new(MINUTE, 10), Instant::now());
        let count = (0..=255).filter_map(|last| written(&refusals, ip(last), now)).count();
        // Ten of their own, and 246 together.
        assert_eq!(count, 10 + 8);
        assert_eq!(refusals.counts.lock().len(), 11);
        let mut long = event();
        long.resource = Some("x".repeat(100_000));
        long.set_context(crate::model::Value::text("x".repeat(100_000)));
        drop(refusals.note(Box::new(long), ip(255), REASON, now));
        let kept = refusals.due(now, true);
        let kept: Vec<_> = kept.iter().map(|record| (record.count, record.context().is_none())).collect();
        assert_eq!(kept, [(247 - 128, true)]);
    }
}
