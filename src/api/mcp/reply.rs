//! How an answer goes back: as one JSON document, or, when something comes before it and the client takes events, as a stream
//! of them.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use futures::future::{BoxFuture, FutureExt as _};
use futures::stream::{self, StreamExt as _};
use serde_json::{Map, Value as Json, json};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::Arrived;
use super::methods::Given;
use super::sessions::Session;
use super::{params, result};
use crate::api::problem::Problem;
use crate::api::state::Api;
use crate::authz::Permit;
use crate::mcp::{HEADER_SESSION, Id, Message, RpcError, code, meta, object, one_field};
use crate::model::{AskClient, ListTools, ServerRequest};
use crate::tools::FromServer;

/// Messages of a server that wait for the client to take them; the server waits when there are more.
const WAITING: usize = 16;
/// How often a stream without messages looks whether it should end.
const TICK: Duration = Duration::from_secs(1);
/// A stream of the gateway's own ends after this time, so that its client comes back with a credential that still counts.
const LONGEST_STREAM: Duration = Duration::from_secs(5 * 60);
/// The most requests of servers that are decided during one request of a client. A server that asks more is told that the
/// client offers no such method.
const MOST_QUESTIONS: usize = 64;

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
        code::HEADER_MISMATCH | code::MISSING_CAPABILITY | code::UNSUPPORTED_VERSION => {
            StatusCode::BAD_REQUEST
        }
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
    /// Questions of servers so far.
    asked: usize,
    /// Whether the client takes log messages.
    takes_log: bool,
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
    if method == "subscriptions/listen" && arrived.era.is_stateless() {
        return subscription(arrived, id, params).await;
    }
    // A client of 2026-07-28 says with each request whether it wants them.
    let own = params.get("_meta");
    let takes_log = !arrived.era.is_stateless() || own.is_some_and(|own| own.get(meta::LOG_LEVEL).is_some());
    let arrived = Arc::new(arrived);
    let (events, said) = mpsc::channel(WAITING);
    // Who takes no events is sent none, so nobody is asked for any.
    let events = arrived.accept.events.then_some(events);
    let work = carry_out(Arc::clone(&arrived), id.clone(), method, params, events).boxed();
    let mut exchange = Exchange { id, arrived, work, said, asked: 0, takes_log };
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
                outcome = &mut self.work => return self.last(outcome).await,
            };
            if let Some(message) = self.pass_on(said).await {
                return Next::Said(message);
            }
        }
    }

    async fn last(&mut self, outcome: Result<Given, RpcError>) -> Next {
        // INVARIANT: the sender has gone with the work, so what is still there was said before the answer.
        while let Ok(said) = self.said.try_recv() {
            if let Some(message) = self.pass_on(said).await {
                self.work = std::future::ready(outcome).boxed();
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

    /// From here on the request comes to its end within its deadline, whether the client reads or not: one that does not would
    /// keep its place at the server from others. It still ends with the client.
    fn run_by_itself(&mut self) {
        let work = std::mem::replace(&mut self.work, std::future::pending().boxed());
        let task = AbortOnDropHandle::new(tokio::spawn(work));
        let failed = |_| Err(RpcError::new(code::INTERNAL_ERROR, "the request failed"));
        self.work = async move { task.await.unwrap_or_else(failed) }.boxed();
    }

    fn document(&self, outcome: Result<Given, RpcError>) -> Response {
        let (status, session, message) = self.message(outcome);
        with_session(json(status, &message), session)
    }

    fn events(mut self, first: Next) -> Response {
        if matches!(first, Next::Said(_)) {
            self.run_by_itself();
        }
        let (status, session, first) = match first {
            Next::Said(message) => (StatusCode::OK, None, Ok(message)),
            Next::Done(outcome) => {
                let (status, session, message) = self.message(outcome);
                (status, session, Err(message))
            }
        };
        let stream = match first {
            Err(last) => stream::iter([event(&last)]).boxed(),
            Ok(message) => stream::unfold(Some((self, Some(message))), Self::next_event).boxed(),
        };
        let body = Sse::new(stream).keep_alive(KeepAlive::default());
        with_session((status, body).into_response(), session)
    }
}

impl Exchange {
    /// The next event of the stream, and what is left of it: a message that is ready, or whatever comes.
    async fn next_event(
        left: Option<(Self, Option<Message>)>,
    ) -> Option<(Sent, Option<(Self, Option<Message>)>)> {
        let (mut exchange, ready) = left?;
        let message = match ready {
            Some(message) => message,
            None => match exchange.next().await {
                Next::Said(message) => message,
                Next::Done(outcome) => return Some((event(&exchange.message(outcome).2), None)),
            },
        };
        Some((event(&message), Some((exchange, None))))
    }
}

type Sent = Result<Event, Infallible>;

fn event(message: &Message) -> Sent {
    // JSON text has no line ends.
    Ok(Event::default().data(String::from_utf8(message.to_vec()).unwrap_or_default()))
}

fn with_session(mut response: Response, session: Option<Box<str>>) -> Response {
    let value = session.and_then(|id| HeaderValue::from_str(&id).ok());
    response.headers_mut().extend(value.map(|value| (HEADER_SESSION, value)));
    response
}

impl Exchange {
    /// What a server said, as the client receives it; none for what the client does not take.
    async fn pass_on(&mut self, said: FromServer) -> Option<Message> {
        let (server, method, params, reply) = match said {
            FromServer::Notification { method, .. }
                if method == "notifications/message" && !self.takes_log =>
            {
                return None;
            }
            FromServer::Notification { server, method, params } => {
                return Some(self.arrived.scope.notification(&server, method, params));
            }
            FromServer::Request { server, method, params, reply } => (server, method, params, reply),
        };
        // Where `reply` is dropped, the server is told that the client offers no such method.
        self.asked += 1;
        let request = ServerRequest::of_method(&method).filter(|_| self.asked <= MOST_QUESTIONS)?;
        let arrived = Arc::clone(&self.arrived);
        let session = arrived.session.as_ref().filter(|session| session.client.can(request.capability()))?;
        let operation = AskClient { server, request, params };
        let permit = match arrived.api.effects.ask_client(arrived.caller.asker(), operation).await {
            Ok(permit) => permit,
            Err(error) => {
                drop(reply.send(Err(result::refused(error))));
                return None;
            }
        };
        let (id, answer) = session.ask()?;
        tokio::spawn(async move {
            if let Some(answer) = answer.wait().await {
                // The request may have ended meanwhile.
                drop(reply.send(answer));
            }
        });
        let AskClient { server, params, .. } = permit.into_operation();
        Some(Message::Request { id, method, params: params::named(request, &server, params) })
    }
}

/// The stream on which the gateway speaks by itself to the client of a session: that the list of tools changed, and what servers
/// say to the client outside of its requests. A session has one.
pub(super) fn own_stream(api: Arc<Api>, session: &Arc<Session>) -> Result<Response, Problem> {
    let Some(aside) = session.take_aside() else {
        return Err(Problem::conflict("this session has a stream already"));
    };
    let changes = api.effects.tools().changes();
    let until = Instant::now() + LONGEST_STREAM;
    let stream = stream::unfold(
        (api, Arc::clone(session), changes, aside),
        move |(api, session, mut changes, mut aside)| async move {
            loop {
                let message = tokio::select! {
                    changed = changes.changed() => {
                        changed.ok()?;
                        Some(tools_changed(Map::new()))
                    }
                    Some(FromServer::Notification { server, method, params }) = aside.next() => {
                        Some(session.scope.notification(&server, method, params))
                    }
                    () = session.ended.notified() => return None,
                    () = tokio::time::sleep(TICK) => None,
                };
                if Instant::now() >= until || !api.readiness.is_ready() || !api.mcp.sessions.keep(&session) {
                    return None;
                }
                if let Some(message) = message {
                    return Some((event(&message), (api, session, changes, aside)));
                }
            }
        },
    );
    Ok(Sse::new(stream).keep_alive(KeepAlive::default()).into_response())
}

fn tools_changed(params: Map<String, Json>) -> Message {
    Message::Notification { method: "notifications/tools/list_changed".to_owned(), params }
}

/// `subscriptions/listen` (2026-07-28): a stream that begins with what is listened to and lasts as long as the client holds it.
/// Only changes of the list of tools are told.
async fn subscription(arrived: Arrived, id: Id, params: Map<String, Json>) -> Response {
    if !arrived.accept.events {
        return Problem::not_acceptable("send `Accept: text/event-stream`").into_response();
    }
    if let Err(refused) = arrived.caller.admit(&arrived.api, ListTools).await.map(Permit::into_operation) {
        return error(StatusCode::OK, Some(id), result::refused(refused.into()));
    }
    let wanted = params.get("notifications").and_then(|wanted| wanted.get("toolsListChanged"));
    let listens = wanted.and_then(Json::as_bool) == Some(true);
    let of_this = object(json!({ (meta::SUBSCRIPTION_ID): id }));
    let notifications = if listens { json!({ "toolsListChanged": true }) } else { json!({}) };
    let first = Message::Notification {
        method: "notifications/subscriptions/acknowledged".to_owned(),
        params: object(json!({ "_meta": of_this, "notifications": notifications })),
    };
    let changes = arrived.api.effects.tools().changes();
    let until = Instant::now() + LONGEST_STREAM;
    let stream = stream::unfold((arrived, Some(first), changes), move |(arrived, first, mut changes)| {
        let of_this = of_this.clone();
        async move {
            if let Some(first) = first {
                return Some((event(&first), (arrived, None, changes)));
            }
            loop {
                tokio::select! {
                    changed = changes.changed(), if listens => {
                        changed.ok()?;
                        return Some((event(&tools_changed(one_field("_meta", of_this))), (arrived, None, changes)));
                    }
                    () = tokio::time::sleep(TICK) => {}
                }
                if Instant::now() >= until || !arrived.api.readiness.is_ready() {
                    return None;
                }
            }
        }
    });
    Sse::new(stream).keep_alive(KeepAlive::default()).into_response()
}
