//! The types a key can have: how a value is read, how it is shown, and how it is described to people and editors.
//!
//! Each kind reads from the tree of the file and says every mistake it finds. What it returns cannot be wrong.

mod list;
mod location;
mod number;
mod text;

use std::path::Path;

use serde_json::{Value as Json, json};

pub(super) use list::{List, NamedValues};
pub(super) use location::{DirectoryPath, FilePath, HttpsUrl, SignedUrl, WebOrigin, is_loopback};
pub(super) use number::{DurationRange, Flag, Frequency, Integer, RateType, Size};
pub(super) use text::{Choice, FreeText, ParsedWord, SecretText};

use super::document::{Node, Value};
use super::expand::{ExpandError, Variables};
use super::problem::{ConfigProblem, ProblemCode};
use crate::text::{clean, shorten};

/// A type of values.
pub(super) trait ValueType {
    /// The type of a parsed value.
    type Value;

    /// Reads a value, or reports in `scope` why it is refused.
    fn read(&self, node: &Node, scope: &mut ReadContext<'_>) -> Option<Self::Value>;

    /// The value as one would write it.
    fn show(&self, value: &Self::Value) -> String;

    /// The type in words, for the reference.
    fn type_name(&self) -> String;

    /// The type as JSON Schema.
    fn schema(&self) -> Json;

    /// True when the value is never to be shown.
    fn secret(&self) -> bool {
        false
    }
}

/// The context in which a value is read.
pub(super) struct ReadContext<'a> {
    pub(super) text: &'a str,
    pub(super) variables: &'a Variables<'a>,
    pub(super) base: &'a Path,
    pub(super) key: String,
    pub(super) secret: bool,
    pub(super) variable: Option<&'static str>,
    /// `security.allow_weakened`.
    pub(super) weakened: bool,
    /// Whether a part of the value came from where secrets come from: then it is not shown under any key.
    pub(super) from_secret: bool,
    pub(super) problems: &'a mut Vec<ConfigProblem>,
}

/// One value as text, after expansion. No `Debug`: it may be a secret.
pub(super) struct ExpandedWord {
    pub(super) text: String,
    /// Written in quotes and without a variable: a text and nothing else.
    pub(super) quoted: bool,
    /// How a message may quote it: as it stands in the file, never what a variable held.
    pub(super) shown: String,
    /// The value with a word in place of each part that came from where secrets come from.
    pub(super) masked: String,
}

impl ReadContext<'_> {
    /// Reports a mistake; always `None`, so that a reader can return it.
    pub(super) fn reject<T>(
        &mut self,
        node: &Node,
        code: ProblemCode,
        message: impl Into<String>,
        help: &str,
    ) -> Option<T> {
        let problem = ConfigProblem::error(code, message).of_key(self.key.clone());
        let problem = if help.is_empty() { problem } else { problem.with_help(help) };
        let problem = match self.variable {
            Some(name) => problem.of_variable(name),
            None => problem.at(self.text, &node.at),
        };
        self.problems.push(problem);
        None
    }

    /// The value as one word with variables expanded; `want` describes what the key takes.
    pub(super) fn word(&mut self, node: &Node, want: &str) -> Option<ExpandedWord> {
        let scalar = match &node.value {
            Value::Scalar(scalar) => scalar,
            Value::Empty => {
                return self.reject(node, ProblemCode::WrongType, format!("has no value, wants {want}"), "");
            }
            Value::List(_) => {
                return self.reject(node, ProblemCode::WrongType, format!("is a list, wants {want}"), "");
            }
            Value::Section(_) => {
                return self.reject(node, ProblemCode::WrongType, format!("is a section, wants {want}"), "");
            }
        };
        let shown = if self.secret { String::from("(secret)") } else { printable(&scalar.text) };
        match self.variables.expand(&scalar.text) {
            Ok(None) => {
                let masked = scalar.text.clone();
                Some(ExpandedWord { text: scalar.text.clone(), quoted: scalar.quoted, shown, masked })
            }
            Ok(Some(expanded)) => {
                self.from_secret |= expanded.secret;
                Some(ExpandedWord { text: expanded.text, quoted: false, shown, masked: expanded.shown })
            }
            Err(error) => {
                let code = match error {
                    ExpandError::Missing(_) | ExpandError::NoCredentials => ProblemCode::MissingVariable,
                    ExpandError::File { .. } => ProblemCode::Unreadable,
                    _ => ProblemCode::WrongType,
                };
                self.reject(node, code, error.to_string(), error.help())
            }
        }
    }

    /// Refuses a quoted word where a bare one is wanted.
    pub(super) fn unquoted_word(&mut self, node: &Node, want: &str) -> Option<ExpandedWord> {
        let word = self.word(node, want)?;
        if word.quoted {
            return self.reject(
                node,
                ProblemCode::WrongType,
                format!("`{}` is a text, wants {want}", word.shown),
                "remove the quotes",
            );
        }
        Some(word)
    }
}

/// Text of the file as a message may quote it: short, and without anything that moves a terminal.
pub(super) fn printable(text: &str) -> String {
    clean(&shorten(text, 60))
}

/// A schema that also lets a variable stand for the value.
fn or_variable(schema: Json) -> Json {
    json!({ "anyOf": [schema, { "type": "string", "pattern": "\\$\\{" }] })
}
