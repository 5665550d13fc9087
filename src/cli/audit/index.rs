//! `caxton audit index`.

use clap::Args;
use serde::Serialize;

use crate::audit::index::{IndexStep, Indexer, index_path};
use crate::audit::tail;
use crate::cli::installation::LogFile;
use crate::cli::output::{Exit, Output};

/// How.
#[derive(Debug, Args)]
pub struct IndexOptions {
    /// Throw the index away and read the whole log.
    #[arg(long)]
    rebuild: bool,
    #[command(flatten)]
    log: LogFile,
}

#[derive(Serialize)]
struct Indexed {
    /// Number of the last record of the log.
    last: u64,
    /// Number of the last record that is in the index.
    indexed: u64,
    index: String,
    bytes: u64,
}

pub(super) fn run(asked: &IndexOptions, output: &Output) -> anyhow::Result<Exit> {
    let log = asked.log.path(output)?;
    let last = tail(&log, 0)?.position();
    let opened = if asked.rebuild { Indexer::rebuild(&log) } else { Indexer::open(&log) };
    let mut indexer = match opened {
        Ok(indexer) => indexer,
        Err(error) => anyhow::bail!("{error}\nhelp: {}", error.help()),
    };
    let begin = indexer.indexed()?;
    let bar = indicatif::ProgressBar::new(last.saturating_sub(begin));
    loop {
        match indexer.step() {
            Ok(IndexStep::Written) => bar.set_position(indexer.indexed()?.saturating_sub(begin)),
            Ok(IndexStep::UpToDate) => break,
            Err(error) => {
                bar.finish_and_clear();
                anyhow::bail!("{error}\nhelp: {}", error.help());
            }
        }
    }
    bar.finish_and_clear();
    let path = index_path(&log);
    let bytes = std::fs::symlink_metadata(&path).map_or(0, |found| found.len());
    let indexed = indexer.indexed()?;
    let shown =
        Indexed { last: indexer.position().max(last), indexed, index: path.display().to_string(), bytes };
    output.data(&shown, |shown| {
        format!(
            "{} of {} records are in `{}` ({} bytes); the others are read from the log",
            shown.indexed, shown.last, shown.index, shown.bytes
        )
    })?;
    Ok(Exit::Fine)
}
