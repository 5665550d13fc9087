//! Makes tokens: a fresh Ed25519 key, its public half as a PEM file, and signed claims.
//!
//! For `caxton demo` and for trying things out. The private key lives in memory only and dies with the process.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Map, Value, json};

use super::AuthnError;
use crate::clock::SharedClock;
use crate::secret::Secret;

/// Signs tokens as one issuer for one audience.
pub struct TokenIssuer {
    key: Ed25519KeyPair,
    issuer: Arc<str>,
    audience: Arc<str>,
    clock: SharedClock,
}

impl TokenIssuer {
    /// Makes a key pair.
    pub fn generate(
        issuer: impl Into<Arc<str>>,
        audience: impl Into<Arc<str>>,
        clock: SharedClock,
    ) -> Result<Self, AuthnError> {
        let key = Ed25519KeyPair::generate().map_err(|_| AuthnError::SigningKey)?;
        Ok(Self { key, issuer: issuer.into(), audience: audience.into(), clock })
    }

    /// The public key in PEM (RFC 7468 section 13), which [`KeyMaterial`](super::jwt::KeyMaterial) takes.
    pub fn public_pem(&self) -> Result<String, AuthnError> {
        let der: PublicKeyX509Der<'_> = self.key.public_key().as_der().map_err(|_| AuthnError::SigningKey)?;
        // 44 bytes: one line of PEM holds 48.
        Ok(format!(
            "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
            STANDARD.encode(der.as_ref())
        ))
    }

    /// Writes the public key to a file.
    pub fn write_public_pem(&self, path: &Path) -> Result<(), AuthnError> {
        fs::write(path, self.public_pem()?)
            .map_err(|source| AuthnError::KeyFile { path: path.to_owned(), source })
    }

    /// A token for `subject` that ends after `lifetime`; `claims` may add others, but not the five that are set here
    /// (`iss`, `aud`, `sub`, `iat`, `exp`).
    pub fn issue(&self, subject: &str, lifetime: Duration, mut claims: Map<String, Value>) -> Secret<String> {
        let now = self.clock.now_seconds();
        let expires = now.saturating_add(i64::try_from(lifetime.as_secs()).unwrap_or(i64::MAX));
        let own = [
            ("iss", json!(&*self.issuer)),
            ("aud", json!(&*self.audience)),
            ("sub", json!(subject)),
            ("iat", json!(now)),
            ("exp", json!(expires)),
        ];
        claims.extend(own.map(|(name, value)| (name.to_owned(), value)));
        let encode = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let input =
            format!("{}.{}", encode(json!({ "alg": "EdDSA", "typ": "JWT" })), encode(Value::Object(claims)));
        let signature = URL_SAFE_NO_PAD.encode(self.key.sign(input.as_bytes()));
        Secret::new(format!("{input}.{signature}"))
    }
}

impl std::fmt::Debug for TokenIssuer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenIssuer").field("issuer", &self.issuer).finish_non_exhaustive()
    }
}
