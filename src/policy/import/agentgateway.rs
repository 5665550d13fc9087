//! agentgateway's `mcpAuthorization` rules, wherever they stand in its configuration.
//!
//! There a tool may be called when some rule allows it, none denies it and all requirements hold. An allowing rule becomes
//! a permit, a denying one a forbid, a requirement a forbid unless it holds. A configuration without any rule allows
//! everything there; here nothing, so it is refused.

use serde_json::Value as Json;

use super::condition::Condition;
use super::emit::Policy;
use super::toolhive::{Kind, Rule, rules};
use super::{Collected, ImportError, Input, cel, yaml};

pub(super) fn read(input: &Input<'_>) -> Result<Collected, ImportError> {
    let json: Json = yaml::parse(input.text)?;
    let mut found = Vec::new();
    find(&json, &mut found);
    let mut collected = Collected {
        heading: format!("Rules on tools, from {} of agentgateway.", input.file),
        ..Collected::default()
    };
    if found.is_empty() {
        let what = "there is no `mcpAuthorization` with `rules` in it".to_owned();
        return Err(ImportError::Source { line: 1, what });
    }
    if found.len() > 1 {
        collected.gap(0, "several routes have rules of their own, and here a policy is for all of them");
    }
    let mut read = Vec::new();
    for rule in found.into_iter().flatten() {
        let (kind, source) = match rule {
            Json::String(source) => (Kind::Allow, source),
            Json::Object(rule) if rule.len() == 1 => {
                let of = |word: &str| rule.get(word).and_then(Json::as_str);
                match (of("allow"), of("deny"), of("require")) {
                    (Some(source), _, _) => (Kind::Allow, source.to_owned()),
                    (_, Some(source), _) => (Kind::Deny, source.to_owned()),
                    (_, _, Some(source)) => (Kind::Require, source.to_owned()),
                    _ => {
                        collected.gap(0, "a rule that neither allows, denies nor requires");
                        continue;
                    }
                }
            }
            other => {
                collected.gap(0, format!("the rule `{other}` is not a text"));
                continue;
            }
        };
        let line = line_of(input.text, &source);
        let read_rule = cel::read(&source).map(Condition::simplified);
        match read_rule.and_then(|condition| condition.cedar(true).map(|_| condition)) {
            Ok(condition) => read.push(Rule { kind, condition, line }),
            Err(what) => collected.gap(line, format!("`{source}`: {what} has no counterpart")),
        }
    }
    if read.iter().all(|rule| rule.kind != Kind::Allow) {
        collected.note(0, "no rule allows anything, so nothing is allowed here either");
    }
    rules(input, &mut collected, &read);
    Ok(collected)
}

/// The rules below each `mcpAuthorization`.
fn find(json: &Json, found: &mut Vec<Vec<Json>>) {
    match json {
        Json::Object(fields) => {
            for (name, value) in fields {
                match value.get("rules") {
                    Some(Json::Array(rules)) if name == "mcpAuthorization" => found.push(rules.clone()),
                    _ => find(value, found),
                }
            }
        }
        Json::Array(items) => items.iter().for_each(|item| find(item, found)),
        _ => {}
    }
}

/// The first line that has the rule in it; 0 when it is folded over several.
fn line_of(text: &str, source: &str) -> u64 {
    let found =
        text.lines().position(|line| line.contains(source) || line.replace("\\\"", "\"").contains(source));
    found.map_or(0, |at| at as u64 + 1)
}

/// Whatever a rule says, lists show what can be called.
pub(super) fn lists() -> Policy {
    Policy {
        action: "action == Caxton::Action::\"tool:list\"".to_owned(),
        ..Policy::permit(
            "list",
            "Everybody may ask which tools there are; each tool in the list is judged by itself.",
        )
    }
}

/// A name for a rule, from what it is about.
pub(super) fn name_of(condition: &Condition) -> String {
    let mut names = Vec::new();
    condition.visit(&mut |part| match part {
        Condition::Tool(text) | Condition::Server(text) | Condition::Claim(_, text) => {
            names.extend(text.examples().into_iter().next());
        }
        Condition::Hint(hint) => names.push((*hint).to_owned()),
        Condition::ClaimThere(claim) => names.push(claim.clone()),
        Condition::Always(_) | Condition::All(_) | Condition::Any(_) | Condition::Not(_) => {}
    });
    names.truncate(3);
    if names.is_empty() { "any".to_owned() } else { names.join("-") }
}
