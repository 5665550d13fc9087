//! What the operator says about tokens.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::authn::AuthnError;
use crate::secret::Secret;

/// The most that two clocks may differ.
const MAX_LEEWAY: Duration = Duration::from_secs(5);
/// A request may cost at most this many signature checks.
const MAX_KEYS: usize = 16;

/// A signature algorithm (RFC 7518, RFC 8037). A key has one, for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum JwtAlgorithm {
    /// RSA, PKCS #1 v1.5, SHA-256; 2,048 to 8,192 bits.
    Rs256,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// Ed25519.
    EdDsa,
    /// HMAC with SHA-256: whoever can check a token can make one, so prefer any other.
    Hs256,
}

impl JwtAlgorithm {
    /// The name in a token's header.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
            Self::Hs256 => "HS256",
        }
    }
}

impl std::str::FromStr for JwtAlgorithm {
    type Err = AuthnError;

    fn from_str(text: &str) -> Result<Self, AuthnError> {
        [Self::Rs256, Self::Es256, Self::EdDsa, Self::Hs256].into_iter().find(|a| a.as_str() == text).ok_or(
            AuthnError::JwtSetting { setting: "algorithm", reason: "it is not RS256, ES256, EdDSA or HS256" },
        )
    }
}

/// Where a key comes from.
pub enum KeyMaterial {
    /// A file: a PEM public key, or for HS256 the raw secret (one final line break is not part of it).
    File(PathBuf),
    /// A PEM public key (`PUBLIC KEY` or `RSA PUBLIC KEY`).
    Pem(String),
    /// The secret of an HS256 key, at least 32 bytes.
    Secret(Secret<Vec<u8>>),
}

impl fmt::Debug for KeyMaterial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Pem(pem) => f.debug_tuple("Pem").field(pem).finish(),
            Self::Secret(_) => f.write_str("Secret(…)"),
        }
    }
}

/// A key that may verify tokens.
#[derive(Debug)]
pub struct JwtKey {
    /// The operator's name for it; goes into the record of what it proved.
    pub name: Arc<str>,
    /// The only algorithm that it is ever used with.
    pub algorithm: JwtAlgorithm,
    /// The key itself.
    pub material: KeyMaterial,
    /// With a `kid` only for tokens that name it; without one for any token.
    pub kid: Option<String>,
}

/// Which tokens count.
#[derive(Debug)]
pub struct Settings {
    /// At least one, at most 16.
    pub keys: Vec<JwtKey>,
    /// The one issuer (`iss`).
    pub issuer: Arc<str>,
    /// What a token's `aud` must contain.
    pub audience: Arc<str>,
    /// How far the clocks may be apart; whole seconds, at most 5.
    pub leeway: Duration,
    /// Longer tokens are refused unread; bytes.
    pub max_token_bytes: usize,
    /// How many proven tokens are remembered; 0 checks every signature anew.
    pub cache_entries: usize,
}

impl Default for Settings {
    /// Issuer and audience as in the guides, no key: `keys` must be given.
    fn default() -> Self {
        Self {
            keys: Vec::new(),
            issuer: "caxton-auth".into(),
            audience: "caxton-api".into(),
            leeway: MAX_LEEWAY,
            max_token_bytes: 8 * 1024,
            cache_entries: 10_000,
        }
    }
}

impl Settings {
    pub(super) fn check(&self) -> Result<(), AuthnError> {
        let refuse = |setting, reason| Err(AuthnError::JwtSetting { setting, reason });
        let names: std::collections::HashSet<_> = self.keys.iter().map(|key| &key.name).collect();
        if self.keys.is_empty() {
            return refuse("keys", "there is none");
        }
        if self.keys.len() > MAX_KEYS {
            return refuse("keys", "there are more than 16");
        }
        if names.len() != self.keys.len() {
            return refuse("keys", "two have the same name");
        }
        if self.issuer.is_empty() {
            return refuse("issuer", "it is empty");
        }
        if self.audience.is_empty() {
            return refuse("audience", "it is empty");
        }
        if self.leeway > MAX_LEEWAY {
            return refuse("leeway", "it is more than 5 seconds");
        }
        Ok(())
    }
}
