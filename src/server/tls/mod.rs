//! TLS of the API: which certificate is shown, and how it is replaced while connections go on.
//!
//! A new certificate is read, checked and made ready as a whole before anything changes. What is wrong with it leaves
//! the old one in place: a renewal that went wrong must not take the gateway off the network. New connections get the
//! new certificate, open ones keep theirs.

mod error;
mod files;
mod ocsp;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::CertifiedKey;
use rustls::time_provider::TimeProvider;
use rustls::version::{TLS12, TLS13};
use tokio::sync::Notify;

pub use error::TlsError;
pub(super) use files::{Digest, digest_of};
pub(super) use ocsp::Stapler;

use self::ocsp::{CertificateQuery, StapledResponse};
use crate::clock::{SharedClock, rfc3339};
use crate::config::{MinVersion, TlsSettings};

/// The live certificate with everything that a handshake needs.
pub(super) struct Tls {
    settings: TlsSettings,
    clock: SharedClock,
    live: ArcSwap<ServerConfig>,
    /// Fetches stapled answers for the live certificate, when that is wanted.
    stapler: ArcSwapOption<Stapler>,
    /// Another certificate is live.
    pub(super) changed: Notify,
}

/// A certificate that has passed every check and is not live yet.
pub(super) struct Prepared {
    config: Arc<ServerConfig>,
    stapler: Option<Arc<Stapler>>,
    /// Which certificate, for the log: its fingerprint and its end.
    pub(super) summary: String,
}

impl Tls {
    /// Reads and checks the files; `clients` verifies certificates of clients, when they are asked for.
    pub(super) fn open(
        settings: TlsSettings,
        clients: Option<Arc<dyn ClientCertVerifier>>,
        clock: SharedClock,
    ) -> Result<(Self, String), TlsError> {
        let Prepared { config, stapler, summary } = prepare(&settings, clients, &clock)?;
        let live = ArcSwap::new(config);
        let stapler = ArcSwapOption::new(stapler);
        Ok((Self { settings, clock, live, stapler, changed: Notify::new() }, summary))
    }

    /// Reads and checks the files again; nothing changes before [`Tls::commit`].
    pub(super) fn prepare(&self, clients: Option<Arc<dyn ClientCertVerifier>>) -> Result<Prepared, TlsError> {
        prepare(&self.settings, clients, &self.clock)
    }

    /// Shows the new certificate from the next connection on.
    pub(super) fn commit(&self, prepared: Prepared) {
        if let (Some(before), Some(next)) = (self.stapler(), &prepared.stapler) {
            next.go_on_from(&before);
        }
        self.live.store(prepared.config);
        self.stapler.store(prepared.stapler);
        self.changed.notify_one();
    }

    /// What the next handshake uses.
    pub(super) fn config(&self) -> Arc<ServerConfig> {
        self.live.load_full()
    }

    /// What fetches stapled answers for the live certificate.
    pub(super) fn stapler(&self) -> Option<Arc<Stapler>> {
        self.stapler.load_full()
    }

    pub(super) fn settings(&self) -> &TlsSettings {
        &self.settings
    }
}

fn prepare(
    settings: &TlsSettings,
    clients: Option<Arc<dyn ClientCertVerifier>>,
    clock: &SharedClock,
) -> Result<Prepared, TlsError> {
    let chain = files::chain(&settings.cert_path)?;
    let key = files::key(&settings.key_path)?;
    let leaf = chain.first().ok_or_else(|| TlsError::NoCertificate { path: settings.cert_path.clone() })?;
    let facts = files::facts(&settings.cert_path, leaf)?;
    facts.in_force(&settings.cert_path, clock.now_millis())?;

    let versions: &[_] = match settings.min_version {
        MinVersion::Tls13 => &[&TLS13],
        MinVersion::Tls12 => &[&TLS13, &TLS12],
    };
    let time = Arc::new(GatewayTime(Arc::clone(clock)));
    let provider = Arc::new(provider(settings));
    let builder = ServerConfig::builder_with_details(Arc::clone(&provider), time)
        .with_protocol_versions(versions)
        .map_err(TlsError::Suites)?;
    let builder = match clients {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    let certificate_query = certificate_query(settings, &chain)?;
    let leaf = leaf.clone();
    let certified = CertifiedKey::from_der(chain, key, &provider).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => {
            TlsError::Mismatch { certificate: settings.cert_path.clone(), key: settings.key_path.clone() }
        }
        source => TlsError::Unusable { path: settings.key_path.clone(), source },
    })?;
    let shown = Arc::new(StapledResponse::new(certified, Arc::clone(clock)));
    let stapler = settings.ocsp.as_ref().zip(certificate_query).map(|(ocsp, certificate_query)| {
        Stapler::new(Arc::clone(&shown), (certificate_query, &leaf), ocsp, Arc::clone(clock)).map(Arc::new)
    });
    let stapler = stapler.transpose().map_err(TlsError::Client)?;
    let mut config = builder.with_cert_resolver(shown);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    // The configured order is the order of preference.
    config.ignore_client_order = true;
    let summary = format!("certificate {} ends {}", facts.fingerprint, rfc3339(facts.not_after));
    Ok(Prepared { config: Arc::new(config), stapler, summary })
}

/// The question to the responder, when answers are to be stapled; a certificate that demands one is not shown without.
fn certificate_query(
    settings: &TlsSettings,
    chain: &[CertificateDer<'static>],
) -> Result<Option<CertificateQuery>, TlsError> {
    let path = || settings.cert_path.clone();
    let Some(leaf) = chain.first() else { return Err(TlsError::NoCertificate { path: path() }) };
    if settings.ocsp.is_none() {
        return if ocsp::is_demanded(leaf) { Err(TlsError::MustStaple { path: path() }) } else { Ok(None) };
    }
    let certificate_query = chain.get(1).and_then(|issuer| CertificateQuery::new(leaf, issuer));
    certificate_query.map(Some).ok_or_else(|| TlsError::NoIssuer { path: path() })
}

/// The configured suites of the one cryptographic library, in the configured order.
fn provider(settings: &TlsSettings) -> CryptoProvider {
    let mut provider = aws_lc_rs::default_provider();
    let known = std::mem::take(&mut provider.cipher_suites);
    let chosen = settings
        .cipher_suites
        .iter()
        .filter_map(|wanted| known.iter().find(|suite| suite.suite() == *wanted));
    provider.cipher_suites = chosen.copied().collect();
    provider
}

/// Certificates end by the gateway's clock.
struct GatewayTime(SharedClock);

impl TimeProvider for GatewayTime {
    fn current_time(&self) -> Option<UnixTime> {
        let seconds = u64::try_from(self.0.now_seconds()).ok()?;
        Some(UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
    }
}

impl fmt::Debug for GatewayTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GatewayTime")
    }
}
