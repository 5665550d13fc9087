//! Where tokens for a server are requested.
//!
//! A secret is sent there, so nobody but the operator decides it: an upstream server may name its authorization server
//! (RFC 9728), and is followed without a word of the operator only to its own origin. What an issuer publishes counts only
//! in its own name, to the letter (RFC 8414, section 3.3), and leads to `https` addresses only, never to this host or to a
//! bare address that is not the issuer's own.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use reqwest::Url;
use serde_json::{Map, Value as Json};
use tokio::time::Instant;

use super::error::TokenError;
use super::http::TokenHttp;
use super::settings::TokenPlace;
use crate::secret::Address;
use crate::text::one_line;

/// How long what an issuer publishes is taken for true.
const METADATA_LIFE: Duration = Duration::from_secs(3_600);

/// What was found is not looked up again within this time, whatever goes wrong with it.
const LOOKUP_PAUSE: Duration = Duration::from_secs(10);

/// A token endpoint.
#[derive(Debug)]
pub(super) struct TokenEndpoint {
    pub(super) address: Address,
    /// The name of the authorization server, as the audience of what is signed for it.
    pub(super) audience: String,
    /// Where people consent, of an issuer that publishes it.
    pub(super) consent: Option<ConsentEndpoint>,
    /// Where tokens are revoked (RFC 7009), of an issuer that publishes it.
    pub(super) revocation: Option<Address>,
}

/// Where people consent (RFC 6749, section 3.1), and what the issuer says of it.
#[derive(Debug)]
pub(super) struct ConsentEndpoint {
    pub(super) address: Address,
    /// It supports PKCE with `S256`.
    pub(super) takes_s256: bool,
    /// Its answers say whose they are (RFC 9207).
    pub(super) says_issuer: bool,
    /// It takes a client that names itself by the address of its description (Client ID Metadata Document).
    pub(super) takes_documents: bool,
}

/// The place of one client, looked up when it is first needed and from time to time.
#[derive(Debug)]
pub(super) struct Finder {
    found: Mutex<Option<(Instant, Arc<TokenEndpoint>)>>,
}

impl Finder {
    pub(super) fn new() -> Self {
        Self { found: Mutex::default() }
    }

    /// Forgets what was found: it may have been wrong. What was found a moment ago is kept: a caller whose requests fail would
    /// otherwise have the issuer asked about itself again and again, for all callers.
    pub(super) fn forget(&self) {
        let mut found = self.found.lock();
        if found.as_ref().is_some_and(|(at, _)| at.elapsed() >= LOOKUP_PAUSE) {
            *found = None;
        }
    }

    /// The endpoint of `place`, for the server at `server`.
    pub(super) async fn endpoint(
        &self,
        place: &TokenPlace,
        server: &Url,
        http: &TokenHttp,
    ) -> Result<Arc<TokenEndpoint>, TokenError> {
        let known = self.found.lock().clone();
        if let Some((at, endpoint)) = known
            && at.elapsed() < METADATA_LIFE
        {
            return Ok(endpoint);
        }
        let endpoint = Arc::new(match place {
            TokenPlace::Endpoint { endpoint, issuer } => TokenEndpoint {
                audience: issuer.clone().unwrap_or_else(|| endpoint.expose().to_string()),
                address: endpoint.clone(),
                consent: None,
                revocation: None,
            },
            TokenPlace::Issuer(issuer) => of_issuer(issuer, http).await?,
            TokenPlace::OfServer => of_issuer(&issuer_of(server, http).await?, http).await?,
        });
        *self.found.lock() = Some((Instant::now(), Arc::clone(&endpoint)));
        Ok(endpoint)
    }
}

/// The server's address without what is not part of its name (RFC 8707, section 2).
pub(super) fn resource_of(server: &Url) -> String {
    let mut resource = server.clone();
    resource.set_query(None);
    resource.set_fragment(None);
    // Neither can fail where there is a host.
    let _ = (resource.set_username(""), resource.set_password(None));
    let text = resource.to_string();
    // The path of an origin is not part of how others write it.
    if resource.path() == "/" { text.trim_end_matches('/').to_owned() } else { text }
}

/// The issuer that the server names (RFC 9728, section 3), if it has the server's origin.
async fn issuer_of(server: &Url, http: &TokenHttp) -> Result<String, TokenError> {
    let mut found = None;
    for place in well_known(server, "oauth-protected-resource") {
        found = http.metadata(place).await?;
        if found.is_some() {
            break;
        }
    }
    let metadata = found.ok_or(TokenError::NoIssuer)?;
    let resource = metadata.get("resource").and_then(Json::as_str).and_then(|text| Url::parse(text).ok());
    // Metadata for another resource would have the gateway ask for tokens for that (section 3.3).
    if !resource.is_some_and(|resource| is_name_of(&resource, server)) {
        return Err(TokenError::OtherResource);
    }
    let issuers = metadata.get("authorization_servers").and_then(Json::as_array);
    let issuer = issuers.and_then(|issuers| issuers.first()).and_then(Json::as_str);
    let issuer = issuer.ok_or(TokenError::NoIssuer)?;
    match Url::parse(issuer) {
        Ok(url) if url.origin() == server.origin() => Ok(issuer.to_owned()),
        _ => Err(TokenError::Unconfirmed(one_line(issuer, 200))),
    }
}

/// Whether a resource name is the server's own: its address, or one above it.
fn is_name_of(resource: &Url, server: &Url) -> bool {
    let path = resource.path().trim_end_matches('/');
    let rest = server.path().strip_prefix(path);
    resource.origin() == server.origin()
        && resource.query().is_none()
        && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The places of a well-known file: before the path, then at the root.
fn well_known(url: &Url, name: &str) -> Vec<Url> {
    let path = url.path().trim_end_matches('/');
    let mut paths = vec![format!("/.well-known/{name}{path}")];
    if !path.is_empty() {
        paths.push(format!("/.well-known/{name}"));
    }
    paths.iter().map(|path| at(url, path)).collect()
}

fn at(url: &Url, path: &str) -> Url {
    let mut place = url.clone();
    place.set_path(path);
    place.set_query(None);
    place.set_fragment(None);
    place
}

async fn of_issuer(issuer: &str, http: &TokenHttp) -> Result<TokenEndpoint, TokenError> {
    let url = Url::parse(issuer).map_err(|_| TokenError::Unusable("the issuer is no address"))?;
    let path = url.path().trim_end_matches('/');
    let places = [
        format!("/.well-known/oauth-authorization-server{path}"),
        format!("/.well-known/openid-configuration{path}"),
        format!("{path}/.well-known/openid-configuration"),
    ];
    for place in places {
        let Some(metadata) = http.metadata(at(&url, &place)).await? else { continue };
        return endpoint_in(&metadata, issuer, &url);
    }
    Err(TokenError::NoMetadata(issuer.to_owned()))
}

/// The token endpoint in an issuer's metadata.
fn endpoint_in(metadata: &Map<String, Json>, issuer: &str, url: &Url) -> Result<TokenEndpoint, TokenError> {
    // To the letter: metadata in another's name leads to another (mix-up).
    if metadata.get("issuer").and_then(Json::as_str) != Some(issuer) {
        return Err(TokenError::OtherIssuer(issuer.to_owned()));
    }
    let unacceptable = |why| TokenError::Endpoint(issuer.to_owned(), why);
    let place = |name: &str| {
        let Some(text) = metadata.get(name).and_then(Json::as_str) else { return Ok(None) };
        let place = Url::parse(text).map_err(|_| unacceptable("it is no address"))?;
        match objection(&place, url) {
            Some(why) => Err(unacceptable(why)),
            None => Ok(Some(Address::new(place))),
        }
    };
    let is_true = |name: &str| metadata.get(name) == Some(&Json::Bool(true));
    let challenges = metadata.get("code_challenge_methods_supported").and_then(Json::as_array);
    // Only what is wanted has to be acceptable: most grants send nobody there.
    let consent = place("authorization_endpoint").ok().flatten().map(|address| ConsentEndpoint {
        address,
        takes_s256: challenges.is_some_and(|methods| methods.iter().any(|method| method == "S256")),
        says_issuer: is_true("authorization_response_iss_parameter_supported"),
        takes_documents: is_true("client_id_metadata_document_supported"),
    });
    Ok(TokenEndpoint {
        address: place("token_endpoint")?.ok_or_else(|| unacceptable("there is none"))?,
        audience: issuer.to_owned(),
        consent,
        revocation: place("revocation_endpoint").ok().flatten(),
    })
}

/// What speaks against an address that an issuer's metadata names.
///
/// The attack: an issuer, or who answers in its place, names an address on this host or in this network, and the gateway
/// sends there what it would not send by itself. TLS with a certificate for the name keeps names that resolve to such an
/// address out; bare addresses and this host's own name are refused unless they are the issuer's own.
pub(super) fn objection(address: &Url, issuer: &Url) -> Option<&'static str> {
    if !address.username().is_empty() || address.password().is_some() || address.fragment().is_some() {
        return Some("it has a user or a fragment");
    }
    let same_host = address.host() == issuer.host();
    match address.scheme() {
        "https" if same_host || !is_bare_or_local(address) => None,
        "https" => Some("it is a bare address or this host"),
        "http" if same_host && issuer.scheme() == "http" && is_loopback(address) => None,
        _ => Some("it is not `https`"),
    }
}

/// Whether the host is an IP address or a name of this host.
fn is_bare_or_local(url: &Url) -> bool {
    let Some(host) = url.host_str() else { return true };
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare.parse::<IpAddr>().is_ok() || is_local_name(host)
}

fn is_local_name(host: &str) -> bool {
    let name = host.trim_end_matches('.');
    name == "localhost" || name.ends_with(".localhost")
}

/// Whether the address is on this host, where nobody listens on the way.
fn is_loopback(url: &Url) -> bool {
    let Some(host) = url.host_str() else { return false };
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare.parse::<IpAddr>().map_or_else(|_| is_local_name(host), |ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        text.parse().unwrap()
    }

    #[test]
    fn an_issuer_leads_to_https_names_and_to_itself_only() {
        for (issuer, address, fine) in [
            ("https://login.example", "https://login.example/token", true),
            ("https://login.example", "https://tokens.example/token", true),
            ("https://login.example", "http://login.example/token", false),
            ("https://login.example", "https://u:p@login.example/token", false),
            ("https://login.example", "https://login.example/token#x", false),
            ("https://login.example", "http://127.0.0.1:8080/v1/admin", false),
            ("https://login.example", "https://127.0.0.1/token", false),
            ("https://login.example", "https://169.254.169.254/latest", false),
            ("https://login.example", "https://[::1]/token", false),
            ("https://login.example", "https://0x7f000001/token", false),
            ("https://login.example", "https://localhost./token", false),
            ("https://login.example", "https://a.localhost/token", false),
            ("https://login.example", "file:///etc/passwd", false),
            ("http://127.0.0.1:9000", "http://127.0.0.1:9001/token", true),
            ("http://127.0.0.1:9000", "http://10.0.0.1/token", false),
            ("https://10.0.0.1", "https://10.0.0.1/token", true),
            ("http://10.0.0.1", "http://10.0.0.1/token", false),
            ("https://127.0.0.1", "http://127.0.0.1/token", false),
        ] {
            assert_eq!(objection(&url(address), &url(issuer)).is_none(), fine, "{issuer} {address}");
        }
    }

    #[test]
    fn metadata_counts_for_its_own_issuer_only() {
        let metadata = |issuer: &str| {
            let fields = serde_json::json!({ "issuer": issuer, "token_endpoint": "https://login.example/t" });
            endpoint_in(
                fields.as_object().unwrap(),
                "https://login.example/a",
                &url("https://login.example/a"),
            )
        };
        assert_eq!(metadata("https://login.example/a").unwrap().audience, "https://login.example/a");
        for other in ["https://login.example/b", "https://login.example/a/", "https://LOGIN.example/a", ""] {
            assert!(matches!(metadata(other), Err(TokenError::OtherIssuer(_))), "{other}");
        }
    }

    #[test]
    fn a_resource_is_the_server_or_above_it() {
        for (resource, server, same) in [
            ("https://h/mcp", "https://h/mcp", true),
            ("https://h/", "https://h/mcp", true),
            ("https://h/mcp", "https://h/mcp2", false),
            ("https://h/mcp/x", "https://h/mcp", false),
            ("https://other/mcp", "https://h/mcp", false),
            ("http://h/mcp", "https://h/mcp", false),
        ] {
            assert_eq!(is_name_of(&url(resource), &url(server)), same, "{resource} {server}");
        }
        assert_eq!(resource_of(&url("https://u:p@h/mcp?key=1#f")), "https://h/mcp");
        assert_eq!(resource_of(&url("https://h")), "https://h");
    }
}
