//! Caxton: a policy-as-code security gateway for AI agents.
//!
//! Every API call, tool invocation, memory access and message becomes a typed operation; the guard asks
//! Cedar, writes the decision record, and only then mints a permit for exactly that operation. Code that has
//! effects cannot be called without one. The modules stand in layers: each may use only those above it here.
//!
//! A program that has a gateway of its own needs what stands at the root: [`Gateway::builder`] with [`Settings`], in
//! code or from a configuration file ([`config::load`]), and a [`KeyStore`] for the first credential.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
//! # let directory = tempfile::tempdir()?;
//! let gateway = caxton::Gateway::builder().data_dir(directory.path().join("data")).start().await?;
//! println!("the API listens on {}", gateway.address());
//! gateway.drain().await;
//! # Ok(())
//! # })
//! # }
//! ```

mod blocking;
pub mod clock;
mod heavy;
#[doc(hidden)]
pub mod json;
mod regular;
pub mod secret;
mod small_set;
mod stack;
mod suggest;
pub mod telemetry;
pub mod text;

#[doc(hidden)]
pub mod db;
pub mod events;
pub mod mcp;
pub mod model;
pub mod shared_state;

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
pub mod siem;
pub mod tools;

pub mod runtime;

pub mod api;

pub mod config;

pub mod workbench;

pub mod server;

#[doc(hidden)]
pub mod cli;

#[doc(hidden)]
pub mod fuzzing;

pub use authn::{KeyHolder, KeyStore};
pub use clock::{Clock, SharedClock, SystemClock};
pub use secret::Secret;
pub use server::{Gateway, GatewayBuilder, ReloadOutcome, Settings, StartError, TlsReload};
pub use telemetry::Metrics;
