//! A provider of the test's own, that answers whatever a test wants.

use std::sync::{Arc, Mutex};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Redirect, Response};
use axum::routing::{get, post};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use caxton::clock::{Clock as _, SystemClock};
use serde_json::{Value as Json, json};

use crate::support::json::Json as AnswerJson;

pub(crate) const CLIENT: &str = "caxton";

/// What its token endpoint, or another one, does.
pub(crate) enum Reply {
    Json(u16, Json),
    /// More than anybody wants to read.
    Huge,
    /// Never.
    Silence,
    Redirect(String),
}

pub(crate) struct Liar {
    pub(crate) issuer: String,
    key: Ed25519KeyPair,
    /// Fields of its metadata that are other than usual.
    pub(crate) metadata: Mutex<Json>,
    pub(crate) reply: Mutex<Reply>,
    pub(crate) userinfo: Mutex<Json>,
    /// Bodies that came to the token endpoint.
    pub(crate) asked: Mutex<Vec<String>>,
    pub(crate) down: Mutex<bool>,
}

fn encode(value: &Json) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

impl Liar {
    pub(crate) async fn start() -> Arc<Self> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let liar = Arc::new(Self {
            issuer: format!("http://{}", listener.local_addr().unwrap()),
            key: Ed25519KeyPair::generate().unwrap(),
            metadata: Mutex::new(json!({})),
            reply: Mutex::new(Reply::Silence),
            userinfo: Mutex::new(json!({})),
            asked: Mutex::default(),
            down: Mutex::new(false),
        });
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(metadata))
            .route("/jwks", get(keys))
            .route("/token", post(token))
            .route("/device", post(device))
            .route("/userinfo", get(userinfo))
            .with_state(Arc::clone(&liar));
        tokio::spawn(async move { axum::serve(listener, router).await });
        liar
    }

    /// Claims that are good for a login with this `nonce`.
    pub(crate) fn claims(&self, nonce: &str) -> Json {
        let now = SystemClock.now_seconds();
        json!({
            "iss": self.issuer, "aud": CLIENT, "sub": "vera", "iat": now, "exp": now + 300, "nonce": nonce,
            "roles": ["viewer"],
        })
    }

    pub(crate) fn sign(&self, header: &Json, claims: &Json) -> String {
        let input = format!("{}.{}", encode(header), encode(claims));
        format!("{input}.{}", URL_SAFE_NO_PAD.encode(self.key.sign(input.as_bytes())))
    }

    pub(crate) fn signed(&self, claims: &Json) -> String {
        self.sign(&json!({ "alg": "EdDSA", "kid": "k" }), claims)
    }

    pub(crate) fn answers(&self, id_token: &str) {
        self.replies(Reply::Json(
            200,
            json!({ "access_token": "at", "token_type": "Bearer", "expires_in": 60, "id_token": id_token }),
        ));
    }

    pub(crate) fn replies(&self, reply: Reply) {
        *self.reply.lock().unwrap() = reply;
    }
}

async fn metadata(State(liar): State<Arc<Liar>>) -> Response {
    if *liar.down.lock().unwrap() {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let base = &liar.issuer;
    let mut said = json!({
        "issuer": base, "jwks_uri": format!("{base}/jwks"), "token_endpoint": format!("{base}/token"),
        "authorization_endpoint": format!("{base}/auth"),
        "device_authorization_endpoint": format!("{base}/device"),
    });
    for (name, value) in liar.metadata.lock().unwrap().as_object().unwrap() {
        said[name] = value.clone();
    }
    AnswerJson(said).into_response()
}

async fn keys(State(liar): State<Arc<Liar>>) -> AnswerJson {
    let x = URL_SAFE_NO_PAD.encode(liar.key.public_key().as_ref());
    AnswerJson(json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "kid": "k", "x": x }] }))
}

async fn token(State(liar): State<Arc<Liar>>, body: String) -> Response {
    liar.asked.lock().unwrap().push(body);
    let (status, json) = match &*liar.reply.lock().unwrap() {
        Reply::Json(status, json) => (*status, json.clone()),
        Reply::Huge => {
            let text = format!("{{\"access_token\":\"{}\"}}", "a".repeat(1 << 20));
            return ([(header::CONTENT_TYPE, "application/json")], Body::from(text)).into_response();
        }
        Reply::Redirect(place) => return Redirect::temporary(place).into_response(),
        Reply::Silence => (0, Json::Null),
    };
    if status == 0 {
        std::future::pending::<()>().await;
    }
    (StatusCode::from_u16(status).unwrap(), AnswerJson(json)).into_response()
}

async fn device() -> AnswerJson {
    AnswerJson(json!({
        "device_code": "d", "user_code": "ABCD-EFGH", "verification_uri": "https://login.example/device",
        "expires_in": 600, "interval": 1,
    }))
}

async fn userinfo(State(liar): State<Arc<Liar>>) -> AnswerJson {
    AnswerJson(liar.userinfo.lock().unwrap().clone())
}
