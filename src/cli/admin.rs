//! `caxton admin`: what is done in an incident. `caxton api`: how the running gateway is.

use clap::Subcommand;

use super::auth::Place;
use super::auth_tokens;
use super::output::{Exit, Output};
use super::remote::Remote;

/// What to do in an incident.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// End every session and every token that was made until now, of other issuers too; API keys stay
    ///
    /// Example: `caxton admin revoke-all-sessions`
    RevokeAllSessions {
        /// Where the keys are
        #[command(flatten)]
        place: Place,
    },
}

/// What to ask a running gateway.
#[derive(Debug, Subcommand)]
pub enum ApiCommand {
    /// Which ways to prove oneself are open, and whether they work; exit code 1 when one does not
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
        Command::RevokeAllSessions { place } => auth_tokens::revoke_all(place, output),
    }
}

/// Runs the command.
pub fn ask(command: &ApiCommand, output: &Output) -> anyhow::Result<Exit> {
    match command {
        ApiCommand::AuthStatus { remote } => auth_tokens::status(remote, output),
    }
}
