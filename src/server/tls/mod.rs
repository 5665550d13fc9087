//! TLS of the API: which certificate is shown, and how it is replaced while connections go on.
//!
//! A new certificate is read, checked and made ready as a whole before anything changes. What is wrong with it leaves
//! the old one in place: a renewal that went wrong must not take the gateway off the network. New connections get the
//! new certificate, open ones keep theirs.

mod error;
mod files;
mod settings;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::UnixTime;
use rustls::server::danger::ClientCertVerifier;
use rustls::time_provider::TimeProvider;
use rustls::version::{TLS12, TLS13};

pub use error::TlsError;
pub use settings::{MinVersion, TlsSettings};

use self::files::Digest;
use crate::clock::{SharedClock, rfc3339};

/// The live certificate with everything that a handshake needs.
pub(super) struct Tls {
    settings: TlsSettings,
    clock: SharedClock,
    live: ArcSwap<ServerConfig>,
    /// Digest of the files as they were when they were last read, good or bad.
    seen: Mutex<Option<Digest>>,
}

/// A certificate that has passed every check and does not count yet.
pub(super) struct Prepared {
    config: Arc<ServerConfig>,
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
        let Prepared { config, summary } = prepare(&settings, clients, &clock)?;
        let seen = Mutex::new(files::digest_of(settings.files()));
        Ok((Self { settings, clock, live: ArcSwap::new(config), seen }, summary))
    }

    /// Reads and checks the files again; nothing changes before [`Tls::commit`].
    pub(super) fn prepare(&self, clients: Option<Arc<dyn ClientCertVerifier>>) -> Result<Prepared, TlsError> {
        *self.seen.lock() = files::digest_of(self.settings.files());
        prepare(&self.settings, clients, &self.clock)
    }

    /// Whether the files are others than those that were last read; says so once for each change.
    pub(super) fn files_changed(&self) -> bool {
        let now = files::digest_of(self.settings.files());
        let mut seen = self.seen.lock();
        let changed = now.is_some() && *seen != now;
        if changed {
            *seen = now;
        }
        changed
    }

    /// Shows the new certificate from the next connection on.
    pub(super) fn commit(&self, prepared: Prepared) {
        self.live.store(prepared.config);
    }

    /// What the next handshake uses.
    pub(super) fn config(&self) -> Arc<ServerConfig> {
        self.live.load_full()
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
    let builder = ServerConfig::builder_with_details(Arc::new(provider(settings)), time)
        .with_protocol_versions(versions)
        .map_err(TlsError::Suites)?;
    let builder = match clients {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_single_cert(chain, key).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => {
            TlsError::Mismatch { certificate: settings.cert_path.clone(), key: settings.key_path.clone() }
        }
        source => TlsError::Unusable { path: settings.key_path.clone(), source },
    })?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    // The configured order is the order of preference.
    config.ignore_client_order = true;
    let summary = format!("certificate {} ends {}", facts.fingerprint, rfc3339(facts.not_after));
    Ok(Prepared { config: Arc::new(config), summary })
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
