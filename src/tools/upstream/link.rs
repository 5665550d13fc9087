//! The way to one server: requests with their answers, and what the server says in between.
//!
//! One call's trouble is that call's: an answer that cannot be used fails the request that it belongs to, and the link stays.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use http::HeaderValue;
use parking_lot::Mutex;
use serde_json::{Map, Value as Json, json};
use tokio::runtime::Handle;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinSet;

use crate::mcp::{Id, Message, ParamHeaders, RpcError, Version, code, meta};
use crate::model::{ServerName, Subject};
use crate::secret::Address;

use super::http::HttpWire;
use super::stdio::StdioWire;
use crate::tools::auth::TokenError;
use crate::tools::tool::Tool;

/// What a server says while a request of ours is under way.
#[derive(Debug)]
pub enum FromServer {
    /// Progress, a log line.
    Notification {
        /// The server.
        server: ServerName,
        /// The method.
        method: String,
        /// The parameters; a progress token in them is that of the request's sender.
        params: Map<String, Json>,
    },
    /// The server asks the client for something (sampling, elicitation, roots).
    Request {
        /// The server.
        server: ServerName,
        /// The method.
        method: String,
        /// The parameters.
        params: Map<String, Json>,
        /// Takes the answer. When it is dropped, the server is told that the client did not answer.
        reply: oneshot::Sender<Result<Map<String, Json>, RpcError>>,
    },
}

/// Takes what a server says during one request. A receiver that has gone is no error.
pub type ServerEvents = mpsc::Sender<FromServer>;

/// Why a request had no result.
#[derive(Debug, thiserror::Error)]
pub(in crate::tools) enum Failure {
    /// There is no connection: nothing of the request has reached the server.
    #[error("it cannot be reached")]
    Unreachable(#[source] Box<dyn Error + Send + Sync>),
    /// The connection ended after the request was sent; the server may have carried it out.
    #[error("the connection ended before the answer")]
    Interrupted(#[source] Box<dyn Error + Send + Sync>),
    /// The server no longer knows our session: it did not look at the request.
    #[error("it does not know the session any more")]
    SessionLost,
    /// A JSON-RPC error.
    #[error("it answered with an error: {0}")]
    Refused(RpcError),
    /// An HTTP status that is no answer.
    #[error("it answered with HTTP status {0}")]
    Status(u16),
    /// An answer that cannot be used.
    #[error("its answer cannot be used: {0}")]
    Unusable(String),
    /// There is no token for it: nothing was sent.
    #[error("there is no token for it")]
    NoToken(#[source] Arc<TokenError>),
    /// It refused a token that was requested for it a moment before (HTTP 401).
    #[error("it refused the token that the authorization server gave for it")]
    TokenRefused,
    /// An answer larger than the setting allows, in bytes.
    #[error("its answer has more than {0} bytes")]
    TooLarge(usize),
}

/// One request to a server.
#[derive(Clone)]
pub(in crate::tools) struct Outgoing<'a> {
    pub(in crate::tools) method: &'a str,
    pub(in crate::tools) params: Map<String, Json>,
    /// The arguments that are repeated in header fields (2026-07-28).
    pub(in crate::tools) param_headers: Option<&'a ParamHeaders>,
    /// Takes what the server says before it answers; without it, the server is not asked to say anything.
    pub(in crate::tools) events: Option<ServerEvents>,
    /// The tool that is called.
    pub(in crate::tools) tool: Option<&'a Tool>,
    /// Of a subscription, for which the server says things by itself: told when the server has begun it.
    listens: Option<Arc<Notify>>,
}

impl<'a> Outgoing<'a> {
    pub(in crate::tools) fn new(method: &'a str, params: Map<String, Json>) -> Self {
        Self { method, params, param_headers: None, events: None, tool: None, listens: None }
    }
}

/// The bytes' way.
#[derive(Debug)]
pub(super) enum Wire {
    Http(HttpWire),
    Stdio(StdioWire),
}

/// What was agreed with the server.
#[derive(Debug, Clone)]
pub(super) struct Agreement {
    pub(super) version: Version,
    /// The session, of servers that have one.
    pub(super) session: Option<HeaderValue>,
    pub(super) capabilities: Map<String, Json>,
}

/// An open way to a server. Requests run side by side.
#[derive(Debug)]
pub(in crate::tools) struct Link {
    server: ServerName,
    pub(super) wire: Wire,
    pub(super) agreement: Agreement,
    ids: AtomicI64,
    /// The server has refused to open a session for a client.
    refuses_sessions: AtomicBool,
    /// The server says that its list of tools changed.
    pub(super) changed: Arc<Notify>,
    /// Takes what the server says outside of a request, in a client's own session.
    aside: Option<ServerEvents>,
}

/// Name and version, as a server is told them.
pub(super) fn client_info() -> Json {
    json!({ "name": "caxton", "version": env!("CARGO_PKG_VERSION") })
}

impl Link {
    pub(super) fn new(
        server: &ServerName,
        (wire, agreement): (Wire, Agreement),
        first_id: i64,
        aside: Option<ServerEvents>,
    ) -> Self {
        let server = server.clone();
        Self {
            server,
            wire,
            agreement,
            ids: AtomicI64::new(first_id),
            refuses_sessions: AtomicBool::new(false),
            changed: Arc::new(Notify::new()),
            aside,
        }
    }

    /// Whether the server keeps a session for us, which it may forget.
    pub(super) fn has_session(&self) -> bool {
        self.agreement.session.is_some()
    }

    pub(in crate::tools) fn is_stateless(&self) -> bool {
        self.agreement.version.is_stateless()
    }

    /// Whether a client may have a session of its own at the server. A server of 2026-07-28 does not say whether it also speaks
    /// an earlier version: it is tried once.
    pub(super) fn may_have_sessions(&self) -> bool {
        self.is_over_http() && !self.refuses_sessions.load(Ordering::Relaxed)
    }

    pub(super) fn note_no_sessions(&self) {
        self.refuses_sessions.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_over_http(&self) -> bool {
        matches!(self.wire, Wire::Http(_))
    }

    /// Whether its credentials may serve this caller.
    pub(super) fn is_for(&self, caller: &Subject) -> bool {
        match &self.wire {
            Wire::Http(wire) => wire.is_for(caller),
            Wire::Stdio(_) => true,
        }
    }

    /// The object that the server gave for a capability.
    pub(in crate::tools) fn capability(&self, name: &str) -> Option<Json> {
        self.agreement.capabilities.get(name).cloned()
    }

    /// Sends a request and waits for its answer. When the future is dropped, the server is told to stop.
    pub(in crate::tools) async fn request(
        self: &Arc<Self>,
        outgoing: Outgoing<'_>,
    ) -> Result<Map<String, Json>, Failure> {
        let Outgoing { method, mut params, param_headers, events, tool: _, listens } = outgoing;
        let id = Id::Number(self.ids.fetch_add(1, Ordering::Relaxed));
        let token = own_token(&mut params, &id, events.is_some());
        if self.agreement.version.is_stateless() {
            stamp(&mut params, self.agreement.version);
        }
        let mut cancel = CancelOnDrop { link: self, id: Some(id.clone()) };
        let events = events.map(|events| CallEvents { events, token, listens, asked: Mutex::default() });
        let answer = match &self.wire {
            Wire::Http(wire) => wire.request(self, &id, method, params, param_headers, events).await,
            Wire::Stdio(wire) => wire.request(self, id, method, params, events).await,
        };
        cancel.id = None;
        answer
    }

    /// Listens to what a server of 2026-07-28 says by itself, until it ends that.
    pub(in crate::tools) async fn listen(
        self: &Arc<Self>,
        params: Map<String, Json>,
        aside: ServerEvents,
        has_begun: Arc<Notify>,
    ) -> Result<(), Failure> {
        let mut outgoing = Outgoing::new("subscriptions/listen", params);
        (outgoing.events, outgoing.listens) = (Some(aside), Some(has_begun));
        self.request(outgoing).await.map(drop)
    }

    /// Waits until the tokens of this way have been forgotten: those of an account that is not connected any more.
    pub(in crate::tools) async fn forgotten(&self) {
        match &self.wire {
            Wire::Http(wire) => wire.forgotten().await,
            Wire::Stdio(_) => std::future::pending().await,
        }
    }

    /// Sends a message that has no answer.
    pub(super) async fn send(&self, message: &Message) -> Result<(), Failure> {
        match &self.wire {
            Wire::Http(wire) => wire.send(&self.agreement, message).await,
            Wire::Stdio(wire) => wire.send(message).await,
        }
    }

    /// Takes a message that is not the answer that is waited for.
    pub(super) async fn take(self: &Arc<Self>, message: Message, events: Option<&CallEvents>) {
        match message {
            Message::Notification { method, params } => self.take_notification(method, params, events).await,
            Message::Request { id, method, params } => self.take_request(id, method, params, events).await,
            Message::Response { .. } => tracing::debug!("an answer of the server belongs to no request"),
        }
    }

    async fn take_notification(
        &self,
        method: String,
        params: Map<String, Json>,
        events: Option<&CallEvents>,
    ) {
        match (events, &self.aside) {
            _ if method == "notifications/tools/list_changed" => self.changed.notify_one(),
            (Some(events), _) => events.notify(&self.server, method, params).await,
            // Nobody waits for it: what finds no room is dropped.
            (None, Some(aside)) if SAID_ASIDE.contains(&method.as_str()) => {
                let server = self.server.clone();
                let params = without_protocol_meta(params);
                drop(aside.try_send(FromServer::Notification { server, method, params }));
            }
            (None, _) => {}
        }
    }

    /// A server may always ask whether we are there. Anything else goes to the client whose request is under way, or is
    /// refused: the gateway itself offers a server nothing.
    async fn take_request(
        self: &Arc<Self>,
        id: Id,
        method: String,
        params: Map<String, Json>,
        events: Option<&CallEvents>,
    ) {
        let answer = match (method.as_str(), events) {
            ("ping", _) => Ok(Map::new()),
            (_, Some(call)) => {
                let (reply, answer) = oneshot::channel();
                let refused = RpcError::method_not_found(&method);
                let request = FromServer::Request { server: self.server.clone(), method, params, reply };
                if call.events.send(request).await.is_ok() {
                    // The server may say more before this is answered.
                    let link = Arc::clone(self);
                    let mut asked = call.asked.lock();
                    while asked.try_join_next().is_some() {}
                    asked.spawn(async move {
                        let answer = answer.await.unwrap_or(Err(refused));
                        link.reply(id, answer).await;
                    });
                    return;
                }
                Err(refused)
            }
            (other, None) => Err(RpcError::method_not_found(other)),
        };
        self.reply(id, answer).await;
    }

    async fn reply(&self, id: Id, answer: Result<Map<String, Json>, RpcError>) {
        let message = Message::Response { id: Some(id), outcome: answer };
        if let Err(error) = self.send(&message).await {
            tracing::debug!(%error, "an answer to the server was not taken");
        }
    }
}

/// What a server may say before its answer. Anything else could cancel another server's question, or speak for the gateway.
const SAID_IN_A_CALL: [&str; 3] =
    ["notifications/progress", "notifications/message", "notifications/elicitation/complete"];
/// What a server may say by itself, in a client's own session.
const SAID_ASIDE: [&str; 5] = [
    "notifications/message",
    "notifications/resources/updated",
    "notifications/resources/list_changed",
    "notifications/prompts/list_changed",
    "notifications/elicitation/complete",
];

/// Without what has a meaning between two parties, and is theirs.
fn without_protocol_meta(mut params: Map<String, Json>) -> Map<String, Json> {
    if let Some(Json::Object(own)) = params.get_mut("_meta") {
        own.retain(|key, _| !key.starts_with(meta::PROTOCOL_PREFIX) && !key.starts_with("caxton/"));
    }
    params
}

/// The sender's events, with the token under which it expects progress.
#[derive(Debug)]
pub(super) struct CallEvents {
    events: ServerEvents,
    token: Option<(Json, Json)>,
    listens: Option<Arc<Notify>>,
    /// The server's questions that are not answered. They end with the request.
    asked: Mutex<JoinSet<()>>,
}

impl CallEvents {
    async fn notify(&self, server: &ServerName, method: String, params: Map<String, Json>) {
        if let Some(has_begun) = &self.listens {
            if method == "notifications/subscriptions/acknowledged" {
                has_begun.notify_one();
            } else if SAID_ASIDE.contains(&method.as_str()) {
                let (server, params) = (server.clone(), without_protocol_meta(params));
                // Nobody waits for it: what finds no room is dropped.
                drop(self.events.try_send(FromServer::Notification { server, method, params }));
            }
            return;
        }
        if !SAID_IN_A_CALL.contains(&method.as_str()) {
            return;
        }
        let mut params = without_protocol_meta(params);
        if method == "notifications/progress" {
            // Progress of something else than this request is not for its sender.
            let Some((own, theirs)) = &self.token else { return };
            if params.get(meta::PROGRESS_TOKEN) != Some(own) {
                return;
            }
            params.insert(meta::PROGRESS_TOKEN.to_owned(), theirs.clone());
        }
        // Who does not listen any more has hung up.
        let server = server.clone();
        let _ = self.events.send(FromServer::Notification { server, method, params }).await;
    }
}

/// Puts a token of our own in the place of the sender's: two senders may have chosen the same one. Gives both back.
fn own_token(params: &mut Map<String, Json>, id: &Id, listens: bool) -> Option<(Json, Json)> {
    let fields = params.get_mut("_meta")?.as_object_mut()?;
    let theirs = fields.remove(meta::PROGRESS_TOKEN)?;
    if !listens || !(theirs.is_string() || theirs.is_number()) {
        return None;
    }
    let own = Json::String(id.to_string());
    fields.insert(meta::PROGRESS_TOKEN.to_owned(), own.clone());
    Some((own, theirs))
}

/// What each request of a stateless version says of its sender: the gateway, never the client behind it.
pub(super) fn stamp(params: &mut Map<String, Json>, version: Version) {
    let fields = params.entry("_meta").or_insert_with(|| Json::Object(Map::new()));
    let Some(fields) = fields.as_object_mut() else { return };
    fields.insert(meta::VERSION.to_owned(), version.as_str().into());
    fields.insert(meta::CLIENT_INFO.to_owned(), client_info());
    fields.entry(meta::CLIENT_CAPABILITIES).or_insert_with(|| json!({}));
}

/// Tells the server to stop when nobody waits for the answer any more.
struct CancelOnDrop<'a> {
    link: &'a Arc<Link>,
    id: Option<Id>,
}

impl Drop for CancelOnDrop<'_> {
    fn drop(&mut self) {
        let Some(id) = self.id.take() else { return };
        let over_http = matches!(self.link.wire, Wire::Http(_));
        // Over HTTP a stateless server sees that the stream was closed (2026-07-28, "Cancellation").
        if over_http && self.link.agreement.version.is_stateless() {
            return;
        }
        let Ok(runtime) = Handle::try_current() else { return };
        let link = Arc::clone(self.link);
        let params = crate::mcp::object(json!({ "requestId": id, "reason": "the client went away" }));
        let message = Message::Notification { method: "notifications/cancelled".to_owned(), params };
        runtime.spawn(async move {
            if let Err(error) = link.send(&message).await {
                tracing::debug!(%error, "the server was not told that a request is cancelled");
            }
        });
    }
}

/// The error as it may be seen: an HTTP client's own names the whole address, which may hold a key.
pub(super) fn hidden(address: &Address, error: &(dyn Error + 'static)) -> Box<dyn Error + Send + Sync> {
    Box::new(address.hide_in(error))
}

/// Whether an error says that the server does not speak the version, or not in this way.
pub(super) fn is_of_another_era(error: &RpcError) -> bool {
    !matches!(error.code, code::MISSING_CAPABILITY | code::HEADER_MISMATCH)
}
