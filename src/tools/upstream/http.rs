//! Streamable HTTP towards a server, over one pooled client, with the gateway's own credentials.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use reqwest::{Client, RequestBuilder, Response};
use serde_json::{Map, Value as Json};

use crate::mcp::{
    Event, EventReader, HEADER_LAST_EVENT, HEADER_SESSION, HEADER_VERSION, Id, Message, ParamHeaders,
    RpcError, request_headers,
};
use crate::model::Subject;
use crate::secret::{Address, Secret};
use crate::text::one_line;
use crate::tools::auth::TokenSource;
use crate::tools::error::UpstreamError;

use super::UpstreamLimits;
use super::link::{Agreement, CallEvents, Failure, Link, hidden};

/// What an event holds beside the result itself: names, ids, framing.
const ENVELOPE_BYTES: usize = 64 * 1024;
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const BOTH: HeaderValue = HeaderValue::from_static("application/json, text/event-stream");
const EVENTS: HeaderValue = HeaderValue::from_static("text/event-stream");
/// The pause before a stream that the server closed is taken up again, when it names none.
const RESUME_PAUSE: Duration = Duration::from_millis(1_000);
/// The shortest pause, whatever the server asks for.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
/// How long a server has to take a message that has no answer.
const SEND_TIME: Duration = Duration::from_secs(10);
/// The longest pause that a server may ask for.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// A pooled client for one server.
#[derive(Debug)]
pub(super) struct HttpWire {
    http: Client,
    address: Address,
    /// Bytes of one answer, or of one event.
    limit: usize,
    /// The tokens that its requests carry.
    tokens: Option<TokenSource>,
}

/// The answer to a POST, looked at as far as its head goes.
enum Head {
    /// One JSON document.
    Json(Response),
    /// Events, one of them the answer.
    Events(Response),
    /// Nothing: the message was taken.
    Taken,
}

impl HttpWire {
    pub(super) fn new(
        address: &Address,
        headers: &[(String, Secret<String>)],
        connect_timeout: Duration,
        limits: &UpstreamLimits,
        tokens: Option<TokenSource>,
    ) -> Result<Self, UpstreamError> {
        let url = address.expose();
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(UpstreamError::Address);
        }
        let http = Client::builder()
            .default_headers(own_headers(headers)?)
            .connect_timeout(connect_timeout)
            // A redirect would carry the credentials to a host that is not configured.
            .redirect(reqwest::redirect::Policy::none())
            // A call is never sent twice: the server may have carried it out.
            .retry(reqwest::retry::never())
            // No proxy from the environment: where calls go is in the configuration only.
            .no_proxy()
            .tcp_nodelay(true)
            .user_agent(concat!("caxton/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| UpstreamError::Client(Box::new(error)))?;
        Ok(Self {
            http,
            address: address.clone(),
            limit: limits.response_bytes.saturating_add(ENVELOPE_BYTES),
            tokens,
        })
    }

    /// The same way with other credentials.
    pub(super) fn with_tokens(&self, tokens: Option<TokenSource>) -> Self {
        Self { http: self.http.clone(), address: self.address.clone(), limit: self.limit, tokens }
    }

    /// Waits until its tokens have been forgotten: those of an account that is not connected any more.
    pub(super) async fn forgotten(&self) {
        match &self.tokens {
            Some(tokens) => tokens.forgotten().await,
            None => std::future::pending().await,
        }
    }

    /// Whether its credentials may serve this caller.
    pub(super) fn is_for(&self, caller: &Subject) -> bool {
        self.tokens.as_ref().is_none_or(|tokens| tokens.is_for(caller))
    }

    /// Sends a request with a token. One that the server refuses is replaced, once: it looked at nothing else.
    async fn send_with_token(&self, request: RequestBuilder) -> Result<Response, Failure> {
        let Some(tokens) = &self.tokens else {
            return request.send().await.map_err(|error| self.broken(error));
        };
        let token = tokens.token().await.map_err(Failure::NoToken)?;
        let again = request.try_clone();
        let request = request.header(header::AUTHORIZATION, token.header());
        let response = request.send().await.map_err(|error| self.broken(error))?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return Ok(response);
        }
        let (true, Some(again)) = (tokens.refuse(&token), again) else { return Err(Failure::TokenRefused) };
        let token = tokens.token().await.map_err(Failure::NoToken)?;
        let again = again.header(header::AUTHORIZATION, token.header());
        let response = again.send().await.map_err(|error| self.broken(error))?;
        match response.status() {
            StatusCode::UNAUTHORIZED => Err(Failure::TokenRefused),
            _ => Ok(response),
        }
    }

    /// A request of the handshake: nothing is agreed yet. Gives the session that the server opened.
    pub(super) async fn first_request(
        &self,
        id: &Id,
        method: &str,
        params: Map<String, Json>,
        version: HeaderValue,
    ) -> Result<(Map<String, Json>, Option<HeaderValue>), Failure> {
        let mut headers = HeaderMap::new();
        headers.insert(HEADER_VERSION, version);
        headers.extend(request_headers(method, &params, None));
        let message = Message::Request { id: id.clone(), method: method.to_owned(), params };
        let response = self.post(&message, headers, false).await?;
        let session = response.headers().get(&HEADER_SESSION).cloned();
        let answer = match self.head(response, id).await? {
            Head::Json(response) => self.json_answer(response, id).await?,
            Head::Events(response) => match self.events(response, id, None, None).await? {
                StreamEnd::Answer(answer) => answer?,
                StreamEnd::Resumable { .. } | StreamEnd::Closed => return Err(no_answer()),
            },
            Head::Taken => return Err(no_answer()),
        };
        Ok((answer, session))
    }

    pub(super) async fn request(
        &self,
        link: &Arc<Link>,
        id: &Id,
        method: &str,
        params: Map<String, Json>,
        param_headers: Option<&ParamHeaders>,
        events: Option<CallEvents>,
    ) -> Result<Map<String, Json>, Failure> {
        let mut headers = agreed(&link.agreement);
        if link.agreement.version.is_stateless() {
            headers.extend(request_headers(method, &params, param_headers));
        }
        let message = Message::Request { id: id.clone(), method: method.to_owned(), params };
        let response = self.post(&message, headers, link.agreement.session.is_some()).await?;
        drop(message);
        let response = match self.head(response, id).await? {
            Head::Json(response) => return self.json_answer(response, id).await,
            Head::Events(response) => response,
            Head::Taken => return Err(no_answer()),
        };
        let mut end = self.events(response, id, Some(link), events.as_ref()).await?;
        loop {
            match end {
                StreamEnd::Answer(answer) => return answer,
                StreamEnd::Closed => return Err(no_answer()),
                // The server closed the stream before the answer and said where to go on (2025-11-25, "Polling").
                StreamEnd::Resumable { event, pause } => {
                    if link.agreement.version.is_stateless() {
                        return Err(no_answer());
                    }
                    tokio::time::sleep(pause).await;
                    let response = self.listen(&link.agreement, Some(&event)).await?;
                    let resumed = self.events(response, id, Some(link), events.as_ref()).await?;
                    end = match resumed {
                        StreamEnd::Closed => return Err(no_answer()),
                        other => other,
                    };
                }
            }
        }
    }

    /// Sends a message that has no answer.
    pub(super) async fn send(&self, agreement: &Agreement, message: &Message) -> Result<(), Failure> {
        let mut headers = agreed(agreement);
        if let Message::Notification { method, params } = message
            && agreement.version.is_stateless()
        {
            headers.extend(request_headers(method, params, None));
        }
        let posted =
            tokio::time::timeout(SEND_TIME, self.post(message, headers, agreement.session.is_some()));
        let response = posted.await.unwrap_or_else(|slow| Err(Failure::Interrupted(Box::new(slow))))?;
        match response.status() {
            status if status.is_success() => Ok(()),
            status => Err(Failure::Status(status.as_u16())),
        }
    }

    /// Opens the stream on which a server with sessions speaks by itself, or takes one up again.
    async fn listen(&self, agreement: &Agreement, last_event: Option<&str>) -> Result<Response, Failure> {
        let mut headers = agreed(agreement);
        headers.insert(header::ACCEPT, EVENTS);
        if let Some(event) = last_event {
            let value = HeaderValue::from_str(event)
                .map_err(|_| unusable("the id of an event is no header value"))?;
            headers.insert(HEADER_LAST_EVENT, value);
        }
        let request = self.http.get(self.address.expose().clone()).headers(headers);
        let response = self.send_with_token(request).await?;
        match response.status() {
            StatusCode::OK if is(response.headers(), &EVENTS) => Ok(response),
            StatusCode::NOT_FOUND if agreement.session.is_some() => Err(Failure::SessionLost),
            status => Err(Failure::Status(status.as_u16())),
        }
    }

    /// Reads what a server with sessions says by itself, until it ends the stream.
    pub(super) async fn read_own_stream(&self, link: &Arc<Link>) -> Result<(), Failure> {
        let response = self.listen(&link.agreement, None).await?;
        // No request has this id: the stream ends when the server ends it.
        self.events(response, &Id::Number(-1), Some(link), None).await.map(drop)
    }

    /// Ends our session at the server.
    pub(super) async fn end_session(&self, agreement: &Agreement) {
        if agreement.session.is_none() {
            return;
        }
        let request = self.http.delete(self.address.expose().clone()).headers(agreed(agreement));
        if !tokio::time::timeout(SEND_TIME, self.send_with_token(request))
            .await
            .is_ok_and(|answer| answer.is_ok())
        {
            tracing::debug!("the session at the server was not ended");
        }
    }

    async fn post(
        &self,
        message: &Message,
        mut headers: HeaderMap,
        in_session: bool,
    ) -> Result<Response, Failure> {
        headers.insert(header::CONTENT_TYPE, JSON);
        headers.insert(header::ACCEPT, BOTH);
        let request = self.http.post(self.address.expose().clone()).headers(headers).body(message.to_vec());
        let response = self.send_with_token(request).await?;
        if response.status() == StatusCode::NOT_FOUND && in_session {
            return Err(Failure::SessionLost);
        }
        Ok(response)
    }

    /// Tells by status and media type how the answer comes. A refusal in JSON-RPC is one, whatever its status.
    async fn head(&self, response: Response, id: &Id) -> Result<Head, Failure> {
        let status = response.status();
        if response.headers().get(header::CONTENT_ENCODING).is_some_and(|coding| coding != "identity") {
            return Err(unusable("it is encoded, which was not asked for"));
        }
        if status.is_success() {
            return match status {
                StatusCode::ACCEPTED | StatusCode::NO_CONTENT => Ok(Head::Taken),
                _ if is(response.headers(), &EVENTS) => Ok(Head::Events(response)),
                _ if is(response.headers(), &JSON) => Ok(Head::Json(response)),
                _ => Err(unusable("it is neither JSON nor an event stream")),
            };
        }
        if is(response.headers(), &JSON)
            && let Err(refused @ Failure::Refused(_)) = self.json_answer(response, id).await
        {
            return Err(refused);
        }
        Err(Failure::Status(status.as_u16()))
    }

    async fn json_answer(&self, response: Response, id: &Id) -> Result<Map<String, Json>, Failure> {
        let body = self.body(response).await?;
        match Message::read(&body) {
            Ok(Message::Response { id: of, outcome }) if of.as_ref() == Some(id) => {
                outcome.map_err(Failure::Refused)
            }
            // An error about a request whose id the server could not read: there was one request.
            Ok(Message::Response { id: None, outcome: Err(error) }) => Err(Failure::Refused(error)),
            Ok(Message::Response { .. }) => Err(unusable("it belongs to another request")),
            Ok(_) => Err(unusable("it is a request, not an answer")),
            Err(error) => Err(unusable(&error.to_string())),
        }
    }

    async fn body(&self, mut response: Response) -> Result<Vec<u8>, Failure> {
        if response.content_length().is_some_and(|length| length > self.limit as u64) {
            return Err(Failure::TooLarge(self.limit));
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.interrupted(error))? {
            if body.len().saturating_add(chunk.len()) > self.limit {
                return Err(Failure::TooLarge(self.limit));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    /// Reads events until the answer to `id`.
    async fn events(
        &self,
        mut response: Response,
        id: &Id,
        link: Option<&Arc<Link>>,
        call: Option<&CallEvents>,
    ) -> Result<StreamEnd, Failure> {
        let mut reader = EventReader::new(self.limit);
        let mut events = Vec::new();
        let mut last_event = None;
        let mut pause = RESUME_PAUSE;
        loop {
            let chunk = match response.chunk().await {
                Ok(Some(chunk)) => chunk,
                Ok(None) => break,
                Err(_) if last_event.is_some() => break,
                Err(error) => return Err(self.interrupted(error)),
            };
            reader.take_in(&chunk, &mut events).map_err(|error| Failure::TooLarge(error.0))?;
            for Event { id: event, data, retry } in events.drain(..) {
                last_event = event.or(last_event);
                pause = retry.map_or(pause, |millis| {
                    Duration::from_millis(millis).clamp(SHORTEST_PAUSE, LONGEST_PAUSE)
                });
                if data.trim_ascii().is_empty() {
                    continue;
                }
                match Message::read(&data) {
                    Ok(Message::Response { id: Some(of), outcome }) if of == *id => {
                        return Ok(StreamEnd::Answer(outcome.map_err(Failure::Refused)));
                    }
                    Ok(message) => {
                        if let Some(link) = link {
                            link.take(message, call).await;
                        }
                    }
                    Err(error) if error.id.as_ref() == Some(id) => return Err(unusable(&error.to_string())),
                    Err(error) => {
                        tracing::debug!(%error, "an event of the server cannot be read and was left out")
                    }
                }
            }
        }
        Ok(match last_event {
            Some(event) => StreamEnd::Resumable { event, pause },
            None => StreamEnd::Closed,
        })
    }

    /// The request was not answered. Whether it was sent is known only when there was no connection.
    fn broken(&self, error: reqwest::Error) -> Failure {
        if error.is_connect() {
            return Failure::Unreachable(hidden(&self.address, &error.without_url()));
        }
        self.interrupted(error)
    }

    fn interrupted(&self, error: reqwest::Error) -> Failure {
        Failure::Interrupted(hidden(&self.address, &error.without_url()))
    }
}

/// How a stream of events ended.
enum StreamEnd {
    Answer(Result<Map<String, Json>, Failure>),
    /// Without the answer; the stream can be taken up after this event.
    Resumable {
        event: String,
        pause: Duration,
    },
    /// Without the answer.
    Closed,
}

fn no_answer() -> Failure {
    unusable("it ended without a result")
}

fn unusable(why: &str) -> Failure {
    Failure::Unusable(one_line(why, 300))
}

/// The header fields of every request after the handshake.
fn agreed(agreement: &Agreement) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(8);
    headers.insert(HEADER_VERSION, HeaderValue::from_static(agreement.version.as_str()));
    if let Some(session) = &agreement.session {
        headers.insert(HEADER_SESSION, session.clone());
    }
    headers
}

/// Whether the media type is this one, whatever its parameters.
fn is(headers: &HeaderMap, wanted: &HeaderValue) -> bool {
    let text = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    text.split(';').next().unwrap_or_default().trim().as_bytes().eq_ignore_ascii_case(wanted.as_bytes())
}

fn own_headers(headers: &[(String, Secret<String>)]) -> Result<HeaderMap, UpstreamError> {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        let bad = || UpstreamError::Header(one_line(name, 80));
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| bad())?;
        let mut value = HeaderValue::from_str(value.expose()).map_err(|_| bad())?;
        value.set_sensitive(true);
        map.append(name, value);
    }
    Ok(map)
}

/// The refusal in an answer to `server/discover`, when it says that the server is of the time before it.
pub(super) fn is_old_server(failure: &Failure) -> Option<RpcError> {
    match failure {
        Failure::Refused(error) if super::link::is_of_another_era(error) => Some(error.clone()),
        // A server that wants a session for every request, or knows the method only as a path.
        Failure::Status(status) if matches!(status, 400 | 404..=499 | 500..=599) => {
            Some(RpcError::new(0, format!("HTTP status {status}")))
        }
        Failure::Unusable(why) => Some(RpcError::new(0, why.clone())),
        _ => None,
    }
}
