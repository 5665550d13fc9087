//! The live policies: one bundle at a time, swapped whole or not at all.

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::model::PolicyVersion;
use crate::policy::{Bundle, PolicyErrors, Settings, Sources};
use crate::telemetry::Metrics;
use crate::telemetry::metrics::ResultLabels;

/// Holds the bundle that decides. Requests under way keep the one they began with.
pub struct LivePolicy {
    bundle: ArcSwap<Bundle>,
    settings: Settings,
    metrics: Arc<Metrics>,
}

/// What a reload did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reloaded {
    /// The version that decided before.
    pub from: PolicyVersion,
    /// The version that decides now.
    pub to: PolicyVersion,
}

impl LivePolicy {
    /// Begins with `bundle`.
    pub fn new(bundle: Bundle, settings: Settings, metrics: Arc<Metrics>) -> Self {
        metrics.set_policy_version(bundle.version().as_str());
        Self { bundle: ArcSwap::from_pointee(bundle), settings, metrics }
    }

    /// The bundle that decides at this moment.
    pub fn current(&self) -> Arc<Bundle> {
        self.bundle.load_full()
    }

    /// Puts `sources` in place of the live set if they are valid; the live set stays if they are not.
    pub fn reload(&self, sources: Sources) -> Result<Reloaded, PolicyErrors> {
        match Bundle::load_with(sources, self.settings) {
            Ok(bundle) => {
                let to = bundle.version().clone();
                let old = self.bundle.swap(Arc::new(bundle));
                self.metrics.set_policy_version(to.as_str());
                self.metrics.policy_reloads.get_or_create(&ResultLabels { result: "applied" }).inc();
                Ok(Reloaded { from: old.version().clone(), to })
            }
            Err(errors) => {
                self.count_refusal();
                Err(errors)
            }
        }
    }

    /// Counts a set that was not taken over, also one that could not even be read.
    pub fn count_refusal(&self) {
        self.metrics.policy_reloads.get_or_create(&ResultLabels { result: "refused" }).inc();
        self.metrics.hot_reload_violations.inc();
    }
}
