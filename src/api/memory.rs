//! Memory: entities, relations and search in one scope at a time.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};

use super::address::{Path, Query};
use super::body::StrictJson;
use super::caller::Caller;
use super::json::Json;
use super::problem::Problem;
use super::state::Api;
use crate::memory::{EntityView, RelationView};
use crate::model::{DecisionId, MemoryScope};
use crate::runtime::{NewEntity, NewRelation};

/// `agent:<id>`, `workspace:<id>` or `global`; `agent` alone is the calling agent's own.
fn scope(text: &str, caller: &Caller) -> Result<MemoryScope, Problem> {
    match (text, caller.subject.as_agent()) {
        ("agent", Some(own)) => Ok(MemoryScope::Agent(own)),
        _ => text.parse().map_err(|error: crate::model::ScopeError| Problem::malformed(error.to_string())),
    }
}

const DEFAULT_LIMIT: u32 = 20;

fn default_limit() -> u32 {
    DEFAULT_LIMIT
}

#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct Page {
    #[serde(default = "default_limit")]
    limit: u32,
}

#[derive(Serialize, utoipa::ToSchema)]
pub(super) struct Entities {
    entities: Vec<EntityView>,
}

#[derive(Serialize, utoipa::ToSchema)]
pub(super) struct WrittenEntity {
    decision_id: DecisionId,
    #[serde(flatten)]
    view: EntityView,
}

#[derive(Serialize, utoipa::ToSchema)]
pub(super) struct WrittenRelation {
    decision_id: DecisionId,
    #[serde(flatten)]
    view: RelationView,
}

/// The rows of a scope that the caller may read.
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(name): Path<String>,
    Query(page): Query<Page>,
) -> Result<Json<Entities>, Problem> {
    let scope = scope(&name, &caller)?;
    Ok(Json(Entities { entities: api.effects.list_entities(caller.asker(), scope, page.limit).await? }))
}

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct EntityBody {
    name: String,
    kind: String,
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    labels: BTreeSet<Arc<str>>,
    #[serde(default)]
    observations: Vec<String>,
}

pub(super) async fn write_entity(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(name): Path<String>,
    StrictJson(body): StrictJson<EntityBody>,
) -> Result<Json<WrittenEntity>, Problem> {
    let scope = scope(&name, &caller)?;
    let EntityBody { name, kind, labels, observations } = body;
    let new = NewEntity { name, kind, labels, observations };
    let (view, decision_id) = api.effects.write_entity(caller.asker(), scope, new).await?;
    Ok(Json(WrittenEntity { decision_id, view }))
}

pub(super) async fn read(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path((name, entity)): Path<(String, String)>,
) -> Result<Json<EntityView>, Problem> {
    let scope = scope(&name, &caller)?;
    Ok(Json(api.effects.read_entity(caller.asker(), scope, &entity).await?))
}

pub(super) async fn forget(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path((name, entity)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    let scope = scope(&name, &caller)?;
    api.effects.delete_entity(caller.asker(), scope, &entity).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RelationBody {
    from: String,
    kind: String,
    to: String,
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    labels: BTreeSet<Arc<str>>,
}

pub(super) async fn write_relation(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(name): Path<String>,
    StrictJson(body): StrictJson<RelationBody>,
) -> Result<Json<WrittenRelation>, Problem> {
    let scope = scope(&name, &caller)?;
    let RelationBody { from, kind, to, labels } = body;
    let (view, decision_id) =
        api.effects.write_relation(caller.asker(), scope, NewRelation { from, kind, to, labels }).await?;
    Ok(Json(WrittenRelation { decision_id, view }))
}

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Search {
    words: String,
    #[serde(default = "default_limit")]
    limit: u32,
}

pub(super) async fn search(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(name): Path<String>,
    StrictJson(search): StrictJson<Search>,
) -> Result<Json<Entities>, Problem> {
    let scope = scope(&name, &caller)?;
    Ok(Json(Entities {
        entities: api.effects.search(caller.asker(), scope, search.words, search.limit).await?,
    }))
}
