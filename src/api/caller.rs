//! Proves who calls, before anything else of the request is looked at.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{FromRequestParts, MatchedPath, Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header, request::Parts};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use parking_lot::Mutex;
use serde::Deserialize;

use super::arrival::{Arrival, Unreadable, arrival};
use super::attributes;
use super::body::read_as;
use super::connection::Connection;
use super::ext_authz;
use super::problem::Problem;
use super::quota;
use super::room::{self, Room};
use super::state::{Api, PacedParty, Settings};
use super::target;
use crate::audit::{Record, SourceRecord};
use crate::authn::mtls::ClientCertificate;
use crate::authn::{Evidence, Proven, Refused, RefusedKind, Renewal};
use crate::authz::{Denied, Permit};
use crate::blocking::Stopped;
use crate::events::SecurityEvent;
use crate::heavy;
use crate::limit::network;
use crate::model::{
    EntityUid, HolderKeys, Meter, Operation, RequestContext, RequestId, RequestSource, Subject,
};
use crate::secret::Secret;
use crate::telemetry::{AuthLabels, Stage, TraceIds, Traces};
use crate::text::one_line;

/// The proven caller and the circumstances of the request.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    pub(super) subject: Arc<Subject>,
    pub(super) context: Arc<RequestContext>,
    /// The keys that it has proven to hold with this request.
    pub(super) holder: HolderKeys,
}

impl Caller {
    /// The pair that the gate asks for.
    pub(super) fn asker(&self) -> (&Arc<Subject>, &Arc<RequestContext>) {
        (&self.subject, &self.context)
    }
}

impl Caller {
    /// Asks the guard for an operation of this caller.
    pub(super) async fn admit<O: Operation>(&self, api: &Api, operation: O) -> Result<Permit<O>, Denied> {
        api.effects.guard().admit(&self.subject, operation, &self.context).await
    }
}

/// A permit for an operation that has no arguments. Where a handler has one, the guard was asked, and allowed it.
pub(super) struct Admitted<O: Operation>(pub(super) Permit<O>);

impl<O: Operation + Default> FromRequestParts<Arc<Api>> for Admitted<O> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, Problem> {
        let caller = Caller::from_request_parts(parts, api).await?;
        Ok(Self(caller.admit(api, O::default()).await?))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        // INVARIANT: `prove` has put the caller there on every route but the open ones.
        parts.extensions.get::<Caller>().cloned().ok_or_else(Problem::internal)
    }
}

/// The certificate of the client, or why what was said to be one is refused.
pub(super) type Shown = Result<Option<Arc<ClientCertificate>>, Refused>;

const REQUEST_ID: &str = "x-request-id";
/// The value that the next proof of possession must hold (RFC 9449, section 8).
const NONCE: HeaderName = HeaderName::from_static("dpop-nonce");
/// When a caller who has its share of connections may try another.
const LATER: Duration = Duration::from_secs(1);
/// The most of a `User-Agent` that is kept, in characters.
const LONGEST_AGENT: usize = 256;

/// Middleware of every guarded route.
pub(super) async fn prove(State(api): State<Arc<Api>>, mut request: Request, next: Next) -> Response {
    let Some((certificate, context)) = arrived(&api, &request) else {
        return Problem::internal().into_response();
    };
    let (headers, method) = (request.headers(), request.method());
    let called = called(&api, &request);
    let proven = async {
        let answer = match listen_to(&api, headers, certificate, &context).await? {
            Ok(certificate) => {
                let (certificate, address) = (certificate.as_deref(), called.as_deref());
                let _span = context.span.stage(Stage::Authenticate);
                api.authenticator.authenticate(&Evidence { headers, certificate, method, address }).await
            }
            Err(forged) => Err(api.authenticator.count(forged)),
        };
        admit_caller(&api, answer, &context).await
    };
    let mut principal = None;
    let response = match proven.await {
        Ok(Proven { subject, holder }) => {
            principal = Some(subject.principal().clone());
            let caller = Caller { subject: Arc::clone(&subject), context: Arc::clone(&context), holder };
            request.extensions_mut().insert(caller);
            within_limits(&api, (&subject, &context), request, next).await
        }
        Err(problem) => problem.into_response(),
    };
    paced(&api, response.status(), &context, principal).await;
    named(&api, response, &context)
}

/// The refresh token that was proven, to be taken once.
#[derive(Clone)]
pub(super) struct Refreshing(Arc<Mutex<Option<Renewal>>>);

impl Refreshing {
    pub(super) fn take(&self) -> Option<Renewal> {
        self.0.lock().take()
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Refreshing {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        // INVARIANT: `prove_refresh` has put it there on the one route that takes it.
        parts.extensions.get::<Self>().cloned().ok_or_else(Problem::internal)
    }
}

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RefreshBody {
    refresh_token: String,
}

/// Bytes of a body with a refresh token in it: its sender is not known yet.
const LONGEST_REFRESH: usize = 1024;

/// Middleware of the route whose credential is in the body: a refresh token, and nothing beside it.
pub(super) async fn prove_refresh(State(api): State<Arc<Api>>, request: Request, next: Next) -> Response {
    let Some((certificate, context)) = arrived(&api, &request) else {
        return Problem::internal().into_response();
    };
    let called = called(&api, &request);
    let (parts, body) = request.into_parts();
    let proven = async {
        let certificate = listen_to(&api, &parts.headers, certificate, &context).await?;
        let bounds = (LONGEST_REFRESH, api.settings.body_timeout);
        let RefreshBody { refresh_token } = read_as(&parts.headers, body, bounds).await?;
        let answer = match certificate {
            Ok(certificate) => {
                let (headers, method) = (&parts.headers, &parts.method);
                let (certificate, address) = (certificate.as_deref(), called.as_deref());
                let evidence = Evidence { headers, certificate, method, address };
                api.authenticator.recognise(&evidence, Secret::new(refresh_token)).await
            }
            Err(forged) => Err(api.authenticator.count(forged)),
        };
        admit_caller(&api, answer, &context).await
    };
    let mut principal = None;
    let response = match proven.await {
        Ok(renewal) => {
            principal = Some(renewal.subject.principal().clone());
            let mut request = Request::from_parts(parts, Body::empty());
            let (subject, holder) = (Arc::clone(&renewal.subject), renewal.bound);
            let caller = Caller { subject: Arc::clone(&subject), context: Arc::clone(&context), holder };
            request.extensions_mut().insert(caller);
            request.extensions_mut().insert(Refreshing(Arc::new(Mutex::new(Some(renewal)))));
            within_limits(&api, (&subject, &context), request, next).await
        }
        Err(problem) => problem.into_response(),
    };
    paced(&api, response.status(), &context, principal).await;
    named(&api, response, &context)
}

/// The address that was called; looked for only when there is a proof that has to be for it.
pub(super) fn called(api: &Api, request: &Request) -> Option<String> {
    let connection = request.extensions().get::<Connection>()?;
    request.headers().get("dpop")?;
    target::called(request, connection, &api.settings)
}

/// How a request came: the certificate, if the way it came can be read at all, and the circumstances. The listener has
/// put the connection there; without it, nothing is known and nothing is let in.
pub(super) fn arrived(
    api: &Api,
    request: &Request,
) -> Option<(Result<Shown, Unreadable>, Arc<RequestContext>)> {
    let connection = request.extensions().get::<Connection>()?;
    let arrived = arrival(connection, request.headers(), &api.settings.proxies);
    let context = Arc::new(circumstances(&api.traces, request, connection, arrived.as_ref().ok()));
    let asks_for_another = request.uri().path().starts_with(ext_authz::ROUTES);
    let certificate = arrived.map(|arrived| match arrived.certificate {
        // A proxy asks on behalf of its client: the certificate of its own connection is not the client's.
        Ok(Some(_)) if asks_for_another && !api.settings.proxies.include(connection.peer.ip()) => Ok(None),
        certificate => certificate,
    });
    Some((certificate, context))
}

/// Answers a proven caller within its limits and in time, and says what is left of them. Before any of its body is read,
/// its rate is asked, and there is room for it.
pub(super) async fn within_limits(
    api: &Api,
    (subject, context): (&Arc<Subject>, &RequestContext),
    mut request: Request,
    next: Next,
) -> Response {
    let place = request.extensions().get::<Connection>().and_then(|connection| connection.place.as_ref());
    if place.is_some_and(|place| place.proven(subject.principal()).is_err()) {
        return crowded();
    }
    let route = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str).to_owned();
    let met = match quota::within(api, subject, context, &route).await {
        Ok(met) => met,
        Err(answer) => return answer,
    };
    let mut answer = match make_room(api, (subject, context), &route, &mut request).await {
        Ok(room) => {
            let large = room.as_ref().is_some_and(|room| room.is_large());
            let work = next.run(request);
            let answer =
                async { if large { heavy::run(work).await.unwrap_or_else(stopped) } else { work.await } };
            let answer = tokio::time::timeout(api.settings.request_timeout, answer).await;
            drop(room);
            answer.unwrap_or_else(|_| Problem::timeout().into_response())
        }
        Err(problem) => problem.into_response(),
    };
    quota::finish(api, context, met, answer.headers_mut());
    answer
}

/// The answer on a connection that is kept for other callers of its address: it is closed.
fn crowded() -> Response {
    let detail = "your share of the connections of your address is used up: reuse a connection, or close one";
    let close = (header::CONNECTION, HeaderValue::from_static("close"));
    Problem::busy(detail, LATER).with_headers([close]).into_response()
}

/// The answer to a request whose work ended without one.
pub(super) fn stopped(_: Stopped) -> Response {
    Problem::internal().into_response()
}

/// Room for the body of the request, when it has one. It goes with the request too: a change comes to its end although its
/// caller has gone.
async fn make_room(
    api: &Api,
    (subject, context): (&Subject, &RequestContext),
    route: &str,
    request: &mut Request,
) -> Result<Option<Arc<Room>>, Problem> {
    let most = match route {
        attributes::IMPORT => api.settings.max_import_bytes,
        _ => api.settings.max_body_bytes,
    };
    let Some(length) = room::length(request, most) else { return Ok(None) };
    if let Some(limited) = api.effects.guard().above_rate(subject).await? {
        context.meter.note(0);
        quota::record(api, subject, context, "principal").await;
        return Err(Problem::limited("too many requests", limited.retry_after));
    }
    // INVARIANT: the listener has put it there.
    let connection = request.extensions().get::<Connection>().ok_or_else(Problem::internal)?.peer;
    let room = Arc::new(api.rooms.take(subject.principal(), connection, length)?);
    request.extensions_mut().insert(Arc::clone(&room));
    Ok(Some(room))
}

/// What a caller calls its request, if it says so.
pub(super) fn own_id(headers: &HeaderMap) -> Option<HeaderValue> {
    headers.get(REQUEST_ID).cloned()
}

/// Gives an answer from before a caller was looked at (a path or a method that is not there) the request's id.
pub(super) fn name_anyway(own: Option<HeaderValue>, headers: &mut HeaderMap) {
    if headers.contains_key(REQUEST_ID) {
        return;
    }
    let id = request_id(own.as_ref().and_then(|own| own.to_str().ok()));
    headers.extend(HeaderValue::from_str(id.as_str()).map(|id| (HeaderName::from_static(REQUEST_ID), id)));
}

fn request_id(own: Option<&str>) -> RequestId {
    own.map_or_else(RequestId::generate, RequestId::from_caller)
}

/// Holds back the answer to a request that was refused before anything was decided, where there are too many of them.
pub(super) async fn paced(
    api: &Api,
    status: StatusCode,
    context: &RequestContext,
    principal: Option<EntityUid>,
) {
    let refused = matches!(
        status,
        StatusCode::BAD_REQUEST
            | StatusCode::UNAUTHORIZED
            | StatusCode::PAYLOAD_TOO_LARGE
            | StatusCode::UNSUPPORTED_MEDIA_TYPE
            | StatusCode::TOO_MANY_REQUESTS
            | StatusCode::SERVICE_UNAVAILABLE
    );
    if refused {
        let address = || PacedParty::Address(network(context.source.ip));
        let wait = api.pace.wait(principal.map_or_else(address, PacedParty::Principal), Instant::now());
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
    }
}

pub(super) fn named(api: &Api, mut response: Response, context: &RequestContext) -> Response {
    let headers = response.headers_mut();
    if let (false, Some(nonce)) = (headers.contains_key(NONCE), api.authenticator.next_nonce()) {
        headers.extend(HeaderValue::from_str(&nonce).map(|nonce| (NONCE, nonce)));
    }
    if let Ok(id) = HeaderValue::from_str(context.request_id.as_str()) {
        headers.insert(REQUEST_ID, id);
    }
    context.span.answered(response.status().as_u16());
    response
}

/// Whether the caller is listened to at all; then the certificate that it shows.
pub(super) async fn listen_to(
    api: &Api,
    headers: &HeaderMap,
    certificate: Result<Shown, Unreadable>,
    context: &RequestContext,
) -> Result<Shown, Problem> {
    if !origin_allowed(headers, &api.settings) {
        return Err(Problem::origin());
    }
    let Ok(certificate) = certificate else {
        report(api, context, &api.authenticator.count(Refused::unreadable_proxy())).await;
        return Err(Problem::malformed("the address of the caller cannot be read from the proxy's header"));
    };
    // First of all, so that a blocked address writes no records.
    if let Some(failures) = &api.failures
        && let Err(limited) = failures.check(context.source.ip).await?
    {
        let detail = "credentials from this address were refused too often";
        return Err(Problem::limited(detail, limited.retry_after));
    }
    if api.settings.require_tls && !context.source.is_private() {
        report(api, context, &api.authenticator.count(Refused::insecure_transport())).await;
        return Err(Problem::tls_required());
    }
    if api.settings.require_client_cert && matches!(certificate, Ok(None)) {
        let missing = api.authenticator.count(Refused::missing_certificate());
        report(api, context, &missing).await;
        return Err(Problem::unauthenticated(missing.client_text));
    }
    Ok(certificate)
}

/// Counts, records and answers a refusal.
pub(super) async fn admit_caller<T>(
    api: &Api,
    answer: Result<T, Refused>,
    context: &RequestContext,
) -> Result<T, Problem> {
    let address = context.source.ip;
    match answer {
        Ok(proven) => Ok(proven),
        Err(refused) => {
            // Who presents nothing guesses nothing, and what has expired was good once.
            if let (Some(failures), RefusedKind::Invalid) = (&api.failures, refused.kind)
                && let Some(time) = failures.failed(address).await?
            {
                SecurityEvent::AddressBlocked { address, time }.emit(&api.metrics);
            }
            report(api, context, &refused).await;
            Err(refusal(api, &refused))
        }
    }
}

/// The answer to a refused credential: of a 401, how a holder of a key may prove it as well (RFC 9449, sections 7.1 and 9).
pub(super) fn refusal(api: &Api, refused: &Refused) -> Problem {
    if refused.kind == RefusedKind::Unavailable {
        return Problem::of_refusal(refused);
    }
    let challenge = api.authenticator.challenge(refused);
    let problem = if challenge.of_proof {
        Problem::unauthenticated(refused.client_text)
    } else {
        Problem::of_refusal(refused)
    };
    let fields = [(header::WWW_AUTHENTICATE, Some(challenge.text)), (NONCE, challenge.nonce)];
    let fields =
        fields.into_iter().filter_map(|(name, text)| Some((name, HeaderValue::from_str(&text?).ok()?)));
    problem.with_headers(fields)
}

/// Tells the operator of a client certificate that a handshake refused: that request never came.
pub async fn refused_in_handshake(api: &Api, peer: SocketAddr, refused: &Refused) {
    let mut source = RequestSource::local();
    source.ip = peer.ip().to_canonical();
    source.tls = true;
    let context = RequestContext { source, ..RequestContext::internal() };
    let labels = AuthLabels { method: refused.method, reason: refused.reason };
    api.metrics.auth_failures.get_or_create(&labels).inc();
    let address = context.source.ip;
    // As with every other credential: what comes from a blocked address is counted, and fills no log.
    if let Some(failures) = api.failures.as_ref().filter(|_| !api.settings.proxies.include(address)) {
        // Nothing is let in here: what cannot be asked is reported as any other refusal.
        if matches!(failures.check(address).await, Ok(Err(_))) {
            return;
        }
        if refused.kind == RefusedKind::Invalid
            && let Err(why) = failures.failed(address).await
        {
            why.report();
        }
    }
    report(api, &context, refused).await;
}

/// Tells the operator of a refused credential; of a flood of them, in few words.
pub(super) async fn report(api: &Api, context: &RequestContext, refused: &Refused) {
    let (method, reason) = (refused.method, refused.reason);
    // Which claim, which key, which session: for the line only.
    let detail = refused.detail.as_ref().map(|detail| one_line(detail, 200));
    let event = |count| SecurityEvent::LoginFailure { method, reason, detail: detail.as_deref(), count };
    let Some(mut record) = Record::of_event(&event(1), api.clock.now_millis()) else { return };
    record.request_id = context.request_id.clone();
    record.source = SourceRecord::from(&context.source);
    record.route.clone_from(&context.route);
    record.key_id.clone_from(&refused.key_id);
    let address = network(context.source.ip);
    let counted = api.journal.count_refusal(Box::new(record), address, (method, reason));
    let Some(record) = counted else { return };
    if refused.kind != RefusedKind::Missing {
        event(record.count).emit(&api.metrics);
    }
    // A failed login has no effect to hold back, so a journal that cannot write does not change the answer.
    let _ = api.journal.append(record).await;
}

/// A request of a browser page comes with its origin (RFC 6454); only pages that were named may call. This stops a
/// page that had its own name resolve to this host (DNS rebinding). A page of this very host may call where the names of this
/// host are known: another name cannot be said to be one of them.
fn origin_allowed(headers: &HeaderMap, settings: &Settings) -> bool {
    let is_allowed = |origin: &str| {
        settings.allowed_origins.iter().any(|name| name == origin) || is_own_origin(origin, headers, settings)
    };
    headers.get_all(header::ORIGIN).iter().all(|origin| origin.to_str().is_ok_and(is_allowed))
}

fn is_own_origin(origin: &str, headers: &HeaderMap, settings: &Settings) -> bool {
    let Some(names) = &settings.allowed_hosts else { return false };
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let Some(host) = host.and_then(|host| host.parse::<Authority>().ok()) else { return false };
    let bare = host.host().trim_start_matches('[').trim_end_matches(']');
    let is_own = names.iter().any(|name| name.eq_ignore_ascii_case(bare));
    let of_origin = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    is_own && of_origin.is_some_and(|of_origin| of_origin.eq_ignore_ascii_case(host.as_str()))
}

/// What a request says of its circumstances, and what is known of them; of a client behind an unreadable proxy, nothing.
fn circumstances(
    traces: &Traces,
    request: &Request,
    connection: &Connection,
    arrived: Option<&Arrival>,
) -> RequestContext {
    let headers = request.headers();
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let mut source = RequestSource::local();
    source.ip = arrived.map_or(connection.peer.ip().to_canonical(), |arrived| arrived.ip);
    source.tls = arrived.is_some_and(|arrived| arrived.tls);
    source.mtls = arrived.is_some_and(|arrived| matches!(arrived.certificate, Ok(Some(_))));
    source.user_agent = text("user-agent").map(|agent| {
        let plain: String = agent.chars().filter(|c| !c.is_control()).take(LONGEST_AGENT).collect();
        plain.into()
    });
    let sent = text("traceparent").and_then(traceparent);
    let span = traces.request(sent.as_ref(), known_method(request.method()), template(request));
    RequestContext {
        request_id: request_id(text(REQUEST_ID)),
        source,
        session: None,
        actor: None,
        route: Some(route(request)),
        trace: span.ids().cloned().or(sent),
        span,
        meter: Meter::default(),
    }
}

/// Method and template, as the table of routes has them: what a caller put in the place of a name is not in it.
fn route(request: &Request) -> Arc<str> {
    let template = template(request);
    format!("{} {template}", request.method().as_str().get(..16).unwrap_or(request.method().as_str())).into()
}

fn template(request: &Request) -> &str {
    request.extensions().get::<MatchedPath>().map_or("(none)", MatchedPath::as_str)
}

/// A method of HTTP, or `_OTHER`: a caller can invent one.
fn known_method(method: &http::Method) -> &'static str {
    const KNOWN: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
    KNOWN.into_iter().find(|known| *known == method.as_str()).unwrap_or("_OTHER")
}

/// W3C Trace Context, version 00: `00-<32 hex>-<16 hex>-<2 hex>`.
pub(super) fn traceparent(text: &str) -> Option<TraceIds> {
    let mut parts = text.split('-');
    let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let hex = |text: &str, length: usize| {
        text.len() == length && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    let good = version == "00" && hex(trace, 32) && hex(span, 16) && hex(flags, 2) && parts.next().is_none();
    good.then(|| (trace.into(), span.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_is_taken_over_only_when_it_is_well_formed() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert_eq!(traceparent(good).unwrap().1.as_ref(), "00f067aa0ba902b7");
        for bad in
            ["", "00-x-y-01", "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", &format!("{good}-1")]
        {
            assert!(traceparent(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn only_named_origins_may_call() {
        let mut settings =
            Settings { allowed_origins: vec!["https://console.example".to_owned()], ..Settings::default() };
        let from = |settings: &Settings, origin: &'static str, host: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ORIGIN, HeaderValue::from_static(origin));
            headers.insert(header::HOST, HeaderValue::from_static(host));
            origin_allowed(&headers, settings)
        };
        let host = "127.0.0.1:8080";
        assert!(origin_allowed(&HeaderMap::new(), &settings));
        assert!(from(&settings, "https://console.example", host));
        for origin in
            ["https://console.example.evil", "null", "http://127.0.0.1:8081", "http://localhost:8080"]
        {
            assert!(!from(&settings, origin, host), "{origin}");
        }
        assert!(from(&settings, "http://127.0.0.1:8080", host), "a page of this host");
        assert!(!from(&settings, "http://evil.example", "evil.example"), "a name that resolves to this host");
        settings.allowed_hosts = None;
        assert!(!from(&settings, "http://127.0.0.1:8080", host), "which names are of this host is not known");
    }
}
