//! How an answer goes back: as one JSON document, or, when something comes before it and the client takes events, as a stream
//! of them.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use futures::future::{BoxFuture, FutureExt as _};
use futures::stream::{self, Stream};
use serde_json::{Map, Value as Json};
use tokio::sync::mpsc;

use super::Arrived;
use super::methods::Given;
use super::sessions::Session;
use crate::api::state::Api;
use crate::mcp::{HEADER_SESSION, Id, Message, RpcError, code};
use crate::tools::FromServer;

/// Messages of a server that wait for the client to take them; the server waits when there are more.
const WAITING: usize = 16;
/// How often a stream without messages looks whether it should end.
const TICK: Duration = Duration::from_secs(1);

/// A JSON-RPC error as the whole answer.
pub(super) fn error(status: StatusCode, id: Option<Id>, error: RpcError) -> Response {
    json(status, &Message::error(id, error))
}

fn json(status: StatusCode, message: &Message) -> Response {
    let kind = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
    (status, kind, message.to_vec()).into_response()
}

/// The status of an error: those of 2026-07-28 are the protocol's; before, an answered request is 200.
fn status_of(error: &RpcError, is_stateless: bool) -> StatusCode {
    match error.code {
        _ if !is_stateless => StatusCode::OK,
        code::METHOD_NOT_FOUND => StatusCode::NOT_FOUND,
        code::HEADER_MISMATCH | code::MISSING_CAPABILITY | code::UNSUPPORTED_VERSION => StatusCode::BAD_REQUEST,
        _ => StatusCode::OK,
    }
}

type Work = BoxFuture<'static, Result<Given, RpcError>>;

/// A request under way and what its server says meanwhile. Dropped when the client hangs up, and the request with it.
struct Exchange {
    id: Id,
    arrived: Arc<Arrived>,
    work: Work,
    said: mpsc::Receiver<FromServer>,
}

/// What comes next.
enum Next {
    Said(Message),
    Done(Result<Given, RpcError>),
}

/// Answers a request.
pub(super) async fn to_request(
    arrived: Arrived,
    id: Id,
    method: String,
    params: Map<String, Json>,
) -> Response {
    let arrived = Arc::new(arrived);
    let (events, said) = mpsc::channel(WAITING);
    // Who takes no events is sent none, so nobody is asked for any.
    let events = arrived.accept.events.then_some(events);
    let work = carry_out(Arc::clone(&arrived), id.clone(), method, params, events).boxed();
    let mut exchange = Exchange { id, arrived, work, said };
    match exchange.next().await {
        Next::Done(outcome) if exchange.arrived.accept.json => exchange.document(outcome),
        first => exchange.events(first),
    }
}

async fn carry_out(
    arrived: Arc<Arrived>,
    id: Id,
    method: String,
    params: Map<String, Json>,
    events: Option<mpsc::Sender<FromServer>>,
) -> Result<Given, RpcError> {
    let work = arrived.carry_out(&method, params, events);
    let Some(session) = &arrived.session else { return work.await };
    let under_way = session.begin(&id);
    tokio::select! {
        outcome = work => outcome,
        () = under_way.cancelled() => Err(RpcError::new(code::REFUSED, "the client cancelled the request")),
    }
}

impl Exchange {
    async fn next(&mut self) -> Next {
        loop {
            let said = tokio::select! {
                biased;
                Some(said) = self.said.recv() => said,
                outcome = &mut self.work => return self.last(outcome),
            };
            if let Some(message) = self.arrived.pass_on(said) {
                return Next::Said(message);
            }
        }
    }

    fn last(&mut self, outcome: Result<Given, RpcError>) -> Next {
        // INVARIANT: the sender has gone with the work, so what is still there was said before the answer.
        while let Ok(said) = self.said.try_recv() {
            if let Some(message) = self.arrived.pass_on(said) {
                let outcome = std::mem::replace(&mut self.work, std::future::ready(outcome).boxed());
                drop(outcome);
                return Next::Said(message);
            }
        }
        Next::Done(outcome)
    }

    fn message(&self, outcome: Result<Given, RpcError>) -> (StatusCode, Option<Box<str>>, Message) {
        match outcome {
            Ok(Given { result, session }) => {
                (StatusCode::OK, session, Message::result(self.id.clone(), result))
            }
            Err(error) => {
                let status = status_of(&error, self.arrived.era.is_stateless());
                (status, None, Message::error(Some(self.id.clone()), error))
            }
        }
    }

    fn document(&self, outcome: Result<Given, RpcError>) -> Response {
        let (status, session, message) = self.message(outcome);
        with_session(json(status, &message), session)
    }

    fn events(self, first: Next) -> Response {
        let (status, session, first) = match first {
            Next::Said(message) => (StatusCode::OK, None, Ok(message)),
            Next::Done(outcome) => {
                let (status, session, message) = self.message(outcome);
                (status, session, Err(message))
            }
        };
        let stream: std::pin::Pin<Box<dyn Stream<Item = Result<Event, Infallible>> + Send>> = match first {
            Err(last) => Box::pin(stream::iter([event(&last)])),
            Ok(message) => Box::pin(stream::unfold((self, Some(message)), |(mut exchange, ready)| async move {
                let Some(message) = ready else { return None };
                let sent = event(&message);
                if matches!(message, Message::Response { .. }) {
                    return Some((sent, (exchange, None)));
                }
                let following = match exchange.next().await {
                    Next::Said(message) => message,
                    Next::Done(outcome) => exchange.message(outcome).2,
                };
                Some((sent, (exchange, Some(following))))
            })),
        };
        let body = Sse::new(stream).keep_alive(KeepAlive::default());
        with_session((status, body).into_response(), session)
    }
}

fn event(message: &Message) -> Result<Event, Infallible> {
    // JSON text has no line ends.
    Ok(Event::default().data(String::from_utf8(message.to_vec()).unwrap_or_default()))
}

fn with_session(mut response: Response, session: Option<Box<str>>) -> Response {
    let value = session.and_then(|id| HeaderValue::from_str(&id).ok());
    response.headers_mut().extend(value.map(|value| (HEADER_SESSION, value)));
    response
}

impl Arrived {
    /// What a server said, as the client receives it; none for what the client does not take.
    fn pass_on(self: &Arc<Self>, said: FromServer) -> Option<Message> {
        match said {
            FromServer::Notification { method, params } => Some(Message::Notification { method, params }),
            // Without an answer the server is told that the client offers no such method.
            FromServer::Request { .. } => None,
        }
    }
}

/// What the gateway says by itself to the client of a session: that the list of tools changed.
pub(super) fn own_stream(api: Arc<Api>, session: &Arc<Session>) -> Response {
    let changes = api.effects.tools().changes();
    let stream = stream::unfold((api, Arc::clone(session), changes), |(api, session, mut changes)| async move {
        loop {
            tokio::select! {
                changed = changes.changed() => {
                    changed.ok()?;
                    let method = "notifications/tools/list_changed".to_owned();
                    let sent = event(&Message::Notification { method, params: Map::new() });
                    return Some((sent, (api, session, changes)));
                }
                () = session.ended.notified() => return None,
                () = tokio::time::sleep(TICK) => {}
            }
            if !api.readiness.is_ready() || !api.mcp_sessions.is_open(&session) {
                return None;
            }
        }
    });
    Sse::new(stream).keep_alive(KeepAlive::default()).into_response()
}
