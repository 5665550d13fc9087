//! The settings that a gateway is built from: those of every module, and those of the composition root itself, which
//! stands above this module.

mod follow;
mod http;
mod tls;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

pub use self::follow::{FollowSettings, RemoteSettings};
pub use self::http::HttpLimits;
pub use self::tls::{MinVersion, OcspSettings, TlsSettings};

/// Everything that a gateway is built from; each part by its own module's settings.
pub struct Settings {
    /// Where the API listens; port 0 for any free port.
    pub listen: SocketAddr,
    /// Where `/healthz`, `/readyz` and `/metrics` listen.
    pub operations: SocketAddr,
    /// The directory of policies; `None` for the shipped set.
    pub policy_dir: Option<PathBuf>,
    /// The directory of schemas; `None` for the shipped ones.
    pub schema_dir: Option<PathBuf>,
    /// Whether both stand beside the shipped set, or in its place.
    pub extend_shipped: bool,
    /// Roles with permission words, compiled to policies.
    pub roles_file: Option<PathBuf>,
    /// Published versions, of which the newest decides in place of what is in the directories.
    pub published: Option<PublishedSettings>,
    /// A folder with the candidate, which is evaluated beside the live set and decides nothing.
    pub candidate_dir: Option<PathBuf>,
    /// Bounds of a change of the policies.
    pub reload: crate::changes::ReloadSettings,
    /// How changes are noticed.
    pub follow: FollowSettings,
    /// The effect of an error in a policy, and the bounds of a set.
    pub policy: crate::policy::Settings,
    /// The decision log.
    pub audit: crate::audit::Settings,
    /// Where the decision log is sent.
    pub siem: crate::siem::Settings,
    /// Whether records keep texts unchanged, so that decisions can be evaluated again.
    pub replayable: bool,
    /// Authentication.
    pub authn: crate::authn::Settings,
    /// The rate of one principal.
    pub limit: crate::limit::Settings,
    /// Further rates: by key, by route and by capability.
    pub quotas: crate::limit::QuotaSettings,
    /// When an address is blocked; `None`: never.
    pub failures: Option<crate::limit::FailureSettings>,
    /// The screening of untrusted text.
    pub screen: crate::screen::Settings,
    /// Session facts for policies.
    pub sessions: crate::shared_state::SessionSettings,
    /// The memory database.
    pub memory: crate::memory::Settings,
    /// The WebAssembly sandbox.
    pub sandbox: crate::sandbox::Settings,
    /// Tools and their servers.
    pub tools: crate::tools::Settings,
    /// The attributes of entities.
    pub attributes: crate::attributes::Settings,
    /// Agent files.
    pub agents: crate::agents::Settings,
    /// Messages and conversations.
    pub messages: crate::messages::Settings,
    /// Bounds of an agent's answer.
    pub runtime: crate::runtime::Settings,
    /// The language model, when there is one.
    pub model: Option<crate::runtime::ModelSettings>,
    /// The HTTP face.
    pub api: crate::api::Settings,
    /// The certificate of the API and what goes with it; `None`: plain HTTP.
    pub tls: Option<TlsSettings>,
    /// Bounds of a connection.
    pub http: HttpLimits,
    /// Where spans of requests go; `None`: nowhere.
    pub traces: Option<crate::telemetry::TraceSettings>,
    /// Whether `context.system.lockdown` holds from the start.
    pub lockdown: bool,
    /// How long requests under way may take after the signal to stop.
    pub shutdown_grace: Duration,
}

/// Published versions.
#[derive(Debug, Clone)]
pub struct PublishedSettings {
    /// The store.
    pub store: PathBuf,
    /// The keys of which one must have signed what decides; `None`: no signature is needed.
    pub trusted_keys: Option<PathBuf>,
}

impl Settings {
    /// Where the policies are read from.
    pub fn policy_source(&self) -> crate::changes::PolicySource {
        match self.published.clone() {
            Some(PublishedSettings { store, trusted_keys }) => crate::changes::PolicySource::Store {
                store: std::sync::Arc::new(crate::policy::version::VersionStore::new(store)),
                trusted_keys,
            },
            None => crate::changes::PolicySource::Files {
                policy_dir: self.policy_dir.clone(),
                schema_dir: self.schema_dir.clone(),
                extend_shipped: self.extend_shipped,
                roles_file: self.roles_file.clone(),
            },
        }
    }

    /// The address of the API for a client on the same host; `None` with port 0, which is known when the gateway runs.
    pub fn local_url(&self) -> Option<String> {
        let ip = self.listen.ip();
        let host = match (&self.tls, ip) {
            // The name that certificates of a gateway on this host have.
            (Some(_), _) if ip.is_unspecified() || ip.is_loopback() => "localhost".to_owned(),
            (None, IpAddr::V4(ip)) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.to_string(),
            (_, IpAddr::V6(ip)) if ip.is_unspecified() => "[::1]".to_owned(),
            (_, IpAddr::V6(ip)) => format!("[{ip}]"),
            (_, IpAddr::V4(ip)) => ip.to_string(),
        };
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        (self.listen.port() != 0).then(|| format!("{scheme}://{host}:{}", self.listen.port()))
    }

    /// A gateway on free loopback ports with its data under `data_dir` and everything else as shipped.
    pub fn embedded(data_dir: PathBuf) -> Self {
        let loopback = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
        let log = data_dir.join("audit.log");
        Self {
            listen: loopback,
            operations: loopback,
            policy_dir: None,
            schema_dir: None,
            extend_shipped: false,
            roles_file: None,
            published: None,
            candidate_dir: None,
            reload: crate::changes::ReloadSettings::in_directory(&data_dir),
            follow: FollowSettings::default(),
            policy: Default::default(),
            audit: crate::audit::Settings { path: log.clone(), ..Default::default() },
            siem: crate::siem::Settings::in_directory(&data_dir),
            replayable: false,
            authn: crate::authn::Settings {
                jwt: None,
                api_keys: crate::authn::api_key::Settings::in_directory(&data_dir),
                tokens: crate::authn::tokens::Settings::in_directory(&data_dir),
                mtls: None,
                dpop: Default::default(),
                oauth2: None,
            },
            limit: Default::default(),
            quotas: Default::default(),
            screen: Default::default(),
            sessions: Default::default(),
            memory: crate::memory::Settings::in_directory(&data_dir),
            sandbox: Default::default(),
            tools: crate::tools::Settings {
                connections: crate::tools::ConnectionSettings::in_directory(&data_dir),
                ..Default::default()
            },
            attributes: crate::attributes::Settings::in_directory(&data_dir),
            agents: Default::default(),
            messages: Default::default(),
            runtime: Default::default(),
            model: None,
            api: Default::default(),
            tls: None,
            http: HttpLimits::default(),
            failures: None,
            traces: None,
            lockdown: false,
            shutdown_grace: Duration::from_secs(20),
        }
    }
}
