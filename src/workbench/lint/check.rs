//! The rules at work on one policy.

use cedar_policy_core::ast::{BinaryOp, Expr, ExprKind, Literal, PatternElem, UnaryOp};

use super::Found;
use super::rules::{self, Rule};
use crate::policy::Bundle;
use crate::policy::engine::compiled::{ActionScope, CompiledPolicy, Effect, ScopeConstraint};
use crate::policy::set::error::PolicyProblem;
use crate::policy::set::load::PolicyInfo;
use crate::workbench::clauses::{Anatomy, Leaf, Span, Tree, code_line};
use crate::workbench::coverage::{admits_nothing, covers};

const SEVERITIES: [&str; 4] = ["low", "medium", "high", "critical"];

/// A policy that rules are asked about.
pub(super) struct Checked<'b> {
    pub(super) info: &'b PolicyInfo,
    pub(super) compiled: &'b CompiledPolicy,
    pub(super) anatomy: Anatomy,
}

impl Checked<'_> {
    pub(super) fn found(&self, rule: Rule, message: String, span: Span) -> Found {
        let source = &self.anatomy.source;
        let problem = PolicyProblem::in_file(&source.path, &source.text, message)
            .at(Some((span.start, span.end - span.start).into()), rule.id)
            .with_advice(rule.help)
            .about(&self.info.id)
            .into_warning();
        Found { rule, problem }
    }

    pub(super) fn conditions(&self, found: &mut Vec<Found>) {
        let text = &self.anatomy.source.text;
        for leaf in &self.anatomy.leaves {
            let shown = code_line(leaf.span.text(text));
            if leaf.expr.subexpressions().any(is_url_pattern) {
                found.push(self.found(rules::URL_LIKE, format!("`{shown}` does not check a URL"), leaf.span));
            }
            if self.compiled.effect == Effect::Forbid && leaf.expr.subexpressions().any(can_err) {
                let message = format!("`{shown}` can fail, and this is a `forbid`");
                found.push(self.found(rules::FORBID_CAN_ERR, message, leaf.span));
            }
            if is_constant(&leaf.expr) {
                found.push(self.found(rules::CONSTANT, format!("`{shown}` is always the same"), leaf.span));
            }
        }
        for clause in &self.anatomy.clauses {
            self.repeated(&clause.tree, found);
        }
    }

    fn repeated(&self, tree: &Tree, found: &mut Vec<Found>) {
        let mut joined = Vec::new();
        let mut deeper = Vec::new();
        match tree {
            Tree::And(..) => flatten(tree, &|tree| matches!(tree, Tree::And(..)), &mut joined, &mut deeper),
            Tree::Or(..) => flatten(tree, &|tree| matches!(tree, Tree::Or(..)), &mut joined, &mut deeper),
            Tree::Not(inner) => deeper.push(inner),
            Tree::If(parts) => deeper.extend(parts.iter()),
            Tree::Leaf(_) => {}
        }
        let leaves: Vec<&Leaf> =
            joined.iter().filter_map(|number| self.anatomy.leaves.get(*number)).collect();
        for (index, leaf) in leaves.iter().enumerate() {
            if leaves.iter().take(index).any(|before| before.expr.eq_shape(&leaf.expr)) {
                let message =
                    format!("`{}` is there already", code_line(leaf.span.text(&self.anatomy.source.text)));
                found.push(self.found(rules::REPEATED, message, leaf.span));
            }
        }
        deeper.into_iter().for_each(|inner| self.repeated(inner, found));
    }

    pub(super) fn annotations(&self, found: &mut Vec<Found>) {
        for (name, value) in self.info.annotations.iter() {
            if name.as_ref() == "severity" && !SEVERITIES.contains(&value.as_ref()) {
                let message = format!("`{}` is no severity", value.escape_debug());
                found.push(self.found(rules::SEVERITY, message, self.anatomy.effect));
            }
            if name.as_ref() == "reason" && self.compiled.effect == Effect::Permit {
                let message = "no caller is shown this `@reason`".to_owned();
                found.push(self.found(rules::REASON_ON_PERMIT, message, self.anatomy.effect));
            }
        }
    }

    pub(super) fn scope(&self, bundle: &Bundle, all: &[Checked<'_>], found: &mut Vec<Found>) {
        let scope = &self.compiled.scope;
        let whole = match (self.anatomy.scope.first(), self.anatomy.scope.last()) {
            (Some(first), Some(last)) => Span { start: first.span.start, end: last.span.end },
            _ => self.anatomy.effect,
        };
        let open = matches!((&scope.principal, &scope.action), (ScopeConstraint::Any, ActionScope::Any));
        if self.compiled.effect == Effect::Permit && open {
            let message = "this permits every action to every principal".to_owned();
            found.push(self.found(rules::OPEN_PERMIT, message, whole));
        }
        if admits_nothing(scope, bundle.schema_index()) {
            let message = "no request matches this scope".to_owned();
            found.push(self.found(rules::NEVER_MATCHES, message, whole));
        }
        let shadow = all.iter().find(|other| self.is_shadowed_by(other, bundle));
        if let Some(other) = shadow {
            let message = format!("`{}` holds whenever this does", other.info.id);
            found.push(self.found(rules::SHADOWED, message, whole));
        }
    }

    fn is_shadowed_by(&self, other: &Checked<'_>, bundle: &Bundle) -> bool {
        let same = std::ptr::eq(self.compiled, other.compiled);
        let alike =
            self.compiled.effect == other.compiled.effect && self.compiled.mode == other.compiled.mode;
        let covers =
            |a: &CompiledPolicy, b: &CompiledPolicy| covers(&a.scope, &b.scope, bundle.schema_index());
        if same || !alike || other.compiled.condition.is_some() || !covers(other.compiled, self.compiled) {
            return false;
        }
        // Of two that say the same, the second is the one too many.
        let mutual = self.compiled.condition.is_none() && covers(self.compiled, other.compiled);
        let place = |one: &Checked<'_>| (one.info.file.clone(), one.info.offset);
        !mutual || place(other) < place(self)
    }
}

fn flatten<'t>(
    tree: &'t Tree,
    same: &dyn Fn(&Tree) -> bool,
    joined: &mut Vec<usize>,
    deeper: &mut Vec<&'t Tree>,
) {
    match tree {
        Tree::And(left, right) | Tree::Or(left, right) if same(tree) => {
            flatten(left, same, joined, deeper);
            flatten(right, same, joined, deeper);
        }
        Tree::Leaf(number) => joined.push(*number),
        other => deeper.push(other),
    }
}

fn is_url_pattern(expr: &Expr) -> bool {
    let ExprKind::Like { pattern, .. } = expr.expr_kind() else { return false };
    let text: String = pattern
        .iter()
        .map(|part| match part {
            PatternElem::Char(c) => *c,
            PatternElem::Wildcard => '*',
        })
        .collect();
    text.contains("://") && text.contains('*')
}

/// Whether a valid expression can fail at run time: what strict validation cannot rule out.
fn can_err(expr: &Expr) -> bool {
    let literal = |expr: &Expr| matches!(expr.expr_kind(), ExprKind::Lit(_));
    match expr.expr_kind() {
        ExprKind::BinaryApp { op: BinaryOp::Add | BinaryOp::Sub | BinaryOp::Mul, arg1, arg2 } => {
            !(literal(arg1) && literal(arg2))
        }
        ExprKind::UnaryApp { op: UnaryOp::Neg, arg } => !literal(arg),
        // Strict validation lets texts be made into addresses and times from literals only; reckoning is left.
        ExprKind::ExtensionFunctionApp { fn_name, .. } => {
            matches!(fn_name.to_string().as_str(), "offset" | "durationSince" | "toDate")
        }
        _ => false,
    }
}

fn is_constant(expr: &Expr) -> bool {
    match expr.expr_kind() {
        ExprKind::Lit(Literal::Bool(_)) => true,
        ExprKind::UnaryApp { op: UnaryOp::Not, arg } => is_constant(arg),
        ExprKind::BinaryApp {
            op: BinaryOp::Eq | BinaryOp::Less | BinaryOp::LessEq | BinaryOp::In,
            arg1,
            arg2,
        } => arg1.eq_shape(arg2),
        _ => false,
    }
}
