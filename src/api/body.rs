//! Reads a request body once: bounded, `application/json`, no key twice, then into the wanted type.

use std::collections::HashSet;
use std::error::Error as _;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody as _, to_bytes};
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, header};
use http_body_util::LengthLimitError;
use parking_lot::Mutex;
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeOwned, Deserializer, MapAccess, Visitor};
use serde_json::Value as Json;

use super::problem::Problem;
use super::state::Api;
use crate::blocking;
use crate::json::JsonError;
use crate::model::EntityUid;

/// Something that is written as an object. Alone, a derived reader also takes an array of the fields in order.
#[derive(Debug, Clone)]
pub(super) struct Object<T>(pub(super) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Fields(PhantomData)).map(Self)
    }
}

/// Reads an object, and nothing else.
struct Fields<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Fields<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<T, A::Error> {
        T::deserialize(MapAccessDeserializer::new(fields))
    }
}

/// A JSON body, read strictly.
pub(super) struct StrictJson<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequest<Arc<Api>> for StrictJson<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, api: &Arc<Api>) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        read_as(&parts.headers, body, bounds(api)).await.map(Self)
    }
}

/// A body of `limit` bytes at most that comes in `time`, read as strictly.
pub(super) async fn read_as<T: DeserializeOwned>(
    headers: &HeaderMap,
    body: Body,
    (limit, time): (usize, Duration),
) -> Result<T, Problem> {
    typed(&json_bytes(headers, body, (limit, time)).await?, Problem::invalid)
}

/// A JSON body where AuthZEN 1.0 has but one answer, 400, to every body that is not what is asked for.
pub(super) async fn read_or_malformed<T: DeserializeOwned>(
    request: Request,
    api: &Api,
) -> Result<T, Problem> {
    let (parts, body) = request.into_parts();
    check_coding(&parts.headers)?;
    if !is_json(&parts.headers) {
        return Err(Problem::malformed("send `Content-Type: application/json`"));
    }
    let (limit, time) = bounds(api);
    typed(&bounded(body, limit, time).await?, Problem::malformed)
}

/// How large a body may be, and how long it may take to come.
fn bounds(api: &Api) -> (usize, Duration) {
    (api.settings.max_body_bytes, api.settings.body_timeout)
}

fn typed<T: DeserializeOwned>(bytes: &[u8], misshapen: impl Fn(String) -> Problem) -> Result<T, Problem> {
    let Object(wanted) = crate::json::parse_as(bytes).map_err(|error| match error {
        JsonError::Shape(fault) => misshapen(format!("the body: {fault}")),
        JsonError::Document(_) => unacceptable(&error),
    })?;
    Ok(wanted)
}

/// The bytes of a body that says it is JSON.
async fn json_bytes(
    headers: &HeaderMap,
    body: Body,
    (limit, time): (usize, Duration),
) -> Result<Bytes, Problem> {
    check_coding(headers)?;
    if is_json(headers) { bounded(body, limit, time).await } else { Err(Problem::media_type()) }
}

fn parse(bytes: &[u8]) -> Result<Json, Problem> {
    crate::json::parse(bytes).map_err(|error| unacceptable(&error))
}

fn unacceptable(error: &JsonError) -> Problem {
    Problem::malformed(format!("the body is not acceptable JSON: {error}"))
}

/// Callers whose large body is read or worked on. Such a body takes memory before the policies are asked about it, so
/// there is one of each caller at a time.
#[derive(Debug, Default)]
pub struct LargeBodies(Mutex<HashSet<EntityUid>>);

/// Until this is dropped the caller comes with no other large body.
pub(super) struct Turn<'a> {
    bodies: &'a LargeBodies,
    caller: EntityUid,
}

impl LargeBodies {
    fn begin(&self, caller: &EntityUid) -> Result<Turn<'_>, Problem> {
        if self.0.lock().insert(caller.clone()) {
            return Ok(Turn { bodies: self, caller: caller.clone() });
        }
        Err(Problem::limited("another large body of this caller is being read", Duration::from_secs(1)))
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.bodies.0.lock().remove(&self.caller);
    }
}

/// The body as JSON, of a route where it may be larger than elsewhere. To be held with its turn until it is worked on.
pub(super) async fn read_large<'a>(
    request: Request,
    api: &'a Api,
    caller: &EntityUid,
    limit: usize,
) -> Result<(Json, Turn<'a>), Problem> {
    let turn = api.large_bodies.begin(caller)?;
    let (parts, body) = request.into_parts();
    let bytes = json_bytes(&parts.headers, body, (limit, api.settings.body_timeout)).await?;
    let parsed = blocking::try_run(move || parse(&bytes)).await?;
    Ok((parsed, turn))
}

/// The whole body, or 413; a body that says itself that it is too large is not waited for, and one that comes too slowly
/// gets 408.
pub(super) async fn bounded(body: Body, limit: usize, time: Duration) -> Result<Bytes, Problem> {
    if body.size_hint().lower() > limit as u64 {
        return Err(Problem::too_large(limit));
    }
    let read = tokio::time::timeout(time, to_bytes(body, limit)).await;
    read.map_err(|_| Problem::timeout())?.map_err(|error| match error.source() {
        Some(cause) if cause.is::<LengthLimitError>() => Problem::too_large(limit),
        _ => Problem::malformed("the request body is truncated"),
    })
}

/// That the body is as it stands (RFC 9110, section 8.4): a coded one could grow past every bound when it is decoded.
pub(super) fn check_coding(headers: &HeaderMap) -> Result<(), Problem> {
    let is_plain = |coding: &[u8]| coding.is_empty() || coding.eq_ignore_ascii_case(b"identity");
    let codings = headers.get_all(header::CONTENT_ENCODING).iter();
    let mut codings = codings.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    if codings.all(|coding| is_plain(coding.trim_ascii())) { Ok(()) } else { Err(Problem::coding()) }
}

/// `application/json`, with any parameters.
pub(super) fn is_json(headers: &HeaderMap) -> bool {
    let text = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    text.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_has_one_large_body_at_a_time_and_keeps_no_other_from_it() {
        let bodies = LargeBodies::default();
        let (one, other) = (EntityUid::caxton("Service", "one"), EntityUid::caxton("Service", "other"));
        let first = bodies.begin(&one).unwrap();
        assert!(bodies.begin(&one).is_err());
        assert!(bodies.begin(&other).is_ok());
        drop(first);
        assert!(bodies.begin(&one).is_ok(), "a refused body takes nobody's turn away");
    }
}
