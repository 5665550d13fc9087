//! Limits that are written as permits. Permits add up, so a condition of one limits nothing where a broader one holds
//! without looking at what the condition is about.

use std::collections::BTreeSet;

use cedar_policy_core::ast::{EntityType, Expr, ExprKind, Var};

use super::Found;
use super::check::Checked;
use super::rules;
use crate::model::PolicyMode;
use crate::policy::Bundle;
use crate::policy::engine::compiled::Effect;
use crate::workbench::case::type_shorthand;
use crate::workbench::coverage::covers_somewhere;

/// Names the broader permits of which `one` does not limit what they permit.
pub(super) fn check(one: &Checked<'_>, bundle: &Bundle, all: &[Checked<'_>], found: &mut Vec<Found>) {
    let narrow = one.compiled;
    if narrow.effect != Effect::Permit || narrow.mode != PolicyMode::Enforce {
        return;
    }
    let limits = narrow.condition.as_deref().map(circumstances).unwrap_or_default();
    if limits.is_empty() {
        return;
    }
    for other in all.iter().filter(|other| !std::ptr::eq(other.compiled, narrow)) {
        let wide = other.compiled;
        if wide.effect != Effect::Permit || wide.mode != PolicyMode::Enforce {
            continue;
        }
        let seen = wide.condition.as_deref().map(circumstances).unwrap_or_default();
        let Some(limit) = limits.iter().find(|limit| !seen.iter().any(|seen| is_about(seen, limit))) else {
            continue;
        };
        let kinds = covers_somewhere(&wide.scope, &narrow.scope, bundle.schema_index());
        if kinds.is_empty() {
            continue;
        }
        let who = |kind: &EntityType| format!("`{}`", type_shorthand(kind));
        let who = kinds.iter().map(|kind| who(kind)).collect::<Vec<_>>().join(", ");
        let message = format!("`{}` permits the same to {who}, whatever `{limit}` is", other.info.id);
        let clause = one.anatomy.clauses.first().map_or(one.anatomy.effect, |clause| clause.span);
        found.push(one.found(rules::BYPASSED, message, clause));
    }
}

/// What an expression reads of the circumstances, as paths (`context.input.amount`), each as deep as it goes.
fn circumstances(condition: &Expr) -> BTreeSet<String> {
    let mut paths: BTreeSet<String> = condition.subexpressions().filter_map(path).collect();
    let deeper = paths.clone();
    paths.retain(|path| !deeper.iter().any(|other| other.len() > path.len() && begins(other, path)));
    paths
}

fn path(expr: &Expr) -> Option<String> {
    match expr.expr_kind() {
        ExprKind::GetAttr { expr, attr } | ExprKind::HasAttr { expr, attr } => match expr.expr_kind() {
            ExprKind::Var(Var::Context) => Some(format!("context.{attr}")),
            _ => Some(format!("{}.{attr}", path(expr)?)),
        },
        _ => None,
    }
}

/// Whether a look at one path is a look at the other.
fn is_about(one: &str, other: &str) -> bool {
    one == other || begins(one, other) || begins(other, one)
}

fn begins(path: &str, with: &str) -> bool {
    path.strip_prefix(with).is_some_and(|rest| rest.starts_with('.'))
}
