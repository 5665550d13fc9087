//! What is known of people and things: read, changed, imported, watched. Who may do that decides what others may, so the
//! shipped policies leave changes to administrators.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Any};

use super::address::{Path, Query};
use super::body::{StrictJson, read_large};
use super::caller::Caller;
use super::json::Json;
use super::problem::Problem;
use super::state::Api;
use crate::attributes::{AttributesError, ChangesSince, WriteResult, read_draft, read_patch};
use crate::authz::Refusal;
use crate::blocking;
use crate::model::cedar_json::write_uid;
use crate::model::{
    DecisionId, EntityChange, EntityUid, ImportEntities, Operation, ReadEntities, ReasonCode, WriteEntity,
};

/// The route whose body may be larger than others.
pub(super) const IMPORT: &str = "/v1/entities/import";

type Name = Path<(String, String)>;

fn uid(Path((kind, id)): Name) -> EntityUid {
    EntityUid::new(kind, id)
}

/// How many entities stand in one answer.
const PAGE: usize = 100;
const LARGEST_PAGE: usize = 1_000;

#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct Pages {
    #[serde(rename = "type")]
    kind: Option<String>,
    after: Option<String>,
    limit: Option<usize>,
}

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = KnownEntities)]
pub(super) struct Page {
    version: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    imported: Option<String>,
    #[schema(value_type = Vec<Object>)]
    entities: Vec<Map<String, Any>>,
    /// What `after` is to be for the next page.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

fn mark(uid: &EntityUid) -> String {
    URL_SAFE_NO_PAD.encode(format!("{}\0{}", uid.type_name(), uid.id()))
}

fn place(mark: &str) -> Result<EntityUid, Problem> {
    let text = URL_SAFE_NO_PAD.decode(mark).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let parts = text.as_deref().and_then(|text| text.split_once('\0'));
    let (kind, id) = parts.ok_or_else(|| Problem::malformed("the query: `after` is not from an answer"))?;
    Ok(EntityUid::new(kind, id))
}

/// All entities, or those of a type, page by page in order of type and id.
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Query(pages): Query<Pages>,
) -> Result<Json<Page>, Problem> {
    let after = pages.after.as_deref().map(place).transpose()?;
    let limit = pages.limit.unwrap_or(PAGE).clamp(1, LARGEST_PAGE);
    let permit = caller.admit(&api, ReadEntities).await?;
    let snapshot = api.attributes.read(permit);
    let mut found: Vec<_> = match &pages.kind {
        Some(kind) => {
            let after = after.as_ref().map(EntityUid::id);
            snapshot.of_type(kind, after).take(limit + 1).collect()
        }
        None => snapshot.after(after.as_ref()).take(limit + 1).collect(),
    };
    let more = found.len() > limit;
    found.truncate(limit);
    Ok(Json(Page {
        version: snapshot.version(),
        imported: snapshot.imported().map(crate::clock::rfc3339),
        next: found.last().filter(|_| more).map(|last| mark(&last.entity.uid)),
        entities: found.into_iter().map(|entry| entry.to_json()).collect(),
    }))
}

/// One entity.
pub(super) async fn read(
    State(api): State<Arc<Api>>,
    caller: Caller,
    name: Name,
) -> Result<Json<Map<String, Any>>, Problem> {
    let permit = caller.admit(&api, ReadEntities).await?;
    let snapshot = api.attributes.read(permit);
    let entry = snapshot.get(&uid(name));
    entry.map(|entry| Json(entry.to_json())).ok_or_else(|| Problem::not_found("there is no such entity"))
}

/// What a change came to.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = ChangedEntity)]
pub(super) struct Done {
    decision_id: DecisionId,
    version: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    entity: Option<Map<String, Any>>,
}

/// Refuses a change while the emergency lock is engaged. Roles and attributes decide as much as policies do: an attacker
/// with an administrator's key must not give himself what cannot be taken back until the lock is gone.
pub(super) async fn unlocked<O: Operation>(
    api: &Arc<Api>,
    caller: &Caller,
    operation: &O,
) -> Result<(), Problem> {
    let reloader = Arc::clone(&api.reloader);
    let Err(locked) = blocking::run(move || reloader.unlocked()).await? else { return Ok(()) };
    let refusal = Refusal::because(ReasonCode::ChangesLocked);
    let denied = api.effects.guard().refuse(&caller.subject, operation, refusal, &caller.context).await;
    Err(match denied.reason {
        ReasonCode::ChangesLocked => Problem::from(locked),
        _ => Problem::from(denied),
    })
}

/// Asks for a change and makes it.
pub(super) async fn change(
    api: &Arc<Api>,
    caller: &Caller,
    uid: EntityUid,
    change: EntityChange,
    body: &Map<String, Any>,
) -> Result<Json<Done>, Problem> {
    let guard = api.effects.guard();
    let anyway = change.only_takes_away();
    let operation = WriteEntity { uid, change, sha256: crate::json::sha256(body) };
    if !anyway {
        unlocked(api, caller, &operation).await?;
    }
    let permit = caller.admit(api, operation).await?;
    let decision_id = permit.decision();
    let (attributes, bundle) = (api.attributes.clone(), guard.policy().current());
    let reloader = Arc::clone(&api.reloader);
    let written = blocking::try_run::<_, Problem>(move || {
        // Asking took its time, and the changes before this one: a lock that was engaged meanwhile holds.
        attributes.write(permit, &bundle, || if anyway { Ok(()) } else { Ok(reloader.unlocked()?) })
    })
    .await?;
    let WriteResult { entry, version } = written;
    Ok(Json(Done { decision_id, version, entity: entry.map(|entry| entry.to_json()) }))
}

/// An entity is this from now on.
pub(super) async fn put(
    State(api): State<Arc<Api>>,
    caller: Caller,
    name: Name,
    StrictJson(body): StrictJson<Map<String, Any>>,
) -> Result<Json<Done>, Problem> {
    let uid = uid(name);
    let draft = read_draft(&body, Some(&uid))?;
    change(&api, &caller, uid, EntityChange::Put(draft), &body).await
}

/// Parts of an entity change.
pub(super) async fn patch(
    State(api): State<Arc<Api>>,
    caller: Caller,
    name: Name,
    StrictJson(body): StrictJson<Map<String, Any>>,
) -> Result<Json<Done>, Problem> {
    let patch = read_patch(&body)?;
    change(&api, &caller, uid(name), EntityChange::Patch(patch), &body).await
}

/// Nothing is known of an entity any more.
pub(super) async fn delete(
    State(api): State<Arc<Api>>,
    caller: Caller,
    name: Name,
) -> Result<Json<Done>, Problem> {
    change(&api, &caller, uid(name), EntityChange::Delete, &Map::new()).await
}

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Import {
    #[schema(value_type = Vec<Object>)]
    entities: Vec<Map<String, Any>>,
    #[serde(default)]
    replace: bool,
}

/// What an import came to.
#[derive(Serialize, utoipa::ToSchema)]
pub(super) struct Taken {
    decision_id: DecisionId,
    version: u64,
    entities: usize,
    changed: usize,
    removed: usize,
}

/// Takes many entities over: all of them or none.
pub(super) async fn import(
    State(api): State<Arc<Api>>,
    caller: Caller,
    request: Request,
) -> Result<Json<Taken>, Problem> {
    let limit = api.settings.max_import_bytes;
    let (body, _turn) = read_large(request, &api, caller.subject.principal(), limit).await?;
    let sha256 = crate::json::sha256(&body);
    let import: Import =
        serde_json::from_value(body).map_err(|error| Problem::invalid(format!("the body: {error}")))?;
    let drafts = import.entities.iter().enumerate().map(|(number, entity)| {
        let at = |error: AttributesError| Problem::invalid(format!("`entities` {}: {error}", number + 1));
        read_draft(entity, None).map_err(at)
    });
    let drafts = drafts.collect::<Result<Vec<_>, Problem>>()?;
    let guard = api.effects.guard();
    let operation = ImportEntities { drafts, replace: import.replace, sha256 };
    unlocked(&api, &caller, &operation).await?;
    let permit = caller.admit(&api, operation).await?;
    let decision_id = permit.decision();
    let (attributes, bundle) = (api.attributes.clone(), guard.policy().current());
    let reloader = Arc::clone(&api.reloader);
    let done = blocking::try_run::<_, Problem>(move || {
        attributes.import(permit, &bundle, || Ok(reloader.unlocked()?))
    })
    .await?;
    Ok(Json(Taken {
        decision_id,
        version: done.version,
        entities: done.entities,
        changed: done.changed,
        removed: done.removed,
    }))
}

#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct Watch {
    since: u64,
    /// Seconds to wait for a change.
    wait: Option<u64>,
}

/// The longest wait for a change, in seconds: less than a request may take.
const LONGEST_WAIT: u64 = 60;

#[derive(Serialize, utoipa::ToSchema)]
pub(super) struct News {
    version: u64,
    /// More has changed than is remembered: read everything again.
    everything: bool,
    #[schema(value_type = Vec<Object>)]
    entities: Vec<Any>,
}

/// What has changed since a version; waits for it when nothing has.
pub(super) async fn watch(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Query(ask): Query<Watch>,
) -> Result<Json<News>, Problem> {
    let permit = caller.admit(&api, ReadEntities).await?;
    let mut versions = api.attributes.versions(permit);
    let newer = versions.wait_for(|version| *version != ask.since);
    let wait = Duration::from_secs(ask.wait.unwrap_or(0).min(LONGEST_WAIT));
    // Nothing new is an answer, too.
    let _ = tokio::time::timeout(wait, newer).await;
    // What is shown now was asked for before the wait; rights may have changed since.
    let permit = caller.admit(&api, ReadEntities).await?;
    let (version, changes) = api.attributes.changes(permit, ask.since);
    Ok(Json(match changes {
        ChangesSince::Everything => News { version, everything: true, entities: Vec::new() },
        ChangesSince::Entities(names) => {
            News { version, everything: false, entities: names.iter().map(write_uid).collect() }
        }
    }))
}
