//! The principals and resources that permits can match at all, so that a search evaluates these and no others.
//!
//! Nothing is allowed without a permit whose scope holds. So when the action and one side of a question are known, the
//! scopes of the permits that fit them say which entities of the other side could be allowed: all of a type, some by
//! name, or the members of some groups. Each of them is still asked about by itself.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::ancestry::entity_states;
use super::compiled::{Ancestors, CompiledPolicy, Effect, ScopeConstraint, ScopeSubject};
use crate::model::{self, EntityUid, PolicyMode};
use crate::policy::set::bundle::Bundle;

/// The side of a question that is searched for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Who may.
    Principal,
    /// The resource of the request.
    Resource,
}

/// Entities that could be allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reachable {
    /// Any of the type.
    All,
    /// These, and every member of one of the groups.
    Only {
        /// By name.
        named: BTreeSet<EntityUid>,
        /// What is in one of these, at any depth; each group itself too.
        members_of: BTreeSet<EntityUid>,
    },
}

impl Bundle {
    /// Which entities of the type `kind` some permit could be about, on the `side` that is searched; `other` is the known
    /// side, with its ancestors among `entities`.
    pub fn reachable(
        &self,
        side: Side,
        kind: &str,
        action: &EntityUid,
        other: &EntityUid,
        entities: &[Arc<model::Entity>],
    ) -> Reachable {
        let none_reachable = Reachable::Only { named: BTreeSet::new(), members_of: BTreeSet::new() };
        let schema = self.schema_index();
        let (Ok(known), Ok(other)) = (schema.action(action), schema.uid(other)) else {
            return none_reachable;
        };
        // Scopes look at names alone; what the question says of attributes is typed and judged when it is asked.
        let Ok(states) = entity_states(entities, schema) else { return none_reachable };
        let other = ScopeSubject { uid: &other, ancestors: Ancestors::among(&states, &other) };
        let action = ScopeSubject { uid: known.entity.uid(), ancestors: Ancestors::Entity(&known.entity) };
        let (mut named, mut members_of) = (BTreeSet::new(), BTreeSet::new());
        let grants = |policy: &&CompiledPolicy| {
            policy.effect == Effect::Permit
                && policy.mode == PolicyMode::Enforce
                && policy.scope.action.holds(&action)
                && match side {
                    Side::Principal => policy.scope.resource.holds(&other),
                    Side::Resource => policy.scope.principal.holds(&other),
                }
        };
        let plain = |uid: &cedar_policy_core::ast::EntityUID| {
            EntityUid::new(uid.entity_type().to_string(), AsRef::<str>::as_ref(uid.eid()))
        };
        for (_, policy) in self.program().filter(|(_, policy)| grants(policy)) {
            let reach = match side {
                Side::Principal => &policy.scope.principal,
                Side::Resource => &policy.scope.resource,
            };
            match reach {
                ScopeConstraint::Any => return Reachable::All,
                ScopeConstraint::Is(of) if of.to_string() == kind => return Reachable::All,
                ScopeConstraint::Is(_) => {}
                ScopeConstraint::Eq(uid) => drop(named.insert(plain(uid))),
                ScopeConstraint::IsIn(of, _) if of.to_string() != kind => {}
                ScopeConstraint::In(group) | ScopeConstraint::IsIn(_, group) => {
                    members_of.insert(plain(group));
                }
            }
        }
        Reachable::Only { named, members_of }
    }

    /// The actions that can be asked about with these types of principal and resource, in order.
    pub fn actions_between(&self, principal: &str, resource: &str) -> BTreeSet<EntityUid> {
        let fitting = self
            .schema_index()
            .environments()
            .filter(|(_, one, two)| one.to_string() == principal && two.to_string() == resource);
        let actions = fitting.map(|(action, ..)| action.uid());
        actions
            .map(|uid| EntityUid::new(uid.entity_type().to_string(), AsRef::<str>::as_ref(uid.eid())))
            .collect()
    }
}
