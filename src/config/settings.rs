//! What the configuration says, typed and checked.
//!
//! The composition root turns these into the settings of each module; no module knows this one. There is no `Debug`
//! and no `Clone`: some fields are secrets.

mod agents;
mod attributes;
mod authorization;
mod identity;
mod mcp;
mod memory;
mod model;
mod runtime;
mod security;
mod server;
mod tls;
mod vault;

pub use agents::{AgentLimits, Communication, ConfigAgents, Screening, ToolSecurity};
pub use attributes::Attributes;
pub use authorization::{Authorization, BundleSource};
pub use identity::{ApiKeys, Authentication, Dpop, Jwks, Jwt, JwtAlgorithm, JwtKey, OwnTokens};
pub use mcp::{Mcp, McpServer, Transport};
pub use memory::Memory;
pub use model::Model;
pub use runtime::Runtime;
pub use security::{Audit, Durability, RateLimit, Security};
pub use server::{ForwardedBy, LogLevel, Server};
pub use tls::{ClientCertificateUse, ClientCertificates, Tls, TlsVersion};

use super::kind::Flag;
use super::problem::{Code, Problem};
use super::reader::Reader;

/// The whole configuration.
pub struct Settings {
    /// Listeners, directories, bounds of HTTP.
    pub server: Server,
    /// The MCP endpoint and the servers behind it.
    pub mcp: Mcp,
    /// Memory.
    pub memory: Memory,
    /// WebAssembly.
    pub runtime: Runtime,
    /// The language model; `None` when agents have none.
    pub model: Option<Model>,
    /// Identity, policy, limits, decision log.
    pub security: Security,
    /// Screening of untrusted text.
    pub screening: Screening,
    /// Messages.
    pub communication: Communication,
    /// Agents described by files.
    pub config_agents: ConfigAgents,
    /// Which tools may be called at all.
    pub tool_security: ToolSecurity,
}

impl Settings {
    /// Asks for every key. What is wrong is in `reader` afterwards.
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        reader.weakened = reader.value(
            "security.allow_weakened",
            Flag,
            false,
            "Accept values that weaken a protection, such as an upstream without TLS. Each of them is said at start.",
        );
        super::fixed::read(reader);
        let server = Server::read(reader);
        let security = Security::read(reader, &server.data_dir);
        check_transport(reader, &server, &security);
        Self {
            mcp: Mcp::read(reader, server.host),
            memory: Memory::read(reader),
            runtime: Runtime::read(reader),
            model: Model::read(reader),
            security,
            screening: Screening::read(reader),
            communication: Communication::read(reader),
            config_agents: ConfigAgents::read(reader),
            tool_security: ToolSecurity::read(reader),
            server,
        }
    }
}

/// Two keys of two sections: plain HTTP for a network whose requests would all be refused serves nobody.
fn check_transport(reader: &mut Reader<'_>, server: &Server, security: &Security) {
    const INSECURE: &str = "server.insecure_http";
    let proxied = !server.trusted_proxies.is_empty();
    if server.insecure_http && server.tls.is_none() && !proxied && security.authentication.require_tls {
        let problem = Problem::error(
            Code::Contradiction,
            "every request would be refused: `security.authentication.require_tls` wants TLS",
        );
        let help = "give a certificate in `server.tls`; name the proxies that end TLS in `server.trusted_proxies`; or let credentials cross the network in the clear with `security.authentication.require_tls: false`";
        reader.tell(problem.with_help(help), INSECURE);
    }
}
