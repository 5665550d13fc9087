//! YAML from outside: no aliases, no merge keys, no key twice, bounded in size and depth.

use serde::Deserialize;

/// What is wrong in a text from outside, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct TextError {
    /// The line, from 1.
    pub line: u64,
    /// What is wrong.
    pub what: String,
}

/// The most bytes of a source.
pub(crate) const MAX_BYTES: usize = 1024 * 1024;

pub(crate) fn parse<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, TextError> {
    if text.len() > MAX_BYTES {
        let what = format!("the file has {} bytes, at most {MAX_BYTES} are read", text.len());
        return Err(TextError { line: 1, what });
    }
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_reader_input_bytes: Some(MAX_BYTES),
            flow_nesting_limit: 32,
            max_events: 200_000,
            max_aliases: 0,
            max_anchors: 0,
            max_depth: 32,
            max_inclusion_depth: 0,
            max_documents: 1,
            max_nodes: 100_000,
            max_total_scalar_bytes: MAX_BYTES,
            max_merge_keys: 0,
        },
        duplicate_keys: serde_saphyr::DuplicateKeyPolicy::Error,
        merge_keys: serde_saphyr::MergeKeyPolicy::Error,
        strict_booleans: true,
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let line = error.location().map_or(1, |location| location.line());
        let words = error.without_snippet().to_string();
        let first = words.lines().next().unwrap_or_default();
        let first = first.split(" at line ").next().unwrap_or(first);
        TextError { line, what: first.strip_prefix("error: ").unwrap_or(first).to_owned() }
    })
}
