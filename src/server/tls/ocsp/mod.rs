//! Stapled OCSP answers (RFC 6066, section 8): the gateway shows clients, with its certificate, a fresh statement of the
//! authority that it has not been revoked, so that no client has to ask.
//!
//! An answer is fetched in the background and shown only after every check that a client would make. A failed fetch leaves
//! the one before in place until its own end, and not a moment longer: then the certificate is shown alone.

mod answer;
mod fetch;
mod shown;
#[cfg(test)]
mod tests;

use rustls::pki_types::CertificateDer;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::oid_registry::{OID_PKIX_ACCESS_DESCRIPTOR_OCSP, asn1_rs::oid};
use x509_parser::prelude::{FromDer as _, X509Certificate};

pub(super) use self::answer::CertificateQuery;
pub(in crate::server) use self::fetch::{OcspError, Stapler};
pub(super) use self::shown::StapledResponse;

/// Whether the certificate demands a stapled answer (RFC 7633: the TLS feature `status_request`).
pub(super) fn is_demanded(leaf: &CertificateDer<'_>) -> bool {
    let Ok((_, parsed)) = X509Certificate::from_der(leaf) else { return false };
    let feature = oid!(1.3.6.1.5.5.7.1.24);
    // A list of small numbers; 5 is `status_request`.
    parsed.extensions().iter().any(|extension| {
        extension.oid == feature && extension.value.windows(3).any(|number| number == [2, 1, 5])
    })
}

/// The responder that the certificate names.
fn responder_of(leaf: &CertificateDer<'_>) -> Option<reqwest::Url> {
    let (_, parsed) = X509Certificate::from_der(leaf).ok()?;
    let places = parsed.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::AuthorityInfoAccess(access) => Some(access),
        _ => None,
    })?;
    places.accessdescs.iter().find_map(|place| match &place.access_location {
        GeneralName::URI(url) if place.access_method == OID_PKIX_ACCESS_DESCRIPTOR_OCSP => {
            url.parse().ok().filter(|url: &reqwest::Url| matches!(url.scheme(), "http" | "https"))
        }
        _ => None,
    })
}
