//! Mints tokens for tests: three key pairs, each made once, and any header and claims.

use std::sync::{Arc, LazyLock};

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair,
};
use aws_lc_rs::{hmac, rsa};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::{JwtAlgorithm, JwtKey, KeyMaterial, Settings};
use crate::secret::Secret;

pub(crate) const ISSUER: &str = "https://issuer.example";
pub(crate) const AUDIENCE: &str = "caxton-api";
/// 2026-01-10T10:00:00Z.
pub(crate) const NOW: i64 = 1_768_039_200;
pub(crate) const SHARED_SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

pub(crate) static RSA: LazyLock<RsaKeyPair> =
    LazyLock::new(|| RsaKeyPair::generate(rsa::KeySize::Rsa2048).unwrap());
pub(crate) static P256: LazyLock<EcdsaKeyPair> =
    LazyLock::new(|| EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap());
pub(crate) static ED: LazyLock<Ed25519KeyPair> = LazyLock::new(|| Ed25519KeyPair::generate().unwrap());

pub(crate) fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<&str> =
        text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

pub(crate) fn public_pem(algorithm: JwtAlgorithm) -> String {
    let der: PublicKeyX509Der<'static> = match algorithm {
        JwtAlgorithm::Rs256 => RSA.public_key().as_der().unwrap(),
        JwtAlgorithm::Es256 => P256.public_key().as_der().unwrap(),
        JwtAlgorithm::EdDsa => ED.public_key().as_der().unwrap(),
        JwtAlgorithm::Hs256 => panic!("a shared secret has no public key"),
    };
    pem("PUBLIC KEY", der.as_ref())
}

pub(crate) fn private_pem() -> String {
    let der: Pkcs8V1Der<'static> = RSA.as_der().unwrap();
    pem("PRIVATE KEY", der.as_ref())
}

pub(crate) fn sign(algorithm: JwtAlgorithm, input: &str) -> Vec<u8> {
    let random = SystemRandom::new();
    match algorithm {
        JwtAlgorithm::Rs256 => {
            let mut signature = vec![0; RSA.public_modulus_len()];
            RSA.sign(&RSA_PKCS1_SHA256, &random, input.as_bytes(), &mut signature).unwrap();
            signature
        }
        JwtAlgorithm::Es256 => P256.sign(&random, input.as_bytes()).unwrap().as_ref().to_vec(),
        JwtAlgorithm::EdDsa => ED.sign(input.as_bytes()).as_ref().to_vec(),
        JwtAlgorithm::Hs256 => mac(SHARED_SECRET, input),
    }
}

pub(crate) fn mac(secret: &[u8], input: &str) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), input.as_bytes()).as_ref().to_vec()
}

pub(crate) fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A token with any header and payload, signed with the key of `algorithm`, whatever the header says.
pub(crate) fn token_of(algorithm: JwtAlgorithm, header: &str, payload: &str) -> String {
    let input = format!("{}.{}", encode(header), encode(payload));
    let signature = encode(sign(algorithm, &input));
    format!("{input}.{signature}")
}

pub(crate) fn token(algorithm: JwtAlgorithm, claims: &Value) -> String {
    token_of(algorithm, &json!({ "alg": algorithm.as_str(), "typ": "JWT" }).to_string(), &claims.to_string())
}

/// The public key as a JWK (RFC 7517), without `use`, `key_ops` and `alg`.
pub(crate) fn public_jwk(algorithm: JwtAlgorithm, kid: &str) -> Value {
    match algorithm {
        JwtAlgorithm::Rs256 => {
            // `RSAPublicKey` of 2,048 bits: nine bytes of tags and lengths, the modulus, and the exponent.
            let der = RSA.public_key().as_ref();
            json!({ "kty": "RSA", "kid": kid, "n": encode(&der[9..265]), "e": "AQAB" })
        }
        JwtAlgorithm::Es256 => {
            let point = P256.public_key().as_ref();
            json!({ "kty": "EC", "crv": "P-256", "kid": kid, "x": encode(&point[1..33]), "y": encode(&point[33..]) })
        }
        JwtAlgorithm::EdDsa => {
            json!({ "kty": "OKP", "crv": "Ed25519", "kid": kid, "x": encode(ED.public_key().as_ref()) })
        }
        JwtAlgorithm::Hs256 => json!({ "kty": "oct", "kid": kid, "k": encode(SHARED_SECRET) }),
    }
}

/// Claims that are accepted.
pub(crate) fn claims() -> Value {
    json!({ "iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "exp": NOW + 300 })
}

pub(crate) fn key(algorithm: JwtAlgorithm) -> JwtKey {
    let material = match algorithm {
        JwtAlgorithm::Hs256 => KeyMaterial::Secret(Secret::new(SHARED_SECRET.to_vec())),
        algorithm => KeyMaterial::Pem(public_pem(algorithm)),
    };
    JwtKey { name: Arc::from(algorithm.as_str()), algorithm, material, kid: None }
}

pub(crate) fn settings(keys: Vec<JwtKey>) -> Settings {
    Settings { keys, issuer: ISSUER.into(), audience: AUDIENCE.into(), ..Settings::default() }
}
