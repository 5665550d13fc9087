//! The address that a caller has called, as far as that is certain: a proof of possession is for one address only.
//!
//! What the caller says in `Host` is no proof of where it meant to go: a server that it trusts less could pass its proof
//! on to us under its own name. So the name counts when it is configured, or when it is one of this host with the very
//! port that the connection came to.

use axum::extract::Request;
use axum::http::header;
use axum::http::uri::Authority;

use super::connection::Connection;
use super::ext_authz;
use super::state::Settings;

/// `None` when it is not certain.
pub(super) fn called(request: &Request, connection: &Connection, settings: &Settings) -> Option<String> {
    let path = request.uri().path();
    // The proof is for the request that the proxy asks about, not for the question.
    if path.starts_with(ext_authz::ROUTES) {
        return None;
    }
    if let Some(base) = &settings.public_url {
        return Some(format!("{}{path}", base.trim_end_matches('/')));
    }
    let authority = authority(request)?;
    let host = authority.host();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let usual = if connection.tls { 443 } else { 80 };
    let known = settings.allowed_hosts.as_ref()?.iter().any(|name| name.eq_ignore_ascii_case(bare));
    let here = authority.port_u16().unwrap_or(usual) == connection.local.port();
    let scheme = if connection.tls { "https" } else { "http" };
    (known && here).then(|| format!("{scheme}://{authority}{path}"))
}

/// Of HTTP/2 from the address itself, else from the one `Host` field.
fn authority(request: &Request) -> Option<Authority> {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    match (request.uri().authority(), hosts.next(), hosts.next()) {
        (Some(authority), None, _) => Some(authority.clone()),
        (None, Some(host), None) => host.to_str().ok()?.parse().ok(),
        // Both, and they have to agree (RFC 9113, section 8.3.1).
        (Some(authority), Some(host), None) => {
            (host.as_bytes() == authority.as_str().as_bytes()).then(|| authority.clone())
        }
        _ => None,
    }
}
