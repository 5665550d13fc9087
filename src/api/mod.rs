//! The HTTP face: every route is in one table with the action it asks for, and nothing is reachable without one,
//! save a short list of open routes that a test holds still.

mod address;
mod agents;
mod audit;
mod authzen;
mod body;
mod caller;
mod connection;
mod mcp;
mod memory;
mod messages;
mod policies;
mod problem;
mod routes;
mod state;
mod tools;

pub use connection::Connection;
pub use problem::Problem;
pub use routes::{Access, Endpoint, endpoints, operations_router, router};
pub use state::{Api, Readiness, Settings};
