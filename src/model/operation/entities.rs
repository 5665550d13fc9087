//! Changes to what is known of people and things. Who may change that decides what others may, so each change says in
//! `context.input` what it does, and a policy can look at it.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value as Json};
use smol_str::SmolStr;

use super::sealed::Sealed;
use super::{Action, Entity, EntityUid, EventType, Input, Operation, Value, length};

/// The store of attributes as a resource.
pub(super) fn store() -> Entity {
    Entity::bare(EntityUid::caxton("AttributeStore", "local"))
}

/// What the parents count that a credential claims for a principal which the store knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Claims {
    /// They count for nothing: the store says everything that the principal is in.
    #[default]
    Ignored,
    /// They count beside those of the store, except the revoked ones.
    United,
}

/// What the store is to hold of one entity. Values are typed by the schema when they are stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// The entity: attributes, tags, direct parents.
    pub entity: Entity,
    /// What claimed parents count.
    pub claims: Claims,
    /// Parents that do not count, whoever claims them.
    pub revoked: Vec<EntityUid>,
}

/// A partial change: what is named is set, `None` takes it away, the rest stays.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Patch {
    /// Attributes by name.
    pub attributes: BTreeMap<SmolStr, Option<Value>>,
    /// Tags by name.
    pub tags: BTreeMap<SmolStr, Option<Value>>,
    /// All direct parents, when they change.
    pub parents: Option<Vec<EntityUid>>,
    /// What claimed parents count, when that changes.
    pub claims: Option<Claims>,
    /// All revoked parents, when they change.
    pub revoked: Option<Vec<EntityUid>>,
}

/// What is done to one entity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntityChange {
    /// It is this from now on, whatever it was.
    Put(Draft),
    /// Parts of it change.
    Patch(Patch),
    /// Nothing is known of it any more.
    Delete,
    /// It is in this role from now on.
    Assign(EntityUid),
    /// It is no longer in this role, whoever says so.
    Revoke(EntityUid),
}

impl EntityChange {
    /// The word in `context.input.change`.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Put(_) => "put",
            Self::Patch(_) => "patch",
            Self::Delete => "delete",
            Self::Assign(_) => "assign",
            Self::Revoke(_) => "revoke",
        }
    }

    /// The parents that it names, in Cedar's notation.
    fn parents(&self) -> Vec<String> {
        let named: &[EntityUid] = match self {
            Self::Put(draft) => &draft.entity.parents,
            Self::Patch(patch) => patch.parents.as_deref().unwrap_or_default(),
            Self::Delete => &[],
            Self::Assign(role) | Self::Revoke(role) => std::slice::from_ref(role),
        };
        named.iter().map(ToString::to_string).collect()
    }
}

/// Change what is known of one entity (`entity:write` on the store).
#[derive(Debug)]
pub struct WriteEntity {
    /// Which entity.
    pub uid: EntityUid,
    /// What is done to it.
    pub change: EntityChange,
    /// The request as it came, for the digest in the record.
    pub body: Map<String, Json>,
}

impl Sealed for WriteEntity {}
impl Operation for WriteEntity {
    const EVENT: EventType = EventType::AdminAction;
    fn action(&self) -> Action {
        Action::EntityWrite
    }
    fn resource(&self) -> Arc<Entity> {
        store().into()
    }
    fn input(&self) -> Input {
        Input::Known(Value::record([
            ("change", Value::text(self.change.word())),
            ("type", Value::text(self.uid.type_name())),
            ("id", Value::text(self.uid.id())),
            ("parents", Value::texts(self.change.parents())),
        ]))
    }
}

/// Take over many entities at once (`entity:import` on the store): all of them or none.
#[derive(Debug)]
pub struct ImportEntities {
    /// The entities.
    pub drafts: Vec<Draft>,
    /// Whether what is not among them goes.
    pub replace: bool,
}

impl Sealed for ImportEntities {}
impl Operation for ImportEntities {
    const EVENT: EventType = EventType::AdminAction;
    const MENDS_ATTRIBUTES: bool = true;
    fn action(&self) -> Action {
        Action::EntityImport
    }
    fn resource(&self) -> Arc<Entity> {
        store().into()
    }
    fn input(&self) -> Input {
        Input::Known(Value::record([
            ("count", length(self.drafts.len())),
            ("replace", Value::Bool(self.replace)),
        ]))
    }
}
