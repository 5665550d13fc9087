//! Conditions of other gateways on callers and tools: what they say, as Cedar, and what they come to for a given call.

use crate::policy::set::text::{entity, pattern};
use crate::text::quote;

/// How a text has to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Text {
    Is(String),
    OneOf(Vec<String>),
    Begins(String),
    Ends(String),
    Has(String),
}

/// What has to hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Condition {
    Always(bool),
    All(Vec<Condition>),
    Any(Vec<Condition>),
    Not(Box<Condition>),
    Tool(Text),
    Server(Text),
    /// A claim of the caller's token has this value, or a list in it has.
    Claim(String, Text),
    ClaimThere(String),
    /// A hint of the tool, by its name in the schema.
    Hint(&'static str),
}

/// A call, as the source would see it.
#[derive(Debug, Clone, Default)]
pub(super) struct Call {
    pub(super) tool: String,
    pub(super) server: String,
    pub(super) claims: Vec<(String, String)>,
    pub(super) hints: Vec<&'static str>,
    /// Whether no user calls, but an agent, which has no token and so no claims.
    pub(super) agent: bool,
}

impl Text {
    fn fits(&self, text: &str) -> bool {
        match self {
            Self::Is(wanted) => text == wanted,
            Self::OneOf(wanted) => wanted.iter().any(|one| one == text),
            Self::Begins(with) => text.starts_with(with.as_str()),
            Self::Ends(with) => text.ends_with(with.as_str()),
            Self::Has(part) => text.contains(part.as_str()),
        }
    }

    fn cedar(&self, of: &str) -> String {
        match self {
            Self::Is(text) => format!("{of} == {}", quote(text)),
            Self::OneOf(texts) => {
                let texts: Vec<String> = texts.iter().map(|text| quote(text)).collect();
                format!("[{}].contains({of})", texts.join(", "))
            }
            Self::Begins(with) => format!("{of} like {}", pattern(&[with, ""])),
            Self::Ends(with) => format!("{of} like {}", pattern(&["", with])),
            Self::Has(part) => format!("{of} like {}", pattern(&["", part, ""])),
        }
    }

    /// Texts that fit, to ask about.
    pub(super) fn examples(&self) -> Vec<String> {
        match self {
            Self::Is(text) => vec![text.clone()],
            Self::OneOf(texts) => texts.clone(),
            Self::Begins(with) => vec![format!("{with}x")],
            Self::Ends(with) => vec![format!("x{with}")],
            Self::Has(part) => vec![format!("x{part}x")],
        }
    }

    fn values(&self) -> Option<Vec<&String>> {
        match self {
            Self::Is(text) => Some(vec![text]),
            Self::OneOf(texts) => Some(texts.iter().collect()),
            Self::Begins(_) | Self::Ends(_) | Self::Has(_) => None,
        }
    }
}

impl Condition {
    /// Whether it holds for a call.
    pub(super) fn holds(&self, call: &Call) -> bool {
        match self {
            Self::Always(value) => *value,
            Self::All(parts) => parts.iter().all(|part| part.holds(call)),
            Self::Any(parts) => parts.iter().any(|part| part.holds(call)),
            Self::Not(part) => !part.holds(call),
            Self::Tool(text) => text.fits(&call.tool),
            Self::Server(text) => text.fits(&call.server),
            Self::Claim(name, text) => {
                call.claims.iter().any(|(claim, value)| claim == name && text.fits(value))
            }
            // Every token has a subject and an issuer.
            Self::ClaimThere(name) if matches!(name.as_str(), "sub" | "iss") => !call.agent,
            Self::ClaimThere(name) => call.claims.iter().any(|(claim, _)| claim == name),
            Self::Hint(name) => call.hints.contains(name),
        }
    }

    /// Whether it cannot hold for a caller without claims, as far as can be told at a glance.
    pub(super) fn is_about_users(&self) -> bool {
        match self {
            Self::Claim(..) | Self::ClaimThere(_) => true,
            Self::All(parts) => parts.iter().any(Self::is_about_users),
            Self::Any(parts) => !parts.is_empty() && parts.iter().all(Self::is_about_users),
            Self::Always(_) | Self::Not(_) | Self::Tool(_) | Self::Server(_) | Self::Hint(_) => false,
        }
    }

    /// The same in fewer words.
    pub(super) fn simplified(self) -> Self {
        match self {
            Self::All(parts) => {
                let mut flat = Vec::new();
                for part in parts.into_iter().map(Self::simplified) {
                    match part {
                        Self::All(inner) => flat.extend(inner),
                        Self::Always(true) => {}
                        other => flat.push(other),
                    }
                }
                match flat.len() {
                    0 => Self::Always(true),
                    1 => flat.swap_remove(0),
                    _ => Self::All(flat),
                }
            }
            Self::Any(parts) => {
                let parts: Vec<Self> = parts.into_iter().map(Self::simplified).collect();
                if parts.contains(&Self::Always(true)) { Self::Always(true) } else { Self::Any(parts) }
            }
            Self::Not(part) => match part.simplified() {
                Self::Not(inner) => *inner,
                Self::Always(value) => Self::Always(!value),
                other => Self::Not(Box::new(other)),
            },
            other => other,
        }
    }

    /// As Cedar, for a resource that is a tool; with `users`, for a principal that is a user, else for any.
    pub(super) fn cedar(&self, users: bool) -> Result<String, String> {
        let joined = |parts: &[Self], with: &str| -> Result<String, String> {
            let parts = parts.iter().map(|part| match part {
                Self::All(_) | Self::Any(_) => part.cedar(users).map(|text| format!("({text})")),
                other => other.cedar(users),
            });
            Ok(parts.collect::<Result<Vec<_>, _>>()?.join(with))
        };
        // Agents and programs have no claims.
        let guarded = |text: String| match (users, text.as_str()) {
            (true, _) => text,
            (false, "true") => "principal is Caxton::User".to_owned(),
            (false, _) => format!("(principal is Caxton::User && {text})"),
        };
        match self {
            Self::Always(value) => Ok(value.to_string()),
            Self::All(parts) => joined(parts, " && "),
            Self::Any(parts) => joined(parts, " || "),
            Self::Not(part) => Ok(format!("!({})", part.cedar(users)?)),
            Self::Tool(text) => Ok(text.cedar("resource.name")),
            Self::Server(text) => Ok(text.cedar("resource.server")),
            Self::Claim(name, text) => claim(name, text).map(guarded),
            Self::ClaimThere(name) => match name.as_str() {
                "sub" | "iss" => Ok(guarded("true".to_owned())),
                "email" => Ok(guarded("principal has email".to_owned())),
                "roles" | "groups" => Err(format!("whether there is a claim `{name}` at all")),
                name => Ok(guarded(format!("principal.hasTag({})", quote(name)))),
            },
            Self::Hint(name) => Ok(format!("resource.{name}")),
        }
    }

    /// Tools, servers and claims that make a difference.
    pub(super) fn visit(&self, visit: &mut dyn FnMut(&Self)) {
        visit(self);
        match self {
            Self::All(parts) | Self::Any(parts) => parts.iter().for_each(|part| part.visit(visit)),
            Self::Not(part) => part.visit(visit),
            _ => {}
        }
    }
}

/// A claim of a token, where the gateway keeps it: subject, issuer and e-mail address as attributes, roles and groups as
/// parents, everything else as tags.
fn claim(name: &str, text: &Text) -> Result<String, String> {
    let parents = |kind: &str| match text.values() {
        Some(values) => {
            let one: Vec<String> =
                values.iter().map(|value| format!("principal in {}", entity(kind, value))).collect();
            Ok(if one.len() == 1 { one.concat() } else { format!("({})", one.join(" || ")) })
        }
        None => Err(format!("a part of a name in the claim `{name}`")),
    };
    match name {
        "sub" => Ok(text.cedar("principal.id")),
        "iss" => Ok(text.cedar("principal.issuer")),
        "email" => Ok(format!("principal has email && {}", text.cedar("principal.email"))),
        "roles" => parents("Role"),
        "groups" => parents("Group"),
        name => match text.values() {
            Some(values) => {
                let tag = quote(name);
                let has = |value: &&String| format!("principal.getTag({tag}).contains({})", quote(value));
                let any: Vec<String> = values.iter().map(has).collect();
                let any = if any.len() == 1 { any.concat() } else { format!("({})", any.join(" || ")) };
                Ok(format!("principal.hasTag({tag}) && {any}"))
            }
            None => Err(format!("a part of a text in the claim `{name}`")),
        },
    }
}

/// Calls that tell conditions apart: every tool and server that is named and one that is not, by every caller that is
/// described, by one who is all of them, and by one who is none of them.
pub(super) fn calls(conditions: &[&Condition], server: Option<&str>) -> Vec<Call> {
    let (mut tools, mut servers, mut hints) = (Vec::new(), Vec::new(), vec![Vec::new()]);
    let mut callers: Vec<Vec<(String, String)>> = vec![Vec::new()];
    for condition in conditions {
        let mut own: Vec<(String, String)> = Vec::new();
        condition.visit(&mut |part| match part {
            Condition::Tool(text) => tools.extend(text.examples()),
            Condition::Server(text) => servers.extend(text.examples()),
            Condition::Claim(name, text) => {
                own.extend(text.examples().into_iter().map(|value| (name.clone(), value)));
            }
            Condition::Hint(name) => hints.push(vec![*name]),
            _ => {}
        });
        callers.extend(own.iter().map(|claim| vec![claim.clone()]));
        callers.push(own);
    }
    tools.push("another".to_owned());
    servers.extend(server.map(str::to_owned));
    servers.push("elsewhere".to_owned());
    for list in [&mut tools, &mut servers] {
        list.sort();
        list.dedup();
    }
    // One subject a caller; everything else may have several values.
    callers.iter_mut().for_each(|claims| {
        claims.sort();
        claims.dedup();
        let mut single = std::collections::BTreeSet::new();
        claims.retain(|(name, _)| {
            !matches!(name.as_str(), "sub" | "iss" | "email") || single.insert(name.clone())
        });
    });
    callers.sort();
    callers.dedup();
    hints.sort();
    hints.dedup();
    let mut calls = Vec::new();
    let users = callers.into_iter().map(|claims| (claims, false));
    for (claims, agent) in users.chain([(Vec::new(), true)]) {
        for tool in &tools {
            for server in &servers {
                for hints in &hints {
                    let (tool, server) = (tool.clone(), server.clone());
                    calls.push(Call { tool, server, claims: claims.clone(), hints: hints.clone(), agent });
                }
            }
        }
    }
    calls
}
