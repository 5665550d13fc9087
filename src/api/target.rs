//! The address that a caller has called, as far as that is certain: a proof of possession is for one address only.
//!
//! What the caller says in `Host` is no proof of where it meant to go: a server that it trusts less could pass its proof
//! on to us under its own name. So the name counts when it is configured, or when it is one of this host with the very
//! port that the connection came to.

use axum::extract::Request;

use super::connection::Connection;
use super::ext_authz;
use super::host::Called;
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
    let authority = request.extensions().get::<Called>()?.0.as_ref()?;
    let host = authority.host();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let usual = if connection.tls { 443 } else { 80 };
    let known = settings.allowed_hosts.as_ref()?.iter().any(|name| name.eq_ignore_ascii_case(bare));
    let here = authority.port_u16().unwrap_or(usual) == connection.local.port();
    let scheme = if connection.tls { "https" } else { "http" };
    (known && here).then(|| format!("{scheme}://{authority}{path}"))
}
