//! The proof that one operation was allowed and recorded.
//!
//! A [`Permit<O>`] owns the operation that was judged, so target and arguments cannot be swapped between
//! check and use. It cannot be made outside this module, copied, stored as data, or used twice: effects take
//! it by value.
//!
//! It cannot be forged:
//! ```compile_fail,E0451
//! use caxton::{authz::Permit, model::ListTools};
//! fn forge(decision: caxton::model::DecisionId, subject: std::sync::Arc<caxton::model::Subject>) -> Permit<ListTools> {
//!     Permit { operation: ListTools, decision, subject, context: unimplemented!() }
//! }
//! ```
//! nor minted elsewhere:
//! ```compile_fail,E0624
//! use caxton::{authz::Permit, model::ListTools};
//! let permit = Permit::mint(ListTools, unimplemented!(), unimplemented!(), unimplemented!(), unimplemented!());
//! ```
//! nor cloned:
//! ```compile_fail,E0599
//! use caxton::{authz::Permit, model::ListTools};
//! fn twice(permit: Permit<ListTools>) -> (Permit<ListTools>, Permit<ListTools>) {
//!     (permit.clone(), permit)
//! }
//! ```
//! nor spent twice:
//! ```compile_fail,E0382
//! use caxton::{authz::Permit, model::ListTools};
//! fn spend(_: Permit<ListTools>) {}
//! fn twice(permit: Permit<ListTools>) {
//!     spend(permit);
//!     spend(permit);
//! }
//! ```
//! nor used for another operation:
//! ```compile_fail,E0308
//! use caxton::{authz::Permit, model::{ListTools, ReadAudit}};
//! fn read_audit(_: Permit<ReadAudit>) {}
//! fn swap(permit: Permit<ListTools>) {
//!     read_audit(permit);
//! }
//! ```
//! nor changed after the decision:
//! ```compile_fail,E0594
//! use caxton::{authz::Permit, model::SearchMemory};
//! fn widen(permit: Permit<SearchMemory>) {
//!     permit.operation().limit = u32::MAX;
//! }
//! ```

use std::sync::Arc;

use crate::audit::Receipt;
use crate::model::{Action, DecisionId, EntityUid, Operation, Outcome, RequestContext, Subject};
use crate::policy::Verdict;

/// The policies' word that one decision is an allow. Made from a verdict, here only.
#[derive(Debug)]
pub(super) struct Allow(DecisionId);

impl Allow {
    /// The witness of an allowing verdict; `None` for every other outcome.
    pub(super) fn from_verdict(decision: DecisionId, verdict: &Verdict) -> Option<Self> {
        (verdict.outcome == Outcome::Allow).then_some(Self(decision))
    }
}

/// The heading of a list: who asked for it and what it was. Gives no right to anything in it.
#[derive(Debug)]
pub struct AdmittedList {
    pub(super) action: Action,
    pub(super) resource: EntityUid,
    pub(super) subject: Arc<Subject>,
    pub(super) context: Arc<RequestContext>,
}

/// One operation, allowed and on record. See the module's text for what cannot be done with it.
#[must_use = "a permit that is not spent is a decision without an effect"]
#[derive(Debug)]
pub struct Permit<O: Operation> {
    operation: O,
    decision: DecisionId,
    subject: Arc<Subject>,
    context: Arc<RequestContext>,
}

impl<O: Operation> Permit<O> {
    /// Mints the permit from its two witnesses: the policies' allow and the journal's receipt.
    ///
    /// INVARIANT: both are about the same decision; `None` when they are not.
    pub(super) fn mint(
        operation: O,
        allow: Allow,
        receipt: Receipt,
        subject: Arc<Subject>,
        context: Arc<RequestContext>,
    ) -> Option<Self> {
        let permits = Self::mint_each(vec![(operation, allow)], receipt, &subject, &context)?;
        permits.into_iter().next()
    }

    /// Mints the permits of a list, which is one decision with one receipt.
    pub(super) fn mint_each(
        allowed: Vec<(O, Allow)>,
        receipt: Receipt,
        subject: &Arc<Subject>,
        context: &Arc<RequestContext>,
    ) -> Option<Vec<Self>> {
        let decision = receipt.decision();
        allowed
            .into_iter()
            .map(|(operation, allow)| {
                (allow.0 == decision).then(|| Self {
                    operation,
                    decision,
                    subject: Arc::clone(subject),
                    context: Arc::clone(context),
                })
            })
            .collect()
    }

    /// What was allowed.
    pub fn operation(&self) -> &O {
        &self.operation
    }

    /// Spends the permit for the operation in it.
    pub fn into_operation(self) -> O {
        self.operation
    }

    /// The decision on record.
    pub fn decision(&self) -> DecisionId {
        self.decision
    }

    /// Under which heading the items of this list are asked about, for after the permit is spent.
    pub fn listing(&self) -> AdmittedList {
        AdmittedList {
            action: self.operation.action(),
            resource: self.operation.resource().uid.clone(),
            subject: Arc::clone(&self.subject),
            context: Arc::clone(&self.context),
        }
    }

    /// Who was allowed.
    pub fn subject(&self) -> &Arc<Subject> {
        &self.subject
    }

    /// The circumstances it was allowed in.
    pub fn context(&self) -> &Arc<RequestContext> {
        &self.context
    }

    /// A permit without a decision, for the unit tests of effect owners; not in any build that can run.
    #[cfg(test)]
    pub(crate) fn for_test(operation: O, subject: Subject) -> Self {
        Self {
            operation,
            decision: DecisionId::generate(),
            subject: Arc::new(subject),
            context: Arc::new(RequestContext::internal()),
        }
    }
}
