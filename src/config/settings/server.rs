//! `server.*`: listeners, directories, and the bounds of HTTP.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use crate::api::{self, ForwardedBy, Proxies};
use crate::authn::mtls;
use crate::config::gateway::{HttpLimits, TlsSettings};
use crate::config::problem::{ConfigProblem, ProblemCode};
use crate::config::reader::{Reader, ValueSource};
use crate::config::value_type::{
    Choice, DirectoryPath, DurationRange, Flag, HttpsUrl, Integer, List, ParsedWord, Size,
};
use crate::secret::Address;

use super::tls;

/// The level of the program log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

const LOG_LEVELS: &[(&str, LogLevel)] = &[
    ("error", LogLevel::Error),
    ("warn", LogLevel::Warn),
    ("info", LogLevel::Info),
    ("debug", LogLevel::Debug),
    ("trace", LogLevel::Trace),
];

impl LogLevel {
    /// The word of the configuration, which tracing's filters know too.
    pub fn as_str(self) -> &'static str {
        LOG_LEVELS.iter().find(|(_, level)| *level == self).map_or("info", |(name, _)| name)
    }
}

/// What the section says of the API and of the composition root.
pub(super) struct Server {
    /// Where the API listens; port 0 takes a free one.
    pub(super) listen: SocketAddr,
    /// Where metrics and health listen; port 0 takes a free one.
    pub(super) operations: SocketAddr,
    /// TLS of the API; `None`: plain HTTP.
    pub(super) tls: Option<TlsSettings>,
    /// Certificates of clients; `None`: none counts.
    pub(super) clients: Option<mtls::Settings>,
    /// Bounds and choices of the API; other sections add theirs.
    pub(super) api: api::Settings,
    /// Bounds of connections.
    pub(super) http: HttpLimits,
    /// Under which address callers reach the API; `None`: any.
    pub(super) public_url: Option<Address>,
    /// HTTP without TLS on addresses other than loopback.
    pub(super) insecure_http: bool,
    /// Where the gateway keeps its files.
    pub(super) data_dir: PathBuf,
    /// Agent files; `None` when there are none.
    pub(super) agents_dir: Option<PathBuf>,
    /// The level of the program log.
    pub(super) log_level: LogLevel,
    /// Time for running requests after the signal to stop.
    pub(super) shutdown_grace: Duration,
}

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

const FORWARDED_BY: &[(&str, ForwardedBy)] =
    &[("X-Forwarded-For", ForwardedBy::XForwardedFor), ("Forwarded", ForwardedBy::Forwarded)];

impl Server {
    pub(super) fn read(r: &mut Reader<'_>) -> Self {
        let tls = tls::read(r);
        let clients = tls::clients(r);
        let (listen, operations) = addresses(r, tls.is_some());
        let proxies = proxies(r);
        let public_url = r.optional(
            "server.public_url",
            HttpsUrl { may_weaken: true },
            "Address under which callers reach the API, for clients that look it up. Without the key: the name that the caller used.",
        );
        let security_contact = r.optional(
            "server.security_contact",
            ParsedWord::new("a contact"),
            "Contact for reports of vulnerabilities: `mailto:…`, `https://…` or `tel:…`, published in `/.well-known/security.txt` (RFC 9116). Without the key there is no such file.",
        );
        let insecure_http = r.value(
            "server.insecure_http",
            Flag,
            false,
            "Serve HTTP without TLS on addresses other than loopback. Credentials cross the network in the clear.",
        );
        let data_dir = r.base.join(".caxton");
        let data_dir = r.value(
            "server.data_dir",
            DirectoryPath { must_exist: false },
            data_dir,
            "Where the gateway keeps its files; made with mode 0700.",
        );
        let agents_dir = agents_dir(r);
        let log_level = r.value(
            "server.log_level",
            Choice(LOG_LEVELS),
            LogLevel::Info,
            "The level of the program log. The decision log always has everything.",
        );
        let mut api = api::Settings {
            // Behind a proxy that passes certificates on, the handshake here is the proxy's: the request has to show one.
            require_client_cert: proxies.certificate_header.is_some()
                && clients.as_ref().is_some_and(|clients| clients.required),
            public_url: public_url.as_ref().map(|address| address.expose().to_string()),
            proxies,
            security_contact,
            ..Default::default()
        };
        let mut http = HttpLimits::default();
        bounds(r, &mut api, &mut http);
        let shutdown_grace = r.value(
            "server.shutdown_grace",
            DurationRange::seconds(0, 600),
            Duration::from_secs(20),
            "Time that running requests have after the signal to stop.",
        );
        let server = Self {
            listen,
            operations,
            tls,
            clients,
            api,
            http,
            public_url,
            insecure_http,
            data_dir,
            agents_dir,
            log_level,
            shutdown_grace,
        };
        server.check(r);
        server
    }

    fn check(&self, r: &mut Reader<'_>) {
        if !self.listen.ip().is_loopback() && !self.insecure_http && self.tls.is_none() {
            let problem = ConfigProblem::error(
                ProblemCode::Weakens,
                "the API would listen without TLS beyond this host",
            )
            .with_help("give a certificate in `server.tls`, or use `127.0.0.1` behind a proxy that ends TLS");
            r.report(problem, "server.host");
        }
        if self.api.proxies.networks.iter().any(|network| network.prefix_len() == 0) {
            let problem = ConfigProblem::error(ProblemCode::Weakens, "every client could forge its address");
            r.report(problem.with_help("name the networks of your proxies only"), "server.trusted_proxies");
        }
        if self.api.proxies.networks.is_empty() {
            for key in ["server.forwarded_header", "server.client_cert_header"] {
                if r.is_given(key) {
                    r.report_missing("server.trusted_proxies", key);
                }
            }
        }
        if self.api.proxies.certificate_header.is_some() && self.clients.is_none() {
            r.report_missing("server.tls.ca_file", "server.client_cert_header");
        }
        if self.clients.is_some() && self.tls.is_none() && self.api.proxies.certificate_header.is_none() {
            let problem = ConfigProblem::error(
                ProblemCode::Missing,
                "has no effect: the API has no TLS, and no proxy passes certificates on",
            );
            let help = "give `server.tls.cert_path` or `server.client_cert_header`, or remove the key";
            r.report(problem.with_help(help), "server.tls.ca_file");
        }
        if self.insecure_http && self.tls.is_some() {
            let problem = ConfigProblem::error(ProblemCode::Contradiction, "has no effect: the API has TLS");
            r.report(problem.with_help("remove the key"), "server.insecure_http");
        }
        if self.listen.port() != 0 && self.listen.port() == self.operations.port() {
            let problem = ConfigProblem::error(
                ProblemCode::Contradiction,
                "the API and the metrics have the same port",
            )
            .with_help("give `server.metrics_port` another one");
            let key = if r.is_given("server.metrics_port") { "server.metrics_port" } else { "server.port" };
            r.report(problem, key);
        }
    }
}

/// Where the API listens, and where metrics and health do.
fn addresses(r: &mut Reader<'_>, has_tls: bool) -> (SocketAddr, SocketAddr) {
    let address = || ParsedWord::<IpAddr>::new("an IP address");
    let port = || Integer::<u16>::new(0..=65_535, "");
    let usual_port = if has_tls { 8_443 } else { 8_080 };
    let host = r.value(
        "server.host",
        address(),
        LOOPBACK,
        "Address of the API. Without TLS it must be loopback, unless `server.insecure_http` says otherwise.",
    );
    let api_port = r.value(
        "server.port",
        port(),
        usual_port,
        "Port of the API; 0 takes a free one. With TLS the default is 8443.",
    );
    let metrics_host = r.value(
        "server.metrics_host",
        address(),
        LOOPBACK,
        "Address of `/metrics`, `/healthz` and `/readyz`, which ask for no credentials; on an address other than loopback `/metrics` asks for credentials and `metrics:read`.",
    );
    let metrics_port = r.value(
        "server.metrics_port",
        port(),
        9090,
        "Port of `/metrics`, `/healthz` and `/readyz`; 0 takes a free one.",
    );
    (SocketAddr::new(host, api_port), SocketAddr::new(metrics_host, metrics_port))
}

fn proxies(r: &mut Reader<'_>) -> Proxies {
    Proxies {
        networks: r.value(
            "server.trusted_proxies",
            List(ParsedWord::<IpNet>::new("a network such as `10.0.0.0/8`")),
            Vec::new(),
            "Proxies whose headers state the client's address, scheme and certificate. Such headers from other peers are ignored.",
        ),
        forwarded_by: r.value(
            "server.forwarded_header",
            Choice(FORWARDED_BY),
            ForwardedBy::default(),
            "The header in which the trusted proxies write the client's address; the other one is not read. `X-Forwarded-For` goes with `X-Forwarded-Proto`.",
        ),
        certificate_header: r.optional(
            "server.client_cert_header",
            ParsedWord::new("the name of a header field"),
            "The header in which the trusted proxies pass on the client's certificate, such as `Client-Cert` (RFC 9440). They must remove it from what clients send. It is verified by `server.tls.ca_file`.",
        ),
    }
}

/// How much a request and a connection may take.
fn bounds(r: &mut Reader<'_>, api: &mut api::Settings, http: &mut HttpLimits) {
    api.max_body_bytes = r.value(
        "server.max_body",
        Size(1_024..=64 << 20),
        api.max_body_bytes,
        "Bytes of a request body; more is answered with 413.",
    );
    let rooms = &mut api.rooms;
    rooms.per_connection = r.value(
        "server.max_bodies_per_connection",
        Size(64 << 10..=1 << 30),
        rooms.per_connection,
        "Bytes of request bodies of one connection that are read and worked on at once; more is answered with 429.",
    );
    rooms.per_caller = r.value(
        "server.max_bodies_per_caller",
        Size(64 << 10..=1 << 30),
        rooms.per_caller,
        "The same of one caller, over all its connections.",
    );
    rooms.in_all = r.value(
        "server.max_bodies",
        Size(1 << 20..=16 << 30),
        rooms.in_all,
        "The same in all; more is answered with 503. A single body may be as large as `max_body`, also when that is more than the three.",
    );
    api.request_timeout = r.value(
        "server.request_timeout",
        DurationRange::seconds(1, 3_600),
        api.request_timeout,
        "Time for a whole request, effect included. More than `config_agents.limits.deadline`, or answers of agents are cut off.",
    );
    http.header_timeout = r.value(
        "server.header_timeout",
        DurationRange::seconds(1, 60),
        http.header_timeout,
        "Time for the head of a request; stops slow-header attacks.",
    );
    api.body_timeout = r.value(
        "server.body_timeout",
        DurationRange::seconds(1, 600),
        api.body_timeout,
        "Time for the body of a request to arrive; stops slow-body attacks. More is answered with 408.",
    );
    http.idle_timeout = r.value(
        "server.idle_timeout",
        DurationRange::seconds(1, 3_600),
        http.idle_timeout,
        "Time that a connection may be without a request, from its beginning; then it is closed. HTTP/1 connections also end when `header_timeout` passes between two requests.",
    );
    http.max_connections_per_address = r.value(
        "server.max_connections_per_address",
        Integer::new(1..=65_536, "connections"),
        http.max_connections_per_address,
        "Connections of one address at once (a /64 of IPv6 is one). One more takes the place of that which has waited longest without a request, or is closed when all are busy. Those of `server.trusted_proxies` are not counted.",
    );
    http.max_streams = r.value(
        "server.max_streams",
        Integer::new(1..=10_000, "requests"),
        http.max_streams,
        "Requests at once on one HTTP/2 connection.",
    );
    http.max_headers = r.value(
        "server.max_headers",
        Integer::new(8..=256, "fields"),
        http.max_headers,
        "Header fields of a request.",
    );
    http.max_header_bytes = r.value(
        "server.max_header_bytes",
        Size(8 << 10..=256 << 10),
        http.max_header_bytes,
        "Bytes of all header fields of a request.",
    );
    http.max_connections = r.value(
        "server.max_connections",
        Integer::new(1..=65_536, "connections"),
        http.max_connections,
        "Connections at once. One more takes the place of one that waits without a request, of the address that has the most.",
    );
}

/// `./agents` counts if it is there; a directory that is named must be there.
fn agents_dir(r: &mut Reader<'_>) -> Option<PathBuf> {
    let doc = "Agent files (`*.md`). Without the key: `agents`, if that directory exists.";
    r.optional("server.agents_dir", DirectoryPath { must_exist: true }, doc)
        .or_else(|| default_directory(r, "server.agents_dir", "agents"))
}

/// The directory `name` beside the file, if it is there and the key is not given.
pub(super) fn default_directory(r: &mut Reader<'_>, key: &str, name: &str) -> Option<PathBuf> {
    let path = r.base.join(name);
    if r.is_given(key) || !path.is_dir() {
        return None;
    }
    r.set_in_force(key, path.display().to_string(), ValueSource::Default);
    Some(path)
}
