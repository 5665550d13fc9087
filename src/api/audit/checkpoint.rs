//! The last signed checkpoint of the decision log, for one who keeps it elsewhere.

use std::sync::Arc;

use axum::extract::State;
use serde::Serialize;

use crate::api::caller::Caller;
use crate::api::json::Json;
use crate::api::problem::Problem;
use crate::api::state::Api;
use crate::blocking;
use crate::model::ReadAudit;

#[derive(Serialize, utoipa::ToSchema)]
pub(in crate::api) struct SignedCheckpoint {
    /// The signed note (C2SP `tlog-checkpoint`): name of the log, number of records, root of their tree.
    checkpoint: String,
    /// The public key of the log. Keep the first one that you are given, and compare.
    key: String,
}

/// The last checkpoint; 404 before the first one.
pub(in crate::api) async fn checkpoint(
    State(api): State<Arc<Api>>,
    caller: Caller,
) -> Result<Json<SignedCheckpoint>, Problem> {
    let permit = caller.admit(&api, ReadAudit).await?;
    let log = api.decision_log.clone();
    let found = blocking::run(move || log.checkpoint(permit)).await?.map_err(|error| {
        tracing::error!(error = &error as &dyn std::error::Error, "the checkpoint could not be read");
        Problem::internal()
    })?;
    let (checkpoint, key) = found.ok_or_else(|| Problem::not_found("checkpoint"))?;
    Ok(Json(SignedCheckpoint { checkpoint, key }))
}
