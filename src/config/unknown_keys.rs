//! Finds keys of a file that the configuration does not have.

use std::ops::Range;

use super::document::{KeyName, Node, Value};
use super::problem::{ConfigProblem, ProblemCode};
use super::reader::{KeyInfo, Reader};
use super::unsupported::{UNSUPPORTED, UnsupportedKey};
use super::value_type::printable;
use crate::suggest::nearest;

/// Mistakes after which the search ends: finding the place of each costs time.
const MAX_FOUND: usize = 500;

/// Names of a section that are listed when no name is near.
const MAX_LISTED: usize = 24;

impl Reader<'_> {
    /// Reports unknown keys and keys that this version does not support.
    pub(super) fn check_key_names(&mut self, root: &Node) {
        let mut problems = Vec::new();
        if !matches!(root.value, Value::Section(_) | Value::Empty) {
            let problem = ConfigProblem::error(ProblemCode::WrongType, "the file is not a section of keys");
            problems.push(problem.at(self.text, &root.at).with_help("write `server:` and its keys below it"));
        }
        self.section(root, "", "", &mut problems);
        self.problems.append(&mut problems);
    }

    fn section(&self, node: &Node, pattern: &str, shown: &str, problems: &mut Vec<ConfigProblem>) {
        let Value::Section(entries) = &node.value else { return };
        for (name, child) in entries {
            if problems.len() >= MAX_FOUND {
                return;
            }
            let path = format!("{pattern}{}", name.text);
            let shown = format!("{shown}{}", printable(&name.text));
            if self.keys.iter().any(|key| key.path == path) {
                self.list(child, &path, &shown, problems);
            } else if let Some(later) = unsupported(&path) {
                problems.push(not_available(&shown, later).at(self.text, &name.at));
            } else if self.is_section(&path) {
                match &child.value {
                    Value::Section(_) => {
                        self.section(child, &format!("{path}."), &format!("{shown}."), problems);
                    }
                    Value::Empty => {}
                    Value::Scalar(_) | Value::List(_) => problems.push(
                        ConfigProblem::error(ProblemCode::WrongType, "is a section of keys, not a value")
                            .of_key(shown)
                            .at(self.text, &child.at),
                    ),
                }
            } else {
                problems.push(self.unknown(name, pattern, shown).at(self.text, &name.at));
            }
        }
    }

    /// The records of a list are sections too.
    fn list(&self, node: &Node, path: &str, shown: &str, problems: &mut Vec<ConfigProblem>) {
        let Value::List(items) = &node.value else { return };
        if !self.records.iter().any(|known| known == path) {
            return;
        }
        for (number, item) in items.iter().enumerate() {
            let shown = format!("{shown}[{number}]");
            match &item.value {
                Value::Section(_) => {
                    self.section(item, &format!("{path}[]."), &format!("{shown}."), problems);
                }
                Value::Empty | Value::Scalar(_) | Value::List(_) => problems.push(
                    ConfigProblem::error(ProblemCode::WrongType, "is not a record of keys")
                        .of_key(shown)
                        .at(self.text, &item.at),
                ),
            }
        }
    }

    fn is_section(&self, path: &str) -> bool {
        let begins = |known: &str| known.strip_prefix(path).is_some_and(|rest| rest.starts_with('.'));
        self.keys.iter().any(|key| begins(&key.path)) || UNSUPPORTED.iter().any(|later| begins(later.path))
    }

    fn unknown(&self, name: &KeyName, pattern: &str, shown: String) -> ConfigProblem {
        let problem = ConfigProblem::error(ProblemCode::UnknownKey, "no such key").of_key(shown);
        let siblings = self.names_below(pattern);
        if let Some(known) = nearest(&name.text, siblings.iter().map(AsRef::as_ref)) {
            return problem.with_help(format!("did you mean `{pattern}{known}`?"));
        }
        let moved = self.keys.iter().find(|key| last_name(key) == name.text);
        match moved {
            Some(key) => problem.with_help(format!("there is a key `{}`", key.path)),
            None if siblings.len() > MAX_LISTED => {
                problem.with_help("see `docs/configuration.md` for all keys")
            }
            None => {
                let names: Vec<_> = siblings.iter().map(|name| format!("`{name}`")).collect();
                problem.with_help(format!("known here: {}", names.join(", ")))
            }
        }
    }

    /// The names that may stand directly below `pattern`.
    fn names_below(&self, pattern: &str) -> Vec<String> {
        let known =
            self.keys.iter().map(|key| key.path.as_str()).chain(UNSUPPORTED.iter().map(|later| later.path));
        let mut names: Vec<_> = known
            .filter_map(|path| path.strip_prefix(pattern)?.split(['.', '[']).next().map(str::to_owned))
            .collect();
        names.sort();
        names.dedup();
        names
    }

    /// The places of `root` that may be shown: all keys, and the values of known keys that are not secret.
    pub(super) fn shown_ranges(&self, root: &Node) -> Vec<Range<usize>> {
        let mut ranges = Vec::new();
        self.gather(root, "", &mut ranges);
        ranges
    }

    fn gather(&self, node: &Node, pattern: &str, ranges: &mut Vec<Range<usize>>) {
        let Value::Section(entries) = &node.value else { return };
        for (name, child) in entries {
            ranges.push(name.at.clone());
            let path = format!("{pattern}{}", name.text);
            let key = self.keys.iter().find(|key| key.path == path);
            match (&child.value, key) {
                (Value::List(items), Some(_)) if self.records.contains(&path) => {
                    items.iter().for_each(|item| self.gather(item, &format!("{path}[]."), ranges));
                }
                (_, Some(key)) if !key.secret && !hides_credentials(child) => ranges.push(child.at.clone()),
                (_, Some(_)) => {}
                (_, None) => self.gather(child, &format!("{path}."), ranges),
            }
        }
    }
}

/// True for an address with something before `@` or after `?`, where people put passwords and keys.
fn hides_credentials(node: &Node) -> bool {
    match &node.value {
        Value::Scalar(scalar) => scalar.text.contains("://") && scalar.text.contains(['@', '?']),
        Value::List(items) => items.iter().any(hides_credentials),
        Value::Empty | Value::Section(_) => false,
    }
}

fn last_name(key: &KeyInfo) -> &str {
    key.path.rsplit(['.', ']']).next().unwrap_or_default()
}

fn unsupported(path: &str) -> Option<&'static UnsupportedKey> {
    UNSUPPORTED.iter().find(|later| {
        path.strip_prefix(later.path).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    })
}

fn not_available(shown: &str, later: &UnsupportedKey) -> ConfigProblem {
    ConfigProblem::error(
        ProblemCode::NotAvailable,
        format!("is not available in this version: {}", later.doc),
    )
    .of_key(shown)
    .with_help(later.instead)
}
