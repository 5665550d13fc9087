//! OpenTelemetry logs over HTTP (`/v1/logs`, protobuf), <https://opentelemetry.io/docs/specs/otlp/#otlphttp>.
//!
//! The exporter of OpenTelemetry makes the body and judges the status; it is called for each batch and its result is awaited,
//! without a queue in between. What its result does not say, a partial success, is read from the answer.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::HeaderMap;
use opentelemetry::logs::{
    AnyValue, LogRecord as _, Logger as _, LoggerProvider as _, Severity as OtelSeverity,
};
use opentelemetry::{InstrumentationScope, KeyValue, SpanId, TraceFlags, TraceId};
use opentelemetry_http::{HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{LogExporter, Protocol, RetryPolicy, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceResponse;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::logs::{LogBatch, LogExporter as _, SdkLogRecord, SdkLogger, SdkLoggerProvider};
use prost::Message as _;

use super::http::{HttpAnswer, HttpReceiver, TlsFiles};
use super::{Acknowledged, OutgoingRecord, SendError, Sink, SinkSetupError};
use crate::secret::{Address, Secret};
use crate::siem::format::logged::Severity;

/// A collector as receiver.
pub struct OtlpSettings {
    /// The whole address: `https://collector.example.com:4318/v1/logs`.
    pub url: Address,
    /// Header fields, such as a token.
    pub headers: Vec<(String, Secret<String>)>,
    /// Certificates.
    pub tls: TlsFiles,
}

/// What the last request came to.
type LastOutcome = Arc<Mutex<Option<Result<HttpAnswer, SendError>>>>;

/// The client of the exporter: ours, with its bounds, and with a look at the answer.
#[derive(Debug)]
struct ObservedClient {
    receiver: HttpReceiver,
    headers: HeaderMap,
    last: LastOutcome,
}

#[async_trait::async_trait]
impl HttpClient for ObservedClient {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (parts, body) = request.into_parts();
        let mut headers = parts.headers;
        headers.extend(self.headers.clone());
        let outcome = self.receiver.post(body, headers).await;
        let response = match &outcome {
            Ok(answer) => {
                Response::builder().status(answer.status).body(answer.body.clone()).map_err(HttpError::from)
            }
            Err(error) => Err(HttpError::from(error.to_string())),
        };
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
        response
    }
}

pub(in crate::siem) struct Otlp {
    exporter: LogExporter,
    /// Makes empty records; nothing is emitted through it.
    logger: SdkLogger,
    scope: InstrumentationScope,
    last: LastOutcome,
}

impl Otlp {
    /// Reads files: call it off the async threads.
    pub(in crate::siem) fn new(
        settings: OtlpSettings,
        instance: &str,
        timeout: Duration,
    ) -> Result<Self, SinkSetupError> {
        let endpoint = settings.url.expose().to_string();
        let last = LastOutcome::default();
        let client = ObservedClient {
            receiver: HttpReceiver::new(settings.url, &settings.tls, timeout)?,
            headers: super::webhook::header_map(&settings.headers)?,
            last: Arc::clone(&last),
        };
        let exporter = LogExporter::builder()
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .with_http_client(client)
            .with_endpoint(endpoint)
            .with_timeout(timeout)
            // What is tried again, and when, is decided in one place.
            .with_retry_policy(RetryPolicy::disabled())
            .build();
        let mut exporter = exporter.map_err(|error| SinkSetupError::Client(error.to_string()))?;
        let resource = Resource::builder_empty().with_attributes([
            KeyValue::new("service.name", "caxton"),
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
            KeyValue::new("service.instance.id", instance.to_owned()),
        ]);
        exporter.set_resource(&resource.build());
        let logger = SdkLoggerProvider::builder().build().logger("caxton.decision_log");
        let scope = InstrumentationScope::builder("caxton.decision_log").build();
        Ok(Self { exporter, logger, scope, last })
    }

    fn record(&self, outgoing: &OutgoingRecord) -> SdkLogRecord {
        let mut record = self.logger.create_log_record();
        let time = SystemTime::UNIX_EPOCH
            + Duration::from_millis(u64::try_from(outgoing.time_millis).unwrap_or_default());
        record.set_timestamp(time);
        record.set_observed_timestamp(time);
        record.set_event_name("caxton.decision");
        let (number, text) = severity(outgoing.severity);
        record.set_severity_number(number);
        record.set_severity_text(text);
        record.set_body(AnyValue::from(outgoing.text.clone()));
        record.add_attribute("caxton.seq", i64::try_from(outgoing.seq).unwrap_or(i64::MAX));
        record.add_attribute("caxton.decision_id", outgoing.decision_id.clone());
        record.add_attribute("caxton.event_type", outgoing.event_type.clone());
        record.add_attribute("log.record.uid", outgoing.uid.clone());
        if let Some((trace, span)) = &outgoing.trace
            && let (Ok(trace), Ok(span)) = (TraceId::from_hex(trace), SpanId::from_hex(span))
        {
            record.set_trace_context(trace, span, Some(TraceFlags::default()));
        }
        record
    }
}

fn severity(severity: Severity) -> (OtelSeverity, &'static str) {
    match severity {
        Severity::Informational => (OtelSeverity::Info, "INFO"),
        Severity::Low => (OtelSeverity::Info2, "INFO2"),
        Severity::Medium => (OtelSeverity::Warn, "WARN"),
        Severity::High => (OtelSeverity::Error, "ERROR"),
    }
}

#[async_trait::async_trait]
impl Sink for Otlp {
    async fn send(&mut self, batch: &[OutgoingRecord]) -> Result<Acknowledged, SendError> {
        let records: Vec<SdkLogRecord> = batch.iter().map(|record| self.record(record)).collect();
        let pairs: Vec<(&SdkLogRecord, &InstrumentationScope)> =
            records.iter().map(|record| (record, &self.scope)).collect();
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let exported = self.exporter.export(LogBatch::new(&pairs)).await;
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner).take();
        match (exported, last) {
            (_, Some(Err(error))) => Err(error),
            (Ok(()), Some(Ok(answer))) => accepted(&answer, batch.len()),
            // The status says whether another try may help.
            (Err(error), Some(Ok(answer))) => {
                answer.acknowledged()?;
                Err(SendError::retry(error.to_string()))
            }
            (Err(error), None) => Err(SendError::retry(error.to_string())),
            (Ok(()), None) => Err(SendError::retry("the exporter did not send anything")),
        }
    }
}

/// A collector may take a part of a batch and say how many it has rejected, not which: one by one it becomes known.
fn accepted(answer: &HttpAnswer, records: usize) -> Result<Acknowledged, SendError> {
    answer.acknowledged()?;
    let Ok(decoded) = ExportLogsServiceResponse::decode(answer.body.clone()) else {
        // Some collectors answer with JSON or nothing; the status stands.
        return Ok(Acknowledged::default());
    };
    let rejected = decoded.partial_success.filter(|partial| partial.rejected_log_records > 0);
    match rejected {
        None => Ok(Acknowledged::default()),
        Some(partial) => {
            let (number, why) =
                (partial.rejected_log_records, crate::text::one_line(&partial.error_message, 300));
            Err(SendError::Refused(format!("{number} of {records} records were rejected: {why}")))
        }
    }
}
