//! How a caller without credentials learns where to get them: protected-resource metadata (RFC 9728), and the challenge
//! of a 401 that leads there (RFC 6750, section 3; RFC 9728, section 5.1).
//!
//! What the gateway is called comes from its configuration. The name that a caller used is not believed: a client that
//! was led here under another name would get a token for that name and hand it over.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use serde::Serialize;

use super::json::Json;
use super::problem::Problem;
use super::state::{Api, Settings};

/// Where the metadata is (RFC 9728, section 3).
pub(super) const METADATA: &str = "/.well-known/oauth-protected-resource";
/// The same for the MCP endpoint, which is a resource of its own name (RFC 9728, section 3.1).
pub(super) const MCP_METADATA: &str = "/.well-known/oauth-protected-resource/mcp";
const MCP: &str = "/mcp";

/// The names of a gateway at this address: what a token may be for.
pub fn resources(public_url: &str) -> [String; 3] {
    let base = public_url.trim_end_matches('/');
    [base.to_owned(), format!("{base}/"), format!("{base}{MCP}")]
}

#[derive(Serialize, utoipa::ToSchema)]
pub(super) struct Metadata {
    resource: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    authorization_servers: Option<[String; 1]>,
    bearer_methods_supported: [&'static str; 1],
    #[serde(skip_serializing_if = "Vec::is_empty")]
    scopes_supported: Vec<String>,
    resource_name: &'static str,
}

fn metadata(settings: &Settings, path: &str) -> Result<Json<Metadata>, Problem> {
    let url =
        settings.public_url.as_deref().ok_or_else(|| Problem::not_found("there is nothing at this path"))?;
    Ok(Json(Metadata {
        resource: format!("{}{path}", url.trim_end_matches('/')),
        authorization_servers: authorization_server(settings).map(|issuer| [issuer.to_owned()]),
        bearer_methods_supported: ["header"],
        scopes_supported: settings.resource_scopes.clone(),
        resource_name: "Caxton",
    }))
}

/// An issuer can be any text; only an address can be asked.
fn authorization_server(settings: &Settings) -> Option<&str> {
    let issuer = settings.authorization_server.as_deref()?;
    (issuer.starts_with("https://") || issuer.starts_with("http://")).then_some(issuer)
}

/// The whole API as a resource.
pub(super) async fn api(State(api): State<Arc<Api>>) -> Result<Json<Metadata>, Problem> {
    metadata(&api.settings, "")
}

/// The MCP endpoint as a resource.
pub(super) async fn mcp(State(api): State<Arc<Api>>) -> Result<Json<Metadata>, Problem> {
    metadata(&api.settings, MCP)
}

/// Adds to the challenge of a 401 where its caller finds out how to get in.
pub(super) fn challenge(settings: &Settings, path: &str, headers: &mut HeaderMap) {
    let Some(url) = &settings.public_url else { return };
    let place = if path == MCP || path.starts_with("/mcp/") { MCP_METADATA } else { METADATA };
    let mut more = format!(", resource_metadata=\"{}{place}\"", url.trim_end_matches('/'));
    if !settings.resource_scopes.is_empty() {
        more.push_str(&format!(", scope=\"{}\"", settings.resource_scopes.join(" ")));
    }
    let header::Entry::Occupied(mut given) = headers.entry(header::WWW_AUTHENTICATE) else { return };
    for value in given.iter_mut() {
        let text = value.to_str().map(|given| format!("{given}{more}"));
        if let Some(longer) = text.ok().and_then(|text| HeaderValue::from_str(&text).ok()) {
            *value = longer;
        }
    }
}
