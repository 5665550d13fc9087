//! A policy taken apart as its author sees it: the three elements of its scope, its `when` and `unless` clauses, and
//! in each clause the parts that `&&`, `||`, `!` and `if` join. Every part knows where it stands in the file.
//!
//! Evaluating part by part follows the language's own order and stops where it stops, so that a part that was not
//! asked is not counted as seen.

use std::collections::BTreeMap;
use std::sync::Arc;

use cedar_policy_core::ast::{Expr, ExprBuilder, ExprKind, Literal, SlotEnv, UnaryOp, Value, ValueKind};
use cedar_policy_core::evaluator::Evaluator;
use cedar_policy_core::parser::{Loc, Node, cst, text_to_cst};

use crate::policy::engine::compiled::CompiledPolicy;
use crate::policy::set::bundle::Bundle;
use crate::policy::set::load::PolicyInfo;
use crate::policy::set::source::{Source, SourceKind};

/// A place in a file, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Span {
    pub(crate) start: usize,
    pub(crate) end: usize,
}

impl Span {
    fn of(loc: &Loc) -> Self {
        Self { start: loc.start(), end: loc.end() }
    }

    pub(crate) fn text(self, file: &str) -> &str {
        file.get(self.start..self.end).unwrap_or_default()
    }
}

/// Where an element of a scope stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Position {
    Principal,
    Action,
    Resource,
}

impl Position {
    pub(crate) const ALL: [Self; 3] = [Self::Principal, Self::Action, Self::Resource];

    /// `principal`, `action` or `resource`.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Principal => "principal",
            Self::Action => "action",
            Self::Resource => "resource",
        }
    }
}

/// One policy.
#[derive(Debug)]
pub(crate) struct Anatomy {
    pub(crate) source: Source,
    pub(crate) span: Span,
    pub(crate) effect: Span,
    /// In the order principal, action, resource.
    pub(crate) scope: Vec<Element>,
    pub(crate) clauses: Vec<Clause>,
    /// The undivided parts of all clauses, in the order of the text.
    pub(crate) leaves: Vec<Leaf>,
}

/// An element of a scope.
#[derive(Debug)]
pub(crate) struct Element {
    pub(crate) position: Position,
    pub(crate) span: Span,
    /// Whether it says anything: `resource` alone does not.
    pub(crate) constrained: bool,
}

/// A `when` or `unless`.
#[derive(Debug)]
pub(crate) struct Clause {
    pub(crate) is_when: bool,
    pub(crate) span: Span,
    pub(crate) keyword: Span,
    pub(crate) tree: Tree,
    /// The whole condition between the braces.
    pub(crate) expr: Arc<Expr>,
}

/// How the parts of a clause are joined; a leaf is its number in [`Anatomy::leaves`].
#[derive(Debug)]
pub(crate) enum Tree {
    And(Box<Tree>, Box<Tree>),
    Or(Box<Tree>, Box<Tree>),
    Not(Box<Tree>),
    If(Box<[Tree; 3]>),
    Leaf(usize),
}

/// A part of a clause that is not divided further.
#[derive(Debug)]
pub(crate) struct Leaf {
    pub(crate) expr: Arc<Expr>,
    pub(crate) span: Span,
    pub(crate) is_when: bool,
}

/// A file with its policies by their first byte.
struct Parsed<'s> {
    source: &'s Source,
    policies: BTreeMap<usize, Node<Option<cst::Policy>>>,
}

impl<'s> Parsed<'s> {
    /// None for a text that does not parse; a bundle has none such.
    fn new(source: &'s Source) -> Option<Self> {
        let (parsed, _) = text_to_cst::parse_policies(&source.text).ok()?.into_inner();
        let policies = parsed?.0.into_iter().filter_map(|policy| Some((policy.loc()?.start(), policy)));
        Some(Self { source, policies: policies.collect() })
    }
}

/// What a leaf came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Seen {
    True,
    False,
    Error(String),
}

impl Anatomy {
    /// Every policy that decides with its anatomy, in the order of the files. Each file is read once.
    pub(crate) fn all(bundle: &Bundle) -> Vec<(Self, &PolicyInfo, &CompiledPolicy)> {
        let policies = bundle.sources().iter().filter(|source| source.kind == SourceKind::Policy);
        let files: BTreeMap<&str, Parsed<'_>> =
            policies.filter_map(|source| Some((source.path.as_ref(), Parsed::new(source)?))).collect();
        let anatomy = |info: &PolicyInfo| {
            let file = files.get(info.file.as_ref())?;
            Self::new(file.source, file.policies.get(&info.offset)?)
        };
        bundle.program().filter_map(|(info, compiled)| Some((anatomy(info)?, info, compiled))).collect()
    }

    fn new(source: &Source, found: &Node<Option<cst::Policy>>) -> Option<Self> {
        let span = Span::of(found.loc()?);
        let cst::Policy::Policy(policy) = found.as_inner()?;
        let mut scope = Vec::new();
        for (position, variable) in Position::ALL.into_iter().zip(&policy.variables) {
            let written = variable.as_inner()?;
            let constrained = written.entity_type.is_some() || written.ineq.is_some();
            scope.push(Element { position, span: Span::of(variable.loc()?), constrained });
        }
        let mut leaves = Vec::new();
        let mut clauses = Vec::new();
        for node in &policy.conds {
            let written = node.as_inner()?;
            let is_when = matches!(written.cond.as_inner()?, cst::Ident::When);
            let expr = Arc::new(written.expr.as_ref()?.to_expr::<ExprBuilder<()>>().ok()?);
            let tree = divide(&expr, is_when, &mut leaves)?;
            let (span, keyword) = (Span::of(node.loc()?), Span::of(written.cond.loc()?));
            clauses.push(Clause { is_when, span, keyword, tree, expr });
        }
        let effect = Span::of(policy.effect.loc()?);
        Some(Self { source: source.clone(), span, effect, scope, clauses, leaves })
    }

    /// Evaluates the clauses, telling each leaf that was asked. `None` when one of them erred.
    pub(crate) fn evaluate(
        &self,
        evaluator: &Evaluator<'_>,
        slots: &SlotEnv,
        tell: &mut dyn FnMut(usize, Seen),
    ) -> Option<bool> {
        for clause in &self.clauses {
            if self.walk(&clause.tree, evaluator, slots, tell)? != clause.is_when {
                return Some(false);
            }
        }
        Some(true)
    }

    fn walk(
        &self,
        tree: &Tree,
        evaluator: &Evaluator<'_>,
        slots: &SlotEnv,
        tell: &mut dyn FnMut(usize, Seen),
    ) -> Option<bool> {
        Some(match tree {
            Tree::And(left, right) => {
                self.walk(left, evaluator, slots, tell)? && self.walk(right, evaluator, slots, tell)?
            }
            Tree::Or(left, right) => {
                self.walk(left, evaluator, slots, tell)? || self.walk(right, evaluator, slots, tell)?
            }
            Tree::Not(inner) => !self.walk(inner, evaluator, slots, tell)?,
            Tree::If(parts) => {
                let [test, then, otherwise] = parts.as_ref();
                let branch = if self.walk(test, evaluator, slots, tell)? { then } else { otherwise };
                self.walk(branch, evaluator, slots, tell)?
            }
            Tree::Leaf(number) => {
                let seen = match evaluator.interpret(&self.leaves.get(*number)?.expr, slots) {
                    Ok(Value { value: ValueKind::Lit(Literal::Bool(true)), .. }) => Seen::True,
                    Ok(Value { value: ValueKind::Lit(Literal::Bool(false)), .. }) => Seen::False,
                    Ok(other) => Seen::Error(format!("`{other}` is not a Boolean")),
                    Err(error) => Seen::Error(error.to_string()),
                };
                let value = match &seen {
                    Seen::True => Some(true),
                    Seen::False => Some(false),
                    Seen::Error(_) => None,
                };
                tell(*number, seen);
                value?
            }
        })
    }

    /// The line of a byte in the file, from 1.
    pub(crate) fn line(&self, at: usize) -> usize {
        place(&self.source.text, at).0
    }
}

/// Line and column of a byte, both from 1, the column in characters.
pub(crate) fn place(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    (line, column)
}

/// Text on one line, without comments, for lists and tables.
pub(crate) fn code_line(text: &str) -> String {
    let lines = text.lines().map(|line| without_comment(line).trim());
    lines.filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
}

/// The line up to `//`, which is no comment within a string.
fn without_comment(line: &str) -> &str {
    let (mut quoted, mut escaped) = (false, false);
    for (at, c) in line.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '/' if !quoted && line.get(at..).is_some_and(|rest| rest.starts_with("//")) => {
                return line.get(..at).unwrap_or(line);
            }
            _ => {}
        }
    }
    line
}

fn divide(expr: &Arc<Expr>, is_when: bool, leaves: &mut Vec<Leaf>) -> Option<Tree> {
    Some(match expr.expr_kind() {
        ExprKind::And { left, right } => {
            let left = divide(left, is_when, leaves)?;
            Tree::And(Box::new(left), Box::new(divide(right, is_when, leaves)?))
        }
        ExprKind::Or { left, right } => {
            let left = divide(left, is_when, leaves)?;
            Tree::Or(Box::new(left), Box::new(divide(right, is_when, leaves)?))
        }
        ExprKind::If { test_expr, then_expr, else_expr } => {
            let test = divide(test_expr, is_when, leaves)?;
            let then = divide(then_expr, is_when, leaves)?;
            Tree::If(Box::new([test, then, divide(else_expr, is_when, leaves)?]))
        }
        // `a != b` and `a > b` are negations of one part; only what was written as a group is divided.
        ExprKind::UnaryApp { op: UnaryOp::Not, arg } if joins(arg) => {
            Tree::Not(Box::new(divide(arg, is_when, leaves)?))
        }
        _ => {
            leaves.push(Leaf { expr: Arc::clone(expr), span: Span::of(expr.source_loc()?), is_when });
            Tree::Leaf(leaves.len() - 1)
        }
    })
}

fn joins(expr: &Expr) -> bool {
    match expr.expr_kind() {
        ExprKind::And { .. } | ExprKind::Or { .. } | ExprKind::If { .. } => true,
        ExprKind::UnaryApp { op: UnaryOp::Not, arg } => joins(arg),
        _ => false,
    }
}
