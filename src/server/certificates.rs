//! The files of TLS as one thing: the gateway's certificate and key, and what clients' certificates are judged by.
//!
//! They are replaced while the gateway runs: on request, and when they change; all of them or none.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::TlsSettings;
use super::build::Parts;
use super::tls::{Digest, Tls, TlsError, digest_of};
use crate::authn::mtls::ClientTrust;
use crate::blocking;
use crate::clock::SharedClock;
use crate::events::SecurityEvent;

/// What a reload did to the certificates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TlsReload {
    /// The gateway has no certificates.
    NotInUse,
    /// New connections use the files that the text describes, also for certificates of clients.
    Applied(String),
    /// The new files are not sound; the old ones stay in force. The text is for the operator.
    Refused(String),
}

/// Everything that comes from the files.
pub(super) struct Certificates {
    tls: Option<Arc<Tls>>,
    clients: Option<Arc<ClientTrust>>,
    interval: Option<Duration>,
    /// Digest of the files as they were when they were last read, good or bad.
    seen: Mutex<Option<Digest>>,
}

impl Certificates {
    /// Reads and checks the files of `settings`; `clients` has read its own.
    pub(super) fn open(
        settings: Option<TlsSettings>,
        clients: Option<Arc<ClientTrust>>,
        clock: &SharedClock,
    ) -> Result<Self, TlsError> {
        let interval = match &settings {
            Some(settings) => settings.reload_interval,
            None => Some(TlsSettings::RELOAD_INTERVAL),
        };
        let verifier = clients.as_ref().map(|clients| clients.verifier());
        let opened = settings.map(|settings| Tls::open(settings, verifier, Arc::clone(clock))).transpose()?;
        let tls = opened.map(|(tls, summary)| {
            tracing::info!("{summary}");
            Arc::new(tls)
        });
        let certificates = Self { tls, clients, interval, seen: Mutex::default() };
        *certificates.seen.lock() = certificates.digest();
        Ok(certificates)
    }

    /// The gateway's own certificate, when it has one.
    pub(super) fn tls(&self) -> Option<&Arc<Tls>> {
        self.tls.as_ref()
    }

    fn files(&self) -> impl Iterator<Item = &PathBuf> {
        let own = self.tls.iter().flat_map(|tls| tls.settings().files());
        own.chain(self.clients.iter().flat_map(|clients| clients.settings().files()))
    }

    fn digest(&self) -> Option<Digest> {
        digest_of(self.files())
    }

    /// Whether the files have changed since they were last read; true once for each change.
    fn changed(&self) -> bool {
        let now = self.digest();
        let mut seen = self.seen.lock();
        let changed = now.is_some() && *seen != now;
        if changed {
            *seen = now;
        }
        changed
    }

    /// Reads all files again. Nothing is replaced before all of them are valid.
    fn reload(&self) -> Result<String, (String, String)> {
        *self.seen.lock() = self.digest();
        let clients = self.clients.as_ref().map(|clients| clients.prepare()).transpose();
        let clients = clients.map_err(|error| (with_causes(&error), error.help().to_owned()))?;
        let verifier = clients.as_ref().map(|clients| clients.verifier());
        let own = self.tls.as_ref().map(|tls| tls.prepare(verifier)).transpose();
        let own = own.map_err(|error| (with_causes(&error), error.help().into_owned()))?;

        let mut summary = Vec::new();
        // Clients first: a certificate that the new list revokes is refused from now on, also if the rest fails.
        if let (Some(live), Some(new)) = (&self.clients, &clients) {
            live.commit(new);
            summary.push(new.summary.clone());
        }
        if let (Some(live), Some(new)) = (&self.tls, own) {
            summary.insert(0, new.summary.clone());
            live.commit(new);
        }
        Ok(summary.join(", "))
    }
}

impl Parts {
    /// Reads the files again; they change as a whole or not at all. Open connections go on.
    pub(super) async fn reload_tls(&self) -> TlsReload {
        let certificates = Arc::clone(&self.certificates);
        if certificates.files().next().is_none() {
            return TlsReload::NotInUse;
        }
        let reloaded = blocking::run(move || certificates.reload()).await.unwrap_or_else(|_| {
            Err(("the reload stopped before its end".to_owned(), "try again".to_owned()))
        });
        match reloaded {
            Ok(summary) => {
                tracing::info!("TLS reloaded: {summary}");
                self.event(SecurityEvent::TlsReloaded { summary: &summary }).await;
                TlsReload::Applied(summary)
            }
            Err((problem, help)) => {
                self.event(SecurityEvent::TlsReloadRefused { problem: &problem, help: &help }).await;
                TlsReload::Refused(format!("{problem}\nhelp: {help}"))
            }
        }
    }
}

/// The error and what lies behind it, on one line.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        line = format!("{line}: {next}");
        cause = next.source();
    }
    line
}

/// Checks the files regularly, so that a renewed certificate needs no signal.
pub(super) async fn follow_files(parts: Arc<Parts>, stop: CancellationToken) {
    let Some(interval) = parts.certificates.interval else { return };
    if parts.certificates.files().next().is_none() {
        return;
    }
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(interval) => {}
        }
        let certificates = Arc::clone(&parts.certificates);
        if blocking::run(move || certificates.changed()).await.unwrap_or(false) {
            parts.reload_tls().await;
        }
    }
}

/// Keeps a fresh OCSP answer for the live certificate. What goes wrong is said and tried again; it takes nothing down.
pub(super) async fn staple(parts: Arc<Parts>, stop: CancellationToken) {
    let Some(tls) = parts.certificates.tls().filter(|tls| tls.settings().ocsp.is_some()) else { return };
    let mut failures = 0_u32;
    loop {
        let Some(stapler) = tls.stapler() else { return };
        let refreshed = tokio::select! {
            () = stop.cancelled() => return,
            refreshed = stapler.refresh() => refreshed,
        };
        let wait = match refreshed {
            Ok(wait) => {
                failures = 0;
                tracing::info!("an OCSP answer is stapled");
                wait
            }
            Err(error) => {
                failures = failures.saturating_add(1);
                parts.event(SecurityEvent::OcspRefused { error: &with_causes(&error) }).await;
                stapler.wait_after(failures)
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = tls.changed.notified() => failures = 0,
            () = tokio::time::sleep(wait) => {}
        }
    }
}
