//! The entities of a question: all that the request and the policies in question can reach, transitively.
//!
//! A condition reaches an entity by way of the principal, the resource, the context, or a name that stands in its text
//! (`Flag::"kill" has on`); the language has no other way. Entities that no way leads to cannot matter. One that is left
//! out although a way leads to it is to Cedar an entity that does not exist, and a `forbid` that hangs on it would not
//! hold: so [`close`] is the only function that chooses, for the live decision, for tests, for proofs and for replays.

use std::collections::BTreeSet;
use std::sync::Arc;

use cedar_policy_core::ast::{self, BinaryOp, EntityUID, Expr, ExprKind, Literal};
use rustc_hash::FxHashSet;

use super::compiled::{Ancestors, ScopeSubject};
use super::request::{Framed, Query};
use crate::model::{Entity, EntityUid};
use crate::policy::set::bundle::Bundle;
use crate::small_set::SmallSet;

/// Adds to a question's entities those that can be reached from what it gives, from its names and its context, and from
/// the entities that are `named` for it; `known` finds each. `false` when that is more than `most` in all.
///
/// `named` is asked when the hierarchy above principal and resource is there, which tells whose policies are in question.
pub fn close(
    question: &mut Query,
    named: impl FnOnce(&Query) -> Vec<EntityUid>,
    most: usize,
    known: &dyn Fn(&EntityUid) -> Option<Arc<Entity>>,
) -> bool {
    let Query { principal, resource, context, entities, .. } = question;
    let mut starts = vec![&*principal, &*resource];
    context.each_entity(&mut |uid| starts.push(uid));
    if !reach(entities, starts, most, known) {
        return false;
    }
    let named = named(question);
    named.is_empty() || reach(&mut question.entities, &named, most, known)
}

fn reach<'u>(
    entities: &mut Vec<Arc<Entity>>,
    starts: impl IntoIterator<Item = &'u EntityUid>,
    most: usize,
    known: &dyn Fn(&EntityUid) -> Option<Arc<Entity>>,
) -> bool {
    let mut seen: SmallSet<EntityUid> = entities.iter().map(|entity| entity.uid.clone()).collect();
    for uid in starts {
        if seen.insert(uid.clone()) {
            entities.extend(known(uid));
        }
    }
    let mut next = 0;
    while let Some(entity) = entities.get(next).cloned() {
        entity.each_neighbour(&mut |uid| {
            if seen.insert(uid.clone()) {
                entities.extend(known(uid));
            }
        });
        if entities.len() > most {
            return false;
        }
        next += 1;
    }
    true
}

impl Bundle {
    /// The entities that the policies in question name and look into. Costs nothing where no policy does.
    pub fn named_for(&self, query: &Query) -> Vec<EntityUid> {
        let naming = self.naming();
        let (false, Ok(action)) = (naming.is_empty(), self.schema_index().action(&query.action)) else {
            return Vec::new();
        };
        let place = ScopeSubject { uid: action.entity.uid(), ancestors: Ancestors::Entity(&action.entity) };
        let about: Vec<_> = naming.iter().filter(|policy| policy.scope.action.holds(&place)).collect();
        if about.is_empty() {
            return Vec::new();
        }
        // What does not fit the schema is denied under any policies.
        let Ok(framed) = Framed::of(query, self.schema_index()) else { return Vec::new() };
        let asked = framed.asked();
        let in_question = about.into_iter().filter(|policy| asked.in_scope(policy));
        in_question.flat_map(|policy| policy.looked_into.iter().cloned()).collect()
    }

    /// The entities that any policy names and looks into.
    pub fn named_anywhere(&self) -> BTreeSet<EntityUid> {
        self.naming().iter().flat_map(|policy| policy.looked_into.iter().cloned()).collect()
    }
}

/// The entities that stand in a policy's condition where it can tell what they are: one that is only compared, or only
/// asked whether something is in it, need not be there.
pub(crate) fn looked_into(condition: Option<&Expr>, policy: &ast::Policy) -> Vec<EntityUid> {
    let parts = || condition.into_iter().flat_map(Expr::subexpressions);
    let mut by_name_alone: FxHashSet<*const Expr> = FxHashSet::default();
    let mut list = |list: &Expr| {
        by_name_alone.insert(std::ptr::from_ref(list));
        if let ExprKind::Set(items) = list.expr_kind() {
            by_name_alone.extend(items.iter().map(std::ptr::from_ref));
        }
    };
    for part in parts() {
        match part.expr_kind() {
            ExprKind::BinaryApp { op: BinaryOp::In, arg2, .. } => list(arg2),
            ExprKind::BinaryApp {
                op: BinaryOp::Eq | BinaryOp::Contains | BinaryOp::ContainsAll | BinaryOp::ContainsAny,
                arg1,
                arg2,
            } => {
                list(arg1);
                list(arg2);
            }
            ExprKind::Is { expr, .. } => list(expr),
            _ => {}
        }
    }
    let mut found: BTreeSet<EntityUid> = BTreeSet::new();
    let mut add = |uid: &EntityUID| {
        if !uid.is_action() {
            found.insert(EntityUid::new(uid.entity_type().to_string(), AsRef::<str>::as_ref(uid.eid())));
        }
    };
    for part in parts().filter(|part| !by_name_alone.contains(&std::ptr::from_ref(*part))) {
        match part.expr_kind() {
            ExprKind::Lit(Literal::EntityUID(uid)) => add(uid),
            ExprKind::Slot(slot) => policy.env().get(slot).into_iter().for_each(&mut add),
            _ => {}
        }
    }
    found.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_looked_into_unless_it_is_only_compared() {
        let cases: [(&str, &[&str]); 12] = [
            ("Flag::\"kill\" has on", &["kill"]),
            ("Flag::\"kill\".on && Flag::\"other\".on", &["kill", "other"]),
            ("Flag::\"kill\" in Set::\"all\"", &["kill"]),
            ("Flag::\"kill\" in [Set::\"all\", Set::\"b\"]", &["kill"]),
            ("principal in Role::\"a\" && resource == Doc::\"x\"", &[]),
            ("[Doc::\"x\", Doc::\"y\"].contains(resource)", &[]),
            ("[Doc::\"x\"].containsAny(principal.docs) && resource is Doc", &[]),
            ("(if context.a then Doc::\"x\" else Doc::\"y\").open", &["x", "y"]),
            ("{ a: Doc::\"x\" }.a.open", &["x"]),
            ("Flag::\"kill\".hasTag(\"t\") && Flag::\"kill\".getTag(\"t\")", &["kill"]),
            ("(if true then [Set::\"s\"] else []).contains(principal)", &["s"]),
            ("Action::\"a\" in Action::\"b\"", &[]),
        ];
        for (text, wanted) in cases {
            let policy = format!("permit(principal, action, resource) when {{ {text} }};");
            let policy = cedar_policy_core::parser::parse_policy(None, &policy).unwrap();
            let policy = ast::Policy::from(policy);
            let found = looked_into(policy.non_scope_constraints(), &policy);
            let found: Vec<&str> = found.iter().map(EntityUid::id).collect();
            assert_eq!(found, wanted, "{text}");
        }
    }
}
