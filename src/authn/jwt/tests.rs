use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::testing::*;
use super::*;
use crate::clock::ManualClock;
use crate::model::EntityUid;
use crate::secret::Secret;

const ALL: [JwtAlgorithm; 4] =
    [JwtAlgorithm::Rs256, JwtAlgorithm::Es256, JwtAlgorithm::EdDsa, JwtAlgorithm::Hs256];

fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::at_millis(NOW * 1000))
}

fn made(settings: Settings, clock: SharedClock) -> Result<TokenVerifier, AuthnError> {
    TokenVerifier::new(settings, clock, Arc::new(Metrics::new()))
}

fn verifier(keys: Vec<JwtKey>) -> TokenVerifier {
    made(settings(keys), clock()).unwrap()
}

fn ed() -> TokenVerifier {
    verifier(vec![key(JwtAlgorithm::EdDsa)])
}

fn reason(result: Result<Arc<Subject>, Refused>) -> &'static str {
    result.map_or_else(|refused| refused.reason, |_| "accepted")
}

/// The acceptable claims with one of them replaced, or taken out when `value` is `None`.
fn with(name: &str, value: Option<Value>) -> String {
    let mut claims = claims();
    match value {
        Some(value) => claims[name] = value,
        None => drop(claims.as_object_mut().unwrap().remove(name)),
    }
    token(JwtAlgorithm::EdDsa, &claims)
}

#[test]
fn every_algorithm_proves_its_own_tokens_and_no_others() {
    for configured in ALL {
        let verifier = verifier(vec![key(configured)]);
        for used in ALL {
            let expected = if used == configured { "accepted" } else { "wrong_algorithm" };
            assert_eq!(
                reason(verifier.verify(&token(used, &claims()))),
                expected,
                "{used:?} at {configured:?}"
            );
        }
    }
}

#[test]
fn the_subject_is_what_the_claims_say() {
    let mut claims = claims();
    for (name, value) in [
        ("email", json!("alice@example.com")),
        ("jti", json!("t-1")),
        ("roles", json!(["operator"])),
        ("permissions", json!("tool:call memory:*")),
        ("groups", json!(["/eng/platform"])),
        ("scope", json!("read write")),
        ("department", json!("finance")),
        ("sites", json!(["lon", "ber"])),
        ("level", json!(7)),
        ("mixed", json!(["a", 1])),
    ] {
        claims[name] = value;
    }
    let subject = ed().verify(&token(JwtAlgorithm::EdDsa, &claims)).unwrap();
    let entity = subject.entity();
    assert_eq!(subject.principal(), &EntityUid::caxton("User", "https://issuer.example|alice"));
    assert_eq!(subject.proof(), &crate::model::Proof::Jwt { key: "EdDSA".into(), jti: Some("t-1".into()) });
    assert_eq!(*entity.attributes.get("email").unwrap(), crate::model::Value::text("alice@example.com"));
    let mut parents: Vec<String> = entity.parents.iter().map(ToString::to_string).collect();
    parents.sort();
    let expected =
        ["Group::\"/eng/platform\"", "Role::\"memory:*\"", "Role::\"operator\"", "Role::\"tool:call\""];
    assert_eq!(parents, expected.map(|parent| format!("Caxton::{parent}")));
    let tags: Vec<(&str, String)> = entity
        .tags
        .iter()
        .map(|(name, value)| (name.as_ref(), serde_json::to_string(value).unwrap()))
        .collect();
    let expected =
        [("department", r#"["finance"]"#), ("scope", r#"["read","write"]"#), ("sites", r#"["ber","lon"]"#)];
    assert_eq!(tags, expected.map(|(name, value)| (name, value.to_owned())));
}

#[test]
fn each_claim_must_be_there_and_be_what_it_should() {
    let null = || Some(Value::Null);
    let long = "x".repeat(257);
    let cases: Vec<(&str, Option<Value>, &str)> = vec![
        ("exp", None, "claim_missing"),
        ("exp", null(), "claim_type"),
        ("exp", Some(json!((NOW + 300).to_string())), "claim_type"),
        ("exp", Some(json!([NOW + 300])), "claim_type"),
        ("exp", Some(json!({})), "claim_type"),
        ("exp", Some(json!(true)), "claim_type"),
        ("exp", Some(json!(NOW as f64 + 300.5)), "accepted"),
        ("exp", Some(json!(NOW as f64 - 4.5)), "expired"),
        ("nbf", Some(json!(NOW as f64 + 5.5)), "accepted"),
        ("exp", Some(json!(-0.5)), "claim_value"),
        ("exp", Some(json!(NOW as f64 + 300.0)), "accepted"),
        ("exp", Some(json!(-1)), "claim_value"),
        ("exp", Some(json!(u64::MAX)), "claim_value"),
        ("exp", Some(json!(1e300)), "claim_value"),
        ("exp", Some(json!(i64::MAX)), "claim_value"),
        ("exp", Some(json!(NOW - 1)), "accepted"),
        ("exp", Some(json!(NOW - 4)), "accepted"),
        ("exp", Some(json!(NOW - 5)), "expired"),
        ("exp", Some(json!(0)), "expired"),
        ("nbf", Some(json!(NOW + 5)), "accepted"),
        ("nbf", Some(json!(NOW + 6)), "not_yet_valid"),
        ("nbf", Some(json!("0")), "claim_type"),
        ("nbf", null(), "claim_type"),
        ("iat", Some(json!(NOW - 10)), "accepted"),
        ("iat", Some(json!(NOW + 6)), "not_yet_valid"),
        ("iat", Some(json!([])), "claim_type"),
        ("iss", None, "issuer_missing"),
        ("iss", null(), "claim_type"),
        ("iss", Some(json!([ISSUER])), "claim_type"),
        ("iss", Some(json!("https://issuer.example/")), "wrong_issuer"),
        ("iss", Some(json!("")), "claim_value"),
        ("aud", None, "audience_missing"),
        ("aud", null(), "claim_type"),
        ("aud", Some(json!(7)), "claim_type"),
        ("aud", Some(json!({ AUDIENCE: true })), "claim_type"),
        ("aud", Some(json!([AUDIENCE, 7])), "claim_type"),
        ("aud", Some(json!([])), "wrong_audience"),
        ("aud", Some(json!("other")), "wrong_audience"),
        ("aud", Some(json!("caxton-api2")), "wrong_audience"),
        ("aud", Some(json!(["other", AUDIENCE])), "accepted"),
        ("sub", None, "claim_missing"),
        ("sub", null(), "claim_type"),
        ("sub", Some(json!(7)), "claim_type"),
        ("sub", Some(json!("")), "claim_value"),
        ("sub", Some(json!(long)), "claim_value"),
        ("sub", Some(json!("a\nb")), "claim_value"),
        ("sub", Some(json!("a\u{202e}b")), "claim_value"),
        ("sub", Some(json!("a\u{200b}b")), "claim_value"),
        ("jti", Some(json!(7)), "claim_type"),
        ("email", Some(json!([])), "claim_type"),
        ("email_verified", Some(json!("true")), "accepted"),
        ("email_verified", Some(json!("yes")), "claim_type"),
        ("unknown", null(), "accepted"),
        ("roles", Some(json!(["ok", "not/ok"])), "accepted"),
        ("roles", Some(json!(["a\u{202e}b"])), "claim_value"),
        ("roles", Some(json!([""])), "claim_value"),
        ("roles", Some(json!({ "admin": true })), "claim_type"),
        ("permissions", Some(json!(["tool:call", 7])), "claim_type"),
        ("permissions", Some(json!("tool:call \u{202e}x")), "claim_value"),
        ("groups", Some(json!(7)), "claim_type"),
        ("scope", Some(json!(7)), "claim_type"),
        ("act", Some(json!({ "sub": "x" })), "claim_unsupported"),
        ("act", Some(json!({ "sub": "agent" })), "claim_unsupported"),
    ];
    let verifier = ed();
    for (name, value, expected) in cases {
        let token = with(name, value.clone());
        assert_eq!(reason(verifier.verify(&token)), expected, "{name}: {value:?}");
        // Whatever was learnt the first time, the second time is no other.
        assert_eq!(reason(verifier.verify(&token)), expected, "{name} again: {value:?}");
    }
}

/// RFC 8693, section 4.1. Whoever acts is read to the letter, or the token is refused.
#[test]
fn a_delegated_token_says_who_acts() {
    let accepts = Settings { delegated: true, ..settings(vec![key(JwtAlgorithm::EdDsa)]) };
    let verifier = made(accepts, clock()).unwrap();
    let chain = |length: usize| {
        (0..length).fold(json!(null), |before, number| match before {
            Value::Null => json!({ "sub": format!("party-{number}") }),
            before => json!({ "sub": format!("party-{number}"), "act": before }),
        })
    };
    for (value, expected) in [
        (json!({ "sub": "assistant" }), "accepted"),
        (json!({ "sub": "assistant", "iss": "https://other.example", "client_id": 7 }), "accepted"),
        (chain(8), "accepted"),
        (chain(9), "claim_value"),
        (json!({}), "claim_missing"),
        (json!({ "client_id": "assistant" }), "claim_missing"),
        (json!({ "sub": "" }), "claim_value"),
        (json!({ "sub": "a\u{202e}b" }), "claim_value"),
        (json!({ "sub": 7 }), "claim_type"),
        (json!({ "sub": "assistant", "iss": [] }), "claim_type"),
        (json!({ "sub": "assistant", "act": "other" }), "claim_type"),
        (json!({ "sub": "assistant", "act": {} }), "claim_missing"),
        (json!(null), "claim_type"),
        (json!("assistant"), "claim_type"),
        (json!([{ "sub": "assistant" }]), "claim_type"),
    ] {
        let token = with("act", Some(value.clone()));
        assert_eq!(reason(verifier.verify(&token)), expected, "{value}");
        assert_eq!(reason(ed().verify(&token)), "claim_unsupported", "{value}");
    }
    let act = json!({ "sub": "now", "act": { "sub": "before", "iss": "https://other.example" } });
    let subject = verifier.verify(&with("act", Some(act))).unwrap();
    let told: Vec<_> = subject.delegation().iter().map(crate::model::Delegate::id).collect();
    assert_eq!(told, [format!("{ISSUER}|now"), "https://other.example|before".to_owned()]);
    assert!(verifier.verify(&with("act", None)).unwrap().delegation().is_empty());
}

/// Every claim that the decision rests on, in every JSON type: only the right one is read.
#[test]
fn no_claim_is_read_from_a_wrong_type() {
    let types = [
        Value::Null,
        json!(true),
        json!(7),
        json!(-7.5),
        json!("text"),
        json!([]),
        json!([7]),
        json!([["text"]]),
        json!({}),
        json!({ "text": true }),
    ];
    let verifier = ed();
    for name in [
        "iss",
        "aud",
        "sub",
        "exp",
        "nbf",
        "iat",
        "jti",
        "email",
        "email_verified",
        "roles",
        "groups",
        "scope",
    ] {
        for value in &types {
            let got = reason(verifier.verify(&with(name, Some(value.clone()))));
            let fits = match name {
                // Text, of the configured value for the first two.
                "iss" | "aud" => false,
                "sub" | "jti" | "email" => value.is_string(),
                "roles" | "groups" | "scope" => *value == json!("text") || *value == json!([]),
                // An instant in the past: too early for nothing but `exp`.
                "nbf" | "iat" => *value == json!(7),
                "email_verified" => value.is_boolean(),
                _ => false,
            };
            assert_eq!(got == "accepted", fits, "{name}: {value}: {got}");
        }
    }
}

#[test]
fn an_unverified_address_is_no_attribute() {
    let mut claims = claims();
    claims["email"] = json!("ceo@example.com");
    for (verified, is_shown) in [(json!(false), false), (json!("false"), false), (json!("true"), true)] {
        claims["email_verified"] = verified;
        let subject = ed().verify(&token(JwtAlgorithm::EdDsa, &claims)).unwrap();
        assert_eq!(subject.entity().attributes.contains_key("email"), is_shown);
    }
}

/// The operator is told what to set, or to put into the token; the caller is not.
#[test]
fn a_token_from_or_for_elsewhere_names_the_setting() {
    for (name, value, setting) in [
        (
            "iss",
            None,
            "the claim `iss` is missing: `security.authentication.jwt_issuer` is `https://issuer.example`",
        ),
        ("iss", Some(json!("x")), "`security.authentication.jwt_issuer` is `https://issuer.example`"),
        ("aud", None, "the claim `aud` is missing: `security.authentication.jwt_audience` is `caxton-api`"),
        ("aud", Some(json!(["x"])), "`security.authentication.jwt_audience` is `caxton-api`"),
    ] {
        let refused = ed().verify(&with(name, value.clone())).unwrap_err();
        let detail = refused.detail.unwrap();
        assert!(detail.contains(setting), "{name} {value:?}: {detail}");
        assert_eq!(refused.client_text, "the credentials are not valid");
    }
}

/// A forbid may hang on a role whatever it is called.
#[test]
fn a_role_with_characters_that_role_names_do_not_have_is_there_escaped() {
    let subject = ed().verify(&with("roles", Some(json!(["cn=ops/eu", "50%"])))).unwrap();
    let parents: Vec<String> = subject.entity().parents.iter().map(ToString::to_string).collect();
    for role in ["cn%3Dops%2Feu", "50%25"] {
        assert!(parents.contains(&format!("Caxton::Role::\"{role}\"")), "{parents:?}");
    }
    // Two that are too long for a name stay two.
    let long = |last: &str| format!("CN=caxton-auditors,{}DC={last}", "OU=Berlin,".repeat(40));
    let subject = ed().verify(&with("roles", Some(json!([long("acme"), long("other")])))).unwrap();
    let parents: Vec<String> = subject.entity().parents.iter().map(ToString::to_string).collect();
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, long("acme").as_bytes());
    let expected = format!("Caxton::Role::\"sha256:{}\"", hex::encode(digest));
    assert!(parents.len() == 2 && parents.contains(&expected), "{parents:?}");
}

#[test]
fn headers_that_play_games_are_refused() {
    let payload = claims().to_string();
    let cases = [
        (r#"{"alg":"EdDSA"}"#, "accepted"),
        (r#"{"alg":"EdDSA","typ":"at+jwt"}"#, "accepted"),
        (r#"{"alg":"EdDSA","typ":"application/AT+JWT"}"#, "accepted"),
        (r#"{"alg":"EdDSA","typ":"logout+jwt"}"#, "wrong_type"),
        (r#"{"alg":"EdDSA","typ":"dpop+jwt"}"#, "wrong_type"),
        (r#"{"alg":"EdDSA","typ":7}"#, "malformed"),
        (r#"{"alg":"none"}"#, "wrong_algorithm"),
        (r#"{"alg":"None"}"#, "wrong_algorithm"),
        (r#"{"alg":"eddsa"}"#, "wrong_algorithm"),
        (r#"{"alg":"Ed25519"}"#, "wrong_algorithm"),
        (r#"{"alg":["EdDSA"]}"#, "malformed"),
        (r#"{"alg":null}"#, "malformed"),
        (r#"{"typ":"JWT"}"#, "malformed"),
        (r#"{"alg":"none","alg":"EdDSA"}"#, "malformed"),
        (r#"{"alg":"EdDSA","x":{"a":1,"a":2}}"#, "malformed"),
        (r#"{"alg":"EdDSA","crit":["exp"]}"#, "unsupported_header"),
        (r#"{"alg":"EdDSA","crit":[]}"#, "unsupported_header"),
        (r#"{"alg":"EdDSA","b64":false}"#, "unsupported_header"),
        (r#"{"alg":"EdDSA","zip":"DEF"}"#, "unsupported_header"),
        (r#"{"alg":"EdDSA","enc":"A128GCM"}"#, "unsupported_header"),
        (r#"{"alg":"EdDSA","kid":""}"#, "malformed"),
        (r#"{"alg":"EdDSA","kid":7}"#, "malformed"),
        (r#"{"alg":"EdDSA","kid":"../../dev/null"}"#, "accepted"),
        (r#"{"alg":"EdDSA","kid":"a\u0000b"}"#, "malformed"),
        (r#"{"alg":"EdDSA","jku":"https://evil.example/jwks"}"#, "accepted"),
        (r#"{"alg":"EdDSA","x5u":"https://evil.example/cert","x5c":["AAAA"],"x5t":"AAAA"}"#, "accepted"),
        (r#"["EdDSA"]"#, "malformed"),
        ("", "malformed"),
    ];
    let verifier = ed();
    for (header, expected) in cases {
        let token = token_of(JwtAlgorithm::EdDsa, header, &payload);
        assert_eq!(reason(verifier.verify(&token)), expected, "{header}");
    }
    let long = format!(r#"{{"alg":"EdDSA","kid":"{}"}}"#, "k".repeat(129));
    assert_eq!(reason(verifier.verify(&token_of(JwtAlgorithm::EdDsa, &long, &payload))), "malformed");
}

#[test]
fn a_key_that_comes_with_the_token_proves_nothing() {
    // An attacker's own key pair, offered as `jwk`: only the configured key is asked.
    let attacker = aws_lc_rs::signature::Ed25519KeyPair::generate().unwrap();
    let public = encode(aws_lc_rs::signature::KeyPair::public_key(&attacker));
    let header =
        json!({ "alg": "EdDSA", "jwk": { "kty": "OKP", "crv": "Ed25519", "x": public } }).to_string();
    let input = format!("{}.{}", encode(header), encode(claims().to_string()));
    let token = format!("{input}.{}", encode(attacker.sign(input.as_bytes())));
    assert_eq!(reason(ed().verify(&token)), "bad_signature");
}

#[test]
fn a_public_key_is_not_taken_for_a_shared_secret() {
    // The token: HS256, with the RSA key's public PEM as the secret. The verifier holds that key as RS256.
    let pem = public_pem(JwtAlgorithm::Rs256);
    let input = format!("{}.{}", encode(r#"{"alg":"HS256"}"#), encode(claims().to_string()));
    let token = format!("{input}.{}", encode(mac(pem.as_bytes(), &input)));
    let rs256 = verifier(vec![key(JwtAlgorithm::Rs256)]);
    assert_eq!(reason(rs256.verify(&token)), "wrong_algorithm");
    // Nor with the header's word for RS256.
    let input = format!("{}.{}", encode(r#"{"alg":"RS256"}"#), encode(claims().to_string()));
    let token = format!("{input}.{}", encode(mac(pem.as_bytes(), &input)));
    assert_eq!(reason(rs256.verify(&token)), "bad_signature");
    // And it cannot be configured so by mistake.
    let key = JwtKey {
        algorithm: JwtAlgorithm::Hs256,
        material: KeyMaterial::Secret(Secret::new(pem.into_bytes())),
        ..testing::key(JwtAlgorithm::Rs256)
    };
    assert!(made(settings(vec![key]), clock()).is_err());
}

#[test]
fn keys_that_do_not_fit_are_refused_when_they_are_loaded() {
    let pem = |pem: String| KeyMaterial::Pem(pem);
    let secret = |bytes: &[u8]| KeyMaterial::Secret(Secret::new(bytes.to_vec()));
    let small = KeyMaterial::Pem(SMALL_RSA_PEM.to_owned());
    let two = public_pem(JwtAlgorithm::Rs256) + &public_pem(JwtAlgorithm::Es256);
    let cases = [
        (JwtAlgorithm::Hs256, secret(b"short"), "the secret has fewer than 32 bytes"),
        (JwtAlgorithm::Hs256, secret(&[b'a'; 31]), "the secret has fewer than 32 bytes"),
        (
            JwtAlgorithm::Hs256,
            secret(&[&[b'a'; 31][..], b"\n"].concat()),
            "the secret has fewer than 32 bytes",
        ),
        (
            JwtAlgorithm::Hs256,
            secret(br#"{"kty":"oct","k":"aaaaaaaaaaaaaaaaaaaaaaaa"}"#),
            "the secret looks like a key file, which may be public",
        ),
        (
            JwtAlgorithm::Hs256,
            secret(b"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA"),
            "the secret looks like a key file, which may be public",
        ),
        (JwtAlgorithm::Rs256, pem(public_pem(JwtAlgorithm::EdDsa)), "it is a key of another kind"),
        (JwtAlgorithm::EdDsa, pem(public_pem(JwtAlgorithm::Es256)), "it is a key of another kind"),
        (
            JwtAlgorithm::Rs256,
            pem(private_pem()),
            "it is a private key; the gateway needs only the public one",
        ),
        (JwtAlgorithm::Rs256, pem(two), "it is not a PEM file with exactly one public key"),
        (JwtAlgorithm::Rs256, pem("hello".into()), "it is not a PEM file with exactly one public key"),
        (JwtAlgorithm::Rs256, small, "an RSA key needs at least 2048 bits"),
    ];
    for (algorithm, material, expected) in cases {
        let key = JwtKey { name: "k".into(), algorithm, material, kid: None };
        match key::Keyring::load(vec![key]).err() {
            Some(AuthnError::KeyMaterial { reason, .. }) => assert_eq!(reason, expected),
            other => panic!("{expected}: {other:?}"),
        }
    }
    let missing =
        JwtKey { material: KeyMaterial::File("/nowhere/key.pem".into()), ..key(JwtAlgorithm::EdDsa) };
    assert!(matches!(key::Keyring::load(vec![missing]).err(), Some(AuthnError::KeyFile { .. })));
}

/// A 1,024-bit key made for this test and thrown away.
const SMALL_RSA_PEM: &str = include_str!("small_rsa.pem");

#[test]
fn settings_that_weaken_are_refused() {
    let base = || settings(vec![key(JwtAlgorithm::EdDsa)]);
    let cases = [
        Settings { keys: vec![], ..base() },
        Settings { keys: vec![key(JwtAlgorithm::EdDsa), key(JwtAlgorithm::EdDsa)], ..base() },
        Settings { issuer: "".into(), ..base() },
        Settings { audience: "".into(), ..base() },
        Settings { leeway: Duration::from_secs(6), ..base() },
    ];
    for settings in cases {
        assert!(matches!(made(settings, clock()).err(), Some(AuthnError::JwtSetting { .. })));
    }
}

#[test]
fn a_key_with_a_kid_serves_only_tokens_that_name_it() {
    let named = JwtKey { kid: Some("k1".into()), ..key(JwtAlgorithm::EdDsa) };
    let verifier = verifier(vec![named]);
    let payload = claims().to_string();
    for (header, expected) in [
        (r#"{"alg":"EdDSA","kid":"k1"}"#, "accepted"),
        (r#"{"alg":"EdDSA","kid":"k2"}"#, "unknown_key"),
        (r#"{"alg":"EdDSA"}"#, "unknown_key"),
        (r#"{"alg":"HS256","kid":"k1"}"#, "wrong_algorithm"),
    ] {
        assert_eq!(
            reason(verifier.verify(&token_of(JwtAlgorithm::EdDsa, header, &payload))),
            expected,
            "{header}"
        );
    }
}

#[test]
fn no_changed_token_is_accepted() {
    for algorithm in ALL {
        let verifier = verifier(vec![key(algorithm)]);
        let token = token(algorithm, &claims());
        assert_eq!(reason(verifier.verify(&token)), "accepted");
        for place in 0..token.len() {
            let mut bytes = token.clone().into_bytes();
            bytes[place] = if bytes[place] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).unwrap();
            assert_ne!(reason(verifier.verify(&changed)), "accepted", "{algorithm:?} at {place}");
        }
        for changed in [
            format!("{token}="),
            format!("{token}\n"),
            format!(" {token}"),
            format!("{token}."),
            token.replace('.', ".."),
        ] {
            assert_ne!(reason(verifier.verify(&changed)), "accepted", "{changed:?}");
        }
    }
}

#[test]
fn two_tokens_cannot_be_mixed() {
    let (one, mut other) = (token(JwtAlgorithm::EdDsa, &claims()), claims());
    other["sub"] = json!("mallory");
    let other = token(JwtAlgorithm::EdDsa, &other);
    let (one, other): (Vec<_>, Vec<_>) = (one.split('.').collect(), other.split('.').collect());
    let mixed = format!("{}.{}.{}", one[0], other[1], one[2]);
    assert_eq!(reason(ed().verify(&mixed)), "bad_signature");
}

#[test]
fn a_long_token_is_refused_unread() {
    let mut claims = claims();
    claims["pad"] = json!("x".repeat(9000));
    assert_eq!(reason(ed().verify(&token(JwtAlgorithm::EdDsa, &claims))), "too_long");
}

#[test]
fn a_remembered_token_still_expires() {
    let clock = clock();
    let verifier = made(settings(vec![key(JwtAlgorithm::EdDsa)]), Arc::<ManualClock>::clone(&clock)).unwrap();
    let token = token(JwtAlgorithm::EdDsa, &claims());
    assert_eq!(reason(verifier.verify(&token)), "accepted");
    assert_eq!(verifier.cache.len(), 1);
    clock.advance(Duration::from_secs(304));
    assert_eq!(reason(verifier.verify(&token)), "accepted");
    clock.advance(Duration::from_secs(1));
    let refused = verifier.verify(&token).unwrap_err();
    assert_eq!((refused.reason, refused.client_text), ("expired", "the credentials have expired"));
}

#[test]
fn the_memory_for_tokens_is_bounded() {
    let settings = Settings { cache_entries: 16, ..settings(vec![key(JwtAlgorithm::EdDsa)]) };
    let verifier = made(settings, clock()).unwrap();
    for number in 0..100 {
        let mut claims = claims();
        claims["jti"] = json!(number.to_string());
        assert_eq!(reason(verifier.verify(&token(JwtAlgorithm::EdDsa, &claims))), "accepted");
        assert!(verifier.cache.len() <= 16);
    }
    assert!(verifier.cache.len() >= 8);
    let off = Settings { cache_entries: 0, ..testing::settings(vec![key(JwtAlgorithm::EdDsa)]) };
    let off = made(off, clock()).unwrap();
    assert_eq!(reason(off.verify(&token(JwtAlgorithm::EdDsa, &claims()))), "accepted");
    assert_eq!(off.cache.len(), 0);
}

#[test]
fn naughty_strings_are_no_tokens() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/testdata/naughty-strings/blns.json");
    let Ok(text) = std::fs::read_to_string(&path) else { return println!("skipped: no {}", path.display()) };
    let strings: Vec<String> = serde_json::from_str(&text).unwrap();
    let verifier = ed();
    for text in &strings {
        assert_ne!(reason(verifier.verify(text)), "accepted", "{text}");
        let as_payload = token_of(JwtAlgorithm::EdDsa, r#"{"alg":"EdDSA"}"#, text);
        assert_ne!(reason(verifier.verify(&as_payload)), "accepted", "{text}");
        let as_subject = with("sub", Some(json!(text)));
        let got = reason(verifier.verify(&as_subject));
        assert!(matches!(got, "accepted" | "claim_value"), "{text}: {got}");
    }
    println!("{} naughty strings", strings.len());
}

#[test]
fn a_remembered_token_is_cheap() {
    // Not a timed test: it prints the figure, and proves only that the second time is another path.
    let verifier = verifier(vec![key(JwtAlgorithm::EdDsa)]);
    let token = token(JwtAlgorithm::EdDsa, &claims());
    verifier.verify(&token).unwrap();
    let begin = Instant::now();
    for _ in 0..1_000 {
        verifier.verify(&token).unwrap();
    }
    println!("{:?} for a remembered token", begin.elapsed() / 1_000);
    assert_eq!(verifier.cache.len(), 1);
}
