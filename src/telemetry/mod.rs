//! The log of the process, and every metric name in one place. No label carries text that a user controls.

mod log;
pub mod metrics;

pub use log::{LogFormat, LogSettings, SERVICE, init, log_panics, set_level};
pub use metrics::{
    AuthLabels, DecisionLabels, DirectionLabels, HttpLabels, Metrics, ResultLabels, ScopeLabels,
    ServerLabels, SinkLabels, StatusLabels, VersionLabels,
};
