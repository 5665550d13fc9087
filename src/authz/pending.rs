//! One decision from the request to its record, which is not yet in the journal.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::context::{build_context, set_input};
use super::decide::RequestState;
use super::guard::Guard;
use super::pip::KnownAttributes;
use super::record::{DecisionFacts, build_record};
use super::refusal::Refusal;
use super::screening::Screened;
use super::shared::{Counting, SharedFacts, unavailable};
use crate::audit::{Item, Record};
use crate::limit::network;
use crate::model::{
    DecisionId, Entity, Operation, Outcome, ReasonCode, RequestContext, Screening, Subject, Value,
};
use crate::policy::{Bundle, Verdict};
use crate::shared_state::{Limited, SessionKey};
use crate::telemetry::Stage;

/// A decision that is made and not yet on record.
pub(super) struct PendingDecision {
    pub(super) decision: DecisionId,
    pub(super) verdict: Verdict,
    /// None for a refusal that is counted with others of its kind.
    pub(super) record: Option<Box<Record>>,
    /// Which of the operation's candidates is allowed.
    pub(super) chosen: Option<usize>,
    pub(super) bundle: Arc<Bundle>,
    pub(super) attributes: Arc<dyn KnownAttributes>,
    /// What was known of the session and the lockdown.
    pub(super) shared: SharedFacts,
    pub(super) retry_after: Option<Duration>,
}

impl PendingDecision {
    /// Denies what was allowed, before its record is in the journal.
    pub(super) fn deny(&mut self, verdict: Verdict) {
        if let Some(record) = &mut self.record {
            record.outcome = verdict.outcome;
            record.reason_code = verdict.reason;
        }
        self.verdict = verdict;
    }
}

/// What the policies said of an operation and of its candidates.
struct Judgement {
    verdict: Verdict,
    retry_after: Option<Duration>,
    /// What the candidate set would have decided.
    candidate: Option<Outcome>,
    cedar_context: Value,
    entities: Vec<Arc<Entity>>,
    /// The candidates that were asked about, and which of them is allowed.
    items: Vec<Item>,
    chosen: Option<usize>,
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
        let Counting { screened: Screened { screening, .. }, mut refused } =
            self.count_request(subject, operation, context).await;
        let span = context.span.stage(Stage::Decide);
        // INVARIANT: held until the call is counted.
        let turn = self.turn(&key, operation.tool()).await;
        let shared = match &turn {
            Ok(_) => self.shared_facts(&key).await,
            Err(why) => Err(why.clone()),
        };
        let shared = shared.unwrap_or_else(|why| {
            refused.get_or_insert_with(|| (unavailable(&why), None));
            SharedFacts::default()
        });
        let state = self.request_state(subject, context, shared);
        let mut cedar_context = build_context(context, &screening, &state);
        let open_input = set_input(&mut cedar_context, operation.input());
        let resource = operation.resource();
        let mut judged = match refused {
            Some((verdict, limited)) => Judgement::without_policy(verdict, limited, cedar_context),
            None => self.judge_operation(&state, operation, (cedar_context, open_input), impossible),
        };
        require_supported::<O>(&mut judged.verdict);
        self.count_on_session(&key, operation, &resource, &mut judged.verdict).await;
        self.count_denied(&key, &judged.verdict).await;
        drop((turn, span));
        self.write_down(operation, &resource, (state, began), (screening, open_input), judged)
    }

    /// What the policies say of the operation, and of the candidates that could carry it out.
    fn judge_operation<O: Operation>(
        &self,
        state: &RequestState<'_>,
        operation: &O,
        (cedar_context, open_input): (Value, bool),
        impossible: Option<Refusal>,
    ) -> Judgement {
        let (action, resource) = (operation.action(), operation.resource());
        let stale = O::ALLOWED_WHEN_STALE;
        let evaluation = self.judge(state, &action, &resource, cedar_context, open_input, stale);
        let mut judged = Judgement {
            candidate: evaluation.candidate,
            entities: evaluation.entities,
            ..Judgement::without_policy(evaluation.verdict, None, evaluation.cedar_context)
        };
        if let Some(refusal) = impossible
            && refusal.outranks(&judged.verdict)
        {
            judged.verdict = refusal.verdict();
            judged.retry_after = refusal.retry_after;
            judged.candidate = None;
        }
        if judged.verdict.outcome == Outcome::Allow && !operation.candidates().is_empty() {
            let found = self.choose(state, &action, operation.candidates(), judged.cedar_context);
            judged.cedar_context = found.cedar_context;
            judged.items = found.items;
            judged.entities.extend(found.entities);
            match found.chosen {
                Ok(candidate) => {
                    judged.chosen = Some(candidate);
                    judged.verdict.obligations = judged.verdict.obligations.with(found.obligations);
                }
                Err(refused) => judged.verdict = refused,
            }
        }
        judged
    }

    /// Builds the record of a decision, counts and logs it.
    fn write_down<O: Operation>(
        &self,
        operation: &O,
        resource: &Entity,
        (state, began): (RequestState<'_>, Instant),
        (screening, open_input): (Screening, bool),
        judged: Judgement,
    ) -> PendingDecision {
        let Judgement { verdict, retry_after, candidate, cedar_context, entities, items, chosen } = judged;
        let decision = DecisionId::generate();
        let action = operation.action();
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
            let (address, reason) = (network(state.context.source.ip), ("rate_limited", O::EVENT.as_str()));
            record = record.and_then(|record| self.journal.count_refusal(record, address, reason));
        }
        self.count(&action, &verdict);
        self.metrics.decision_duration.observe(began.elapsed().as_secs_f64());
        if screening.injection {
            self.metrics.injection_attempts.inc();
        }
        if record.is_some() {
            self.security_log(O::EVENT, &state, &resource.uid, &screening, &verdict, decision);
        }
        let RequestState { bundle, attributes, shared, .. } = state;
        PendingDecision { decision, verdict, record, chosen, bundle, attributes, shared, retry_after }
    }
}

impl Judgement {
    fn without_policy(verdict: Verdict, limited: Option<Limited>, cedar_context: Value) -> Self {
        Self {
            verdict,
            retry_after: limited.map(|limited| limited.retry_after),
            candidate: None,
            cedar_context,
            entities: Vec::new(),
            items: Vec::new(),
            chosen: None,
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
