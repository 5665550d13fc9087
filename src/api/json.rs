//! Answers with a JSON body.
//!
//! Not `axum::Json`: axum's `json` feature turns on `serde_json`'s `raw_value` for the whole program, and with it a key
//! of the library's own (`$serde_json::private::RawValue`) whose text is read as JSON once more, past every bound.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// A value that is answered as `application/json`; 500 without a body when it cannot be written.
pub(super) struct Json<T>(pub(super) T);

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.0) {
            Ok(body) => ([(header::CONTENT_TYPE, "application/json")], body).into_response(),
            Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        }
    }
}
