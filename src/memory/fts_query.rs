//! Turns the words of a caller into a full-text query for exactly these words.
//!
//! FTS5 has a query language (`NEAR`, `OR`, `column:`, `*`, `^`). Each word is put into quotes here, a quote in it
//! doubled, so none of that can be reached. What quotes cannot hold (NUL ends the text) separates words.

use std::fmt::Write as _;

use super::error::MemoryError;
use super::settings::Settings;
use crate::model::MemoryScope;

/// A search that is safe to run: two FTS5 expressions, both bound to one scope.
#[derive(Debug)]
pub(super) struct FtsQuery {
    /// All words, anywhere.
    pub(super) anywhere: String,
    /// All words, in the name.
    pub(super) in_name: String,
    /// The search as it was typed, trimmed: a name that equals it comes first.
    pub(super) whole: String,
}

impl FtsQuery {
    pub(super) fn parse(scope: &MemoryScope, text: &str, settings: &Settings) -> Result<Self, MemoryError> {
        if text.len() > settings.max_search_bytes {
            return Err(MemoryError::TooLarge {
                what: "the search",
                found: text.len(),
                limit: settings.max_search_bytes,
                unit: "bytes",
            });
        }
        let words: Vec<&str> = text
            .split(|c: char| c.is_whitespace() || c.is_control())
            .filter(|word| word.chars().any(char::is_alphanumeric))
            .collect();
        if words.is_empty() {
            return Err(MemoryError::EmptySearch);
        }
        if words.len() > settings.max_search_words {
            return Err(MemoryError::TooLarge {
                what: "the search",
                found: words.len(),
                limit: settings.max_search_words,
                unit: "words",
            });
        }
        Ok(Self {
            anywhere: expression(scope, "name kind observations", &words),
            in_name: expression(scope, "name", &words),
            whole: text.trim().to_owned(),
        })
    }
}

/// One word for each scope that the tokeniser leaves alone. It is in the index, so that a search walks only its
/// own scope's rows, and words of other scopes change neither its order nor its time.
pub(super) fn scope_word(scope: &MemoryScope) -> String {
    hex::encode(scope.to_string())
}

fn expression(scope: &MemoryScope, columns: &str, words: &[&str]) -> String {
    let mut expression = format!("scope : \"{}\" AND {{{columns}}} : (", scope_word(scope));
    for (number, word) in words.iter().enumerate() {
        let and = if number == 0 { "" } else { " AND " };
        // Writing to a String cannot fail.
        let _ = write!(expression, "{and}\"{}\"", word.replace('"', "\"\""));
    }
    expression.push(')');
    expression
}
