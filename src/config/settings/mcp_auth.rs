//! `mcp.servers[].auth.*`: the gateway's credentials at one upstream server by OAuth.

use crate::config::problem::{ConfigProblem, ProblemCode};
use crate::config::reader::Reader;
use crate::config::value_type::{
    Choice, FilePath, FreeText, HttpsUrl, Integer, List, SecretText, is_loopback,
};
use crate::model::ServerName;
use crate::secret::Address;
use crate::tools::{
    ClientKey, OauthClient, OwnAccess, SharedSecret, TokenPlace, UpstreamAuth, UpstreamGrant,
};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Grant {
    ClientCredentials,
    TokenExchange,
    IdJag,
    AuthorizationCode,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Method {
    Basic,
    Post,
    PrivateKey,
}

const METHODS: &[(&str, Method)] = &[
    ("client_secret_basic", Method::Basic),
    ("client_secret_post", Method::Post),
    ("private_key_jwt", Method::PrivateKey),
];

/// The keys of one client, under the section that it is configured in.
struct ClientKeys {
    issuer: &'static str,
    endpoint: &'static str,
    id: &'static str,
    method: &'static str,
    secret: &'static str,
    secret_file: &'static str,
    key_file: &'static str,
    key_id: &'static str,
}

const OWN: ClientKeys = ClientKeys {
    issuer: "auth.issuer",
    endpoint: "auth.token_endpoint",
    id: "auth.client_id",
    method: "auth.client_auth",
    secret: "auth.client_secret",
    secret_file: "auth.client_secret_file",
    key_file: "auth.private_key_file",
    key_id: "auth.private_key_id",
};
const PROVIDER: ClientKeys = ClientKeys {
    issuer: "auth.identity_provider.issuer",
    endpoint: "auth.identity_provider.token_endpoint",
    id: "auth.identity_provider.client_id",
    method: "auth.identity_provider.client_auth",
    secret: "auth.identity_provider.client_secret",
    secret_file: "auth.identity_provider.client_secret_file",
    key_file: "auth.identity_provider.private_key_file",
    key_id: "auth.identity_provider.private_key_id",
};
const PROVIDER_SECTION: &str = "auth.identity_provider";

/// What was read of one client, before it is known whether it is complete.
struct ClientRead {
    issuer: Option<String>,
    endpoint: Option<Address>,
    id: Option<String>,
    key: Option<ClientKey>,
}

/// `None` without the section, or after a mistake in it.
///
/// The gateway names itself by the address of its description below `public_url` where it has no other name. `wants_accounts` is
/// set where callers are to connect accounts, also after a mistake.
pub(super) fn read(
    r: &mut Reader<'_>,
    (server, public_url): (Option<&ServerName>, Option<&Address>),
    wants_accounts: &mut bool,
) -> Option<UpstreamAuth> {
    let grant = r.optional(
        "auth.grant",
        Choice(&[
            ("client_credentials", Grant::ClientCredentials),
            ("token_exchange", Grant::TokenExchange),
            ("id_jag", Grant::IdJag),
            ("authorization_code", Grant::AuthorizationCode),
        ]),
        "How the gateway gets tokens for the server, with `url`: `client_credentials`, one token of its own for all callers; `token_exchange`, one for each caller (RFC 8693); `id_jag`, one for each caller through an identity provider (Identity Assertion Authorization Grant); `authorization_code`, those of an account that the caller connects once.",
    );
    let own = client(r, &OWN);
    let scopes = r.value(
        "auth.scopes",
        List(FreeText(128)),
        Vec::new(),
        "The scopes that are requested. Without them the authorization server decides.",
    );
    let resource = r.optional(
        "auth.resource",
        FreeText(1_024),
        "The server's name as a resource (RFC 8707). Without the key: its address without query.",
    );
    let audience = r.optional(
        "auth.audience",
        FreeText(1_024),
        "The server's name at an authorization server that takes `audience` in a token exchange. Not with `id_jag`.",
    );
    let own_access = r.value(
        "auth.own_access",
        Choice(&[("client_credentials", OwnAccess::ClientCredentials), ("none", OwnAccess::Nothing)]),
        OwnAccess::ClientCredentials,
        "The credential with which the gateway lists the server's tools where each caller has a token: a token of its own, or none. With `authorization_code` always none.",
    );
    let max_callers = r.value(
        "auth.max_callers",
        Integer::new(1..=100_000, "callers"),
        1_000,
        "Callers with a connection of their own at the server at once; the one idle longest makes room. An idle one is closed after ten minutes.",
    );
    let provider = client(r, &PROVIDER);
    if !r.is_given("auth") {
        return None;
    }
    if !r.is_given("auth.grant") {
        r.report(ConfigProblem::error(ProblemCode::Missing, "must be given"), "auth.grant");
    }
    let grant = grant?;
    *wants_accounts |= grant == Grant::AuthorizationCode;
    check_scopes(r, &scopes);
    check_meaningless(r, grant);
    let client = match grant {
        Grant::AuthorizationCode => complete_account(r, own, server, public_url)?,
        _ => complete(r, own, &OWN, grant)?,
    };
    let own_access = if grant == Grant::AuthorizationCode { OwnAccess::Nothing } else { own_access };
    let grant = match grant {
        Grant::ClientCredentials => UpstreamGrant::ClientCredentials,
        Grant::TokenExchange => UpstreamGrant::TokenExchange,
        Grant::IdJag => {
            let identity_provider = complete_provider(r, provider)?;
            UpstreamGrant::IdentityAssertion { identity_provider }
        }
        Grant::AuthorizationCode => UpstreamGrant::AuthorizationCode,
    };
    Some(UpstreamAuth { grant, client, scope: scopes.join(" "), resource, audience, own_access, max_callers })
}

fn client(r: &mut Reader<'_>, keys: &ClientKeys) -> ClientRead {
    let issuer = r.optional(
        keys.issuer,
        FreeText(512),
        "The authorization server: an `https` address, to the letter as it names itself. Its token endpoint is what it publishes (RFC 8414). Without it and `token_endpoint`: the one that the server names (RFC 9728), if it has the server's own origin.",
    );
    let endpoint = r.optional(
        keys.endpoint,
        HttpsUrl { may_weaken: false },
        "Where tokens are requested, whatever the authorization server publishes.",
    );
    let id = r.optional(keys.id, FreeText(1_024), "The gateway's name at the authorization server.");
    let method = r.optional(
        keys.method,
        Choice(METHODS),
        "How the gateway proves itself at the authorization server. Without the key: `private_key_jwt` with `private_key_file`, else `client_secret_basic`.",
    );
    let secret = r.optional(keys.secret, SecretText, "The gateway's secret at the authorization server.");
    let secret_file = r.optional(
        keys.secret_file,
        FilePath { must_exist: true },
        "File with the secret, instead of `client_secret`; read with each request for a token.",
    );
    let key_file = r.optional(
        keys.key_file,
        FilePath { must_exist: true },
        "File with a private key in PEM (PKCS #8; Ed25519, P-256 or RSA), for `private_key_jwt`; read with each request for a token.",
    );
    let key_id =
        r.optional(keys.key_id, FreeText(256), "The name of that key at the authorization server (`kid`).");
    let given = [keys.secret, keys.secret_file, keys.key_file].map(|path| r.is_given(path));
    if given.into_iter().filter(|given| *given).count() > 1 {
        let message = "one of `client_secret`, `client_secret_file` and `private_key_file` is enough";
        let problem = ConfigProblem::error(ProblemCode::Contradiction, message);
        let second = if r.is_given(keys.key_file) { keys.key_file } else { keys.secret_file };
        r.report(problem.with_help("keep the one that is registered"), second);
    }
    if r.is_given(keys.key_id) && !r.is_given(keys.key_file) {
        r.report_missing(keys.key_file, keys.key_id);
    }
    let secret = secret.map(SharedSecret::Given).or(secret_file.map(SharedSecret::File));
    let key = match (method, secret, key_file) {
        (None | Some(Method::PrivateKey), None, Some(file)) => {
            Some(ClientKey::PrivateKey { file, kid: key_id })
        }
        (None | Some(Method::Basic), Some(secret), None) => Some(ClientKey::Basic(secret)),
        (Some(Method::Post), Some(secret), None) => Some(ClientKey::Post(secret)),
        (Some(Method::PrivateKey), Some(_), None) => {
            r.report_missing(keys.key_file, keys.method);
            None
        }
        (Some(Method::Basic | Method::Post), None, Some(_)) => {
            r.report_missing(keys.secret, keys.method);
            None
        }
        _ => None,
    };
    ClientRead { issuer, endpoint, id, key }
}

/// The client, if all of it is there.
fn complete(r: &mut Reader<'_>, read: ClientRead, keys: &ClientKeys, grant: Grant) -> Option<OauthClient> {
    check_issuer(r, read.issuer.as_deref(), keys.issuer);
    if !r.is_given(keys.id) {
        r.report(ConfigProblem::error(ProblemCode::Missing, "must be given"), keys.id);
    }
    let proofs = [keys.secret, keys.secret_file, keys.key_file];
    if !proofs.into_iter().any(|path| r.is_given(path)) {
        let message = "must be given, or `client_secret_file`, or `private_key_file`";
        r.report(ConfigProblem::error(ProblemCode::Missing, message), keys.secret);
    }
    // The assertion of a provider names the authorization server by its issuer.
    if grant == Grant::IdJag && r.is_given(keys.endpoint) && !r.is_given(keys.issuer) {
        r.report_missing(keys.issuer, keys.endpoint);
    }
    let place = match (read.endpoint, read.issuer) {
        (Some(endpoint), issuer) => TokenPlace::Endpoint { endpoint, issuer },
        (None, Some(issuer)) => TokenPlace::Issuer(issuer),
        (None, None) => TokenPlace::OfServer,
    };
    Some(OauthClient { place, id: read.id?, key: read.key? })
}

/// The client that people give their consent to. It may be a public one, and may name itself: codes count with PKCE only.
fn complete_account(
    r: &mut Reader<'_>,
    read: ClientRead,
    server: Option<&ServerName>,
    public_url: Option<&Address>,
) -> Option<OauthClient> {
    check_issuer(r, read.issuer.as_deref(), OWN.issuer);
    let place = read.issuer.map_or(TokenPlace::OfServer, TokenPlace::Issuer);
    let proofs = [OWN.secret, OWN.secret_file, OWN.key_file];
    let with_proof = proofs.into_iter().find(|path| r.is_given(path));
    if r.is_given(OWN.id) {
        let key = if with_proof.is_some() { read.key? } else { ClientKey::Public };
        return Some(OauthClient { place, id: read.id?, key });
    }
    if let Some(proof) = with_proof {
        // Who names itself by an address has no secret there, and a registered client has another name.
        r.report_missing(OWN.id, proof);
        return None;
    }
    let Some(public) = public_url.map(Address::expose).filter(|public| public.scheme() == "https") else {
        let message =
            "must be given, or `server.public_url` with an `https` address by which the gateway names itself";
        r.report(ConfigProblem::error(ProblemCode::Missing, message), OWN.id);
        return None;
    };
    let mut page = public.clone();
    page.set_query(None);
    page.set_fragment(None);
    let id = format!("{}/v1/connect/{}/client.json", page.as_str().trim_end_matches('/'), server?);
    Some(OauthClient { place, id, key: ClientKey::Public })
}

/// The client of an identity provider; that is named by the operator, never by a server.
fn complete_provider(r: &mut Reader<'_>, read: ClientRead) -> Option<OauthClient> {
    if !r.is_given(PROVIDER.issuer) && !r.is_given(PROVIDER.endpoint) {
        let message = "must be given with `grant: id_jag`, or `token_endpoint`";
        r.report(ConfigProblem::error(ProblemCode::Missing, message), PROVIDER.issuer);
        return None;
    }
    complete(r, read, &PROVIDER, Grant::TokenExchange)
}

fn check_meaningless(r: &mut Reader<'_>, grant: Grant) {
    let mut without = Vec::new();
    if grant != Grant::IdJag {
        without.push((PROVIDER_SECTION, "`grant: id_jag`"));
    }
    if grant != Grant::TokenExchange {
        without.push(("auth.audience", "`grant: token_exchange`"));
    }
    if grant == Grant::ClientCredentials {
        without.push(("auth.own_access", "a token for each caller"));
        without.push(("auth.max_callers", "a token for each caller"));
    }
    if grant == Grant::AuthorizationCode {
        without.push(("auth.own_access", "another grant"));
        without.push((OWN.endpoint, "another grant: all addresses are those that the issuer publishes"));
    }
    for (key, what) in without {
        if r.is_given(key) {
            let message = format!("has no meaning without {what}");
            let problem = ConfigProblem::error(ProblemCode::Contradiction, message);
            r.report(problem.with_help("remove one of them"), key);
        }
    }
}

fn check_scopes(r: &mut Reader<'_>, scopes: &[String]) {
    // RFC 6749, section 3.3.
    let of_a_scope = |c: char| matches!(c, '\u{21}' | '\u{23}'..='\u{5b}' | '\u{5d}'..='\u{7e}');
    if let Some(scope) = scopes.iter().find(|scope| !scope.chars().all(of_a_scope)) {
        let message = format!("`{scope}` is not a scope");
        let problem = ConfigProblem::error(ProblemCode::OutOfRange, message);
        r.report(problem.with_help("write one word for each scope, as `[read, write]`"), "auth.scopes");
    }
}

fn check_issuer(r: &mut Reader<'_>, issuer: Option<&str>, key: &str) {
    let Some(issuer) = issuer else { return };
    let sound = reqwest::Url::parse(issuer).is_ok_and(|url| {
        let safe = url.scheme() == "https" || url.scheme() == "http" && is_loopback(&url);
        safe && url.query().is_none() && url.fragment().is_none() && url.username().is_empty()
    });
    if !sound {
        let problem =
            ConfigProblem::error(ProblemCode::OutOfRange, "is not the name of an authorization server");
        let help = "write its `https` address without query and fragment, as `https://login.example`";
        r.report(problem.with_help(help), key);
    }
}
