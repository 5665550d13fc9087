//! The metric families of the gateway, in Prometheus's text exposition format.

use std::sync::{Mutex, PoisonError};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
pub use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
pub use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

macro_rules! labels {
    ($($(#[$doc:meta])* $name:ident { $($field:ident: $type:ty),* })*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
        pub struct $name { $(#[doc = concat!("The label `", stringify!($field), "`.")] pub $field: $type),* }
    )*};
}

labels! {
    /// Labels of `caxton_decisions_total`.
    DecisionLabels { action: &'static str, decision: &'static str }
    /// Labels of `caxton_http_requests_total`; `route` is the template, never the path.
    HttpLabels { method: &'static str, route: String, status: u16 }
    /// Labels of `caxton_api_auth_failures_total`.
    AuthLabels { method: &'static str, reason: &'static str }
    /// Labels of `caxton_shadow_flips_total`.
    ShadowLabels { source: &'static str, change: &'static str }
    /// Labels of `caxton_network_bytes_total`: `received` or `sent`.
    DirectionLabels { direction: &'static str }
    /// A label called `result`.
    ResultLabels { result: &'static str }
    /// A label called `scope`.
    ScopeLabels { scope: &'static str }
    /// A label called `status`.
    StatusLabels { status: &'static str }
    /// A label called `sink`: a name in the configuration.
    SinkLabels { sink: String }
    /// Labels of `caxton_upstream_up`; `server` is a name in the configuration.
    ServerLabels { server: String }
    /// A label called `version`.
    VersionLabels { version: String }
}

/// All metrics. Made once, shared by everything.
#[derive(Debug)]
#[expect(missing_docs, reason = "each field is the family that `new` registers with its help text")]
pub struct Metrics {
    registry: Registry,
    version: Mutex<Option<VersionLabels>>,
    pub decisions: Family<DecisionLabels, Counter>,
    pub decision_duration: Histogram,
    pub http_requests: Family<HttpLabels, Counter>,
    pub auth_failures: Family<AuthLabels, Counter>,
    pub jwks_refreshes: Family<ResultLabels, Counter>,
    pub policy_reloads: Family<ResultLabels, Counter>,
    pub policy_version: Family<VersionLabels, Gauge>,
    pub policy_watch_errors: Gauge,
    pub shadow_flips: Family<ShadowLabels, Counter>,
    pub rate_limited: Family<ScopeLabels, Counter>,
    pub config_validation_failures: Counter,
    pub memory_scope_violations: Counter,
    pub tool_access_denials: Counter,
    pub hot_reload_violations: Counter,
    pub injection_attempts: Counter,
    pub sqlite_events: Counter,
    pub active_tool_sessions: Gauge,
    pub agent_executions: Family<StatusLabels, Counter>,
    pub tool_arguments_refused: Counter,
    pub network_bytes: Family<DirectionLabels, Counter>,
    pub audit_queue_depth: Gauge,
    pub audit_dropped: Counter,
    pub audit_sink_errors: Family<SinkLabels, Counter>,
    pub audit_sink_lag: Family<SinkLabels, Gauge>,
    pub audit_sink_delivered: Family<SinkLabels, Counter>,
    pub audit_sink_dead_letters: Family<SinkLabels, Counter>,
    pub audit_sink_lost: Family<SinkLabels, Counter>,
    pub upstream_up: Family<ServerLabels, Gauge>,
    pub wasm_instances: Gauge,
    pub wasm_fuel: Counter,
}

/// The families that tell of attacks and of protections, by how their names begin.
const SECURITY: [&str; 12] = [
    "caxton_address_blocks",
    "caxton_api_auth_failures",
    "caxton_audit_",
    "caxton_config_validation_failures",
    "caxton_decisions",
    "caxton_hot_reload_security_violations",
    "caxton_memory_scope_violations",
    "caxton_prompt_injection_attempts",
    "caxton_rate_limited",
    "caxton_sqlite_security_events",
    "caxton_tool_access_denials",
    "caxton_tool_arguments_refused",
];

impl Metrics {
    /// Registers every family.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("caxton");
        macro_rules! family {
            ($name:literal, $help:literal) => {{
                let metric = Default::default();
                Self::register(&mut registry, $name, $help, &metric);
                metric
            }};
        }
        // 1 µs to 1 s: a decision takes microseconds, one that waits for the disk milliseconds.
        let decision_duration = Histogram::new([
            1e-6, 2e-6, 5e-6, 1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 5e-3, 2e-2, 0.1, 1.0,
        ]);
        registry.register(
            "decision_duration_seconds",
            "Time from a parsed operation to its decision, before it is recorded",
            decision_duration.clone(),
        );
        registry.register(
            "build",
            "The running build",
            Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]),
        );
        Self {
            decisions: family!("decisions", "Decisions by action and outcome"),
            decision_duration,
            http_requests: family!("http_requests", "HTTP requests by route template and status"),
            auth_failures: family!("api_auth_failures", "Refused credentials by method and reason"),
            jwks_refreshes: family!("jwks_refreshes", "Fetches of the issuer's key set by result"),
            policy_reloads: family!("policy_reloads", "Policy reloads by result"),
            policy_version: family!("policy_version_info", "The live policy version (1 for the live one)"),
            policy_watch_errors: family!(
                "policy_watch_errors",
                "1 while the policy files cannot be watched, so that their changes are not seen"
            ),
            shadow_flips: family!(
                "shadow_flips",
                "Decisions that a candidate set, or policies in log_only mode, would have made otherwise"
            ),
            rate_limited: family!("rate_limited", "Requests refused by a rate limit"),
            config_validation_failures: family!(
                "config_validation_failures",
                "Configurations and agent files refused"
            ),
            memory_scope_violations: family!(
                "memory_scope_violations",
                "Denied attempts on another scope's memory"
            ),
            tool_access_denials: family!("tool_access_denials", "Denied tool calls"),
            hot_reload_violations: family!(
                "hot_reload_security_violations",
                "Reloads refused because the new set is not valid"
            ),
            injection_attempts: family!(
                "prompt_injection_attempts",
                "Requests that the screens scored as an injection"
            ),
            sqlite_events: family!("sqlite_security_events", "Unexpected answers of the memory database"),
            active_tool_sessions: family!("active_tool_sessions", "Tool calls under way"),
            tool_arguments_refused: family!(
                "tool_arguments_refused",
                "Calls of tools with arguments that the tool does not take"
            ),
            network_bytes: family!(
                "network_bytes",
                "Bytes of HTTP that came from clients and went to them, without those of TLS"
            ),
            agent_executions: family!("agent_executions", "Agent turns by how they ended"),
            audit_queue_depth: family!("audit_queue_depth", "Records waiting for the journal"),
            audit_dropped: family!(
                "audit_dropped",
                "Records that the journal did not confirm in time; must stay 0"
            ),
            audit_sink_errors: family!("audit_sink_errors", "Failed tries to send records, by sink"),
            audit_sink_lag: family!(
                "audit_sink_lag_records",
                "Records of the decision log that the sink's receiver does not have yet"
            ),
            audit_sink_delivered: family!(
                "audit_sink_delivered",
                "Records that the sink's receiver has acknowledged"
            ),
            audit_sink_dead_letters: family!(
                "audit_sink_dead_letters",
                "Records that the sink's receiver refused for good"
            ),
            audit_sink_lost: family!(
                "audit_sink_lost",
                "Records that were not in the decision log any more when the sink came to them"
            ),
            upstream_up: family!(
                "upstream_up",
                "1 while an upstream server can be called, 0 while it cannot"
            ),
            wasm_instances: family!("wasm_instances", "WebAssembly instances alive"),
            wasm_fuel: family!("wasm_fuel_consumed", "WebAssembly fuel used"),
            version: Mutex::new(None),
            registry,
        }
    }

    fn register<M>(registry: &mut Registry, name: &str, help: &str, metric: &M)
    where
        M: prometheus_client::registry::Metric + Clone,
    {
        registry.register(name, help, metric.clone());
    }

    /// Makes `version` the one value of `caxton_policy_version_info`.
    pub fn set_policy_version(&self, version: &str) {
        let labels = VersionLabels { version: version.to_owned() };
        let mut current = self.version.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(old) = current.take() {
            self.policy_version.remove(&old);
        }
        self.policy_version.get_or_create(&labels).set(1);
        *current = Some(labels);
    }

    /// The exposition text (`application/openmetrics-text`).
    pub fn render(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail; an encoder error would be a bug in a label type.
        if encode(&mut text, &self.registry).is_err() {
            text.clear();
        }
        text
    }

    /// The families of security alone, in the same format.
    pub fn render_security(&self) -> String {
        let of_security = |line: &str| {
            let name = line.strip_prefix("# ").and_then(|rest| rest.split(' ').nth(1)).unwrap_or(line);
            line == "# EOF" || SECURITY.iter().any(|family| name.starts_with(family))
        };
        self.render().split_inclusive('\n').filter(|line| of_security(line.trim_end())).collect()
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}
