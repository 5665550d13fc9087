//! Casbin's RBAC: `p, subject, object, action` and `g, user, role`, with the model when it is in the file too.
//!
//! An object and an action together are one action here: `p, developer, agent, deploy` is `agent:deploy`. Roles that have
//! roles are written out. Who holds a role is said by tokens and keys, and not by policies.

use std::collections::{BTreeMap, BTreeSet};

use super::roles::Known;
use super::{Collected, ImportError, ImportInput};
use crate::policy::set::yaml;

/// The only ways to match and to combine that are known.
const MODEL: [(&str, &str, &[&str]); 5] = [
    ("request_definition", "r", &["sub,obj,act"]),
    ("policy_definition", "p", &["sub,obj,act"]),
    ("role_definition", "g", &["_,_"]),
    ("policy_effect", "e", &["some(where(p.eft==allow))"]),
    (
        "matchers",
        "m",
        &["g(r.sub,p.sub)&&r.obj==p.obj&&r.act==p.act", "r.sub==p.sub&&r.obj==p.obj&&r.act==p.act"],
    ),
];

/// The deepest that roles have roles.
const DEPTH: usize = 64;

#[derive(Default)]
struct Rules {
    /// Subject, object, action.
    permissions: Vec<(String, String, String, u64)>,
    /// Who has which role.
    members: Vec<(String, String, u64)>,
}

pub(super) fn read(input: &ImportInput<'_>) -> Result<Collected, ImportError> {
    let rules = lines(input.text)?;
    if rules.permissions.is_empty() {
        let what = "there is no `p` line: name the policy file, after the model when there is one".to_owned();
        return Err(ImportError::Source { line: 1, what });
    }
    let mut collected = Collected { heading: format!("Roles, from {}.", input.file), ..Collected::default() };
    let known = Known::new(input);
    let roles: BTreeSet<&String> = rules
        .permissions
        .iter()
        .map(|(subject, ..)| subject)
        .chain(rules.members.iter().map(|(_, role, _)| role))
        .collect();
    let mut above: BTreeMap<&String, Vec<&String>> = BTreeMap::new();
    for (member, role, line) in &rules.members {
        if roles.contains(member) {
            above.entry(member).or_default().push(role);
        } else {
            let what =
                format!("`{member}` is in `{role}`: put the role into the token or the key of `{member}`");
            collected.gap(*line, what);
        }
    }
    for role in roles {
        let mut words: Vec<String> = Vec::new();
        let all = inherited(role, &above);
        for (subject, object, action, line) in &rules.permissions {
            if !all.contains(subject) {
                continue;
            }
            let word = match (object.as_str(), action.as_str()) {
                ("*", "*") => "*".to_owned(),
                (object, "*") => format!("{object}:*"),
                (object, "call") if object.contains("___") => object.to_owned(),
                (object, action) => format!("{object}:{action}"),
            };
            match known.word(&word) {
                Ok(()) if !words.contains(&word) => words.push(word),
                Ok(()) => {}
                // Told once, where it is written.
                Err(why) if subject == role => collected.gap(*line, format!("{role}: {why}")),
                Err(_) => {}
            }
        }
        let others: Vec<&str> =
            all.iter().filter(|other| ***other != *role).map(|other| other.as_str()).collect();
        let description = match others.as_slice() {
            [] => format!("The role `{role}`, from {}.", input.file),
            others => {
                format!("The role `{role}` with what `{}` may, from {}.", others.join("`, `"), input.file)
            }
        };
        known.role(&mut collected, role, &description, &words);
    }
    Ok(collected)
}

/// A role with all roles that it has.
fn inherited<'r>(role: &'r String, above: &BTreeMap<&'r String, Vec<&'r String>>) -> BTreeSet<&'r String> {
    let mut all = BTreeSet::from([role]);
    let mut pending = vec![role];
    // A circle ends by itself: each role is looked at once.
    while let Some(one) = pending.pop() {
        for other in above.get(one).into_iter().flatten() {
            if all.len() < DEPTH && all.insert(other) {
                pending.push(other);
            }
        }
    }
    all
}

fn lines(text: &str) -> Result<Rules, ImportError> {
    if text.len() > yaml::MAX_BYTES {
        let what = format!("the file has {} bytes, at most {} are read", text.len(), yaml::MAX_BYTES);
        return Err(ImportError::Source { line: 1, what });
    }
    let mut rules = Rules::default();
    let mut section = String::new();
    for (number, line) in (1_u64..).zip(text.lines()) {
        let line = line.trim();
        let wrong = |what: String| ImportError::Source { line: number, what };
        if line.is_empty() || line.starts_with('#') || line.starts_with(';') {
            continue;
        }
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            section = name.trim().to_owned();
            continue;
        }
        if let Some((name, value)) = line.split_once('=').filter(|(name, _)| !name.contains(',')) {
            model(&section, name.trim(), value, number)?;
            continue;
        }
        let fields: Vec<&str> = line.split(',').map(|field| field.trim().trim_matches('"')).collect();
        match fields.as_slice() {
            ["p", subject, object, action] | ["p", subject, object, action, "allow"] => {
                let owned = |text: &str| text.to_owned();
                rules.permissions.push((owned(subject), owned(object), owned(action), number));
            }
            ["p", _, _, _, effect] => return Err(wrong(format!("the effect `{effect}` is not known here"))),
            ["g", member, role] => rules.members.push(((*member).to_owned(), (*role).to_owned(), number)),
            _ => {
                return Err(wrong(format!(
                    "`{line}` is neither `p, subject, object, action` nor `g, user, role`"
                )));
            }
        }
    }
    Ok(rules)
}

fn model(section: &str, name: &str, value: &str, line: u64) -> Result<(), ImportError> {
    let plain: String = value.chars().filter(|c| !c.is_whitespace()).collect();
    let known = MODEL.iter().find(|(known, key, _)| *known == section && *key == name);
    match known {
        Some((_, _, values)) if values.contains(&plain.as_str()) => Ok(()),
        _ => {
            let what = format!(
                "`{name} = {}` in `[{section}]` is not a model that can be carried over",
                value.trim()
            );
            Err(ImportError::Source { line, what })
        }
    }
}
