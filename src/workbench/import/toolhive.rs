//! ToolHive's Cedar authorisation files: Cedar already, over another model.
//!
//! There a `Client` calls a `Tool` of one server, claims are `principal.claim_…`, and tools carry MCP's hints. Arguments
//! (`context.arg_…`) are typed for each tool here, so a condition on them cannot be carried over by itself.

use cedar_policy_core::ast::{
    ActionConstraint, BinaryOp, EntityReference, EntityUID, Expr, ExprKind, Literal, PatternElem,
    PrincipalOrResourceConstraint, Template, UnaryOp, Var,
};
use cedar_policy_core::parser::parse_policyset;
use serde::Deserialize;
use serde_json::Value as Json;

use super::agentgateway::{lists, name_of};
use super::condition::{Call, Condition, Text, calls};
use super::suite::Test;
use super::{Collected, ImportError, ImportInput};
use crate::model::EntityUid;
use crate::policy::Effect;
use crate::policy::set::depth;
use crate::policy::set::depth::Language;
use crate::policy::set::text::PolicyText;
use crate::policy::set::yaml;
use crate::text::{quote, quote_yaml};
use crate::workbench::matrix::{Subject, subjects};
use crate::workbench::replay::key;

/// What a rule does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Allow,
    Deny,
    Require,
}

/// A rule on calls of tools.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) kind: Kind,
    pub(super) condition: Condition,
    pub(super) line: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: Json,
    #[serde(rename = "type")]
    kind: String,
    cedar: Rules,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rules {
    policies: Vec<String>,
    #[serde(default)]
    entities_json: Option<String>,
    #[serde(default)]
    group_claim_name: Option<String>,
}

pub(super) fn read(input: &ImportInput<'_>) -> Result<Collected, ImportError> {
    let file: File = yaml::parse(input.text)?;
    let source = |what: String| ImportError::Source { line: 1, what };
    if file.kind != "cedarv1" || !matches!(file.version.to_string().trim_matches('"'), "1.0" | "1") {
        return Err(source(format!(
            "the type is `{}`, and only `cedarv1` of version 1.0 is known",
            file.kind
        )));
    }
    let heading = format!("Rules on tools, from {} of ToolHive.", input.file);
    let mut collected = Collected { heading, ..Collected::default() };
    let entities = file.cedar.entities_json.as_deref().unwrap_or("[]");
    if !matches!(entities.trim(), "" | "[]") {
        collected.gap(0, "`entities_json`: here entities come from tokens, keys and the tools themselves");
    }
    if let Some(claim) = &file.cedar.group_claim_name
        && claim != "groups"
    {
        collected
            .gap(0, format!("groups come from the claim `{claim}`: name it in `security.authentication`"));
    }
    let mut found = Vec::new();
    for (number, text) in file.cedar.policies.iter().enumerate() {
        let line = line_of(input.text, text);
        let what = format!("policy {}", number + 1);
        if let Err(deep) = depth::check(text, Language::Policy) {
            return Err(ImportError::Source { line, what: format!("{what}: {deep}") });
        }
        let set = parse_policyset(text);
        let set = set.map_err(|error| ImportError::Source { line, what: format!("{what}: {error}") })?;
        for template in set.all_templates() {
            let said = rule(template, line);
            found.extend(said.rule);
            if let Some(gap) = said.gap {
                collected.gap(line, format!("{what}: {gap}"));
            }
        }
    }
    rules(input, &mut collected, &found);
    Ok(collected)
}

fn line_of(text: &str, policy: &str) -> u64 {
    let first = policy.lines().next().unwrap_or_default().trim();
    let escaped = first.replace('\\', "\\\\").replace('"', "\\\"");
    let found = text.lines().position(|line| line.contains(first) || line.contains(&escaped));
    found.map_or(0, |at| at as u64 + 1)
}

/// The policies and tests of rules on calls.
pub(super) fn rules(input: &ImportInput<'_>, collected: &mut Collected, rules: &[Rule]) {
    if rules.is_empty() {
        return;
    }
    let server = input.server.map(|server| Condition::Server(Text::Is(server.to_owned())));
    for rule in rules {
        // A rule with a server of its own has it already.
        let mut scoped = false;
        rule.condition.visit(&mut |part| scoped |= matches!(part, Condition::Server(_)));
        let mut parts: Vec<Condition> = server.iter().filter(|_| !scoped).cloned().collect();
        let description = format!("From `{}`, line {}.", input.file, rule.line);
        let name = name_of(&rule.condition);
        let mut policy = match rule.kind {
            Kind::Allow => PolicyText::permit(&name, description),
            Kind::Deny | Kind::Require => {
                let name =
                    if rule.kind == Kind::Deny { format!("not-{name}") } else { format!("only-{name}") };
                PolicyText::forbid(&name, description, "a rule forbids this call")
            }
        };
        policy.action = "action in Caxton::Action::\"tool:call\"".to_owned();
        policy.resource = "resource is Caxton::Tool".to_owned();
        if rule.kind == Kind::Require {
            policy.unless = rule.condition.cedar(false).ok();
            policy.when = server.as_ref().filter(|_| !scoped).and_then(|server| server.cedar(true).ok());
        } else {
            parts.push(rule.condition.clone());
            let whole = Condition::All(parts).simplified();
            let users = whole.is_about_users();
            if users {
                policy.principal = "principal is Caxton::User".to_owned();
            }
            policy.when = (whole != Condition::Always(true)).then(|| whole.cedar(users).ok()).flatten();
        }
        collected.policies.push(policy);
    }
    collected.policies.push(lists());
    if input.server.is_none() {
        collected.note(0, "the rules are for tools of any server; `--server NAME` narrows them to one");
    }
    pin(input, collected, rules);
}

/// What a tool may say of itself, and first of all nothing.
const HINTS: &[&str] = &["none", "read_only", "destructive", "idempotent", "open_world"];

/// A row of a test: the caller, the tool, its server and its hint.
type TestRow = Vec<(&'static str, String)>;

/// Calls that tell the rules apart: those that the rules allow, that a rule denies, and that no rule allows.
fn rows_by_outcome(input: &ImportInput<'_>, collected: &mut Collected, rules: &[Rule]) -> [Vec<TestRow>; 3] {
    let conditions: Vec<&Condition> = rules.iter().map(|rule| &rule.condition).collect();
    let [mut allowed, mut denied, mut not_allowed]: [Vec<TestRow>; 3] = Default::default();
    for call in calls(&conditions, input.server) {
        let hint = call.hints.first().map_or("none", |hint| hint).to_owned();
        let row = vec![
            ("caller", caller(collected, &call)),
            ("tool", call.tool.clone()),
            ("server", call.server.clone()),
            ("hint", hint),
        ];
        match decide(rules, &call, input.server) {
            Some(true) => allowed.push(row),
            Some(false) => denied.push(row),
            None => not_allowed.push(row),
        }
    }
    [allowed, denied, not_allowed]
}

/// The test of the calls of tools with this hint; `None` when there are none.
fn test_of_hint(
    subject: &Subject,
    (name, outcome): (&str, &'static str),
    hint: &str,
    rows: &[TestRow],
) -> Option<Test> {
    let has_hint = |row: &&TestRow| row.iter().any(|(name, value)| *name == "hint" && value == hint);
    let without_hint = |row: &TestRow| row.iter().filter(|(name, _)| *name != "hint").cloned().collect();
    let rows: Vec<TestRow> = rows.iter().filter(has_hint).map(without_hint).collect();
    if rows.is_empty() {
        return None;
    }
    let flags = HINTS.iter().skip(1).map(|flag| format!("{flag}: {}", *flag == hint));
    let flags: Vec<String> = flags.collect();
    let entity =
        format!("{{ attrs: {{ name: \"${{tool}}\", server: \"${{server}}\", {} }} }}", flags.join(", "));
    let name = if hint == "none" { name.to_owned() } else { format!("{name}, of a tool that is {hint}") };
    let resource = crate::workbench::case::shorthand(&subject.resource);
    Some(Test {
        name,
        entities: [(resource.clone(), entity)].into_iter().collect(),
        rows,
        principal: "${caller}".to_owned(),
        action: subject.action.id().to_owned(),
        resource,
        outcome,
    })
}

/// Calls that tell the rules apart, with what the source says of each.
fn pin(input: &ImportInput<'_>, collected: &mut Collected, rules: &[Rule]) {
    let calls_tool = EntityUid::action("tool:call");
    let all = subjects(input.schema);
    let Some(subject) = all.iter().find(|subject| input.schema.is_action_in(&subject.action, &calls_tool))
    else {
        collected.note(0, "the schema has no tool to test the rules with");
        return;
    };
    let rows = rows_by_outcome(input, collected, rules);
    let hints_matter = rules.iter().any(|rule| {
        let mut hints = false;
        rule.condition.visit(&mut |part| hints |= matches!(part, Condition::Hint(_)));
        hints
    });
    let names = ["what the rules allow", "what a rule denies", "what no rule allows"];
    for ((name, outcome), rows) in names.into_iter().zip(["allow", "deny_explicit", "deny_default"]).zip(rows)
    {
        let hints = if hints_matter { HINTS } else { HINTS.get(..1).unwrap_or_default() };
        for hint in hints {
            collected.suite.tests.extend(test_of_hint(subject, (name, outcome), hint, &rows));
        }
    }
    // The neutral tool stands in its server.
    if let Some((server, _)) = subject.resource.id().split_once("___") {
        collected.suite.exists(&format!("McpServer::\"{server}\""));
    }
}

/// What the source says of a call: allowed, denied by a rule, or not allowed by any.
fn decide(rules: &[Rule], call: &Call, server: Option<&str>) -> Option<bool> {
    let concerns = |rule: &&Rule| {
        let mut scoped = false;
        rule.condition.visit(&mut |part| scoped |= matches!(part, Condition::Server(_)));
        scoped || server.is_none_or(|server| call.server == server)
    };
    let of = |kind: Kind| rules.iter().filter(concerns).filter(move |rule| rule.kind == kind);
    if of(Kind::Deny).any(|rule| rule.condition.holds(call))
        || !of(Kind::Require).all(|rule| rule.condition.holds(call))
    {
        return Some(false);
    }
    of(Kind::Allow).any(|rule| rule.condition.holds(call)).then_some(true)
}

/// A user with these claims, where the gateway keeps them, or an agent.
fn caller(collected: &mut Collected, call: &Call) -> String {
    if call.agent {
        let agent = "Agent::\"an-agent\"";
        collected.suite.exists(agent);
        return agent.to_owned();
    }
    let of = |name: &str| -> Vec<&String> {
        call.claims.iter().filter(|(claim, _)| claim == name).map(|(_, value)| value).collect()
    };
    let subject = of("sub").first().map_or_else(|| "somebody".to_owned(), |subject| (*subject).clone());
    let issuer = of("iss").first().map_or_else(|| "import".to_owned(), |issuer| (*issuer).clone());
    let mut parts = Vec::new();
    let mut attrs = vec![format!("id: {}", quote_yaml(&subject)), format!("issuer: {}", quote_yaml(&issuer))];
    attrs.extend(of("email").first().map(|email| format!("email: {}", quote_yaml(email))));
    parts.push(format!("attrs: {{ {} }}", attrs.join(", ")));
    let mut parents = Vec::new();
    for (claim, kind) in [("roles", "Role"), ("groups", "Group")] {
        for value in of(claim) {
            let parent = crate::workbench::case::shorthand(&EntityUid::caxton(kind, value.as_str()));
            collected.suite.exists(&parent);
            parents.push(key(&parent));
        }
    }
    if !parents.is_empty() {
        parts.push(format!("in: [{}]", parents.join(", ")));
    }
    let mut tags: std::collections::BTreeMap<&String, Vec<String>> = std::collections::BTreeMap::new();
    for (name, value) in &call.claims {
        if !matches!(name.as_str(), "sub" | "iss" | "email" | "roles" | "groups") {
            tags.entry(name).or_default().push(quote_yaml(value));
        }
    }
    if !tags.is_empty() {
        let tags: Vec<String> = tags
            .iter()
            .map(|(name, values)| format!("{}: [{}]", quote_yaml(name), values.join(", ")))
            .collect();
        parts.push(format!("tags: {{ {} }}", tags.join(", ")));
    }
    let text = format!("{{ {} }}", parts.join(", "));
    let same =
        collected.suite.entities.iter().find(|(name, entity)| name.starts_with("User::") && **entity == text);
    if let Some((name, _)) = same {
        return name.clone();
    }
    let number = collected.suite.entities.keys().filter(|name| name.starts_with("User::")).count() + 1;
    let name = format!("User::{}", quote(&format!("caller-{number}")));
    collected.suite.entities.insert(name.clone(), text);
    name
}

/// What a policy becomes.
#[derive(Debug, Default)]
struct Said {
    /// The rule; none for a policy that holds anyway, and for a permit that cannot be said whole.
    rule: Option<Rule>,
    /// What has no counterpart.
    gap: Option<String>,
}

impl Said {
    fn nothing(what: String) -> Self {
        Self { rule: None, gap: Some(what) }
    }
}

/// What is said of a denial of which a part has no counterpart. Without it, what it limited would be unlimited.
pub(super) const STRICTER: &str =
    "the `forbid` is written without that part and denies more than the rule did";

/// A policy as a rule. A permit is said whole or not at all, a forbid without what cannot be said.
fn rule(template: &Template, line: u64) -> Said {
    let kind = match Effect::from(template.effect()) {
        Effect::Permit => Kind::Allow,
        Effect::Forbid => Kind::Deny,
    };
    let mut parts = Vec::new();
    let actions: Vec<String> = match template.action_constraint() {
        ActionConstraint::Any => {
            parts.push(Err("a policy for every action".to_owned()));
            vec!["call_tool".to_owned()]
        }
        ActionConstraint::Eq(uid) => vec![id(uid)],
        ActionConstraint::In(uids) => uids.iter().map(|uid| id(uid)).collect(),
    };
    let lists = |action: &String| action.starts_with("list_");
    if actions.iter().all(lists) {
        // What a list shows follows from what can be called.
        return Said::default();
    }
    if let Some(other) = actions.iter().find(|action| *action != "call_tool" && !lists(action)) {
        let what = format!("`{other}`: prompts and resources have no actions here yet");
        if actions.iter().all(|action| action != "call_tool") {
            return Said::nothing(what);
        }
        parts.push(Err(what));
    }
    parts.extend(scope(template));
    template.non_scope_constraints().into_iter().for_each(|condition| each_part(condition, &mut parts));
    let parts = parts.into_iter().map(|part| {
        let part = part.map(Condition::simplified)?;
        part.cedar(true).map(|_| part)
    });
    let (sayable, unsayable): (Vec<_>, Vec<_>) = parts.partition(Result::is_ok);
    let condition = Condition::All(sayable.into_iter().flatten().collect()).simplified();
    let gap = unsayable.into_iter().find_map(Result::err);
    match (kind, gap) {
        (Kind::Allow, Some(what)) => Said::nothing(what),
        (_, gap) => {
            let gap = gap.map(|what| format!("{what}; {STRICTER}"));
            Said { rule: Some(Rule { kind, condition, line }), gap }
        }
    }
}

/// What the scope says of caller and tool.
fn scope(template: &Template) -> Vec<Result<Condition, String>> {
    let mut parts = Vec::new();
    match template.principal_constraint().as_inner() {
        PrincipalOrResourceConstraint::Any => {}
        PrincipalOrResourceConstraint::Eq(EntityReference::EUID(uid)) => {
            parts.push(Ok(Condition::Claim("sub".to_owned(), Text::Is(id(uid)))));
        }
        PrincipalOrResourceConstraint::In(EntityReference::EUID(uid)) => {
            parts.push(Ok(Condition::Claim("groups".to_owned(), Text::Is(id(uid)))));
        }
        other => parts.push(Err(format!("`principal` is constrained by `{other:?}`"))),
    }
    match template.resource_constraint().as_inner() {
        PrincipalOrResourceConstraint::Any => {}
        PrincipalOrResourceConstraint::Eq(EntityReference::EUID(uid)) => {
            parts.push(Ok(Condition::Tool(Text::Is(id(uid)))));
        }
        _ => parts.push(Err("`resource` is something else than one tool".to_owned())),
    }
    parts
}

/// The parts that have to hold together.
fn each_part(expression: &Expr, parts: &mut Vec<Result<Condition, String>>) {
    match expression.expr_kind() {
        ExprKind::And { left, right } => {
            each_part(left, parts);
            each_part(right, parts);
        }
        _ => parts.push(condition_of(expression)),
    }
}

fn id(uid: &EntityUID) -> String {
    AsRef::<str>::as_ref(uid.eid()).to_owned()
}

fn without_counterpart(expression: &Expr) -> String {
    format!("`{expression}` has no counterpart")
}

fn condition_of(expression: &Expr) -> Result<Condition, String> {
    let condition = match expression.expr_kind() {
        ExprKind::Lit(Literal::Bool(value)) => Some(Condition::Always(*value)),
        ExprKind::And { left, right } => {
            Some(Condition::All(vec![condition_of(left)?, condition_of(right)?]))
        }
        ExprKind::Or { left, right } => Some(Condition::Any(vec![condition_of(left)?, condition_of(right)?])),
        ExprKind::UnaryApp { op: UnaryOp::Not, arg } => Some(Condition::Not(Box::new(condition_of(arg)?))),
        ExprKind::HasAttr { expr, attr } => condition_of_presence(expr, attr),
        ExprKind::BinaryApp { op: BinaryOp::Eq, arg1, arg2 } => condition_of_equality(arg1, arg2),
        ExprKind::BinaryApp { op: BinaryOp::Contains, arg1, arg2 } => condition_of_contains(arg1, arg2),
        ExprKind::BinaryApp { op: BinaryOp::In, arg1, arg2 } => match (arg1.expr_kind(), arg2.expr_kind()) {
            (ExprKind::Var(Var::Principal), ExprKind::Lit(Literal::EntityUID(uid))) => {
                Some(Condition::Claim("groups".to_owned(), Text::Is(id(uid))))
            }
            _ => None,
        },
        ExprKind::Like { expr, pattern } => {
            text_of_pattern(pattern.iter()).and_then(|text| match place(expr)? {
                Place::Claim(claim) => Some(Condition::Claim(claim, text)),
                Place::Tool => Some(Condition::Tool(text)),
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

/// `principal has claim_x`, `resource has readOnlyHint`.
fn condition_of_presence(of: &Expr, attribute: &str) -> Option<Condition> {
    match (of.expr_kind(), attribute.strip_prefix("claim_")) {
        (ExprKind::Var(Var::Principal | Var::Context), Some(claim)) => {
            Some(Condition::ClaimThere(claim.to_owned()))
        }
        // Every tool has its hints here.
        (ExprKind::Var(Var::Resource), None) if hint(attribute).is_some() => Some(Condition::Always(true)),
        _ => None,
    }
}

/// `principal.claim_x == "y"`, `resource == Tool::"x"`, `resource.readOnlyHint == true`.
fn condition_of_equality(left: &Expr, right: &Expr) -> Option<Condition> {
    match (place(left), right.expr_kind()) {
        (Some(Place::Claim(claim)), ExprKind::Lit(Literal::String(text))) => {
            Some(Condition::Claim(claim, Text::Is(text.to_string())))
        }
        (Some(Place::Tool), ExprKind::Lit(Literal::String(text))) => {
            Some(Condition::Tool(Text::Is(text.to_string())))
        }
        (Some(Place::Hint(name)), ExprKind::Lit(Literal::Bool(true))) => Some(Condition::Hint(name)),
        (Some(Place::Hint(name)), ExprKind::Lit(Literal::Bool(false))) => {
            Some(Condition::Not(Box::new(Condition::Hint(name))))
        }
        (None, ExprKind::Lit(Literal::EntityUID(uid)))
            if matches!(left.expr_kind(), ExprKind::Var(Var::Resource)) =>
        {
            Some(Condition::Tool(Text::Is(id(uid))))
        }
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
    match place(element)? {
        Place::Claim(claim) => Some(Condition::Claim(claim, Text::OneOf(values))),
        Place::Tool => Some(Condition::Tool(Text::OneOf(values))),
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

enum Place {
    Claim(String),
    Tool,
    Hint(&'static str),
}

fn place(expression: &Expr) -> Option<Place> {
    let ExprKind::GetAttr { expr, attr } = expression.expr_kind() else { return None };
    match (expr.expr_kind(), attr.strip_prefix("claim_")) {
        (ExprKind::Var(Var::Principal | Var::Context), Some(claim)) => Some(Place::Claim(claim.to_owned())),
        (ExprKind::Var(Var::Resource), _) if attr == "name" => Some(Place::Tool),
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
