//! The answer to "may it?", in the words of the decision log.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// How a decision ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// A permit held and no forbid did.
    Allow,
    /// A forbid held.
    DenyExplicit,
    /// No permit held.
    DenyDefault,
    /// A forbid could not be evaluated, or the request did not fit the schema.
    DenyError,
    /// A rate limit was reached before policy was asked.
    Limited,
    /// A permit held that wants a person's approval first.
    ApprovalRequired,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Self; 6] = [
        Self::Allow,
        Self::DenyExplicit,
        Self::DenyDefault,
        Self::DenyError,
        Self::Limited,
        Self::ApprovalRequired,
    ];

    /// The word in logs, tests and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::DenyExplicit => "deny_explicit",
            Self::DenyDefault => "deny_default",
            Self::DenyError => "deny_error",
            Self::Limited => "limited",
            Self::ApprovalRequired => "approval_required",
        }
    }
}

/// Why, in one stable word; the SIEM groups by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReasonCode {
    /// A permit held.
    Permitted,
    /// A forbid held.
    Forbidden,
    /// No permit held.
    NoPermit,
    /// A policy could not be evaluated.
    PolicyError,
    /// Principal, action, resource or context do not fit the live schema.
    SchemaMismatch,
    /// The live policies have come to their end, and none came after them.
    BundleExpired,
    /// The principal is not known to this gateway (an agent that is not deployed).
    PrincipalUnknown,
    /// The tool is not in the live bundle.
    ToolUnknown,
    /// The arguments are not what the tool takes.
    ArgumentsInvalid,
    /// The task is none of the caller's.
    TaskUnknown,
    /// There is no agent that takes the message.
    ReceiverUnknown,
    /// No agent that offers the capability may be sent the message.
    ReceiverDenied,
    /// The session carries as many labels as it can hold, and this would add another.
    LabelsFull,
    /// A permit demands something of the operation that cannot be done with it.
    ObligationUnsupported,
    /// A rate limit was reached.
    RateLimited,
    /// The journal could not take the record.
    AuditUnavailable,
    /// The caller could not be authenticated.
    Unauthenticated,
    /// The caller asked as a proxy and is not configured as one.
    PeerUnknown,
    /// What is known of people and things is too old, or more than one decision may look at.
    AttributesUnavailable,
    /// State that gateways share (rate limits, sessions, the lockdown) could not be asked.
    StateUnavailable,
    /// The emergency lock is engaged.
    ChangesLocked,
}

impl ReasonCode {
    /// Every reason.
    pub const ALL: [Self; 21] = [
        Self::Permitted,
        Self::Forbidden,
        Self::NoPermit,
        Self::PolicyError,
        Self::SchemaMismatch,
        Self::BundleExpired,
        Self::PrincipalUnknown,
        Self::ToolUnknown,
        Self::ArgumentsInvalid,
        Self::TaskUnknown,
        Self::ReceiverUnknown,
        Self::ReceiverDenied,
        Self::LabelsFull,
        Self::ObligationUnsupported,
        Self::RateLimited,
        Self::AuditUnavailable,
        Self::Unauthenticated,
        Self::PeerUnknown,
        Self::AttributesUnavailable,
        Self::StateUnavailable,
        Self::ChangesLocked,
    ];

    /// The word in logs and problem documents.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Permitted => "permitted",
            Self::Forbidden => "forbidden",
            Self::NoPermit => "no_permit",
            Self::PolicyError => "policy_error",
            Self::SchemaMismatch => "schema_mismatch",
            Self::BundleExpired => "bundle_expired",
            Self::PrincipalUnknown => "principal_unknown",
            Self::ToolUnknown => "tool_unknown",
            Self::ArgumentsInvalid => "arguments_invalid",
            Self::TaskUnknown => "task_unknown",
            Self::ReceiverUnknown => "receiver_unknown",
            Self::ReceiverDenied => "receiver_denied",
            Self::LabelsFull => "labels_full",
            Self::ObligationUnsupported => "obligation_unsupported",
            Self::RateLimited => "rate_limited",
            Self::AuditUnavailable => "audit_unavailable",
            Self::Unauthenticated => "unauthenticated",
            Self::PeerUnknown => "peer_unknown",
            Self::AttributesUnavailable => "attributes_unavailable",
            Self::StateUnavailable => "state_unavailable",
            Self::ChangesLocked => "changes_locked",
        }
    }
}

/// What kind of event a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventType {
    /// A caller proved who it is, or failed to.
    Authentication,
    /// A decision about anything that has no kind of its own below.
    Authorization,
    /// An agent was created.
    AgentCreation,
    /// An agent was removed.
    AgentDeletion,
    /// Policies or configuration changed.
    ConfigurationChange,
    /// An operator acted.
    AdminAction,
    /// A tool was called.
    ToolCall,
    /// Memory was read or written.
    MemoryAccess,
    /// A message was sent or read.
    Message,
    /// Another program says that something happened.
    #[serde(rename = "application_event")]
    Application,
}

impl EventType {
    /// Every kind.
    pub const ALL: [Self; 10] = [
        Self::Authentication,
        Self::Authorization,
        Self::AgentCreation,
        Self::AgentDeletion,
        Self::ConfigurationChange,
        Self::AdminAction,
        Self::ToolCall,
        Self::MemoryAccess,
        Self::Message,
        Self::Application,
    ];

    /// The word in the log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Authentication => "authentication",
            Self::Authorization => "authorization",
            Self::AgentCreation => "agent_creation",
            Self::AgentDeletion => "agent_deletion",
            Self::ConfigurationChange => "configuration_change",
            Self::AdminAction => "admin_action",
            Self::ToolCall => "tool_call",
            Self::MemoryAccess => "memory_access",
            Self::Message => "message",
            Self::Application => "application_event",
        }
    }
}

/// Whether a policy decides or only watches (`@mode("log_only")`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PolicyMode {
    /// It decides.
    Enforce,
    /// It is evaluated and logged, and does not decide.
    LogOnly,
}

/// A policy that determined a decision, or would have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyRef {
    /// `permit` or `forbid`.
    pub effect: Arc<str>,
    /// Its `@id`.
    pub id: Arc<str>,
    /// Whether it decides.
    pub mode: PolicyMode,
}
