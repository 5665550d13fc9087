//! Which values a condition can look at.
//!
//! A log holds some values as digests or masks. A decision that no policy could have based on them can be evaluated
//! again all the same; one that it could have is not guessed at.

use cedar_policy_core::ast::{BinaryOp, Expr, ExprKind, Var};
use rustc_hash::FxHashSet;
use smol_str::SmolStr;

use crate::policy::Bundle;

/// A value that the log does not hold, by the names that lead to it (`["input", "path"]`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hidden {
    pub(super) root: Root,
    pub(super) names: Vec<SmolStr>,
}

/// Where a path begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Root {
    Context,
    Attributes,
    Tags,
}

impl Hidden {
    /// The path for people: `context.input.path`.
    pub(super) fn path(&self) -> String {
        let root = match self.root {
            Root::Context => "context",
            Root::Attributes => "attrs",
            Root::Tags => "tags",
        };
        self.names.iter().fold(root.to_owned(), |path, name| path + "." + name)
    }
}

/// What a condition looks at: paths from `context`, and names of attributes of entities.
///
/// Of attributes the names alone are compared, not whose they are: too many decisions are left out rather than one
/// taken wrongly.
#[derive(Debug, Default)]
pub(super) struct Reads {
    /// Paths of the context whose value is used.
    used: Vec<Vec<SmolStr>>,
    /// Paths of the context of which it is asked what is in them.
    looked_into: Vec<Vec<SmolStr>>,
    /// Paths of the context of which it is asked whether they are there.
    present: Vec<Vec<SmolStr>>,
    /// Attributes that are used or looked into.
    reached: FxHashSet<SmolStr>,
    /// Attributes that are used as a whole.
    whole: FxHashSet<SmolStr>,
    /// Attributes of which it is asked whether they are there.
    asked: FxHashSet<SmolStr>,
    tags: bool,
    any_tag: bool,
}

impl Reads {
    pub(super) fn of(condition: &Expr) -> Self {
        let mut reads = Self::default();
        reads.value(condition);
        reads
    }

    /// What all policies of some bundles look at.
    pub(super) fn of_bundles(bundles: &[&Bundle]) -> Self {
        let mut reads = Self::default();
        let program = bundles.iter().flat_map(|bundle| bundle.program());
        let conditions = program.filter_map(|(_, policy)| policy.condition.as_deref());
        conditions.for_each(|condition| reads.value(condition));
        reads
    }

    /// Whether the condition can tell what the hidden value is; that it is there is no secret.
    pub(super) fn sees(&self, hidden: &Hidden) -> bool {
        let names = &hidden.names;
        match hidden.root {
            Root::Tags => self.tags,
            Root::Context => {
                self.used.iter().any(|used| related(used, names))
                    || self.looked_into.iter().any(|path| path.starts_with(names))
            }
            Root::Attributes => match names.split_last() {
                Some((last, above)) => {
                    self.reached.contains(last) || above.iter().any(|name| self.whole.contains(name))
                }
                None => true,
            },
        }
    }

    /// Whether the value, or that it is there, can matter.
    pub(super) fn concerns(&self, value: &Hidden) -> bool {
        self.sees(value)
            || match value.root {
                Root::Tags => self.any_tag,
                Root::Context => self.present.iter().any(|path| related(path, &value.names)),
                Root::Attributes => value.names.last().is_some_and(|name| self.asked.contains(name)),
            }
    }

    /// An expression whose value matters.
    fn value(&mut self, expression: &Expr) {
        if let Some(path) = context_path(expression) {
            self.used.push(path);
        }
        match expression.expr_kind() {
            ExprKind::GetAttr { expr, attr } => {
                self.whole.insert(attr.clone());
                self.reached.insert(attr.clone());
                self.base(expr);
            }
            ExprKind::HasAttr { expr, attr } => self.has(expr, std::slice::from_ref(attr)),
            ExprKind::ExtHasAttr { expr, attrs } => {
                self.has(expr, &attrs.iter().cloned().collect::<Vec<_>>());
            }
            ExprKind::BinaryApp { op, arg1, arg2 } => {
                self.tags |= matches!(op, BinaryOp::GetTag);
                self.any_tag |= matches!(op, BinaryOp::GetTag | BinaryOp::HasTag);
                self.value(arg1);
                self.value(arg2);
            }
            ExprKind::If { test_expr, then_expr, else_expr } => {
                [test_expr, then_expr, else_expr].into_iter().for_each(|part| self.value(part));
            }
            ExprKind::And { left, right } | ExprKind::Or { left, right } => {
                self.value(left);
                self.value(right);
            }
            ExprKind::UnaryApp { arg, .. } => self.value(arg),
            ExprKind::ExtensionFunctionApp { args, .. } => args.iter().for_each(|part| self.value(part)),
            ExprKind::Like { expr, .. } | ExprKind::Is { expr, .. } => self.value(expr),
            ExprKind::Set(items) => items.iter().for_each(|part| self.value(part)),
            ExprKind::Record(fields) => fields.values().for_each(|part| self.value(part)),
            ExprKind::Lit(_) | ExprKind::Var(_) | ExprKind::Slot(_) | ExprKind::Unknown(_) => {}
        }
    }

    /// `expr has a.b.c`: all but the last are looked into.
    fn has(&mut self, expr: &Expr, attrs: &[SmolStr]) {
        self.asked.extend(attrs.iter().cloned());
        self.reached.extend(attrs.iter().rev().skip(1).cloned());
        if let Some(mut path) = context_path(expr) {
            path.extend(attrs.iter().cloned());
            // That it is there is no secret: what it is in is what is looked into.
            self.looked_into.extend((1..path.len()).filter_map(|end| path.get(..end).map(<[_]>::to_vec)));
            self.present.push(path);
        }
        self.base(expr);
    }

    /// An expression that is only looked into.
    fn base(&mut self, expression: &Expr) {
        match expression.expr_kind() {
            ExprKind::GetAttr { expr, attr } => {
                self.reached.insert(attr.clone());
                self.base(expr);
            }
            ExprKind::Var(_) => {}
            _ => self.value(expression),
        }
    }
}

/// Whether one leads to the other.
fn related(one: &[SmolStr], other: &[SmolStr]) -> bool {
    one.starts_with(other) || other.starts_with(one)
}

/// `["input", "path"]` of `context.input.path`.
fn context_path(expression: &Expr) -> Option<Vec<SmolStr>> {
    match expression.expr_kind() {
        ExprKind::Var(Var::Context) => Some(Vec::new()),
        ExprKind::GetAttr { expr, attr } => {
            let mut path = context_path(expr)?;
            path.push(attr.clone());
            Some(path)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reads(condition: &str) -> Reads {
        Reads::of(&condition.parse().unwrap())
    }

    fn context(names: &[&str]) -> Hidden {
        Hidden { root: Root::Context, names: names.iter().map(|name| SmolStr::from(*name)).collect() }
    }

    #[test]
    fn a_value_is_seen_by_what_uses_it_or_what_holds_it() {
        let path = context(&["input", "options", "path"]);
        for condition in [
            "context.input.options.path == \"a\"",
            "context.input.options == {}",
            "context.input == {}",
            "[context].contains({})",
            "context.input.options.path like \"a*\"",
            "(if true then context.input else context.input).options.path == \"\"",
            // The hidden value may be a record itself.
            "context.input.options.path.length > 1",
            "context.input.options.path has length",
        ] {
            assert!(reads(condition).sees(&path), "{condition}");
        }
        for condition in [
            "context.input.options.size > 1",
            "context has input && context.input has options && context.input.options has path",
            "principal == resource.owner && context.session.denied < 3",
            "principal.path == 1 && context.session.path == 1",
            "context has input.options.path",
        ] {
            assert!(!reads(condition).sees(&path), "{condition}");
        }
    }

    #[test]
    fn of_attributes_the_names_alone_are_compared() {
        let path = Hidden { root: Root::Attributes, names: vec!["path".into()] };
        assert!(reads("resource.owner.path == 1").sees(&path));
        assert!(reads("context.input.path == 1").sees(&path));
        assert!(!reads("resource has path").sees(&path) && reads("resource has path").concerns(&path));
    }

    #[test]
    fn any_look_at_a_tag_may_be_a_look_at_this_one() {
        let tag = Hidden { root: Root::Tags, names: vec!["api_token".into()] };
        assert!(reads("principal.getTag(\"groups\").contains(\"a\")").sees(&tag));
        assert!(!reads("principal.hasTag(\"api_token\")").sees(&tag));
    }
}
