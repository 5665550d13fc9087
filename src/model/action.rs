//! What can be asked for: the permission words, and one action for each tool.

use std::fmt;

use super::{EntityUid, HttpMethod, ToolId};

macro_rules! actions {
    ($($name:ident = $word:literal,)*) => {
        /// A Cedar action in `Caxton::Action`. The words are those of roles and API keys.
        #[derive(Debug, Clone, PartialEq, Eq, Hash)]
        pub enum Action {
            $(#[doc = concat!("`", $word, "`")] $name,)*
            /// `<server>___<tool>`, a member of `tool:call`.
            Tool(ToolId),
            /// A request that a proxy asks about: `http:get` and so on.
            Http(HttpMethod),
        }

        /// An action without the name of a single tool: what a route is for, and what a metric counts.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum ActionKind {
            $(#[doc = concat!("`", $word, "`")] $name,)*
            /// `tool:call`, the group of all tools.
            ToolCall,
            /// `http:get` and so on.
            Http(HttpMethod),
        }

        impl Action {
            /// Its kind.
            pub fn kind(&self) -> ActionKind {
                match self {
                    $(Self::$name => ActionKind::$name,)*
                    Self::Tool(_) => ActionKind::ToolCall,
                    Self::Http(method) => ActionKind::Http(*method),
                }
            }
        }

        impl ActionKind {
            /// The permission word.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $word,)*
                    Self::ToolCall => "tool:call",
                    Self::Http(method) => method.action(),
                }
            }
        }
    };
}

actions! {
    AgentList = "agent:list",
    AgentRead = "agent:read",
    MessageSend = "message:send",
    MessageReceive = "message:receive",
    ToolList = "tool:list",
    PromptList = "prompt:list",
    PromptGet = "prompt:get",
    ResourceList = "resource:list",
    ResourceRead = "resource:read",
    ResourceSubscribe = "resource:subscribe",
    CompletionComplete = "completion:complete",
    TaskGet = "task:get",
    TaskUpdate = "task:update",
    TaskCancel = "task:cancel",
    AppRead = "app:read",
    SkillList = "skill:list",
    SkillGet = "skill:get",
    SamplingCreate = "sampling:create",
    ElicitationCreate = "elicitation:create",
    RootsList = "roots:list",
    LoggingSet = "logging:set",
    MemoryRead = "memory:read",
    MemoryWrite = "memory:write",
    MemorySearch = "memory:search",
    MemoryDelete = "memory:delete",
    ModelCall = "model:call",
    PolicyRead = "policy:read",
    PolicyTest = "policy:test",
    PolicyPublish = "policy:publish",
    PolicyRollback = "policy:rollback",
    AuditRead = "audit:read",
    AuditExport = "audit:export",
    AuditRecord = "audit:record",
    ConfigRead = "config:read",
    MetricsRead = "metrics:read",
    AuthToken = "auth:token",
    AuthLogout = "auth:logout",
    AuthKeyCreate = "auth:key:create",
    AuthKeyList = "auth:key:list",
    AuthKeyRotate = "auth:key:rotate",
    AuthKeyRevoke = "auth:key:revoke",
    AuthSessionRevoke = "auth:session:revoke",
    AuthConnection = "auth:connection",
    EntityRead = "entity:read",
    EntityWrite = "entity:write",
    EntityImport = "entity:import",
}

impl Action {
    /// The action's id in Cedar and in the log.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Tool(id) => id.as_str(),
            named => named.kind().as_str(),
        }
    }

    /// The action's entity name.
    pub fn uid(&self) -> EntityUid {
        EntityUid::action(self.as_str())
    }
}

impl fmt::Display for ActionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
