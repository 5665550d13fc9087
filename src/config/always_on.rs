//! Keys with one accepted value, which holds in any case.
//!
//! The guides show them as switches. Here the protection is part of how the gateway is built, or the weaker choice is
//! not offered; a file that asks for it is refused instead of being obeyed in name only.

use super::problem::ProblemCode;
use super::reader::{FixedKey, Reader};

/// A protection that is always on.
const fn on(path: &'static str, accepts: &'static [&'static str], doc: &'static str) -> FixedKey {
    let help = "remove the key: there is no way to switch this off";
    FixedKey { path, accepts, ignored: None, code: ProblemCode::Weakens, doc, help }
}

/// Something this version does not have, so that only "no" is true.
const fn off(
    path: &'static str,
    accepts: &'static [&'static str],
    doc: &'static str,
    help: &'static str,
) -> FixedKey {
    FixedKey { path, accepts, ignored: None, code: ProblemCode::NotAvailable, doc, help }
}

const TRUE: &[&str] = &["true"];
const FALSE: &[&str] = &["false"];
const ZERO: &[&str] = &["0"];
const ENABLED: &[&str] = &["enabled"];
const STRICT: &[&str] = &["strict"];

const ALL: &[FixedKey] = &[
    on(
        "security.authentication.refresh_token_rotation",
        TRUE,
        "A refresh token serves once; using it again ends the session.",
    ),
    on(
        "config_agents.validation.yaml_schema_strict",
        TRUE,
        "Agent files with unknown or repeated keys are refused.",
    ),
    on(
        "config_agents.validation.tool_whitelist_enforced",
        TRUE,
        "An agent has the tools that its file and the policies grant.",
    ),
    on(
        "config_agents.validation.capability_validation",
        TRUE,
        "Each capability of an agent file is checked.",
    ),
    on(
        "config_agents.validation.prompt_injection_detection",
        TRUE,
        "Untrusted text is screened; what happens then is policy.",
    ),
    on(
        "config_agents.isolation.memory_scope_isolation",
        TRUE,
        "Memory of one scope is not seen from another.",
    ),
    on(
        "server.file_permissions",
        &["644", "0644", "640", "0640", "600", "0600"],
        "The widest mode of agent files: one that others than its owner may change is refused.",
    ),
    on("config_agents.isolation.file_access_restricted", TRUE, "Agents have no access to files."),
    off(
        "memory.backend",
        &["embedded"],
        "Memory is kept by SQLite in the data directory.",
        "use `embedded`; PostgreSQL comes with the scaled-out deployment",
    ),
    on("memory.sqlite_security.journal_mode", &["wal"], "SQLite's journal."),
    on("memory.sqlite_security.foreign_keys", TRUE, "SQLite keeps references whole."),
    on("memory.sqlite_security.recursive_triggers", FALSE, "SQLite's triggers do not start each other."),
    FixedKey {
        path: "memory.sqlite_security.trusted_schema",
        accepts: FALSE,
        ignored: Some("true"),
        code: ProblemCode::Weakens,
        doc: "SQLite trusts no function or virtual table that a tampered schema names.",
        help: "write `false` or remove the key; `true` lets a tampered file call functions",
    },
    on("memory.sqlite_security.temp_store", &["memory"], "SQLite's temporary tables never reach the disk."),
    on(
        "memory.access_control.scope_isolation",
        TRUE,
        "The scope is in each policy question and in each SQL statement.",
    ),
    on(
        "memory.access_control.entity_ownership",
        TRUE,
        "Each entity has an owner; the shipped policies let nobody else change it but administrators of memory.",
    ),
    on("memory.access_control.relation_permissions", TRUE, "Each relation is decided by policy."),
    on("memory_security.scope_isolation.enabled", TRUE, "Memory of one scope is not seen from another."),
    on("memory_security.ownership.track_entity_creators", TRUE, "The creator of a row is its owner."),
    on(
        "memory_security.ownership.enforce_ownership_permissions",
        TRUE,
        "The shipped policies let the owner of a row change it, and administrators of memory.",
    ),
    on("memory_security.ownership.allow_ownership_transfer", FALSE, "The owner of a row stays its owner."),
    on("memory_security.audit_logging.log_memory_access", TRUE, "Each access is in the decision log."),
    on("memory_security.audit_logging.log_entity_modifications", TRUE, "Each change is in the decision log."),
    on("memory_security.audit_logging.log_scope_violations", TRUE, "Each refusal is in the decision log."),
    on("communication.message_validation", ENABLED, "A message that is not well formed is refused."),
    on("communication.capability_based_routing", TRUE, "Messages find their receiver by capability."),
    on(
        "communication.config_agent_messaging.prompt_injection_filtering",
        TRUE,
        "Messages are screened; what happens then is policy.",
    ),
    on(
        "communication.config_agent_messaging.tool_call_validation",
        STRICT,
        "Arguments are checked against the tool's schema.",
    ),
    on(
        "communication.memory_communication.entity_access_control",
        TRUE,
        "Each access to an entity is decided by policy.",
    ),
    on(
        "communication.memory_communication.relation_permission_checking",
        TRUE,
        "Each access to a relation is decided by policy.",
    ),
    on(
        "communication.memory_communication.search_query_validation",
        TRUE,
        "Search words never reach the query language.",
    ),
    on("runtime.security.enable_memory_protection", TRUE, "A module reaches its own memory only."),
    on("runtime.security.enable_guard_pages", TRUE, "Pages without access surround a module's memory."),
    on("runtime.security.enable_stack_canaries", TRUE, "A module's return addresses lie outside its memory."),
    on("runtime.security.zero_memory_on_free", TRUE, "A fresh instance never sees memory of another."),
    on("runtime.syscalls.allow_network_access", FALSE, "A module has no network."),
    on("runtime.syscalls.allow_file_system_access", &["none", "restricted"], "A module has no files."),
    on("runtime.limits.max_network_connections", ZERO, "A module has no network."),
    on("runtime.limits.max_threads_per_agent", &["1"], "A module has one thread."),
    on("runtime.limits.max_spawned_processes", ZERO, "A module cannot start processes."),
    off(
        "security.agents.require_signed_deployment",
        FALSE,
        "Only signed agents.",
        "guard the agents directory by file modes until then",
    ),
    on(
        "security.agents.capability_enforcement",
        STRICT,
        "An agent reads and writes memory, sends and takes messages and calls tools only where its file names the capability for it.",
    ),
    on("security.agents.resource_limits", &["enforced"], "Every call of an agent is bounded."),
    off("security.authentication.provider", &["jwt"], "How people prove who they are.", "use `jwt`"),
    on("security.authentication.enabled", TRUE, "Every caller is authenticated."),
    on("security.audit.enabled", TRUE, "No effect without its record."),
    on("security.audit.audit_log_level", &["info"], "Every decision is recorded."),
    on("security.audit.enable_audit_logging", TRUE, "No effect without its record."),
    off(
        "security.audit.include_request_body",
        FALSE,
        "Bodies in the decision log.",
        "arguments are recorded as a digest",
    ),
    off(
        "security.audit.include_response_body",
        FALSE,
        "Answers in the decision log.",
        "answers are not recorded",
    ),
    on("security.audit.include_user_agent", TRUE, "The caller's program is in each record."),
    on("security.audit.include_source_ip", TRUE, "The caller's address is in each record."),
];

/// Reads them all.
pub(super) fn read(reader: &mut Reader<'_>) {
    for fixed in ALL {
        reader.fixed(fixed);
    }
}
