//! `config_agents.*`: agents that are described by files, and the bounds of their answers.

use std::path::PathBuf;
use std::time::Duration;

use crate::config::reader::Reader;
use crate::config::value_type::{DurationRange, Integer, List, ParsedWord, Size};
use crate::model::CapabilityName;
use crate::{agents, runtime};

/// What the section says of three modules.
pub(super) struct ConfigAgents {
    pub(super) agents: agents::Settings,
    /// Bounds of one answer of an agent.
    pub(super) runtime: runtime::Settings,
    /// How long the check of changed policies may take.
    pub(super) reload_timeout: Duration,
}

impl ConfigAgents {
    pub(super) fn read(r: &mut Reader<'_>, directory: Option<PathBuf>) -> Self {
        let usual = agents::Settings::default();
        let reload_timeout = r.value(
            "config_agents.security_policies.hot_reload_validation_timeout",
            DurationRange(Duration::from_millis(100)..=Duration::from_secs(300)),
            Duration::from_secs(5),
            "How long reading and validating changed policies may take; what takes longer is refused, and the old set serves.",
        );
        let max_agents = r.value(
            "config_agents.security_policies.max_agent_count",
            Integer::new(1..=10_000, "agents"),
            usual.max_agents,
            "Agents at once; more are refused.",
        );
        let max_file_bytes = r.value(
            "config_agents.max_file_bytes",
            Size(1 << 10..=1 << 20),
            64 << 10,
            "Bytes of an agent file.",
        );
        let forbidden_capabilities = forbidden_capabilities(r, &usual.forbidden_capabilities);
        let agents = agents::Settings {
            directory,
            max_agents,
            max_file_bytes: max_file_bytes as u64,
            forbidden_capabilities,
        };
        Self { agents, runtime: limits(r), reload_timeout }
    }
}

fn forbidden_capabilities(r: &mut Reader<'_>, usual: &[String]) -> Vec<String> {
    let usual = usual.iter().filter_map(|name| CapabilityName::parse(name).ok()).collect();
    let forbidden = r.value(
        "config_agents.security_policies.forbidden_capabilities",
        List(ParsedWord::<CapabilityName>::new("a capability")),
        usual,
        "Capabilities that no agent may declare.",
    );
    forbidden.iter().map(ToString::to_string).collect()
}

/// `config_agents.limits.*`
fn limits(r: &mut Reader<'_>) -> runtime::Settings {
    let usual = runtime::Settings::default();
    runtime::Settings {
        max_turns: r.value(
            "config_agents.limits.max_turns",
            Integer::new(1..=100, "turns"),
            usual.max_turns,
            "How often the model is asked for one answer of an agent.",
        ),
        max_calls: r.value(
            "config_agents.limits.max_calls",
            Integer::new(0..=1_000, "calls"),
            usual.max_calls,
            "Calls of tools and memory that are carried out for one answer.",
        ),
        deadline: r.value(
            "config_agents.limits.deadline",
            DurationRange::seconds(1, 3_600),
            usual.deadline,
            "Time for one answer.",
        ),
        max_result_bytes: r.value(
            "config_agents.limits.max_result_bytes",
            Size(256..=16 << 20),
            usual.max_result_bytes,
            "Bytes of a call's result that the model is shown.",
        ),
    }
}
