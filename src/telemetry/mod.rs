//! Every metric name in one place. No label carries text that a user controls.

pub mod metrics;

pub use metrics::{
    AuthLabels, DecisionLabels, HttpLabels, Metrics, ResultLabels, ScopeLabels, SinkLabels, StatusLabels,
    VersionLabels,
};
