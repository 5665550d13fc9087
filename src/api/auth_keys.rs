//! API keys, for those who may make, see, replace and end them.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};

use super::address::Path;
use super::attributes::unlocked;
use super::auth::work;
use super::body::StrictJson;
use super::caller::{Admitted, Caller};
use super::json::Json;
use super::problem::Problem;
use super::state::Api;
use crate::authn::{KeyHolder, KeyRecord, NewKey};
use crate::clock::rfc3339;
use crate::model::{
    AgentId, CreateKey, DecisionId, KeyId, ListKeys, RevokeKey, RoleName, RotateKey, ServiceName,
};

const DAY: u32 = 24 * 3600;
/// A key that is to live longer is a mistake.
const MAX_LIFETIME: u32 = 3_660 * DAY;

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    name: ServiceName,
    #[serde(default)]
    permissions: Vec<RoleName>,
    agent: Option<AgentId>,
    /// Seconds.
    #[serde(default = "ninety_days")]
    expires_in: u32,
}

fn ninety_days() -> u32 {
    90 * DAY
}

#[derive(Serialize, utoipa::ToSchema)]
pub(super) struct Created {
    id: KeyId,
    key: String,
    expires: String,
    decision_id: DecisionId,
}

fn created(key: &NewKey, decision_id: DecisionId) -> (StatusCode, Json<Created>) {
    let expires = rfc3339(key.expires);
    (
        StatusCode::CREATED,
        Json(Created { id: key.id.clone(), key: key.secret.expose().clone(), expires, decision_id }),
    )
}

/// A new key; its text is shown this once.
pub(super) async fn create(
    State(api): State<Arc<Api>>,
    caller: Caller,
    StrictJson(wanted): StrictJson<Wanted>,
) -> Result<(StatusCode, Json<Created>), Problem> {
    if wanted.agent.is_some() && !wanted.permissions.is_empty() {
        return Err(Problem::invalid(
            "a key of an agent has no permissions: what it may do is in its definition",
        ));
    }
    if !(1..=MAX_LIFETIME).contains(&wanted.expires_in) {
        return Err(Problem::invalid("`expires_in` is 1 second to ten years"));
    }
    let operation = CreateKey {
        name: wanted.name,
        agent: wanted.agent,
        permissions: wanted.permissions,
        lifetime_seconds: wanted.expires_in,
    };
    // A key is a way in that stays: in an emergency one can be ended, and another one takes its place.
    unlocked(&api, &caller, &operation).await?;
    let permit = caller.admit(&api, operation).await?;
    let decision = permit.decision();
    let key = work(&api, move |credentials| credentials.create_key(permit)).await?;
    Ok(created(&key, decision))
}

#[derive(Serialize, utoipa::ToSchema)]
pub(super) struct KeyView {
    id: KeyId,
    name: ServiceName,
    #[schema(value_type = Object)]
    holder: KeyHolder,
    permissions: Vec<RoleName>,
    created: String,
    expires: String,
    revoked: Option<String>,
    replaced_by: Option<KeyId>,
}

#[derive(Serialize, utoipa::ToSchema)]
pub(super) struct Keys {
    keys: Vec<KeyView>,
}

fn view(key: KeyRecord) -> KeyView {
    KeyView {
        created: rfc3339(key.created),
        expires: rfc3339(key.expires),
        revoked: key.revoked.map(rfc3339),
        id: key.id,
        name: key.name,
        holder: key.holder,
        permissions: key.permissions,
        replaced_by: key.replaced_by,
    }
}

/// All keys, without their secrets.
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    Admitted(permit): Admitted<ListKeys>,
) -> Result<Json<Keys>, Problem> {
    let keys = work(&api, move |credentials| credentials.list_keys(permit)).await?;
    Ok(Json(Keys { keys: keys.into_iter().map(view).collect() }))
}

/// A key's successor. A key that is not there is asked about like any other.
pub(super) async fn rotate(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(id): Path<KeyId>,
) -> Result<(StatusCode, Json<Created>), Problem> {
    let key = work(&api, move |credentials| credentials.facts(&id)).await?;
    let permit = caller.admit(&api, RotateKey { key }).await?;
    let decision = permit.decision();
    let key = work(&api, move |credentials| credentials.rotate_key(permit)).await?;
    Ok(created(&key, decision))
}

/// Ends a key and its tokens, and with the last key of a principal the connections of its accounts.
pub(super) async fn revoke(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(id): Path<KeyId>,
) -> Result<StatusCode, Problem> {
    let key = work(&api, move |credentials| credentials.facts(&id)).await?;
    let permit = caller.admit(&api, RevokeKey { key }).await?;
    let keyless = work(&api, move |credentials| credentials.revoke_key(permit)).await?;
    if let Some(keyless) = keyless {
        api.effects.tools().end_connections_of(vec![keyless]).await;
    }
    Ok(StatusCode::NO_CONTENT)
}
