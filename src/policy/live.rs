//! The live policies: one set at a time, swapped whole or not at all.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::RwLock;

use super::shadow::Candidate;
use super::version::Seen;
use super::{Bundle, PolicyErrors, PolicyProblem, Settings, SourceKind, Sources};
use crate::model::PolicyVersion;
use crate::telemetry::Metrics;
use crate::telemetry::metrics::ResultLabels;

/// Where the live set came from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Origin {
    /// Files in directories, or the shipped set.
    #[default]
    Files,
    /// A publication.
    Published {
        /// Which one.
        seen: Seen,
        /// The key that signed it; `None` where no signature is required.
        key_id: Option<String>,
    },
}

/// What decides, as one thing: a request sees all of it or none.
#[derive(Debug)]
pub struct Live {
    /// The policies.
    pub bundle: Arc<Bundle>,
    /// Where they came from.
    pub origin: Origin,
    /// What of it lies in files or in the store, where schemas of tool servers came to it; `None`: all of it.
    pub stored: Option<PolicyVersion>,
    /// From when on everything is denied, in milliseconds since the Unix epoch; `None`: never.
    pub expires_millis: Option<u64>,
    /// The set that is asked as well, and does not decide.
    pub candidate: Option<Arc<Candidate>>,
}

impl Live {
    /// The version that files or store give back.
    pub fn stored(&self) -> &PolicyVersion {
        self.stored.as_ref().unwrap_or_else(|| self.bundle.version())
    }

    /// Whether its time is over. What is over denies everything: an operator who gave a set an end does not want it to
    /// go on because the next one could not be fetched.
    pub fn is_expired(&self, now_millis: i64) -> bool {
        self.expires_millis.is_some_and(|end| u64::try_from(now_millis).unwrap_or(0) >= end)
    }
}

/// Holds what decides. Requests under way keep what they began with.
pub struct LivePolicy {
    live: ArcSwap<Live>,
    /// Held for reading while a request takes what it is decided by, for writing while all of that is swapped.
    swap: RwLock<()>,
    settings: Settings,
    metrics: Arc<Metrics>,
}

/// What a reload did.
#[derive(Debug, Clone)]
pub struct Reloaded {
    /// The version that decided before.
    pub from: PolicyVersion,
    /// The version that decides now.
    pub to: PolicyVersion,
    /// What is suspicious in it, as `caxton policy validate` says.
    pub warnings: Vec<PolicyProblem>,
    /// What became another: policies, roles, the schema, and what [`crate::changes`] changes with them, in words.
    pub changes: Vec<String>,
}

/// The policies, roles and schema that differ between two sets, in words.
pub fn differences(before: &Bundle, now: &Bundle) -> Vec<String> {
    if before.version() == now.version() {
        return Vec::new();
    }
    let texts = |bundle: &Bundle| -> BTreeMap<String, String> {
        bundle.policies().map(|policy| (policy.id.to_string(), policy.text().to_owned())).collect()
    };
    let (old, new) = (texts(before), texts(now));
    let ids: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let mut changes = Vec::new();
    for id in ids {
        let word = match (old.get(id), new.get(id)) {
            (None, _) => "added",
            (_, None) => "removed",
            (Some(old), Some(new)) if old != new => "changed",
            _ => continue,
        };
        changes.push(match id.strip_prefix(ROLES) {
            Some(role) => format!("role `{role}` {word}"),
            None => format!("policy `{id}` {word}"),
        });
    }
    let schemas = |bundle: &Bundle| -> Vec<(Arc<str>, Arc<str>)> {
        let files = bundle.sources().iter().filter(|source| source.kind == SourceKind::Schema);
        files.map(|source| (Arc::clone(&source.name), Arc::clone(&source.text))).collect()
    };
    if schemas(before) != schemas(now) {
        changes.push("the schema changed".to_owned());
    }
    changes
}

/// How the ids of policies begin that were compiled from a file of roles.
const ROLES: &str = "roles-file.";

impl LivePolicy {
    /// Begins with `live`.
    pub fn new(live: Live, settings: Settings, metrics: Arc<Metrics>) -> Self {
        warn_of(&live.bundle);
        metrics.set_policy_version(live.bundle.version().as_str());
        Self { live: ArcSwap::from_pointee(live), swap: RwLock::new(()), settings, metrics }
    }

    /// The bundle that decides at this moment.
    pub fn current(&self) -> Arc<Bundle> {
        Arc::clone(&self.live.load().bundle)
    }

    /// Everything that decides at this moment.
    pub fn live(&self) -> Arc<Live> {
        self.live.load_full()
    }

    /// Parses and validates a set, without any effect. Of what the live set has as well, nothing is read again.
    pub fn prepare(&self, sources: Sources) -> Result<Bundle, PolicyErrors> {
        self.current().load_next(sources, self.settings)
    }

    /// What `take` reads beside the live set, at one moment with it: no request is decided by new policies and old agents, or
    /// the other way round. `take` only copies references: nothing waits while it runs.
    pub fn at_one_moment<T>(&self, take: impl FnOnce() -> T) -> (Arc<Live>, T) {
        let _unchanged = self.swap.read();
        (self.live(), take())
    }

    /// Puts a set in the place of the live one, together with what `beside` puts in force. For [`crate::changes`] alone,
    /// which has it judged and recorded first.
    pub fn install(&self, live: Live, beside: impl FnOnce()) -> Reloaded {
        warn_of(&live.bundle);
        let to = live.bundle.version().clone();
        let warnings = live.bundle.warnings().to_vec();
        let old = {
            let _alone = self.swap.write();
            beside();
            self.live.swap(Arc::new(live))
        };
        self.metrics.set_policy_version(to.as_str());
        self.metrics.policy_reloads.get_or_create(&ResultLabels { result: "applied" }).inc();
        Reloaded { from: old.bundle.version().clone(), to, warnings, changes: Vec::new() }
    }

    /// Gives the live set another candidate, unless another set has become live since `beside` was.
    pub fn watch(&self, beside: &Arc<Live>, candidate: Option<Arc<Candidate>>) {
        let live = Live {
            bundle: Arc::clone(&beside.bundle),
            stored: beside.stored.clone(),
            origin: beside.origin.clone(),
            expires_millis: beside.expires_millis,
            candidate,
        };
        self.live.compare_and_swap(beside, Arc::new(live));
    }

    /// Counts a set that was not taken over, also one that could not even be read.
    pub fn count_refusal(&self) {
        self.metrics.policy_reloads.get_or_create(&ResultLabels { result: "refused" }).inc();
    }

    /// Where reloads are counted.
    pub(crate) fn metrics(&self) -> &Metrics {
        &self.metrics
    }
}

/// Tells the operator what is suspicious in a set that goes live, whichever way it came.
fn warn_of(bundle: &Bundle) {
    for problem in bundle.warnings() {
        let policy = problem.policy.as_deref().unwrap_or_default();
        let help = problem.advice.as_deref();
        tracing::warn!(policy, help, "{problem}");
    }
}
