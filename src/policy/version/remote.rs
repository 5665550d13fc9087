//! Bundles from a web server: asked for again and again, taken only when they changed.

use std::time::Duration;

use reqwest::header::{ETAG, HeaderValue, IF_NONE_MATCH};
use reqwest::{Client, StatusCode};

use crate::secret::Address;

/// The longest that one answer may take.
const DEADLINE: Duration = Duration::from_secs(30);

/// Why there is no bundle.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// The server could not be reached, or its answer broke off: to be tried again.
    #[error("the bundle could not be fetched")]
    Fetch(#[source] reqwest::Error),
    /// The server says something else.
    #[error("the bundle server answered {0}")]
    Status(u16),
    /// More than is taken.
    #[error("the bundle is larger than {0} bytes")]
    TooLarge(u64),
}

/// The address may hold a key: the error does not keep it.
fn fetch(error: reqwest::Error) -> RemoteError {
    RemoteError::Fetch(error.without_url())
}

/// Where bundles come from.
#[derive(Debug)]
pub struct BundleServer {
    client: Client,
    url: Address,
    limit: u64,
    etag: Option<HeaderValue>,
}

impl BundleServer {
    /// Asks at `url` for bundles of at most `limit` bytes. Follows no redirect: the address that was configured is the
    /// one that is trusted.
    pub fn new(url: Address, limit: u64) -> Result<Self, RemoteError> {
        let client = Client::builder().timeout(DEADLINE).redirect(reqwest::redirect::Policy::none()).build();
        Ok(Self { client: client.map_err(fetch)?, url, limit, etag: None })
    }

    /// The bundle, if it is another than at the last time.
    ///
    /// The tag of an answer counts from when it has come whole, also if the bundle is refused later: the same bundle would
    /// be refused again.
    pub async fn fetch(&mut self) -> Result<Option<Vec<u8>>, RemoteError> {
        let mut request = self.client.get(self.url.expose().clone());
        if let Some(etag) = &self.etag {
            request = request.header(IF_NONE_MATCH, etag);
        }
        let mut response = request.send().await.map_err(fetch)?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::NOT_MODIFIED if self.etag.is_some() => return Ok(None),
            other => return Err(RemoteError::Status(other.as_u16())),
        }
        let etag = response.headers().get(ETAG).cloned();
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(fetch)? {
            if (bytes.len() + chunk.len()) as u64 > self.limit {
                // Not asked for again until the server has another one.
                self.etag = etag;
                return Err(RemoteError::TooLarge(self.limit));
            }
            bytes.extend_from_slice(&chunk);
        }
        self.etag = etag;
        Ok(Some(bytes))
    }
}
