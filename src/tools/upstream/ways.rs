//! Which connection carries a caller's request.
//!
//! Most callers share one. A client that servers ask for something has a session of its own there, and where tokens are the
//! caller's, each caller has a connection of its own.

use std::sync::Arc;

use serde_json::Value as Json;
use tokio::time::Instant;

use super::callers::OwnConnection;
use super::http::HttpWire;
use super::link::{Failure, Link};
use super::{Connection, Health, Listing, Upstream, handshake, listing};
use crate::model::Subject;
use crate::tools::auth::{ServerCredentials, TokenCaller, TokenSource};
use crate::tools::error::{ToolError, UpstreamError};
use crate::tools::session::{ClientSession, ClientSide};

/// The way for one request, and what keeps it open.
pub(in crate::tools) struct Way<'a> {
    pub(in crate::tools) link: Arc<Link>,
    of: WayOf<'a>,
    /// The connection of the caller's account, where none is shared: what it is offered was compared with the pins.
    account: Option<OwnConnection>,
}

impl Way<'_> {
    /// Whether the caller's account is offered this tool otherwise than it was approved.
    pub(super) fn offers_otherwise(&self, tool: &str) -> bool {
        let account = self.account.as_ref().and_then(|account| account.get());
        account.is_some_and(|account| account.has_drifted(tool))
    }
}

enum WayOf<'a> {
    /// All share it.
    All,
    /// The client's own session.
    Session(&'a Arc<ClientSession>),
    /// The caller's own connection.
    Caller(#[expect(dead_code, reason = "it keeps the connection open")] OwnConnection),
}

impl Upstream {
    /// Waits until there is a token for the caller's requests. It is kept for them while what comes back is held.
    pub(in crate::tools) async fn tokens_for(
        &self,
        caller: &Arc<Subject>,
    ) -> Result<Option<TokenSource>, ToolError> {
        let source = self.credentials.as_ref().and_then(|credentials| credentials.of_caller(caller));
        if let Some(source) = &source {
            source.token().await.map_err(|error| self.failed(Failure::NoToken(error)))?;
        }
        Ok(source)
    }

    /// The server has forgotten the session of this way.
    pub(in crate::tools) fn lost(&self, way: &Way<'_>, caller: &Subject) {
        match (&way.of, &self.callers) {
            (WayOf::Session(session), _) => session.forget(&self.settings.name, &way.link),
            (WayOf::Caller(_), Some(callers)) => callers.forget(&TokenCaller::of(caller), &way.link),
            (WayOf::All | WayOf::Caller(_), _) if self.forget(&way.link) => self.session_lost.notify_one(),
            (WayOf::All | WayOf::Caller(_), _) => {}
        }
    }

    /// The way for a caller's request: the one that all share, that of the client's own session at the server, or the
    /// caller's own where callers have credentials of their own.
    pub(super) async fn way_for<'a>(
        &self,
        caller: &Arc<Subject>,
        client: Option<&'a ClientSide>,
    ) -> Result<Way<'a>, ToolError> {
        // Where none is shared, the caller's own connection stands in its place.
        let own = match self.health() {
            Health::NeedsAccount => Some(self.account_connection(caller).await?),
            Health::Up | Health::Down { .. } => None,
        };
        let shared = match own.as_ref().and_then(|own| own.get()) {
            Some(own) => Arc::clone(own.link()),
            None => self.open_link().await?,
        };
        let way = match client {
            // A child process for each client would be too much; one serves all, and asks no client for anything.
            Some(ClientSide::Session(session)) if shared.may_have_sessions() && session.needs_own() => {
                self.session_way(caller, session, &shared).await?
            }
            _ => None,
        };
        let way = match (way, own) {
            (Some(way), account) => Way { account, ..way },
            (None, Some(own)) => {
                Way { link: shared, of: WayOf::Caller(Arc::clone(&own)), account: Some(own) }
            }
            (None, None) => self.way_without_session(caller, shared).await?,
        };
        // INVARIANT of `callers`, and of a client's session, which belongs to one principal.
        if !way.link.is_for(caller) {
            tracing::error!(server = %self.settings.name, "a connection with another caller's credentials is not used");
            return Err(self.unavailable());
        }
        Ok(way)
    }

    /// The way of the client's own session; none where the server has no sessions.
    async fn session_way<'a>(
        &self,
        caller: &Arc<Subject>,
        session: &'a Arc<ClientSession>,
        shared: &Arc<Link>,
    ) -> Result<Option<Way<'a>>, ToolError> {
        self.session_places.used(caller.principal(), session, &self.settings.name);
        let place = session.place(&self.settings.name);
        let tokens = self.credentials.as_ref().and_then(|credentials| credentials.of_caller(caller));
        let opening = || Connection::open_for(&self.settings, shared, tokens, session);
        match place.get_or_try_init(opening).await {
            Ok(connection) => {
                let link = Arc::clone(connection.link());
                Ok(Some(Way { link, of: WayOf::Session(session), account: None }))
            }
            Err(error) if error.is_of_a_credential() => Err(self.not_opened(&error)),
            Err(error) if error.is_of_an_answer() && shared.is_stateless() => {
                // Anything else may be this client's, or of this moment.
                if error.knows_no_sessions() {
                    shared.note_no_sessions();
                }
                Ok(None)
            }
            Err(error) => Err(self.not_opened(&error)),
        }
    }

    /// The way of a caller that needs no session of its client's own.
    async fn way_without_session(
        &self,
        caller: &Arc<Subject>,
        shared: Arc<Link>,
    ) -> Result<Way<'static>, ToolError> {
        let (Some(callers), Some(credentials)) = (&self.callers, &self.credentials) else {
            return Ok(Way { link: shared, of: WayOf::All, account: None });
        };
        let tokens = credentials.of_caller(caller).ok_or_else(|| self.unavailable())?;
        let place = callers.place(&TokenCaller::of(caller), Instant::now());
        let opening = || Connection::open_as(&self.settings, &shared, tokens);
        let opened = place.get_or_try_init(opening).await;
        let link = Arc::clone(opened.map_err(|error| self.not_opened(&error))?.link());
        Ok(Way { link, of: WayOf::Caller(place), account: None })
    }

    /// The connection of a caller at a server where none is shared. The tools that the server offers to the account are compared
    /// with the pins before the first call.
    async fn account_connection(&self, caller: &Arc<Subject>) -> Result<OwnConnection, ToolError> {
        let (Some(callers), Some(credentials)) = (&self.callers, &self.credentials) else {
            return Err(self.unavailable());
        };
        let tokens = credentials.of_caller(caller).ok_or_else(|| self.unavailable())?;
        let place = callers.place(&TokenCaller::of(caller), Instant::now());
        let opening = || async {
            let wire = self.wire_of_callers()?;
            let mut connection = Connection::open_over(&self.settings, wire, tokens).await?;
            let listing = connection.list(&self.settings, &self.limits).await?;
            if let Some(compare) = self.compare.get() {
                connection.note_drifted(compare(&caller.principal().to_string(), listing));
            }
            let capabilities = connection.link().agreement.capabilities.clone();
            self.last_seen.store(Some(Arc::new(capabilities)));
            Ok(connection)
        };
        place.get_or_try_init(opening).await.map_err(|error| self.not_opened(&error))?;
        Ok(place)
    }

    fn wire_of_callers(&self) -> Result<&HttpWire, UpstreamError> {
        if let Some(wire) = self.callers_wire.get() {
            return Ok(wire);
        }
        let wire = handshake::wire_over_http(&self.settings, &self.limits, None)?;
        Ok(self.callers_wire.get_or_init(|| wire))
    }

    /// The credentials, where callers connect accounts of their own.
    pub(in crate::tools) fn account_credentials(&self) -> Option<&Arc<ServerCredentials>> {
        self.credentials.as_ref().filter(|credentials| credentials.is_of_accounts())
    }

    /// Closes the connections of a principal, in Cedar's notation, and forgets its tokens in memory: what was opened as one
    /// account is not used as another.
    pub(in crate::tools) fn forget_holder(&self, holder: &str) {
        if let Some(credentials) = &self.credentials {
            credentials.forget_holder(holder);
        }
        if let Some(callers) = &self.callers {
            callers.forget_holder(holder);
        }
        self.session_places.close_of(holder, &self.settings.name);
    }

    /// Opens the connection of a caller that has just connected an account, so that the tools are compared. In the background.
    pub(in crate::tools) fn look_as(self: &Arc<Self>, caller: Arc<Subject>) {
        if self.health() != Health::NeedsAccount {
            return;
        }
        let upstream = Arc::clone(self);
        tokio::spawn(async move {
            // Why it cannot be opened was logged.
            let _ = upstream.account_connection(&caller).await;
        });
    }

    /// Asks the server for its tools as this caller.
    pub(in crate::tools) async fn offered_to(&self, caller: &Arc<Subject>) -> Result<Listing, ToolError> {
        let asking = async {
            let _kept = self.tokens_for(caller).await?;
            let _place = self.place(caller.principal()).await;
            let way = self.way_of(caller).await?;
            listing::tools(&way.link, &self.limits).await.map_err(|error| {
                if error.is_session_lost() {
                    self.lost(&way, caller);
                }
                self.not_opened(&error)
            })
        };
        let (server, limit) = (self.settings.name.clone(), self.settings.call_timeout);
        let in_time = tokio::time::timeout(limit, asking).await;
        in_time.unwrap_or(Err(ToolError::Timeout { server, limit }))
    }

    /// What the server said that it can do: on the connection that all share, or to the last caller that opened one.
    pub(in crate::tools) fn capability(&self, name: &str) -> Option<Json> {
        match self.link() {
            Some(link) => link.capability(name),
            None if self.health() == Health::NeedsAccount => {
                self.last_seen.load().as_ref().and_then(|seen| seen.get(name).cloned())
            }
            None => None,
        }
    }

    /// What the server said of an extension of the protocol; none for one that it does not have.
    pub(in crate::tools) fn extension(&self, name: &str) -> Option<Json> {
        self.capability("extensions")?.get(name).filter(|declared| declared.is_object()).cloned()
    }

    /// A client's session or a caller's connection cannot be opened.
    fn not_opened(&self, error: &UpstreamError) -> ToolError {
        let server = self.settings.name.clone();
        let message = crate::tools::error::chain(error);
        if error.is_not_connected() {
            return ToolError::NotConnected { server };
        }
        if error.is_of_a_credential() {
            tracing::warn!(%server, reason = message, "a caller has no valid credential at an upstream server");
            return ToolError::Credentials { server };
        }
        tracing::warn!(%server, reason = message, "a connection of a client's own to an upstream server cannot be opened");
        self.doubted.notify_one();
        ToolError::Unavailable { server }
    }

    /// The client's own session at the server; none where it has none.
    pub(in crate::tools) async fn own_link(
        &self,
        caller: &Arc<Subject>,
        session: &Arc<ClientSession>,
    ) -> Result<Option<Arc<Link>>, ToolError> {
        let client = ClientSide::Session(Arc::clone(session));
        let way = self.way_for(caller, Some(&client)).await?;
        Ok(matches!(way.of, WayOf::Session(_)).then_some(way.link))
    }

    /// The way of a caller for what is no call: the one that all share, or the caller's own.
    pub(in crate::tools) async fn way_of(&self, caller: &Arc<Subject>) -> Result<Way<'static>, ToolError> {
        self.way_for(caller, None).await
    }
}
