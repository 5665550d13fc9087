//! The provider: where it is asked, what it says, and how its answers are read.
//!
//! Every answer is bounded in size and time, no redirect is followed, and nothing that the provider says about itself
//! counts unless it names itself exactly as it is configured (OpenID Connect Discovery 1.0, section 4.3; RFC 8414,
//! section 3.3).

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use oauth2::basic::{
    BasicErrorResponse, BasicRevocationErrorResponse, BasicTokenIntrospectionResponse, BasicTokenType,
};
use oauth2::{
    AuthType, AuthUrl, AuthorizationCode, Client, ClientId, ClientSecret, CsrfToken, DeviceAuthorizationUrl,
    DeviceCodeErrorResponseType, EndpointMaybeSet, EndpointNotSet, EndpointSet, ExtraTokenFields,
    HttpRequest, HttpResponse, PkceCodeChallenge, PkceCodeVerifier, RedirectUrl, RequestTokenError, Scope,
    StandardDeviceAuthorizationResponse, StandardRevocableToken, StandardTokenResponse, TokenResponse as _,
    TokenUrl,
};
use reqwest::Url;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::sync::Notify;

use super::Settings;
use super::identity::{Identity, UserinfoIdentity};
use super::settings::ProviderKind;
use crate::authn::AuthnError;
use crate::authn::jwt::parts::{IdTokens, is_private};
use crate::authn::jwt::{self, JwksPlace, JwksUrl};
use crate::clock::SharedClock;
use crate::json;
use crate::secret::{Address, Secret};
use crate::telemetry::Metrics;

/// Fields of a token response beside the access token.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct WithIdToken {
    #[serde(default)]
    id_token: Option<String>,
}

impl ExtraTokenFields for WithIdToken {}

type TokenAnswer = StandardTokenResponse<WithIdToken, BasicTokenType>;
type ProviderClient = Client<
    BasicErrorResponse,
    TokenAnswer,
    BasicTokenIntrospectionResponse,
    StandardRevocableToken,
    BasicRevocationErrorResponse,
    EndpointSet,
    EndpointMaybeSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointSet,
>;

/// Why the provider gave no answer that could be used. The text is for the operator.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProviderError {
    #[error("the provider did not answer: {0}")]
    Http(#[source] reqwest::Error),
    #[error("the provider did not answer")]
    NoAnswer,
    #[error("the answer of the provider is larger than {0} bytes")]
    TooLarge(usize),
    #[error("the provider answered with status {0}")]
    Status(u16),
    #[error("the answer of the provider could not be read")]
    Unreadable,
    #[error("the provider's metadata names another issuer than `issuer`")]
    Issuer,
    #[error("the provider's metadata has no {0}")]
    Missing(&'static str),
    #[error("the address of the provider's {0} is not `https`")]
    InTheClear(&'static str),
    #[error("the provider refused: {0}")]
    Refused(String),
    #[error(
        "the provider returned no ID token: add `openid` to the scopes, or set `security.oauth2.provider: custom` for a provider without OpenID Connect"
    )]
    NoIdToken,
    #[error("the userinfo response is about another subject")]
    OtherPerson,
    #[error("the settings of the provider cannot be used: {0}")]
    Setup(String),
}

/// The address may hold a key: the error does not keep it.
impl From<reqwest::Error> for ProviderError {
    fn from(error: reqwest::Error) -> Self {
        Self::Http(error.without_url())
    }
}

impl From<http::Error> for ProviderError {
    fn from(error: http::Error) -> Self {
        Self::Setup(error.to_string())
    }
}

/// Asks the provider; each answer is bounded.
#[derive(Clone)]
pub(super) struct HttpClient {
    client: reqwest::Client,
    max_bytes: usize,
}

impl HttpClient {
    pub(super) fn new(timeout: Duration, max_bytes: usize) -> Result<Self, AuthnError> {
        let client = reqwest::Client::builder()
            .timeout(timeout)
            // A redirect could carry a code or a secret to another host.
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .user_agent(concat!("caxton/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(AuthnError::Client)?;
        Ok(Self { client, max_bytes })
    }

    async fn send(&self, request: reqwest::Request) -> Result<HttpResponse, ProviderError> {
        let mut response = self.client.execute(request).await?;
        let mut answer = http::Response::builder().status(response.status());
        if let Some(kind) = response.headers().get(http::header::CONTENT_TYPE) {
            answer = answer.header(http::header::CONTENT_TYPE, kind);
        }
        let mut body = Vec::new();
        while let Some(part) = response.chunk().await? {
            if body.len().saturating_add(part.len()) > self.max_bytes {
                return Err(ProviderError::TooLarge(self.max_bytes));
            }
            body.extend_from_slice(&part);
        }
        Ok(answer.body(body)?)
    }

    /// One JSON object.
    async fn get(&self, url: Url, bearer: Option<&str>) -> Result<Map<String, Value>, ProviderError> {
        let mut request = self.client.get(url).header("accept", "application/json");
        if let Some(token) = bearer {
            request = request.bearer_auth(token);
        }
        let answer = self.send(request.build()?).await?;
        if answer.status() != http::StatusCode::OK {
            return Err(ProviderError::Status(answer.status().as_u16()));
        }
        json::parse_object(answer.body()).map_err(|_| ProviderError::Unreadable)
    }

    /// As the library asks. That something failed is noted: the library takes it for a reason to ask again.
    fn for_library(&self, failed: &Arc<AtomicBool>) -> impl Fn(HttpRequest) -> ResponseFuture + use<> {
        let http = self.clone();
        let failed = Arc::clone(failed);
        move |request| {
            let http = http.clone();
            let failed = Arc::clone(&failed);
            Box::pin(async move {
                let answer = http.send(reqwest::Request::try_from(request)?).await;
                failed.store(answer.is_err(), Ordering::Release);
                answer
            })
        }
    }
}

type ResponseFuture = Pin<Box<dyn Future<Output = Result<HttpResponse, ProviderError>> + Send>>;

/// The tokens of a successful answer.
pub(super) struct Tokens {
    id_token: Option<String>,
    pub(super) access_token: String,
}

impl Tokens {
    fn of(answer: &TokenAnswer) -> Self {
        let id_token = answer.extra_fields().id_token.clone();
        Self { id_token, access_token: answer.access_token().secret().clone() }
    }

    /// The ID token, which an OpenID provider gives for the scope `openid`.
    pub(super) fn id_token(&self) -> Result<&str, ProviderError> {
        self.id_token.as_deref().ok_or(ProviderError::NoIdToken)
    }
}

/// How it stands with a login on another device.
pub(super) enum DeviceState {
    Done(Tokens),
    Pending,
    SlowDown,
    /// The person said no, or took too long.
    Over(&'static str),
}

/// A provider that is known: it was found, and can be asked.
pub(super) struct Provider {
    client: ProviderClient,
    scopes: Vec<Scope>,
    http: HttpClient,
    userinfo: Option<Url>,
    pub(super) identity: Identity,
    /// Whether an answer must say whose it is (RFC 9207).
    pub(super) says_issuer: bool,
}

/// The metadata that a provider publishes.
struct ProviderMetadata(Map<String, Value>);

impl ProviderMetadata {
    fn url(&self, name: &str, what: &'static str) -> Result<Option<Url>, ProviderError> {
        let Some(text) = self.0.get(name).and_then(Value::as_str) else { return Ok(None) };
        let url = Url::parse(text).map_err(|_| ProviderError::Unreadable)?;
        if is_private(&url) { Ok(Some(url)) } else { Err(ProviderError::InTheClear(what)) }
    }

    fn lists(&self, name: &str, word: &str) -> Option<bool> {
        let list = self.0.get(name)?.as_array()?;
        Some(list.iter().any(|item| item == word))
    }
}

/// The client of these endpoints, without a secret.
fn client(
    settings: &Settings,
    authorize: Url,
    token: Url,
    device: Option<Url>,
) -> Result<ProviderClient, oauth2::url::ParseError> {
    let device = device.map(|url| DeviceAuthorizationUrl::new(url.into())).transpose()?;
    Ok(Client::new(ClientId::new(settings.client_id.clone()))
        .set_auth_uri(AuthUrl::new(authorize.into())?)
        .set_token_uri(TokenUrl::new(token.into())?)
        .set_redirect_uri(RedirectUrl::new(settings.redirect_uri.to_string())?)
        .set_device_authorization_url_option(device))
}

/// Checks the provider's ID tokens, with the keys at this address.
fn id_tokens(
    settings: &Settings,
    keys: Url,
    clock: SharedClock,
    metrics: Arc<Metrics>,
) -> Result<IdTokens, ProviderError> {
    let settings = jwt::Settings {
        jwks: Some((settings.algorithm, JwksPlace::Url(JwksUrl::new(keys.into())))),
        issuer: settings.issuer.as_str().into(),
        audience: settings.client_id.as_str().into(),
        leeway: settings.leeway,
        max_token_bytes: 16 * 1024,
        cache_entries: 0,
        ..jwt::Settings::default()
    };
    IdTokens::new(settings, clock, metrics).map_err(|error| ProviderError::Setup(error.to_string()))
}

impl Provider {
    /// Asks the provider about itself, unless everything is configured.
    pub(super) async fn find(
        settings: &Settings,
        secret: Option<&Secret<String>>,
        http: &HttpClient,
        clock: SharedClock,
        metrics: Arc<Metrics>,
    ) -> Result<Self, ProviderError> {
        let proves = match &settings.kind {
            ProviderKind::OpenId => settings.jwks_uri.is_some(),
            ProviderKind::Custom { .. } => settings.userinfo_endpoint.is_some(),
        };
        let complete =
            settings.authorization_endpoint.is_some() && settings.token_endpoint.is_some() && proves;
        let published =
            if complete { ProviderMetadata(Map::new()) } else { discover(settings, http).await? };
        let pick = |given: &Option<Address>, name, what| match given {
            Some(given) => Ok(Some(given.expose().clone())),
            None => published.url(name, what),
        };
        let need = |given, name, what| pick(given, name, what)?.ok_or(ProviderError::Missing(what));
        let authorize =
            need(&settings.authorization_endpoint, "authorization_endpoint", "authorization endpoint")?;
        let token = need(&settings.token_endpoint, "token_endpoint", "token endpoint")?;
        let identity = match &settings.kind {
            ProviderKind::OpenId => {
                let keys = need(&settings.jwks_uri, "jwks_uri", "key set")?;
                Identity::IdToken(id_tokens(settings, keys, clock, metrics)?)
            }
            ProviderKind::Custom { subject } => {
                let (issuer, client) = (&settings.issuer, &settings.client_id);
                Identity::Userinfo(UserinfoIdentity::new(issuer, client, subject, clock))
            }
        };
        let device = pick(
            &settings.device_authorization_endpoint,
            "device_authorization_endpoint",
            "device authorization endpoint",
        )?;
        let mut client = client(settings, authorize, token, device)
            .map_err(|error| ProviderError::Setup(error.to_string()))?;
        if let Some(secret) = secret {
            client = client.set_client_secret(ClientSecret::new(secret.expose().clone()));
        }
        let methods = |word| published.lists("token_endpoint_auth_methods_supported", word);
        if methods("client_secret_basic") == Some(false) && methods("client_secret_post") == Some(true) {
            client = client.set_auth_type(AuthType::RequestBody);
        }
        let says = published.0.get("authorization_response_iss_parameter_supported");
        // Without it the provider gives no ID token (OpenID Connect Core 1.0, section 3.1.2.1).
        let is_openid = matches!(identity, Identity::IdToken(_));
        let openid = std::iter::once("openid".to_owned())
            .filter(|openid| is_openid && !settings.scopes.contains(openid));
        Ok(Self {
            client,
            scopes: openid.chain(settings.scopes.iter().cloned()).map(Scope::new).collect(),
            http: http.clone(),
            userinfo: settings.userinfo_endpoint.as_ref().map(|given| given.expose().clone()),
            identity,
            says_issuer: says == Some(&Value::Bool(true)),
        })
    }

    /// The address to which the browser is sent.
    pub(super) fn authorize_url(&self, state: &str, nonce: &str, verifier: &PkceCodeVerifier) -> Url {
        let request = self
            .client
            .authorize_url(|| CsrfToken::new(state.to_owned()))
            .add_scopes(self.scopes.iter().cloned())
            .set_pkce_challenge(PkceCodeChallenge::from_code_verifier_sha256(verifier));
        let (url, _) = match self.identity {
            Identity::IdToken(_) => request.add_extra_param("nonce", nonce).url(),
            // It stands in an ID token, and nowhere else.
            Identity::Userinfo(_) => request.url(),
        };
        url
    }

    /// Exchanges a code; the provider takes it once, and only with what we hold (RFC 7636).
    pub(super) async fn exchange(
        &self,
        code: String,
        verifier: PkceCodeVerifier,
    ) -> Result<Tokens, ProviderError> {
        let http = self.http.for_library(&Arc::default());
        let request = self.client.exchange_code(AuthorizationCode::new(code)).set_pkce_verifier(verifier);
        Ok(Tokens::of(&request.request_async(&http).await.map_err(told)?))
    }

    /// Begins a login on another device; `None` when the provider has no such thing.
    pub(super) async fn device(&self) -> Option<Result<StandardDeviceAuthorizationResponse, ProviderError>> {
        let http = self.http.for_library(&Arc::default());
        let request = self.client.exchange_device_code().ok()?.add_scopes(self.scopes.iter().cloned());
        Some(request.request_async(&http).await.map_err(told))
    }

    /// Asks once how it stands with a login on another device. Boxed: the compiler does not see through the lifetimes of
    /// the library's future.
    pub(super) fn poll<'a>(
        &'a self,
        details: &'a StandardDeviceAuthorizationResponse,
    ) -> Pin<Box<dyn Future<Output = Result<DeviceState, ProviderError>> + Send + 'a>> {
        Box::pin(self.ask_device(details))
    }

    async fn ask_device(
        &self,
        details: &StandardDeviceAuthorizationResponse,
    ) -> Result<DeviceState, ProviderError> {
        // The library asks again and again; we let it ask once, and the person's program comes again.
        let asked = Notify::new();
        let slower = Notify::new();
        let failed = Arc::new(AtomicBool::new(false));
        let http = self.http.for_library(&failed);
        let again = |wait: Duration| {
            if wait > details.interval() {
                slower.notify_one()
            } else {
                asked.notify_one()
            }
            std::future::pending::<()>()
        };
        let request = self.client.exchange_device_access_token(details).request_async(
            &http,
            again,
            Some(details.expires_in()),
        );
        let answer = tokio::select! {
            answer = request => answer,
            () = asked.notified() => return pending(&failed, DeviceState::Pending),
            () = slower.notified() => return pending(&failed, DeviceState::SlowDown),
        };
        match answer {
            Ok(answer) => Ok(DeviceState::Done(Tokens::of(&answer))),
            Err(RequestTokenError::ServerResponse(error)) => match error.error() {
                DeviceCodeErrorResponseType::AuthorizationPending => Ok(DeviceState::Pending),
                DeviceCodeErrorResponseType::SlowDown => Ok(DeviceState::SlowDown),
                DeviceCodeErrorResponseType::AccessDenied => Ok(DeviceState::Over("access_denied")),
                DeviceCodeErrorResponseType::ExpiredToken => Ok(DeviceState::Over("expired_token")),
                other => Err(ProviderError::Refused(plain(other.as_ref()))),
            },
            Err(error) => Err(told(error)),
        }
    }

    /// What the provider's userinfo endpoint says of the person; `None` when that is not configured.
    pub(super) async fn userinfo(
        &self,
        tokens: &Tokens,
    ) -> Result<Option<Map<String, Value>>, ProviderError> {
        let Some(url) = &self.userinfo else { return Ok(None) };
        self.http.get(url.clone(), Some(&tokens.access_token)).await.map(Some)
    }

    /// The same beside an ID token, about the same person; nothing when it is not configured.
    pub(super) async fn more_of(
        &self,
        tokens: &Tokens,
        subject: Option<&str>,
    ) -> Result<Map<String, Value>, ProviderError> {
        let Some(found) = self.userinfo(tokens).await? else { return Ok(Map::new()) };
        // OpenID Connect Core 1.0, section 5.3.2: else the access token of another person could be slipped in.
        if found.get("sub").and_then(Value::as_str) != subject || subject.is_none() {
            return Err(ProviderError::OtherPerson);
        }
        Ok(found)
    }
}

fn pending(failed: &AtomicBool, state: DeviceState) -> Result<DeviceState, ProviderError> {
    if failed.load(Ordering::Acquire) { Err(ProviderError::NoAnswer) } else { Ok(state) }
}

/// The paths of a provider's metadata: with OpenID Connect, and without (RFC 8414).
async fn discover(settings: &Settings, http: &HttpClient) -> Result<ProviderMetadata, ProviderError> {
    let base = settings.issuer.trim_end_matches('/');
    let parse = |text: String| Url::parse(&text).map_err(|_| ProviderError::Unreadable);
    let first = parse(format!("{base}/.well-known/openid-configuration"))?;
    let found = match http.get(first, None).await {
        Err(ProviderError::Status(404)) => {
            let mut second = parse(base.to_owned())?;
            let path = second.path().trim_end_matches('/').to_owned();
            second.set_path(&format!("/.well-known/oauth-authorization-server{path}"));
            http.get(second, None).await?
        }
        found => found?,
    };
    // To the letter: a provider that answers in another's name is another (mix-up).
    if found.get("issuer").and_then(Value::as_str) != Some(settings.issuer.as_str()) {
        return Err(ProviderError::Issuer);
    }
    Ok(ProviderMetadata(found))
}

/// What the library says, without what the provider wrote beyond its error word: that may be anything.
fn told<E: oauth2::ErrorResponse + HasWord>(error: RequestTokenError<ProviderError, E>) -> ProviderError {
    match error {
        RequestTokenError::Request(error) => error,
        RequestTokenError::ServerResponse(answer) => ProviderError::Refused(plain(&answer.word())),
        RequestTokenError::Parse(..) => ProviderError::Unreadable,
        RequestTokenError::Other(_) => ProviderError::Unreadable,
    }
}

/// The error word of an answer (RFC 6749, section 5.2).
trait HasWord {
    fn word(&self) -> String;
}

impl HasWord for BasicErrorResponse {
    fn word(&self) -> String {
        self.error().as_ref().to_owned()
    }
}

impl HasWord for oauth2::DeviceCodeErrorResponse {
    fn word(&self) -> String {
        self.error().as_ref().to_owned()
    }
}

fn plain(text: &str) -> String {
    text.chars().filter(|c| c.is_ascii_graphic()).take(64).collect()
}
