//! The gateway's credentials at upstream servers: tokens of its own and of callers, from an authorization server whose answers
//! each test writes. The upstream server says whose token it was shown.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "helpers of tests")]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use axum::body::Body;
use axum::http::HeaderMap;
use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use caxton::Secret;
use caxton::model::ServerName;
use caxton::tools::{
    ClientKey, OauthClient, OwnAccess, ServerSettings, SharedSecret, TokenPlace, Transport, UpstreamAuth,
    UpstreamGrant,
};
use reqwest::{Method, StatusCode};
use serde_json::{Value as Json, json};

use crate::mcp::{Reply, Upstream, done, rpc, stateful, stateless};
use crate::support::oauth::{AuthorizationServer, claims, holder_of, refusal};
use crate::support::{Credential, PATIENCE, World, send, tool, until, write};

const SECRET: &str = "hunter2+&=%";

fn client(server: &AuthorizationServer) -> OauthClient {
    OauthClient {
        place: TokenPlace::Issuer(server.issuer.clone()),
        id: "caxton gateway".to_owned(),
        key: ClientKey::Basic(SharedSecret::Given(Secret::new(SECRET.to_owned()))),
    }
}

fn auth(server: &AuthorizationServer, grant: UpstreamGrant) -> UpstreamAuth {
    UpstreamAuth { grant, scope: "read write".to_owned(), ..UpstreamAuth::client_credentials(client(server)) }
}

/// An upstream that answers calls with the holder of the token, or not at all; `handshake` is that of its generation.
async fn upstream(
    handshake: fn(&Json, &Json) -> Option<Reply>,
    accepts: impl Fn(&str) -> bool + Send + Sync + 'static,
) -> Upstream {
    Upstream::start(Arc::new(move |_, message, headers| {
        let token = bearer(headers);
        match token {
            Some(token) if accepts(&token) => handshake(message, &json!([tool("who", "says who")]))
                .unwrap_or_else(|| done(&holder_of(&token))),
            _ => Reply::Status(401),
        }
    }))
    .await
}

fn bearer(headers: &HeaderMap) -> Option<String> {
    let value = headers.get("authorization")?.to_str().unwrap();
    Some(value.strip_prefix("Bearer ").unwrap().to_owned())
}

async fn world(upstream: &Upstream, auth: UpstreamAuth) -> World {
    world_of(vec![server("up", &upstream.url, auth)]).await
}

fn server(name: &str, url: &str, auth: UpstreamAuth) -> ServerSettings {
    let transport = Transport::Http { url: url.parse().unwrap(), headers: Vec::new() };
    let mut server = ServerSettings::new(ServerName::parse(name).unwrap(), transport);
    server.auth = Some(Arc::new(auth));
    server
}

async fn world_of(servers: Vec<ServerSettings>) -> World {
    World::with(|settings, _| {
        settings.tools.servers = servers;
        settings.tools.auto_import = true;
        settings.authn.jwt.as_mut().unwrap().delegated = true;
    })
    .await
}

/// The servers that can be called, by name.
async fn up(world: &World) -> Vec<String> {
    let servers = world.get(&world.person("root", &["admin"]), "/v1/tools/servers").await;
    assert!(!servers.text.contains("hunter2"), "{servers:?}");
    let all = servers.json();
    let all = all["servers"].as_array().unwrap_or_else(|| panic!("{all}")).clone();
    let up = all.iter().filter(|server| server["state"] == "up");
    up.map(|server| server["name"].as_str().unwrap().to_owned()).collect()
}

/// Calls the tool; the text of its result, or of its refusal.
async fn call(world: &World, who: &Credential) -> Result<String, Json> {
    let answer = world.mcp(who, "tools/call", json!({ "name": "up___who", "arguments": {} })).await;
    let result = &answer["result"];
    match result["isError"].as_bool() {
        Some(true) => Err(result["_meta"]["caxton/refusal"].clone()),
        _ => Ok(result["content"][0]["text"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()),
    }
}

fn service(name: &str) -> String {
    format!("Caxton::Service::\"{name}\"")
}

#[tokio::test]
async fn one_token_of_the_gateways_own_serves_all_callers() {
    let server = AuthorizationServer::start().await;
    let up = upstream(stateless, |_| true).await;
    let world = world(&up, auth(&server, UpstreamGrant::ClientCredentials)).await;
    for name in ["ann", "bob"] {
        let who = world.service(name, &["tool:*"]);
        assert_eq!(call(&world, &who).await.unwrap(), "gateway");
    }
    let [asked] = &server.requests()[..] else { panic!("{:?}", server.requests()) };
    let pair = format!("caxton%20gateway:{}", "hunter2%2B%26%3D%25");
    assert_eq!(asked.authorization.as_deref(), Some(&*format!("Basic {}", BASE64_STANDARD.encode(pair))));
    let field = |name: &str| asked.get(name).unwrap();
    assert_eq!(
        (field("grant_type"), field("scope"), field("resource")),
        ("client_credentials", "read write", up.url.as_str())
    );
    assert_eq!(asked.get("client_secret"), None);
    world.stop().await;
}

#[tokio::test]
async fn the_gateway_proves_itself_with_a_secret_in_the_body_or_a_key() {
    let up = upstream(stateless, |_| true).await;
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        write(&directory.path().join(name), text);
        directory.path().join(name)
    };

    let server = AuthorizationServer::start().await;
    let mut settings = auth(&server, UpstreamGrant::ClientCredentials);
    settings.client.key = ClientKey::Post(SharedSecret::File(file("secret", &format!("{SECRET}\n"))));
    let world_of_secret = world(&up, settings).await;
    let asked = &server.requests()[0];
    assert_eq!((asked.get("client_id"), asked.get("client_secret")), (Some("caxton gateway"), Some(SECRET)));
    assert_eq!(asked.authorization, None);
    world_of_secret.stop().await;

    let pair = Ed25519KeyPair::generate().unwrap();
    let der: aws_lc_rs::encoding::Pkcs8V1Der<'_> = pair.as_der().unwrap();
    let pem = format!(
        "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
        BASE64_STANDARD.encode(der.as_ref())
    );
    let server = AuthorizationServer::start().await;
    let mut settings = auth(&server, UpstreamGrant::ClientCredentials);
    settings.client.key = ClientKey::PrivateKey { file: file("key.pem", &pem), kid: Some("k1".to_owned()) };
    let world_of_key = world(&up, settings).await;
    let asked = &server.requests()[0];
    let assertion = asked.get("client_assertion").unwrap();
    verify(assertion, pair.public_key().as_ref());
    let told = claims(assertion);
    // The name of the authorization server, not an address that it gave: another could not use it.
    assert_eq!(
        (told["aud"].as_str(), told["sub"].as_str()),
        (Some(server.issuer.as_str()), Some("caxton gateway"))
    );
    assert_eq!(told["exp"].as_i64().unwrap() - told["iat"].as_i64().unwrap(), 60);
    assert!(asked.get("client_assertion_type").unwrap().ends_with(":jwt-bearer"));
    world_of_key.stop().await;
}

fn verify(token: &str, public: &[u8]) {
    let (input, signature) = token.rsplit_once('.').unwrap();
    let signature = BASE64_URL_SAFE_NO_PAD.decode(signature).unwrap();
    UnparsedPublicKey::new(&ED25519, public).verify(input.as_bytes(), &signature).unwrap();
}

#[tokio::test]
async fn a_token_that_the_server_refuses_is_replaced_once() {
    let server = AuthorizationServer::start().await;
    let valid = Arc::new(AtomicUsize::new(0));
    let least = Arc::clone(&valid);
    let number = |token: &str| token.split('.').nth(1).unwrap().parse::<usize>().unwrap();
    let up = upstream(stateless, move |token| number(token) >= least.load(Ordering::SeqCst)).await;
    let world = world(&up, auth(&server, UpstreamGrant::ClientCredentials)).await;
    let who = world.service("ann", &["tool:*"]);
    valid.store(1, Ordering::SeqCst);
    assert_eq!(call(&world, &who).await.unwrap(), "gateway");
    assert_eq!(server.requests().len(), 2);
    // One that refuses every token does not have one requested for each call.
    valid.store(usize::MAX, Ordering::SeqCst);
    for _ in 0..5 {
        let refused = call(&world, &who).await.unwrap_err();
        assert_eq!((&refused["status"], &refused["reason"]), (&json!(502), &json!("upstream_credentials")));
    }
    assert!(server.requests().len() <= 4, "{:?}", server.requests());
    valid.store(0, Ordering::SeqCst);
    assert_eq!(call(&world, &who).await.unwrap(), "gateway", "the server stayed");
    world.stop().await;
}

#[tokio::test]
async fn a_caller_has_a_token_of_its_own_that_serves_nobody_else() {
    for handshake in [stateful as fn(&Json, &Json) -> Option<Reply>, stateless] {
        let server = AuthorizationServer::start().await;
        let up = upstream(handshake, |_| true).await;
        let world = world(&up, auth(&server, UpstreamGrant::TokenExchange)).await;
        let callers: Vec<_> = (0..8)
            .map(|number| format!("caller-{number}"))
            .map(|name| (service(&name), world.service(&name, &["tool:*"])))
            .collect();
        let calls = (0..80).map(|number| {
            let (expected, who) = &callers[number % callers.len()];
            let world = &world;
            async move { assert_eq!(call(world, who).await.unwrap(), *expected) }
        });
        futures::future::join_all(calls).await;
        assert_eq!(server.of("token-exchange").len(), callers.len(), "those who wait share a request");
        assert_eq!(server.of("client_credentials").len(), 1, "for the list of tools");
        world.stop().await;
    }
}

#[tokio::test]
async fn a_clients_own_session_at_a_server_carries_its_callers_token() {
    let server = AuthorizationServer::start().await;
    let up = upstream(stateful, |_| true).await;
    let world = world(&up, auth(&server, UpstreamGrant::TokenExchange)).await;
    for name in ["ann", "bob"] {
        let who = world.service(name, &["tool:*"]);
        let params = json!({
            "protocolVersion": "2025-11-25", "capabilities": { "elicitation": {} },
            "clientInfo": { "name": "test", "version": "1" },
        });
        let opened =
            send(world.request(&who, Method::POST, "/mcp").json(&rpc(1, "initialize", params))).await;
        let session = opened.headers["mcp-session-id"].to_str().unwrap();
        let body = rpc(2, "tools/call", json!({ "name": "up___who", "arguments": {} }));
        let request = world.request(&who, Method::POST, "/mcp").header("mcp-session-id", session).json(&body);
        let answer = send(request).await.json();
        assert_eq!(answer["result"]["content"][0]["text"], service(name), "{answer}");
    }
    // Two handshakes in the callers' names, and the gateway's.
    let seen = up.seen.lock().clone();
    let initialized: BTreeSet<_> = seen
        .iter()
        .filter(|(message, _)| message["method"] == "initialize")
        .map(|(_, headers)| holder_of(&bearer(headers).unwrap()))
        .collect();
    assert_eq!(initialized, BTreeSet::from(["gateway".to_owned(), service("ann"), service("bob")]));
    drop(seen);
    world.stop().await;
}

#[tokio::test]
async fn what_a_caller_presented_is_sent_to_nobody() {
    let server = AuthorizationServer::start().await;
    let up = upstream(stateless, |_| true).await;
    let world = world(&up, auth(&server, UpstreamGrant::TokenExchange)).await;
    let person = world.person("vera", &["admin"]);
    let principal = "Caxton::User::\"https://login.example|vera\"";
    assert_eq!(call(&world, &person).await.unwrap(), principal);
    let program = world.service("ann", &["tool:*"]);
    assert_eq!(call(&world, &program).await.unwrap(), service("ann"));
    for credential in [&person, &program] {
        let (Credential::Token(text) | Credential::Key(text)) = credential else { continue };
        assert!(!format!("{:?}", server.requests()).contains(text));
        assert!(!format!("{:?}", up.seen.lock()).contains(text));
    }

    // What is sent instead: signed by the gateway, for this authorization server and a minute.
    let exchanges = server.of("token-exchange");
    let about = exchanges[0].get("subject_token").unwrap();
    let told = claims(about);
    assert_eq!(told["iss"], "caxton");
    assert_eq!(told["aud"], server.issuer.as_str());
    assert_eq!(told["sub_id"], json!({ "format": "iss_sub", "iss": "https://login.example", "sub": "vera" }));
    assert_eq!(told["exp"].as_i64().unwrap() - told["iat"].as_i64().unwrap(), 60);
    assert!(claims(exchanges[1].get("subject_token").unwrap()).get("sub_id").is_none(), "of no issuer");
    let keys = world.get(&Credential::Nothing, "/.well-known/jwks.json").await.json();
    let public = BASE64_URL_SAFE_NO_PAD.decode(keys["keys"][0]["x"].as_str().unwrap()).unwrap();
    verify(about, &public);
    assert_eq!(exchanges[0].get("subject_token_type"), Some("urn:ietf:params:oauth:token-type:jwt"));
    assert_eq!(
        exchanges[0].get("requested_token_type"),
        Some("urn:ietf:params:oauth:token-type:access_token")
    );
    assert_eq!(exchanges[0].get("resource"), Some(up.url.as_str()));
    // The attack: who sees it shows it to the gateway.
    let shown = world.get(&Credential::Token(about.to_owned()), "/v1/tools/servers").await;
    assert_eq!(shown.status, StatusCode::UNAUTHORIZED, "{shown:?}");
    world.stop().await;
}

#[tokio::test]
async fn a_caller_without_a_token_fails_alone() {
    let refused = service("bob");
    let server = AuthorizationServer::that(move |request, _| {
        let about = request.get("subject_token").map(holder_of);
        (about.as_ref() == Some(&refused)).then(|| refusal(400, "access_denied"))
    })
    .await;
    let up = upstream(stateless, |_| true).await;
    let world = world(&up, auth(&server, UpstreamGrant::TokenExchange)).await;
    let (ann, bob) = (world.service("ann", &["tool:*"]), world.service("bob", &["tool:*"]));
    let began = std::time::Instant::now();
    for _ in 0..3 {
        let problem = call(&world, &bob).await.unwrap_err();
        assert_eq!(problem["reason"], "upstream_credentials", "{problem}");
        assert!(!problem.to_string().contains("evil.example"), "{problem}");
        assert_eq!(call(&world, &ann).await.unwrap(), service("ann"));
    }
    // One for each, and one more for bob only after each whole second that this took.
    let most = 2 + usize::try_from(began.elapsed().as_secs()).unwrap();
    let asked = server.of("token-exchange").len();
    assert!((2..=most).contains(&asked), "after a failure there is a pause: {asked}, at most {most}");
    assert_eq!(self::up(&world).await, ["up"], "the server stays");
    assert_eq!(up.of("tools/call").len(), 3, "nothing was sent for a caller without a token");
    world.stop().await;
}

/// The attack: one whose token never comes, at a server that serves one request at a time.
#[tokio::test]
async fn who_waits_for_a_token_takes_no_place_at_the_server() {
    let slow = service("bob");
    let server = AuthorizationServer::that(move |request, _| {
        let about = request.get("subject_token").map(holder_of);
        let never = || Body::from_stream(futures::stream::pending::<std::io::Result<Vec<u8>>>());
        (about.as_ref() == Some(&slow)).then(|| axum::http::Response::new(never()))
    })
    .await;
    let up = upstream(stateless, |_| true).await;
    let mut only = self::server("up", &up.url, auth(&server, UpstreamGrant::TokenExchange));
    (only.connect_timeout, only.call_timeout) = (PATIENCE, PATIENCE);
    let world = World::with(|settings, _| {
        settings.tools.servers = vec![only];
        settings.tools.auto_import = true;
        settings.tools.max_concurrent_calls = 1;
    })
    .await;
    let (ann, bob) = (world.service("ann", &["tool:*"]), world.service("bob", &["tool:*"]));
    let waits = call(&world, &bob);
    let other = async {
        until("bob's token is requested", async || !server.of("token-exchange").is_empty()).await;
        call(&world, &ann).await
    };
    tokio::select! {
        waited = waits => panic!("there is no token for bob: {waited:?}"),
        called = other => assert_eq!(called.unwrap(), service("ann")),
    }
    world.stop().await;
}

#[tokio::test]
async fn an_identity_provider_asserts_who_the_caller_is() {
    let provider = AuthorizationServer::start().await;
    let server = AuthorizationServer::start().await;
    let up = upstream(stateless, |_| true).await;
    let mut settings = auth(
        &server,
        UpstreamGrant::IdentityAssertion {
            identity_provider: OauthClient {
                id: "at the provider".to_owned(),
                key: ClientKey::Post(SharedSecret::Given(Secret::new("other secret".to_owned()))),
                ..client(&provider)
            },
        },
    );
    settings.own_access = OwnAccess::ClientCredentials;
    let world = world(&up, settings).await;
    let ann = world.service("ann", &["tool:*"]);
    assert_eq!(call(&world, &ann).await.unwrap(), service("ann"));
    let [asked] = &provider.requests()[..] else { panic!("{:?}", provider.requests()) };
    assert_eq!(asked.get("requested_token_type"), Some("urn:ietf:params:oauth:token-type:id-jag"));
    assert_eq!(asked.get("audience"), Some(server.issuer.as_str()));
    assert_eq!(asked.get("resource"), Some(up.url.as_str()));
    assert_eq!(asked.get("client_id"), Some("at the provider"));
    assert_eq!(claims(asked.get("subject_token").unwrap())["aud"], provider.issuer.as_str());
    let [bearer] = &server.of("jwt-bearer")[..] else { panic!("{:?}", server.requests()) };
    assert_eq!(holder_of(bearer.get("assertion").unwrap()), service("ann"));
    assert!(bearer.authorization.as_ref().unwrap().starts_with("Basic "));
    assert!(!format!("{:?}", server.requests()).contains("other secret"));
    world.stop().await;
}

/// The attack: an upstream server names an authorization server that collects secrets.
#[tokio::test]
async fn a_server_does_not_decide_where_the_secret_goes() {
    let thief = AuthorizationServer::start().await;
    let mut servers = Vec::new();
    let mut origins = Vec::new();
    for (name, issuer, resource) in [
        ("thief", Some(thief.issuer.as_str()), None),
        ("elsewhere", Some("https://login.example"), None),
        ("none", None, None),
        ("another", Some("own"), Some("https://other.example/mcp")),
        // Its own origin gains nothing by a lie.
        ("own", Some("own"), None),
    ] {
        let origin = with_metadata(issuer, resource).await;
        let mut settings = auth(&thief, UpstreamGrant::ClientCredentials);
        settings.client.place = TokenPlace::OfServer;
        servers.push(server(name, &format!("{}/mcp", origin.issuer), settings));
        origins.push((name, origin));
    }
    let world = world_of(servers).await;
    for (name, origin) in origins {
        let asked = origin.of("client_credentials").len();
        assert_eq!(asked > 0, name == "own", "{name}: {:?}", origin.requests());
    }
    assert_eq!(thief.requests().len(), 0);
    world.stop().await;
}

/// A server at which resource and authorization server have one origin. `own` stands for its own issuer.
async fn with_metadata(issuer: Option<&str>, resource: Option<&str>) -> AuthorizationServer {
    let server = AuthorizationServer::start().await;
    let origin = server.issuer.clone();
    let issuer = issuer.map(|issuer| if issuer == "own" { &origin } else { issuer });
    let resource = resource.map_or_else(|| format!("{origin}/mcp"), str::to_owned);
    let issuers: Vec<_> = issuer.into_iter().collect();
    *server.resource.lock() = Some(json!({ "resource": resource, "authorization_servers": issuers }));
    server
}

/// The attack: metadata or answers of an authorization server that is not what it should be.
#[tokio::test]
async fn an_authorization_server_that_misbehaves_gives_no_token() {
    let thief = AuthorizationServer::start().await;
    let published = |name: &str, value: Json| (name.to_owned(), value);
    let mut all = Vec::new();
    for (what, (field, value)) in [
        ("another-name", published("issuer", json!("https://login.example"))),
        ("no-endpoint", published("token_endpoint", Json::Null)),
        ("this-network", published("token_endpoint", json!("http://169.254.169.254/latest"))),
        ("in-the-clear", published("token_endpoint", json!("http://login.example/token"))),
    ] {
        let server = AuthorizationServer::start().await;
        server.metadata.lock()[field] = value;
        all.push((what, server));
    }
    let target = format!("{}/token", thief.issuer);
    let redirects = AuthorizationServer::that(move |_, _| {
        let redirect = axum::http::Response::builder().status(307).header("location", &target);
        Some(redirect.body(Body::empty()).unwrap())
    });
    all.push(("redirect", redirects.await));
    let endless = AuthorizationServer::that(|_, _| {
        let spaces = futures::stream::repeat_with(|| Ok::<_, std::io::Error>(vec![b' '; 1 << 20]));
        Some(axum::http::Response::new(Body::from_stream(spaces)))
    });
    all.push(("endless", endless.await));
    let injecting = AuthorizationServer::that(|_, _| {
        let answer = json!({ "access_token": "a\r\nx-admin: 1", "token_type": "Bearer" });
        Some(axum::http::Response::new(Body::from(answer.to_string())))
    });
    all.push(("line-break", injecting.await));
    let refusing = AuthorizationServer::that(|_, _| Some(refusal(401, "invalid_client")));
    all.push(("refusing", refusing.await));
    let sound = AuthorizationServer::start().await;
    all.push(("sound", sound.clone()));

    let upstream = upstream(stateless, |_| true).await;
    let servers = all.iter().map(|(what, authorization)| {
        server(what, &upstream.url, auth(authorization, UpstreamGrant::ClientCredentials))
    });
    let world = world_of(servers.collect()).await;
    assert_eq!(up(&world).await, ["sound"]);
    for (what, authorization) in &all[..4] {
        assert_eq!(authorization.requests().len(), 0, "{what}: the secret was sent");
    }
    assert_eq!(thief.requests().len(), 0, "a redirect is not followed");
    let seen = upstream.seen.lock().clone();
    let holders: BTreeSet<_> = seen.iter().map(|(_, headers)| bearer(headers).unwrap()).collect();
    assert!(holders.iter().all(|token| holder_of(token) == "gateway"), "{holders:?}");
    drop(seen);
    world.stop().await;
}

/// The attack: one that acts for a person by a delegated token, after the person has called, or before.
#[tokio::test]
async fn who_acts_for_a_person_does_not_get_the_persons_token() {
    let server = AuthorizationServer::start().await;
    let up = upstream(stateless, |_| true).await;
    let world = world(&up, auth(&server, UpstreamGrant::TokenExchange)).await;
    let act = json!({ "sub": "assistant", "act": { "sub": "planner", "iss": "https://other.example" } });
    let person = world.person("vera", &["admin"]);
    let assistant = world.person_with("vera", &json!({ "roles": ["admin"], "act": act }));
    for who in [&person, &assistant, &person, &assistant] {
        call(&world, who).await.unwrap();
    }
    let told: Vec<_> = server
        .of("token-exchange")
        .iter()
        .map(|request| claims(request.get("subject_token").unwrap())["act"].clone())
        .collect();
    let act = json!({
        "iss": "https://login.example", "sub": "assistant",
        "act": { "iss": "https://other.example", "sub": "planner" },
    });
    assert_eq!(told, [Json::Null, act], "one token each, and the authorization server hears who acts");
    let shown = up.seen.lock().clone();
    let calls = shown.iter().filter(|(message, _)| message["method"] == "tools/call");
    let tokens: Vec<_> = calls.map(|(_, headers)| bearer(headers).unwrap()).collect();
    assert_eq!((&tokens[0], &tokens[1]), (&tokens[2], &tokens[3]));
    assert_ne!(tokens[0], tokens[1]);
    drop(shown);
    world.stop().await;
}
