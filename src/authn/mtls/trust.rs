//! The authorities and revocation lists that client certificates are judged by, replaceable while the gateway runs.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{CertificateError, RootCertStore};
use x509_parser::prelude::{CertificateRevocationList, FromDer as _, X509Certificate};

use super::identity::{Naming, Workload, workload};
use super::{Refused, RefusedKind, Settings};
use crate::clock::{SharedClock, rfc3339};

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
    #[error("`{path}` is not a revocation list")]
    BadList { path: PathBuf },
    #[error("the authorities and revocation lists cannot be used together")]
    Unusable(#[source] rustls::server::VerifierBuilderError),
}

impl TrustError {
    /// What the operator can do.
    pub fn help(&self) -> &'static str {
        match self {
            Self::Unreadable { .. } => "check the path, and that the gateway's user may read the file",
            Self::TooLarge { .. } => "give the file that holds just the authorities or one list",
            Self::NoAuthority { .. } | Self::BadAuthority { .. } => {
                "it must hold the `-----BEGIN CERTIFICATE-----` of each authority that issues client certificates"
            }
            Self::BadList { .. } => "it must hold `-----BEGIN X509 CRL-----`, or a list in DER",
            Self::Unusable(_) => "fetch the revocation lists anew from the authorities",
        }
    }
}

/// What is in force at one time.
struct Loaded {
    generation: u64,
    verifier: Arc<dyn ClientCertVerifier>,
    /// When the first list ends, in seconds since the Unix epoch.
    lists_end: i64,
}

/// Authorities and lists that have been read and do not count yet.
pub struct PreparedTrust {
    verifier: Arc<dyn ClientCertVerifier>,
    lists_end: i64,
    /// How many authorities and lists, for the log.
    pub summary: String,
}

impl PreparedTrust {
    /// What a handshake verifies with.
    pub fn verifier(&self) -> Arc<dyn ClientCertVerifier> {
        Arc::clone(&self.verifier)
    }
}

/// Judges client certificates by what is in force now.
pub struct ClientTrust {
    settings: Settings,
    clock: SharedClock,
    live: ArcSwap<Loaded>,
}

impl ClientTrust {
    /// Reads the files.
    pub fn open(settings: Settings, clock: SharedClock) -> Result<Self, TrustError> {
        let PreparedTrust { verifier, lists_end, .. } = prepare(&settings, &clock)?;
        let live = ArcSwap::from_pointee(Loaded { generation: 0, verifier, lists_end });
        Ok(Self { settings, clock, live })
    }

    /// Reads the files again; nothing changes before [`ClientTrust::commit`].
    pub fn prepare(&self) -> Result<PreparedTrust, TrustError> {
        prepare(&self.settings, &self.clock)
    }

    /// Judges by these from now on, the certificates of open connections too.
    pub fn commit(&self, prepared: &PreparedTrust) {
        self.live.rcu(|old| Loaded {
            generation: old.generation.wrapping_add(1),
            verifier: prepared.verifier(),
            lists_end: prepared.lists_end,
        });
    }

    /// What a handshake verifies with.
    pub fn verifier(&self) -> Arc<dyn ClientCertVerifier> {
        Arc::clone(&self.live.load().verifier)
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

    /// Who holds the certificate, and until when that answer stands, in seconds since the Unix epoch.
    pub(super) fn verify(
        &self,
        chain: &[CertificateDer<'static>],
        now: i64,
    ) -> (Result<Arc<Workload>, Refused>, i64) {
        let live = self.live.load();
        let found = self.verify_by(&*live.verifier, chain, now);
        let ends = chain.iter().filter_map(|certificate| Some(validity(certificate)?.1));
        // A refusal is not remembered: what has not begun may have by the next request.
        let until = if found.is_err() { now } else { ends.chain([live.lists_end]).min().unwrap_or(now) };
        (found, until)
    }

    fn verify_by(
        &self,
        verifier: &dyn ClientCertVerifier,
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
    let roots = authorities(&settings.ca_file)?;
    let mut lists = Vec::new();
    let mut lists_end = i64::MAX;
    for path in &settings.crl_files {
        for list in revocations(path)? {
            let ends = end_of(&list).ok_or_else(|| TrustError::BadList { path: path.clone() })?;
            if ends <= clock.now_seconds() {
                tracing::warn!(
                    target: "SECURITY",
                    event_type = "weak_setting",
                    "the revocation list `{}` ended {}: client certificates are refused until there is a new one",
                    path.display(),
                    rfc3339(ends.saturating_mul(1000)),
                );
            }
            lists_end = lists_end.min(ends);
            lists.push(list);
        }
    }
    let summary = format!("client authorities {}, revocation lists {}", roots.len(), lists.len());
    let provider = Arc::new(aws_lc_rs::default_provider());
    // INVARIANT: with a list, every authority of a chain needs one, and an ended list refuses: what cannot be known to
    // be unrevoked is not taken for it. Both are this builder's strict choices.
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
        .with_crls(lists)
        .enforce_revocation_expiration();
    let builder = if settings.required { builder } else { builder.allow_unauthenticated() };
    let verifier = builder.build().map_err(TrustError::Unusable)?;
    Ok(PreparedTrust { verifier, lists_end, summary })
}

fn authorities(path: &Path) -> Result<RootCertStore, TrustError> {
    let text = read(path)?;
    let bad = || TrustError::BadAuthority { path: path.to_owned() };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&text) {
        let certificate = certificate.map_err(|_| bad())?;
        let (_, parsed) = X509Certificate::from_der(&certificate).map_err(|_| bad())?;
        // A client's or a server's own certificate in this file would be trusted to issue others.
        if !parsed.is_ca() {
            return Err(bad());
        }
        roots.add(certificate.clone()).map_err(|_| bad())?;
    }
    if roots.is_empty() {
        return Err(TrustError::NoAuthority { path: path.to_owned() });
    }
    Ok(roots)
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

/// The end of a list, in seconds since the Unix epoch; one without an end has ended.
fn end_of(list: &CertificateRevocationListDer<'_>) -> Option<i64> {
    let (_, parsed) = CertificateRevocationList::from_der(list).ok()?;
    Some(parsed.next_update().map_or(0, |end| end.timestamp()))
}

fn read(path: &Path) -> Result<Vec<u8>, TrustError> {
    let unreadable = |source| TrustError::Unreadable { path: path.to_owned(), source };
    let text = crate::regular::read(path, MAX_FILE).map_err(unreadable)?;
    if text.len() as u64 > MAX_FILE {
        return Err(TrustError::TooLarge { path: path.to_owned(), limit: MAX_FILE });
    }
    Ok(text)
}
