//! `caxton audit`: verify, search, follow and export the decision log.
//!
//! Everything in the log that came from outside is shown with hidden characters made visible, so that a name
//! cannot move the cursor of the terminal it is shown on.

mod export;
mod filter;
mod index;
mod prove;
mod query;
mod rows;
mod show;
mod tail;
mod verify;

use clap::Subcommand;

use self::prove::{CheckProofOptions, LogProofOptions};
use self::verify::VerifyOptions;
pub(super) use self::verify::sound;
use super::output::{Exit, Output};
use crate::audit::escape_json;
use crate::audit::query::time_span;

/// What to do with the decision log.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Check that no record was changed, deleted, moved or spliced. Exit code 1 when one was.
    #[command(
        after_help = "Example:\n  caxton audit verify .caxton/audit.log --checkpoint kept/audit.log.checkpoint"
    )]
    Verify(VerifyOptions),
    /// Prove that a record is in the log, or that the log continues an older checkpoint.
    #[command(after_help = "Example:\n  caxton audit prove 4711 > 4711.proof")]
    Prove(LogProofOptions),
    /// Check a proof without the log. Exit code 1 when it does not hold.
    #[command(
        name = "check-proof",
        after_help = "Example:\n  caxton audit check-proof 4711.proof --record 4711.json --key audit.log.pub"
    )]
    CheckProof(CheckProofOptions),
    /// Show the newest records that match.
    #[command(after_help = "Example:\n  caxton audit query --decision deny --agent researcher --last 24h")]
    Query(Box<query::QueryOptions>),
    /// Show one decision, request or record for a person: who, what, why, under which circumstances.
    #[command(after_help = "Example:\n  caxton audit show 01a1fc7c-3fe6-7149-bb80-52030ba4142f")]
    Show(show::ShowOptions),
    /// Show the last records, and with `--follow` those that come.
    #[command(after_help = "Example:\n  caxton audit tail --follow --decision deny")]
    Tail(Box<tail::TailOptions>),
    /// Write the records that match to a file for another program, oldest first: with `--format json` the lines of the log, with
    /// `--format csv` fixed columns, with `--format ocsf` and so on as a SIEM reads them.
    #[command(
        after_help = "Example:\n  caxton audit export --format csv --from 2026-01-01 --output january.csv"
    )]
    Export(Box<export::ExportOptions>),
    /// Bring the index beside the log up to date, or build it anew. A gateway that runs does so by itself.
    #[command(after_help = "Example:\n  caxton audit index --rebuild")]
    Index(index::IndexOptions),
}

/// Runs the command.
pub fn run(command: Command, output: &Output) -> anyhow::Result<Exit> {
    match command {
        Command::Verify(options) => verify::verify(options, output),
        Command::Prove(options) => prove::prove(options, output),
        Command::CheckProof(options) => prove::check_proof(&options, output),
        Command::Query(asked) => query::run(*asked, output),
        Command::Show(asked) => show::run(&asked, output),
        Command::Tail(asked) => tail::run(*asked, output),
        Command::Export(asked) => export::run(*asked, output),
        Command::Index(asked) => index::run(&asked, output),
    }
}

/// JSON in which nothing is hidden.
fn plain_json(json: &str) -> String {
    let mut plain = String::with_capacity(json.len());
    escape_json(json, &mut plain);
    plain
}

/// A time span in milliseconds.
pub(super) fn span_millis(text: &str) -> anyhow::Result<i64> {
    Ok(time_span(text)?)
}

#[cfg(test)]
mod tests;
