//! The HTTP client as the protocol library sees it: it does not learn the address, which may hold a key, and so cannot
//! write it into a log line or an error.

use std::collections::HashMap;
use std::sync::Arc;

use futures::stream::BoxStream;
use reqwest::header::{HeaderName, HeaderValue};
use rmcp::model::ClientJsonRpcMessage;
use rmcp::transport::streamable_http_client::{
    SseError, StreamableHttpClient, StreamableHttpError, StreamableHttpPostResponse,
};
use sse_stream::Sse;

use crate::secret::Address;

type Failed = StreamableHttpError<reqwest::Error>;
type Events = BoxStream<'static, Result<Sse, SseError>>;

/// Asks at one address, whatever the library takes it for.
#[derive(Clone)]
pub(super) struct Discreet {
    client: reqwest::Client,
    address: Arc<str>,
}

impl Discreet {
    pub(super) fn new(client: reqwest::Client, address: &Address) -> Self {
        Self { client, address: address.expose().as_str().into() }
    }

    fn address(&self) -> Arc<str> {
        Arc::clone(&self.address)
    }
}

fn without_address(failed: Failed) -> Failed {
    match failed {
        StreamableHttpError::Client(error) => StreamableHttpError::Client(error.without_url()),
        other => other,
    }
}

impl StreamableHttpClient for Discreet {
    type Error = reqwest::Error;

    async fn post_message(
        &self,
        _: Arc<str>,
        message: ClientJsonRpcMessage,
        session: Option<Arc<str>>,
        auth: Option<String>,
        headers: HashMap<HeaderName, HeaderValue>,
    ) -> Result<StreamableHttpPostResponse, Failed> {
        let posted = self.client.post_message(self.address(), message, session, auth, headers).await;
        posted.map_err(without_address)
    }

    async fn post_message_with_max_sse_event_size(
        &self,
        _: Arc<str>,
        message: ClientJsonRpcMessage,
        session: Option<Arc<str>>,
        auth: Option<String>,
        headers: HashMap<HeaderName, HeaderValue>,
        most: usize,
    ) -> Result<StreamableHttpPostResponse, Failed> {
        let (client, address) = (&self.client, self.address());
        let posted =
            client.post_message_with_max_sse_event_size(address, message, session, auth, headers, most).await;
        posted.map_err(without_address)
    }

    async fn delete_session(
        &self,
        _: Arc<str>,
        session: Arc<str>,
        auth: Option<String>,
        headers: HashMap<HeaderName, HeaderValue>,
    ) -> Result<(), Failed> {
        let deleted = self.client.delete_session(self.address(), session, auth, headers).await;
        deleted.map_err(without_address)
    }

    async fn get_stream(
        &self,
        _: Arc<str>,
        session: Option<Arc<str>>,
        last: Option<String>,
        auth: Option<String>,
        headers: HashMap<HeaderName, HeaderValue>,
    ) -> Result<Events, Failed> {
        let stream = self.client.get_stream(self.address(), session, last, auth, headers).await;
        stream.map_err(without_address)
    }

    async fn get_stream_with_max_sse_event_size(
        &self,
        _: Arc<str>,
        session: Option<Arc<str>>,
        last: Option<String>,
        auth: Option<String>,
        headers: HashMap<HeaderName, HeaderValue>,
        most: usize,
    ) -> Result<Events, Failed> {
        let (client, address) = (&self.client, self.address());
        let stream =
            client.get_stream_with_max_sse_event_size(address, session, last, auth, headers, most).await;
        stream.map_err(without_address)
    }
}
