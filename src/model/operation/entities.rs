//! Changes to what is known of people and things. Who may change that decides what others may, so each change says in
//! `context.input` what it does, and a policy can look at it.

use std::collections::BTreeMap;
use std::sync::Arc;

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
    /// Parents that do not count, also when a credential claims them.
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
    /// It is this from now on; what it was is replaced.
    Put(Draft),
    /// Parts of it change.
    Patch(Patch),
    /// Nothing is known of it any more.
    Delete,
    /// It is in this role from now on.
    Assign(EntityUid),
    /// It is no longer in this role, also when a credential claims it.
    Revoke(EntityUid),
}

impl Claims {
    /// The word in bodies and in `context.input.claims`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ignored => "ignored",
            Self::United => "united",
        }
    }
}

/// What a change names, as policies see it.
#[derive(Default)]
struct Named<'c> {
    attributes: Vec<&'c str>,
    tags: Vec<&'c str>,
    parents: &'c [EntityUid],
    revoked: &'c [EntityUid],
    claims: Option<Claims>,
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

    /// Whether it can only take away. Such a change is made under the emergency lock, too.
    pub fn only_takes_away(&self) -> bool {
        match self {
            Self::Revoke(_) => true,
            // To forget a person is to believe what a token claims again.
            Self::Put(_) | Self::Patch(_) | Self::Delete | Self::Assign(_) => false,
        }
    }

    fn named(&self) -> Named<'_> {
        match self {
            Self::Put(Draft { entity, claims, revoked }) => Named {
                attributes: entity.attributes.keys().map(SmolStr::as_str).collect(),
                tags: entity.tags.keys().map(SmolStr::as_str).collect(),
                parents: &entity.parents,
                revoked,
                claims: Some(*claims),
            },
            Self::Patch(patch) => Named {
                attributes: patch.attributes.keys().map(SmolStr::as_str).collect(),
                tags: patch.tags.keys().map(SmolStr::as_str).collect(),
                parents: patch.parents.as_deref().unwrap_or_default(),
                revoked: patch.revoked.as_deref().unwrap_or_default(),
                claims: patch.claims,
            },
            Self::Delete => Named::default(),
            Self::Assign(role) => Named { parents: std::slice::from_ref(role), ..Named::default() },
            Self::Revoke(role) => {
                let role = std::slice::from_ref(role);
                Named { parents: role, revoked: role, ..Named::default() }
            }
        }
    }
}

/// Change what is known of one entity (`entity:write` on the store).
#[derive(Debug)]
pub struct WriteEntity {
    /// Which entity.
    pub uid: EntityUid,
    /// What is done to it.
    pub change: EntityChange,
    /// SHA-256 of the request as it came, canonical, in hexadecimal.
    pub sha256: Option<String>,
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
        let Named { attributes, tags, parents, revoked, claims } = self.change.named();
        let names = |uids: &[EntityUid]| Value::texts(uids.iter().map(ToString::to_string));
        let mut fields = vec![
            ("change", Value::text(self.change.word())),
            ("type", Value::text(self.uid.type_name())),
            ("id", Value::text(self.uid.id())),
            ("parents", names(parents)),
            ("attributes", Value::texts(attributes)),
            ("tags", Value::texts(tags)),
            ("revoked", names(revoked)),
        ];
        fields.extend(claims.map(|claims| ("claims", Value::text(claims.word()))));
        Input::Known(Value::record(fields))
    }
    fn content_sha256(&self) -> Option<&str> {
        self.sha256.as_deref()
    }
}

/// Take over many entities at once (`entity:import` on the store): all of them or none.
#[derive(Debug)]
pub struct ImportEntities {
    /// The entities.
    pub drafts: Vec<Draft>,
    /// Whether what is not among them goes.
    pub replace: bool,
    /// SHA-256 of the request as it came, canonical, in hexadecimal.
    pub sha256: Option<String>,
}

impl Sealed for ImportEntities {}
impl Operation for ImportEntities {
    const EVENT: EventType = EventType::AdminAction;
    const ALLOWED_WHEN_STALE: bool = true;
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
    fn content_sha256(&self) -> Option<&str> {
        self.sha256.as_deref()
    }
}
