//! Login of people at a provider of OpenID Connect or of OAuth 2.0 alone: authorization code with PKCE, and the device flow
//! where there is no browser at hand.
//!
//! The gateway is the provider's only client. Codes and ID tokens come to it from the provider only, so
//! an attacker cannot slip in a token; a program at the person's side gets a code of the gateway's own, for
//! its proof key and for once. A login can be ended only by the browser that began it, only once, and only in a while.

mod identity;
mod provider;
mod settings;
mod waiting;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use oauth2::{PkceCodeVerifier, StandardDeviceAuthorizationResponse};
use reqwest::Url;
use subtle::ConstantTimeEq as _;
use tokio_util::sync::CancellationToken;

use self::identity::Identity;
use self::provider::{DeviceState, HttpClient, Provider, ProviderError};
use self::waiting::{TooManyWaiting, WaitingLogins, hash, random};
use super::jwt::parts::ExpectedIdToken;
use super::scheme::{Refused, RefusedKind};
use super::{AuthnError, LoggedIn};
use crate::clock::SharedClock;
use crate::model::{EntityUid, ServerName};
use crate::secret::Secret;
use crate::telemetry::Metrics;

pub use self::settings::{ClientSecret, ProviderKind, Settings};

pub(super) const METHOD: &str = "oauth2";
/// How long the code for a program counts: the person has to press a button.
const CODE_LIFE: Duration = Duration::from_secs(120);
/// The longest wait before the provider is asked about itself again.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// A parameter of the provider or of a program; codes of providers have a few hundred bytes.
const MAX_PARAMETER: usize = 4 * 1024;

/// Why a login did not go on.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// No provider is configured, or it has no such flow.
    #[error("login of this kind is not offered here")]
    NotOffered,
    /// The provider cannot be asked. The text is in the log.
    #[error("the provider is not available at the moment")]
    ProviderDown,
    /// Too many logins are under way.
    #[error("too many logins are under way")]
    Busy,
    /// A parameter is missing, or cannot be what it should be.
    #[error("the parameter `{0}` is missing or not acceptable")]
    Parameter(&'static str),
    /// The person has not logged in yet (RFC 8628, section 3.5).
    #[error("the person has not logged in yet")]
    Pending,
    /// The program asks too often (RFC 8628, section 3.5).
    #[error("asked too soon: wait longer between questions")]
    SlowDown,
    /// The login is refused.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// Our side failed.
    #[error(transparent)]
    Failed(#[from] AuthnError),
}

impl From<TooManyWaiting> for LoginError {
    fn from(_: TooManyWaiting) -> Self {
        Self::Busy
    }
}

/// What comes of a login.
pub enum Purpose {
    /// A session for the browser itself.
    Browser,
    /// No session: it proves who is in the browser, for the connection of an account at a server.
    Account {
        /// The server.
        server: ServerName,
        /// The secret part of the link that the browser has opened.
        flow: Arc<Secret<String>>,
    },
    /// A session for a program on the browser's computer that listens on a port of it (RFC 8252, section 7.3).
    Program {
        /// The port.
        port: u16,
        /// SHA-256 of what the program will prove itself with, in base64url (RFC 7636).
        challenge: String,
        /// The state by which the program recognises its own login.
        state: String,
    },
}

impl Purpose {
    /// A program's wishes, checked. There is no address in them, so that no browser can be sent anywhere else.
    pub fn program(port: u16, challenge: String, state: String) -> Result<Self, LoginError> {
        let word = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
        if port < 1024 {
            return Err(LoginError::Parameter("port"));
        }
        if challenge.len() != 43 || !word(&challenge) {
            return Err(LoginError::Parameter("code_challenge"));
        }
        if !(16..=128).contains(&state.len()) || !word(&state) {
            return Err(LoginError::Parameter("state"));
        }
        Ok(Self::Program { port, challenge, state })
    }
}

/// A login that has begun.
pub struct StartedLogin {
    /// The address to which the browser is sent.
    pub url: Url,
    /// The cookie that the browser must send back.
    pub cookie: Secret<String>,
}

/// How a provider sends a browser back (RFC 6749, sections 4.1.2 and 4.1.2.1; RFC 9207).
#[derive(Debug, Default)]
pub struct CallbackQuery {
    /// The state of the login.
    pub state: Option<String>,
    /// The code.
    pub code: Option<String>,
    /// The issuer that the answer names (RFC 9207).
    pub iss: Option<String>,
    /// Why there is no code.
    pub error: Option<String>,
}

/// A login that was proven.
pub enum LoginOutcome {
    /// For the browser.
    Browser(LoggedIn),
    /// For the connection of an account.
    Account {
        /// The server.
        server: ServerName,
        /// The secret part of the link that the browser has opened.
        flow: Arc<Secret<String>>,
        /// The person who has logged in.
        person: LoggedIn,
    },
    /// For a program.
    Program {
        /// The loopback address on which the program listens.
        port: u16,
        /// The code for its session, which can be used once.
        code: Secret<String>,
        /// The state by which the program recognises its own login.
        state: String,
        /// The person who has logged in.
        person: LoggedIn,
    },
}

/// A login on another device that has begun.
pub struct StartedDeviceLogin {
    /// The code with which the program polls.
    pub device_code: Secret<String>,
    /// The code that the person types.
    pub user_code: String,
    /// The address at which the person enters the code.
    pub verification_uri: String,
    /// The same with the code in it.
    pub verification_uri_complete: Option<String>,
    /// Seconds in which it must be done.
    pub expires_in: u64,
    /// Seconds between two questions.
    pub interval: u64,
}

struct PendingLogin {
    purpose: Purpose,
    cookie: [u8; 32],
    nonce: Secret<String>,
    verifier: PkceCodeVerifier,
    from: IpAddr,
}

struct FinishedLogin {
    challenge: String,
    login: LoggedIn,
}

struct DeviceLogin {
    details: StandardDeviceAuthorizationResponse,
    /// Not before this, in milliseconds since the Unix epoch.
    next: i64,
    ends: i64,
    interval: i64,
}

/// Logs people in.
pub struct Logins {
    settings: Settings,
    secret: Option<Secret<String>>,
    provider: ArcSwapOption<Provider>,
    http: HttpClient,
    under_way: WaitingLogins<PendingLogin>,
    ready: WaitingLogins<FinishedLogin>,
    devices: WaitingLogins<Option<DeviceLogin>>,
    clock: SharedClock,
    metrics: Arc<Metrics>,
}

impl std::fmt::Debug for Logins {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Logins").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Logins {
    /// Checks the settings; the provider is not asked yet.
    pub fn new(settings: Settings, clock: SharedClock, metrics: Arc<Metrics>) -> Result<Self, AuthnError> {
        settings.check()?;
        let waiting = (settings.max_logins, settings.max_logins_per_address);
        Ok(Self {
            secret: settings.client_secret.as_ref().map(ClientSecret::read).transpose()?,
            provider: ArcSwapOption::empty(),
            http: HttpClient::new(settings.timeout, settings.max_bytes)?,
            under_way: WaitingLogins::new(waiting.0, waiting.1),
            ready: WaitingLogins::new(waiting.0, waiting.1),
            devices: WaitingLogins::new(waiting.0, waiting.1),
            settings,
            clock,
            metrics,
        })
    }

    /// The bounds and names that were given.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Whether this principal is a person of the issuer at which people log in.
    pub(in crate::authn) fn are_of(&self, principal: &EntityUid) -> bool {
        let rest = principal.id().strip_prefix(self.settings.issuer.as_str());
        principal.base_type() == "User" && rest.is_some_and(|rest| rest.starts_with('|'))
    }

    /// Asks the provider about itself until it answers, then keeps its keys fresh until `stop`.
    pub async fn follow(&self, stop: &CancellationToken) {
        let mut wait = Duration::from_secs(1);
        let provider = loop {
            let clock = Arc::clone(&self.clock);
            let metrics = Arc::clone(&self.metrics);
            let found = tokio::select! {
                () = stop.cancelled() => return,
                found = Provider::find(&self.settings, self.secret.as_ref(), &self.http, clock, metrics) => found,
            };
            match found {
                Ok(provider) => break Arc::new(provider),
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, issuer = %self.settings.issuer, "logins are refused: the provider's metadata has not been fetched yet");
                }
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(wait) => wait = (wait * 2).min(LONGEST_WAIT),
            }
        };
        self.provider.store(Some(Arc::clone(&provider)));
        provider.identity.follow_keys(stop).await;
    }

    /// Whether people can log in now, for the operator.
    pub fn status(&self) -> (bool, String) {
        match self.provider.load_full() {
            Some(provider) => provider.identity.status(),
            None => (false, format!("the provider `{}` is not known yet", self.settings.issuer)),
        }
    }

    fn provider(&self) -> Result<Arc<Provider>, LoginError> {
        self.provider.load_full().ok_or(LoginError::ProviderDown)
    }

    fn times(&self, life: Duration) -> (i64, i64) {
        let now = self.clock.now_millis();
        (now, now.saturating_add(millis(life)))
    }

    // ---- in the browser ----

    /// Begins a login: somewhere to go, and something to bring back.
    pub fn begin(&self, purpose: Purpose, from: IpAddr) -> Result<StartedLogin, LoginError> {
        let provider = self.provider()?;
        let state = random()?;
        let nonce = random()?;
        let cookie = random()?;
        let verifier = PkceCodeVerifier::new(random()?.expose().clone());
        let url = provider.authorize_url(state.expose(), nonce.expose(), &verifier);
        let under = PendingLogin { purpose, cookie: hash(cookie.expose()), nonce, verifier, from };
        self.under_way.put(state.expose(), under, from, self.times(self.settings.login_timeout))?;
        Ok(StartedLogin { url, cookie })
    }

    /// Ends a login: the browser is back. This `state` counts no more, with any outcome.
    pub async fn finish(
        &self,
        returned: CallbackQuery,
        cookie: Option<&str>,
    ) -> Result<LoginOutcome, LoginError> {
        let bounded = [&returned.state, &returned.code, &returned.iss, &returned.error];
        if bounded.into_iter().flatten().any(|text| text.len() > MAX_PARAMETER) {
            return Err(Refused::invalid(METHOD, "malformed").into());
        }
        let state = returned.state.ok_or_else(|| Refused::invalid(METHOD, "wrong_state"))?;
        let now = self.clock.now_millis();
        let under =
            self.under_way.take(&state, now).ok_or_else(|| Refused::invalid(METHOD, "wrong_state"))?;
        // Login CSRF: an attacker sends a victim's browser here with the answer to the attacker's own login.
        let brought = cookie.map(hash).unwrap_or_default();
        if !bool::from(brought.ct_eq(&under.cookie)) {
            return Err(Refused::invalid(METHOD, "wrong_browser").into());
        }
        let provider = self.provider()?;
        self.check_issuer(&provider, returned.iss.as_deref())?;
        let code = match (returned.code, returned.error) {
            (Some(code), None) => code,
            // The word is one of a closed list; anything else is not repeated.
            (_, Some(error)) if error == "access_denied" => {
                return Err(Refused::invalid(METHOD, "access_denied").into());
            }
            _ => return Err(Refused::invalid(METHOD, "no_code").into()),
        };
        let tokens = provider.exchange(code, under.verifier).await.map_err(failed)?;
        let login = self.prove(&provider, tokens, Some(under.nonce.expose())).await?;
        match under.purpose {
            Purpose::Browser => Ok(LoginOutcome::Browser(login)),
            Purpose::Account { server, flow } => Ok(LoginOutcome::Account { server, flow, person: login }),
            Purpose::Program { port, challenge, state } => {
                let code = random()?;
                let person = login.clone();
                let ready = FinishedLogin { challenge, login };
                self.ready.put(code.expose(), ready, under.from, self.times(CODE_LIFE))?;
                Ok(LoginOutcome::Program { port, code, state, person })
            }
        }
    }

    /// RFC 9207: the answer of another provider must not be taken to this one (mix-up).
    fn check_issuer(&self, provider: &Provider, iss: Option<&str>) -> Result<(), Refused> {
        match iss {
            Some(iss) if iss == self.settings.issuer => Ok(()),
            None if !provider.says_issuer => Ok(()),
            _ => Err(Refused::invalid(METHOD, "wrong_issuer")),
        }
    }

    async fn prove(
        &self,
        provider: &Provider,
        tokens: provider::Tokens,
        nonce: Option<&str>,
    ) -> Result<LoggedIn, LoginError> {
        match &provider.identity {
            Identity::IdToken(id_tokens) => {
                let wanted = ExpectedIdToken { nonce, access_token: &tokens.access_token };
                let id_token = tokens.id_token().map_err(failed)?;
                let mut proven = id_tokens.prove(id_token, &wanted)?;
                proven.add(provider.more_of(&tokens, proven.subject()).await.map_err(failed)?);
                Ok(id_tokens.person(proven)?)
            }
            Identity::Userinfo(named) => {
                let told = provider.userinfo(&tokens).await.map_err(failed)?;
                Ok(named.person(told.unwrap_or_default())?)
            }
        }
    }

    /// A program takes its session: with the code that the browser brought, and the proof that it asked for it.
    pub fn redeem(&self, code: &str, verifier: &str) -> Result<LoggedIn, LoginError> {
        let unreserved = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~');
        if !(43..=128).contains(&verifier.len()) || !verifier.bytes().all(unreserved) {
            return Err(LoginError::Parameter("code_verifier"));
        }
        let ready = self
            .ready
            .take(code, self.clock.now_millis())
            .ok_or_else(|| Refused::invalid(METHOD, "unknown_code"))?;
        let shown = URL_SAFE_NO_PAD.encode(hash(verifier));
        if bool::from(shown.as_bytes().ct_eq(ready.challenge.as_bytes())) {
            Ok(ready.login)
        } else {
            Err(Refused::invalid(METHOD, "wrong_verifier").into())
        }
    }

    // ---- on another device ----

    /// Begins a login on another device (RFC 8628, section 3.1).
    pub async fn begin_device(&self, from: IpAddr) -> Result<StartedDeviceLogin, LoginError> {
        let provider = self.provider()?;
        let device_code = random()?;
        // The slot first: a caller without one causes no request to the provider.
        self.devices.put(device_code.expose(), None, from, self.times(self.settings.login_timeout))?;
        let answered = provider.device().await.ok_or(LoginError::NotOffered);
        let details = answered.and_then(|answer| answer.map_err(failed)).inspect_err(|_| {
            self.devices.take(device_code.expose(), self.clock.now_millis());
        })?;
        let life = details.expires_in().min(self.settings.login_timeout);
        let interval = details.interval().clamp(Duration::from_secs(1), Duration::from_secs(60));
        let begun = StartedDeviceLogin {
            user_code: details.user_code().secret().clone(),
            verification_uri: details.verification_uri().to_string(),
            verification_uri_complete: details.verification_uri_complete().map(|url| url.secret().clone()),
            expires_in: life.as_secs(),
            interval: interval.as_secs(),
            device_code,
        };
        let (now, ends) = self.times(life);
        let device = DeviceLogin { details, next: now, ends, interval: millis(interval) };
        self.devices.with(begun.device_code.expose(), now, |place| *place = Some(device));
        Ok(begun)
    }

    /// Whether the person has logged in (RFC 8628, section 3.4). The provider is asked no more often than it allows.
    pub async fn poll(&self, device_code: &str) -> Result<LoggedIn, LoginError> {
        let provider = self.provider()?;
        let now = self.clock.now_millis();
        let due = self.devices.with(device_code, now, |place| {
            let device = place.as_mut().filter(|device| device.ends > now)?;
            if now < device.next {
                return Some(None);
            }
            device.next = now.saturating_add(device.interval);
            Some(Some(device.details.clone()))
        });
        let details = due
            .flatten()
            .ok_or_else(|| Refused::new(RefusedKind::Expired, METHOD, "unknown_code"))?
            .ok_or(LoginError::SlowDown)?;
        let state = provider.poll(&details).await.map_err(failed)?;
        match state {
            DeviceState::Pending => Err(LoginError::Pending),
            DeviceState::SlowDown => {
                let slower = |place: &mut Option<DeviceLogin>| {
                    let Some(device) = place else { return };
                    device.interval = device.interval.saturating_add(5_000);
                    device.next = device.next.saturating_add(5_000);
                };
                self.devices.with(device_code, now, slower);
                Err(LoginError::SlowDown)
            }
            DeviceState::Over(reason) => {
                self.devices.take(device_code, now);
                Err(Refused::invalid(METHOD, reason).into())
            }
            DeviceState::Done(tokens) => {
                // Of two requests at the same time, one gets it.
                self.devices
                    .take(device_code, now)
                    .ok_or_else(|| Refused::invalid(METHOD, "unknown_code"))?;
                self.prove(&provider, tokens, None).await
            }
        }
    }
}

/// The provider's fault is an outage, unless it says that the code does not count.
fn failed(error: ProviderError) -> LoginError {
    match error {
        ProviderError::Refused(word) if word == "invalid_grant" => {
            Refused::invalid(METHOD, "code_refused").into()
        }
        ProviderError::OtherPerson => Refused::invalid(METHOD, "wrong_person").into(),
        error => {
            tracing::warn!(error = &error as &dyn std::error::Error, "a login cannot go on");
            LoginError::ProviderDown
        }
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
