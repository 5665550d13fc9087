//! `${NAME}` and `${NAME:-default}` in values.
//!
//! Expansion happens after the file is read, in one value at a time, and its result is not expanded again: a
//! variable cannot bring in keys or further variables.

use super::environment::Environment;

/// Bytes of a value after expansion.
const MAX_EXPANDED: usize = 64 * 1024;

/// Why a value could not be expanded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum ExpandError {
    /// `${NAME}` with no such variable.
    #[error("the environment variable `{0}` is not set")]
    Missing(String),
    /// `${` without `}`.
    #[error("`${{` is not closed")]
    Open,
    /// Not a name.
    #[error("`{0}` is not the name of a variable")]
    Name(String),
    /// Larger than any value should be.
    #[error("the value is longer than 64 KiB after expansion")]
    TooLong,
}

/// Expands `text`; `None` when it names no variable. `$${` stands for `${`.
pub(super) fn expand(text: &str, environment: &Environment) -> Result<Option<String>, ExpandError> {
    if !text.contains("${") {
        return Ok(None);
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        if let Some(literal) = before.strip_suffix('$') {
            out.push_str(literal);
            out.push_str("${");
            rest = after;
            continue;
        }
        out.push_str(before);
        let (inside, after) = after.split_once('}').ok_or(ExpandError::Open)?;
        out.push_str(&variable(inside, environment)?);
        rest = after;
    }
    out.push_str(rest);
    if out.len() > MAX_EXPANDED {
        return Err(ExpandError::TooLong);
    }
    Ok(Some(out))
}

/// `NAME`, or `NAME:-default` where the default also stands for an empty variable, as in a shell.
fn variable(inside: &str, environment: &Environment) -> Result<String, ExpandError> {
    let (name, default) = match inside.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inside, None),
    };
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) || !name.chars().all(legal) {
        return Err(ExpandError::Name(name.chars().take(40).collect()));
    }
    match (environment.read(name), default) {
        (Some(""), Some(default)) | (None, Some(default)) => Ok(default.to_owned()),
        (Some(value), _) => Ok(value.to_owned()),
        (None, None) => Err(ExpandError::Missing(name.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::{Environment, ExpandError, expand};

    #[test]
    fn expands_as_documented() {
        let environment: Environment = [("A", "1"), ("EMPTY", ""), ("NESTED", "${A}")].into_iter().collect();
        let cases: &[(&str, Result<Option<&str>, ExpandError>)] = &[
            ("plain", Ok(None)),
            ("$A", Ok(None)),
            ("x${A}y${A}", Ok(Some("x1y1"))),
            ("${A:-2}", Ok(Some("1"))),
            ("${B:-2}", Ok(Some("2"))),
            ("${B:-}", Ok(Some(""))),
            ("${EMPTY:-2}", Ok(Some("2"))),
            ("${EMPTY}", Ok(Some(""))),
            ("${NESTED}", Ok(Some("${A}"))),
            ("$${A}", Ok(Some("${A}"))),
            ("${B}", Err(ExpandError::Missing("B".into()))),
            ("${A", Err(ExpandError::Open)),
            ("${}", Err(ExpandError::Name(String::new()))),
            ("${1A}", Err(ExpandError::Name("1A".into()))),
            ("${A B}", Err(ExpandError::Name("A B".into()))),
        ];
        for (text, want) in cases {
            let got = expand(text, &environment);
            assert_eq!(got, want.clone().map(|text| text.map(str::to_owned)), "{text}");
        }
    }

    #[test]
    fn bounds_the_result() {
        let environment: Environment = [("A", "x".repeat(40_000))].into_iter().collect();
        assert_eq!(expand("${A}${A}", &environment), Err(ExpandError::TooLong));
    }
}
