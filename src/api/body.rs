//! Reads a request body once: bounded, `application/json`, no key twice, then into the wanted type.

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, header};
use serde::de::DeserializeOwned;
use serde_json::Value as Json;

use super::problem::Problem;
use super::state::Api;
use std::sync::Arc;

/// A JSON body, read strictly.
pub(super) struct StrictJson<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequest<Arc<Api>> for StrictJson<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, api: &Arc<Api>) -> Result<Self, Problem> {
        let value = read(request, api).await?;
        let wanted =
            serde_json::from_value(value).map_err(|error| Problem::invalid(format!("the body: {error}")))?;
        Ok(Self(wanted))
    }
}

/// The body as JSON.
pub(super) async fn read(request: Request, api: &Api) -> Result<Json, Problem> {
    if !is_json(request.headers()) {
        return Err(Problem::media_type());
    }
    let bytes = bounded(request.into_body(), api.settings.max_body_bytes).await?;
    crate::json::parse(&bytes)
        .map_err(|error| Problem::malformed(format!("the body is not acceptable JSON: {error}")))
}

/// The whole body, or 413.
pub(super) async fn bounded(body: Body, limit: usize) -> Result<Bytes, Problem> {
    to_bytes(body, limit).await.map_err(|_| Problem::too_large(limit))
}

/// `application/json`, with any parameters.
pub(super) fn is_json(headers: &HeaderMap) -> bool {
    let text = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    text.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json")
}
