//! One connection: its handshake when there is TLS, then its requests, each with what is known of where it came from.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::response::Response;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::Watcher;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::listen::HttpLimits;
use super::tls::Tls;
use crate::api::Connection;

/// How connections come in.
pub(super) enum Door {
    /// Without TLS.
    Plain,
    /// With TLS, which this gateway ends.
    Tls(Arc<Tls>),
}

/// What all connections of a listener share.
pub(super) struct Hall {
    door: Door,
    handshakes: Semaphore,
    router: Router,
    builder: Builder<TokioExecutor>,
}

impl Hall {
    pub(super) fn new(door: Door, router: Router, limits: &HttpLimits) -> Self {
        let handshakes = match &door {
            Door::Plain => 0,
            Door::Tls(tls) => tls.settings().max_handshakes,
        };
        Self { door, handshakes: Semaphore::new(handshakes), router, builder: builder(limits) }
    }

    /// Serves one connection to its end.
    pub(super) async fn receive(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        watcher: Watcher,
        stop: CancellationToken,
    ) {
        match &self.door {
            Door::Plain => self.converse(stream, Connection { peer, tls: false }, watcher).await,
            Door::Tls(tls) => {
                let shaken = tokio::select! {
                    () = stop.cancelled() => return,
                    shaken = self.shake_hands(tls, stream, peer) => shaken,
                };
                if let Some(stream) = shaken {
                    self.converse(stream, Connection { peer, tls: true }, watcher).await;
                }
            }
        }
    }

    /// The handshake, within its time, waiting for its turn included: it costs a signature, and half a handshake must
    /// not hold a place for ever.
    async fn shake_hands(
        &self,
        tls: &Tls,
        stream: TcpStream,
        peer: SocketAddr,
    ) -> Option<TlsStream<TcpStream>> {
        let shake = async {
            let _turn = self.handshakes.acquire().await.ok()?;
            match TlsAcceptor::from(tls.config()).accept(stream).await {
                Ok(stream) => Some(stream),
                Err(error) => {
                    tracing::debug!(%peer, error = &error as &dyn std::error::Error, "a handshake failed");
                    None
                }
            }
        };
        let shaken = tokio::time::timeout(tls.settings().handshake_timeout, shake).await;
        shaken.inspect_err(|_| tracing::debug!(%peer, "a handshake took too long")).ok().flatten()
    }

    async fn converse<S>(&self, stream: S, connection: Connection, watcher: Watcher)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let peer = connection.peer;
        let router = self.router.clone();
        let service = service_fn(move |request| answer(router.clone(), connection.clone(), request));
        let conversation = self.builder.serve_connection(TokioIo::new(stream), service);
        if let Err(error) = watcher.watch(conversation.into_owned()).await {
            tracing::debug!(%peer, error, "a connection ended early");
        }
    }
}

fn builder(limits: &HttpLimits) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_buf_size(limits.max_header_bytes)
        .max_headers(limits.max_headers);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(Some(Duration::from_secs(30)))
        .max_header_list_size(u32::try_from(limits.max_header_bytes).unwrap_or(u32::MAX))
        .max_concurrent_streams(limits.max_streams);
    builder
}

async fn answer(
    router: Router,
    connection: Connection,
    mut request: hyper::Request<Incoming>,
) -> Result<Response, Infallible> {
    request.extensions_mut().insert(connection);
    router.oneshot(request.map(axum::body::Body::new)).await
}
