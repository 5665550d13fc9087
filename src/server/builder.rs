//! Builds a gateway inside another program.

use std::path::PathBuf;
use std::sync::Arc;

use super::build::build;
use super::{Gateway, Settings, StartError};
use crate::clock::{SharedClock, SystemClock};
use crate::telemetry::Metrics;

/// A gateway that is not started yet. `S` is nothing until it has its settings, without which it cannot be started:
///
/// ```compile_fail,E0599
/// # async fn start() {
/// caxton::Gateway::builder().start().await.expect("a gateway");
/// # }
/// ```
#[must_use = "a builder does nothing until it is started"]
pub struct GatewayBuilder<S> {
    settings: S,
    clock: SharedClock,
    metrics: Arc<Metrics>,
}

impl Gateway {
    /// Begins with the system clock and metrics of its own. Give the directory of its data, or complete settings.
    pub fn builder() -> GatewayBuilder<()> {
        GatewayBuilder { settings: (), clock: Arc::new(SystemClock), metrics: Arc::new(Metrics::new()) }
    }
}

impl GatewayBuilder<()> {
    /// Free ports on loopback, the shipped policies, everything else as shipped; data under `data_dir`, which is made.
    pub fn data_dir(self, data_dir: impl Into<PathBuf>) -> GatewayBuilder<Settings> {
        self.settings(Settings::embedded(data_dir.into()))
    }

    /// Complete settings, as [`config::load`](crate::config::load) reads them from a file.
    pub fn settings(self, settings: Settings) -> GatewayBuilder<Settings> {
        GatewayBuilder { settings, clock: self.clock, metrics: self.metrics }
    }
}

impl<S> GatewayBuilder<S> {
    /// The clock of decisions, records and expiry. Default: the system's.
    pub fn clock(self, clock: SharedClock) -> Self {
        Self { clock, ..self }
    }

    /// Metrics that the program keeps a handle of. Default: new ones, seen at `/metrics` only.
    pub fn metrics(self, metrics: Arc<Metrics>) -> Self {
        Self { metrics, ..self }
    }
}

impl GatewayBuilder<Settings> {
    /// Policies (`*.cedar`) of this directory, in place of the shipped ones.
    pub fn policies(mut self, policy_dir: impl Into<PathBuf>) -> Self {
        self.settings.policy_dir = Some(policy_dir.into());
        self
    }

    /// Agents (`*.md`) of this directory. Default: none.
    pub fn agents(mut self, agents_dir: impl Into<PathBuf>) -> Self {
        self.settings.agents.directory = Some(agents_dir.into());
        self
    }

    /// Builds every part, then binds the ports and serves. On an error no port is bound.
    pub async fn start(self) -> Result<Gateway, StartError> {
        let Self { settings, clock, metrics } = self;
        let listeners = super::gateway::Listeners::of(&settings);
        let (parts, sinks) = build(settings, clock, metrics).await?;
        Gateway::serve(parts, sinks, listeners).await
    }
}
