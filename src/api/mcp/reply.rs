//! How an answer goes back: as one JSON document, or, when something comes before it and the client takes events, as a stream
//! of them.

use std::convert::Infallible;
use std::sync::Arc;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use futures::future::{BoxFuture, FutureExt as _};
use futures::stream::{self, StreamExt as _};
use serde_json::{Map, Value as Json};
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::AbortOnDropHandle;

use super::Arrived;
use super::methods::Given;
use super::sessions::{Answer, ClientAnswer};
use super::{params, result, streams};
use crate::mcp::{HEADER_SESSION, Id, Message, RpcError, code, meta};
use crate::model::{AskClient, ServerRequest};
use crate::tools::FromServer;

/// Messages of a server that wait for the client to take them; the server waits when there are more.
const WAITING: usize = 16;
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
        return streams::subscription(arrived, id, &params).await;
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

pub(super) type Sent = Result<Event, Infallible>;

pub(super) fn event(message: &Message) -> Sent {
    // JSON text has no line ends.
    Ok(Event::default().data(String::from_utf8(message.to_vec()).unwrap_or_default()))
}

fn with_session(mut response: Response, session: Option<Box<str>>) -> Response {
    let value = session.and_then(|id| HeaderValue::from_str(&id).ok());
    response.headers_mut().extend(value.map(|value| (HEADER_SESSION, value)));
    response
}

/// Hands the client's answer to the server's request, unless that ends first: a question that nobody answers must not hold the
/// session.
async fn give_answer(answer: ClientAnswer, mut reply: oneshot::Sender<Answer>) {
    let answer = tokio::select! {
        answer = answer.wait() => answer,
        () = reply.closed() => None,
    };
    if let Some(answer) = answer {
        // The request may have ended meanwhile.
        drop(reply.send(answer));
    }
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
        tokio::spawn(give_answer(answer, reply));
        let AskClient { server, params, .. } = permit.into_operation();
        Some(Message::Request { id, method, params: params::named(request, &server, params) })
    }
}
