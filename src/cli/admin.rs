//! `caxton admin`: what is done in an incident. `caxton api`: how the running gateway is.

use clap::Subcommand;

use super::auth_tokens;
use super::installation::DataDirectory;
use super::output::{Exit, Output};
use super::remote::Remote;

/// What to do in an incident.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// End every session and every token that was issued until now, also of other issuers; API keys stay valid
    ///
    /// Example: `caxton admin revoke-all-sessions`
    RevokeAllSessions {
        /// Where the keys are
        #[command(flatten)]
        data_dir: DataDirectory,
    },
}

/// What to ask a running gateway.
#[derive(Debug, Subcommand)]
pub enum ApiCommand {
    /// Show which authentication methods are enabled and whether they work; exit code 1 when one does not
    ///
    /// Example: `caxton api auth-status --api-key-file admin.key`
    AuthStatus {
        /// Which gateway
        #[command(flatten)]
        remote: Remote,
    },
}

/// Runs the command.
pub fn run(command: &Command, output: &Output) -> anyhow::Result<Exit> {
    match command {
        Command::RevokeAllSessions { data_dir } => auth_tokens::revoke_all(data_dir, output),
    }
}

/// Runs the command.
pub fn ask(command: &ApiCommand, output: &Output) -> anyhow::Result<Exit> {
    match command {
        ApiCommand::AuthStatus { remote } => auth_tokens::status(remote, output),
    }
}
