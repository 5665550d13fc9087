//! What a change may say: each type of entity has one place where it is stated what it is, and only the rest is here.

use super::Settings;
use super::entry::{IDENTITY, StoredEntity};
use super::error::AttributesError;
use crate::model::{Claims, Draft, Entity, EntityChange, EntityUid, Patch};
use crate::policy::{Bundle, Completeness};

/// The longest id, in bytes.
const ID_BYTES: usize = 512;

/// The stored entity after a change; `None` when it is deleted.
pub(super) fn outcome(
    uid: &EntityUid,
    change: EntityChange,
    now: Option<&StoredEntity>,
) -> Result<Option<Draft>, AttributesError> {
    let known = || now.map(StoredEntity::draft).ok_or_else(|| AttributesError::Unknown(uid.clone()));
    // A principal that is not in the store yet has what its credential claims, and keeps that when a role is added or removed.
    let added = || Draft { entity: Entity::bare(uid.clone()), claims: Claims::United, revoked: Vec::new() };
    match change {
        EntityChange::Put(draft) => Ok(Some(draft)),
        EntityChange::Patch(patch) => Ok(Some(patched(known()?, patch))),
        EntityChange::Delete => known().map(|_| None),
        EntityChange::Assign(role) => {
            let mut draft = known().unwrap_or_else(|_| added());
            draft.revoked.retain(|revoked| *revoked != role);
            draft.entity.parents.push(role);
            Ok(Some(draft))
        }
        EntityChange::Revoke(role) => {
            let mut draft = known().unwrap_or_else(|_| added());
            draft.entity.parents.retain(|parent| *parent != role);
            draft.revoked.push(role);
            Ok(Some(draft))
        }
    }
}

fn patched(mut draft: Draft, patch: Patch) -> Draft {
    let fields = [(&mut draft.entity.attributes, patch.attributes), (&mut draft.entity.tags, patch.tags)];
    for (now, changes) in fields {
        for (name, value) in changes {
            match value {
                Some(value) => drop(now.insert(name, value)),
                None => drop(now.remove(&name)),
            }
        }
    }
    draft.entity.parents = patch.parents.unwrap_or(draft.entity.parents);
    draft.claims = patch.claims.unwrap_or(draft.claims);
    draft.revoked = patch.revoked.unwrap_or(draft.revoked);
    draft
}

/// Checks a draft and types it. That it is not above itself is for the caller to see to.
pub(super) fn check(
    mut draft: Draft,
    version: u64,
    bundle: &Bundle,
    settings: &Settings,
) -> Result<StoredEntity, AttributesError> {
    let id = draft.entity.uid.id();
    if id.is_empty() || id.len() > ID_BYTES || id.chars().any(char::is_control) {
        return Err(AttributesError::Id);
    }
    let completeness = stated_here(&mut draft)?;
    bundle.type_entity(&mut draft.entity, completeness)?;
    for revoked in &draft.revoked {
        bundle.check_parent("revoked", &draft.entity.uid, revoked)?;
    }
    let too_many = draft.entity.parents.len().max(draft.revoked.len()) > settings.max_parents;
    if too_many {
        return Err(AttributesError::TooMuch { what: "parents", limit: settings.max_parents });
    }
    let entry = StoredEntity::new(draft, version);
    if serde_json::Value::Object(entry.to_json()).to_string().len() > settings.max_entity_bytes {
        return Err(AttributesError::TooMuch {
            what: "bytes of an entity",
            limit: settings.max_entity_bytes,
        });
    }
    Ok(entry)
}

/// Refuses what another source states: for agents their definition, for programs the key, for a person's name the token,
/// and of tools and memory the gateway: a second statement here could only contradict it.
fn stated_here(draft: &mut Draft) -> Result<Completeness, AttributesError> {
    let entity = &draft.entity;
    let not_here = |what| Err(AttributesError::NotHere { uid: entity.uid.clone(), what });
    let has_values = !entity.attributes.is_empty() || !entity.tags.is_empty();
    let Some(of_caxton) = entity.uid.type_name().strip_prefix("Caxton::") else {
        return Ok(Completeness::Whole);
    };
    match of_caxton {
        "Role" | "Group" => Ok(Completeness::Whole),
        "User" => match IDENTITY.iter().any(|name| entity.attributes.contains_key(*name)) {
            true => not_here("`id` and `issuer` are in the name of a user, `<issuer>|<subject>`"),
            false => Ok(Completeness::Part),
        },
        "Workload" if has_values => not_here("the attributes of a workload come from its certificate"),
        "Workload" => Ok(Completeness::Part),
        "Service" if has_values || !entity.parents.is_empty() => not_here(
            "the attributes and permissions of a service come from its key; only revoked roles can be stored here",
        ),
        "Service" => {
            draft.claims = Claims::United;
            Ok(Completeness::Part)
        }
        "Agent" if has_values || entity.parents.iter().any(|parent| parent.type_name() != "Caxton::Role") => {
            not_here("the attributes of an agent come from its definition; only roles can be stored here")
        }
        "Agent" => Ok(Completeness::Part),
        _ => not_here("the gateway states entities of this type itself"),
    }
}
