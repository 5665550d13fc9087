//! Questions of the decision point: what would be decided of others, for a caller that may ask.

use std::sync::{Arc, LazyLock};

use super::context::build_context;
use super::decide::{RequestState, resolve_entities};
use super::guard::Guard;
use super::record::answer_item;
use super::refusal::Denied;
use super::shared::unavailable;
use crate::model::{DecisionId, Outcome, ReasonCode, RequestContext, Screening, Subject, TestPolicies};
use crate::policy::{Query, Verdict};

/// After so many answers in one asking others have their turn on the thread.
const AT_A_TIME: usize = 16;

impl Guard {
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
        let mut pending = self.decide(subject, &TestPolicies, context, None).await;
        let (mut verdicts, mut failed) = (Vec::new(), None);
        if pending.verdict.outcome == Outcome::Allow {
            let cedar_context = LazyLock::new(|| {
                let bundle = Arc::clone(&pending.bundle);
                let shared = pending.shared.clone();
                let state = RequestState { bundle, ..self.request_state(subject, context, shared) };
                build_context(context, &Screening::default(), &state)
            });
            for mut question in questions {
                pending.bundle.complete(&mut question, || &*cedar_context);
                let verdict = match resolve_entities(&mut question, &pending.bundle, &*pending.attributes) {
                    true => pending.bundle.decide(&question),
                    false => Verdict::without_policy(Outcome::DenyError, ReasonCode::AttributesUnavailable),
                };
                if let Some(record) = &mut pending.record {
                    record.items.push(answer_item(&question, &verdict, self.replayable));
                }
                let last = enough(&verdict);
                verdicts.push(verdict);
                // The first was counted when the asking was.
                if verdicts.len() > 1
                    && let Err(why) = self.limiter.owe(subject.principal(), 1).await
                {
                    failed = Some(why);
                    break;
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
        if let Some(why) = failed {
            pending.deny(unavailable(&why));
        }
        let receipt = self.append_record(pending.record, context).await?;
        match (pending.verdict.outcome, receipt) {
            (Outcome::Allow, Some(_)) => Ok((pending.decision, verdicts)),
            (Outcome::Allow, None) => Err(Denied::unrecorded()),
            (_, receipt) => Err(Denied::new(receipt, pending.verdict, pending.retry_after)),
        }
    }
}
