//! The file as a tree in which every key and value has its position.
//!
//! serde would stop at the first mistake and forget where values came from. This tree keeps both, so that all
//! mistakes can be reported in one run, each with its line. Reading is bounded: 1 MiB of text, 16 levels, no aliases,
//! no tags, no second document, no key twice (of two values one would silently lose).

mod toml;
mod yaml;

use std::ops::Range;
use std::path::Path;

use super::problem::{ConfigProblem, Position, ProblemCode};
use super::value_type::printable;

/// Bytes of a configuration file that are read at most.
pub const MAX_BYTES: usize = 1 << 20;

/// Keys of one section that are read at most.
const MAX_KEYS: usize = 1_000;

/// Levels of nesting that are read at most.
const MAX_DEPTH: usize = 16;

/// How a file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DocumentFormat {
    /// YAML 1.2; JSON is part of it.
    Yaml,
    /// TOML 1.1.
    Toml,
}

impl DocumentFormat {
    /// TOML when the name ends in `.toml`, else YAML.
    pub fn of(path: &Path) -> Self {
        match path.extension().and_then(|end| end.to_str()) {
            Some(end) if end.eq_ignore_ascii_case("toml") => Self::Toml,
            _ => Self::Yaml,
        }
    }
}

/// One value and where it stands. No `Debug`: it may hold a secret.
pub(super) struct Node {
    pub(super) at: Range<usize>,
    pub(super) value: Value,
}

/// A value before its type is known.
pub(super) enum Value {
    /// Nothing, or `null`.
    Empty,
    /// One word, number or text.
    Scalar(Scalar),
    /// Values in order.
    List(Vec<Node>),
    /// Keys and values.
    Section(Vec<(KeyName, Node)>),
}

/// A value that is not a collection.
pub(super) struct Scalar {
    pub(super) text: String,
    /// Written in quotes: a text, also when it looks like a number.
    pub(super) quoted: bool,
}

/// A key and where it stands.
pub(super) struct KeyName {
    pub(super) text: String,
    pub(super) at: Range<usize>,
}

impl Node {
    /// A section without keys: the document of no file.
    pub(super) fn nothing() -> Self {
        Self { at: 0..0, value: Value::Section(Vec::new()) }
    }

    /// A value that no file holds, such as one from the environment.
    pub(super) fn word(text: &str) -> Self {
        Self { at: 0..0, value: Value::Scalar(Scalar { text: text.to_owned(), quoted: false }) }
    }

    /// The value of `name`, if this is a section that has it.
    pub(super) fn child(&self, name: &str) -> Option<&Node> {
        match &self.value {
            Value::Section(entries) => entries.iter().find(|(key, _)| key.text == name).map(|(_, node)| node),
            Value::Empty | Value::Scalar(_) | Value::List(_) => None,
        }
    }

    /// The value at a path of names.
    pub(super) fn find(&self, path: &str) -> Option<&Node> {
        path.split('.').try_fold(self, |node, name| node.child(name))
    }
}

/// Reads `text`. What could be read is returned even when there are mistakes, so that the rest can be checked too.
pub(super) fn parse(text: &str, format: DocumentFormat) -> (Node, Vec<ConfigProblem>) {
    if text.len() > MAX_BYTES {
        let problem = ConfigProblem::error(ProblemCode::Syntax, "the file is larger than 1 MiB")
            .with_help("a configuration is a few pages; check that this is the right file");
        return (Node::nothing(), vec![problem]);
    }
    match format {
        DocumentFormat::Yaml => yaml::parse(text),
        DocumentFormat::Toml => toml::parse(text),
    }
}

/// Refuses a name that its section already has, and says where both stand.
fn refuse_twice(
    text: &str,
    section: &[(KeyName, Node)],
    path: &str,
    name: &KeyName,
) -> Option<ConfigProblem> {
    let first = section.iter().find(|(known, _)| known.text == name.text)?;
    let line = Position::of(text, &first.0.at).line;
    Some(
        ConfigProblem::error(ProblemCode::Duplicate, "stands here a second time")
            .of_key(format!("{path}{}", printable(&name.text)))
            .at(text, &name.at)
            .with_help(format!("it is first given on line {line}; keep one of the two")),
    )
}
