//! Accounts of callers at MCP servers: begun, listed and ended over the API, and connected in a browser.
//!
//! The link that begins it is a page here, never the authorization server's: the browser is proven to be the one of the principal
//! that began before it is sent there, so that nobody can have another's account connected to a principal of one's own.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{FromRequest as _, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use reqwest::Url;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::address::{Path, Query};
use super::body::StrictJson;
use super::caller::{self, Caller};
use super::json::Json;
use super::login::{Cookie, Heard, Returning, navigates};
use super::login_page::{of_problem_titled, page, wanted};
use super::problem::Problem;
use super::state::Api;
use crate::authn::Refused;
use crate::authn::oauth2::Purpose;
use crate::clock::rfc3339;
use crate::model::{DecisionId, EntityUid, RequestContext, ServerName, Subject};
use crate::runtime::EffectError;
use crate::secret::Secret;
use crate::text::{escape_html, one_line};
use crate::tools::{
    ConnectingProgram, ConnectionError, ConnectionFacts, LinkOpened, LoggedInBrowser, ReturnedBrowser,
};

/// The path to which authorization servers send browsers back.
pub(super) const CALLBACK: &str = "/v1/connect/{server}/callback";
/// The longest name of a principal on a page, in characters.
const MAX_PRINCIPAL: usize = 256;
/// How long a browser keeps the cookie: as long as there is to finish.
const COOKIE_LIFE: Duration = Duration::from_secs(600);
/// What a person reads where no account was connected. Which of them it was is for the operator: an attacker who sends a browser
/// here learns nothing.
const NOT_CONNECTED: (&str, &str) = (
    "No account was connected",
    "The link is not valid: it expired, was used before, was started by another user or in another browser, or consent was not given",
);

// ---- over the API ----

/// A program on the browser's computer that will prove that the browser is its caller's.
#[derive(Deserialize, Default, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ConnectBody {
    /// The port of 127.0.0.1 on which it listens.
    port: Option<u16>,
    /// By which it recognises the browser.
    state: Option<String>,
}

impl ConnectBody {
    fn program(self) -> Result<Option<ConnectingProgram>, ConnectionError> {
        match (self.port, self.state) {
            (None, None) => Ok(None),
            (Some(port), Some(state)) => ConnectingProgram::new(port, state).map(Some),
            (None, Some(_)) => Err(ConnectionError::Parameter("port")),
            (Some(_), None) => Err(ConnectionError::Parameter("state")),
        }
    }
}

#[derive(Serialize, utoipa::ToSchema)]
pub(super) struct ConnectionStarted {
    /// The page to open, as the one who began.
    url: String,
    expires_in: u64,
    decision_id: DecisionId,
}

/// Begins to connect an account of the caller's own.
pub(super) async fn begin(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(server): Path<ServerName>,
    request: Request,
) -> Result<(StatusCode, Json<ConnectionStarted>), Problem> {
    let has_body = request.headers().contains_key(header::CONTENT_TYPE);
    let body = if has_body {
        StrictJson::<ConnectBody>::from_request(request, &api).await?.0
    } else {
        ConnectBody::default()
    };
    // Who begins must not choose the weaker proof: a person who can log in here is proven by that.
    let program = body.program()?.filter(|_| !api.authenticator.can_log_in(caller.subject.principal()));
    let (started, decision_id) = api.effects.begin_connection(caller.asker(), server, program).await?;
    let url = started.link.expose().clone();
    Ok((StatusCode::CREATED, Json(ConnectionStarted { url, expires_in: started.expires_in, decision_id })))
}

/// The code that a program's browser brought to it.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ConfirmBody {
    code: String,
}

#[derive(Serialize, utoipa::ToSchema)]
pub(super) struct BrowserConfirmed {
    /// Where the program sends its browser next.
    url: String,
}

/// The caller's program proves the browser at its side.
pub(super) async fn confirm(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(server): Path<ServerName>,
    StrictJson(body): StrictJson<ConfirmBody>,
) -> Result<Json<BrowserConfirmed>, Problem> {
    let code = Secret::new(body.code);
    match api.effects.confirm_browser(caller.asker(), server, code.expose()).await {
        Ok(link) => Ok(Json(BrowserConfirmed { url: link.expose().clone() })),
        Err(error) => {
            noted(&api, &caller.context, &error).await;
            Err(error.into())
        }
    }
}

/// Whose connections.
#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct WhoseConnections {
    /// `true`: those of all principals.
    #[serde(default)]
    all: bool,
}

#[derive(Serialize, utoipa::ToSchema)]
pub(super) struct ConnectionView {
    server: String,
    principal: String,
    issuer: String,
    created: String,
    renewed: String,
}

impl ConnectionView {
    fn of(facts: ConnectionFacts) -> Self {
        Self {
            created: rfc3339(facts.created),
            renewed: rfc3339(facts.renewed),
            server: facts.server,
            principal: facts.holder,
            issuer: facts.issuer,
        }
    }
}

#[derive(Serialize, utoipa::ToSchema)]
pub(super) struct ConnectionList {
    connections: Vec<ConnectionView>,
}

/// The connections of the caller, or of all; never their tokens.
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Query(whose): Query<WhoseConnections>,
) -> Result<Json<ConnectionList>, Problem> {
    let listed = api.effects.list_connections(caller.asker(), !whose.all).await?;
    Ok(Json(ConnectionList { connections: listed.into_iter().map(ConnectionView::of).collect() }))
}

/// Whose connection.
#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct WhoseConnection {
    /// The principal as the log writes it; without it the caller.
    principal: Option<String>,
}

#[derive(Serialize, utoipa::ToSchema)]
pub(super) struct ConnectionEnded {
    /// Whether the tokens were revoked at the authorization server too.
    revoked: bool,
    decision_id: DecisionId,
}

/// Ends a connection and forgets its tokens.
pub(super) async fn end(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(server): Path<ServerName>,
    Query(whose): Query<WhoseConnection>,
) -> Result<Json<ConnectionEnded>, Problem> {
    let (ended, decision_id) = api.effects.end_connection(caller.asker(), server, whose.principal).await?;
    Ok(Json(ConnectionEnded { revoked: ended.revoked, decision_id }))
}

/// How long authorization servers may keep the description of the gateway, as `Cache-Control` says it.
const DOCUMENT_LIFE: &str = "public, max-age=3600";

/// Describes the gateway to authorization servers (OAuth Client ID Metadata Document).
pub(super) async fn client_document(
    State(api): State<Arc<Api>>,
    Path(server): Path<ServerName>,
) -> Result<([(HeaderName, &'static str); 1], Json<Value>), Problem> {
    let document = api.effects.tools().client_document(&server);
    let document = document.ok_or_else(|| Problem::not_found("there is nothing at this path"))?;
    Ok(([(header::CACHE_CONTROL, DOCUMENT_LIFE)], Json(document)))
}

// ---- in the browser ----

/// Counts and records a browser or a program that is refused: that it was another's is what an operator has to know.
async fn noted(api: &Api, context: &RequestContext, error: &EffectError) -> Option<Refused> {
    let EffectError::Connection(ConnectionError::Refused(why)) = error else { return None };
    let refused = api.authenticator.count(Refused::of_connection(why));
    caller::report(api, context, &refused).await;
    Some(refused)
}

/// The same, and what a browser is told: it has no other credential than what it came with.
async fn told(api: &Api, context: &RequestContext, error: EffectError) -> Problem {
    match noted(api, context, &error).await {
        Some(refused) => caller::refusal(api, &refused),
        None => error.into(),
    }
}

fn shown(headers: &HeaderMap, problem: Problem) -> Response {
    if wanted(headers) { of_problem_titled(problem, NOT_CONNECTED) } else { problem.into_response() }
}

fn cookie(api: &Api) -> Cookie {
    let is_https = api.settings.public_url.as_deref().is_some_and(|url| url.starts_with("https://"));
    Cookie::named(is_https, ("__Host-caxton-connect", "caxton-connect"), COOKIE_LIFE)
}

fn redirect(place: &Url) -> Response {
    let mut response = StatusCode::SEE_OTHER.into_response();
    if let Ok(place) = HeaderValue::from_str(place.as_str()) {
        response.headers_mut().insert(header::LOCATION, place);
    }
    response.headers_mut().insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct LinkQuery {
    flow: String,
    /// What the page that names server and principal has in its own link.
    go: Option<String>,
}

/// The page that the link leads to.
pub(super) async fn open(
    State(api): State<Arc<Api>>,
    Heard(context): Heard,
    headers: HeaderMap,
    path: Result<Path<ServerName>, Problem>,
    query: Result<Query<LinkQuery>, Problem>,
) -> Response {
    let opened = async {
        navigates(&headers)?;
        let (Path(server), Query(query)) = (path?, query?);
        let (flow, go) = (Secret::new(query.flow), query.go.map(Secret::new));
        let cookie = cookie(&api);
        let brought = cookie.find(&headers);
        let link = (&server, flow.expose().as_str());
        let go = go.as_ref().map(|go| go.expose().as_str());
        match api.effects.tools().open_link(link, (brought, go)) {
            Ok(LinkOpened::Proven) => consent(&api, &context, link, brought).await,
            Ok(LinkOpened::Asked(browser)) => ask(&api, (&server, &flow), &browser),
            Ok(LinkOpened::Login { cookie: fresh, principal }) => {
                let mut response = log_in(&api, &context, (server, flow), &principal)?;
                cookie.set(&mut response, fresh.expose());
                Ok(response)
            }
            Ok(LinkOpened::Program { cookie: fresh, principal, address, number }) => {
                let mut response = hand_over(&server, &principal, address.expose(), &number);
                cookie.set(&mut response, fresh.expose());
                Ok(response)
            }
            Err(error) => Err(told(&api, &context, error.into()).await),
        }
    };
    opened.await.unwrap_or_else(|problem: Problem| shown(&headers, problem))
}

/// Sends a proven browser to the authorization server.
async fn consent(
    api: &Api,
    context: &RequestContext,
    link: (&ServerName, &str),
    cookie: Option<&str>,
) -> Result<Response, Problem> {
    match api.effects.tools().consent_address(link, cookie).await {
        Ok(place) => Ok(redirect(&place)),
        Err(error) => Err(told(api, context, error.into()).await),
    }
}

/// Sends a browser to the login of people, where the principal that began is one of them.
fn log_in(
    api: &Api,
    context: &RequestContext,
    (server, flow): (ServerName, Secret<String>),
    principal: &EntityUid,
) -> Result<Response, Problem> {
    let logins = api.authenticator.logins().filter(|_| api.authenticator.can_log_in(principal));
    let Some(logins) = logins else {
        let detail = format!(
            "this account is for a principal that cannot log in at this gateway: connect it with `caxton tools connect {server}`"
        );
        return Err(Problem::conflict(detail));
    };
    let purpose = Purpose::Account { server, flow: Arc::new(flow) };
    let begun = logins.begin(purpose, context.source.ip)?;
    let mut response = redirect(&begun.url);
    Cookie::of(logins).set(&mut response, begun.cookie.expose());
    Ok(response)
}

/// A person has logged in to connect an account.
pub(super) async fn after_login(
    api: &Api,
    context: &RequestContext,
    headers: &HeaderMap,
    (server, flow): (&ServerName, &Secret<String>),
    person: &Subject,
) -> Response {
    let cookie = cookie(api);
    let brought = cookie.find(headers);
    let link = (server, flow.expose().as_str());
    let asked = match api.effects.tools().prove_browser(link, brought, person) {
        Ok(browser) => ask(api, (server, flow), &browser),
        Err(error) => Err(told(api, context, error.into()).await),
    };
    asked.unwrap_or_else(|problem| shown(headers, problem))
}

/// Says what is about to be connected and for whom, and leads on only by its own link. The attack: an attacker has a person's
/// browser logged in as the attacker, and sends the person a link. Provider and authorization server may both answer without a
/// word, so that without this page the person's account would be connected to the attacker's principal unseen.
fn ask(
    api: &Api,
    link: (&ServerName, &Secret<String>),
    browser: &LoggedInBrowser,
) -> Result<Response, Problem> {
    let next = api.effects.tools().link_of_page(link, browser)?;
    let body = format!(
        "{}<p>Go on only if this is you, and if you want to connect an account yourself.</p>\n<p><a class=\"go\" href=\"{}\" rel=\"noreferrer\">Connect</a></p>\n<p><small>Close this page to refuse.</small></p>\n",
        about(link.0, &browser.principal),
        escape_html(next.expose())
    );
    Ok(page(StatusCode::OK, "Connect an account?", &body))
}

/// Names server and principal. The type of the principal is part of its name: a service can be called like a person.
fn about(server: &ServerName, principal: &EntityUid) -> String {
    format!(
        "<p>An account of yours at <code>{}</code> is about to be connected to this gateway, for calls of</p>\n<p><code>{}</code></p>\n",
        escape_html(server.as_str()),
        escape_html(&one_line(&principal.to_string(), MAX_PRINCIPAL))
    )
}

/// The person presses the button, or the program gets nothing (RFC 8252, section 8.6).
fn hand_over(server: &ServerName, principal: &EntityUid, place: &str, number: &str) -> Response {
    let body = format!(
        "{}<p>Go on only if you have just started <code>caxton tools connect</code> on this computer yourself. It asks for this number:</p>\n<p><code>{number}</code></p>\n<p><a class=\"go\" href=\"{}\" rel=\"noreferrer\">Continue</a></p>\n<p><small>Close this page to refuse.</small></p>\n",
        about(server, principal),
        escape_html(place)
    );
    page(StatusCode::OK, "Connect an account?", &body)
}

#[derive(Serialize, utoipa::ToSchema)]
pub(super) struct AccountConnected {
    server: String,
    decision_id: DecisionId,
}

/// Takes a browser back from the authorization server.
pub(super) async fn callback(
    State(api): State<Arc<Api>>,
    Heard(context): Heard,
    headers: HeaderMap,
    path: Result<Path<ServerName>, Problem>,
    answer: Result<Query<Returning>, Problem>,
) -> Response {
    let cookie = cookie(&api);
    let mut is_over = false;
    let finished = async {
        navigates(&headers)?;
        let (Path(server), Query(answer)) = (path?, answer?);
        let Returning { state, code, iss, error } = answer;
        let returned = ReturnedBrowser { state, code, iss, error };
        let given = api.effects.tools().consent_given(&server, returned, cookie.find(&headers));
        is_over = given.as_ref().map_or_else(ConnectionError::ends_own_connection, |_| true);
        let finished = match given {
            Ok(consent) => api.effects.finish_connection(consent, server.clone(), &context).await,
            Err(error) => Err(error.into()),
        };
        match finished {
            Ok(decision_id) => Ok(AccountConnected { server: server.to_string(), decision_id }),
            Err(error) => Err(told(&api, &context, error).await),
        }
    };
    let mut response = match finished.await {
        Ok(connected) if wanted(&headers) => welcome(&connected.server),
        Ok(connected) => Json(connected).into_response(),
        Err(problem) => shown(&headers, problem),
    };
    // Any page can send this browser here. What did not come back from its own connection leaves that one as it is.
    if is_over {
        cookie.clear(&mut response);
    }
    response
}

fn welcome(server: &str) -> Response {
    let server = escape_html(server);
    let body = format!(
        "<p>Your account at <code>{server}</code> is connected. This page can be closed.</p>\n<p><small>End the connection with <code>caxton tools disconnect {server}</code>.</small></p>\n"
    );
    page(StatusCode::OK, "Account connected", &body)
}
