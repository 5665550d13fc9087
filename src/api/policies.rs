//! What decides at this moment.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;

use super::caller::Caller;
use super::problem::Problem;
use super::state::Api;
use crate::model::ReadPolicies;

#[derive(Serialize)]
pub(super) struct PolicyView {
    id: String,
    effect: String,
    file: String,
    annotations: BTreeMap<String, String>,
    text: String,
}

#[derive(Serialize)]
pub(super) struct Policies {
    version: String,
    policies: Vec<PolicyView>,
}

/// The live version and its policies.
pub(super) async fn list(State(api): State<Arc<Api>>, caller: Caller) -> Result<Json<Policies>, Problem> {
    let guard = api.gate.guard();
    let _permit = guard.admit(&caller.subject, ReadPolicies, &caller.context).await?;
    let bundle = guard.policy().current();
    let policies = bundle.policies().map(|policy| PolicyView {
        id: policy.id.to_string(),
        effect: policy.effect.as_str().to_owned(),
        file: policy.file.to_string(),
        annotations: policy.annotations.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect(),
        text: policy.text.to_string(),
    });
    Ok(Json(Policies { version: bundle.version().as_str().to_owned(), policies: policies.collect() }))
}
