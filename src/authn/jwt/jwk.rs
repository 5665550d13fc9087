//! Key sets of an issuer (RFC 7517, section 5), taken apart but trusted no further than one algorithm.
//!
//! A set is refused as a whole when it shows that its maker errs about what a public set is: a private or shared key in
//! it, or two keys of one `kid`. A key for another purpose, or one that is too weak, is left out and said.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::JwtAlgorithm;
use super::jws::is_kid;
use super::key::{MAX_RSA_BITS, MIN_RSA_BITS, VerificationKey, parse};
use crate::json;
use crate::model::Thumbprint;

/// A set has a key in use and its successors; more is a mistake, and each one costs a signature check.
const MAX_KEYS: usize = 64;
/// Members that only private and shared keys have (RFC 7518, sections 6.2.2, 6.3.2, 6.4.1).
const PRIVATE: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// Why a whole set is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each variant's message says what it is")]
pub enum JwkError {
    #[error("it is not a JSON object with a list `keys` of objects, each name once")]
    Malformed,
    #[error("it has more than 64 keys")]
    TooMany,
    #[error("it has a private or shared key, which has no place in a public set")]
    Private,
    #[error("two of its keys have the same `kid`")]
    Duplicate,
    #[error("no key in it can be used")]
    Empty,
}

/// The keys of a set that serve one algorithm, and what was left out and why.
#[derive(Debug)]
pub(super) struct ParsedKeySet {
    pub(super) keys: Vec<VerificationKey>,
    pub(super) left_out: Vec<(String, &'static str)>,
}

/// Reads a set for the one algorithm that the operator configured.
pub(super) fn read(bytes: &[u8], algorithm: JwtAlgorithm) -> Result<ParsedKeySet, JwkError> {
    let set = json::parse_object(bytes).map_err(|_| JwkError::Malformed)?;
    let listed = set.get("keys").and_then(Value::as_array).ok_or(JwkError::Malformed)?;
    if listed.len() > MAX_KEYS {
        return Err(JwkError::TooMany);
    }
    let mut kids = std::collections::HashSet::new();
    let mut found = ParsedKeySet { keys: Vec::new(), left_out: Vec::new() };
    for jwk in listed {
        let jwk = jwk.as_object().ok_or(JwkError::Malformed)?;
        if PRIVATE.iter().any(|name| jwk.contains_key(*name)) || text(jwk, "kty") == Some("oct") {
            return Err(JwkError::Private);
        }
        let kid = match kid(jwk) {
            Ok(kid) => kid,
            Err(reason) => {
                found.left_out.push(("(no kid)".to_owned(), reason));
                continue;
            }
        };
        match key(jwk, kid, algorithm) {
            // Which of two keys a token means must never be a question; one that verifies nothing is not meant.
            Ok(_) if kid.is_some_and(|kid| !kids.insert(kid)) => return Err(JwkError::Duplicate),
            Ok(key) => found.keys.push(key),
            Err(reason) => found.left_out.push((kid.unwrap_or("(no kid)").to_owned(), reason)),
        }
    }
    match found.keys.as_mut_slice() {
        [] => return Err(JwkError::Empty),
        // A token need not name the only key there is.
        [only] => only.serve_unnamed(),
        _ => {}
    }
    Ok(found)
}

fn text<'j>(jwk: &'j Map<String, Value>, name: &str) -> Option<&'j str> {
    jwk.get(name).and_then(Value::as_str)
}

fn kid(jwk: &Map<String, Value>) -> Result<Option<&str>, &'static str> {
    match jwk.get("kid") {
        None => Ok(None),
        Some(Value::String(kid)) if is_kid(kid) => Ok(Some(kid)),
        Some(_) => Err("its `kid` is no text of 1 to 128 bytes without control characters"),
    }
}

fn key(
    jwk: &Map<String, Value>,
    kid: Option<&str>,
    algorithm: JwtAlgorithm,
) -> Result<VerificationKey, &'static str> {
    check_purpose(jwk, algorithm)?;
    let bytes = |name: &str| {
        let text = text(jwk, name).ok_or("a part of the key is missing")?;
        URL_SAFE_NO_PAD.decode(text).map_err(|_| "a part of the key is not base64url")
    };
    let kind = (text(jwk, "kty"), text(jwk, "crv"));
    let public = match (algorithm, kind) {
        (JwtAlgorithm::Rs256, (Some("RSA"), None)) => rsa(&bytes("n")?, &bytes("e")?)?,
        (JwtAlgorithm::Es256, (Some("EC"), Some("P-256"))) => {
            let x = bytes("x")?;
            let y = bytes("y")?;
            // RFC 7518 section 6.2.1.2: the full size of a coordinate.
            if x.len() != 32 || y.len() != 32 {
                return Err("a coordinate does not have 32 bytes");
            }
            parse(algorithm, &[&[4], x.as_slice(), y.as_slice()].concat())?
        }
        (JwtAlgorithm::EdDsa, (Some("OKP"), Some("Ed25519"))) => parse(algorithm, &bytes("x")?)?,
        _ => return Err("it is a key of another kind"),
    };
    let name = kid.map_or_else(|| "jwks".into(), |kid| format!("jwks:{kid}").into());
    Ok(VerificationKey::public(name, kid.map(str::to_owned), algorithm, public))
}

/// The key that a proof of possession brings with it, for the one algorithm that the proof names, and its thumbprint
/// (RFC 7638). Whose key it is, it does not say.
pub(in crate::authn) fn holder_key(
    jwk: &Map<String, Value>,
    algorithm: JwtAlgorithm,
) -> Result<(VerificationKey, Thumbprint), &'static str> {
    if PRIVATE.iter().any(|name| jwk.contains_key(*name)) {
        return Err("it contains private key parameters, which must not be published");
    }
    let key = key(jwk, None, algorithm)?;
    // In the order of their names, without space; the values are base64url and need no escapes.
    let names: &[&str] = match algorithm {
        JwtAlgorithm::Rs256 => &["e", "kty", "n"],
        JwtAlgorithm::Es256 => &["crv", "kty", "x", "y"],
        JwtAlgorithm::EdDsa => &["crv", "kty", "x"],
        JwtAlgorithm::Hs256 => return Err("a shared secret is not a public key"),
    };
    let members = names.iter().map(|name| format!("\"{name}\":\"{}\"", text(jwk, name).unwrap_or_default()));
    let canonical = format!("{{{}}}", members.collect::<Vec<_>>().join(","));
    let mut thumbprint = Thumbprint::default();
    thumbprint.copy_from_slice(digest(&SHA256, canonical.as_bytes()).as_ref());
    Ok((key, thumbprint))
}

/// `use`, `key_ops` and `alg` bind the key's maker; what they do not allow is not done (RFC 7517, sections 4.2 to 4.4).
fn check_purpose(jwk: &Map<String, Value>, algorithm: JwtAlgorithm) -> Result<(), &'static str> {
    match jwk.get("use") {
        None => {}
        // Bundles of SPIFFE say more exactly what is signed (SPIFFE JWT-SVID, section 6.1).
        Some(Value::String(purpose)) if matches!(purpose.as_str(), "sig" | "jwt-svid") => {}
        Some(_) => return Err("its `use` is not `sig`"),
    }
    match jwk.get("key_ops") {
        None => {}
        Some(Value::Array(operations)) if operations.iter().any(|operation| operation == "verify") => {}
        Some(_) => return Err("its `key_ops` has no `verify`"),
    }
    match jwk.get("alg") {
        None => Ok(()),
        Some(Value::String(name)) if name == algorithm.as_str() => Ok(()),
        Some(_) => Err("its `alg` is another one"),
    }
}

fn rsa(n: &[u8], e: &[u8]) -> Result<aws_lc_rs::signature::ParsedPublicKey, &'static str> {
    let first = n.first().copied().unwrap_or(0);
    // RFC 7518 section 6.3.1.1: no zero bytes in front.
    if first == 0 {
        return Err("the modulus is empty or begins with a zero byte");
    }
    let bits =
        u32::try_from(n.len()).unwrap_or(u32::MAX).saturating_mul(8).saturating_sub(first.leading_zeros());
    if !(MIN_RSA_BITS..=MAX_RSA_BITS).contains(&bits) {
        return Err("an RSA key needs 2048 to 8192 bits");
    }
    let odd = e.last().is_some_and(|low| low & 1 == 1);
    if !odd || e.len() > 4 || e == [1] {
        return Err("the public exponent is not a small odd number above 1");
    }
    if has_roca_fingerprint(n) {
        return Err("the key has the fingerprint of a broken generator (CVE-2017-15361)");
    }
    let parts = RsaPublicKeyComponents { n, e };
    parts.to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256).map_err(|_| "the key itself is not valid")
}

/// Whether the modulus comes from the generator of CVE-2017-15361 ("ROCA"), whose keys can be factored: its residues by
/// small primes are all powers of 65537. One in 2^27 good keys or fewer has the same fingerprint.
fn has_roca_fingerprint(n: &[u8]) -> bool {
    const PRIMES: [u32; 38] = [
        3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97, 101,
        103, 107, 109, 113, 127, 131, 137, 139, 149, 151, 157, 163, 167,
    ];
    PRIMES.iter().all(|prime| {
        let rest = n.iter().fold(0_u32, |rest, byte| (rest * 256 + u32::from(*byte)) % prime);
        let mut power = 1;
        (0..*prime).any(|_| {
            power = power * (65_537 % prime) % prime;
            power == rest
        })
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::testing::*;
    use super::*;

    fn jwk(change: impl FnOnce(&mut Value)) -> Value {
        let mut jwk = public_jwk(JwtAlgorithm::EdDsa, "k1");
        change(&mut jwk);
        jwk
    }

    fn left_out(jwk: Value) -> &'static str {
        let good = public_jwk(JwtAlgorithm::EdDsa, "good");
        let set = json!({ "keys": [good, jwk] }).to_string();
        let found = read(set.as_bytes(), JwtAlgorithm::EdDsa).unwrap();
        assert_eq!(found.keys.len() + found.left_out.len(), 2);
        found.left_out.first().map_or("taken", |(_, reason)| reason)
    }

    #[test]
    fn a_key_serves_only_what_it_is_for() {
        let cases = [
            (jwk(|_| {}), "taken"),
            (jwk(|k| k["use"] = json!("sig")), "taken"),
            (jwk(|k| k["use"] = json!("jwt-svid")), "taken"),
            (jwk(|k| k["use"] = json!("x509-svid")), "its `use` is not `sig`"),
            (jwk(|k| k["use"] = json!("enc")), "its `use` is not `sig`"),
            (jwk(|k| k["use"] = json!(["sig"])), "its `use` is not `sig`"),
            (jwk(|k| k["key_ops"] = json!(["verify"])), "taken"),
            (jwk(|k| k["key_ops"] = json!(["encrypt", "sign"])), "its `key_ops` has no `verify`"),
            (jwk(|k| k["key_ops"] = json!("verify")), "its `key_ops` has no `verify`"),
            (jwk(|k| k["alg"] = json!("EdDSA")), "taken"),
            (jwk(|k| k["alg"] = json!("ES256")), "its `alg` is another one"),
            (jwk(|k| k["alg"] = json!("none")), "its `alg` is another one"),
            (jwk(|k| k["kty"] = json!("EC")), "it is a key of another kind"),
            (jwk(|k| k["crv"] = json!("Ed448")), "it is a key of another kind"),
            (jwk(|k| drop(k.as_object_mut().unwrap().remove("x"))), "a part of the key is missing"),
            (jwk(|k| k["x"] = json!("AA==")), "a part of the key is not base64url"),
            (jwk(|k| k["x"] = json!("AAAA")), "the key itself is not valid"),
            (public_jwk(JwtAlgorithm::Rs256, "k1"), "it is a key of another kind"),
        ];
        for (jwk, expected) in cases {
            assert_eq!(left_out(jwk.clone()), expected, "{jwk}");
        }
    }

    /// Providers list keys for other purposes under the same names, and some write numbers.
    #[test]
    fn a_key_that_verifies_nothing_does_not_spoil_the_others() {
        let good = public_jwk(JwtAlgorithm::EdDsa, "k1");
        for other in [
            json!({ "kty": "EC", "kid": "k1" }),
            jwk(|k| k["kid"] = json!(7)),
            jwk(|k| k["use"] = json!("enc")),
        ] {
            let found =
                read(json!({ "keys": [good, other] }).to_string().as_bytes(), JwtAlgorithm::EdDsa).unwrap();
            assert_eq!((found.keys.len(), found.left_out.len()), (1, 1), "{other}");
        }
    }

    #[test]
    fn a_set_that_shows_its_makers_error_is_refused_as_a_whole() {
        let good = public_jwk(JwtAlgorithm::EdDsa, "k1");
        let many: Vec<Value> =
            (0..65).map(|number| public_jwk(JwtAlgorithm::EdDsa, &number.to_string())).collect();
        let cases = [
            (
                json!({ "keys": [good, jwk(|k| { k["kid"] = json!("k2"); k["d"] = json!("AAAA"); })] }),
                JwkError::Private,
            ),
            (json!({ "keys": [good, { "kty": "oct", "kid": "k2" }] }), JwkError::Private),
            (json!({ "keys": [good, { "kty": "RSA", "k": "AAAA" }] }), JwkError::Private),
            (json!({ "keys": [good, good] }), JwkError::Duplicate),
            (json!({ "keys": [] }), JwkError::Empty),
            (json!({ "keys": [{ "kty": "EC", "kid": "k1" }] }), JwkError::Empty),
            (json!({ "keys": many }), JwkError::TooMany),
            (json!({ "keys": ["x"] }), JwkError::Malformed),
            (json!({ "keys": {} }), JwkError::Malformed),
            (json!({ "keys": [jwk(|k| k["kid"] = json!(7))] }), JwkError::Empty),
            (json!({ "keys": [jwk(|k| k["kid"] = json!(""))] }), JwkError::Empty),
            (json!({ "keys": [jwk(|k| k["kid"] = json!("x".repeat(129)))] }), JwkError::Empty),
            (json!([]), JwkError::Malformed),
            (json!({}), JwkError::Malformed),
        ];
        for (set, expected) in cases {
            assert_eq!(read(set.to_string().as_bytes(), JwtAlgorithm::EdDsa).unwrap_err(), expected, "{set}");
        }
        let twice = format!(r#"{{"keys":[{good}],"keys":[]}}"#);
        assert_eq!(read(twice.as_bytes(), JwtAlgorithm::EdDsa).unwrap_err(), JwkError::Malformed);
    }
}
