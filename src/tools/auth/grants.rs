//! The requests for tokens, one function for each grant.

use std::sync::Arc;

use tokio::time::Instant;

use super::ServerCredentials;
use super::answer::{BearerToken, Expected, TYPE_ACCESS_TOKEN, TYPE_ID_JAG, TYPE_JWT, TokenAnswer};
use super::client::ClientProof;
use super::discovery::TokenEndpoint;
use super::error::TokenError;
use super::settings::{OauthClient, UpstreamGrant};
use super::slot::Holder;
use crate::blocking;
use crate::model::Subject;
use crate::secret::Secret;

const CLIENT_CREDENTIALS: &str = "client_credentials";
const TOKEN_EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

impl From<blocking::Stopped> for TokenError {
    fn from(_: blocking::Stopped) -> Self {
        Self::Stopped
    }
}

/// The client whose turn it is.
#[derive(Clone, Copy)]
pub(super) enum AtWhom {
    /// The server's authorization server.
    Server,
    /// The identity provider.
    Provider,
}

impl ServerCredentials {
    /// Requests a token for `holder`; `was_refused` says that the server takes the one before no more.
    pub(super) async fn fetch(&self, holder: &Holder, was_refused: bool) -> Result<BearerToken, TokenError> {
        let asked_at = Instant::now();
        let outcome = match (holder, &self.auth.grant) {
            (Holder::Gateway, _) | (Holder::Caller(_), UpstreamGrant::ClientCredentials) => {
                self.client_credentials().await
            }
            (Holder::Caller(caller), UpstreamGrant::TokenExchange) => self.exchange(caller).await,
            (Holder::Caller(caller), UpstreamGrant::IdentityAssertion { identity_provider }) => {
                self.assert_identity(caller, identity_provider).await
            }
            (Holder::Caller(caller), UpstreamGrant::AuthorizationCode) => {
                self.of_account(caller, was_refused).await
            }
        };
        if matches!(&outcome, Err(error) if error.is_of_address()) {
            // It may have moved. One that refuses is where it was.
            self.place.forget();
            self.provider.forget();
        }
        BearerToken::new(&outcome?, asked_at)
    }

    /// RFC 6749, section 4.4.
    async fn client_credentials(&self) -> Result<TokenAnswer, TokenError> {
        let endpoint = self.endpoint().await?;
        let form = self.scoped(vec![("grant_type", CLIENT_CREDENTIALS)], true);
        self.post(AtWhom::Server, &endpoint, &form, Expected::AccessToken).await
    }

    /// RFC 8693: what the gateway says about the caller for a token of the caller.
    async fn exchange(&self, caller: &Arc<Subject>) -> Result<TokenAnswer, TokenError> {
        let endpoint = self.endpoint().await?;
        let about = self.about(caller, &endpoint).await?;
        let mut form = self.scoped(exchange_form(&about, TYPE_ACCESS_TOKEN), true);
        form.extend(self.auth.audience.as_deref().map(|audience| ("audience", audience)));
        self.post(AtWhom::Server, &endpoint, &form, Expected::ExchangedToken).await
    }

    /// Identity Assertion Authorization Grant: the provider makes an assertion about the caller for the authorization server,
    /// and that gives the token (RFC 7523, section 2.1). The assertion names one authorization server, so no other takes it.
    async fn assert_identity(
        &self,
        caller: &Arc<Subject>,
        provider: &OauthClient,
    ) -> Result<TokenAnswer, TokenError> {
        let endpoint = self.endpoint().await?;
        let at_provider = self.provider.endpoint(&provider.place, &self.address, &self.http).await?;
        let about = self.about(caller, &at_provider).await?;
        let mut form = self.scoped(exchange_form(&about, TYPE_ID_JAG), true);
        form.push(("audience", &endpoint.audience));
        let asserted = self.post(AtWhom::Provider, &at_provider, &form, Expected::IdentityAssertion).await?;
        let form = vec![("grant_type", JWT_BEARER), ("assertion", asserted.token.expose().as_str())];
        let form = self.scoped(form, false);
        self.post(AtWhom::Server, &endpoint, &form, Expected::AccessToken).await
    }

    pub(super) async fn endpoint(&self) -> Result<Arc<TokenEndpoint>, TokenError> {
        self.place.endpoint(&self.auth.client.place, &self.address, &self.http).await
    }

    /// The form with the scopes, and with the resource for which the token is to count (RFC 8707).
    fn scoped<'a>(
        &'a self,
        mut form: Vec<(&'a str, &'a str)>,
        with_resource: bool,
    ) -> Vec<(&'a str, &'a str)> {
        form.extend((!self.auth.scope.is_empty()).then_some(("scope", self.auth.scope.as_str())));
        form.extend(with_resource.then_some(("resource", self.resource.as_str())));
        form
    }

    /// What the gateway says about the caller, for this authorization server only.
    async fn about(
        &self,
        caller: &Arc<Subject>,
        endpoint: &TokenEndpoint,
    ) -> Result<Secret<String>, TokenError> {
        let identity = Arc::clone(self.identity.as_ref().ok_or(TokenError::NoIdentity)?);
        let (caller, audience) = (Arc::clone(caller), endpoint.audience.clone());
        blocking::try_run(move || identity.assertion(&caller, &audience).map_err(TokenError::Signing)).await
    }

    pub(super) async fn post(
        &self,
        whom: AtWhom,
        endpoint: &TokenEndpoint,
        form: &[(&str, &str)],
        expected: Expected,
    ) -> Result<TokenAnswer, TokenError> {
        let proof = self.proof(whom, &endpoint.audience).await?;
        let mut fields = form.to_vec();
        fields.extend(proof.fields());
        let answer = self.http.post(&endpoint.address, &fields, proof.authorization.clone()).await?;
        TokenAnswer::read(answer, expected)
    }

    /// Proves the gateway to the authorization server of this name.
    pub(super) async fn proof(&self, whom: AtWhom, audience: &str) -> Result<ClientProof, TokenError> {
        let (auth, audience) = (Arc::clone(&self.auth), audience.to_owned());
        let now = self.clock.now_seconds();
        let proof = blocking::try_run(move || {
            let client = match (whom, &auth.grant) {
                (AtWhom::Provider, UpstreamGrant::IdentityAssertion { identity_provider }) => {
                    identity_provider
                }
                _ => &auth.client,
            };
            ClientProof::of(client, &audience, now)
        });
        proof.await
    }
}

/// A token exchange of what the gateway says about a caller (RFC 8693, section 2.1).
fn exchange_form<'a>(about: &'a Secret<String>, wanted: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![
        ("grant_type", TOKEN_EXCHANGE),
        ("subject_token", about.expose()),
        ("subject_token_type", TYPE_JWT),
        ("requested_token_type", wanted),
    ]
}
