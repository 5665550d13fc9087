//! Reads certificates and keys, and reports what is wrong with them before a client connects.

use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{Context, SHA256, digest};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::prelude::{FromDer as _, X509Certificate};
use zeroize::Zeroizing;

use super::TlsError;
use crate::clock::rfc3339;
use crate::regular;

/// As large as the largest revocation list that is read.
const MAX_WATCHED: u64 = 64 << 20;
/// Far more than a chain of certificates has.
const MAX_FILE: u64 = 1 << 20;

/// The chain of a certificate file, in its order.
pub(super) fn chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let (text, _) = read(path)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match chain {
        Ok(chain) if chain.is_empty() => Err(TlsError::NoCertificate { path: path.to_owned() }),
        Ok(chain) => Ok(chain),
        Err(_) => Err(TlsError::BadCertificate { path: path.to_owned() }),
    }
}

/// The key of a key file that only its owner can read.
pub(super) fn key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let (text, mode) = read(path)?;
    if mode & 0o077 != 0 {
        return Err(TlsError::WideKey { path: path.to_owned(), mode });
    }
    PrivateKeyDer::from_pem_slice(&text).map_err(|_| TlsError::NoKey { path: path.to_owned() })
}

/// The content, wiped after use, and the mode of the very file that was read.
fn read(path: &Path) -> Result<(Zeroizing<Vec<u8>>, u32), TlsError> {
    let unreadable = |source| TlsError::Unreadable { path: path.to_owned(), source };
    let file = regular::open(path).map_err(unreadable)?;
    let mode = file.metadata().map_err(unreadable)?.permissions().mode() & 0o777;
    let mut text = Zeroizing::new(Vec::new());
    file.take(MAX_FILE + 1).read_to_end(&mut text).map_err(unreadable)?;
    if text.len() as u64 > MAX_FILE {
        return Err(TlsError::TooLarge { path: path.to_owned(), limit: MAX_FILE });
    }
    Ok((text, mode))
}

/// SHA-256 over the files.
pub(in crate::server) type Digest = [u8; 32];

/// The digest of all files; `None` while one of them cannot be read, as happens between two steps of a renewal.
pub(in crate::server) fn digest_of<'p>(paths: impl Iterator<Item = &'p PathBuf>) -> Option<Digest> {
    let mut context = Context::new(&SHA256);
    for path in paths {
        // Piece by piece: a revocation list may be large. The length comes behind, so that files cannot borrow from each
        // other.
        let mut file = regular::open(path).ok()?;
        let mut length = 0u64;
        let mut piece = vec![0; 64 << 10];
        loop {
            let read = file.read(&mut piece).ok()?;
            let Some(text) = piece.get(..read).filter(|text| !text.is_empty()) else { break };
            context.update(text);
            length += text.len() as u64;
            if length > MAX_WATCHED {
                return None;
            }
        }
        context.update(&length.to_be_bytes());
    }
    context.finish().as_ref().try_into().ok()
}

/// Facts of the gateway's own certificate.
pub(super) struct CertificateFacts {
    /// SHA-256 of the certificate, in hex.
    pub(super) fingerprint: String,
    not_before: i64,
    /// Its end, in milliseconds since the Unix epoch.
    pub(super) not_after: i64,
}

pub(super) fn facts(path: &Path, leaf: &CertificateDer<'_>) -> Result<CertificateFacts, TlsError> {
    let (_, parsed) =
        X509Certificate::from_der(leaf).map_err(|_| TlsError::BadCertificate { path: path.to_owned() })?;
    let validity = parsed.validity();
    Ok(CertificateFacts {
        fingerprint: hex::encode(digest(&SHA256, leaf)),
        not_before: validity.not_before.timestamp().saturating_mul(1000),
        not_after: validity.not_after.timestamp().saturating_mul(1000),
    })
}

impl CertificateFacts {
    /// A certificate that no client would accept is refused here, where the operator sees the message.
    pub(super) fn in_force(&self, path: &Path, now: i64) -> Result<(), TlsError> {
        if now < self.not_before {
            return Err(TlsError::NotYetValid { path: path.to_owned(), begins: rfc3339(self.not_before) });
        }
        if now > self.not_after {
            return Err(TlsError::Expired { path: path.to_owned(), ended: rfc3339(self.not_after) });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_larger_than_any_certificate_is_seen_to_change() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("list.crl");
        let digest_with = |last: u8| {
            let mut list = vec![0; 2 << 20];
            list.push(last);
            std::fs::write(&path, list).unwrap();
            digest_of(std::iter::once(&path))
        };
        let before = digest_with(1);
        assert!(before.is_some() && before == digest_with(1) && before != digest_with(2));
        assert_eq!(digest_of(std::iter::once(&folder.path().join("none"))), None);
    }
}
