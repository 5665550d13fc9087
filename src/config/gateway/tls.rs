//! What TLS is made from.

use std::path::PathBuf;
use std::time::Duration;

use rustls::CipherSuite;

/// The oldest version of TLS that is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MinVersion {
    /// TLS 1.3 (RFC 8446) only.
    Tls13,
    /// TLS 1.2 as well, for old clients: weaker.
    Tls12,
}

/// Files and bounds of TLS.
#[derive(Debug, Clone)]
pub struct TlsSettings {
    /// The certificate in PEM, its own first, then the intermediate ones.
    pub cert_path: PathBuf,
    /// Its private key in PEM; mode 0600 or narrower.
    pub key_path: PathBuf,
    /// The oldest version; TLS 1.3.
    pub min_version: MinVersion,
    /// Cipher suites, the preferred one first.
    pub cipher_suites: Vec<CipherSuite>,
    /// How long a handshake may take; 10 s.
    pub handshake_timeout: Duration,
    /// Handshakes at once; more wait, at most for `handshake_timeout`. 256.
    pub max_handshakes: usize,
    /// Those of one address; more of it wait for each other. Default 32.
    pub max_handshakes_per_address: usize,
    /// How often the files are looked at for a change; `None`: on SIGHUP only. One minute.
    pub reload_interval: Option<Duration>,
    /// How stapled OCSP answers are fetched; `None`: none is stapled.
    pub ocsp: Option<OcspSettings>,
}

impl TlsSettings {
    /// How often files are looked at.
    pub const RELOAD_INTERVAL: Duration = Duration::from_secs(60);
    /// The suites of TLS 1.3.
    pub const TLS13_SUITES: [CipherSuite; 3] = [
        CipherSuite::TLS13_AES_256_GCM_SHA384,
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256,
        CipherSuite::TLS13_AES_128_GCM_SHA256,
    ];

    /// The files that are read.
    pub(crate) fn files(&self) -> impl Iterator<Item = &PathBuf> {
        [&self.cert_path, &self.key_path].into_iter()
    }

    /// TLS 1.3 with this certificate and this key, everything else as shipped.
    pub fn new(cert_path: PathBuf, key_path: PathBuf) -> Self {
        Self {
            cert_path,
            key_path,
            min_version: MinVersion::Tls13,
            cipher_suites: Self::TLS13_SUITES.to_vec(),
            handshake_timeout: Duration::from_secs(10),
            max_handshakes: 256,
            max_handshakes_per_address: 32,
            reload_interval: Some(Self::RELOAD_INTERVAL),
            ocsp: None,
        }
    }
}

/// How answers are fetched.
#[derive(Debug, Clone)]
pub struct OcspSettings {
    /// The responder to ask; `None`: the one that the certificate names.
    pub responder: Option<crate::secret::Address>,
    /// Time for one fetch. Default 10 s.
    pub timeout: Duration,
    /// The largest answer, in bytes. Default 64 KiB.
    pub max_bytes: usize,
    /// The longest time between two fetches, and after a failure. Default 1 hour.
    pub longest_wait: Duration,
}

impl Default for OcspSettings {
    fn default() -> Self {
        Self {
            responder: None,
            timeout: Duration::from_secs(10),
            max_bytes: 64 * 1024,
            longest_wait: Duration::from_secs(3_600),
        }
    }
}
