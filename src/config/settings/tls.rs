//! TLS of the API.

use std::path::PathBuf;
use std::time::Duration;

use rustls::CipherSuite;

use crate::config::kind::{Choice, File, Flag, Integer, List, Span};
use crate::config::problem::{Code, Problem};
use crate::config::reader::Reader;

/// The oldest version that is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsVersion {
    /// TLS 1.3 only.
    Tls13,
    /// TLS 1.2 as well.
    Tls12,
}

/// `server.tls.*`
#[derive(Debug)]
pub struct Tls {
    /// The certificate in PEM.
    pub cert_path: PathBuf,
    /// Its key in PEM.
    pub key_path: PathBuf,
    /// The oldest version.
    pub min_version: TlsVersion,
    /// The suites, the preferred one first.
    pub cipher_suites: Vec<CipherSuite>,
    /// Time for a handshake.
    pub handshake_timeout: Duration,
    /// Handshakes at once.
    pub max_handshakes: usize,
    /// How often the files are looked at; zero: on SIGHUP only.
    pub reload_interval: Duration,
}

const SUITES: &[(&str, CipherSuite)] = &[
    ("TLS_AES_256_GCM_SHA384", CipherSuite::TLS13_AES_256_GCM_SHA384),
    ("TLS_CHACHA20_POLY1305_SHA256", CipherSuite::TLS13_CHACHA20_POLY1305_SHA256),
    ("TLS_AES_128_GCM_SHA256", CipherSuite::TLS13_AES_128_GCM_SHA256),
    ("TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384),
    (
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
    ("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256),
    ("TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384),
    ("TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256", CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256),
    ("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256),
];

/// How many of [`SUITES`] are of TLS 1.3; they come first.
const OF_TLS13: usize = 3;

const ENABLED: &str = "server.tls.enabled";
const CERTIFICATE: &str = "server.tls.cert_path";
const KEY: &str = "server.tls.key_path";
const CIPHERS: &str = "server.tls.cipher_suites";

impl Tls {
    /// `None` when the API is to have no TLS.
    pub(super) fn read(r: &mut Reader<'_>) -> Option<Self> {
        let enabled = r.optional(
            ENABLED,
            Flag,
            "Whether the API has TLS. Without the key: if `server.tls.cert_path` is given.",
        );
        let file = || File { must_exist: true };
        let cert_path =
            r.optional(CERTIFICATE, file(), "The certificate in PEM: the gateway's own first, then the intermediate ones. With it, the API is HTTPS.");
        let key_path = r.optional(KEY, file(), "Its private key in PEM, without a password; mode 0600 or narrower, or the gateway does not start.");
        let min_version = r.value(
            "server.tls.min_version",
            Choice(&[("1.3", TlsVersion::Tls13), ("1.2", TlsVersion::Tls12)]),
            TlsVersion::Tls13,
            "The oldest version of TLS; `1.2` is weaker and for old clients only.",
        );
        let cipher_suites = Self::suites(r, min_version);
        let handshake_timeout = r.value(
            "server.tls.handshake_timeout",
            Span(Duration::from_secs(1)..=Duration::from_secs(60)),
            Duration::from_secs(10),
            "Time for a TLS handshake, waiting for its turn included.",
        );
        let max_handshakes = r.value(
            "server.tls.max_handshakes",
            Integer::new(1..=65_536, "handshakes"),
            256,
            "TLS handshakes at once; more wait.",
        );
        let reload_interval = r.value(
            "server.tls.reload_interval",
            Span(Duration::ZERO..=Duration::from_secs(86_400)),
            Duration::from_secs(60),
            "How often the files of TLS are looked at for a change; `0s`: on SIGHUP only. A change that is not sound leaves the old files in force.",
        );
        Self::complete(r, enabled)?;
        Some(Self {
            cert_path: cert_path?,
            key_path: key_path?,
            min_version,
            cipher_suites,
            handshake_timeout,
            max_handshakes,
            reload_interval,
        })
    }

    fn suites(r: &mut Reader<'_>, min_version: TlsVersion) -> Vec<CipherSuite> {
        let all = |count: usize| SUITES.iter().map(|(_, suite)| *suite).take(count).collect::<Vec<_>>();
        let default = match min_version {
            TlsVersion::Tls13 => all(OF_TLS13),
            TlsVersion::Tls12 => all(SUITES.len()),
        };
        let chosen = r.value(
            CIPHERS,
            List(Choice(SUITES)),
            default,
            "Cipher suites, the preferred one first. Without the key: those of TLS 1.3, with `min_version: \"1.2\"` all.",
        );
        let old = |suite: &CipherSuite| SUITES.iter().skip(OF_TLS13).any(|(_, known)| known == suite);
        if chosen.iter().all(old) {
            let problem = Problem::error(Code::Contradiction, "has no suite of TLS 1.3");
            r.tell(problem.with_help("add `TLS_AES_256_GCM_SHA384`, or remove the key"), CIPHERS);
        } else if min_version == TlsVersion::Tls13 && chosen.iter().any(old) {
            let problem = Problem::error(Code::Contradiction, "has a suite of TLS 1.2, which is not spoken");
            let help =
                "remove the suites that begin with `TLS_ECDHE_`, or set `server.tls.min_version: \"1.2\"`";
            r.tell(problem.with_help(help), CIPHERS);
        }
        chosen
    }

    /// Whether there is to be TLS; half of what it needs is a mistake, never plain HTTP.
    fn complete(r: &mut Reader<'_>, enabled: Option<bool>) -> Option<()> {
        match (enabled, r.is_given(CERTIFICATE), r.is_given(KEY)) {
            (Some(false), ..) | (None, false, false) => None,
            (_, true, true) => Some(()),
            (_, true, false) => {
                r.tell_missing(KEY, CERTIFICATE);
                None
            }
            (_, false, true) => {
                r.tell_missing(CERTIFICATE, KEY);
                None
            }
            (Some(true), false, false) => {
                r.tell_missing(CERTIFICATE, ENABLED);
                None
            }
        }
    }
}
