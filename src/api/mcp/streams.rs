//! The streams on which the gateway speaks by itself: that of a session, and `subscriptions/listen` of 2026-07-28.
//!
//! Whoever opened one was proven once. So a stream looks every ten seconds whether the credential still counts, and ends after
//! five minutes in any case; clients open it again by themselves.

use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use futures::stream::{self, StreamExt as _};
use serde_json::{Map, Value as Json, json};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::names::Scope;
use super::reply::{self, Sent, event};
use super::result;
use super::sessions::{SaidAside, SentEvent, Session};
use super::{Arrived, McpState};
use crate::api::caller::Caller;
use crate::api::problem::Problem;
use crate::api::state::Api;
use crate::authn::Evidence;
use crate::authz::Permit;
use crate::mcp::{HEADER_LAST_EVENT, Id, Message, RpcError, Version, meta, object};
use crate::model::{EntityUid, HolderKeys, ListTools};
use crate::runtime::Listening;
use crate::tools::{ClientSession, FromServer};

/// How often a stream without messages looks whether it should end.
const TICK: Duration = Duration::from_secs(1);
/// How often it looks whether the credential still counts.
const CHECK: Duration = Duration::from_secs(10);
/// The longest time of a stream.
const LONGEST_STREAM: Duration = Duration::from_secs(5 * 60);

/// How long a stream goes on.
pub(in crate::api) struct Lifetime {
    api: Arc<Api>,
    principal: EntityUid,
    /// The credential, where it can be looked at again: a proof of possession counts once, and a certificate is of a connection.
    headers: Option<HeaderMap>,
    until: Instant,
    next_check: Instant,
}

impl Lifetime {
    pub(in crate::api) fn of(api: &Arc<Api>, caller: &Caller, headers: &HeaderMap) -> Self {
        let now = Instant::now();
        let kept = [header::AUTHORIZATION, header::HeaderName::from_static("x-api-key")];
        let kept = headers.iter().filter(|(name, _)| kept.contains(name));
        let headers = kept.map(|(name, value)| (name.clone(), value.clone())).collect();
        Self {
            api: Arc::clone(api),
            principal: caller.subject.principal().clone(),
            headers: (caller.holder == HolderKeys::default()).then_some(headers),
            until: now + LONGEST_STREAM,
            next_check: now + CHECK,
        }
    }

    /// Whether it does.
    pub(in crate::api) async fn goes_on(&mut self) -> bool {
        let now = Instant::now();
        if now >= self.until || !self.api.readiness.is_ready() {
            return false;
        }
        let Some(headers) = self.headers.as_ref().filter(|_| now >= self.next_check) else { return true };
        self.next_check = now + CHECK;
        let evidence = Evidence { headers, certificate: None, method: &Method::GET, address: None };
        let proven = self.api.authenticator.authenticate(&evidence).await;
        proven.is_ok_and(|proven| *proven.subject.principal() == self.principal)
    }
}

impl McpState {
    /// What clients may see has changed, and is in force.
    pub fn tools_changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }
}

/// The stream of a session: that the list of tools changed, and what servers say to the client outside of its requests. A session
/// has one. A client that lost the connection names the last event that it has (`Last-Event-ID`), and gets what came after it.
pub(super) fn of_session(
    api: &Arc<Api>,
    caller: &Caller,
    session: &Arc<Session>,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    let last = last_event(headers)?;
    let Some(aside) = session.take_aside() else {
        return Err(Problem::conflict("this session has a stream already"));
    };
    // After the stream before has ended: what it still sent is among it.
    let (missed, newest) = session.sent_after(last);
    let lifetime = Lifetime::of(api, caller, headers);
    let start = (lifetime, Arc::clone(session), missed, aside);
    let stream = stream::unfold(start, |(mut lifetime, session, mut missed, mut aside)| async move {
        loop {
            if !lifetime.goes_on().await || !lifetime.api.mcp.sessions.keep(&session) {
                return None;
            }
            if let Some(event) = missed.pop_front() {
                return Some((numbered(&event), (lifetime, session, missed, aside)));
            }
            let message = tokio::select! {
                said = aside.next() => match said? {
                    SaidAside::Changed => tools_changed(Map::new()),
                    SaidAside::Server(FromServer::Notification { server, method, params }) => {
                        session.scope.notification(&server, method, params)
                    }
                    SaidAside::Server(FromServer::Request { .. }) => continue,
                },
                () = session.ended.notified() => return None,
                () = tokio::time::sleep(TICK) => continue,
            };
            // What is no longer sent on this stream comes on the next.
            let event = session.note_sent(&message);
            missed.push_back(event);
        }
    });
    // By an event without a message a client has an id from the beginning (2025-11-25, "Resumability and Redelivery").
    let is_primed = session.client.resumes_streams();
    let primer = is_primed.then(|| Ok(Event::default().id(newest.to_string()).data("")));
    let stream = stream::iter(primer).chain(stream);
    Ok(Sse::new(stream).keep_alive(KeepAlive::default()).into_response())
}

/// The number of the last event that a client has.
fn last_event(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let Some(named) = headers.get(&HEADER_LAST_EVENT) else { return Ok(None) };
    let number = named.to_str().ok().and_then(|text| text.parse().ok());
    number.map(Some).ok_or_else(|| Problem::malformed("`Last-Event-ID` names no event of this session"))
}

fn numbered(event: &SentEvent) -> Sent {
    Ok(Event::default().data(&*event.text).id(event.number.to_string()))
}

fn tools_changed(params: Map<String, Json>) -> Message {
    Message::Notification { method: "notifications/tools/list_changed".to_owned(), params }
}

/// What a client of 2026-07-28 wants to hear of.
struct Wanted {
    tools: bool,
    listening: Listening,
}

/// The most resources of one subscription.
const MOST_RESOURCES: usize = 256;

impl Wanted {
    fn read(params: &Map<String, Json>, scope: &Scope) -> Result<Self, RpcError> {
        let Some(Json::Object(filter)) = params.get("notifications") else {
            return Err(RpcError::invalid_params("`notifications` must be an object"));
        };
        let is_wanted = |name: &str| filter.get(name).and_then(Json::as_bool) == Some(true);
        let mut listening = Listening {
            prompts: is_wanted("promptsListChanged"),
            resources: is_wanted("resourcesListChanged"),
            subscriptions: Vec::new(),
        };
        let uris = filter.get("resourceSubscriptions").and_then(Json::as_array);
        for uri in uris.into_iter().flatten().take(MOST_RESOURCES) {
            let uri = uri.as_str().ok_or_else(|| RpcError::invalid_params("a URI must be a string"))?;
            listening.subscriptions.push(scope.resource(uri, false)?);
        }
        Ok(Self { tools: is_wanted("toolsListChanged"), listening })
    }
}

/// `subscriptions/listen` (2026-07-28): a stream that begins with what is listened to and lasts as long as the client holds it.
pub(super) async fn subscription(arrived: Arrived, id: Id, params: &Map<String, Json>) -> Response {
    if !arrived.accept.events {
        return Problem::not_acceptable("send `Accept: text/event-stream`").into_response();
    }
    let Wanted { tools, listening } = match Wanted::read(params, &arrived.scope) {
        Ok(wanted) => wanted,
        Err(refused) => return reply::error(StatusCode::OK, Some(id), refused),
    };
    if tools
        && let Err(refused) = arrived.caller.admit(&arrived.api, ListTools).await.map(Permit::into_operation)
    {
        return reply::error(StatusCode::OK, Some(id), result::refused(refused.into()));
    }
    let (sender, said) = mpsc::channel(MOST_WAITING);
    let session = Arc::new(ClientSession::new(Version::NEWEST_WITH_SESSIONS, Map::new(), sender));
    let (effects, scope) = (&arrived.api.effects, arrived.scope.clone());
    let changes = arrived.api.mcp.changes.subscribe();
    let taken = effects.listen(arrived.caller.asker(), scope.only(), listening, &session).await;
    let of_this = object(json!({ (meta::SUBSCRIPTION_ID): id }));
    let first = acknowledged(tools, &taken, &scope, &of_this);
    let lifetime = Lifetime::of(&arrived.api, &arrived.caller, &arrived.headers);
    let start = Subscription { lifetime, scope, tools, of_this, changes, said, _session: session };
    let stream = stream::unfold((start, Some(first)), |(mut subscription, first)| async move {
        let message = match first {
            Some(first) => first,
            None => subscription.next().await?,
        };
        Some((event(&message), (subscription, None)))
    });
    Sse::new(stream).keep_alive(KeepAlive::default()).into_response()
}

/// Messages of servers that wait for the client; further ones are dropped.
const MOST_WAITING: usize = 64;

fn acknowledged(tools: bool, taken: &Listening, scope: &Scope, of_this: &Map<String, Json>) -> Message {
    let mut notifications = Map::new();
    for (name, is_taken) in [
        ("toolsListChanged", tools),
        ("promptsListChanged", taken.prompts),
        ("resourcesListChanged", taken.resources),
    ] {
        if is_taken {
            notifications.insert(name.to_owned(), true.into());
        }
    }
    if !taken.subscriptions.is_empty() {
        let shown = taken.subscriptions.iter().map(|resource| scope.uri(&resource.server, &resource.uri));
        notifications.insert("resourceSubscriptions".to_owned(), shown.collect());
    }
    Message::Notification {
        method: "notifications/subscriptions/acknowledged".to_owned(),
        params: object(json!({ "_meta": of_this, "notifications": notifications })),
    }
}

/// A subscription under way. With it end the subscriptions at servers.
struct Subscription {
    lifetime: Lifetime,
    scope: Scope,
    tools: bool,
    /// `_meta` of every message of this subscription.
    of_this: Map<String, Json>,
    changes: watch::Receiver<u64>,
    said: mpsc::Receiver<FromServer>,
    _session: Arc<ClientSession>,
}

impl Subscription {
    /// The next message; none when the stream ends.
    async fn next(&mut self) -> Option<Message> {
        loop {
            let message = tokio::select! {
                changed = self.changes.changed(), if self.tools => {
                    changed.ok()?;
                    Some(tools_changed(Map::new()))
                }
                Some(FromServer::Notification { server, method, params }) = self.said.recv() => {
                    Some(self.scope.notification(&server, method, params))
                }
                () = tokio::time::sleep(TICK) => None,
            };
            if !self.lifetime.goes_on().await {
                return None;
            }
            if let Some(Message::Notification { method, mut params }) = message {
                let own = params.entry("_meta").or_insert_with(|| json!({}));
                if let Some(own) = own.as_object_mut() {
                    own.extend(self.of_this.clone());
                }
                return Some(Message::Notification { method, params });
            }
        }
    }
}
