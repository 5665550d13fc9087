//! The Cedar policies of ToolHive as rules.
//!
//! There a `Client` calls a `Tool`, gets a `Prompt` or reads a `Resource`, claims are `principal.claim_…`, and tools carry MCP's
//! hints. Arguments (`context.arg_…`) are typed for each tool here, so a condition on them cannot be carried over by itself.

use cedar_policy_core::ast::{
    ActionConstraint, BinaryOp, EntityReference, EntityUID, Expr, ExprKind, Literal, PatternElem,
    PrincipalOrResourceConstraint, Template, UnaryOp, Var,
};

use crate::policy::Effect;
use crate::workbench::import::condition::{Condition, Errors, GroupClaims, TARGETS, Target, Text};
use crate::workbench::import::rules::{Kind, Rule, STRICTER, sayable};

/// What a policy becomes.
#[derive(Debug, Default)]
pub(super) struct Said {
    /// The rule; none for a policy that holds anyway, and for a permit that cannot be said whole.
    pub(super) rule: Option<Rule>,
    /// What has no counterpart.
    pub(super) gap: Option<String>,
}

impl Said {
    fn nothing(what: String) -> Self {
        Self { rule: None, gap: Some(what) }
    }
}

/// Whose policies are read: the servers that they are for, and where groups come from.
#[derive(Debug, Clone)]
pub(super) struct Source {
    /// The servers that the policies are for; `None` when nothing says it.
    pub(super) servers: Option<Vec<String>>,
    /// The entity type of groups.
    pub(super) group_type: String,
    pub(super) groups: GroupClaims,
}

/// A policy as a rule. A permit is said whole or not at all, a forbid without what cannot be said.
pub(super) fn rule(template: &Template, line: u64, source: &Source) -> Said {
    let kind = match Effect::from(template.effect()) {
        Effect::Permit => Kind::Allow,
        Effect::Forbid => Kind::Deny,
    };
    let actions: Vec<String> = match template.action_constraint() {
        ActionConstraint::Any => ACTIONS.iter().map(|(action, _)| (*action).to_owned()).collect(),
        ActionConstraint::Eq(uid) => vec![id(uid)],
        ActionConstraint::In(uids) => uids.iter().map(|uid| id(uid)).collect(),
    };
    let is_list = |action: &String| action.starts_with("list_");
    let unknown =
        actions.iter().find(|action| !is_list(action) && !ACTIONS.iter().any(|(known, _)| known == action));
    let targets = targets(&actions);
    if targets.is_empty() {
        // What a list shows follows from what can be used.
        return unknown.map_or_else(Said::default, |action| {
            Said::nothing(format!("`{action}` is not an action of ToolHive's that has a counterpart"))
        });
    }
    let mut parts = Vec::new();
    parts.extend(unknown.map(|action| Err(format!("the action `{action}` has no counterpart"))));
    parts.extend(scope(template, source));
    let reader = Reader { source };
    template
        .non_scope_constraints()
        .into_iter()
        .for_each(|condition| reader.each_part(condition, &mut parts));
    let parts = parts.into_iter().map(|part| sayable(part?, kind, Errors::EndIt, targets));
    let (said, unsaid): (Vec<_>, Vec<_>) = parts.partition(Result::is_ok);
    let condition = Condition::All(said.into_iter().flatten().collect());
    let condition = sayable(condition, kind, Errors::EndIt, targets);
    let gap = unsaid.into_iter().chain(condition.clone().err().map(Err)).find_map(Result::err);
    match (kind, gap) {
        (Kind::Allow, Some(what)) => Said::nothing(what),
        (Kind::Allow | Kind::Deny | Kind::Require, gap) => {
            let gap = gap.map(|what| format!("{what}; {STRICTER}"));
            let rule = Rule {
                kind,
                condition: condition.unwrap_or(Condition::Always(true)),
                unless: Vec::new(),
                line,
                targets,
                servers: source.servers.clone(),
                errors: Errors::EndIt,
                reason: None,
            };
            Said { rule: Some(rule), gap }
        }
    }
}

/// ToolHive's actions that use something, and what.
const ACTIONS: [(&str, Target); 3] =
    [("call_tool", Target::Tool), ("get_prompt", Target::Prompt), ("read_resource", Target::Resource)];

/// What these actions use.
fn targets(actions: &[String]) -> &'static [Target] {
    let uses = |target: Target| actions.iter().any(|action| ACTIONS.contains(&(action.as_str(), target)));
    match (uses(Target::Tool), uses(Target::Prompt), uses(Target::Resource)) {
        (true, true, true) => TARGETS,
        (true, true, false) => &[Target::Tool, Target::Prompt],
        (true, false, true) => &[Target::Tool, Target::Resource],
        (false, true, true) => &[Target::Prompt, Target::Resource],
        (true, false, false) => &[Target::Tool],
        (false, true, false) => &[Target::Prompt],
        (false, false, true) => &[Target::Resource],
        (false, false, false) => &[],
    }
}

/// What the scope says of caller and resource.
fn scope(template: &Template, source: &Source) -> Vec<Result<Condition, String>> {
    let reader = Reader { source };
    let mut parts = Vec::new();
    match template.principal_constraint().as_inner() {
        PrincipalOrResourceConstraint::Any => {}
        PrincipalOrResourceConstraint::Eq(EntityReference::EUID(uid)) => parts.push(reader.principal_is(uid)),
        PrincipalOrResourceConstraint::In(EntityReference::EUID(uid)) => parts.push(reader.principal_in(uid)),
        PrincipalOrResourceConstraint::Is(kind) if kind.to_string() == "Client" => {}
        PrincipalOrResourceConstraint::IsIn(kind, EntityReference::EUID(uid))
            if kind.to_string() == "Client" =>
        {
            parts.push(reader.principal_in(uid));
        }
        other => parts.push(Err(format!("`principal` is constrained by `{other:?}`"))),
    }
    match template.resource_constraint().as_inner() {
        PrincipalOrResourceConstraint::Any => {}
        PrincipalOrResourceConstraint::Eq(EntityReference::EUID(uid)) => parts.push(resource_is(uid)),
        PrincipalOrResourceConstraint::In(EntityReference::EUID(uid)) => parts.push(resource_in(uid)),
        PrincipalOrResourceConstraint::Is(kind) => parts.push(resource_of(&kind.to_string())),
        PrincipalOrResourceConstraint::IsIn(kind, EntityReference::EUID(uid)) => {
            parts.push(resource_of(&kind.to_string()));
            parts.push(resource_in(uid));
        }
        other => parts.push(Err(format!("`resource` is constrained by `{other:?}`"))),
    }
    parts
}

/// `Tool::"x"`, `Prompt::"x"`. The id of a resource there is its URI with `_` for `:`, `/` and other marks, which several URIs
/// have.
fn resource_is(uid: &EntityUID) -> Result<Condition, String> {
    match kind_of(uid).as_str() {
        "Tool" => Ok(named(Target::Tool, Text::Is(id(uid)))),
        "Prompt" => Ok(named(Target::Prompt, Text::Is(id(uid)))),
        "Resource" => {
            Err(format!("`{uid}` is every resource whose URI comes to that; `resource.uri == …` is one"))
        }
        _ => Err(format!("`{uid}` has no counterpart")),
    }
}

/// `MCP::"server"`.
fn resource_in(uid: &EntityUID) -> Result<Condition, String> {
    match kind_of(uid).as_str() {
        "MCP" => Ok(Condition::Server(Text::Is(id(uid)))),
        _ => Err(format!("`resource in {uid}` has no counterpart")),
    }
}

/// `resource is Tool`.
fn resource_of(kind: &str) -> Result<Condition, String> {
    match kind {
        "Tool" => Ok(Condition::Is(Target::Tool)),
        "Prompt" => Ok(Condition::Is(Target::Prompt)),
        "Resource" => Ok(Condition::Is(Target::Resource)),
        _ => Err(format!("`resource is {kind}` has no counterpart")),
    }
}

/// What is used is of this kind and has this name.
fn named(target: Target, text: Text) -> Condition {
    Condition::All(vec![Condition::Is(target), Condition::Name(target, text)])
}

/// Whatever is used has this name; a resource's is its URI.
fn any_named(text: &Text) -> Condition {
    Condition::Any(TARGETS.iter().map(|target| named(*target, text.clone())).collect())
}

fn id(uid: &EntityUID) -> String {
    AsRef::<str>::as_ref(uid.eid()).to_owned()
}

fn kind_of(uid: &EntityUID) -> String {
    uid.entity_type().to_string()
}

fn without_counterpart(expression: &Expr) -> String {
    format!("`{expression}` has no counterpart")
}

/// Reads the conditions of a policy.
struct Reader<'s> {
    source: &'s Source,
}

impl Reader<'_> {
    fn principal_is(&self, uid: &EntityUID) -> Result<Condition, String> {
        match kind_of(uid).as_str() {
            // The id of a client is the subject of its token.
            "Client" => Ok(Condition::Claim("sub".to_owned(), Text::Is(id(uid)))),
            _ => Err(format!("`principal == {uid}` has no counterpart")),
        }
    }

    fn principal_in(&self, uid: &EntityUID) -> Result<Condition, String> {
        match kind_of(uid) {
            kind if kind == self.source.group_type => {
                Ok(Condition::Group(self.source.groups.clone(), id(uid)))
            }
            kind if kind == "Client" => self.principal_is(uid),
            _ => Err(format!("`principal in {uid}` has no counterpart: it is no group of a token")),
        }
    }

    /// The parts that have to hold together.
    fn each_part(&self, expression: &Expr, parts: &mut Vec<Result<Condition, String>>) {
        match expression.expr_kind() {
            ExprKind::And { left, right } => {
                self.each_part(left, parts);
                self.each_part(right, parts);
            }
            _ => parts.push(self.condition_of(expression)),
        }
    }

    fn condition_of(&self, expression: &Expr) -> Result<Condition, String> {
        let condition = match expression.expr_kind() {
            ExprKind::Lit(Literal::Bool(value)) => Some(Condition::Always(*value)),
            ExprKind::And { left, right } => {
                Some(Condition::All(vec![self.condition_of(left)?, self.condition_of(right)?]))
            }
            ExprKind::Or { left, right } => {
                Some(Condition::Any(vec![self.condition_of(left)?, self.condition_of(right)?]))
            }
            ExprKind::UnaryApp { op: UnaryOp::Not, arg } => {
                Some(Condition::Not(Box::new(self.condition_of(arg)?)))
            }
            ExprKind::HasAttr { expr, attr } => condition_of_presence(expr, attr),
            ExprKind::BinaryApp { op: BinaryOp::Eq, arg1, arg2 } => self.condition_of_equality(arg1, arg2)?,
            ExprKind::BinaryApp { op: BinaryOp::Contains, arg1, arg2 } => condition_of_contains(arg1, arg2),
            ExprKind::BinaryApp { op: BinaryOp::In, arg1, arg2 } => {
                match (arg1.expr_kind(), arg2.expr_kind()) {
                    (ExprKind::Var(Var::Principal), ExprKind::Lit(Literal::EntityUID(uid))) => {
                        Some(self.principal_in(uid)?)
                    }
                    (ExprKind::Var(Var::Resource), ExprKind::Lit(Literal::EntityUID(uid))) => {
                        Some(resource_in(uid)?)
                    }
                    _ => None,
                }
            }
            ExprKind::Is { expr, entity_type } => match expr.expr_kind() {
                ExprKind::Var(Var::Resource) => Some(resource_of(&entity_type.to_string())?),
                _ => None,
            },
            ExprKind::Like { expr, pattern } => {
                text_of_pattern(pattern.iter()).and_then(|text| match place(expr)? {
                    Place::Claim(claim) => Some(Condition::Claim(claim, text)),
                    Place::Name => Some(any_named(&text)),
                    Place::Uri => Some(Condition::Name(Target::Resource, text)),
                    Place::Hint(_) => None,
                })
            }
            _ => match place(expression) {
                Some(Place::Hint(name)) => Some(Condition::Hint(name)),
                _ => None,
            },
        };
        condition.ok_or_else(|| without_counterpart(expression))
    }

    /// `principal.claim_x == "y"`, `resource == Tool::"x"`, `resource.readOnlyHint == true`; `None` for anything else.
    fn condition_of_equality(&self, left: &Expr, right: &Expr) -> Result<Option<Condition>, String> {
        Ok(match (place(left), right.expr_kind()) {
            (Some(Place::Claim(claim)), ExprKind::Lit(Literal::String(text))) => {
                Some(Condition::Claim(claim, Text::Is(text.to_string())))
            }
            (Some(Place::Name), ExprKind::Lit(Literal::String(text))) => {
                Some(any_named(&Text::Is(text.to_string())))
            }
            (Some(Place::Uri), ExprKind::Lit(Literal::String(text))) => {
                Some(Condition::Name(Target::Resource, Text::Is(text.to_string())))
            }
            (Some(Place::Hint(name)), ExprKind::Lit(Literal::Bool(true))) => Some(Condition::Hint(name)),
            (Some(Place::Hint(name)), ExprKind::Lit(Literal::Bool(false))) => {
                Some(Condition::Not(Box::new(Condition::Hint(name))))
            }
            (None, ExprKind::Lit(Literal::EntityUID(uid))) => match left.expr_kind() {
                ExprKind::Var(Var::Resource) => Some(resource_is(uid)?),
                ExprKind::Var(Var::Principal) => Some(self.principal_is(uid)?),
                _ => None,
            },
            _ => None,
        })
    }
}

/// `principal has claim_x`, `resource has readOnlyHint`.
fn condition_of_presence(of: &Expr, attribute: &str) -> Option<Condition> {
    match (of.expr_kind(), attribute.strip_prefix("claim_")) {
        (ExprKind::Var(Var::Principal | Var::Context), Some(claim)) => {
            Some(Condition::ClaimThere(claim.to_owned()))
        }
        (ExprKind::Var(Var::Resource), None) if hint(attribute).is_some() => {
            hint(attribute).map(Condition::HintThere)
        }
        (ExprKind::Var(Var::Resource), None) if attribute == "name" => Some(Condition::Always(true)),
        (ExprKind::Var(Var::Resource), None) if attribute == "uri" => Some(Condition::Is(Target::Resource)),
        _ => None,
    }
}

/// `principal.claim_x.contains("y")`, `["a", "b"].contains(principal.claim_x)`.
fn condition_of_contains(set: &Expr, element: &Expr) -> Option<Condition> {
    if let (Some(Place::Claim(claim)), Some(value)) = (place(set), text(element)) {
        return Some(Condition::Claim(claim, Text::Is(value)));
    }
    let ExprKind::Set(items) = set.expr_kind() else { return None };
    let values = items.iter().map(text).collect::<Option<Vec<_>>>()?;
    if values.is_empty() {
        return None;
    }
    match place(element)? {
        Place::Claim(claim) => Some(Condition::Claim(claim, Text::OneOf(values))),
        Place::Name => Some(any_named(&Text::OneOf(values))),
        Place::Uri => Some(Condition::Name(Target::Resource, Text::OneOf(values))),
        Place::Hint(_) => None,
    }
}

/// The pattern of a `like`, where one wildcard stands at its beginning or end, or one at both.
fn text_of_pattern<'p>(pattern: impl Iterator<Item = &'p PatternElem>) -> Option<Text> {
    let mut parts = vec![String::new()];
    for element in pattern {
        match (element, parts.last_mut()) {
            (PatternElem::Char(c), Some(last)) => last.push(*c),
            (PatternElem::Char(_), None) => {}
            (PatternElem::Wildcard, _) => parts.push(String::new()),
        }
    }
    match parts.as_slice() {
        [whole] => Some(Text::Is(whole.clone())),
        [begin, end] if end.is_empty() => Some(Text::Begins(begin.clone())),
        [begin, end] if begin.is_empty() => Some(Text::Ends(end.clone())),
        [begin, middle, end] if begin.is_empty() && end.is_empty() => Some(Text::Has(middle.clone())),
        _ => None,
    }
}

/// An attribute that has a counterpart.
enum Place {
    Claim(String),
    /// `resource.name`; of a resource its URI.
    Name,
    Uri,
    Hint(&'static str),
}

fn place(expression: &Expr) -> Option<Place> {
    let ExprKind::GetAttr { expr, attr } = expression.expr_kind() else { return None };
    match (expr.expr_kind(), attr.strip_prefix("claim_")) {
        (ExprKind::Var(Var::Principal | Var::Context), Some(claim)) => Some(Place::Claim(claim.to_owned())),
        (ExprKind::Var(Var::Resource), _) if attr == "name" => Some(Place::Name),
        (ExprKind::Var(Var::Resource), _) if attr == "uri" => Some(Place::Uri),
        (ExprKind::Var(Var::Resource), _) => hint(attr).map(Place::Hint),
        _ => None,
    }
}

fn hint(name: &str) -> Option<&'static str> {
    match name {
        "readOnlyHint" => Some("read_only"),
        "destructiveHint" => Some("destructive"),
        "idempotentHint" => Some("idempotent"),
        "openWorldHint" => Some("open_world"),
        _ => None,
    }
}

fn text(expression: &Expr) -> Option<String> {
    match expression.expr_kind() {
        ExprKind::Lit(Literal::String(text)) => Some(text.to_string()),
        _ => None,
    }
}
