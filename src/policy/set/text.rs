//! Policies as Cedar text, each value quoted so that it stays a value.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::policy::Effect;
use crate::text::{push_quoted, quote};

/// One policy, before it is laid out.
#[derive(Debug, Clone)]
pub(crate) struct PolicyText {
    pub(crate) effect: Effect,
    /// What stands after the topic in its id.
    pub(crate) id: String,
    pub(crate) description: String,
    /// What a caller may see when it denies.
    pub(crate) reason: Option<String>,
    pub(crate) principal: String,
    pub(crate) action: String,
    pub(crate) resource: String,
    pub(crate) when: Option<String>,
    pub(crate) unless: Option<String>,
}

impl PolicyText {
    /// A permit of everything.
    pub(crate) fn permit(id: &str, description: impl Into<String>) -> Self {
        Self {
            effect: Effect::Permit,
            id: id.to_owned(),
            description: description.into(),
            reason: None,
            principal: "principal".to_owned(),
            action: "action".to_owned(),
            resource: "resource".to_owned(),
            when: None,
            unless: None,
        }
    }

    /// A forbid of everything, and what it tells.
    pub(crate) fn forbid(id: &str, description: impl Into<String>, reason: &str) -> Self {
        let effect = Effect::Forbid;
        Self { effect, reason: Some(reason.to_owned()), ..Self::permit(id, description) }
    }
}

/// A file of policies; ids become unique on the way.
pub(crate) fn file(heading: &str, topic: &str, policies: &mut [PolicyText]) -> String {
    let mut text = String::new();
    for line in heading.lines() {
        push(&mut text, format_args!("// {line}"));
    }
    let mut taken = BTreeSet::new();
    for policy in policies {
        let base = slug(&policy.id);
        let mut id = base.clone();
        let mut number = 2;
        while !taken.insert(id.clone()) {
            id = format!("{base}-{number}");
            number += 1;
        }
        policy.id = format!("{topic}.{id}");
        push(
            &mut text,
            format_args!("\n@id({})\n@description({})", quote(&policy.id), quote(&policy.description)),
        );
        if let Some(reason) = &policy.reason {
            push(&mut text, format_args!("@reason({})", quote(reason)));
        }
        let (principal, action, resource) = (&policy.principal, &policy.action, &policy.resource);
        let effect = policy.effect.as_str();
        push(&mut text, format_args!("{effect} ({principal}, {action}, {resource})"));
        for (word, clause) in [("when", &policy.when), ("unless", &policy.unless)] {
            if let Some(clause) = clause {
                push(&mut text, format_args!("{word} {{ {clause} }}"));
            }
        }
        text.pop();
        text.push_str(";\n");
    }
    text
}

/// A pattern of `like` from a text with `*` for anything.
pub(crate) fn pattern(parts: &[&str]) -> String {
    let mut quoted = String::from("\"");
    for (number, part) in parts.iter().enumerate() {
        if number > 0 {
            quoted.push('*');
        }
        for c in part.chars() {
            match c {
                '*' => quoted.push_str("\\*"),
                c => push_quoted(c, &mut quoted),
            }
        }
    }
    quoted.push('"');
    quoted
}

/// `Caxton::Role::"admin"`.
pub(crate) fn entity(kind: &str, id: &str) -> String {
    format!("Caxton::{kind}::{}", quote(id))
}

/// A name as a part of an id.
pub(crate) fn slug(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, ':' | '_' | '*') { c } else { '-' };
    let slug: String = name.chars().map(plain).collect();
    match slug.trim_matches('-') {
        "" => "rule".to_owned(),
        slug => slug.to_owned(),
    }
}

fn push(text: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing to a `String` cannot fail.
    let _ = writeln!(text, "{line}");
}
