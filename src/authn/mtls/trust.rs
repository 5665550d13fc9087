//! The authorities and revocation lists that client certificates are judged by, replaceable while the gateway runs.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::{CertificateError, RootCertStore};
use x509_parser::prelude::{CertificateRevocationList, FromDer as _, X509Certificate, X509Version};

use super::identity::{Naming, Workload, workload};
use super::verifier::{Anchor, ChainFault, ClientVerifier, is_strong};
use super::{Refused, RefusedKind, Settings};
use crate::clock::SharedClock;
use crate::events::SecurityEvent;

/// Bytes of one file of authorities or revocations.
const MAX_FILE: u64 = 64 << 20;

/// Why client certificates cannot be judged.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each variant's message says what it is")]
pub enum TrustError {
    #[error("`{path}` could not be read")]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("`{path}` is larger than {limit} bytes")]
    TooLarge { path: PathBuf, limit: u64 },
    #[error("`{path}` holds no certificate of an authority in PEM")]
    NoAuthority { path: PathBuf },
    #[error("`{path}` holds something that is not a certificate of an authority")]
    BadAuthority { path: PathBuf },
    #[error("`{path}` holds the certificate of an authority {what}")]
    UnfitAuthority { path: PathBuf, what: &'static str },
    #[error("`{path}` is not a revocation list")]
    BadList { path: PathBuf },
    #[error(
        "`{path}` is a revocation list of version 1, which has no extensions; version 2 is read (RFC 5280, section 5.1.2.1)"
    )]
    OldList { path: PathBuf },
    #[error("`{path}` is a revocation list of an authority whose certificate does not let it sign lists")]
    NotListSigner { path: PathBuf },
    #[error("the authorities and revocation lists cannot be used together")]
    Unusable(#[source] rustls::server::VerifierBuilderError),
}

impl TrustError {
    /// Advice for the operator.
    pub fn help(&self) -> &'static str {
        match self {
            Self::Unreadable { .. } => "check the path, and that the gateway's user may read the file",
            Self::TooLarge { .. } => "give the file that holds just the authorities or one list",
            Self::NoAuthority { .. } | Self::BadAuthority { .. } => {
                "it must hold the `-----BEGIN CERTIFICATE-----` of each authority that issues client certificates"
            }
            Self::UnfitAuthority { .. } => {
                "take it out of the file, and have the authority issue a certificate with a strong key that may sign certificates"
            }
            Self::NotListSigner { .. } => {
                "have the authority issue its certificate anew, with `cRLSign` in its key usage"
            }
            Self::OldList { .. } => {
                "have the authority issue version 2: for `openssl ca -gencrl`, set `crl_extensions` in the section of the authority, with `authorityKeyIdentifier = keyid:always`, and `crlnumber`"
            }
            Self::BadList { .. } => "it must hold `-----BEGIN X509 CRL-----`, or a list in DER",
            Self::Unusable(_) => "fetch the revocation lists anew from the authorities",
        }
    }
}

/// The authorities and revocation lists in force at one time.
struct LoadedTrust {
    generation: u64,
    verifier: Arc<ClientVerifier>,
    /// When the first list ends, in seconds since the Unix epoch.
    lists_end: i64,
}

/// Authorities and lists that have been read and do not count yet.
pub struct PreparedTrust {
    verifier: Arc<ClientVerifier>,
    lists_end: i64,
    /// How many authorities and lists, for the log.
    pub summary: String,
}

impl PreparedTrust {
    /// The verifier for handshakes.
    pub fn verifier(&self) -> Arc<dyn ClientCertVerifier> {
        Arc::<ClientVerifier>::clone(&self.verifier)
    }
}

/// Judges client certificates by what is in force now.
pub struct ClientTrust {
    settings: Settings,
    clock: SharedClock,
    live: ArcSwap<LoadedTrust>,
}

impl ClientTrust {
    /// Reads the files.
    pub fn open(settings: Settings, clock: SharedClock) -> Result<Self, TrustError> {
        let PreparedTrust { verifier, lists_end, .. } = prepare(&settings, &clock)?;
        let live = ArcSwap::from_pointee(LoadedTrust { generation: 0, verifier, lists_end });
        Ok(Self { settings, clock, live })
    }

    /// Reads the files again; nothing changes before [`ClientTrust::commit`].
    pub fn prepare(&self) -> Result<PreparedTrust, TrustError> {
        prepare(&self.settings, &self.clock)
    }

    /// Judges by these from now on, the certificates of open connections too.
    pub fn commit(&self, prepared: &PreparedTrust) {
        self.live.rcu(|old| LoadedTrust {
            generation: old.generation.wrapping_add(1),
            verifier: Arc::clone(&prepared.verifier),
            lists_end: prepared.lists_end,
        });
    }

    /// The verifier for handshakes.
    pub fn verifier(&self) -> Arc<dyn ClientCertVerifier> {
        Arc::<ClientVerifier>::clone(&self.live.load().verifier)
    }

    /// The files and choices.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(super) fn now(&self) -> i64 {
        self.clock.now_seconds()
    }

    pub(super) fn generation(&self) -> u64 {
        self.live.load().generation
    }

    /// The holder of the certificate, and until when that answer is valid, in seconds since the Unix epoch.
    pub(super) fn verify(
        &self,
        chain: &[CertificateDer<'static>],
        now: i64,
    ) -> (Result<Arc<Workload>, Refused>, i64) {
        let live = self.live.load();
        let found = self.verify_by(&live.verifier, chain, now);
        let ends = chain.iter().filter_map(|certificate| Some(validity(certificate)?.1));
        // A refusal is not remembered: what has not begun may have by the next request.
        let until = if found.is_err() {
            now
        } else {
            ends.chain([live.lists_end, live.verifier.changes(now)]).min().unwrap_or(now)
        };
        (found, until)
    }

    fn verify_by(
        &self,
        verifier: &ClientVerifier,
        chain: &[CertificateDer<'static>],
        now: i64,
    ) -> Result<Arc<Workload>, Refused> {
        let malformed = || Refused::certificate(RefusedKind::Invalid, "malformed");
        let (leaf, above) = chain.split_first().ok_or_else(malformed)?;
        let seconds = u64::try_from(now).map_err(|_| malformed())?;
        let moment = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        verifier.verify_client_cert(leaf, above, moment).map_err(|error| refusal(&error))?;
        let naming = match self.settings.insecure_cn_identity {
            true => Naming::InsecureCommonName,
            false => Naming::Alternative,
        };
        let found = workload(leaf, naming)
            .map_err(|error| Refused::certificate(RefusedKind::Invalid, error.reason()).because(error))?;
        Ok(Arc::new(found))
    }
}

impl fmt::Debug for ClientTrust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientTrust").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// Why a chain was refused, of a handshake too: the reason in one word; the library's own words go to the operator.
pub fn refusal(error: &rustls::Error) -> Refused {
    use CertificateError as C;
    let (kind, reason) = match error {
        rustls::Error::InvalidCertificate(error) => match error {
            C::Expired | C::ExpiredContext { .. } => (RefusedKind::Expired, "expired"),
            C::NotValidYet | C::NotValidYetContext { .. } => (RefusedKind::Invalid, "not_yet_valid"),
            C::Revoked => (RefusedKind::Invalid, "revoked"),
            C::UnknownRevocationStatus => (RefusedKind::Unavailable, "revocation_unknown"),
            C::ExpiredRevocationList | C::ExpiredRevocationListContext { .. } => {
                (RefusedKind::Unavailable, "revocation_list_expired")
            }
            C::UnknownIssuer => (RefusedKind::Invalid, "unknown_issuer"),
            C::BadSignature => (RefusedKind::Invalid, "bad_signature"),
            C::Other(_) => match ChainFault::of(error) {
                Some(broken @ ChainFault::AuthorityNotInForce) => (RefusedKind::Expired, broken.reason()),
                Some(broken) => (RefusedKind::Invalid, broken.reason()),
                None => (RefusedKind::Invalid, "not_verified"),
            },
            C::InvalidPurpose | C::InvalidPurposeContext { .. } => (RefusedKind::Invalid, "wrong_purpose"),
            _ => (RefusedKind::Invalid, "not_verified"),
        },
        rustls::Error::NoCertificatesPresented => (RefusedKind::Missing, "missing"),
        _ => (RefusedKind::Invalid, "not_verified"),
    };
    Refused::certificate(kind, reason).because(error)
}

/// Begin and end of a certificate, in seconds since the Unix epoch.
fn validity(certificate: &CertificateDer<'_>) -> Option<(i64, i64)> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    Some((parsed.validity().not_before.timestamp(), parsed.validity().not_after.timestamp()))
}

fn prepare(settings: &Settings, clock: &SharedClock) -> Result<PreparedTrust, TrustError> {
    let anchors = authorities(&settings.ca_file, clock.now_seconds())?;
    let mut lists = Vec::new();
    let mut lists_end = i64::MAX;
    for path in &settings.crl_files {
        for list in revocations(path)? {
            let Some((version, ends)) = version_and_end(&list) else {
                return Err(TrustError::BadList { path: path.clone() });
            };
            // The library reads none either, and says no more than that it could not.
            if version != Some(X509Version::V2) {
                return Err(TrustError::OldList { path: path.clone() });
            }
            if ends <= clock.now_seconds() {
                let ended_millis = ends.saturating_mul(1000);
                SecurityEvent::RevocationListEnded { path, ended_millis }.log();
            }
            if !signer_may_sign(&list, &anchors) {
                return Err(TrustError::NotListSigner { path: path.clone() });
            }
            lists_end = lists_end.min(ends);
            lists.push(list);
        }
    }
    let summary = format!("client authorities {}, revocation lists {}", anchors.len(), lists.len());
    let verifier = ClientVerifier::new(anchors, lists, settings.required).map_err(TrustError::Unusable)?;
    Ok(PreparedTrust { verifier: Arc::new(verifier), lists_end, summary })
}

fn authorities(path: &Path, now: i64) -> Result<Vec<Anchor>, TrustError> {
    let text = read(path)?;
    let bad = || TrustError::BadAuthority { path: path.to_owned() };
    let unfit = |what| TrustError::UnfitAuthority { path: path.to_owned(), what };
    let mut anchors = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(&text) {
        let certificate = certificate.map_err(|_| bad())?;
        let (_, parsed) = X509Certificate::from_der(&certificate).map_err(|_| bad())?;
        // A client's or a server's own certificate in this file would be trusted to issue others.
        if !parsed.is_ca() {
            return Err(bad());
        }
        let usage = parsed.key_usage().map_err(|_| bad())?;
        if usage.is_some_and(|usage| !usage.value.key_cert_sign()) {
            return Err(unfit("that may not sign certificates (its key usage lacks `keyCertSign`)"));
        }
        if !is_strong(parsed.public_key()) {
            return Err(unfit(
                "with a weak key (RSA from 2,048 bits, P-256, P-384, P-521 and Ed25519 count)",
            ));
        }
        // Whether the library can make something of it.
        RootCertStore::empty().add(certificate.clone()).map_err(|_| bad())?;
        let validity = (parsed.validity().not_before.timestamp(), parsed.validity().not_after.timestamp());
        if !(validity.0..=validity.1).contains(&now) {
            SecurityEvent::AuthorityNotInForce { path }.log();
        }
        let constraints = parsed.basic_constraints().map_err(|_| bad())?;
        let path_length = constraints.and_then(|constraints| constraints.value.path_len_constraint);
        anchors.push(Anchor { validity, path_length, certificate: certificate.clone() });
    }
    if anchors.is_empty() {
        return Err(TrustError::NoAuthority { path: path.to_owned() });
    }
    Ok(anchors)
}

/// RFC 5280, section 6.3.3 (f): the key usage of the list's issuer, where it has one, allows `cRLSign`. The library looks at
/// that of intermediate authorities only. Of two authorities of one name each has to.
fn signer_may_sign(list: &CertificateRevocationListDer<'_>, anchors: &[Anchor]) -> bool {
    let Ok((_, list)) = CertificateRevocationList::from_der(list) else { return false };
    anchors.iter().all(|anchor| {
        let Ok((_, parsed)) = X509Certificate::from_der(&anchor.certificate) else { return false };
        if parsed.subject().as_raw() != list.issuer().as_raw() {
            return true;
        }
        parsed.key_usage().is_ok_and(|usage| usage.is_none_or(|usage| usage.value.crl_sign()))
    })
}

/// All lists of a file: PEM, or one list in DER.
fn revocations(path: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, TrustError> {
    let text = read(path)?;
    let bad = || TrustError::BadList { path: path.to_owned() };
    if !text.starts_with(b"\x30") {
        let lists: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(&text).collect();
        return lists.ok().filter(|lists| !lists.is_empty()).ok_or_else(bad);
    }
    Ok(vec![CertificateRevocationListDer::from(text)])
}

/// The version of a list, `None` for the first one, and its end, in seconds since the Unix epoch; one without an end has ended.
fn version_and_end(list: &CertificateRevocationListDer<'_>) -> Option<(Option<X509Version>, i64)> {
    let (_, parsed) = CertificateRevocationList::from_der(list).ok()?;
    Some((parsed.version(), parsed.next_update().map_or(0, |end| end.timestamp())))
}

fn read(path: &Path) -> Result<Vec<u8>, TrustError> {
    let unreadable = |source| TrustError::Unreadable { path: path.to_owned(), source };
    let text = crate::regular::read(path, MAX_FILE).map_err(unreadable)?;
    if text.len() as u64 > MAX_FILE {
        return Err(TrustError::TooLarge { path: path.to_owned(), limit: MAX_FILE });
    }
    Ok(text)
}
