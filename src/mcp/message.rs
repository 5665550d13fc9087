//! One JSON-RPC 2.0 message, read strictly and written anew.

use std::borrow::Cow;
use std::fmt;

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json, json};

use crate::text::one_line;

/// Error codes of JSON-RPC 2.0 (section 5.1) and of MCP.
pub mod code {
    /// The bytes are not JSON.
    pub const PARSE_ERROR: i64 = -32700;
    /// The JSON is not a message.
    pub const INVALID_REQUEST: i64 = -32600;
    /// The method is not offered.
    pub const METHOD_NOT_FOUND: i64 = -32601;
    /// The parameters are not those of the method.
    pub const INVALID_PARAMS: i64 = -32602;
    /// The request failed here.
    pub const INTERNAL_ERROR: i64 = -32603;
    /// A server's own error.
    pub const SERVER_ERROR: i64 = -32000;
    /// The client has to visit an address first (2025-11-25).
    pub const URL_ELICITATION: i64 = -32042;
    /// There is no such resource (versions before 2026-07-28).
    pub const RESOURCE_NOT_FOUND: i64 = -32002;
    /// The gateway refused the request: policy, rate, or a server that is not there.
    pub const REFUSED: i64 = -32003;
    /// A header field contradicts the body (2026-07-28).
    pub const HEADER_MISMATCH: i64 = -32020;
    /// The client lacks a capability that the request needs (2026-07-28).
    pub const MISSING_CAPABILITY: i64 = -32021;
    /// The protocol version is not supported (2026-07-28).
    pub const UNSUPPORTED_VERSION: i64 = -32022;
}

/// The id of a request: a whole number or a text, chosen by whoever sent the request.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Id {
    /// A whole number.
    Number(i64),
    /// A text.
    Text(String),
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Text(text) => text.fmt(f),
        }
    }
}

/// The longest id that is accepted, in bytes. It is kept while the request is under way.
const LONGEST_ID: usize = 256;

impl Id {
    fn read(value: Json) -> Option<Self> {
        match value {
            Json::Number(number) => number.as_i64().map(Self::Number),
            Json::String(text) if text.len() <= LONGEST_ID => Some(Self::Text(text)),
            _ => None,
        }
    }
}

/// A JSON-RPC error object (section 5.1).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message} (code {code})")]
pub struct RpcError {
    /// One of [`code`], or the sender's own.
    pub code: i64,
    /// One sentence. From another party it is untrusted text.
    pub message: String,
    /// More about it, of any shape.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub data: Option<Json>,
}

impl RpcError {
    /// An error without data.
    pub fn new(code: i64, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), data: None }
    }

    /// The same with data.
    #[must_use]
    pub fn with_data(mut self, data: Json) -> Self {
        self.data = Some(data);
        self
    }

    /// `-32601`.
    pub fn method_not_found(method: &str) -> Self {
        Self::new(code::METHOD_NOT_FOUND, format!("method not found: `{}`", one_line(method, 80)))
    }

    /// `-32602`.
    pub fn invalid_params(message: impl Into<String>) -> Self {
        Self::new(code::INVALID_PARAMS, message)
    }
}

/// One message.
#[derive(Debug, Clone, PartialEq)]
pub enum Message {
    /// Asks for something; answered with the same id.
    Request {
        /// Chosen by the sender.
        id: Id,
        /// `tools/call` and so on.
        method: String,
        /// The named parameters, `_meta` among them. MCP has no others.
        params: Map<String, Json>,
    },
    /// Says something; not answered.
    Notification {
        /// `notifications/progress` and so on.
        method: String,
        /// The named parameters.
        params: Map<String, Json>,
    },
    /// Answers a request.
    Response {
        /// The request's id; `None` for an error about a request whose id could not be read.
        id: Option<Id>,
        /// The result, or why there is none.
        outcome: Result<Map<String, Json>, RpcError>,
    },
}

/// Bytes that are not a message.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct Unreadable {
    /// The id in them, as far as it can be read without trusting the rest. An unreadable answer fails the request that it
    /// belongs to, and no other.
    pub id: Option<Id>,
    /// The JSON-RPC error that says why.
    pub error: Box<RpcError>,
}

impl Message {
    /// Reads a message: no key twice, bounded depth, `"jsonrpc": "2.0"`, no batch.
    ///
    /// # Errors
    /// The bytes are not JSON (`-32700`), or not one message (`-32600`).
    pub fn read(bytes: &[u8]) -> Result<Self, Unreadable> {
        match crate::json::parse(bytes) {
            Ok(Json::Object(fields)) => Self::from_fields(fields),
            Ok(Json::Array(_)) => Err(Unreadable::invalid(None, "batches of messages are not accepted")),
            Ok(_) => Err(Unreadable::invalid(None, "a message is an object")),
            Err(error) => {
                let message =
                    format!("the message is not acceptable JSON: {}", one_line(&error.to_string(), 200));
                let error = Box::new(RpcError::new(code::PARSE_ERROR, message));
                Err(Unreadable { id: Envelope::id_in(bytes), error })
            }
        }
    }

    fn from_fields(mut fields: Map<String, Json>) -> Result<Self, Unreadable> {
        let id = match fields.remove("id") {
            None => None,
            // JSON-RPC answers with `null` when the id of the request could not be read.
            Some(Json::Null) if !fields.contains_key("method") => None,
            Some(value) => match Id::read(value) {
                Some(id) => Some(id),
                None => {
                    return Err(Unreadable::invalid(None, "`id` must be a whole number or a short string"));
                }
            },
        };
        if fields.get("jsonrpc").and_then(Json::as_str) != Some("2.0") {
            return Err(Unreadable::invalid(id, "`jsonrpc` must be \"2.0\""));
        }
        match fields.remove("method") {
            Some(Json::String(method)) => Self::call(id, method, fields.remove("params")),
            Some(_) => Err(Unreadable::invalid(id, "`method` must be a string")),
            None => Self::response(id, fields),
        }
    }

    fn call(id: Option<Id>, method: String, params: Option<Json>) -> Result<Self, Unreadable> {
        let params = match params {
            Some(Json::Object(params)) => params,
            None => Map::new(),
            Some(_) => return Err(Unreadable::invalid(id, "`params` must be an object")),
        };
        Ok(match id {
            Some(id) => Self::Request { id, method, params },
            None => Self::Notification { method, params },
        })
    }

    fn response(id: Option<Id>, mut fields: Map<String, Json>) -> Result<Self, Unreadable> {
        let outcome = match (fields.remove("result"), fields.remove("error")) {
            (Some(Json::Object(result)), None) => Ok(result),
            (None, Some(error)) => match serde_json::from_value(error) {
                Ok(error) => Err(error),
                Err(_) => return Err(Unreadable::invalid(id, "`error` has no whole `code` and `message`")),
            },
            (Some(_), None) => return Err(Unreadable::invalid(id, "`result` must be an object")),
            (Some(_), Some(_)) => {
                return Err(Unreadable::invalid(id, "a message has `result` or `error`, not both"));
            }
            (None, None) => {
                return Err(Unreadable::invalid(id, "a message has `method`, `result` or `error`"));
            }
        };
        if id.is_none() && outcome.is_ok() {
            return Err(Unreadable::invalid(None, "a result has the `id` of its request"));
        }
        Ok(Self::Response { id, outcome })
    }

    /// A result for `id`.
    pub fn result(id: Id, result: Map<String, Json>) -> Self {
        Self::Response { id: Some(id), outcome: Ok(result) }
    }

    /// An error for `id`.
    pub fn error(id: Option<Id>, error: RpcError) -> Self {
        Self::Response { id, outcome: Err(error) }
    }

    /// The message as JSON text.
    pub fn to_vec(&self) -> Vec<u8> {
        let wire = match self {
            Self::Request { id, method, params } => {
                Wire { id: Some(Some(id)), method: Some(method), params: Some(params), ..Wire::default() }
            }
            Self::Notification { method, params } => Wire {
                method: Some(method),
                params: (!params.is_empty()).then_some(params),
                ..Wire::default()
            },
            Self::Response { id, outcome } => Wire {
                id: Some(id.as_ref()),
                result: outcome.as_ref().ok(),
                error: outcome.as_ref().err(),
                ..Wire::default()
            },
        };
        // Maps with text keys always serialise.
        serde_json::to_vec(&wire).unwrap_or_default()
    }
}

#[derive(Serialize)]
struct Wire<'a> {
    jsonrpc: Cow<'static, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<Option<&'a Id>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    params: Option<&'a Map<String, Json>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<&'a Map<String, Json>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a RpcError>,
}

impl Default for Wire<'_> {
    fn default() -> Self {
        Self {
            jsonrpc: Cow::Borrowed("2.0"),
            id: None,
            method: None,
            params: None,
            result: None,
            error: None,
        }
    }
}

impl Unreadable {
    fn invalid(id: Option<Id>, message: &str) -> Self {
        Self { id, error: RpcError::new(code::INVALID_REQUEST, message).into() }
    }
}

/// The part of a message that says what it belongs to.
#[derive(Deserialize)]
struct Envelope {
    id: Option<Id>,
    /// A request of the other side, whose id is not one of ours.
    method: Option<IgnoredAny>,
}

impl Envelope {
    /// Skips values without recursion; an id that stands twice is none.
    fn id_in(bytes: &[u8]) -> Option<Id> {
        let envelope: Self = serde_json::from_slice(bytes).ok()?;
        envelope.id.filter(|_| envelope.method.is_none())
    }
}

/// The fields of a JSON object that `json!` made.
pub(crate) fn object(value: Json) -> Map<String, Json> {
    match value {
        Json::Object(fields) => fields,
        other => Map::from_iter([("value".to_owned(), other)]),
    }
}

/// `{ name: value }`.
pub(crate) fn one_field(name: &str, value: impl Serialize) -> Map<String, Json> {
    object(json!({ name: value }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> (Option<Id>, i64, String) {
        let Unreadable { id, error } = Message::read(text.as_bytes()).unwrap_err();
        (id, error.code, error.message)
    }

    #[test]
    fn what_is_read_is_what_is_written() {
        for text in [
            r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"x","_meta":{"a/b":[1,null]},"more":1.5}}"#,
            r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
            r#"{"jsonrpc":"2.0","id":"a-b","result":{"content":[],"x":{"y":null}}}"#,
            r#"{"jsonrpc":"2.0","id":7,"error":{"code":-32000,"message":"no","data":{"why":"x"}}}"#,
            r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"no"}}"#,
        ] {
            let message = Message::read(text.as_bytes()).unwrap();
            let written: Json = serde_json::from_slice(&message.to_vec()).unwrap();
            assert_eq!(written, serde_json::from_str::<Json>(text).unwrap());
            assert_eq!(Message::read(&message.to_vec()).unwrap(), message);
        }
    }

    #[test]
    fn what_is_no_message_is_refused_with_the_id_that_it_answers() {
        let number = Some(Id::Number(7));
        let deep = format!(
            r#"{{"jsonrpc":"2.0","id":7,"result":{}{}}}"#,
            "[".repeat(1_000_000),
            "]".repeat(1_000_000)
        );
        for (text, id, code) in [
            ("", None, code::PARSE_ERROR),
            ("no json", None, code::PARSE_ERROR),
            (r#"{"jsonrpc":"2.0","id":7,"result":{"a":1,"a":2}}"#, number.clone(), code::PARSE_ERROR),
            (&deep, number.clone(), code::PARSE_ERROR),
            (r#"{"jsonrpc":"2.0","id":7,"id":8,"result":{}}"#, None, code::PARSE_ERROR),
            // The id of a request of the other side is not one of ours.
            (r#"{"jsonrpc":"2.0","id":7,"method":"ping","params":{"a":1,"a":2}}"#, None, code::PARSE_ERROR),
            (r#"[{"jsonrpc":"2.0","id":7,"method":"ping"}]"#, None, code::INVALID_REQUEST),
            ("3", None, code::INVALID_REQUEST),
            (r#"{"id":7,"method":"ping"}"#, number.clone(), code::INVALID_REQUEST),
            (r#"{"jsonrpc":"1.0","id":7,"method":"ping"}"#, number.clone(), code::INVALID_REQUEST),
            (r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#, None, code::INVALID_REQUEST),
            (r#"{"jsonrpc":"2.0","id":1.5,"method":"ping"}"#, None, code::INVALID_REQUEST),
            (r#"{"jsonrpc":"2.0","id":{},"method":"ping"}"#, None, code::INVALID_REQUEST),
            (r#"{"jsonrpc":"2.0","id":7,"method":3}"#, number.clone(), code::INVALID_REQUEST),
            (
                r#"{"jsonrpc":"2.0","id":7,"method":"ping","params":[1]}"#,
                number.clone(),
                code::INVALID_REQUEST,
            ),
            (r#"{"jsonrpc":"2.0","id":7,"result":[]}"#, number.clone(), code::INVALID_REQUEST),
            (
                r#"{"jsonrpc":"2.0","id":7,"result":{},"error":{"code":1,"message":"x"}}"#,
                number.clone(),
                code::INVALID_REQUEST,
            ),
            (r#"{"jsonrpc":"2.0","id":7,"error":{"code":"x"}}"#, number.clone(), code::INVALID_REQUEST),
            (r#"{"jsonrpc":"2.0","id":7}"#, number, code::INVALID_REQUEST),
            (r#"{"jsonrpc":"2.0","result":{}}"#, None, code::INVALID_REQUEST),
        ] {
            let (found, why, message) = refused(text);
            assert_eq!((found, why), (id, code), "{text:.100}: {message}");
        }
        let long = format!(r#"{{"jsonrpc":"2.0","id":"{}","method":"ping"}}"#, "x".repeat(LONGEST_ID + 1));
        assert_eq!(refused(&long).1, code::INVALID_REQUEST);
    }

    #[test]
    fn keys_that_a_library_gives_a_meaning_are_ordinary_keys() {
        let text = r#"{"jsonrpc":"2.0","id":1,"method":"x","params":{"$serde_json::private::RawValue":"{\"a\":1,\"a\":2}"}}"#;
        let Message::Request { params, .. } = Message::read(text.as_bytes()).unwrap() else { panic!() };
        assert_eq!(params["$serde_json::private::RawValue"], r#"{"a":1,"a":2}"#);
    }
}
