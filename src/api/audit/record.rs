//! Events of a caller's own program.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::api::body::StrictJson;
use crate::api::caller::Caller;
use crate::api::json::Json;
use crate::api::problem::Problem;
use crate::api::state::Api;
use crate::audit::{ApplicationEvent, ApplicationEventError};
use crate::model::{DecisionId, RecordEvent};

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct EventBody {
    /// What happened: lower-case letters, digits, `_`, `-` and `.`, at most 64.
    event_type: String,
    /// Who did it.
    #[serde(default)]
    identity: String,
    /// To what.
    #[serde(default)]
    resource: String,
    /// How it ended, in a word.
    #[serde(default)]
    outcome: String,
    /// What else is known.
    #[serde(default)]
    #[schema(value_type = Object)]
    metadata: Map<String, Value>,
}

#[derive(Serialize, utoipa::ToSchema)]
pub(in crate::api) struct RecordedEvent {
    /// The decision that allowed it.
    #[schema(value_type = String)]
    decision_id: DecisionId,
    /// The id of the event's own record: its `decision_id` in the log.
    #[schema(value_type = String)]
    event_id: DecisionId,
    /// The number of the event's own record.
    seq: u64,
}

/// Records an event.
pub(in crate::api) async fn record(
    State(api): State<Arc<Api>>,
    caller: Caller,
    StrictJson(body): StrictJson<EventBody>,
) -> Result<Response, Problem> {
    let EventBody { event_type, identity, resource, outcome, metadata } = body;
    let event = ApplicationEvent {
        event_type: &event_type,
        identity: &identity,
        resource: &resource,
        outcome: &outcome,
        metadata: Value::Object(metadata.clone()),
    };
    event.check().map_err(|error| Problem::invalid(error.to_string()))?;
    let permit =
        caller.admit(&api, RecordEvent { event_type, identity, resource, outcome, metadata }).await?;
    let decision_id = permit.decision();
    let receipt = api.decision_log.record(permit, api.clock.now_millis()).await.map_err(unrecorded)?;
    let recorded = RecordedEvent { decision_id, event_id: receipt.decision(), seq: receipt.seq() };
    Ok((StatusCode::CREATED, Json(recorded)).into_response())
}

fn unrecorded(error: ApplicationEventError) -> Problem {
    match error {
        ApplicationEventError::Field { .. } => Problem::invalid(error.to_string()),
        ApplicationEventError::Log(error) => {
            tracing::error!(error = &error as &dyn std::error::Error, "an event could not be recorded");
            Problem::unavailable("events cannot be recorded at the moment")
        }
    }
}
