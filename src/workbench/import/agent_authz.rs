//! One agent's `authorization:` document: which agents may ask for its capabilities, and which may write to it.
//!
//! Such a list is complete: who is not on it may not. So each becomes a permit for those on it and a forbid for other
//! agents, which holds whether or not other policies permit it.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value as Json;
use serde_saphyr::Spanned;

use super::condition::Text;
use super::suite::Test;
use super::{Collected, ImportError, ImportInput};
use crate::model::EntityUid;
use crate::policy::set::text::{PolicyText, entity, pattern};
use crate::policy::set::yaml;
use crate::workbench::case::shorthand;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    authorization: Authorization,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Authorization {
    agent_id: Spanned<String>,
    #[serde(default)]
    provides_capabilities: Option<Spanned<Vec<String>>>,
    #[serde(default)]
    capability_access: BTreeMap<String, Spanned<Access>>,
    #[serde(default)]
    rate_limits: BTreeMap<String, Spanned<Json>>,
    #[serde(default)]
    require_authentication: Option<Spanned<bool>>,
    #[serde(default)]
    require_conversation_tracking: Option<Spanned<bool>>,
    #[serde(default)]
    allowed_senders: Option<Spanned<Vec<Requester>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Access {
    allowed_requesters: Vec<Requester>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Requester {
    Name(String),
    Pattern(Pattern),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Pattern {
    pattern: String,
}

pub(super) fn read(input: &ImportInput<'_>) -> Result<Collected, ImportError> {
    let file: File = yaml::parse(input.text)?;
    let rules = file.authorization;
    let agent = &rules.agent_id.value;
    let heading = format!("Who may ask the agent `{agent}`, from {}.", input.file);
    let mut collected = Collected { heading, ..Collected::default() };
    if let Some(provided) = &rules.provides_capabilities {
        let line = provided.referenced.line();
        let what =
            format!("write `capabilities: [{}]` into the agent's definition", provided.value.join(", "));
        collected.note(line, what);
    }
    for (capability, access) in &rules.capability_access {
        let of = format!("the capability `{capability}` of `{agent}`");
        let resource = EntityUid::caxton("Capability", capability.as_str());
        allow_list(
            &mut collected,
            capability,
            &of,
            &resource,
            access.referenced.line(),
            &access.value.allowed_requesters,
        )?;
    }
    if let Some(senders) = &rules.allowed_senders {
        let resource = EntityUid::caxton("Agent", agent.as_str());
        let of = format!("`{agent}` itself");
        allow_list(&mut collected, agent, &of, &resource, senders.referenced.line(), &senders.value)?;
    }
    for (capability, limit) in &rules.rate_limits {
        let limit_text = limit.value.as_str().map_or_else(|| limit.value.to_string(), str::to_owned);
        let what = format!(
            "the limit of {limit_text} for `{capability}`: here `limits` bound each caller, not each capability"
        );
        collected.gap(limit.referenced.line(), what);
    }
    for (name, required) in [
        ("authentication", &rules.require_authentication),
        ("conversation tracking", &rules.require_conversation_tracking),
    ] {
        match required {
            Some(required) if required.value => {
                collected.note(required.referenced.line(), format!("{name} is always required here"));
            }
            Some(required) => {
                collected.gap(
                    required.referenced.line(),
                    format!("{name} is always required here, and cannot be turned off"),
                );
            }
            None => {}
        }
    }
    Ok(collected)
}

fn allow_list(
    collected: &mut Collected,
    name: &str,
    of: &str,
    resource: &EntityUid,
    line: u64,
    requesters: &[Requester],
) -> Result<(), ImportError> {
    let mut texts = Vec::new();
    for requester in requesters {
        match requester {
            Requester::Name(name) if name == "*" => {
                texts.clear();
                texts.push(None);
                break;
            }
            Requester::Name(name) => texts.push(Some(Text::Is(name.clone()))),
            Requester::Pattern(found) => texts.push(Some(text_of(&found.pattern).ok_or_else(|| {
                let what = format!("the pattern `{}` has more than one `*`", found.pattern);
                ImportError::Source { line, what }
            })?)),
        }
    }
    let everybody = texts.contains(&None);
    let texts: Vec<Text> = texts.into_iter().flatten().collect();
    let clauses: Vec<String> = texts.iter().map(clause).collect();
    let on_list = clauses.join(" || ");
    let scope = |policy: PolicyText| PolicyText {
        principal: "principal is Caxton::Agent".to_owned(),
        action: "action == Caxton::Action::\"message:send\"".to_owned(),
        resource: format!("resource == {}", entity(resource.base_type(), resource.id())),
        ..policy
    };
    if everybody {
        collected.policies.push(scope(PolicyText::permit(name, format!("Every agent may ask for {of}."))));
        collected.note(line, format!("`*` stands for every agent; people need a permission to ask for {of}"));
    } else {
        let permit = PolicyText::permit(name, format!("Those who may ask for {of}."));
        if !texts.is_empty() {
            collected.policies.push(PolicyText { when: Some(on_list.clone()), ..scope(permit) });
        }
        let forbid = PolicyText::forbid(
            &format!("{name}:others"),
            format!("No other agent asks for {of}, whatever else permits it."),
            "this agent may not ask for that",
        );
        let unless = (!texts.is_empty()).then_some(on_list);
        collected.policies.push(PolicyText { unless, ..scope(forbid) });
    }
    pin(collected, of, resource, &texts, everybody);
    Ok(())
}

/// `admin-*` and the like; none when there is more than one `*`.
fn text_of(pattern: &str) -> Option<Text> {
    match pattern.split('*').collect::<Vec<_>>().as_slice() {
        [whole] => Some(Text::Is((*whole).to_owned())),
        [begin, ""] => Some(Text::Begins((*begin).to_owned())),
        ["", end] => Some(Text::Ends((*end).to_owned())),
        ["", middle, ""] => Some(Text::Has((*middle).to_owned())),
        _ => None,
    }
}

fn clause(text: &Text) -> String {
    let like = |parts: &[&str]| format!("principal.name like {}", pattern(parts));
    match text {
        Text::Is(name) => format!("principal == {}", entity("Agent", name)),
        Text::OneOf(names) => {
            let one: Vec<String> = names.iter().map(|name| clause(&Text::Is(name.clone()))).collect();
            one.join(" || ")
        }
        Text::Begins(with) => like(&[with, ""]),
        Text::Ends(with) => like(&["", with]),
        Text::Has(part) => like(&["", part, ""]),
    }
}

fn pin(collected: &mut Collected, of: &str, resource: &EntityUid, texts: &[Text], everybody: bool) {
    let example = |text: &Text| match text {
        Text::Is(name) => name.clone(),
        Text::OneOf(names) => names.first().cloned().unwrap_or_default(),
        Text::Begins(with) => format!("{with}x"),
        Text::Ends(with) => format!("x{with}"),
        Text::Has(part) => format!("x{part}x"),
    };
    let stranger = "somebody-else".to_owned();
    let mut allowed: Vec<String> = texts.iter().map(example).collect();
    let mut denied = Vec::new();
    if everybody {
        allowed.push(stranger)
    } else {
        denied.push(stranger)
    }
    let resource = shorthand(resource);
    collected.suite.exists(&resource);
    for (names, word, outcome) in
        [(allowed, "may ask for", "allow"), (denied, "may not ask for", "deny_explicit")]
    {
        let mut rows = Vec::new();
        for name in names {
            let agent = shorthand(&EntityUid::caxton("Agent", name.as_str()));
            collected.suite.exists(&agent);
            rows.push(vec![("requester", agent)]);
        }
        collected.suite.tests.push(Test {
            name: format!("who {word} {of}"),
            entities: BTreeMap::new(),
            rows,
            principal: "${requester}".to_owned(),
            action: "message:send".to_owned(),
            resource: resource.clone(),
            outcome,
        });
    }
}
