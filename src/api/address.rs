//! Reads the path and the query of a request: what does not fit is refused as every other bad request is.

use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use super::problem::Problem;

/// The parameters of the path.
pub(super) struct Path<T>(pub(super) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match axum::extract::Path::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(wanted)) => Ok(Self(wanted)),
            Err(rejection) => Err(refusal(rejection.status(), "the path", &rejection.body_text())),
        }
    }
}

/// The parameters of the query.
pub(super) struct Query<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match axum::extract::Query::from_request_parts(parts, state).await {
            Ok(axum::extract::Query(wanted)) => Ok(Self(wanted)),
            Err(rejection) => Err(refusal(rejection.status(), "the query", &rejection.body_text())),
        }
    }
}

/// The library's sentence begins with a generality before a colon; the rest says what is wrong.
fn refusal(status: StatusCode, part: &str, text: &str) -> Problem {
    if status.is_server_error() {
        return Problem::internal();
    }
    let what = text.split_once(": ").map_or(text, |(_, what)| what);
    Problem::malformed(format!("{part}: {what}"))
}
