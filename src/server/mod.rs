//! The composition root: builds every part from its settings, wires the ports, opens the listeners last, and takes
//! everything down in order.

mod activity;
mod audit_index;
mod audit_upkeep;
mod build;
mod builder;
mod certificates;
mod connection;
mod connection_limits;
mod file_watch;
mod gateway;
mod listen;
mod live_settings;
mod policy_watch;
mod tls;

pub use build::StartError;
pub use builder::GatewayBuilder;
pub use certificates::TlsReload;
pub use gateway::{Gateway, ReloadOutcome};
pub use live_settings::{LiveSettings, SettingsError};
pub use tls::TlsError;

pub use crate::config::{
    FollowSettings, HttpLimits, MinVersion, OcspSettings, PublishedSettings, RemoteSettings, Settings,
    TlsSettings,
};
