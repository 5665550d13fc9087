//! Deployed agents: markdown files with YAML front matter, read strictly and held in one register.
//!
//! An agent is what its definition says and nothing more: the guard takes its attributes from here, not from what
//! the credential claims.

mod defined;
mod definition;
mod permission;
mod register;

pub use defined::{DefinedAgent, defined_agents};
pub use definition::{AgentDefinition, AgentDefinitionError, DEFAULT_WORKSPACE, HandlerName, MemoryPlan};
pub use permission::AgentPermission;
pub use register::{ACTIVE, Agent, AgentProblem, AgentSnapshot, Digests, Loaded, Register, RegisterDraft};

use std::path::PathBuf;

/// The directory of agents, and the limit of their number.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The directory of `*.md` files; `None` for no agents.
    pub directory: Option<PathBuf>,
    /// The most agents. Default 50.
    pub max_agents: usize,
    /// The largest file, in bytes. Default 64 KiB.
    pub max_file_bytes: u64,
    /// Capabilities that no agent may declare.
    pub forbidden_capabilities: Vec<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            directory: None,
            max_agents: 50,
            max_file_bytes: 64 * 1024,
            forbidden_capabilities: vec!["system_admin".to_owned(), "file_system_write".to_owned()],
        }
    }
}
