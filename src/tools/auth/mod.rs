//! The gateway's credentials at servers over HTTP: OAuth 2.1, with tokens of the gateway or of each caller.
//!
//! A token of a caller is used for that caller and nobody else: it lies in a place of the caller's, and a connection takes
//! its tokens from one place. What a caller presented to the gateway is never sent anywhere: the gateway signs what it
//! says about the caller, for one authorization server and one minute. Tokens and secrets are in no log, error or `Debug`.

mod account;
mod answer;
mod caller_slots;
mod client;
mod discovery;
mod error;
mod grants;
mod http;
mod settings;
mod slot;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Url;
use tokio::sync::OwnedMutexGuard;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::authn::Tokens;
use crate::clock::SharedClock;
use crate::model::{Delegate, EntityUid, ServerName, Subject};

use super::connections::ConnectionStore;

use self::caller_slots::CallerSlots;
use self::discovery::{Finder, resource_of};
use self::http::TokenHttp;
use self::slot::{Holder, Look, Slot};

pub(super) use self::account::{AuthorizationCode, holder_of};
pub(super) use self::answer::BearerToken;
pub(super) use self::client::secret_lines;
pub use self::error::TokenError;
pub use self::settings::{
    ClientKey, OauthClient, OwnAccess, SharedSecret, TokenPlace, UpstreamAuth, UpstreamGrant,
};

/// The caller of a token. A person and one that acts for the person by a delegated token are two: what one may do at a server
/// may be less than the other.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct TokenCaller {
    principal: EntityUid,
    delegation: Arc<[Delegate]>,
}

impl TokenCaller {
    pub(super) fn of(subject: &Subject) -> Self {
        Self { principal: subject.principal().clone(), delegation: Arc::clone(subject.delegation()) }
    }

    /// Whether it is this principal, in Cedar's notation.
    pub(super) fn is(&self, holder: &str) -> bool {
        self.principal.to_string() == holder
    }
}

/// What credentials need of the rest of the gateway.
#[derive(Clone)]
pub(super) struct CredentialPorts {
    /// Signs what the gateway says about callers. None where there are no callers.
    pub(super) identity: Option<Arc<Tokens>>,
    pub(super) clock: SharedClock,
    /// The connected accounts of callers. None where there are no callers.
    pub(super) accounts: Option<Arc<ConnectionStore>>,
}

/// The gateway's credentials at one server.
pub(super) struct ServerCredentials {
    server: ServerName,
    auth: Arc<UpstreamAuth>,
    address: Url,
    resource: String,
    http: TokenHttp,
    place: Finder,
    /// Of the identity provider.
    provider: Finder,
    /// Signs what the gateway says about callers. None where there are no callers.
    identity: Option<Arc<Tokens>>,
    clock: SharedClock,
    /// The connected accounts of callers. None where there are no callers.
    accounts: Option<Arc<ConnectionStore>>,
    own: Arc<Slot>,
    /// The places of callers.
    callers: CallerSlots,
}

impl fmt::Debug for ServerCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerCredentials").field("server", &self.server).finish_non_exhaustive()
    }
}

impl ServerCredentials {
    /// `limit` is the time for one answer of an authorization server.
    pub(super) fn new(
        server: &ServerName,
        address: &Url,
        auth: &Arc<UpstreamAuth>,
        limit: Duration,
        ports: CredentialPorts,
    ) -> Result<Self, TokenError> {
        let CredentialPorts { identity, clock, accounts } = ports;
        Ok(Self {
            server: server.clone(),
            resource: auth.resource.clone().unwrap_or_else(|| resource_of(address)),
            auth: Arc::clone(auth),
            address: address.clone(),
            http: TokenHttp::new(limit)?,
            place: Finder::new(),
            provider: Finder::new(),
            identity,
            clock,
            accounts,
            own: Arc::new(Slot::new(Holder::Gateway)),
            callers: CallerSlots::new(auth.max_callers),
        })
    }

    /// The most callers with a connection of their own; `None` where all share one.
    pub(super) fn callers(&self) -> Option<usize> {
        self.auth.is_of_callers().then_some(self.auth.max_callers)
    }

    /// The tokens that the gateway itself shows the server; none where it shows nothing.
    pub(super) fn own(self: &Arc<Self>) -> Option<TokenSource> {
        let source = TokenSource::new(self, Arc::clone(&self.own));
        (self.auth.own_access == OwnAccess::ClientCredentials).then_some(source)
    }

    /// Forgets the tokens in memory of a principal, in Cedar's notation: its account was connected, or is not any more.
    pub(super) fn forget_holder(&self, holder: &str) {
        self.callers.clear(holder);
    }

    /// Forgets the places of callers that have not been used for a while.
    pub(super) fn sweep(&self, now: Instant) {
        self.callers.sweep(now);
    }

    /// The tokens that are shown for a caller.
    pub(super) fn of_caller(self: &Arc<Self>, caller: &Arc<Subject>) -> Option<TokenSource> {
        if !self.auth.is_of_callers() {
            return self.own();
        }
        Some(TokenSource::new(self, self.callers.slot(caller, Instant::now())))
    }
}

/// Gives the tokens of one holder at one server. INVARIANT: those of one account: when the holder's tokens are forgotten, because
/// the account is not connected any more or another one is, a source from before gives nothing.
#[derive(Debug, Clone)]
pub(super) struct TokenSource {
    credentials: Arc<ServerCredentials>,
    slot: Arc<Slot>,
    /// How often all had been forgotten when it was made.
    cleared: u64,
}

type Requested = Result<Arc<BearerToken>, Arc<TokenError>>;

impl TokenSource {
    fn new(credentials: &Arc<ServerCredentials>, slot: Arc<Slot>) -> Self {
        Self { credentials: Arc::clone(credentials), cleared: slot.cleared(), slot }
    }

    /// Waits until these tokens have been forgotten.
    pub(super) async fn forgotten(&self) {
        self.slot.forgotten(self.cleared).await;
    }

    /// Whether these tokens are for this caller: its own, or the gateway's.
    pub(super) fn is_for(&self, caller: &Subject) -> bool {
        match &self.slot.holder {
            Holder::Gateway => true,
            Holder::Caller(subject) => {
                subject.principal() == caller.principal() && subject.delegation() == caller.delegation()
            }
        }
    }

    /// A token that counts. It is requested where there is none; several who wait share one request. One that ends soon is
    /// replaced in the background.
    pub(super) async fn token(&self) -> Requested {
        match self.slot.look(self.cleared, Instant::now()) {
            Look::Fresh(token) => Ok(token),
            Look::Ageing(token) => {
                if let Ok(turn) = Arc::clone(&self.slot.turn).try_lock_owned() {
                    drop(self.request(turn));
                }
                Ok(token)
            }
            Look::Failed(error) => Err(error),
            Look::Nothing => self.wait_for_one().await,
        }
    }

    /// The server refused this token (HTTP 401). Says whether it is worth asking for another.
    pub(super) fn refuse(&self, token: &Arc<BearerToken>) -> bool {
        self.slot.refuse(token, Instant::now())
    }

    async fn wait_for_one(&self) -> Requested {
        let turn = Arc::clone(&self.slot.turn).lock_owned().await;
        // Another may have asked meanwhile.
        match self.slot.look(self.cleared, Instant::now()) {
            Look::Fresh(token) | Look::Ageing(token) => Ok(token),
            Look::Failed(error) => Err(error),
            Look::Nothing => self.request(turn).await.unwrap_or_else(|_| Err(Arc::new(TokenError::Stopped))),
        }
    }

    /// Requests a token. It comes to its end also when its caller goes away: others wait for it.
    fn request(&self, turn: OwnedMutexGuard<()>) -> JoinHandle<Requested> {
        let Self { credentials, slot, cleared } = self.clone();
        tokio::spawn(async move {
            let outcome = credentials.fetch(&slot.holder, slot.take_refused()).await;
            let kept = slot.keep(cleared, outcome, Instant::now());
            if let Err(error) = kept.as_ref().map_err(|error| &**error)
                && !matches!(error, TokenError::NotConnected)
            {
                let server = &credentials.server;
                let reason = super::error::chain(error);
                tracing::warn!(%server, reason, "there is no token for an upstream server");
            }
            drop(turn);
            kept
        })
    }
}
