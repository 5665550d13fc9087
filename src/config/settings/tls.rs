//! `server.tls.*`: the certificate of the API, and those of its clients.

use std::time::Duration;

use rustls::CipherSuite;

use crate::authn::mtls;
use crate::config::gateway::{MinVersion, OcspSettings, TlsSettings};
use crate::config::problem::{ConfigProblem, ProblemCode};
use crate::config::reader::Reader;
use crate::config::value_type::{Choice, DurationRange, FilePath, Flag, Integer, List, SignedUrl};

const CA: &str = "server.tls.ca_file";
const REQUIRE: &str = "server.tls.require_client_cert";
const VERIFY: &str = "server.tls.verify_client_cert";
const LISTS: &str = "server.tls.crl_files";
const COMMON_NAME: &str = "server.tls.insecure_cn_identity";
const USE: &str = "server.tls.client_cert_use";

/// Certificates of clients. `None` when no certificate of a client counts for anything.
pub(super) fn clients(r: &mut Reader<'_>) -> Option<mtls::Settings> {
    let file = || FilePath { must_exist: true };
    let ca_file = r.optional(
        CA,
        file(),
        "Authorities of client certificates, in PEM. With it, clients are asked for a certificate, and one that holds is a credential.",
    );
    let required = r.value(
        REQUIRE,
        Flag,
        false,
        "Refuse connections without a client certificate in the handshake. Without it, a certificate may be left out.",
    );
    let verified = r.value(
        VERIFY,
        Flag,
        true,
        "Verify client certificates. `false` does not accept unverified ones: clients are not asked for a certificate, and none is used.",
    );
    let crl_files = r.value(
        LISTS,
        List(file()),
        Vec::new(),
        "Revocation lists, in PEM or DER. With any, every authority of a chain needs one; a list that has ended refuses the certificates of its authority.",
    );
    let used_for = r.value(
        USE,
        Choice(&[("principal", mtls::Use::Principal), ("connection", mtls::Use::Connection)]),
        mtls::Use::Principal,
        "What a client certificate is good for: it names the caller, or it just opens the connection and the caller is named by a token or key.",
    );
    let insecure_cn_identity = r.value(
        COMMON_NAME,
        Flag,
        false,
        "Name the holder of a certificate without alternative names by its common name, as `CN=…`. Authorities check common names least.",
    );
    if !verified {
        without_verification(r, required);
        return None;
    }
    let Some(ca_file) = ca_file else {
        for key in [REQUIRE, LISTS, USE, COMMON_NAME] {
            if r.is_given(key) && (key != REQUIRE || required) {
                r.report_missing(CA, key);
            }
        }
        return None;
    };
    Some(mtls::Settings { ca_file, crl_files, used_for, required, insecure_cn_identity })
}

/// An unverified certificate is a text that its holder wrote. It must not name a caller, and a demand for
/// one would look like a protection.
fn without_verification(r: &mut Reader<'_>, required: bool) {
    if required {
        let problem = ConfigProblem::error(
            ProblemCode::Contradiction,
            "a certificate that is not verified proves nothing, so none can be required",
        );
        r.report(problem.with_help(format!("remove `{VERIFY}: false`")), REQUIRE);
    }
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
const STAPLING: &str = "server.tls.enable_ocsp_stapling";
const RESPONDER: &str = "server.tls.ocsp_responder_url";
const CIPHERS: &str = "server.tls.cipher_suites";

/// `None` when the API is to have no TLS.
pub(super) fn read(r: &mut Reader<'_>) -> Option<TlsSettings> {
    let enabled = r.optional(
        ENABLED,
        Flag,
        "Whether the API has TLS. Without the key: if `server.tls.cert_path` is given.",
    );
    let file = || FilePath { must_exist: true };
    let cert_path =
            r.optional(
                CERTIFICATE,
                file(),
                "The certificate in PEM: the gateway's own first, then the intermediate ones. With it, the API is HTTPS.",
            );
    let key_path = r.optional(
        KEY,
        file(),
        "Its private key in PEM, without a password; mode 0600 or narrower, or the gateway does not start.",
    );
    let min_version = r.value(
        "server.tls.min_version",
        Choice(&[("1.3", MinVersion::Tls13), ("1.2", MinVersion::Tls12)]),
        MinVersion::Tls13,
        "The oldest version of TLS; `1.2` is weaker and for old clients only.",
    );
    let cipher_suites = suites(r, min_version);
    let handshake_timeout = r.value(
        "server.tls.handshake_timeout",
        DurationRange::seconds(1, 60),
        Duration::from_secs(10),
        "Time for a TLS handshake, waiting for its turn included.",
    );
    let max_handshakes = r.value(
        "server.tls.max_handshakes",
        Integer::new(1..=65_536, "handshakes"),
        256,
        "TLS handshakes at once; more wait.",
    );
    let max_handshakes_per_address = r.value(
        "server.tls.max_handshakes_per_address",
        Integer::new(1..=65_536, "handshakes"),
        32,
        "TLS handshakes of one address at once (a /64 of IPv6 is one); more of it wait for each other, and others do not wait for them. Those of `server.trusted_proxies` are not counted.",
    );
    let reload_interval = r.value(
        "server.tls.reload_interval",
        DurationRange::seconds(0, 86_400),
        Duration::from_secs(60),
        "How often the TLS files are checked for a change; `0s`: on SIGHUP only. If the changed files are not valid, the old ones stay in force.",
    );
    let ocsp_stapling = r.value(
        STAPLING,
        Flag,
        false,
        "Show clients a fresh answer of the authority that the certificate is not revoked (RFC 6066). The file of the certificate must hold that of its authority behind it.",
    );
    let ocsp_responder = r.optional(
        RESPONDER,
        SignedUrl,
        "The OCSP responder. Without the key: the one that the certificate names. Answers are signed, so `http` is enough.",
    );
    if !ocsp_stapling && r.is_given(RESPONDER) {
        r.report_missing(STAPLING, RESPONDER);
    }
    complete(r, enabled)?;
    Some(TlsSettings {
        cert_path: cert_path?,
        key_path: key_path?,
        min_version,
        cipher_suites,
        handshake_timeout,
        max_handshakes,
        max_handshakes_per_address,
        reload_interval: Some(reload_interval).filter(|interval| !interval.is_zero()),
        ocsp: ocsp_stapling.then(|| OcspSettings { responder: ocsp_responder, ..Default::default() }),
    })
}

fn suites(r: &mut Reader<'_>, min_version: MinVersion) -> Vec<CipherSuite> {
    let all = |count: usize| SUITES.iter().map(|(_, suite)| *suite).take(count).collect::<Vec<_>>();
    let default = match min_version {
        MinVersion::Tls13 => all(OF_TLS13),
        MinVersion::Tls12 => all(SUITES.len()),
    };
    let chosen = r.value(
        CIPHERS,
        List(Choice(SUITES)),
        default,
        "Cipher suites, the preferred one first. Without the key: those of TLS 1.3, with `min_version: \"1.2\"` all.",
    );
    let old = |suite: &CipherSuite| SUITES.iter().skip(OF_TLS13).any(|(_, known)| known == suite);
    if chosen.iter().all(old) {
        let problem = ConfigProblem::error(ProblemCode::Contradiction, "has no suite of TLS 1.3");
        r.report(problem.with_help("add `TLS_AES_256_GCM_SHA384`, or remove the key"), CIPHERS);
    } else if min_version == MinVersion::Tls13 && chosen.iter().any(old) {
        let problem =
            ConfigProblem::error(ProblemCode::Contradiction, "has a suite of TLS 1.2, which is not spoken");
        let help = "remove the suites that begin with `TLS_ECDHE_`, or set `server.tls.min_version: \"1.2\"`";
        r.report(problem.with_help(help), CIPHERS);
    }
    chosen
}

/// Whether there is to be TLS; half of what it needs is a mistake, never plain HTTP.
fn complete(r: &mut Reader<'_>, enabled: Option<bool>) -> Option<()> {
    match (enabled, r.is_given(CERTIFICATE), r.is_given(KEY)) {
        (Some(false), ..) | (None, false, false) => None,
        (_, true, true) => Some(()),
        (_, true, false) => {
            r.report_missing(KEY, CERTIFICATE);
            None
        }
        (_, false, true) => {
            r.report_missing(CERTIFICATE, KEY);
            None
        }
        (Some(true), false, false) => {
            r.report_missing(CERTIFICATE, ENABLED);
            None
        }
    }
}
