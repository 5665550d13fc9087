//! `security.oauth2.*`: login of people at a provider of OpenID Connect or of OAuth 2.0 alone.

use std::time::Duration;

use reqwest::Url as PlainUrl;

use super::identity::ALGORITHMS;
use crate::authn::jwt::JwtAlgorithm;
use crate::authn::oauth2::{ClientSecret, ProviderKind, Settings};
use crate::config::problem::{ConfigProblem, ProblemCode};
use crate::config::reader::Reader;
use crate::config::value_type::{
    Choice, DurationRange, FilePath, FreeText, HttpsUrl, Integer, List, SecretText, Size,
};
use crate::secret::Address;

const PROVIDER: &str = "security.oauth2.provider";
const SUBJECT: &str = "security.oauth2.userinfo_subject";
const ISSUER: &str = "security.oauth2.issuer";
const CLIENT: &str = "security.oauth2.client_id";
const SECRET: &str = "security.oauth2.client_secret";
const SECRET_FILE: &str = "security.oauth2.client_secret_file";
const REDIRECT: &str = "security.oauth2.redirect_uri";
/// The route that providers send browsers back to.
const CALLBACK: &str = "/v1/auth/oauth2/callback";

/// What the provider speaks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Protocol {
    OpenId,
    /// OAuth 2.0 alone.
    Custom,
}

/// What a provider with OAuth 2.0 alone has to be told of, because it is not asked about itself.
const OF_CUSTOM: [&str; 3] = [
    "security.oauth2.authorization_endpoint",
    "security.oauth2.token_endpoint",
    "security.oauth2.userinfo_endpoint",
];
/// What only an OpenID provider has.
const OF_OPENID: [&str; 2] = ["security.oauth2.jwks_uri", "security.oauth2.id_token_algorithm"];

/// `None` without an issuer.
pub(super) fn read(r: &mut Reader<'_>, public_url: Option<&Address>, leeway: Duration) -> Option<Settings> {
    let protocol = r.value(
        PROVIDER,
        Choice(&[("openid", Protocol::OpenId), ("custom", Protocol::Custom)]),
        Protocol::OpenId,
        "What the provider speaks: `openid`, where an ID token names the person, or `custom`, OAuth 2.0 alone, where `userinfo_endpoint` does. A custom provider is not asked about itself: give `authorization_endpoint`, `token_endpoint` and `userinfo_endpoint`.",
    );
    let subject = r.value(
        SUBJECT,
        FreeText(128),
        String::from("sub"),
        "With `provider: custom`, the field of the userinfo answer that has the person's id, text or a whole number. It must be one that the provider never gives to another person: `id`, not `login` or `email`.",
    );
    let issuer = r.optional(
        ISSUER,
        FreeText(512),
        "The OpenID provider where people log in: an `https` address, to the letter as its tokens name it. What it publishes about itself is asked in the background; until it answers, a login is answered with 503. With `provider: custom` it is the name of the provider in the ids of people; without the key, the origin of `token_endpoint`.",
    );
    let client_id = r.optional(CLIENT, FreeText(256), "The gateway's name at the provider.");
    let secret = r.optional(
        SECRET,
        SecretText,
        "The gateway's secret at the provider. Without one it is a public client.",
    );
    let secret_file = r.optional(
        SECRET_FILE,
        FilePath { must_exist: true },
        "File with the secret, instead of `client_secret`.",
    );
    let redirect = r.optional(
        REDIRECT,
        HttpsUrl { may_weaken: false },
        "Where the provider sends browsers back to, exactly as registered there. Without the key: `/v1/auth/oauth2/callback` under `server.public_url`.",
    );
    let mut endpoint = |key: &'static str, doc| r.optional(key, HttpsUrl { may_weaken: false }, doc);
    let authorization_endpoint = endpoint(
        "security.oauth2.authorization_endpoint",
        "Where browsers are sent, when not where the provider says.",
    );
    let token_endpoint = endpoint(
        "security.oauth2.token_endpoint",
        "Where codes are exchanged, when not where the provider says.",
    );
    let userinfo_endpoint = endpoint(
        "security.oauth2.userinfo_endpoint",
        "Userinfo endpoint, queried after each login. Without the key it is not queried: the ID token is usually enough. With `provider: custom` it identifies the person.",
    );
    let device_authorization_endpoint = endpoint(
        "security.oauth2.device_authorization_endpoint",
        "Where a login on another device begins, when not where the provider says.",
    );
    let jwks_uri = endpoint(
        "security.oauth2.jwks_uri",
        "Key set of the provider, instead of that in its metadata. With this, `authorization_endpoint` and `token_endpoint`, no metadata is fetched.",
    );
    let scopes = r.value(
        "security.oauth2.scopes",
        List(FreeText(128)),
        ["openid", "profile", "email"].map(str::to_owned).into(),
        "What the gateway asks the provider for.",
    );
    let algorithm = r.value(
        "security.oauth2.id_token_algorithm",
        Choice(PUBLIC_ALGORITHMS),
        JwtAlgorithm::Rs256,
        "The one algorithm of ID tokens that is accepted.",
    );
    let login_timeout = r.value(
        "security.oauth2.login_timeout",
        DurationRange::seconds(30, 3_600),
        Duration::from_secs(600),
        "How long a person may take to log in.",
    );
    let max_logins = r.value(
        "security.oauth2.max_logins",
        Integer::new(1..=100_000, "logins"),
        1_000,
        "Logins under way at once; more are answered with 503.",
    );
    let per_address = r.value(
        "security.oauth2.max_logins_per_address",
        Integer::new(1..=100_000, "logins"),
        20,
        "Logins under way at once from one address (of IPv6, one /64).",
    );
    let timeout = r.value(
        "security.oauth2.timeout",
        DurationRange::seconds(1, 60),
        Duration::from_secs(10),
        "Time for one answer of the provider.",
    );
    let max_bytes = r.value(
        "security.oauth2.max_bytes",
        Size(4 << 10..=4 << 20),
        256 << 10,
        "Bytes of one answer of the provider.",
    );
    let max_session = r.value(
        "security.oauth2.max_session",
        DurationRange::seconds(60, 30 * 86_400),
        Duration::from_secs(12 * 3_600),
        "Maximum lifetime of a session after its login, however much it is used: until then, the provider's claims about the person are not refreshed.",
    );
    check_protocol(r, protocol);
    let issuer = match (issuer, protocol, &token_endpoint) {
        (None, Protocol::Custom, Some(token)) => Some(token.expose().origin().ascii_serialization()),
        (issuer, _, _) => issuer,
    };
    let Some(issuer) = issuer else {
        // What a custom provider lacks has been told.
        if protocol == Protocol::Custom {
            return None;
        }
        let others = [
            "client_id",
            "client_secret",
            "client_secret_file",
            "redirect_uri",
            "authorization_endpoint",
            "token_endpoint",
        ];
        let given = others.iter().map(|name| format!("security.oauth2.{name}")).find(|path| r.is_given(path));
        if let Some(other) = given.filter(|_| !r.is_given(ISSUER)) {
            r.report_missing(ISSUER, &other);
        }
        return None;
    };
    check_issuer(r, &issuer);
    let because = if protocol == Protocol::Custom { PROVIDER } else { ISSUER };
    if !r.is_given(CLIENT) {
        r.report_missing(CLIENT, because);
    }
    if r.is_given(SECRET) && r.is_given(SECRET_FILE) {
        let problem =
            ConfigProblem::error(ProblemCode::Contradiction, format!("cannot be given beside `{SECRET}`"));
        r.report(problem.with_help("keep one of the two"), SECRET_FILE);
    }
    let redirect_uri = redirect_uri(r, redirect, public_url, because)?;
    let kind = match protocol {
        Protocol::OpenId => ProviderKind::OpenId,
        Protocol::Custom => ProviderKind::Custom { subject },
    };
    Some(Settings {
        kind,
        issuer,
        authorization_endpoint,
        token_endpoint,
        userinfo_endpoint,
        device_authorization_endpoint,
        jwks_uri,
        client_id: client_id?,
        client_secret: secret.map(ClientSecret::Given).or(secret_file.map(ClientSecret::File)),
        redirect_uri,
        scopes,
        algorithm,
        leeway,
        login_timeout,
        max_logins,
        max_logins_per_address: per_address,
        timeout,
        max_bytes,
        max_session,
    })
}

/// What one kind of provider needs, and what has no effect at it.
fn check_protocol(r: &mut Reader<'_>, protocol: Protocol) {
    let (stray, advice): (&[&str], _) = match protocol {
        Protocol::OpenId => {
            (&[SUBJECT], "remove the key: the ID token of an OpenID provider names the person in `sub`")
        }
        Protocol::Custom => (&OF_OPENID, "remove the key: a custom provider gives no ID token"),
    };
    for key in stray {
        if r.is_given(key) {
            let problem = ConfigProblem::error(
                ProblemCode::Contradiction,
                format!("has no effect with this `{PROVIDER}`"),
            );
            r.report(problem.with_help(advice), key);
        }
    }
    if protocol == Protocol::Custom {
        for key in OF_CUSTOM {
            if !r.is_given(key) {
                r.report_missing(key, PROVIDER);
            }
        }
    }
}

fn redirect_uri(
    r: &mut Reader<'_>,
    given: Option<Address>,
    public: Option<&Address>,
    because: &str,
) -> Option<PlainUrl> {
    if let Some(address) = given {
        let url = address.expose();
        if !url.path().ends_with(CALLBACK) || url.query().is_some() || url.fragment().is_some() {
            let problem =
                ConfigProblem::error(ProblemCode::OutOfRange, "is not where the gateway takes logins back");
            r.report(problem.with_help(format!("write an address that ends in `{CALLBACK}`")), REDIRECT);
        }
        return Some(url.clone());
    }
    if r.is_given(REDIRECT) {
        return None;
    }
    let Some(public) = public else {
        r.report_missing(REDIRECT, because);
        return None;
    };
    let public = public.expose();
    // `server.public_url` may be weaker than a login can be.
    if public.scheme() != "https" && !crate::config::value_type::is_loopback(public) {
        r.report_missing(REDIRECT, because);
        return None;
    }
    PlainUrl::parse(&format!("{}{CALLBACK}", public.as_str().trim_end_matches('/'))).ok()
}

/// A shared secret has no place in a key set.
const PUBLIC_ALGORITHMS: &[(&str, JwtAlgorithm)] = match ALGORITHMS.split_last() {
    Some((_, public)) => public,
    None => &[],
};

fn check_issuer(r: &mut Reader<'_>, issuer: &str) {
    let url = PlainUrl::parse(issuer).ok();
    let sound = |url: &PlainUrl| {
        let safe =
            url.scheme() == "https" || url.scheme() == "http" && crate::config::value_type::is_loopback(url);
        safe && url.query().is_none() && url.fragment().is_none() && url.username().is_empty()
    };
    if !url.as_ref().is_some_and(sound) {
        let problem = ConfigProblem::error(ProblemCode::OutOfRange, "is not the name of an OpenID provider");
        let help =
            "write its `https` address without query and fragment, as `https://login.example/realms/main`";
        r.report(problem.with_help(help), ISSUER);
    }
}
