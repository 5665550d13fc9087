//! Refusals: what a caller is told of one, and what no policy has a say in.

use std::sync::Arc;
use std::time::Duration;

use crate::audit::Receipt;
use crate::model::{DecisionId, Outcome, ReasonCode};
use crate::policy::Verdict;
use crate::shared_state::Unavailable;

/// Why there is no permit. Holds what the caller may know; the record holds the rest.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the request was refused: {}", reason.as_str())]
pub struct Denied {
    /// The decision on record; `None` when the journal could not take the record, and for a call above a rate that is
    /// counted with others.
    pub decision: Option<DecisionId>,
    /// How it ended.
    pub outcome: Outcome,
    /// Why, in one word.
    pub reason: ReasonCode,
    /// What the refusing policy says to the caller (`@reason`).
    pub caller_text: Option<Arc<str>>,
    /// When a limited caller may try again.
    pub retry_after: Option<Duration>,
}

impl Denied {
    pub(super) fn new(receipt: Option<Receipt>, verdict: Verdict, retry_after: Option<Duration>) -> Self {
        Self {
            decision: receipt.map(|receipt| receipt.decision()),
            outcome: verdict.outcome,
            reason: verdict.reason,
            caller_text: verdict.caller_text,
            retry_after,
        }
    }

    /// What could not be asked allows nothing. There is no record of its own.
    pub(super) fn state_unavailable(why: &Unavailable) -> Self {
        why.report();
        Self { reason: ReasonCode::StateUnavailable, ..Self::unrecorded() }
    }

    /// No record, no effect.
    pub(super) fn unrecorded() -> Self {
        Self {
            decision: None,
            outcome: Outcome::DenyError,
            reason: ReasonCode::AuditUnavailable,
            caller_text: None,
            retry_after: None,
        }
    }
}

/// A refusal that no policy has a say in: see [`Guard::refuse`](super::Guard::refuse).
#[derive(Debug, Clone, Copy)]
pub struct Refusal {
    outcome: Outcome,
    reason: ReasonCode,
    pub(super) retry_after: Option<Duration>,
}

impl Refusal {
    /// It cannot be done.
    pub fn because(reason: ReasonCode) -> Self {
        Self { outcome: Outcome::DenyDefault, reason, retry_after: None }
    }

    /// It cannot be done before `wait` has passed.
    pub fn limited(wait: Duration) -> Self {
        Self { outcome: Outcome::Limited, reason: ReasonCode::RateLimited, retry_after: Some(wait) }
    }

    /// A denial stands. What is allowed is refused, and so is what the live schema has no word for.
    pub(super) fn outranks(&self, verdict: &Verdict) -> bool {
        verdict.outcome == Outcome::Allow || verdict.reason == ReasonCode::SchemaMismatch
    }

    pub(super) fn verdict(&self) -> Verdict {
        Verdict::without_policy(self.outcome, self.reason)
    }
}
