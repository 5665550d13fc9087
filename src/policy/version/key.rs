//! Keys that sign versions: Ed25519 (RFC 8032), each with a name, and the set of those that are trusted.
//!
//! Keys rotate: the new one is added to the trusted set, the live version is signed with it as well, then the old one is
//! taken out or runs out. Nothing that an expired key has signed is accepted, also under an earlier time in the
//! manifest: a party that has an old key could write an old time.

use std::path::Path;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::error::VersionError;
use super::manifest::{Manifest, Published, Signature};
use crate::clock::rfc3339;

const ALGORITHM: &str = "Ed25519";
/// What a signature is about, so that one of this key over anything else is never one over a manifest.
const DOMAIN: &[u8] = b"caxton policy manifest 1\n";
/// The largest file of keys, in bytes.
const KEY_BYTES: u64 = 256 * 1024;
/// The longest name of a key.
const ID_CHARACTERS: usize = 64;

fn message(manifest: &Manifest) -> Result<Vec<u8>, VersionError> {
    Ok([DOMAIN, &manifest.canonical()?].concat())
}

fn check_id(id: &str) -> Result<(), VersionError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    match !id.is_empty() && id.len() <= ID_CHARACTERS && id.chars().all(plain) {
        true => Ok(()),
        false => Err(VersionError::Key(format!(
            "`{}` is not a key id: 1 to {ID_CHARACTERS} letters, digits, `-`, `_`, `.`",
            id.chars().take(ID_CHARACTERS).flat_map(char::escape_debug).collect::<String>()
        ))),
    }
}

/// A private key with its name.
pub struct SigningKey {
    id: String,
    pair: Ed25519KeyPair,
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SigningKey").field("id", &self.id).finish_non_exhaustive()
    }
}

/// As a private key is kept.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyFile<'a> {
    key_id: &'a str,
    algorithm: &'a str,
    /// PKCS #8 (RFC 8410) in Base64; borrowed, so that there is no copy that is not zeroized.
    private_key: &'a str,
}

impl SigningKey {
    /// A fresh key.
    pub fn generate(id: &str) -> Result<Self, VersionError> {
        check_id(id)?;
        let pair = Ed25519KeyPair::generate()
            .map_err(|_| VersionError::Key("the system gave no random numbers".to_owned()))?;
        Ok(Self { id: id.to_owned(), pair })
    }

    /// Its name.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Reads a file that [`SigningKey::write`] has made; one that others may read is refused.
    pub fn read(path: &Path) -> Result<Self, VersionError> {
        use std::os::unix::fs::PermissionsExt as _;
        let bytes = Zeroizing::new(super::store::read_bounded(path, KEY_BYTES)?);
        let mode = std::fs::metadata(path).map_err(VersionError::io(path))?.permissions().mode();
        if mode & 0o077 != 0 {
            return Err(VersionError::Key(format!(
                "other users can read `{}` (mode {:o}): treat the key as compromised, and `chmod 600` the file",
                path.display(),
                mode & 0o777
            )));
        }
        // Not through `json::parse`: that would leave copies of the key in memory.
        let file: KeyFile<'_> = serde_json::from_slice(&bytes)
            .map_err(|error| VersionError::malformed(format!("`{}`", path.display()), error))?;
        check_id(file.key_id)?;
        if file.algorithm != ALGORITHM {
            return Err(VersionError::Key(format!("its algorithm is not `{ALGORITHM}`")));
        }
        let unusable = |_| VersionError::Key(format!("`{}` holds no Ed25519 key", path.display()));
        let der = STANDARD.decode(file.private_key.as_bytes()).map(Zeroizing::new);
        let der = der.map_err(|_| VersionError::Key("it is not Base64".to_owned()))?;
        let pair = Ed25519KeyPair::from_pkcs8(&der).map_err(unusable)?;
        Ok(Self { id: file.key_id.to_owned(), pair })
    }

    /// Writes it to a new file that only its owner can read. A file that is there is never replaced: it could be a key.
    pub fn write(&self, path: &Path) -> Result<(), VersionError> {
        use std::io::Write as _;
        use std::os::unix::fs::OpenOptionsExt as _;
        let der = self.pair.to_pkcs8().map_err(|_| VersionError::Key("it cannot be written".to_owned()))?;
        let encoded = Zeroizing::new(STANDARD.encode(der.as_ref()));
        let file = KeyFile { key_id: &self.id, algorithm: ALGORITHM, private_key: &encoded };
        let text = Zeroizing::new(
            serde_json::to_string_pretty(&file).map_err(|error| VersionError::malformed("the key", error))?,
        );
        let made = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        let mut made = made.map_err(VersionError::io(path))?;
        let written = made.write_all(text.as_bytes()).and_then(|()| made.write_all(b"\n"));
        written.and_then(|()| made.sync_all()).map_err(VersionError::io(path))
    }

    /// The public half, to be trusted until `not_after` (milliseconds since the Unix epoch).
    pub fn public(&self, not_after: Option<i64>) -> PublicKey {
        PublicKey {
            key_id: self.id.clone(),
            algorithm: ALGORITHM.to_owned(),
            public_key: STANDARD.encode(self.pair.public_key().as_ref()),
            not_after: not_after.map(rfc3339),
        }
    }

    /// Adds its signature; an older one of the same key gives way.
    pub fn sign(&self, published: &mut Published) -> Result<(), VersionError> {
        let signature = self.pair.sign(&message(&published.manifest)?);
        published.signatures.retain(|old| old.key_id != self.id);
        published.signatures.push(Signature {
            key_id: self.id.clone(),
            algorithm: ALGORITHM.to_owned(),
            signature: STANDARD.encode(signature.as_ref()),
        });
        published.check()
    }
}

/// A key that is trusted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublicKey {
    /// Its name.
    pub key_id: String,
    /// `Ed25519`.
    pub algorithm: String,
    /// 32 bytes in Base64.
    pub public_key: String,
    /// Until when, RFC 3339; `None`: until it is taken out of the set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_after: Option<String>,
}

/// The keys whose signatures of a version count.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrustedKeys {
    /// Each with a name of its own.
    pub keys: Vec<PublicKey>,
}

impl TrustedKeys {
    /// Reads the set; an empty one is refused, because it would refuse everything.
    pub fn read(path: &Path) -> Result<Self, VersionError> {
        let what = || format!("`{}`", path.display());
        let bytes = super::store::read_bounded(path, KEY_BYTES)?;
        let set: Self =
            crate::json::parse_as(&bytes).map_err(|error| VersionError::malformed(what(), error))?;
        if set.keys.is_empty() {
            return Err(VersionError::Key(format!("{} trusts no key", what())));
        }
        for (number, key) in set.keys.iter().enumerate() {
            check_id(&key.key_id)?;
            key.bytes()?;
            if let Some(end) = &key.not_after
                && end.parse::<Timestamp>().is_err()
            {
                let why =
                    format!("`not_after` of `{}` is not a time like `2027-01-01T00:00:00Z`", key.key_id);
                return Err(VersionError::Key(why));
            }
            if set.keys.iter().take(number).any(|other| other.key_id == key.key_id) {
                let why = format!("{} has two keys `{}`", what(), key.key_id);
                return Err(VersionError::Key(why));
            }
        }
        Ok(set)
    }

    /// The id of a trusted key that has signed this manifest and has not run out.
    pub fn signer(&self, published: &Published, now_millis: i64) -> Result<String, VersionError> {
        if published.signatures.is_empty() {
            return Err(VersionError::Unsigned);
        }
        let message = message(&published.manifest)?;
        let mut why = Vec::new();
        for signature in &published.signatures {
            match self.check(signature, &message, now_millis) {
                Ok(()) => return Ok(signature.key_id.clone()),
                Err(reason) => {
                    let id: String =
                        signature.key_id.chars().take(ID_CHARACTERS).flat_map(char::escape_debug).collect();
                    why.push(format!("key `{id}` {reason}"));
                }
            }
        }
        Err(VersionError::NotTrusted(why.join(", ")))
    }

    fn check(&self, signature: &Signature, message: &[u8], now_millis: i64) -> Result<(), &'static str> {
        if signature.key_id.is_empty() {
            return Err("has no name");
        }
        let key = self.keys.iter().find(|key| key.key_id == signature.key_id).ok_or("is not trusted")?;
        if signature.algorithm != ALGORITHM {
            return Err("names another algorithm");
        }
        if key.is_over(now_millis) {
            return Err("has run out");
        }
        let bytes = key.bytes().map_err(|_| "is damaged")?;
        let given =
            STANDARD.decode(&signature.signature).map_err(|_| "has a signature that is not Base64")?;
        let key = UnparsedPublicKey::new(&ED25519, bytes);
        key.verify(message, &given).map_err(|_| "signed something else")
    }
}

impl PublicKey {
    /// Whether it has run out.
    pub fn is_over(&self, now_millis: i64) -> bool {
        // A time that cannot be read is over: it was meant to end the key.
        let passed = |end: Timestamp| now_millis >= end.as_millisecond();
        self.not_after.as_ref().is_some_and(|end| end.parse().map_or(true, passed))
    }

    fn bytes(&self) -> Result<Vec<u8>, VersionError> {
        let wrong = || VersionError::Key(format!("`{}` is not an Ed25519 key", self.key_id));
        match STANDARD.decode(&self.public_key) {
            Ok(bytes) if bytes.len() == 32 && self.algorithm == ALGORITHM => Ok(bytes),
            _ => Err(wrong()),
        }
    }
}
