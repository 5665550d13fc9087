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

/// The most documents of a file of several.
pub(crate) const MAX_DOCUMENTS: usize = 256;

/// The one document of a text.
pub(crate) fn parse<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, TextError> {
    let text = bounded(text)?;
    serde_saphyr::from_str_with_options(text, options(1)).map_err(text_error)
}

/// The documents of a text, which `---` stands between; those that are empty are left out. Lines are those of the text.
pub(crate) fn parse_all<'a, T: Deserialize<'a>>(text: &'a str) -> Result<Vec<T>, TextError> {
    let text = bounded(text)?;
    serde_saphyr::from_multiple_with_options(text, options(MAX_DOCUMENTS)).map_err(text_error)
}

fn bounded(text: &str) -> Result<&str, TextError> {
    if text.len() > MAX_BYTES {
        let what = format!("the file has {} bytes, at most {MAX_BYTES} are read", text.len());
        return Err(TextError { line: 1, what });
    }
    Ok(text)
}

fn options(max_documents: usize) -> serde_saphyr::Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_reader_input_bytes: Some(MAX_BYTES),
            flow_nesting_limit: 32,
            max_events: 200_000,
            max_aliases: 0,
            max_anchors: 0,
            max_depth: 32,
            max_inclusion_depth: 0,
            max_documents: max_documents,
            max_nodes: 100_000,
            max_total_scalar_bytes: MAX_BYTES,
            max_merge_keys: 0,
        },
        duplicate_keys: serde_saphyr::DuplicateKeyPolicy::Error,
        merge_keys: serde_saphyr::MergeKeyPolicy::Error,
        strict_booleans: true,
    }
}

/// A mistake with the line that it is on, in one line.
fn text_error(error: serde_saphyr::Error) -> TextError {
    let line = error.location().map_or(1, |location| location.line());
    let words = error.without_snippet().to_string();
    let first = words.lines().next().unwrap_or_default();
    let first = first.split(" at line ").next().unwrap_or(first);
    let first = first.strip_prefix("error: ").unwrap_or(first);
    // The reader's own words for these name its types and its options.
    let what = match first.strip_prefix("budget breached: ") {
        Some(bound) if bound.starts_with("Documents") => {
            format!("the file has more documents than are read, at most {MAX_DOCUMENTS}")
        }
        Some(bound) if bound.starts_with("Anchors") || bound.starts_with("Aliases") => {
            "anchors and aliases are not read".to_owned()
        }
        Some(bound) => {
            let bound = bound.split_whitespace().next().unwrap_or_default().to_lowercase();
            format!("the file is larger or deeper than is read ({bound})")
        }
        None => first.split(", set DuplicateKeyPolicy").next().unwrap_or(first).to_owned(),
    };
    TextError { line, what }
}
