//! The log of the process, its traces, and every metric name in one place. No label carries text that a user controls.

mod conventions;
mod log;
pub mod metrics;
mod traces;

pub use log::{LogFormat, LogSettings, SERVICE, init, log_panics, set_level};
pub use metrics::{
    AuthLabels, DecisionLabels, DirectionLabels, HttpLabels, Metrics, ResultLabels, ScopeLabels,
    ServerLabels, SinkLabels, StatusLabels, VersionLabels,
};
pub use traces::{Stage, TraceError, TraceIds, TraceSettings, TraceSpan, Traces};
