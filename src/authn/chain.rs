//! All schemes in order, and the one answer.

use std::sync::Arc;

use http::HeaderMap;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::mtls::{self, ClientCertificate, ClientTrust};
use super::oauth2::{Logins, Settings as LoginSettings};
use super::scheme::{Presented, Refused, RefusedKind};
use super::tokens::{Renewal, Tokens};
use super::{AuthnError, KeyStore, api_key, jwt, tokens};
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
    /// The gateway's own tokens, made from API keys.
    pub tokens: tokens::Settings,
    /// Client certificates; `None` refuses every one of them.
    pub mtls: Option<mtls::Settings>,
    /// The login of people; `None`: nobody can log in.
    pub oauth2: Option<LoginSettings>,
}

/// One way to prove oneself, as an operator sees it.
#[derive(Debug, Clone, Serialize)]
pub struct MethodStatus {
    /// `api_key`, `jwt`, `session`, `mtls` or `oauth2`.
    pub method: &'static str,
    /// Whether it is open at all.
    pub enabled: bool,
    /// Whether credentials of it can be checked now.
    pub healthy: bool,
    /// In a few words.
    pub detail: String,
}

/// Tells who is calling. Cheap to share behind an `Arc`.
#[derive(Debug)]
pub struct Authenticator {
    jwt: jwt::Scheme,
    api_key: api_key::Scheme,
    tokens: Arc<Tokens>,
    mtls: mtls::Scheme,
    client_trust: Option<Arc<ClientTrust>>,
    logins: Option<Logins>,
    metrics: Arc<Metrics>,
}

impl Authenticator {
    /// Reads every key; fails on the first that cannot be used.
    pub fn new(settings: Settings, clock: SharedClock, metrics: Arc<Metrics>) -> Result<Self, AuthnError> {
        let reason = "it is the name under which the gateway signs tokens of its own";
        if settings.jwt.as_ref().is_some_and(|jwt| jwt.issuer == settings.tokens.issuer) {
            return Err(AuthnError::JwtSetting { setting: "issuer", reason });
        }
        let logins =
            settings.oauth2.map(|oauth2| Logins::new(oauth2, Arc::clone(&clock), Arc::clone(&metrics)));
        let max_key_age = settings.api_keys.max_age;
        let api_key = api_key::Scheme::new(settings.api_keys, Arc::clone(&clock))?;
        let tokens = Arc::new(Tokens::open(settings.tokens, max_key_age, Arc::clone(&clock))?);
        let trust = settings.mtls.map(|mtls| ClientTrust::open(mtls, Arc::clone(&clock))).transpose()?;
        let client_trust = trust.map(Arc::new);
        let jwt = jwt::Scheme::new(settings.jwt, Arc::clone(&tokens), clock, Arc::clone(&metrics))?;
        Ok(Self {
            jwt,
            api_key,
            tokens,
            mtls: mtls::Scheme::new(client_trust.clone()),
            client_trust,
            logins: logins.transpose()?,
            metrics,
        })
    }

    /// The API keys, for those who make and end them.
    pub fn keys(&self) -> &Arc<KeyStore> {
        self.api_key.store()
    }

    /// The gateway's own tokens, for those who make and end them.
    pub fn tokens(&self) -> &Arc<Tokens> {
        &self.tokens
    }

    /// The login of people, when it is configured.
    pub fn logins(&self) -> Option<&Logins> {
        self.logins.as_ref()
    }

    /// That nothing but what is in the body proves the caller: a second credential is never passed over.
    pub fn alone(&self, headers: &HeaderMap, certificate: Option<&ClientCertificate>) -> Result<(), Refused> {
        match self.mtls.examine(certificate) {
            Presented::Rejected(refused) => Err(refused),
            Presented::Nothing if !self.presents(headers) => Ok(()),
            Presented::Nothing | Presented::Proven(_) => {
                Err(Refused::invalid(tokens::METHOD, "conflicting_credentials"))
            }
        }
    }

    /// Whether the headers have a credential in them, good or bad.
    pub fn presents(&self, headers: &HeaderMap) -> bool {
        self.jwt.presents(headers) || self.api_key.presents(headers)
    }

    /// Whose refresh token this is. It comes alone: a second credential in the headers is never passed over. Waits for
    /// the disk when the token was used before: call it off the async threads.
    pub fn recognise(
        &self,
        headers: &HeaderMap,
        certificate: Option<&ClientCertificate>,
        refresh_token: &str,
    ) -> Result<Renewal, Refused> {
        let answer = self.alone(headers, certificate).and_then(|()| self.tokens.recognise(refresh_token));
        answer.map_err(|refused| self.count(refused))
    }

    /// Which ways are open, and whether they work. Reads the stores: call it off the async threads.
    pub fn status(&self) -> Vec<MethodStatus> {
        let row = |method, enabled, (healthy, detail)| MethodStatus { method, enabled, healthy, detail };
        let state = |result: Result<String, AuthnError>| match result {
            Ok(detail) => (true, detail),
            Err(error) => (false, error.to_string()),
        };
        let keys = self.keys().list().map(|keys| {
            let open = keys.iter().filter(|key| self.api_key.counts(key)).count();
            format!("{open} of {} keys count", keys.len())
        });
        let jwt = match self.jwt.status() {
            Some(found) => row("jwt", true, found),
            None => row("jwt", false, (true, "no key of an issuer is configured".to_owned())),
        };
        let session = row("session", true, state(self.tokens.status()));
        let mtls = match self.client_trust {
            Some(_) => row("mtls", true, (true, "certificates of the configured authorities".to_owned())),
            None => row("mtls", false, (true, "no authority of clients is configured".to_owned())),
        };
        let oauth2 = match &self.logins {
            Some(logins) => row("oauth2", true, logins.status()),
            None => row("oauth2", false, (true, "no provider is configured".to_owned())),
        };
        vec![row("api_key", true, state(keys)), jwt, session, mtls, oauth2]
    }

    /// Counts a refusal that was found before any scheme was asked.
    pub fn count(&self, refused: Refused) -> Refused {
        let labels = AuthLabels { method: refused.method, reason: refused.reason };
        self.metrics.auth_failures.get_or_create(&labels).inc();
        refused
    }

    /// What client certificates are judged by, when any are accepted.
    pub fn client_trust(&self) -> Option<&Arc<ClientTrust>> {
        self.client_trust.as_ref()
    }

    /// Keeps the keys of issuers' addresses fresh until `stop`; returns at once when there are none to follow.
    pub async fn follow_keys(&self, stop: &CancellationToken) {
        let logins = async {
            if let Some(logins) = &self.logins {
                logins.follow(stop).await;
            }
        };
        tokio::join!(self.jwt.follow_keys(stop), logins);
    }

    /// Reads the issuer's key file again, when there is one; a file that is refused changes nothing.
    pub fn reload_keys(&self) -> Option<Result<(), AuthnError>> {
        self.jwt.reload_keys()
    }

    /// The caller behind the request headers and the certificate that the connection has proven, or why there is none.
    ///
    /// Never waits for the network. A signature costs at most about 100 µs and an API key one indexed read of
    /// a local file in WAL mode (microseconds, readers never wait for writers), so neither leaves the thread.
    pub async fn authenticate(
        &self,
        headers: &HeaderMap,
        certificate: Option<&ClientCertificate>,
    ) -> Result<Arc<Subject>, Refused> {
        self.decide(headers, certificate).map_err(|refused| self.count(refused))
    }

    fn decide(
        &self,
        headers: &HeaderMap,
        certificate: Option<&ClientCertificate>,
    ) -> Result<Arc<Subject>, Refused> {
        let mut proven: Option<Arc<Subject>> = None;
        for presented in
            [self.mtls.examine(certificate), self.jwt.examine(headers), self.api_key.examine(headers)]
        {
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
