//! Conditions of other gateways on callers and tools: what they say, as Cedar, and what they come to for a given call.

use super::calls::Call;
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

/// What is used: a tool, a prompt or a resource of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Target {
    Tool,
    Prompt,
    Resource,
}

/// The most parts of a condition in a policy.
const MAX_PARTS: u64 = 2_000;

/// All of them.
pub(super) const TARGETS: &[Target] = &[Target::Tool, Target::Prompt, Target::Resource];

/// The claims that a source takes groups from, where they are not the claim `groups` alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct GroupClaims {
    /// Claims that it takes groups from whatever else the token has.
    pub(super) always: Vec<String>,
    /// Claims that it takes groups from when others are not there.
    pub(super) fallback: Vec<String>,
}

/// What has to hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Condition {
    Always(bool),
    All(Vec<Condition>),
    Any(Vec<Condition>),
    Not(Box<Condition>),
    /// What is used is this.
    Is(Target),
    /// The name of this target, of a resource its URI. Of another target there is no such name: an error.
    Name(Target, Text),
    /// The server, whatever is used of it.
    Server(Text),
    /// The server of this target. Of another target there is no such name: an error.
    ServerOf(Target, Text),
    /// A claim of the caller's token has this value, or a list in it has. Without the claim: an error.
    Claim(String, Text),
    ClaimThere(String),
    /// The caller is in this group, by the claims that the source takes groups from.
    Group(GroupClaims, String),
    /// A hint of the tool, by its name in the schema; an error when the tool does not state it.
    Hint(&'static str),
    /// The tool states this hint, true or false.
    HintThere(&'static str),
}

/// How a source goes on from a part that it cannot tell, such as a claim that the token lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Errors {
    /// CEL: another part may decide an `&&` or `||`, before or after it.
    Absorbed,
    /// Cedar: parts are told from left to right, and the first that cannot be told ends it.
    EndIt,
}

/// How a condition is read: so that what is allowed is never more than in the source, what is denied never less.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reading {
    /// For what allows: an error is no. For what denies, a claim that is not there is unlike every value.
    pub(super) allows: bool,
    pub(super) errors: Errors,
}

impl Target {
    /// The attribute with its name in the schema.
    const fn name_attribute(self) -> &'static str {
        match self {
            Self::Tool | Self::Prompt => "resource.name",
            Self::Resource => "resource.uri",
        }
    }
}

impl Text {
    /// Whether a text is so.
    pub(super) fn fits(&self, text: &str) -> bool {
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

impl GroupClaims {
    /// The claims that count: all of them where more groups make it stricter, otherwise those that always do.
    fn that_count(&self, wide: bool) -> impl Iterator<Item = &String> {
        self.always.iter().chain(self.fallback.iter().filter(move |_| wide))
    }
}

impl Condition {
    /// Whether it holds for a call; an error is no. Told from the source's own words, not from what [`Self::of`] makes of them.
    pub(super) fn holds(&self, call: &Call, reading: Reading) -> bool {
        self.told(call, reading, !reading.allows) == Some(true)
    }

    /// What it comes to for a call; `None` for an error. `wide`: whether the widest reading of groups is the strict one.
    fn told(&self, call: &Call, reading: Reading, wide: bool) -> Option<bool> {
        let has = |name: &str, text: &Text| {
            call.claims.iter().any(|(claim, value)| claim == name && text.fits(value))
        };
        match self {
            Self::Always(value) => Some(*value),
            Self::All(parts) => {
                joined(parts.iter().map(|part| part.told(call, reading, wide)), false, reading)
            }
            Self::Any(parts) => {
                joined(parts.iter().map(|part| part.told(call, reading, wide)), true, reading)
            }
            Self::Not(part) => part.told(call, reading, !wide).map(|holds| !holds),
            Self::Is(target) => Some(*target == call.target),
            Self::Name(target, text) => (*target == call.target).then(|| text.fits(&call.name)),
            Self::Server(text) => Some(text.fits(&call.server)),
            Self::ServerOf(target, text) => (*target == call.target).then(|| text.fits(&call.server)),
            Self::Claim(name, text) => {
                let told = has(name, text);
                (!reading.allows || call.has_claim(name)).then_some(told)
            }
            // Without a token there is nothing that could have the claim.
            Self::ClaimThere(name) => (!reading.allows || !call.agent).then(|| call.has_claim(name)),
            Self::Group(claims, group) => {
                let is = Text::Is(group.clone());
                Some(claims.that_count(wide).any(|claim| has(claim, &is)))
            }
            Self::Hint(name) => {
                let is_told = call.target == Target::Tool && (!reading.allows || call.hints.contains(name));
                is_told.then(|| call.hints.contains(name))
            }
            // A tool of the tests states the hints that it has, and no others.
            Self::HintThere(name) => Some(call.target == Target::Tool && call.hints.contains(name)),
        }
    }

    /// The same for one target, with `!` only before what cannot be taken apart, and with errors as no: what has to hold for
    /// this to be told true.
    pub(super) fn of(&self, target: Target, reading: Reading) -> Self {
        self.told_as(true, target, reading, !reading.allows).simplified()
    }

    /// What has to hold for this to be told `holds`.
    fn told_as(&self, holds: bool, target: Target, reading: Reading, wide: bool) -> Self {
        let literal = |there: bool| match (there, holds) {
            (false, _) => Self::Always(false),
            (true, true) => self.clone(),
            (true, false) => Self::Not(Box::new(self.clone())),
        };
        match self {
            Self::Always(value) => Self::Always(*value == holds),
            Self::Is(is) => Self::Always((*is == target) == holds),
            Self::Not(part) => part.told_as(!holds, target, reading, !wide),
            Self::All(parts) => each(parts, false, holds, target, reading, wide),
            Self::Any(parts) => each(parts, true, holds, target, reading, wide),
            Self::Name(of, _) => literal(*of == target),
            Self::ServerOf(of, text) => {
                let server = Self::Server(text.clone());
                match (*of == target, holds) {
                    (false, _) => Self::Always(false),
                    (true, true) => server,
                    (true, false) => Self::Not(Box::new(server)),
                }
            }
            // Here a tool that does not state a hint has MCP's default for it.
            Self::Hint(name) if reading.allows && holds == is_by_default(name) && target == Target::Tool => {
                Self::All(vec![Self::HintThere(name), literal(true)])
            }
            Self::Hint(_) => literal(target == Target::Tool),
            Self::HintThere(_) if target != Target::Tool => Self::Always(!holds),
            Self::Server(_) | Self::HintThere(_) => literal(true),
            Self::Claim(name, _) if !holds && reading.allows => {
                Self::All(vec![Self::ClaimThere(name.clone()), literal(true)])
            }
            Self::ClaimThere(_) if !holds && reading.allows => {
                Self::All(vec![Self::ClaimThere("sub".to_owned()), literal(true)])
            }
            Self::Claim(..) | Self::ClaimThere(_) => literal(true),
            Self::Group(claims, group) => {
                let claim = |name: &String| Self::Claim(name.clone(), Text::Is(group.clone()));
                let any = Self::Any(claims.that_count(wide).map(claim).collect());
                // Who has no such claim is in no group: no error.
                let plain = Reading { allows: false, ..reading };
                any.told_as(holds, target, plain, wide)
            }
        }
    }

    /// Whether it cannot hold for a caller without claims, as far as can be told at a glance.
    pub(super) fn is_about_users(&self) -> bool {
        match self {
            Self::Claim(..) | Self::ClaimThere(_) | Self::Group(..) => true,
            Self::All(parts) => parts.iter().any(Self::is_about_users),
            Self::Any(parts) => !parts.is_empty() && parts.iter().all(Self::is_about_users),
            Self::Always(_)
            | Self::Not(_)
            | Self::Is(_)
            | Self::Name(..)
            | Self::Server(_)
            | Self::ServerOf(..)
            | Self::Hint(_)
            | Self::HintThere(_) => false,
        }
    }

    /// Whether [`Self::of`] would have more parts than a policy should: where errors end it, each part is repeated after it.
    pub(super) fn is_too_long(&self) -> bool {
        self.lengths().0 > MAX_PARTS
    }

    /// How many parts it has at most when it is told true, and when it is told false.
    fn lengths(&self) -> (u64, u64) {
        // What decides stands after all that did not.
        let chain = |parts: &[(u64, u64)]| {
            let (mut all, mut before) = (0_u64, 0_u64);
            for (decides, other) in parts {
                all = all.saturating_add(*decides).saturating_add(before);
                before = before.saturating_add(*other);
            }
            (all, before)
        };
        match self {
            Self::All(parts) => {
                let parts: Vec<_> = parts.iter().map(Self::lengths).map(|(yes, no)| (no, yes)).collect();
                let (no, yes) = chain(&parts);
                (yes, no)
            }
            Self::Any(parts) => chain(&parts.iter().map(Self::lengths).collect::<Vec<_>>()),
            Self::Not(part) => {
                let (yes, no) = part.lengths();
                (no, yes)
            }
            Self::Always(_)
            | Self::Is(_)
            | Self::Name(..)
            | Self::Server(_)
            | Self::ServerOf(..)
            | Self::Claim(..)
            | Self::ClaimThere(_)
            | Self::Group(..)
            | Self::Hint(_)
            | Self::HintThere(_) => (1, 2),
        }
    }

    /// Whether it can end in an error.
    fn can_err(&self) -> bool {
        match self {
            Self::Claim(..) | Self::ClaimThere(_) | Self::Name(..) | Self::ServerOf(..) | Self::Hint(_) => {
                true
            }
            Self::All(parts) | Self::Any(parts) => parts.iter().any(Self::can_err),
            Self::Not(part) => part.can_err(),
            Self::Always(_) | Self::Is(_) | Self::Server(_) | Self::Group(..) | Self::HintThere(_) => false,
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
                if flat.contains(&Self::Always(false)) {
                    return Self::Always(false);
                }
                without_repeats(&mut flat);
                without_implied(&mut flat);
                match flat.len() {
                    0 => Self::Always(true),
                    1 => flat.swap_remove(0),
                    _ => Self::All(flat),
                }
            }
            Self::Any(parts) => {
                let mut flat = Vec::new();
                for part in parts.into_iter().map(Self::simplified) {
                    match part {
                        Self::Any(inner) => flat.extend(inner),
                        Self::Always(false) => {}
                        other => flat.push(other),
                    }
                }
                if flat.contains(&Self::Always(true)) {
                    return Self::Always(true);
                }
                without_repeats(&mut flat);
                match flat.len() {
                    0 => Self::Always(false),
                    1 => flat.swap_remove(0),
                    _ => Self::Any(flat),
                }
            }
            Self::Not(part) => match part.simplified() {
                Self::Not(inner) => *inner,
                Self::Always(value) => Self::Always(!value),
                other => Self::Not(Box::new(other)),
            },
            other => other,
        }
    }

    /// As Cedar, for the target that [`Self::of`] was asked about; with `users`, for a principal that is a user, else for any.
    pub(super) fn cedar(&self, users: bool) -> Result<String, String> {
        let joined = |parts: &[Self], with: &str| -> Result<String, String> {
            let parts = parts.iter().map(|part| match part {
                Self::All(_) | Self::Any(_) => part.cedar(users).map(|text| format!("({text})")),
                other => other.cedar(users),
            });
            let mut parts = parts.collect::<Result<Vec<_>, _>>()?;
            // Of a user, that there is a token.
            if with == " && " && parts.iter().any(|part| part != "true") {
                parts.retain(|part| part != "true");
            }
            Ok(parts.join(with))
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
            Self::Name(target, text) => Ok(text.cedar(target.name_attribute())),
            Self::Server(text) | Self::ServerOf(_, text) => Ok(text.cedar("resource.server")),
            Self::Is(_) | Self::Group(..) => Err("a condition that is not of one target".to_owned()),
            Self::Claim(name, text) => claim(name, text).map(guarded),
            Self::ClaimThere(name) => match name.as_str() {
                "sub" | "iss" => Ok(guarded("true".to_owned())),
                "email" => Ok(guarded("principal has email".to_owned())),
                "roles" | "groups" => Err(format!("whether there is a claim `{name}` at all")),
                name => Ok(guarded(format!("principal.hasTag({})", quote(name)))),
            },
            Self::Hint(name) => Ok(format!("resource.{name}")),
            Self::HintThere(name) => Ok(format!("resource.declared_{name}")),
        }
    }

    /// The servers that it can hold for; `None` when it does not say. Negations say nothing.
    pub(super) fn servers(&self) -> Option<Vec<&str>> {
        self.only(&|part| match part {
            Self::Server(text) => text.values(),
            _ => None,
        })
    }

    /// Whether both cannot hold, as far as servers and names tell.
    pub(super) fn is_apart_from(&self, other: &Self) -> bool {
        let names = |condition: &'_ Self| {
            condition
                .only(&|part| match part {
                    Self::Name(_, text) => text.values(),
                    _ => None,
                })
                .map(|names| names.into_iter().map(str::to_owned).collect::<Vec<_>>())
        };
        let apart = |one: Option<Vec<String>>, other: Option<Vec<String>>| match (one, other) {
            (Some(one), Some(other)) => !one.iter().any(|name| other.contains(name)),
            (None, _) | (_, None) => false,
        };
        let servers = |condition: &'_ Self| {
            condition.servers().map(|names| names.into_iter().map(str::to_owned).collect::<Vec<_>>())
        };
        apart(servers(self), servers(other)) || apart(names(self), names(other))
    }

    /// The values that one of its parts limits it to; `None` when no part does.
    fn only<'c>(&'c self, values: &dyn Fn(&'c Self) -> Option<Vec<&'c String>>) -> Option<Vec<&'c str>> {
        match self {
            Self::All(parts) => parts.iter().find_map(|part| part.only(values)),
            Self::Any(parts) => {
                let parts = parts.iter().map(|part| part.only(values)).collect::<Option<Vec<_>>>()?;
                Some(parts.into_iter().flatten().collect())
            }
            other => Some(values(other)?.into_iter().map(String::as_str).collect()),
        }
    }

    /// The same where the source's only server `old` has the name `new` here.
    pub(super) fn renamed(&self, old: &str, new: &str) -> Self {
        let each = |parts: &[Self]| parts.iter().map(|part| part.renamed(old, new)).collect();
        match self {
            Self::All(parts) => Self::All(each(parts)),
            Self::Any(parts) => Self::Any(each(parts)),
            Self::Not(part) => Self::Not(Box::new(part.renamed(old, new))),
            Self::Server(text) => Self::Always(text.fits(old)),
            // No server has an empty name.
            Self::ServerOf(target, text) => {
                Self::ServerOf(*target, Text::Is(if text.fits(old) { new.to_owned() } else { String::new() }))
            }
            Self::Always(_)
            | Self::Is(_)
            | Self::Name(..)
            | Self::Claim(..)
            | Self::ClaimThere(_)
            | Self::Group(..)
            | Self::Hint(_)
            | Self::HintThere(_) => self.clone(),
        }
    }

    /// Names, servers and claims that make a difference.
    pub(super) fn visit(&self, visit: &mut dyn FnMut(&Self)) {
        visit(self);
        match self {
            Self::All(parts) | Self::Any(parts) => parts.iter().for_each(|part| part.visit(visit)),
            Self::Not(part) => part.visit(visit),
            Self::Always(_)
            | Self::Is(_)
            | Self::Name(..)
            | Self::Server(_)
            | Self::ServerOf(..)
            | Self::Claim(..)
            | Self::ClaimThere(_)
            | Self::Group(..)
            | Self::Hint(_)
            | Self::HintThere(_) => {}
        }
    }
}

/// MCP's default of a hint that a tool does not state.
fn is_by_default(hint: &str) -> bool {
    matches!(hint, "destructive" | "open_world")
}

/// What parts that are joined come to: `decisive` is the value that one of them may decide with.
fn joined(mut parts: impl Iterator<Item = Option<bool>>, decisive: bool, reading: Reading) -> Option<bool> {
    // What denies is read so that it denies more: an error of another part does not end it.
    if reading.errors == Errors::EndIt && reading.allows {
        return parts.find(|part| *part != Some(!decisive)).unwrap_or(Some(!decisive));
    }
    let parts: Vec<Option<bool>> = parts.collect();
    if parts.contains(&Some(decisive)) {
        return Some(decisive);
    }
    (!parts.contains(&None)).then_some(!decisive)
}

/// What has to hold for parts that are joined to be told `holds`. `decisive` is the value that one of them decides with.
fn each(
    parts: &[Condition],
    decisive: bool,
    holds: bool,
    target: Target,
    reading: Reading,
    wide: bool,
) -> Condition {
    let told = |part: &Condition, holds: bool| part.told_as(holds, target, reading, wide);
    if holds != decisive {
        return Condition::All(parts.iter().map(|part| told(part, holds)).collect());
    }
    let mut any = Vec::new();
    for (at, part) in parts.iter().enumerate() {
        let mut all = vec![told(part, holds)];
        if reading.errors == Errors::EndIt && reading.allows {
            let before = parts.iter().take(at).filter(|part| part.can_err());
            all.extend(before.map(|part| told(part, !holds)));
        }
        any.push(Condition::All(all));
    }
    Condition::Any(any)
}

/// Leaves out that a claim is there, or a caller has a token, where a value of a claim is asked for beside it.
fn without_implied(parts: &mut Vec<Condition>) {
    let claims = parts.iter().filter_map(|part| match part {
        Condition::Claim(name, _) => Some(name.clone()),
        _ => None,
    });
    let claims: Vec<String> = claims.collect();
    parts.retain(|part| match part {
        Condition::ClaimThere(name) if matches!(name.as_str(), "sub" | "iss") => claims.is_empty(),
        Condition::ClaimThere(name) => !claims.contains(name),
        _ => true,
    });
}

/// Each of them once, where it stands first.
fn without_repeats(parts: &mut Vec<Condition>) {
    let mut seen: Vec<Condition> = Vec::new();
    parts.retain(|part| {
        let is_new = !seen.contains(part);
        if is_new {
            seen.push(part.clone());
        }
        is_new
    });
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
