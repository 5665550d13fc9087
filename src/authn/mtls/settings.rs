//! Which client certificates count, and for what.

use std::path::PathBuf;

/// What a client certificate is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// It names the caller.
    Principal,
    /// It opens the connection; the caller is named by another credential, and policies see `context.source.mtls`.
    Connection,
}

/// Files and choices.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The authorities of clients, in PEM.
    pub ca_file: PathBuf,
    /// Their revocation lists, in PEM or DER. When there is one, every authority of a chain needs one.
    pub crl_files: Vec<PathBuf>,
    /// What a client certificate is used for.
    pub used_for: Use,
    /// Whether a connection without a certificate is refused in the handshake.
    pub required: bool,
    /// Whether a certificate without alternative names is named by its common name: weaker.
    pub insecure_cn_identity: bool,
}

impl Settings {
    /// Certificates of these authorities name the caller and may be left out; no revocation lists.
    pub fn new(ca_file: PathBuf) -> Self {
        Self {
            ca_file,
            crl_files: Vec::new(),
            used_for: Use::Principal,
            required: false,
            insecure_cn_identity: false,
        }
    }

    /// The files that are read.
    pub fn files(&self) -> impl Iterator<Item = &PathBuf> {
        std::iter::once(&self.ca_file).chain(&self.crl_files)
    }
}
