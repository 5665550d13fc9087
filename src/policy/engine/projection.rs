//! What conditions can see of a question. The rest is checked, and not handed to them.

use std::sync::OnceLock;

use cedar_policy_core::ast::{BinaryOp, Expr, ExprKind, Literal, Var};
use litemap::LiteMap;
use rustc_hash::FxHashSet;
use smallvec::SmallVec;
use smol_str::SmolStr;

use super::compiled::CompiledPolicy;
use super::schema_index::{KnownType, SchemaIndex};

/// What a condition can see of a record.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct FieldAccess {
    /// The record itself: it is compared, or handed on.
    whole: bool,
    /// Of these fields, that they are there, and what is seen of each.
    fields: LiteMap<SmolStr, FieldAccess>,
}

impl FieldAccess {
    /// What `condition` can see of the context.
    pub(crate) fn of_context(condition: Option<&Expr>) -> Self {
        let parts = || condition.into_iter().flat_map(Expr::subexpressions);
        // Of what stands before a field's name, that field is seen.
        let bases: FxHashSet<*const Expr> = parts()
            .filter_map(|part| match part.expr_kind() {
                ExprKind::GetAttr { expr, .. }
                | ExprKind::HasAttr { expr, .. }
                | ExprKind::ExtHasAttr { expr, .. } => Some(std::ptr::from_ref(expr.as_ref())),
                _ => None,
            })
            .collect();
        let mut access = Self::default();
        for part in parts() {
            if let Some(seen) = access.at(part) {
                seen.whole |= !bases.contains(&std::ptr::from_ref(part));
            }
            match part.expr_kind() {
                ExprKind::HasAttr { expr, attr } => {
                    if let Some(seen) = access.at(expr) {
                        seen.field(attr);
                    }
                }
                ExprKind::ExtHasAttr { expr, attrs } => {
                    if let Some(seen) = access.at(expr) {
                        attrs.iter().fold(seen, Self::field);
                    }
                }
                _ => {}
            }
        }
        access
    }

    /// The part of the context that the expression names; none when it names something else.
    fn at(&mut self, expression: &Expr) -> Option<&mut Self> {
        match expression.expr_kind() {
            ExprKind::Var(Var::Context) => Some(self),
            ExprKind::GetAttr { expr, attr } => self.at(expr).map(|seen| seen.field(attr)),
            _ => None,
        }
    }

    /// Whether anything.
    fn sees(&self) -> bool {
        self.whole || !self.fields.is_empty()
    }

    fn field(&mut self, name: &SmolStr) -> &mut Self {
        self.fields.entry(name.clone()).or_default()
    }
}

/// What several conditions see of one record.
#[derive(Debug)]
pub(crate) struct FieldAccesses<'p>(SmallVec<[&'p FieldAccess; 4]>);

impl<'p> FieldAccesses<'p> {
    /// Whether one sees the record itself.
    pub(crate) fn are_whole(&self) -> bool {
        self.0.iter().any(|access| access.whole)
    }

    /// What they see of a field; `None` when none of them asks for it.
    pub(crate) fn of_field(&self, name: &SmolStr) -> Option<Self> {
        let mut seen = SmallVec::new();
        for access in &self.0 {
            // Few fields: names of other lengths are told apart at once.
            if let Some((_, inside)) = access.fields.iter().find(|(field, _)| *field == name) {
                seen.push(inside);
            }
        }
        (!seen.is_empty()).then_some(Self(seen))
    }
}

/// What a condition can see of entities. The language has no other way into one: an attribute is asked for by a name that
/// stands in the text, a tag by a name that can be computed, and what it is in by `in`.
#[derive(Debug, Default)]
pub(crate) struct EntityAccess {
    /// Names of attributes, of whichever entity, and of fields of records.
    attributes: Vec<SmolStr>,
    /// Whether it asks for a tag.
    tags: bool,
    /// Whether it asks what something is in.
    hierarchy: bool,
    /// Whether it can ask what an action is in.
    actions: bool,
    /// The types that have an attribute of one of these names, by [`KnownType::number`], in the schema of this number.
    types: OnceLock<(u64, Vec<usize>)>,
}

impl EntityAccess {
    pub(crate) fn of(condition: Option<&Expr>) -> Self {
        let mut seen = Self::default();
        for part in condition.into_iter().flat_map(Expr::subexpressions) {
            match part.expr_kind() {
                ExprKind::GetAttr { attr, .. } | ExprKind::HasAttr { attr, .. } => {
                    seen.attributes.push(attr.clone());
                }
                ExprKind::ExtHasAttr { attrs, .. } => seen.attributes.extend(attrs.iter().cloned()),
                ExprKind::BinaryApp { op: BinaryOp::GetTag | BinaryOp::HasTag, .. } => seen.tags = true,
                // Nothing but an action is in an action, and a group that stands in the text is one or is none.
                ExprKind::BinaryApp { op: BinaryOp::In, arg2, .. } => {
                    seen.hierarchy = true;
                    seen.actions |= !is_other_group(arg2);
                }
                ExprKind::Var(Var::Action) => seen.actions = true,
                _ => {}
            }
        }
        seen.attributes.sort_unstable();
        seen.attributes.dedup();
        seen
    }

    /// Whether it can tell that there is an entity of this type.
    fn sees(&self, known: &KnownType, schema: &SchemaIndex) -> bool {
        if self.tags || self.hierarchy {
            return true;
        }
        let (number, types) =
            self.types.get_or_init(|| (schema.number(), schema.types_with(&self.attributes)));
        *number != schema.number() || types.contains(&known.number)
    }
}

/// Whether it is an entity that is no action.
fn is_other_group(expression: &Expr) -> bool {
    matches!(expression.expr_kind(), ExprKind::Lit(Literal::EntityUID(uid)) if !uid.is_action())
}

/// What the policies in question can see.
#[derive(Debug)]
pub(crate) struct Projection<'p> {
    /// Of the context; `None`: all of it.
    pub(crate) context: Option<FieldAccesses<'p>>,
    /// Of entities; `None`: all of them.
    policies: Option<&'p [&'p CompiledPolicy]>,
    pub(crate) tags: bool,
    pub(crate) actions: bool,
}

impl<'p> Projection<'p> {
    /// Everything there is.
    pub(crate) const ALL: Self = Self { context: None, policies: None, tags: true, actions: true };

    pub(crate) fn of(policies: &'p [&'p CompiledPolicy]) -> Self {
        let looks = || policies.iter().map(|policy| &policy.entity_access);
        Self {
            context: Some(FieldAccesses(
                policies.iter().map(|policy| &policy.reads).filter(|access| access.sees()).collect(),
            )),
            policies: Some(policies),
            tags: looks().any(|looks| looks.tags),
            actions: looks().any(|looks| looks.actions),
        }
    }

    /// Whether an entity of this type is seen at all. One that is not need not be there: an attribute that its type does
    /// not have is not asked for, and names are compared without it.
    pub(crate) fn has_entity(&self, known: &KnownType, schema: &SchemaIndex) -> bool {
        self.policies
            .is_none_or(|policies| policies.iter().any(|policy| policy.entity_access.sees(known, schema)))
    }

    // A handful of names in a handful of policies: no order pays.
    pub(crate) fn has_attribute(&self, name: &SmolStr) -> bool {
        self.policies.is_none_or(|policies| {
            policies.iter().any(|policy| policy.entity_access.attributes.contains(name))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_sees_the_attributes_it_names_at_any_depth_and_tags_when_it_asks_for_one() {
        let seen = |names: &[&str], tags| -> (Vec<SmolStr>, _) {
            (names.iter().map(|name| (*name).into()).collect(), tags)
        };
        let cases = [
            ("principal == resource", seen(&[], false)),
            ("principal.boss.boss.age > resource[\"a b\"]", seen(&["a b", "age", "boss"], false)),
            ("principal has a.b.c || [resource.d].contains(1)", seen(&["a", "b", "c", "d"], false)),
            ("{ x: principal }.x.y", seen(&["x", "y"], false)),
            ("principal.getTag(resource.name) == 1", seen(&["name"], true)),
            ("if principal.hasTag(\"t\") then true else resource has e", seen(&["e"], true)),
        ];
        for (text, expected) in cases {
            let condition: Expr = text.parse().unwrap();
            let EntityAccess { attributes, tags, .. } = EntityAccess::of(Some(&condition));
            assert_eq!((attributes, tags), expected, "{text}");
        }
    }

    #[test]
    fn a_condition_can_ask_what_an_action_is_in() {
        let cases = [
            ("principal in Role::\"r\" && resource == principal", false),
            ("principal in resource.owners", true),
            ("principal in [Role::\"r\"]", true),
            ("action == Action::\"a\"", true),
            ("Action::\"a\" in Action::\"g\"", true),
            ("context.what in Caxton::Action::\"g\"", true),
            ("context.what in context.which", true),
        ];
        for (text, actions) in cases {
            let condition: Expr = text.parse().unwrap();
            assert_eq!(EntityAccess::of(Some(&condition)).actions, actions, "{text}");
        }
    }

    #[test]
    fn a_condition_sees_the_parts_of_the_context_that_it_names_or_all_of_it() {
        // `*` is the part itself.
        let seen = |paths: &[&str]| {
            let mut access = FieldAccess::default();
            for path in paths {
                let mut at = &mut access;
                for name in path.split('/').filter(|name| !name.is_empty()) {
                    match name {
                        "*" => at.whole = true,
                        name => at = at.field(&name.into()),
                    }
                }
            }
            access
        };
        let cases: [(&str, &[&str]); 13] = [
            ("true", &[]),
            ("principal.a == resource.b", &[]),
            ("context.b.c > 1 && context.a == context.b.d", &["a/*", "b/c/*", "b/d/*"]),
            ("context has a && context has \"a b\"", &["a", "a b"]),
            ("context has a.b.c && context.a.b.c", &["a/b/c/*"]),
            ("context.a has b || context.a has c.d", &["a/b", "a/c/d"]),
            ("context.a.user.name == 1 && context.a.user in resource", &["a/user/*", "a/user/name/*"]),
            ("context == principal.a", &["*"]),
            ("context.a == { b: context.c.d }", &["a/*", "c/d/*"]),
            ("{ a: context }.a.b", &["*"]),
            ("(if principal.a then context.x else context).b", &["*", "x/*"]),
            ("context.a == 1 && [context].contains(context)", &["*", "a/*"]),
            ("context.a.getTag(context.b) like \"x\" && principal[\"context\"].d", &["a/*", "b/*"]),
        ];
        for (text, paths) in cases {
            let condition: Expr = text.parse().unwrap();
            assert_eq!(FieldAccess::of_context(Some(&condition)), seen(paths), "{text}");
        }
        assert_eq!(FieldAccess::of_context(None), FieldAccess::default());
    }
}
