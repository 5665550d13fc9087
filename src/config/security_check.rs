//! Legal settings that make an installation weaker than it could be.
//!
//! The embedded defaults suit a laptop; each of them that does not suit a server is named here.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde::Serialize;

use super::document::{Node, Value};
use super::reader::Reader;
use super::{LoadedConfig, MinVersion, ProblemCode, ProcessSettings, Settings};
use crate::audit::Durability;
use crate::authn::jwt::JwtAlgorithm;
use crate::tools::Transport;

/// A legal setting that weakens the installation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Weakness {
    /// The key.
    pub key: String,
    /// Its value.
    pub value: String,
    /// The risk.
    pub why: String,
    /// The correction.
    pub fix: String,
}

fn weakness(key: &str, value: impl Into<String>, why: &str, fix: &str) -> Weakness {
    Weakness { key: key.into(), value: value.into(), why: why.into(), fix: fix.into() }
}

/// Facts about the file beside its keys.
#[derive(Debug, Default)]
pub(super) struct FileFacts {
    /// The first key whose secret stands in the file as text.
    literal_secret: Option<String>,
    /// The mode, when the file was looked at.
    mode: Option<u32>,
}

impl FileFacts {
    pub(super) fn of(reader: &Reader<'_>, root: &Node) -> Self {
        let literal = |path: &str| root.find(path).is_some_and(is_literal);
        let plain = reader.keys.iter().filter(|key| key.secret && !key.path.contains('['));
        let literal_secret = plain.map(|key| key.path.clone()).find(|path| literal(path)).or_else(|| {
            let servers = root.find("mcp.servers")?;
            let Value::List(items) = &servers.value else { return None };
            let keys = ["headers", "env", "auth.client_secret", "auth.identity_provider.client_secret"];
            let any = |item: &Node| keys.iter().any(|key| item.find(key).is_some_and(is_literal));
            items.iter().any(any).then(|| String::from("mcp.servers"))
        });
        Self { literal_secret, mode: None }
    }

    pub(super) fn look_at(&mut self, path: &Path) {
        self.mode = std::fs::metadata(path).ok().map(|found| found.permissions().mode() & 0o777);
    }

    fn check(&self, found: &mut Vec<Weakness>) {
        let Some(mode) = self.mode else { return };
        let shown = format!("{mode:o}");
        if mode & 0o022 != 0 {
            found.push(weakness(
                "(file mode)",
                shown.clone(),
                "others than its owner can change the configuration",
                "`chmod go-w` the file",
            ));
        }
        if let (Some(key), true) = (&self.literal_secret, mode & 0o044 != 0) {
            found.push(weakness(
                key,
                "(secret)",
                "the secret stands in a file that others can read",
                "write `${NAME}`, or `chmod 600` the file",
            ));
        }
    }
}

/// True when a value holds text that no variable provides.
fn is_literal(node: &Node) -> bool {
    match &node.value {
        Value::Empty => false,
        Value::Scalar(scalar) => !scalar.text.contains("${"),
        Value::List(items) => items.iter().any(is_literal),
        Value::Section(entries) => entries.iter().any(|(_, value)| is_literal(value)),
    }
}

/// All legal settings that weaken the installation, in the order of the keys.
pub fn security_check(loaded: &LoadedConfig) -> Vec<Weakness> {
    let LoadedConfig { settings, process, .. } = loaded;
    let mut found = Vec::new();
    loaded.file_facts.check(&mut found);
    for warning in loaded.warnings.problems.iter().filter(|problem| problem.code == ProblemCode::Weakens) {
        let fix = warning.help.clone().unwrap_or_default();
        let key = warning.key.clone().unwrap_or_default();
        found.push(Weakness { key, value: String::from("(ignored)"), why: warning.message.clone(), fix });
    }
    listeners(settings, process, &mut found);
    identity(settings, process, &mut found);
    upstreams(settings, &mut found);
    if settings.audit.durability == Durability::Written {
        found.push(weakness(
            "security.audit.durability",
            "written",
            "a crash of the host can lose the records of the last second",
            "write `synced`",
        ));
    }
    found
}

fn listeners(settings: &Settings, process: &ProcessSettings, found: &mut Vec<Weakness>) {
    if process.insecure_http {
        found.push(weakness(
            "server.insecure_http",
            "true",
            "credentials cross the network in the clear",
            "give `server.tls.cert_path` and `server.tls.key_path`",
        ));
    } else if let Some(tls) = &settings.tls {
        if tls.min_version == MinVersion::Tls12 {
            found.push(weakness(
                "server.tls.min_version",
                "1.2",
                "handshakes of TLS 1.2 show certificates and have weaker suites",
                "write `\"1.3\"`, or remove the key",
            ));
        }
    } else {
        found.push(weakness(
            "server.tls.enabled",
            "false",
            "the API has no TLS and serves this host only",
            "give `server.tls.cert_path` and `server.tls.key_path`",
        ));
    }
    if settings.authn.mtls.as_ref().is_some_and(|clients| clients.insecure_cn_identity) {
        found.push(weakness(
            "server.tls.insecure_cn_identity",
            "true",
            "authorities check common names least, and two of them can give the same one",
            "issue certificates with a URI or DNS name, and remove the key",
        ));
    }
    if !settings.operations.ip().is_loopback() {
        found.push(weakness(
            "server.metrics_host",
            settings.operations.ip().to_string(),
            "metrics ask for no credentials",
            "listen on loopback, or let a firewall admit the scraper only",
        ));
    }
}

fn identity(settings: &Settings, process: &ProcessSettings, found: &mut Vec<Weakness>) {
    if process.allow_weakened {
        found.push(weakness(
            "security.allow_weakened",
            "true",
            "values that weaken a protection are accepted",
            "remove the key",
        ));
    }
    if !settings.api.require_tls {
        found.push(weakness(
            "security.authentication.require_tls",
            "false",
            "credentials that cross the network in the clear are accepted",
            "remove the key",
        ));
    }
    match &settings.authn.jwt {
        Some(jwt) if jwt.keys.iter().any(|key| key.algorithm == JwtAlgorithm::Hs256) => found.push(weakness(
            "security.authentication.jwt_algorithm",
            "HS256",
            "every holder of the verification key can also issue tokens",
            "use `EdDSA`, `ES256` or `RS256` with a public key",
        )),
        Some(_) => {}
        None => found.push(weakness(
            "security.authentication.jwt_public_key_file",
            "none",
            "people can only use API keys, which live long",
            "give the public key or the key set of an identity provider",
        )),
    }
    found.push(weakness(
        "security.agents.require_signed_deployment",
        "false",
        "every user who can write agent files can deploy agents",
        "let only the deploying user write `server.agents_dir`",
    ));
}

fn upstreams(settings: &Settings, found: &mut Vec<Weakness>) {
    if settings.tools.auto_import {
        found.push(weakness(
            "mcp.auto_import",
            "true",
            "tools are offered before they are reviewed",
            "pin them with `caxton tools import` and remove the key",
        ));
    }
    let clear = |address: &crate::secret::Address| {
        let url = address.expose();
        url.scheme() == "http" && !super::value_type::is_loopback(url)
    };
    for (number, server) in settings.tools.servers.iter().enumerate() {
        if let Transport::Http { url, .. } = &server.transport
            && clear(url)
        {
            found.push(weakness(
                &format!("mcp.servers[{number}].url"),
                "http",
                "calls cross the network in the clear",
                "write an `https` address",
            ));
        }
    }
}
