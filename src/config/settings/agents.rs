//! Agents, their messages, the screening of text, and the tools that may be called at all.

use std::time::Duration;

use crate::config::kind::{Integer, List, Parsed, Size, Span, Text};
use crate::config::problem::{Code, Problem};
use crate::config::reader::Reader;
use crate::model::CapabilityName;

/// `screening.*`
#[derive(Debug)]
pub struct Screening {
    /// Score, of 10,000, from which a text counts as flagged.
    pub threshold: u16,
    /// Bytes of one text that are screened; a longer text counts as flagged.
    pub max_bytes: usize,
}

impl Screening {
    pub(super) fn read(r: &mut Reader<'_>) -> Self {
        Self {
            threshold: r.value("screening.threshold", Integer::new(1..=10_000, "of 10,000"), 7_000, "Score from which a text counts as flagged in `context.screening`; what happens then is policy."),
            max_bytes: r.value("screening.max_bytes", Size(1 << 10..=64 << 20), 1 << 20, "Bytes of one text that are screened."),
        }
    }
}

/// `communication.*`
#[derive(Debug)]
pub struct Communication {
    /// Bytes of a message.
    pub max_message_bytes: usize,
    /// Time after which an idle conversation ends.
    pub conversation_timeout: Duration,
    /// Messages of one conversation.
    pub max_messages: usize,
    /// Conversations at once.
    pub max_conversations: usize,
    /// Conversations of one sender at once.
    pub max_conversations_per_sender: usize,
    /// Bytes of content in the conversations of one sender.
    pub max_bytes_per_sender: usize,
    /// Bytes of content in all conversations.
    pub max_bytes: usize,
}

impl Communication {
    pub(super) fn read(r: &mut Reader<'_>) -> Self {
        let size: usize = r.value(
            "communication.max_message_size_kb",
            Integer::new(1..=65_536, "KB"),
            1_024,
            "Size of a message.",
        );
        let minutes: u32 = r.value(
            "communication.conversation_timeout_minutes",
            Integer::new(1..=10_080, "minutes"),
            30,
            "Time after which an idle conversation ends.",
        );
        Self {
            max_message_bytes: size.saturating_mul(1_024),
            conversation_timeout: Duration::from_secs(u64::from(minutes) * 60),
            max_messages: r.value(
                "communication.max_messages",
                Integer::new(1..=100_000, "messages"),
                100,
                "Messages of one conversation.",
            ),
            max_conversations: r.value(
                "communication.max_conversations",
                Integer::new(1..=10_000_000, "conversations"),
                10_000,
                "Conversations at once.",
            ),
            max_conversations_per_sender: r.value(
                "communication.max_conversations_per_sender",
                Integer::new(1..=1_000_000, "conversations"),
                100,
                "Conversations of one sender at once.",
            ),
            max_bytes_per_sender: r.value(
                "communication.max_bytes_per_sender",
                Size(1 << 20..=1 << 40),
                16 << 20,
                "Bytes of content in the conversations of one sender.",
            ),
            max_bytes: r.value(
                "communication.max_bytes",
                Size(1 << 20..=1 << 40),
                256 << 20,
                "Bytes of content in all conversations.",
            ),
        }
    }
}

/// `config_agents.*`
#[derive(Debug)]
pub struct ConfigAgents {
    /// Agents at once.
    pub max_agent_count: usize,
    /// How long the check of changed policies may take.
    pub hot_reload_validation_timeout: Duration,
    /// Bytes of an agent file.
    pub max_file_bytes: usize,
    /// Capabilities that no agent may declare.
    pub forbidden_capabilities: Vec<String>,
    /// Bounds of one answer.
    pub limits: AgentLimits,
}

/// `config_agents.limits.*`: bounds of one answer of an agent.
#[derive(Debug)]
pub struct AgentLimits {
    /// How often the model is asked.
    pub max_turns: usize,
    /// Calls that are carried out.
    pub max_calls: usize,
    /// Time for the answer.
    pub deadline: Duration,
    /// Bytes of a call's result that the model is shown.
    pub max_result_bytes: usize,
}

impl AgentLimits {
    fn read(r: &mut Reader<'_>) -> Self {
        Self {
            max_turns: r.value(
                "config_agents.limits.max_turns",
                Integer::new(1..=100, "turns"),
                8,
                "How often the model is asked for one answer of an agent.",
            ),
            max_calls: r.value(
                "config_agents.limits.max_calls",
                Integer::new(0..=1_000, "calls"),
                20,
                "Calls of tools and memory that are carried out for one answer.",
            ),
            deadline: r.value(
                "config_agents.limits.deadline",
                Span(Duration::from_secs(1)..=Duration::from_secs(3_600)),
                Duration::from_secs(120),
                "Time for one answer.",
            ),
            max_result_bytes: r.value(
                "config_agents.limits.max_result_bytes",
                Size(256..=16 << 20),
                64 << 10,
                "Bytes of a call's result that the model is shown.",
            ),
        }
    }
}

impl ConfigAgents {
    pub(super) fn read(r: &mut Reader<'_>) -> Self {
        let forbidden = ["system_admin", "file_system_write"];
        let forbidden = forbidden.iter().filter_map(|name| CapabilityName::parse(name).ok()).collect();
        Self {
            hot_reload_validation_timeout: r.value(
                "config_agents.security_policies.hot_reload_validation_timeout",
                Span(Duration::from_millis(100)..=Duration::from_secs(300)),
                Duration::from_secs(5),
                "How long reading and validating changed policies may take; what takes longer is refused, and the old set serves.",
            ),
            max_agent_count: r.value(
                "config_agents.security_policies.max_agent_count",
                Integer::new(1..=10_000, "agents"),
                50,
                "Agents at once; more are refused.",
            ),
            max_file_bytes: r.value(
                "config_agents.max_file_bytes",
                Size(1 << 10..=1 << 20),
                64 << 10,
                "Bytes of an agent file.",
            ),
            forbidden_capabilities: r
                .value(
                    "config_agents.security_policies.forbidden_capabilities",
                    List(Parsed::<CapabilityName>::new("a capability")),
                    forbidden,
                    "Capabilities that no agent may declare.",
                )
                .iter()
                .map(ToString::to_string)
                .collect(),
            limits: AgentLimits::read(r),
        }
    }
}

/// `tool_security.*`: bounds for everybody, before any policy is asked.
#[derive(Debug)]
pub struct ToolSecurity {
    /// The only tools that may be called; `None` leaves it to policy.
    pub allowed_tools: Option<Vec<String>>,
    /// Tools that nobody may call.
    pub forbidden_tools: Vec<String>,
}

impl ToolSecurity {
    pub(super) fn read(r: &mut Reader<'_>) -> Self {
        let allowed_tools = r.optional("tool_security.allowed_tools", List(Text(256)), "The only tools that may be called, as `SERVER___TOOL` or `TOOL`. Without the key, policy alone decides.");
        let forbidden_tools = r.value(
            "tool_security.forbidden_tools",
            List(Text(256)),
            Vec::new(),
            "Tools that nobody may call, as `SERVER___TOOL` or `TOOL`.",
        );
        let both =
            forbidden_tools.iter().find(|tool| allowed_tools.as_ref().is_some_and(|all| all.contains(tool)));
        if let Some(tool) = both {
            let problem = Problem::error(Code::Contradiction, format!("`{tool}` is allowed and forbidden"));
            r.tell(problem.with_help("take it out of one of the lists"), "tool_security.forbidden_tools");
        }
        Self { allowed_tools, forbidden_tools }
    }
}
