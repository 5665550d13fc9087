//! A small OAuth authorization server on a free loopback port. It notes what it is sent, and a test decides what it answers.

use std::sync::Arc;

use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use parking_lot::Mutex;
use serde_json::{Value as Json, json};

use super::json::Json as AxumJson;

/// A request for a token.
#[derive(Debug, Clone)]
pub struct TokenRequest {
    pub path: String,
    pub authorization: Option<String>,
    pub form: Vec<(String, String)>,
}

impl TokenRequest {
    pub fn get(&self, name: &str) -> Option<&str> {
        self.form.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// The answer of a test; `None` for the usual one.
type Answer = Arc<dyn Fn(&TokenRequest, usize) -> Option<Response> + Send + Sync>;

#[derive(Clone)]
pub struct AuthorizationServer {
    /// Its name.
    pub issuer: String,
    /// What it was asked, in order.
    pub asked: Arc<Mutex<Vec<TokenRequest>>>,
    /// What it publishes about itself.
    pub metadata: Arc<Mutex<Json>>,
    /// What it publishes about a resource of its own origin.
    pub resource: Arc<Mutex<Option<Json>>>,
}

impl AuthorizationServer {
    pub async fn start() -> Self {
        Self::that(|_, _| None).await
    }

    /// One that answers a request, and the number of requests before it, as `answer` says.
    pub async fn that(
        answer: impl Fn(&TokenRequest, usize) -> Option<Response> + Send + Sync + 'static,
    ) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = format!("http://{}", listener.local_addr().unwrap());
        let metadata = json!({ "issuer": issuer, "token_endpoint": format!("{issuer}/token") });
        let server = Self {
            issuer,
            asked: Arc::default(),
            metadata: Arc::new(Mutex::new(metadata)),
            resource: Arc::default(),
        };
        let answer: Answer = Arc::new(answer);
        let shared = server.clone();
        let handle = move |uri: Uri, headers: HeaderMap, body: Bytes| {
            let (shared, answer) = (shared.clone(), Arc::clone(&answer));
            async move { shared.answer(&answer, &uri, &headers, &body) }
        };
        let router = axum::Router::new().fallback(handle);
        tokio::spawn(async move { axum::serve(listener, router).await });
        server
    }

    fn answer(&self, answer: &Answer, uri: &Uri, headers: &HeaderMap, body: &[u8]) -> Response {
        match uri.path() {
            "/.well-known/oauth-authorization-server" => {
                AxumJson(self.metadata.lock().clone()).into_response()
            }
            path if path.starts_with("/.well-known/oauth-protected-resource") => {
                match self.resource.lock().clone() {
                    Some(resource) => AxumJson(resource).into_response(),
                    None => StatusCode::NOT_FOUND.into_response(),
                }
            }
            path if path.starts_with("/.well-known/") => StatusCode::NOT_FOUND.into_response(),
            path => {
                let authorization =
                    headers.get(header::AUTHORIZATION).map(|value| value.to_str().unwrap().to_owned());
                let mut url = reqwest::Url::parse("http://form/").unwrap();
                url.set_query(Some(std::str::from_utf8(body).unwrap()));
                let form = url.query_pairs().map(|(key, value)| (key.into_owned(), value.into_owned()));
                let request = TokenRequest { path: path.to_owned(), authorization, form: form.collect() };
                let before = {
                    let mut asked = self.asked.lock();
                    asked.push(request.clone());
                    asked.len() - 1
                };
                answer(&request, before).unwrap_or_else(|| usual(&request, before))
            }
        }
    }

    pub fn requests(&self) -> Vec<TokenRequest> {
        self.asked.lock().clone()
    }

    /// The requests with this grant.
    pub fn of(&self, grant: &str) -> Vec<TokenRequest> {
        let mut asked = self.requests();
        asked.retain(|request| request.get("grant_type").is_some_and(|given| given.ends_with(grant)));
        asked
    }
}

/// A token whose holder can be read in it: `own.<number>.<who>`.
fn usual(request: &TokenRequest, number: usize) -> Response {
    let grant = request.get("grant_type").unwrap_or_default();
    let given = request.get("subject_token").or(request.get("assertion"));
    let who = given.map_or_else(|| "gateway".to_owned(), holder_of);
    let token = format!("own.{number}.{}", BASE64_URL_SAFE_NO_PAD.encode(who));
    let mut answer = json!({ "access_token": token, "token_type": "Bearer", "expires_in": 3600 });
    if grant.ends_with("token-exchange") {
        answer["issued_token_type"] = request.get("requested_token_type").unwrap().into();
    }
    if request.get("requested_token_type").is_some_and(|wanted| wanted.ends_with("id-jag")) {
        answer["token_type"] = "N_A".into();
    }
    AxumJson(answer).into_response()
}

/// The claims of a JWT, unverified.
pub fn claims(token: &str) -> Json {
    let part = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

/// Who a token of this server, or a JWT, is about.
pub fn holder_of(token: &str) -> String {
    match token.strip_prefix("own.") {
        Some(rest) => {
            let who = rest.split('.').nth(1).unwrap();
            String::from_utf8(BASE64_URL_SAFE_NO_PAD.decode(who).unwrap()).unwrap()
        }
        None => claims(token)["sub"].as_str().unwrap().to_owned(),
    }
}

/// An error of RFC 6749, section 5.2.
pub fn refusal(status: u16, code: &str) -> Response {
    let body = AxumJson(json!({ "error": code, "error_description": "see https://evil.example" }));
    (StatusCode::from_u16(status).unwrap(), body).into_response()
}
