//! The workload that a certificate names. Its chain is verified elsewhere; here its names are read, strictly.
//!
//! The name is the SPIFFE id, else the first URI or DNS name among the alternative names. A common name is free text that
//! authorities check least, so it gives no identity unless that is configured, and then with `CN=` before it: no common name
//! can pass for an alternative one.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};
use x509_parser::x509::X509Name;

use super::names;
use crate::model::Subject;

/// More alternative names than this is not an identity but a phone book.
const MAX_NAMES: usize = 64;
/// Bytes of one name; SPIFFE ids have no more.
const MAX_NAME: usize = 2_048;
/// Bytes of a certificate that is read.
const MAX_CERTIFICATE: usize = 64 * 1024;

/// Whether a bare common name is a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Naming {
    /// Alternative names only.
    Alternative,
    /// A common name counts where there is no alternative one.
    InsecureCommonName,
}

/// Why a certificate, although verified, gives no identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// It is no certificate, or has parts that cannot be read.
    #[error("the certificate cannot be read")]
    Malformed,
    /// It is not meant for clients (RFC 5280, section 4.2.1.12): it must say so in so many words.
    #[error("the certificate is not for clients: it lacks the extended key usage `clientAuth`")]
    Purpose,
    /// A name with a control or foreign character, or not in the form of its kind.
    #[error("a name in the certificate is not well formed")]
    BadName,
    /// More names than are read, or longer ones.
    #[error("the certificate has more or longer names than are read")]
    TooMany,
    /// Two SPIFFE ids.
    #[error("the certificate has more than one SPIFFE id")]
    Ambiguous,
    /// No alternative name that names a workload.
    #[error("the certificate has no URI or DNS name that names its holder")]
    Nameless,
}

impl IdentityError {
    /// The reason in one word, for metrics.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Purpose => "wrong_purpose",
            Self::BadName | Self::TooMany => "bad_name",
            Self::Ambiguous => "ambiguous_name",
            Self::Nameless => "no_name",
        }
    }
}

/// The holder of a certificate.
#[derive(Debug)]
pub struct Workload {
    subject: Arc<Subject>,
    thumbprint: [u8; 32],
}

impl Workload {
    /// The authenticated requester.
    pub fn subject(&self) -> &Arc<Subject> {
        &self.subject
    }

    /// SHA-256 of the certificate; what `x5t#S256` of a bound token (RFC 8705) must equal.
    pub fn thumbprint(&self) -> &[u8; 32] {
        &self.thumbprint
    }
}

/// Reads the holder out of a certificate whose chain has been verified.
pub fn workload(certificate: &[u8], naming: Naming) -> Result<Workload, IdentityError> {
    if certificate.len() > MAX_CERTIFICATE {
        return Err(IdentityError::TooMany);
    }
    let (rest, parsed) = X509Certificate::from_der(certificate).map_err(|_| IdentityError::Malformed)?;
    if !rest.is_empty() {
        return Err(IdentityError::Malformed);
    }
    let purpose = parsed.extended_key_usage().map_err(|_| IdentityError::Malformed)?;
    if !purpose.is_some_and(|purpose| purpose.value.client_auth) {
        return Err(IdentityError::Purpose);
    }
    let found = alternative_names(&parsed)?;
    let id = match (found.spiffe, found.first, naming) {
        (Some(id), ..) | (None, Some(id), _) => id,
        // Other alternative names, such as a mail address, are there on purpose: the common name does not stand in.
        (None, None, Naming::InsecureCommonName) if found.all.is_empty() => common_name(parsed.subject())?,
        (None, None, _) => return Err(IdentityError::Nameless),
    };
    let mut thumbprint = [0; 32];
    thumbprint.copy_from_slice(digest(&SHA256, certificate).as_ref());
    let issuer = names::distinguished(parsed.issuer()).ok_or(IdentityError::BadName)?;
    let subject = Subject::workload(&id, found.all, &issuer, &hex::encode(thumbprint));
    Ok(Workload { subject: Arc::new(subject), thumbprint })
}

#[derive(Default)]
struct CertificateNames {
    spiffe: Option<String>,
    first: Option<String>,
    all: BTreeSet<Arc<str>>,
}

fn alternative_names(certificate: &X509Certificate<'_>) -> Result<CertificateNames, IdentityError> {
    let mut found = CertificateNames::default();
    let extension = certificate.subject_alternative_name().map_err(|_| IdentityError::Malformed)?;
    let Some(extension) = extension else { return Ok(found) };
    let all = &extension.value.general_names;
    if all.len() > MAX_NAMES {
        return Err(IdentityError::TooMany);
    }
    for name in all {
        let (text, names_holder) = match name {
            GeneralName::URI(text) => (names::uri(text).ok_or(IdentityError::BadName)?.to_owned(), true),
            GeneralName::DNSName(text) => (names::dns(text).ok_or(IdentityError::BadName)?, true),
            GeneralName::RFC822Name(text) => {
                (names::mail(text).ok_or(IdentityError::BadName)?.to_owned(), false)
            }
            GeneralName::IPAddress(bytes) => (address(bytes).ok_or(IdentityError::BadName)?, false),
            // A name that could not be read may be the very one that a `forbid` hangs on.
            GeneralName::Invalid(..) => return Err(IdentityError::BadName),
            GeneralName::OtherName(..)
            | GeneralName::X400Address(_)
            | GeneralName::DirectoryName(_)
            | GeneralName::EDIPartyName(_)
            | GeneralName::RegisteredID(_) => continue,
        };
        if text.len() > MAX_NAME {
            return Err(IdentityError::TooMany);
        }
        if text.starts_with("spiffe:") && found.spiffe.replace(text.clone()).is_some() {
            return Err(IdentityError::Ambiguous);
        }
        // `*.example.com` names a crowd.
        if names_holder && found.first.is_none() && !text.starts_with('*') {
            found.first = Some(text.clone());
        }
        found.all.insert(text.into());
    }
    Ok(found)
}

fn address(bytes: &[u8]) -> Option<String> {
    if let Ok(four) = <[u8; 4]>::try_from(bytes) {
        return Some(Ipv4Addr::from(four).to_string());
    }
    <[u8; 16]>::try_from(bytes).ok().map(|sixteen| Ipv6Addr::from(sixteen).to_string())
}

fn common_name(subject: &X509Name<'_>) -> Result<String, IdentityError> {
    let mut all = subject.iter_common_name();
    let (Some(name), None) = (all.next(), all.next()) else { return Err(IdentityError::Nameless) };
    let name = name.as_str().map_err(|_| IdentityError::BadName)?;
    match names::plain(name) {
        Some(name) if name.len() <= 256 => Ok(format!("CN={name}")),
        _ => Err(IdentityError::BadName),
    }
}
