//! agentgateway's `mcpAuthorization` rules, wherever they stand in its configuration.
//!
//! There a tool may be called when some rule allows it, none denies it and all requirements hold. An allowing rule becomes
//! a permit, a denying one a forbid, a requirement a forbid unless it holds. A configuration without any rule allows
//! everything there; here nothing, so it is refused.

use serde_json::Value as Json;

use super::condition::Condition;
use super::toolhive::{Kind, Rule, STRICTER, rules};
use super::{Collected, ImportError, ImportInput, cel};
use crate::policy::set::text::PolicyText;
use crate::policy::set::yaml;

pub(super) fn read(input: &ImportInput<'_>) -> Result<Collected, ImportError> {
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
        let (kind, source) = kind_of(rule)?;
        let line = line_of(input.text, &source);
        match sayable(&source) {
            Ok(condition) => read.push(Rule { kind, condition, line }),
            Err(what) => {
                let what = format!("`{source}`: {what} has no counterpart");
                let Some(condition) = stricter(kind, &source) else {
                    collected.gap(line, what);
                    continue;
                };
                collected.gap(line, format!("{what}; {STRICTER}"));
                read.push(Rule { kind, condition, line });
            }
        }
    }
    if read.iter().all(|rule| rule.kind != Kind::Allow) {
        collected.note(0, "no rule allows anything, so nothing is allowed here either");
    }
    rules(input, &mut collected, &read);
    Ok(collected)
}

/// What a rule does, and its expression. One that is not understood may be one that denies: without it nothing is imported.
fn kind_of(rule: Json) -> Result<(Kind, String), ImportError> {
    let wrong = |what: String| ImportError::Source { line: 0, what };
    match rule {
        Json::String(source) => Ok((Kind::Allow, source)),
        Json::Object(rule) if rule.len() == 1 => {
            let of = |word: &str| rule.get(word).and_then(Json::as_str).map(str::to_owned);
            let found = [("allow", Kind::Allow), ("deny", Kind::Deny), ("require", Kind::Require)]
                .into_iter()
                .find_map(|(word, kind)| Some((kind, of(word)?)));
            found.ok_or_else(|| wrong("a rule neither allows, denies nor requires".to_owned()))
        }
        other => Err(wrong(format!("the rule `{other}` is not a text"))),
    }
}

fn sayable(source: &str) -> Result<Condition, String> {
    let condition = cel::read(source)?.simplified();
    condition.cedar(true).map(|_| condition)
}

/// What stands for an expression of which a part has no counterpart, so that nothing is allowed that the rule denied: a
/// denial without that part, a requirement that nothing meets. `None` for what allows.
fn stricter(kind: Kind, source: &str) -> Option<Condition> {
    match kind {
        Kind::Allow => None,
        Kind::Require => Some(Condition::Always(false)),
        Kind::Deny => {
            let parts = cel::conjuncts(source).unwrap_or_default();
            let parts = parts.into_iter().filter_map(|part| sayable(part).ok());
            Some(Condition::All(parts.collect()).simplified())
        }
    }
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

/// Under every rule, lists show what can be called.
pub(super) fn lists() -> PolicyText {
    PolicyText {
        action: "action == Caxton::Action::\"tool:list\"".to_owned(),
        ..PolicyText::permit(
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
