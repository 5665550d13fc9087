//! What can be wrong with the files of TLS.

use std::borrow::Cow;
use std::path::PathBuf;

/// Why TLS cannot be offered with these files.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each variant's message says what it is")]
pub enum TlsError {
    #[error("`{path}` could not be read")]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("`{path}` is larger than {limit} bytes")]
    TooLarge { path: PathBuf, limit: u64 },
    #[error("`{path}` holds no certificate in PEM")]
    NoCertificate { path: PathBuf },
    #[error("`{path}` holds something that is not a certificate")]
    BadCertificate { path: PathBuf },
    #[error("`{path}` holds no private key in PEM")]
    NoKey { path: PathBuf },
    #[error("the private key `{path}` has mode {mode:o}: others than its owner can use it")]
    WideKey { path: PathBuf, mode: u32 },
    #[error("the key `{key}` does not belong to the certificate `{certificate}`")]
    Mismatch { certificate: PathBuf, key: PathBuf },
    #[error("the certificate `{path}` ended {ended}")]
    Expired { path: PathBuf, ended: String },
    #[error("the certificate `{path}` begins only {begins}")]
    NotYetValid { path: PathBuf, begins: String },
    #[error("the key `{path}` cannot be used")]
    Unusable { path: PathBuf, source: rustls::Error },
    #[error("the certificate `{path}` demands a stapled OCSP answer (RFC 7633), and none is to be stapled")]
    MustStaple { path: PathBuf },
    #[error(
        "`{path}` does not hold the authority's certificate behind the gateway's own, so OCSP answers cannot be checked"
    )]
    NoIssuer { path: PathBuf },
    #[error("the client for OCSP could not be made")]
    Client(#[source] reqwest::Error),
    #[error("the cipher suites do not fit the version of TLS")]
    Suites(#[source] rustls::Error),
}

impl TlsError {
    /// What the operator can do.
    pub fn help(&self) -> Cow<'static, str> {
        match self {
            Self::Unreadable { .. } => "check the path, and that the gateway's user may read the file".into(),
            Self::TooLarge { .. } => "give the file that holds just the certificate or the key".into(),
            Self::NoCertificate { .. } => {
                "it must hold `-----BEGIN CERTIFICATE-----`, the gateway's own certificate first".into()
            }
            Self::BadCertificate { .. } => "copy the file anew from where the certificate was issued".into(),
            Self::NoKey { .. } => {
                "it must hold one `-----BEGIN PRIVATE KEY-----` without a password (PKCS #8)".into()
            }
            Self::WideKey { path, .. } => format!("chmod 600 {}", path.display()).into(),
            Self::Mismatch { .. } => {
                "give the key that the certificate was requested with; the gateway's own certificate stands first in its file"
                    .into()
            }
            Self::Expired { .. } => {
                "renew it; for a first try, `caxton security gen-server-cert` makes one".into()
            }
            Self::NotYetValid { .. } => "check the clock of this host".into(),
            Self::Unusable { .. } => "use an ECDSA key (P-256, P-384), Ed25519, or RSA of 2,048 bits or more".into(),
            Self::MustStaple { .. } => "set `server.tls.enable_ocsp_stapling: true`".into(),
            Self::NoIssuer { .. } => "append the certificate of the authority that issued it".into(),
            Self::Client(_) => "remove `server.tls.enable_ocsp_stapling`".into(),
            Self::Suites(_) => "name a suite of TLS 1.3 in `server.tls.cipher_suites`".into(),
        }
    }
}
