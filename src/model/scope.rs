//! Where a memory lives: with one agent, with a workspace, or with everybody.

use std::fmt;
use std::str::FromStr;

use super::{AgentId, Entity, EntityUid, IdError, Value, WorkspaceId};

/// One memory scope. Its text form is `agent:<id>`, `workspace:<id>` or `global`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MemoryScope {
    /// Private to one agent.
    Agent(AgentId),
    /// Shared by the agents of a workspace.
    Workspace(WorkspaceId),
    /// Shared by all.
    Global,
}

/// Why a text names no scope.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScopeError {
    /// Not one of the three forms.
    #[error("`{0}` is not a memory scope: use `agent:<id>`, `workspace:<id>` or `global`")]
    Form(String),
    /// The id is not well formed.
    #[error(transparent)]
    Id(#[from] IdError),
}

impl MemoryScope {
    /// `agent`, `workspace` or `global`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Agent(_) => "agent",
            Self::Workspace(_) => "workspace",
            Self::Global => "global",
        }
    }

    /// The scope's entity name, `Caxton::MemoryScope::"agent:researcher"`.
    pub fn uid(&self) -> EntityUid {
        EntityUid::caxton("MemoryScope", self.to_string())
    }

    /// The scope as a resource.
    pub fn entity(&self) -> Entity {
        self.mark(Entity::bare(self.uid()))
    }

    /// Gives a memory resource the attributes that say whose scope it is in: `scope`, `agent?`, `workspace?`.
    pub fn mark(&self, entity: Entity) -> Entity {
        let entity = entity.with("scope", Value::text(self.kind()));
        match self {
            Self::Agent(id) => entity.with("agent", Value::Entity(EntityUid::caxton("Agent", id.shared()))),
            Self::Workspace(id) => {
                entity.with("workspace", Value::Entity(EntityUid::caxton("Workspace", id.shared())))
            }
            Self::Global => entity,
        }
    }
}

impl fmt::Display for MemoryScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Agent(id) => write!(f, "agent:{id}"),
            Self::Workspace(id) => write!(f, "workspace:{id}"),
            Self::Global => f.write_str("global"),
        }
    }
}

impl FromStr for MemoryScope {
    type Err = ScopeError;

    fn from_str(text: &str) -> Result<Self, ScopeError> {
        match text.split_once(':') {
            Some(("agent", id)) => Ok(Self::Agent(AgentId::parse(id)?)),
            Some(("workspace", id)) => Ok(Self::Workspace(WorkspaceId::parse(id)?)),
            None if text == "global" => Ok(Self::Global),
            _ => Err(ScopeError::Form(text.chars().take(80).collect())),
        }
    }
}
