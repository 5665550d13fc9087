//! One upstream MCP server: its connection, its health, and calls with a deadline.
//!
//! The server is not trusted. It is offered no capability (no sampling, no roots, no elicitation), sees the
//! gateway's own credentials only, and every answer is bounded in size and time. A call is never tried twice:
//! the server may have carried it out.

mod client;
mod connection;
mod http;
mod lines;
mod message;
mod reconnect;
mod stdio;

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use rmcp::RoleClient;
use rmcp::model::{CallToolRequestParams, CallToolResponse, CallToolResult};
use rmcp::service::{Peer, ServiceError};
use serde_json::{Map, Value as Json};
use tokio::sync::{Notify, Semaphore};

use super::error::{ToolError, UpstreamError};
use super::result::ToolResult;
use super::settings::{ServerSettings, Settings};
use crate::text::one_line;

pub(super) use connection::Connection;
pub use connection::{Listing, offered};
pub(super) use reconnect::{Abandoned, keep_connected};

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
    let _ = message::read(bytes);
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
    /// It is not; tried again in the background.
    Down {
        /// Why, for the operator.
        reason: String,
    },
}

/// The channel for calls over one connection, and the signal that it failed.
#[derive(Debug)]
pub(super) struct CallChannel {
    peer: Peer<RoleClient>,
    broken: Notify,
}

/// A server as the registry holds it.
#[derive(Debug)]
pub(super) struct Upstream {
    pub(super) settings: ServerSettings,
    limits: UpstreamLimits,
    channel: ArcSwapOption<CallChannel>,
    health: Mutex<Health>,
    slots: Semaphore,
}

impl Upstream {
    pub(super) fn new(settings: ServerSettings, limits: UpstreamLimits) -> Self {
        Self {
            settings,
            limits,
            channel: ArcSwapOption::empty(),
            health: Mutex::new(Health::Down { reason: "not connected yet".to_owned() }),
            slots: Semaphore::new(limits.calls),
        }
    }

    pub(super) fn health(&self) -> Health {
        self.health.lock().clone()
    }

    /// Connects and lists the tools; calls are possible only after [`Upstream::up`].
    pub(super) async fn connect(&self) -> Result<(Connection, Listing), UpstreamError> {
        let connection = Connection::open(&self.settings, &self.limits).await?;
        let listing = connection.list(&self.settings, &self.limits).await?;
        Ok((connection, listing))
    }

    /// Opens the way for calls. INVARIANT: the listing of this connection was compared with the pins before.
    pub(super) fn up(&self, connection: &Connection) {
        self.channel.store(Some(connection.channel()));
        *self.health.lock() = Health::Up;
        tracing::info!(server = %self.settings.name, "upstream server connected");
    }

    pub(super) fn down(&self, reason: &dyn std::error::Error) {
        self.channel.store(None);
        let reason = super::error::chain(reason);
        tracing::warn!(server = %self.settings.name, reason, "upstream server not available");
        *self.health.lock() = Health::Down { reason };
    }

    /// Calls a tool by the server's own name for it.
    pub(super) async fn call(
        &self,
        name: &str,
        arguments: Map<String, Json>,
    ) -> Result<ToolResult, ToolError> {
        let limit = self.settings.call_timeout;
        let answer = tokio::time::timeout(limit, self.exchange(name, arguments)).await;
        let result = match answer {
            Err(_) => return Err(ToolError::Timeout { server: self.settings.name.clone(), limit }),
            Ok(result) => result?,
        };
        let result = ToolResult::from_mcp(result);
        let size = result.size();
        if size > self.limits.response_bytes {
            return Err(ToolError::TooLarge { size, limit: self.limits.response_bytes });
        }
        Ok(result)
    }

    async fn exchange(&self, name: &str, arguments: Map<String, Json>) -> Result<CallToolResult, ToolError> {
        let unavailable = || ToolError::Unavailable { server: self.settings.name.clone() };
        let _slot = self.slots.acquire().await.map_err(|_| unavailable())?;
        let channel = self.channel.load_full().ok_or_else(unavailable)?;
        let request = CallToolRequestParams::new(name.to_owned()).with_arguments(arguments);
        match channel.peer.call_tool_once(request).await {
            Ok(CallToolResponse::Complete(result)) => Ok(result),
            Ok(_) => Err(ToolError::NeedsMore { server: self.settings.name.clone() }),
            Err(ServiceError::McpError(error)) => Err(ToolError::Refused {
                server: self.settings.name.clone(),
                code: error.code.0,
                message: one_line(&error.message, 500),
            }),
            Err(error) => {
                // The next call finds a fresh connection, or none.
                channel.broken.notify_one();
                let reason = super::error::chain(&error);
                tracing::warn!(server = %self.settings.name, reason, "tool call failed");
                Err(unavailable())
            }
        }
    }
}
