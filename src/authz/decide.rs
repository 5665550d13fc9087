//! What the policies say: of the operation itself, of the candidates that could carry it out, and of the actor it is for.
//!
//! Nothing here waits, and nothing is recorded: a decision is made on one bundle and one view of the attributes.

use std::sync::Arc;

use super::context::{set_permitted, without_actor};
use super::guard::Guard;
use super::pip::KnownAttributes;
use super::record::list_item;
use super::shared::SharedFacts;
use crate::audit::Item;
use crate::model::{Action, Entity, Obligations, Outcome, ReasonCode, RequestContext, Subject, Value};
use crate::policy::shadow::Candidate;
use crate::policy::{Bundle, Query, Verdict};
use crate::shared_state::Labels;

/// What every question of one request has in common.
pub(super) struct RequestState<'a> {
    pub(super) subject: &'a Subject,
    pub(super) context: &'a RequestContext,
    pub(super) bundle: Arc<Bundle>,
    pub(super) candidate: Option<Arc<Candidate>>,
    /// Whether the time of the live set is over.
    pub(super) expired: bool,
    pub(super) shared: SharedFacts,
    pub(super) attributes: Arc<dyn KnownAttributes>,
    pub(super) principal: Option<Arc<Entity>>,
    pub(super) now: i64,
}

/// What the policies said.
pub(super) struct Evaluation {
    pub(super) verdict: Verdict,
    /// What the candidate would have decided.
    pub(super) candidate: Option<Outcome>,
    /// The circumstances as they were.
    pub(super) cedar_context: Value,
    /// What the policies knew.
    pub(super) entities: Vec<Arc<Entity>>,
}

/// Which candidate is allowed, or why none is.
pub(super) struct Chosen {
    pub(super) chosen: Result<usize, Verdict>,
    pub(super) cedar_context: Value,
    pub(super) items: Vec<Item>,
    pub(super) entities: Vec<Arc<Entity>>,
    /// Of the permits that allowed it.
    pub(super) obligations: Obligations,
}

impl Guard {
    pub(super) fn request_state<'a>(
        &self,
        subject: &'a Subject,
        context: &'a RequestContext,
        shared: SharedFacts,
    ) -> RequestState<'a> {
        let (live, attributes) = self.policy.at_one_moment(|| self.attributes.current());
        let now = self.clock.now_millis();
        RequestState {
            principal: attributes.principal(subject.entity()),
            attributes,
            subject,
            context,
            bundle: Arc::clone(&live.bundle),
            candidate: live.candidate.clone(),
            expired: live.is_expired(now),
            shared,
            now,
        }
    }

    /// What the policies say in these circumstances, which come back as they were, with the entities they knew.
    pub(super) fn judge(
        &self,
        state: &RequestState<'_>,
        action: &Action,
        resource: &Arc<Entity>,
        cedar_context: Value,
        open_input: bool,
        allowed_when_stale: bool,
    ) -> Evaluation {
        let without = |outcome, reason, cedar_context| Evaluation {
            verdict: Verdict::without_policy(outcome, reason),
            candidate: None,
            cedar_context,
            entities: Vec::new(),
        };
        if state.expired {
            return without(Outcome::DenyError, ReasonCode::BundleExpired, cedar_context);
        }
        let Some(principal) = &state.principal else {
            return without(Outcome::DenyDefault, ReasonCode::PrincipalUnknown, cedar_context);
        };
        let attributes = &state.attributes;
        let mut entities = vec![Arc::clone(principal)];
        let actor = state.context.actor.as_ref().and_then(|actor| attributes.principal(&actor.principal));
        let bound = matches!(resource.attributes.get("actor_bound"), Some(Value::Bool(true)));
        let asked_for = actor.as_ref().filter(|_| bound).map(|actor| actor.uid.clone());
        for entity in actor.into_iter().chain([Arc::clone(resource)]) {
            if entities.iter().all(|known| known.uid != entity.uid) {
                entities.push(entity);
            }
        }
        let mut query = Query {
            principal: state.subject.principal().clone(),
            action: action.uid(),
            resource: resource.uid.clone(),
            context: cedar_context,
            entities,
        };
        let candidate = state.candidate.as_ref().map(|candidate| candidate.bundle());
        let mut bundles = vec![&*state.bundle];
        bundles.extend(candidate);
        if attributes.is_stale(state.now) && !allowed_when_stale || !attributes.close(&mut query, &bundles) {
            return without(Outcome::DenyError, ReasonCode::AttributesUnavailable, query.context);
        }
        if let Some(actor) = asked_for {
            let mut own = Query { principal: actor, context: without_actor(&query.context), ..query.clone() };
            // Other policies are in question for the actor.
            if !attributes.close(&mut own, &bundles) {
                return without(Outcome::DenyError, ReasonCode::AttributesUnavailable, query.context);
            }
            let (verdict, _) = state.bundle.decide_beside(None, &own, open_input);
            set_permitted(&mut query.context, verdict.outcome == Outcome::Allow);
        }
        let (verdict, candidate) = state.bundle.decide_beside(candidate, &query, open_input);
        Evaluation { verdict, candidate, cedar_context: query.context, entities: query.entities }
    }

    /// The first of the candidates that is allowed too. One that is not is never reached by way of another resource.
    pub(super) fn choose(
        &self,
        state: &RequestState<'_>,
        action: &Action,
        candidates: &[Arc<Entity>],
        mut cedar_context: Value,
    ) -> Chosen {
        let (mut items, mut entities) = (Vec::new(), Vec::new());
        let mut refused = Verdict::without_policy(Outcome::DenyDefault, ReasonCode::ReceiverDenied);
        for (number, candidate) in candidates.iter().enumerate() {
            let evaluation = self.judge(state, action, candidate, cedar_context, false, false);
            cedar_context = evaluation.cedar_context;
            items.push(list_item(action, &candidate.uid, &evaluation.verdict));
            entities.extend(evaluation.entities);
            match evaluation.verdict.outcome {
                Outcome::Allow => {
                    let obligations = evaluation.verdict.obligations;
                    return Chosen { chosen: Ok(number), cedar_context, items, entities, obligations };
                }
                Outcome::DenyDefault => {}
                outcome => {
                    let caller_text = evaluation.verdict.caller_text;
                    refused = Verdict {
                        caller_text,
                        ..Verdict::without_policy(outcome, ReasonCode::ReceiverDenied)
                    };
                }
            }
        }
        let obligations = Obligations::default();
        Chosen { chosen: Err(refused), cedar_context, items, entities, obligations }
    }
}

/// An entity of which a question says nothing is the known one, and what it does say counts as a claim does; but what is
/// said of an agent is judged as it is. Of an unknown entity there is the name alone, as in Cedar: a policy that looks at an
/// attribute of it errs. Whether one decision may look at all that is then named.
pub fn resolve_entities(question: &mut Query, bundle: &Bundle, attributes: &dyn KnownAttributes) -> bool {
    question.entities.retain_mut(|entity| {
        let known = match (entity.is_bare(), entity.uid.type_name()) {
            (true, _) => attributes.entity(&entity.uid),
            (false, "Caxton::Agent") => None,
            (false, _) => attributes.principal(entity),
        };
        match known {
            Some(known) => *entity = known,
            None => return entity.is_stated(),
        }
        true
    });
    attributes.close(question, &[bundle])
}

/// What a resource carries, and leaves on the session of its reader.
pub(super) fn labels(resource: &Entity) -> Labels {
    let Some(Value::Set(labels)) = resource.attributes.get("labels") else { return Labels::new() };
    let text = |label: &Value| match label {
        Value::String(text) => Some(Arc::clone(text)),
        _ => None,
    };
    labels.iter().filter_map(text).collect()
}
