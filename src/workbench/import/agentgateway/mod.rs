//! agentgateway's authorisation of MCP: `mcpAuthorization` in its own configuration, `backend.mcp.authorization` in a Kubernetes
//! `AgentgatewayPolicy`.
//!
//! There something may be used when no rule denies it, all requirements hold and some rule allows it; where no rule allows
//! anything, what none denies is allowed (since 1.0). An allowing rule becomes a permit, a denying one a forbid, a
//! requirement a forbid unless it holds. A configuration without any rule allows everything there; here it is refused.
//!
//! Rules on HTTP requests stand before these: what they do not allow reaches no server. So those of the same servers become
//! requirements and denials.

mod kubernetes;
mod standalone;

use super::cel::{self, Names};
use super::condition::{Condition, Errors, TARGETS, Text};
use super::document::{Node, documents};
use super::rules::{self, Kind, Rule, STRICTER, narrow, sayable};
use super::{Collected, ImportError, ImportInput};

/// Rules that stand together.
#[derive(Debug)]
struct RuleSet {
    expressions: Vec<Expression>,
    /// The servers that they are for; `None` for all, or where that is not known.
    servers: Option<Vec<String>>,
    /// The route that they are of, from the outside in; rules further out are for it too.
    route: Vec<String>,
    /// Whether the file says which servers they are for.
    is_placed: bool,
    /// Whether they are about HTTP requests, and stand before those about MCP.
    is_http: bool,
    line: u64,
}

/// A rule as it is written.
#[derive(Debug)]
struct Expression {
    kind: Kind,
    source: String,
    line: u64,
}

pub(super) fn read(input: &ImportInput<'_>) -> Result<Collected, ImportError> {
    let mut collected = Collected {
        heading: format!("Rules on tools, from {} of agentgateway.", input.file),
        ..Collected::default()
    };
    let documents = documents(input.text)?;
    let (objects, configurations): (Vec<&Node>, Vec<&Node>) =
        documents.iter().partition(|document| document.object().is_some());
    let mut sets = Vec::new();
    for configuration in configurations {
        sets.extend(standalone::sets(configuration, &mut collected)?);
    }
    let objects: Vec<_> = objects.into_iter().filter_map(Node::object).collect();
    sets.extend(kubernetes::sets(&objects, &mut collected)?);
    if !sets.iter().any(|set| !set.is_http && !set.expressions.is_empty()) {
        let what = "there is no `mcpAuthorization` with `rules` and no `mcp.authorization` in it".to_owned();
        return Err(ImportError::Source { line: 1, what });
    }
    shared(&sets, &mut collected);
    let mut found = Vec::new();
    for set in &sets {
        found.extend(if set.is_http {
            http_rules(set, &mut collected)
        } else {
            mcp_rules(set, &mut collected)
        });
    }
    for set in &sets {
        found.extend(rest(input, set, &sets, &mut collected));
    }
    let found = narrow(input, found)?;
    rules::write(input, &mut collected, &found);
    Ok(collected)
}

/// The rules of two routes to the same servers are one set here.
fn shared(sets: &[RuleSet], collected: &mut Collected) {
    let of_mcp: Vec<&RuleSet> = sets.iter().filter(|set| !set.is_http).collect();
    for (at, set) in of_mcp.iter().enumerate() {
        let is_beside = |other: &RuleSet| {
            let is_apart = !is_above(set, other) && !is_above(other, set);
            let is_lost = (!set.is_placed || !other.is_placed) && set.route != other.route;
            overlap(set, other) && (is_apart || is_lost)
        };
        if of_mcp.iter().take(at).any(|other| is_beside(other)) {
            let what = "several routes have rules of their own, and here a policy is for all of them";
            collected.gap(set.line, what);
        }
    }
}

/// Whether the rules of a set are for what is below its own place, and the other stands there.
fn is_above(set: &RuleSet, other: &RuleSet) -> bool {
    let is_gateway = |set: &RuleSet| set.route.first().is_some_and(|place| place.starts_with("Gateway/"));
    other.route.starts_with(&set.route) || (is_gateway(set) && !is_gateway(other))
}

fn overlap(set: &RuleSet, other: &RuleSet) -> bool {
    match (&set.servers, &other.servers) {
        (Some(one), Some(other)) => one.iter().any(|server| other.contains(server)),
        (None, _) | (_, None) => true,
    }
}

fn rule(set: &RuleSet, kind: Kind, condition: Condition, line: u64) -> Rule {
    Rule {
        kind,
        condition,
        unless: Vec::new(),
        line,
        targets: TARGETS,
        servers: set.servers.clone(),
        errors: Errors::Absorbed,
        reason: None,
    }
}

fn mcp_rules(set: &RuleSet, collected: &mut Collected) -> Vec<Rule> {
    let mut found = Vec::new();
    for expression in &set.expressions {
        let (kind, line) = (expression.kind, expression.line);
        match read_expression(&expression.source, kind) {
            Ok(condition) => found.push(rule(set, kind, condition, line)),
            Err(what) => {
                let what = format!("`{}`: {what} has no counterpart", expression.source);
                let Some(condition) = stricter(kind, &expression.source) else {
                    collected.gap(line, what);
                    continue;
                };
                collected.gap(line, format!("{what}; {STRICTER}"));
                found.push(rule(set, kind, condition, line));
            }
        }
    }
    found
}

/// Rules on HTTP requests: a denial denies, and of those that allow one has to hold.
fn http_rules(set: &RuleSet, collected: &mut Collected) -> Vec<Rule> {
    let of_kind = |kind: Kind| set.expressions.iter().filter(move |expression| expression.kind == kind);
    let mut found = Vec::new();
    let mut any = Vec::new();
    for expression in of_kind(Kind::Allow) {
        match read_expression(&expression.source, Kind::Require) {
            Ok(condition) => any.push(condition),
            Err(what) => {
                let what = format!("`{}`: {what} has no counterpart; {STRICTER}", expression.source);
                collected.gap(expression.line, what);
                any.extend(stricter(Kind::Require, &expression.source));
            }
        }
    }
    if of_kind(Kind::Allow).next().is_some() {
        found.push(rule(set, Kind::Require, Condition::Any(any), set.line));
    }
    let others = set.expressions.iter().filter(|expression| expression.kind != Kind::Allow);
    for expression in others {
        let one = Expression { source: expression.source.clone(), ..*expression };
        let one = RuleSet { expressions: vec![one], servers: set.servers.clone(), route: Vec::new(), ..*set };
        found.extend(mcp_rules(&one, collected));
    }
    found
}

/// What a set without an allowing rule allows: all that none denies, except where another set has allowing rules.
fn rest(input: &ImportInput<'_>, set: &RuleSet, sets: &[RuleSet], collected: &mut Collected) -> Option<Rule> {
    let allows = |set: &RuleSet| set.expressions.iter().any(|expression| expression.kind == Kind::Allow);
    if set.is_http || set.expressions.is_empty() || allows(set) {
        return None;
    }
    let mut elsewhere = Vec::new();
    for other in sets.iter().filter(|other| !other.is_http && allows(other) && overlap(set, other)) {
        elsewhere.extend(other.servers.clone()?);
    }
    if set.servers.is_none() && input.server.is_none() {
        let what = "there is no allow rule, so every call that is not denied is allowed, and the server is not known: \
                    pass `--server NAME`";
        collected.gap(set.line, what);
        return None;
    }
    let servers = set.servers.as_ref().map(|servers| {
        servers.iter().filter(|server| !elsewhere.contains(server)).cloned().collect::<Vec<_>>()
    });
    if servers.as_ref().is_some_and(Vec::is_empty) {
        return None;
    }
    let condition = match (&servers, elsewhere.as_slice()) {
        (Some(_), _) | (None, []) => Condition::Always(true),
        (None, _) => Condition::Not(Box::new(Condition::Server(Text::OneOf(elsewhere)))),
    };
    let reason =
        format!("No rule of `{}`, line {}, allows, so what none denies is allowed.", input.file, set.line);
    Some(Rule { reason: Some(reason), servers, ..rule(set, Kind::Allow, condition, set.line) })
}

fn read_expression(source: &str, kind: Kind) -> Result<Condition, String> {
    sayable(cel::read(source, Names::Agentgateway)?, kind, Errors::Absorbed, TARGETS)
}

/// What stands for an expression of which a part has no counterpart, so that nothing is allowed that the rule denied: a
/// denial without that part, a requirement that only its other alternatives meet. `None` for what allows.
fn stricter(kind: Kind, source: &str) -> Option<Condition> {
    match kind {
        Kind::Allow => None,
        Kind::Require => {
            let parts = cel::alternatives(source, Names::Agentgateway).into_iter();
            let parts = parts.filter_map(|part| sayable(part.ok()?, kind, Errors::Absorbed, TARGETS).ok());
            Some(Condition::Any(parts.collect()))
        }
        Kind::Deny => {
            let parts = cel::parts(source, Names::Agentgateway).into_iter();
            let parts = parts.filter_map(|part| sayable(part.ok()?, kind, Errors::Absorbed, TARGETS).ok());
            Some(Condition::All(parts.collect()))
        }
    }
}
