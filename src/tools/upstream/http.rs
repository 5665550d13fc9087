//! Streamable HTTP towards a server, with the gateway's own credentials.

use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;

use crate::secret::{Address, Secret};
use crate::tools::error::UpstreamError;

use super::UpstreamLimits;
use super::client::StrictClient;
use crate::text::one_line;

/// What an event holds beside the result itself: names, ids, framing.
const ENVELOPE_BYTES: usize = 64 * 1024;

pub(super) fn transport(
    address: &Address,
    headers: &[(String, Secret<String>)],
    connect_timeout: Duration,
    limits: &UpstreamLimits,
) -> Result<StreamableHttpClientTransport<StrictClient>, UpstreamError> {
    let url = address.expose();
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(UpstreamError::Address);
    }
    let client = reqwest::Client::builder()
        .default_headers(own_headers(headers)?)
        .connect_timeout(connect_timeout)
        // A redirect would carry the credentials to a host that is not configured.
        .redirect(reqwest::redirect::Policy::none())
        // No proxy from the environment: where calls go is in the configuration only.
        .no_proxy()
        .user_agent(concat!("caxton/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|error| UpstreamError::Client(Box::new(error)))?;
    let mut config = StreamableHttpClientTransportConfig::with_uri(address.to_string())
        // Two more than calls: the question for the tools must not wait behind calls that hang.
        .max_concurrent_requests(limits.calls.saturating_add(2))
        // A server that lost the session may be another version of itself: connect and compare anew.
        .reinit_on_expired_session(false);
    config.allow_stateless = true;
    let client = StrictClient::new(client, address, limits.response_bytes.saturating_add(ENVELOPE_BYTES));
    Ok(StreamableHttpClientTransport::with_client(client, config))
}

fn own_headers(headers: &[(String, Secret<String>)]) -> Result<HeaderMap, UpstreamError> {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        let bad = || UpstreamError::Header(one_line(name, 80));
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| bad())?;
        let mut value = HeaderValue::from_str(value.expose()).map_err(|_| bad())?;
        value.set_sensitive(true);
        map.append(name, value);
    }
    Ok(map)
}
