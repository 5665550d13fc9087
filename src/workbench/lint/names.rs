//! Names in policies: of entities that are nowhere else, and of policies that stand in another file than they say.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use cedar_policy_core::ast::{EntityUID, Expr, ExprKind, Literal};

use super::check::Checked;
use super::rules;
use super::{Found, LintInput};
use crate::model::EntityUid;
use crate::policy::engine::compiled::ScopeConstraint;
use crate::policy::{Bundle, SourceKind};
use crate::suggest::nearest;
use crate::workbench::case::shorthand;
use crate::workbench::clauses::{Position, Span};

/// Entities that policies name and that nothing else has. Silent where there is nothing to compare with.
pub(super) fn unknown<'c, 'b: 'c>(
    bundle: &Bundle,
    reported: impl Iterator<Item = &'c Checked<'b>>,
    input: &LintInput<'_>,
    found: &mut Vec<Found>,
) {
    if input.questions.is_none() && input.known.is_none() {
        return;
    }
    let listed = input.questions.iter().flat_map(|questions| &questions.listed);
    let deployed = input.known.iter().flat_map(|known| known.names());
    let mut known: BTreeSet<EntityUid> = listed.chain(deployed).cloned().collect();
    known.extend(given_roles(bundle));
    let mut by_type: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for uid in &known {
        by_type.entry(uid.type_name()).or_default().push(uid.id());
    }
    for one in reported {
        let mut told = BTreeSet::new();
        for (uid, span) in named(one) {
            // Roles of this name are permission words, which the schema has.
            let is_word =
                uid.type_name() == "Caxton::Role" && bundle.knows_action(&EntityUid::action(uid.id()));
            if uid.base_type() == "Action" || known.contains(&uid) || is_word || !told.insert(uid.clone()) {
                continue;
            }
            let others = by_type.get(uid.type_name()).into_iter().flatten().copied();
            let near = nearest(uid.id(), others).map(|id| EntityUid::new(uid.type_name(), id));
            let near = near.map(|near| format!("; did you mean `{}`?", shorthand(&near))).unwrap_or_default();
            let places = match input.known {
                Some(_) => "no test lists and the gateway does not know",
                None => "no test lists",
            };
            let message = format!("{places} `{}`{near}", shorthand(&uid));
            found.push(one.found(rules::UNKNOWN_NAME, message, span));
        }
    }
}

/// The roles that come with the program, or from a file of roles.
fn given_roles(bundle: &Bundle) -> BTreeSet<EntityUid> {
    let given: BTreeSet<&str> = bundle
        .sources()
        .iter()
        .filter(|source| source.is_built_in() || source.is_of_roles_file())
        .map(|source| source.path.as_ref())
        .collect();
    let policies = bundle.program().filter(|(info, _)| given.contains(info.file.as_ref()));
    let scopes = policies.flat_map(|(_, policy)| [&policy.scope.principal, &policy.scope.resource]);
    scopes.filter_map(of_scope).map(model_name).filter(|uid| uid.type_name() == "Caxton::Role").collect()
}

/// Each entity that a policy names, with its place.
fn named(one: &Checked<'_>) -> Vec<(EntityUid, Span)> {
    let mut all = Vec::new();
    let scope = &one.compiled.scope;
    for element in &one.anatomy.scope {
        let constraint = match element.position {
            Position::Principal => &scope.principal,
            Position::Resource => &scope.resource,
            Position::Action => continue,
        };
        all.extend(of_scope(constraint).map(|uid| (model_name(uid), element.span)));
    }
    for leaf in &one.anatomy.leaves {
        all.extend(literals(&leaf.expr).map(|uid| (model_name(uid), leaf.span)));
    }
    all
}

fn of_scope(constraint: &ScopeConstraint) -> Option<&EntityUID> {
    match constraint {
        ScopeConstraint::Eq(uid) | ScopeConstraint::In(uid) | ScopeConstraint::IsIn(_, uid) => Some(uid),
        ScopeConstraint::Any | ScopeConstraint::Is(_) => None,
    }
}

fn literals(expr: &Expr) -> impl Iterator<Item = &EntityUID> {
    expr.subexpressions().filter_map(|part| match part.expr_kind() {
        ExprKind::Lit(Literal::EntityUID(uid)) => Some(uid.as_ref()),
        _ => None,
    })
}

fn model_name(uid: &EntityUID) -> EntityUid {
    EntityUid::new(uid.entity_type().to_string(), AsRef::<str>::as_ref(uid.eid()))
}

/// Policies whose id begins with the name of a file that they do not stand in.
pub(super) fn other_file<'c, 'b: 'c>(
    bundle: &Bundle,
    reported: impl Iterator<Item = &'c Checked<'b>>,
    found: &mut Vec<Found>,
) {
    let stem = |path: &str| Path::new(path).file_stem().map(|stem| stem.to_string_lossy().into_owned());
    let files =
        bundle.sources().iter().filter(|source| source.kind == SourceKind::Policy && !source.is_built_in());
    let stems: BTreeSet<String> = files.filter_map(|source| stem(&source.path)).collect();
    let mut seen = BTreeSet::new();
    for one in reported {
        // What was made of a template stands where that does, and is told once.
        let id = one.info.linked_from.as_ref().unwrap_or(&one.info.id);
        if !seen.insert(id) {
            continue;
        }
        let topic = id.split_once('.').map(|(topic, _)| topic.to_owned());
        let Some(topic) = topic.filter(|topic| stems.contains(topic)) else { continue };
        if stem(&one.info.file).is_some_and(|own| own != topic) {
            let message = format!("`{id}` does not stand in `{topic}.cedar`");
            found.push(one.found(rules::OTHER_FILE, message, one.anatomy.effect));
        }
    }
}
