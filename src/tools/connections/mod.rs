//! Accounts of callers at servers: a person consents once at the server's authorization server, and the gateway keeps the tokens
//! for that principal and that server, sealed, until either side ends it.
//!
//! A connection is begun, finished, listed and ended with a permit each. What lies between beginning and end is in `flows.rs`:
//! whose browser it is, and that it is the same one all the way.

mod ending;
mod error;
mod flows;
mod seal;
mod settings;
mod store;

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::Url;
use serde_json::Value as Json;

use self::flows::{Flows, Ongoing, Sent, random};
use self::seal::ConnectionKey;
use super::auth::{AuthorizationCode, ServerCredentials, TokenError, holder_of};
use super::registry::Registry;
use super::upstream::Upstream;
use crate::authz::Permit;
use crate::blocking;
use crate::clock::SharedClock;
use crate::events::SecurityEvent;
use crate::model::{BeginConnection, FinishConnection, ListConnections, ServerName, Subject};
use crate::secret::Secret;

pub use self::ending::EndedConnection;
pub use self::error::{ConnectionError, StoreError};
pub use self::flows::{ConnectingProgram, LinkOpened, LoggedInBrowser, check_number};
pub use self::settings::ConnectionSettings;
pub use self::store::ConnectionFacts;

pub(super) use self::seal::{AccountName, AccountTokens};
pub(super) use self::store::{ConnectionStore, StoredAccount};

/// A parameter that an authorization server sends with a browser; codes have a few hundred bytes.
const MAX_PARAMETER: usize = 4 * 1024;

/// What the registry keeps of connections.
pub(super) struct Connections {
    flows: Flows,
    store: Option<Arc<ConnectionStore>>,
    public_url: Option<Url>,
    max_idle: Duration,
    clock: SharedClock,
}

impl std::fmt::Debug for Connections {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connections").finish_non_exhaustive()
    }
}

/// A connection that has begun.
pub struct StartedConnection {
    /// The page of the gateway that the person opens. Whoever opens it has to be who began.
    pub link: Secret<String>,
    /// Seconds in which it has to be finished.
    pub expires_in: u64,
}

/// How an authorization server sends a browser back (RFC 6749, sections 4.1.2 and 4.1.2.1; RFC 9207).
#[derive(Default)]
pub struct ReturnedBrowser {
    /// The state that it was sent with.
    pub state: Option<String>,
    /// The code.
    pub code: Option<String>,
    /// The issuer that the answer names.
    pub iss: Option<String>,
    /// Why there is no code.
    pub error: Option<String>,
}

/// A consent that is genuine, and has no effect yet.
pub struct ConsentGiven {
    ongoing: Arc<Ongoing>,
    code: AuthorizationCode,
}

impl ConsentGiven {
    /// Who began, and for whom the account will be used.
    pub fn subject(&self) -> &Arc<Subject> {
        self.ongoing.subject()
    }
}

impl Connections {
    /// Opens the store, where accounts can be connected. Blocking.
    pub(super) fn open(
        settings: &ConnectionSettings,
        is_offered: bool,
        clock: SharedClock,
    ) -> Result<Self, StoreError> {
        let is_kept = is_offered || settings.key.is_some();
        if is_offered && settings.public_url.is_none() {
            return Err(StoreError::NoAddress);
        }
        let store = if is_kept {
            let key = ConnectionKey::read(settings)?;
            Some(Arc::new(ConnectionStore::open(&settings.database, key)?))
        } else {
            None
        };
        let (public_url, max_idle) = (settings.public_url.clone(), settings.max_idle);
        Ok(Self { flows: Flows::default(), store, public_url, max_idle, clock })
    }

    /// Where there are no callers.
    pub(super) fn none(clock: SharedClock) -> Self {
        Self { flows: Flows::default(), store: None, public_url: None, max_idle: Duration::MAX, clock }
    }

    pub(super) fn store(&self) -> Option<&Arc<ConnectionStore>> {
        self.store.as_ref()
    }

    /// The address of a page of the gateway.
    fn page(&self, server: &ServerName, last: Option<&str>) -> Result<Url, ConnectionError> {
        let mut page = self.public_url.clone().ok_or(StoreError::NoAddress)?;
        {
            let mut parts = page.path_segments_mut().map_err(|()| StoreError::NoAddress)?;
            parts.pop_if_empty().extend(["v1", "connect", server.as_str()]).extend(last);
        }
        page.set_query(None);
        page.set_fragment(None);
        Ok(page)
    }

    fn callback(&self, server: &ServerName) -> Result<Url, ConnectionError> {
        self.page(server, Some("callback"))
    }

    fn link_page(&self, server: &ServerName, id: &Secret<String>) -> Result<Url, ConnectionError> {
        let mut page = self.page(server, None)?;
        page.query_pairs_mut().append_pair("flow", id.expose());
        Ok(page)
    }

    fn link(&self, server: &ServerName, id: &Secret<String>) -> Result<Secret<String>, ConnectionError> {
        Ok(Secret::new(self.link_page(server, id)?.into()))
    }

    /// Works on the store off the async threads.
    async fn work<T: Send + 'static>(
        &self,
        act: impl FnOnce(&ConnectionStore) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<Option<T>, ConnectionError> {
        let Some(store) = self.store.clone() else { return Ok(None) };
        Ok(Some(blocking::try_run(move || act(&store)).await?))
    }
}

impl Registry {
    /// The server, where callers connect accounts of their own at it.
    fn with_accounts(
        &self,
        server: &ServerName,
    ) -> Result<(&Arc<Upstream>, &Arc<ServerCredentials>), ConnectionError> {
        let upstream = self.upstreams(None).find(|upstream| upstream.settings.name == *server);
        let found = upstream.and_then(|upstream| Some((upstream, upstream.account_credentials()?)));
        found.ok_or_else(|| ConnectionError::NotOffered(server.clone()))
    }

    /// Begins to connect an account of the caller's own.
    pub fn begin_connection(
        &self,
        permit: Permit<BeginConnection>,
        program: Option<ConnectingProgram>,
    ) -> Result<StartedConnection, ConnectionError> {
        let connections = self.connections();
        let subject = Arc::clone(permit.subject());
        let BeginConnection { server } = permit.into_operation();
        self.with_accounts(&server)?;
        holder_of(&subject).ok_or(ConnectionError::Delegated)?;
        let now = connections.clock.now_millis();
        let (id, ends) = connections.flows.begin(&subject, &server, program, now)?;
        let seconds = ends.saturating_sub(now) / 1_000;
        Ok(StartedConnection {
            link: connections.link(&server, &id)?,
            expires_in: u64::try_from(seconds).unwrap_or_default(),
        })
    }

    /// A browser opens the link of a connection that has begun, with what it brings: its cookie, and `go` of the page that says
    /// what is being connected.
    pub fn open_link(
        &self,
        link: (&ServerName, &str),
        brought: (Option<&str>, Option<&str>),
    ) -> Result<LinkOpened, ConnectionError> {
        let connections = self.connections();
        connections.flows.open(link, brought, connections.clock.now_millis())
    }

    /// The person in the browser has logged in as `subject`.
    pub fn prove_browser(
        &self,
        link: (&ServerName, &str),
        cookie: Option<&str>,
        subject: &Subject,
    ) -> Result<LoggedInBrowser, ConnectionError> {
        let connections = self.connections();
        connections.flows.prove(link, cookie, subject, connections.clock.now_millis())
    }

    /// The link by which a person who has logged in goes on. It is on the page of that browser, and nowhere else.
    pub fn link_of_page(
        &self,
        (server, id): (&ServerName, &Secret<String>),
        browser: &LoggedInBrowser,
    ) -> Result<Secret<String>, ConnectionError> {
        let mut page = self.connections().link_page(server, id)?;
        page.query_pairs_mut().append_pair("go", browser.go.expose());
        Ok(Secret::new(page.into()))
    }

    /// The caller's program brings the code that its browser was given. Gives the link at which that browser goes on.
    pub fn confirm_browser(
        &self,
        permit: Permit<BeginConnection>,
        code: &str,
    ) -> Result<Secret<String>, ConnectionError> {
        let connections = self.connections();
        let subject = Arc::clone(permit.subject());
        let BeginConnection { server } = permit.into_operation();
        let now = connections.clock.now_millis();
        let id = connections.flows.confirm((&server, code), &subject, now)?;
        connections.link(&server, &id)
    }

    /// The address at which the person in a proven browser consents. The link counts no more.
    pub async fn consent_address(
        &self,
        (server, id): (&ServerName, &str),
        cookie: Option<&str>,
    ) -> Result<Url, ConnectionError> {
        let connections = self.connections();
        let (_, credentials) = self.with_accounts(server)?;
        let now = connections.clock.now_millis();
        let ready = connections.flows.take_proven((server, id), cookie, now)?;
        let (state, verifier) = (random()?, random()?);
        let challenge = URL_SAFE_NO_PAD.encode(digest(&SHA256, verifier.expose().as_bytes()));
        let redirect = connections.callback(server)?;
        let document = connections.page(server, Some("client.json"))?;
        let consent = credentials.consent_address((&redirect, &document), &state, &challenge).await;
        let consent = consent.map_err(|source| not_given(server, source))?;
        let sent = ready.sent(verifier, consent.issuer, consent.says_issuer);
        connections.flows.keep_sent(state.expose(), sent)?;
        Ok(consent.address)
    }

    /// The authorization server has sent a browser back. Nothing is asked or kept yet.
    pub fn consent_given(
        &self,
        server: &ServerName,
        returned: ReturnedBrowser,
        cookie: Option<&str>,
    ) -> Result<ConsentGiven, ConnectionError> {
        let connections = self.connections();
        let bounded = [&returned.state, &returned.code, &returned.iss, &returned.error];
        if bounded.into_iter().flatten().any(|text| text.len() > MAX_PARAMETER) {
            return Err(ConnectionError::Refused("malformed"));
        }
        let state = returned.state.map(Secret::new).ok_or(ConnectionError::Refused("wrong_state"))?;
        let now = connections.clock.now_millis();
        let sent = connections.flows.take_sent(server, state.expose(), cookie, now)?;
        check_issuer(&sent, returned.iss.as_deref())?;
        let code = match (returned.code, returned.error) {
            (Some(code), None) => Secret::new(code),
            (_, Some(error)) if error == "access_denied" => {
                return Err(ConnectionError::Refused("access_denied"));
            }
            _ => return Err(ConnectionError::Refused("no_code")),
        };
        let Sent { ongoing, verifier, issuer, .. } = sent;
        let redirect = connections.callback(ongoing.server())?;
        Ok(ConsentGiven { ongoing, code: AuthorizationCode { code, verifier, redirect, issuer } })
    }

    /// Exchanges the code of a consent for the tokens of the account, and keeps them. A connection that was there before ends
    /// first: authorization servers that revoke all that a person granted to a client would otherwise revoke the new tokens.
    pub async fn finish_connection(
        &self,
        permit: Permit<FinishConnection>,
        consent: ConsentGiven,
    ) -> Result<(), ConnectionError> {
        let ConsentGiven { ongoing, code } = consent;
        if !Arc::ptr_eq(permit.subject(), ongoing.subject()) || permit.operation().server != *ongoing.server()
        {
            return Err(ConnectionError::Mismatch);
        }
        let FinishConnection { server } = permit.into_operation();
        let (upstream, credentials) = self.with_accounts(&server)?;
        let subject = Arc::clone(ongoing.subject());
        let holder = holder_of(&subject).ok_or(ConnectionError::Delegated)?;
        let failed = |source| match source {
            TokenError::Refused(word) if word == "invalid_grant" => ConnectionError::Refused("code_refused"),
            source => not_given(&server, source),
        };
        let name = credentials.account_name(holder.clone()).await.map_err(failed)?;
        let replaces = self.remove_account(&holder, &server).await?.is_some();
        let finished = match credentials.exchange_code(&code).await {
            Ok(tokens) => self.keep_account(credentials, name, tokens, ongoing).await,
            Err(source) => Err(failed(source)),
        };
        if replaces {
            let (server, holder) = (server.as_str(), holder.as_str());
            match &finished {
                Ok(()) => SecurityEvent::ConnectionReplaced { server, holder }.log(),
                Err(_) => {
                    let why = "another account was to take its place, and was not connected";
                    SecurityEvent::ConnectionEnded { server, holder, why }.log();
                }
            }
        }
        finished?;
        upstream.forget_holder(&holder);
        upstream.look_as(subject);
        Ok(())
    }

    /// Keeps the tokens of an account that was connected just now. Those that cannot be kept, or whose connection was ended
    /// meanwhile, are revoked.
    async fn keep_account(
        &self,
        credentials: &ServerCredentials,
        name: AccountName,
        tokens: AccountTokens,
        ongoing: Arc<Ongoing>,
    ) -> Result<(), ConnectionError> {
        let connections = self.connections();
        let now = connections.clock.now_millis();
        let keeping = connections.work(move |store| {
            let kept = store.put(&name, &tokens, now, || !ongoing.is_over());
            Ok((kept, tokens))
        });
        let (kept, tokens) = keeping.await?.ok_or(StoreError::NoKey)?;
        if matches!(kept, Ok(true)) {
            return Ok(());
        }
        credentials.revoke(&tokens).await;
        kept?;
        Err(ConnectionError::Refused("was_ended"))
    }

    /// The connections of the caller, or of all; never their tokens.
    pub async fn list_connections(
        &self,
        permit: Permit<ListConnections>,
    ) -> Result<Vec<ConnectionFacts>, ConnectionError> {
        let subject = Arc::clone(permit.subject());
        let ListConnections { own } = permit.into_operation();
        let holder = match own {
            true => Some(holder_of(&subject).ok_or(ConnectionError::Delegated)?),
            false => None,
        };
        let listed = self.connections().work(move |store| store.list(holder.as_deref())).await?;
        Ok(listed.unwrap_or_default())
    }

    /// Describes the gateway to the authorization server of a server, where it names itself by the address of this description.
    pub fn client_document(&self, server: &ServerName) -> Option<Json> {
        let connections = self.connections();
        let (_, credentials) = self.with_accounts(server).ok()?;
        let address = connections.page(server, Some("client.json")).ok()?;
        credentials.client_document(&address, &connections.callback(server).ok()?)
    }
}

fn not_given(server: &ServerName, source: TokenError) -> ConnectionError {
    ConnectionError::AuthorizationServer { server: server.clone(), source }
}

/// RFC 9207: the answer of another authorization server must not be taken to this one (mix-up).
fn check_issuer(sent: &Sent, iss: Option<&str>) -> Result<(), ConnectionError> {
    match iss {
        Some(iss) if iss == sent.issuer => Ok(()),
        None if !sent.says_issuer => Ok(()),
        _ => Err(ConnectionError::Refused("wrong_issuer")),
    }
}
