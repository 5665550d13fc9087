//! What the listener knows of the connection that a request came over.

use std::net::SocketAddr;

/// Put into the extensions of each request by the listener; nothing that a client sends can change it.
#[derive(Debug, Clone)]
pub struct Connection {
    /// The other end.
    pub peer: SocketAddr,
    /// Whether it is encrypted, with TLS that this gateway ends.
    pub tls: bool,
}
