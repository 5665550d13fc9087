//! Own tokens: taken for an API key, gone on with, ended. RFC 6749 (section 5.1) gives the shape of the answer.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use serde_json::Value;

use super::caller::{Admitted, Caller, Refreshing};
use super::json::Json;
use super::problem::Problem;
use super::state::Api;
use crate::authn::{Issued, LoggedIn, MethodStatus};
use crate::blocking;
use crate::credentials::{CredentialError, Credentials};
use crate::events::SecurityEvent;
use crate::model::{DecisionId, EndSession, IssueToken, ReadAuthStatus, RenewToken, RevokeAllSessions};

#[derive(Serialize, utoipa::ToSchema)]
pub(super) struct Pair {
    pub(super) access_token: String,
    token_type: &'static str,
    pub(super) expires_in: u64,
    pub(super) refresh_token: String,
    session_id: String,
    decision_id: DecisionId,
}

pub(super) fn pair(issued: &Issued, decision: DecisionId) -> Json<Pair> {
    Json(Pair {
        access_token: issued.access.expose().clone(),
        token_type: if issued.with_proof { "DPoP" } else { "Bearer" },
        expires_in: issued.expires_in,
        refresh_token: issued.refresh.expose().clone(),
        session_id: issued.session.to_string(),
        decision_id: decision,
    })
}

/// Lets the store work on a thread that may wait.
pub(super) async fn work<T: Send + 'static>(
    api: &Arc<Api>,
    act: impl FnOnce(&Credentials) -> Result<T, CredentialError> + Send + 'static,
) -> Result<T, Problem> {
    let api = Arc::clone(api);
    Ok(blocking::run(move || act(&api.credentials)).await??)
}

/// A pair of tokens for the API key that the caller has shown, or for the login that [`super::login::prove_token`] has
/// proven.
pub(super) async fn token(
    State(api): State<Arc<Api>>,
    caller: Caller,
    login: Option<Extension<LoggedIn>>,
) -> Result<Json<Pair>, Problem> {
    let operation = IssueToken { holder: caller.holder };
    let permit = caller.admit(&api, operation).await?;
    let decision = permit.decision();
    let issued = work(&api, move |credentials| match login {
        Some(Extension(login)) => credentials.log_in(permit, login),
        None => credentials.issue(permit),
    });
    let issued = issued.await?;
    Ok(pair(&issued, decision))
}

/// The next pair, for a refresh token that [`super::caller::prove_refresh`] has proven.
pub(super) async fn refresh(
    State(api): State<Arc<Api>>,
    caller: Caller,
    refreshing: Refreshing,
) -> Result<Json<Pair>, Problem> {
    let renewal = refreshing.take().ok_or_else(Problem::internal)?;
    let operation = RenewToken { presented: renewal.presented, successor: renewal.successor };
    let permit = caller.admit(&api, operation).await?;
    let decision = permit.decision();
    let issued = work(&api, move |credentials| credentials.renew(permit, renewal)).await?;
    Ok(pair(&issued, decision))
}

/// Ends the session of the access token that the caller has shown.
pub(super) async fn logout(
    State(api): State<Arc<Api>>,
    Admitted(permit): Admitted<EndSession>,
) -> Result<StatusCode, Problem> {
    work(&api, move |credentials| credentials.end(permit)).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Serialize, utoipa::ToSchema)]
pub(super) struct Ended {
    sessions: usize,
    decision_id: DecisionId,
}

/// Ends every session and every token that was made until now.
pub(super) async fn revoke_all(
    State(api): State<Arc<Api>>,
    Admitted(permit): Admitted<RevokeAllSessions>,
) -> Result<Json<Ended>, Problem> {
    let decision_id = permit.decision();
    let sessions = work(&api, move |credentials| credentials.revoke_all(permit)).await?;
    api.effects.tools().forget_begun_connections();
    SecurityEvent::SessionsRevoked { sessions, decision: decision_id }.emit(&api.metrics);
    Ok(Json(Ended { sessions, decision_id }))
}

#[derive(Serialize, utoipa::ToSchema)]
pub(super) struct Status {
    methods: Vec<MethodStatus>,
}

/// Which ways to prove oneself are open, and whether they work.
pub(super) async fn status(
    State(api): State<Arc<Api>>,
    Admitted(permit): Admitted<ReadAuthStatus>,
) -> Result<Json<Status>, Problem> {
    let shared = Arc::clone(&api);
    let status = move || shared.credentials.status(permit, &shared.authenticator);
    Ok(Json(Status { methods: blocking::run(status).await? }))
}

/// The public keys of own tokens, for those who check them elsewhere.
pub(super) async fn key_set(State(api): State<Arc<Api>>) -> Result<Json<Value>, Problem> {
    let tokens = Arc::clone(api.authenticator.tokens());
    let set = blocking::run(move || tokens.key_set()).await?;
    Ok(Json(set.map_err(CredentialError::from)?))
}
