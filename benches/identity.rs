//! What it costs to learn who calls: one pass through [`Authenticator::authenticate`], beside the bare cryptography that
//! it cannot do without (an Ed25519 verification for a token or a proof that is new, an HMAC for a key, nothing for what
//! is remembered). Both run in this process, in turns, so that noise hits both. Prints medians; the difference is our own
//! code, the stores on disk included.
//!
//! `cargo bench --bench identity`; wanted: less than 10 µs of our own code in each row.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a bench that cannot be set up has failed")]

use std::cell::Cell;
use std::hint::black_box;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, ED25519, EcdsaKeyPair, Ed25519KeyPair,
    KeyPair as _, ParsedPublicKey,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use caxton::authn::issue::TokenIssuer;
use caxton::authn::jwt::{JwtAlgorithm, JwtKey, KeyMaterial};
use caxton::authn::mtls::{self, ClientCertificate, ClientTrust};
use caxton::authn::{
    Authenticator, AuthnPorts, Evidence, KeyHolder, KeyStore, Settings, api_key, jwt, tokens,
};
use caxton::clock::{Clock as _, ManualClock, SystemClock};
use caxton::model::{HolderKeys, RoleName, ServiceName};
use caxton::telemetry::Metrics;
use futures::FutureExt as _;
use http::{HeaderMap, HeaderValue, Method};
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType};
use rustls::pki_types::CertificateDer;
use serde_json::json;

const ROUNDS: usize = 41;
const CALLS: u32 = 200;

type Call<'a> = Box<dyn Fn() + 'a>;

fn main() {
    let bench = Bench::new();
    let rows: [(&str, Call<'_>, Call<'_>); 7] = [
        ("token, remembered", bench.ask(&bench.known, &bench.token), Box::new(|| ())),
        ("token, new each time", bench.ask(&bench.forgetful, &bench.token), bench.signature()),
        ("own token, remembered", bench.ask(&bench.known, &bench.own), Box::new(|| ())),
        ("API key", bench.ask(&bench.known, &bench.key), bench.mac()),
        ("client certificate, remembered", bench.certificate(), Box::new(|| ())),
        ("client certificate, new connection", bench.new_certificate(), bench.chain()),
        ("bound token with DPoP proof", bench.proof(), bench.signature()),
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
    trust: ClientTrust,
    chain: Vec<CertificateDer<'static>>,
    /// An ECDSA signature, as a certificate has one.
    issued: (Vec<u8>, Vec<u8>, ParsedPublicKey),
    bound: Bound,
}

/// A bound token, and a proof for each call.
struct Bound {
    authenticator: Authenticator,
    requests: Vec<HeaderMap>,
    next: Cell<usize>,
}

const ADDRESS: &str = "https://gate.example/v1/agents";

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
                dpop: Default::default(),
                oauth2: None,
            };
            let ports = AuthnPorts::local(&settings).unwrap();
            Authenticator::new(settings, ports, Arc::new(SystemClock), Arc::new(Metrics::new())).unwrap()
        };
        let (known, forgetful) = (authenticator(10_000), authenticator(0));
        let secret = make_key(known.keys());
        let (id, text) = (secret.id.clone(), secret.secret.expose().clone());
        let record = known.keys().find(&id).unwrap().expect("the key was just made");
        let own = known.tokens().issue(record, HolderKeys::default()).unwrap();
        let claims = serde_json::json!({ "roles": ["developer"], "email": "a@example.com" });
        let token = issuer.issue("alice", Duration::from_secs(3600), claims.as_object().unwrap().clone());
        let (trust, chain) = certificate(directory.path());
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
            trust,
            chain,
            issued: issued(),
            bound: Bound::new(),
            known,
            forgetful,
            _directory: directory,
        }
    }

    fn ask<'a>(&'a self, authenticator: &'a Authenticator, headers: &'a HeaderMap) -> Call<'a> {
        Box::new(move || {
            let evidence = Evidence { headers, certificate: None, method: &Method::GET, address: None };
            let answer = authenticator.authenticate(&evidence).now_or_never().expect("it never waits");
            black_box(answer).unwrap();
        })
    }

    fn certificate(&self) -> Call<'_> {
        let certificate = ClientCertificate::new(self.chain.clone()).unwrap();
        Box::new(move || {
            black_box(mtls::prove(&self.trust, black_box(&certificate))).unwrap();
        })
    }

    fn new_certificate(&self) -> Call<'_> {
        Box::new(|| {
            let certificate = ClientCertificate::new(self.chain.clone()).unwrap();
            black_box(mtls::prove(&self.trust, black_box(&certificate))).unwrap();
        })
    }

    fn chain(&self) -> Call<'_> {
        let (message, signature, public) = &self.issued;
        Box::new(move || public.verify_sig(black_box(message), signature).unwrap())
    }

    fn proof(&self) -> Call<'_> {
        let bound = &self.bound;
        Box::new(move || {
            let headers = bound.requests.get(bound.next.replace(bound.next.get() + 1)).expect("one a call");
            let evidence =
                Evidence { headers, certificate: None, method: &Method::GET, address: Some(ADDRESS) };
            let answer = bound.authenticator.authenticate(&evidence).now_or_never().expect("it never waits");
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

/// An authority on disk, and a client's certificate of its making.
fn certificate(directory: &Path) -> (ClientTrust, Vec<CertificateDer<'static>>) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    std::fs::write(directory.join("ca.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
    let mut client = CertificateParams::default();
    client.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    client.subject_alt_names = vec![SanType::URI("spiffe://bench.example/client".try_into().unwrap())];
    let leaf = client.signed_by(&KeyPair::generate().unwrap(), &Issuer::new(params, key)).unwrap();
    let settings = mtls::Settings::new(directory.join("ca.pem"));
    (ClientTrust::open(settings, Arc::new(SystemClock)).unwrap(), vec![leaf.der().clone()])
}

fn issued() -> (Vec<u8>, Vec<u8>, ParsedPublicKey) {
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
    let message = vec![7; 512];
    let signature = pair.sign(&SystemRandom::new(), &message).unwrap().as_ref().to_vec();
    (message, signature, ParsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, pair.public_key().as_ref()).unwrap())
}

impl Bound {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::at_millis(SystemClock.now_millis()));
        let shared = || Arc::<ManualClock>::clone(&clock);
        let issuer = TokenIssuer::generate("bench", "caxton-api", shared()).unwrap();
        let key = JwtKey {
            name: "bench".into(),
            algorithm: JwtAlgorithm::EdDsa,
            material: KeyMaterial::Pem(issuer.public_pem().unwrap()),
            kid: None,
        };
        let settings = Settings {
            jwt: Some(jwt::Settings { keys: vec![key], issuer: "bench".into(), ..Default::default() }),
            api_keys: api_key::Settings::in_directory(directory.path()),
            tokens: tokens::Settings::in_directory(directory.path()),
            ..Settings::default()
        };
        let ports = AuthnPorts::local(&settings).unwrap();
        let authenticator = Authenticator::new(settings, ports, shared(), Arc::new(Metrics::new())).unwrap();
        // What a process before this one may have seen needs a nonce.
        clock.advance(Duration::from_secs(10));
        let pair = Ed25519KeyPair::generate().unwrap();
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let public = encode(pair.public_key().as_ref());
        let thumbprint =
            digest(&SHA256, format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{public}"}}"#).as_bytes());
        let cnf = json!({ "cnf": { "jkt": encode(thumbprint.as_ref()) } });
        let token = issuer.issue("alice", Duration::from_secs(3600), cnf.as_object().unwrap().clone());
        let ath = encode(digest(&SHA256, token.expose().as_bytes()).as_ref());
        let jwk = json!({ "kty": "OKP", "crv": "Ed25519", "x": public });
        let head = encode(json!({ "typ": "dpop+jwt", "alg": "EdDSA", "jwk": jwk }).to_string().as_bytes());
        let now = clock.now_seconds();
        let request = |number| {
            let claims =
                json!({ "jti": format!("{number}"), "htm": "GET", "htu": ADDRESS, "iat": now, "ath": ath });
            let input = format!("{head}.{}", encode(claims.to_string().as_bytes()));
            let proof = format!("{input}.{}", encode(pair.sign(input.as_bytes()).as_ref()));
            let mut headers = header("authorization", &format!("DPoP {}", token.expose()));
            headers.extend(header("dpop", &proof));
            headers
        };
        let calls = ROUNDS * CALLS as usize;
        Self { authenticator, requests: (0..calls).map(request).collect(), next: Cell::new(0) }
    }
}
