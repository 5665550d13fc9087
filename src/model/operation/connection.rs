//! What can be asked for about accounts of callers at MCP servers, whose tokens the gateway keeps.

use std::sync::Arc;

use super::{Input, Operation, gateway, sealed};
use crate::model::{Action, Entity, EntityUid, EventType, ServerName, Value};

fn server_entity(server: &ServerName) -> Arc<Entity> {
    Entity::bare(EntityUid::caxton("McpServer", server.as_str())).into()
}

/// `context.input` of `auth:connection`.
fn input(change: &'static str, own: bool) -> Input {
    Input::Known(Value::record([("change", Value::text(change)), ("own", Value::Bool(own))]))
}

/// Begin to connect an account of the requester's own at a server (`auth:connection`, `change` is `begin`).
#[derive(Debug)]
pub struct BeginConnection {
    /// The server.
    pub server: ServerName,
}

/// Keep the tokens that the requester's account at a server gave (`auth:connection`, `change` is `finish`).
#[derive(Debug)]
pub struct FinishConnection {
    /// The server.
    pub server: ServerName,
}

/// End a connection and forget its tokens (`auth:connection`, `change` is `end`).
#[derive(Debug)]
pub struct EndConnection {
    /// The server.
    pub server: ServerName,
    /// The principal, in Cedar's notation, whose connection it is; `None` for the requester's own.
    pub of: Option<String>,
}

/// See connections, never their tokens (`auth:connection` on the gateway, `change` is `list`).
#[derive(Debug)]
pub struct ListConnections {
    /// Only the requester's own.
    pub own: bool,
}

impl sealed::Sealed for BeginConnection {}
impl Operation for BeginConnection {
    const EVENT: EventType = EventType::Authentication;
    fn action(&self) -> Action {
        Action::AuthConnection
    }
    fn resource(&self) -> Arc<Entity> {
        server_entity(&self.server)
    }
    fn input(&self) -> Input {
        input("begin", true)
    }
}

impl sealed::Sealed for FinishConnection {}
impl Operation for FinishConnection {
    const EVENT: EventType = EventType::Authentication;
    fn action(&self) -> Action {
        Action::AuthConnection
    }
    fn resource(&self) -> Arc<Entity> {
        server_entity(&self.server)
    }
    fn input(&self) -> Input {
        input("finish", true)
    }
}

impl sealed::Sealed for EndConnection {}
impl Operation for EndConnection {
    const EVENT: EventType = EventType::AdminAction;
    fn action(&self) -> Action {
        Action::AuthConnection
    }
    fn resource(&self) -> Arc<Entity> {
        server_entity(&self.server)
    }
    fn input(&self) -> Input {
        match &self.of {
            None => input("end", true),
            Some(of) => Input::Known(Value::record([
                ("change", Value::text("end")),
                ("own", Value::Bool(false)),
                ("principal", Value::text(of.as_str())),
            ])),
        }
    }
}

impl sealed::Sealed for ListConnections {}
impl Operation for ListConnections {
    const EVENT: EventType = EventType::Authorization;
    fn action(&self) -> Action {
        Action::AuthConnection
    }
    fn resource(&self) -> Arc<Entity> {
        gateway().into()
    }
    fn input(&self) -> Input {
        input("list", self.own)
    }
}
