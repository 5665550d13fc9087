//! An authorization server with accounts: it gives codes for consent, once and with PKCE, and tokens that it refreshes, replaces
//! and revokes. And the browser of a person who consents there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use parking_lot::Mutex;
use reqwest::Url;
use serde_json::json;
use tokio::sync::Notify;

use super::World;
use super::json::Json as AxumJson;
use super::oauth::{AuthorizationServer, TokenRequest, refusal};

/// Where browsers find the gateway; a [`Browser`] leads to the one that runs.
pub const PUBLIC: &str = "https://caxton.example";

/// What a person consented to.
#[derive(Debug, Clone)]
struct Consent {
    account: String,
    challenge: String,
    redirect: String,
    resource: String,
}

#[derive(Debug, Default)]
struct Books {
    codes: BTreeMap<String, Consent>,
    /// The account of each refresh token that counts.
    refresh: BTreeMap<String, String>,
    /// The access tokens that count.
    access: BTreeSet<String>,
    issued: usize,
    without_refresh: bool,
}

/// A grant whose answers wait, and what lets them go.
type HeldGrant = Option<(String, Arc<Notify>)>;

#[derive(Clone)]
pub struct AccountServer {
    pub oauth: AuthorizationServer,
    books: Arc<Mutex<Books>>,
    /// Seconds that an access token counts.
    pub life: Arc<Mutex<u64>>,
    /// Answers to this grant come when they are let go.
    held: Arc<Mutex<HeldGrant>>,
    /// The status of all answers to requests for a refresh, in place of tokens.
    pub refresh_fails: Arc<Mutex<Option<u16>>>,
}

impl AccountServer {
    pub async fn start() -> Self {
        let (books, life) = (Arc::<Mutex<Books>>::default(), Arc::new(Mutex::new(3_600)));
        let (kept, seconds) = (Arc::clone(&books), Arc::clone(&life));
        let (held, refresh_fails) = (Arc::<Mutex<HeldGrant>>::default(), Arc::default());
        let (holds, fails) = (Arc::clone(&held), Arc::<Mutex<Option<u16>>>::clone(&refresh_fails));
        let oauth = AuthorizationServer::that(move |request, _| {
            let grant = request.get("grant_type").unwrap_or_default();
            if let (Some(status), "refresh_token") = (*fails.lock(), grant) {
                return Some(Response::builder().status(status).body(Body::empty()).unwrap());
            }
            let answer = kept.lock().answer(request, *seconds.lock());
            let hold = holds.lock().clone().filter(|(of, _)| of == grant);
            Some(match hold {
                Some((_, let_go)) => later(answer, let_go),
                None => answer,
            })
        });
        let oauth = oauth.await;
        let issuer = oauth.issuer.clone();
        *oauth.metadata.lock() = json!({
            "issuer": issuer,
            "token_endpoint": format!("{issuer}/token"),
            "authorization_endpoint": format!("{issuer}/authorize"),
            "revocation_endpoint": format!("{issuer}/revoke"),
            "code_challenge_methods_supported": ["S256"],
            "authorization_response_iss_parameter_supported": true,
            "client_id_metadata_document_supported": true,
        });
        Self { oauth, books, life, held, refresh_fails }
    }

    /// Holds the answers to this grant back until the result is notified.
    pub fn hold(&self, grant: &str) -> Arc<Notify> {
        let let_go = Arc::new(Notify::new());
        *self.held.lock() = Some((grant.to_owned(), Arc::clone(&let_go)));
        let_go
    }

    /// Answers as usual from now on.
    pub fn hold_nothing(&self) {
        *self.held.lock() = None;
    }

    /// The person with this account is asked at `consent`, and agrees: the query of the way back.
    pub fn agree(&self, consent: &Url, account: &str) -> Vec<(String, String)> {
        let query: BTreeMap<String, String> = consent.query_pairs().into_owned().collect();
        assert!(consent.as_str().starts_with(&format!("{}/authorize?", self.oauth.issuer)), "{consent}");
        assert_eq!((&*query["response_type"], &*query["code_challenge_method"]), ("code", "S256"));
        let mut books = self.books.lock();
        books.issued += 1;
        let code = format!("code-{}", books.issued);
        let given = Consent {
            account: account.to_owned(),
            challenge: query["code_challenge"].clone(),
            redirect: query["redirect_uri"].clone(),
            resource: query["resource"].clone(),
        };
        books.codes.insert(code.clone(), given);
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        vec![pair("code", &code), pair("state", &query["state"]), pair("iss", &self.oauth.issuer)]
    }

    /// Whether an access token counts.
    pub fn takes(&self, access: &str) -> bool {
        self.books.lock().access.contains(access)
    }

    /// Access tokens count no more; refresh tokens do.
    pub fn end_access(&self) {
        self.books.lock().access.clear();
    }

    /// The person takes the access back here.
    pub fn take_back(&self) {
        let mut books = self.books.lock();
        books.access.clear();
        books.refresh.clear();
    }

    /// Gives no refresh tokens from now on.
    pub fn give_no_refresh(&self) {
        self.books.lock().without_refresh = true;
    }

    /// Refresh tokens that count.
    pub fn grants(&self) -> usize {
        self.books.lock().refresh.len()
    }

    /// Every token that it has given.
    pub fn secrets(&self) -> Vec<String> {
        let issued = self.books.lock().issued;
        (0..=issued).flat_map(|number| [format!("swordfish-{number}"), format!("own.{number}.")]).collect()
    }
}

/// The same answer, whose body comes when it is let go.
fn later(answer: Response, let_go: Arc<Notify>) -> Response {
    let (mut parts, body) = answer.into_parts();
    parts.headers.remove("content-length");
    let body = async move {
        let_go.notified().await;
        axum::body::to_bytes(body, usize::MAX).await
    };
    Response::from_parts(parts, Body::from_stream(futures::stream::once(body)))
}

impl Books {
    fn answer(&mut self, request: &TokenRequest, life: u64) -> Response {
        let get = |name: &str| request.get(name).unwrap_or_default();
        if request.path == "/revoke" {
            self.refresh.remove(get("token"));
            self.access.clear();
            return Response::new(Body::empty());
        }
        match get("grant_type") {
            "authorization_code" => {
                let Some(consent) = self.codes.remove(get("code")) else {
                    return refusal(400, "invalid_grant");
                };
                let shown = digest(&SHA256, get("code_verifier").as_bytes());
                let proven = BASE64_URL_SAFE_NO_PAD.encode(shown) == consent.challenge;
                if !proven || get("redirect_uri") != consent.redirect || get("resource") != consent.resource {
                    return refusal(400, "invalid_grant");
                }
                self.give(&consent.account, life)
            }
            // Each refresh token counts once.
            "refresh_token" => match self.refresh.remove(get("refresh_token")) {
                Some(account) => self.give(&account, life),
                None => refusal(400, "invalid_grant"),
            },
            other => refusal(400, &format!("unsupported_grant_type:{other}")),
        }
    }

    fn give(&mut self, account: &str, life: u64) -> Response {
        self.issued += 1;
        let access = format!("own.{}.{}", self.issued, BASE64_URL_SAFE_NO_PAD.encode(account));
        let refresh = format!("swordfish-{}", self.issued);
        self.access.insert(access.clone());
        let mut answer = json!({ "access_token": access, "token_type": "Bearer", "expires_in": life });
        if !self.without_refresh {
            self.refresh.insert(refresh.clone(), account.to_owned());
            answer["refresh_token"] = refresh.into();
        }
        AxumJson(answer).into_response()
    }
}

/// A page or a redirection, as a browser has it.
#[derive(Debug)]
pub struct Page {
    pub status: u16,
    pub location: Option<Url>,
    pub text: String,
}

/// A browser with its cookies. It follows nothing by itself.
#[derive(Default)]
pub struct Browser(Mutex<BTreeMap<String, String>>);

impl Browser {
    pub async fn open(&self, world: &World, address: &str) -> Page {
        let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        let place = address.strip_prefix(PUBLIC).unwrap_or_else(|| panic!("{address}"));
        let cookies: Vec<String> =
            self.0.lock().iter().map(|(name, value)| format!("{name}={value}")).collect();
        let mut request = client.get(world.url(place)).header("accept", "text/html");
        if !cookies.is_empty() {
            request = request.header("cookie", cookies.join("; "));
        }
        let response = request.send().await.unwrap();
        for cookie in response.headers().get_all("set-cookie") {
            let pair = cookie.to_str().unwrap().split(';').next().unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            self.0.lock().insert(name.to_owned(), value.to_owned());
        }
        let location =
            response.headers().get("location").map(|place| place.to_str().unwrap().parse().unwrap());
        Page { status: response.status().as_u16(), location, text: response.text().await.unwrap() }
    }

    /// Goes back to the gateway with this query.
    pub async fn go_back(&self, world: &World, server: &str, query: &[(String, String)]) -> Page {
        let mut address: Url = format!("{PUBLIC}/v1/connect/{server}/callback").parse().unwrap();
        address.query_pairs_mut().extend_pairs(query);
        self.open(world, address.as_str()).await
    }
}
