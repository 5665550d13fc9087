//! Keeps one server connected. Only this task connects, lists and publishes, so there is at most one attempt at a time.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::tools::error::UpstreamError;

use super::connection::{Connection, within};
use super::listing::{self, Listing};
use super::{Health, Upstream};

/// Attempts at a server that has just forgotten the session, before it counts as away.
const QUICK_ATTEMPTS: u32 = 3;
/// The pause between them.
const QUICK_PAUSE: Duration = Duration::from_millis(100);

/// Watches `first`, or connects; ends when `publish` returns [`Abandoned`].
///
/// `publish` compares a listing with the pins and takes it over, before the connection is opened for calls.
pub(in crate::tools) async fn keep_connected(
    upstream: Arc<Upstream>,
    first: Option<Connection>,
    mut publish: impl FnMut(Listing) -> Result<(), Abandoned> + Send,
) {
    let limits = upstream.limits;
    let for_accounts = upstream.health() == Health::NeedsAccount;
    let mut pause = if for_accounts { limits.refresh_interval } else { limits.retry_min };
    let mut current = first;
    let mut quick_attempts = 0;
    loop {
        if let Some(connection) = current.take() {
            let since = Instant::now();
            match watch(&upstream, connection, &mut publish).await {
                ConnectionEnd::Abandoned => return,
                // The server is there: it is connected to again at once.
                ConnectionEnd::SessionLost => {
                    pause = Duration::ZERO;
                    quick_attempts = QUICK_ATTEMPTS;
                }
                ConnectionEnd::Error(error) => {
                    upstream.down(&error);
                    // A server that connects and falls over at once does not get the short pause again.
                    if since.elapsed() > limits.retry_max {
                        pause = limits.retry_min;
                    }
                }
            }
        }
        wait(&upstream, pause).await;
        pause = match quick_attempts {
            0 if pause > limits.retry_max => limits.retry_min,
            0 => pause.saturating_mul(2).clamp(limits.retry_min, limits.retry_max),
            _ => QUICK_PAUSE,
        };
        match upstream.connect().await {
            Ok((connection, listing)) => {
                if publish(listing).is_err() {
                    return;
                }
                upstream.up(&connection);
                quick_attempts = 0;
                current = Some(connection);
            }
            Err(error) if upstream.is_for_accounts(&error) => {
                upstream.needs_account();
                pause = limits.refresh_interval;
            }
            // A server that starts anew breaks connections for a moment, while calls wait for the new session.
            Err(_) if quick_attempts > 0 => quick_attempts -= 1,
            Err(error) => upstream.down(&error),
        }
    }
}

/// The pause before the next attempt. A server for accounts is looked at sooner when a call found nobody there.
async fn wait(upstream: &Upstream, pause: Duration) {
    let elapsed = tokio::time::sleep(pause);
    if upstream.health() != Health::NeedsAccount {
        return elapsed.await;
    }
    tokio::select! {
        () = elapsed => {}
        () = upstream.doubted.notified() => tokio::time::sleep(upstream.limits.refresh_gap).await,
    }
    upstream.sweep(Instant::now());
}

/// The registry was dropped, so the connection is not needed any more.
#[derive(Debug)]
pub(in crate::tools) struct Abandoned;

enum ConnectionEnd {
    Abandoned,
    /// The server no longer knows the session.
    SessionLost,
    Error(UpstreamError),
}

async fn watch(
    upstream: &Upstream,
    connection: Connection,
    publish: &mut (impl FnMut(Listing) -> Result<(), Abandoned> + Send),
) -> ConnectionEnd {
    let link = Arc::clone(connection.link());
    // The first change is looked at once; more of them no sooner than after the gap.
    let mut next_look = Instant::now();
    loop {
        tokio::select! {
            () = connection.closed() => return ConnectionEnd::Error(UpstreamError::Closed),
            () = upstream.session_lost.notified() => {
                // It may have been told of the connection before this one, which was replaced meanwhile.
                if upstream.link().is_some_and(|used| Arc::ptr_eq(&used, &link)) {
                    continue;
                }
                return ConnectionEnd::SessionLost;
            }
            // A call found nobody there: the question below shows whether that is so.
            () = upstream.doubted.notified() => {}
            () = link.changed.notified() => {
                tokio::time::sleep_until(next_look).await;
                next_look = Instant::now() + upstream.limits.refresh_gap;
            }
            () = tokio::time::sleep(upstream.limits.refresh_interval) => {}
        }
        upstream.sweep(Instant::now());
        let asked = within(upstream.settings.connect_timeout, listing::tools(&link, &upstream.limits)).await;
        match asked.and_then(|listing| listing) {
            Ok(listing) => {
                if publish(listing).is_err() {
                    return ConnectionEnd::Abandoned;
                }
            }
            Err(error) if error.is_session_lost() => {
                upstream.forget(&link);
                return ConnectionEnd::SessionLost;
            }
            // The server is there, and its tools are those of its last good answer.
            Err(error) if error.is_of_an_answer() => upstream.complain(&error),
            Err(error) => return ConnectionEnd::Error(error),
        }
    }
}
