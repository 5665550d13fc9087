//! What can be asked for: the permission words, and one action for each tool.

use std::fmt;

use super::{EntityUid, HttpMethod, ToolId};

/// A Cedar action in `Caxton::Action`. The words are those of roles and API keys.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each variant is the permission word in `as_str`")]
pub enum Action {
    AgentList,
    AgentRead,
    MessageSend,
    MessageReceive,
    ToolList,
    /// `<server>___<tool>`, a member of `tool:call`.
    Tool(ToolId),
    MemoryRead,
    MemoryWrite,
    MemorySearch,
    MemoryDelete,
    ModelCall,
    PolicyRead,
    PolicyTest,
    PolicyPublish,
    PolicyRollback,
    AuditRead,
    ConfigRead,
    AuthToken,
    AuthLogout,
    AuthKeyCreate,
    AuthKeyList,
    AuthKeyRotate,
    AuthKeyRevoke,
    AuthSessionRevoke,
    EntityRead,
    EntityWrite,
    EntityImport,
    /// A request that a proxy asks about: `http:get` and so on.
    Http(HttpMethod),
}

impl Action {
    /// The action's id in Cedar and in the log.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Tool(id) => id.as_str(),
            named => named.metric_label(),
        }
    }

    /// The action for metrics: all tools are one, because a label must not be unbounded.
    pub fn metric_label(&self) -> &'static str {
        match self {
            Self::AgentList => "agent:list",
            Self::AgentRead => "agent:read",
            Self::MessageSend => "message:send",
            Self::MessageReceive => "message:receive",
            Self::ToolList => "tool:list",
            Self::Tool(_) => "tool:call",
            Self::MemoryRead => "memory:read",
            Self::MemoryWrite => "memory:write",
            Self::MemorySearch => "memory:search",
            Self::MemoryDelete => "memory:delete",
            Self::ModelCall => "model:call",
            Self::PolicyRead => "policy:read",
            Self::PolicyTest => "policy:test",
            Self::PolicyPublish => "policy:publish",
            Self::PolicyRollback => "policy:rollback",
            Self::AuditRead => "audit:read",
            Self::ConfigRead => "config:read",
            Self::AuthToken => "auth:token",
            Self::AuthLogout => "auth:logout",
            Self::AuthKeyCreate => "auth:key:create",
            Self::AuthKeyList => "auth:key:list",
            Self::AuthKeyRotate => "auth:key:rotate",
            Self::AuthKeyRevoke => "auth:key:revoke",
            Self::AuthSessionRevoke => "auth:session:revoke",
            Self::EntityRead => "entity:read",
            Self::EntityWrite => "entity:write",
            Self::EntityImport => "entity:import",
            Self::Http(method) => method.action(),
        }
    }

    /// The action's entity name.
    pub fn uid(&self) -> EntityUid {
        EntityUid::action(self.as_str())
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
