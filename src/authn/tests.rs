use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, header};
use serde_json::{Map, json};

use super::issue::TokenIssuer;
use super::jwt::{JwtAlgorithm, JwtKey, KeyMaterial};
use super::*;
use crate::clock::ManualClock;
use crate::model::{EntityUid, ServiceName, Subject};
use crate::telemetry::{AuthLabels, Metrics};

const NOW: i64 = 1_768_039_200_000;

struct Bench {
    _directory: tempfile::TempDir,
    clock: Arc<ManualClock>,
    issuer: TokenIssuer,
    authenticator: Authenticator,
    metrics: Arc<Metrics>,
    token: String,
    key: String,
}

fn bench(with_jwt: bool) -> Bench {
    let directory = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::at_millis(NOW));
    let issuer = TokenIssuer::generate("demo", "caxton-api", Arc::<ManualClock>::clone(&clock)).unwrap();
    let pem = directory.path().join("issuer.pem");
    issuer.write_public_pem(&pem).unwrap();
    let jwt = with_jwt.then(|| jwt::Settings {
        keys: vec![JwtKey {
            name: "demo".into(),
            algorithm: JwtAlgorithm::EdDsa,
            material: KeyMaterial::File(pem),
            kid: None,
        }],
        issuer: "demo".into(),
        ..jwt::Settings::default()
    });
    let api_keys = api_key::Settings::in_directory(directory.path());
    let store = KeyStore::open(&api_keys).unwrap();
    let name = ServiceName::parse("ci").unwrap();
    let key = store.create(&name, &KeyHolder::Service, &[], NOW, NOW + 1).unwrap();
    let claims = Map::from_iter([("roles".to_owned(), json!(["viewer"])), ("sub".to_owned(), json!("root"))]);
    let token = issuer.issue("alice", Duration::from_secs(60), claims);
    let metrics = Arc::new(Metrics::new());
    let tokens = tokens::Settings::in_directory(directory.path());
    let settings = Settings { jwt, api_keys, tokens, ..Settings::default() };
    let ports = AuthnPorts::local(&settings).unwrap();
    let authenticator =
        Authenticator::new(settings, ports, Arc::<ManualClock>::clone(&clock), Arc::clone(&metrics)).unwrap();
    Bench {
        _directory: directory,
        clock,
        issuer,
        authenticator,
        metrics,
        token: format!("Bearer {}", token.expose()),
        key: key.secret.expose().clone(),
    }
}

impl Bench {
    fn ask(&self, headers: &[(HeaderName, &str)]) -> Result<Arc<Subject>, Refused> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        let evidence =
            Evidence { headers: &map, certificate: None, method: &http::Method::GET, address: None };
        futures::executor::block_on(self.authenticator.authenticate(&evidence)).map(|proven| proven.subject)
    }

    fn failures(&self, method: &'static str, reason: &'static str) -> u64 {
        self.metrics.auth_failures.get_or_create(&AuthLabels { method, reason }).get()
    }
}

const KEY: HeaderName = HeaderName::from_static("x-api-key");

#[test]
fn each_way_in_proves_its_principal() {
    let bench = bench(true);
    let user = bench.ask(&[(header::AUTHORIZATION, &bench.token)]).unwrap();
    // The caller's own claims cannot replace the five that the issuer sets.
    assert_eq!(user.principal(), &EntityUid::caxton("User", "demo|alice"));
    assert_eq!(user.entity().parents, [EntityUid::caxton("Role", "viewer")]);
    let lower = bench.token.replace("Bearer ", "bearer  ");
    assert!(bench.ask(&[(header::AUTHORIZATION, &lower)]).is_ok());
    let service = bench.ask(&[(KEY, &bench.key)]).unwrap();
    assert_eq!(service.principal(), &EntityUid::caxton("Service", "ci"));
}

/// The issuer's clock may be ahead: what it made before everything was revoked can say that it was made after.
#[test]
fn a_token_of_a_clock_that_is_ahead_does_not_outlive_a_revocation() {
    let bench = bench(true);
    bench.authenticator.tokens().revoke_all().unwrap();
    for (later, accepted) in [(0, false), (5, false), (6, true)] {
        bench.clock.advance(Duration::from_secs(if later == 6 { 1 } else { later }));
        let token = bench.issuer.issue("alice", Duration::from_secs(60), Map::new());
        let bearer = format!("Bearer {}", token.expose());
        let answer = bench.ask(&[(header::AUTHORIZATION, &bearer)]);
        assert_eq!(answer.is_ok(), accepted, "{later}: {answer:?}");
    }
}

#[test]
fn every_refusal_is_counted_and_says_little() {
    let bench = bench(true);
    let broken = format!("{}x", bench.token);
    type Case<'a> = (&'a [(HeaderName, &'a str)], &'static str, &'static str, &'static str);
    let cases: [Case<'_>; 8] = [
        (&[], "none", "missing", "credentials are missing"),
        (
            &[(header::AUTHORIZATION, "Basic YWxpY2U6c2VjcmV0")],
            "jwt",
            "unsupported_scheme",
            "the credentials are not valid",
        ),
        (&[(header::AUTHORIZATION, "Bearer")], "jwt", "unsupported_scheme", "the credentials are not valid"),
        (&[(header::AUTHORIZATION, "Bearer ")], "jwt", "malformed", "the credentials are not valid"),
        (&[(header::AUTHORIZATION, "Bearer é")], "jwt", "malformed", "the credentials are not valid"),
        (&[(header::AUTHORIZATION, &broken)], "jwt", "malformed", "the credentials are not valid"),
        (
            &[(header::AUTHORIZATION, &bench.token), (header::AUTHORIZATION, &bench.token)],
            "jwt",
            "repeated_header",
            "the credentials are not valid",
        ),
        (&[(KEY, "cax_live_nonsense")], "api_key", "malformed", "the credentials are not valid"),
    ];
    for (headers, method, reason, client_text) in cases {
        let before = bench.failures(method, reason);
        let refused = bench.ask(headers).unwrap_err();
        assert_eq!((refused.method, refused.reason, refused.client_text), (method, reason, client_text));
        // Who presents nothing has not failed to prove anything.
        let counted = u64::from(reason != "missing");
        assert_eq!(bench.failures(method, reason), before + counted, "{reason}");
        let said = refused.to_string();
        assert!(!said.contains("nonsense") && !said.contains("YWxpY2U6c2VjcmV0"), "{said}");
    }
}

#[test]
fn two_credentials_must_both_hold_and_agree() {
    let bench = bench(true);
    let (token, key) = ((header::AUTHORIZATION, bench.token.as_str()), (KEY, bench.key.as_str()));
    let refused = bench.ask(&[token.clone(), key]).unwrap_err();
    assert_eq!(refused.reason, "conflicting_credentials");
    // A good credential does not carry a bad one past the door.
    assert_eq!(bench.ask(&[token, (KEY, "cax_live_x")]).unwrap_err().method, "api_key");
    let bad = (header::AUTHORIZATION, "Bearer a.b.c");
    assert_eq!(bench.ask(&[bad, (KEY, &bench.key)]).unwrap_err().method, "jwt");
}

#[test]
fn tokens_are_refused_when_they_are_not_configured() {
    let bench = bench(false);
    assert_eq!(bench.ask(&[(header::AUTHORIZATION, &bench.token)]).unwrap_err().reason, "not_enabled");
    assert!(bench.ask(&[(KEY, &bench.key)]).is_ok());
}
