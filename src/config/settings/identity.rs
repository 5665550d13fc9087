//! Who may call: tokens and API keys.

use std::path::PathBuf;
use std::time::Duration;

use crate::config::kind::{Choice, File, Flag, Integer, List, Parsed, Rate, RateOf, Size, Span, Text, Url};
use crate::config::problem::{Code, Problem};
use crate::config::reader::Reader;

use super::security::check_rate;

/// How a token is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JwtAlgorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// Ed25519.
    EdDsa,
    /// HMAC with SHA-256: who can verify can also sign.
    Hs256,
}

const PROOF_ALGORITHMS: &[(&str, JwtAlgorithm)] =
    &[("ES256", JwtAlgorithm::Es256), ("EdDSA", JwtAlgorithm::EdDsa), ("RS256", JwtAlgorithm::Rs256)];

pub(super) const ALGORITHMS: &[(&str, JwtAlgorithm)] = &[
    ("RS256", JwtAlgorithm::Rs256),
    ("ES256", JwtAlgorithm::Es256),
    ("EdDSA", JwtAlgorithm::EdDsa),
    ("HS256", JwtAlgorithm::Hs256),
];

/// `security.authentication.*`
#[derive(Debug)]
pub struct Authentication {
    /// Requests that crossed a network without TLS are refused.
    pub require_tls: bool,
    /// Idle time after which the facts of a session are forgotten.
    pub session_timeout: Duration,
    /// How JWTs are verified; `None` when no key is given: then no token of another issuer is accepted.
    pub jwt: Option<Jwt>,
    /// Scopes that a client should ask its issuer for.
    pub resource_scopes: Vec<String>,
    /// The gateway's own tokens.
    pub tokens: OwnTokens,
    /// Proofs of possession.
    pub dpop: Dpop,
}

/// Proofs that the caller holds the key to which its token is bound.
#[derive(Debug)]
pub struct Dpop {
    /// Algorithms that a proof may be signed with.
    pub algorithms: Vec<JwtAlgorithm>,
    /// How old a proof may be.
    pub max_age: Duration,
    /// Difference of clocks that is tolerated.
    pub leeway: Duration,
    /// Whether each proof must hold a nonce.
    pub require_nonce: bool,
    /// How long a nonce counts.
    pub nonce_lifetime: Duration,
    /// Used proofs that are remembered.
    pub max_proofs: usize,
    /// The same of one principal.
    pub max_proofs_per_principal: usize,
}

impl Dpop {
    fn read(r: &mut Reader<'_>, leeway: Duration) -> Self {
        let span = |low, high| Span(Duration::from_secs(low)..=Duration::from_secs(high));
        let proofs = || Integer::new(1..=10_000_000, "proofs");
        Self {
            algorithms: r.value("security.authentication.dpop_algorithms", List(Choice(PROOF_ALGORITHMS)), vec![JwtAlgorithm::Es256, JwtAlgorithm::EdDsa, JwtAlgorithm::Rs256], "Algorithms that a proof of possession (DPoP, RFC 9449) may be signed with."),
            max_age: r.value("security.authentication.dpop_max_age", span(1, 600), Duration::from_secs(60), "How old a proof of possession may be. It serves once in that time."),
            require_nonce: r.value("security.authentication.dpop_require_nonce", Flag, false, "Whether each proof must hold a value that the gateway has given out a moment ago (`DPoP-Nonce`), so that none can be made in advance."),
            nonce_lifetime: r.value("security.authentication.dpop_nonce_lifetime", span(10, 3_600), Duration::from_secs(300), "How long a `DPoP-Nonce` counts."),
            max_proofs: r.value("security.authentication.dpop_max_proofs", proofs(), 100_000, "Used proofs that are remembered until their time is over. When there are more, proofs are answered with 503."),
            max_proofs_per_principal: r.value("security.authentication.dpop_max_proofs_per_principal", proofs(), 10_000, "The same for one principal."),
            leeway,
        }
    }
}

/// The gateway's own tokens.
#[derive(Debug)]
pub struct OwnTokens {
    /// The value of `iss`.
    pub issuer: String,
    /// The value of `aud`.
    pub audience: String,
    /// Life of an access token.
    pub access: Duration,
    /// Life of a refresh token.
    pub refresh: Duration,
    /// How long a used refresh token is answered again.
    pub grace: Duration,
    /// Difference of clocks that is tolerated.
    pub leeway: Duration,
    /// Sessions of one key.
    pub max_sessions_per_key: u32,
    /// Bytes of a token.
    pub max_token_bytes: usize,
    /// Proven tokens that are remembered.
    pub token_cache: usize,
}

impl OwnTokens {
    fn read(
        r: &mut Reader<'_>,
        audience: &str,
        leeway: Duration,
        max_token_bytes: usize,
        cache: usize,
    ) -> Self {
        let span = |low, high| Span(Duration::from_secs(low)..=Duration::from_secs(high));
        let refresh = Duration::from_secs(24 * 3600);
        Self {
            issuer: r.value("security.authentication.token_issuer", Text(512), String::from("caxton"), "The value of `iss` in the gateway's own tokens; not that of `jwt_issuer`."),
            access: r.value("security.authentication.jwt_expiry", span(60, 86_400), Duration::from_secs(3600), "Life of an access token that the gateway makes; never longer than its API key's."),
            refresh: r.value("security.authentication.refresh_token_expiry", span(60, 90 * 86_400), refresh, "Life of a refresh token that the gateway makes."),
            grace: r.value("security.authentication.refresh_grace", span(0, 300), Duration::from_secs(30), "How long a refresh token that was used is answered with the same successor, for whom the answer got lost. After that a second use ends the session."),
            max_sessions_per_key: r.value("security.authentication.max_sessions_per_key", Integer::new(1..=100_000, "sessions"), 100, "Sessions of one API key; the one idle longest makes room."),
            audience: audience.to_owned(),
            leeway,
            max_token_bytes,
            token_cache: cache,
        }
    }
}

/// How JWTs are verified.
#[derive(Debug)]
pub struct Jwt {
    /// The one accepted algorithm.
    pub algorithm: JwtAlgorithm,
    /// The key.
    pub key: JwtKey,
    /// The value of `iss`.
    pub issuer: String,
    /// The value that `aud` must contain.
    pub audience: String,
    /// Difference of clocks that is tolerated.
    pub leeway: Duration,
    /// Bytes of a token.
    pub max_token_bytes: usize,
    /// Proven tokens that are remembered; 0 checks each signature anew.
    pub token_cache: usize,
}

/// What holds the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JwtKey {
    /// A public key in PEM.
    PublicKeyFile(PathBuf),
    /// A shared secret, for HS256 only.
    SecretFile(PathBuf),
    /// A key set.
    JwksFile(PathBuf),
    /// A key set that is fetched.
    JwksUrl(Jwks),
}

/// How a key set is fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Jwks {
    /// Where it is.
    pub url: crate::secret::Address,
    /// Time between two fetches.
    pub refresh: Duration,
    /// The least time between two fetches that unknown keys set off.
    pub min_interval: Duration,
    /// The age at which the keys no longer count.
    pub stale_after: Duration,
    /// Time for one fetch.
    pub timeout: Duration,
    /// Bytes of the answer.
    pub max_bytes: usize,
}

impl Jwks {
    fn read(r: &mut Reader<'_>) -> Option<Self> {
        let span = |low, high| Span(Duration::from_secs(low)..=Duration::from_secs(high));
        let url = r.optional("security.authentication.jwks_url", Url { may_weaken: false }, "Key set of the issuer, fetched in the background. Only keys for `jwt_algorithm` are used. Until the first fetch succeeds, tokens are answered with 503.");
        let refresh = r.value(
            "security.authentication.jwks_refresh_interval",
            span(10, 86_400),
            Duration::from_secs(600),
            "Time between two fetches of the key set; after a failure the next comes sooner.",
        );
        let min_interval = r.value(
            "security.authentication.jwks_min_interval",
            span(1, 3_600),
            Duration::from_secs(30),
            "The least time between two fetches that tokens with unknown keys set off.",
        );
        let stale_after = r.value(
            "security.authentication.jwks_stale_after",
            span(60, 30 * 86_400),
            Duration::from_secs(86_400),
            "Age at which fetched keys no longer count when none can be fetched: then no token is accepted.",
        );
        let timeout = r.value(
            "security.authentication.jwks_timeout",
            span(1, 60),
            Duration::from_secs(5),
            "Time for one fetch of the key set.",
        );
        let max_bytes = r.value(
            "security.authentication.jwks_max_bytes",
            Size(1 << 10..=4 << 20),
            256 << 10,
            "Bytes of a key set.",
        );
        Some(Self { url: url?, refresh, min_interval, stale_after, timeout, max_bytes })
    }
}

impl Authentication {
    pub(super) fn read(r: &mut Reader<'_>) -> Self {
        const ALGORITHM: &str = "security.authentication.jwt_algorithm";
        let algorithm = r.value(
            ALGORITHM,
            Choice(ALGORITHMS),
            JwtAlgorithm::Rs256,
            "The one algorithm that is accepted; a token has no say in it.",
        );
        let issuer = r.value(
            "security.authentication.jwt_issuer",
            Text(512),
            String::from("caxton-auth"),
            "The value of `iss`.",
        );
        let audience = r.value(
            "security.authentication.jwt_audience",
            Text(512),
            String::from("caxton-api"),
            "The value that `aud` must contain.",
        );
        let public = r.optional(
            "security.authentication.jwt_public_key_file",
            File { must_exist: true },
            "Public key in PEM that verifies tokens. Without a key no token of another issuer is accepted.",
        );
        let secret = r.optional(
            "security.authentication.jwt_hs256_secret_file",
            File { must_exist: true },
            "Shared secret of at least 32 bytes, for `HS256` only. Who can verify with it can also sign.",
        );
        let file = r.optional(
            "security.authentication.jwt_jwks_file",
            File { must_exist: true },
            "Key set of the issuer (RFC 7517), read at start and on each reload. Only keys for `jwt_algorithm` are used.",
        );
        let jwks = Jwks::read(r);
        let leeway = r.value(
            "security.authentication.leeway",
            Span(Duration::ZERO..=Duration::from_secs(5)),
            Duration::from_secs(5),
            "Difference of clocks that is tolerated in `exp` and `nbf`.",
        );
        let max_token_bytes = r.value(
            "security.authentication.max_token_bytes",
            Size(512..=64 << 10),
            8 << 10,
            "Bytes of a token.",
        );
        let token_cache = r.value(
            "security.authentication.token_cache",
            Integer::new(0..=1_000_000, "tokens"),
            10_000,
            "Proven tokens that are remembered; 0 checks each signature anew. Times are checked always.",
        );
        let key = match algorithm {
            JwtAlgorithm::Hs256 => secret.map(JwtKey::SecretFile),
            JwtAlgorithm::Rs256 | JwtAlgorithm::Es256 | JwtAlgorithm::EdDsa => {
                public.map(JwtKey::PublicKeyFile).or(file.map(JwtKey::JwksFile)).or(jwks.map(JwtKey::JwksUrl))
            }
        };
        Self::check_key(r, algorithm);
        let require_tls = r.value(
            "security.authentication.require_tls",
            Flag,
            true,
            "Refuse every request that crossed a network without TLS, whatever it presents. Requests from this host are not affected.",
        );
        let session_timeout = r.value(
            "security.authentication.session_timeout",
            Span(Duration::from_secs(1)..=Duration::from_secs(7 * 86_400)),
            Duration::from_secs(15 * 60),
            "Idle time after which a session is over: its tokens no longer count, and its facts, which policies see, are forgotten.",
        );
        let resource_scopes = r.value(
            "security.authentication.resource_scopes",
            List(Text(128)),
            Vec::new(),
            "Scopes that a client should ask the issuer for, told to clients that look up how to get in (RFC 9728).",
        );
        let tokens = OwnTokens::read(r, &audience, leeway, max_token_bytes, token_cache);
        let dpop = Dpop::read(r, leeway);
        if tokens.issuer == issuer && key.is_some() {
            let problem = Problem::error(Code::Contradiction, "is the issuer of the gateway's own tokens");
            let problem = problem.with_help("give `security.authentication.token_issuer` another value");
            r.tell(problem, "security.authentication.jwt_issuer");
        }
        Self {
            require_tls,
            session_timeout,
            resource_scopes,
            tokens,
            dpop,
            jwt: key.map(|key| Jwt {
                algorithm,
                key,
                issuer,
                audience,
                leeway,
                max_token_bytes,
                token_cache,
            }),
        }
    }

    /// One source, of the algorithm's kind: a public key used as a shared secret lets anybody sign.
    fn check_key(r: &mut Reader<'_>, algorithm: JwtAlgorithm) {
        const SECRET: &str = "security.authentication.jwt_hs256_secret_file";
        const PUBLIC: [&str; 3] = [
            "security.authentication.jwt_public_key_file",
            "security.authentication.jwt_jwks_file",
            "security.authentication.jwks_url",
        ];
        let shared = algorithm == JwtAlgorithm::Hs256;
        let (wanted, stray) =
            if shared { (&[SECRET][..], &PUBLIC[..]) } else { (&PUBLIC[..], &[SECRET][..]) };
        let wanted_key = wanted.first().copied().unwrap_or(SECRET);
        let strays: Vec<_> = stray.iter().filter(|key| r.is_given(key)).collect();
        for key in &strays {
            let problem = Problem::error(Code::Contradiction, "does not belong to `jwt_algorithm`")
                .with_help(format!("give `{wanted_key}`, or choose the algorithm of this key"));
            r.tell(problem, key);
        }
        let mut given = wanted.iter().filter(|key| r.is_given(key));
        match (given.next(), given.next()) {
            (Some(first), Some(second)) => {
                let problem =
                    Problem::error(Code::Contradiction, format!("cannot be given beside `{first}`"));
                r.tell(problem.with_help("keys come from one source: keep one of the two"), second);
            }
            (Some(_), None) => {}
            (None, _) if strays.is_empty() => Self::tell_inert(r, wanted_key),
            (None, _) => {}
        }
    }

    fn tell_inert(r: &mut Reader<'_>, wanted: &str) {
        for key in ["jwt_algorithm", "jwt_issuer", "jwt_audience"] {
            let key = format!("security.authentication.{key}");
            if r.is_given(&key) {
                let problem = Problem::error(
                    Code::Missing,
                    "has no effect: no key is given, so no token of another issuer is accepted",
                );
                r.tell(problem.with_help(format!("give `{wanted}`, or remove the key")), &key);
            }
        }
    }
}

/// `security.api_keys.*`
#[derive(Debug)]
pub struct ApiKeys {
    /// The header field of a key, beside `X-Caxton-Api-Key`.
    pub header_name: http::HeaderName,
    /// The age at which a key is refused although it has not expired; `None`: its expiry alone counts.
    pub max_age: Option<Duration>,
    /// How long a key that was replaced still serves.
    pub grace: Duration,
    /// Calls with one key.
    pub rate_limit_per_key: Rate,
    /// Calls with one key at once.
    pub burst_limit: u32,
}

/// How keys are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sha256;

impl ApiKeys {
    pub(super) fn read(r: &mut Reader<'_>) -> Self {
        let header = http::HeaderName::from_static("x-api-key");
        let header_name = r.value(
            "security.api_keys.header_name",
            Parsed::new("the name of a header field"),
            header,
            "Header field of an API key; `X-Caxton-Api-Key` works as well.",
        );
        if matches!(
            header_name.as_str(),
            "authorization" | "cookie" | "host" | "content-length" | "content-type"
        ) {
            let problem = Problem::error(Code::Contradiction, "this header field has another meaning");
            r.tell(problem.with_help("write `X-API-Key`"), "security.api_keys.header_name");
        }
        r.value(
            "security.api_keys.hash_algorithm",
            Choice(&[("sha256", Sha256)]),
            Sha256,
            "Keys are kept as HMAC-SHA-256 with a secret of the data directory.",
        );
        let (max_age, grace) = Self::rotation(r);
        let (rate_limit_per_key, burst_limit) = Self::rate(r);
        Self { header_name, max_age, grace, rate_limit_per_key, burst_limit }
    }

    fn rate(r: &mut Reader<'_>) -> (Rate, u32) {
        const PER_KEY: &str = "security.api_keys.rate_limit_per_key";
        const BURST: &str = "security.api_keys.burst_limit";
        let hourly = Rate { count: 1_000, per: Duration::from_secs(3_600) };
        let rate_limit_per_key =
            r.value(PER_KEY, RateOf, hourly, "Calls with one API key; more are answered with 429.");
        let burst_limit =
            r.value(BURST, Integer::new(1..=1_000_000, "calls"), 100, "Calls with one API key at once.");
        check_rate(r, &rate_limit_per_key, burst_limit, (PER_KEY, BURST));
        (rate_limit_per_key, burst_limit)
    }

    fn rotation(r: &mut Reader<'_>) -> (Option<Duration>, Duration) {
        const INTERVAL: &str = "security.api_keys.rotation_interval";
        let span = |low, high| Span(Duration::from_secs(low)..=Duration::from_secs(high));
        let (day, most) = (86_400, 3_660 * 86_400);
        let auto = r.value("security.api_keys.auto_rotate", Flag, false, "A key that is older than `rotation_interval` and `grace_period` together is refused, although it has not expired: whoever uses it must have replaced it.");
        let interval = r.value(
            INTERVAL,
            span(3_600, most),
            Duration::from_secs(30 * day),
            "Age at which a key is to be replaced, with `auto_rotate`.",
        );
        let grace = r.value(
            "security.api_keys.grace_period",
            span(0, 365 * day),
            Duration::from_secs(7 * day),
            "How long a key that was replaced still serves.",
        );
        if r.is_given(INTERVAL) && !auto {
            let problem =
                Problem::error(Code::Missing, "has no effect: keys may grow as old as they were made for");
            r.tell(
                problem.with_help("set `security.api_keys.auto_rotate: true`, or remove the key"),
                INTERVAL,
            );
        }
        (auto.then(|| interval.saturating_add(grace)), grace)
    }
}
