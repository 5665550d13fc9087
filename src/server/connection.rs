//! One connection: its handshake when there is TLS, then its requests, each with what is known of where it came from.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::response::Response;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::io::{InspectReader, InspectWriter};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::HttpLimits;
use super::activity::{Activity, RequestInProgress};
use super::tls::Tls;
use crate::api::{Api, Connection, ConnectionPlace, refused_in_handshake};
use crate::authn::Refused;
use crate::authn::mtls::{ClientCertificate, refusal};
use crate::limit::{Turns, network};
use crate::telemetry::metrics::Counter;
use crate::telemetry::{DirectionLabels, Metrics};

/// How long a client whose handshake failed may take to hang up.
const LINGER: Duration = Duration::from_secs(1);
/// How many KiB it may still send until then.
const MAX_LINGER_KIB: usize = 64;

/// Bytes that a client of HTTP/2 may send ahead of what is read, of one request and of one connection, and the largest
/// frame: what is not read yet is held in memory (RFC 9113, section 5.2).
const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = 256 * 1024;
const MAX_FRAME: u32 = 16 * 1024;
/// Bytes of answers that wait for one client.
const SEND_BUFFER: usize = 256 * 1024;
/// Requests that a client took back while they were served, before it has to go (CVE-2023-44487).
const MAX_RESETS: usize = 20;

/// How connections are accepted.
pub(super) enum Transport {
    /// Without TLS.
    Plain,
    /// With TLS, which this gateway ends.
    Tls {
        /// The certificate and its bounds.
        tls: Arc<Tls>,
        /// Records refused certificates of clients.
        api: Arc<Api>,
    },
}

/// What all connections of a listener share.
pub(super) struct ConnectionServer {
    transport: Transport,
    handshakes: Semaphore,
    turns: Arc<Turns<IpAddr>>,
    router: Router,
    network: NetworkBytes,
    builder: Builder<TokioExecutor>,
    idle_timeout: Duration,
}

/// Counts the bytes of HTTP of a listener.
#[derive(Debug, Clone)]
pub(super) struct NetworkBytes {
    received: Counter,
    sent: Counter,
}

impl NetworkBytes {
    pub(super) fn of(metrics: &Metrics) -> Self {
        let counter = |direction| metrics.network_bytes.get_or_create_owned(&DirectionLabels { direction });
        Self { received: counter("received"), sent: counter("sent") }
    }

    fn count<S: AsyncRead + AsyncWrite>(&self, stream: S) -> impl AsyncRead + AsyncWrite + use<S> {
        let (received, sent) = (self.received.clone(), self.sent.clone());
        let stream = InspectReader::new(stream, move |bytes: &[u8]| {
            received.inc_by(bytes.len().try_into().unwrap_or(u64::MAX));
        });
        InspectWriter::new(stream, move |bytes: &[u8]| {
            sent.inc_by(bytes.len().try_into().unwrap_or(u64::MAX));
        })
    }
}

impl ConnectionServer {
    pub(super) fn new(
        transport: Transport,
        router: Router,
        limits: &HttpLimits,
        network: NetworkBytes,
    ) -> Self {
        let (handshakes, each) = match &transport {
            Transport::Plain => (0, 0),
            Transport::Tls { tls, .. } => {
                (tls.settings().max_handshakes, tls.settings().max_handshakes_per_address)
            }
        };
        Self {
            transport,
            handshakes: Semaphore::new(handshakes),
            turns: Turns::new(each),
            router,
            network,
            builder: builder(limits),
            idle_timeout: limits.idle_timeout,
        }
    }

    /// Serves one connection to its end. A trusted proxy has no limit of its own: many clients share its address.
    pub(super) async fn serve_connection(
        &self,
        stream: TcpStream,
        (peer, place): (SocketAddr, Option<Arc<dyn ConnectionPlace>>),
        activity: Activity,
        stop: CancellationToken,
    ) {
        let shared = place.is_none();
        let Ok(local) = stream.local_addr() else { return };
        match &self.transport {
            Transport::Plain => {
                let connection = Connection { peer, local, tls: false, certificate: None, place };
                self.serve_requests(stream, connection, activity, stop).await
            }
            Transport::Tls { tls, api } => {
                let shaken_stream = tokio::select! {
                    () = stop.cancelled() => return,
                    shaken_stream = self.handshake(tls, api, stream, peer, shared) => shaken_stream,
                };
                if let Some(stream) = shaken_stream {
                    let shown = stream.get_ref().1.peer_certificates().unwrap_or_default();
                    let chain = shown.iter().map(|certificate| certificate.clone().into_owned()).collect();
                    let certificate = ClientCertificate::new(chain).map(Arc::new);
                    let connection = Connection { peer, local, tls: true, certificate, place };
                    self.serve_requests(stream, connection, activity, stop).await;
                }
            }
        }
    }

    /// The handshake, within its time, waiting for its turn included: it costs a signature, and half a handshake must
    /// not hold a place for ever.
    ///
    /// The attack: one address opens as many halves of handshakes as may be under way, again and again. It has its share,
    /// and waits for itself.
    async fn handshake(
        &self,
        tls: &Tls,
        api: &Api,
        stream: TcpStream,
        peer: SocketAddr,
        shared: bool,
    ) -> Option<TlsStream<TcpStream>> {
        let shake = async {
            // Given back last, so that it is never another's turn that this address waits for.
            let _share = match shared {
                true => None,
                false => Some(self.turns.turn(network(peer.ip())).await?),
            };
            let _turn = self.handshakes.acquire().await.ok()?;
            Some(TlsAcceptor::from(tls.config()).accept(stream).into_fallible().await)
        };
        match tokio::time::timeout(tls.settings().handshake_timeout, shake).await {
            Ok(Some(Ok(stream))) => return Some(stream),
            Ok(Some(Err((error, stream)))) => {
                tracing::debug!(%peer, error = &error as &dyn std::error::Error, "a handshake failed");
                if let Some(refused) = about_certificate(&error) {
                    refused_in_handshake(api, peer, &refused).await;
                }
                linger(stream).await;
            }
            Ok(None) => {}
            Err(_) => tracing::debug!(%peer, "a handshake took too long"),
        }
        None
    }

    /// Answers requests until the client leaves, nothing has come for too long, or the gateway stops.
    ///
    /// The attack: open connections and send nothing, or very slowly. A connection without a request is asked to close, and is
    /// left a moment later whether it has heard that or not.
    async fn serve_requests<S>(
        &self,
        stream: S,
        connection: Connection,
        activity: Activity,
        stop: CancellationToken,
    ) where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let peer = connection.peer;
        let router = self.router.clone();
        let service =
            service_fn(|request| answer(router.clone(), connection.clone(), activity.begin(), request));
        let mut conversation =
            std::pin::pin!(self.builder.serve_connection(TokioIo::new(self.network.count(stream)), service));
        let mut stopping = false;
        let mut limit = self.idle_timeout;
        loop {
            tokio::select! {
                ended = conversation.as_mut() => {
                    if let Err(error) = ended {
                        tracing::debug!(%peer, error, "a connection ended early");
                    }
                    return;
                }
                () = stop.cancelled(), if !stopping => {
                    stopping = true;
                    conversation.as_mut().graceful_shutdown();
                }
                () = activity.idle(limit) => {
                    if limit > self.idle_timeout {
                        tracing::debug!(%peer, "a connection without a request was closed");
                        return;
                    }
                    conversation.as_mut().graceful_shutdown();
                    limit = self.idle_timeout + LINGER;
                }
            }
        }
    }
}

/// Ends a connection so that the alert with the reason still arrives: closing with bytes unread would have the kernel reset
/// the connection, and the client would learn nothing.
async fn linger(mut stream: TcpStream) {
    let linger = async {
        stream.shutdown().await.ok()?;
        let mut rest = [0; 1_024];
        for _ in 0..MAX_LINGER_KIB {
            if stream.read(&mut rest).await.ok()? == 0 {
                break;
            }
        }
        Some(())
    };
    let _ = tokio::time::timeout(LINGER, linger).await;
}

/// Whether the handshake failed for the client's certificate; what strangers get wrong otherwise is not on record.
fn about_certificate(error: &std::io::Error) -> Option<Refused> {
    let error = error.get_ref()?.downcast_ref::<rustls::Error>()?;
    let about =
        matches!(error, rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented);
    about.then(|| refusal(error))
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
        .max_concurrent_streams(limits.max_streams)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(MAX_FRAME)
        .max_send_buf_size(SEND_BUFFER)
        .max_pending_accept_reset_streams(MAX_RESETS)
        .max_local_error_reset_streams(MAX_RESETS);
    builder
}

async fn answer(
    router: Router,
    connection: Connection,
    running: RequestInProgress,
    mut request: hyper::Request<Incoming>,
) -> Result<Response, Infallible> {
    request.extensions_mut().insert(connection);
    let answer = router.oneshot(request.map(axum::body::Body::new)).await?;
    Ok(running.until_sent(answer))
}
