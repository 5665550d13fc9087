//! What an operator wants kept from receivers: values are dropped or hashed before a record leaves.
//!
//! A hash is HMAC-SHA-256 with a key of this installation: equal values stay equal, so that a SIEM can still count and join,
//! and nobody without the key can find a value by trying. The decision log itself keeps the value.

use std::fmt;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::Arc;

use aws_lc_rs::{hmac, rand};
use serde_json::Value;

use crate::regular;

/// What happens with a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MaskAction {
    /// It is taken out.
    Drop,
    /// `hmac-sha256:` and the digest of its JSON stand in its place.
    Hash,
}

/// Why a text is not a pointer to something that may be masked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PointerError {
    /// Not a JSON Pointer (RFC 6901).
    #[error(
        "it is no JSON Pointer: write `/` before each key, such as `/source/ip`, and `*` for each element of a list"
    )]
    Form,
    /// Receivers could not tell records apart, or not tell what they are.
    #[error("`{0}` is in every record that is sent: name a field below it or another one")]
    Needed(&'static str),
}

/// Fields without which a record is none.
const NEEDED: [&str; 10] = [
    "schema_version",
    "seq",
    "time",
    "decision_id",
    "event_type",
    "outcome",
    "reason_code",
    "call_id",
    "part",
    "parts",
];
/// Digests over what the rules mask, among other things. With any rule they leave as HMACs too, which still link records.
const DIGESTS: [&str; 3] = ["hash", "prev_hash", "args_sha256"];
/// The most keys of a pointer.
const DEPTH: usize = 32;

/// Which values: a JSON Pointer (RFC 6901), in which `*` stands for each element of a list and each field of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MaskPointer(Vec<String>);

impl std::str::FromStr for MaskPointer {
    type Err = PointerError;

    fn from_str(text: &str) -> Result<Self, PointerError> {
        let keys = text.strip_prefix('/').ok_or(PointerError::Form)?;
        // RFC 6901, section 4: `~1` before `~0`.
        let keys: Vec<String> =
            keys.split('/').map(|key| key.replace("~1", "/").replace("~0", "~")).collect();
        if keys.len() > DEPTH || keys.iter().any(String::is_empty) {
            return Err(PointerError::Form);
        }
        let first = keys.first().map(String::as_str).unwrap_or_default();
        if keys.len() == 1 {
            if first == "*" {
                return Err(PointerError::Needed("seq"));
            }
            if let Some(needed) = NEEDED.iter().find(|needed| **needed == first) {
                return Err(PointerError::Needed(needed));
            }
        }
        Ok(Self(keys))
    }
}

impl fmt::Display for MaskPointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|key| write!(f, "/{}", key.replace('~', "~0").replace('/', "~1")))
    }
}

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MaskRule {
    /// Which values.
    pub pointer: MaskPointer,
    /// What happens with them.
    pub action: MaskAction,
}

/// The rules of an installation, with its key.
#[derive(Clone)]
pub struct RecordMask {
    rules: Arc<[MaskRule]>,
    key: Arc<hmac::Key>,
}

impl fmt::Debug for RecordMask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordMask").field("rules", &self.rules).finish_non_exhaustive()
    }
}

/// The key could not be read or made.
#[derive(Debug, thiserror::Error)]
#[error("the key of masks `{path}` could not be read or made")]
pub struct MaskKeyError {
    path: std::path::PathBuf,
    #[source]
    source: io::Error,
}

impl RecordMask {
    /// Rules with this key.
    pub fn new(rules: Vec<MaskRule>, key: &[u8; 32]) -> Self {
        Self { rules: rules.into(), key: Arc::new(hmac::Key::new(hmac::HMAC_SHA256, key)) }
    }

    /// Rules with the key in the file, which is made (0600) where there is none. Reads files: call it off the async threads.
    ///
    /// # Errors
    /// The file cannot be read or made, or is not a key of 32 bytes.
    pub fn with_key_file(rules: Vec<MaskRule>, path: &Path) -> Result<Self, MaskKeyError> {
        let key = key_of(path).map_err(|source| MaskKeyError { path: path.to_owned(), source })?;
        Ok(Self::new(rules, &key))
    }

    /// Whether there is nothing to mask.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Masks the record.
    pub fn apply(&self, record: &mut Value) {
        for rule in self.rules.iter() {
            self.mask(record, &rule.pointer.0, rule.action);
        }
        if self.is_empty() {
            return;
        }
        // By a digest without a key anyone could find a masked value by trying.
        for digest in DIGESTS {
            record.get_mut(digest).into_iter().for_each(|value| self.hash(value));
        }
    }

    fn mask(&self, value: &mut Value, keys: &[String], action: MaskAction) {
        let Some((key, rest)) = keys.split_first() else { return };
        if rest.is_empty() {
            return self.mask_children(value, key, action);
        }
        match value {
            Value::Object(fields) if key == "*" => {
                fields.values_mut().for_each(|value| self.mask(value, rest, action));
            }
            Value::Object(fields) => {
                fields.get_mut(key).into_iter().for_each(|value| self.mask(value, rest, action))
            }
            Value::Array(items) if key == "*" => {
                items.iter_mut().for_each(|value| self.mask(value, rest, action));
            }
            Value::Array(items) => {
                let item = key.parse::<usize>().ok().and_then(|index| items.get_mut(index));
                item.into_iter().for_each(|value| self.mask(value, rest, action));
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    /// Masks what the last key of a pointer names.
    fn mask_children(&self, parent: &mut Value, key: &str, action: MaskAction) {
        match (parent, action) {
            (Value::Object(fields), MaskAction::Drop) if key == "*" => fields.clear(),
            (Value::Object(fields), MaskAction::Drop) => drop(fields.remove(key)),
            (Value::Object(fields), MaskAction::Hash) if key == "*" => {
                fields.values_mut().for_each(|value| self.hash(value));
            }
            (Value::Object(fields), MaskAction::Hash) => {
                fields.get_mut(key).into_iter().for_each(|value| self.hash(value));
            }
            (Value::Array(items), MaskAction::Drop) if key == "*" => items.clear(),
            (Value::Array(items), MaskAction::Hash) if key == "*" => {
                items.iter_mut().for_each(|value| self.hash(value));
            }
            (Value::Array(items), _) => {
                let Some(index) = key.parse::<usize>().ok().filter(|index| *index < items.len()) else {
                    return;
                };
                match (action, items.get_mut(index)) {
                    (MaskAction::Drop, _) => drop(items.remove(index)),
                    (MaskAction::Hash, Some(value)) => self.hash(value),
                    (MaskAction::Hash, None) => {}
                }
            }
            (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_), _) => {}
        }
    }

    fn hash(&self, value: &mut Value) {
        let tag = hmac::sign(&self.key, value.to_string().as_bytes());
        *value = Value::String(format!("hmac-sha256:{}", hex::encode(tag.as_ref())));
    }
}

/// The key in this file; a new one where there is none.
fn key_of(path: &Path) -> io::Result<[u8; 32]> {
    match read_key(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        read => return read,
    }
    let mut key = [0; 32];
    rand::fill(&mut key).map_err(|_| io::Error::other("there is no randomness"))?;
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    // Written under another name first: a key that is half there would be another key.
    let fresh = path.with_extension("new");
    let _ = fs::remove_file(&fresh);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
    file.write_all(hex::encode(key).as_bytes())?;
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    fs::File::open(directory)?.sync_all()?;
    Ok(key)
}

fn read_key(path: &Path) -> io::Result<[u8; 32]> {
    let text = regular::read(path, 1_024)?;
    let wrong = || io::Error::new(io::ErrorKind::InvalidData, "it is not 64 hexadecimal digits");
    let mut key = [0; 32];
    hex::decode_to_slice(text.trim_ascii(), &mut key).map_err(|_| wrong())?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn mask(rules: &[(&str, MaskAction)]) -> RecordMask {
        let rules = rules
            .iter()
            .map(|(pointer, action)| MaskRule { pointer: pointer.parse().unwrap(), action: *action });
        RecordMask::new(rules.collect(), &[7; 32])
    }

    #[test]
    fn values_are_dropped_or_hashed_wherever_the_pointer_leads() {
        let record = json!({
            "seq": 1,
            "source": { "ip": "10.0.0.7", "tls": true },
            "items": [{ "resource": "a", "context": { "x": 1 } }, { "resource": "b" }, { "resource": "a" }],
            "a/b": { "~": "tilde" },
        });
        let mask = mask(&[
            ("/source/ip", MaskAction::Hash),
            ("/items/*/resource", MaskAction::Hash),
            ("/items/0/context", MaskAction::Drop),
            ("/a~1b/~0", MaskAction::Drop),
            ("/nothing/here", MaskAction::Drop),
            ("/seq/deeper", MaskAction::Hash),
        ]);
        let mut masked = record.clone();
        mask.apply(&mut masked);
        let hash = masked["source"]["ip"].as_str().unwrap();
        assert!(hash.starts_with("hmac-sha256:") && hash.len() == 12 + 64, "{hash}");
        assert_eq!(masked["items"][0]["resource"], masked["items"][2]["resource"], "equal values stay equal");
        assert_ne!(masked["items"][0]["resource"], masked["items"][1]["resource"]);
        assert_eq!(masked["items"][0].get("context"), None);
        assert_eq!(masked["a/b"], json!({}));
        assert_eq!(masked["source"]["tls"], true);
        assert!(!masked.to_string().contains("10.0.0.7"));
        let other = RecordMask::new(
            vec![MaskRule { pointer: "/source/ip".parse().unwrap(), action: MaskAction::Hash }],
            &[8; 32],
        );
        let mut with_another_key = record;
        other.apply(&mut with_another_key);
        assert_ne!(with_another_key["source"]["ip"], masked["source"]["ip"]);
    }

    #[test]
    fn a_pointer_is_refused_where_receivers_need_the_field() {
        for (text, fault) in [
            ("source/ip", PointerError::Form),
            ("", PointerError::Form),
            ("/", PointerError::Form),
            ("/a//b", PointerError::Form),
            ("/seq", PointerError::Needed("seq")),
            ("/*", PointerError::Needed("seq")),
            ("/outcome", PointerError::Needed("outcome")),
        ] {
            assert_eq!(text.parse::<MaskPointer>(), Err(fault), "{text}");
        }
        let pointer: MaskPointer = "/a~1b/~0/*".parse().unwrap();
        assert_eq!(pointer.to_string(), "/a~1b/~0/*");
    }

    #[test]
    fn the_key_is_made_once_for_its_owner_alone_and_a_wrong_file_is_refused() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/mask.key");
        let first = key_of(&path).unwrap();
        assert_eq!(key_of(&path).unwrap(), first);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::write(&path, "short").unwrap();
        assert_eq!(key_of(&path).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
