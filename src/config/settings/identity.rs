//! `security.authentication.*`: which tokens are accepted, and how the gateway makes its own.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::api;
use crate::authn::jwt::{self, JwksPlace, JwksUrl, JwtAlgorithm, JwtKey, KeyMaterial};
use crate::authn::{dpop, tokens};
use crate::config::problem::{ConfigProblem, ProblemCode};
use crate::config::reader::Reader;
use crate::config::value_type::{
    Choice, DurationRange, FilePath, Flag, FreeText, HttpsUrl, Integer, List, Size,
};

const PROOF_ALGORITHMS: &[(&str, JwtAlgorithm)] =
    &[("ES256", JwtAlgorithm::Es256), ("EdDSA", JwtAlgorithm::EdDsa), ("RS256", JwtAlgorithm::Rs256)];

pub(super) const ALGORITHMS: &[(&str, JwtAlgorithm)] = &[
    ("RS256", JwtAlgorithm::Rs256),
    ("ES256", JwtAlgorithm::Es256),
    ("EdDSA", JwtAlgorithm::EdDsa),
    ("HS256", JwtAlgorithm::Hs256),
];

/// What the section says of several modules.
pub(super) struct Authentication {
    /// Idle time after which a session is over.
    pub(super) session_timeout: Duration,
    /// How JWTs are verified; `None` when no key is given: then no token of another issuer is accepted.
    pub(super) jwt: Option<jwt::Settings>,
    pub(super) tokens: tokens::Settings,
    pub(super) dpop: dpop::Settings,
}

fn proofs(r: &mut Reader<'_>, leeway: Duration) -> dpop::Settings {
    let usual = dpop::Settings::default();
    let proofs = || Integer::new(1..=10_000_000, "proofs");
    dpop::Settings {
            algorithms: r.value(
                "security.authentication.dpop_algorithms",
                List(Choice(PROOF_ALGORITHMS)),
                usual.algorithms,
                "Algorithms that a proof of possession (DPoP, RFC 9449) may be signed with.",
            ),
            max_age: r.value(
                "security.authentication.dpop_max_age",
                DurationRange::seconds(1, 600),
                usual.max_age,
                "Maximum age of a proof of possession. Each proof is accepted once.",
            ),
            require_nonce: r.value(
                "security.authentication.dpop_require_nonce",
                Flag,
                usual.require_nonce,
                "Whether each proof must hold a value that the gateway has given out a moment ago (`DPoP-Nonce`), so that none can be made in advance.",
            ),
            nonce_lifetime: r.value(
                "security.authentication.dpop_nonce_lifetime",
                DurationRange::seconds(10, 3_600),
                usual.nonce_lifetime,
                "Validity of a `DPoP-Nonce`.",
            ),
            max_proofs: r.value(
                "security.authentication.dpop_max_proofs",
                proofs(),
                usual.max_proofs,
                "Used proofs that are remembered until their time is over. When there are more, proofs are answered with 503.",
            ),
            max_proofs_per_principal: r.value(
                "security.authentication.dpop_max_proofs_per_principal",
                proofs(),
                usual.max_proofs_per_principal,
                "The same for one principal.",
            ),
            leeway,
        }
}

/// The gateway's own tokens. What they share with tokens of another issuer stands in `usual` already.
fn own_tokens(r: &mut Reader<'_>, usual: tokens::Settings) -> tokens::Settings {
    let issuer = r.value(
        "security.authentication.token_issuer",
        FreeText(512),
        usual.issuer.to_string(),
        "The value of `iss` in the gateway's own tokens; not that of `jwt_issuer`.",
    );
    tokens::Settings {
        issuer: issuer.into(),
        access: r.value(
            "security.authentication.jwt_expiry",
            DurationRange::seconds(60, 86_400),
            usual.access,
            "Life of an access token that the gateway makes; never longer than its API key's.",
        ),
        refresh: r.value(
            "security.authentication.refresh_token_expiry",
            DurationRange::seconds(60, 90 * 86_400),
            usual.refresh,
            "Life of a refresh token that the gateway makes.",
        ),
        grace: r.value(
            "security.authentication.refresh_grace",
            DurationRange::seconds(0, 300),
            usual.grace,
            "How long a used refresh token is answered with the same successor, in case the first answer was lost. After that a second use ends the session.",
        ),
        max_sessions_per_key: r.value(
            "security.authentication.max_sessions_per_key",
            Integer::new(1..=100_000, "sessions"),
            usual.max_sessions_per_key,
            "Sessions of one API key; the one idle longest makes room.",
        ),
        ..usual
    }
}

/// A key set that is fetched; `None` without its address.
fn key_set(r: &mut Reader<'_>) -> Option<JwksUrl> {
    let url = r.optional(
        "security.authentication.jwks_url",
        HttpsUrl { may_weaken: false },
        "Key set of the issuer, fetched in the background. Only keys for `jwt_algorithm` are used. Until the first fetch succeeds, tokens are answered with 503.",
    );
    let refresh = r.value(
        "security.authentication.jwks_refresh_interval",
        DurationRange::seconds(10, 86_400),
        Duration::from_secs(600),
        "Time between two fetches of the key set; after a failure the next comes sooner.",
    );
    let min_interval = r.value(
        "security.authentication.jwks_min_interval",
        DurationRange::seconds(1, 3_600),
        Duration::from_secs(30),
        "The least time between two fetches that tokens with unknown keys set off.",
    );
    let stale_after = r.value(
        "security.authentication.jwks_stale_after",
        DurationRange::seconds(60, 30 * 86_400),
        Duration::from_secs(86_400),
        "Age at which fetched keys no longer count when none can be fetched: then no token is accepted.",
    );
    let timeout = r.value(
        "security.authentication.jwks_timeout",
        DurationRange::seconds(1, 60),
        Duration::from_secs(5),
        "Time for one fetch of the key set.",
    );
    let max_bytes = r.value(
        "security.authentication.jwks_max_bytes",
        Size(1 << 10..=4 << 20),
        256 << 10,
        "Bytes of a key set.",
    );
    Some(JwksUrl { url: url?, refresh, min_interval, stale_after, timeout, max_bytes })
}

impl Authentication {
    pub(super) fn read(r: &mut Reader<'_>, data_dir: &Path, api: &mut api::Settings) -> Self {
        const ALGORITHM: &str = "security.authentication.jwt_algorithm";
        let algorithm = r.value(
            ALGORITHM,
            Choice(ALGORITHMS),
            JwtAlgorithm::Rs256,
            "The only accepted algorithm, whatever the token's header states.",
        );
        let issuer = r.value(
            "security.authentication.jwt_issuer",
            FreeText(512),
            String::from("caxton-auth"),
            "The value of `iss`.",
        );
        let audience = r.value(
            "security.authentication.jwt_audience",
            FreeText(512),
            String::from("caxton-api"),
            "The value that `aud` must contain.",
        );
        let public = r.optional(
            "security.authentication.jwt_public_key_file",
            FilePath { must_exist: true },
            "Public key in PEM that verifies tokens. Without a key no token of another issuer is accepted.",
        );
        let secret = r.optional(
            "security.authentication.jwt_hs256_secret_file",
            FilePath { must_exist: true },
            "Shared secret of at least 32 bytes, for `HS256` only. Who can verify with it can also sign.",
        );
        let file = r.optional(
            "security.authentication.jwt_jwks_file",
            FilePath { must_exist: true },
            "Key set of the issuer (RFC 7517), read at start and on each reload. Only keys for `jwt_algorithm` are used.",
        );
        let jwks = key_set(r);
        let leeway = r.value(
            "security.authentication.leeway",
            DurationRange::seconds(0, 5),
            Duration::from_secs(5),
            "Difference of clocks that is tolerated in `exp` and `nbf`.",
        );
        let max_token_bytes = r.value(
            "security.authentication.max_token_bytes",
            Size(512..=64 << 10),
            8 << 10,
            "Bytes of a token.",
        );
        let cache_entries = r.value(
            "security.authentication.token_cache",
            Integer::new(0..=1_000_000, "tokens"),
            10_000,
            "Proven tokens that are remembered; 0 checks each signature anew. Times are checked always.",
        );
        let delegated = r.value(
            "security.authentication.accept_delegated_tokens",
            Flag,
            false,
            "Accept tokens that were delegated to another party (`act`, RFC 8693). Policies see the chain in `context.delegation`; one that does not look at it permits to that party all that the person may do.",
        );
        let source = match algorithm {
            JwtAlgorithm::Hs256 => secret.map(KeySource::KeyInfo),
            JwtAlgorithm::Rs256 | JwtAlgorithm::Es256 | JwtAlgorithm::EdDsa => public
                .map(KeySource::KeyInfo)
                .or(file.map(|path| KeySource::Set(JwksPlace::File(path))))
                .or(jwks.map(|url| KeySource::Set(JwksPlace::Url(url)))),
        };
        Self::check_key(r, algorithm);
        api.require_tls = r.value(
            "security.authentication.require_tls",
            Flag,
            true,
            "Refuse every request that crossed a network without TLS, with any credential. Requests from this host are not affected.",
        );
        let session_timeout = r.value(
            "security.authentication.session_timeout",
            DurationRange::seconds(1, 7 * 86_400),
            Duration::from_secs(15 * 60),
            "Idle time after which a session is over: its tokens no longer count, and its facts, which policies see, are forgotten.",
        );
        api.resource_scopes = r.value(
            "security.authentication.resource_scopes",
            List(FreeText(128)),
            Vec::new(),
            "Scopes that a client should request from the issuer, published in the resource metadata (RFC 9728).",
        );
        let tokens = tokens::Settings {
            audience: audience.as_str().into(),
            idle: session_timeout,
            leeway,
            max_token_bytes,
            cache_entries,
            ..tokens::Settings::in_directory(data_dir)
        };
        let tokens = own_tokens(r, tokens);
        let dpop = proofs(r, leeway);
        if *tokens.issuer == *issuer && source.is_some() {
            let problem =
                ConfigProblem::error(ProblemCode::Contradiction, "is the issuer of the gateway's own tokens");
            let problem = problem.with_help("give `security.authentication.token_issuer` another value");
            r.report(problem, "security.authentication.jwt_issuer");
        }
        let jwt = source.map(|source| {
            let (keys, jwks) = source.into_settings(algorithm);
            jwt::Settings {
                keys,
                jwks,
                issuer: issuer.into(),
                audience: audience.into(),
                resources: Vec::new(),
                delegated,
                leeway,
                max_token_bytes,
                cache_entries,
            }
        });
        Self { session_timeout, jwt, tokens, dpop }
    }

    /// One source, of the algorithm's kind: a public key used as a shared secret would let every client sign.
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
            let problem =
                ConfigProblem::error(ProblemCode::Contradiction, "does not belong to `jwt_algorithm`")
                    .with_help(format!("give `{wanted_key}`, or choose the algorithm of this key"));
            r.report(problem, key);
        }
        let mut given = wanted.iter().filter(|key| r.is_given(key));
        match (given.next(), given.next()) {
            (Some(first), Some(second)) => {
                let problem = ConfigProblem::error(
                    ProblemCode::Contradiction,
                    format!("cannot be given beside `{first}`"),
                );
                r.report(problem.with_help("keys come from one source: keep one of the two"), second);
            }
            (Some(_), None) => {}
            (None, _) if strays.is_empty() => Self::report_unused_keys(r, wanted_key),
            (None, _) => {}
        }
    }

    fn report_unused_keys(r: &mut Reader<'_>, wanted: &str) {
        for key in ["jwt_algorithm", "jwt_issuer", "jwt_audience"] {
            let key = format!("security.authentication.{key}");
            if r.is_given(&key) {
                let problem = ConfigProblem::error(
                    ProblemCode::Missing,
                    "has no effect: no key is given, so no token of another issuer is accepted",
                );
                r.report(problem.with_help(format!("give `{wanted}`, or remove the key")), &key);
            }
        }
    }
}

/// What holds the key of another issuer.
enum KeySource {
    /// A public key in PEM, or a shared secret.
    KeyInfo(PathBuf),
    /// A key set.
    Set(JwksPlace),
}

impl KeySource {
    fn into_settings(self, algorithm: JwtAlgorithm) -> (Vec<JwtKey>, Option<(JwtAlgorithm, JwksPlace)>) {
        match self {
            Self::KeyInfo(path) => {
                let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
                let name = stem.unwrap_or_else(|| "jwt".into()).into();
                (vec![JwtKey { name, algorithm, material: KeyMaterial::File(path), kid: None }], None)
            }
            Self::Set(place) => (Vec::new(), Some((algorithm, place))),
        }
    }
}
