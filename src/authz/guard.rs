//! The guard: limit, screen, ask the policies, record, and only then mint the permit.
//!
//! Everything that has an effect comes through [`Guard::admit`] or [`Guard::admit_each`]. The order is the
//! promise: there is no permit before the journal has the record, and no record says more than was decided.

use std::sync::Arc;

use super::permit::{Allow, Permit};
use super::pip::AttributeSource;
use super::refusal::{Denied, Refusal};
use super::screening::Screener;
use crate::audit::{Journal, Receipt, Record};
use crate::clock::SharedClock;
use crate::model::{Operation, RequestContext, Subject};
use crate::policy::live::LivePolicy;
use crate::screen::Screen;
use crate::shared_state::{
    Counted, Labels, Limited, Lockdown, RateCounter, SessionKey, Sessions, Unavailable,
};
use crate::telemetry::{Metrics, Stage};

/// What the guard needs from those who build it.
pub struct GuardParts {
    /// The live policies.
    pub policy: Arc<LivePolicy>,
    /// Takes the records.
    pub journal: Journal,
    /// Bounds each principal.
    pub limiter: Arc<dyn RateCounter>,
    /// Looks at untrusted text.
    pub screen: Screen,
    /// Knows people and things.
    pub attributes: Arc<dyn AttributeSource>,
    /// Tells the time.
    pub clock: SharedClock,
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// Knows what each session has done so far.
    pub sessions: Arc<dyn Sessions>,
    /// Says whether there is a lockdown.
    pub lockdown: Arc<dyn Lockdown>,
    /// Whether context is recorded with values (`true`) or with digests of texts.
    pub replayable: bool,
}

/// Turns operations into permits. Shared by the parts of the gateway that face callers and agents.
pub struct Guard {
    pub(super) policy: Arc<LivePolicy>,
    pub(super) journal: Journal,
    pub(super) limiter: Arc<dyn RateCounter>,
    pub(super) screener: Screener,
    pub(super) attributes: Arc<dyn AttributeSource>,
    pub(super) clock: SharedClock,
    pub(super) metrics: Arc<Metrics>,
    pub(super) sessions: Arc<dyn Sessions>,
    pub(super) lockdown: Arc<dyn Lockdown>,
    pub(super) replayable: bool,
}

impl Guard {
    /// Puts the guard together.
    pub fn new(parts: GuardParts) -> Self {
        Self {
            policy: parts.policy,
            journal: parts.journal,
            limiter: parts.limiter,
            screener: Screener::new(parts.screen),
            attributes: parts.attributes,
            clock: parts.clock,
            metrics: parts.metrics,
            sessions: parts.sessions,
            lockdown: parts.lockdown,
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
    ///
    /// # Errors
    /// The rate cannot be asked: nothing of the request may be read.
    pub async fn above_rate(&self, subject: &Subject) -> Result<Option<Limited>, Unavailable> {
        Ok(self.limiter.peek(subject.principal()).await?.err())
    }

    /// The labels that the subject's session carries.
    ///
    /// # Errors
    /// The session cannot be asked: nothing that would carry its labels may be written or sent.
    pub async fn labels(&self, subject: &Subject, context: &RequestContext) -> Result<Labels, Denied> {
        let key = SessionKey::new(subject.principal(), context.session.as_ref());
        self.sessions.labels(&key).await.map_err(|why| Denied::state_unavailable(&why))
    }

    /// Puts the labels of what the subject is about to be shown on its session. `false`, and nothing is put there, when
    /// the session has no room for them: then the subject must not see it.
    ///
    /// # Errors
    /// The session cannot be asked: the subject must not see it either.
    #[must_use = "what cannot be carried must not be shown"]
    pub async fn carry(
        &self,
        subject: &Subject,
        context: &RequestContext,
        labels: &Labels,
    ) -> Result<bool, Denied> {
        if labels.is_empty() {
            return Ok(true);
        }
        let key = SessionKey::new(subject.principal(), context.session.as_ref());
        let counted = self.sessions.count(&key, None, labels).await;
        counted.map(|counted| counted == Counted::Counted).map_err(|why| Denied::state_unavailable(&why))
    }

    /// Asks for one operation.
    pub async fn admit<O: Operation>(
        &self,
        subject: &Arc<Subject>,
        mut operation: O,
        context: &Arc<RequestContext>,
    ) -> Result<Permit<O>, Denied> {
        let pending = self.decide(subject, &operation, context, None).await;
        let receipt = self.append_record(pending.record, context).await?;
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
        match self.append_record(pending.record, context).await {
            Ok(receipt) => Denied::new(receipt, pending.verdict, pending.retry_after),
            Err(unrecorded) => unrecorded,
        }
    }

    /// Brings the record into the log. There is none where a refusal was counted with others; a permit needs one.
    pub(super) async fn append_record(
        &self,
        record: Option<Box<Record>>,
        context: &RequestContext,
    ) -> Result<Option<Receipt>, Denied> {
        let Some(record) = record else { return Ok(None) };
        let _span = context.span.stage(Stage::Record);
        self.journal.append(record).await.map(Some).map_err(|_| Denied::unrecorded())
    }
}
