//! Obligations: what has to be done with an operation that is allowed, or with its result, said by annotations on the
//! permits that decided.

use std::fmt;
use std::sync::Arc;

use serde_json::Value as Json;

/// What stands in the place of a value that was redacted.
pub const REDACTED: &str = "[redacted]";

/// The longest text of an obligation, in bytes.
const MOST_BYTES: usize = 256;
/// The most obligations of one annotation.
const MOST: usize = 16;

/// Why a text is no obligation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ObligationError {
    /// Empty, too long, or with a character that is not shown.
    #[error("`{0}` is not a label: use letters, digits and marks, at most 256 bytes")]
    Label(String),
    /// More than can be carried out for each decision.
    #[error("more than {MOST} obligations in one annotation")]
    Many,
    /// Not a JSON pointer (RFC 6901).
    #[error("`{0}` is not a JSON pointer such as `/customer/ssn`")]
    Pointer(String),
}

/// A JSON pointer (RFC 6901). `*` stands for every element of an array and every member of an object, besides a member
/// of that name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JsonPointer {
    text: Arc<str>,
    tokens: Arc<[String]>,
}

impl JsonPointer {
    /// Reads a pointer. The whole document (the empty pointer) is none: a result without anything is a denial.
    ///
    /// # Errors
    /// The text is empty, too long, does not begin with `/`, or has a `~` that is neither `~0` nor `~1`.
    pub fn parse(text: &str) -> Result<Self, ObligationError> {
        let wrong = || ObligationError::Pointer(text.chars().take(64).collect());
        let tokens = text.strip_prefix('/').filter(|_| text.len() <= MOST_BYTES).ok_or_else(wrong)?;
        let tokens: Option<Vec<String>> = tokens.split('/').map(unescape).collect();
        Ok(Self { text: text.into(), tokens: tokens.ok_or_else(wrong)?.into() })
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Puts [`REDACTED`] in the place of what it points to, at most everywhere; whether there was anything.
    pub fn redact(&self, value: &mut Json) -> bool {
        redact(value, &self.tokens)
    }
}

/// RFC 6901, section 4.
fn unescape(token: &str) -> Option<String> {
    let mut parts = token.split('~');
    let mut whole = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (mark, rest) = part.split_at_checked(1)?;
        whole.push(match mark {
            "0" => '~',
            "1" => '/',
            _ => return None,
        });
        whole.push_str(rest);
    }
    Some(whole)
}

fn redact(value: &mut Json, tokens: &[String]) -> bool {
    let Some((first, rest)) = tokens.split_first() else {
        *value = Json::String(REDACTED.to_owned());
        return true;
    };
    let every = first == "*";
    let mut found = false;
    match value {
        Json::Object(fields) => {
            for (_, field) in fields.iter_mut().filter(|(name, _)| every || *name == first) {
                found |= redact(field, rest);
            }
        }
        Json::Array(items) => {
            let index = first.parse::<usize>().ok();
            for (number, item) in items.iter_mut().enumerate() {
                if every || index == Some(number) {
                    found |= redact(item, rest);
                }
            }
        }
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => {}
    }
    found
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Obligation {
    /// `@label`: the session of the caller carries this label from now on.
    Label(Arc<str>),
    /// `@redact`: this part of the arguments and of the result is masked.
    Redact(JsonPointer),
}

impl Obligation {
    /// Reads the words of an `@label`.
    ///
    /// # Errors
    /// One of them is no label, or there is none.
    pub fn labels(text: &str) -> Result<Vec<Self>, ObligationError> {
        let wrong = |word: &str| ObligationError::Label(word.chars().take(64).collect());
        let label = |word: &str| match word.len() <= MOST_BYTES && !word.chars().any(char::is_control) {
            true => Ok(Self::Label(word.into())),
            false => Err(wrong(word)),
        };
        let labels = text.split_whitespace().map(label).collect::<Result<Vec<_>, _>>()?;
        match labels.len() {
            0 => Err(wrong(text)),
            1..=MOST => Ok(labels),
            _ => Err(ObligationError::Many),
        }
    }

    /// Reads the pointers of an `@redact`.
    ///
    /// # Errors
    /// One of them is no pointer, or there is none.
    pub fn redactions(text: &str) -> Result<Vec<Self>, ObligationError> {
        let pointers = text.split_whitespace().map(|word| JsonPointer::parse(word).map(Self::Redact));
        let pointers = pointers.collect::<Result<Vec<_>, _>>()?;
        match pointers.len() {
            0 => Err(ObligationError::Pointer(text.to_owned())),
            1..=MOST => Ok(pointers),
            _ => Err(ObligationError::Many),
        }
    }
}

/// As it stands in a record: `label:pii`, `redact:/customer/ssn`.
impl fmt::Display for Obligation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Label(label) => write!(f, "label:{label}"),
            Self::Redact(pointer) => write!(f, "redact:{}", pointer.as_str()),
        }
    }
}

/// All obligations of one decision, in order, each once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Obligations(Vec<Obligation>);

impl Obligations {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// These and others.
    #[must_use]
    pub fn with(self, others: Self) -> Self {
        match (self.is_empty(), others.is_empty()) {
            (_, true) => self,
            (true, false) => others,
            (false, false) => self.0.into_iter().chain(others.0).collect(),
        }
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &Obligation> {
        self.0.iter()
    }

    /// The labels for the session.
    pub fn labels(&self) -> impl Iterator<Item = &Arc<str>> {
        self.0.iter().filter_map(|one| match one {
            Obligation::Label(label) => Some(label),
            Obligation::Redact(_) => None,
        })
    }

    /// What is to be masked.
    pub fn redactions(&self) -> impl Iterator<Item = &JsonPointer> {
        self.0.iter().filter_map(|one| match one {
            Obligation::Redact(pointer) => Some(pointer),
            Obligation::Label(_) => None,
        })
    }
}

impl FromIterator<Obligation> for Obligations {
    fn from_iter<I: IntoIterator<Item = Obligation>>(all: I) -> Self {
        let mut all: Vec<Obligation> = all.into_iter().collect();
        all.sort();
        all.dedup();
        Self(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_pointer_masks_what_it_points_to_and_nothing_else() {
        let cases = [
            ("/a", json!({ "a": 1, "b": 2 }), json!({ "a": REDACTED, "b": 2 })),
            ("/a/b", json!({ "a": { "b": { "c": 1 } } }), json!({ "a": { "b": REDACTED } })),
            ("/a/1", json!({ "a": [1, 2, 3] }), json!({ "a": [1, REDACTED, 3] })),
            (
                "/a/*/b",
                json!({ "a": [{ "b": 1 }, { "c": 1 }] }),
                json!({ "a": [{ "b": REDACTED }, { "c": 1 }] }),
            ),
            ("/*", json!({ "a": 1, "*": 2 }), json!({ "a": REDACTED, "*": REDACTED })),
            ("/a~1b/m~0n", json!({ "a/b": { "m~n": 1 } }), json!({ "a/b": { "m~n": REDACTED } })),
            ("/", json!({ "": 1, "a": 2 }), json!({ "": REDACTED, "a": 2 })),
            ("/x", json!({ "a": 1 }), json!({ "a": 1 })),
        ];
        for (text, mut given, wanted) in cases {
            let found = JsonPointer::parse(text).unwrap().redact(&mut given);
            assert_eq!(given, wanted, "{text}");
            assert_eq!(found, text != "/x", "{text}");
        }
    }

    #[test]
    fn what_is_no_obligation_is_refused() {
        for text in ["", "a", "a/b", "/a~", "/a~2"] {
            assert!(JsonPointer::parse(text).is_err(), "{text}");
        }
        assert!(Obligation::redactions(" ").is_err() && Obligation::labels("").is_err());
        assert!(Obligation::labels("a\u{7}").is_err());
        assert!(Obligation::labels(&"a ".repeat(MOST)).is_ok());
        assert_eq!(Obligation::labels(&"a ".repeat(MOST + 1)), Err(ObligationError::Many));
        assert_eq!(Obligation::redactions(&"/a ".repeat(MOST + 1)), Err(ObligationError::Many));
        let all: Obligations = Obligation::labels("pii  hr pii").unwrap().into_iter().collect();
        assert_eq!(all.iter().map(ToString::to_string).collect::<Vec<_>>(), ["label:hr", "label:pii"]);
    }
}
