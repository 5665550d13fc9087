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

/// The names that a condition looks at. Names alone are compared, not whose they are: too many decisions are left out
/// rather than one taken wrongly.
#[derive(Debug, Default)]
pub(super) struct Reads {
    /// Attributes that are looked into or used.
    reached: FxHashSet<SmolStr>,
    /// Attributes that are used as a whole.
    used: FxHashSet<SmolStr>,
    /// Attributes of which it is asked whether they are there.
    asked: FxHashSet<SmolStr>,
    whole_context: bool,
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
        program
            .filter_map(|(_, policy)| policy.condition.as_deref())
            .for_each(|condition| reads.value(condition));
        reads
    }

    /// Whether the value, or that it is there, can matter.
    pub(super) fn concerns(&self, value: &Hidden) -> bool {
        let asked = value.names.last().is_some_and(|name| self.asked.contains(name));
        self.sees(value) || asked || (value.root == Root::Tags && self.any_tag)
    }

    /// Whether the condition can tell what the hidden value is; that it is there is no secret.
    pub(super) fn sees(&self, hidden: &Hidden) -> bool {
        match hidden.root {
            Root::Tags => self.tags,
            Root::Context if self.whole_context => true,
            Root::Context | Root::Attributes => match hidden.names.split_last() {
                Some((last, above)) => {
                    self.reached.contains(last) || above.iter().any(|name| self.used.contains(name))
                }
                None => true,
            },
        }
    }

    /// An expression whose value matters.
    fn value(&mut self, expression: &Expr) {
        match expression.expr_kind() {
            ExprKind::GetAttr { expr, attr } => {
                self.used.insert(attr.clone());
                self.reached.insert(attr.clone());
                self.base(expr);
            }
            ExprKind::HasAttr { expr, attr } => {
                self.asked.insert(attr.clone());
                self.base(expr);
            }
            ExprKind::ExtHasAttr { expr, attrs } => {
                // All but the last are looked into.
                self.reached.extend(attrs.iter().take(attrs.len() - 1).cloned());
                self.asked.extend(attrs.iter().cloned());
                self.base(expr);
            }
            ExprKind::Var(Var::Context) => self.whole_context = true,
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
            // Whose attribute it is, is not asked.
            "principal.path == 1",
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
        ] {
            assert!(!reads(condition).sees(&path), "{condition}");
        }
    }

    #[test]
    fn any_look_at_a_tag_may_be_a_look_at_this_one() {
        let tag = Hidden { root: Root::Tags, names: vec!["api_token".into()] };
        assert!(reads("principal.getTag(\"groups\").contains(\"a\")").sees(&tag));
        assert!(!reads("principal.hasTag(\"api_token\")").sees(&tag));
    }
}
