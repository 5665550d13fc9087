//! A proxy asks before it lets a request on: Envoy's `ext_authz` over HTTP, and nginx's `auth_request`.
//!
//! The caller's own credentials come along and are proven as on every route. Only configured proxies may ask, because
//! the peer that asks chooses method, host and path. A path that another program could read in a second way is refused: what
//! was judged and what the program behind the proxy serves must be the same.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

use super::caller::Caller;
use super::connection::Connection;
use super::host::Called;
use super::problem::Problem;
use super::state::Api;
use crate::authz::Refusal;
use crate::events::SecurityEvent;
use crate::model::{ForwardRequest, HttpMethod, ReasonCode, RequestContext};

/// What Envoy's `path_prefix` is.
const PREFIX: &str = "/v1/ext_authz/envoy";
/// The most segments of a path, and the most bytes of path and query.
const SEGMENTS: usize = 64;
const BYTES: usize = 8_192;

/// Where the routes begin on which a proxy asks.
pub(super) const ROUTES: &str = "/v1/ext_authz/";

/// Why a request is refused before a policy is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum Odd {
    #[error("the method is none of GET, HEAD, POST, PUT, PATCH, DELETE and OPTIONS")]
    Method,
    #[error("the host is missing, is there twice, or is no host")]
    Host,
    #[error("the path is missing, is there twice, or does not begin with `/`")]
    Path,
    #[error("the path is ambiguous: it has empty or dot segments, `\\`, `;` or an encoded separator")]
    TwoWays,
    #[error("the path or the query is too long")]
    TooLong,
}

/// Envoy sends the original method, path behind the prefix, and `Host`.
pub(super) async fn envoy(
    State(api): State<Arc<Api>>,
    caller: Caller,
    request: Request,
) -> Result<Response, Problem> {
    let peer = connected(&request)?;
    let target = request.uri().path_and_query().map(|target| target.as_str());
    let target = target.and_then(|target| target.strip_prefix(PREFIX));
    let host = request.extensions().get::<Called>().and_then(|called| called.0.as_ref());
    let host = host.map(Authority::as_str).ok_or(Odd::Host);
    let method = Some(request.method().as_str());
    // Envoy adds an address of its own to `X-Forwarded-For` when it asks, so whose is the last depends on its version.
    answer(&api, (&caller, peer), caller.context.clone(), read(method, host, target)).await
}

/// nginx sends what its configuration says: `X-Original-Method`, `X-Original-Host`, `X-Original-URI`.
pub(super) async fn nginx(
    State(api): State<Arc<Api>>,
    caller: Caller,
    request: Request,
) -> Result<Response, Problem> {
    let peer = connected(&request)?;
    let headers = request.headers();
    let host = only(headers, "x-original-host").ok_or(Odd::Host);
    let (method, target) = (only(headers, "x-original-method"), only(headers, "x-original-uri"));
    let context = Arc::new(seen_by_proxy(&caller.context, headers));
    answer(&api, (&caller, peer), context, read(method, host, target)).await
}

/// The address at the other end of the connection.
fn connected(request: &Request) -> Result<IpAddr, Problem> {
    // INVARIANT: the listener has put it there.
    let connection = request.extensions().get::<Connection>().ok_or_else(Problem::internal)?;
    Ok(connection.peer.ip().to_canonical())
}

/// The value of a header field that is there once.
fn only<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let mut values = headers.get_all(name).iter();
    match (values.next().map(HeaderValue::to_str), values.next()) {
        (Some(Ok(value)), None) => Some(value),
        _ => None,
    }
}

fn read(method: Option<&str>, host: Result<&str, Odd>, target: Option<&str>) -> Result<ForwardRequest, Odd> {
    let method = method.and_then(HttpMethod::parse).ok_or(Odd::Method)?;
    let host = plain_host(host?)?;
    let target = target.ok_or(Odd::Path)?;
    if target.len() > BYTES {
        return Err(Odd::TooLong);
    }
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    Ok(ForwardRequest { method, host: host.into(), path: plain_path(path)?.into(), query: query.into() })
}

/// A host name in lower case, without a port that is the default.
fn plain_host(host: &str) -> Result<String, Odd> {
    let authority: Authority = host.parse().map_err(|_| Odd::Host)?;
    if authority.as_str().contains('@') || authority.host().is_empty() || host.len() > 255 {
        return Err(Odd::Host);
    }
    let name = authority.host().trim_end_matches('.').to_ascii_lowercase();
    if name.is_empty() {
        return Err(Odd::Host);
    }
    match authority.as_str().strip_prefix(authority.host()) {
        Some("" | ":80" | ":443") => Ok(name),
        Some(rest) => match rest.strip_prefix(':').map(str::parse::<u16>) {
            Some(Ok(port)) => Ok(format!("{name}:{port}")),
            _ => Err(Odd::Host),
        },
        None => Err(Odd::Host),
    }
}

/// The decoded path, when it has one reading. Programs differ in what they make of `..`, `//`, `\`, `;`, of a slash, a
/// dot or a percent sign that is encoded, and of bytes that are no text; each of these has been a way around a check.
fn plain_path(raw: &str) -> Result<String, Odd> {
    if !raw.starts_with('/') {
        return Err(Odd::Path);
    }
    let decoded = decode(raw)?;
    if decoded.chars().any(|c| c.is_control() || matches!(c, '\\' | ';' | '#')) {
        return Err(Odd::TwoWays);
    }
    let path = match decoded.strip_suffix('/') {
        Some("") => return Ok(decoded),
        Some(shorter) => shorter,
        None => decoded.as_str(),
    };
    let segments = path.split('/').skip(1);
    // `//` is shortened to `/`, which has an empty segment.
    if segments.clone().any(|segment| segment.is_empty() || matches!(segment, "." | "..")) {
        return Err(Odd::TwoWays);
    }
    if segments.count() > SEGMENTS {
        return Err(Odd::TooLong);
    }
    Ok(path.to_owned())
}

/// Decodes once. What would change the structure of the path when it is decoded is refused.
fn decode(raw: &str) -> Result<String, Odd> {
    let mut bytes = Vec::with_capacity(raw.len());
    let mut rest = raw.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
        let (Some(high), Some(low)) = (digit(rest.next()), digit(rest.next())) else {
            return Err(Odd::TwoWays);
        };
        match u8::try_from(high * 16 + low).unwrap_or_default() {
            b'/' | b'\\' | b'.' | b'%' | b'?' | b'#' | b';' => return Err(Odd::TwoWays),
            decoded => bytes.push(decoded),
        }
    }
    String::from_utf8(bytes).map_err(|_| Odd::TwoWays)
}

/// Stands in the record for a request that could not be read.
fn unreadable_request() -> ForwardRequest {
    ForwardRequest { method: HttpMethod::Get, host: "(unknown)".into(), path: "/".into(), query: "".into() }
}

async fn answer(
    api: &Api,
    (caller, peer): (&Caller, IpAddr),
    context: Arc<RequestContext>,
    read: Result<ForwardRequest, Odd>,
) -> Result<Response, Problem> {
    let guard = api.effects.guard();
    // Who has connected, and not whom a header names: a client may say that it is a proxy.
    let is_proxy = api.settings.ext_authz_peers.iter().any(|range| range.contains(&peer));
    let operation = match (is_proxy, read) {
        (true, Ok(operation)) => operation,
        (false, read) => {
            let operation = read.unwrap_or_else(|_| unreadable_request());
            let refusal = Refusal::because(ReasonCode::PeerUnknown);
            return Err(guard.refuse(&caller.subject, &operation, refusal, &caller.context).await.into());
        }
        (true, Err(odd)) => {
            let principal = caller.subject.principal();
            SecurityEvent::ProxiedRequestRefused { principal, why: &odd.to_string() }.emit(&api.metrics);
            let refusal = Refusal::because(ReasonCode::ArgumentsInvalid);
            return Err(guard
                .refuse(&caller.subject, &unreadable_request(), refusal, &caller.context)
                .await
                .into());
        }
    };
    let permit = guard.admit(&caller.subject, operation, &context).await?;
    let mut response = StatusCode::OK.into_response();
    let fields = response.headers_mut();
    let subject: String = url_safe(&permit.subject().principal().to_string());
    for (name, value) in [("x-caxton-subject", subject), ("x-caxton-decision", permit.decision().to_string())]
    {
        if let Ok(value) = HeaderValue::from_str(&value) {
            fields.insert(name, value);
        }
    }
    Ok(response)
}

/// The address that the proxy saw: the last one in `X-Forwarded-For`, which it has added itself. What stands before it,
/// the client wrote.
fn seen_by_proxy(context: &RequestContext, headers: &HeaderMap) -> RequestContext {
    let mut context = context.clone();
    let last = headers.get_all("x-forwarded-for").iter().next_back().and_then(|value| value.to_str().ok());
    let address = last.and_then(|list| list.rsplit(',').next()?.trim().parse::<IpAddr>().ok());
    if let Some(address) = address {
        context.source.ip = address.to_canonical();
    }
    context
}

/// A name as a header field can carry it: everything but visible ASCII is percent-encoded.
fn url_safe(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'%' | 0..=b' ' | 0x7f.. => safe.push_str(&format!("%{byte:02X}")),
            visible => safe.push(char::from(visible)),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_with_one_reading_is_decoded() {
        for (raw, path) in [
            ("/", "/"),
            ("/a", "/a"),
            ("/a/", "/a"),
            ("/a/b.txt", "/a/b.txt"),
            ("/a%20b/%41", "/a b/A"),
            ("/caf%C3%A9", "/café"),
            ("/...", "/..."),
        ] {
            assert_eq!(plain_path(raw).as_deref(), Ok(path), "{raw}");
        }
    }

    #[test]
    fn a_path_with_two_readings_is_refused() {
        for raw in [
            "/a/../b",
            "/..",
            "/a/.",
            "/./a",
            "//a",
            "/a//b",
            "/a//",
            "//",
            "/%2e%2e/a",
            "/a%2fb",
            "/a%2Fb",
            "/a%5cb",
            "/a\\b",
            "/a;x=1/b",
            "/a%3bx",
            "/a%252fb",
            "/a%",
            "/a%2",
            "/a%zz",
            "/a%00",
            "/a%0d%0aX: y",
            "/a%ff",
            "/a%c0%af",
            "/a%23",
            "/a%3Fb",
            "/a\u{7f}",
            "/%C2%85",
        ] {
            assert_eq!(plain_path(raw), Err(Odd::TwoWays), "{raw}");
        }
        for raw in ["", "a", "http://other/a", "*", "?"] {
            assert_eq!(plain_path(raw), Err(Odd::Path), "{raw}");
        }
        assert_eq!(plain_path(&"/a".repeat(SEGMENTS + 1)), Err(Odd::TooLong));
    }

    #[test]
    fn a_host_is_a_host() {
        for (raw, host) in [
            ("API.Example", "api.example"),
            ("api.example.", "api.example"),
            ("api.example:443", "api.example"),
            ("api.example:8443", "api.example:8443"),
            ("[::1]:80", "[::1]"),
        ] {
            assert_eq!(plain_host(raw).as_deref(), Ok(host), "{raw}");
        }
        for raw in ["", ".", "a b", "u@api.example", "api.example/x", "api.example:99999", "a,b:x"] {
            assert_eq!(plain_host(raw), Err(Odd::Host), "{raw}");
        }
    }

    #[test]
    fn methods_are_what_they_are_and_nothing_else() {
        let read = |method| read(Some(method), Ok("h"), Some("/")).map(|read| read.method);
        assert_eq!(read("PATCH"), Ok(HttpMethod::Patch));
        for odd in ["get", "GET ", "TRACE", "CONNECT", "PROPFIND", ""] {
            assert_eq!(read(odd), Err(Odd::Method), "{odd}");
        }
    }

    #[test]
    fn a_subject_is_one_header_value() {
        assert_eq!(url_safe("User::\"é %\""), "User::\"%C3%A9%20%25\"");
    }
}
