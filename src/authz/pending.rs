//! One decision from the request to its record, which is not yet in the journal.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::context::{build_context, set_input};
use super::decide::labels;
use super::guard::Guard;
use super::pip::Attributes;
use super::record::{DecisionFacts, build_record};
use super::refusal::Refusal;
use super::screening::Screened;
use super::session::{Labels, SessionKey};
use crate::audit::Record;
use crate::limit::network;
use crate::model::{DecisionId, Entity, Operation, Outcome, ReasonCode, RequestContext, Subject};
use crate::policy::{Bundle, Verdict};

/// A decision that is made and not yet on record.
pub(super) struct PendingDecision {
    pub(super) decision: DecisionId,
    pub(super) verdict: Verdict,
    /// None for a refusal that is counted with others of its kind.
    pub(super) record: Option<Box<Record>>,
    /// Which of the operation's candidates is allowed.
    pub(super) chosen: Option<usize>,
    pub(super) key: SessionKey,
    pub(super) bundle: Arc<Bundle>,
    pub(super) attributes: Arc<dyn Attributes>,
    pub(super) retry_after: Option<Duration>,
}

impl Guard {
    /// Limit, screen, judge, and write the record down. Nothing is allowed yet.
    pub(super) async fn decide<O: Operation>(
        &self,
        subject: &Arc<Subject>,
        operation: &O,
        context: &Arc<RequestContext>,
        impossible: Option<Refusal>,
    ) -> PendingDecision {
        let began = Instant::now();
        let key = SessionKey::new(subject.principal(), context.session.as_ref());
        let action = operation.action();
        let resource = operation.resource();
        let counted = self.limiter.check(subject.principal());
        let Screened { screening, more } = match counted {
            Err(_) => Screened::default(),
            Ok(_) => self.screener.screen(subject.principal(), operation).await,
        };
        self.limiter.owe(subject.principal(), more);
        context.meter.note(counted.map_or(0, |left| left.remaining.saturating_sub(more)));
        let limited = counted.err();
        // INVARIANT: held until the call is counted. Nothing in between waits.
        let turn = operation.tool().map(|_| self.sessions.turn(&key));
        let _alone = turn.as_ref().map(|turn| turn.lock());
        let state = self.request_state(subject, context, &key);
        let mut cedar_context = build_context(context, &state.facts, &screening, self.system(&state));
        let open_input = set_input(&mut cedar_context, operation.input());
        let (mut entities, mut candidate) = (Vec::new(), None);
        let (mut verdict, retry_after) = match limited {
            Some(limited) => (
                Verdict::without_policy(Outcome::Limited, ReasonCode::RateLimited),
                Some(limited.retry_after),
            ),
            None => {
                let evaluation =
                    self.judge(&state, &action, &resource, cedar_context, open_input, O::ALLOWED_WHEN_STALE);
                (cedar_context, entities) = (evaluation.cedar_context, evaluation.entities);
                match impossible {
                    Some(refused) if refused.outranks(&evaluation.verdict) => {
                        (refused.verdict(), refused.retry_after)
                    }
                    _ => {
                        candidate = evaluation.candidate;
                        (evaluation.verdict, None)
                    }
                }
            }
        };
        let decision = DecisionId::generate();
        let (mut items, mut chosen) = (Vec::new(), None);
        if verdict.outcome == Outcome::Allow && !operation.candidates().is_empty() {
            let found = self.choose(&state, &action, operation.candidates(), cedar_context);
            (cedar_context, items) = (found.cedar_context, found.items);
            entities.extend(found.entities);
            match found.chosen {
                Ok(candidate) => {
                    chosen = Some(candidate);
                    verdict.obligations = verdict.obligations.with(found.obligations);
                }
                Err(refused) => verdict = refused,
            }
        }
        require_supported::<O>(&mut verdict);
        self.count_on_session(&key, operation, &resource, &mut verdict);
        let facts = DecisionFacts {
            decision,
            event_type: O::EVENT,
            action: &action,
            resource: &resource.uid,
            verdict: &verdict,
            shadow: self.shadow(&state, decision, &action, &verdict, candidate),
            cedar_context,
            entities,
            open_input,
            arguments: operation.arguments(),
            content_sha256: operation.content_sha256(),
            items,
            began,
        };
        let mut record = Some(Box::new(build_record(&state, self.replayable, facts)));
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
        let (bundle, attributes) = (state.bundle, state.attributes);
        PendingDecision { decision, verdict, record, chosen, key, bundle, attributes, retry_after }
    }

    /// Counts an allowed operation, what is read by it and what its permits put on the session, before anything is shown or
    /// waits. It is denied when the session
    /// has no room for the labels.
    pub(super) fn count_on_session<O: Operation>(
        &self,
        key: &SessionKey,
        operation: &O,
        resource: &Entity,
        verdict: &mut Verdict,
    ) {
        let mut read = if O::READS { labels(resource) } else { Labels::new() };
        read.extend(verdict.obligations.labels().cloned());
        if verdict.outcome == Outcome::Allow && !self.sessions.count(key, operation.tool(), &read) {
            *verdict = Verdict::without_policy(Outcome::DenyError, ReasonCode::LabelsFull);
        }
    }
}

/// Denies what a permit allows under an obligation that cannot be carried out for this operation: without it the policy
/// would allow more than its author wrote.
pub(super) fn require_supported<O: Operation>(verdict: &mut Verdict) {
    if !O::REDACTS && verdict.obligations.redactions().next().is_some() {
        *verdict = Verdict::without_policy(Outcome::DenyError, ReasonCode::ObligationUnsupported);
    }
}
