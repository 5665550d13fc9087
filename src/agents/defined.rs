//! The agents of a directory as policies see them, by their files alone: no handler is compiled, and nothing is put in
//! force.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use super::Settings;
use super::definition::AgentDefinition;
use super::register::{AgentProblem, agent_files, entity, read_definition};
use crate::model::Entity;
use crate::tools::KnownTools;

/// An agent that a gateway with this directory would have.
#[derive(Debug)]
pub struct DefinedAgent {
    /// Its file.
    pub path: PathBuf,
    /// What stands in it.
    pub definition: AgentDefinition,
    /// The agent as policies see it.
    pub entity: Arc<Entity>,
}

/// The agents of the directory, and the files that are none. `known` are the tools that the files may name.
pub fn defined_agents(settings: &Settings, known: &KnownTools) -> (Vec<DefinedAgent>, Vec<AgentProblem>) {
    let (mut agents, mut problems) = (Vec::new(), Vec::new());
    let mut ids = BTreeSet::new();
    for path in agent_files(settings, &mut problems) {
        match read_definition(settings, &path, known) {
            // What is too much or there twice, a start tells.
            Ok(definition) if agents.len() < settings.max_agents && ids.insert(definition.id.clone()) => {
                let entity = entity(&definition).into();
                agents.push(DefinedAgent { path, definition, entity });
            }
            Ok(_) => {}
            Err(problem) => problems.push(problem),
        }
    }
    (agents, problems)
}
