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

/// A key of a guide that has another name here.
const fn renamed(path: &'static str, instead: &'static str) -> UnsupportedKey {
    unsupported(path, "a name of the guides", instead)
}

const POLICY: &str = "remove the key and write the rule as a policy in `security.authorization.policy_dir`";
const REMOVE: &str = "remove the key";
const LOG: &str = "remove the key; the decision log holds every decision, rotate and keep it by other means";
const HOST: &str = "remove the key; limit the process by systemd or the container";

/// All of them, in the order of the reference.
pub const UNSUPPORTED: &[UnsupportedKey] = &[
    renamed("api.tls.enabled", "write `server.tls.enabled`"),
    renamed("api.tls.cert", "write `server.tls.cert_path`"),
    renamed("api.tls.key", "write `server.tls.key_path`"),
    renamed("api.tls.min_version", "write `server.tls.min_version`"),
    renamed("api.tls.cipher_suites", "write `server.tls.cipher_suites`"),
    renamed("server.tls.ciphers", "write `server.tls.cipher_suites`"),
    renamed("networking.tls.cert_file", "write `server.tls.cert_path`"),
    renamed("networking.tls.key_file", "write `server.tls.key_path`"),
    renamed("networking.tls.ca_file", "write `server.tls.ca_file`"),
    renamed("networking.tls.min_tls_version", "write `server.tls.min_version`"),
    renamed("networking.tls.cipher_suites", "write `server.tls.cipher_suites`"),
    renamed("networking.tls.require_client_cert", "write `server.tls.require_client_cert`"),
    renamed("networking.tls.verify_client_cert", "write `server.tls.verify_client_cert`"),
    renamed("networking.tls.enable_ocsp_stapling", "write `server.tls.enable_ocsp_stapling`"),
    renamed("networking.tls.ocsp_responder_url", "write `server.tls.ocsp_responder_url`"),
    unsupported(
        "config_agents.isolation.conversation_limits",
        "conversations of one agent",
        "use `communication.max_conversations_per_sender` and `communication.max_messages`",
    ),
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
        "security.authentication.jwt_secret",
        "a shared secret in the file",
        "use `jwt_hs256_secret_file`",
    ),
    unsupported(
        "security.authorization.model",
        "the guides' role model",
        "remove the key; `caxton policy import --from rbac FILE` makes policies of its rules",
    ),
    unsupported(
        "security.authorization.policy_file",
        "the guides' role rules",
        "remove the key; `caxton policy import --from rbac FILE` makes policies of the file",
    ),
    unsupported(
        "security.roles",
        "roles, compiled to policies",
        "write the roles into a file and name it with `security.authorization.roles_file`, or make policies of it with `caxton policy import-roles FILE`",
    ),
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
    unsupported("security.cluster", "several gateways", "remove the keys; run one gateway"),
];
