//! Words: free, from a list, well formed, or secret.

use std::fmt::Display;
use std::marker::PhantomData;
use std::str::FromStr;

use serde_json::{Value as Json, json};

use super::{ReadContext, ValueType};
use crate::config::document::Node;
use crate::config::problem::ProblemCode;
use crate::secret::Secret;

/// Free text of at most so many bytes, not empty.
pub(in crate::config) struct FreeText(pub(in crate::config) usize);

impl ValueType for FreeText {
    type Value = String;

    fn read(&self, node: &Node, scope: &mut ReadContext<'_>) -> Option<String> {
        let word = scope.word(node, "a text")?;
        if word.text.is_empty() {
            return scope.reject(
                node,
                ProblemCode::OutOfRange,
                "is empty",
                "write a text, or remove the key",
            );
        }
        if word.text.len() > self.0 {
            return scope.reject(
                node,
                ProblemCode::OutOfRange,
                format!("is longer than {} bytes", self.0),
                "",
            );
        }
        if word.text.contains(char::is_control) {
            return scope.reject(
                node,
                ProblemCode::OutOfRange,
                "has a line break or another control character",
                "",
            );
        }
        Some(word.text)
    }

    fn show(&self, value: &String) -> String {
        value.clone()
    }

    fn type_name(&self) -> String {
        String::from("text")
    }

    fn schema(&self) -> Json {
        json!({ "type": "string", "minLength": 1, "maxLength": self.0 })
    }
}

/// One of a closed list.
pub(in crate::config) struct Choice<T: 'static>(pub(in crate::config) &'static [(&'static str, T)]);

impl<T> Choice<T> {
    fn list(&self) -> String {
        let words: Vec<_> = self.0.iter().map(|(name, _)| format!("`{name}`")).collect();
        words.join(", ")
    }
}

impl<T: Copy + PartialEq> ValueType for Choice<T> {
    type Value = T;

    fn read(&self, node: &Node, scope: &mut ReadContext<'_>) -> Option<T> {
        let list = self.list();
        let word = scope.word(node, &format!("one of {list}"))?;
        match self.0.iter().find(|(name, _)| *name == word.text) {
            Some((_, value)) => Some(*value),
            None => scope.reject(
                node,
                ProblemCode::OutOfRange,
                format!("`{}` is not a value of this key", word.shown),
                &format!("write one of {list}"),
            ),
        }
    }

    fn show(&self, value: &T) -> String {
        self.0
            .iter()
            .find(|(_, known)| known == value)
            .map(|(name, _)| (*name).to_owned())
            .unwrap_or_default()
    }

    fn type_name(&self) -> String {
        match self.0 {
            [(only, _)] => format!("`{only}`"),
            _ => format!("one of {}", self.list()),
        }
    }

    fn schema(&self) -> Json {
        let words: Vec<_> = self.0.iter().map(|(name, _)| *name).collect();
        json!({ "enum": words })
    }
}

/// A word with a form of its own, read by the type it belongs to.
pub(in crate::config) struct ParsedWord<T> {
    words: &'static str,
    value: PhantomData<T>,
}

impl<T> ParsedWord<T> {
    /// `words` describes the form.
    pub(in crate::config) fn new(words: &'static str) -> Self {
        Self { words, value: PhantomData }
    }
}

impl<T: FromStr<Err: Display> + Display> ValueType for ParsedWord<T> {
    type Value = T;

    fn read(&self, node: &Node, scope: &mut ReadContext<'_>) -> Option<T> {
        let word = scope.word(node, self.words)?;
        match word.text.parse() {
            Ok(value) => Some(value),
            Err(error) => scope.reject(
                node,
                ProblemCode::WrongType,
                format!("`{}` is not {}: {error}", word.shown, self.words),
                "",
            ),
        }
    }

    fn show(&self, value: &T) -> String {
        value.to_string()
    }

    fn type_name(&self) -> String {
        self.words.to_owned()
    }

    fn schema(&self) -> Json {
        json!({ "type": "string" })
    }
}

/// A value that is never shown.
pub(in crate::config) struct SecretText;

impl ValueType for SecretText {
    type Value = Secret<String>;

    fn read(&self, node: &Node, scope: &mut ReadContext<'_>) -> Option<Secret<String>> {
        let value = Secret::new(scope.word(node, "a secret")?.text);
        // A line break could split a header.
        let text = value.expose();
        if text.is_empty() {
            return scope.reject(
                node,
                ProblemCode::OutOfRange,
                "is empty",
                "set the variable, or remove the key",
            );
        }
        if text.len() > 8 * 1024 || text.contains(char::is_control) {
            return scope.reject(
                node,
                ProblemCode::OutOfRange,
                "is longer than 8 KiB or has a line break or another control character",
                "",
            );
        }
        Some(value)
    }

    fn show(&self, _: &Secret<String>) -> String {
        String::from("(secret)")
    }

    fn type_name(&self) -> String {
        String::from("secret")
    }

    fn schema(&self) -> Json {
        json!({ "type": "string", "minLength": 1, "maxLength": 8192 })
    }

    fn secret(&self) -> bool {
        true
    }
}
