//! Login of people at the provider that is configured: sent there, taken back, given a session.
//!
//! A program at the person's side is never given more than a code for its proof key, and by a button that the person
//! presses: a page that only sends a browser here gets nothing. The session is made when it is asked for with that code
//! at `POST /v1/auth/token`. No address comes with a request, so none can be a redirect to somewhere else.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequestParts, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use super::address::Query;
use super::auth::{self, work};
use super::body::{is_json, read_as};
use super::caller::{self, Caller, Shown};
use super::connections;
use super::json::Json;
use super::login_page::{of_problem, page, wanted};
use super::problem::Problem;
use super::quota;
use super::state::Api;
use crate::authn::oauth2::{CallbackQuery, LoginError, LoginOutcome, Logins, Purpose};
use crate::authn::{Evidence, LoggedIn};
use crate::model::{HolderKeys, IssueToken, RequestContext};
use crate::secret::Secret;
use crate::text::escape_html;

/// The path of the way back, for the limits of a route.
pub(super) const CALLBACK: &str = "/v1/auth/oauth2/callback";
/// Bytes of a body with a code in it: its sender is not known yet.
const LONGEST_GRANT: usize = 4 * 1024;

/// The circumstances of a request whose caller is not known yet.
#[derive(Clone)]
pub(super) struct Heard(pub(super) Arc<RequestContext>);

impl<S: Send + Sync> FromRequestParts<S> for Heard {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        // INVARIANT: `hear` has put it there on every route of a login.
        parts.extensions.get::<Self>().cloned().ok_or_else(Problem::internal)
    }
}

/// Middleware of the routes of a login: who may not be listened to is not, a credential beside the login is not passed
/// over, and no request waits for ever.
pub(super) async fn hear(State(api): State<Arc<Api>>, mut request: Request, next: Next) -> Response {
    let Some((certificate, context)) = caller::arrived(&api, &request) else {
        return Problem::internal().into_response();
    };
    let html = wanted(request.headers());
    let show = |problem: Problem| if html { of_problem(problem) } else { problem.into_response() };
    let heard = caller::listen_to(&api, request.headers(), certificate, &context).await;
    let alone = |certificate: Shown| {
        let (headers, method) = (request.headers(), request.method());
        let certificate = certificate?;
        let certificate = certificate.as_deref();
        api.authenticator.alone(&Evidence { headers, certificate, method, address: None })
    };
    let heard = match heard.map(alone) {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(refused)) => Err(told(&api, &context, refused.into()).await),
        Err(problem) => Err(problem),
    };
    let response = match heard {
        Ok(()) => {
            request.extensions_mut().insert(Heard(Arc::clone(&context)));
            let answer = tokio::time::timeout(api.settings.request_timeout, next.run(request)).await;
            answer.unwrap_or_else(|_| show(Problem::timeout()))
        }
        Err(problem) => show(problem),
    };
    caller::paced(&api, response.status(), &context, None).await;
    caller::named(&api, response, &context)
}

fn logins(api: &Api) -> Result<&Logins, LoginError> {
    api.authenticator.logins().ok_or(LoginError::NotOffered)
}

/// Counts and records what is refused. A browser can be sent here by any page, so that blocks no address.
async fn told(api: &Api, context: &RequestContext, error: LoginError) -> Problem {
    if let LoginError::Refused(refused) = error {
        let refused = api.authenticator.count(refused);
        caller::report(api, context, &refused).await;
        return caller::refusal(api, &refused);
    }
    error.into()
}

// ---- there ----

#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct Wish {
    port: Option<u16>,
    code_challenge: Option<String>,
    state: Option<String>,
}

impl Wish {
    fn purpose(self) -> Result<Purpose, LoginError> {
        match (self.port, self.code_challenge, self.state) {
            (None, None, None) => Ok(Purpose::Browser),
            (Some(port), Some(challenge), Some(state)) => Purpose::program(port, challenge, state),
            (None, _, _) => Err(LoginError::Parameter("port")),
            (_, None, _) => Err(LoginError::Parameter("code_challenge")),
            (_, _, None) => Err(LoginError::Parameter("state")),
        }
    }
}

/// That a person goes here. Any page could have pictures or frames that begin logins, and take the places of everybody
/// behind the same address (Fetch Metadata Request Headers, W3C; who sends none is no browser of today).
pub(super) fn navigates(headers: &HeaderMap) -> Result<(), Problem> {
    let is = |name, wanted: &[u8]| headers.get(name).is_none_or(|value| value.as_bytes() == wanted);
    let person = is("sec-fetch-mode", b"navigate") && is("sec-fetch-dest", b"document");
    if person { Ok(()) } else { Err(Problem::origin()) }
}

/// Sends a browser to the provider.
pub(super) async fn authorize(
    State(api): State<Arc<Api>>,
    Heard(context): Heard,
    headers: HeaderMap,
    wish: Result<Query<Wish>, Problem>,
) -> Response {
    let begun = navigates(&headers).and(wish).and_then(|Query(wish)| {
        let logins = logins(&api)?;
        let begun = logins.begin(wish.purpose()?, context.source.ip)?;
        Ok((begun, Cookie::of(logins)))
    });
    match begun {
        Ok((begun, cookie)) => {
            let mut response = StatusCode::SEE_OTHER.into_response();
            if let Ok(place) = HeaderValue::from_str(begun.url.as_str()) {
                response.headers_mut().insert(header::LOCATION, place);
            }
            response.headers_mut().insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
            cookie.set(&mut response, begun.cookie.expose());
            response
        }
        Err(problem) => shown(&headers, problem),
    }
}

fn shown(headers: &HeaderMap, problem: Problem) -> Response {
    if wanted(headers) { of_problem(problem) } else { problem.into_response() }
}

/// What binds a login to the browser that began it. Over TLS its name keeps it to this host and to TLS (RFC 6265bis,
/// section 4.1.3.2), so that no neighbour can plant one.
pub(super) struct Cookie {
    name: &'static str,
    attributes: &'static str,
    life: Duration,
}

impl Cookie {
    pub(super) fn of(logins: &Logins) -> Self {
        let is_https = logins.settings().redirect_uri.scheme() == "https";
        Self::named(is_https, ("__Host-caxton-login", "caxton-login"), logins.settings().login_timeout)
    }

    /// A cookie with one of these names: over TLS, and on loopback without it.
    pub(super) fn named(is_https: bool, (tls, plain): (&'static str, &'static str), life: Duration) -> Self {
        if is_https {
            Self { name: tls, attributes: "Path=/; HttpOnly; SameSite=Lax; Secure", life }
        } else {
            Self { name: plain, attributes: "Path=/; HttpOnly; SameSite=Lax", life }
        }
    }

    fn write(&self, response: &mut Response, value: &str, seconds: u64) {
        let text = format!("{}={value}; {}; Max-Age={seconds}", self.name, self.attributes);
        if let Ok(mut value) = HeaderValue::from_str(&text) {
            value.set_sensitive(true);
            response.headers_mut().append(header::SET_COOKIE, value);
        }
    }

    pub(super) fn set(&self, response: &mut Response, value: &str) {
        self.write(response, value, self.life.as_secs());
    }

    pub(super) fn clear(&self, response: &mut Response) {
        self.write(response, "", 0);
    }

    /// The value that the browser brought; none when it brought two.
    pub(super) fn find<'h>(&self, headers: &'h HeaderMap) -> Option<&'h str> {
        let texts = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
        let mut values = texts.flat_map(|text| text.split(';')).filter_map(|pair| {
            let (name, value) = pair.trim().split_once('=')?;
            (name == self.name).then_some(value)
        });
        let first = values.next()?;
        values.next().is_none().then_some(first)
    }
}

// ---- and back ----

/// What providers send with a browser; they may add more.
#[derive(Deserialize, utoipa::IntoParams)]
pub(super) struct Returning {
    pub(super) state: Option<String>,
    pub(super) code: Option<String>,
    pub(super) iss: Option<String>,
    pub(super) error: Option<String>,
}

/// Takes a browser back from the provider.
pub(super) async fn callback(
    State(api): State<Arc<Api>>,
    Heard(context): Heard,
    headers: HeaderMap,
    answer: Result<Query<Returning>, Problem>,
) -> Response {
    let finished = async {
        let Query(answer) = answer?;
        let logins = logins(&api)?;
        let cookie = Cookie::of(logins);
        let Returning { state, code, iss, error } = answer;
        let returned = CallbackQuery { state, code, iss, error };
        match logins.finish(returned, cookie.find(&headers)).await {
            Ok(finished) => Ok(finished),
            Err(error) => Err(told(&api, &context, error).await),
        }
    };
    let mut response = match finished.await {
        Ok(LoginOutcome::Program { port, code, state, person }) => {
            let place = format!("http://127.0.0.1:{port}/?code={}&state={state}", code.expose());
            hand_over(&person, &place)
        }
        Ok(LoginOutcome::Account { server, flow, person }) => {
            connections::after_login(&api, &context, &headers, (&server, &flow), &person.subject).await
        }
        Ok(LoginOutcome::Browser(login)) => match begin(&api, &context, login).await {
            Ok((session, who)) if wanted(&headers) => welcome(&who, &session.0),
            Ok((session, _)) => session.into_response(),
            Err(answer) => match answer {
                Failed::Problem(problem) => shown(&headers, *problem),
                Failed::Answer(answer) => *answer,
            },
        },
        Err(problem) => shown(&headers, problem),
    };
    if let Some(logins) = api.authenticator.logins() {
        Cookie::of(logins).clear(&mut response);
    }
    response
}

enum Failed {
    Problem(Box<Problem>),
    Answer(Box<Response>),
}

impl<P: Into<Problem>> From<P> for Failed {
    fn from(problem: P) -> Self {
        Self::Problem(Box::new(problem.into()))
    }
}

/// The session of a person who has just logged in: judged and on record before there is one.
async fn begin(
    api: &Arc<Api>,
    context: &Arc<RequestContext>,
    login: LoggedIn,
) -> Result<(Json<auth::Pair>, String), Failed> {
    quota::within(api, &login.subject, context, CALLBACK)
        .await
        .map_err(|answer| Failed::Answer(Box::new(answer)))?;
    let who = login.subject.principal().id().to_owned();
    let permit = api
        .effects
        .guard()
        .admit(&login.subject, IssueToken { holder: HolderKeys::default() }, context)
        .await?;
    let decision = permit.decision();
    let issued = work(api, move |credentials| credentials.log_in(permit, login)).await?;
    Ok((auth::pair(&issued, decision), who))
}

/// The person presses the button, or the program gets nothing (RFC 8252, section 8.6).
fn hand_over(person: &LoggedIn, place: &str) -> Response {
    let body = format!(
        "<p>A program on this computer requests access to this gateway as</p>\n<p><code>{}</code></p>\n<p>Allow this only if you have just started <code>caxton auth login</code> yourself.</p>\n<p><a class=\"go\" href=\"{}\" rel=\"noreferrer\">Allow</a></p>\n<p><small>Close this page to refuse.</small></p>\n",
        escape_html(person.subject.principal().id()),
        escape_html(place)
    );
    page(StatusCode::OK, "Allow this program to log in?", &body)
}

fn welcome(who: &str, pair: &auth::Pair) -> Response {
    let minutes = pair.expires_in / 60;
    let body = format!(
        "<p>as <code>{}</code></p>\n<p><label>Access token, for {minutes} minutes<textarea readonly rows=\"6\">{}</textarea></label></p>\n<p><label>Refresh token, single use<textarea readonly rows=\"2\">{}</textarea></label></p>\n<p><small>A holder of these tokens acts as you. End the session with <code>POST /v1/auth/logout</code>.</small></p>\n",
        escape_html(who),
        escape_html(&pair.access_token),
        escape_html(&pair.refresh_token)
    );
    page(StatusCode::OK, "You are logged in", &body)
}

// ---- on another device ----

#[derive(Serialize, utoipa::ToSchema)]
pub(super) struct DeviceAnswer {
    device_code: String,
    user_code: String,
    verification_uri: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    verification_uri_complete: Option<String>,
    expires_in: u64,
    interval: u64,
}

/// Begins a login on another device; the answer is that of RFC 8628, section 3.2.
pub(super) async fn device(
    State(api): State<Arc<Api>>,
    Heard(context): Heard,
) -> Result<Json<DeviceAnswer>, Problem> {
    let begun = match logins(&api)?.begin_device(context.source.ip).await {
        Ok(begun) => begun,
        Err(error) => return Err(told(&api, &context, error).await),
    };
    Ok(Json(DeviceAnswer {
        device_code: begun.device_code.expose().clone(),
        user_code: begun.user_code,
        verification_uri: begun.verification_uri,
        verification_uri_complete: begun.verification_uri_complete,
        expires_in: begun.expires_in,
        interval: begun.interval,
    }))
}

// ---- a session for a login ----

/// What a program comes with in the place of a credential.
#[derive(Deserialize, Default, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Grant {
    code: Option<String>,
    code_verifier: Option<String>,
    device_code: Option<String>,
}

/// Middleware of `POST /v1/auth/token`: a credential in the headers, or a login in the body, and never both.
pub(super) async fn prove_token(State(api): State<Arc<Api>>, request: Request, next: Next) -> Response {
    if !is_json(request.headers()) {
        return caller::prove(State(api), request, next).await;
    }
    let Some((certificate, context)) = caller::arrived(&api, &request) else {
        return Problem::internal().into_response();
    };
    let called = caller::called(&api, &request);
    let (parts, body) = request.into_parts();
    let login = async {
        let certificate = caller::listen_to(&api, &parts.headers, certificate, &context).await?;
        let bounds = (LONGEST_GRANT, api.settings.body_timeout);
        let grant: Grant = read_as(&parts.headers, body, bounds).await?;
        if matches!(grant, Grant { code: None, code_verifier: None, device_code: None }) {
            return Ok(None);
        }
        let answer = match &certificate {
            Ok(certificate) => {
                let (certificate, address) = (certificate.as_deref(), called.as_deref());
                let (headers, method) = (&parts.headers, &parts.method);
                prove_login(&api, &Evidence { headers, certificate, method, address }, grant).await
            }
            Err(forged) => Err(forged.clone().into()),
        };
        let answer = match answer {
            Ok(login) => Ok(login),
            Err(LoginError::Refused(refused)) => Err(api.authenticator.count(refused)),
            Err(error) => return Err(error.into()),
        };
        caller::admit_caller(&api, answer, &context).await.map(Some)
    };
    match login.await {
        Ok(Some((login, holder))) => {
            let mut request = Request::from_parts(parts, Body::empty());
            let subject = Arc::clone(&login.subject);
            let caller = Caller { subject: Arc::clone(&subject), context: Arc::clone(&context), holder };
            request.extensions_mut().insert(caller);
            request.extensions_mut().insert(login);
            let response = caller::within_limits(&api, (&subject, &context), request, next).await;
            caller::named(&api, response, &context)
        }
        // Nothing in the body: what the connection proves.
        Ok(None) => caller::prove(State(api), Request::from_parts(parts, Body::empty()), next).await,
        Err(problem) => {
            let response = problem.into_response();
            caller::paced(&api, response.status(), &context, None).await;
            caller::named(&api, response, &context)
        }
    }
}

/// Who has logged in, which nothing beside the login may name, and which keys it holds.
async fn prove_login(
    api: &Api,
    evidence: &Evidence<'_>,
    grant: Grant,
) -> Result<(LoggedIn, HolderKeys), LoginError> {
    let held = api.authenticator.held(evidence)?;
    let login = redeem(logins(api)?, grant).await?;
    let holder = api.authenticator.holds(held, &login.subject).await?;
    Ok((login, holder))
}

async fn redeem(logins: &Logins, grant: Grant) -> Result<LoggedIn, LoginError> {
    match grant {
        Grant { code: Some(code), code_verifier: Some(verifier), device_code: None } => {
            let (code, verifier) = (Secret::new(code), Secret::new(verifier));
            logins.redeem(code.expose(), verifier.expose())
        }
        Grant { code: None, code_verifier: None, device_code: Some(code) } => {
            let code = Secret::new(code);
            logins.poll(code.expose()).await
        }
        Grant { code: Some(_), code_verifier: None, .. } => Err(LoginError::Parameter("code_verifier")),
        Grant { code: None, code_verifier: Some(_), .. } => Err(LoginError::Parameter("code")),
        Grant { .. } => Err(LoginError::Parameter("device_code")),
    }
}
