//! What can be asked for about API keys and tokens.

use std::sync::Arc;

use super::{Input, Operation, gateway, sealed};
use crate::model::{
    Action, AgentId, Entity, EntityUid, EventType, HolderKeys, KeyId, RoleName, ServiceName, Value,
};

/// Make an API key (`auth:key:create` on the gateway). What the key will be is in `context.input`.
#[derive(Debug)]
pub struct CreateKey {
    /// The service that will call with it, or what the key of an agent is called.
    pub name: ServiceName,
    /// The deployed agent that it speaks for, instead of a service.
    pub agent: Option<AgentId>,
    /// Permission words, none for an agent.
    pub permissions: Vec<RoleName>,
    /// How long it counts.
    pub lifetime_seconds: u32,
}

impl sealed::Sealed for CreateKey {}
impl Operation for CreateKey {
    const EVENT: EventType = EventType::AdminAction;
    fn action(&self) -> Action {
        Action::AuthKeyCreate
    }
    fn resource(&self) -> Arc<Entity> {
        gateway().into()
    }
    fn input(&self) -> Input {
        Input::Known(Value::record([
            ("name", Value::text(self.name.as_str())),
            ("agent", Value::text(self.agent.as_ref().map_or("", AgentId::as_str))),
            ("permissions", Value::texts(self.permissions.iter().map(RoleName::as_str))),
            ("lifetime_seconds", Value::Long(self.lifetime_seconds.into())),
        ]))
    }
}

/// An API key as a resource.
#[derive(Debug, Clone)]
pub struct KeyFacts {
    /// The public part.
    pub id: KeyId,
    /// The service's name, or what the key of an agent is called; empty for a key that is not there.
    pub name: Arc<str>,
    /// Permission words.
    pub permissions: Vec<RoleName>,
}

impl KeyFacts {
    /// An unknown key is asked about like any other.
    pub fn unknown(id: KeyId) -> Self {
        Self { id, name: "".into(), permissions: Vec::new() }
    }

    fn entity(&self) -> Arc<Entity> {
        Entity::bare(EntityUid::caxton("ApiKey", self.id.shared()))
            .with("name", Value::text(&self.name))
            .with("permissions", Value::texts(self.permissions.iter().map(RoleName::as_str)))
            .into()
    }
}

macro_rules! on_key {
    ($($(#[$doc:meta])* $name:ident: $action:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $name {
            /// The key.
            pub key: KeyFacts,
        }

        impl sealed::Sealed for $name {}
        impl Operation for $name {
            const EVENT: EventType = EventType::AdminAction;
            fn action(&self) -> Action {
                Action::$action
            }
            fn resource(&self) -> Arc<Entity> {
                self.key.entity()
            }
        }
    )*};
}

on_key! {
    /// Make a key's successor; the key itself ends after a grace period (`auth:key:rotate`).
    RotateKey: AuthKeyRotate;
    /// End a key, and every token that was made from it (`auth:key:revoke`).
    RevokeKey: AuthKeyRevoke;
}

/// Take a short token for the API key that one has (`auth:token`).
#[derive(Debug)]
pub struct IssueToken {
    /// What the caller has proven to hold with this request: the token is bound to it.
    pub holder: HolderKeys,
}

impl sealed::Sealed for IssueToken {}
impl Operation for IssueToken {
    const EVENT: EventType = EventType::Authentication;
    fn action(&self) -> Action {
        Action::AuthToken
    }
    fn resource(&self) -> Arc<Entity> {
        gateway().into()
    }
}

/// Go on with a session: a refresh token for a new pair (`auth:token`).
#[derive(Debug)]
pub struct RenewToken {
    /// What is stored of the refresh token that was presented and proven.
    pub presented: [u8; 32],
    /// What will be stored of its successor.
    pub successor: [u8; 32],
}

impl sealed::Sealed for RenewToken {}
impl Operation for RenewToken {
    const EVENT: EventType = EventType::Authentication;
    fn action(&self) -> Action {
        Action::AuthToken
    }
    fn resource(&self) -> Arc<Entity> {
        gateway().into()
    }
}
