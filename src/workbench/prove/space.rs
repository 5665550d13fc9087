//! All request environments, and the policies of a set as far as one of them is concerned.

use std::sync::Arc;

use cedar_policy::{RequestEnv, Schema};
use cedar_policy_core::ast::{self, Entity, EntityType, Expr, Literal, PolicyID, Var};
use cedar_policy_symcc::{CompiledPolicy as SymbolicPolicy, CompiledPolicySet, never_errors_asserts};

use super::solver::told;
use crate::model::PolicyMode;
use crate::policy::Bundle;
use crate::policy::engine::compiled::{ActionScope, CompiledPolicy, Effect, Scope, ScopeConstraint};
use crate::policy::engine::schema_index::SchemaIndex;
use crate::workbench::case::type_shorthand;
use crate::workbench::coverage::may_match;

/// An action with the types of principal and resource: what a proof goes through one by one.
#[derive(Debug, Clone)]
pub(in crate::workbench) struct Environment {
    pub(super) action: Arc<Entity>,
    principal: EntityType,
    resource: EntityType,
}

impl Environment {
    /// All that the schema has, in the order of their names.
    pub(in crate::workbench) fn all(schema: &SchemaIndex) -> Vec<Self> {
        let mut all: Vec<Self> = schema
            .environments()
            .map(|(action, principal, resource)| Self {
                action: Arc::new(action.clone()),
                principal: principal.clone(),
                resource: resource.clone(),
            })
            .collect();
        all.sort_by_cached_key(Self::label);
        all
    }

    /// `Agent memory:read MemoryScope`.
    pub(super) fn label(&self) -> String {
        let (principal, resource) = (type_shorthand(&self.principal), type_shorthand(&self.resource));
        format!("{principal} {} {resource}", self.action_id())
    }

    /// `memory:read`.
    pub(super) fn action_id(&self) -> &str {
        self.action.uid().eid().as_ref()
    }

    /// Whether a schema has it too.
    pub(super) fn is_in(&self, schema: &SchemaIndex) -> bool {
        let mut others = schema.environments();
        others.any(|(action, principal, resource)| {
            action.uid() == self.action.uid() && *principal == self.principal && *resource == self.resource
        })
    }

    /// Whether a policy of this scope can match in it.
    pub(in crate::workbench) fn matches(&self, scope: &Scope, schema: &SchemaIndex) -> bool {
        may_match(scope, (&self.action, &self.principal, &self.resource), schema)
    }

    fn request(&self) -> RequestEnv {
        let action = self.action.uid().clone();
        RequestEnv::new(self.principal.clone().into(), action.into(), self.resource.clone().into())
    }
}

/// A policy as one expression: its scope, then its condition.
#[derive(Debug, Clone)]
pub(in crate::workbench) struct Rule<'b> {
    pub(super) compiled: &'b CompiledPolicy,
    expr: Expr,
}

impl<'b> Rule<'b> {
    pub(in crate::workbench) fn new(compiled: &'b CompiledPolicy) -> Self {
        let scope = &compiled.scope;
        let mut parts = Vec::new();
        parts.extend(reach(Var::Principal, &scope.principal));
        let action = || Expr::var(Var::Action);
        match &scope.action {
            ActionScope::Any => {}
            ActionScope::Eq(uid) => parts.push(Expr::is_eq(action(), entity(uid))),
            ActionScope::In(groups) => {
                parts.push(Expr::is_in(action(), Expr::set(groups.iter().map(|uid| entity(uid)))));
            }
        }
        parts.extend(reach(Var::Resource, &scope.resource));
        parts.extend(compiled.condition.as_deref().cloned());
        let expr = parts.into_iter().reduce(Expr::and).unwrap_or_else(|| Expr::val(true));
        Self { compiled, expr }
    }

    /// The policies of a bundle that decide.
    pub(in crate::workbench) fn all(bundle: &'b Bundle) -> Vec<Self> {
        let enforced = bundle.program().filter(|(_, compiled)| compiled.mode == PolicyMode::Enforce);
        enforced.map(|(_, compiled)| Self::new(compiled)).collect()
    }

    /// The policy that it says.
    pub(in crate::workbench) fn policy(&self) -> &'b CompiledPolicy {
        self.compiled
    }

    /// Whether both say the same with the same words.
    pub(super) fn says_the_same(&self, other: &Self) -> bool {
        self.compiled.effect == other.compiled.effect && self.expr.eq_shape(&other.expr)
    }

    fn written(&self, expr: Expr) -> ast::Policy {
        let effect = match self.compiled.effect {
            Effect::Permit => ast::Effect::Permit,
            Effect::Forbid => ast::Effect::Forbid,
        };
        ast::Policy::from_when_clause(effect, expr, PolicyID::from_string(&self.compiled.id), None)
    }

    /// The policy by itself, as the solver takes it.
    pub(in crate::workbench) fn alone(
        &self,
        env: &Environment,
        schema: &Schema,
    ) -> Result<SymbolicPolicy, String> {
        let set = public([self.written(self.expr.clone())])?;
        let policy = set.policies().next().ok_or("the policy could not be prepared")?;
        SymbolicPolicy::compile(policy, &env.request(), schema).map_err(|error| told(&error))
    }
}

fn entity(uid: &ast::EntityUID) -> Expr {
    Expr::val(Literal::EntityUID(Arc::new(uid.clone())))
}

fn reach(variable: Var, reach: &ScopeConstraint) -> Option<Expr> {
    let subject = || Expr::var(variable);
    match reach {
        ScopeConstraint::Any => None,
        ScopeConstraint::Eq(uid) => Some(Expr::is_eq(subject(), entity(uid))),
        ScopeConstraint::In(uid) => Some(Expr::is_in(subject(), entity(uid))),
        ScopeConstraint::Is(kind) => Some(Expr::is_entity_type(subject(), kind.as_ref().clone())),
        ScopeConstraint::IsIn(kind, uid) => Some(Expr::and(
            Expr::is_entity_type(subject(), kind.as_ref().clone()),
            Expr::is_in(subject(), entity(uid)),
        )),
    }
}

/// The rules that can match in an environment.
pub(in crate::workbench) fn relevant<'r, 'b>(
    rules: &'r [Rule<'b>],
    env: &Environment,
    schema: &SchemaIndex,
) -> Vec<&'r Rule<'b>> {
    rules.iter().filter(|rule| env.matches(&rule.compiled.scope, schema)).collect()
}

/// Whether two selections say the same word for word, so that no solver has to be asked.
pub(super) fn same(one: &[&Rule<'_>], other: &[&Rule<'_>]) -> bool {
    one.len() == other.len() && one.iter().all(|rule| other.iter().any(|twin| rule.says_the_same(twin)))
}

/// The rules together, as the solver takes them, with our rule for errors: a forbid that errs denies.
///
/// Cedar leaves out a forbid that errs. So one that can err is moved into every permit, as a part that has to be
/// false: where it errs, the permits err with it, and nothing is permitted.
pub(in crate::workbench) fn together(
    rules: &[&Rule<'_>],
    env: &Environment,
    schema: &Schema,
) -> Result<CompiledPolicySet, String> {
    let mut policies = Vec::with_capacity(rules.len());
    let mut guards = Vec::new();
    for rule in rules.iter().filter(|rule| rule.compiled.effect == Effect::Forbid) {
        if never_errs(&rule.alone(env, schema)?) {
            policies.push(rule.written(rule.expr.clone()));
        } else {
            guards.push(Expr::not(rule.expr.clone()));
        }
    }
    for rule in rules.iter().filter(|rule| rule.compiled.effect == Effect::Permit) {
        let guarded = guards.iter().cloned().fold(rule.expr.clone(), Expr::and);
        policies.push(rule.written(guarded));
    }
    CompiledPolicySet::compile(&public(policies)?, &env.request(), schema).map_err(|error| told(&error))
}

/// Whether it is plain, without a solver, that the policy cannot err.
pub(super) fn never_errs(policy: &SymbolicPolicy) -> bool {
    never_errors_asserts(policy).asserts().iter().any(|assert| *assert == false.into())
}

fn public(policies: impl IntoIterator<Item = ast::Policy>) -> Result<cedar_policy::PolicySet, String> {
    let mut set = ast::PolicySet::new();
    for policy in policies {
        set.add(policy).map_err(|error| error.to_string())?;
    }
    Ok(cedar_policy::PolicySet::from(set))
}
