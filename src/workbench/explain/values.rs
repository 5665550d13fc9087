//! What a part of a clause looked at: the attributes it names, with their values.

use cedar_policy_core::ast::{Expr, ExprKind, SlotEnv, Value};
use cedar_policy_core::evaluator::Evaluator;
use serde::Serialize;

use crate::text::shorten;

/// Characters of a value that are shown.
const CHARACTERS: usize = 200;

/// An attribute and its value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Looked {
    /// As `principal.status`.
    pub path: String,
    /// Its value, or nothing when it is not there.
    pub value: Option<String>,
}

/// The attributes that an expression names, each once, in the order of the text.
pub(super) fn looked_at(expr: &Expr, evaluator: &Evaluator<'_>, slots: &SlotEnv) -> Vec<Looked> {
    let mut found: Vec<Looked> = Vec::new();
    collect(expr, &mut |path, expr| {
        if found.iter().all(|looked| looked.path != path) {
            let value = evaluator.interpret(expr, slots).ok().map(|value| shown(&value));
            found.push(Looked { path, value });
        }
    });
    found
}

fn collect(expr: &Expr, tell: &mut dyn FnMut(String, &Expr)) {
    if let (ExprKind::GetAttr { .. }, Some(path)) = (expr.expr_kind(), path(expr)) {
        return tell(path, expr);
    }
    for inner in operands(expr) {
        collect(inner, tell);
    }
}

/// `principal.status` for what is written so, and nothing for what is not.
fn path(expr: &Expr) -> Option<String> {
    match expr.expr_kind() {
        ExprKind::Var(variable) => Some(variable.to_string()),
        ExprKind::GetAttr { expr, attr } => Some(format!("{}.{attr}", path(expr)?)),
        _ => None,
    }
}

fn operands(expr: &Expr) -> Vec<&Expr> {
    match expr.expr_kind() {
        ExprKind::And { left, right } | ExprKind::Or { left, right } => vec![left, right],
        ExprKind::BinaryApp { arg1, arg2, .. } => vec![arg1, arg2],
        ExprKind::UnaryApp { arg, .. } => vec![arg],
        ExprKind::If { test_expr, then_expr, else_expr } => vec![test_expr, then_expr, else_expr],
        ExprKind::GetAttr { expr, .. }
        | ExprKind::HasAttr { expr, .. }
        | ExprKind::ExtHasAttr { expr, .. }
        | ExprKind::Like { expr, .. }
        | ExprKind::Is { expr, .. } => vec![expr],
        ExprKind::ExtensionFunctionApp { args, .. } => args.iter().collect(),
        ExprKind::Set(items) => items.iter().collect(),
        ExprKind::Record(fields) => fields.values().collect(),
        _ => Vec::new(),
    }
}

fn shown(value: &Value) -> String {
    shorten(&value.to_string(), CHARACTERS)
}
