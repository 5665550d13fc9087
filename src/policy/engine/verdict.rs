//! From which policies held to what is decided: deny by default, forbid wins, and an error never opens.

use std::sync::Arc;

use super::compiled::{CompiledPolicy, Effect};
use super::evaluate::Answer;
use super::types::Mismatch;
use crate::model::{Obligations, Outcome, PolicyMode, PolicyRef, ReasonCode};
use crate::policy::set::settings::OnPolicyError;

/// The answer to a [`crate::policy::Query`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// What is decided.
    pub outcome: Outcome,
    /// Why, in one word.
    pub reason: ReasonCode,
    /// The policies that determined it, by id; for a policy error the ones that erred. Then those in
    /// `log_only` mode that held, which did not decide.
    pub policies: Vec<PolicyRef>,
    /// Policies that could not be evaluated, by id.
    pub errors: Vec<PolicyFault>,
    /// What the caller may be told: `@reason` of the forbid that decided.
    pub caller_text: Option<Arc<str>>,
    /// What has to be done: of all permits that decided. None unless it is allowed.
    pub obligations: Obligations,
    /// What would have been decided if `log_only` policies decided as well, when that is something else.
    pub shadow: Option<Outcome>,
    /// Why the request does not fit the schema, for the operator.
    pub mismatch: Option<Arc<str>>,
}

/// No policy and no error: a deny by default.
impl Default for Verdict {
    fn default() -> Self {
        Self {
            outcome: Outcome::DenyDefault,
            reason: ReasonCode::NoPermit,
            policies: Vec::new(),
            errors: Vec::new(),
            caller_text: None,
            obligations: Obligations::default(),
            shadow: None,
            mismatch: None,
        }
    }
}

/// A policy that could not be evaluated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyFault {
    /// Its id.
    pub policy: Arc<str>,
    /// What went wrong, for the operator.
    pub message: Arc<str>,
}

impl Verdict {
    /// A verdict for which no policy was asked.
    pub fn without_policy(outcome: Outcome, reason: ReasonCode) -> Self {
        Self { outcome, reason, ..Self::default() }
    }

    pub(crate) fn of_mismatch(mismatch: &Mismatch) -> Self {
        Self {
            outcome: Outcome::DenyError,
            reason: ReasonCode::SchemaMismatch,
            mismatch: Some(mismatch.to_string().into()),
            ..Self::default()
        }
    }

    /// The policies that made the decision, without those that only watch.
    pub fn deciding(&self) -> impl Iterator<Item = &PolicyRef> {
        self.policies.iter().filter(|policy| policy.mode == PolicyMode::Enforce)
    }

    pub(crate) fn of_answer(answer: &Answer<'_>, rule: OnPolicyError) -> Self {
        let enforced = Tally::of(answer, |policy| policy.mode == PolicyMode::Enforce);
        let (outcome, reason) = enforced.outcome(rule);
        let deciding = enforced.deciding(outcome);
        let caller_text = match outcome {
            Outcome::DenyExplicit => deciding.iter().find_map(|policy| policy.caller_text.clone()),
            _ => None,
        };
        let obligations = match outcome {
            Outcome::Allow => deciding.iter().flat_map(|policy| policy.obligations.iter().cloned()).collect(),
            _ => Obligations::default(),
        };
        let (watching, shadow) = match answer.watches() {
            true => watched(answer, rule, outcome),
            false => (Vec::new(), None),
        };
        Self {
            outcome,
            reason,
            policies: deciding.into_iter().chain(watching).map(CompiledPolicy::as_ref).collect(),
            errors: faults(answer),
            caller_text,
            obligations,
            shadow,
            mismatch: None,
        }
    }
}

/// The `log_only` policies that held, and what they would have changed.
fn watched<'a>(
    answer: &Answer<'a>,
    rule: OnPolicyError,
    outcome: Outcome,
) -> (Vec<&'a CompiledPolicy>, Option<Outcome>) {
    let log_only = Tally::of(answer, |policy| policy.mode == PolicyMode::LogOnly);
    let held = by_id(log_only.forbids.iter().chain(&log_only.permits).copied());
    let would_be = Tally::of(answer, |_| true).outcome(rule).0;
    (held, (would_be != outcome).then_some(would_be))
}

/// What held, among the policies that count.
struct Tally<'a> {
    permits: Vec<&'a CompiledPolicy>,
    forbids: Vec<&'a CompiledPolicy>,
    erred: Vec<&'a CompiledPolicy>,
}

impl<'a> Tally<'a> {
    fn of(answer: &Answer<'a>, counts: impl Fn(&CompiledPolicy) -> bool) -> Self {
        let held = |effect| {
            let held = answer.held.iter().copied();
            held.filter(|policy| policy.effect == effect && counts(policy)).collect()
        };
        let erred = answer.erred.iter().map(|(policy, _)| *policy).filter(|policy| counts(policy));
        Self { permits: held(Effect::Permit), forbids: held(Effect::Forbid), erred: erred.collect() }
    }

    fn outcome(&self, rule: OnPolicyError) -> (Outcome, ReasonCode) {
        let forbid_erred = self.erred.iter().any(|policy| policy.effect == Effect::Forbid);
        let error_denies = match rule {
            OnPolicyError::DenyOnForbidError => forbid_erred,
            OnPolicyError::Deny => !self.erred.is_empty(),
        };
        if !self.forbids.is_empty() {
            (Outcome::DenyExplicit, ReasonCode::Forbidden)
        } else if error_denies {
            // Cedar leaves an erring policy out, so an erring forbid would vanish: it counts as a denial here.
            (Outcome::DenyError, ReasonCode::PolicyError)
        } else if !self.permits.is_empty() {
            (Outcome::Allow, ReasonCode::Permitted)
        } else {
            (Outcome::DenyDefault, ReasonCode::NoPermit)
        }
    }

    fn deciding(&self, outcome: Outcome) -> Vec<&'a CompiledPolicy> {
        match outcome {
            Outcome::Allow | Outcome::ApprovalRequired => by_id(self.permits.iter().copied()),
            Outcome::DenyExplicit => by_id(self.forbids.iter().copied()),
            Outcome::DenyError => by_id(self.erred.iter().copied()),
            Outcome::DenyDefault | Outcome::Limited => Vec::new(),
        }
    }
}

fn by_id<'a>(policies: impl Iterator<Item = &'a CompiledPolicy>) -> Vec<&'a CompiledPolicy> {
    let mut policies: Vec<_> = policies.collect();
    policies.sort_by(|a, b| a.id.cmp(&b.id));
    policies
}

fn faults(answer: &Answer<'_>) -> Vec<PolicyFault> {
    let fault = |(policy, message): &(&CompiledPolicy, String)| PolicyFault {
        policy: Arc::clone(&policy.id),
        message: message.as_str().into(),
    };
    let mut faults: Vec<_> = answer.erred.iter().map(fault).collect();
    faults.sort_by(|a, b| a.policy.cmp(&b.policy));
    faults
}
