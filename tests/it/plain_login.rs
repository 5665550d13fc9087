//! Login of people at a provider that speaks OAuth 2.0 alone: no ID token, the userinfo endpoint names the person.
//!
//! The provider here is a small one of the test's own, and as strict as RFC 6749 and RFC 7636 ask for: a code serves once, for
//! its client, redirect address and proof key.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "helpers of tests")]

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use aws_lc_rs::digest::{SHA256, digest};
use axum::Router;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode as Status, header};
use axum::response::{IntoResponse as _, Redirect, Response};
use axum::routing::{get, post};
use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use caxton::authn::oauth2::{ClientSecret, ProviderKind, Settings as Login};
use caxton::secret::{Address, Secret};
use caxton::server::Settings;
use reqwest::header::{LOCATION, SET_COOKIE};
use reqwest::{Client, StatusCode, Url};
use serde_json::{Value as Json, json};

use crate::support::json::Json as AnswerJson;
use crate::support::{Answer, Credential, PATIENCE, World, port, send, until};

const CLIENT: &str = "caxton";
const SECRET: &str = "a secret of the client";

/// What the userinfo endpoint answers with.
enum Told {
    Json(u16, Json),
    Text(String),
    Elsewhere,
}

struct Provider {
    base: String,
    /// Codes that were given out: the proof key's challenge and the redirect address of each.
    codes: Mutex<HashMap<String, (String, String)>>,
    told: Mutex<Told>,
    /// Access tokens that came to the userinfo endpoint.
    shown: Mutex<Vec<String>>,
}

impl Provider {
    async fn start() -> Arc<Self> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let provider = Arc::new(Self {
            base: format!("http://{}", listener.local_addr().unwrap()),
            codes: Mutex::default(),
            told: Mutex::new(Told::Json(200, json!({}))),
            shown: Mutex::default(),
        });
        let router = Router::new()
            .route("/authorize", get(authorize))
            .route("/token", post(token))
            .route("/userinfo", get(userinfo))
            .with_state(Arc::clone(&provider));
        tokio::spawn(async move { axum::serve(listener, router).await });
        provider
    }

    fn tells(&self, told: Told) {
        *self.told.lock().unwrap() = told;
    }
}

/// The person is logged in there already: the browser is sent back at once.
async fn authorize(
    State(provider): State<Arc<Provider>>,
    Query(asked): Query<HashMap<String, String>>,
) -> Response {
    let is = |name: &str, wanted: &str| asked.get(name).is_some_and(|value| value == wanted);
    if !is("response_type", "code") || !is("client_id", CLIENT) || !is("code_challenge_method", "S256") {
        return Status::BAD_REQUEST.into_response();
    }
    // An OpenID request is not answered here.
    let scopes = asked.get("scope").map(String::as_str).unwrap_or_default();
    if scopes.split(' ').any(|scope| scope == "openid") || asked.contains_key("nonce") {
        return Status::BAD_REQUEST.into_response();
    }
    let (back, state) = (asked["redirect_uri"].clone(), asked["state"].clone());
    let mut codes = provider.codes.lock().unwrap();
    let code = format!("code-{}", codes.len());
    codes.insert(code.clone(), (asked["code_challenge"].clone(), back.clone()));
    let mut place = Url::parse(&back).unwrap();
    place.query_pairs_mut().append_pair("code", &code).append_pair("state", &state);
    Redirect::to(place.as_str()).into_response()
}

async fn token(State(provider): State<Arc<Provider>>, headers: HeaderMap, body: String) -> Response {
    let refuse = |word: &str| (Status::BAD_REQUEST, AnswerJson(json!({ "error": word }))).into_response();
    let mut form = Url::parse("http://form/").unwrap();
    form.set_query(Some(&body));
    let form: HashMap<String, String> =
        form.query_pairs().map(|(name, value)| (name.into_owned(), value.into_owned())).collect();
    let encoded: String = form_urlencoded(&[CLIENT, SECRET]).join(":");
    let basic = format!("Basic {}", BASE64_STANDARD.encode(encoded));
    if headers.get(header::AUTHORIZATION).is_none_or(|value| value != basic.as_str()) {
        return refuse("invalid_client");
    }
    let field = |name: &str| form.get(name).map(String::as_str).unwrap_or_default();
    let Some((challenge, back)) = provider.codes.lock().unwrap().remove(field("code")) else {
        return refuse("invalid_grant");
    };
    let proven = BASE64_URL_SAFE_NO_PAD.encode(digest(&SHA256, field("code_verifier").as_bytes()));
    if field("grant_type") != "authorization_code" || field("redirect_uri") != back || proven != challenge {
        return refuse("invalid_grant");
    }
    AnswerJson(json!({ "access_token": "at-1", "token_type": "bearer", "expires_in": 60 })).into_response()
}

fn form_urlencoded(words: &[&str]) -> Vec<String> {
    let encode = |word: &&str| {
        let mut url = Url::parse("http://form/").unwrap();
        url.query_pairs_mut().append_key_only(word);
        url.query().unwrap().to_owned()
    };
    words.iter().map(encode).collect()
}

async fn userinfo(State(provider): State<Arc<Provider>>, headers: HeaderMap) -> Response {
    let shown = headers.get(header::AUTHORIZATION).map(|value| value.to_str().unwrap().to_owned());
    provider.shown.lock().unwrap().extend(shown);
    match &*provider.told.lock().unwrap() {
        Told::Json(status, json) => {
            (Status::from_u16(*status).unwrap(), AnswerJson(json.clone())).into_response()
        }
        Told::Text(text) => {
            ([(header::CONTENT_TYPE, "application/json")], Body::from(text.clone())).into_response()
        }
        Told::Elsewhere => Redirect::to(&format!("{}/elsewhere", provider.base)).into_response(),
    }
}

struct Stage {
    world: World,
    provider: Arc<Provider>,
    browser: Client,
}

impl Stage {
    async fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let provider = Provider::start().await;
        let port = port::free().port();
        let back = format!("http://127.0.0.1:{port}/v1/auth/oauth2/callback");
        let address = |path: &str| Some(Address::new(format!("{}{path}", provider.base).parse().unwrap()));
        let world = World::with(|settings, _| {
            settings.listen.set_port(port);
            settings.authn.oauth2 = Some(Login {
                kind: ProviderKind::Custom { subject: "sub".to_owned() },
                authorization_endpoint: address("/authorize"),
                token_endpoint: address("/token"),
                userinfo_endpoint: address("/userinfo"),
                client_secret: Some(ClientSecret::Given(Secret::new(SECRET.to_owned()))),
                scopes: vec!["profile".to_owned()],
                timeout: PATIENCE,
                ..Login::new(&provider.base, CLIENT, back.parse().unwrap())
            });
            change(settings);
        })
        .await;
        let operator = world.service("watcher", &["config:read"]);
        until("logins work", async || {
            let status = world.get(&operator, "/v1/auth/status").await.json();
            let methods = status["methods"].as_array().unwrap();
            methods.iter().any(|row| row["method"] == "oauth2" && row["healthy"] == true)
        })
        .await;
        let browser = Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        Self { world, provider, browser }
    }

    async fn get(&self, place: &str, cookie: &str) -> Answer {
        let request = self.browser.get(place).header("accept", "application/json");
        send(if cookie.is_empty() { request } else { request.header("cookie", cookie) }).await
    }

    /// Where the browser comes back to, and what it brings.
    async fn sent_back(&self) -> (String, String) {
        let begun = self.get(&self.world.url("/v1/auth/oauth2/authorize"), "").await;
        assert_eq!(begun.status, StatusCode::SEE_OTHER, "{begun:?}");
        let cookie = begun.headers[SET_COOKIE].to_str().unwrap().split(';').next().unwrap().to_owned();
        let there = begun.headers[LOCATION].to_str().unwrap().to_owned();
        let back = self.get(&there, "").await;
        assert_eq!(back.status, StatusCode::SEE_OTHER, "{back:?}");
        (back.headers[LOCATION].to_str().unwrap().to_owned(), cookie)
    }

    /// A whole login.
    async fn login(&self) -> Answer {
        let (back, cookie) = self.sent_back().await;
        self.get(&back, &cookie).await
    }

    fn last_refusal(&self) -> String {
        let records = self.world.records();
        let refused = records.iter().rev().find(|record| record["event_type"] == "authentication");
        refused.unwrap_or_else(|| panic!("nothing was refused: {records:#?}"))["detail"].to_string()
    }
}

#[tokio::test]
async fn a_person_whom_the_userinfo_endpoint_names_has_a_session() {
    let stage = Stage::with(|_| {}).await;
    stage.provider.tells(Told::Json(
        200,
        json!({ "sub": "vera", "email": null, "roles": ["viewer"], "company": "acme", "plan": { "name": "pro" } }),
    ));
    let (back, cookie) = stage.sent_back().await;
    // A code of this login in another browser, or without one, gives nothing (login CSRF).
    let stranger = stage.get(&back, "").await;
    assert_eq!(stranger.status, StatusCode::UNAUTHORIZED, "{stranger:?}");
    assert!(stage.last_refusal().contains("wrong_browser"));
    let again = stage.get(&back, &cookie).await;
    assert_eq!(again.status, StatusCode::UNAUTHORIZED, "a login ends once: {again:?}");

    let session = stage.login().await;
    assert_eq!(session.status, StatusCode::OK, "{session:?}");
    assert_eq!(*stage.provider.shown.lock().unwrap(), ["Bearer at-1"]);
    let token = Credential::Token(session.json()["access_token"].as_str().unwrap().to_owned());
    let listed = stage.world.get(&token, "/v1/agents").await;
    assert_eq!(listed.status, StatusCode::OK, "{listed:?}");
    let record = stage.world.records().pop().unwrap();
    let vera = format!("Caxton::User::\"{}|vera\"", stage.provider.base);
    assert_eq!(record["subject"]["principal"], vera.as_str(), "{record}");
    stage.world.stop().await;
}

#[tokio::test]
async fn a_person_may_be_named_by_another_field() {
    let stage = Stage::with(|settings| {
        let login = settings.authn.oauth2.as_mut().unwrap();
        login.kind = ProviderKind::Custom { subject: "id".to_owned() };
    })
    .await;
    stage.provider.tells(Told::Json(200, json!({ "id": 583_231, "login": "octocat", "sub": "mallory" })));
    assert_eq!(stage.login().await.status, StatusCode::OK);
    let record = stage.world.records().pop().unwrap();
    let who = format!("Caxton::User::\"{}|583231\"", stage.provider.base);
    assert_eq!(record["subject"]["principal"], who.as_str(), "{record}");
    stage.world.stop().await;
}

#[tokio::test]
async fn nobody_is_logged_in_where_the_endpoint_names_nobody() {
    let stage = Stage::with(|settings| settings.authn.oauth2.as_mut().unwrap().max_bytes = 4_096).await;
    let large = json!({ "sub": "vera", "about": "x".repeat(5_000) });
    // The provider's fault is an outage; an answer without a person refuses the login.
    for (told, status) in [
        (Told::Json(500, json!({ "sub": "vera" })), StatusCode::SERVICE_UNAVAILABLE),
        (Told::Json(401, json!({ "sub": "vera" })), StatusCode::SERVICE_UNAVAILABLE),
        (Told::Json(204, json!({})), StatusCode::SERVICE_UNAVAILABLE),
        (Told::Json(200, json!(["vera"])), StatusCode::SERVICE_UNAVAILABLE),
        (Told::Json(200, large), StatusCode::SERVICE_UNAVAILABLE),
        (Told::Text("{\"sub\":\"vera\",\"sub\":\"root\"}".to_owned()), StatusCode::SERVICE_UNAVAILABLE),
        (Told::Text("vera".to_owned()), StatusCode::SERVICE_UNAVAILABLE),
        (Told::Elsewhere, StatusCode::SERVICE_UNAVAILABLE),
        (Told::Json(200, json!({})), StatusCode::UNAUTHORIZED),
        (Told::Json(200, json!({ "sub": null })), StatusCode::UNAUTHORIZED),
        (Told::Json(200, json!({ "sub": "" })), StatusCode::UNAUTHORIZED),
        (Told::Json(200, json!({ "id": "vera" })), StatusCode::UNAUTHORIZED),
    ] {
        stage.provider.tells(told);
        let answer = stage.login().await;
        assert_eq!(answer.status, status, "{answer:?}");
        assert!(!answer.text.contains("access_token"), "{answer:?}");
        if status == StatusCode::UNAUTHORIZED {
            assert!(stage.last_refusal().contains("no_subject"), "{}", stage.last_refusal());
        }
    }
    let sessions = stage.world.records();
    assert!(!sessions.iter().any(|record| record["action"] == "auth:token"), "{sessions:#?}");
    stage.world.stop().await;
}
