//! The one verifier of client certificates, for a handshake and for a certificate that a proxy passes on.
//!
//! The library builds and checks the path. What it leaves to others is checked here: that the authority at its end is in
//! force itself (a trust anchor is a name and a key to the library, RFC 5280, section 6.1.1), that no more authorities stand
//! below it than it allows (section 4.2.1.9), that the keys of the whole chain are strong enough even where no signature of theirs is checked (a proxy's header has none of the leaf's), and
//! that a key is meant for signing (section 4.2.1.3).

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, TrustAnchor, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, RootCertStore,
    SignatureScheme,
};
use webpki::{
    BorrowedCertRevocationList, CertRevocationList, EndEntityCert, ExpirationPolicy, KeyUsage,
    RevocationCheckDepth, RevocationOptionsBuilder, UnknownStatusPolicy, VerifiedPath,
    anchor_from_trusted_cert,
};
use x509_parser::prelude::{FromDer as _, X509Certificate};
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

/// Faults of a chain beyond those that the library checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum ChainFault {
    /// The authority at the end of the path has ended, or has not begun.
    #[error("the certificate of the authority is not in force")]
    AuthorityNotInForce,
    /// More authorities between the certificate and the authority at the end of the path than that one allows.
    #[error("there are more authorities below the configured one than its `pathLenConstraint` allows")]
    PathTooLong,
    /// RSA below 2,048 bits, or a curve that is none of the known good ones.
    #[error(
        "a key in the chain is weak or of an unknown kind: RSA from 2,048 bits, P-256, P-384, P-521 and Ed25519 count"
    )]
    WeakKey,
    /// `keyUsage` is there and does not allow signatures.
    #[error("the certificate's key is not for signatures: its key usage lacks `digitalSignature`")]
    NotForSignatures,
}

impl ChainFault {
    /// The reason in one word, for metrics.
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::AuthorityNotInForce => "authority_expired",
            Self::PathTooLong => "path_too_long",
            Self::WeakKey => "weak_key",
            Self::NotForSignatures => "wrong_purpose",
        }
    }

    /// What it was, of an error of the library's type.
    pub(super) fn of(error: &CertificateError) -> Option<Self> {
        match error {
            CertificateError::Other(OtherError(other)) => other.downcast_ref().copied(),
            _ => None,
        }
    }
}

impl From<ChainFault> for Error {
    fn from(broken: ChainFault) -> Self {
        Self::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(broken))))
    }
}

/// An authority whose certificate was read and found fit to issue.
#[derive(Debug, Clone)]
pub(super) struct Anchor {
    pub(super) certificate: CertificateDer<'static>,
    /// In seconds since the Unix epoch, both included.
    pub(super) validity: (i64, i64),
    /// How many authorities that are not self-issued may stand below it; `None` for as many as there are.
    pub(super) path_length: Option<u32>,
}

impl Anchor {
    fn is_in_force(&self, now: i64) -> bool {
        (self.validity.0..=self.validity.1).contains(&now)
    }
}

/// The path check with the authorities that are in force for a while.
struct InForce {
    /// From when, and before when, in seconds since the Unix epoch.
    span: (i64, i64),
    /// None when no authority is in force.
    library: Option<Arc<dyn ClientCertVerifier>>,
    /// None when no authority in force has a bound.
    path_lengths: Option<PathLengths>,
}

/// The bounds on how many authorities stand below each configured one. The library does not say which path it found, so
/// a path is looked for that holds in everything and has no more authorities than it may.
struct PathLengths {
    anchors: Vec<TrustAnchor<'static>>,
    /// In the order of `anchors`.
    most: Vec<Option<u32>>,
    lists: Vec<CertRevocationList<'static>>,
}

impl PathLengths {
    /// None when nothing is bounded.
    fn new<'a>(
        anchors: impl Iterator<Item = &'a Anchor> + Clone,
        lists: &[CertificateRevocationListDer<'static>],
    ) -> Result<Option<Self>, webpki::Error> {
        if anchors.clone().all(|anchor| anchor.path_length.is_none()) {
            return Ok(None);
        }
        let trusted = |anchor: &Anchor| Ok(anchor_from_trusted_cert(&anchor.certificate)?.to_owned());
        let parsed = |list: &CertificateRevocationListDer<'static>| {
            Ok(BorrowedCertRevocationList::from_der(list)?.to_owned()?.into())
        };
        Ok(Some(Self {
            most: anchors.clone().map(|anchor| anchor.path_length).collect(),
            anchors: anchors.map(trusted).collect::<Result<_, webpki::Error>>()?,
            lists: lists.iter().map(parsed).collect::<Result<_, webpki::Error>>()?,
        }))
    }

    /// Whether there is such a path.
    fn check(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), ChainFault> {
        let lists: Vec<&CertRevocationList<'_>> = self.lists.iter().collect();
        // INVARIANT: as strict as the library's own check; see `library`.
        let revocation = RevocationOptionsBuilder::new(&lists).ok().map(|builder| {
            let builder = builder.with_depth(RevocationCheckDepth::Chain);
            let builder = builder.with_status_policy(UnknownStatusPolicy::Deny);
            builder.with_expiration_policy(ExpirationPolicy::Enforce).build()
        });
        let algorithms = aws_lc_rs::default_provider().signature_verification_algorithms;
        let leaf = EndEntityCert::try_from(end_entity).map_err(|_| ChainFault::PathTooLong)?;
        let found = leaf.verify_for_usage(
            algorithms.all,
            &self.anchors,
            intermediates,
            now,
            KeyUsage::client_auth(),
            revocation,
            Some(&|path| self.fits(path)),
        );
        found.map(drop).map_err(|_| ChainFault::PathTooLong)
    }

    fn fits(&self, path: &VerifiedPath<'_>) -> Result<(), webpki::Error> {
        // RFC 5280, section 6.1.4 (l): one that is self-issued does not count.
        let below = path.intermediate_certificates().filter(|one| one.subject() != one.issuer()).count();
        let may = |most: &Option<u32>| most.is_none_or(|most| below <= most as usize);
        let mut ends = self.anchors.iter().zip(&self.most).filter(|(anchor, _)| *anchor == path.anchor());
        // Of two certificates of one authority each is an authority of its own.
        match ends.any(|(_, most)| may(most)) {
            true => Ok(()),
            false => Err(webpki::Error::PathLenConstraintViolated),
        }
    }
}

/// Verifies client certificates.
pub(super) struct ClientVerifier {
    anchors: Vec<Anchor>,
    lists: Vec<CertificateRevocationListDer<'static>>,
    required: bool,
    /// With all authorities, whether in force or not: for what does not hang on them, and to say why a path fails.
    everyone: Arc<dyn ClientCertVerifier>,
    now: ArcSwap<InForce>,
}

impl ClientVerifier {
    pub(super) fn new(
        anchors: Vec<Anchor>,
        lists: Vec<CertificateRevocationListDer<'static>>,
        required: bool,
    ) -> Result<Self, VerifierBuilderError> {
        let everyone = library(anchors.iter(), &lists, required)?;
        // In force at no time: the first certificate has it made.
        let now = ArcSwap::from_pointee(InForce { span: (0, 0), library: None, path_lengths: None });
        Ok(Self { anchors, lists, required, everyone, now })
    }

    /// When an authority next ends or begins, in seconds since the Unix epoch.
    pub(super) fn changes(&self, now: i64) -> i64 {
        let bounds =
            self.anchors.iter().flat_map(|anchor| [anchor.validity.0, anchor.validity.1.saturating_add(1)]);
        bounds.filter(|bound| *bound > now).min().unwrap_or(i64::MAX)
    }

    fn at(&self, now: i64) -> Result<Arc<InForce>, Error> {
        let live = self.now.load_full();
        if (live.span.0..live.span.1).contains(&now) {
            return Ok(live);
        }
        let unusable = |error: webpki::Error| Error::General(error.to_string());
        let standing = self.anchors.iter().filter(|anchor| anchor.is_in_force(now));
        let path_lengths = PathLengths::new(standing.clone(), &self.lists).map_err(unusable)?;
        let mut standing = standing.peekable();
        let library = match standing.peek() {
            Some(_) => Some(
                library(standing, &self.lists, self.required)
                    .map_err(|error| Error::General(error.to_string()))?,
            ),
            None => None,
        };
        let fresh = Arc::new(InForce { span: (now, self.changes(now)), library, path_lengths });
        self.now.store(Arc::clone(&fresh));
        Ok(fresh)
    }
}

fn library<'a>(
    anchors: impl Iterator<Item = &'a Anchor>,
    lists: &[CertificateRevocationListDer<'static>],
    required: bool,
) -> Result<Arc<dyn ClientCertVerifier>, VerifierBuilderError> {
    let mut roots = RootCertStore::empty();
    // INVARIANT: each was added to a store before when it was read, so none is left out here.
    roots.add_parsable_certificates(anchors.map(|anchor| anchor.certificate.clone()));
    let provider = Arc::new(aws_lc_rs::default_provider());
    // INVARIANT: with a list, every authority of a chain needs one, and an ended list refuses: what cannot be known to
    // be unrevoked is not taken for it. Both are this builder's strict choices.
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
        .with_crls(lists.iter().cloned())
        .enforce_revocation_expiration();
    let builder = if required { builder } else { builder.allow_unauthenticated() };
    builder.build()
}

impl ClientCertVerifier for ClientVerifier {
    fn client_auth_mandatory(&self) -> bool {
        self.required
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.everyone.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        let in_force = self.at(seconds)?;
        let found = match &in_force.library {
            Some(library) => library.verify_client_cert(end_entity, intermediates, now),
            None => Err(Error::InvalidCertificate(CertificateError::UnknownIssuer)),
        };
        let verified = match found {
            Err(Error::InvalidCertificate(CertificateError::UnknownIssuer)) => {
                // Either of no configured authority, or of one that is not in force: the log says which.
                self.everyone.verify_client_cert(end_entity, intermediates, now)?;
                return Err(ChainFault::AuthorityNotInForce.into());
            }
            found => found?,
        };
        if let Some(path_lengths) = &in_force.path_lengths {
            path_lengths.check(end_entity, intermediates, now)?;
        }
        for certificate in intermediates.iter().chain([end_entity]) {
            if !key_is_strong(certificate).unwrap_or(false) {
                return Err(ChainFault::WeakKey.into());
            }
        }
        if !signs(end_entity).unwrap_or(false) {
            return Err(ChainFault::NotForSignatures.into());
        }
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.everyone.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.everyone.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.everyone.supported_verify_schemes()
    }
}

impl fmt::Debug for ClientVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier").field("anchors", &self.anchors.len()).finish_non_exhaustive()
    }
}

fn key_is_strong(certificate: &CertificateDer<'_>) -> Option<bool> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    Some(is_strong(parsed.public_key()))
}

/// RSA of 2,048 bits or more, P-256, P-384, P-521 (SP 800-131A), Ed25519 (RFC 8410).
pub(super) fn is_strong(key: &SubjectPublicKeyInfo<'_>) -> bool {
    const ED25519: &str = "1.3.101.112";
    const EC: &str = "1.2.840.10045.2.1";
    const CURVES: [&str; 3] = ["1.2.840.10045.3.1.7", "1.3.132.0.34", "1.3.132.0.35"];
    match key.algorithm.algorithm.to_id_string().as_str() {
        ED25519 => true,
        // A curve by its parameters, and not by its name, is any curve at all (RFC 5480, section 2.1.1).
        EC => key.algorithm.parameters.as_ref().is_some_and(|curve| {
            curve.as_oid().is_ok_and(|curve| CURVES.contains(&curve.to_id_string().as_str()))
        }),
        _ => matches!(key.parsed(), Ok(PublicKey::RSA(key)) if modulus_bits(key.modulus) >= 2_048),
    }
}

/// Bits of a number, without the zeros before it.
fn modulus_bits(modulus: &[u8]) -> usize {
    let Some(first) = modulus.iter().position(|byte| *byte != 0) else { return 0 };
    let leading = modulus.get(first).map_or(0, |byte| byte.leading_zeros() as usize);
    (modulus.len() - first) * 8 - leading
}

/// RFC 5280, section 4.2.1.3: where the extension is there, it has to allow what the key is used for.
fn signs(certificate: &CertificateDer<'_>) -> Option<bool> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let usage = parsed.key_usage().ok()?;
    Some(usage.is_none_or(|usage| usage.value.digital_signature()))
}
