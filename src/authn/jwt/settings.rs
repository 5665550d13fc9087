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
    /// HMAC with SHA-256: the key that verifies a token can also make one, so prefer any other.
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

/// The source of a key.
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

impl JwtKey {
    /// The same key, to be read anew, if it is a public one in a file.
    pub(super) fn in_file(&self) -> Option<Self> {
        let KeyMaterial::File(path) = &self.material else { return None };
        (self.algorithm != JwtAlgorithm::Hs256).then(|| Self {
            name: Arc::clone(&self.name),
            algorithm: self.algorithm,
            material: KeyMaterial::File(path.clone()),
            kid: self.kid.clone(),
        })
    }
}

/// A key set of the issuer (RFC 7517, section 5).
#[derive(Debug, Clone)]
pub enum JwksPlace {
    /// A file, read at start and on each reload.
    File(PathBuf),
    /// An address that is asked in the background.
    Url(JwksUrl),
}

/// How a key set is fetched.
#[derive(Debug, Clone)]
pub struct JwksUrl {
    /// Its address: `https`, or `http` on this host.
    pub url: crate::secret::Address,
    /// Time between two fetches that succeed. Default 10 minutes.
    pub refresh: Duration,
    /// The least time between two fetches that unknown keys set off. Default 30 s.
    pub min_interval: Duration,
    /// The age at which the keys no longer count, when none can be fetched. Default 24 hours.
    pub stale_after: Duration,
    /// Time for one fetch. Default 5 s.
    pub timeout: Duration,
    /// The largest answer, in bytes. Default 256 KiB.
    pub max_bytes: usize,
}

/// The wait after a first failed fetch; it doubles with each further one.
const FIRST_WAIT: Duration = Duration::from_secs(1);

impl JwksUrl {
    /// The usual bounds for this address.
    pub fn new(url: crate::secret::Address) -> Self {
        Self {
            url,
            refresh: Duration::from_secs(600),
            min_interval: Duration::from_secs(30),
            stale_after: Duration::from_secs(24 * 3600),
            timeout: Duration::from_secs(5),
            max_bytes: 256 * 1024,
        }
    }

    /// How long to wait after so many failures in a row.
    pub(super) fn wait(&self, failures: u32) -> Duration {
        match failures.checked_sub(1) {
            None => self.refresh,
            Some(doublings) => FIRST_WAIT.saturating_mul(1 << doublings.min(16)).min(self.refresh),
        }
    }

    fn is_private(&self) -> bool {
        is_private(self.url.expose())
    }
}

/// Whether requests to this address and their answers are safe from third parties: `https`, or this host.
pub(in crate::authn) fn is_private(url: &reqwest::Url) -> bool {
    let own = match url.host_str() {
        Some("localhost") => true,
        Some(host) => {
            let host = host.trim_start_matches('[').trim_end_matches(']');
            host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
        }
        None => false,
    };
    url.scheme() == "https" || url.scheme() == "http" && own
}

/// Which tokens are accepted.
#[derive(Debug)]
pub struct Settings {
    /// At least one, at most 16; none when there is a key set.
    pub keys: Vec<JwtKey>,
    /// A key set, of which only keys for this algorithm are used.
    pub jwks: Option<(JwtAlgorithm, JwksPlace)>,
    /// The one issuer (`iss`).
    pub issuer: Arc<str>,
    /// The audience that a token's `aud` must contain.
    pub audience: Arc<str>,
    /// Names of this gateway as a protected resource (RFC 9728, RFC 8707); a token for one of them is for us as well.
    pub resources: Vec<Arc<str>>,
    /// Whether tokens with `act` are accepted (RFC 8693, section 4.1). Policies see the chain. Off by default: a policy that
    /// does not look at it permits to the one that acts all that the subject may do.
    pub delegated: bool,
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
            jwks: None,
            issuer: "caxton-auth".into(),
            audience: "caxton-api".into(),
            resources: Vec::new(),
            delegated: false,
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
        if self.keys.is_empty() == self.jwks.is_none() {
            return refuse("keys", "either keys or one key set must be given");
        }
        if let Some((algorithm, place)) = &self.jwks {
            if *algorithm == JwtAlgorithm::Hs256 {
                return refuse("jwks", "a shared secret has no place in a key set");
            }
            if matches!(place, JwksPlace::Url(url) if !url.is_private()) {
                return refuse("jwks", "keys that cross the network in the clear can be replaced on the way");
            }
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
