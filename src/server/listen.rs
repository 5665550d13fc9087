//! Accepts connections within bounds: how many at once, and how long each may take to say what it wants.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::connection::{Door, Hall};

/// Bounds of connections.
#[derive(Debug, Clone)]
pub struct HttpLimits {
    /// The most connections at once; more wait to be accepted. Default 1,024.
    pub max_connections: usize,
    /// How long the header of a request may take. Default 10 s.
    pub header_timeout: Duration,
    /// The largest header section, in bytes. Default 32 KiB.
    pub max_header_bytes: usize,
    /// The most header fields. Default 100.
    pub max_headers: usize,
    /// The most requests at once on one HTTP/2 connection. Default 100.
    pub max_streams: u32,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            max_connections: 1_024,
            header_timeout: Duration::from_secs(10),
            max_header_bytes: 32 * 1024,
            max_headers: 100,
            max_streams: 100,
        }
    }
}

/// Serves `router` on `listener` until `stop`; then waits for requests under way, at most for `grace`.
pub(super) async fn serve(
    listener: TcpListener,
    door: Door,
    router: Router,
    limits: HttpLimits,
    stop: CancellationToken,
    grace: Duration,
) {
    let hall = Arc::new(Hall::new(door, router, &limits));
    let slots = Arc::new(Semaphore::new(limits.max_connections));
    let graceful = GracefulShutdown::new();
    loop {
        let accept = async {
            let slot = Arc::clone(&slots).acquire_owned().await.ok()?;
            Some((listener.accept().await, slot))
        };
        let (accepted, slot) = tokio::select! {
            () = stop.cancelled() => break,
            accepted = accept => match accepted {
                Some(accepted) => accepted,
                None => break,
            },
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors: a pause, so that the loop does not spin until some are free again.
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "a connection could not be accepted"
                );
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let _ = stream.set_nodelay(true);
        let (hall, watcher, stop) = (Arc::clone(&hall), graceful.watcher(), stop.clone());
        tokio::spawn(async move {
            hall.receive(stream, peer, watcher, stop).await;
            drop(slot);
        });
    }
    drop(listener);
    if tokio::time::timeout(grace, graceful.shutdown()).await.is_err() {
        tracing::warn!("requests were still under way when the gateway stopped");
    }
}
