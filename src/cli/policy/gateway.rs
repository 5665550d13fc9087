//! The world of a gateway by its files alone: approved tools, deployed agents, the names in its configuration, and on
//! request what its store of attributes holds.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::Context as _;

use super::folders::PolicyFolders;
use super::render::{PLAIN, YELLOW};
use crate::agents::{DefinedAgent, defined_agents};
use crate::attributes::{Attributes, Snapshot};
use crate::authz::KnownAttributes;
use crate::cli::output::Output;
use crate::model::{Entity, EntityUid};
use crate::server::Settings;
use crate::text::clean;
use crate::tools::{KnownTools, approved_tools};
use crate::workbench::case::KnownWorld;

/// How much of the gateway's world there is.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct WorldOptions {
    /// With `--config`: also what the gateway's store of attributes holds now
    #[arg(long, requires = "config")]
    pub attributes: bool,
}

/// What a gateway has by its files.
pub(in crate::cli) struct OfflineGateway {
    agents: Vec<DefinedAgent>,
    tools: Vec<Arc<Entity>>,
    servers: Vec<String>,
    problems: Vec<String>,
}

impl OfflineGateway {
    /// Reads agents and pins. What is wrong with an agent's file is a problem of that agent.
    pub(in crate::cli) fn read(settings: &Settings) -> anyhow::Result<Self> {
        let tools = approved_tools(&settings.tools).context("the approved tools cannot be read")?;
        let known = KnownTools::read(&settings.tools).context("the approved tools cannot be read")?;
        let (agents, problems) = defined_agents(&settings.agents, &known);
        let mut servers = vec!["builtin".to_owned()];
        servers.extend(settings.tools.servers.iter().map(|server| server.name.to_string()));
        let mut problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
        for agent in &agents {
            let said = agent.definition.warnings.iter();
            problems.extend(said.map(|warning| format!("{}: {warning}", agent.path.display())));
        }
        Ok(Self { agents, tools, servers, problems })
    }

    /// What is wrong, for the operator: one line each.
    pub(in crate::cli) fn problems(&self) -> &[String] {
        &self.problems
    }

    /// Whether there is an agent of this name.
    pub(in crate::cli) fn has_agent(&self, id: &str) -> bool {
        self.agents.iter().any(|agent| agent.definition.id.as_str() == id)
    }

    /// What a decision would know, with a snapshot of the store.
    pub(in crate::cli) fn attributes(
        &self,
        settings: &Settings,
        snapshot: Arc<Snapshot>,
    ) -> Arc<dyn KnownAttributes> {
        let agents = self.agents.iter().map(|agent| &agent.entity);
        let definitions = agents.chain(&self.tools).cloned().collect::<Vec<_>>();
        Attributes::of_files(settings.attributes.clone(), definitions, snapshot)
    }

    /// The same as the world of tests and questions.
    fn world(&self, settings: &Settings, snapshot: Snapshot) -> KnownWorld {
        let mut names: BTreeSet<EntityUid> =
            snapshot.after(None).map(|entry| entry.entity.uid.clone()).collect();
        names.extend(snapshot.after(None).flat_map(|entry| entry.entity.parents.iter().cloned()));
        for entity in self.agents.iter().map(|agent| &agent.entity).chain(&self.tools) {
            names.insert(entity.uid.clone());
            names.extend(entity.parents.iter().cloned());
        }
        names.extend(self.servers.iter().map(|server| EntityUid::caxton("McpServer", server.as_str())));
        KnownWorld::new(self.attributes(settings, Arc::new(snapshot)), names)
    }
}

/// The world of the gateway that `--config` names; none without it.
pub(super) fn known_world(
    folders: &PolicyFolders,
    options: &WorldOptions,
    output: &Output,
) -> anyhow::Result<Option<KnownWorld>> {
    let Some(settings) = folders.settings(output)? else { return Ok(None) };
    let gateway = OfflineGateway::read(&settings)?;
    for problem in gateway.problems() {
        output.say(format_args!("{YELLOW}warning{PLAIN}: {}", clean(problem)));
    }
    let snapshot = match options.attributes {
        true => Attributes::look(&settings.attributes).context("the store of attributes cannot be read")?,
        false => Snapshot::default(),
    };
    Ok(Some(gateway.world(&settings, snapshot)))
}
