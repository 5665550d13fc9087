//! Elasticsearch's bulk API (`/<index>/_bulk`), into a data stream or an index.
//!
//! A document has the id of its record, so a record that comes twice is there once: the second is answered with 409, which
//! counts as delivered.

use std::time::Duration;

use http::{HeaderMap, HeaderValue};
use serde_json::{Value, json};

use super::http::{HttpReceiver, SinkSecret, TlsFiles};
use super::{Acknowledged, OutgoingRecord, RefusedRecord, SendError, Sink, SinkSetupError};
use crate::json;
use crate::secret::{Address, Secret};

/// How the sink proves who it is.
pub enum ElasticLogin {
    /// `Authorization: ApiKey`, with the encoded key.
    ApiKey(SinkSecret),
    /// A user with a password.
    Password {
        /// The user.
        user: String,
        /// The password.
        password: SinkSecret,
    },
}

/// Elasticsearch as receiver.
pub struct ElasticSettings {
    /// The cluster: `https://elastic.example.com:9200`.
    pub url: Address,
    /// The data stream or index.
    pub index: String,
    /// How the sink proves who it is.
    pub login: ElasticLogin,
    /// Certificates.
    pub tls: TlsFiles,
}

pub(in crate::siem) struct Elastic {
    receiver: HttpReceiver,
    headers: HeaderMap,
}

/// Only what is looked at: an answer repeats much for each document.
const FILTER: &str = "filter_path=errors,items.*.status,items.*.error.type,items.*.error.reason";

impl Elastic {
    /// Reads files: call it off the async threads.
    pub(in crate::siem) fn new(settings: ElasticSettings, timeout: Duration) -> Result<Self, SinkSetupError> {
        let authorization = match settings.login {
            ElasticLogin::ApiKey(key) => format!("ApiKey {}", key.read()?.expose()),
            ElasticLogin::Password { user, password } => {
                use base64::Engine as _;
                let both = Secret::new(format!("{user}:{}", password.read()?.expose()));
                format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(both.expose()))
            }
        };
        let mut headers =
            super::webhook::header_map(&[("authorization".to_owned(), Secret::new(authorization))])?;
        headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
        let mut url = settings.url.expose().clone();
        let base = url.path().trim_end_matches('/').to_owned();
        url.set_path(&format!("{base}/{}/_bulk", settings.index));
        url.set_query(Some(FILTER));
        Ok(Self { receiver: HttpReceiver::new(Address::new(url), &settings.tls, timeout)?, headers })
    }
}

#[async_trait::async_trait]
impl Sink for Elastic {
    async fn send(&mut self, batch: &[OutgoingRecord]) -> Result<Acknowledged, SendError> {
        let mut body = String::new();
        for record in batch {
            body.push_str(&json!({ "create": { "_id": record.uid } }).to_string());
            body.push('\n');
            body.push_str(&record.text);
            body.push('\n');
        }
        let answer = self.receiver.post(body, self.headers.clone()).await?;
        answer.acknowledged()?;
        match json::parse(&answer.body) {
            Ok(answer) => outcome(&answer, batch.len()),
            // An answer that is longer than what is read: with fewer records it is shorter.
            Err(_) if batch.len() > 1 => Err(SendError::Refused("the answer could not be read".to_owned())),
            Err(_) => Err(SendError::retry(format!("the answer is not JSON: {}", answer.quoted()))),
        }
    }
}

/// What became of each document.
fn outcome(answer: &Value, records: usize) -> Result<Acknowledged, SendError> {
    let items = answer.get("items").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    if items.len() != records {
        return Err(SendError::retry(format!("the answer is about {} documents of {records}", items.len())));
    }
    let mut acknowledged = Acknowledged::default();
    for (index, item) in items.iter().enumerate() {
        let item = item.as_object().and_then(|action| action.values().next());
        let status = item.and_then(|item| item.get("status")).and_then(Value::as_u64).unwrap_or_default();
        let error = |name: &str| {
            let text = item.and_then(|item| item.get("error")?.get(name)?.as_str()).unwrap_or_default();
            crate::text::one_line(text, 300)
        };
        match status {
            // 409: it is there already.
            200..=299 | 409 => {}
            400 | 413 | 422 => {
                let reason = format!("status {status}: {}: {}", error("type"), error("reason"));
                acknowledged.refused.push(RefusedRecord { index, reason });
            }
            _ => return Err(SendError::retry(format!("a document had status {status}: {}", error("type")))),
        }
    }
    Ok(acknowledged)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_document_has_its_own_outcome() {
        let refused = json!({ "create": { "status": 400, "error": { "type": "document_parsing_exception", "reason": "no\n" } } });
        let answer = |items: Vec<Value>| json!({ "errors": true, "items": items });
        let created = json!({ "create": { "status": 201 } });
        let there =
            json!({ "create": { "status": 409, "error": { "type": "version_conflict_engine_exception" } } });
        let found = outcome(&answer(vec![created.clone(), refused, there]), 3).unwrap();
        let [one] = found.refused.as_slice() else { panic!("{found:?}") };
        assert_eq!(one.index, 1);
        assert!(one.reason.starts_with("status 400: document_parsing_exception: no"), "{}", one.reason);
        for later in [429, 503, 401, 0] {
            let busy = json!({ "create": { "status": later } });
            assert!(
                matches!(outcome(&answer(vec![created.clone(), busy]), 2), Err(SendError::Retry { .. })),
                "{later}"
            );
        }
        // An answer about fewer documents says nothing about the others.
        assert!(outcome(&answer(vec![created]), 2).is_err());
        assert!(outcome(&json!({}), 1).is_err());
    }
}
