//! All schemes in order, and the one answer.

use std::sync::Arc;

use http::HeaderMap;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::dpop::DpopProofs;
use super::dpop::LocalReplays;
use super::jwt::KeyFiles;
use super::mtls::{self, ClientTrust};
use super::oauth2::{Logins, Settings as LoginSettings};
use super::scheme::{Evidence, Proven, Refused, RefusedKind};
use super::tokens::{LocalLogins, LoginStore, Renewal, Tokens};
use super::{AuthnError, KeyStore, KeyTable, LocalKeys, api_key, dpop, jwt, tokens};
use crate::blocking;
use crate::clock::SharedClock;
use crate::model::{EntityUid, HolderKeys, Subject, Thumbprint};
use crate::secret::Secret;
use crate::shared_state::ReplayTable;
use crate::telemetry::{AuthLabels, Metrics};

/// Which ways in are open.
#[derive(Debug, Default)]
pub struct Settings {
    /// Bearer tokens; `None` refuses every one of them.
    pub jwt: Option<jwt::Settings>,
    /// API keys; always on, because a store without keys admits no caller.
    pub api_keys: api_key::Settings,
    /// The gateway's own tokens, made from API keys.
    pub tokens: tokens::Settings,
    /// Client certificates; `None` refuses every one of them.
    pub mtls: Option<mtls::Settings>,
    /// Proofs of possession, for tokens that are bound to a key.
    pub dpop: dpop::Settings,
    /// The login of people; `None` turns it off.
    pub oauth2: Option<LoginSettings>,
}

impl Settings {
    /// The trusted issuers: of tokens, and of the login.
    pub fn issuers(&self) -> Vec<Arc<str>> {
        let mut issuers: Vec<Arc<str>> = self.jwt.iter().map(|jwt| Arc::clone(&jwt.issuer)).collect();
        let login = self.oauth2.as_ref().map(|login| login.issuer.as_str().into());
        issuers.extend(login.filter(|login| !issuers.contains(login)));
        issuers
    }
}

/// Where credentials are kept that the gateways of a fleet share.
#[derive(Clone)]
pub struct AuthnPorts {
    /// API keys.
    pub keys: Arc<dyn KeyTable>,
    /// Sessions, revocations and signing keys.
    pub logins: Arc<dyn LoginStore>,
    /// Proofs of possession that were used.
    pub replays: Arc<dyn ReplayTable>,
}

impl AuthnPorts {
    /// The embedded ones: databases of the data directory, and a table that ends with the process.
    pub fn local(settings: &Settings) -> Result<Self, AuthnError> {
        let own = &settings.tokens;
        Ok(Self {
            keys: Arc::new(LocalKeys::open(&settings.api_keys.store)?),
            logins: Arc::new(LocalLogins::open(&own.store, own.cache_entries)?),
            replays: Arc::new(LocalReplays::new(&settings.dpop)),
        })
    }
}

/// The credentials that were presented beside a login.
pub struct Held<'e> {
    certificate: Option<Thumbprint>,
    proof: Option<dpop::DpopProof<'e>>,
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

/// Authenticates callers by all configured methods. Cheap to share behind an `Arc`.
#[derive(Debug)]
pub struct Authenticator {
    jwt: jwt::JwtScheme,
    api_key: api_key::ApiKeyScheme,
    tokens: Arc<Tokens>,
    proofs: DpopProofs,
    mtls: mtls::MtlsScheme,
    client_trust: Option<Arc<ClientTrust>>,
    logins: Option<Logins>,
    metrics: Arc<Metrics>,
}

impl Authenticator {
    /// Reads every key; fails on the first that cannot be used.
    pub fn new(
        settings: Settings,
        ports: AuthnPorts,
        clock: SharedClock,
        metrics: Arc<Metrics>,
    ) -> Result<Self, AuthnError> {
        let reason = "it is the name under which the gateway signs tokens of its own";
        if settings.jwt.as_ref().is_some_and(|jwt| jwt.issuer == settings.tokens.issuer) {
            return Err(AuthnError::JwtSetting { setting: "issuer", reason });
        }
        let mut own = settings.tokens;
        own.login_issuer = settings.oauth2.as_ref().map(|login| login.issuer.as_str().into());
        let logins =
            settings.oauth2.map(|oauth2| Logins::new(oauth2, Arc::clone(&clock), Arc::clone(&metrics)));
        let max_key_age = settings.api_keys.max_age;
        let api_key = api_key::ApiKeyScheme::new(settings.api_keys, ports.keys, Arc::clone(&clock))?;
        let tokens = Arc::new(Tokens::open(own, ports.logins, max_key_age, Arc::clone(&clock))?);
        let trust = settings.mtls.map(|mtls| ClientTrust::open(mtls, Arc::clone(&clock))).transpose()?;
        let client_trust = trust.map(Arc::new);
        let proofs = DpopProofs::new(settings.dpop, ports.replays, Arc::clone(&clock))?;
        let jwt = jwt::JwtScheme::new(settings.jwt, Arc::clone(&tokens), clock, Arc::clone(&metrics))?;
        Ok(Self {
            jwt,
            api_key,
            tokens,
            proofs,
            mtls: mtls::MtlsScheme::new(client_trust.clone()),
            client_trust,
            logins: logins.transpose()?,
            metrics,
        })
    }

    /// The API keys, for the code that makes and ends them.
    pub fn keys(&self) -> &Arc<KeyStore> {
        self.api_key.store()
    }

    /// The gateway's own tokens, for the code that makes and ends them.
    pub fn tokens(&self) -> &Arc<Tokens> {
        &self.tokens
    }

    /// The login of people, when it is configured.
    pub fn logins(&self) -> Option<&Logins> {
        self.logins.as_ref()
    }

    /// Whether this principal can prove itself by a login in a browser: a person of the issuer at which people log in here.
    pub fn can_log_in(&self, principal: &EntityUid) -> bool {
        self.logins().is_some_and(|logins| logins.are_of(principal))
    }

    /// Whose refresh token this is. It comes alone, but for what the session is bound to: a second credential in the
    /// headers is never passed over.
    pub async fn recognise(
        &self,
        evidence: &Evidence<'_>,
        refresh_token: Secret<String>,
    ) -> Result<Renewal, Refused> {
        self.find_renewal(evidence, refresh_token).await.map_err(|refused| self.count(refused))
    }

    async fn find_renewal(
        &self,
        evidence: &Evidence<'_>,
        refresh_token: Secret<String>,
    ) -> Result<Renewal, Refused> {
        let certificate = self.alone(evidence)?;
        let tokens = Arc::clone(&self.tokens);
        // Waits for the disk when the token was used before.
        let found = blocking::run(move || tokens.recognise(refresh_token.expose())).await;
        let stopped = |why| Refused::new(RefusedKind::Unavailable, tokens::METHOD, "stopped").because(why);
        let renewal = found.map_err(stopped)??;
        let dpop = self.proofs.examine(evidence, None, &renewal.subject).await?;
        dpop::confirm(&renewal.bound, &HolderKeys { dpop, certificate })?;
        Ok(renewal)
    }

    /// The keys that a request proves beside a login: a valid proof of possession, and a certificate without a name. Before
    /// the login is looked at, which counts once, so that a proof that has to be made anew does not cost it.
    pub fn held<'e>(&self, evidence: &Evidence<'e>) -> Result<Held<'e>, Refused> {
        Ok(Held { certificate: self.alone(evidence)?, proof: self.proofs.check(evidence, None)? })
    }

    /// The keys of a person who has logged in, to which the tokens of the session will be bound.
    pub async fn holds(&self, held: Held<'_>, subject: &Subject) -> Result<HolderKeys, Refused> {
        let dpop = match held.proof {
            Some(proof) => Some(self.proofs.spend(&proof, subject).await?),
            None => None,
        };
        Ok(HolderKeys { dpop, certificate: held.certificate })
    }

    /// That nothing but what is in the body names the caller: a second credential is never passed over. Gives the
    /// thumbprint of a certificate without a name.
    pub fn alone(&self, evidence: &Evidence<'_>) -> Result<Option<Thumbprint>, Refused> {
        let workload = self.mtls.examine(evidence.certificate)?;
        if self.presents(evidence.headers) || workload.is_some() && self.mtls.names_callers() {
            return Err(Refused::invalid(tokens::METHOD, "conflicting_credentials"));
        }
        Ok(workload.map(|workload| *workload.thumbprint()))
    }

    /// Whether the headers have a credential in them, good or bad.
    fn presents(&self, headers: &HeaderMap) -> bool {
        self.jwt.presents(headers) || self.api_key.presents(headers)
    }

    /// The challenge about proofs of possession for a refused caller.
    pub fn challenge(&self, refused: &Refused) -> dpop::Challenge {
        self.proofs.challenge(refused)
    }

    /// The nonce for the proof of the caller's next request, when each needs one.
    pub fn next_nonce(&self) -> Option<String> {
        self.proofs.next_nonce()
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
            format!("{open} of {} keys are valid", keys.len())
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
        // A request without any credential is no attempt to be somebody.
        if refused.kind != RefusedKind::Missing {
            let labels = AuthLabels { method: refused.method, reason: refused.reason };
            self.metrics.auth_failures.get_or_create(&labels).inc();
        }
        refused
    }

    /// The trust settings of client certificates, when any are accepted.
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

    /// The issuer's keys that lie in files; `None` when there are none.
    pub fn key_files(&self) -> Option<KeyFiles> {
        self.jwt.key_files()
    }

    /// The caller behind what the request shows, or why there is none.
    ///
    /// Waits for the network only where used proofs of possession are shared with other gateways. A signature costs at most about 100 µs and an API key one indexed read of
    /// a local file in WAL mode (microseconds, readers never wait for writers), so neither leaves the thread.
    pub async fn authenticate(&self, evidence: &Evidence<'_>) -> Result<Proven, Refused> {
        self.decide(evidence).await.map_err(|refused| self.count(refused))
    }

    async fn decide(&self, evidence: &Evidence<'_>) -> Result<Proven, Refused> {
        let workload = self.mtls.examine(evidence.certificate)?;
        let certificate = workload.as_ref().map(|workload| *workload.thumbprint());
        let token = self.jwt.examine(evidence.headers).await?;
        let key = self.api_key.examine(evidence.headers).await.proven()?;
        // The issuer has said that the holder of this certificate acts as the subject of the token: one caller, not two.
        let is_of_token = token.as_ref().is_some_and(|token| {
            token.holder.certificate.is_some() && token.holder.certificate == certificate
        });
        let named = workload.filter(|_| self.mtls.names_callers() && !is_of_token);
        let named = named.map(|workload| Arc::clone(workload.subject()));
        let by_token = token.as_ref().map(|token| Arc::clone(&token.subject));
        let subject = agreed([named, by_token, key])?;
        token.as_ref().map_or(Ok(()), dpop::check_scheme)?;
        let shown = token.as_ref().map(|token| (token.text, token.holder.dpop));
        let dpop = self.proofs.examine(evidence, shown, &subject).await?;
        let holder = HolderKeys { dpop, certificate };
        token.map_or(Ok(()), |token| dpop::confirm(&token.holder, &holder))?;
        Ok(Proven { subject, holder })
    }
}

/// The one principal that all credentials name. With credentials for two principals, an attacker who added the second could act as
/// the first.
fn agreed(proven: [Option<Arc<Subject>>; 3]) -> Result<Arc<Subject>, Refused> {
    let mut all = proven.into_iter().flatten();
    let first = all.next().ok_or_else(|| Refused::new(RefusedKind::Missing, "none", "missing"))?;
    match all.find(|other| other.principal() != first.principal()) {
        Some(other) => Err(Refused::invalid(other.proof().method(), "conflicting_credentials")),
        None => Ok(first),
    }
}
