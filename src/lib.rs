//! Caxton: a policy-as-code security gateway for AI agents.
//!
//! Every API call, tool invocation, memory access and message becomes a typed operation; the guard asks
//! Cedar, writes the decision record, and only then mints a permit for exactly that operation. Code that has
//! effects cannot be called without one. The modules stand in layers: each may use only those above it here.

mod blocking;
pub mod clock;
pub mod json;
mod regular;
pub mod secret;
mod small_set;
mod stack;
mod suggest;
pub mod telemetry;
pub mod text;

pub mod db;
pub mod events;
pub mod model;

pub mod audit;
pub mod authn;
pub mod limit;
pub mod policy;
pub mod screen;
pub mod secrets;

pub mod authz;

pub mod agents;
pub mod attributes;
pub mod changes;
pub mod credentials;
pub mod decision_log;
pub mod memory;
pub mod messages;
pub mod sandbox;
pub mod tools;

pub mod runtime;

pub mod api;

pub mod config;

pub mod workbench;

pub mod server;

pub mod cli;

#[doc(hidden)]
pub mod fuzzing;
