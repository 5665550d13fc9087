//! How the gateway and a server agree on a version: `server/discover` for servers of 2026-07-28, `initialize` for all before.
//!
//! Over HTTP the new way is tried first: a server that knows both needs no session then, and none can be lost. A child
//! process is asked in the old way first, because an old one may not answer what it does not know.

use std::sync::{Arc, Weak};

use crate::mcp::{Id, Message, RpcError, Version, code};
use crate::tools::auth::TokenSource;
use crate::tools::error::UpstreamError;
use crate::tools::session::ClientSession;
use crate::tools::settings::{ServerSettings, Transport};
use http::HeaderValue;
use parking_lot::Mutex;
use serde_json::{Map, Value as Json, json};

use super::UpstreamLimits;
use super::http::{HttpWire, is_old_server};
use super::link::{Agreement, Failure, Link, Outgoing, Wire, client_info, stamp};
use super::stdio::{LinkSlot, StdioWire};

/// Opens a client's own session at a server that has sessions, beside the way that all share.
pub(super) async fn open_session(
    settings: &ServerSettings,
    shared: &Link,
    tokens: Option<TokenSource>,
    client: &ClientSession,
) -> Result<Arc<Link>, UpstreamError> {
    let Wire::Http(wire) = &shared.wire else { return Err(UpstreamError::Address) };
    let wire = wire.with_tokens(tokens);
    // The client's version, so that the server asks in the form that the client knows.
    let params = initialize_params(client.version, &client.capabilities);
    let version = HeaderValue::from_static(client.version.as_str());
    let answer = wire.first_request(&Id::Number(0), "initialize", params, version).await;
    let (answer, session) = answer.map_err(handshake)?;
    let agreement = initialized_agreement(answer, session).map_err(handshake)?;
    let link =
        Arc::new(Link::new(&settings.name, (Wire::Http(wire), agreement), 1, Some(client.aside.clone())));
    initialized(&link).await.map_err(handshake)?;
    if let Some(level) = client.log_level() {
        let request = Outgoing::new("logging/setLevel", crate::mcp::one_field("level", level));
        link.request(request).await.map_err(handshake)?;
    }
    Ok(link)
}

/// Opens a way to a server with a caller's credentials, beside the one that all share.
pub(super) async fn open_beside(
    settings: &ServerSettings,
    shared: &Link,
    tokens: TokenSource,
) -> Result<Arc<Link>, UpstreamError> {
    let Wire::Http(wire) = &shared.wire else { return Err(UpstreamError::Address) };
    open_over(settings, wire, tokens).await
}

/// The same, over the pool of a way that need not be open.
pub(super) async fn open_over(
    settings: &ServerSettings,
    wire: &HttpWire,
    tokens: TokenSource,
) -> Result<Arc<Link>, UpstreamError> {
    over_http(settings, wire.with_tokens(Some(tokens))).await
}

/// The bytes' way to a server over HTTP; nothing is agreed yet.
pub(super) fn wire_over_http(
    settings: &ServerSettings,
    limits: &UpstreamLimits,
    tokens: Option<TokenSource>,
) -> Result<HttpWire, UpstreamError> {
    let Transport::Http { url, headers } = &settings.transport else { return Err(UpstreamError::Address) };
    HttpWire::new(url, headers, settings.connect_timeout, limits, tokens)
}

async fn over_http(settings: &ServerSettings, wire: HttpWire) -> Result<Arc<Link>, UpstreamError> {
    let (agreement, next_id) = agree_over_http(&wire).await.map_err(handshake)?;
    let link = Arc::new(Link::new(&settings.name, (Wire::Http(wire), agreement), next_id, None));
    initialized(&link).await.map_err(handshake)?;
    Ok(link)
}

/// Opens the way to a server and agrees on a version with it.
pub(super) async fn open(
    settings: &ServerSettings,
    limits: &UpstreamLimits,
    tokens: Option<TokenSource>,
) -> Result<Arc<Link>, UpstreamError> {
    match &settings.transport {
        Transport::Http { .. } => over_http(settings, wire_over_http(settings, limits, tokens)?).await,
        Transport::Stdio { command, args, env } => {
            let slot: LinkSlot = Arc::new(Mutex::new(Weak::new()));
            let wire = StdioWire::spawn(&settings.name, command, args, env, limits, Arc::clone(&slot))?;
            let (agreement, next_id) = agree_over_pipes(&wire).await.map_err(handshake)?;
            let link = Arc::new(Link::new(&settings.name, (Wire::Stdio(wire), agreement), next_id, None));
            *slot.lock() = Arc::downgrade(&link);
            initialized(&link).await.map_err(handshake)?;
            Ok(link)
        }
    }
}

fn handshake(failure: Failure) -> UpstreamError {
    UpstreamError::Handshake(Box::new(failure))
}

/// Ends the handshake of the versions that have one.
async fn initialized(link: &Link) -> Result<(), Failure> {
    if link.agreement.version.is_stateless() {
        return Ok(());
    }
    let message =
        Message::Notification { method: "notifications/initialized".to_owned(), params: Map::new() };
    link.send(&message).await
}

/// The agreement, and the id of the next request.
async fn agree_over_http(wire: &HttpWire) -> Result<(Agreement, i64), Failure> {
    let newest = HeaderValue::from_static(Version::V2026_07_28.as_str());
    let discovered = wire.first_request(&Id::Number(0), "server/discover", discover_params(), newest).await;
    let discovered = discovered.and_then(|(answer, _)| discovered_agreement(answer));
    let failure = match discovered {
        Ok(agreement) => return Ok((agreement, 1)),
        Err(failure) => failure,
    };
    let Some(reason) = is_old_server(&failure) else { return Err(failure) };
    tracing::debug!(%reason, "the server does not know `server/discover`");
    let version = HeaderValue::from_static(Version::NEWEST_WITH_SESSIONS.as_str());
    let (answer, session) = wire.first_request(&Id::Number(1), "initialize", own_params(), version).await?;
    Ok((initialized_agreement(answer, session)?, 2))
}

/// The agreement, and the id of the next request.
async fn agree_over_pipes(wire: &StdioWire) -> Result<(Agreement, i64), Failure> {
    match wire.first_request(Id::Number(0), "initialize", own_params()).await {
        Ok(answer) => Ok((initialized_agreement(answer, None)?, 1)),
        Err(Failure::Refused(RpcError {
            code: code::METHOD_NOT_FOUND | code::UNSUPPORTED_VERSION, ..
        })) => {
            let answer = wire.first_request(Id::Number(1), "server/discover", discover_params()).await?;
            Ok((discovered_agreement(answer)?, 2))
        }
        Err(failure) => Err(failure),
    }
}

fn initialize_params(version: Version, capabilities: &Map<String, Json>) -> Map<String, Json> {
    crate::mcp::object(json!({
        "protocolVersion": version,
        "capabilities": capabilities,
        "clientInfo": client_info(),
    }))
}

/// The gateway itself offers a server nothing: no sampling, no roots, no elicitation.
fn own_params() -> Map<String, Json> {
    initialize_params(Version::NEWEST_WITH_SESSIONS, &Map::new())
}

fn discover_params() -> Map<String, Json> {
    let mut params = Map::new();
    stamp(&mut params, Version::V2026_07_28);
    params
}

fn initialized_agreement(
    mut answer: Map<String, Json>,
    session: Option<HeaderValue>,
) -> Result<Agreement, Failure> {
    let version = answer.get("protocolVersion").and_then(Json::as_str).and_then(Version::parse);
    let Some(version) = version else {
        return Err(Failure::Unusable(
            "`initialize` names no protocol version that is spoken here".to_owned(),
        ));
    };
    Ok(agreement(version, session, &mut answer))
}

fn discovered_agreement(mut answer: Map<String, Json>) -> Result<Agreement, Failure> {
    let versions = answer.get("supportedVersions").and_then(Json::as_array);
    let newest = Json::from(Version::V2026_07_28.as_str());
    if !versions.is_some_and(|versions| versions.contains(&newest)) {
        return Err(Failure::Unusable(
            "`server/discover` names no protocol version that is spoken here".to_owned(),
        ));
    }
    Ok(agreement(Version::V2026_07_28, None, &mut answer))
}

fn agreement(version: Version, session: Option<HeaderValue>, answer: &mut Map<String, Json>) -> Agreement {
    let capabilities = match answer.remove("capabilities") {
        Some(Json::Object(capabilities)) => capabilities,
        _ => Map::new(),
    };
    Agreement { version, session, capabilities }
}
