//! Keeps the index of the decision log up to date, on threads of low priority: an index that is behind costs a reader time,
//! and never a decision.

use std::path::PathBuf;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::audit::index::{IndexError, IndexStep, Indexer};
use crate::heavy;

/// How often it is looked for new records.
const INTERVAL: Duration = Duration::from_secs(2);
/// How long it waits after an error.
const AFTER_ERROR: Duration = Duration::from_secs(60);

/// Follows the log until the gateway stops.
pub(super) async fn keep_index(log: PathBuf, stop: CancellationToken) {
    let mut indexer = None;
    loop {
        let log = log.clone();
        let stepped = heavy::compute(move || step(&log, indexer)).await;
        let wait = match stepped {
            Ok(Ok((kept, IndexStep::Written))) => {
                indexer = Some(kept);
                Duration::ZERO
            }
            Ok(Ok((kept, IndexStep::UpToDate))) => {
                indexer = Some(kept);
                INTERVAL
            }
            Ok(Err(error)) => {
                indexer = None;
                let help = error.help();
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, help, "the index of the decision log is not kept up to date");
                AFTER_ERROR
            }
            Err(_) => return,
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// One chunk at most, so that others who need the threads get them in between.
fn step(
    log: &std::path::Path,
    indexer: Option<Box<Indexer>>,
) -> Result<(Box<Indexer>, IndexStep), IndexError> {
    let mut indexer = match indexer {
        Some(indexer) => indexer,
        None => Box::new(Indexer::open(log)?),
    };
    let step = indexer.step()?;
    Ok((indexer, step))
}
