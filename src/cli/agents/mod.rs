//! `caxton agents`: about agents and what may be changed under them; reads files, no gateway needs to run.

mod hot_reload;
mod validate;

use std::path::PathBuf;
use std::sync::Arc;

use super::installation::ConfigFile;
use super::output::{Exit, Output};
use crate::agents::Register;
use crate::limit::LocalCounters;
use crate::sandbox::Sandbox;
use crate::server::Settings;
use crate::telemetry::Metrics;
use crate::tools::KnownTools;

/// What to do with agents.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Show how changes of policies and agents are controlled. Exit code 1 when something is wrong.
    #[command(after_help = "Example:\n  caxton agents hot-reload-security-status --config caxton.yaml")]
    HotReloadSecurityStatus {
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Check agent files as the gateway reads them. Exit code 1 when one is refused.
    #[command(after_help = "Example:\n  caxton agents validate agents/clerk.md --config caxton.yaml")]
    Validate {
        /// The files.
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Check every agent file of the gateway. Exit code 1 when one is refused.
    #[command(after_help = "Example:\n  caxton agents validate-all --security-audit --config caxton.yaml")]
    ValidateAll {
        /// Also show what each agent may do by its file.
        #[arg(long, visible_aliases = ["verbose", "security-check"])]
        security_audit: bool,
        #[command(flatten)]
        config: ConfigFile,
    },
}

/// Runs one of the commands.
pub fn run(command: &Command, output: &Output) -> anyhow::Result<Exit> {
    let (Command::HotReloadSecurityStatus { config }
    | Command::Validate { config, .. }
    | Command::ValidateAll { config, .. }) = command;
    let settings = match config.offline(output)? {
        Ok(loaded) => loaded.settings,
        Err(exit) => return Ok(exit),
    };
    match command {
        Command::HotReloadSecurityStatus { .. } => hot_reload::run(&settings, output),
        Command::Validate { files, .. } => validate::files(files, &settings, output),
        Command::ValidateAll { security_audit, .. } => validate::all(*security_audit, &settings, output),
    }
}

/// The register of the settings, not loaded, and the tools that agents may name.
pub(super) fn register(settings: &Settings) -> anyhow::Result<(Register, KnownTools)> {
    let metrics = Arc::new(Metrics::new());
    let sandbox = Sandbox::new(settings.sandbox.clone(), Arc::clone(&metrics))?;
    let counters = Arc::new(LocalCounters::new(Arc::clone(&metrics)));
    let known = KnownTools::read(&settings.tools)?;
    Ok((Register::new(settings.agents.clone(), sandbox, metrics, counters), known))
}
