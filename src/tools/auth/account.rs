//! Accounts of callers at a server's authorization server: consent by authorization code (OAuth 2.1, RFC 7636, RFC 8707), tokens
//! that are kept and refreshed, and their revocation (RFC 7009).

use std::sync::Arc;

use reqwest::Url;
use serde_json::{Value as Json, json};

use super::ServerCredentials;
use super::answer::{Expected, TokenAnswer};
use super::discovery::TokenEndpoint;
use super::error::TokenError;
use super::grants::AtWhom;
use super::settings::TokenPlace;
use crate::blocking;
use crate::events::SecurityEvent;
use crate::model::Subject;
use crate::secret::Secret;
use crate::tools::connections::{AccountName, AccountTokens, ConnectionStore, StoredAccount};

/// A kept access token that ends sooner is refreshed before it is used, in milliseconds.
const SOON: i64 = 60_000;

/// Where a browser is sent for a person's consent.
pub(in crate::tools) struct ConsentAddress {
    pub(in crate::tools) address: Url,
    /// The authorization server as it names itself.
    pub(in crate::tools) issuer: String,
    /// Whether its answer must say whose it is (RFC 9207).
    pub(in crate::tools) says_issuer: bool,
}

/// How a browser comes back with a code.
pub(in crate::tools) struct AuthorizationCode {
    pub(in crate::tools) code: Secret<String>,
    /// What the code was asked for with (RFC 7636).
    pub(in crate::tools) verifier: Secret<String>,
    /// The address that it came to.
    pub(in crate::tools) redirect: Url,
    /// The authorization server that was asked.
    pub(in crate::tools) issuer: String,
}

/// A principal's name in the store. One that acts for another by a delegated token has no account: what it may do at the server
/// may be less than the other.
pub(in crate::tools) fn holder_of(caller: &Subject) -> Option<String> {
    caller.delegation().is_empty().then(|| caller.principal().to_string())
}

impl ServerCredentials {
    /// Whether callers connect accounts of their own.
    pub(in crate::tools) fn is_of_accounts(&self) -> bool {
        self.auth.is_of_accounts()
    }

    /// Describes the gateway to authorization servers, where it names itself by the address of this description (OAuth Client ID
    /// Metadata Document). `None` where the gateway is registered there.
    pub(in crate::tools) fn client_document(&self, address: &Url, redirect: &Url) -> Option<Json> {
        if !self.is_of_accounts() || self.auth.client.id != address.as_str() {
            return None;
        }
        Some(json!({
            "client_id": address.as_str(),
            "client_name": "Caxton",
            "client_uri": address.origin().ascii_serialization(),
            "redirect_uris": [redirect.as_str()],
            "grant_types": ["authorization_code", "refresh_token"],
            "response_types": ["code"],
            "token_endpoint_auth_method": "none",
        }))
    }

    /// The address at which a person consents. It is followed by a browser: there is no secret in it but `state`.
    /// `redirect` is where it comes back to, `document` the address by which the gateway names itself where it has no other name.
    pub(in crate::tools) async fn consent_address(
        &self,
        (redirect, document): (&Url, &Url),
        state: &Secret<String>,
        challenge: &str,
    ) -> Result<ConsentAddress, TokenError> {
        let endpoint = self.endpoint().await?;
        let consent = endpoint.consent.as_ref();
        let consent = consent.ok_or_else(|| {
            TokenError::Consent(endpoint.audience.clone(), "it publishes no authorization endpoint")
        })?;
        // Without it a code that leaks can be used by whoever finds it (MCP 2025-11-25, "Authorization Code Protection").
        if !consent.takes_s256 {
            let why = "it does not say that it supports PKCE with `S256`";
            return Err(TokenError::Consent(endpoint.audience.clone(), why));
        }
        let names_itself = self.auth.client.id == document.as_str();
        if names_itself && !consent.takes_documents {
            let why =
                "it takes no client-id metadata documents: register the gateway there, and set `client_id`";
            return Err(TokenError::Consent(endpoint.audience.clone(), why));
        }
        let mut address = consent.address.expose().clone();
        address
            .query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", &self.auth.client.id)
            .append_pair("redirect_uri", redirect.as_str())
            .append_pair("state", state.expose())
            .append_pair("code_challenge", challenge)
            .append_pair("code_challenge_method", "S256")
            .append_pair("resource", &self.resource);
        if !self.auth.scope.is_empty() {
            address.query_pairs_mut().append_pair("scope", &self.auth.scope);
        }
        let (issuer, says_issuer) = (endpoint.audience.clone(), consent.says_issuer);
        Ok(ConsentAddress { address, issuer, says_issuer })
    }

    /// Exchanges a code for the tokens of the account. It is sent to the authorization server that gave it, or to none.
    pub(in crate::tools) async fn exchange_code(
        &self,
        code: &AuthorizationCode,
    ) -> Result<AccountTokens, TokenError> {
        let endpoint = self.endpoint().await?;
        if endpoint.audience != code.issuer {
            return Err(TokenError::OtherIssuer(code.issuer.clone()));
        }
        let form = vec![
            ("grant_type", "authorization_code"),
            ("code", code.code.expose().as_str()),
            ("redirect_uri", code.redirect.as_str()),
            ("code_verifier", code.verifier.expose().as_str()),
            ("resource", self.resource.as_str()),
        ];
        let asked_at = self.clock.now_millis();
        let answer = self.post(AtWhom::Server, &endpoint, &form, Expected::AccessToken).await?;
        Ok(tokens_of(answer, asked_at, None))
    }

    /// The access token of the caller's account, refreshed where it has ended, or the server has refused it.
    pub(super) async fn of_account(
        &self,
        caller: &Arc<Subject>,
        was_refused: bool,
    ) -> Result<TokenAnswer, TokenError> {
        let store = self.accounts.as_ref().ok_or(TokenError::NoIdentity)?;
        let name = self.account_name(holder_of(caller).ok_or(TokenError::NotConnected)?).await?;
        let (kept, of) = (Arc::clone(store), name.clone());
        let found = blocking::run(move || kept.get(&of)).await?.map_err(account)?;
        let stored = found.ok_or(TokenError::NotConnected)?;
        let left = stored.tokens.access_ends.saturating_sub(self.clock.now_millis());
        let is_only_one = stored.tokens.refresh.is_none();
        let lasts = left > SOON || left > 0 && is_only_one;
        // One that cannot be replaced counts until its end: a single refusal may be the mistake of something in between.
        if lasts && (is_only_one || !was_refused) {
            let life = std::time::Duration::from_millis(u64::try_from(left).unwrap_or_default());
            return Ok(TokenAnswer { token: stored.tokens.access, life, refresh: None });
        }
        self.refresh(store, name, stored).await
    }

    async fn refresh(
        &self,
        store: &Arc<ConnectionStore>,
        name: AccountName,
        stored: StoredAccount,
    ) -> Result<TokenAnswer, TokenError> {
        let StoredAccount { tokens, generation } = stored;
        let AccountTokens { access, access_ends, refresh } = tokens;
        let Some(refresh) = refresh else {
            self.end(store, &name, generation, "its access token has ended, and it has no other").await?;
            return Err(TokenError::NotConnected);
        };
        let endpoint = self.endpoint().await?;
        let form = vec![
            ("grant_type", "refresh_token"),
            ("refresh_token", refresh.expose().as_str()),
            ("resource", self.resource.as_str()),
        ];
        let asked_at = self.clock.now_millis();
        let answer = match self.post(AtWhom::Server, &endpoint, &form, Expected::AccessToken).await {
            Ok(answer) => answer,
            // The account's owner has taken it back there, or it is too old (RFC 6749, section 5.2).
            Err(TokenError::Refused(code)) if code == "invalid_grant" => {
                let why = "the authorization server takes its refresh token no more";
                let ended = self.end(store, &name, generation, why).await?;
                if ended && access_ends > self.clock.now_millis() {
                    let left = AccountTokens { access, access_ends, refresh: None };
                    self.revoke(&left).await;
                }
                return Err(TokenError::NotConnected);
            }
            Err(error) => return Err(error),
        };
        let token = Secret::new(answer.token.expose().clone());
        let shown = TokenAnswer { token, life: answer.life, refresh: None };
        let fresh = tokens_of(answer, asked_at, Some(refresh));
        let kept = Arc::clone(store);
        // Before it is used: an authorization server that replaces refresh tokens takes the old one no more. So a store that is
        // busy is asked a second time.
        let outcome = blocking::run(move || {
            let renew = || kept.renew(&name, generation, &fresh, asked_at);
            let renewed = renew().or_else(|_| renew())?;
            let is_replaced = !renewed && kept.has(&name.holder, &name.server)?;
            Ok((renewed, is_replaced, fresh))
        });
        let (renewed, is_replaced, fresh) = outcome.await?.map_err(account)?;
        if renewed {
            return Ok(shown);
        }
        // It was ended meanwhile, and what was given since is not to outlive it. Where another account has been connected since,
        // an authorization server that revokes all that was granted to the client would end that one.
        if !is_replaced {
            self.revoke(&fresh).await;
        }
        Err(TokenError::NotConnected)
    }

    /// Forgets a connection that gives no token any more; says whether it was still there.
    async fn end(
        &self,
        store: &Arc<ConnectionStore>,
        name: &AccountName,
        generation: i64,
        why: &'static str,
    ) -> Result<bool, TokenError> {
        let (kept, of) = (Arc::clone(store), name.clone());
        let removed = blocking::run(move || kept.remove_generation(&of, generation)).await?;
        let removed = removed.map_err(account)?;
        if removed {
            SecurityEvent::ConnectionEnded { server: &name.server, holder: &name.holder, why }.log();
        }
        Ok(removed)
    }

    /// Revokes the tokens of a connection that has ended, where the authorization server has a place for that (RFC 7009). Says
    /// whether it did.
    pub(in crate::tools) async fn revoke(&self, tokens: &AccountTokens) -> bool {
        match self.try_revoke(tokens).await {
            Ok(revoked) => revoked,
            Err(error) => {
                let (server, reason) = (&self.server, crate::tools::error::chain(&error));
                tracing::warn!(%server, reason, "the tokens of an ended connection could not be revoked");
                false
            }
        }
    }

    async fn try_revoke(&self, tokens: &AccountTokens) -> Result<bool, TokenError> {
        let endpoint = self.endpoint().await?;
        let Some(address) = &endpoint.revocation else { return Ok(false) };
        // With the refresh token goes all that was made from it (RFC 7009, section 2.1).
        let (token, hint) = match &tokens.refresh {
            Some(refresh) => (refresh, "refresh_token"),
            None => (&tokens.access, "access_token"),
        };
        let form = [("token", token.expose().as_str()), ("token_type_hint", hint)];
        let proof = self.proof(AtWhom::Server, &endpoint.audience).await?;
        let mut fields = form.to_vec();
        fields.extend(proof.fields());
        self.http.post_for_nothing(address, &fields, proof.authorization.clone()).await?;
        Ok(true)
    }

    /// The name of a principal's account here.
    pub(in crate::tools) async fn account_name(&self, holder: String) -> Result<AccountName, TokenError> {
        let issuer = match &self.auth.client.place {
            TokenPlace::Issuer(issuer) => issuer.clone(),
            TokenPlace::Endpoint { .. } | TokenPlace::OfServer => {
                let endpoint: Arc<TokenEndpoint> = self.endpoint().await?;
                endpoint.audience.clone()
            }
        };
        let target = format!("{} {}", self.address.origin().ascii_serialization(), self.resource);
        Ok(AccountName { holder, server: self.server.to_string(), issuer, target })
    }
}

fn account(error: crate::tools::connections::StoreError) -> TokenError {
    TokenError::Account(Box::new(error))
}

/// The tokens of an answer. One without a new refresh token leaves the old one in use (RFC 6749, section 6).
fn tokens_of(answer: TokenAnswer, asked_at: i64, refresh: Option<Secret<String>>) -> AccountTokens {
    let life = i64::try_from(answer.life.as_millis()).unwrap_or(i64::MAX);
    AccountTokens {
        access: answer.token,
        access_ends: asked_at.saturating_add(life),
        refresh: answer.refresh.or(refresh),
    }
}
