//! The streams on which the gateway speaks by itself: that of a session, and `subscriptions/listen` of 2026-07-28.
//!
//! Whoever opened one was proven once. So a stream looks every ten seconds whether the credential still counts, and ends after
//! five minutes in any case; clients open it again by themselves.

use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::sse::{KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use futures::stream;
use serde_json::{Map, Value as Json, json};
use tokio::time::Instant;

use super::reply::{self, event};
use super::result;
use super::sessions::Session;
use super::{Arrived, McpState};
use crate::api::caller::Caller;
use crate::api::problem::Problem;
use crate::api::state::Api;
use crate::authn::Evidence;
use crate::authz::Permit;
use crate::mcp::{Id, Message, meta, object, one_field};
use crate::model::{EntityUid, HolderKeys, ListTools};
use crate::tools::FromServer;

/// How often a stream without messages looks whether it should end.
const TICK: Duration = Duration::from_secs(1);
/// How often it looks whether the credential still counts.
const CHECK: Duration = Duration::from_secs(10);
/// The longest time of a stream.
const LONGEST_STREAM: Duration = Duration::from_secs(5 * 60);

/// How long a stream goes on.
struct Lifetime {
    api: Arc<Api>,
    principal: EntityUid,
    /// The credential, where it can be looked at again: a proof of possession counts once, and a certificate is of a connection.
    headers: Option<HeaderMap>,
    until: Instant,
    next_check: Instant,
}

impl Lifetime {
    fn of(api: &Arc<Api>, caller: &Caller, headers: &HeaderMap) -> Self {
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

    async fn goes_on(&mut self) -> bool {
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
/// has one.
pub(super) fn of_session(
    api: &Arc<Api>,
    caller: &Caller,
    session: &Arc<Session>,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    let Some(aside) = session.take_aside() else {
        return Err(Problem::conflict("this session has a stream already"));
    };
    let changes = api.mcp.changes.subscribe();
    let lifetime = Lifetime::of(api, caller, headers);
    let start = (lifetime, Arc::clone(session), changes, aside);
    let stream = stream::unfold(start, |(mut lifetime, session, mut changes, mut aside)| async move {
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
            if !lifetime.goes_on().await || !lifetime.api.mcp.sessions.keep(&session) {
                return None;
            }
            if let Some(message) = message {
                return Some((event(&message), (lifetime, session, changes, aside)));
            }
        }
    });
    Ok(Sse::new(stream).keep_alive(KeepAlive::default()).into_response())
}

fn tools_changed(params: Map<String, Json>) -> Message {
    Message::Notification { method: "notifications/tools/list_changed".to_owned(), params }
}

/// `subscriptions/listen` (2026-07-28): a stream that begins with what is listened to and lasts as long as the client holds it.
/// Only changes of the list of tools are told.
pub(super) async fn subscription(arrived: Arrived, id: Id, params: &Map<String, Json>) -> Response {
    if !arrived.accept.events {
        return Problem::not_acceptable("send `Accept: text/event-stream`").into_response();
    }
    if let Err(refused) = arrived.caller.admit(&arrived.api, ListTools).await.map(Permit::into_operation) {
        return reply::error(StatusCode::OK, Some(id), result::refused(refused.into()));
    }
    let wanted = params.get("notifications").and_then(|wanted| wanted.get("toolsListChanged"));
    let listens = wanted.and_then(Json::as_bool) == Some(true);
    let of_this = object(json!({ (meta::SUBSCRIPTION_ID): id }));
    let notifications = if listens { json!({ "toolsListChanged": true }) } else { json!({}) };
    let first = Message::Notification {
        method: "notifications/subscriptions/acknowledged".to_owned(),
        params: object(json!({ "_meta": of_this, "notifications": notifications })),
    };
    let changes = arrived.api.mcp.changes.subscribe();
    let lifetime = Lifetime::of(&arrived.api, &arrived.caller, &arrived.headers);
    let stream =
        stream::unfold((lifetime, Some(first), changes), move |(mut lifetime, first, mut changes)| {
            let of_this = of_this.clone();
            async move {
                if let Some(first) = first {
                    return Some((event(&first), (lifetime, None, changes)));
                }
                loop {
                    let has_changed = tokio::select! {
                        changed = changes.changed(), if listens => {
                            changed.ok()?;
                            true
                        }
                        () = tokio::time::sleep(TICK) => false,
                    };
                    if !lifetime.goes_on().await {
                        return None;
                    }
                    if has_changed {
                        let message = tools_changed(one_field("_meta", of_this));
                        return Some((event(&message), (lifetime, None, changes)));
                    }
                }
            }
        });
    Sse::new(stream).keep_alive(KeepAlive::default()).into_response()
}
