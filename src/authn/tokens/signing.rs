//! The keys that sign own tokens: the private half of the one in use in a file of its own, the public halves of all that
//! may still have tokens about in the store.
//!
//! A rotation makes a new pair and deletes the old private half at once; the old public half stays until the last token
//! that it signed has ended. Every process sees it with the next token that it makes or checks.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use parking_lot::Mutex;
use serde_json::{Map, Value, json};

use super::port::{LoginStore, PreviousKeys};
use crate::authn::AuthnError;
use crate::authn::api_key::random_text;
use crate::secret::Secret;

/// Marks a `kid` of ours, so that a token of another issuer is recognised without a look into the store.
const PREFIX: &str = "caxton-";
const RANDOM_LENGTH: usize = 16;
/// A PKCS #8 Ed25519 key has less than 100 bytes.
const MAX_FILE_BYTES: u64 = 1024;

/// Whether a `kid` could be of ours.
pub(super) fn may_be_ours(kid: &str) -> bool {
    kid.strip_prefix(PREFIX).is_some_and(|rest| {
        rest.len() == RANDOM_LENGTH && rest.bytes().all(|byte| byte.is_ascii_alphanumeric())
    })
}

/// Signs with the key in use.
pub(super) struct SigningKeys {
    directory: PathBuf,
    loaded: Mutex<Option<(String, Arc<Ed25519KeyPair>)>>,
}

impl SigningKeys {
    pub(super) fn new(directory: PathBuf) -> Self {
        Self { directory, loaded: Mutex::new(None) }
    }

    /// Makes the first key where there is none.
    pub(super) fn ensure(&self, store: &dyn LoginStore, now: i64) -> Result<(), AuthnError> {
        if store.signing_kid()?.is_none() {
            self.rotate(store, now, PreviousKeys::Retired)?;
        }
        self.current(store).map(drop)
    }

    /// Makes a new key and retires the one in use; answers with the new `kid`.
    pub(super) fn rotate(
        &self,
        store: &dyn LoginStore,
        now: i64,
        old: PreviousKeys,
    ) -> Result<String, AuthnError> {
        let kid = format!("{PREFIX}{}", random_text(RANDOM_LENGTH)?);
        let pair = Ed25519KeyPair::generate().map_err(|_| AuthnError::SigningKey)?;
        let private: Pkcs8V1Der<'_> = pair.as_der().map_err(|_| AuthnError::SigningKey)?;
        // The file first: a row without its file could not sign, a file without its row is never looked at.
        self.write(&kid, private.as_ref())?;
        let retired = store.put_signing_key(&kid, pair.public_key().as_ref(), now, old)?;
        for retired in retired {
            let path = self.path(&retired);
            if let Err(source) = fs::remove_file(&path)
                && source.kind() != io::ErrorKind::NotFound
            {
                return Err(AuthnError::KeyFile { path, source });
            }
        }
        Ok(kid)
    }

    /// The key in use.
    fn current(&self, store: &dyn LoginStore) -> Result<(String, Arc<Ed25519KeyPair>), AuthnError> {
        // Another process may rotate between the two reads; then the second look finds its key.
        let mut last = None;
        for _ in 0..3 {
            let Some(kid) = store.signing_kid()? else { break };
            let known = self.loaded.lock().clone();
            if let Some(known) = known.filter(|(loaded, _)| *loaded == kid) {
                return Ok(known);
            }
            match self.read(&kid) {
                Ok(pair) => {
                    let loaded = (kid, Arc::new(pair));
                    *self.loaded.lock() = Some(loaded.clone());
                    return Ok(loaded);
                }
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or(AuthnError::SigningKey))
    }

    /// Signs claims as a token of the type `media_type` (`at+jwt`: an access token, RFC 9068).
    pub(super) fn sign(
        &self,
        store: &dyn LoginStore,
        media_type: &str,
        claims: Map<String, Value>,
    ) -> Result<Secret<String>, AuthnError> {
        let (kid, pair) = self.current(store)?;
        let encode = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let header = json!({ "alg": "EdDSA", "typ": media_type, "kid": kid });
        let input = format!("{}.{}", encode(header), encode(Value::Object(claims)));
        let signature = URL_SAFE_NO_PAD.encode(pair.sign(input.as_bytes()));
        Ok(Secret::new(format!("{input}.{signature}")))
    }

    fn path(&self, kid: &str) -> PathBuf {
        self.directory.join(format!("{kid}.key"))
    }

    fn read(&self, kid: &str) -> Result<Ed25519KeyPair, AuthnError> {
        let path = self.path(kid);
        let failed = |source| AuthnError::KeyFile { path: path.clone(), source };
        let opened = crate::regular::open(&path).map_err(failed)?;
        let file = opened.metadata().map_err(failed)?;
        if file.mode() & 0o077 != 0 {
            let reason = "others than its owner may read or write it: set its mode to 0600";
            return Err(AuthnError::SigningFile { path, reason });
        }
        if file.len() > MAX_FILE_BYTES {
            return Err(AuthnError::SigningFile { path, reason: "it is too large for a key" });
        }
        let bytes = Secret::new(crate::regular::read(&path, MAX_FILE_BYTES).map_err(failed)?);
        Ed25519KeyPair::from_pkcs8(bytes.expose())
            .map_err(|_| AuthnError::SigningFile { path, reason: "it is no Ed25519 key in PKCS #8" })
    }

    fn write(&self, kid: &str, private: &[u8]) -> Result<(), AuthnError> {
        let path = self.path(kid);
        write_synced(&self.directory, &path, private).map_err(|source| AuthnError::KeyFile { path, source })
    }
}

/// Writes a new file in a directory, which is made when it is not there, so that it outlasts a loss of power.
fn write_synced(directory: &Path, path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::File::open(directory)?.sync_all()
}

/// The public halves as a key set (RFC 7517, RFC 8037).
pub(super) fn key_set(keys: &[(String, [u8; 32])]) -> Value {
    let keys = keys.iter().map(|(kid, public)| {
        json!({
            "kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": kid,
            "x": URL_SAFE_NO_PAD.encode(public),
        })
    });
    json!({ "keys": keys.collect::<Vec<_>>() })
}
