//! Listeners, directories, and the bounds of HTTP.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use crate::config::kind::{Choice, Directory, Flag, Integer, List, Parsed, Size, Span, Url};
use crate::config::problem::{Code, Problem};
use crate::config::reader::{Reader, Source};

use super::tls::{ClientCertificates, Tls};

/// How much the program log tells.
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

/// The header in which proxies write addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForwardedBy {
    /// `X-Forwarded-For`.
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

/// `server.*`
#[derive(Debug)]
pub struct Server {
    /// Address of the API.
    pub host: IpAddr,
    /// Port of the API; 0 takes a free one.
    pub port: u16,
    /// Address of metrics and health.
    pub metrics_host: IpAddr,
    /// Port of metrics and health; 0 takes a free one.
    pub metrics_port: u16,
    /// TLS of the API; `None`: plain HTTP.
    pub tls: Option<Tls>,
    /// Certificates of clients; `None`: none counts.
    pub clients: Option<ClientCertificates>,
    /// Proxies whose word on the client counts.
    pub trusted_proxies: Vec<IpNet>,
    /// Where they write the client's address.
    pub forwarded_by: ForwardedBy,
    /// Where they write the client's certificate.
    pub client_cert_header: Option<http::HeaderName>,
    /// Under which address callers reach the API; `None`: whatever they call it.
    pub public_url: Option<crate::secret::Address>,
    /// HTTP without TLS on addresses other than loopback.
    pub insecure_http: bool,
    /// Where the gateway keeps its files.
    pub data_dir: PathBuf,
    /// Agent files; `None` when there are none.
    pub agents_dir: Option<PathBuf>,
    /// How much the program log tells.
    pub log_level: LogLevel,
    /// Bytes of a request body.
    pub max_body: usize,
    /// Bytes of bodies under way at once: of one connection, of one caller, in all.
    pub max_bodies: (usize, usize, usize),
    /// Time for a whole request.
    pub request_timeout: Duration,
    /// Time for the head of a request.
    pub header_timeout: Duration,
    /// Time for the body of a request.
    pub body_timeout: Duration,
    /// Time without a request.
    pub idle_timeout: Duration,
    /// Connections of one address at once.
    pub max_connections_per_address: usize,
    /// Requests at once on one HTTP/2 connection.
    pub max_streams: u32,
    /// Header fields of a request.
    pub max_headers: usize,
    /// Bytes of all header fields of a request.
    pub max_header_bytes: usize,
    /// Connections at once.
    pub max_connections: usize,
    /// Time for running requests after the signal to stop.
    pub shutdown_grace: Duration,
}

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

impl Server {
    pub(super) fn read(r: &mut Reader<'_>) -> Self {
        let seconds = |low, high| Span(Duration::from_secs(low)..=Duration::from_secs(high));
        let address = || Parsed::<IpAddr>::new("an IP address");
        let port = || Integer::<u16>::new(0..=65_535, "");
        let data_dir = r.base.join(".caxton");
        let tls = Tls::read(r);
        let clients = ClientCertificates::read(r);
        let usual_port = if tls.is_some() { 8_443 } else { 8_080 };
        let server = Self {
            host: r.value("server.host", address(), LOOPBACK, "Address of the API. Without TLS it must be loopback, unless `server.insecure_http` says otherwise."),
            port: r.value("server.port", port(), usual_port, "Port of the API; 0 takes a free one. With TLS the default is 8443."),
            metrics_host: r.value("server.metrics_host", address(), LOOPBACK, "Address of `/metrics`, `/healthz` and `/readyz`, which ask for no credentials."),
            metrics_port: r.value("server.metrics_port", port(), 9090, "Port of `/metrics`, `/healthz` and `/readyz`; 0 takes a free one."),
            tls,
            clients,
            trusted_proxies: r.value("server.trusted_proxies", List(Parsed::<IpNet>::new("a network such as `10.0.0.0/8`")), Vec::new(), "Proxies whose word on the client's address, scheme and certificate counts. From anybody else such headers say nothing."),
            forwarded_by: r.value("server.forwarded_header", Choice(&[("X-Forwarded-For", ForwardedBy::XForwardedFor), ("Forwarded", ForwardedBy::Forwarded)]), ForwardedBy::XForwardedFor, "The header in which the trusted proxies write the client's address; the other one is not read. `X-Forwarded-For` goes with `X-Forwarded-Proto`."),
            client_cert_header: r.optional("server.client_cert_header", Parsed::new("the name of a header field"), "The header in which the trusted proxies pass on the client's certificate, such as `Client-Cert` (RFC 9440). They must remove it from what clients send. It is verified by `server.tls.ca_file`."),
            public_url: r.optional("server.public_url", Url { may_weaken: true }, "Address under which callers reach the API, for clients that look it up. Without the key: the name that the caller used."),
            insecure_http: r.value("server.insecure_http", Flag, false, "Serve HTTP without TLS on addresses other than loopback. Credentials cross the network in the clear."),
            data_dir: r.value("server.data_dir", Directory { must_exist: false }, data_dir, "Where the gateway keeps its files; made with mode 0700."),
            agents_dir: agents_dir(r),
            log_level: r.value("server.log_level", Choice(LOG_LEVELS), LogLevel::Info, "How much the program log tells. The decision log always has everything."),
            max_body: r.value("server.max_body", Size(1_024..=64 << 20), 1 << 20, "Bytes of a request body; more is answered with 413."),
            max_bodies: (
                r.value("server.max_bodies_per_connection", Size(64 << 10..=1 << 30), 4 << 20, "Bytes of request bodies of one connection that are read and worked on at once; more is answered with 429."),
                r.value("server.max_bodies_per_caller", Size(64 << 10..=1 << 30), 8 << 20, "The same of one caller, over all its connections."),
                r.value("server.max_bodies", Size(1 << 20..=16 << 30), 32 << 20, "The same in all; more is answered with 503. A single body may be as large as `max_body`, whatever the three say."),
            ),
            request_timeout: r.value("server.request_timeout", seconds(1, 3_600), Duration::from_secs(150), "Time for a whole request, effect included. More than `config_agents.limits.deadline`, or answers of agents are cut off."),
            header_timeout: r.value("server.header_timeout", seconds(1, 60), Duration::from_secs(10), "Time for the head of a request; stops slow-header attacks."),
            body_timeout: r.value("server.body_timeout", seconds(1, 600), Duration::from_secs(30), "Time for the body of a request to arrive; stops slow-body attacks. More is answered with 408."),
            idle_timeout: r.value("server.idle_timeout", seconds(1, 3_600), Duration::from_secs(60), "Time that a connection may be without a request, from its beginning; then it is closed. HTTP/1 connections also end when `header_timeout` passes between two requests."),
            max_connections_per_address: r.value("server.max_connections_per_address", Integer::new(1..=65_536, "connections"), 256, "Connections of one address at once (a /64 of IPv6 is one). One more takes the place of that which has waited longest without a request, or is closed when all are busy. Those of `server.trusted_proxies` are not counted."),
            max_streams: r.value("server.max_streams", Integer::new(1..=10_000, "requests"), 100, "Requests at once on one HTTP/2 connection."),
            max_headers: r.value("server.max_headers", Integer::new(8..=256, "fields"), 100, "Header fields of a request."),
            max_header_bytes: r.value("server.max_header_bytes", Size(8 << 10..=256 << 10), 32 << 10, "Bytes of all header fields of a request."),
            max_connections: r.value("server.max_connections", Integer::new(1..=65_536, "connections"), 1_024, "Connections at once. One more takes the place of one that waits without a request, of the address that has the most."),
            shutdown_grace: r.value("server.shutdown_grace", seconds(0, 600), Duration::from_secs(20), "Time that running requests have after the signal to stop."),
        };
        server.check(r);
        server
    }

    fn check(&self, r: &mut Reader<'_>) {
        if !self.host.is_loopback() && !self.insecure_http && self.tls.is_none() {
            let problem = Problem::error(Code::Weakens, "the API would listen without TLS beyond this host")
                .with_help(
                    "give a certificate in `server.tls`, or use `127.0.0.1` behind a proxy that ends TLS",
                );
            r.tell(problem, "server.host");
        }
        if self.trusted_proxies.iter().any(|network| network.prefix_len() == 0) {
            let problem =
                Problem::error(Code::Weakens, "believes everybody what they say about where they come from");
            r.tell(problem.with_help("name the networks of your proxies only"), "server.trusted_proxies");
        }
        if self.trusted_proxies.is_empty() {
            for key in ["server.forwarded_header", "server.client_cert_header"] {
                if r.is_given(key) {
                    r.tell_missing("server.trusted_proxies", key);
                }
            }
        }
        if self.client_cert_header.is_some() && self.clients.is_none() {
            r.tell_missing("server.tls.ca_file", "server.client_cert_header");
        }
        if self.clients.is_some() && self.tls.is_none() && self.client_cert_header.is_none() {
            let problem = Problem::error(
                Code::Missing,
                "has no effect: the API has no TLS, and no proxy passes certificates on",
            );
            let help = "give `server.tls.cert_path` or `server.client_cert_header`, or remove the key";
            r.tell(problem.with_help(help), "server.tls.ca_file");
        }
        if self.insecure_http && self.tls.is_some() {
            let problem = Problem::error(Code::Contradiction, "has no effect: the API has TLS");
            r.tell(problem.with_help("remove the key"), "server.insecure_http");
        }
        if self.port != 0 && self.port == self.metrics_port {
            let problem = Problem::error(Code::Contradiction, "the API and the metrics have the same port")
                .with_help("give `server.metrics_port` another one");
            let key = if r.is_given("server.metrics_port") { "server.metrics_port" } else { "server.port" };
            r.tell(problem, key);
        }
    }
}

/// `./agents` counts if it is there; a directory that is named must be there.
fn agents_dir(r: &mut Reader<'_>) -> Option<PathBuf> {
    let doc = "Agent files (`*.md`). Without the key: `agents`, if that directory exists.";
    r.optional("server.agents_dir", Directory { must_exist: true }, doc)
        .or_else(|| beside(r, "server.agents_dir", "agents"))
}

/// The directory `name` beside the file, if it is there and the key is not given.
pub(super) fn beside(r: &mut Reader<'_>, key: &str, name: &str) -> Option<PathBuf> {
    let path = r.base.join(name);
    if r.is_given(key) || !path.is_dir() {
        return None;
    }
    r.in_force(key, path.display().to_string(), Source::Default);
    Some(path)
}
