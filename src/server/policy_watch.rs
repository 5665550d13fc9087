//! Detects changes of policies: files, publications, the emergency lock, a bundle on a web server.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_lc_rs::digest::{SHA256, digest};
use tokio_util::sync::CancellationToken;

use super::build::Parts;
use super::file_watch;
use crate::blocking;
use crate::changes::{Cause, PolicySource, Reloader};
use crate::config::{FollowSettings, RemoteSettings};
use crate::policy::live::Origin;
use crate::policy::version::{BundleServer, RemoteError};
use crate::shared_state::{EngagedLock, Unavailable};

/// Follows the source of the policies until the gateway stops.
pub(super) async fn source(parts: Arc<Parts>, settings: FollowSettings, stop: CancellationToken) {
    let reloader = Arc::clone(&parts.reloader);
    let following = async {
        match reloader.loader().source.clone() {
            PolicySource::Store { .. } => follow_store(&reloader, settings.poll).await,
            PolicySource::Files { policy_dir, schema_dir, roles_file, .. } if settings.watch => {
                let candidate = reloader.loader().candidate_dir.clone();
                let paths = [policy_dir, schema_dir, roles_file, candidate].into_iter().flatten().collect();
                file_watch::files(&reloader, &parts.api, paths, &settings).await;
            }
            PolicySource::Files { .. } => {}
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = following => {}
    }
}

/// Records when the emergency lock is engaged and when it is taken away.
pub(super) async fn lock(reloader: Arc<Reloader>, settings: FollowSettings, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(settings.poll);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        reloader.check_lock().await;
    }
}

/// The state of a store; when it changes, the store is read.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct StoreState {
    newest: Option<u64>,
    /// Of the newest publication with its signatures, which may come later.
    revision: Option<String>,
    trusted_keys: Option<SystemTime>,
    /// The emergency lock; an error while it cannot be asked.
    locked: Option<Result<Option<EngagedLock>, Unavailable>>,
}

async fn follow_store(reloader: &Arc<Reloader>, poll: Duration) {
    let mut before = store_state(reloader).await;
    // What was published while the gateway came up is not missed.
    let mut first = match &reloader.policy().live().origin {
        Origin::Published { seen, .. } => before.newest != Some(seen.sequence),
        Origin::Files => true,
    };
    let mut ticks = tokio::time::interval(poll);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let now = store_state(reloader).await;
        if now != before || first {
            before = now;
            // What is refused is on record; it is tried again when something changes, or when time alone may help.
            first = reloader.reload(Cause::Watch).await.is_err_and(|error| error.may_pass());
        }
    }
}

async fn store_state(reloader: &Arc<Reloader>) -> StoreState {
    let reloader = Arc::clone(reloader);
    let looked = blocking::run(move || {
        let PolicySource::Store { store, trusted_keys } = &reloader.loader().source else {
            return StoreState::default();
        };
        let touched = |path: &PathBuf| std::fs::metadata(path).and_then(|found| found.modified()).ok();
        StoreState {
            newest: store.numbers().ok().and_then(|numbers| numbers.last().copied()),
            revision: store.revision().ok().flatten(),
            trusted_keys: trusted_keys.as_ref().and_then(touched),
            locked: Some(reloader.engaged()),
        }
    });
    looked.await.unwrap_or_default()
}

/// Fetches bundles until the gateway stops. The store keeps the last good one.
pub(super) async fn remote(reloader: Arc<Reloader>, settings: FollowSettings, stop: CancellationToken) {
    let Some(settings) = settings.remote else { return };
    tokio::select! {
        () = stop.cancelled() => {}
        () = fetch_until_stopped(&reloader, &settings) => {}
    }
}

async fn fetch_until_stopped(reloader: &Arc<Reloader>, settings: &RemoteSettings) {
    let mut remote = match BundleServer::new(settings.url.clone(), reloader.settings().max_bundle_bytes) {
        Ok(remote) => remote,
        Err(error) => return reloader.refuse(Cause::Remote, &with_cause(&error)).await,
    };
    let mut failures = 0_u32;
    // A server without tags sends the same bundle each time: it is checked once, and a failure is recorded once.
    let mut last_bytes = None;
    let mut last_failure = None;
    // One that was refused is tried again when that may help: at once for what passes by itself, else when the trusted
    // keys, the store or the emergency lock have changed.
    let mut refused: Option<(Vec<u8>, bool)> = None;
    let mut before = store_state(reloader).await;
    loop {
        match remote.fetch().await {
            Ok(fetched) => {
                (failures, last_failure) = (0, None);
                let fresh = fetched.filter(|bytes| {
                    let found = Some(digest(&SHA256, bytes).as_ref().to_vec());
                    std::mem::replace(&mut last_bytes, found.clone()) != found
                });
                let now = store_state(reloader).await;
                let again = refused.take_if(|(_, soon)| *soon || now != before).map(|(bytes, _)| bytes);
                before = now;
                if let Some(bytes) = fresh.or(again) {
                    let received = reloader.receive(bytes.clone()).await;
                    refused = received.err().map(|error| (bytes, error.may_pass()));
                }
            }
            Err(error) => {
                failures = failures.saturating_add(1);
                let why = with_cause(&error);
                if last_failure.as_ref() != Some(&why) {
                    reloader.refuse(Cause::Remote, &why).await;
                    last_failure = Some(why);
                }
            }
        }
        tokio::time::sleep(wait(settings, failures)).await;
    }
}

/// Twice as long after each failure, so that not all gateways ask a recovering server at once.
fn wait(settings: &RemoteSettings, failures: u32) -> Duration {
    let factor = 2_u32.saturating_pow(failures.min(16));
    settings.interval.saturating_mul(factor).min(settings.longest_wait.max(settings.interval))
}

fn with_cause(error: &RemoteError) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_and_ends_somewhere() {
        let settings = RemoteSettings {
            url: "http://127.0.0.1/".parse().unwrap(),
            interval: Duration::from_secs(10),
            longest_wait: Duration::from_secs(60),
        };
        let waits: Vec<u64> = [0, 1, 2, 3, 40].map(|failures| wait(&settings, failures).as_secs()).into();
        assert_eq!(waits, [10, 20, 40, 60, 60]);
    }
}
