//! Keeps one server connected. Only this task connects, lists and publishes, so there is at most one attempt at a time.

use std::sync::Arc;

use tokio::time::Instant;

use crate::tools::error::UpstreamError;

use super::Upstream;
use super::connection::{Connection, Listing, list, within};

/// Watches `first`, or connects; ends when `publish` returns [`Abandoned`].
///
/// `publish` compares a listing with the pins and takes it over, before the connection is opened for calls.
pub(in crate::tools) async fn keep_connected(
    upstream: Arc<Upstream>,
    first: Option<Connection>,
    mut publish: impl FnMut(Listing) -> Result<(), Abandoned> + Send,
) {
    let limits = upstream.limits;
    let mut pause = limits.retry_min;
    let mut current = first;
    loop {
        if let Some(connection) = current.take() {
            let since = Instant::now();
            match watch(&upstream, connection, &mut publish).await {
                ConnectionEnd::Abandoned => return,
                ConnectionEnd::Error(error) => upstream.down(&error),
            }
            // A server that connects and falls over at once does not get the short pause again.
            if since.elapsed() > limits.retry_max {
                pause = limits.retry_min;
            }
        }
        tokio::time::sleep(pause).await;
        pause = pause.saturating_mul(2).min(limits.retry_max);
        match upstream.connect().await {
            Ok((connection, listing)) => {
                if publish(listing).is_err() {
                    return;
                }
                upstream.up(&connection);
                current = Some(connection);
            }
            Err(error) => upstream.down(&error),
        }
    }
}

/// The registry was dropped, so the connection is not needed any more.
#[derive(Debug)]
pub(in crate::tools) struct Abandoned;

enum ConnectionEnd {
    Abandoned,
    Error(UpstreamError),
}

async fn watch(
    upstream: &Upstream,
    connection: Connection,
    publish: &mut (impl FnMut(Listing) -> Result<(), Abandoned> + Send),
) -> ConnectionEnd {
    let channel = connection.channel();
    // The child is killed when this function ends.
    let (running, changed, _child) = connection.parts();
    let closed = running.waiting();
    tokio::pin!(closed);
    loop {
        tokio::select! {
            _ = &mut closed => return ConnectionEnd::Error(UpstreamError::Closed),
            () = channel.broken.notified() => return ConnectionEnd::Error(UpstreamError::Broken),
            () = changed.notified() => tokio::time::sleep(upstream.limits.refresh_gap).await,
            () = tokio::time::sleep(upstream.limits.refresh_interval) => {}
        }
        let asked = within(
            upstream.settings.connect_timeout,
            list(&channel.peer, &upstream.settings.transport, &upstream.limits),
        )
        .await;
        match asked.and_then(|listing| listing) {
            Ok(listing) => {
                if publish(listing).is_err() {
                    return ConnectionEnd::Abandoned;
                }
            }
            Err(error) => return ConnectionEnd::Error(error),
        }
    }
}
