//! Lists: every item is judged, and what is listed and what can be called never differ.

use std::sync::Arc;
use std::time::Instant;

use super::context::{build_context, set_input};
use super::decide::RequestState;
use super::guard::Guard;
use super::pending::require_supported;
use super::permit::{AdmittedList, Allow, Permit};
use super::record::{DecisionFacts, build_record, list_item};
use super::refusal::Denied;
use super::shared::{SharedFacts, unavailable};
use crate::audit::Item;
use crate::model::{
    DecisionId, Entity, Input, Obligations, Operation, Outcome, ReasonCode, Screening, Value,
};
use crate::policy::Verdict;
use crate::shared_state::SessionKey;
use crate::telemetry::Stage;

/// What the policies said of the items of a list.
struct JudgedItems<O> {
    /// The circumstances of the list, without the input of an item.
    cedar_context: Value,
    entries: Vec<Item>,
    allowed: Vec<(O, Allow)>,
    entities: Vec<Arc<Entity>>,
    /// Those of all permits that allowed an item.
    obligations: Obligations,
}

impl Guard {
    /// Asks about every item of a list that has itself been allowed; answers with a permit for each item that is.
    /// The whole list is one record, under `list`'s resource.
    pub async fn admit_each<O: Operation>(
        &self,
        list: &AdmittedList,
        items: Vec<O>,
    ) -> Result<Vec<Permit<O>>, Denied> {
        let began = Instant::now();
        let (subject, context) = (&list.subject, &list.context);
        let key = SessionKey::new(subject.principal(), context.session.as_ref());
        let mut whole = Verdict::without_policy(Outcome::Allow, ReasonCode::Permitted);
        let (shared, items) = match self.shared_facts(&key).await {
            Ok(shared) => (shared, items),
            Err(why) => {
                whole = unavailable(&why);
                (SharedFacts::default(), Vec::new())
            }
        };
        let span = context.span.stage(Stage::Decide);
        let state = self.request_state(subject, context, shared);
        let decision = DecisionId::generate();
        let judged = self.judge_items(&state, decision, &key, items).await;
        whole.obligations = judged.obligations;
        let facts = DecisionFacts {
            decision,
            event_type: O::EVENT,
            action: &list.action,
            resource: &list.resource,
            verdict: &whole,
            shadow: None,
            cedar_context: judged.cedar_context,
            entities: judged.entities,
            open_input: false,
            arguments: None,
            content_sha256: None,
            items: judged.entries,
            began,
        };
        let record = build_record(&state, self.replayable, facts);
        drop(span);
        let _span = context.span.stage(Stage::Record);
        let receipt = self.journal.append(record).await.map_err(|_| Denied::unrecorded())?;
        if whole.outcome != Outcome::Allow {
            return Err(Denied::new(Some(receipt), whole, None));
        }
        Permit::mint_each(judged.allowed, receipt, subject, context).ok_or_else(Denied::unrecorded)
    }

    /// Judges each item of a list in the circumstances of the list.
    async fn judge_items<O: Operation>(
        &self,
        state: &RequestState<'_>,
        decision: DecisionId,
        key: &SessionKey,
        items: Vec<O>,
    ) -> JudgedItems<O> {
        let mut judged = JudgedItems {
            cedar_context: build_context(state.context, &Screening::default(), state),
            entries: Vec::with_capacity(items.len()),
            allowed: Vec::with_capacity(items.len()),
            entities: Vec::new(),
            obligations: Obligations::default(),
        };
        for operation in items {
            let (action, resource) = (operation.action(), operation.resource());
            let input = operation.input();
            let own_input = matches!(input, Input::Known(_));
            let open_input = set_input(&mut judged.cedar_context, input);
            let evaluation = self.judge(state, &action, &resource, judged.cedar_context, open_input, false);
            judged.cedar_context = evaluation.cedar_context;
            let mut verdict = evaluation.verdict;
            if O::READS {
                require_supported::<O>(&mut verdict);
            } else {
                // An item that is only shown to exist is not what its permits put under obligations.
                verdict.obligations = Obligations::default();
            }
            self.count_on_session(key, &operation, &resource, &mut verdict).await;
            judged.obligations = judged.obligations.with(verdict.obligations.clone());
            let mut entry = list_item(&action, &resource.uid, &verdict);
            entry.shadow = self.shadow(state, decision, &action, &verdict, evaluation.candidate);
            if self.replayable {
                judged.entities.extend(evaluation.entities);
                entry.open_input = open_input;
                if own_input {
                    entry.set_context(judged.cedar_context.clone());
                }
            }
            judged.entries.push(entry);
            self.count(&action, &verdict);
            if let Some(allow) = Allow::from_verdict(decision, &verdict) {
                judged.allowed.push((operation, allow));
            }
        }
        set_input(&mut judged.cedar_context, Input::Absent);
        judged
    }
}
