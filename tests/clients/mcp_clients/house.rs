//! A gateway in a directory of its own, with the `everything` server behind it and two callers who have keys.

use std::fs;
use std::path::{Path, PathBuf};

use caxton::authn::{KeyHolder, KeyStore};
use caxton::clock::{Clock as _, SystemClock};
use caxton::model::{AgentId, RoleName, ServerName, ServiceName};
use caxton::secret::Secret;
use caxton::server::Gateway;
use caxton::tools::{ServerSettings, Transport};
use serde_json::json;
use tempfile::TempDir;

use super::callers::{AGENT, SERVICE};
use super::clients::Installed;
use super::log::Log;
use crate::support::node::Node;
use crate::support::{PATIENCE, settings};

/// How the server is reached.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Upstream {
    Stdio,
    Http,
}

const HOUR: i64 = 3_600_000;

const ADDER: &str = "---
name: adder
version: \"1.0.0\"
description: Repeats and adds.
capabilities: [sums, message-receive, tool-access]
tools: [everything___echo, everything___get-sum]
---

You repeat and add.
";

pub(crate) struct House {
    directory: TempDir,
    gateway: Gateway,
    service: Secret<String>,
    agent: Secret<String>,
    /// The HTTP server.
    _server: Option<Node>,
}

impl House {
    pub(crate) async fn open(upstream: Upstream, installed: &Installed) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path();
        let mut settings = settings(place.join("data"));
        settings.policy_dir = Some(policies(place, installed));
        settings.agents.directory = Some(agents(place));
        let (transport, server) = match upstream {
            Upstream::Stdio => (stdio(installed), None),
            Upstream::Http => {
                let server = Node::start("everything-http.mjs", &json!({})).await;
                let url = format!("http://127.0.0.1:{}/mcp", server.said["port"]);
                (Transport::Http { url: url.parse().unwrap(), headers: Vec::new() }, Some(server))
            }
        };
        let everything = ServerSettings::new(ServerName::parse("everything").unwrap(), transport);
        settings.tools.servers =
            vec![ServerSettings { connect_timeout: PATIENCE, call_timeout: PATIENCE, ..everything }];
        settings.tools.auto_import = true;
        settings.tools.schema_dir = place.join("schemas");

        let keys = KeyStore::open(&settings.authn.api_keys).unwrap();
        let service = key(&keys, SERVICE, &KeyHolder::Service, &["tool:list", "tool:call"]);
        let agent = key(&keys, AGENT, &KeyHolder::Agent(AgentId::parse(AGENT).unwrap()), &[]);
        let gateway = Gateway::start(settings).await.unwrap();
        Self { directory, gateway, service, agent, _server: server }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/mcp", self.gateway.address())
    }

    pub(crate) fn key(&self, who: &str) -> &str {
        match who {
            SERVICE => self.service.expose(),
            AGENT => self.agent.expose(),
            nobody => panic!("{nobody} has no key"),
        }
    }

    /// Ends the gateway, and reads what it wrote down.
    pub(crate) async fn close(self) -> Log {
        self.gateway.drain().await;
        Log::read(&self.directory.path().join("data/audit.log"))
    }
}

/// The shipped policies and those of the test.
fn policies(place: &Path, installed: &Installed) -> PathBuf {
    let directory = place.join("policies");
    fs::create_dir(&directory).unwrap();
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("policies");
    for entry in fs::read_dir(shipped).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, directory.join(path.file_name().unwrap())).unwrap();
    }
    fs::copy(installed.file("limits.cedar"), directory.join("limits.cedar")).unwrap();
    directory
}

fn agents(place: &Path) -> PathBuf {
    let directory = place.join("agents");
    fs::create_dir(&directory).unwrap();
    fs::write(directory.join("adder.md"), ADDER).unwrap();
    directory
}

fn stdio(installed: &Installed) -> Transport {
    let path = std::env::var_os("PATH").unwrap().into_string().unwrap();
    let program = installed.server_package().to_str().unwrap().to_owned();
    Transport::Stdio {
        command: "node".to_owned(),
        args: vec![program, "stdio".to_owned()],
        env: vec![("PATH".to_owned(), Secret::new(path))],
    }
}

fn key(keys: &KeyStore, name: &str, holder: &KeyHolder, permissions: &[&str]) -> Secret<String> {
    let words: Vec<RoleName> = permissions.iter().map(|word| RoleName::parse(word).unwrap()).collect();
    let now = SystemClock.now_millis();
    keys.create(&ServiceName::parse(name).unwrap(), holder, &words, now, now + HOUR).unwrap().secret
}
