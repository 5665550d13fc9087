//! A policy set made ready to run: scopes taken apart once, conditions without the scope in front.
//!
//! Cedar builds `scope && condition` as an expression for each policy and request. A scope that is matched
//! here beforehand needs no expression, so only `when` and `unless` are left to Cedar's evaluator; the result
//! is the same because the scope stands first in that conjunction and cannot err.

use std::sync::Arc;

use cedar_policy_core::ast::{
    self, ActionConstraint, Entity, EntityReference, EntityType, EntityUID, Expr, ExprKind, Literal,
    PrincipalOrResourceConstraint, SlotEnv,
};

use super::ancestry::{EntityState, Names};
use super::closure::looked_into;
use super::projection::{EntityAccess, FieldAccess};
use super::request::INPUT;
use crate::model::{self, Obligation, PolicyMode, PolicyRef};

/// Whether a policy grants or takes away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Effect {
    /// It grants.
    Permit,
    /// It denies, also what a permit grants.
    Forbid,
}

impl Effect {
    /// `permit` or `forbid`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Permit => "permit",
            Self::Forbid => "forbid",
        }
    }
}

impl From<ast::Effect> for Effect {
    fn from(effect: ast::Effect) -> Self {
        match effect {
            ast::Effect::Permit => Self::Permit,
            ast::Effect::Forbid => Self::Forbid,
        }
    }
}

/// One policy, static or linked, ready to run.
#[derive(Debug)]
pub(crate) struct CompiledPolicy {
    pub(crate) id: Arc<str>,
    pub(crate) effect: Effect,
    pub(crate) mode: PolicyMode,
    pub(crate) caller_text: Option<Arc<str>>,
    /// What has to be done when this permit decides.
    pub(crate) obligations: Arc<[Obligation]>,
    pub(crate) scope: Scope,
    pub(crate) condition: Option<Arc<Expr>>,
    /// Whether the condition names an attribute called `input`.
    pub(crate) looks_at_input: bool,
    /// Actions that the condition names.
    pub(crate) names_actions: Vec<EntityUID>,
    /// Entities that the condition names and looks into.
    pub(crate) looked_into: Vec<model::EntityUid>,
    pub(crate) reads: FieldAccess,
    pub(crate) entity_access: EntityAccess,
    pub(crate) slots: SlotEnv,
    effect_word: Arc<str>,
}

/// What the annotations of a policy mean for its decisions.
#[derive(Debug, Clone)]
pub(crate) struct PolicyNotes {
    pub(crate) mode: PolicyMode,
    /// `@reason`.
    pub(crate) caller_text: Option<Arc<str>>,
    /// `@label` and `@redact`.
    pub(crate) obligations: Arc<[Obligation]>,
}

/// Whom, what and on what a policy is about.
#[derive(Debug)]
pub(crate) struct Scope {
    pub(crate) principal: ScopeConstraint,
    pub(crate) action: ActionScope,
    pub(crate) resource: ScopeConstraint,
    /// Whether the index decides the scope; `is T in G` asks for two things at one position.
    pub(crate) by_keys_alone: bool,
}

impl Scope {
    fn new(principal: ScopeConstraint, action: ActionScope, resource: ScopeConstraint) -> Self {
        let two = |reach: &ScopeConstraint| matches!(reach, ScopeConstraint::IsIn(..));
        let by_keys_alone = !two(&principal) && !two(&resource);
        Self { principal, action, resource, by_keys_alone }
    }
}

/// What a principal or resource must be.
#[derive(Debug, Clone)]
pub(crate) enum ScopeConstraint {
    Any,
    Eq(Arc<EntityUID>),
    In(Arc<EntityUID>),
    Is(Arc<EntityType>),
    IsIn(Arc<EntityType>, Arc<EntityUID>),
}

/// What the action must be.
#[derive(Debug, Clone)]
pub(crate) enum ActionScope {
    Any,
    Eq(Arc<EntityUID>),
    In(Vec<Arc<EntityUID>>),
}

/// A principal, action or resource of a request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ScopeSubject<'a> {
    pub(crate) uid: &'a EntityUID,
    pub(crate) ancestors: Ancestors<'a>,
}

/// What something is in, at any depth.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Ancestors<'a> {
    /// Nothing is known of it.
    Nothing,
    /// What Cedar's entity is in.
    Entity(&'a Entity),
    /// What an entity of the question is in.
    Names(&'a Names),
}

impl ScopeSubject<'_> {
    fn is_in(&self, group: &EntityUID) -> bool {
        self.uid == group || self.ancestors.has(group)
    }
}

impl<'a> Ancestors<'a> {
    /// What an entity is in that may be one of the question's.
    pub(crate) fn among(states: &'a [EntityState], uid: &EntityUID) -> Self {
        match states.iter().find(|one| one.uid() == uid) {
            None => Self::Nothing,
            Some(EntityState::Unbuilt(names)) => Self::Names(names),
            Some(EntityState::Cached(entity)) => Self::Entity(entity),
        }
    }

    pub(crate) fn has(self, group: &EntityUID) -> bool {
        match self {
            Self::Nothing => false,
            Self::Entity(entity) => entity.is_descendant_of(group),
            Self::Names(names) => names.ancestors().any(|above| above == group),
        }
    }

    pub(crate) fn each(self) -> impl Iterator<Item = &'a EntityUID> {
        let (entity, names) = match self {
            Self::Nothing => (None, None),
            Self::Entity(entity) => (Some(entity), None),
            Self::Names(names) => (None, Some(names)),
        };
        let of_entity = entity.into_iter().flat_map(Entity::ancestors);
        of_entity.chain(names.into_iter().flat_map(Names::ancestors))
    }
}

impl CompiledPolicy {
    /// `None` for a template, which is no policy.
    pub(crate) fn new(policy: &ast::Policy, id: Arc<str>, notes: PolicyNotes) -> Option<Self> {
        let PolicyNotes { mode, caller_text, obligations } = notes;
        let effect = Effect::from(policy.effect());
        let condition = policy.non_scope_constraints_arc();
        let parts = || condition.into_iter().flat_map(|condition| condition.subexpressions());
        Some(Self {
            id,
            effect,
            mode,
            caller_text,
            obligations,
            scope: Scope::new(
                ScopeConstraint::of(policy.principal_constraint().as_inner())?,
                ActionScope::of(policy.action_constraint()),
                ScopeConstraint::of(policy.resource_constraint().as_inner())?,
            ),
            looks_at_input: parts().any(
                |part| matches!(part.expr_kind(), ExprKind::GetAttr { attr, .. } if attr.as_str() == INPUT),
            ),
            names_actions: parts().filter_map(action_named).cloned().collect(),
            looked_into: looked_into(condition.map(AsRef::as_ref), policy),
            reads: FieldAccess::of_context(condition.map(AsRef::as_ref)),
            entity_access: EntityAccess::of(condition.map(AsRef::as_ref)),
            condition: condition.cloned(),
            slots: policy.env().clone(),
            effect_word: effect.as_str().into(),
        })
    }

    pub(crate) fn as_ref(&self) -> PolicyRef {
        PolicyRef { effect: Arc::clone(&self.effect_word), id: Arc::clone(&self.id), mode: self.mode }
    }
}

fn action_named(expression: &Expr) -> Option<&EntityUID> {
    match expression.expr_kind() {
        ExprKind::Lit(Literal::EntityUID(uid)) if uid.is_action() => Some(uid),
        _ => None,
    }
}

impl ScopeConstraint {
    /// `None` for a slot that is not filled: a template is no policy.
    fn of(constraint: &PrincipalOrResourceConstraint) -> Option<Self> {
        let named = |reference: &EntityReference| match reference {
            EntityReference::EUID(uid) => Some(Arc::clone(uid)),
            EntityReference::Slot(_) => None,
        };
        Some(match constraint {
            PrincipalOrResourceConstraint::Any => Self::Any,
            PrincipalOrResourceConstraint::Eq(uid) => Self::Eq(named(uid)?),
            PrincipalOrResourceConstraint::In(uid) => Self::In(named(uid)?),
            PrincipalOrResourceConstraint::Is(kind) => Self::Is(Arc::clone(kind)),
            PrincipalOrResourceConstraint::IsIn(kind, uid) => Self::IsIn(Arc::clone(kind), named(uid)?),
        })
    }

    pub(crate) fn holds(&self, place: &ScopeSubject<'_>) -> bool {
        match self {
            Self::Any => true,
            Self::Eq(uid) => **uid == *place.uid,
            Self::In(group) => place.is_in(group),
            Self::Is(kind) => **kind == *place.uid.entity_type(),
            Self::IsIn(kind, group) => **kind == *place.uid.entity_type() && place.is_in(group),
        }
    }
}

impl ActionScope {
    fn of(constraint: &ActionConstraint) -> Self {
        match constraint {
            ActionConstraint::Any => Self::Any,
            ActionConstraint::Eq(uid) => Self::Eq(Arc::clone(uid)),
            ActionConstraint::In(groups) => Self::In(groups.clone()),
        }
    }

    pub(crate) fn holds(&self, place: &ScopeSubject<'_>) -> bool {
        match self {
            Self::Any => true,
            Self::Eq(uid) => **uid == *place.uid,
            Self::In(groups) => groups.iter().any(|group| place.is_in(group)),
        }
    }
}
