//! The one place where policies are evaluated.

use cedar_policy_core::ast::{Literal, Request, Value, ValueKind};
use cedar_policy_core::entities::{Dereference, Entities};
use cedar_policy_core::evaluator::Evaluator;
use cedar_policy_core::extensions::Extensions;

use super::compiled::{Ancestors, CompiledPolicy, Effect, ScopeSubject};
use crate::model::PolicyMode;

/// Characters of an error message that are kept: it can quote values of the request.
const MESSAGE_CHARACTERS: usize = 400;

/// Which policies held, and which could not be evaluated. In no particular order.
#[derive(Debug, Default)]
pub(crate) struct Answer<'p> {
    pub(crate) held: Vec<&'p CompiledPolicy>,
    pub(crate) erred: Vec<(&'p CompiledPolicy, String)>,
}

impl Answer<'_> {
    /// Whether a policy in `log_only` mode is among them.
    pub(crate) fn watches(&self) -> bool {
        let erred = self.erred.iter().map(|(policy, _)| *policy);
        self.held.iter().copied().chain(erred).any(|policy| policy.mode == PolicyMode::LogOnly)
    }
}

impl<'p> Answer<'p> {
    /// What is said of some of the policies.
    pub(crate) fn only(&self, counts: impl Fn(&CompiledPolicy) -> bool) -> Self {
        let held = self.held.iter().copied().filter(|policy| counts(policy));
        let erred = self.erred.iter().filter(|(policy, _)| counts(policy));
        Self { held: held.collect(), erred: erred.cloned().collect() }
    }

    /// What erred because the input is not known yet could still hold: a permit then counts as held, a forbid as not.
    pub(crate) fn suppose_input(&mut self) {
        let (open, erred): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.erred).into_iter().partition(|(policy, _)| policy.looks_at_input);
        self.erred = erred;
        self.held.extend(
            open.into_iter().map(|(policy, _)| policy).filter(|policy| policy.effect == Effect::Permit),
        );
    }
}

/// A request's three names, looked up among its entities.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub(crate) principal: ScopeSubject<'a>,
    pub(crate) action: ScopeSubject<'a>,
    pub(crate) resource: ScopeSubject<'a>,
}

impl<'a> Asked<'a> {
    /// `None` for a request with unknowns, which is never built here.
    pub(crate) fn of(request: &'a Request, entities: &'a Entities) -> Option<Self> {
        let place = |uid| ScopeSubject {
            uid,
            ancestors: match entities.entity(uid) {
                Dereference::Data(entity) => Ancestors::Entity(entity),
                Dereference::NoSuchEntity | Dereference::Residual(_) => Ancestors::Nothing,
            },
        };
        Some(Self {
            principal: place(request.principal().uid()?),
            action: place(request.action().uid()?),
            resource: place(request.resource().uid()?),
        })
    }

    /// Whether the policy is about this request at all.
    pub(crate) fn in_scope(&self, policy: &CompiledPolicy) -> bool {
        policy.scope.action.holds(&self.action)
            && policy.scope.principal.holds(&self.principal)
            && policy.scope.resource.holds(&self.resource)
    }
}

/// Evaluates the conditions of `candidates`, whose scopes all hold.
pub(crate) fn evaluate<'p>(
    candidates: &[&'p CompiledPolicy],
    request: Request,
    entities: &Entities,
) -> Answer<'p> {
    let evaluator = Evaluator::new(request, entities, Extensions::all_available());
    let mut answer = Answer::default();
    for &policy in candidates {
        let Some(condition) = &policy.condition else {
            answer.held.push(policy);
            continue;
        };
        match evaluator.interpret(condition, &policy.slots) {
            Ok(Value { value: ValueKind::Lit(Literal::Bool(true)), .. }) => answer.held.push(policy),
            Ok(Value { value: ValueKind::Lit(Literal::Bool(false)), .. }) => {}
            Ok(other) => answer.erred.push((policy, format!("the condition is `{other}`, not a Boolean"))),
            Err(error) => answer.erred.push((policy, error.to_string())),
        }
    }
    for (_, message) in &mut answer.erred {
        if let Some((end, _)) = message.char_indices().nth(MESSAGE_CHARACTERS) {
            message.truncate(end);
        }
    }
    answer
}
