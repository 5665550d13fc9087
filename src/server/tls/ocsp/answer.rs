//! The OCSP request for one certificate, and the check of its answer (RFC 6960, section 3.2).

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use der::asn1::{AnyRef, ObjectIdentifier, OctetString};
use der::{Decode as _, Encode as _, Reader as _, SliceReader};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::CertificateDer;
use x509_cert::serial_number::SerialNumber;
use x509_cert::spki::AlgorithmIdentifierOwned;
use x509_ocsp::{
    BasicOcspResponse, CertId, CertStatus, OcspRequest, OcspResponse, OcspResponseStatus, Request,
    SingleResponse, TbsRequest,
};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::OcspError;

const SHA1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.14.3.2.26");
const BASIC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.1.1");
/// How far ahead the responder's clock may be, in seconds.
const LEEWAY: i64 = 300;
/// Certificates in one answer that are tried.
const MAX_SIGNERS: usize = 4;

/// An answer that holds.
#[derive(Debug)]
pub(super) struct Staple {
    pub(super) bytes: Vec<u8>,
    /// Its end, in seconds since the Unix epoch.
    pub(super) until: i64,
}

/// The certificate that is asked about, and its authority.
pub(in crate::server::tls) struct CertificateQuery {
    issuer: CertificateDer<'static>,
    id: CertId,
}

impl CertificateQuery {
    /// `None` when one of them cannot be read, or the second has not issued the first.
    pub(in crate::server::tls) fn new(
        leaf: &CertificateDer<'static>,
        issuer: &CertificateDer<'static>,
    ) -> Option<Self> {
        let (_, own) = X509Certificate::from_der(leaf).ok()?;
        let (_, above) = X509Certificate::from_der(issuer).ok()?;
        if own.issuer() != above.subject() || !signed_by(&own, &above) {
            return None;
        }
        // A name of the authority, not a protection: responders know it by this digest, and the answer is signed.
        let hash =
            |bytes: &[u8]| OctetString::new(digest(&SHA1_FOR_LEGACY_USE_ONLY, bytes).as_ref().to_vec());
        let id = CertId {
            hash_algorithm: AlgorithmIdentifierOwned { oid: SHA1, parameters: Some(der::Any::null()) },
            issuer_name_hash: hash(above.subject().as_raw()).ok()?,
            issuer_key_hash: hash(&above.public_key().subject_public_key.data).ok()?,
            serial_number: SerialNumber::new(own.raw_serial()).ok()?,
        };
        Some(Self { issuer: issuer.clone(), id })
    }

    /// The question, in DER.
    pub(super) fn question(&self) -> Option<Vec<u8>> {
        let request = Request { req_cert: self.id.clone(), single_request_extensions: None };
        let tbs_request = TbsRequest { request_list: vec![request], ..TbsRequest::default() };
        OcspRequest { tbs_request, optional_signature: None }.to_der().ok()
    }

    /// Whether the answer holds at `now`, in seconds since the Unix epoch.
    pub(super) fn check(&self, bytes: Vec<u8>, now: i64) -> Result<Staple, OcspError> {
        let outer = OcspResponse::from_der(&bytes).map_err(|_| OcspError::Malformed)?;
        if outer.response_status != OcspResponseStatus::Successful {
            return Err(OcspError::NoAnswer);
        }
        let inner = outer.response_bytes.filter(|inner| inner.response_type == BASIC);
        let inner = inner.ok_or(OcspError::Malformed)?.response;
        let answer = BasicOcspResponse::from_der(inner.as_bytes()).map_err(|_| OcspError::Malformed)?;
        let signer_ends = self.check_signature(&answer, inner.as_bytes(), now)?;
        let responses = &answer.tbs_response_data.responses;
        let ours = responses.iter().find(|response| self.is_about_us(response)).ok_or(OcspError::Other)?;
        match ours.cert_status {
            CertStatus::Good(_) => {}
            CertStatus::Revoked(_) => return Err(OcspError::Revoked),
            CertStatus::Unknown(_) => return Err(OcspError::Unknown),
        }
        let seconds = |time: &x509_ocsp::OcspGeneralizedTime| {
            i64::try_from(time.0.to_unix_duration().as_secs()).unwrap_or(i64::MAX)
        };
        let until = ours.next_update.as_ref().map(seconds).ok_or(OcspError::Endless)?.min(signer_ends);
        if seconds(&ours.this_update) > now.saturating_add(LEEWAY) || until <= now {
            return Err(OcspError::NotOfNow);
        }
        Ok(Staple { bytes, until })
    }

    fn is_about_us(&self, response: &SingleResponse) -> bool {
        let theirs = &response.cert_id;
        let ours = &self.id;
        theirs.hash_algorithm.oid == SHA1
            && theirs.issuer_name_hash == ours.issuer_name_hash
            && theirs.issuer_key_hash == ours.issuer_key_hash
            && theirs.serial_number == ours.serial_number
    }

    /// Signed by the authority itself or by its delegate (section 4.2.2.2); returns the end of the signer's certificate.
    fn check_signature(&self, answer: &BasicOcspResponse, inner: &[u8], now: i64) -> Result<i64, OcspError> {
        let signed = first_member(inner).ok_or(OcspError::Malformed)?;
        let algorithm = answer.signature_algorithm.to_der().map_err(|_| OcspError::Malformed)?;
        let signature = answer.signature.as_bytes().ok_or(OcspError::Malformed)?;
        let (_, issuer) = X509Certificate::from_der(&self.issuer).map_err(|_| OcspError::Malformed)?;
        if verify(&issuer, &algorithm, signed, signature) {
            return Ok(i64::MAX);
        }
        for certificate in answer.certs.iter().flatten().take(MAX_SIGNERS) {
            let certificate = certificate.to_der().map_err(|_| OcspError::Malformed)?;
            let (_, signer) = X509Certificate::from_der(&certificate).map_err(|_| OcspError::Malformed)?;
            let purpose = signer.extended_key_usage().ok().flatten();
            let named = purpose.is_some_and(|purpose| purpose.value.ocsp_signing)
                && signer.issuer() == issuer.subject()
                && signed_by(&signer, &issuer);
            let (begins, ends) =
                (signer.validity().not_before.timestamp(), signer.validity().not_after.timestamp());
            if named && begins <= now && now < ends && verify(&signer, &algorithm, signed, signature) {
                return Ok(ends);
            }
        }
        Err(OcspError::Signature)
    }
}

/// The first part of a sequence, byte for byte as it came: what was signed.
fn first_member(sequence: &[u8]) -> Option<&[u8]> {
    let outer = AnyRef::from_der(sequence).ok()?;
    SliceReader::new(outer.value()).ok()?.tlv_bytes().ok()
}

fn signed_by(certificate: &X509Certificate<'_>, issuer: &X509Certificate<'_>) -> bool {
    let Some(algorithm) = encoded(&certificate.signature_algorithm) else { return false };
    verify(issuer, &algorithm, certificate.tbs_certificate.as_ref(), &certificate.signature_value.data)
}

fn encoded(algorithm: &x509_parser::x509::AlgorithmIdentifier<'_>) -> Option<Vec<u8>> {
    let parameters = algorithm.parameters.as_ref().map(|any| {
        x509_parser::asn1_rs::ToDer::to_der_vec(any).ok().and_then(|der| der::Any::from_der(&der).ok())
    });
    let oid = ObjectIdentifier::from_bytes(algorithm.algorithm.as_bytes()).ok()?;
    let parameters = match parameters {
        None => None,
        Some(None) => return None,
        Some(parameters) => parameters,
    };
    AlgorithmIdentifierOwned { oid, parameters }.to_der().ok()
}

/// Whether the holder of the certificate's key made the signature, by an algorithm that handshakes accept, too.
fn verify(holder: &X509Certificate<'_>, algorithm: &[u8], message: &[u8], signature: &[u8]) -> bool {
    let body = |der: &[u8]| AnyRef::from_der(der).ok().map(|any| any.value().to_vec());
    let key = holder.public_key();
    let (Some(wanted), Some(kind)) = (body(algorithm), encoded(&key.algorithm).as_deref().and_then(body))
    else {
        return false;
    };
    default_provider().signature_verification_algorithms.all.iter().any(|known| {
        known.signature_alg_id().as_ref() == wanted
            && known.public_key_alg_id().as_ref() == kind
            && known.verify_signature(&key.subject_public_key.data, message, signature).is_ok()
    })
}
