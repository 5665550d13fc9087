//! What it costs to learn who calls: one pass through [`Authenticator::authenticate`], beside the bare cryptography that
//! it cannot do without (an Ed25519 verification for a token that is new, an HMAC for a key, nothing for a token that is
//! remembered). Both run in this process, in turns, so that noise hits both. Prints medians; the difference is our own
//! code, the stores on disk included.
//!
//! `cargo bench --bench identity`; wanted: less than 10 µs of our own code in each row.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a bench that cannot be set up has failed")]

use std::hint::black_box;
use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, ParsedPublicKey};
use caxton::authn::issue::TokenIssuer;
use caxton::authn::jwt::{JwtAlgorithm, JwtKey, KeyMaterial};
use caxton::authn::{Authenticator, KeyHolder, KeyStore, Settings, api_key, jwt, tokens};
use caxton::clock::{Clock as _, SystemClock};
use caxton::model::{RoleName, ServiceName};
use caxton::telemetry::Metrics;
use futures::FutureExt as _;
use http::{HeaderMap, HeaderValue};

const ROUNDS: usize = 41;
const CALLS: u32 = 200;

type Call<'a> = Box<dyn Fn() + 'a>;

fn main() {
    let bench = Bench::new();
    let rows: [(&str, Call<'_>, Call<'_>); 4] = [
        ("token, remembered", bench.ask(&bench.known, &bench.token), Box::new(|| ())),
        ("token, new each time", bench.ask(&bench.forgetful, &bench.token), bench.signature()),
        ("own token, remembered", bench.ask(&bench.known, &bench.own), Box::new(|| ())),
        ("API key", bench.ask(&bench.known, &bench.key), bench.mac()),
    ];
    let mut out = std::io::stdout().lock();
    writeln!(out, "{:>9} {:>9} {:>9}   credential", "whole µs", "bare µs", "own µs").unwrap();
    for (name, ours, bare) in rows {
        let (whole, floor) = race(&ours, &bare);
        writeln!(out, "{whole:>9.2} {floor:>9.2} {:>9.2}   {name}", whole - floor).unwrap();
    }
}

/// Medians of both, in microseconds a call.
fn race(ours: &Call<'_>, bare: &Call<'_>) -> (f64, f64) {
    let time = |call: &Call<'_>| {
        let begin = Instant::now();
        for _ in 0..CALLS {
            call();
        }
        begin.elapsed().as_secs_f64() * 1e6 / f64::from(CALLS)
    };
    let (mut whole, mut floor) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        whole.push(time(ours));
        floor.push(time(bare));
    }
    (median(whole), median(floor))
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_unstable_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or_default()
}

struct Bench {
    _directory: tempfile::TempDir,
    known: Authenticator,
    /// Remembers no token.
    forgetful: Authenticator,
    token: HeaderMap,
    own: HeaderMap,
    key: HeaderMap,
    signed: (Vec<u8>, Vec<u8>, ParsedPublicKey),
    secret: (hmac::Key, String),
}

impl Bench {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let issuer = TokenIssuer::generate("bench", "caxton-api", Arc::new(SystemClock)).unwrap();
        let pem = issuer.public_pem().unwrap();
        let authenticator = |cache_entries| {
            let key = JwtKey {
                name: "bench".into(),
                algorithm: JwtAlgorithm::EdDsa,
                material: KeyMaterial::Pem(pem.clone()),
                kid: None,
            };
            let jwt = jwt::Settings {
                keys: vec![key],
                issuer: "bench".into(),
                cache_entries,
                ..Default::default()
            };
            let settings = Settings {
                jwt: Some(jwt),
                api_keys: api_key::Settings::in_directory(directory.path()),
                tokens: tokens::Settings::in_directory(directory.path()),
                mtls: None,
                oauth2: None,
            };
            Authenticator::new(settings, Arc::new(SystemClock), Arc::new(Metrics::new())).unwrap()
        };
        let (known, forgetful) = (authenticator(10_000), authenticator(0));
        let secret = make_key(known.keys());
        let (id, text) = (secret.id.clone(), secret.secret.expose().clone());
        let record = known.keys().find(&id).unwrap().expect("the key was just made");
        let own = known.tokens().issue(record).unwrap();
        let claims = serde_json::json!({ "roles": ["developer"], "email": "a@example.com" });
        let token = issuer.issue("alice", Duration::from_secs(3600), claims.as_object().unwrap().clone());
        let pair = Ed25519KeyPair::generate().unwrap();
        let message = token.expose().rsplit_once('.').unwrap().0.as_bytes().to_vec();
        let signature = pair.sign(&message).as_ref().to_vec();
        let public = ParsedPublicKey::new(&ED25519, pair.public_key().as_ref()).unwrap();
        Self {
            token: header("authorization", &format!("Bearer {}", token.expose())),
            own: header("authorization", &format!("Bearer {}", own.access.expose())),
            key: header("x-api-key", &text),
            signed: (message, signature, public),
            secret: (hmac::Key::new(hmac::HMAC_SHA256, &[7; 32]), text),
            known,
            forgetful,
            _directory: directory,
        }
    }

    fn ask<'a>(&'a self, authenticator: &'a Authenticator, headers: &'a HeaderMap) -> Call<'a> {
        Box::new(move || {
            let answer = authenticator.authenticate(headers, None).now_or_never().expect("it never waits");
            black_box(answer).unwrap();
        })
    }

    fn signature(&self) -> Call<'_> {
        let (message, signature, public) = &self.signed;
        Box::new(move || public.verify_sig(black_box(message), signature).unwrap())
    }

    fn mac(&self) -> Call<'_> {
        let (key, text) = &self.secret;
        Box::new(move || {
            black_box(hmac::sign(key, black_box(text.as_bytes())));
        })
    }
}

fn make_key(keys: &KeyStore) -> caxton::authn::NewKey {
    let (name, now) = (ServiceName::parse("bench").unwrap(), SystemClock.now_millis());
    let words = ["tool:call", "memory:read"].map(|word| RoleName::parse(word).unwrap());
    keys.create(&name, &KeyHolder::Service, &words, now, now + 3_600_000).unwrap()
}

fn header(name: &'static str, value: &str) -> HeaderMap {
    HeaderMap::from_iter([(name.parse().unwrap(), HeaderValue::from_str(value).unwrap())])
}
