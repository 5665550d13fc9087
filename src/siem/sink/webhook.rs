//! A webhook: records are posted, signed with a key that both sides know.
//!
//! `X-Caxton-Signature: t=SECONDS,v1=HEX`, where HEX is HMAC-SHA-256 over `SECONDS.BODY`. A receiver computes it anew, compares in
//! constant time, and refuses a time that is minutes old, so that a recorded request is not taken again.

use std::time::Duration;

use aws_lc_rs::hmac;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::http::{HttpReceiver, SinkSecret, TlsFiles};
use super::{Acknowledged, OutgoingRecord, SendError, Sink, SinkSetupError};
use crate::clock::SharedClock;
use crate::secret::Address;

/// The shortest key of a signature, in bytes.
const SHORTEST_KEY: usize = 16;

/// The shape of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WebhookBody {
    /// One record a line.
    Ndjson,
    /// A JSON array.
    Array,
}

/// A webhook as receiver.
pub struct WebhookSettings {
    /// Where records are posted.
    pub url: Address,
    /// The key of the signature.
    pub secret: SinkSecret,
    /// The shape of a body.
    pub body: WebhookBody,
    /// Further header fields.
    pub headers: Vec<(String, crate::secret::Secret<String>)>,
    /// Certificates.
    pub tls: TlsFiles,
}

pub(in crate::siem) struct Webhook {
    receiver: HttpReceiver,
    key: hmac::Key,
    body: WebhookBody,
    is_json: bool,
    headers: HeaderMap,
    clock: SharedClock,
}

impl Webhook {
    /// Reads files: call it off the async threads.
    pub(in crate::siem) fn new(
        settings: WebhookSettings,
        (name, is_json): (&str, bool),
        timeout: Duration,
        clock: SharedClock,
    ) -> Result<Self, SinkSetupError> {
        let secret = settings.secret.read()?;
        if secret.expose().len() < SHORTEST_KEY {
            let what = format!("the key of the signature is shorter than {SHORTEST_KEY} bytes");
            return Err(SinkSetupError::Client(what));
        }
        let mut headers = header_map(&settings.headers)?;
        let name = HeaderValue::from_str(name)
            .map_err(|_| SinkSetupError::Client("the name is no header".to_owned()))?;
        headers.insert("x-caxton-sink", name);
        Ok(Self {
            receiver: HttpReceiver::new(settings.url, &settings.tls, timeout)?,
            key: hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes()),
            body: settings.body,
            is_json,
            headers,
            clock,
        })
    }

    fn text(&self, batch: &[OutgoingRecord]) -> (&'static str, String) {
        let texts: Vec<&str> = batch.iter().map(|record| record.text.as_str()).collect();
        match self.body {
            WebhookBody::Array => ("application/json", format!("[{}]", texts.join(","))),
            WebhookBody::Ndjson if self.is_json => ("application/x-ndjson", texts.join("\n") + "\n"),
            WebhookBody::Ndjson => ("text/plain; charset=utf-8", texts.join("\n") + "\n"),
        }
    }
}

/// Header fields of the configuration; their values are not shown in logs.
pub(super) fn header_map(
    fields: &[(String, crate::secret::Secret<String>)],
) -> Result<HeaderMap, SinkSetupError> {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        let wrong =
            || SinkSetupError::Client(format!("`{name}` is not a header field, or its value cannot be one"));
        let header: HeaderName = name.parse().map_err(|_| wrong())?;
        let mut value = HeaderValue::from_str(value.expose()).map_err(|_| wrong())?;
        value.set_sensitive(true);
        headers.insert(header, value);
    }
    Ok(headers)
}

/// The value of `X-Caxton-Signature`.
fn signature(key: &hmac::Key, seconds: i64, body: &str) -> String {
    let mut signer = hmac::Context::with_key(key);
    signer.update(format!("{seconds}.").as_bytes());
    signer.update(body.as_bytes());
    format!("t={seconds},v1={}", hex::encode(signer.sign().as_ref()))
}

#[async_trait::async_trait]
impl Sink for Webhook {
    async fn send(&mut self, batch: &[OutgoingRecord]) -> Result<Acknowledged, SendError> {
        let (kind, body) = self.text(batch);
        let mut headers = self.headers.clone();
        headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static(kind));
        let signed = signature(&self.key, self.clock.now_seconds(), &body);
        let seq = |record: Option<&OutgoingRecord>| record.map_or(0, |record| record.seq).into();
        headers.insert("x-caxton-first-seq", seq(batch.first()));
        headers.insert("x-caxton-last-seq", seq(batch.last()));
        if let Ok(signed) = HeaderValue::from_str(&signed) {
            headers.insert("x-caxton-signature", signed);
        }
        self.receiver.post(body, headers).await?.acknowledged()?;
        Ok(Acknowledged::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The value was computed with `printf '1700000000.%s' "$body" | openssl dgst -sha256 -hmac key`.
    #[test]
    fn the_signature_is_what_openssl_computes() {
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"key");
        let signed = signature(&key, 1_700_000_000, "{\"seq\":1}\n");
        assert_eq!(
            signed,
            "t=1700000000,v1=a11ff0284f594eddb818a947dda2edae91d661110669d51e0d6b997ed65caae2"
        );
    }
}
