//! An open connection to a server: the link for calls, and the stream on which the server speaks by itself.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio_util::task::AbortOnDropHandle;

use crate::clock::SharedClock;
use crate::tools::auth::{CredentialPorts, ServerCredentials, TokenError, TokenSource};
use crate::tools::error::UpstreamError;
use crate::tools::session::ClientSession;
use crate::tools::settings::{ServerSettings, Settings, Transport};

use super::UpstreamLimits;
use super::handshake;
use super::http::HttpWire;
use super::link::{Failure, Link, Outgoing, Wire};
use super::listing::{self, Listing};

/// The pause before the server's own stream is opened again.
const STREAM_PAUSE: Duration = Duration::from_secs(5);

/// Asks `server` for its tools with the gateway's own credentials, and disconnects.
pub async fn offered(
    server: &ServerSettings,
    settings: &Settings,
    clock: SharedClock,
) -> Result<Listing, UpstreamError> {
    let limits = UpstreamLimits::from(settings);
    let ports = CredentialPorts { identity: None, clock, accounts: None };
    let credentials = credentials_of(server, ports).map_err(UpstreamError::Credentials)?;
    let tokens = credentials.as_ref().and_then(ServerCredentials::own);
    Connection::open(server, &limits, tokens).await?.list(server, &limits).await
}

/// The gateway's credentials at a server; `None` where it has none by OAuth.
pub(super) fn credentials_of(
    server: &ServerSettings,
    ports: CredentialPorts,
) -> Result<Option<Arc<ServerCredentials>>, TokenError> {
    let (Some(auth), Transport::Http { url, .. }) = (&server.auth, &server.transport) else {
        return Ok(None);
    };
    let credentials = ServerCredentials::new(&server.name, url.expose(), auth, server.connect_timeout, ports);
    Ok(Some(Arc::new(credentials?)))
}

/// A connection; dropping it ends it, and the child process with it.
#[derive(Debug)]
pub(in crate::tools) struct Connection {
    link: Arc<Link>,
    /// The tools that the account of its caller is offered otherwise than they were approved.
    drifted: BTreeSet<String>,
    _own_stream: Option<AbortOnDropHandle<()>>,
}

impl Connection {
    pub(in crate::tools) async fn open(
        settings: &ServerSettings,
        limits: &UpstreamLimits,
        tokens: Option<TokenSource>,
    ) -> Result<Self, UpstreamError> {
        let link = within(settings.connect_timeout, handshake::open(settings, limits, tokens)).await??;
        let own_stream = follow(&link).map(|work| AbortOnDropHandle::new(tokio::spawn(work)));
        Ok(Self { link, drifted: BTreeSet::new(), _own_stream: own_stream })
    }

    /// A connection with a session of the client's own. What the server says outside of calls goes to the client.
    pub(super) async fn open_for(
        settings: &ServerSettings,
        shared: &Link,
        tokens: Option<TokenSource>,
        client: &ClientSession,
    ) -> Result<Self, UpstreamError> {
        let opening = handshake::open_session(settings, shared, tokens, client);
        let link = within(settings.connect_timeout, opening).await??;
        let own_stream = AbortOnDropHandle::new(tokio::spawn(follow_always(&link)));
        Ok(Self { link, drifted: BTreeSet::new(), _own_stream: Some(own_stream) })
    }

    /// A connection with a caller's credentials. That its tools change is heard on the one that all share.
    pub(super) async fn open_as(
        settings: &ServerSettings,
        shared: &Link,
        tokens: TokenSource,
    ) -> Result<Self, UpstreamError> {
        let opening = handshake::open_beside(settings, shared, tokens);
        let link = within(settings.connect_timeout, opening).await??;
        Ok(Self { link, drifted: BTreeSet::new(), _own_stream: None })
    }

    /// The same where no connection is shared.
    pub(super) async fn open_over(
        settings: &ServerSettings,
        wire: &HttpWire,
        tokens: TokenSource,
    ) -> Result<Self, UpstreamError> {
        let opening = handshake::open_over(settings, wire, tokens);
        let link = within(settings.connect_timeout, opening).await??;
        Ok(Self { link, drifted: BTreeSet::new(), _own_stream: None })
    }

    pub(in crate::tools) fn link(&self) -> &Arc<Link> {
        &self.link
    }

    /// Notes which tools the account of its caller is offered otherwise than they were approved.
    pub(super) fn note_drifted(&mut self, tools: BTreeSet<String>) {
        self.drifted = tools;
    }

    /// Whether the account of its caller is offered this tool otherwise than it was approved.
    pub(super) fn has_drifted(&self, tool: &str) -> bool {
        self.drifted.contains(tool)
    }

    /// Asks for the tools. A server with too many is refused as a whole; a single bad definition is left out.
    pub(in crate::tools) async fn list(
        &self,
        settings: &ServerSettings,
        limits: &UpstreamLimits,
    ) -> Result<Listing, UpstreamError> {
        within(settings.connect_timeout, listing::tools(&self.link, limits)).await?
    }

    /// Ends when the connection has ended by itself. Over HTTP there is none that could.
    pub(super) async fn closed(&self) {
        match &self.link.wire {
            Wire::Http(_) => std::future::pending().await,
            Wire::Stdio(wire) => wire.closed().await,
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let link = Arc::clone(&self.link);
        if link.agreement.session.is_some() {
            runtime.spawn(async move {
                if let Wire::Http(wire) = &link.wire {
                    wire.end_session(&link.agreement).await;
                }
            });
        }
    }
}

pub(super) async fn within<T>(limit: Duration, work: impl Future<Output = T>) -> Result<T, UpstreamError> {
    tokio::time::timeout(limit, work).await.map_err(|_| UpstreamError::Timeout { limit })
}

/// Hears what a server says by itself: that its tools changed. A server that does not offer to say it is not listened to.
fn follow(link: &Arc<Link>) -> Option<impl Future<Output = ()> + use<>> {
    let tools = link.agreement.capabilities.get("tools");
    let tells = tools.and_then(|tools| tools.get("listChanged")).and_then(serde_json::Value::as_bool);
    let over_http = matches!(link.wire, Wire::Http(_));
    let stateless = link.is_stateless();
    (tells == Some(true) && (over_http || stateless)).then(|| follow_always(link))
}

fn follow_always(link: &Arc<Link>) -> impl Future<Output = ()> + use<> {
    let stateless = link.is_stateless();
    let link = Arc::downgrade(link);
    async move {
        loop {
            let Some(link) = link.upgrade() else { return };
            let heard = if stateless { subscribe(&link).await } else { hear(&link).await };
            drop(link);
            match heard {
                // The server has no such stream: its tools are asked for at intervals all the same.
                Err(Failure::Status(405 | 404 | 400 | 501) | Failure::Refused(_)) => return,
                Err(error) => tracing::debug!(%error, "the server's own stream ended"),
                Ok(()) => {}
            }
            tokio::time::sleep(STREAM_PAUSE).await;
        }
    }
}

async fn hear(link: &Arc<Link>) -> Result<(), Failure> {
    match &link.wire {
        Wire::Http(wire) => wire.read_own_stream(link).await,
        Wire::Stdio(_) => Ok(()),
    }
}

/// `subscriptions/listen` (2026-07-28): a request whose answer is a stream of notifications.
async fn subscribe(link: &Arc<Link>) -> Result<(), Failure> {
    let params = crate::mcp::object(json!({ "notifications": { "toolsListChanged": true } }));
    link.request(Outgoing::new("subscriptions/listen", params)).await.map(drop)
}
