//! How sinks speak HTTP: to the configured address alone, with a bound on time and on what is read of an answer.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use reqwest::{Client, Response};

use super::{SendError, SinkSetupError};
use crate::regular;
use crate::secret::{Address, Secret};

/// Bytes that are read of an answer.
const ANSWER_BYTES: usize = 256 << 10;
/// Bytes of an answer that stand in an error.
const QUOTED_BYTES: usize = 300;
/// The longest wait that a receiver may ask for.
const LONGEST_WAIT: Duration = Duration::from_secs(600);
/// No certificate file is larger.
const PEM_BYTES: u64 = 1 << 20;

/// Certificates of a connection.
#[derive(Debug, Clone, Default)]
pub struct TlsFiles {
    /// Authorities that the receiver's certificate may be issued by, in PEM, in place of those of the system.
    pub ca_file: Option<PathBuf>,
    /// The sink's own certificate with its chain, in PEM.
    pub client_cert: Option<PathBuf>,
    /// The key of that certificate, in PEM.
    pub client_key: Option<PathBuf>,
}

/// A secret of a sink: given in the configuration, or one line of a file.
pub enum SinkSecret {
    /// The secret.
    Given(Secret<String>),
    /// Its file, read at the start.
    File(PathBuf),
}

impl SinkSecret {
    /// The secret. Reads a file: call it off the async threads.
    pub(in crate::siem) fn read(&self) -> Result<Secret<String>, SinkSetupError> {
        let path = match self {
            Self::Given(secret) => return Ok(Secret::new(secret.expose().clone())),
            Self::File(path) => path,
        };
        let bytes = Secret::new(read_file(path, 16 << 10)?);
        let text = str::from_utf8(bytes.expose()).map(|text| text.trim_end_matches(['\r', '\n']));
        match text {
            Ok(text) if !text.is_empty() && !text.contains(char::is_control) => {
                Ok(Secret::new(text.to_owned()))
            }
            _ => Err(SinkSetupError::Content { path: path.clone(), what: "does not hold one line of text" }),
        }
    }
}

pub(super) fn read_file(path: &Path, most: u64) -> Result<Vec<u8>, SinkSetupError> {
    let fault = |source| SinkSetupError::Read { path: path.to_owned(), source };
    let bytes = regular::read(path, most).map_err(fault)?;
    match bytes.len() as u64 > most {
        true => Err(SinkSetupError::Content { path: path.to_owned(), what: "is too large" }),
        false => Ok(bytes),
    }
}

/// The answer of a receiver.
#[derive(Debug)]
pub(super) struct HttpAnswer {
    pub(super) status: StatusCode,
    pub(super) body: Bytes,
    retry_after: Option<Duration>,
}

/// A client for one address.
#[derive(Debug)]
pub(super) struct HttpReceiver {
    client: Client,
    address: Address,
}

impl HttpReceiver {
    /// A client for this address. Reads files: call it off the async threads.
    pub(super) fn new(address: Address, tls: &TlsFiles, timeout: Duration) -> Result<Self, SinkSetupError> {
        Ok(Self { client: client(tls, timeout)?, address })
    }

    /// The same client for another address.
    pub(super) fn with_address(&self, address: Address) -> Self {
        Self { client: self.client.clone(), address }
    }

    /// Posts the body. An answer of any status is an answer.
    pub(super) async fn post(
        &self,
        body: impl Into<Bytes>,
        headers: HeaderMap,
    ) -> Result<HttpAnswer, SendError> {
        let request = self.client.post(self.address.expose().clone()).headers(headers).body(body.into());
        let failed = |error: reqwest::Error| {
            // Also where a path was put behind an address with a secret in it.
            let error = error.without_url();
            let hidden = self.address.hide_in(&error);
            SendError::retry(with_causes(&hidden))
        };
        let response = request.send().await.map_err(failed)?;
        let status = response.status();
        let retry_after = retry_after(response.headers());
        let body = bounded(response).await.map_err(failed)?;
        Ok(HttpAnswer { status, body, retry_after })
    }
}

/// The error and its causes on one line.
pub(in crate::siem) fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source()).take(8);
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

fn client(tls: &TlsFiles, timeout: Duration) -> Result<Client, SinkSetupError> {
    let setup = |error: reqwest::Error| SinkSetupError::Client(with_causes(&error));
    let mut client = Client::builder()
        .timeout(timeout)
        .connect_timeout(timeout.min(Duration::from_secs(10)))
        // A redirect would carry records and credentials to a host that is not configured.
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .no_proxy()
        .user_agent(concat!("caxton/", env!("CARGO_PKG_VERSION")));
    if let Some(path) = &tls.ca_file {
        let pem = read_file(path, PEM_BYTES)?;
        let certificates = reqwest::Certificate::from_pem_bundle(&pem).map_err(setup)?;
        if certificates.is_empty() {
            return Err(SinkSetupError::Content { path: path.clone(), what: "holds no certificate in PEM" });
        }
        client = client.tls_certs_only(certificates);
    }
    if let (Some(cert), Some(key)) = (&tls.client_cert, &tls.client_key) {
        let key = Secret::new(read_file(key, PEM_BYTES)?);
        let both = Secret::new([key.expose().as_slice(), b"\n", &read_file(cert, PEM_BYTES)?].concat());
        let identity = reqwest::Identity::from_pem(both.expose()).map_err(setup)?;
        client = client.identity(identity);
    }
    client.build().map_err(setup)
}

/// The beginning of the body. What is longer is not needed, and is not waited for.
async fn bounded(mut response: Response) -> Result<Bytes, reqwest::Error> {
    let mut body = Vec::new();
    while body.len() < ANSWER_BYTES {
        let Some(part) = response.chunk().await? else { break };
        body.extend_from_slice(part.get(..ANSWER_BYTES - body.len()).unwrap_or(&part));
    }
    Ok(body.into())
}

/// `Retry-After` in seconds (RFC 9110, section 10.2.3), bounded. The form with a date is not read.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(http::header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(LONGEST_WAIT))
}

/// What a status says about a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum StatusMeaning {
    Acknowledged,
    /// Something in the batch is wrong.
    BatchRefused,
    /// Everything else: the receiver, or what it thinks of the sink (a wrong token or path), may change.
    Later,
}

fn meaning(status: StatusCode) -> StatusMeaning {
    match status.as_u16() {
        200..=299 => StatusMeaning::Acknowledged,
        // A mistake in the configuration must not move the whole log to the dead letters.
        400 | 413 | 422 => StatusMeaning::BatchRefused,
        _ => StatusMeaning::Later,
    }
}

impl HttpAnswer {
    /// Nothing when the batch was acknowledged.
    pub(super) fn acknowledged(&self) -> Result<(), SendError> {
        match meaning(self.status) {
            StatusMeaning::Acknowledged => Ok(()),
            StatusMeaning::BatchRefused => Err(SendError::Refused(self.quoted())),
            StatusMeaning::Later => Err(SendError::Retry { why: self.quoted(), after: self.retry_after }),
        }
    }

    /// Status and the beginning of the body, for the operator.
    pub(super) fn quoted(&self) -> String {
        let body = String::from_utf8_lossy(self.body.get(..QUOTED_BYTES).unwrap_or(&self.body));
        let body = crate::text::one_line(&body, QUOTED_BYTES);
        if body.is_empty() {
            format!("status {}", self.status.as_u16())
        } else {
            format!("status {}: {body}", self.status.as_u16())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_wrong_with_a_batch_is_refused_for_good() {
        for (status, expected) in [
            (200, StatusMeaning::Acknowledged),
            (202, StatusMeaning::Acknowledged),
            (204, StatusMeaning::Acknowledged),
            (301, StatusMeaning::Later),
            (400, StatusMeaning::BatchRefused),
            (401, StatusMeaning::Later),
            (403, StatusMeaning::Later),
            (404, StatusMeaning::Later),
            (408, StatusMeaning::Later),
            (410, StatusMeaning::Later),
            (415, StatusMeaning::Later),
            (413, StatusMeaning::BatchRefused),
            (422, StatusMeaning::BatchRefused),
            (429, StatusMeaning::Later),
            (500, StatusMeaning::Later),
            (503, StatusMeaning::Later),
        ] {
            assert_eq!(meaning(StatusCode::from_u16(status).unwrap()), expected, "{status}");
        }
    }

    #[test]
    fn a_receiver_cannot_ask_for_a_wait_without_end() {
        let wait = |text: &str| {
            retry_after(&HeaderMap::from_iter([(http::header::RETRY_AFTER, text.parse().unwrap())]))
        };
        assert_eq!(wait("3"), Some(Duration::from_secs(3)));
        assert_eq!(wait("99999999999"), Some(LONGEST_WAIT));
        for other in ["", "-1", "soon", "1.5"] {
            assert_eq!(wait(other), None, "{other}");
        }
    }
}
