//! Events of other programs in the log: of one that embeds the gateway, or of one that sends them to `POST /v1/audit/events`.
//!
//! Such a record has the `event_type` `application_event` and the `event` `application`, whatever the program says; what it says
//! stands in `context.application`, where no decision has anything, masked and shortened as every context is. So an event of a
//! program is never taken for a decision of the gateway.
//!
//! The guides call the type [`SecurityEvent`](super::SecurityEvent); that is [`ApplicationEvent`] by another name, because the
//! events of the gateway itself are [`crate::events::SecurityEvent`].
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
//! # let directory = tempfile::tempdir()?;
//! # let path = directory.path().join("audit.log");
//! use caxton::audit::{AuditLog, DataProcessing, LegalBasis, SecurityEvent};
//!
//! let log = AuditLog::open(&path)?;
//! let receipt = log
//!     .record(&SecurityEvent {
//!         event_type: "data_export",
//!         identity: "Caxton::User::\"https://idp.example|ann\"",
//!         resource: "customer_database",
//!         outcome: "success",
//!         metadata: serde_json::json!({ "records_exported": 1000, "destination": "s3://backups/" }),
//!     })
//!     .await?;
//! assert_eq!(receipt.seq(), 1);
//!
//! let processing = DataProcessing {
//!     purpose: "billing",
//!     legal_basis: LegalBasis::Contract,
//!     data_subject: "customer-4711",
//!     categories: &["name", "address"],
//!     resource: "invoices",
//! };
//! assert_eq!(log.record_data_processing(&processing).await?.seq(), 2);
//! log.close();
//! # assert!(std::fs::read_to_string(&path)?.contains("\"event_type\":\"application_event\""));
//! # Ok(())
//! # })
//! # }
//! ```

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value as Json, json};

use super::AuditError;
use super::journal::{Journal, Receipt};
use super::record::Record;
use super::settings::Settings;
use crate::clock::{SharedClock, SystemClock};
use crate::model::Value;
use crate::telemetry::Metrics;

/// Bytes of a name and of the other texts of an event, and of its metadata as JSON.
const NAME_BYTES: usize = 64;
const TEXT_BYTES: usize = 512;
const METADATA_BYTES: usize = 16 << 10;

/// An event of a program.
#[derive(Debug, Clone, PartialEq)]
pub struct ApplicationEvent<'e> {
    /// What happened, in a word of the program's own: lower-case letters, digits, `_`, `-` and `.`, at most 64.
    pub event_type: &'e str,
    /// Who did it; at most 512 bytes, and empty when nobody did.
    pub identity: &'e str,
    /// To what; at most 512 bytes.
    pub resource: &'e str,
    /// How it ended, in a word of the program's own; at most 64 bytes.
    pub outcome: &'e str,
    /// What else is known: a JSON object of at most 16 KiB. Values that look like credentials are masked, texts of more than 1,024
    /// bytes stand as digests.
    pub metadata: Json,
}

/// Why personal data may be processed (GDPR, article 6, paragraph 1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LegalBasis {
    /// Point (a).
    Consent,
    /// Point (b).
    Contract,
    /// Point (c).
    LegalObligation,
    /// Point (d).
    VitalInterests,
    /// Point (e).
    PublicTask,
    /// Point (f).
    LegitimateInterests,
}

impl LegalBasis {
    /// The word in the log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Consent => "consent",
            Self::Contract => "contract",
            Self::LegalObligation => "legal_obligation",
            Self::VitalInterests => "vital_interests",
            Self::PublicTask => "public_task",
            Self::LegitimateInterests => "legitimate_interests",
        }
    }
}

/// That personal data were processed (GDPR, article 30).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DataProcessing<'e> {
    /// What for.
    pub purpose: &'e str,
    /// Why it may be.
    pub legal_basis: LegalBasis,
    /// Whose data they are: a pseudonym rather than a name, since a log cannot be corrected.
    pub data_subject: &'e str,
    /// Which kinds of data.
    pub categories: &'e [&'e str],
    /// Where the data are.
    pub resource: &'e str,
}

/// Why an event was not recorded.
#[derive(Debug, thiserror::Error)]
pub enum ApplicationEventError {
    /// A text is not what it may be.
    #[error("`{field}` {what}")]
    Field {
        /// Which field.
        field: &'static str,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The log did not take it.
    #[error(transparent)]
    Log(#[from] AuditError),
}

impl ApplicationEvent<'_> {
    /// Whether the event may be recorded as it is.
    ///
    /// # Errors
    /// A field is too long, or not of its form.
    pub fn check(&self) -> Result<(), ApplicationEventError> {
        let wrong = |field, what| Err(ApplicationEventError::Field { field, what });
        let is_word = |text: &str| {
            text.starts_with(|c: char| c.is_ascii_lowercase())
                && text.len() <= NAME_BYTES
                && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-.".contains(c))
        };
        if !is_word(self.event_type) {
            return wrong(
                "event_type",
                "must be 1 to 64 lower-case letters, digits, `_`, `-` or `.`, a letter first",
            );
        }
        if !self.outcome.is_empty() && !is_word(self.outcome) {
            return wrong(
                "outcome",
                "must be at most 64 lower-case letters, digits, `_`, `-` or `.`, a letter first",
            );
        }
        for (field, text) in [("identity", self.identity), ("resource", self.resource)] {
            if text.len() > TEXT_BYTES {
                return wrong(field, "must have at most 512 bytes");
            }
        }
        match &self.metadata {
            Json::Null => Ok(()),
            Json::Object(_) if self.metadata.to_string().len() <= METADATA_BYTES => Ok(()),
            Json::Object(_) => wrong("metadata", "must have at most 16 KiB"),
            _ => wrong("metadata", "must be an object"),
        }
    }

    /// Its record, without the circumstances of a request.
    ///
    /// # Errors
    /// As [`ApplicationEvent::check`].
    pub fn record(&self, time_millis: i64) -> Result<Record, ApplicationEventError> {
        self.check()?;
        let texts = [
            ("event_type", self.event_type),
            ("identity", self.identity),
            ("outcome", self.outcome),
            ("resource", self.resource),
        ];
        let texts = texts.into_iter().filter(|(_, text)| !text.is_empty());
        let mut fields: Vec<(&str, Value)> = texts.map(|(name, text)| (name, Value::text(text))).collect();
        fields.extend(value(&self.metadata).map(|metadata| ("metadata", metadata)));
        Ok(Record::of_application(time_millis, Value::record([("application", Value::record(fields))])))
    }
}

/// JSON as a value of a context. What such a value cannot be (a fraction) stands as text, and `null` is left out.
fn value(json: &Json) -> Option<Value> {
    Some(match json {
        Json::Null => return None,
        Json::Bool(truth) => Value::Bool(*truth),
        Json::Number(number) => number.as_i64().map_or_else(|| Value::text(number.to_string()), Value::Long),
        Json::String(text) => Value::text(text),
        Json::Array(items) => Value::Set(items.iter().filter_map(value).collect()),
        Json::Object(fields) => record(fields),
    })
}

fn record(fields: &Map<String, Json>) -> Value {
    Value::record(fields.iter().filter_map(|(name, json)| Some((name.as_str(), value(json)?))))
}

/// A decision log for the events of a program.
#[derive(Clone)]
pub struct AuditLog {
    journal: Journal,
    clock: SharedClock,
}

impl fmt::Debug for AuditLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuditLog").field("journal", &self.journal).finish_non_exhaustive()
    }
}

impl AuditLog {
    /// Opens the log in this file, which no gateway may have open, and makes it when it is not there. Blocks for a few
    /// milliseconds; meant for start-up.
    ///
    /// # Errors
    /// The file cannot be opened, is in use, or does not end as a log does.
    pub fn open(path: &Path) -> Result<Self, AuditError> {
        let settings = Settings { path: path.to_owned(), ..Settings::default() };
        let (journal, _) = Journal::open(settings, Arc::new(Metrics::new()))?;
        Ok(Self::new(journal, Arc::new(SystemClock)))
    }

    /// Over a journal that is open.
    pub fn new(journal: Journal, clock: SharedClock) -> Self {
        Self { journal, clock }
    }

    /// Records an event; returns once it is as durable as the journal's settings ask.
    ///
    /// # Errors
    /// The event is not one, or the log did not take it.
    pub async fn record(&self, event: &ApplicationEvent<'_>) -> Result<Receipt, ApplicationEventError> {
        let record = event.record(self.clock.now_millis())?;
        Ok(self.journal.append(record).await?)
    }

    /// Records that personal data were processed, as an event `data_processing`.
    ///
    /// # Errors
    /// As [`AuditLog::record`].
    pub async fn record_data_processing(
        &self,
        processing: &DataProcessing<'_>,
    ) -> Result<Receipt, ApplicationEventError> {
        let DataProcessing { purpose, legal_basis, data_subject, categories, resource } = *processing;
        let metadata = json!({
            "purpose": purpose,
            "legal_basis": legal_basis.as_str(),
            "data_subject": data_subject,
            "categories": categories,
        });
        let event = ApplicationEvent {
            event_type: "data_processing",
            identity: "",
            resource,
            outcome: "processed",
            metadata,
        };
        self.record(&event).await
    }

    /// Takes no more events, and writes those that wait. Blocks.
    pub fn close(&self) {
        self.journal.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::verify::verify;

    fn event(metadata: Json) -> ApplicationEvent<'static> {
        ApplicationEvent {
            event_type: "data_export",
            identity: "ann",
            resource: "db",
            outcome: "success",
            metadata,
        }
    }

    #[tokio::test]
    async fn an_event_is_never_a_decision_and_is_masked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.log");
        let log = AuditLog::open(&path).unwrap();
        let metadata = json!({
            "api_key": "hunter2hunter2", "share": 0.5, "nothing": null, "event_type": "tool_call",
            "rows": [1, null, "x"], "inner": { "token": "hunter2hunter2" },
        });
        log.record(&event(metadata)).await.unwrap();
        log.close();
        verify(&path).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(!text.contains("hunter2"), "{text}");
        let record: Json = crate::json::parse(text.as_bytes()).unwrap();
        assert_eq!(
            (&record["event_type"], &record["event"]),
            (&json!("application_event"), &json!("application"))
        );
        for field in ["action", "resource", "subject", "policies_omitted"] {
            assert!(record.get(field).is_none(), "{field}");
        }
        let said = &record["context"]["application"];
        assert_eq!((&said["event_type"], &said["outcome"]), (&json!("data_export"), &json!("success")));
        assert_eq!(said["metadata"]["share"], "0.5");
        assert_eq!(record["masked"].as_array().unwrap().len(), 2);
    }

    #[test]
    fn what_is_no_event_is_refused_with_its_field() {
        let good = event(json!({}));
        assert!(good.check().is_ok() && event(Json::Null).check().is_ok());
        let long = "x".repeat(513);
        let large = json!({ "text": "x".repeat(METADATA_BYTES) });
        for (wrong, field) in [
            (ApplicationEvent { event_type: "", ..good.clone() }, "event_type"),
            (ApplicationEvent { event_type: "Tool Call", ..good.clone() }, "event_type"),
            (ApplicationEvent { event_type: "1a", ..good.clone() }, "event_type"),
            (ApplicationEvent { outcome: "so so", ..good.clone() }, "outcome"),
            (ApplicationEvent { identity: &long, ..good.clone() }, "identity"),
            (ApplicationEvent { resource: &long, ..good.clone() }, "resource"),
            (event(json!([1])), "metadata"),
            (event(large), "metadata"),
        ] {
            let error = wrong.check().unwrap_err().to_string();
            assert!(error.starts_with(&format!("`{field}` must")), "{error}");
        }
    }
}
