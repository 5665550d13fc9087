//! The HTTP half of the protocol library's client, with every message read by our own reader. The library does not learn the
//! address, which may hold a key, and so cannot write it into a log line or an error.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use futures::stream::BoxStream;
use futures::{Stream, StreamExt as _};
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Response, StatusCode};
use rmcp::model::{ClientJsonRpcMessage, ClientRequest, ErrorData, ServerJsonRpcMessage};
use rmcp::transport::common::http_header::HEADER_SESSION_ID;
use rmcp::transport::streamable_http_client::{
    SseError, StreamableHttpClient, StreamableHttpError, StreamableHttpPostResponse,
    StreamableHttpResponseLimits,
};
use sse_stream::{Sse, SseStream};

use super::message;
use crate::secret::Address;

type Failure = StreamableHttpError<reqwest::Error>;
type Headers = HashMap<HeaderName, HeaderValue>;
type Events = BoxStream<'static, Result<Sse, SseError>>;

const JSON: &str = "application/json";
const EVENTS: &str = "text/event-stream";

/// A pooled client for one server.
#[derive(Clone)]
pub(super) struct StrictClient {
    http: Client,
    address: Arc<str>,
    /// Bytes of one answer, or of one event.
    limit: usize,
}

impl StrictClient {
    pub(super) fn new(http: Client, address: &Address, limit: usize) -> Self {
        Self { http, address: address.expose().as_str().into(), limit }
    }
}

/// The failure without the address that the HTTP client puts into its errors.
fn without_address(failure: Failure) -> Failure {
    match failure {
        Failure::Client(error) => client(error),
        other => other,
    }
}

impl StreamableHttpClient for StrictClient {
    type Error = reqwest::Error;

    async fn post_message(
        &self,
        _: Arc<str>,
        message: ClientJsonRpcMessage,
        session: Option<Arc<str>>,
        _: Option<String>,
        headers: Headers,
    ) -> Result<StreamableHttpPostResponse, Failure> {
        let in_session = session.is_some();
        let mut request = self.http.post(self.address.as_ref()).header(ACCEPT, format!("{EVENTS}, {JSON}"));
        if let Some(session) = session {
            request = request.header(HEADER_SESSION_ID, session.as_ref());
        }
        let request = request.headers(headers.into_iter().collect()).header(CONTENT_TYPE, JSON);
        let body = serde_json::to_vec(&message)?;
        let response = request.body(body).send().await.map_err(client)?;
        self.answer(response, &message, in_session).await
    }

    async fn post_message_with_response_limits(
        &self,
        uri: Arc<str>,
        message: ClientJsonRpcMessage,
        session: Option<Arc<str>>,
        auth: Option<String>,
        headers: Headers,
        _: StreamableHttpResponseLimits,
    ) -> Result<StreamableHttpPostResponse, Failure> {
        self.post_message(uri, message, session, auth, headers).await
    }

    async fn delete_session(
        &self,
        _: Arc<str>,
        session: Arc<str>,
        auth: Option<String>,
        headers: Headers,
    ) -> Result<(), Failure> {
        let address = Arc::clone(&self.address);
        self.http.delete_session(address, session, auth, headers).await.map_err(without_address)
    }

    async fn get_stream(
        &self,
        _: Arc<str>,
        session: Option<Arc<str>>,
        last_event: Option<String>,
        auth: Option<String>,
        headers: Headers,
    ) -> Result<Events, Failure> {
        let http = &self.http;
        let address = Arc::clone(&self.address);
        let events = http
            .get_stream_with_max_sse_event_size(address, session, last_event, auth, headers, self.limit)
            .await;
        Ok(strict(events.map_err(without_address)?))
    }

    async fn get_stream_with_max_sse_event_size(
        &self,
        uri: Arc<str>,
        session: Option<Arc<str>>,
        last_event: Option<String>,
        auth: Option<String>,
        headers: Headers,
        _: usize,
    ) -> Result<Events, Failure> {
        self.get_stream(uri, session, last_event, auth, headers).await
    }
}

impl StrictClient {
    async fn answer(
        &self,
        response: Response,
        sent: &ClientJsonRpcMessage,
        in_session: bool,
    ) -> Result<StreamableHttpPostResponse, Failure> {
        let status = response.status();
        if matches!(status, StatusCode::ACCEPTED | StatusCode::NO_CONTENT) {
            return Ok(StreamableHttpPostResponse::Accepted);
        }
        if status == StatusCode::NOT_FOUND && in_session {
            return Err(Failure::SessionExpired);
        }
        let session = response.headers().get(HEADER_SESSION_ID);
        let session = session.and_then(|value| value.to_str().ok()).map(str::to_owned);
        let asked = matches!(sent, ClientJsonRpcMessage::Request(_));
        if status.is_success() && is(response.headers(), EVENTS) {
            let events = bounded(response.bytes_stream(), self.limit);
            return Ok(StreamableHttpPostResponse::Sse(
                strict(SseStream::from_bytes_stream(events)),
                session,
            ));
        }
        if is(response.headers(), JSON) {
            let body = self.body(response).await?;
            match message::read(&body) {
                Some(read) if status.is_success() || matches!(read, ServerJsonRpcMessage::Error(_)) => {
                    return Ok(StreamableHttpPostResponse::Json(read, session));
                }
                _ => {}
            }
        }
        match (status.is_success(), old_server(sent, status, in_session)) {
            (true, _) if !asked => Ok(StreamableHttpPostResponse::Accepted),
            (true, _) => Err(unexpected("an answer that is neither JSON-RPC nor an event stream")),
            (false, Some(answer)) => Ok(StreamableHttpPostResponse::Json(answer, None)),
            (false, None) => Err(unexpected(format!("HTTP status {status}"))),
        }
    }

    async fn body(&self, mut response: Response) -> Result<Vec<u8>, Failure> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(client)? {
            if body.len().saturating_add(chunk.len()) > self.limit {
                return Err(Failure::ResponseBodyTooLarge { max_size: self.limit });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }
}

fn client(error: reqwest::Error) -> Failure {
    Failure::Client(error.without_url())
}

fn unexpected(what: impl Into<Cow<'static, str>>) -> Failure {
    Failure::UnexpectedServerResponse(what.into())
}

/// Whether the media type is this one, whatever its parameters.
fn is(headers: &HeaderMap, wanted: &str) -> bool {
    let text = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    text.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(wanted)
}

/// A server of before 2026-07-28 refuses `server/discover` in its own way; the library then goes on with `initialize`.
fn old_server(
    sent: &ClientJsonRpcMessage,
    status: StatusCode,
    in_session: bool,
) -> Option<ServerJsonRpcMessage> {
    let ClientJsonRpcMessage::Request(request) = sent else { return None };
    let discovers = matches!(request.request, ClientRequest::DiscoverRequest(_));
    let closed = matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
    if !discovers || in_session || closed || !status.is_client_error() {
        return None;
    }
    let error = ErrorData::invalid_request(format!("server/discover: HTTP status {status}"), None);
    Some(ServerJsonRpcMessage::error(error, Some(request.id.clone())))
}

/// Each event with a message as [`message::read`] gives it; what belongs to no call is left out.
fn strict(events: impl Stream<Item = Result<Sse, SseError>> + Send + 'static) -> Events {
    let read = |event: Result<Sse, SseError>| {
        let event = match event {
            Ok(mut event) => match event.data.take().filter(|data| !data.trim().is_empty()) {
                None => Some(Ok(event)),
                Some(data) => message::read(data.as_bytes()).map(|message| {
                    event.data = serde_json::to_string(&message).ok();
                    Ok(event)
                }),
            },
            Err(error) => Some(Err(error)),
        };
        std::future::ready(event)
    };
    events.filter_map(read).boxed()
}

/// An event that is larger than it may be.
#[derive(Debug, thiserror::Error)]
#[error("an event is larger than {0} bytes")]
struct EventTooLarge(usize);

/// Ends the stream at the first event of more than `limit` bytes: a blank line ends one.
fn bounded(
    chunks: impl Stream<Item = reqwest::Result<bytes::Bytes>> + Send + 'static,
    limit: usize,
) -> BoxStream<'static, std::io::Result<bytes::Bytes>> {
    let mut event = 0_usize;
    let mut line_is_empty = true;
    chunks
        .map(move |chunk| {
            let chunk = chunk.map_err(|error| std::io::Error::other(error.without_url()))?;
            for byte in &chunk {
                match byte {
                    b'\r' => {}
                    b'\n' if line_is_empty => event = 0,
                    b'\n' => line_is_empty = true,
                    _ => line_is_empty = false,
                }
                event = event.saturating_add(1);
                if event > limit {
                    return Err(std::io::Error::other(EventTooLarge(limit)));
                }
            }
            Ok(chunk)
        })
        .boxed()
}
