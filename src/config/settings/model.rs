//! The language model behind agents.

use std::time::Duration;

use crate::config::kind::{Hidden, Size, Span, Text, Url};
use crate::config::reader::Reader;
use crate::secret::Secret;

/// `model.*`: any endpoint that speaks OpenAI's chat completions.
pub struct Model {
    /// The address before `/chat/completions`.
    pub base_url: crate::secret::Address,
    /// The credential, if the endpoint wants one.
    pub api_key: Option<Secret<String>>,
    /// The model's name at the endpoint.
    pub name: String,
    /// Time for one answer.
    pub timeout: Duration,
    /// Bytes of one answer.
    pub max_response_bytes: usize,
}

impl Model {
    pub(super) fn read(r: &mut Reader<'_>) -> Option<Self> {
        let base_url = r.optional("model.base_url", Url { may_weaken: false }, "Address before `/chat/completions` of an OpenAI-compatible endpoint. Without it agents have no model.");
        let name = r.optional("model.name", Text(256), "The model's name at the endpoint.");
        let api_key = r.optional(
            "model.api_key",
            Hidden,
            "The credential of the endpoint; better `${MODEL_API_KEY}` than the text itself.",
        );
        let timeout = r.value(
            "model.timeout",
            Span(Duration::from_secs(1)..=Duration::from_secs(600)),
            Duration::from_secs(60),
            "Time for one answer.",
        );
        let max_response_bytes =
            r.value("model.max_response_bytes", Size(1 << 10..=16 << 20), 1 << 20, "Bytes of one answer.");
        match (r.is_given("model.base_url"), r.is_given("model.name")) {
            (true, false) => r.tell_missing("model.name", "model.base_url"),
            (false, true) => r.tell_missing("model.base_url", "model.name"),
            (false, false) if r.is_given("model.api_key") => {
                r.tell_missing("model.base_url", "model.api_key")
            }
            (true, true) | (false, false) => {}
        }
        Some(Self { base_url: base_url?, api_key, name: name?, timeout, max_response_bytes })
    }
}
