//! The header fields of version 2026-07-28 that repeat parts of the body (SEP-2243): `Mcp-Method`, `Mcp-Name` and
//! `Mcp-Param-*`.
//!
//! A device between client and server may route or filter by them. A request whose fields say something else than its body
//! would be judged by that device as one thing and carried out as another, so it is refused (`-32020`).

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Map, Value as Json};

/// The session of a client of the versions with sessions.
pub const HEADER_SESSION: HeaderName = HeaderName::from_static("mcp-session-id");
/// The last event that the reader of a stream has (HTML, "Server-sent events").
pub const HEADER_LAST_EVENT: HeaderName = HeaderName::from_static("last-event-id");
/// The protocol version.
pub const HEADER_VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
/// The method of the body.
pub const HEADER_METHOD: HeaderName = HeaderName::from_static("mcp-method");
/// What the method is about: the tool, the prompt, the resource, the task.
pub const HEADER_NAME: HeaderName = HeaderName::from_static("mcp-name");

const PARAM_PREFIX: &str = "mcp-param-";
const BASE64_PREFIX: &str = "=?base64?";
const BASE64_SUFFIX: &str = "?=";

/// The key of a property of a tool's schema that is repeated in a header field.
const ANNOTATION: &str = "x-mcp-header";

/// A header field that is missing or says something else than the body.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct HeaderMismatch(String);

/// The arguments of one tool that are repeated in header fields: where each stands in the arguments, and the field.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ParamHeaders(Vec<(Vec<String>, HeaderName)>);

impl ParamHeaders {
    /// The `x-mcp-header` annotations along `properties` from the root of a JSON Schema. Malformed ones are left out: no field
    /// is sent or expected for them.
    pub fn of_schema(schema: &Map<String, Json>) -> Self {
        let mut found = Self::default();
        found.collect(schema.get("properties"), &mut Vec::new());
        found
    }

    fn collect(&mut self, properties: Option<&Json>, path: &mut Vec<String>) {
        let Some(Json::Object(properties)) = properties else { return };
        for (name, schema) in properties {
            path.push(name.clone());
            if let Some(field) = schema.get(ANNOTATION).and_then(Json::as_str).and_then(param_header)
                && !self.0.iter().any(|(_, known)| *known == field)
            {
                self.0.push((path.clone(), field));
            }
            self.collect(schema.get("properties"), path);
            path.pop();
        }
    }

    /// Each field with the value that it has to have; `None` where the argument is absent, `null` or not a plain value.
    fn values<'a>(
        &'a self,
        arguments: Option<&'a Json>,
    ) -> impl Iterator<Item = (&'a HeaderName, Option<String>)> {
        self.0.iter().map(move |(path, field)| {
            let value = arguments.and_then(|arguments| value_at(arguments, path));
            (field, value.and_then(plain))
        })
    }
}

fn value_at<'a>(arguments: &'a Json, path: &[String]) -> Option<&'a Json> {
    path.iter().try_fold(arguments, |value, key| value.get(key))
}

fn param_header(word: &str) -> Option<HeaderName> {
    if word.is_empty() {
        return None;
    }
    HeaderName::from_bytes(format!("{PARAM_PREFIX}{word}").as_bytes()).ok()
}

/// A value as a header field shows it; objects, arrays and `null` are not shown.
fn plain(value: &Json) -> Option<String> {
    match value {
        Json::String(text) => Some(text.clone()),
        Json::Bool(_) | Json::Number(_) => Some(value.to_string()),
        _ => None,
    }
}

/// What `Mcp-Name` says for a request, if its method has one.
fn name_of<'a>(method: &str, params: &'a Map<String, Json>) -> Option<&'a str> {
    let key = match method {
        "tools/call" | "prompts/get" => "name",
        "resources/read" | "resources/subscribe" | "resources/unsubscribe" => "uri",
        "tasks/get" | "tasks/update" | "tasks/cancel" => "taskId",
        _ => return None,
    };
    params.get(key)?.as_str()
}

/// The header fields for a request to a server.
pub fn request_headers(
    method: &str,
    params: &Map<String, Json>,
    param_headers: Option<&ParamHeaders>,
) -> Vec<(HeaderName, HeaderValue)> {
    let mut fields = Vec::new();
    let mut add = |name: &HeaderName, text: &str| {
        // What was encoded always fits into a field.
        fields.extend(HeaderValue::from_str(&encode(text)).map(|value| (name.clone(), value)));
    };
    add(&HEADER_METHOD, method);
    if let Some(name) = name_of(method, params) {
        add(&HEADER_NAME, name);
    }
    if let Some(param_headers) = param_headers {
        for (field, value) in param_headers.values(params.get("arguments")) {
            if let Some(value) = value {
                add(field, &value);
            }
        }
    }
    fields
}

/// Whether the header fields have to be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needed {
    /// They have to (2026-07-28).
    Always,
    /// Those that are there say what the body says (earlier versions).
    WhereGiven,
}

/// Compares `Mcp-Method` and `Mcp-Name` of a request with its body.
///
/// # Errors
/// A field that has to be there is missing, stands twice, cannot be read or says something else.
pub fn check_headers(
    headers: &HeaderMap,
    method: &str,
    params: &Map<String, Json>,
    needed: Needed,
) -> Result<(), HeaderMismatch> {
    let is_checked = |field: &HeaderName| needed == Needed::Always || headers.contains_key(field);
    if is_checked(&HEADER_METHOD) {
        compare(headers, &HEADER_METHOD, Some(method))?;
    }
    match name_of(method, params) {
        Some(name) if is_checked(&HEADER_NAME) => compare(headers, &HEADER_NAME, Some(name)),
        _ => Ok(()),
    }
}

impl ParamHeaders {
    /// Compares the fields of a call with its arguments.
    ///
    /// # Errors
    /// As of [`check_headers`].
    pub fn check(&self, headers: &HeaderMap, arguments: &Map<String, Json>) -> Result<(), HeaderMismatch> {
        for (path, field) in &self.0 {
            let (first, rest) = path.split_first().unzip();
            let value = first.and_then(|first| arguments.get(first));
            let value = value.and_then(|value| value_at(value, rest.unwrap_or_default()));
            compare(headers, field, value.and_then(plain).as_deref())?;
        }
        Ok(())
    }
}

fn compare(headers: &HeaderMap, field: &HeaderName, expected: Option<&str>) -> Result<(), HeaderMismatch> {
    let mut values = headers.get_all(field).iter();
    let found = values.next();
    if values.next().is_some() {
        return Err(HeaderMismatch(format!("the header field `{field}` stands twice")));
    }
    let found = match found {
        None => None,
        Some(value) => match value.to_str().ok().and_then(decode) {
            Some(text) => Some(text),
            None => return Err(HeaderMismatch(format!("the header field `{field}` cannot be read"))),
        },
    };
    match (found, expected) {
        (None, None) => Ok(()),
        (Some(found), Some(expected)) if found == expected => Ok(()),
        (None, Some(_)) => Err(HeaderMismatch(format!("the header field `{field}` is missing"))),
        (Some(_), _) => {
            Err(HeaderMismatch(format!("the header field `{field}` does not say what the body says")))
        }
    }
}

/// A text as a field's value; in Base64 when it could not stand there, or would be taken for Base64.
fn encode(text: &str) -> String {
    let edge = |byte: Option<u8>| matches!(byte, Some(b' ' | b'\t'));
    let bytes = text.as_bytes();
    let looks_encoded = text.starts_with(BASE64_PREFIX) && text.ends_with(BASE64_SUFFIX);
    let has_edge = edge(bytes.first().copied()) || edge(bytes.last().copied());
    let is_plain = bytes.iter().all(|byte| (0x20..=0x7E).contains(byte));
    if is_plain && !has_edge && !looks_encoded {
        text.to_owned()
    } else {
        format!("{BASE64_PREFIX}{}{BASE64_SUFFIX}", BASE64_STANDARD.encode(text))
    }
}

fn decode(value: &str) -> Option<String> {
    match value.strip_prefix(BASE64_PREFIX).and_then(|rest| rest.strip_suffix(BASE64_SUFFIX)) {
        Some(inner) => String::from_utf8(BASE64_STANDARD.decode(inner).ok()?).ok(),
        None => Some(value.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(value: Json) -> Map<String, Json> {
        serde_json::from_value(value).unwrap()
    }

    fn map(fields: Vec<(HeaderName, HeaderValue)>) -> HeaderMap {
        fields.into_iter().collect()
    }

    #[test]
    fn what_is_sent_is_what_is_accepted() {
        let schema = object(json!({ "properties": {
            "region": { "type": "string", "x-mcp-header": "Region" },
            "deep": { "type": "object", "properties": { "n": { "type": "integer", "x-mcp-header": "N" } } },
            "bad": { "type": "string", "x-mcp-header": "not a token" },
            "again": { "type": "string", "x-mcp-header": "region" },
        } }));
        let fields = ParamHeaders::of_schema(&schema);
        for arguments in [
            json!({ "region": "eu", "deep": { "n": 3 } }),
            json!({ "region": " \u{e9} ", "bad": "x" }),
            json!({ "region": "=?base64?x?=", "deep": {} }),
            json!({ "region": null }),
            json!({}),
        ] {
            let params = object(json!({ "name": "n\u{f6}", "arguments": arguments }));
            let sent = map(request_headers("tools/call", &params, Some(&fields)));
            check_headers(&sent, "tools/call", &params, Needed::Always).unwrap();
            fields.check(&sent, params["arguments"].as_object().unwrap()).unwrap();
            assert_eq!(sent.contains_key("mcp-param-region"), arguments["region"].is_string());
        }
    }

    #[test]
    fn a_field_that_is_missing_twice_or_different_is_refused() {
        let schema = object(json!({ "properties": { "r": { "type": "string", "x-mcp-header": "R" } } }));
        let fields = ParamHeaders::of_schema(&schema);
        let params = object(json!({ "name": "a", "arguments": { "r": "eu" } }));
        let good = map(request_headers("tools/call", &params, Some(&fields)));
        let arguments = params["arguments"].as_object().unwrap();
        let refused = |headers: &HeaderMap| {
            let checked = check_headers(headers, "tools/call", &params, Needed::Always);
            checked.and_then(|()| fields.check(headers, arguments)).unwrap_err().to_string()
        };
        for field in ["mcp-method", "mcp-name", "mcp-param-r"] {
            let mut without = good.clone();
            without.remove(field);
            assert_eq!(refused(&without), format!("the header field `{field}` is missing"));
            let mut twice = good.clone();
            twice.append(HeaderName::from_static(field), good[field].clone());
            assert_eq!(refused(&twice), format!("the header field `{field}` stands twice"));
            for other in ["other", "=?base64?b3RoZXI=?="] {
                let mut different = good.clone();
                different.insert(HeaderName::from_static(field), HeaderValue::from_static(other));
                assert_eq!(
                    refused(&different),
                    format!("the header field `{field}` does not say what the body says")
                );
            }
            let mut broken = good.clone();
            broken.insert(HeaderName::from_static(field), HeaderValue::from_static("=?base64?%%?="));
            assert_eq!(refused(&broken), format!("the header field `{field}` cannot be read"));
        }
        let mut unasked = map(request_headers("tools/call", &object(json!({ "name": "a" })), Some(&fields)));
        unasked.insert("mcp-param-r", HeaderValue::from_static("eu"));
        assert!(fields.check(&unasked, &Map::new()).is_err());
        for needed in [Needed::Always, Needed::WhereGiven] {
            let bare = check_headers(&HeaderMap::new(), "tools/call", &params, needed);
            assert_eq!(bare.is_err(), needed == Needed::Always);
            assert!(check_headers(&good, "tools/list", &params, needed).is_err());
        }
    }
}
