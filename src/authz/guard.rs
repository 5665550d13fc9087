//! The guard: limit, screen, ask the policies, record, and only then mint the permit.
//!
//! Everything that has an effect comes through [`Guard::admit`] or [`Guard::admit_each`]. The order is the
//! promise: there is no permit before the journal has the record, and no record says more than was decided.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::permit::{Allow, Permit};
use super::pip::AttributeSource;
use super::refusal::{Denied, Refusal};
use super::screening::Screener;
use super::session::{Labels, SessionKey, SessionSettings, Sessions};
use crate::audit::{Journal, Receipt, Record};
use crate::clock::SharedClock;
use crate::limit::{Limited, RateLimiter};
use crate::model::{Operation, RequestContext, Subject};
use crate::policy::live::LivePolicy;
use crate::screen::Screen;
use crate::telemetry::Metrics;

/// What the guard needs from those who build it.
pub struct GuardParts {
    /// The live policies.
    pub policy: Arc<LivePolicy>,
    /// Takes the records.
    pub journal: Journal,
    /// Bounds each principal.
    pub limiter: RateLimiter,
    /// Looks at untrusted text.
    pub screen: Screen,
    /// Knows people and things.
    pub attributes: Arc<dyn AttributeSource>,
    /// Tells the time.
    pub clock: SharedClock,
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// Bounds of the session table.
    pub sessions: SessionSettings,
    /// Whether context is recorded with values (`true`) or with digests of texts.
    pub replayable: bool,
}

/// Turns operations into permits. Shared by the parts of the gateway that face callers and agents.
pub struct Guard {
    pub(super) policy: Arc<LivePolicy>,
    pub(super) journal: Journal,
    pub(super) limiter: RateLimiter,
    pub(super) screener: Screener,
    pub(super) attributes: Arc<dyn AttributeSource>,
    pub(super) clock: SharedClock,
    pub(super) metrics: Arc<Metrics>,
    pub(super) sessions: Sessions,
    pub(super) lockdown: AtomicBool,
    pub(super) replayable: bool,
}

impl Guard {
    /// Puts the guard together.
    pub fn new(parts: GuardParts) -> Self {
        Self {
            sessions: Sessions::new(parts.sessions, parts.clock.clone()),
            policy: parts.policy,
            journal: parts.journal,
            limiter: parts.limiter,
            screener: Screener::new(parts.screen),
            attributes: parts.attributes,
            clock: parts.clock,
            metrics: parts.metrics,
            lockdown: AtomicBool::new(false),
            replayable: parts.replayable,
        }
    }

    /// The live policies.
    pub fn policy(&self) -> &Arc<LivePolicy> {
        &self.policy
    }

    /// The journal, for events that are not decisions (a refused credential, a reload).
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Whether the caller is above its rate already, before anything of a request is read. Counts nothing.
    pub fn above_rate(&self, subject: &Subject) -> Option<Limited> {
        self.limiter.peek(subject.principal()).err()
    }

    /// Closes or opens the gate; what that means is policy (`context.system.lockdown`).
    pub fn set_lockdown(&self, on: bool) {
        self.lockdown.store(on, Ordering::SeqCst);
    }

    /// The labels that the subject's session carries.
    pub fn labels(&self, subject: &Subject, context: &RequestContext) -> Labels {
        self.sessions.labels(&SessionKey::new(subject.principal(), context.session.as_ref()))
    }

    /// Puts the labels of what the subject is about to be shown on its session. `false`, and nothing is put there, when
    /// the session has no room for them: then the subject must not see it.
    #[must_use = "what cannot be carried must not be shown"]
    pub fn carry(&self, subject: &Subject, context: &RequestContext, labels: &Labels) -> bool {
        let key = SessionKey::new(subject.principal(), context.session.as_ref());
        self.sessions.count(&key, None, labels)
    }

    /// Asks for one operation.
    pub async fn admit<O: Operation>(
        &self,
        subject: &Arc<Subject>,
        mut operation: O,
        context: &Arc<RequestContext>,
    ) -> Result<Permit<O>, Denied> {
        let pending = self.decide(subject, &operation, context, None).await;
        let receipt = self.append_record(pending.record).await?;
        match (Allow::from_verdict(pending.decision, &pending.verdict), receipt) {
            (Some(allow), Some(receipt)) => {
                pending.chosen.into_iter().for_each(|candidate| operation.choose(candidate));
                if O::REDACTS {
                    operation.redact(pending.verdict.obligations.redactions().cloned().collect());
                }
                Permit::mint(operation, allow, receipt, Arc::clone(subject), Arc::clone(context))
                    .ok_or_else(Denied::unrecorded)
            }
            (Some(_), None) => Err(Denied::unrecorded()),
            (None, receipt) => Err(Denied::new(receipt, pending.verdict, pending.retry_after)),
        }
    }

    /// Refuses what the gateway cannot carry out, whatever the policies say. The caller is limited and the policies
    /// are asked first all the same: who may not do it hears that, and nothing of why it could not be done.
    pub async fn refuse<O: Operation>(
        &self,
        subject: &Arc<Subject>,
        operation: &O,
        refusal: Refusal,
        context: &Arc<RequestContext>,
    ) -> Denied {
        let pending = self.decide(subject, operation, context, Some(refusal)).await;
        match self.append_record(pending.record).await {
            Ok(receipt) => Denied::new(receipt, pending.verdict, pending.retry_after),
            Err(unrecorded) => unrecorded,
        }
    }

    /// Brings the record into the log. There is none where a refusal was counted with others; a permit needs one.
    pub(super) async fn append_record(&self, record: Option<Box<Record>>) -> Result<Option<Receipt>, Denied> {
        let Some(record) = record else { return Ok(None) };
        self.journal.append(record).await.map(Some).map_err(|_| Denied::unrecorded())
    }
}
