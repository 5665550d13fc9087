//! What the schema leaves no choice about: an element of a scope that holds for every request that the rest of the
//! scope admits. No test can show it not to hold.

use std::collections::BTreeSet;

use cedar_policy_core::ast::{Entity, EntityType};

use crate::policy::engine::compiled::{Ancestors, Scope, ScopeConstraint, ScopeSubject};
use crate::policy::engine::schema_index::SchemaIndex;
use crate::workbench::clauses::Position;

/// How a type of entity stands to an element.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fit {
    Never,
    Sometimes,
    Always,
}

/// Whether an element holds whenever the other two do.
pub(crate) fn implied(scope: &Scope, element: Position, schema: &SchemaIndex) -> bool {
    schema.environments().all(|(action, principal, resource)| {
        let place = ScopeSubject { uid: action.uid(), ancestors: Ancestors::Entity(action) };
        let fits = |position| match position {
            Position::Principal => fit(&scope.principal, principal, schema),
            Position::Resource => fit(&scope.resource, resource, schema),
            Position::Action if scope.action.holds(&place) => Fit::Always,
            Position::Action => Fit::Never,
        };
        let admitted = Position::ALL.into_iter().filter(|other| *other != element);
        admitted.into_iter().any(|other| fits(other) == Fit::Never) || fits(element) == Fit::Always
    })
}

/// Whether no request of the schema can match.
pub(crate) fn admits_nothing(scope: &Scope, schema: &SchemaIndex) -> bool {
    !schema.environments().any(|environment| may_match(scope, environment, schema))
}

/// Whether a request for this action, with these types of principal and resource, can match.
pub(crate) fn may_match(
    scope: &Scope,
    (action, principal, resource): (&Entity, &EntityType, &EntityType),
    schema: &SchemaIndex,
) -> bool {
    scope.action.holds(&ScopeSubject { uid: action.uid(), ancestors: Ancestors::Entity(action) })
        && fit(&scope.principal, principal, schema) != Fit::Never
        && fit(&scope.resource, resource, schema) != Fit::Never
}

/// Whether every request that `narrow` matches is one that `wide` matches.
pub(crate) fn covers(wide: &Scope, narrow: &Scope, schema: &SchemaIndex) -> bool {
    // Most pairs of policies are about different groups: that is seen without going through the schema.
    let other_group = |wide: &ScopeConstraint, narrow: &ScopeConstraint| {
        matches!(wide, ScopeConstraint::Eq(_) | ScopeConstraint::In(_) | ScopeConstraint::IsIn(..))
            && !same_group(wide, narrow)
    };
    if other_group(&wide.principal, &narrow.principal) || other_group(&wide.resource, &narrow.resource) {
        return false;
    }
    schema.environments().all(|(action, principal, resource)| {
        let place = ScopeSubject { uid: action.uid(), ancestors: Ancestors::Entity(action) };
        let outside = !narrow.action.holds(&place)
            || fit(&narrow.principal, principal, schema) == Fit::Never
            || fit(&narrow.resource, resource, schema) == Fit::Never;
        let within = |wide: &ScopeConstraint, narrow: &ScopeConstraint, kind: &EntityType| {
            fit(wide, kind, schema) == Fit::Always || same_group(wide, narrow)
        };
        outside
            || wide.action.holds(&place)
                && within(&wide.principal, &narrow.principal, principal)
                && within(&wide.resource, &narrow.resource, resource)
    })
}

/// The types of principals for which `wide` matches whatever `narrow` does, on some action and type of resource.
pub(crate) fn covers_somewhere<'s>(
    wide: &Scope,
    narrow: &Scope,
    schema: &'s SchemaIndex,
) -> BTreeSet<&'s EntityType> {
    let within = |wide: &ScopeConstraint, narrow: &ScopeConstraint, kind: &EntityType| {
        fit(wide, kind, schema) == Fit::Always || same_group(wide, narrow)
    };
    let covered = schema.environments().filter(|environment| {
        let (action, principal, resource) = *environment;
        let place = ScopeSubject { uid: action.uid(), ancestors: Ancestors::Entity(action) };
        may_match(narrow, *environment, schema)
            && wide.action.holds(&place)
            && within(&wide.principal, &narrow.principal, principal)
            && within(&wide.resource, &narrow.resource, resource)
    });
    covered.map(|(_, principal, _)| principal).collect()
}

/// Whether what is in `narrow` is in `wide`, by what the two say alone.
fn same_group(wide: &ScopeConstraint, narrow: &ScopeConstraint) -> bool {
    match (wide, narrow) {
        (ScopeConstraint::Eq(a), ScopeConstraint::Eq(b)) => a == b,
        (
            ScopeConstraint::In(a),
            ScopeConstraint::Eq(b) | ScopeConstraint::In(b) | ScopeConstraint::IsIn(_, b),
        ) => a == b,
        (ScopeConstraint::IsIn(kind, a), ScopeConstraint::IsIn(other, b)) => kind == other && a == b,
        _ => false,
    }
}

fn fit(reach: &ScopeConstraint, kind: &EntityType, schema: &SchemaIndex) -> Fit {
    let sometimes = |can: bool| if can { Fit::Sometimes } else { Fit::Never };
    let beneath = |group: &EntityType| kind == group || schema.can_be_in(kind, group);
    match reach {
        ScopeConstraint::Any => Fit::Always,
        ScopeConstraint::Is(wanted) if **wanted == *kind => Fit::Always,
        ScopeConstraint::Is(_) => Fit::Never,
        ScopeConstraint::Eq(uid) => sometimes(uid.entity_type() == kind),
        ScopeConstraint::In(group) => sometimes(beneath(group.entity_type())),
        ScopeConstraint::IsIn(wanted, group) => sometimes(**wanted == *kind && beneath(group.entity_type())),
    }
}
