//! What decides at this moment, what was published, and how another set comes to decide.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Request, State};
use serde::{Deserialize, Serialize};

use super::address::Query;
use super::body::{StrictJson, read_large};
use super::caller::{Admitted, Caller};
use super::json::Json;
use super::problem::Problem;
use super::state::Api;
use crate::blocking;
use crate::changes::Publications;
use crate::clock::rfc3339;
use crate::model::{PolicyVersion, PublishPolicies, ReadPolicies, ReloadPolicies, RollbackPolicies};
use crate::policy::PolicyProblem;
use crate::policy::live::{Live, Origin, Reloaded};
use crate::policy::shadow::ShadowReport;
use crate::policy::version::{Kind, Published};

#[derive(Serialize, utoipa::ToSchema)]
pub(super) struct PolicyView {
    id: String,
    effect: String,
    file: String,
    annotations: BTreeMap<String, String>,
    text: String,
}

/// Where the live set came from.
#[derive(Serialize, utoipa::ToSchema)]
struct OriginView {
    /// `files` or `published`.
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    sequence: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signed_by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires: Option<String>,
}

#[derive(Serialize, utoipa::ToSchema)]
pub(super) struct Policies {
    version: String,
    origin: OriginView,
    /// How the candidate did so far.
    #[serde(skip_serializing_if = "Option::is_none")]
    candidate: Option<ShadowReport>,
    policies: Vec<PolicyView>,
}

fn time(millis: u64) -> String {
    rfc3339(i64::try_from(millis).unwrap_or(i64::MAX))
}

fn origin(live: &Live) -> OriginView {
    let expires = live.expires_millis.map(time);
    match &live.origin {
        Origin::Files => OriginView { kind: "files", sequence: None, signed_by: None, expires },
        Origin::Published { seen, key_id } => OriginView {
            kind: "published",
            sequence: Some(seen.sequence),
            signed_by: key_id.clone(),
            expires,
        },
    }
}

/// The live version and its policies.
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    Admitted(permit): Admitted<ReadPolicies>,
) -> Result<Json<Policies>, Problem> {
    let live = api.reloader.read(permit);
    let policies = live.bundle.policies().map(|policy| PolicyView {
        id: policy.id.to_string(),
        effect: policy.effect.as_str().to_owned(),
        file: policy.file.to_string(),
        annotations: policy.annotations.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect(),
        text: policy.text().to_owned(),
    });
    let version = live.bundle.version().as_str().to_owned();
    let candidate = live.candidate.as_ref().map(|candidate| candidate.report());
    Ok(Json(Policies { version, origin: origin(&live), candidate, policies: policies.collect() }))
}

#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct Ask {
    limit: Option<usize>,
}

/// The most publications in one answer.
const MOST: usize = 200;

#[derive(Serialize, utoipa::ToSchema)]
struct VersionView {
    sequence: u64,
    version: PolicyVersion,
    live: bool,
    #[schema(value_type = String)]
    kind: Kind,
    parent: Option<PolicyVersion>,
    author: String,
    message: String,
    time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires: Option<String>,
    signed_by: Vec<String>,
    checks: crate::policy::version::Checks,
}

#[derive(Serialize, utoipa::ToSchema)]
pub(super) struct Versions {
    versions: Vec<VersionView>,
}

/// What was published, newest first; nothing where policies come from directories.
pub(super) async fn versions(
    State(api): State<Arc<Api>>,
    Query(ask): Query<Ask>,
    Admitted(permit): Admitted<ReadPolicies>,
) -> Result<Json<Versions>, Problem> {
    let reloader = Arc::clone(&api.reloader);
    let most = ask.limit.unwrap_or(20).min(MOST);
    let read = blocking::run(move || reloader.published(permit, most)).await?;
    let Publications { published, live } = read.map_err(|error| {
        tracing::error!(error = &error as &dyn std::error::Error, "the published versions cannot be read");
        Problem::internal()
    })?;
    Ok(Json(Versions { versions: published.into_iter().map(|one| view(one, &live.origin)).collect() }))
}

fn view(published: Published, origin: &Origin) -> VersionView {
    let Published { manifest, signatures } = published;
    let live = matches!(origin, Origin::Published { seen, .. } if seen.sequence == manifest.sequence);
    VersionView {
        sequence: manifest.sequence,
        version: manifest.version,
        live,
        kind: manifest.kind,
        parent: manifest.parent,
        author: manifest.author,
        message: manifest.message,
        time: time(manifest.time_millis),
        expires: manifest.expires_millis.map(time),
        signed_by: signatures.into_iter().map(|one| one.key_id).collect(),
        checks: manifest.checks,
    }
}

/// What a change did.
#[derive(Serialize, utoipa::ToSchema)]
pub(super) struct Changed {
    from: PolicyVersion,
    version: PolicyVersion,
    /// What is suspicious in the new set; it decides all the same.
    warnings: Vec<WarningView>,
}

/// One warning of the validator, with the fields of `caxton policy validate --format json`.
#[derive(Serialize, utoipa::ToSchema)]
struct WarningView {
    file: Option<String>,
    line: Option<usize>,
    column: Option<usize>,
    policy: Option<String>,
    message: String,
    help: Option<String>,
}

impl From<&PolicyProblem> for WarningView {
    fn from(warning: &PolicyProblem) -> Self {
        let position = warning.position();
        Self {
            file: warning.file.as_deref().map(str::to_owned),
            line: position.map(|position| position.line),
            column: position.map(|position| position.column),
            policy: warning.policy.as_deref().map(str::to_owned),
            message: warning.message.clone(),
            help: warning.advice.clone(),
        }
    }
}

impl From<Reloaded> for Changed {
    fn from(reloaded: Reloaded) -> Self {
        let warnings = reloaded.warnings.iter().map(WarningView::from).collect();
        Self { from: reloaded.from, version: reloaded.to, warnings }
    }
}

/// Reads the policies again.
pub(super) async fn reload(
    State(api): State<Arc<Api>>,
    Admitted(permit): Admitted<ReloadPolicies>,
) -> Result<Json<Changed>, Problem> {
    Ok(Json(api.reloader.reload_for(permit).await?.into()))
}

/// Takes a bundle and makes it live. A bundle may be as large from here as from the network, which is more than other
/// bodies may be.
pub(super) async fn publish(
    State(api): State<Arc<Api>>,
    caller: Caller,
    request: Request,
) -> Result<Json<Changed>, Problem> {
    let limit = usize::try_from(api.reloader.settings().max_bundle_bytes).unwrap_or(usize::MAX);
    let (bundle, _turn) = read_large(request, &api, caller.subject.principal(), limit).await?;
    if !bundle.is_object() {
        return Err(Problem::invalid("the body is not an object"));
    }
    let operation = PublishPolicies { bundle };
    let permit = caller.admit(&api, operation).await?;
    Ok(Json(api.reloader.publish(permit).await?.into()))
}

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Back {
    #[serde(default)]
    version: Option<String>,
    #[serde(default)]
    message: Option<String>,
}

/// Makes an older version live again.
pub(super) async fn rollback(
    State(api): State<Arc<Api>>,
    caller: Caller,
    StrictJson(back): StrictJson<Back>,
) -> Result<Json<Changed>, Problem> {
    let version = back.version.unwrap_or_else(|| "previous".to_owned());
    let message = back.message.unwrap_or_else(|| "rollback".to_owned());
    let operation = RollbackPolicies { version, message };
    let permit = caller.admit(&api, operation).await?;
    Ok(Json(api.reloader.rollback(permit).await?.into()))
}
