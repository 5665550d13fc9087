//! All schemes in order, and the one answer.

use std::sync::Arc;

use http::HeaderMap;
use tokio_util::sync::CancellationToken;

use super::scheme::{Presented, Refused, RefusedKind};
use super::{AuthnError, api_key, jwt};
use crate::clock::SharedClock;
use crate::model::Subject;
use crate::telemetry::{AuthLabels, Metrics};

/// Which ways in are open.
#[derive(Debug, Default)]
pub struct Settings {
    /// Bearer tokens; `None` refuses every one of them.
    pub jwt: Option<jwt::Settings>,
    /// API keys; always open, because a store without keys admits nobody.
    pub api_keys: api_key::Settings,
}

/// Tells who is calling. Cheap to share behind an `Arc`.
#[derive(Debug)]
pub struct Authenticator {
    jwt: jwt::Scheme,
    api_key: api_key::Scheme,
    metrics: Arc<Metrics>,
}

impl Authenticator {
    /// Reads every key; fails on the first that cannot be used.
    pub fn new(settings: Settings, clock: SharedClock, metrics: Arc<Metrics>) -> Result<Self, AuthnError> {
        Ok(Self {
            jwt: jwt::Scheme::new(settings.jwt, Arc::clone(&clock), Arc::clone(&metrics))?,
            api_key: api_key::Scheme::new(settings.api_keys, clock)?,
            metrics,
        })
    }

    /// Keeps the keys of an issuer's address fresh until `stop`; returns at once when there is none to follow.
    pub async fn follow_keys(&self, stop: &CancellationToken) {
        self.jwt.follow_keys(stop).await;
    }

    /// Reads the issuer's key file again, when there is one; a file that is refused changes nothing.
    pub fn reload_keys(&self) -> Option<Result<(), AuthnError>> {
        self.jwt.reload_keys()
    }

    /// The caller behind the request headers, or why there is none.
    ///
    /// Never waits for the network. A signature costs at most about 100 µs and an API key one indexed read of
    /// a local file in WAL mode (microseconds, readers never wait for writers), so neither leaves the thread.
    pub async fn authenticate(&self, headers: &HeaderMap) -> Result<Arc<Subject>, Refused> {
        self.decide(headers).inspect_err(|refused| {
            let labels = AuthLabels { method: refused.method, reason: refused.reason };
            self.metrics.auth_failures.get_or_create(&labels).inc();
        })
    }

    fn decide(&self, headers: &HeaderMap) -> Result<Arc<Subject>, Refused> {
        let mut proven: Option<Arc<Subject>> = None;
        for presented in [self.jwt.examine(headers), self.api_key.examine(headers)] {
            match (presented, &proven) {
                (Presented::Nothing, _) => {}
                (Presented::Rejected(refused), _) => return Err(refused),
                (Presented::Proven(subject), None) => proven = Some(subject),
                // Two credentials for two principals: whoever added the second could act as the first.
                (Presented::Proven(subject), Some(first)) if subject.principal() != first.principal() => {
                    return Err(Refused::invalid(subject.proof().method(), "conflicting_credentials"));
                }
                (Presented::Proven(_), Some(_)) => {}
            }
        }
        proven.ok_or_else(|| Refused::new(RefusedKind::Missing, "none", "missing"))
    }
}
