//! Octet-counted messages over a connection that acknowledges nothing.
//!
//! What TCP has taken is not yet what the receiver has: it may lie in the buffers of either side when the receiver dies. So
//! a batch counts as delivered only when the connection was seen open for a while after it was written, and the messages that
//! may have lain in buffers are kept and sent again when a connection has broken. What this cannot cover is a receiver that
//! takes messages and then loses them itself.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::super::http::{TlsFiles, read_file};
use super::super::{SendError, SinkSetupError};
use super::{HostPort, resolve};
use crate::secret::Secret;

/// How long a connection has to stay open after a batch.
const SETTLE: Duration = Duration::from_millis(250);
/// Bytes of messages that are kept for a connection that breaks: more than what lies in the buffers of both sides.
const KEPT_BYTES: usize = 8 << 20;
const PEM_BYTES: u64 = 1 << 20;

trait Stream: AsyncRead + AsyncWrite + Send + Sync + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Sync + Unpin> Stream for S {}

/// A connection to one receiver, made when it is needed.
pub(super) struct SyslogStream {
    address: HostPort,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    timeout: Duration,
    open: Option<Box<dyn Stream>>,
    /// Messages of batches that counted as delivered, the newest last.
    kept: VecDeque<Arc<str>>,
    kept_bytes: usize,
    /// Whether a connection has broken since messages were delivered.
    is_broken: bool,
}

impl SyslogStream {
    pub(super) fn tcp(address: HostPort, timeout: Duration) -> Self {
        let kept = VecDeque::new();
        Self { address, tls: None, timeout, open: None, kept, kept_bytes: 0, is_broken: false }
    }

    /// Reads files: call it off the async threads.
    pub(super) fn tls(
        address: HostPort,
        files: &TlsFiles,
        timeout: Duration,
    ) -> Result<Self, SinkSetupError> {
        let name = ServerName::try_from(address.host().to_owned()).map_err(|_| {
            SinkSetupError::Client(format!("`{address}` is no name that a certificate can have"))
        })?;
        let connector = TlsConnector::from(Arc::new(client_config(files)?));
        Ok(Self { tls: Some((connector, name)), ..Self::tcp(address, timeout) })
    }

    /// Writes the messages and sees the connection open after them.
    pub(super) async fn send(&mut self, messages: &[String]) -> Result<(), SendError> {
        let sent = match timeout(self.timeout, self.write(messages)).await {
            Ok(written) => written,
            Err(_) => Err(std::io::ErrorKind::TimedOut.into()),
        };
        match sent {
            Ok(()) => {
                self.keep(messages);
                Ok(())
            }
            Err(error) => {
                self.open = None;
                self.is_broken = true;
                Err(SendError::retry(format!("`{}`: {error}", self.address)))
            }
        }
    }

    async fn write(&mut self, messages: &[String]) -> std::io::Result<()> {
        // A connection that was closed while nothing was sent is noticed before the batch.
        if let Some(open) = &mut self.open
            && seen_open(open, Duration::ZERO).await.is_err()
        {
            self.open = None;
            self.is_broken = true;
        }
        if self.open.is_none() {
            self.open = Some(self.connect().await?);
        }
        let Some(open) = &mut self.open else { return Ok(()) };
        let mut bytes = Vec::new();
        let kept = self.kept.iter().filter(|_| self.is_broken).map(AsRef::as_ref);
        for message in kept.chain(messages.iter().map(String::as_str)) {
            bytes.extend_from_slice(format!("{} ", message.len()).as_bytes());
            bytes.extend_from_slice(message.as_bytes());
        }
        open.write_all(&bytes).await?;
        open.flush().await?;
        seen_open(open, SETTLE).await?;
        self.is_broken = false;
        Ok(())
    }

    async fn connect(&self) -> std::io::Result<Box<dyn Stream>> {
        let stream = TcpStream::connect(resolve(&self.address).await?).await?;
        stream.set_nodelay(true)?;
        Ok(match &self.tls {
            None => Box::new(stream),
            Some((connector, name)) => Box::new(connector.connect(name.clone(), stream).await?),
        })
    }

    fn keep(&mut self, messages: &[String]) {
        for message in messages {
            self.kept_bytes += message.len();
            self.kept.push_back(message.as_str().into());
        }
        while self.kept_bytes > KEPT_BYTES {
            let Some(oldest) = self.kept.pop_front() else { break };
            self.kept_bytes -= oldest.len();
        }
    }
}

/// An error when the receiver closes the connection within this time. What it says is passed over: syslog has no answers.
async fn seen_open(stream: &mut Box<dyn Stream>, time: Duration) -> std::io::Result<()> {
    let mut buffer = [0; 512];
    let closed = async {
        loop {
            if stream.read(&mut buffer).await? == 0 {
                return Err(std::io::Error::new(
                    std::io::ErrorKind::ConnectionAborted,
                    "the receiver closed the connection",
                ));
            }
        }
    };
    match timeout(time, closed).await {
        Ok(closed) => closed,
        // Still open.
        Err(_) => Ok(()),
    }
}

fn client_config(files: &TlsFiles) -> Result<ClientConfig, SinkSetupError> {
    let setup = |error: rustls::Error| SinkSetupError::Client(error.to_string());
    let mut roots = RootCertStore::empty();
    if let Some(path) = &files.ca_file {
        let wrong = |what| SinkSetupError::Content { path: path.clone(), what };
        for certificate in CertificateDer::pem_slice_iter(&read_file(path, PEM_BYTES)?) {
            let certificate = certificate.map_err(|_| wrong("is not certificates in PEM"))?;
            roots.add(certificate).map_err(|_| wrong("holds something that is no certificate"))?;
        }
        if roots.is_empty() {
            return Err(wrong("holds no certificate in PEM"));
        }
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().map_err(setup)?;
    let config = config.with_root_certificates(roots);
    let (Some(cert), Some(key)) = (&files.client_cert, &files.client_key) else {
        return Ok(config.with_no_client_auth());
    };
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&read_file(cert, PEM_BYTES)?).collect();
    let chain = chain
        .map_err(|_| SinkSetupError::Content { path: cert.clone(), what: "is not certificates in PEM" })?;
    let pem = Secret::new(read_file(key, PEM_BYTES)?);
    let key = PrivateKeyDer::from_pem_slice(pem.expose())
        .map_err(|_| SinkSetupError::Content { path: key.clone(), what: "is not a private key in PEM" })?;
    config.with_client_auth_cert(chain, key).map_err(setup)
}
