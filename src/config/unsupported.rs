//! Keys of the guides that this version does not support.
//!
//! They are known, so that a file from a guide gets an answer that helps instead of "no such key", and so that a
//! protection that was asked for is never silently absent. To give a key a meaning, remove its line here and read it in
//! `settings`.

/// One key, or all keys below one.
#[derive(Debug)]
pub struct UnsupportedKey {
    /// The path.
    pub path: &'static str,
    /// What a later version will do with it.
    pub doc: &'static str,
    /// The advice until then.
    pub instead: &'static str,
}

const fn unsupported(path: &'static str, doc: &'static str, instead: &'static str) -> UnsupportedKey {
    UnsupportedKey { path, doc, instead }
}

const TLS: &str = "remove the key; use `server.tls`";
const POLICY: &str = "remove the key and write the rule as a policy in `security.authorization.policy_dir`";
const REMOVE: &str = "remove the key";
const LOG: &str = "remove the key; the decision log holds every decision, rotate and keep it by other means";
const HOST: &str = "remove the key; limit the process by systemd or the container";

/// All of them, in the order of the reference.
pub const UNSUPPORTED: &[UnsupportedKey] = &[
    unsupported(
        "server.file_permissions",
        "the widest mode of agent files",
        "remove the key; set the modes with `chmod`",
    ),
    unsupported("networking", "TLS of the guides' TOML form, `server.tls` here", TLS),
    unsupported("config_agents.isolation.conversation_limits", "conversations of one agent", REMOVE),
    unsupported(
        "config_agents.security_policies.allowed_tools",
        "tools of all agents",
        "use `tool_security.allowed_tools`",
    ),
    unsupported("tool_security.tool_policies", "limits of single tools", POLICY),
    unsupported("tool_security.agent_restrictions", "limits of single agents", POLICY),
    unsupported("memory.encryption", "memory encrypted at rest", "remove the key; encrypt the disk"),
    unsupported("memory.sensitive_patterns", "texts that memory refuses or masks", REMOVE),
    unsupported(
        "memory_security.scope_isolation.default_scope",
        "the scope of a call that names none",
        REMOVE,
    ),
    unsupported("memory_security.scope_isolation.agent_scope", "who may use agent scopes", POLICY),
    unsupported("memory_security.scope_isolation.workspace_scope", "who may use workspace scopes", POLICY),
    unsupported("memory_security.scope_isolation.global_scope", "who may use the global scope", POLICY),
    unsupported(
        "memory_security.ownership.enforce_ownership_permissions",
        "only owners may change rows",
        POLICY,
    ),
    unsupported("memory_security.ownership.allow_ownership_transfer", "owners may hand rows over", REMOVE),
    unsupported("memory_security.audit_logging.retention_days", "how long records of memory are kept", LOG),
    unsupported("communication.content_sanitization", "clean the content of messages", REMOVE),
    unsupported(
        "communication.config_agent_messaging.response_sanitization",
        "clean the answers of agents",
        REMOVE,
    ),
    unsupported(
        "communication.config_agent_messaging.conversation_memory_isolation",
        "memory of one conversation kept from another",
        "remove the key; give agents memory scopes of their own",
    ),
    unsupported(
        "communication.memory_communication.embedding_access_logging",
        "log the use of embeddings",
        REMOVE,
    ),
    unsupported("runtime.limits.cpu_quota_per_agent", "share of a processor", "use `runtime.limits.fuel`"),
    unsupported(
        "runtime.limits.max_file_descriptors",
        "open files of a module",
        "remove the key; a module has no files",
    ),
    unsupported(
        "runtime.limits.max_disk_io_bytes",
        "bytes read and written",
        "remove the key; a module has no files",
    ),
    unsupported(
        "security.authentication.jwt_secret",
        "a shared secret in the file",
        "use `jwt_hs256_secret_file`",
    ),
    unsupported("security.authorization.model", "the guides' role model", POLICY),
    unsupported("security.authorization.policy_file", "the guides' role rules", POLICY),
    unsupported("security.roles", "roles, compiled to policies", POLICY),
    unsupported(
        "security.api_keys.salt",
        "a salt",
        "remove the key; a pepper is made and kept in the data directory",
    ),
    unsupported("security.runtime_protection", "watch files, processes and connections", HOST),
    unsupported("security.emergency.lockdown_allowed_operations", "what lockdown lets through", REMOVE),
    unsupported("security.emergency.notification_webhook", "notifications of an emergency", REMOVE),
    unsupported("security.emergency.emergency_contacts", "notifications of an emergency", REMOVE),
    unsupported(
        "security.emergency.auto_quarantine_suspicious_agents",
        "set suspicious agents apart",
        REMOVE,
    ),
    unsupported(
        "security.audit.audit_log_level",
        "leave records out",
        "remove the key; every decision is recorded",
    ),
    unsupported(
        "security.audit.audit_events",
        "leave kinds of records out",
        "remove the key; every decision is recorded",
    ),
    unsupported("security.audit.retention_days", "how long records are kept", LOG),
    unsupported(
        "security.audit.sinks",
        "receivers of the decision log",
        "remove the keys; read the log file",
    ),
    unsupported("security.cluster", "several gateways", "remove the keys; run one gateway"),
];
