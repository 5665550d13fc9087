//! Asks the responder, and again before the answer ends.

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, StatusCode, Url};

use super::answer::{CertificateQuery, Staple};
use super::{StapledResponse, responder_of};
use crate::clock::SharedClock;
use crate::config::OcspSettings;

/// The wait after a first failure; it doubles with each further one.
const FIRST_WAIT: Duration = Duration::from_secs(10);
/// The least time between two fetches.
const SHORTEST_WAIT: Duration = Duration::from_secs(60);

/// Why there is no answer to show.
#[derive(Debug, thiserror::Error)]
pub(in crate::server) enum OcspError {
    #[error("the certificate names no OCSP responder, and none is configured")]
    NoResponder,
    #[error("the OCSP responder could not be reached")]
    Unreachable(#[source] reqwest::Error),
    #[error("the OCSP responder answered with HTTP status {0}")]
    Status(u16),
    #[error("the OCSP answer is larger than {0} bytes")]
    TooLarge(usize),
    #[error("the OCSP responder has no answer")]
    NoAnswer,
    #[error("the OCSP answer cannot be read")]
    Malformed,
    #[error("the OCSP answer is not signed by the authority or its delegate")]
    Signature,
    #[error("the OCSP answer is about another certificate")]
    Other,
    #[error("the authority has revoked the certificate of the gateway")]
    Revoked,
    #[error("the certificate of the gateway is unknown to the authority")]
    Unknown,
    #[error("the OCSP answer has no end of validity")]
    Endless,
    #[error("the OCSP answer has ended or has not begun")]
    NotOfNow,
}

/// The address may hold a key: the error does not keep it.
impl From<reqwest::Error> for OcspError {
    fn from(error: reqwest::Error) -> Self {
        Self::Unreachable(error.without_url())
    }
}

/// Fetches answers about one certificate.
pub(in crate::server) struct Stapler {
    shown: Arc<StapledResponse>,
    asked: CertificateQuery,
    responder: Option<Url>,
    settings: OcspSettings,
    client: Client,
    clock: SharedClock,
}

impl Stapler {
    pub(in crate::server::tls) fn new(
        shown: Arc<StapledResponse>,
        (asked, leaf): (CertificateQuery, &rustls::pki_types::CertificateDer<'_>),
        settings: &OcspSettings,
        clock: SharedClock,
    ) -> Result<Self, reqwest::Error> {
        let client = Client::builder()
            .timeout(settings.timeout)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .user_agent(concat!("caxton/", env!("CARGO_PKG_VERSION")))
            .build()?;
        let responder = settings
            .responder
            .as_ref()
            .map(|responder| responder.expose().clone())
            .or_else(|| responder_of(leaf));
        Ok(Self { shown, asked, responder, settings: settings.clone(), client, clock })
    }

    /// Goes on with the answer that is shown for the same certificate.
    pub(in crate::server::tls) fn go_on_from(&self, before: &Self) {
        self.shown.go_on_from(&before.shown);
    }

    /// Staples a fresh answer, or returns why there is none; the one before stays until its own end, unless the authority has
    /// taken it back. Answers how long to wait before the next time.
    pub(in crate::server) async fn refresh(&self) -> Result<Duration, OcspError> {
        let fetched = self.fetch().await;
        let now = self.clock.now_seconds();
        match fetched.and_then(|bytes| self.asked.check(bytes, now)) {
            Ok(staple) => {
                self.shown.staple(&staple);
                Ok(self.wait(&staple, now))
            }
            Err(error) => {
                if matches!(error, OcspError::Revoked | OcspError::Unknown) {
                    self.shown.unstaple();
                }
                Err(error)
            }
        }
    }

    /// Half of what is left: time for several tries.
    fn wait(&self, staple: &Staple, now: i64) -> Duration {
        let half = u64::try_from(staple.until.saturating_sub(now) / 2).unwrap_or(0);
        Duration::from_secs(half).min(self.settings.longest_wait).max(SHORTEST_WAIT)
    }

    /// How long to wait after so many failures in a row.
    pub(in crate::server) fn wait_after(&self, failures: u32) -> Duration {
        FIRST_WAIT.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(self.settings.longest_wait)
    }

    async fn fetch(&self) -> Result<Vec<u8>, OcspError> {
        let responder = self.responder.clone().ok_or(OcspError::NoResponder)?;
        let question = self.asked.question().ok_or(OcspError::Malformed)?;
        let request =
            self.client.post(responder).header(CONTENT_TYPE, "application/ocsp-request").body(question);
        let mut response = request.send().await?;
        if response.status() != StatusCode::OK {
            return Err(OcspError::Status(response.status().as_u16()));
        }
        let limit = self.settings.max_bytes;
        let mut body = Vec::new();
        while let Some(part) = response.chunk().await? {
            if body.len().saturating_add(part.len()) > limit {
                return Err(OcspError::TooLarge(limit));
            }
            body.extend_from_slice(&part);
        }
        Ok(body)
    }
}
