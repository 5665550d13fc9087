//! The keys that may verify tokens, each bound to one algorithm when it is loaded.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RsaParameters,
    VerificationAlgorithm,
};
use jsonwebtoken::DecodingKey;

use super::jws::Compact;
use super::settings::{JwtAlgorithm, JwtKey, KeyMaterial};
use crate::authn::AuthnError;
use crate::secret::Secret;

/// RFC 7518 section 3.2: the key of HS256 has at least the size of the hash.
const MIN_SECRET_BYTES: usize = 32;
pub(in crate::authn) const MIN_RSA_BITS: u32 = 2048;
pub(in crate::authn) const MAX_RSA_BITS: u32 = 8192;
/// A key file is a few kilobytes; anything larger is a mistake.
const MAX_FILE_BYTES: u64 = 64 * 1024;

/// Why no key verifies a token.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::authn) enum KeyError {
    #[error("no configured key has the token's `kid`")]
    Unknown,
    #[error("the token's `alg` is not the one its key is configured for")]
    Algorithm,
    #[error("the signature does not fit")]
    Signature,
}

impl KeyError {
    pub(in crate::authn) fn reason(&self) -> &'static str {
        match self {
            Self::Unknown => "unknown_key",
            Self::Algorithm => "wrong_algorithm",
            Self::Signature => "bad_signature",
        }
    }
}

/// The keys that verify tokens at one time.
#[derive(Debug, Default)]
pub(in crate::authn) struct Keyring(Vec<VerificationKey>);

impl Keyring {
    pub(in crate::authn) fn load(keys: Vec<JwtKey>) -> Result<Self, AuthnError> {
        keys.into_iter().map(VerificationKey::load).collect::<Result<_, _>>().map(Self)
    }

    pub(in crate::authn) fn of(keys: Vec<VerificationKey>) -> Self {
        Self(keys)
    }

    pub(in crate::authn) fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it has the same keys as another.
    pub(in crate::authn) fn same_as(&self, other: &Self) -> bool {
        self.len() == other.len() && self.0.iter().all(|key| other.has(key))
    }

    /// Without the keys that another does not have.
    pub(in crate::authn) fn retain(&mut self, other: &Self) {
        self.0.retain(|key| other.has(key));
    }

    fn has(&self, wanted: &VerificationKey) -> bool {
        self.0.iter().any(|key| key.same_as(wanted))
    }

    /// The name of the key that made the signature.
    pub(in crate::authn) fn verify(&self, token: &Compact<'_>) -> Result<Arc<str>, KeyError> {
        let mut error = KeyError::Unknown;
        for key in self.0.iter().filter(|key| key.may_be_meant_by(token.kid.as_deref())) {
            if key.algorithm.as_str() != token.algorithm {
                // A bad signature under another key says more than this.
                error = if error == KeyError::Unknown { KeyError::Algorithm } else { error };
            } else if key.check(token) {
                return Ok(Arc::clone(&key.name));
            } else {
                error = KeyError::Signature;
            }
        }
        Err(error)
    }
}

enum KeyCheck {
    Public(ParsedPublicKey),
    Shared(Box<hmac::Key>),
}

pub(in crate::authn) struct VerificationKey {
    name: Arc<str>,
    kid: Option<String>,
    algorithm: JwtAlgorithm,
    check: KeyCheck,
    serves_unnamed: bool,
}

impl fmt::Debug for VerificationKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("name", &self.name)
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}

impl VerificationKey {
    pub(in crate::authn) fn load(key: JwtKey) -> Result<Self, AuthnError> {
        let refuse = |reason| AuthnError::KeyMaterial {
            key: key.name.as_ref().to_owned(),
            algorithm: key.algorithm.as_str(),
            reason,
        };
        let bytes = match key.material {
            KeyMaterial::File(path) => read(&path)?,
            KeyMaterial::Pem(pem) => Secret::new(pem.into_bytes()),
            KeyMaterial::Secret(secret) => secret,
        };
        let check = match key.algorithm {
            JwtAlgorithm::Hs256 => shared(bytes.expose()).map(|key| KeyCheck::Shared(Box::new(key))),
            algorithm => public(algorithm, bytes.expose()).map(KeyCheck::Public),
        }
        .map_err(refuse)?;
        Ok(Self { name: key.name, kid: key.kid, algorithm: key.algorithm, check, serves_unnamed: false })
    }

    /// A key that was read already.
    pub(in crate::authn) fn public(
        name: Arc<str>,
        kid: Option<String>,
        algorithm: JwtAlgorithm,
        key: ParsedPublicKey,
    ) -> Self {
        Self { name, kid, algorithm, check: KeyCheck::Public(key), serves_unnamed: false }
    }

    /// Lets the key serve tokens that name no key, although it has a `kid` itself.
    pub(in crate::authn) fn serve_unnamed(&mut self) {
        self.serves_unnamed = true;
    }

    /// Whether it verifies the same tokens. A shared secret counts as another one each time it is read.
    fn same_as(&self, other: &Self) -> bool {
        let same_key = match (&self.check, &other.check) {
            (KeyCheck::Public(one), KeyCheck::Public(two)) => one.as_ref() == two.as_ref(),
            (KeyCheck::Shared(_), _) | (_, KeyCheck::Shared(_)) => false,
        };
        let same_use = self.serves_unnamed == other.serves_unnamed && self.kid == other.kid;
        same_key && same_use && self.algorithm == other.algorithm
    }

    fn may_be_meant_by(&self, kid: Option<&str>) -> bool {
        match (&self.kid, kid) {
            (None, _) => true,
            (Some(own), Some(wanted)) => own == wanted,
            (Some(_), None) => self.serves_unnamed,
        }
    }

    /// Whether this key, with its own algorithm, made the signature.
    pub(in crate::authn) fn check(&self, token: &Compact<'_>) -> bool {
        let message = token.signing_input.as_bytes();
        match &self.check {
            KeyCheck::Public(key) => key.verify_sig(message, &token.signature).is_ok(),
            // Compares in constant time.
            KeyCheck::Shared(key) => hmac::verify(key, message, &token.signature).is_ok(),
        }
    }
}

pub(in crate::authn) fn read(path: &Path) -> Result<Secret<Vec<u8>>, AuthnError> {
    let failed = |source| AuthnError::KeyFile { path: path.to_owned(), source };
    let bytes = crate::regular::read(path, MAX_FILE_BYTES).map(Secret::new).map_err(failed)?;
    if bytes.expose().len() as u64 > MAX_FILE_BYTES {
        return Err(failed(std::io::Error::new(std::io::ErrorKind::FileTooLarge, "larger than 64 KiB")));
    }
    Ok(bytes)
}

/// A public key as HMAC secret is the classic confusion of algorithms: the key is public, so anyone could sign.
fn shared(bytes: &[u8]) -> Result<hmac::Key, &'static str> {
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
    let start = bytes.trim_ascii_start();
    let contains = |needle: &[u8]| bytes.windows(needle.len()).any(|window| window == needle);
    if contains(b"-----BEGIN") || start.starts_with(b"ssh-") || contains(b"\"kty\"") {
        return Err("the secret looks like a key file, which may be public");
    }
    if bytes.len() < MIN_SECRET_BYTES {
        return Err("the secret has fewer than 32 bytes");
    }
    Ok(hmac::Key::new(hmac::HMAC_SHA256, bytes))
}

fn public(algorithm: JwtAlgorithm, pem: &[u8]) -> Result<ParsedPublicKey, &'static str> {
    let text = std::str::from_utf8(pem).map_err(|_| "it is not a PEM file")?;
    if text.contains("PRIVATE KEY-----") {
        return Err("it is a private key; the gateway needs only the public one");
    }
    if text.matches("-----BEGIN ").count() != 1 || !text.contains("PUBLIC KEY-----") {
        return Err("it is not a PEM file with exactly one public key");
    }
    let key = match algorithm {
        JwtAlgorithm::Rs256 => DecodingKey::from_rsa_pem(pem),
        JwtAlgorithm::Es256 => DecodingKey::from_ec_pem(pem),
        JwtAlgorithm::EdDsa => DecodingKey::from_ed_pem(pem),
        JwtAlgorithm::Hs256 => return Err("a shared secret is not a public key"),
    }
    .map_err(|_| "it is a key of another kind")?;
    parse(algorithm, key.try_get_as_bytes().map_err(|_| "it is a key of another kind")?)
}

/// From the bare key: PKCS #1 for RSA, the uncompressed point for P-256, 32 bytes for Ed25519.
pub(in crate::authn) fn parse(algorithm: JwtAlgorithm, der: &[u8]) -> Result<ParsedPublicKey, &'static str> {
    let verification: &'static dyn VerificationAlgorithm = match algorithm {
        JwtAlgorithm::Rs256 => {
            let bits = RsaParameters::public_modulus_len(der).map_err(|_| "it is not an RSA key")?;
            if bits < MIN_RSA_BITS {
                return Err("an RSA key needs at least 2048 bits");
            }
            &RSA_PKCS1_2048_8192_SHA256
        }
        JwtAlgorithm::Es256 => &ECDSA_P256_SHA256_FIXED,
        JwtAlgorithm::EdDsa => &ED25519,
        JwtAlgorithm::Hs256 => return Err("a shared secret is not a public key"),
    };
    ParsedPublicKey::new(verification, der).map_err(|_| "the key itself is not valid")
}
