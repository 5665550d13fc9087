//! A candidate set beside the live one: it is asked the same questions, its answers have no effect, and they are counted
//! where they differ.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use serde::Serialize;

use super::Bundle;
use crate::model::{Action, DecisionId, Outcome, PolicyVersion};

/// A set that watches.
#[derive(Debug)]
pub struct Candidate {
    bundle: Arc<Bundle>,
    asked: AtomicU64,
    /// Bounded: actions by their metric label, and outcomes.
    flips: Mutex<BTreeMap<Change, Counted>>,
}

type Change = (&'static str, &'static str, &'static str);

#[derive(Debug)]
struct Counted {
    count: u64,
    last: DecisionId,
}

/// How a candidate did so far, since the gateway began to ask it.
#[derive(Debug, Clone, Serialize)]
pub struct ShadowReport {
    /// The candidate.
    pub version: PolicyVersion,
    /// Decisions that it was asked about.
    pub asked: u64,
    /// Those that it would have made otherwise.
    pub flips: Vec<FlipCount>,
}

/// One kind of flip.
#[derive(Debug, Clone, Serialize)]
pub struct FlipCount {
    /// The action; all tools are one.
    pub action: &'static str,
    /// What was decided.
    pub from: &'static str,
    /// What the candidate would have decided.
    pub to: &'static str,
    /// How often.
    pub count: u64,
    /// The last decision of this kind.
    pub last: DecisionId,
}

/// What a flip means for who asked: `opens`, `closes`, or `other` (another kind of denial).
pub fn change(from: Outcome, to: Outcome) -> &'static str {
    match (from == Outcome::Allow, to == Outcome::Allow) {
        (false, true) => "opens",
        (true, false) => "closes",
        _ => "other",
    }
}

impl Candidate {
    /// A set that was not asked yet.
    pub fn new(bundle: Arc<Bundle>) -> Self {
        Self { bundle, asked: AtomicU64::new(0), flips: Mutex::default() }
    }

    /// The set.
    pub fn bundle(&self) -> &Bundle {
        &self.bundle
    }

    /// Notes what it would have decided; `Some` when that is something else.
    pub fn note(
        &self,
        decision: DecisionId,
        action: &Action,
        from: Outcome,
        to: Outcome,
    ) -> Option<(Outcome, PolicyVersion)> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        if from == to {
            return None;
        }
        let key = (action.kind().as_str(), from.as_str(), to.as_str());
        let mut flips = self.flips.lock();
        let counted = flips.entry(key).or_insert(Counted { count: 0, last: decision });
        counted.count = counted.count.saturating_add(1);
        counted.last = decision;
        Some((to, self.bundle.version().clone()))
    }

    /// How it did so far.
    pub fn report(&self) -> ShadowReport {
        let flips = self.flips.lock();
        let mut counts = Vec::with_capacity(flips.len());
        for (&(action, from, to), counted) in flips.iter() {
            counts.push(FlipCount { action, from, to, count: counted.count, last: counted.last });
        }
        ShadowReport {
            version: self.bundle.version().clone(),
            asked: self.asked.load(Ordering::Relaxed),
            flips: counts,
        }
    }
}
