//! The vectors of C2SP's Wycheproof, at the very parts that read tokens and key sets.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};

use super::jwk::{self, JwkError};
use super::key::{Keyring, VerificationKey};
use super::{JwtAlgorithm, JwtKey, KeyMaterial, jws};
use crate::secret::Secret;

fn vectors(name: &str) -> Option<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/testdata/wycheproof").join(name);
    match std::fs::read_to_string(&path) {
        Ok(text) => Some(serde_json::from_str(&text).unwrap()),
        Err(_) => {
            println!("skipped: no {}", path.display());
            None
        }
    }
}

/// The key of a group as the gateway would take it: a public one from a set, a shared one from its file.
fn keyring(jwk: &Value) -> Result<Keyring, String> {
    let algorithm: JwtAlgorithm =
        jwk["alg"].as_str().unwrap_or("RS256").parse().map_err(|_| "not offered".to_owned())?;
    if algorithm != JwtAlgorithm::Hs256 {
        let set = json!({ "keys": [jwk] }).to_string();
        let found = jwk::read(set.as_bytes(), algorithm).map_err(|error| error.to_string())?;
        return Ok(Keyring::of(found.keys));
    }
    let decode = |text: &str| base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, text);
    let material = KeyMaterial::Secret(Secret::new(decode(jwk["k"].as_str().unwrap()).unwrap()));
    let key = JwtKey { name: "k".into(), algorithm, material, kid: None };
    VerificationKey::load(key).map(|key| Keyring::of(vec![key])).map_err(|_| "secret refused".to_owned())
}

fn accepts(keys: &Keyring, token: &Value) -> bool {
    let token = jws::Compact::parse(token.as_str().unwrap_or_default());
    token.is_ok_and(|token| keys.verify(&token).is_ok())
}

#[test]
fn signatures() {
    let Some(file) = vectors("json_web_signature_test.json") else { return };
    let (mut judged, mut wrong) = (0, Vec::new());
    let mut refused: BTreeMap<String, usize> = BTreeMap::new();
    for group in file["testGroups"].as_array().unwrap() {
        let jwk = if group["public"].is_null() { &group["private"] } else { &group["public"] };
        let cases = group["tests"].as_array().unwrap();
        let keys = match keyring(jwk) {
            Ok(keys) => keys,
            Err(reason) => {
                let name = jwk["alg"].as_str().unwrap_or("none given");
                *refused.entry(format!("{name}: {reason}")).or_default() += cases.len();
                continue;
            }
        };
        for case in cases {
            let accepted = accepts(&keys, &case["jws"]);
            match case["tcId"].as_u64() {
                // The same bytes as case 357, which is valid: the padding that these name is not in them.
                Some(367 | 370) => assert!(accepted),
                // Characters outside the alphabet, which RFC 4648 section 3.3 lets a decoder refuse.
                Some(372 | 373) => assert!(!accepted),
                _ if accepted == (case["result"] == "valid") => {}
                _ => wrong.push(case.clone()),
            }
            judged += 1;
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    // The whole list of what is refused with its key: algorithms that are not offered, and keys for something else.
    let expected = BTreeMap::from(
        [
            ("ES521: not offered", 2),
            ("PS256: not offered", 50),
            ("PS384: not offered", 5),
            ("PS512: not offered", 20),
            ("RS384: not offered", 4),
            ("RS512: not offered", 4),
            ("none given: no key in it can be used", 4),
        ]
        .map(|(name, count)| (name.to_owned(), count)),
    );
    assert_eq!(refused, expected);
    assert_eq!(judged + refused.values().sum::<usize>(), 401);
    println!("{judged} judged, {} refused with their keys", 401 - judged);
}

#[test]
fn key_sets() {
    let Some(file) = vectors("json_web_key_test.json") else { return };
    let (mut accepted, mut seen) = (Vec::new(), 0);
    for group in file["testGroups"].as_array().unwrap() {
        let set = if group["public"].is_null() { &group["private"] } else { &group["public"] };
        for case in group["tests"].as_array().unwrap() {
            seen += 1;
            let id = case["tcId"].as_u64().unwrap();
            for algorithm in [JwtAlgorithm::Rs256, JwtAlgorithm::Es256, JwtAlgorithm::EdDsa] {
                let found = jwk::read(set.to_string().as_bytes(), algorithm);
                match id {
                    // Shared keys; the valid ones among them (2, 13 to 15) are refused because a set is public.
                    1..=4 | 10..=18 | 25 | 26 => assert_eq!(found.unwrap_err(), JwkError::Private, "{id}"),
                    _ => {
                        let taken = found.is_ok_and(|found| accepts(&Keyring::of(found.keys), &case["jws"]));
                        if taken {
                            accepted.push(id);
                        }
                    }
                }
            }
        }
    }
    // The one that is valid and public. Among the refused: a factorable key (7), 1,024 bits (8), an exponent of 1 (9).
    assert_eq!((accepted, seen), (vec![5], 26));
}
