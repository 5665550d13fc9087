//! The security events of the gateway: one closed list from which the record in the decision log, the metric and the
//! line in the security log are made.
//!
//! Names and fields are an API: a SIEM matches on `event_type` and `violation_type` of the lines and on `event` and
//! `event_type` of the records (`docs/decision-log.md`). A new event is a new variant with a row in [`SecurityEvent::facts`];
//! the golden file `tests/golden/security-events.json` shows all of them.
//!
//! Decisions have records of their own, so the four events of a decision have a line and a metric only.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use crate::clock::rfc3339;
use crate::model::{AgentId, DecisionId, EntityUid, EventType, Outcome, ReasonCode};
use crate::telemetry::Metrics;

/// Something that an operator or an auditor has to be able to find.
#[derive(Debug, Clone, Copy)]
pub enum SecurityEvent<'e> {
    /// The gateway has started.
    GatewayStarted,
    /// The gateway has stopped in an orderly way.
    GatewayStopped,
    /// The last line of the decision log was torn, as a crash leaves it, and was moved away.
    JournalRepaired {
        /// Length of the torn line in bytes.
        bytes: u64,
        /// The file that has it now.
        saved_to: &'e Path,
    },
    /// The file of the decision log was closed, and a new one was begun.
    AuditRotated {
        /// Number of the first record in it.
        first: u64,
        /// Number of the last record in it.
        last: u64,
    },
    /// Another program moved, removed or emptied the file of the decision log; the gateway goes on in a new one.
    AuditFileMoved {
        /// What happened to it, and to its records.
        what: &'static str,
        /// Number of the first record in it.
        first: u64,
        /// Number of the last record in it.
        last: u64,
    },
    /// Records that are older than the retention were deleted.
    AuditDeleted {
        /// Number of the first of them.
        first: u64,
        /// Number of the last of them.
        last: u64,
    },
    /// A checkpoint of the decision log was signed.
    AuditCheckpoint {
        /// The signed note (C2SP `tlog-checkpoint`).
        note: &'e str,
    },
    /// The decision log could not be rotated, sealed, compressed, shortened or signed; it is tried again.
    AuditUpkeepFailed {
        /// What failed, and why.
        why: &'e str,
    },
    /// Records were not in the decision log any more, or could not be read, when a sink came to them.
    AuditRecordsLost {
        /// The sink.
        sink: &'e str,
        /// Number of the first.
        first: u64,
        /// Number of the last.
        last: u64,
    },
    /// A setting is legal and could be stronger.
    WeakSetting {
        /// The configuration key.
        key: &'e str,
        /// Its value.
        value: &'e str,
        /// What can happen because of it.
        why: &'e str,
        /// What to set instead.
        fix: &'e str,
    },
    /// A revocation list has ended, so client certificates are refused until there is a new one.
    RevocationListEnded {
        /// The file of the list.
        path: &'e Path,
        /// Its end in milliseconds since the Unix epoch.
        ended_millis: i64,
    },
    /// The certificate of an authority is not yet or no longer valid, so its client certificates are refused.
    AuthorityNotInForce {
        /// The file of the certificate.
        path: &'e Path,
    },
    /// New certificates are in use.
    TlsReloaded {
        /// What is in use now.
        summary: &'e str,
    },
    /// New certificates were refused; the old ones stay in use.
    TlsReloadRefused {
        /// Why they were refused.
        problem: &'e str,
        /// What to do.
        help: &'e str,
    },
    /// There is no fresh OCSP answer to staple.
    OcspRefused {
        /// The error with its causes.
        error: &'e str,
    },
    /// The token issuer's key file was read again.
    IssuerKeysReloaded,
    /// The token issuer's key file was refused; the old keys stay in use.
    IssuerKeysRefused {
        /// Why it was refused.
        error: &'e str,
    },
    /// Another process (`caxton auth`) changed credentials.
    CredentialsChanged {
        /// Which change.
        name: &'e str,
        /// When, in milliseconds since the Unix epoch.
        at_millis: i64,
        /// What was changed.
        detail: &'e str,
    },
    /// An administrator ended all sessions and tokens.
    SessionsRevoked {
        /// How many sessions were open.
        sessions: usize,
        /// The decision that allowed it.
        decision: DecisionId,
    },
    /// The connection of an account at a server has ended, and not because its principal or an administrator ended it.
    ConnectionEnded {
        /// The MCP server.
        server: &'e str,
        /// Whose it was, in Cedar's notation.
        holder: &'e str,
        /// Why.
        why: &'e str,
    },
    /// Another account was connected in the place of one at the same server.
    ConnectionReplaced {
        /// The MCP server.
        server: &'e str,
        /// Whose it is, in Cedar's notation.
        holder: &'e str,
    },
    /// A credential was refused. The metric `caxton_api_auth_failures_total` counts each refusal where it happens; this
    /// event stands for as many as `count` says.
    LoginFailure {
        /// The method of authentication.
        method: &'static str,
        /// The reason, one word.
        reason: &'static str,
        /// Which claim, key or session it was; for the line only, cleaned.
        detail: Option<&'e str>,
        /// For how many refusals this event stands.
        count: u64,
    },
    /// An address presented too many invalid credentials and is refused for a while.
    AddressBlocked {
        /// The address.
        address: IpAddr,
        /// For how long.
        time: Duration,
    },
    /// A request was above a rate limit. `caxton_rate_limited_total` counts each where it happens.
    RateLimited {
        /// Whose limit: of a `key`, a `route` or a `principal`.
        limit: &'static str,
        /// The route, without its method.
        route: &'e str,
    },
    /// A request carried text that the screens take for a prompt injection. The guard counts them all, also those whose
    /// record was counted together with others.
    PromptInjection(JudgedRequest<'e>),
    /// A tool call was denied.
    ToolAccessDenied(JudgedRequest<'e>),
    /// The arguments of a call are not what the tool takes.
    ToolArgumentsRefused(JudgedRequest<'e>),
    /// An attempt to read or write memory was denied.
    MemoryScopeViolation(JudgedRequest<'e>),
    /// Any other request was denied.
    RequestDenied(JudgedRequest<'e>),
    /// A proxy forwarded a request that cannot be judged.
    ProxiedRequestRefused {
        /// The proxy.
        principal: &'e EntityUid,
        /// What is wrong with the request.
        why: &'e str,
    },
    /// A file of an agent was refused.
    AgentFileRefused {
        /// The file and what is wrong with it.
        problem: &'e str,
    },
    /// An agent was deployed.
    AgentDeployed(AgentDigests<'e>),
    /// An agent's definition was changed.
    AgentChanged(AgentDigests<'e>),
    /// An agent was removed.
    AgentRemoved(AgentDigests<'e>),
    /// The configuration file was read again: what can change while the gateway runs has changed.
    SettingsReloaded {
        /// The keys that hold now, and those that need a restart.
        detail: &'e str,
    },
    /// The configuration file was read again and refused; the old settings stay in force.
    SettingsRefused {
        /// What is wrong with it.
        why: &'e str,
    },
    /// New policies are in force.
    PoliciesReloaded {
        /// The cause, what was loaded, and both versions.
        detail: &'e str,
    },
    /// New policies were refused; the old ones stay in force.
    PolicyReloadRefused {
        /// Why they were refused.
        why: &'e str,
    },
    /// A candidate set is evaluated beside the live one.
    CandidateLoaded {
        /// Its version.
        version: &'e str,
    },
    /// A candidate set was refused; no candidate is evaluated.
    CandidateRefused {
        /// Why it was refused.
        why: &'e str,
    },
    /// The emergency lock was engaged: policies and agents do not change.
    ChangesLocked {
        /// Who engaged it.
        author: &'e str,
        /// The reason that was given.
        reason: &'e str,
    },
    /// The emergency lock was released.
    ChangesUnlocked,
}

/// A request that was denied or was taken for an injection.
#[derive(Debug, Clone, Copy)]
pub struct JudgedRequest<'e> {
    /// The agent, when an agent asked.
    pub agent: Option<&'e AgentId>,
    /// Who asked.
    pub principal: &'e EntityUid,
    /// On which resource.
    pub resource: &'e EntityUid,
    /// Why it ended as it did.
    pub reason: ReasonCode,
    /// The decision, by which its record is found.
    pub decision: DecisionId,
}

/// The definitions of an agent before and after a change, as their digests; `None` where there was none.
#[derive(Debug, Clone, Copy)]
pub struct AgentDigests<'e> {
    /// Before.
    pub before: Option<&'e str>,
    /// After.
    pub now: Option<&'e str>,
}

/// What is the same for every event of a variant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// `event` of the record; `event_type` of a line that is no violation.
    pub name: &'static str,
    /// `violation_type` of the line, whose `event_type` is then `security_violation`.
    pub violation: Option<&'static str>,
    /// Whether there is a line in the security log.
    pub has_line: bool,
    /// `event_type`, `outcome` and `reason_code` of the record; `None` for an event without a record of its own.
    pub record: Option<(EventType, Outcome, ReasonCode)>,
}

impl Facts {
    const fn new(name: &'static str) -> Self {
        Self { name, violation: None, has_line: false, record: None }
    }

    const fn line(mut self) -> Self {
        self.has_line = true;
        self
    }

    const fn violation(mut self, word: &'static str) -> Self {
        self.violation = Some(word);
        self.line()
    }

    const fn applied(mut self, kind: EventType) -> Self {
        self.record = Some((kind, Outcome::Allow, ReasonCode::Permitted));
        self
    }

    const fn refused(mut self) -> Self {
        self.record = Some((EventType::ConfigurationChange, Outcome::DenyError, ReasonCode::PolicyError));
        self
    }

    const fn denied(mut self, kind: EventType, outcome: Outcome, reason: ReasonCode) -> Self {
        self.record = Some((kind, outcome, reason));
        self
    }
}

/// The names of the events that have a record of their own: `event` of such a record.
pub const RECORDED_EVENTS: [&str; 26] = [
    "agent_changed",
    "agent_deployed",
    "agent_removed",
    "audit_checkpoint",
    "audit_deleted",
    "audit_file_moved",
    "audit_rotated",
    "audit_upkeep_failed",
    "candidate_loaded",
    "candidate_refused",
    "changes_locked",
    "changes_unlocked",
    "credentials_changed",
    "gateway_started",
    "gateway_stopped",
    "keys_reload",
    "keys_reload_refused",
    "login_failure",
    "ocsp_refused",
    "policy_reload",
    "rate_limited",
    "reload_refused",
    "settings_refused",
    "settings_reload",
    "tls_reload",
    "tls_reload_refused",
];

const API_EVENT: &str = "api_security_event";
const RELOAD: &str = "hot_reload_security_violation";

impl SecurityEvent<'_> {
    /// The table of events.
    pub fn facts(&self) -> Facts {
        use EventType::{AdminAction, AgentCreation, AgentDeletion, ConfigurationChange};
        match self {
            Self::GatewayStarted => Facts::new("gateway_started").applied(ConfigurationChange),
            Self::GatewayStopped => Facts::new("gateway_stopped").applied(ConfigurationChange),
            Self::JournalRepaired { .. } => Facts::new("audit_repaired").line(),
            Self::AuditRotated { .. } => Facts::new("audit_rotated").applied(AdminAction),
            Self::AuditFileMoved { .. } => Facts::new("audit_file_moved").line().applied(AdminAction),
            Self::AuditDeleted { .. } => Facts::new("audit_deleted").applied(AdminAction),
            Self::AuditCheckpoint { .. } => Facts::new("audit_checkpoint").applied(AdminAction),
            Self::AuditUpkeepFailed { .. } => Facts::new("audit_upkeep_failed").line().refused(),
            Self::AuditRecordsLost { .. } => Facts::new("audit_records_lost").line(),
            Self::WeakSetting { .. }
            | Self::RevocationListEnded { .. }
            | Self::AuthorityNotInForce { .. } => Facts::new("weak_setting").line(),
            Self::TlsReloaded { .. } => Facts::new("tls_reload").applied(ConfigurationChange),
            Self::TlsReloadRefused { .. } => Facts::new("tls_reload_refused").violation(RELOAD).refused(),
            Self::OcspRefused { .. } => Facts::new("ocsp_refused").line().refused(),
            Self::IssuerKeysReloaded => Facts::new("keys_reload").applied(ConfigurationChange),
            Self::IssuerKeysRefused { .. } => Facts::new("keys_reload_refused").refused(),
            Self::CredentialsChanged { .. } => Facts::new("credentials_changed").applied(AdminAction),
            Self::SessionsRevoked { .. } => Facts::new("sessions_revoked").line(),
            Self::ConnectionEnded { .. } => Facts::new("connection_ended").line(),
            Self::ConnectionReplaced { .. } => Facts::new("connection_replaced").line(),
            Self::LoginFailure { .. } => Facts::new("login_failure").violation(API_EVENT).denied(
                EventType::Authentication,
                Outcome::DenyExplicit,
                ReasonCode::Unauthenticated,
            ),
            Self::AddressBlocked { .. } => Facts::new("address_blocked").violation(API_EVENT),
            Self::RateLimited { .. } => Facts::new("rate_limited").denied(
                EventType::Authorization,
                Outcome::Limited,
                ReasonCode::RateLimited,
            ),
            Self::PromptInjection(_) => Facts::new("prompt_injection").violation("prompt_injection_detected"),
            Self::ToolAccessDenied(_) => Facts::new("tool_access_denied").violation("tool_access_denied"),
            Self::ToolArgumentsRefused(_) => Facts::new("tool_arguments_refused").line(),
            Self::MemoryScopeViolation(_) => {
                Facts::new("memory_scope_violation").violation("memory_scope_violation")
            }
            Self::RequestDenied(_) => Facts::new("request_denied").violation(API_EVENT),
            Self::ProxiedRequestRefused { .. } => Facts::new("proxied_request_refused").violation(API_EVENT),
            Self::AgentFileRefused { .. } => {
                Facts::new("agent_file_refused").violation("config_validation_failed")
            }
            Self::AgentDeployed(_) => Facts::new("agent_deployed").applied(AgentCreation),
            Self::AgentChanged(_) => Facts::new("agent_changed").applied(AgentCreation),
            Self::AgentRemoved(_) => Facts::new("agent_removed").applied(AgentDeletion),
            Self::SettingsReloaded { .. } => Facts::new("settings_reload").applied(ConfigurationChange),
            Self::SettingsRefused { .. } => {
                Facts::new("settings_refused").violation("config_validation_failed").refused()
            }
            Self::PoliciesReloaded { .. } => Facts::new("policy_reload").applied(ConfigurationChange),
            Self::PolicyReloadRefused { .. } => Facts::new("reload_refused").violation(RELOAD).refused(),
            Self::CandidateLoaded { .. } => Facts::new("candidate_loaded").applied(ConfigurationChange),
            Self::CandidateRefused { .. } => Facts::new("candidate_refused").refused(),
            Self::ChangesLocked { .. } => Facts::new("changes_locked").line().applied(ConfigurationChange),
            Self::ChangesUnlocked => Facts::new("changes_unlocked").line().applied(ConfigurationChange),
        }
    }

    /// The text of the record, for an operator; `None` where the name says all.
    pub fn detail(&self) -> Option<String> {
        Some(match self {
            Self::LoginFailure { method, reason, .. } => format!("{method}: {reason}"),
            Self::RateLimited { limit, route } => format!("the limit of this {limit} on {route}"),
            Self::CredentialsChanged { name, at_millis, detail } => {
                format!("{name} at {}: {detail}", rfc3339(*at_millis))
            }
            Self::AgentDeployed(change) | Self::AgentChanged(change) | Self::AgentRemoved(change) => {
                format!("{} -> {}", change.before.unwrap_or("none"), change.now.unwrap_or("none"))
            }
            Self::AuditRotated { first, last } | Self::AuditDeleted { first, last } => {
                format!("records {first} to {last}")
            }
            Self::AuditFileMoved { what, first, last } => format!("records {first} to {last}: {what}"),
            Self::TlsReloaded { summary: text }
            | Self::AuditCheckpoint { note: text }
            | Self::AuditUpkeepFailed { why: text }
            | Self::TlsReloadRefused { problem: text, .. }
            | Self::OcspRefused { error: text }
            | Self::IssuerKeysRefused { error: text }
            | Self::SettingsReloaded { detail: text }
            | Self::SettingsRefused { why: text }
            | Self::PoliciesReloaded { detail: text }
            | Self::PolicyReloadRefused { why: text }
            | Self::CandidateLoaded { version: text }
            | Self::CandidateRefused { why: text } => (*text).to_owned(),
            Self::ChangesLocked { author, reason } => format!("by {author}: {reason}"),
            Self::ChangesUnlocked => String::new(),
            Self::GatewayStarted
            | Self::GatewayStopped
            | Self::JournalRepaired { .. }
            | Self::AuditRecordsLost { .. }
            | Self::WeakSetting { .. }
            | Self::RevocationListEnded { .. }
            | Self::AuthorityNotInForce { .. }
            | Self::IssuerKeysReloaded
            | Self::SessionsRevoked { .. }
            | Self::ConnectionEnded { .. }
            | Self::ConnectionReplaced { .. }
            | Self::AddressBlocked { .. }
            | Self::PromptInjection(_)
            | Self::ToolAccessDenied(_)
            | Self::ToolArgumentsRefused(_)
            | Self::MemoryScopeViolation(_)
            | Self::RequestDenied(_)
            | Self::ProxiedRequestRefused { .. }
            | Self::AgentFileRefused { .. } => return None,
        })
    }

    /// `details` of the line.
    fn line_details(&self) -> Option<String> {
        Some(match self {
            Self::JournalRepaired { bytes, saved_to } => {
                format!("{bytes} bytes of a torn line are in `{}`", saved_to.display())
            }
            Self::AuditRecordsLost { sink, first, last } => {
                format!("sink `{sink}` did not send records {first} to {last}")
            }
            Self::SessionsRevoked { sessions, .. } => format!("{sessions} sessions"),
            Self::ConnectionEnded { server, holder, why } => format!("{holder} at {server}: {why}"),
            Self::ConnectionReplaced { server, holder } => format!("{holder} at {server}"),
            Self::LoginFailure { method, reason, detail, .. } => {
                let more = detail.map_or_else(String::new, |detail| format!(" ({detail})"));
                format!("login_failure: {method} {reason}{more}")
            }
            Self::AddressBlocked { address, time } => {
                format!("address_blocked: {address} for {} s", time.as_secs())
            }
            Self::PromptInjection(request)
            | Self::ToolAccessDenied(request)
            | Self::ToolArgumentsRefused(request)
            | Self::MemoryScopeViolation(request)
            | Self::RequestDenied(request) => {
                format!("{} on {}: {}", request.principal, request.resource, request.reason.as_str())
            }
            Self::ProxiedRequestRefused { principal, why } => {
                format!("proxied request of {principal} refused: {why}")
            }
            Self::AgentFileRefused { problem } => (*problem).to_owned(),
            Self::WeakSetting { .. }
            | Self::RevocationListEnded { .. }
            | Self::AuthorityNotInForce { .. } => return None,
            other => return other.detail(),
        })
    }

    /// The sentence of a line that has one.
    fn line_message(&self) -> Option<String> {
        match self {
            Self::WeakSetting { why, .. } => Some(format!("weak setting: {why}")),
            Self::RevocationListEnded { path, ended_millis } => Some(format!(
                "the revocation list `{}` ended {}: client certificates are refused until there is a new one",
                path.display(),
                rfc3339(*ended_millis),
            )),
            Self::AuthorityNotInForce { path } => Some(format!(
                "`{}` holds the certificate of an authority that is not in force: its client certificates are refused",
                path.display(),
            )),
            Self::OcspRefused { .. } => Some("no fresh OCSP answer".to_owned()),
            _ => None,
        }
    }

    fn judged(&self) -> Option<&JudgedRequest<'_>> {
        match self {
            Self::PromptInjection(request)
            | Self::ToolAccessDenied(request)
            | Self::ToolArgumentsRefused(request)
            | Self::MemoryScopeViolation(request)
            | Self::RequestDenied(request) => Some(request),
            _ => None,
        }
    }

    fn decision(&self) -> Option<DecisionId> {
        match self {
            Self::SessionsRevoked { decision, .. } => Some(*decision),
            other => other.judged().map(|request| request.decision),
        }
    }

    /// Counts the event and writes its line.
    pub fn emit(&self, metrics: &Metrics) {
        self.count(metrics);
        self.log();
    }

    /// Counts the event where it has a metric of its own.
    pub fn count(&self, metrics: &Metrics) {
        match self {
            Self::TlsReloadRefused { .. } | Self::PolicyReloadRefused { .. } => {
                metrics.hot_reload_violations.inc();
            }
            Self::ToolAccessDenied(_) => {
                metrics.tool_access_denials.inc();
            }
            Self::ToolArgumentsRefused(_) => {
                metrics.tool_arguments_refused.inc();
            }
            Self::MemoryScopeViolation(_) => {
                metrics.memory_scope_violations.inc();
            }
            Self::AgentFileRefused { .. } | Self::SettingsRefused { .. } => {
                metrics.config_validation_failures.inc();
            }
            _ => {}
        }
    }

    /// Writes the line of the security log (target `SECURITY`, level WARN), where the event has one.
    pub fn log(&self) {
        let facts = self.facts();
        if !facts.has_line {
            return;
        }
        let count = if let Self::LoginFailure { count, .. } = self { Some(*count) } else { None };
        let help = if let Self::TlsReloadRefused { help, .. } = self { Some(*help) } else { None };
        let (key, value, fix) = match self {
            Self::WeakSetting { key, value, fix, .. } => (Some(*key), Some(*value), Some(*fix)),
            _ => (None, None, None),
        };
        tracing::warn!(
            target: "SECURITY",
            event_type = facts.violation.map_or(facts.name, |_| "security_violation"),
            violation_type = facts.violation,
            agent_id = self.judged().and_then(|request| request.agent).map(AgentId::as_str),
            details = self.line_details(),
            decision_id = self.decision().map(tracing::field::display),
            count,
            help,
            key,
            value,
            fix,
            message = self.line_message(),
        );
    }
}
