//! What the configuration says, typed and checked.
//!
//! Each section asks for its keys and returns the settings of the module that they belong to, so that a new key is
//! one call in one section. No other module imports this one.

mod agents;
mod api_keys;
mod attributes;
mod audit;
mod audit_sinks;
mod authorization;
mod communication;
mod emergency;
mod identity;
mod mcp;
mod mcp_auth;
mod memory;
mod model;
mod oauth2;
mod rate_limit;
mod runtime;
mod screening;
mod security;
mod server;
mod telemetry;
mod tls;
mod vault;

pub use server::LogLevel;

use self::agents::ConfigAgents;
use self::mcp::Mcp;
use self::security::Security;
use self::server::Server;
use super::gateway::Settings;
use super::problem::{ConfigProblem, ProblemCode};
use super::reader::Reader;
use super::value_type::Flag;
use crate::changes::ReloadSettings;
use crate::secrets::VaultSettings;

/// The whole configuration. There is no `Debug` and no `Clone`: some fields are secrets.
pub(super) struct Configuration {
    pub(super) gateway: Settings,
    pub(super) process: ProcessSettings,
}

/// What the configuration says of the process around the gateway, and of the configuration itself.
pub struct ProcessSettings {
    /// The level of the program log.
    pub log_level: LogLevel,
    /// The Vault that secrets come from; `None`: from the environment and files only.
    pub vault: Option<VaultSettings>,
    /// Whether values that weaken a protection are accepted.
    pub allow_weakened: bool,
    /// Whether HTTP without TLS is served on addresses other than loopback.
    pub insecure_http: bool,
}

/// Asks for every key. What is wrong is in `reader` afterwards.
pub(super) fn read(reader: &mut Reader<'_>) -> Configuration {
    reader.weakened = reader.value(
        "security.allow_weakened",
        Flag,
        false,
        "Accept values that weaken a protection, such as an upstream without TLS. Each of them is said at start.",
    );
    super::always_on::read(reader);
    let mut server = Server::read(reader);
    let security = Security::read(reader, &mut server);
    check_transport(reader, &server);
    let schema_dir = security.authorization.schema_dir.clone();
    let Mcp { mut tools, allowed_origins, allowed_hosts } = Mcp::read(reader, &server, schema_dir);
    let memory = memory::read(reader, &server.data_dir);
    let sandbox = runtime::read(reader);
    let model = model::read(reader);
    let traces = telemetry::read(reader);
    let screen = screening::read(reader);
    let messages = communication::read(reader);
    let longest = messages.max_message_bytes;
    server.api.max_body_bytes = body_bound(reader, server.api.max_body_bytes, longest);
    let agents = ConfigAgents::read(reader, server.agents_dir);
    mcp::tool_security(reader, &mut tools);

    server.api.allowed_origins = allowed_origins;
    server.api.allowed_hosts = allowed_hosts;
    let Security { authn, authorization, .. } = security;
    let gateway = Settings {
        listen: server.listen,
        operations: server.operations,
        policy_dir: authorization.policy_dir,
        schema_dir: authorization.schema_dir,
        extend_shipped: authorization.extend_shipped,
        roles_file: authorization.roles_file,
        published: authorization.published,
        candidate_dir: authorization.candidate_dir,
        reload: ReloadSettings {
            timeout: agents.reload_timeout,
            max_bundle_bytes: authorization.max_bundle_bytes,
            data_dir: server.data_dir,
        },
        follow: authorization.follow,
        policy: authorization.policy,
        audit: security.audit,
        siem: security.siem,
        replayable: security.replayable,
        authn,
        limit: security.limit,
        quotas: security.quotas,
        failures: security.failures,
        screen,
        sessions: security.sessions,
        memory,
        sandbox,
        tools,
        attributes: security.attributes,
        agents: agents.agents,
        messages,
        runtime: agents.runtime,
        model,
        api: server.api,
        tls: server.tls,
        http: server.http,
        traces,
        lockdown: security.lockdown,
        shutdown_grace: server.shutdown_grace,
    };
    let process = ProcessSettings {
        log_level: server.log_level,
        vault: security.vault,
        allow_weakened: reader.weakened,
        insecure_http: server.insecure_http,
    };
    Configuration { gateway, process }
}

/// What stands around the content of a message in a body: names, the conversation, and some escapes of JSON.
const ENVELOPE_BYTES: usize = 64 << 10;

/// The bound of a body: where the file does not give one, the longest message fits.
fn body_bound(reader: &mut Reader<'_>, max_body: usize, longest_message: usize) -> usize {
    const BODY: &str = "server.max_body";
    const MESSAGE: &str = "communication.max_message_size_kb";
    let needed = longest_message.saturating_add(ENVELOPE_BYTES);
    if needed <= max_body {
        return max_body;
    }
    if !reader.is_given(BODY) {
        return needed;
    }
    if reader.is_given(MESSAGE) {
        let message = format!("a message of this size does not fit into a body of `{BODY}`");
        let problem = ConfigProblem::warning(ProblemCode::Contradiction, message);
        let help = format!("set `{BODY}` to {} KB or more, or remove it", needed.div_ceil(1_024));
        reader.report(problem.with_help(help), MESSAGE);
    }
    max_body
}

/// Two keys of two sections: plain HTTP for a network whose requests would all be refused is a mistake.
fn check_transport(reader: &mut Reader<'_>, server: &Server) {
    const INSECURE: &str = "server.insecure_http";
    let proxied = !server.api.proxies.networks.is_empty();
    if server.insecure_http && server.tls.is_none() && !proxied && server.api.require_tls {
        let problem = ConfigProblem::error(
            ProblemCode::Contradiction,
            "every request would be refused: `security.authentication.require_tls` wants TLS",
        );
        let help = "give a certificate in `server.tls`; name the proxies that end TLS in `server.trusted_proxies`; or let credentials cross the network in the clear with `security.authentication.require_tls: false`";
        reader.report(problem.with_help(help), INSECURE);
    }
}
