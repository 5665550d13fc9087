//! What can be set about tools.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::model::{ServerName, ToolId};
use crate::secret::{Address, Secret};

use super::auth::UpstreamAuth;
use super::connections::ConnectionSettings;

/// Which servers there are, and the bounds on what they may send.
#[derive(Debug)]
pub struct Settings {
    /// The upstream servers. None by default.
    pub servers: Vec<ServerSettings>,
    /// Take over the tools of a server without pinned definitions as they are first seen. Off by default.
    pub auto_import: bool,
    /// The directory of the schemas; pins and fragments of tools are in its subdirectory `tools`.
    pub schema_dir: PathBuf,
    /// The most tools one server may list; one that lists more is refused as a whole.
    pub max_tools_per_server: usize,
    /// The most bytes of one tool's definition.
    pub max_definition_bytes: usize,
    /// The most bytes of one result.
    pub max_response_bytes: usize,
    /// The most calls under way at one server; further ones wait within their own deadline.
    pub max_concurrent_calls: usize,
    /// How often a server is asked again for its tools, so that a changed one is noticed.
    pub refresh_interval: Duration,
    /// The shortest time between two such questions, however often the server says that something changed.
    pub refresh_gap: Duration,
    /// The first pause before a lost server is tried again; it doubles.
    pub retry_min: Duration,
    /// The longest pause before a lost server is tried again.
    pub retry_max: Duration,
    /// When given, only these tools exist: names, or ids with their server.
    pub allowed_tools: Option<BTreeSet<String>>,
    /// These tools do not exist, also when they are allowed elsewhere: names, or ids with their server.
    pub forbidden_tools: BTreeSet<String>,
    /// The accounts that callers connect at servers.
    pub connections: ConnectionSettings,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            auto_import: false,
            schema_dir: PathBuf::from("schemas"),
            max_tools_per_server: 256,
            max_definition_bytes: 64 * 1024,
            max_response_bytes: 4 * 1024 * 1024,
            max_concurrent_calls: 32,
            refresh_interval: Duration::from_secs(300),
            refresh_gap: Duration::from_secs(1),
            retry_min: Duration::from_secs(1),
            retry_max: Duration::from_secs(60),
            allowed_tools: None,
            forbidden_tools: BTreeSet::new(),
            connections: ConnectionSettings::default(),
        }
    }
}

impl Settings {
    /// Whether the configuration admits this tool; which principal may call it is policy.
    pub(super) fn admits(&self, id: &ToolId) -> bool {
        let named = |set: &BTreeSet<String>| set.contains(id.as_str()) || set.contains(id.tool());
        self.allowed_tools.as_ref().is_none_or(named) && !named(&self.forbidden_tools)
    }

    /// The directory of pins and fragments.
    pub fn pin_dir(&self) -> PathBuf {
        self.schema_dir.join("tools")
    }
}

/// One upstream MCP server.
#[derive(Debug)]
pub struct ServerSettings {
    /// Its name here: the first part of its tools' ids.
    pub name: ServerName,
    /// How it is reached.
    pub transport: Transport,
    /// The gateway's credentials there by OAuth; over HTTP only. None by default.
    pub auth: Option<Arc<UpstreamAuth>>,
    /// The deadline for connecting and for listing its tools, each.
    pub connect_timeout: Duration,
    /// The deadline of a call.
    pub call_timeout: Duration,
    /// Labels of the output of a tool (`pii`), by tool name; put on the session when it is called.
    pub labels: BTreeMap<String, BTreeSet<Arc<str>>>,
    /// Tools that an agent calls for an actor only where the actor may call them too; `*` for all of the server's.
    pub actor_bound: BTreeSet<String>,
}

impl ServerSettings {
    /// A server with the default deadlines (10 s to connect, 30 s a call) and no labels.
    pub fn new(name: ServerName, transport: Transport) -> Self {
        Self {
            name,
            transport,
            auth: None,
            connect_timeout: Duration::from_secs(10),
            call_timeout: Duration::from_secs(30),
            labels: BTreeMap::new(),
            actor_bound: BTreeSet::new(),
        }
    }
}

/// How a server is reached. Its credentials are the gateway's own; a client's token is never passed on.
pub enum Transport {
    /// Streamable HTTP.
    Http {
        /// The endpoint, `http://` or `https://`.
        url: Address,
        /// Headers of every request, such as `Authorization`.
        headers: Vec<(String, Secret<String>)>,
    },
    /// A child process that speaks on its standard input and output.
    Stdio {
        /// The program, looked up in `PATH` of `env`, else in the system's usual directories.
        command: String,
        /// Its arguments.
        args: Vec<String>,
        /// Its whole environment; nothing is inherited.
        env: Vec<(String, Secret<String>)>,
    },
}

/// Names, never values: headers and environment hold credentials, and arguments may.
impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = |pairs: &[(String, Secret<String>)]| -> Vec<String> {
            pairs.iter().map(|(name, _)| name.clone()).collect()
        };
        match self {
            Self::Http { url, headers } => {
                f.debug_struct("Http").field("url", url).field("headers", &names(headers)).finish()
            }
            Self::Stdio { command, args, env } => f
                .debug_struct("Stdio")
                .field("command", command)
                .field("args", &args.len())
                .field("env", &names(env))
                .finish(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn allowing_and_forbidding_go_by_name_or_by_id() {
        let id = ToolId::parse("files___read").unwrap();
        let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
        let admits = |allowed: Option<&[&str]>, forbidden: &[&str]| {
            Settings {
                allowed_tools: allowed.map(set),
                forbidden_tools: set(forbidden),
                ..Settings::default()
            }
            .admits(&id)
        };
        assert!(admits(None, &[]));
        assert!(admits(Some(&["read"]), &[]));
        assert!(admits(Some(&["files___read"]), &["write"]));
        assert!(!admits(Some(&["other___read"]), &[]));
        assert!(!admits(Some(&[]), &[]));
        assert!(!admits(Some(&["read"]), &["files___read"]), "forbidding wins");
    }

    #[test]
    fn credentials_are_not_shown() {
        let transport = Transport::Http {
            url: "http://127.0.0.1/mcp?key=s3cret".parse().unwrap(),
            headers: vec![("authorization".to_owned(), Secret::new("Bearer s3cret".to_owned()))],
        };
        let shown = format!("{transport:?}");
        assert!(shown.contains("authorization") && !shown.contains("s3cret"), "{shown}");
    }
}
