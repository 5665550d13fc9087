//! What the listener knows of the connection that a request came over.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::authn::mtls::ClientCertificate;

/// Put into the extensions of each request by the listener; nothing that a client sends can change it.
#[derive(Debug, Clone)]
pub struct Connection {
    /// The other end.
    pub peer: SocketAddr,
    /// This end.
    pub local: SocketAddr,
    /// Whether it is encrypted, with TLS that this gateway ends.
    pub tls: bool,
    /// The certificate whose key the client has proven to have, as far as the handshake goes.
    pub certificate: Option<Arc<ClientCertificate>>,
}
