//! What the schema leaves no choice about: an element of a scope that holds for every request that the rest of the
//! scope admits. No test can show it not to hold.

use cedar_policy_core::ast::{Entity, EntityType};

use crate::policy::engine::compiled::{Above, Place, Reach, Scope};
use crate::policy::engine::schema_index::Vocabulary;
use crate::workbench::clauses::Position;

/// How a type of entity stands to an element.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fit {
    Never,
    Sometimes,
    Always,
}

/// Whether an element holds whenever the other two do.
pub(crate) fn implied(scope: &Scope, element: Position, words: &Vocabulary) -> bool {
    words.environments().all(|(action, principal, resource)| {
        let place = Place { uid: action.uid(), above: Above::Entity(action) };
        let fits = |position| match position {
            Position::Principal => fit(&scope.principal, principal, words),
            Position::Resource => fit(&scope.resource, resource, words),
            Position::Action if scope.action.holds(&place) => Fit::Always,
            Position::Action => Fit::Never,
        };
        let admitted = Position::ALL.into_iter().filter(|other| *other != element);
        admitted.into_iter().any(|other| fits(other) == Fit::Never) || fits(element) == Fit::Always
    })
}

/// Whether no request of the schema can match.
pub(crate) fn admits_nothing(scope: &Scope, words: &Vocabulary) -> bool {
    !words.environments().any(|environment| may_match(scope, environment, words))
}

/// Whether a request for this action, with these types of principal and resource, can match.
pub(crate) fn may_match(
    scope: &Scope,
    (action, principal, resource): (&Entity, &EntityType, &EntityType),
    words: &Vocabulary,
) -> bool {
    scope.action.holds(&Place { uid: action.uid(), above: Above::Entity(action) })
        && fit(&scope.principal, principal, words) != Fit::Never
        && fit(&scope.resource, resource, words) != Fit::Never
}

/// Whether every request that `narrow` matches is one that `wide` matches.
pub(crate) fn covers(wide: &Scope, narrow: &Scope, words: &Vocabulary) -> bool {
    // Most pairs of policies are about different groups: that is seen without going through the schema.
    let other_group = |wide: &Reach, narrow: &Reach| {
        matches!(wide, Reach::Eq(_) | Reach::In(_) | Reach::IsIn(..)) && !same_group(wide, narrow)
    };
    if other_group(&wide.principal, &narrow.principal) || other_group(&wide.resource, &narrow.resource) {
        return false;
    }
    words.environments().all(|(action, principal, resource)| {
        let place = Place { uid: action.uid(), above: Above::Entity(action) };
        let outside = !narrow.action.holds(&place)
            || fit(&narrow.principal, principal, words) == Fit::Never
            || fit(&narrow.resource, resource, words) == Fit::Never;
        let within = |wide: &Reach, narrow: &Reach, kind: &EntityType| {
            fit(wide, kind, words) == Fit::Always || same_group(wide, narrow)
        };
        outside
            || wide.action.holds(&place)
                && within(&wide.principal, &narrow.principal, principal)
                && within(&wide.resource, &narrow.resource, resource)
    })
}

/// Whether what is in `narrow` is in `wide`, by what the two say alone.
fn same_group(wide: &Reach, narrow: &Reach) -> bool {
    match (wide, narrow) {
        (Reach::Eq(a), Reach::Eq(b)) => a == b,
        (Reach::In(a), Reach::Eq(b) | Reach::In(b) | Reach::IsIn(_, b)) => a == b,
        (Reach::IsIn(kind, a), Reach::IsIn(other, b)) => kind == other && a == b,
        _ => false,
    }
}

fn fit(reach: &Reach, kind: &EntityType, words: &Vocabulary) -> Fit {
    let sometimes = |can: bool| if can { Fit::Sometimes } else { Fit::Never };
    let beneath = |group: &EntityType| kind == group || words.can_be_in(kind, group);
    match reach {
        Reach::Any => Fit::Always,
        Reach::Is(wanted) if **wanted == *kind => Fit::Always,
        Reach::Is(_) => Fit::Never,
        Reach::Eq(uid) => sometimes(uid.entity_type() == kind),
        Reach::In(group) => sometimes(beneath(group.entity_type())),
        Reach::IsIn(wanted, group) => sometimes(**wanted == *kind && beneath(group.entity_type())),
    }
}
