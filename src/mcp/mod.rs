//! The vocabulary of the Model Context Protocol that both ends of the gateway share: JSON-RPC messages, protocol versions,
//! event streams and the header fields of version 2026-07-28.
//!
//! A message is read once, strictly, into [`Message`], and what goes on is what was read. Fields that nothing here knows
//! stay as they are.

mod events;
mod headers;
mod message;
mod uri;
mod version;

pub use events::{Event, EventReader, EventTooLarge};
pub use headers::{
    HEADER_LAST_EVENT, HEADER_METHOD, HEADER_NAME, HEADER_SESSION, HEADER_VERSION, HeaderMismatch, Needed,
    ParamHeaders, check_headers, request_headers,
};
pub use message::{Id, Message, RpcError, Unreadable, code};
pub(crate) use message::{object, one_field};
pub use uri::{NotPlain, check_name, check_template, check_uri};
pub use version::Version;

/// The extensions of the protocol that are passed on. What one adds is decided by policies, so no other is.
pub mod extension {
    use serde_json::{Map, Value as Json};

    /// Work that goes on after a call was answered (SEP-2663).
    pub const TASKS: &str = "io.modelcontextprotocol/tasks";
    /// Instructions for models, in files (SEP-2640).
    pub const SKILLS: &str = "io.modelcontextprotocol/skills";
    /// Pages of servers that clients show (SEP-1865).
    pub const APPS: &str = "io.modelcontextprotocol/ui";

    /// What capabilities say of an extension; none where it is not declared, or is no object.
    pub fn declared<'a>(
        capabilities: &'a Map<String, Json>,
        extension: &str,
    ) -> Option<&'a Map<String, Json>> {
        capabilities.get("extensions")?.get(extension)?.as_object()
    }

    /// Leaves only these extensions in what a client can do.
    pub fn keep(capabilities: &mut Map<String, Json>, passed_on: &[&str]) {
        // Tasks of 2025-11-25, which are not passed on.
        capabilities.remove("tasks");
        let Some(Json::Object(found)) = capabilities.get_mut("extensions") else {
            capabilities.remove("extensions");
            return;
        };
        found.retain(|name, declared| declared.is_object() && passed_on.contains(&name.as_str()));
        if found.is_empty() {
            capabilities.remove("extensions");
        }
    }
}

/// `_meta` keys that the protocol gives a meaning (version 2026-07-28, "General fields").
pub mod meta {
    /// The token under which the progress of a request is reported.
    pub const PROGRESS_TOKEN: &str = "progressToken";
    /// The protocol version of this request.
    pub const VERSION: &str = "io.modelcontextprotocol/protocolVersion";
    /// Name and version of the client.
    pub const CLIENT_INFO: &str = "io.modelcontextprotocol/clientInfo";
    /// Name and version of the server.
    pub const SERVER_INFO: &str = "io.modelcontextprotocol/serverInfo";
    /// What the client can do.
    pub const CLIENT_CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
    /// The prefix of keys that belong to the connection between two parties and do not go on to a third.
    pub const PROTOCOL_PREFIX: &str = "io.modelcontextprotocol/";
    /// The subscription that a notification belongs to.
    pub const SUBSCRIPTION_ID: &str = "io.modelcontextprotocol/subscriptionId";
    /// The least level of log messages that a request asks for.
    pub const LOG_LEVEL: &str = "io.modelcontextprotocol/logLevel";
    /// W3C trace context.
    pub const TRACEPARENT: &str = "traceparent";
}
