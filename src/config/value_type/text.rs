//! Words: free, from a list, well formed, or secret.

use std::fmt::Display;
use std::marker::PhantomData;
use std::str::FromStr;

use serde_json::{Value as Json, json};

use super::{Kind, Scope};
use crate::config::document::Node;
use crate::config::problem::Code;
use crate::secret::Secret;

/// Free text of at most so many bytes, not empty.
pub(in crate::config) struct Text(pub(in crate::config) usize);

impl Kind for Text {
    type Value = String;

    fn read(&self, node: &Node, scope: &mut Scope<'_>) -> Option<String> {
        let word = scope.word(node, "a text")?;
        if word.text.is_empty() {
            return scope.wrong(node, Code::OutOfRange, "is empty", "write a text, or remove the key");
        }
        if word.text.len() > self.0 {
            return scope.wrong(node, Code::OutOfRange, format!("is longer than {} bytes", self.0), "");
        }
        if word.text.contains(char::is_control) {
            return scope.wrong(node, Code::OutOfRange, "has a line break or another control character", "");
        }
        Some(word.text)
    }

    fn show(&self, value: &String) -> String {
        value.clone()
    }

    fn words(&self) -> String {
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

impl<T: Copy + PartialEq> Kind for Choice<T> {
    type Value = T;

    fn read(&self, node: &Node, scope: &mut Scope<'_>) -> Option<T> {
        let list = self.list();
        let word = scope.word(node, &format!("one of {list}"))?;
        match self.0.iter().find(|(name, _)| *name == word.text) {
            Some((_, value)) => Some(*value),
            None => scope.wrong(
                node,
                Code::OutOfRange,
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

    fn words(&self) -> String {
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
pub(in crate::config) struct Parsed<T> {
    words: &'static str,
    value: PhantomData<T>,
}

impl<T> Parsed<T> {
    /// `words` describes the form.
    pub(in crate::config) fn new(words: &'static str) -> Self {
        Self { words, value: PhantomData }
    }
}

impl<T: FromStr<Err: Display> + Display> Kind for Parsed<T> {
    type Value = T;

    fn read(&self, node: &Node, scope: &mut Scope<'_>) -> Option<T> {
        let word = scope.word(node, self.words)?;
        match word.text.parse() {
            Ok(value) => Some(value),
            Err(error) => scope.wrong(
                node,
                Code::WrongType,
                format!("`{}` is not {}: {error}", word.shown, self.words),
                "",
            ),
        }
    }

    fn show(&self, value: &T) -> String {
        value.to_string()
    }

    fn words(&self) -> String {
        self.words.to_owned()
    }

    fn schema(&self) -> Json {
        json!({ "type": "string" })
    }
}

/// A value that is never shown.
pub(in crate::config) struct Hidden;

impl Kind for Hidden {
    type Value = Secret<String>;

    fn read(&self, node: &Node, scope: &mut Scope<'_>) -> Option<Secret<String>> {
        let value = Secret::new(scope.word(node, "a secret")?.text);
        // A line break could split a header.
        let text = value.expose();
        if text.is_empty() {
            return scope.wrong(node, Code::OutOfRange, "is empty", "set the variable, or remove the key");
        }
        if text.len() > 8 * 1024 || text.contains(char::is_control) {
            return scope.wrong(
                node,
                Code::OutOfRange,
                "is longer than 8 KiB or has a line break or another control character",
                "",
            );
        }
        Some(value)
    }

    fn show(&self, _: &Secret<String>) -> String {
        String::from("(secret)")
    }

    fn words(&self) -> String {
        String::from("secret")
    }

    fn schema(&self) -> Json {
        json!({ "type": "string", "minLength": 1, "maxLength": 8192 })
    }

    fn secret(&self) -> bool {
        true
    }
}
