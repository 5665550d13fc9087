//! JSON in and out of the servers that tests set up; `axum::Json` would turn on `serde_json`'s `raw_value`.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses its own part")]

use axum::extract::{FromRequest, Request};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::Value;

/// A JSON body, read or answered.
pub struct Json(pub Value);

impl IntoResponse for Json {
    fn into_response(self) -> Response {
        ([(header::CONTENT_TYPE, "application/json")], self.0.to_string()).into_response()
    }
}

impl<S: Sync> FromRequest<S> for Json {
    type Rejection = StatusCode;

    async fn from_request(request: Request, _: &S) -> Result<Self, StatusCode> {
        let body = axum::body::to_bytes(request.into_body(), 1 << 24).await;
        let body = body.map_err(|_| StatusCode::BAD_REQUEST)?;
        serde_json::from_slice(&body).map(Self).map_err(|_| StatusCode::BAD_REQUEST)
    }
}
