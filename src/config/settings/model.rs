//! `model.*`: the language model behind agents, any endpoint that speaks OpenAI's chat completions.

use std::time::Duration;

use crate::config::reader::Reader;
use crate::config::value_type::{DurationRange, FreeText, HttpsUrl, SecretText, Size};
use crate::runtime::ModelSettings;

pub(super) fn read(r: &mut Reader<'_>) -> Option<ModelSettings> {
    let base_url = r.optional(
        "model.base_url",
        HttpsUrl { may_weaken: false },
        "Address before `/chat/completions` of an OpenAI-compatible endpoint. Without it agents have no model.",
    );
    let name = r.optional("model.name", FreeText(256), "The model's name at the endpoint.");
    let api_key = r.optional(
        "model.api_key",
        SecretText,
        "The credential of the endpoint; better `${MODEL_API_KEY}` than the text itself.",
    );
    let timeout = r.value(
        "model.timeout",
        DurationRange::seconds(1, 600),
        Duration::from_secs(60),
        "Time for one answer.",
    );
    let max_response_bytes =
        r.value("model.max_response_bytes", Size(1 << 10..=16 << 20), 1 << 20, "Bytes of one answer.");
    match (r.is_given("model.base_url"), r.is_given("model.name")) {
        (true, false) => r.report_missing("model.name", "model.base_url"),
        (false, true) => r.report_missing("model.base_url", "model.name"),
        (false, false) if r.is_given("model.api_key") => r.report_missing("model.base_url", "model.api_key"),
        (true, true) | (false, false) => {}
    }
    Some(ModelSettings { base_url: base_url?, api_key, name: name?, timeout, max_response_bytes })
}
