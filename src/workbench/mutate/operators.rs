//! The changes that are tried: each is one that an author could make by mistake, as an edit of the text.

use std::collections::BTreeMap;

use cedar_policy_core::ast::{BinaryOp, Expr, ExprKind, Literal, UnaryOp};

use crate::policy::engine::schema_index::SchemaIndex;
use crate::workbench::clauses::{Anatomy, Clause, Element, Leaf, Position, Span, Tree};

/// An operator: its name, what it does, and what a test needs that notices it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Operator {
    /// Its name.
    pub id: &'static str,
    /// What it changes.
    pub changes: &'static str,
    /// The test that would notice.
    pub hint: &'static str,
}

macro_rules! operators {
    ($($name:ident = $id:literal, $changes:literal, $hint:literal;)*) => {
        $(const $name: Operator = Operator { id: $id, changes: $changes, hint: $hint };)*
        /// Every operator.
        pub const OPERATORS: &[Operator] = &[$($name),*];
    };
}

operators! {
    REMOVE = "remove-policy", "removes the policy", "a request that this policy decides";
    EFFECT = "flip-effect", "`permit` becomes `forbid`, and the other way round", "a request that this policy decides";
    WIDEN = "widen-scope", "an element of the scope no longer says anything", "a request that only this element of the scope keeps out";
    NARROW = "drop-action", "one action of a list in the scope is left out", "a request for the action that was left out, which this policy decides";
    SWAP_ACTION = "swap-action", "the action is another one of the same group", "a request for the action, and one for another action of its group";
    DROP_CLAUSE = "drop-clause", "a `when` or `unless` is left out", "a request that only this clause keeps out";
    SWAP_CLAUSE = "swap-clause", "`when` becomes `unless`, and the other way round", "a request for which the clause holds, and one for which it does not";
    ALWAYS = "always-true", "a part of a condition is always true", "a request that only this part decides, with the part false";
    NEVER = "always-false", "a part of a condition is always false", "a request that only this part decides, with the part true";
    JOIN = "swap-join", "`&&` becomes `||`, and the other way round", "a request for which one side holds and the other does not";
    COMPARE = "compare", "`<` becomes `<=`, `>` becomes `>=`, `==` becomes `!=`, and the other way round", "a request exactly on the bound";
    NUMBER = "number", "a number is one more, or one less", "a request with exactly this number, and one with the next";
    MEMBER = "drop-member", "one member of a set is left out", "a request that only this member decides";
    ALL_ANY = "all-any", "`containsAll` becomes `containsAny`, and the other way round", "a set that has some of the members and not all";
}

/// What has to have been seen of a policy for a change to be noticed at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Touches {
    /// Its scope matched.
    Policy,
    /// An element of its scope: any request may notice.
    Scope(Position),
    /// The part of that number was evaluated.
    Leaf(usize),
}

/// A change: what stands at `span` becomes `with`. Removing the whole policy leaves no text.
#[derive(Debug, Clone)]
pub(crate) struct Edit {
    pub(crate) operator: Operator,
    pub(crate) span: Span,
    pub(crate) with: String,
    pub(crate) touches: Touches,
}

/// Every change of a policy, in the order of its text.
pub(crate) fn edits(anatomy: &Anatomy, schema: &SchemaIndex) -> Vec<Edit> {
    let mut edits = Edits { anatomy, found: Vec::new() };
    edits.add(REMOVE, anatomy.span, String::new(), Touches::Policy);
    let flipped = if anatomy.effect.text(edits.text()) == "permit" { "forbid" } else { "permit" };
    edits.add(EFFECT, anatomy.effect, flipped.to_owned(), Touches::Policy);
    let actions = siblings(schema);
    for element in anatomy.scope.iter().filter(|element| element.constrained) {
        edits.scope(element, &actions);
    }
    for clause in &anatomy.clauses {
        edits.clause(clause);
    }
    for (number, leaf) in anatomy.leaves.iter().enumerate() {
        edits.leaf(number, leaf);
    }
    edits.found.sort_by_key(|edit| (edit.span, edit.operator.id));
    edits.found
}

/// For each action of the schema, the next one of its group.
fn siblings(schema: &SchemaIndex) -> BTreeMap<String, String> {
    let mut groups: BTreeMap<Vec<String>, Vec<String>> = BTreeMap::new();
    for (action, ..) in schema.environments() {
        let mut group: Vec<String> = action.ancestors().map(ToString::to_string).collect();
        group.sort();
        groups.entry(group).or_default().push(action.uid().to_string());
    }
    let mut next = BTreeMap::new();
    for mut members in groups.into_values() {
        members.sort();
        members.dedup();
        let after = members.iter().cycle().skip(1);
        let pairs = members.iter().zip(after).filter(|(one, two)| one != two);
        next.extend(pairs.map(|(one, two)| (one.clone(), two.clone())));
    }
    next
}

struct Edits<'a> {
    anatomy: &'a Anatomy,
    found: Vec<Edit>,
}

impl<'a> Edits<'a> {
    fn text(&self) -> &'a str {
        &self.anatomy.source.text
    }

    fn add(&mut self, operator: Operator, span: Span, with: String, touches: Touches) {
        self.found.push(Edit { operator, span, with, touches });
    }

    fn scope(&mut self, element: &Element, actions: &BTreeMap<String, String>) {
        let touches = Touches::Scope(element.position);
        let name = element.position.as_str();
        let written = element.span.text(self.text());
        self.add(WIDEN, element.span, name.to_owned(), touches);
        if let Some((kind, _)) = written.split_once(" in ").filter(|(kind, _)| kind.contains(" is ")) {
            self.add(WIDEN, element.span, kind.to_owned(), touches);
        }
        if element.position != Position::Action {
            return;
        }
        if let Some((head, list)) = written.split_once('[') {
            let members = members(list.trim_end().trim_end_matches(']'));
            for left_out in 0..members.len() {
                let rest: Vec<&str> = without(&members, left_out);
                if !rest.is_empty() {
                    let with = format!("{head}[{}]", rest.join(", "));
                    self.add(NARROW, element.span, with, Touches::Policy);
                }
            }
        } else if let Some((_, action)) = written.split_once("==")
            && let Some(other) = actions.get(action.trim())
        {
            self.add(SWAP_ACTION, element.span, format!("action == {other}"), touches);
        }
    }

    fn clause(&mut self, clause: &Clause) {
        let swapped = if clause.is_when { "unless" } else { "when" };
        self.add(SWAP_CLAUSE, clause.keyword, swapped.to_owned(), Touches::Policy);
        // A clause of one part is left out by making the part always true, or always false in an `unless`.
        if !matches!(clause.tree, Tree::Leaf(_)) {
            self.add(DROP_CLAUSE, clause.span, String::new(), Touches::Policy);
        }
        self.joins(&clause.tree);
    }

    fn joins(&mut self, tree: &Tree) {
        match tree {
            Tree::And(left, right) => self.join(left, right, "&&", "||"),
            Tree::Or(left, right) => self.join(left, right, "||", "&&"),
            Tree::Not(inner) => self.joins(inner),
            Tree::If(parts) => parts.iter().for_each(|part| self.joins(part)),
            Tree::Leaf(_) => {}
        }
    }

    fn join(&mut self, left: &Tree, right: &Tree, from: &str, to: &str) {
        let (before, after) = (leaves(left), leaves(right));
        let end =
            before.iter().filter_map(|leaf| self.anatomy.leaves.get(*leaf)).map(|leaf| leaf.span.end).max();
        let first = after.first().copied();
        let start = first.and_then(|leaf| self.anatomy.leaves.get(leaf)).map(|leaf| leaf.span.start);
        if let (Some(end), Some(start), Some(first)) = (end, start, before.first()) {
            self.replace_between(JOIN, end, start, &[(from, to)], Touches::Leaf(*first));
        }
        self.joins(left);
        self.joins(right);
    }

    /// Replaces the first of `pairs` that stands between two places.
    fn replace_between(
        &mut self,
        operator: Operator,
        from: usize,
        to: usize,
        pairs: &[(&str, &str)],
        touches: Touches,
    ) {
        let Some(between) = self.text().get(from..to) else { return };
        for (old, new) in pairs {
            if let Some(at) = between.find(old) {
                let span = Span { start: from + at, end: from + at + old.len() };
                return self.add(operator, span, (*new).to_owned(), touches);
            }
        }
    }

    fn leaf(&mut self, number: usize, leaf: &Leaf) {
        let touches = Touches::Leaf(number);
        if !matches!(leaf.expr.expr_kind(), ExprKind::Lit(_)) {
            self.add(ALWAYS, leaf.span, "true".to_owned(), touches);
            self.add(NEVER, leaf.span, "false".to_owned(), touches);
        }
        for inner in leaf.expr.subexpressions() {
            self.inner(inner, touches);
        }
    }

    fn inner(&mut self, expr: &Expr, touches: Touches) {
        let Some(span) = span(expr) else { return };
        match expr.expr_kind() {
            ExprKind::BinaryApp { op, arg1, arg2 } => {
                let pairs: &[(&str, &str)] = match op {
                    BinaryOp::Eq => &[("==", "!="), ("!=", "==")],
                    BinaryOp::Less | BinaryOp::LessEq => {
                        &[("<=", "<"), (">=", ">"), ("<", "<="), (">", ">=")]
                    }
                    BinaryOp::ContainsAll => &[("containsAll", "containsAny")],
                    BinaryOp::ContainsAny => &[("containsAny", "containsAll")],
                    _ => return,
                };
                let method = matches!(op, BinaryOp::ContainsAll | BinaryOp::ContainsAny);
                let (Some(left), Some(right)) = (self::span(arg1), self::span(arg2)) else { return };
                // The place of a method's subject may be that of the whole call: then search from its start.
                let from = if left.end <= right.start { left.end } else { left.start };
                self.replace_between(
                    if method { ALL_ANY } else { COMPARE },
                    from,
                    right.start,
                    pairs,
                    touches,
                );
            }
            ExprKind::Lit(Literal::Long(_)) => {
                let Ok(number) = span.text(self.text()).parse::<i64>() else { return };
                for changed in [number.checked_add(1), number.checked_sub(1)].into_iter().flatten() {
                    self.add(NUMBER, span, changed.to_string(), touches);
                }
            }
            ExprKind::Set(items) if items.len() > 1 => {
                let texts: Vec<&str> =
                    items.iter().filter_map(self::span).map(|span| span.text(self.text())).collect();
                for left_out in 0..texts.len() {
                    let with = format!("[{}]", without(&texts, left_out).join(", "));
                    self.add(MEMBER, span, with, touches);
                }
            }
            // `a != b` and `a > b` are kept as negations; the comparison within has the place.
            ExprKind::UnaryApp { op: UnaryOp::Not, .. } => {}
            _ => {}
        }
    }
}

fn span(expr: &Expr) -> Option<Span> {
    expr.source_loc().map(|at| Span { start: at.start(), end: at.end() })
}

fn leaves(tree: &Tree) -> Vec<usize> {
    match tree {
        Tree::And(left, right) | Tree::Or(left, right) => [leaves(left), leaves(right)].concat(),
        Tree::Not(inner) => leaves(inner),
        Tree::If(parts) => parts.iter().flat_map(leaves).collect(),
        Tree::Leaf(number) => vec![*number],
    }
}

fn without<'t>(items: &[&'t str], left_out: usize) -> Vec<&'t str> {
    items.iter().enumerate().filter(|(index, _)| *index != left_out).map(|(_, item)| *item).collect()
}

/// What commas part, but for those within strings.
fn members(list: &str) -> Vec<&str> {
    let (mut found, mut from, mut quoted, mut escaped) = (Vec::new(), 0, false, false);
    for (at, c) in list.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            ',' if !quoted => {
                found.extend(list.get(from..at));
                from = at + 1;
            }
            _ => {}
        }
    }
    found.extend(list.get(from..));
    found.into_iter().map(str::trim).filter(|member| !member.is_empty()).collect()
}
