//! Client certificates: the identity of a verified certificate, determined anew for each request.
//!
//! The handshake proves that the client has the key. What the certificate is worth is asked here: by the authorities
//! and revocation lists that are in force now, not by those of the day when the connection was opened. So a certificate
//! that is revoked, or that ends, counts for nothing from the next request on, whichever connection that comes over.
//! As long as nothing has changed, the answer is remembered with the connection.

mod identity;
pub mod local_ca;
mod names;
mod settings;
#[cfg(test)]
mod tests;
mod trust;
mod verifier;

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use rustls::pki_types::CertificateDer;

pub use identity::{IdentityError, Naming, Workload, workload};
pub use settings::{Settings, Use};
pub use trust::{ClientTrust, PreparedTrust, TrustError, refusal};

use super::scheme::{Refused, RefusedKind};
use crate::model::Subject;

pub(super) const METHOD: &str = "mtls";

/// The certificate of one client, as it came: the chain of a handshake, or the one that a proxy passes on.
pub struct ClientCertificate {
    chain: Vec<CertificateDer<'static>>,
    judged: Mutex<Option<Judgement>>,
}

/// The result for a certificate, and how long it is valid.
#[derive(Clone)]
struct Judgement {
    /// By which generation of authorities and lists.
    generation: u64,
    /// The first end of anything that took part, in seconds since the Unix epoch.
    until: i64,
    found: Result<Arc<Workload>, Refused>,
}

impl ClientCertificate {
    /// `None` for an empty chain. The client's own certificate stands first.
    pub fn new(chain: Vec<CertificateDer<'static>>) -> Option<Self> {
        (!chain.is_empty()).then(|| Self { chain, judged: Mutex::new(None) })
    }
}

impl fmt::Debug for ClientCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientCertificate").field("certificates", &self.chain.len()).finish_non_exhaustive()
    }
}

/// Client certificates as credentials.
#[derive(Debug)]
pub(super) struct MtlsScheme {
    trust: Option<Arc<ClientTrust>>,
}

impl MtlsScheme {
    pub(super) fn new(trust: Option<Arc<ClientTrust>>) -> Self {
        Self { trust }
    }

    /// The subject of the connection's certificate.
    pub(super) fn examine(
        &self,
        certificate: Option<&ClientCertificate>,
    ) -> Result<Option<Arc<Workload>>, Refused> {
        let Some(certificate) = certificate else { return Ok(None) };
        let trust = self.trust.as_ref().ok_or_else(|| Refused::invalid(METHOD, "not_enabled"))?;
        judge(trust, certificate).map(Some)
    }

    /// Whether a certificate is a credential by itself.
    pub(super) fn names_callers(&self) -> bool {
        self.trust.as_ref().is_some_and(|trust| trust.settings().used_for == Use::Principal)
    }
}

/// Verifies and reads the certificate, unless that was done before and nothing has changed since.
fn judge(trust: &ClientTrust, certificate: &ClientCertificate) -> Result<Arc<Workload>, Refused> {
    let now = trust.now();
    let generation = trust.generation();
    {
        let judged = certificate.judged.lock();
        if let Some(known) = judged.as_ref()
            && known.generation == generation
            && now < known.until
        {
            return known.found.clone();
        }
    }
    let (found, until) = trust.verify(&certificate.chain, now);
    *certificate.judged.lock() = Some(Judgement { generation, until, found: found.clone() });
    found
}

impl Refused {
    /// A client certificate in a header of a request that does not come from a configured proxy.
    pub fn certificate_from_stranger() -> Self {
        Self::invalid(METHOD, "untrusted_proxy")
    }

    /// A certificate is demanded of every client, and the proxy passed none on.
    pub fn missing_certificate() -> Self {
        Self::new(RefusedKind::Missing, METHOD, "missing")
    }

    /// A header that should hold a certificate and does not.
    pub fn certificate_header() -> Self {
        Self::invalid(METHOD, "malformed")
    }

    fn certificate(kind: RefusedKind, reason: &'static str) -> Self {
        Self::new(kind, METHOD, reason)
    }
}

/// The principal that a certificate proves, if any; for benchmarks.
pub fn prove(trust: &ClientTrust, certificate: &ClientCertificate) -> Result<Arc<Subject>, Refused> {
    judge(trust, certificate).map(|workload| Arc::clone(workload.subject()))
}
