//! Keys that a caller has proven to hold, and to which a token may be bound.

/// A SHA-256 of a key or a certificate.
pub type Thumbprint = [u8; 32];

/// What a token is bound to (RFC 7800, section 3.1), or what a caller has proven to hold. Nothing of it: not bound.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HolderKeys {
    /// Thumbprint (RFC 7638) of the key that signs proofs of possession (RFC 9449): `jkt`.
    pub dpop: Option<Thumbprint>,
    /// Thumbprint of the client certificate of the connection (RFC 8705): `x5t#S256`.
    pub certificate: Option<Thumbprint>,
}
