//! Rules of other gateways on tools, prompts and resources, as policies and as the tests that pin them.
//!
//! A rule allows, denies or requires something of a call. It is read for each target by itself: an expression about a tool's
//! name is an error for a prompt, and an error is no. Where that makes no difference, one policy is for all targets.

use std::collections::BTreeMap;

use super::calls::{Call, calls};
use super::condition::{Condition, Errors, Reading, Target, Text};
use super::suite::Test;
use super::{Collected, ImportError, ImportInput};
use crate::model::EntityUid;
use crate::policy::set::text::PolicyText;
use crate::text::{quote, quote_yaml};
use crate::workbench::case::shorthand;
use crate::workbench::matrix::{Subject, subjects};
use crate::workbench::replay::key;

/// What a rule does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Allow,
    Deny,
    Require,
}

/// A rule on what callers use of servers.
#[derive(Debug, Clone)]
pub(super) struct Rule {
    pub(super) kind: Kind,
    pub(super) condition: Condition,
    /// Calls that a denial does not reach: an earlier rule has allowed them.
    pub(super) unless: Vec<Condition>,
    /// The line of the source, from 1; 0 when it is of several.
    pub(super) line: u64,
    /// What it is about.
    pub(super) targets: &'static [Target],
    /// The servers that it is about; `None` for those that its condition names, else `--server`, else all.
    pub(super) servers: Option<Vec<String>>,
    pub(super) errors: Errors,
    /// What its policy is there for, when no rule of the source says it.
    pub(super) reason: Option<String>,
}

/// What is said of a denial of which a part has no counterpart. Without it, what it limited would be unlimited.
pub(super) const STRICTER: &str =
    "the `forbid` is written without that part and denies more than the rule did";

impl Kind {
    /// How its condition is read.
    pub(super) fn reading(self, errors: Errors) -> Reading {
        Reading { allows: self != Self::Deny, errors }
    }
}

impl Rule {
    fn condition_of(&self, target: Target) -> Condition {
        self.condition.of(target, self.kind.reading(self.errors))
    }

    /// What its denial does not reach.
    fn unless_of(&self, target: Target) -> Condition {
        let own = self.condition_of(target);
        let allowed = self.unless.iter().map(|allowed| allowed.of(target, Kind::Allow.reading(self.errors)));
        Condition::Any(allowed.filter(|allowed| !allowed.is_apart_from(&own)).collect()).simplified()
    }

    /// The condition that says which servers it is about; `None` for all.
    fn server(&self, input: &ImportInput<'_>) -> Option<Condition> {
        if let Some(servers) = &self.servers {
            return Some(Condition::Server(match servers.as_slice() {
                [server] => Text::Is(server.clone()),
                servers => Text::OneOf(servers.to_vec()),
            }));
        }
        // A rule with a server of its own has it already.
        let mut has_its_own = false;
        self.condition.visit(&mut |part| {
            has_its_own |= matches!(part, Condition::Server(_) | Condition::ServerOf(..));
        });
        let server = input.server.filter(|_| !has_its_own)?;
        Some(Condition::Server(Text::Is(server.to_owned())))
    }
}

/// Whether a condition can be said of each of these targets; otherwise what in it has no counterpart.
pub(super) fn sayable(
    condition: Condition,
    kind: Kind,
    errors: Errors,
    targets: &[Target],
) -> Result<Condition, String> {
    if condition.is_too_long() {
        return Err("so long a condition".to_owned());
    }
    for target in targets {
        condition.of(*target, kind.reading(errors)).cedar(true)?;
    }
    Ok(condition)
}

/// Rules that name their servers, where `--server` names one: it takes the place of the only one, or picks its own rules.
pub(super) fn narrow(input: &ImportInput<'_>, rules: Vec<Rule>) -> Result<Vec<Rule>, ImportError> {
    let Some(server) = input.server else { return Ok(rules) };
    let mut named: Vec<&String> = rules.iter().filter_map(|rule| rule.servers.as_ref()).flatten().collect();
    named.sort();
    named.dedup();
    if named.len() > 1 && !named.iter().any(|name| *name == server) {
        let named: Vec<String> = named.iter().map(|name| format!("`{name}`")).collect();
        let what =
            format!("the rules are for the servers {}, and `{server}` is none of them", named.join(", "));
        return Err(ImportError::Source { line: 1, what });
    }
    let is_only = named.len() < 2;
    let is_about = |rule: &Rule| match &rule.servers {
        Some(servers) => is_only || servers.iter().any(|name| name == server),
        None => true,
    };
    let old = named.first().map(|name| (*name).clone()).filter(|name| is_only && name != server);
    let renamed = |condition: &Condition| match &old {
        Some(old) => condition.renamed(old, server),
        None => condition.clone(),
    };
    let own = |rule: Rule| {
        if rule.servers.is_none() {
            return rule;
        }
        let condition = renamed(&rule.condition);
        let unless = rule.unless.iter().map(renamed).collect();
        Rule { condition, unless, servers: Some(vec![server.to_owned()]), ..rule }
    };
    Ok(rules.into_iter().filter(is_about).map(own).collect())
}

/// The policies and tests of rules.
pub(super) fn write(input: &ImportInput<'_>, collected: &mut Collected, rules: &[Rule]) {
    if rules.is_empty() {
        return;
    }
    let mut listed = vec![Target::Tool];
    let mut written = Vec::new();
    for rule in rules {
        for (targets, condition, unless) in groups(rule) {
            if rule.kind == Kind::Allow {
                listed.extend(targets);
            }
            written.extend(targets);
            let policy = policy(input, rule, targets, &condition, &unless);
            collected.policies.push(policy);
        }
    }
    for targets in [&mut listed, &mut written] {
        targets.sort();
        targets.dedup();
    }
    collected.policies.push(lists(&listed));
    if input.server.is_none() && rules.iter().any(|rule| rule.servers.is_none()) {
        collected.note(0, "the rules are for tools of any server; `--server NAME` narrows them to one");
    }
    for target in written {
        pin(input, collected, rules, target);
    }
}

/// The targets of a rule for which its policy reads the same, with its condition and what a denial does not reach. Targets for
/// which it says nothing are left out.
fn groups(rule: &Rule) -> Vec<(&[Target], Condition, Condition)> {
    let of = |target: &Target| (rule.condition_of(*target), rule.unless_of(*target));
    let says_something = |condition: &Condition| match rule.kind {
        Kind::Allow | Kind::Deny => *condition != Condition::Always(false),
        Kind::Require => *condition != Condition::Always(true),
    };
    let each: Vec<(Condition, Condition)> = rule.targets.iter().map(of).collect();
    let first = each.first();
    if each.iter().all(|one| Some(one) == first) {
        let all = first.cloned().filter(|(condition, _)| says_something(condition));
        return all.into_iter().map(|(condition, unless)| (rule.targets, condition, unless)).collect();
    }
    let each = rule.targets.chunks(1).zip(each);
    let each = each.filter(|(_, (condition, _))| says_something(condition));
    each.map(|(target, (condition, unless))| (target, condition, unless)).collect()
}

fn policy(
    input: &ImportInput<'_>,
    rule: &Rule,
    targets: &[Target],
    condition: &Condition,
    unless: &Condition,
) -> PolicyText {
    let description = match &rule.reason {
        Some(reason) => reason.clone(),
        None => format!("From `{}`, line {}.", input.file, rule.line),
    };
    let name = match targets {
        [Target::Prompt] => format!("prompt-{}", name_of(condition)),
        [Target::Resource] => format!("resource-{}", name_of(condition)),
        _ => name_of(condition),
    };
    let forbids = "a rule forbids this call";
    let mut policy = match rule.kind {
        Kind::Allow => PolicyText::permit(&name, description),
        Kind::Deny => PolicyText::forbid(&format!("not-{name}"), description, forbids),
        Kind::Require => PolicyText::forbid(&format!("only-{name}"), description, forbids),
    };
    (policy.action, policy.resource) = scope(targets, rule.kind);
    let server = rule.server(input);
    if rule.kind == Kind::Require {
        policy.unless =
            (*condition != Condition::Always(false)).then(|| condition.cedar(false).ok()).flatten();
        policy.when = server.and_then(|server| server.cedar(true).ok());
        return policy;
    }
    let has_said_so = |server: &Condition| match (server.servers(), condition.servers()) {
        (Some(servers), Some(own)) => own.iter().all(|name| servers.contains(name)),
        (None, _) | (_, None) => false,
    };
    let server = server.filter(|server| !has_said_so(server));
    let whole = Condition::All(server.into_iter().chain([condition.clone()]).collect()).simplified();
    let users = whole.is_about_users();
    if users {
        policy.principal = "principal is Caxton::User".to_owned();
    }
    policy.when = (whole != Condition::Always(true)).then(|| whole.cedar(users).ok()).flatten();
    policy.unless = (*unless != Condition::Always(false)).then(|| unless.cedar(users).ok()).flatten();
    policy
}

/// The action and the resource of a policy's scope. A denial of a resource also keeps callers from subscribing to it.
fn scope(targets: &[Target], kind: Kind) -> (String, String) {
    let mut words = Vec::new();
    for target in targets {
        words.push(match target {
            Target::Tool => "tool:call",
            Target::Prompt => "prompt:get",
            Target::Resource => "resource:read",
        });
        if *target == Target::Resource && kind != Kind::Allow {
            words.push("resource:subscribe");
        }
    }
    let words: Vec<String> = words.iter().map(|word| format!("Caxton::Action::{}", quote(word))).collect();
    let action = match (words.as_slice(), targets) {
        // Each tool has an action of its own in this one.
        ([word], [Target::Tool]) => format!("action in {word}"),
        ([word], _) => format!("action == {word}"),
        (words, _) => format!("action in [{}]", words.join(", ")),
    };
    let resource = match targets {
        [Target::Tool] => "resource is Caxton::Tool",
        [Target::Prompt] => "resource is Caxton::Prompt",
        [Target::Resource] => "resource is Caxton::McpResource",
        _ => "resource",
    };
    (action, resource.to_owned())
}

/// Under every rule, lists show what can be used.
fn lists(targets: &[Target]) -> PolicyText {
    let word = |target: &Target| match target {
        Target::Tool => "Caxton::Action::\"tool:list\"",
        Target::Prompt => "Caxton::Action::\"prompt:list\"",
        Target::Resource => "Caxton::Action::\"resource:list\"",
    };
    let words: Vec<&str> = targets.iter().map(word).collect();
    let (action, description) = match words.as_slice() {
        [word] => (
            format!("action == {word}"),
            "Every caller may list tools; each tool in the list is decided on its own.",
        ),
        words => (
            format!("action in [{}]", words.join(", ")),
            "Every caller may list what servers offer; each item in a list is decided on its own.",
        ),
    };
    PolicyText { action, ..PolicyText::permit("list", description) }
}

/// A name for a rule, from what it is about.
fn name_of(condition: &Condition) -> String {
    let mut names = Vec::new();
    condition.visit(&mut |part| match part {
        Condition::Name(_, text)
        | Condition::Server(text)
        | Condition::ServerOf(_, text)
        | Condition::Claim(_, text) => {
            names.extend(text.examples().into_iter().next());
        }
        Condition::Group(_, group) => names.push(group.clone()),
        Condition::Hint(hint) | Condition::HintThere(hint) => names.push((*hint).to_owned()),
        Condition::ClaimThere(claim) => names.push(claim.clone()),
        Condition::Always(_)
        | Condition::All(_)
        | Condition::Any(_)
        | Condition::Not(_)
        | Condition::Is(_) => {}
    });
    let mut seen = Vec::new();
    names.retain(|name| {
        let is_new = !seen.contains(name);
        seen.push(name.clone());
        is_new
    });
    names.truncate(3);
    if names.is_empty() { "any".to_owned() } else { names.join("-") }
}

/// What a tool may say of itself, and first of all nothing.
const HINTS: &[&str] = &["none", "read_only", "destructive", "idempotent", "open_world"];

/// A row of a test: the caller, what is used, its server and the tool's hint.
type TestRow = Vec<(&'static str, String)>;

/// The variable of a test's rows that has the name.
const fn variable(target: Target) -> &'static str {
    match target {
        Target::Tool => "tool",
        Target::Prompt => "prompt",
        Target::Resource => "uri",
    }
}

/// Calls that tell the rules apart: those that the rules allow, that a rule denies, and that no rule allows.
fn rows_by_outcome(
    input: &ImportInput<'_>,
    collected: &mut Collected,
    rules: &[Rule],
    target: Target,
) -> [Vec<TestRow>; 3] {
    let conditions: Vec<&Condition> = rules.iter().map(|rule| &rule.condition).collect();
    let mut servers: Vec<String> = rules.iter().filter_map(|rule| rule.servers.clone()).flatten().collect();
    servers.extend(input.server.map(str::to_owned));
    let [mut allowed, mut denied, mut not_allowed]: [Vec<TestRow>; 3] = Default::default();
    for call in calls(&conditions, target, &servers) {
        let hint = call.hints.first().map_or("none", |hint| hint).to_owned();
        let row = vec![
            ("caller", caller(collected, &call)),
            (variable(target), call.name.clone()),
            ("server", call.server.clone()),
            ("hint", hint),
        ];
        match decide(input, rules, &call) {
            Some(true) => allowed.push(row),
            Some(false) => denied.push(row),
            None => not_allowed.push(row),
        }
    }
    [allowed, denied, not_allowed]
}

/// The target of a test's request: the resource, its attributes and the action.
struct Used {
    resource: String,
    attributes: String,
    action: String,
    /// A word for the test's name; empty for a tool.
    word: &'static str,
}

/// The test of the calls with this hint; `None` when there are none.
fn test_of_hint(
    used: &Used,
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
    let mut attributes = vec![used.attributes.clone()];
    if used.word.is_empty() {
        attributes.extend(HINTS.iter().skip(1).map(|flag| format!("{flag}: {}", *flag == hint)));
        attributes.extend((hint != "none").then(|| format!("declared_{hint}: true")));
    }
    let entity = format!("{{ attrs: {{ {} }} }}", attributes.join(", "));
    let name = format!("{name}{}", used.word);
    let name = if hint == "none" { name } else { format!("{name}, of a tool that is {hint}") };
    Some(Test {
        name,
        entities: [(used.resource.clone(), entity)].into_iter().collect(),
        rows,
        principal: "${caller}".to_owned(),
        action: used.action.clone(),
        resource: used.resource.clone(),
        outcome,
    })
}

/// What a test asks about; `None` when the schema has no tool.
fn used(input: &ImportInput<'_>, target: Target) -> Option<Used> {
    let of = |kind: &str, attributes: &str, action: &str, word: &'static str| Used {
        resource: shorthand(&EntityUid::caxton(kind, "import___x")),
        attributes: attributes.to_owned(),
        action: action.to_owned(),
        word,
    };
    let server = "server: \"${server}\"";
    match target {
        Target::Tool => {
            let calls_tool = EntityUid::action("tool:call");
            let is_call = |subject: &Subject| input.schema.is_action_in(&subject.action, &calls_tool);
            let tool = subjects(input.schema).into_iter().find(is_call)?;
            Some(Used {
                resource: shorthand(&tool.resource),
                attributes: format!("name: \"${{tool}}\", {server}"),
                action: tool.action.id().to_owned(),
                word: "",
            })
        }
        Target::Prompt => {
            let attributes = format!("name: \"${{prompt}}\", {server}");
            Some(of("Prompt", &attributes, "prompt:get", ", of prompts"))
        }
        Target::Resource => {
            let attributes = format!("uri: \"${{uri}}\", scheme: \"\", {server}, template: false");
            Some(of("McpResource", &attributes, "resource:read", ", of resources"))
        }
    }
}

/// Calls that tell the rules apart, with what the source says of each.
fn pin(input: &ImportInput<'_>, collected: &mut Collected, rules: &[Rule], target: Target) {
    let Some(used) = used(input, target) else {
        collected.note(0, "the schema has no tool to test the rules with");
        return;
    };
    let rows = rows_by_outcome(input, collected, rules, target);
    let hints_matter = target == Target::Tool
        && rules.iter().any(|rule| {
            let mut hints = false;
            rule.condition
                .visit(&mut |part| hints |= matches!(part, Condition::Hint(_) | Condition::HintThere(_)));
            hints
        });
    let names = ["what the rules allow", "what a rule denies", "what no rule allows"];
    for ((name, outcome), rows) in names.into_iter().zip(["allow", "deny_explicit", "deny_default"]).zip(rows)
    {
        let hints = if hints_matter { HINTS } else { HINTS.get(..1).unwrap_or_default() };
        for hint in hints {
            collected.suite.tests.extend(test_of_hint(&used, (name, outcome), hint, &rows));
        }
    }
    // The resource of the tests stands in its server.
    if let Some((server, _)) = used.resource.split_once("::\"").and_then(|(_, id)| id.split_once("___")) {
        collected.suite.exists(&format!("McpServer::\"{server}\""));
    }
}

/// What the source says of a call: allowed, denied by a rule, or not allowed by any.
fn decide(input: &ImportInput<'_>, rules: &[Rule], call: &Call) -> Option<bool> {
    let concerns = |rule: &&Rule| {
        let reading = Kind::Allow.reading(Errors::Absorbed);
        let is_its_server = rule.server(input).is_none_or(|server| server.holds(call, reading));
        is_its_server && rule.targets.contains(&call.target)
    };
    let holds = |rule: &Rule| rule.condition.holds(call, rule.kind.reading(rule.errors));
    let is_allowed_before =
        |rule: &Rule| rule.unless.iter().any(|allowed| allowed.holds(call, Kind::Allow.reading(rule.errors)));
    let of = |kind: Kind| rules.iter().filter(concerns).filter(move |rule| rule.kind == kind);
    if of(Kind::Deny).any(|rule| holds(rule) && !is_allowed_before(rule)) || !of(Kind::Require).all(holds) {
        return Some(false);
    }
    of(Kind::Allow).any(holds).then_some(true)
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
            let parent = shorthand(&EntityUid::caxton(kind, value.as_str()));
            collected.suite.exists(&parent);
            parents.push(key(&parent));
        }
    }
    if !parents.is_empty() {
        parts.push(format!("in: [{}]", parents.join(", ")));
    }
    let mut tags: BTreeMap<&String, Vec<String>> = BTreeMap::new();
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
