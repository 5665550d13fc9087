//! The guard: limit, screen, ask the policies, record, and only then mint the permit.
//!
//! Everything that has an effect comes through [`Guard::admit`] or [`Guard::admit_each`]. The order is the
//! promise: there is no permit before the journal has the record, and no record says more than was decided.

mod decide;
mod notice;

pub(super) use decide::Asking;
pub use decide::know;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use decide::labels;

use super::look::{Looker, Seen};
use super::permit::{Allow, Listing, Permit};
use super::pip::{AttributeSource, Attributes};
use super::record::{Decided, answer, build, describe, give, item};
use super::refusal::{Denied, Refusal, unasked};
use super::session::{Labels, SessionKey, SessionSettings, Sessions};
use crate::audit::{Journal, Receipt, Record};
use crate::clock::SharedClock;
use crate::limit::{Limited, RateLimiter, network};
use crate::model::{
    DecisionId, Entity, Input, Operation, Outcome, ReasonCode, RequestContext, Screening, Subject,
    TestPolicies,
};
use crate::policy::live::LivePolicy;
use crate::policy::{Bundle, Query, Verdict};
use crate::screen::Screen;
use crate::telemetry::Metrics;

/// After so many answers in one asking others have their turn on the thread.
const AT_A_TIME: usize = 16;

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
    policy: Arc<LivePolicy>,
    journal: Journal,
    limiter: RateLimiter,
    looker: Looker,
    attributes: Arc<dyn AttributeSource>,
    clock: SharedClock,
    metrics: Arc<Metrics>,
    sessions: Sessions,
    lockdown: AtomicBool,
    replayable: bool,
}

/// A decision that is made and not yet on record.
struct Considered {
    decision: DecisionId,
    verdict: Verdict,
    /// None for a refusal that is counted with others of its kind.
    record: Option<Box<Record>>,
    /// Which of the operation's candidates is allowed.
    chosen: Option<usize>,
    key: SessionKey,
    bundle: Arc<Bundle>,
    attributes: Arc<dyn Attributes>,
    retry_after: Option<Duration>,
}

impl Guard {
    /// Puts the guard together.
    pub fn new(parts: GuardParts) -> Self {
        Self {
            sessions: Sessions::new(parts.sessions, parts.clock.clone()),
            policy: parts.policy,
            journal: parts.journal,
            limiter: parts.limiter,
            looker: Looker::new(parts.screen),
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
        let considered = self.consider(subject, &operation, context, None).await;
        let receipt = self.put_down(considered.record).await?;
        match (Allow::from_verdict(considered.decision, &considered.verdict), receipt) {
            (Some(allow), Some(receipt)) => {
                considered.chosen.into_iter().for_each(|candidate| operation.choose(candidate));
                Permit::mint(operation, allow, receipt, Arc::clone(subject), Arc::clone(context))
                    .ok_or_else(Denied::unrecorded)
            }
            (Some(_), None) => Err(Denied::unrecorded()),
            (None, receipt) => Err(Denied::new(receipt, considered.verdict, considered.retry_after)),
        }
    }

    /// Answers questions about others, for a caller who may ask (`policy:test`). One record holds the asking and
    /// every answer. Stops after the first answer for which `enough` holds. Each answer counts against the limit of the
    /// caller: what it does not hold is owed. A long asking lets others have their turn in between.
    ///
    /// Circumstances that a question leaves out (`context.system` and the like) are those of the asking itself,
    /// and an entity of which it says nothing is what is known of it. What the caller states stays as stated.
    pub async fn evaluate(
        &self,
        subject: &Arc<Subject>,
        context: &Arc<RequestContext>,
        questions: impl IntoIterator<Item = Query, IntoIter: Send>,
        enough: impl Fn(&Verdict) -> bool,
    ) -> Result<(DecisionId, Vec<Verdict>), Denied> {
        let mut considered = self.consider(subject, &TestPolicies, context, None).await;
        let mut verdicts = Vec::new();
        if considered.verdict.outcome == Outcome::Allow {
            let circumstances = LazyLock::new(|| {
                let bundle = Arc::clone(&considered.bundle);
                let asking = Asking { bundle, ..self.asking(subject, context, &considered.key) };
                describe(context, &asking.facts, &Screening::default(), self.system(&asking))
            });
            for mut question in questions {
                considered.bundle.complete(&mut question, || &*circumstances);
                let verdict = match know(&mut question, &considered.bundle, &*considered.attributes) {
                    true => considered.bundle.decide(&question),
                    false => unasked(Outcome::DenyError, ReasonCode::AttributesUnavailable),
                };
                if let Some(record) = &mut considered.record {
                    record.items.push(answer(&question, &verdict, self.replayable));
                }
                let last = enough(&verdict);
                verdicts.push(verdict);
                // The first was counted when the asking was.
                if verdicts.len() > 1 {
                    self.limiter.owe(subject.principal(), 1);
                }
                if last {
                    break;
                }
                if verdicts.len() % AT_A_TIME == 0 {
                    tokio::task::yield_now().await;
                }
            }
            let left = context.meter.remaining().unwrap_or(0);
            let more = u32::try_from(verdicts.len().saturating_sub(1)).unwrap_or(u32::MAX);
            context.meter.note(left.saturating_sub(more));
        }
        let receipt = self.put_down(considered.record).await?;
        match (considered.verdict.outcome, receipt) {
            (Outcome::Allow, Some(_)) => Ok((considered.decision, verdicts)),
            (Outcome::Allow, None) => Err(Denied::unrecorded()),
            (_, receipt) => Err(Denied::new(receipt, considered.verdict, considered.retry_after)),
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
        let considered = self.consider(subject, operation, context, Some(refusal)).await;
        match self.put_down(considered.record).await {
            Ok(receipt) => Denied::new(receipt, considered.verdict, considered.retry_after),
            Err(unrecorded) => unrecorded,
        }
    }

    /// Brings the record into the log. There is none where a refusal was counted with others; a permit needs one.
    async fn put_down(&self, record: Option<Box<Record>>) -> Result<Option<Receipt>, Denied> {
        let Some(record) = record else { return Ok(None) };
        self.journal.append(record).await.map(Some).map_err(|_| Denied::unrecorded())
    }

    /// Limit, screen, judge, and write the record down. Nothing is allowed yet.
    async fn consider<O: Operation>(
        &self,
        subject: &Arc<Subject>,
        operation: &O,
        context: &Arc<RequestContext>,
        impossible: Option<Refusal>,
    ) -> Considered {
        let began = Instant::now();
        let key = SessionKey::new(subject.principal(), context.session.as_ref());
        let action = operation.action();
        let resource = operation.resource();
        let counted = self.limiter.check(subject.principal());
        let Seen { screening, more } = match counted {
            Err(_) => Seen::default(),
            Ok(_) => self.looker.look(subject.principal(), operation).await,
        };
        self.limiter.owe(subject.principal(), more);
        context.meter.note(counted.map_or(0, |left| left.remaining.saturating_sub(more)));
        let limited = counted.err();
        // INVARIANT: held until the call is counted. Nothing in between waits.
        let turn = operation.tool().map(|_| self.sessions.turn(&key));
        let _alone = turn.as_ref().map(|turn| turn.lock());
        let asking = self.asking(subject, context, &key);
        let mut circumstances = describe(context, &asking.facts, &screening, self.system(&asking));
        let open_input = give(&mut circumstances, operation.input());
        let (mut entities, mut candidate) = (Vec::new(), None);
        let (mut verdict, retry_after) = match limited {
            Some(limited) => (unasked(Outcome::Limited, ReasonCode::RateLimited), Some(limited.retry_after)),
            None => {
                let judged =
                    self.judge(&asking, &action, &resource, circumstances, open_input, O::MENDS_ATTRIBUTES);
                (circumstances, entities) = (judged.circumstances, judged.entities);
                match impossible {
                    Some(refused) if refused.outranks(&judged.verdict) => {
                        (refused.verdict(), refused.retry_after)
                    }
                    _ => {
                        candidate = judged.candidate;
                        (judged.verdict, None)
                    }
                }
            }
        };
        let decision = DecisionId::generate();
        let (mut items, mut chosen) = (Vec::new(), None);
        if verdict.outcome == Outcome::Allow && !operation.candidates().is_empty() {
            let found = self.choose(&asking, &action, operation.candidates(), circumstances);
            (circumstances, items) = (found.circumstances, found.items);
            entities.extend(found.entities);
            match found.chosen {
                Ok(candidate) => chosen = Some(candidate),
                Err(refused) => verdict = refused,
            }
        }
        self.count_on_session(&key, operation, &resource, &mut verdict);
        let decided = Decided {
            decision,
            event_type: O::EVENT,
            action: &action,
            resource: &resource.uid,
            verdict: &verdict,
            shadow: self.shadow(&asking, decision, &action, &verdict, candidate),
            circumstances,
            entities,
            open_input,
            arguments: operation.arguments(),
            content_sha256: operation.content_sha256(),
            items,
            began,
        };
        let mut record = Some(Box::new(build(&asking, self.replayable, decided)));
        if verdict.outcome == Outcome::Limited {
            let (address, reason) = (network(context.source.ip), ("rate_limited", O::EVENT.as_str()));
            record = record.and_then(|record| self.journal.count_refusal(record, address, reason));
        }
        self.count(&action, &verdict);
        self.metrics.decision_duration.observe(began.elapsed().as_secs_f64());
        if screening.injection {
            self.metrics.injection_attempts.inc();
        }
        if verdict.outcome != Outcome::Allow {
            self.sessions.denied(&key);
        }
        if record.is_some() {
            self.security_log(O::EVENT, subject, &resource.uid, &screening, &verdict, decision);
        }
        let (bundle, attributes) = (asking.bundle, asking.attributes);
        Considered { decision, verdict, record, chosen, key, bundle, attributes, retry_after }
    }

    /// Counts an allowed operation and what is read by it, before anything is shown or waits. It is denied when the session
    /// has no room for the labels.
    fn count_on_session<O: Operation>(
        &self,
        key: &SessionKey,
        operation: &O,
        resource: &Entity,
        verdict: &mut Verdict,
    ) {
        let read = if O::READS { labels(resource) } else { Labels::new() };
        if verdict.outcome == Outcome::Allow && !self.sessions.count(key, operation.tool(), &read) {
            *verdict = unasked(Outcome::DenyError, ReasonCode::LabelsFull);
        }
    }

    /// Asks about every item of a list that has itself been allowed; answers with a permit for each item that is.
    /// The whole list is one record, under `list`'s resource.
    pub async fn admit_each<O: Operation>(
        &self,
        list: &Listing,
        items: Vec<O>,
    ) -> Result<Vec<Permit<O>>, Denied> {
        let began = Instant::now();
        let (subject, context) = (&list.subject, &list.context);
        let key = SessionKey::new(subject.principal(), context.session.as_ref());
        let asking = self.asking(subject, context, &key);
        let decision = DecisionId::generate();
        let mut entries = Vec::with_capacity(items.len());
        let mut allowed = Vec::with_capacity(items.len());
        let mut all_entities = Vec::new();
        let mut circumstances = describe(context, &asking.facts, &Screening::default(), self.system(&asking));
        for operation in items {
            let (action, resource) = (operation.action(), operation.resource());
            let input = operation.input();
            let own_input = matches!(input, Input::Known(_));
            let open_input = give(&mut circumstances, input);
            let judged = self.judge(&asking, &action, &resource, circumstances, open_input, false);
            let (mut verdict, entities) = (judged.verdict, judged.entities);
            circumstances = judged.circumstances;
            self.count_on_session(&key, &operation, &resource, &mut verdict);
            let mut entry = item(&action, &resource.uid, &verdict);
            entry.shadow = self.shadow(&asking, decision, &action, &verdict, judged.candidate);
            if self.replayable {
                all_entities.extend(entities);
                entry.open_input = open_input;
                if own_input {
                    entry.set_context(circumstances.clone());
                }
            }
            entries.push(entry);
            self.count(&action, &verdict);
            if let Some(allow) = Allow::from_verdict(decision, &verdict) {
                allowed.push((operation, allow));
            }
        }
        give(&mut circumstances, Input::Absent);
        let whole = Verdict { outcome: Outcome::Allow, reason: ReasonCode::Permitted, ..Verdict::default() };
        let decided = Decided {
            decision,
            event_type: O::EVENT,
            action: &list.action,
            resource: &list.resource,
            verdict: &whole,
            shadow: None,
            circumstances,
            entities: all_entities,
            open_input: false,
            arguments: None,
            content_sha256: None,
            items: entries,
            began,
        };
        let record = build(&asking, self.replayable, decided);
        let receipt = self.journal.append(record).await.map_err(|_| Denied::unrecorded())?;
        Permit::mint_each(allowed, receipt, subject, context).ok_or_else(Denied::unrecorded)
    }
}
