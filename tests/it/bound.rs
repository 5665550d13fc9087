//! Tokens that are bound to a key of their holder, over the wire: a copy of the token alone opens nothing.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests"
)]

use std::sync::atomic::{AtomicU64, Ordering};

use crate::support::pki::{Authority, Identity, Wish, client, gateway};
use crate::support::{Answer, Credential, World, send};
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use caxton::authn::mtls;
use caxton::clock::{Clock as _, SystemClock};
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value as Json, json};

/// A client that signs proofs, and remembers the last nonce that it was given.
struct Holder {
    pair: EcdsaKeyPair,
    nonce: std::sync::Mutex<Option<String>>,
    proofs: AtomicU64,
}

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

impl Holder {
    fn new() -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        Self { pair, nonce: Default::default(), proofs: AtomicU64::new(0) }
    }

    fn jwk(&self) -> Json {
        let point = self.pair.public_key().as_ref();
        json!({ "kty": "EC", "crv": "P-256", "x": encode(&point[1..33]), "y": encode(&point[33..]) })
    }

    fn thumbprint(&self) -> String {
        let jwk = self.jwk();
        let text = format!(r#"{{"crv":"P-256","kty":"EC","x":{},"y":{}}}"#, jwk["x"], jwk["y"]);
        encode(digest(&SHA256, text.as_bytes()))
    }

    fn proof(&self, method: &Method, url: &str, token: Option<&str>) -> String {
        let number = self.proofs.fetch_add(1, Ordering::SeqCst);
        let mut claims = json!({
            "jti": format!("proof-{number}"), "htm": method.as_str(), "htu": url, "iat": SystemClock.now_seconds(),
        });
        if let Some(token) = token {
            claims["ath"] = encode(digest(&SHA256, token.as_bytes())).into();
        }
        if let Some(nonce) = &*self.nonce.lock().unwrap() {
            claims["nonce"] = nonce.as_str().into();
        }
        let head = json!({ "typ": "dpop+jwt", "alg": "ES256", "jwk": self.jwk() });
        let input = format!("{}.{}", encode(head.to_string()), encode(claims.to_string()));
        let signature = encode(self.pair.sign(&SystemRandom::new(), input.as_bytes()).unwrap());
        format!("{input}.{signature}")
    }

    /// As a client library does it: a second time when the gateway asks for its nonce.
    async fn call(
        &self,
        world: &World,
        credential: &Credential,
        method: Method,
        path: &str,
        body: &Json,
    ) -> Answer {
        let mut answer = None;
        for _ in 0..2 {
            let token = match credential {
                Credential::Token(token) => Some(token.as_str()),
                Credential::Nothing | Credential::Key(_) => None,
            };
            let proof = self.proof(&method, &world.url(path), token);
            let bare = match credential {
                Credential::Token(_) => Credential::Nothing,
                other => other.clone(),
            };
            let mut request = world.request(&bare, method.clone(), path).header("DPoP", proof);
            if let Some(token) = token {
                request = request.header("authorization", format!("DPoP {token}"));
            }
            let request = if method == Method::POST { request.json(body) } else { request };
            let got = send(request).await;
            if let Some(nonce) = got.headers.get("dpop-nonce") {
                *self.nonce.lock().unwrap() = Some(nonce.to_str().unwrap().to_owned());
            }
            let again = challenges(&got).iter().any(|challenge| challenge.contains("use_dpop_nonce"));
            answer = Some(got);
            if !again {
                break;
            }
        }
        answer.unwrap()
    }
}

fn challenges(answer: &Answer) -> Vec<&str> {
    answer.headers.get_all("www-authenticate").iter().map(|value| value.to_str().unwrap()).collect()
}

fn claims(token: &str) -> Json {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap()).unwrap()
}

fn token(pair: &Json) -> Credential {
    Credential::Token(pair["access_token"].as_str().unwrap().to_owned())
}

fn last_detail(world: &World) -> String {
    let mut failures = world.records().into_iter().filter(|record| record["event"] == "login_failure");
    failures.next_back().unwrap()["detail"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_token_taken_with_a_proof_is_worth_nothing_without_one() {
    let world = World::new().await;
    let (holder, thief) = (Holder::new(), Holder::new());
    let key = world.service("ci", &["agent:list", "agent:read"]);
    let answer = holder.call(&world, &key, Method::POST, "/v1/auth/token", &json!({})).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    let pair = answer.json();
    assert_eq!(pair["token_type"], "DPoP");
    let Credential::Token(text) = token(&pair) else { panic!("it is a token") };
    assert_eq!(claims(&text)["cnf"], json!({ "jkt": holder.thumbprint() }));

    let list = "/v1/agents";
    let good = holder.call(&world, &token(&pair), Method::GET, list, &json!({})).await;
    assert_eq!(good.status, StatusCode::OK, "{good:?}");
    // A stolen copy: as a bearer token, without proof, with the thief's own key.
    let stolen = world.get(&token(&pair), list).await;
    assert_eq!(stolen.status, StatusCode::UNAUTHORIZED);
    assert_eq!(
        challenges(&stolen),
        ["Bearer realm=\"caxton\"", "DPoP algs=\"ES256 EdDSA RS256\", error=\"invalid_token\""]
    );
    assert_eq!(stolen.json()["detail"], "the credentials are not valid");
    assert_eq!(last_detail(&world), "dpop: required");
    let scheme = format!("DPoP {text}");
    let bare = world.request(&Credential::Nothing, Method::GET, list).header("authorization", &scheme);
    assert_eq!(send(bare).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(last_detail(&world), "dpop: missing");
    let forged = thief.call(&world, &token(&pair), Method::GET, list, &json!({})).await;
    assert_eq!(forged.status, StatusCode::UNAUTHORIZED);
    assert_eq!(last_detail(&world), "dpop: wrong_key");

    // The thief has seen a whole request: it serves once, for that method, that path, and that host.
    let proof = holder.proof(&Method::GET, &world.url(list), Some(&text));
    let with = |method: Method, path: &str| {
        let request = world.request(&Credential::Nothing, method, path);
        request.header("authorization", &scheme).header("DPoP", &proof)
    };
    for (request, reason) in [
        (with(Method::GET, "/v1/agents/clerk"), "dpop: wrong_address"),
        (with(Method::HEAD, list), "dpop: wrong_method"),
        (with(Method::GET, list).header("host", "evil.example"), "dpop: no_address"),
        (with(Method::GET, list).header("host", "localhost:1"), "dpop: no_address"),
        (with(Method::GET, list).header("DPoP", &proof), "dpop: repeated_header"),
    ] {
        let answer = send(request).await;
        assert_ne!(answer.status, StatusCode::OK, "{reason}: {answer:?}");
        assert_eq!(last_detail(&world), reason);
    }
    assert_eq!(send(with(Method::GET, list)).await.status, StatusCode::OK);
    assert_eq!(send(with(Method::GET, list)).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(last_detail(&world), "dpop: replayed");
    world.stop().await;
}

#[tokio::test]
async fn the_refresh_token_is_bound_to_the_same_key() {
    let world = World::with(|settings, _| settings.authn.dpop.require_nonce = true).await;
    let (holder, thief) = (Holder::new(), Holder::new());
    let key = world.service("ci", &["agent:list"]);
    let pair = holder.call(&world, &key, Method::POST, "/v1/auth/token", &json!({})).await.json();
    let body = json!({ "refresh_token": pair["refresh_token"] });
    let path = "/v1/auth/refresh";
    let bare = world.post(&Credential::Nothing, path, &body).await;
    assert_eq!((bare.status, last_detail(&world).as_str()), (StatusCode::UNAUTHORIZED, "dpop: missing"));
    let stolen = thief.call(&world, &Credential::Nothing, Method::POST, path, &body).await;
    assert_eq!((stolen.status, last_detail(&world).as_str()), (StatusCode::UNAUTHORIZED, "dpop: missing"));
    // Neither has used it up.
    let answer = holder.call(&world, &Credential::Nothing, Method::POST, path, &body).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    let next = answer.json();
    assert_eq!(next["token_type"], "DPoP");
    let Credential::Token(text) = token(&next) else { panic!("it is a token") };
    assert_eq!(claims(&text)["cnf"], json!({ "jkt": holder.thumbprint() }));
    let before = holder.proofs.load(Ordering::SeqCst);
    let good = holder.call(&world, &token(&next), Method::GET, "/v1/agents", &json!({})).await;
    assert_eq!(good.status, StatusCode::OK, "{good:?}");
    assert_eq!(holder.proofs.load(Ordering::SeqCst), before + 1, "each answer brings the next nonce");
    world.stop().await;
}

#[tokio::test]
async fn a_proof_is_for_the_configured_address() {
    let world = World::with(|settings, _| {
        settings.api.public_url = Some("https://gate.example/base/".into());
        // By itself it asks for one only of proofs that may be older than itself.
        settings.authn.dpop.require_nonce = true;
    })
    .await;
    let holder = Holder::new();
    let key = world.service("ci", &["agent:list"]);
    for (url, expected) in [
        ("https://gate.example/base/v1/auth/token", "use_dpop_nonce"),
        (&world.url("/v1/auth/token"), "invalid_dpop_proof"),
    ] {
        let proof = holder.proof(&Method::POST, url, None);
        let request =
            world.request(&key, Method::POST, "/v1/auth/token").header("DPoP", proof).json(&json!({}));
        let answer = send(request).await;
        assert!(challenges(&answer)[1].contains(expected), "{url}: {answer:?}");
    }
    // The proof is for the request that a proxy asks about; that one is not here.
    let proof = holder.proof(&Method::GET, "https://gate.example/base/v1/ext_authz/nginx", None);
    let request = world.request(&key, Method::GET, "/v1/ext_authz/nginx").header("DPoP", proof);
    assert_eq!(send(request).await.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(last_detail(&world), "dpop: no_address");
    world.stop().await;
}

// ---- certificates ----

fn thumbprint(identity: &Identity) -> String {
    encode(digest(&SHA256, &identity.certificates()[0]))
}

async fn list(world: &World, client: &Client, credential: &Credential) -> Answer {
    let Credential::Token(token) = credential else { panic!("it is a token") };
    send(client.get(world.url("/v1/agents")).bearer_auth(token)).await
}

#[tokio::test]
async fn a_token_of_an_issuer_counts_only_over_the_connection_it_is_bound_to() {
    let (server, clients) = (Authority::new("Server CA"), Authority::new("Client CA"));
    let [mine, other] = ["a", "b"].map(|name| clients.sign(&Wish::client(name).dns("pay.example")));
    for used_for in [mtls::Use::Connection, mtls::Use::Principal] {
        let world = gateway(&server, &clients, |_, mtls, _| mtls.used_for = used_for).await;
        let bound = world.bound_person("alice", &["viewer"], json!({ "x5t#S256": thumbprint(&mine) }));
        let good = list(&world, &client(&server, Some(&mine)), &bound).await;
        assert_eq!(good.status, StatusCode::OK, "{good:?}");
        // It is still the person that calls, not the holder of the certificate.
        let record = world.records().into_iter().next_back().unwrap();
        assert!(record["subject"]["principal"].as_str().unwrap().ends_with("|alice\""), "{record}");
        assert_eq!(list(&world, &client(&server, None), &bound).await.status, StatusCode::UNAUTHORIZED);
        assert_eq!(last_detail(&world), "mtls: wrong_certificate");
        let stolen = list(&world, &client(&server, Some(&other)), &bound).await;
        assert_eq!(stolen.status, StatusCode::UNAUTHORIZED);
        world.stop().await;
    }
}

#[tokio::test]
async fn own_tokens_are_bound_to_the_certificate_of_the_connection_they_were_taken_over() {
    let (server, clients) = (Authority::new("Server CA"), Authority::new("Client CA"));
    let [mine, other] = ["a", "b"].map(|name| clients.sign(&Wish::client(name).dns("pay.example")));
    let mut world = gateway(&server, &clients, |_, mtls, _| mtls.used_for = mtls::Use::Connection).await;
    let key = world.service("ci", &["agent:list"]);
    let [bare, mine_client, other_client] =
        [None, Some(&mine), Some(&other)].map(|identity| client(&server, identity));
    world.client = mine_client.clone();
    let pair = world.post(&key, "/v1/auth/token", &json!({})).await.json();
    assert_eq!(pair["token_type"], "Bearer");
    let Credential::Token(text) = token(&pair) else { panic!("it is a token") };
    assert_eq!(claims(&text)["cnf"], json!({ "x5t#S256": thumbprint(&mine) }));
    assert_eq!(list(&world, &mine_client, &token(&pair)).await.status, StatusCode::OK);
    let body = json!({ "refresh_token": pair["refresh_token"] });
    for thief in [&bare, &other_client] {
        assert_eq!(list(&world, thief, &token(&pair)).await.status, StatusCode::UNAUTHORIZED);
        world.client = thief.clone();
        let stolen = world.post(&Credential::Nothing, "/v1/auth/refresh", &body).await;
        assert_eq!(stolen.status, StatusCode::UNAUTHORIZED, "{stolen:?}");
        assert_eq!(last_detail(&world), "mtls: wrong_certificate");
    }
    world.client = mine_client.clone();
    let next = world.post(&Credential::Nothing, "/v1/auth/refresh", &body).await;
    assert_eq!(next.status, StatusCode::OK, "{next:?}");
    assert_eq!(list(&world, &mine_client, &token(&next.json())).await.status, StatusCode::OK);
    world.stop().await;
}

/// Through a proxy: the certificate that it passes on is the client's, and nobody else's word on it counts.
#[tokio::test]
async fn the_certificate_that_a_proxy_passes_on_is_what_the_token_is_bound_to() {
    use base64::engine::general_purpose::STANDARD;
    let (server, clients) = (Authority::new("Server CA"), Authority::new("Client CA"));
    let [mine, other] = ["a", "b"].map(|name| clients.sign(&Wish::client(name).dns("pay.example")));
    let header = |identity: &Identity| format!(":{}:", STANDARD.encode(&identity.certificates()[0]));
    for trusted in [true, false] {
        let world = gateway(&server, &clients, |settings, mtls, _| {
            mtls.used_for = mtls::Use::Connection;
            settings.api.proxies.certificate_header = Some("client-cert".parse().unwrap());
            if trusted {
                settings.api.proxies.networks = vec!["127.0.0.1/32".parse().unwrap()];
            }
        })
        .await;
        let bound = world.bound_person("alice", &["viewer"], json!({ "x5t#S256": thumbprint(&mine) }));
        let through = |identity: &Identity| {
            let request =
                world.request(&bound, Method::GET, "/v1/agents").header("client-cert", header(identity));
            send(request.header("x-forwarded-for", "198.51.100.7").header("x-forwarded-proto", "https"))
        };
        let expected = if trusted { StatusCode::OK } else { StatusCode::UNAUTHORIZED };
        assert_eq!(through(&mine).await.status, expected);
        assert_eq!(through(&other).await.status, StatusCode::UNAUTHORIZED);
        world.stop().await;
    }
}
