//! What the handlers share.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio_util::task::TaskTracker;

use super::body::LargeBodies;
use crate::audit::Journal;
use crate::authn::Authenticator;
use crate::changes::Reloader;
use crate::clock::SharedClock;
use crate::credentials::Credentials;
use crate::decision_log::DecisionLog;
use crate::limit::{Pace, Quotas, Rate};
use crate::model::EntityUid;
use crate::runtime::{Effects, Runtime};
use crate::shared_state::AddressBlocks;
use crate::telemetry::{Metrics, Traces};

/// Bounds and choices of the HTTP face.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The largest request body, in bytes. Default 1 MiB.
    pub max_body_bytes: usize,
    /// How many bytes of bodies may be under way at once.
    pub rooms: super::RoomSettings,
    /// How long the body of a request may take to arrive. Default 30 s.
    pub body_timeout: Duration,
    /// The largest body of an import of attributes, in bytes. Default 32 MiB.
    pub max_import_bytes: usize,
    /// Under which address the gateway is called, for clients that look it up; `None`: the address that the caller used.
    pub public_url: Option<String>,
    /// Whom to tell of a weakness, in `/.well-known/security.txt`; `None`: the file is not there.
    pub security_contact: Option<super::SecurityContact>,
    /// Whose word is taken for who a person is.
    pub issuers: Vec<Arc<str>>,
    /// The issuer of tokens that callers may come with, for those who look up how to get one.
    pub authorization_server: Option<String>,
    /// What such callers should ask it for.
    pub resource_scopes: Vec<String>,
    /// Proxies that may ask about the requests of others (`/v1/ext_authz`); none by default.
    pub ext_authz_peers: Vec<ipnet::IpNet>,
    /// What becomes of properties and context keys of AuthZEN that the schema does not declare. Default: refused.
    pub undeclared: super::Undeclared,
    /// How long a request may take, its answer included. Default 150 s, more than an agent's answer may take.
    pub request_timeout: Duration,
    /// Browser origins that may call; none by default.
    pub allowed_origins: Vec<String>,
    /// `Host` names under which MCP may be called; `None` for any (a public address).
    pub allowed_hosts: Option<Vec<String>>,
    /// The proxies whose word on the client counts; none by default.
    pub proxies: super::Proxies,
    /// Whether a client must show a certificate, also through a proxy that passes it on.
    pub require_client_cert: bool,
    /// Whether requests that crossed a network without TLS are refused.
    pub require_tls: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_body_bytes: 1024 * 1024,
            rooms: super::RoomSettings::default(),
            body_timeout: Duration::from_secs(30),
            max_import_bytes: 32 * 1024 * 1024,
            public_url: None,
            security_contact: None,
            issuers: Vec::new(),
            authorization_server: None,
            resource_scopes: Vec::new(),
            ext_authz_peers: Vec::new(),
            undeclared: super::Undeclared::default(),
            request_timeout: Duration::from_secs(150),
            allowed_origins: Vec::new(),
            allowed_hosts: Some(Self::loopback_hosts()),
            proxies: super::Proxies::default(),
            require_client_cert: false,
            require_tls: true,
        }
    }
}

impl Settings {
    /// The names of this host.
    pub fn loopback_hosts() -> Vec<String> {
        ["localhost", "127.0.0.1", "::1"].map(str::to_owned).into()
    }
}

/// Whether the gateway takes requests: not before it is up, not while it drains, not without its journal.
#[derive(Debug, Default)]
pub struct Readiness {
    up: AtomicBool,
    /// Whether files that should be watched cannot be.
    blind: AtomicBool,
}

impl Readiness {
    /// Says that the gateway is up, or that it drains.
    pub fn set(&self, ready: bool) {
        self.up.store(ready, Ordering::SeqCst);
    }

    /// Whether the gateway is up.
    pub fn is_ready(&self) -> bool {
        self.up.load(Ordering::SeqCst)
    }

    /// Whether changes of files that are watched would not be seen.
    pub fn is_blind(&self) -> bool {
        self.blind.load(Ordering::SeqCst)
    }
}

/// Whose refusals are counted together.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum PacedParty {
    /// Those of a proven caller.
    Principal(EntityUid),
    /// Those of an address that proves nobody; a /64 of IPv6 is one.
    Address(IpAddr),
}

/// What the handlers share.
pub struct Api {
    /// Proves callers.
    pub authenticator: Authenticator,
    /// Makes and ends keys and tokens.
    pub credentials: Credentials,
    /// Blocks addresses whose credentials are refused too often, when it is wanted.
    pub failures: Option<Arc<dyn AddressBlocks>>,
    /// Counts requests by key and by route.
    pub quotas: Quotas,
    /// Holds back refusals that one caller, or one address that proves nobody, sets off too fast.
    pub pace: Pace<PacedParty>,
    /// The rate of a principal's decisions, which the guard counts.
    pub per_principal: Rate,
    /// The one way to effects.
    pub effects: Arc<Effects>,
    /// What is known of people and things.
    pub attributes: crate::attributes::Attributes,
    /// Wakes agents.
    pub runtime: Arc<Runtime>,
    /// What is kept of MCP clients.
    pub mcp: super::McpState,
    /// Changes what decides.
    pub reloader: Arc<Reloader>,
    /// The decision log, for those who may read it.
    pub decision_log: DecisionLog,
    /// Streams and exports of the decision log that are under way.
    pub audit_readers: Arc<super::AuditReaders>,
    /// Takes the records of refused credentials.
    pub journal: Journal,
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// Makes spans, where traces are kept.
    pub traces: Traces,
    /// Tells the time.
    pub clock: SharedClock,
    /// Bounds.
    pub settings: Settings,
    /// Whether requests are taken.
    pub readiness: Readiness,
    /// Bytes of bodies under way.
    pub rooms: Arc<super::Rooms>,
    /// Large bodies under way.
    pub large_bodies: LargeBodies,
    /// Changes that come to their end whether their caller waits or not.
    pub under_way: TaskTracker,
}

impl Api {
    /// Says whether the policy files that should be watched can be: to the readiness probe and in a metric.
    pub fn watching(&self, can: bool) {
        self.readiness.blind.store(!can, Ordering::SeqCst);
        self.metrics.policy_watch_errors.set(i64::from(!can));
    }
}
