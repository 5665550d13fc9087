use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::{HeaderMap, HeaderValue, header};
use serde_json::{Map, Value, json};

use super::target::normal;
use super::*;
use crate::authn::issue::TokenIssuer;
use crate::authn::jwt::testing::{encode, public_jwk, sign};
use crate::authn::jwt::{JwtAlgorithm, JwtKey, KeyMaterial};
use crate::authn::scheme::Proven;
use crate::authn::{self, Authenticator, AuthnPorts, api_key, tokens};
use crate::clock::{Clock as _, ManualClock};
use crate::shared_state::faulty::Unreachable;
use crate::telemetry::Metrics;

/// 2026-01-10T10:00:00Z.
const NOW: i64 = 1_768_039_200;
const URL: &str = "https://gate.example/v1/agents";

struct Bench {
    _directory: tempfile::TempDir,
    clock: Arc<ManualClock>,
    authenticator: Authenticator,
    issuer: TokenIssuer,
}

/// A gateway that began a minute ago.
fn bench_with(change: impl FnOnce(&mut Settings)) -> Bench {
    let directory = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::at_millis((NOW - 66) * 1000));
    let issuer = TokenIssuer::generate("demo", "caxton-api", Arc::<ManualClock>::clone(&clock)).unwrap();
    let mut settings = authn::Settings {
        jwt: Some(jwt::Settings {
            keys: vec![JwtKey {
                name: "demo".into(),
                algorithm: JwtAlgorithm::EdDsa,
                material: KeyMaterial::Pem(issuer.public_pem().unwrap()),
                kid: None,
            }],
            issuer: "demo".into(),
            ..jwt::Settings::default()
        }),
        api_keys: api_key::Settings::in_directory(directory.path()),
        tokens: tokens::Settings::in_directory(directory.path()),
        ..authn::Settings::default()
    };
    change(&mut settings.dpop);
    let (shared, metrics) = (Arc::<ManualClock>::clone(&clock), Arc::new(Metrics::new()));
    let ports = AuthnPorts::local(&settings).unwrap();
    let authenticator = Authenticator::new(settings, ports, shared, metrics).unwrap();
    clock.advance(Duration::from_secs(66));
    Bench { _directory: directory, clock, authenticator, issuer }
}

fn bench() -> Bench {
    bench_with(|_| {})
}

impl Bench {
    fn token(&self, cnf: Option<Value>) -> String {
        let claims = Map::from_iter(cnf.map(|cnf| ("cnf".to_owned(), cnf)));
        self.issuer.issue("alice", Duration::from_secs(3600), claims).expose().clone()
    }

    fn bound(&self, algorithm: JwtAlgorithm) -> String {
        self.token(Some(json!({ "jkt": encode(thumbprint(algorithm)) })))
    }

    fn ask(&self, authorization: &str, proofs: &[&str]) -> Result<Proven, Refused> {
        self.ask_at(authorization, proofs, Some(URL))
    }

    fn ask_at(&self, authorization: &str, proofs: &[&str], at: Option<&str>) -> Result<Proven, Refused> {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, authorization.parse().unwrap());
        for proof in proofs {
            headers.append(HEADER, HeaderValue::from_bytes(proof.as_bytes()).unwrap());
        }
        let evidence = Evidence { headers: &headers, certificate: None, method: &Method::GET, address: at };
        futures::executor::block_on(self.authenticator.authenticate(&evidence))
    }

    fn reason(&self, authorization: &str, proofs: &[&str]) -> &'static str {
        self.ask(authorization, proofs).map_or_else(|refused| refused.reason, |_| "accepted")
    }
}

fn jwk(algorithm: JwtAlgorithm) -> Value {
    let mut jwk = public_jwk(algorithm, "x");
    jwk.as_object_mut().unwrap().remove("kid");
    jwk
}

fn thumbprint(algorithm: JwtAlgorithm) -> Thumbprint {
    let jwk = jwk(algorithm);
    jwt::parts::holder_key(jwk.as_object().unwrap(), algorithm).map_err(str::to_owned).unwrap().1
}

fn head(algorithm: JwtAlgorithm) -> Value {
    json!({ "typ": "dpop+jwt", "alg": algorithm.as_str(), "jwk": jwk(algorithm) })
}

fn body(token: &str, jti: &str) -> Value {
    let ath = encode(TokenDigest::of(token).bytes());
    json!({ "jti": jti, "htm": "GET", "htu": URL, "iat": NOW, "ath": ath })
}

fn signed(algorithm: JwtAlgorithm, head: &Value, body: &Value) -> String {
    let input = format!("{}.{}", encode(head.to_string()), encode(body.to_string()));
    let signature = encode(sign(algorithm, &input));
    format!("{input}.{signature}")
}

fn proof(token: &str, jti: &str) -> String {
    signed(JwtAlgorithm::Es256, &head(JwtAlgorithm::Es256), &body(token, jti))
}

#[test]
fn the_example_of_the_rfc_holds() {
    const PROOF: &str = "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZ\
        OXpDa0RscEJoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6Il\
        AtMjU2In19.eyJqdGkiOiJlMWozVl9iS2ljOC1MQUVCIiwiaHRtIjoiR0VUIiwiaHR1IjoiaHR0cHM6Ly9yZXNvdXJjZS5leGFtcGxlLm9yZy9\
        wcm90ZWN0ZWRyZXNvdXJjZSIsImlhdCI6MTU2MjI2MjYxOCwiYXRoIjoiZlVIeU8ycjJaM0RaNTNFc05yV0JiMHhXWG9hTnk1OUlpS0NBcWtzb\
        VFFbyJ9.2oW9RP35yRqzhrtNP86L-Ey71EOptxRimPPToA1plemAgR6pxHF8y6-yqyVnmcw6Fy1dqd-jfxSYoMxhAJpLjA";
    const TOKEN: &str = "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU";
    let proof = DpopProof::parse(PROOF, &Settings::default().algorithms).unwrap();
    proof.check_signature().unwrap();
    assert_eq!(encode(proof.thumbprint), "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I");
    assert_eq!(proof.claim("ath").unwrap(), encode(TokenDigest::of(TOKEN).bytes()));
    assert_eq!(proof.made, 1_562_262_618);
    check_request(&proof, &Method::GET, Some("https://resource.example.org/protectedresource")).unwrap();
    // RFC 7638, section 3.1, and RFC 8037, appendix A.3.
    let rsa = json!({ "kty": "RSA", "e": "AQAB", "alg": "RS256", "kid": "2011-04-29", "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw" });
    let okp = json!({ "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" });
    for (jwk, algorithm, expected) in [
        (rsa, JwtAlgorithm::Rs256, "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"),
        (okp, JwtAlgorithm::EdDsa, "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"),
    ] {
        let (_, thumbprint) = jwt::parts::holder_key(jwk.as_object().unwrap(), algorithm).unwrap();
        assert_eq!(encode(thumbprint), expected);
    }
}

#[test]
fn a_bound_token_needs_the_proof_of_its_own_key() {
    let bench = bench();
    for algorithm in [JwtAlgorithm::Es256, JwtAlgorithm::EdDsa, JwtAlgorithm::Rs256] {
        let token = bench.bound(algorithm);
        let proof = signed(algorithm, &head(algorithm), &body(&token, algorithm.as_str()));
        let proven = bench.ask(&format!("DPoP {token}"), &[&proof]).unwrap();
        assert_eq!(proven.holder.dpop, Some(thumbprint(algorithm)));
        assert_eq!(proven.subject.principal().id(), "demo|alice");
    }
    let (bound, free) = (bench.bound(JwtAlgorithm::Es256), bench.token(None));
    let other = bench.bound(JwtAlgorithm::EdDsa);
    let [bearer, dpop] = ["Bearer", "DPoP"].map(|scheme| format!("{scheme} {bound}"));
    let good = proof(&bound, "a");
    let cases: [(&str, &[&str], &str); 9] = [
        (&bearer, &[], "required"),
        (&bearer, &[&good], "required"),
        (&dpop, &[], "missing"),
        (&dpop, &[&good, &good], "repeated_header"),
        (&dpop, &["é"], "malformed"),
        (&format!("DPoP {other}"), &[&proof(&other, "b")], "wrong_key"),
        (&format!("DPoP {free}"), &[&proof(&free, "c")], "not_bound"),
        // The token is not bound: the proof adds nothing, and a bad one is still refused.
        (&format!("Bearer {free}"), &[&proof(&free, "d")], "accepted"),
        (&format!("Bearer {free}"), &[&proof(&bound, "e")], "wrong_token"),
    ];
    for (authorization, proofs, expected) in cases {
        assert_eq!(bench.reason(authorization, proofs), expected, "{authorization:.10} {proofs:?}");
    }
    // None of the refusals has used the proof up.
    assert_eq!(bench.reason(&format!("dpop  {bound}"), &[&good]), "accepted");
}

#[test]
fn a_binding_that_is_not_understood_refuses_the_token() {
    let bench = bench();
    let good = encode(thumbprint(JwtAlgorithm::Es256));
    for (cnf, expected) in [
        (json!({}), "claim_unsupported"),
        (json!({ "jkt": good, "kid": "x" }), "claim_unsupported"),
        (json!({ "jwk": {} }), "claim_unsupported"),
        (json!(good), "claim_type"),
        (json!(null), "claim_type"),
        (json!([]), "claim_type"),
        (json!({ "jkt": 7 }), "claim_type"),
        (json!({ "jkt": null }), "claim_type"),
        (json!({ "jkt": "x" }), "claim_value"),
        (json!({ "jkt": format!("{good}=") }), "claim_value"),
        (json!({ "jkt": encode([0; 31]) }), "claim_value"),
        (json!({ "x5t#S256": "" }), "claim_value"),
        // Both, and both have to hold.
        (json!({ "jkt": good, "x5t#S256": encode([7; 32]) }), "wrong_certificate"),
    ] {
        let token = bench.token(Some(cnf.clone()));
        let jti = cnf.to_string();
        assert_eq!(bench.reason(&format!("DPoP {token}"), &[&proof(&token, &jti)]), expected, "{cnf}");
    }
}

/// Each field of header and claims: missing, of each wrong type, and of each wrong value.
#[test]
fn a_proof_holds_in_every_field_or_not_at_all() {
    let bench = bench();
    let token = bench.bound(JwtAlgorithm::Es256);
    let authorization = format!("DPoP {token}");
    let rsa = jwk(JwtAlgorithm::Rs256);
    let mut private = jwk(JwtAlgorithm::Es256);
    private["d"] = json!("AQAB");
    let in_head: [(&str, Option<Value>, &str); 17] = [
        ("typ", None, "wrong_type"),
        ("typ", Some(json!("JWT")), "wrong_type"),
        ("typ", Some(json!("at+jwt")), "wrong_type"),
        ("typ", Some(json!(7)), "malformed"),
        ("typ", Some(json!("application/DPoP+JWT")), "accepted"),
        ("alg", None, "malformed"),
        ("alg", Some(json!("none")), "wrong_algorithm"),
        ("alg", Some(json!("HS256")), "wrong_algorithm"),
        ("alg", Some(json!("ES384")), "wrong_algorithm"),
        ("alg", Some(json!("RS256")), "unusable_key"),
        ("jwk", None, "malformed"),
        ("jwk", Some(json!("x")), "malformed"),
        ("jwk", Some(json!({ "kty": "oct", "k": "AAAA" })), "unusable_key"),
        ("jwk", Some(private), "unusable_key"),
        ("jwk", Some(rsa), "unusable_key"),
        ("crit", Some(json!(["jwk"])), "unsupported_header"),
        ("b64", Some(json!(false)), "unsupported_header"),
    ];
    for (number, (name, value, expected)) in in_head.into_iter().enumerate() {
        let mut head = head(JwtAlgorithm::Es256);
        change(&mut head, name, value.clone());
        let proof = signed(JwtAlgorithm::Es256, &head, &body(&token, &format!("head{number}")));
        assert_eq!(bench.reason(&authorization, &[&proof]), expected, "{name}: {value:?}");
    }
    let long = "x".repeat(257);
    let text = |name| {
        [
            (name, None, "claim_missing"),
            (name, Some(json!(7)), "claim_type"),
            (name, Some(json!(null)), "claim_type"),
        ]
    };
    let mut in_body: Vec<(&str, Option<Value>, &str)> =
        ["jti", "htm", "htu", "ath"].into_iter().flat_map(text).collect();
    in_body.extend([
        ("jti", Some(json!("")), "claim_value"),
        ("jti", Some(json!(long)), "claim_value"),
        ("htm", Some(json!("POST")), "wrong_method"),
        ("htm", Some(json!("get")), "wrong_method"),
        ("htu", Some(json!("https://gate.example/v1/tools")), "wrong_address"),
        ("htu", Some(json!("https://evil.example/v1/agents")), "wrong_address"),
        ("htu", Some(json!("http://gate.example/v1/agents")), "wrong_address"),
        ("htu", Some(json!("/v1/agents")), "wrong_address"),
        ("htu", Some(json!("HTTPS://GATE.example:443/v1/x/../%61gents?q#f")), "accepted"),
        ("ath", Some(json!(encode([0; 32]))), "wrong_token"),
        ("iat", None, "claim_missing"),
        ("iat", Some(json!("1768039200")), "claim_type"),
        ("iat", Some(json!(NOW - 60)), "expired"),
        ("iat", Some(json!(NOW - 59)), "accepted"),
        ("iat", Some(json!(NOW + 5)), "accepted"),
        ("iat", Some(json!(NOW + 6)), "not_yet_valid"),
        ("iat", Some(json!(-1)), "claim_value"),
        ("nonce", Some(json!(7)), "claim_type"),
        ("nonce", Some(json!("made-up")), "nonce_required"),
    ]);
    for (number, (name, value, expected)) in in_body.into_iter().enumerate() {
        let mut body = body(&token, &format!("body{number}"));
        change(&mut body, name, value.clone());
        let proof = signed(JwtAlgorithm::Es256, &head(JwtAlgorithm::Es256), &body);
        assert_eq!(bench.reason(&authorization, &[&proof]), expected, "{name}: {value:?}");
    }
    // Signed by another key than the one that it shows.
    let forged = signed(JwtAlgorithm::EdDsa, &head(JwtAlgorithm::Es256), &body(&token, "forged"));
    assert_eq!(bench.reason(&authorization, &[&forged]), "bad_signature");
    let twice = format!("{{\"typ\":\"dpop+jwt\",{}", &head(JwtAlgorithm::Es256).to_string()[1..]);
    let input = format!("{}.{}", encode(twice), encode(body(&token, "twice").to_string()));
    let twice = format!("{input}.{}", encode(sign(JwtAlgorithm::Es256, &input)));
    assert_eq!(bench.reason(&authorization, &[&twice]), "malformed");
    assert_eq!(bench.reason(&authorization, &[&"a".repeat(8 * 1024 + 1)]), "too_long");
    assert_eq!(bench.reason(&authorization, &["a.b"]), "malformed");
}

fn change(object: &mut Value, name: &str, value: Option<Value>) {
    let object = object.as_object_mut().unwrap();
    match value {
        Some(value) => object.insert(name.to_owned(), value),
        None => object.remove(name),
    };
}

#[test]
fn without_a_certain_address_no_proof_counts() {
    let bench = bench();
    let token = bench.bound(JwtAlgorithm::Es256);
    let refused = bench.ask_at(&format!("DPoP {token}"), &[&proof(&token, "a")], None).unwrap_err();
    assert_eq!((refused.reason, refused.kind), ("no_address", RefusedKind::Unavailable));
}

#[test]
fn addresses_are_compared_in_their_normal_form() {
    let same = |a: &str, b: &str| normal(a).is_some() && normal(a) == normal(b);
    for (a, b) in [
        ("https://gate.example", "https://GATE.example:443/"),
        ("http://gate.example:80/a", "HTTP://gate.example/a?b=c"),
        ("https://gate.example/a/./b/../c", "https://gate.example/a/c#x"),
        ("https://gate.example/%7euser/%2f", "https://gate.example/~user/%2F"),
        ("https://[2001:DB8::1]/", "https://[2001:db8:0::1]/"),
    ] {
        assert!(same(a, b), "{a} {b}");
    }
    for (a, b) in [
        ("https://gate.example/a", "https://gate.example/A"),
        ("https://gate.example/a", "https://gate.example/a/"),
        ("https://gate.example/a%2Fb", "https://gate.example/a/b"),
        ("https://gate.example:8443/", "https://gate.example/"),
        ("https://gate.example.evil/", "https://gate.example/"),
    ] {
        assert!(normal(a).is_some() && normal(b).is_some() && !same(a, b), "{a} {b}");
    }
    let long = format!("https://gate.example/{}", "a".repeat(8 * 1024));
    for bad in [
        "",
        "gate.example",
        "ftp://gate.example/",
        "https://u:p@gate.example/",
        "https://gate.example/%zz",
        "https://gate.example/%4",
        &long,
    ] {
        assert_eq!(normal(bad), None, "{bad}");
    }
}

#[test]
fn a_proof_serves_once_whoever_comes_first() {
    let bench = bench();
    let token = bench.bound(JwtAlgorithm::Es256);
    let (authorization, proof) = (format!("DPoP {token}"), proof(&token, "once"));
    let accepted = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| match bench.reason(&authorization, &[&proof]) {
                "accepted" => _ = accepted.fetch_add(1, Ordering::SeqCst),
                reason => assert_eq!(reason, "replayed"),
            });
        }
    });
    assert_eq!(accepted.into_inner(), 1);
    // As long as its time is not over, and then it is too old.
    bench.clock.advance(Duration::from_secs(59));
    assert_eq!(bench.reason(&authorization, &[&proof]), "replayed");
    bench.clock.advance(Duration::from_secs(1));
    assert_eq!(bench.reason(&authorization, &[&proof]), "expired");
}

#[test]
fn a_full_table_refuses_and_one_principal_does_not_fill_it() {
    let bench = bench_with(|settings| settings.max_proofs_per_principal = 1);
    let token = bench.bound(JwtAlgorithm::Es256);
    let authorization = format!("DPoP {token}");
    assert_eq!(bench.reason(&authorization, &[&proof(&token, "a")]), "accepted");
    let refused = bench.ask(&authorization, &[&proof(&token, "b")]).unwrap_err();
    assert_eq!((refused.reason, refused.kind), ("too_many_proofs", RefusedKind::Unavailable));
}

/// The same again with the nonce that a refusal has brought.
fn with_nonce(bench: &Bench, token: &str, jti: &str, nonce: &str) -> &'static str {
    let mut body = body(token, jti);
    body["nonce"] = json!(nonce);
    body["iat"] = json!(bench.clock.now_seconds());
    let proof = signed(JwtAlgorithm::Es256, &head(JwtAlgorithm::Es256), &body);
    bench.reason(&format!("DPoP {token}"), &[&proof])
}

#[test]
fn a_nonce_shows_that_a_proof_was_made_a_moment_ago() {
    let bench = bench_with(|settings| settings.require_nonce = true);
    let token = bench.bound(JwtAlgorithm::Es256);
    let refused = bench.ask(&format!("DPoP {token}"), &[&proof(&token, "a")]).unwrap_err();
    assert_eq!((refused.reason, refused.kind), ("nonce_required", RefusedKind::Missing));
    let challenge = bench.authenticator.challenge(&refused);
    assert_eq!(challenge.text, "DPoP algs=\"ES256 EdDSA RS256\", error=\"use_dpop_nonce\"");
    let nonce = challenge.nonce.unwrap();
    assert_eq!(with_nonce(&bench, &token, "a", &nonce), "accepted");
    assert_eq!(with_nonce(&bench, &token, "a", &nonce), "replayed");
    let mut bent = nonce.clone();
    bent.replace_range(3..4, if &nonce[3..4] == "A" { "B" } else { "A" });
    for bad in [bent.as_str(), &nonce[..11], "x", &super::Nonces::new(300).unwrap().at(NOW)] {
        assert_eq!(with_nonce(&bench, &token, "b", bad), "nonce_required", "{bad}");
    }
    bench.clock.advance(Duration::from_secs(299));
    assert_eq!(with_nonce(&bench, &token, "c", &nonce), "accepted");
    bench.clock.advance(Duration::from_secs(1));
    assert_eq!(with_nonce(&bench, &token, "d", &nonce), "nonce_required");
    let next = bench.authenticator.next_nonce().unwrap();
    assert_eq!(with_nonce(&bench, &token, "e", &next), "accepted");
}

/// A table that cannot be asked may have seen the proof.
#[tokio::test]
async fn a_proof_is_refused_when_used_proofs_cannot_be_asked() {
    let bench = bench();
    let token = bench.bound(JwtAlgorithm::Es256);
    let proof = proof(&token, "a");
    let clock = Arc::<ManualClock>::clone(&bench.clock);
    let judge = DpopProofs::new(Settings::default(), Arc::new(Unreachable), clock).unwrap();
    let parsed = DpopProof::parse(&proof, &Settings::default().algorithms).unwrap();
    let refused = judge.spend(&parsed, &Subject::for_test()).await.unwrap_err();
    assert_eq!((refused.kind, refused.reason), (RefusedKind::Unavailable, "state_unavailable"));
}

/// What a process knew of used proofs is gone with it: a thief must not gain by a restart.
#[test]
fn a_proof_of_an_earlier_life_needs_a_nonce_of_this_one() {
    let bench = bench_with(|settings| {
        // Began 66 s ago, and proofs live longer than that.
        settings.max_age = Duration::from_secs(120);
    });
    let token = bench.bound(JwtAlgorithm::Es256);
    let at = |iat: i64, jti: &str| {
        let mut body = body(&token, jti);
        body["iat"] = json!(iat);
        let proof = signed(JwtAlgorithm::Es256, &head(JwtAlgorithm::Es256), &body);
        bench.ask(&format!("DPoP {token}"), &[&proof])
    };
    assert!(at(NOW - 60, "a").is_ok());
    let refused = at(NOW - 61, "b").unwrap_err();
    assert_eq!(refused.reason, "nonce_required");
    let nonce = bench.authenticator.challenge(&refused).nonce.unwrap();
    assert_eq!(with_nonce(&bench, &token, "b", &nonce), "accepted");
    assert_eq!(bench.authenticator.next_nonce(), None);
}

#[test]
fn a_refusal_says_what_is_wrong_with_the_proof_and_no_more() {
    let bench = bench();
    let (bound, free) = (bench.bound(JwtAlgorithm::Es256), bench.token(None));
    for (authorization, proofs, error) in [
        (format!("Bearer {bound}"), vec![], ", error=\"invalid_token\""),
        (format!("DPoP {free}"), vec![], ", error=\"invalid_token\""),
        (format!("DPoP {bound}"), vec![], ", error=\"invalid_dpop_proof\""),
        (format!("DPoP {bound}"), vec!["a.b.c"], ", error=\"invalid_dpop_proof\""),
        ("Bearer a.b.c".to_owned(), vec![], ""),
    ] {
        let refused = bench.ask(&authorization, &proofs).unwrap_err();
        let challenge = bench.authenticator.challenge(&refused);
        assert_eq!(challenge.text, format!("DPoP algs=\"ES256 EdDSA RS256\"{error}"));
        assert_eq!(challenge.nonce, None);
    }
}
