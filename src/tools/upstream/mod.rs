//! One upstream MCP server: its connection, its health, and calls with a deadline.
//!
//! The server is not trusted. It is offered no capability (no sampling, no roots, no elicitation), sees the
//! gateway's own credentials or those it was given for the caller, and every answer is bounded in size and time. A call is never tried twice:
//! the server may have carried it out.

mod callers;
mod connection;
mod handshake;
mod http;
mod lines;
mod link;
mod listing;
mod reconnect;
mod session_places;
mod stdio;
mod ways;

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use serde_json::{Map, Value as Json};
use tokio::sync::{Notify, Semaphore, SemaphorePermit, watch};
use tokio::time::Instant;

use super::auth::{CredentialPorts, ServerCredentials, TokenError};
use super::error::{ToolError, UpstreamError};
use super::offers::add_client;
use super::registry::RegistryPorts;
use super::session::ClientSide;
use super::settings::{ServerSettings, Settings};
use crate::limit::{Turn, Turns};
use crate::mcp::Message;
use crate::model::{EntityUid, Subject};
use crate::telemetry::{Metrics, ServerLabels};
use crate::text::one_line;

use self::callers::CallerConnections;
use self::http::HttpWire;

pub(super) use connection::Connection;
pub use connection::offered;
pub(super) use link::{Failure, Link, Outgoing};
pub use link::{FromServer, ServerEvents};
pub use listing::Listing;
pub(super) use listing::items;
pub(super) use reconnect::{Abandoned, keep_connected};
pub(super) use session_places::SessionPlaces;

/// The bounds that all servers share.
#[derive(Debug, Clone, Copy)]
pub(super) struct UpstreamLimits {
    pub(super) tools: usize,
    pub(super) definition_bytes: usize,
    pub(super) response_bytes: usize,
    pub(super) calls: usize,
    pub(super) refresh_interval: std::time::Duration,
    pub(super) refresh_gap: std::time::Duration,
    pub(super) retry_min: std::time::Duration,
    pub(super) retry_max: std::time::Duration,
}

impl From<&Settings> for UpstreamLimits {
    fn from(settings: &Settings) -> Self {
        Self {
            tools: settings.max_tools_per_server,
            definition_bytes: settings.max_definition_bytes,
            response_bytes: settings.max_response_bytes,
            calls: settings.max_concurrent_calls.clamp(1, Semaphore::MAX_PERMITS),
            refresh_interval: settings.refresh_interval,
            refresh_gap: settings.refresh_gap,
            retry_min: settings.retry_min,
            retry_max: settings.retry_max,
        }
    }
}

/// Reads bytes as a server's message and as a tool's definition, and keeps neither: for fuzzing.
pub(crate) fn read_untrusted(bytes: &[u8]) {
    // No outcome is a fault.
    let _ = Message::read(bytes);
    let mut events = Vec::new();
    let _ = crate::mcp::EventReader::new(64 * 1024).take_in(bytes, &mut events);
    if let Ok(json) = crate::json::parse(bytes)
        && let Ok(definition) = super::Definition::read(&json, 64 * 1024)
    {
        let _ = super::ArgumentSchema::compile(&definition.input_schema);
    }
}

/// Whether a server can be called.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Health {
    /// It is connected and its tools were compared with their pins.
    Up,
    /// It is there, and answers callers with an account of their own only: each has a connection, and none is shared. Its tools
    /// are the approved ones; they are compared when a caller's connection opens.
    NeedsAccount,
    /// It is not; tried again in the background.
    Down {
        /// Why, for the operator.
        reason: String,
    },
}

/// How often one call has a session renewed that the server has lost. Each time the server has not looked at the request.
const SESSION_RENEWALS: usize = 3;

/// A server as the registry holds it.
pub(super) struct Upstream {
    pub(super) settings: ServerSettings,
    limits: UpstreamLimits,
    link: ArcSwapOption<Link>,
    health: Mutex<Health>,
    slots: Semaphore,
    /// The part of them that one caller has at once.
    turns: Arc<Turns<EntityUid>>,
    /// Counts how often the server came or went: a request that finds the session being renewed waits for the next time.
    connections: watch::Sender<u64>,
    /// A request found the session gone.
    session_lost: Notify,
    /// A request found nobody there.
    doubted: Notify,
    metrics: Arc<Metrics>,
    credentials: Option<Arc<ServerCredentials>>,
    /// The connections of callers that have credentials of their own; none where all share one.
    callers: Option<CallerConnections>,
    /// The sessions of clients at all servers.
    session_places: Arc<SessionPlaces>,
    /// The pool of the connections of callers where none is shared.
    callers_wire: OnceLock<HttpWire>,
    /// What the server said to the last caller that it can do, where no connection is shared.
    last_seen: ArcSwapOption<Map<String, Json>>,
    /// Compares what an account is offered with the pins.
    compare: OnceLock<CompareOffered>,
}

/// Compares what the account of a principal, in Cedar's notation, is offered with the pins. Gives the tools that differ.
pub(super) type CompareOffered = Box<dyn Fn(&str, Listing) -> BTreeSet<String> + Send + Sync>;

impl std::fmt::Debug for Upstream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upstream").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Upstream {
    pub(super) fn new(
        settings: ServerSettings,
        limits: UpstreamLimits,
        (ports, credential_ports): (&RegistryPorts, CredentialPorts),
        session_places: Arc<SessionPlaces>,
    ) -> Result<Self, TokenError> {
        let credentials = connection::credentials_of(&settings, credential_ports)?;
        let most_callers = credentials.as_ref().and_then(|credentials| credentials.callers());
        let upstream = Self {
            settings,
            limits,
            callers: most_callers.map(CallerConnections::new),
            credentials,
            link: ArcSwapOption::empty(),
            health: Mutex::new(Health::Down { reason: "not connected yet".to_owned() }),
            slots: Semaphore::new(limits.calls),
            turns: Turns::new((limits.calls / 2).max(1)),
            connections: watch::Sender::new(0),
            session_lost: Notify::new(),
            doubted: Notify::new(),
            metrics: Arc::clone(&ports.metrics),
            session_places,
            callers_wire: OnceLock::new(),
            last_seen: ArcSwapOption::empty(),
            compare: OnceLock::new(),
        };
        upstream.show(false);
        Ok(upstream)
    }

    /// How what an account is offered is compared with the pins.
    pub(super) fn compare_with(&self, compare: CompareOffered) {
        // It is set once, before the first caller comes.
        let _ = self.compare.set(compare);
    }

    /// Closes the connections of callers, since what their accounts are offered has to be compared with other pins.
    pub(super) fn compare_again(&self) {
        if let Some(callers) = &self.callers {
            callers.forget_all();
        }
    }

    /// Closes connections of callers that are idle, and forgets what was kept for callers that do not come any more.
    fn sweep(&self, now: Instant) {
        if let Some(callers) = &self.callers {
            callers.sweep(now);
        }
        if let Some(credentials) = &self.credentials {
            credentials.sweep(now);
        }
    }

    /// Shows in the metric whether the server can be called. Its label has the names in the configuration.
    fn show(&self, up: bool) {
        let labels = ServerLabels { server: self.settings.name.to_string() };
        self.metrics.upstream_up.get_or_create(&labels).set(i64::from(up));
    }

    pub(super) fn health(&self) -> Health {
        self.health.lock().clone()
    }

    /// The open way to the server; none while it is away.
    pub(super) fn link(&self) -> Option<Arc<Link>> {
        self.link.load_full()
    }

    /// Connects and lists the tools; calls are possible only after [`Upstream::up`].
    pub(super) async fn connect(&self) -> Result<(Connection, Listing), UpstreamError> {
        let tokens = self.credentials.as_ref().and_then(ServerCredentials::own);
        let connection = Connection::open(&self.settings, &self.limits, tokens).await?;
        let listing = connection.list(&self.settings, &self.limits).await?;
        Ok((connection, listing))
    }

    /// Opens the way for calls. INVARIANT: the listing of this connection was compared with the pins before.
    pub(super) fn up(&self, connection: &Connection) {
        self.link.store(Some(Arc::clone(connection.link())));
        *self.health.lock() = Health::Up;
        self.show(true);
        self.connections.send_modify(|count| *count += 1);
        tracing::info!(server = %self.settings.name, "upstream server connected");
    }

    pub(super) fn down(&self, reason: &dyn std::error::Error) {
        self.link.store(None);
        let reason = super::error::chain(reason);
        tracing::warn!(server = %self.settings.name, reason, "upstream server not available");
        *self.health.lock() = Health::Down { reason };
        self.show(false);
        self.connections.send_modify(|count| *count += 1);
    }

    /// The server answers only callers with an account of their own: that is how it is, and no fault.
    pub(super) fn needs_account(&self) {
        self.link.store(None);
        let before = std::mem::replace(&mut *self.health.lock(), Health::NeedsAccount);
        self.show(true);
        self.connections.send_modify(|count| *count += 1);
        if before != Health::NeedsAccount {
            tracing::info!(server = %self.settings.name, "upstream server reached: it serves connected accounts");
        }
    }

    /// Whether an error says that the server answers only callers with an account of their own.
    pub(super) fn is_for_accounts(&self, error: &UpstreamError) -> bool {
        let shows_nothing = self.account_credentials().is_some_and(|credentials| credentials.own().is_none());
        shows_nothing && error.asks_for_a_token()
    }

    /// The server is there, and its list of tools cannot be used.
    fn complain(&self, error: &UpstreamError) {
        let reason = super::error::chain(error);
        tracing::warn!(server = %self.settings.name, reason, "the tools of an upstream server cannot be listed");
    }

    /// The server has forgotten the session of this link: nothing is sent over it any more. Says whether it was the one in use.
    fn forget(&self, lost: &Arc<Link>) -> bool {
        let lost = Some(Arc::clone(lost));
        let previous = self.link.compare_and_swap(&lost, None);
        let was_in_use =
            previous.as_ref().is_some_and(|link| lost.as_ref().is_some_and(|lost| Arc::ptr_eq(link, lost)));
        if was_in_use {
            tracing::info!(server = %self.settings.name, "the session at the upstream server has ended; a new one is opened");
        }
        was_in_use
    }

    /// Sends a request within the deadline of a call and the bounds of the server.
    ///
    /// When the server answers that it has forgotten the session, it has not looked at the request: `still_wanted` is asked
    /// once the connection is renewed, and the request is sent again where it says so, a few times at most.
    pub(super) async fn request(
        &self,
        outgoing: Outgoing<'_>,
        (caller, client): (&Arc<Subject>, Option<&ClientSide>),
        still_wanted: impl Fn() -> bool,
    ) -> Result<Map<String, Json>, ToolError> {
        let limit = self.settings.call_timeout;
        let exchange = async {
            let _turn = self.turns.turn(caller.principal().clone()).await;
            self.exchange(outgoing, (caller, client), still_wanted).await
        };
        tokio::time::timeout(limit, exchange)
            .await
            .unwrap_or_else(|_| Err(ToolError::Timeout { server: self.settings.name.clone(), limit }))
    }

    async fn exchange(
        &self,
        mut outgoing: Outgoing<'_>,
        (caller, client): (&Arc<Subject>, Option<&ClientSide>),
        still_wanted: impl Fn() -> bool,
    ) -> Result<Map<String, Json>, ToolError> {
        // Before a place is taken: an authorization server that hangs for one caller leaves the places to others.
        let _kept = self.tokens_for(caller).await?;
        let _slot = self.slots.acquire().await.map_err(|_| self.unavailable())?;
        let mut renewals = SESSION_RENEWALS;
        loop {
            let way = self.way_for(caller, client).await?;
            // Where no connection is shared, the pins were compared when the caller's was opened: it may have been just now.
            let is_new = renewals < SESSION_RENEWALS || self.health() == Health::NeedsAccount;
            if is_new && !still_wanted() {
                return Err(self.unavailable());
            }
            if let Some(tool) = outgoing.tool.filter(|tool| way.offers_otherwise(&tool.definition().name)) {
                return Err(ToolError::Differs { tool: tool.id().clone() });
            }
            if way.link.is_stateless() {
                add_client(&mut outgoing.params, client);
            }
            let again = (renewals > 0 && way.link.has_session()).then(|| outgoing.clone());
            let failure = match way.link.request(outgoing).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            if !matches!(failure, Failure::SessionLost) {
                return Err(self.failed(failure));
            }
            // Also when this call gives up: the next one must not find the same session.
            self.lost(&way, caller);
            let Some(again) = again else { return Err(self.failed(failure)) };
            outgoing = again;
            renewals -= 1;
        }
    }

    /// The caller's turn, and a place among the requests under way at the server.
    pub(super) async fn place(
        &self,
        caller: &EntityUid,
    ) -> (Option<Turn<EntityUid>>, Option<SemaphorePermit<'_>>) {
        let turn = self.turns.turn(caller.clone()).await;
        (turn, self.slots.acquire().await.ok())
    }

    /// The way to the server, once it is there: a session that is being renewed is waited for.
    async fn open_link(&self) -> Result<Arc<Link>, ToolError> {
        let mut changes = self.connections.subscribe();
        loop {
            if let Some(link) = self.link() {
                return Ok(link);
            }
            if self.health() != Health::Up || changes.changed().await.is_err() {
                return Err(self.unavailable());
            }
        }
    }

    fn unavailable(&self) -> ToolError {
        ToolError::Unavailable { server: self.settings.name.clone() }
    }

    /// What a failure means for its request. Only when nobody was there is the connection looked at.
    fn failed(&self, failure: Failure) -> ToolError {
        let server = self.settings.name.clone();
        match failure {
            Failure::Refused(error) => ToolError::Refused {
                server,
                error: Box::new(crate::mcp::RpcError { message: one_line(&error.message, 500), ..error }),
            },
            Failure::TooLarge(_) => ToolError::TooLarge { limit: self.limits.response_bytes },
            Failure::NoToken(error) if matches!(*error, TokenError::NotConnected) => {
                ToolError::NotConnected { server }
            }
            Failure::NoToken(_) | Failure::TokenRefused => {
                let message = super::error::chain(&failure);
                tracing::warn!(%server, reason = message, "a request to an upstream server has no valid credential");
                ToolError::Credentials { server }
            }
            Failure::Status(_) | Failure::Unusable(_) => {
                let message = one_line(&super::error::chain(&failure), 400);
                tracing::debug!(%server, message, "the answer of an upstream server cannot be used");
                ToolError::Unusable { server, message }
            }
            Failure::Unreachable(_) | Failure::Interrupted(_) | Failure::SessionLost => {
                self.doubted.notify_one();
                let reason = super::error::chain(&failure);
                tracing::warn!(%server, reason, "a request to an upstream server failed");
                ToolError::Unavailable { server }
            }
        }
    }
}
