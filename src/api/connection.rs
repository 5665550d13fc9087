//! What the listener knows of the connection that a request came over.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::authn::mtls::ClientCertificate;
use crate::model::EntityUid;

/// The place of a connection among those of its address.
pub trait ConnectionPlace: std::fmt::Debug + Send + Sync {
    /// Says who was proven on it.
    ///
    /// # Errors
    /// The caller has its share of the connections of that address, and this one is kept for others.
    fn proven(&self, caller: &EntityUid) -> Result<(), Crowded>;
}

/// A caller has as many connections of its address as one caller may have while the address has no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Crowded;

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
    /// Its place; none behind a trusted proxy, whose connections are not counted.
    pub place: Option<Arc<dyn ConnectionPlace>>,
}
