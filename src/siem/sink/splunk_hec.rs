//! Splunk HTTP Event Collector (`/services/collector/event`).

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue};
use serde_json::{Value, json};

use super::http::{HttpReceiver, SinkSecret, TlsFiles};
use super::{Acknowledged, OutgoingRecord, SendError, Sink, SinkSetupError};
use crate::secret::{Address, Secret};

/// Splunk as receiver.
pub struct SplunkHecSettings {
    /// The collector: `https://splunk.example.com:8088`. A path may follow; without one it is `/services/collector/event`.
    pub url: Address,
    /// The token of the collector.
    pub token: SinkSecret,
    /// The index; the token's own where it is absent.
    pub index: Option<String>,
    /// The source type.
    pub source_type: String,
    /// Certificates.
    pub tls: TlsFiles,
}

pub(in crate::siem) struct SplunkHec {
    receiver: HttpReceiver,
    headers: HeaderMap,
    /// What every event has beside its time: host, source, source type, index.
    envelope: Value,
    is_json: bool,
}

impl SplunkHec {
    /// Reads files: call it off the async threads.
    pub(in crate::siem) fn new(
        settings: SplunkHecSettings,
        (instance, is_json): (Arc<str>, bool),
        timeout: Duration,
    ) -> Result<Self, SinkSetupError> {
        let token = settings.token.read()?;
        let mut headers = super::webhook::header_map(&[(
            "authorization".to_owned(),
            Secret::new(format!("Splunk {}", token.expose())),
        )])?;
        headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let mut envelope =
            json!({ "host": &*instance, "source": "caxton", "sourcetype": settings.source_type });
        if let (Some(index), Some(fields)) = (settings.index, envelope.as_object_mut()) {
            fields.insert("index".to_owned(), Value::from(index));
        }
        let mut url = settings.url;
        if url.expose().path() == "/" {
            let mut whole = url.expose().clone();
            whole.set_path("/services/collector/event");
            url = Address::new(whole);
        }
        Ok(Self { receiver: HttpReceiver::new(url, &settings.tls, timeout)?, headers, envelope, is_json })
    }

    fn event(&self, record: &OutgoingRecord) -> String {
        let envelope = self.envelope.to_string();
        // Seconds with three digits, as text that is a number: a float would round.
        let time =
            format!("{}.{:03}", record.time_millis.div_euclid(1_000), record.time_millis.rem_euclid(1_000));
        let event =
            if self.is_json { record.text.clone() } else { Value::from(record.text.as_str()).to_string() };
        let fields = json!({ "seq": record.seq, "decision_id": record.decision_id });
        let open = envelope.strip_suffix('}').unwrap_or(&envelope);
        format!("{open},\"time\":{time},\"fields\":{fields},\"event\":{event}}}")
    }
}

#[async_trait::async_trait]
impl Sink for SplunkHec {
    async fn send(&mut self, batch: &[OutgoingRecord]) -> Result<Acknowledged, SendError> {
        let events: Vec<String> = batch.iter().map(|record| self.event(record)).collect();
        let answer = self.receiver.post(events.join("\n"), self.headers.clone()).await?;
        answer.acknowledged()?;
        Ok(Acknowledged::default())
    }
}
