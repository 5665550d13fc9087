//! The decision log, for those who may read it.

use std::sync::Arc;

use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::address::Query;
use super::caller::Caller;
use super::json::Json;
use super::problem::Problem;
use super::state::Api;
use crate::audit::query::Filter;
use crate::blocking;
use crate::model::ReadAudit;

#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct Ask {
    event_type: Option<String>,
    user: Option<String>,
    agent: Option<String>,
    decision: Option<String>,
    policy: Option<String>,
    limit: Option<usize>,
}

#[derive(Serialize, utoipa::ToSchema)]
pub(super) struct Events {
    #[schema(value_type = Vec<Object>)]
    events: Vec<Value>,
}

/// The most records in one answer.
const MOST: usize = 1_000;

/// The newest records that match, oldest first.
pub(super) async fn events(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Query(ask): Query<Ask>,
) -> Result<Json<Events>, Problem> {
    let filter = Filter::parse(
        ask.event_type.as_deref(),
        ask.user.as_deref(),
        ask.agent.as_deref(),
        ask.decision.as_deref(),
        ask.policy.as_deref(),
        Some(ask.limit.unwrap_or(100).min(MOST)),
    )
    .map_err(|error| Problem::malformed(error.to_string()))?;
    let permit = caller.admit(&api, ReadAudit).await?;
    let log = api.decision_log.clone();
    let events = blocking::run(move || log.query(permit, &filter)).await?.map_err(|error| {
        tracing::error!(error = &error as &dyn std::error::Error, "the decision log could not be read");
        Problem::internal()
    })?;
    Ok(Json(Events { events }))
}
