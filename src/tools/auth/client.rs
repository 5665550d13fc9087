//! How the gateway proves itself to an authorization server: a shared secret, or a signed assertion.

use std::path::Path;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::HeaderValue;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value as Json, json};

use super::error::TokenError;
use super::http::percent;
use super::settings::{ClientKey, OauthClient, SharedSecret};
use crate::secret::Secret;

/// The longest secret or key file.
const LARGEST_FILE: u64 = 16 * 1024;
/// How long an assertion counts, in seconds.
const ASSERTION_SECONDS: i64 = 60;
/// RSA keys with fewer bits are refused.
const SHORTEST_RSA_BITS: usize = 2_048;
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// What a request for a token says of its client.
#[derive(Default)]
pub(super) struct ClientProof {
    pub(super) authorization: Option<HeaderValue>,
    /// Fields of the form; secret ones among them.
    fields: Vec<(&'static str, Secret<String>)>,
}

impl ClientProof {
    pub(super) fn fields(&self) -> impl Iterator<Item = (&str, &str)> {
        self.fields.iter().map(|(name, value)| (*name, value.expose().as_str()))
    }

    fn with(name: &'static str, value: String) -> Self {
        Self { authorization: None, fields: vec![(name, Secret::new(value))] }
    }

    /// Proves the client to the authorization server called `audience`. Reads files: off the async threads.
    pub(super) fn of(client: &OauthClient, audience: &str, now_seconds: i64) -> Result<Self, TokenError> {
        let id = client.id.as_str();
        match &client.key {
            ClientKey::Basic(source) => {
                let secret = secret(source)?;
                // Both are encoded as in a form first (RFC 6749, section 2.3.1).
                let pair = Secret::new(format!("{}:{}", percent(id), percent(secret.expose())));
                let text = Secret::new(format!("Basic {}", STANDARD.encode(pair.expose())));
                let mut value = HeaderValue::from_str(text.expose())
                    .map_err(|_| TokenError::Key("it cannot be sent in a header field"))?;
                value.set_sensitive(true);
                Ok(Self { authorization: Some(value), fields: Vec::new() })
            }
            ClientKey::Post(source) => {
                let mut proof = Self::with("client_id", id.to_owned());
                proof.fields.push(("client_secret", secret(source)?));
                Ok(proof)
            }
            ClientKey::Public => Ok(Self::with("client_id", id.to_owned())),
            ClientKey::PrivateKey { file, kid } => {
                let key = SigningKey::read(file)?;
                let assertion = key.assertion(id, audience, kid.as_deref(), now_seconds)?;
                let mut proof = Self::with("client_id", id.to_owned());
                proof.fields.push(("client_assertion_type", Secret::new(ASSERTION_TYPE.to_owned())));
                proof.fields.push(("client_assertion", assertion));
                Ok(proof)
            }
        }
    }
}

/// Reads a secret of one line. Blocking.
pub(in crate::tools) fn secret(source: &SharedSecret) -> Result<Secret<String>, TokenError> {
    let path = match source {
        SharedSecret::Given(secret) => return Ok(Secret::new(secret.expose().clone())),
        SharedSecret::File(path) => path,
    };
    let bytes = read(path)?;
    let text = std::str::from_utf8(bytes.expose()).map(|text| text.trim_end_matches(['\r', '\n']));
    match text {
        Ok(text) if !text.is_empty() && !text.contains(char::is_control) => Ok(Secret::new(text.to_owned())),
        _ => Err(TokenError::Key("its file does not hold one line of text")),
    }
}

/// Reads a secret of several lines, without the empty ones. Blocking.
pub(in crate::tools) fn secret_lines(source: &SharedSecret) -> Result<Vec<Secret<String>>, TokenError> {
    let bytes = match source {
        SharedSecret::Given(secret) => Secret::new(secret.expose().as_bytes().to_vec()),
        SharedSecret::File(path) => read(path)?,
    };
    let text = std::str::from_utf8(bytes.expose())
        .map_err(|_| TokenError::Key("its file does not hold lines of text"))?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    Ok(lines.map(|line| Secret::new(line.to_owned())).collect())
}

fn read(path: &Path) -> Result<Secret<Vec<u8>>, TokenError> {
    let bytes = Secret::new(crate::regular::read(path, LARGEST_FILE).map_err(TokenError::File)?);
    if bytes.expose().len() as u64 > LARGEST_FILE {
        return Err(TokenError::Key("its file is too large"));
    }
    Ok(bytes)
}

/// A private key of one of the three kinds that assertions are signed with.
enum SigningKey {
    Ed25519(Ed25519KeyPair),
    P256(EcdsaKeyPair),
    Rsa(RsaKeyPair),
}

impl SigningKey {
    fn read(path: &Path) -> Result<Self, TokenError> {
        let bytes = read(path)?;
        let key = PrivatePkcs8KeyDer::from_pem_slice(bytes.expose())
            .map_err(|_| TokenError::Key("its file holds no private key in PEM (PKCS #8)"))?;
        let der = key.secret_pkcs8_der();
        if let Ok(key) = Ed25519KeyPair::from_pkcs8(der) {
            return Ok(Self::Ed25519(key));
        }
        if let Ok(key) = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der) {
            return Ok(Self::P256(key));
        }
        match RsaKeyPair::from_pkcs8(der) {
            Ok(key) if key.public_modulus_len().saturating_mul(8) >= SHORTEST_RSA_BITS => Ok(Self::Rsa(key)),
            Ok(_) => Err(TokenError::Key("it is an RSA key of less than 2,048 bits")),
            Err(_) => Err(TokenError::Key("it is no key of Ed25519, P-256 or RSA")),
        }
    }

    fn algorithm(&self) -> &'static str {
        match self {
            Self::Ed25519(_) => "EdDSA",
            Self::P256(_) => "ES256",
            Self::Rsa(_) => "RS256",
        }
    }

    fn sign(&self, input: &[u8]) -> Result<Vec<u8>, TokenError> {
        let random = SystemRandom::new();
        let failed = |_| TokenError::Key("it cannot sign");
        match self {
            Self::Ed25519(key) => Ok(key.sign(input).as_ref().to_vec()),
            Self::P256(key) => Ok(key.sign(&random, input).map_err(failed)?.as_ref().to_vec()),
            Self::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &random, input, &mut signature).map_err(failed)?;
                Ok(signature)
            }
        }
    }

    /// An assertion about the client `id` for one authorization server (RFC 7523, section 3).
    fn assertion(
        &self,
        id: &str,
        audience: &str,
        kid: Option<&str>,
        now_seconds: i64,
    ) -> Result<Secret<String>, TokenError> {
        let mut random = [0_u8; 16];
        aws_lc_rs::rand::fill(&mut random).map_err(|_| TokenError::Key("the system gave no random bytes"))?;
        let mut header = json!({ "alg": self.algorithm(), "typ": "JWT" });
        if let (Some(kid), Some(header)) = (kid, header.as_object_mut()) {
            header.insert("kid".to_owned(), kid.into());
        }
        let claims = json!({
            "iss": id, "sub": id, "aud": audience, "jti": hex::encode(random),
            "iat": now_seconds, "exp": now_seconds.saturating_add(ASSERTION_SECONDS),
        });
        let encode = |value: Json| URL_SAFE_NO_PAD.encode(value.to_string());
        let input = format!("{}.{}", encode(header), encode(claims));
        let signature = URL_SAFE_NO_PAD.encode(self.sign(input.as_bytes())?);
        Ok(Secret::new(format!("{input}.{signature}")))
    }
}
