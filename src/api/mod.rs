//! The HTTP face: every route is in one table with the action it asks for, and nothing is reachable without one,
//! save a short list of open routes that a test holds still.

mod address;
mod agents;
mod arrival;
mod attributes;
mod audit;
mod auth;
mod auth_keys;
mod authzen;
mod body;
mod caller;
mod connection;
mod connections;
mod cors;
mod ext_authz;
mod host;
mod json;
mod login;
mod login_page;
mod mcp;
mod memory;
mod messages;
mod openapi;
mod operations;
mod policies;
mod problem;
mod quota;
mod resource;
mod roles;
mod room;
mod routes;
mod search;
mod state;
mod target;
mod tools;

pub use arrival::{ForwardedBy, Proxies};
pub use caller::refused_in_handshake;
pub use connection::{Connection, ConnectionPlace, Crowded};
pub use mcp::{McpState, NoRandomness};
pub use openapi::document;
pub use operations::operations_router;
pub use problem::Problem;
pub use resource::resources;
pub use room::{RoomSettings, Rooms};
pub use routes::{Access, Endpoint, endpoints, router};
pub use state::{Api, Readiness, Settings};
