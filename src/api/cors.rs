//! Pages of other origins in a browser (CORS, the Fetch standard, section 3.2).
//!
//! Only origins of `mcp.allowed_origins` are told that they may read an answer. A preflight brings no credentials and is
//! answered before any are asked for; it tells what may be asked, and does nothing. No answer allows a browser to send
//! credentials of its own (`Access-Control-Allow-Credentials`): a page brings its token in a header field.

use axum::extract::Request;
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse as _, Response};

use super::ext_authz;
use super::problem::Problem;
use super::state::Settings;

const METHODS: HeaderValue = HeaderValue::from_static("GET, POST, PUT, PATCH, DELETE");

/// What a page may send: credentials, and the fields of MCP, of proofs of possession and of traces. Fields that repeat arguments
/// (`Mcp-Param-…`) have names of their own, so a page names them in its preflight and they are allowed by their prefix.
const HEADERS: &str = "accept, authorization, content-type, dpop, last-event-id, mcp-method, mcp-name, \
    mcp-protocol-version, mcp-session-id, traceparent, tracestate, x-api-key, x-caxton-api-key, x-request-id";
const PARAM_PREFIX: &str = "mcp-param-";

/// What a page may read of an answer, beside what every page may.
const EXPOSED: HeaderValue = HeaderValue::from_static(
    "dpop-nonce, location, mcp-protocol-version, mcp-session-id, retry-after, www-authenticate, x-request-id",
);

/// Ten minutes, so that a change of the configuration is seen soon.
const MAX_AGE: HeaderValue = HeaderValue::from_static("600");

/// The origin of a page that may call; none for programs and for all other pages.
pub(super) fn allowed_origin(headers: &HeaderMap, settings: &Settings) -> Option<HeaderValue> {
    let mut origins = headers.get_all(ORIGIN).iter();
    let (origin, None) = (origins.next()?, origins.next()) else { return None };
    let is_named = settings.allowed_origins.iter().any(|name| name.as_bytes() == origin.as_bytes());
    is_named.then(|| origin.clone())
}

/// The answer to a preflight, with what is allowed for a page that may call; none for any other request.
pub(super) fn preflight(request: &Request, origin: Option<&HeaderValue>) -> Option<Response> {
    let headers = request.headers();
    let is_preflight = request.method() == Method::OPTIONS
        && headers.contains_key(ORIGIN)
        && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
    if !is_preflight {
        return None;
    }
    if origin.is_none() {
        // What a proxy passes on for a decision has the fields of a request to another site.
        let passed_on = request.uri().path().starts_with(ext_authz::ROUTES);
        return (!passed_on).then(|| Problem::origin().into_response());
    }
    let mut response = StatusCode::NO_CONTENT.into_response();
    let told = response.headers_mut();
    told.insert(ACCESS_CONTROL_ALLOW_METHODS, METHODS);
    if let Ok(allowed) = HeaderValue::from_str(&allowed_headers(headers)) {
        told.insert(ACCESS_CONTROL_ALLOW_HEADERS, allowed);
    }
    told.insert(ACCESS_CONTROL_MAX_AGE, MAX_AGE);
    Some(response)
}

fn allowed_headers(headers: &HeaderMap) -> String {
    let asked = headers.get_all(axum::http::header::ACCESS_CONTROL_REQUEST_HEADERS);
    let asked = asked.iter().filter_map(|list| list.to_str().ok()).flat_map(|list| list.split(','));
    let is_param = |name: &&str| {
        let rest = name.strip_prefix(PARAM_PREFIX);
        rest.is_some_and(|rest| {
            rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        })
    };
    asked.map(str::trim).filter(is_param).fold(HEADERS.to_owned(), |all, name| format!("{all}, {name}"))
}

/// Lets the page read the answer.
pub(super) fn share(headers: &mut HeaderMap, origin: HeaderValue) {
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
    headers.append(VARY, HeaderValue::from_static("Origin"));
}
