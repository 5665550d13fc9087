//! One entity in the store, as JSON and as policies see it.

use std::sync::Arc;

use serde_json::{Map, Value as Json};

use super::error::AttributesError;
use crate::model::cedar_json::{JsonFault, read_fields, read_uid, read_uids, write_entity, write_uid};
use crate::model::{Claims, Draft, Entity, EntityUid, Patch, Value};

/// One entity in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredEntity {
    /// The entity as policies see it, without what a credential adds.
    pub entity: Arc<Entity>,
    /// Whether the parents that a credential claims count.
    pub claims: Claims,
    /// Parents that do not count, also when a credential claims them.
    pub revoked: Vec<EntityUid>,
    /// The store's version when it was last changed.
    pub version: u64,
}

impl StoredEntity {
    /// The entity that is stored for a valid draft.
    pub(super) fn new(mut draft: Draft, version: u64) -> Self {
        sort(&mut draft.entity.parents);
        sort(&mut draft.revoked);
        Self {
            entity: Arc::new(with_identity(draft.entity)),
            claims: draft.claims,
            revoked: draft.revoked,
            version,
        }
    }

    /// The stored entity without the attributes that follow from its name.
    pub(super) fn draft(&self) -> Draft {
        let mut entity = Entity::clone(&self.entity);
        if entity.uid.type_name() == USER {
            IDENTITY.iter().for_each(|name| drop(entity.attributes.remove(*name)));
        }
        Draft { entity, claims: self.claims, revoked: self.revoked.clone() }
    }

    /// The entry in Cedar's JSON, with `claims`, `revoked` and `version` beside it.
    pub fn to_json(&self) -> Map<String, Json> {
        let draft = self.draft();
        let mut whole = write_entity(&draft.entity);
        if draft.claims != Claims::default() {
            whole.insert("claims".to_owned(), Json::from("united"));
        }
        if !draft.revoked.is_empty() {
            whole.insert("revoked".to_owned(), draft.revoked.iter().map(write_uid).collect());
        }
        whole.insert("version".to_owned(), Json::from(self.version));
        whole
    }
}

/// The type of people.
pub(super) const USER: &str = "Caxton::User";
/// Attributes that follow from a person's name.
pub(super) const IDENTITY: [&str; 2] = ["id", "issuer"];

/// A person's name is `<issuer>|<subject>`, which the schema wants as attributes as well.
fn with_identity(entity: Entity) -> Entity {
    if entity.uid.type_name() != USER {
        return entity;
    }
    let name = entity.uid.id().to_owned();
    let (issuer, subject) = name.split_once('|').unwrap_or(("", &name));
    entity.with("id", Value::text(subject)).with("issuer", Value::text(issuer))
}

fn sort(names: &mut Vec<EntityUid>) {
    names.sort();
    names.dedup();
}

fn fault(path: &str, what: &str) -> AttributesError {
    JsonFault { path: path.to_owned(), what: what.to_owned() }.into()
}

fn object<'j>(path: &str, given: &'j Json) -> Result<&'j Map<String, Json>, AttributesError> {
    given.as_object().ok_or_else(|| fault(path, "is not an object"))
}

fn claims(given: &Json) -> Result<Claims, AttributesError> {
    match given.as_str() {
        Some("ignored") => Ok(Claims::Ignored),
        Some("united") => Ok(Claims::United),
        _ => Err(fault("claims", "is neither `ignored` nor `united`")),
    }
}

/// Reads an entity in Cedar's JSON. `name` is what the address says it is called; the body may leave `uid` out then.
/// `version` is read over: it is the store's own.
pub fn read_draft(given: &Map<String, Json>, name: Option<&EntityUid>) -> Result<Draft, AttributesError> {
    let stated = given.get("uid").map(|uid| read_uid("uid", uid)).transpose()?;
    let uid = match (stated, name) {
        (Some(stated), Some(name)) if stated != *name => {
            return Err(fault("uid", "is not the name in the address"));
        }
        (Some(uid), _) => uid,
        (None, Some(name)) => name.clone(),
        (None, None) => return Err(fault("uid", "is missing")),
    };
    let mut draft = Draft { entity: Entity::bare(uid), claims: Claims::default(), revoked: Vec::new() };
    for (key, value) in given {
        match key.as_str() {
            "uid" | "version" => {}
            "attrs" => draft.entity.attributes = read_fields("attrs", object("attrs", value)?)?,
            "tags" => draft.entity.tags = read_fields("tags", object("tags", value)?)?,
            "parents" => draft.entity.parents = read_uids("parents", value)?,
            "claims" => draft.claims = claims(value)?,
            "revoked" => draft.revoked = read_uids("revoked", value)?,
            _ => return Err(fault(key, "is not a key of an entity")),
        }
    }
    Ok(draft)
}

/// The fields of a partial change: each with its new value, or without one to be removed.
fn read_patched_fields<N: From<String>, C: FromIterator<(N, Option<Value>)>>(
    path: &str,
    given: &Json,
) -> Result<C, AttributesError> {
    let fields = object(path, given)?.iter().map(|(name, value)| {
        let value = match value {
            Json::Null => None,
            value => Some(crate::model::cedar_json::read(&format!("{path}.{name}"), value)?),
        };
        Ok((N::from(name.clone()), value))
    });
    fields.collect()
}

/// Reads a partial change: JSON Merge Patch (RFC 7396) of `attrs` and `tags`, whole lists of `parents` and `revoked`.
pub fn read_patch(given: &Map<String, Json>) -> Result<Patch, AttributesError> {
    let mut patch = Patch::default();
    for (key, value) in given {
        match key.as_str() {
            "attrs" => patch.attributes = read_patched_fields("attrs", value)?,
            "tags" => patch.tags = read_patched_fields("tags", value)?,
            "parents" => patch.parents = Some(read_uids("parents", value)?),
            "claims" => patch.claims = Some(claims(value)?),
            "revoked" => patch.revoked = Some(read_uids("revoked", value)?),
            _ => return Err(fault(key, "is not a key that can be changed")),
        }
    }
    Ok(patch)
}
