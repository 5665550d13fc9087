//! What a handshake shows: the certificate, and the stapled answer while it lasts.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::answer::Staple;
use crate::clock::SharedClock;

struct StapledInfo {
    key: Arc<CertifiedKey>,
    /// In seconds since the Unix epoch.
    until: i64,
}

/// One certificate with its key.
pub(in crate::server::tls) struct StapledResponse {
    bare: Arc<CertifiedKey>,
    stapled: ArcSwapOption<StapledInfo>,
    clock: SharedClock,
}

impl StapledResponse {
    pub(in crate::server::tls) fn new(key: CertifiedKey, clock: SharedClock) -> Self {
        Self { bare: Arc::new(key), stapled: ArcSwapOption::empty(), clock }
    }

    /// Shows this answer from the next handshake on.
    pub(super) fn staple(&self, staple: &Staple) {
        let mut key = (*self.bare).clone();
        key.ocsp = Some(staple.bytes.clone());
        self.stapled.store(Some(Arc::new(StapledInfo { key: Arc::new(key), until: staple.until })));
    }

    /// Goes on with the answer for the same certificate, which has been read again; it keeps its end.
    pub(super) fn go_on_from(&self, before: &Self) {
        let same = self.bare.cert.first() == before.bare.cert.first();
        let Some(stapled) = before.stapled.load_full().filter(|_| same) else { return };
        let mut key = (*self.bare).clone();
        key.ocsp.clone_from(&stapled.key.ocsp);
        self.stapled.store(Some(Arc::new(StapledInfo { key: Arc::new(key), until: stapled.until })));
    }

    /// What the next handshake shows: never an answer that has ended.
    pub(super) fn live(&self) -> Arc<CertifiedKey> {
        let now = self.clock.now_seconds();
        let stapled = self.stapled.load();
        let live = stapled.as_ref().filter(|stapled| now < stapled.until);
        Arc::clone(live.map_or(&self.bare, |stapled| &stapled.key))
    }

    /// Shows none, because the authority has said something worse.
    pub(super) fn unstaple(&self) {
        self.stapled.store(None);
    }
}

impl ResolvesServerCert for StapledResponse {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.live())
    }
}

impl fmt::Debug for StapledResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shown").field("certificates", &self.bare.cert.len()).finish_non_exhaustive()
    }
}
