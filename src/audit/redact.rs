//! Keeps credentials out of the record, and large values small.
//!
//! Names that are used for credentials and texts that look like one are masked without regard to what the caller meant: a
//! log is read by more people than the request was for.

use std::borrow::Cow;
use std::sync::LazyLock;

use aho_corasick::AhoCorasick;
use serde::ser::{Serialize, SerializeStruct, Serializer};

use smol_str::SmolStr;

use super::digest::Digest;
use crate::model::Value;

/// Replaces a masked value.
pub const MASK: &str = "[masked]";

/// Words in a name that make its value a credential. Compared in lower case without `-`, `_`, `.` and spaces.
const NAMES: [&str; 14] = [
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "apikey",
    "accesskey",
    "privatekey",
    "signingkey",
    "authorization",
    "credential",
    "cookie",
    "bearer",
    "jwt",
];

/// How texts begin that are credentials by themselves.
const PREFIXES: [&str; 12] = [
    "bearer ",
    "basic ",
    "cax_live_",
    "sk-",
    "sk_live_",
    "ghp_",
    "github_pat_",
    "glpat-",
    "xoxb-",
    "xoxp-",
    "akia",
    "-----begin ",
];

/// Masks credentials in `value`; returns the paths of what was masked (`input.api_key`).
pub(super) fn mask(value: &mut Value) -> Vec<String> {
    let mut masked = Vec::new();
    mask_at(value, &mut String::new(), &mut masked);
    masked
}

fn mask_at(value: &mut Value, path: &mut String, masked: &mut Vec<String>) {
    match value {
        Value::Record(fields) => {
            for (name, field) in fields {
                let length = path.len();
                if length > 0 {
                    path.push('.');
                }
                path.push_str(name);
                if is_credential_name(name) && can_hold_credential(field) {
                    hide(field, path, masked);
                } else {
                    mask_at(field, path, masked);
                }
                path.truncate(length);
            }
        }
        Value::Set(items) => {
            for item in items {
                mask_at(item, path, masked);
            }
        }
        Value::String(text) if is_credential_text(text) => hide(value, path, masked),
        Value::Bool(_)
        | Value::Long(_)
        | Value::String(_)
        | Value::Entity(_)
        | Value::Decimal(_)
        | Value::Datetime(_)
        | Value::Duration(_)
        | Value::Ip(_) => {}
    }
}

fn hide(value: &mut Value, path: &str, masked: &mut Vec<String>) {
    *value = Value::String(MASK.into());
    if masked.last().is_none_or(|last| last != path) {
        masked.push(path.to_owned());
    }
}

/// A number or a truth value is none (`max_tokens: 100`).
fn can_hold_credential(value: &Value) -> bool {
    match value {
        Value::String(_) | Value::Set(_) | Value::Record(_) => true,
        Value::Bool(_)
        | Value::Long(_)
        | Value::Entity(_)
        | Value::Decimal(_)
        | Value::Datetime(_)
        | Value::Duration(_)
        | Value::Ip(_) => false,
    }
}

fn is_credential_name(name: &str) -> bool {
    !is_of_circumstances(name) && sounds_like_credential(name)
}

/// Names that stand in every context (`schemas/caxton.cedarschema`). None of them is a credential's, which is not to be
/// found out anew with each decision.
fn is_of_circumstances(name: &str) -> bool {
    matches!(
        name,
        "source"
            | "ip"
            | "tls"
            | "mtls"
            | "user_agent"
            | "system"
            | "now"
            | "hour"
            | "weekday"
            | "lockdown"
            | "policy_version"
            | "session"
            | "id"
            | "age_seconds"
            | "labels"
            | "tool_calls"
            | "denied"
            | "tools_called"
            | "screening"
            | "injection"
            | "score"
            | "findings"
            | "actor"
            | "delegation"
            | "user"
            | "scopes"
            | "input"
    )
}

fn sounds_like_credential(name: &str) -> bool {
    // INVARIANT: fourteen short words always make an automaton; without one, every name counts as a credential's.
    static WORDS: LazyLock<Option<AhoCorasick>> =
        LazyLock::new(|| AhoCorasick::builder().ascii_case_insensitive(true).build(NAMES).ok());
    let separator = |c| matches!(c, '-' | '_' | '.' | ' ');
    let matches = |plain: &str| WORDS.as_ref().is_none_or(|words| words.is_match(plain));
    if name.contains(separator) { matches(&name.replace(separator, "")) } else { matches(name) }
}

fn is_credential_text(text: &str) -> bool {
    PREFIXES.iter().any(|prefix| has_prefix_and_more(text, prefix)) || is_token(text)
}

/// Whether a text begins with the prefix, in any case, and at least eight bytes follow.
fn has_prefix_and_more(text: &str, prefix: &str) -> bool {
    let head = text.as_bytes().get(..prefix.len());
    text.len() >= prefix.len() + 8 && head.is_some_and(|head| head.eq_ignore_ascii_case(prefix.as_bytes()))
}

/// A JSON Web Token: three parts, the first of which is the base64url of `{"`.
fn is_token(text: &str) -> bool {
    text.starts_with("eyJ") && text.bytes().filter(|&byte| byte == b'.').count() >= 2 && !text.contains(' ')
}

/// Letters and digits of a credential in a name: many, so that a name that only begins like one (`sk-learn`) is none.
const LONG_CREDENTIAL: usize = 16;

/// The name of a thing with `[masked]` in place of each credential in it: rows of memory and paths are named by callers,
/// and a key among the words of a path (`/v1/sk-…/files`, `reset;token=…`) is as readable as one in a field.
pub(super) fn mask_name(name: &str) -> Cow<'_, str> {
    let in_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '+' | '=' | '~');
    let mut out = String::new();
    let mut rest = name;
    let mut after_scheme = false;
    let mut changed = false;
    while !rest.is_empty() {
        let end = rest.find(|c| !in_word(c)).unwrap_or(rest.len());
        let (word, more) = rest.split_at(end);
        let masked = mask_word(word, after_scheme);
        changed |= masked.is_some();
        out.push_str(masked.as_deref().unwrap_or(word));
        after_scheme = ["bearer", "basic"].iter().any(|scheme| word.eq_ignore_ascii_case(scheme));
        let gap = more.find(in_word).unwrap_or(more.len());
        let (between, next) = more.split_at(gap);
        out.push_str(between);
        rest = next;
    }
    if changed { Cow::Owned(out) } else { Cow::Borrowed(name) }
}

/// The word without its credential, when it has one.
fn mask_word(word: &str, after_scheme: bool) -> Option<String> {
    if let Some((name, value)) = word.split_once('=')
        && !value.is_empty()
        && is_credential_name(name)
    {
        return Some(format!("{name}={MASK}"));
    }
    let long = word.bytes().filter(u8::is_ascii_alphanumeric).count() >= LONG_CREDENTIAL;
    let like_one = is_credential_text(word) && word.bytes().any(|byte| byte.is_ascii_digit());
    // What stands behind `Bearer` is one in any form.
    let is_one = long && like_one || after_scheme && word.len() >= 8;
    is_one.then(|| MASK.to_owned())
}

/// The name of a thing, masked and cut.
pub(super) struct MaskedName<'a>(pub(super) &'a str);

impl Serialize for MaskedName<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        CutText(&mask_name(self.0)).serialize(serializer)
    }
}

/// Texts longer than this many bytes go into the record as their digest.
pub(super) const TEXT_BYTES: usize = 1024;
/// Sets and records with more members than this go into the record as their digest.
const MEMBERS: usize = 256;
/// Values that are nested deeper than this go into the record as their digest.
const DEPTH: u8 = 24;
/// Whole numbers beyond this are written as text: RFC 8785 numbers are doubles, which would round them.
const SAFE_LONG: i64 = (1 << 53) - 1;

/// A context value in the record's form: bounded, and in canonical order.
pub(super) struct LoggedValue<'a> {
    value: &'a Value,
    depth: u8,
}

impl<'a> LoggedValue<'a> {
    pub(super) fn new(value: &'a Value) -> Self {
        Self { value, depth: DEPTH }
    }

    fn inside(&self, value: &'a Value) -> Self {
        Self { value, depth: self.depth.saturating_sub(1) }
    }
}

impl<'l> Serialize for LoggedValue<'l> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.value {
            Value::Long(long) if long.unsigned_abs() > SAFE_LONG.unsigned_abs() => {
                serializer.collect_str(long)
            }
            Value::String(text) if text.len() > TEXT_BYTES => summary(text.as_bytes(), serializer),
            Value::Set(items) if items.len() > MEMBERS || self.depth == 0 => {
                ValueDigest(self.value).serialize(serializer)
            }
            Value::Set(items) => serializer.collect_seq(items.iter().map(|item| self.inside(item))),
            Value::Record(fields) if fields.len() > MEMBERS || self.depth == 0 => {
                ValueDigest(self.value).serialize(serializer)
            }
            Value::Record(fields) => {
                let named = |(name, value): (&'l SmolStr, &'l Value)| (name.as_str(), self.inside(value));
                if fields.keys().all(|name| name.is_ascii()) {
                    return serializer.collect_map(fields.iter().map(named));
                }
                // RFC 8785 section 3.2.3 sorts by UTF-16 code units; the fields stand in order of code points.
                let mut members: Vec<(&SmolStr, &Value)> = fields.iter().collect();
                members.sort_by(|(a, _), (b, _)| a.encode_utf16().cmp(b.encode_utf16()));
                serializer.collect_map(members.into_iter().map(named))
            }
            Value::Bool(_)
            | Value::Long(_)
            | Value::String(_)
            | Value::Entity(_)
            | Value::Decimal(_)
            | Value::Datetime(_)
            | Value::Duration(_)
            | Value::Ip(_) => self.value.serialize(serializer),
        }
    }
}

/// A value that is too large for the record: `{"bytes": …, "sha256": …}` of its JSON (of a text: of the text).
pub(super) struct ValueDigest<'a>(pub(super) &'a Value);

impl Serialize for ValueDigest<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let json = serde_json::to_vec(self.0).map_err(serde::ser::Error::custom)?;
        summary(&json, serializer)
    }
}

fn summary<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    let mut record = serializer.serialize_struct("Summary", 2)?;
    record.serialize_field("bytes", &bytes.len())?;
    record.serialize_field("sha256", &Digest::of(bytes))?;
    record.end()
}

/// Free text, cut at [`TEXT_BYTES`]; a cut one ends with `…`.
pub(super) struct CutText<'a>(pub(super) &'a str);

impl Serialize for CutText<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.len() <= TEXT_BYTES {
            return serializer.serialize_str(self.0);
        }
        serializer.collect_str(&format_args!("{}…", cut(self.0, TEXT_BYTES)))
    }
}

/// The beginning of a text, `most` bytes at most.
pub(super) fn cut(text: &str, most: usize) -> &str {
    text.get(..text.floor_char_boundary(most)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_of_the_circumstances_sounds_like_a_credentials() {
        let schema = std::fs::read_to_string("schemas/caxton.cedarschema").unwrap();
        let words = schema.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let known: Vec<&str> = words.filter(|word| is_of_circumstances(word)).collect();
        assert!(known.contains(&"policy_version"), "{known:?}");
        assert!(known.iter().all(|name| !sounds_like_credential(name)), "{known:?}");
        assert!(is_credential_name("session_token") && is_credential_name("X-Api-Key"));
    }

    #[test]
    fn a_credential_in_a_name_is_masked_and_the_rest_stays() {
        let jwt = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln";
        for (name, shown) in [
            (
                "Caxton::HttpPath::\"api.example/v1/sk-0123456789abcdefghij/files\"",
                "Caxton::HttpPath::\"api.example/v1/[masked]/files\"",
            ),
            ("M::\"workspace:lab/cax_live_0123456789ab_secret\"", "M::\"workspace:lab/[masked]\""),
            (&format!("M::\"{jwt}\""), "M::\"[masked]\""),
            ("M::\"Bearer abcdefghijkl\"", "M::\"Bearer [masked]\""),
            ("H::\"h/reset;token=abc/x\"", "H::\"h/reset;token=[masked]/x\""),
            (
                "M::\"ghp_0123456789abcdefghijABCDEFGHIJ and AKIA0123456789ABCDEF\"",
                "M::\"[masked] and [masked]\"",
            ),
        ] {
            assert_eq!(mask_name(name), shown);
        }
        for plain in [
            "M::\"sk-learn\"",
            "M::\"sk-learn-documentation-page\"",
            "T::\"web___get-page\"",
            "M::\"a bearer of news\"",
            "M::\"token\"",
            "",
            "M::\"ünïcödé sk-\"",
        ] {
            assert!(matches!(mask_name(plain), Cow::Borrowed(_)), "{plain}");
        }
    }
}
