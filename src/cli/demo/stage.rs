//! Sets the stage: a directory of its own, two agents, four principals, a gateway on free loopback ports.

use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use crate::authn::issue::TokenIssuer;
use crate::authn::jwt::{JwtAlgorithm, JwtKey, KeyMaterial};
use crate::authn::{KeyHolder, KeyStore};
use crate::clock::{Clock as _, SystemClock};
use crate::model::{AgentId, RoleName, ServiceName};
use crate::secret::Secret;
use crate::server::{Gateway, Settings};

const ISSUER: &str = "https://login.example";
const AUDIENCE: &str = "caxton-api";
const HOUR: Duration = Duration::from_secs(3600);

const CLERK: &str = "---
name: clerk
version: \"1.0.0\"
description: Counts, remembers and recalls for those who ask.
capabilities: [desk, memory-read, memory-write, message-receive, tool-access]
tools: [csv_parser]
workspace: office
handler: builtin:echo_agent
---

You are the clerk at the desk. Do what the sender asks with the tools you have.
";

const RESEARCHER: &str = "---
name: researcher
version: \"1.0.0\"
description: Looks things up and keeps notes of its own.
capabilities: [research, memory-read, memory-write, message-receive, tool-access]
tools: [csv_parser]
workspace: lab
handler: builtin:echo_agent
---

You are a careful researcher.
";

/// The credential of a principal.
pub(super) enum DemoCredential {
    Token(Secret<String>),
    Key(Secret<String>),
}

/// The four principals that call.
pub(super) struct Principals {
    /// A person, with a token; role developer.
    pub(super) ada: DemoCredential,
    /// A build job, with an API key; may list and call tools.
    pub(super) ci: DemoCredential,
    /// An agent, with a key of its own.
    pub(super) researcher: DemoCredential,
    /// Another.
    pub(super) clerk: DemoCredential,
}

/// A gateway with its principals.
pub(super) struct DemoGateway {
    directory: PathBuf,
    gateway: Gateway,
    pub(super) cast: Principals,
}

impl DemoGateway {
    pub(super) async fn set_up() -> anyhow::Result<Self> {
        let directory = std::env::temp_dir().join(format!("caxton-demo-{}", uuid::Uuid::now_v7().simple()));
        fs::DirBuilder::new().mode(0o700).create(&directory)?;
        let agents = directory.join("agents");
        fs::DirBuilder::new().mode(0o700).create(&agents)?;
        write(&agents.join("clerk.md"), CLERK)?;
        write(&agents.join("researcher.md"), RESEARCHER)?;

        let data = directory.join("data");
        let mut settings = Settings::embedded(data);
        settings.agents.directory = Some(agents);
        // What it shows is no answer of a busy machine.
        settings.audit.deadline = Duration::from_secs(10);
        let issuer = TokenIssuer::generate(ISSUER, AUDIENCE, Arc::new(SystemClock))?;
        settings.authn.jwt = Some(crate::authn::jwt::Settings {
            keys: vec![JwtKey {
                name: "demo".into(),
                algorithm: JwtAlgorithm::EdDsa,
                material: KeyMaterial::Pem(issuer.public_pem()?),
                kid: None,
            }],
            issuer: ISSUER.into(),
            audience: AUDIENCE.into(),
            ..Default::default()
        });
        let cast = cast(&issuer, &KeyStore::open(&settings.authn.api_keys)?)?;
        let gateway = Gateway::start(settings).await?;
        Ok(Self { directory, gateway, cast })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.gateway.address()
    }

    pub(super) fn operations(&self) -> SocketAddr {
        self.gateway.operations()
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(super) fn log(&self) -> PathBuf {
        self.directory.join("data/audit.log")
    }

    pub(super) async fn close(self) {
        self.gateway.drain().await;
    }
}

fn write(path: &Path, text: &str) -> std::io::Result<()> {
    fs::OpenOptions::new().create_new(true).write(true).mode(0o600).open(path)?.write_all(text.as_bytes())
}

fn cast(issuer: &TokenIssuer, keys: &KeyStore) -> anyhow::Result<Principals> {
    let now = SystemClock.now_millis();
    let expires = now + i64::try_from(HOUR.as_millis())?;
    let make = |name: &str, holder: KeyHolder, permissions: &[&str]| -> anyhow::Result<DemoCredential> {
        let words = permissions.iter().map(RoleName::parse).collect::<Result<Vec<_>, _>>()?;
        Ok(DemoCredential::Key(
            keys.create(&ServiceName::parse(name)?, &holder, &words, now, expires)?.secret,
        ))
    };
    let agent = |name: &str| make(name, KeyHolder::Agent(AgentId::parse(name)?), &[]);
    let claims = json!({ "email": "ada@example.org", "roles": ["developer"] });
    let claims = claims.as_object().cloned().unwrap_or_default();
    Ok(Principals {
        ada: DemoCredential::Token(issuer.issue("ada", HOUR, claims)),
        ci: make("build-job", KeyHolder::Service, &["tool:list", "tool:call"])?,
        researcher: agent("researcher")?,
        clerk: agent("clerk")?,
    })
}
