//! An open connection to a server, and the bounded question for its tools.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use rmcp::model::{
    ClientCapabilities, ClientConfig, ClientRequest, Implementation, ListToolsRequest,
    PaginatedRequestParams, ServerResult,
};
use rmcp::service::{NotificationContext, Peer, RunningService};
use rmcp::{ClientHandler, RoleClient, ServiceExt as _};
use tokio::sync::Notify;

use crate::tools::arguments::ArgumentSchema;
use crate::tools::definition::{Definition, DefinitionError};
use crate::tools::error::UpstreamError;
use crate::tools::settings::{ServerSettings, Settings, Transport};

use super::stdio::Child;
use super::{CallChannel, UpstreamLimits, http, stdio};
use crate::text::one_line;

/// The most pages of one listing; a server that sends ever new cursors is cut off here.
const MAX_PAGES: usize = 64;

/// The gateway's side of the protocol: it offers a server nothing.
#[derive(Debug)]
pub(super) struct Handler {
    changed: Arc<Notify>,
}

impl ClientHandler for Handler {
    fn get_info(&self) -> ClientConfig {
        ClientConfig::new(
            ClientCapabilities::default(),
            Implementation::new("caxton", env!("CARGO_PKG_VERSION")),
        )
    }

    async fn on_tool_list_changed(&self, _: NotificationContext<RoleClient>) {
        self.changed.notify_one();
    }
}

/// The tools that a server offers now.
#[derive(Debug, Default)]
pub struct Listing {
    /// Definitions within the budget, each with a schema that arguments can be checked against.
    pub definitions: Vec<Definition>,
    /// The tools that were left out, and why.
    pub refused: Vec<(String, DefinitionError)>,
}

/// Asks `server` for its tools, and disconnects.
pub async fn offered(server: &ServerSettings, settings: &Settings) -> Result<Listing, UpstreamError> {
    let limits = UpstreamLimits::from(settings);
    Connection::open(server, &limits).await?.list(server, &limits).await
}

/// A connection; dropping it ends it, and the child process with it.
#[derive(Debug)]
pub(in crate::tools) struct Connection {
    running: RunningService<RoleClient, Handler>,
    channel: Arc<CallChannel>,
    changed: Arc<Notify>,
    child: Option<Child>,
}

impl Connection {
    pub(in crate::tools) async fn open(
        settings: &ServerSettings,
        limits: &UpstreamLimits,
    ) -> Result<Self, UpstreamError> {
        let changed = Arc::new(Notify::new());
        let handler = Handler { changed: Arc::clone(&changed) };
        let (running, child) = match &settings.transport {
            Transport::Http { url, headers } => {
                let transport = http::transport(url, headers, settings.connect_timeout, limits)?;
                (within(settings.connect_timeout, handler.serve(transport)).await?, None)
            }
            Transport::Stdio { command, args, env } => {
                let (transport, child) = stdio::spawn(&settings.name, command, args, env, limits)?;
                (within(settings.connect_timeout, handler.serve(transport)).await?, Some(child))
            }
        };
        let running =
            running.map_err(|error| UpstreamError::Handshake(hidden(&settings.transport, error)))?;
        let channel = Arc::new(CallChannel { peer: running.peer().clone(), broken: Notify::new() });
        Ok(Self { running, channel, changed, child })
    }

    pub(super) fn channel(&self) -> Arc<CallChannel> {
        Arc::clone(&self.channel)
    }

    /// Asks for the tools. A server with too many is refused as a whole; a single bad definition is left out.
    pub(in crate::tools) async fn list(
        &self,
        settings: &ServerSettings,
        limits: &UpstreamLimits,
    ) -> Result<Listing, UpstreamError> {
        within(settings.connect_timeout, list(&self.channel.peer, &settings.transport, limits)).await?
    }

    pub(super) fn parts(self) -> (RunningService<RoleClient, Handler>, Arc<Notify>, Option<Child>) {
        (self.running, self.changed, self.child)
    }
}

pub(super) async fn within<T>(limit: Duration, work: impl Future<Output = T>) -> Result<T, UpstreamError> {
    tokio::time::timeout(limit, work).await.map_err(|_| UpstreamError::Timeout { limit })
}

/// The error as it may be seen: the library's own names the whole address.
fn hidden(transport: &Transport, error: impl Error + Send + Sync + 'static) -> Box<dyn Error + Send + Sync> {
    match transport {
        Transport::Http { url, .. } => Box::new(url.hide_in(&error)),
        Transport::Stdio { .. } => Box::new(error),
    }
}

pub(super) async fn list(
    peer: &Peer<RoleClient>,
    transport: &Transport,
    limits: &UpstreamLimits,
) -> Result<Listing, UpstreamError> {
    let mut listing = Listing::default();
    let mut cursor = None;
    let mut seen = 0;
    for _ in 0..MAX_PAGES {
        let params = PaginatedRequestParams::default().with_cursor(cursor.take());
        // Not `Peer::list_tools`: it may answer from a cache whose age the server decides.
        let request = ClientRequest::ListToolsRequest(ListToolsRequest {
            method: Default::default(),
            params: Some(params),
            extensions: Default::default(),
        });
        let answer = peer
            .send_request(request)
            .await
            .map_err(|error| UpstreamError::Listing(hidden(transport, error)))?;
        let ServerResult::ListToolsResult(page) = answer else {
            return Err(UpstreamError::NotATools);
        };
        seen += page.tools.len();
        if seen > limits.tools {
            return Err(UpstreamError::TooManyTools { limit: limits.tools });
        }
        for tool in page.tools {
            read_tool(&tool, limits, &mut listing);
        }
        match page.next_cursor {
            None => return Ok(listing),
            next => cursor = next,
        }
    }
    Err(UpstreamError::TooManyPages { limit: MAX_PAGES })
}

fn read_tool(tool: &rmcp::model::Tool, limits: &UpstreamLimits, listing: &mut Listing) {
    let read = serde_json::to_value(tool)
        .map_err(|error| DefinitionError::Shape(one_line(&error.to_string(), 200)))
        .and_then(|mut json| {
            // It is not shown, so it does not count into the budget.
            if let Some(fields) = json.as_object_mut() {
                fields.remove("_meta");
                fields.remove("icons");
            }
            let definition = Definition::read(&json, limits.definition_bytes)?;
            ArgumentSchema::compile(&definition.input_schema)?;
            Ok(definition)
        });
    match read {
        // It is undecidable which of the two is meant.
        Ok(definition) if listing.definitions.iter().any(|known| known.name == definition.name) => {
            listing.definitions.retain(|known| known.name != definition.name);
            listing.refused.push((definition.name, DefinitionError::Twice));
        }
        Ok(definition) if listing.refused.iter().any(|(name, _)| *name == definition.name) => {
            listing.refused.push((definition.name, DefinitionError::Twice));
        }
        Ok(definition) => listing.definitions.push(definition),
        Err(error) => listing.refused.push((one_line(&tool.name, 80), error)),
    }
}
