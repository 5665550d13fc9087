//! Accounts of callers at upstream servers: a person consents in a browser, and the gateway keeps the tokens for that principal.
//! The authorization server and the upstream server run beside the gateway; the upstream server serves accounts only.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "helpers of tests")]

use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderMap;
use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use caxton::Secret;
use caxton::authn::issue::TokenIssuer;
use caxton::authn::jwt::JwtAlgorithm;
use caxton::authn::oauth2;
use caxton::clock::SystemClock;
use caxton::model::ServerName;
use caxton::tools::{
    ClientKey, OauthClient, OwnAccess, ServerSettings, SharedSecret, TokenPlace, Transport, UpstreamAuth,
    UpstreamGrant,
};
use reqwest::{Method, StatusCode, Url};
use serde_json::{Value as Json, json};

use crate::mcp::{Reply, Upstream, done, rpc, stateful, stateless};
use crate::support::accounts::{AccountServer, Browser, PUBLIC, Page};
use crate::support::oauth::{AuthorizationServer, holder_of};
use crate::support::{Answer, Credential, ISSUER, World, child, send, tool, until, write};

const CLIENT_SECRET: &str = "hunter2";
/// By which a program recognises its browser.
const STATE: &str = "state-of-the-program";

/// An upstream server that answers nobody without the token of an account, and each call with the account.
pub(crate) async fn upstream(
    accounts: &AccountServer,
    handshake: fn(&Json, &Json) -> Option<Reply>,
) -> Upstream {
    let accounts = accounts.clone();
    Upstream::start(Arc::new(move |_, message, headers| match bearer(headers) {
        Some(token) if accounts.takes(&token) => {
            handshake(message, &json!([tool("who", "says who")])).unwrap_or_else(|| done(&holder_of(&token)))
        }
        _ => Reply::Status(401),
    }))
    .await
}

pub(crate) fn bearer(headers: &HeaderMap) -> Option<String> {
    let value = headers.get("authorization")?.to_str().unwrap();
    Some(value.strip_prefix("Bearer ").unwrap().to_owned())
}

pub(crate) fn server(name: &str, upstream: &Upstream, issuer: &str) -> ServerSettings {
    let transport = Transport::Http { url: upstream.url.parse().unwrap(), headers: Vec::new() };
    let client = OauthClient {
        place: TokenPlace::Issuer(issuer.to_owned()),
        id: "caxton gateway".to_owned(),
        key: ClientKey::Post(SharedSecret::Given(Secret::new(CLIENT_SECRET.to_owned()))),
    };
    let mut server = ServerSettings::new(ServerName::parse(name).unwrap(), transport);
    server.auth = Some(Arc::new(UpstreamAuth {
        grant: UpstreamGrant::AuthorizationCode,
        own_access: OwnAccess::Nothing,
        scope: "read write".to_owned(),
        ..UpstreamAuth::client_credentials(client)
    }));
    server
}

/// A gateway in front of these servers.
pub(crate) async fn world(servers: Vec<ServerSettings>, login: Option<oauth2::Settings>) -> World {
    World::with(|settings, _| {
        settings.tools.servers = servers;
        settings.tools.auto_import = true;
        let key = SharedSecret::Given(Secret::new("0a".repeat(32)));
        settings.tools.connections.key = Some(key);
        settings.tools.connections.public_url = Some(PUBLIC.parse().unwrap());
        settings.api.public_url = Some(PUBLIC.to_owned());
        settings.authn.oauth2 = login;
    })
    .await
}

/// A gateway in front of a server whose only tool was approved.
pub(crate) async fn approved_world(
    server: ServerSettings,
    change: impl FnOnce(&mut caxton::server::Settings),
) -> World {
    let name = ServerName::parse("up").unwrap();
    let approved = [caxton::tools::Definition::read(&tool("who", "says who"), 65_536).unwrap()];
    let pins = caxton::tools::Pins::new(&name, approved).unwrap();
    World::with(|settings, directory| {
        pins.write(&directory.join("schemas/tools")).unwrap();
        settings.schema_dir = Some(directory.join("schemas"));
        settings.extend_shipped = true;
        settings.policy_dir = Some(directory.join("policies"));
        std::fs::create_dir(directory.join("policies")).unwrap();
        settings.tools.schema_dir = directory.join("schemas");
        settings.tools.servers = vec![server];
        settings.tools.connections.key = Some(SharedSecret::Given(Secret::new("0a".repeat(32))));
        settings.tools.connections.public_url = Some(PUBLIC.parse().unwrap());
        change(settings);
    })
    .await
}

/// A login that is configured, at a provider that is not there.
fn some_login() -> oauth2::Settings {
    login_at("http://127.0.0.1:1")
}

/// A login of the people of [`ISSUER`], whose provider answers at this address.
pub(crate) fn login_at(provider: &str) -> oauth2::Settings {
    let back = format!("{PUBLIC}/v1/auth/oauth2/callback").parse().unwrap();
    let place = |path: &str| Some(format!("{provider}{path}").parse().unwrap());
    let mut settings = oauth2::Settings::new(ISSUER, "caxton-login", back);
    settings.authorization_endpoint = place("/login");
    settings.token_endpoint = place("/token");
    settings.jwks_uri = place("/keys");
    settings.algorithm = JwtAlgorithm::EdDsa;
    settings
}

/// Calls the tool; the text of its result, or the whole of its refusal.
pub(crate) async fn call(world: &World, who: &Credential) -> Result<String, Json> {
    let answer = world.mcp(who, "tools/call", json!({ "name": "up___who", "arguments": {} })).await;
    let result = &answer["result"];
    match result["isError"].as_bool() {
        Some(true) => Err(result.clone()),
        _ => Ok(result["content"][0]["text"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()),
    }
}

/// The same once the tools are known: with `auto_import` they are those that the first account was offered.
pub(crate) async fn call_when_known(world: &World, who: &Credential) -> String {
    until("the tools are known", async || {
        let tools = world.get(who, "/v1/tools").await.json();
        tools["tools"].as_array().unwrap().iter().any(|tool| tool["id"] == "up___who")
    })
    .await;
    call(world, who).await.unwrap()
}

pub(crate) async fn begin(world: &World, who: &Credential, server: &str) -> Answer {
    let body = json!({ "port": 4_000, "state": STATE });
    world.post(who, &format!("/v1/connections/{server}"), &body).await
}

pub(crate) fn url_of(answer: &Answer) -> String {
    assert!(answer.status.is_success(), "{answer:?}");
    answer.json()["url"].as_str().unwrap().to_owned()
}

/// The code on the page that hands a browser over to the program of who began.
pub(crate) fn code_of(page: &Page) -> String {
    assert_eq!(page.status, 200, "{page:?}");
    let start = "http://127.0.0.1:4000/?code=";
    let rest = page.text.split_once(start).unwrap_or_else(|| panic!("{page:?}")).1;
    let (code, rest) = rest.split_once("&amp;state=").unwrap();
    assert!(rest.starts_with(STATE), "{page:?}");
    code.to_owned()
}

pub(crate) async fn confirm(world: &World, who: &Credential, server: &str, code: &str) -> Answer {
    world.post(who, &format!("/v1/connections/{server}/confirm"), &json!({ "code": code })).await
}

/// Goes as far as the authorization server: where the browser was sent.
pub(crate) async fn to_consent(world: &World, who: &Credential, browser: &Browser, server: &str) -> Url {
    let link = url_of(&begin(world, who, server).await);
    assert!(link.starts_with(&format!("{PUBLIC}/v1/connect/{server}?flow=")), "{link}");
    let code = code_of(&browser.open(world, &link).await);
    let next = url_of(&confirm(world, who, server, &code).await);
    let page = browser.open(world, &next).await;
    assert_eq!(page.status, 303, "{page:?}");
    page.location.unwrap()
}

/// Connects an account, as a person does with a program at her side.
pub(crate) async fn connect(world: &World, who: &Credential, accounts: &AccountServer, account: &str) {
    let browser = Browser::default();
    let consent = to_consent(world, who, &browser, "up").await;
    let page = browser.go_back(world, "up", &accounts.agree(&consent, account)).await;
    assert_eq!(page.status, 200, "{page:?}");
    assert!(page.text.contains("Account connected"), "{page:?}");
}

pub(crate) async fn connections(world: &World, who: &Credential, query: &str) -> Vec<Json> {
    let listed = world.get(who, &format!("/v1/connections{query}")).await;
    assert_eq!(listed.status, StatusCode::OK, "{listed:?}");
    listed.json()["connections"].as_array().unwrap().clone()
}

pub(crate) async fn disconnect(world: &World, who: &Credential, query: &str) -> Answer {
    send(world.request(who, Method::DELETE, &format!("/v1/connections/up{query}"))).await
}

/// How often a browser was refused for this reason.
pub(crate) async fn refusals(world: &World, why: &str) -> u64 {
    let metrics = world.metrics("").await;
    let of =
        |line: &&str| line.contains("method=\"connection\"") && line.contains(&format!("reason=\"{why}\""));
    let line = metrics.lines().find(of);
    line.map_or(0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
}

pub(crate) fn service(name: &str) -> String {
    format!("Caxton::Service::\"{name}\"")
}

#[tokio::test]
async fn an_account_is_connected_and_serves_its_principal_alone() {
    for handshake in [stateful as fn(&Json, &Json) -> Option<Reply>, stateless] {
        let accounts = AccountServer::start().await;
        let up = upstream(&accounts, handshake).await;
        let world = world(vec![server("up", &up, &accounts.oauth.issuer)], None).await;
        let words = ["tool:*"];
        let (ann, bob) = (world.service("ann", &words), world.service("bob", &words));
        let servers = world.get(&ann, "/v1/tools/servers").await.json();
        assert_eq!(servers["servers"][0], json!({ "name": "up", "state": "up", "needs_account": true }));

        connect(&world, &ann, &accounts, "ann@crm").await;
        assert_eq!(call_when_known(&world, &ann).await, "ann@crm");
        let refused = call(&world, &bob).await.unwrap_err();
        assert_eq!(refused["_meta"]["caxton/refusal"]["reason"], "needs_account", "{refused}");
        assert!(refused["content"][0]["text"].as_str().unwrap().contains("caxton tools connect up"));
        connect(&world, &bob, &accounts, "bob@crm").await;
        for (who, account) in [(&ann, "ann@crm"), (&bob, "bob@crm"), (&ann, "ann@crm")] {
            assert_eq!(call(&world, who).await.unwrap(), account);
        }

        // What the authorization server was asked.
        let [asked, _] = &accounts.oauth.of("authorization_code")[..] else { panic!("one code each") };
        assert_eq!(asked.get("resource"), Some(up.url.as_str()));
        assert_eq!(asked.get("redirect_uri"), Some(&*format!("{PUBLIC}/v1/connect/up/callback")));
        assert_eq!(asked.get("client_secret"), Some(CLIENT_SECRET));
        let records = world.records();
        let of = |change: &str| {
            let of_change = |record: &&Json| record["context"]["input"]["change"] == change;
            records.iter().filter(|record| record["action"] == "auth:connection").filter(of_change).count()
        };
        let actions: Vec<_> = records.iter().filter(|record| record["action"] == "auth:connection").collect();
        assert!(actions.len() >= 6 && of("finish") <= 2, "{actions:?}");
        assert!(actions.iter().all(|record| record["outcome"] == "allow"), "{actions:?}");
        world.stop().await;
    }
}

/// What lies on disk and in the log is worth nothing to who reads it.
#[tokio::test]
async fn tokens_are_in_no_file_and_no_answer() {
    let accounts = AccountServer::start().await;
    let up = upstream(&accounts, stateless).await;
    let world = world(vec![server("up", &up, &accounts.oauth.issuer)], None).await;
    let ann = world.service("ann", &["tool:*", "audit:read"]);
    let root = world.person("root", &["admin"]);
    connect(&world, &ann, &accounts, "ann@crm").await;
    assert_eq!(call_when_known(&world, &ann).await, "ann@crm");
    let mut seen = String::new();
    for (who, path) in [
        (&ann, "/v1/connections"),
        (&root, "/v1/connections?all=true"),
        (&ann, "/v1/tools/servers"),
        (&root, "/v1/audit/events"),
    ] {
        seen.push_str(&world.get(who, path).await.text);
    }
    seen.push_str(&world.metrics("").await);
    assert!(seen.contains("auth:connection"), "the log was read");
    let directory = world.stop().await;
    let mut read = Vec::new();
    for entry in std::fs::read_dir(directory.path().join("data")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            read.push(path.file_name().unwrap().to_str().unwrap().to_owned());
            seen.push_str(&String::from_utf8_lossy(&std::fs::read(&path).unwrap()));
        }
    }
    assert!(read.iter().any(|name| name == "connections.db"), "{read:?}");
    for secret in accounts.secrets().iter().map(String::as_str).chain([CLIENT_SECRET, "code-1"]) {
        assert!(!seen.contains(secret), "{secret}");
    }
    assert!(seen.contains(&accounts.oauth.issuer), "whose account it is can be read");
}

/// The attacks on the way back: another state, another issuer, another browser, and a second time.
#[tokio::test]
async fn a_way_back_that_is_not_that_of_this_browser_connects_nothing() {
    let accounts = AccountServer::start().await;
    let up = upstream(&accounts, stateless).await;
    let servers = ["up", "other"].map(|name| server(name, &up, &accounts.oauth.issuer));
    let world = world(servers.into(), None).await;
    let ann = world.service("ann", &["tool:*"]);
    let change = |query: &[(String, String)], name: &str, value: &str| -> Vec<(String, String)> {
        let mut changed = query.to_vec();
        changed.retain(|(key, _)| key != name);
        if !value.is_empty() {
            changed.push((name.to_owned(), value.to_owned()));
        }
        changed
    };
    let cases = [
        ("state", "x".repeat(43), "up", "wrong_state"),
        ("state", String::new(), "up", "wrong_state"),
        ("iss", "https://evil.example".to_owned(), "up", "wrong_issuer"),
        // The authorization server says that its answers have one.
        ("iss", String::new(), "up", "wrong_issuer"),
        ("error", "access_denied".to_owned(), "up", "access_denied"),
        ("code", String::new(), "up", "no_code"),
        ("code", "another".to_owned(), "up", "code_refused"),
        ("code", "c".repeat(5_000), "up", "malformed"),
        // The address to which another server's browsers come back.
        ("none", String::new(), "other", "wrong_state"),
    ];
    for (name, value, back_to, why) in &cases {
        let browser = Browser::default();
        let consent = to_consent(&world, &ann, &browser, "up").await;
        let agreed = accounts.agree(&consent, "ann@crm");
        let before = refusals(&world, why).await;
        let page = browser.go_back(&world, back_to, &change(&agreed, name, value)).await;
        assert_eq!(page.status, 401, "{name}={value}: {page:?}");
        assert!(page.text.contains("No account was connected") && !page.text.contains(why), "{page:?}");
        assert_eq!(refusals(&world, why).await, before + 1, "{name}={value}: {why}");
        if *why != "wrong_state" && *why != "malformed" {
            // It counted once, with any outcome.
            assert_eq!(browser.go_back(&world, "up", &agreed).await.status, 401, "{name}={value}");
        }
    }
    // The attack: the answer of an attacker's own consent in the browser of a victim.
    let (browser, victim) = (Browser::default(), Browser::default());
    let consent = to_consent(&world, &ann, &browser, "up").await;
    let agreed = accounts.agree(&consent, "attacker@crm");
    assert_eq!(victim.go_back(&world, "up", &agreed).await.status, 401);
    assert_eq!(refusals(&world, "wrong_browser").await, 1);
    assert_eq!(browser.go_back(&world, "up", &agreed).await.status, 401, "it is over for both");
    assert_eq!(connections(&world, &ann, "").await.len(), 0);
    let exchanged = accounts.oauth.of("authorization_code").len();
    assert_eq!(exchanged, 1, "only what is genuine is exchanged: the wrong code was");
    world.stop().await;
}

/// The attack: one begins, and sends the link to another person, or the other's program confirms it.
#[tokio::test]
async fn a_link_leads_nobody_but_who_began() {
    let accounts = AccountServer::start().await;
    let up = upstream(&accounts, stateless).await;
    let world = world(vec![server("up", &up, &accounts.oauth.issuer)], None).await;
    let (ann, bob) = (world.service("ann", &["tool:*"]), world.service("bob", &["tool:*"]));
    let link = url_of(&begin(&world, &bob, "up").await);
    let browser = Browser::default();
    let code = code_of(&browser.open(&world, &link).await);
    let refused = confirm(&world, &ann, "up", &code).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN, "{refused:?}");
    assert_eq!(refusals(&world, "wrong_person").await, 1);
    let recorded = world.records().into_iter().filter(|record| record["event"] == "login_failure");
    assert!(
        recorded.map(|record| record["detail"].clone()).any(|detail| detail == "connection: wrong_person")
    );
    // It is over for who began, too.
    assert_eq!(confirm(&world, &bob, "up", &code).await.status, StatusCode::FORBIDDEN);
    assert_eq!(browser.open(&world, &link).await.status, 401);

    // The attacker confirms its own browser, and sends the victim on.
    let own = Browser::default();
    let link = url_of(&begin(&world, &bob, "up").await);
    let code = code_of(&own.open(&world, &link).await);
    let next = url_of(&confirm(&world, &bob, "up", &code).await);
    let victim = Browser::default();
    assert_eq!(victim.open(&world, &next).await.status, 401, "another browser");
    assert_eq!(own.open(&world, &next).await.status, 401, "and with that it is over");
    let link = url_of(&begin(&world, &bob, "up").await);
    let code = code_of(&own.open(&world, &link).await);
    let next = url_of(&confirm(&world, &bob, "up", &code).await);
    let page = own.open(&world, &next).await;
    let agreed = accounts.agree(&page.location.unwrap(), "victim@crm");
    assert_eq!(victim.go_back(&world, "up", &agreed).await.status, 401, "it was not sent there");
    assert_eq!(own.open(&world, &next).await.status, 401, "the link counts once");
    assert_eq!(accounts.oauth.of("authorization_code").len(), 0);
    // A link that was not confirmed leads to a page, and no further.
    let link = url_of(&begin(&world, &bob, "up").await);
    for _ in 0..2 {
        assert_eq!(victim.open(&world, &link).await.status, 200);
    }
    assert_eq!(connections(&world, &bob, "").await.len(), 0);
    world.stop().await;
}

#[tokio::test]
async fn tokens_are_refreshed_and_end_when_either_side_ends_them() {
    let accounts = AccountServer::start().await;
    let up = upstream(&accounts, stateless).await;
    let world = world(vec![server("up", &up, &accounts.oauth.issuer)], None).await;
    let ann = world.service("ann", &["tool:*"]);
    connect(&world, &ann, &accounts, "ann@crm").await;
    assert_eq!(call_when_known(&world, &ann).await, "ann@crm");
    let refreshed = || accounts.oauth.of("refresh_token").len();
    assert_eq!(refreshed(), 0, "the first token counts");

    // The server takes the token no more: it is refreshed, once, and the refresh token is replaced.
    accounts.end_access();
    assert_eq!(call(&world, &ann).await.unwrap(), "ann@crm");
    assert_eq!((refreshed(), accounts.grants()), (1, 1));
    let row = connections(&world, &ann, "").await.remove(0);
    assert_eq!((&row["server"], &row["principal"]), (&json!("up"), &json!(service("ann"))));
    assert_eq!(row["issuer"], accounts.oauth.issuer.as_str());

    // The person ends it here.
    let ended = disconnect(&world, &ann, "").await;
    assert_eq!((ended.status, &ended.json()["revoked"]), (StatusCode::OK, &json!(true)), "{ended:?}");
    assert_eq!(accounts.grants(), 0, "and it was revoked there");
    let refused = call(&world, &ann).await.unwrap_err();
    assert_eq!(refused["_meta"]["caxton/refusal"]["reason"], "needs_account", "{refused}");
    assert_eq!(disconnect(&world, &ann, "").await.status, StatusCode::NOT_FOUND);

    // The person takes it back there.
    connect(&world, &ann, &accounts, "ann@other").await;
    assert_eq!(call(&world, &ann).await.unwrap(), "ann@other", "another account, over another connection");
    accounts.take_back();
    until("the refusal pause is over", async || {
        call(&world, &ann)
            .await
            .is_err_and(|refused| refused["_meta"]["caxton/refusal"]["reason"] == "needs_account")
    })
    .await;
    assert_eq!(connections(&world, &ann, "").await.len(), 0, "`invalid_grant` ends it");
    world.stop().await;
}

#[tokio::test]
async fn a_token_that_ends_soon_is_refreshed_before_it_is_used() {
    let accounts = AccountServer::start().await;
    *accounts.life.lock() = 5;
    let up = upstream(&accounts, stateless).await;
    let world = world(vec![server("up", &up, &accounts.oauth.issuer)], None).await;
    let ann = world.service("ann", &["tool:*"]);
    connect(&world, &ann, &accounts, "ann@crm").await;
    assert_eq!(call_when_known(&world, &ann).await, "ann@crm");
    assert!(!accounts.oauth.of("refresh_token").is_empty());
    assert_eq!(accounts.grants(), 1, "each replaces the one before");
    world.stop().await;
}

#[tokio::test]
async fn an_administrator_sees_and_ends_the_connections_of_others() {
    let accounts = AccountServer::start().await;
    let up = upstream(&accounts, stateless).await;
    let world = world(vec![server("up", &up, &accounts.oauth.issuer)], None).await;
    let (ann, bob) = (world.service("ann", &["tool:*"]), world.service("bob", &["tool:*"]));
    let root = world.person("root", &["admin"]);
    connect(&world, &ann, &accounts, "ann@crm").await;
    connect(&world, &bob, &accounts, "bob@crm").await;
    assert_eq!(connections(&world, &ann, "").await.len(), 1);
    let holders: Vec<_> = connections(&world, &root, "?all=true").await;
    let holders: Vec<_> = holders.iter().map(|row| row["principal"].as_str().unwrap()).collect();
    assert_eq!(holders, [service("ann"), service("bob")]);
    let of_ann = "?principal=Caxton::Service::%22ann%22";
    for (who, path) in [(&bob, "/v1/connections?all=true"), (&ann, "/v1/connections?all=true")] {
        assert_eq!(world.get(who, path).await.status, StatusCode::FORBIDDEN);
    }
    assert_eq!(disconnect(&world, &bob, of_ann).await.status, StatusCode::FORBIDDEN);
    assert_eq!(disconnect(&world, &root, of_ann).await.status, StatusCode::OK);
    assert_eq!(accounts.grants(), 1, "ann's alone was revoked");
    assert_eq!(connections(&world, &ann, "").await.len(), 0);
    assert_eq!(call_when_known(&world, &bob).await, "bob@crm");
    world.stop().await;
}

/// The attack: one that acts for a person by a delegated token uses the person's account, or connects one for her.
#[tokio::test]
async fn who_acts_for_another_has_no_account() {
    let accounts = AccountServer::start().await;
    let up = upstream(&accounts, stateless).await;
    let servers = vec![server("up", &up, &accounts.oauth.issuer)];
    let world = World::with(|settings, _| {
        settings.tools.servers = servers;
        settings.tools.auto_import = true;
        settings.tools.connections.key = Some(SharedSecret::Given(Secret::new("0a".repeat(32))));
        settings.tools.connections.public_url = Some(PUBLIC.parse().unwrap());
        settings.authn.jwt.as_mut().unwrap().delegated = true;
    })
    .await;
    let vera = world.person("vera", &["admin"]);
    let act = json!({ "roles": ["admin"], "act": { "sub": "assistant" } });
    let assistant = world.person_with("vera", &act);
    connect(&world, &vera, &accounts, "vera@crm").await;
    assert_eq!(call_when_known(&world, &vera).await, "vera@crm");
    let refused = call(&world, &assistant).await.unwrap_err();
    assert_eq!(refused["_meta"]["caxton/refusal"]["reason"], "needs_account", "{refused}");
    assert_eq!(begin(&world, &assistant, "up").await.status, StatusCode::UNPROCESSABLE_ENTITY);
    for (method, path) in [(Method::GET, "/v1/connections"), (Method::DELETE, "/v1/connections/up")] {
        let answer = send(world.request(&assistant, method, path)).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{answer:?}");
    }
    assert_eq!(call(&world, &vera).await.unwrap(), "vera@crm");
    world.stop().await;
}

/// A client that shows addresses to its person gets the page of the gateway; any other one hears where to go.
#[tokio::test]
async fn a_client_is_told_where_its_person_connects_an_account() {
    let accounts = AccountServer::start().await;
    let up = upstream(&accounts, stateless).await;
    let world = world(vec![server("up", &up, &accounts.oauth.issuer)], Some(some_login())).await;
    let (vera, bob) = (world.person("vera", &["admin"]), world.service("bob", &["tool:*"]));
    let other = world.service("other", &["tool:*"]);
    connect(&world, &bob, &accounts, "bob@crm").await;
    call_when_known(&world, &bob).await;
    let by_url = json!({ "elicitation": { "url": {}, "form": {} } });
    for (who, capabilities, by_address) in [
        (&vera, by_url.clone(), Some(true)),
        (&vera, json!({ "elicitation": {} }), Some(false)),
        (&vera, json!({}), Some(false)),
        // Whoever logs in there would be another principal.
        (&other, by_url, None),
    ] {
        let params = json!({
            "protocolVersion": "2025-11-25", "capabilities": capabilities,
            "clientInfo": { "name": "test", "version": "1" },
        });
        let opened = send(world.request(who, Method::POST, "/mcp").json(&rpc(1, "initialize", params))).await;
        let session = opened.headers["mcp-session-id"].to_str().unwrap();
        let body = rpc(2, "tools/call", json!({ "name": "up___who", "arguments": {} }));
        let request = world.request(who, Method::POST, "/mcp").header("mcp-session-id", session).json(&body);
        let answer = send(request).await.json();
        let page = format!("{PUBLIC}/v1/connect/up?flow=");
        let Some(by_address) = by_address else {
            let text = answer["result"]["content"][0]["text"].as_str().unwrap();
            assert!(!text.contains("flow=") && text.contains("caxton tools connect up"), "{answer}");
            continue;
        };
        if by_address {
            assert_eq!(answer["error"]["code"], -32042, "{answer}");
            let [elicitation] = &answer["error"]["data"]["elicitations"].as_array().unwrap()[..] else {
                panic!("{answer}")
            };
            assert_eq!(elicitation["mode"], "url");
            assert!(elicitation["url"].as_str().unwrap().starts_with(&page), "{answer}");
            assert!(!elicitation["elicitationId"].as_str().unwrap().is_empty());
        } else {
            let text = answer["result"]["content"][0]["text"].as_str().unwrap();
            assert!(text.contains(&page) && text.contains("caxton tools connect up"), "{answer}");
        }
        assert!(!answer.to_string().contains(&accounts.oauth.issuer), "the page is the gateway's: {answer}");
        for (method, params) in [
            ("prompts/get", json!({ "name": "up___p" })),
            ("resources/read", json!({ "uri": "up+file:///a" })),
        ] {
            let body = rpc(3, method, params);
            let request =
                world.request(who, Method::POST, "/mcp").header("mcp-session-id", session).json(&body);
            let answer = send(request).await.json();
            let code = if by_address { -32042 } else { -32003 };
            assert_eq!(answer["error"]["code"], code, "{method}: {answer}");
            assert!(answer["error"].to_string().contains(&page), "{method}: {answer}");
        }
    }
    let called = world.post(&vera, "/v1/tools/up/who/call", &json!({})).await;
    assert_eq!(called.status, StatusCode::FORBIDDEN, "{called:?}");
    assert_eq!(called.json()["type"], "urn:caxton:problem:needs-account");
    world.stop().await;
}

/// An OpenID provider at which whoever comes is `who`, for one login after another.
pub(crate) struct LoginProvider {
    tokens: AuthorizationServer,
    issuer: Arc<TokenIssuer>,
    waiting: Arc<parking_lot::Mutex<Option<(String, String)>>>,
}

impl LoginProvider {
    pub(crate) async fn start() -> Self {
        let issuer = TokenIssuer::generate(ISSUER, "caxton-login", Arc::new(SystemClock)).unwrap();
        let issuer = Arc::new(issuer);
        let waiting: Arc<parking_lot::Mutex<Option<(String, String)>>> = Arc::default();
        let pem = issuer.public_pem().unwrap();
        let der = BASE64_STANDARD.decode(pem.lines().nth(1).unwrap()).unwrap();
        let x = BASE64_URL_SAFE_NO_PAD.encode(&der[der.len() - 32..]);
        let keys =
            json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "x": x }] });
        let (signer, next) = (Arc::clone(&issuer), Arc::clone(&waiting));
        let tokens = AuthorizationServer::that(move |request, _| {
            let body = if request.path == "/keys" {
                keys.clone()
            } else {
                let (who, nonce) = next.lock().take().unwrap();
                let claims = json!({ "nonce": nonce, "roles": ["admin"] });
                let claims = claims.as_object().unwrap().clone();
                let token = signer.issue(&who, Duration::from_secs(300), claims);
                json!({ "access_token": "a", "token_type": "Bearer", "id_token": token.expose() })
            };
            let answer = axum::http::Response::builder().header("content-type", "application/json");
            Some(answer.body(axum::body::Body::from(body.to_string())).unwrap())
        });
        Self { tokens: tokens.await, issuer, waiting }
    }

    pub(crate) fn settings(&self) -> oauth2::Settings {
        login_at(&self.tokens.issuer)
    }

    /// `who` logs in where the browser was sent, and the browser goes back.
    pub(crate) async fn log_in(&self, world: &World, browser: &Browser, page: Page, who: &str) -> Page {
        assert_eq!(page.status, 303, "{page:?}");
        let place = page.location.unwrap();
        assert!(place.as_str().starts_with(&format!("{}/login?", self.tokens.issuer)), "{place}");
        let query: std::collections::BTreeMap<String, String> = place.query_pairs().into_owned().collect();
        *self.waiting.lock() = Some((who.to_owned(), query["nonce"].clone()));
        let back = format!("{PUBLIC}/v1/auth/oauth2/callback?code=x&state={}", query["state"]);
        browser.open(world, &back).await
    }
}

/// The page asks who is there, and sends on only who began.
#[tokio::test]
async fn a_person_logs_in_before_an_account_of_hers_is_connected() {
    let provider = LoginProvider::start().await;
    let accounts = AccountServer::start().await;
    let up = upstream(&accounts, stateless).await;
    let servers = vec![server("up", &up, &accounts.oauth.issuer)];
    let world = world(servers, Some(provider.settings())).await;
    let vera = world.person("vera", &["admin"]);
    let begin = async || url_of(&send(world.request(&vera, Method::POST, "/v1/connections/up")).await);
    until("people can log in", async || {
        let status = world.get(&vera, "/v1/auth/status").await.json();
        let methods = status["methods"].as_array().unwrap().clone();
        methods.iter().any(|method| method["method"] == "oauth2" && method["healthy"] == true)
    })
    .await;

    // The attack: mallory sends her link to vera, or the other way round.
    let (link, other) = (begin().await, Browser::default());
    let page = other.open(&world, &link).await;
    let page = provider.log_in(&world, &other, page, "mallory").await;
    assert_eq!((page.status, refusals(&world, "wrong_person").await), (401, 1), "{page:?}");

    let (link, browser) = (begin().await, Browser::default());
    let page = browser.open(&world, &link).await;
    let page = provider.log_in(&world, &browser, page, "vera").await;
    // The attack: the attacker has logged this browser in, and neither provider nor authorization server shows anything.
    assert_eq!((page.status, &page.location), (200, &None), "{page:?}");
    let name = "<code>Caxton::User::&quot;https://login.example|vera&quot;</code>";
    assert!(page.text.contains(name) && page.text.contains("<code>up</code>"), "{page:?}");
    let again = browser.open(&world, &link).await;
    assert_eq!(
        (again.status, &again.location),
        (200, &None),
        "only the link of the page leads on: {again:?}"
    );
    let (_, next) = again.text.split_once("href=\"").unwrap();
    let next = next.split_once('"').unwrap().0.replace("&amp;", "&");
    assert!(next.starts_with(&link) && next.contains("&go="), "{next}");
    let page = browser.open(&world, &next).await;
    assert_eq!(page.status, 303, "{page:?}");
    let agreed = accounts.agree(&page.location.unwrap(), "vera@crm");
    assert_eq!(browser.go_back(&world, "up", &agreed).await.status, 200);
    assert_eq!(call_when_known(&world, &vera).await, "vera@crm");
    let row = connections(&world, &vera, "").await.remove(0);
    assert_eq!(row["principal"], "Caxton::User::\"https://login.example|vera\"");
    // The login made no session.
    let made = world.records().iter().filter(|record| record["action"] == "auth:token").count();
    assert_eq!(made, 0);
    drop(provider.issuer);
    world.stop().await;
}

/// The catalogue is that of the approved tools, whoever has an account; a tool that differs for an account is not called with it.
/// The attack: who can connect an account has all tools of the server refused to all, by an account that is offered others.
#[tokio::test]
async fn the_tools_are_those_that_were_approved() {
    let accounts = AccountServer::start().await;
    let changed = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let (taken, differs) = (accounts.clone(), Arc::clone(&changed));
    let up = Upstream::start(Arc::new(move |_, message, headers| match bearer(headers) {
        Some(token) if taken.takes(&token) => {
            let differs = differs.load(std::sync::atomic::Ordering::SeqCst) && holder_of(&token) == "bob@crm";
            let text = if differs { "says who, and sends it" } else { "says who" };
            stateless(message, &json!([tool("who", text)])).unwrap_or_else(|| done(&holder_of(&token)))
        }
        _ => Reply::Status(401),
    }))
    .await;
    let world = approved_world(server("up", &up, &accounts.oauth.issuer), |_| {}).await;
    let (ann, bob) = (world.service("ann", &["tool:*"]), world.service("bob", &["tool:*"]));
    let tools = world.get(&bob, "/v1/tools").await.json();
    assert!(tools["tools"].as_array().unwrap().iter().any(|tool| tool["id"] == "up___who"), "{tools}");
    assert_eq!(up.of("tools/list").len(), 0, "nobody has an account yet");
    assert!(call(&world, &ann).await.is_err());
    connect(&world, &ann, &accounts, "ann@crm").await;
    assert_eq!(call(&world, &ann).await.unwrap(), "ann@crm");
    // Bob's account is offered something else than what was approved.
    changed.store(true, std::sync::atomic::Ordering::SeqCst);
    connect(&world, &bob, &accounts, "bob@crm").await;
    let refused = call(&world, &bob).await.unwrap_err();
    assert!(refused.to_string().contains("otherwise than it was approved"), "{refused}");
    assert_eq!(
        call(&world, &ann).await.unwrap(),
        "ann@crm",
        "it is bob's account that is offered something else"
    );
    let of_bob = up
        .seen
        .lock()
        .iter()
        .filter(|(message, headers)| {
            message["method"] == "tools/call"
                && bearer(headers).is_some_and(|token| holder_of(&token) == "bob@crm")
        })
        .count();
    assert_eq!(of_bob, 0, "it was not called");
    world.stop().await;
}

/// The gateway names itself by an address, where it is registered nowhere.
#[tokio::test]
async fn the_gateway_describes_itself_to_authorization_servers() {
    let accounts = AccountServer::start().await;
    let up = upstream(&accounts, stateless).await;
    let mut unregistered = server("up", &up, &accounts.oauth.issuer);
    let client = OauthClient {
        place: TokenPlace::Issuer(accounts.oauth.issuer.clone()),
        id: format!("{PUBLIC}/v1/connect/up/client.json"),
        key: ClientKey::Public,
    };
    unregistered.auth = Some(Arc::new(UpstreamAuth {
        grant: UpstreamGrant::AuthorizationCode,
        own_access: OwnAccess::Nothing,
        ..UpstreamAuth::client_credentials(client)
    }));
    let registered = server("registered", &up, &accounts.oauth.issuer);
    let world = world(vec![unregistered, registered], None).await;
    let served = world.get(&Credential::Nothing, "/v1/connect/up/client.json").await;
    let document = served.json();
    assert_eq!(document["client_id"], format!("{PUBLIC}/v1/connect/up/client.json"));
    assert_eq!(document["redirect_uris"], json!([format!("{PUBLIC}/v1/connect/up/callback")]));
    assert_eq!(document["token_endpoint_auth_method"], "none");
    for other in ["registered", "nobody"] {
        let path = format!("/v1/connect/{other}/client.json");
        assert_eq!(world.get(&Credential::Nothing, &path).await.status, StatusCode::NOT_FOUND, "{other}");
    }
    let ann = world.service("ann", &["tool:*"]);
    connect(&world, &ann, &accounts, "ann@crm").await;
    let asked = accounts.oauth.of("authorization_code").remove(0);
    assert_eq!(asked.get("client_id"), document["client_id"].as_str());
    assert_eq!((asked.get("client_secret"), &asked.authorization), (None, &None));
    world.stop().await;
}

/// What an authorization server has to publish before a person is sent there.
#[tokio::test]
async fn nobody_is_sent_to_an_authorization_server_that_does_not_say_what_it_must() {
    for (field, value) in [
        ("code_challenge_methods_supported", json!(["plain"])),
        ("code_challenge_methods_supported", Json::Null),
        ("authorization_endpoint", Json::Null),
        ("authorization_endpoint", json!("http://evil.example/authorize")),
        ("issuer", json!("https://evil.example")),
    ] {
        let accounts = AccountServer::start().await;
        accounts.oauth.metadata.lock()[field] = value.clone();
        let up = upstream(&accounts, stateless).await;
        let world = world(vec![server("up", &up, &accounts.oauth.issuer)], None).await;
        let ann = world.service("ann", &["tool:*"]);
        let browser = Browser::default();
        let link = url_of(&begin(&world, &ann, "up").await);
        let code = code_of(&browser.open(&world, &link).await);
        let next = url_of(&confirm(&world, &ann, "up", &code).await);
        let page = browser.open(&world, &next).await;
        assert_eq!((page.status, &page.location), (502, &None), "{field}: {value}");
        world.stop().await;
    }
}

#[tokio::test]
async fn what_cannot_be_connected_is_said() {
    let accounts = AccountServer::start().await;
    let up = upstream(&accounts, stateless).await;
    let world = world(vec![server("up", &up, &accounts.oauth.issuer)], None).await;
    let ann = world.service("ann", &["tool:*"]);
    let unknown = begin(&world, &ann, "nobody").await;
    assert_eq!(unknown.status, StatusCode::NOT_FOUND, "{unknown:?}");
    for body in [
        json!({ "port": 80, "state": STATE }),
        json!({ "port": 4_000 }),
        json!({ "state": STATE }),
        json!({ "port": 4_000, "state": "s&x=1" }),
    ] {
        let answer = world.post(&ann, "/v1/connections/up", &body).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{body}: {answer:?}");
    }
    // Without a login of people, only a program proves whose browser it is.
    let link = url_of(&send(world.request(&ann, Method::POST, "/v1/connections/up")).await);
    let page = Browser::default().open(&world, &link).await;
    assert_eq!(page.status, 409, "{page:?}");
    assert!(page.text.contains("caxton tools connect up"), "{page:?}");
    for path in ["/v1/connect/up", "/v1/connect/up?flow=x", "/v1/connect/nobody?flow=x"] {
        let page = Browser::default().open(&world, &format!("{PUBLIC}{path}")).await;
        assert!(matches!(page.status, 400 | 401), "{path}: {page:?}");
    }
    world.stop().await;
}

/// A gateway that could not keep tokens does not start.
#[tokio::test]
async fn without_a_key_nothing_is_kept() {
    let accounts = AccountServer::start().await;
    let up = upstream(&accounts, stateless).await;
    let directory = tempfile::tempdir().unwrap();
    for (key, url, wanted) in [
        (None, Some(PUBLIC), "openssl rand -hex 32"),
        (Some("secret"), Some(PUBLIC), "64 hexadecimal digits"),
        (Some(""), None, "server.public_url"),
    ] {
        let mut settings = crate::support::settings(directory.path().join("data"));
        settings.tools.servers = vec![server("up", &up, &accounts.oauth.issuer)];
        let key = key.map(|key| if key.is_empty() { "0a".repeat(32) } else { key.to_owned() });
        settings.tools.connections.key = key.map(|key| SharedSecret::Given(Secret::new(key)));
        settings.tools.connections.public_url = url.map(|url| url.parse().unwrap());
        let Err(error) = caxton::server::Gateway::start(settings).await else { panic!("it started") };
        let mut told = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(error) = cause {
            told.push_str(&format!(": {error}"));
            cause = error.source();
        }
        assert!(told.contains(wanted), "{told}");
    }
}

/// The command line asks a running gateway: it lists and ends connections, and approves what one's own account is offered.
#[tokio::test]
async fn the_command_line_works_with_connections() {
    let accounts = AccountServer::start().await;
    let up = upstream(&accounts, stateless).await;
    let world = world(vec![server("up", &up, &accounts.oauth.issuer)], None).await;
    let ann = world.service("ann", &["tool:*"]);
    let Credential::Key(key) = &ann else { panic!("a key") };
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path().to_owned();
    write(&at.join("ann.key"), key);
    write(&at.join("connections.key"), &"0a".repeat(32));
    let config = format!(
        "server:\n  public_url: {PUBLIC}\nmcp:\n  connection_key_file: connections.key\n  servers:\n    - name: up\n      url: {}\n      auth:\n        grant: authorization_code\n        issuer: {}\n",
        up.url, accounts.oauth.issuer
    );
    write(&at.join("caxton.yaml"), &config);
    let url = world.url("");
    let run = async |line: &str| {
        let line = format!("{line} --url {url} --api-key-file ann.key");
        let at = at.clone();
        let work = move || child::run(&at, &line.split(' ').collect::<Vec<_>>());
        tokio::task::spawn_blocking(work).await.unwrap()
    };
    let here = at.clone();
    let listing =
        move || child::run(&here, &["tools", "list", "--config", "caxton.yaml", "--format", "json"]);
    let listed = tokio::task::spawn_blocking(listing).await.unwrap();
    assert_eq!(listed.json()["servers"], json!([{ "name": "up", "state": "needs_account" }]), "{listed:?}");
    assert_eq!(listed.code, Some(1), "no tool of it is approved: {listed:?}");
    let import = "tools import up --config caxton.yaml --as-connected --format json";
    let refused = run(import).await;
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(refused.stderr.contains("caxton tools connect up"), "{refused:?}");

    connect(&world, &ann, &accounts, "ann@crm").await;
    let listed = run("tools connections --format json").await;
    assert_eq!(listed.json()["connections"][0]["server"], "up", "{listed:?}");
    assert!(run("tools connections").await.stdout.contains(&accounts.oauth.issuer));
    assert_eq!(run("tools connections --all").await.code, Some(1), "of others");
    let imported = run(import).await;
    assert_eq!(imported.json()["tools"], json!(["who"]), "{imported:?}");
    assert!(at.join("schemas/tools/up.tools.json").exists(), "{imported:?}");
    let unchanged = run("tools diff up --config caxton.yaml --as-connected").await;
    assert_eq!(unchanged.code, Some(0), "{unchanged:?}");
    let ended = run("tools disconnect up").await;
    assert_eq!((ended.code, accounts.grants()), (Some(0), 0), "{ended:?}");
    assert_eq!(run("tools disconnect up").await.code, Some(1), "there is none");
    let unknown = run("tools connect nobody --no-browser").await;
    assert_eq!(unknown.code, Some(1), "{unknown:?}");
    world.stop().await;
}
