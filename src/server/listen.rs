//! Accepts connections within bounds: how many at once, and how long each may take to send a request.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::HttpLimits;
use super::activity::Activity;
use super::connection::{ConnectionServer, NetworkBytes, Transport};
use super::connection_limits::{PerAddress, Slot};
use crate::api::Proxies;

/// Serves `router` on `listener` until `stop`; then waits for requests under way, at most for `grace`.
pub(super) async fn serve(
    listener: TcpListener,
    transport: Transport,
    router: Router,
    limits: HttpLimits,
    (proxies, network): (Proxies, NetworkBytes),
    stop: CancellationToken,
    grace: Duration,
) {
    let server = Arc::new(ConnectionServer::new(transport, router, &limits, network));
    let slots = Arc::new(Semaphore::new(limits.max_connections));
    let per_address = PerAddress::new(limits.max_connections_per_address);
    let under_way = TaskTracker::new();
    loop {
        let (stream, peer) = tokio::select! {
            () = stop.cancelled() => break,
            accepted = accept(&listener) => accepted,
        };
        let activity = Activity::new();
        // Behind a proxy many clients have one address.
        let place = match proxies.include(peer.ip()) {
            true => None,
            false => match per_address.try_acquire(peer.ip(), activity.clone()) {
                None => {
                    tracing::debug!(%peer, "an address has all the connections that one may have");
                    continue;
                }
                place => place,
            },
        };
        let slot = tokio::select! {
            () = stop.cancelled() => break,
            slot = slot(&slots, &per_address) => slot,
        };
        let Some(slot) = slot else {
            tracing::debug!(%peer, "there are as many connections as there may be, and all are busy");
            continue;
        };
        let _ = stream.set_nodelay(true);
        let server = Arc::clone(&server);
        let stop = stop.clone();
        under_way.spawn(async move {
            let shown = place.as_ref().map(Slot::place);
            let served = server.serve_connection(stream, (peer, shown), activity, stop);
            serve_until_evicted(served, place.as_ref(), peer).await;
            drop((slot, place));
        });
    }
    drop(listener);
    under_way.close();
    if tokio::time::timeout(grace, under_way.wait()).await.is_err() {
        tracing::warn!("requests were still under way when the gateway stopped");
    }
}

/// The next connection.
async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            Err(error) => {
                // Out of file descriptors: a pause, so that the loop does not spin until some are free again.
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "a connection could not be accepted"
                );
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

/// Serves a connection until it ends, or has to make room for another of its address.
async fn serve_until_evicted(served: impl Future<Output = ()>, place: Option<&Slot>, peer: SocketAddr) {
    match place {
        None => served.await,
        Some(place) => tokio::select! {
            () = served => {}
            () = place.evicted() => tracing::debug!(%peer, "a connection without a request made room"),
        },
    }
}

/// How long a new connection waits for a place that another has to leave.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// A slot of all that there are, if need be that of a connection that waits.
async fn slot(slots: &Arc<Semaphore>, per_address: &PerAddress) -> Option<OwnedSemaphorePermit> {
    if let Ok(slot) = Arc::clone(slots).try_acquire_owned() {
        return Some(slot);
    }
    per_address.evict_one();
    let slot = tokio::time::timeout(LONGEST_WAIT, Arc::clone(slots).acquire_owned()).await;
    slot.ok().and_then(Result::ok)
}
