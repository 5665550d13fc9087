//! `${NAME}`, `${NAME:-default}`, `${file:PATH}` and `${credential:NAME}` in values.
//!
//! Expansion happens after the file is read, in one value at a time, and its result is not expanded again: what is
//! brought in cannot bring in keys or further variables.

use std::io::Read as _;
use std::path::Path;

use zeroize::Zeroizing;

use super::environment::Environment;
use crate::text::one_line;

/// Bytes of a value after expansion, and of a file that is brought in.
const MAX_EXPANDED: usize = 64 * 1024;
/// Where systemd puts the credentials of a service (systemd.exec, `LoadCredential=`).
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";
/// What stands for a secret of the vault while it has not been fetched.
const VAULT_PLACEHOLDER: &str = "a-secret-that-is-fetched-from-the-vault-at-the-start";

/// What stands for a secret where the rest of its value is shown.
const SECRET: &str = "(secret)";

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
    /// `${file:…}` that cannot be read.
    #[error("the file `{path}` cannot be read: {why}")]
    File {
        /// The path as it was written.
        path: String,
        /// What the system says.
        why: String,
    },
    /// `${credential:…}` outside of a service that has credentials.
    #[error("this process has no credentials: `{CREDENTIALS}` is not set")]
    NoCredentials,
    /// `${credential:…}` with what is not a file's name.
    #[error("`{0}` is not the name of a credential")]
    Credential(String),
}

impl ExpandError {
    /// Advice that stands apart from the message.
    pub(super) fn help(&self) -> &'static str {
        match self {
            Self::Missing(_) => "set it, or give a default: `${NAME:-default}`",
            Self::File { .. } => "check the path, and that this user may read the file",
            Self::NoCredentials => "give the service the secret with `LoadCredential=` in its unit",
            Self::Credential(_) => "write the name that stands before the `:` in `LoadCredential=`",
            Self::Open | Self::Name(_) | Self::TooLong => {
                "write `${NAME}`, `${NAME:-default}`, `${file:PATH}` or `${credential:NAME}`; `$${` stands for a literal `${`"
            }
        }
    }
}

/// What a value can bring in.
pub(super) struct Variables<'a> {
    /// The environment, and what was fetched from the vault.
    pub(super) environment: &'a Environment,
    /// Names that the vault will give.
    pub(super) vault_names: Vec<String>,
    /// Where the paths of files begin.
    pub(super) base: &'a Path,
}

/// A value after expansion. No `Debug`: it may be a secret.
pub(super) struct Expanded {
    pub(super) text: String,
    /// The same with a word in place of each part that came from there.
    pub(super) shown: String,
    /// Whether a part of it came from where secrets come from.
    pub(super) secret: bool,
}

impl Variables<'_> {
    /// Expands `text`; `None` when it names no variable. `$${` stands for `${`.
    pub(super) fn expand(&self, text: &str) -> Result<Option<Expanded>, ExpandError> {
        if !text.contains("${") {
            return Ok(None);
        }
        let mut out =
            Expanded { text: String::with_capacity(text.len()), shown: String::new(), secret: false };
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            if let Some(literal) = before.strip_suffix('$') {
                out.text.push_str(literal);
                out.text.push_str("${");
                out.shown.push_str(literal);
                out.shown.push_str("${");
                rest = after;
                continue;
            }
            out.text.push_str(before);
            out.shown.push_str(before);
            let (inside, after) = after.split_once('}').ok_or(ExpandError::Open)?;
            let value = self.value(inside)?;
            out.text.push_str(&value.text);
            out.shown.push_str(&value.shown);
            out.secret |= value.secret;
            rest = after;
        }
        out.text.push_str(rest);
        out.shown.push_str(rest);
        if out.text.len() > MAX_EXPANDED {
            return Err(ExpandError::TooLong);
        }
        Ok(Some(out))
    }

    fn value(&self, inside: &str) -> Result<Expanded, ExpandError> {
        let secret = |text| Expanded { text, shown: SECRET.to_owned(), secret: true };
        if let Some(path) = inside.strip_prefix("file:") {
            return file(path, &self.base.join(path)).map(secret);
        }
        if let Some(name) = inside.strip_prefix("credential:") {
            return self.credential(name).map(secret);
        }
        self.variable(inside)
    }

    /// `NAME`, or `NAME:-default` where the default also stands for an empty variable, as in a shell.
    fn variable(&self, inside: &str) -> Result<Expanded, ExpandError> {
        let (name, default) = match inside.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (inside, None),
        };
        let legal = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) || !name.chars().all(legal) {
            return Err(ExpandError::Name(name.chars().take(40).collect()));
        }
        if let Some(text) = self.environment.secret(name) {
            return Ok(Expanded { text: text.to_owned(), shown: SECRET.to_owned(), secret: true });
        }
        if self.vault_names.iter().any(|vault_name| vault_name == name) {
            return Ok(Expanded {
                text: VAULT_PLACEHOLDER.to_owned(),
                shown: SECRET.to_owned(),
                secret: true,
            });
        }
        let text = match (self.environment.read(name), default) {
            (Some(""), Some(default)) | (None, Some(default)) => default,
            (Some(value), _) => value,
            (None, None) => return Err(ExpandError::Missing(name.to_owned())),
        };
        Ok(Expanded { text: text.to_owned(), shown: text.to_owned(), secret: false })
    }

    fn credential(&self, name: &str) -> Result<String, ExpandError> {
        // A name, not a way out of the directory.
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if name.is_empty() || name.starts_with('.') || !name.chars().all(legal) {
            return Err(ExpandError::Credential(name.chars().take(40).collect()));
        }
        let directory = self.environment.read(CREDENTIALS).ok_or(ExpandError::NoCredentials)?;
        file(name, &Path::new(directory).join(name))
    }
}

/// The text of a file without the line break at its end.
fn file(written: &str, path: &Path) -> Result<String, ExpandError> {
    let failed = |why: &str| ExpandError::File { path: one_line(written, 200), why: why.to_owned() };
    let said = |error: std::io::Error| failed(&super::plain(&error));
    let opened = crate::regular::open(path).map_err(said)?;
    // It may be a secret: wiped when it is refused, and read at once, because a text that grows leaves its beginning behind.
    let mut text = Zeroizing::new(String::with_capacity(MAX_EXPANDED + 1));
    let limit = u64::try_from(MAX_EXPANDED).unwrap_or(u64::MAX) + 1;
    opened.take(limit).read_to_string(&mut text).map_err(said)?;
    if text.len() > MAX_EXPANDED {
        return Err(failed("it is larger than 64 KiB"));
    }
    let end =
        text.strip_suffix('\n').map_or(text.len(), |line| line.strip_suffix('\r').unwrap_or(line).len());
    text.truncate(end);
    Ok(std::mem::take(&mut *text))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::secret::Secret;

    fn expand(text: &str, variables: &Variables<'_>) -> Result<Option<(String, bool)>, ExpandError> {
        variables.expand(text).map(|found| found.map(|found| (found.text, found.secret)))
    }

    fn variables<'a>(environment: &'a Environment, base: &'a Path) -> Variables<'a> {
        Variables { environment, vault_names: Vec::new(), base }
    }

    #[test]
    fn expands_as_documented() {
        let environment: Environment = [("A", "1"), ("EMPTY", ""), ("NESTED", "${A}")].into_iter().collect();
        let variables = variables(&environment, Path::new(""));
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
            ("${credential:a}", Err(ExpandError::NoCredentials)),
        ];
        for (text, want) in cases {
            let got = expand(text, &variables);
            assert_eq!(got, want.clone().map(|text| text.map(|text| (text.to_owned(), false))), "{text}");
        }
    }

    #[test]
    fn bounds_the_result() {
        let environment: Environment = [("A", "x".repeat(40_000))].into_iter().collect();
        let variables = variables(&environment, Path::new(""));
        assert_eq!(expand("${A}${A}", &variables), Err(ExpandError::TooLong));
    }

    #[test]
    fn files_and_credentials_are_secrets_and_nothing_else_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &[u8]| fs::write(folder.path().join(name), text).unwrap();
        write("token", b"s3cret\r\n");
        write("two", b"a\n\n");
        write("large", &[b'x'; MAX_EXPANDED + 1]);
        write("bytes", b"\xff");
        let directory = folder.path().to_str().unwrap();
        let environment: Environment = [("CREDENTIALS_DIRECTORY", directory)].into_iter().collect();
        let variables = variables(&environment, folder.path());
        let secret = |text: &str| Ok(Some((text.to_owned(), true)));
        assert_eq!(expand("Bearer ${file:token}", &variables), secret("Bearer s3cret"));
        assert_eq!(expand("${credential:token}", &variables), secret("s3cret"));
        assert_eq!(expand("${file:two}", &variables), secret("a\n"));
        for name in ["large", "bytes", "none", "."] {
            let refused = expand(&format!("${{file:{name}}}"), &variables);
            assert!(matches!(refused, Err(ExpandError::File { .. })), "{name}");
        }
        for name in ["../token", "/etc/passwd", "", "a/b", ".token", "a b"] {
            let refused = expand(&format!("${{credential:{name}}}"), &variables);
            assert!(matches!(refused, Err(ExpandError::Credential(_))), "{name}");
        }
    }

    #[test]
    fn what_the_vault_gives_comes_before_the_environment() {
        let environment: Environment = [("A", "1"), ("B", "2")].into_iter().collect();
        let fetched = environment.with_secrets(vec![("A".to_owned(), Secret::new("v".to_owned()))]);
        let one = variables(&fetched, Path::new(""));
        assert_eq!(expand("${A}${B}", &one), Ok(Some(("v2".to_owned(), true))));
        // Before it was asked, the name stands for a text that no setting can keep.
        let before =
            Variables { vault_names: vec!["A".to_owned()], ..variables(&environment, Path::new("")) };
        assert_eq!(expand("${A:-x}", &before), Ok(Some((VAULT_PLACEHOLDER.to_owned(), true))));
    }
}
