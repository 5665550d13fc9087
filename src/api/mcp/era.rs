//! Which generation of the protocol a message is of, and whether what it says of itself fits together.

use axum::http::{HeaderMap, HeaderValue};
use serde_json::{Map, Value as Json, json};

use crate::mcp::{HEADER_VERSION, Message, Needed, RpcError, Version, check_headers, code, extension, meta};

/// The extensions that a client of 2026-07-28 declares and that go on to servers.
const PASSED_ON: [&str; 3] = [extension::TASKS, extension::SKILLS, extension::APPS];

/// The generation of one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Era {
    /// A version with a handshake.
    Handshake(Version),
    /// 2026-07-28; with what the client of the request can do.
    Stateless(Map<String, Json>),
}

impl Era {
    pub(super) fn is_stateless(&self) -> bool {
        matches!(self, Self::Stateless(_))
    }

    /// The generation of a message by its header fields and its `_meta`.
    ///
    /// # Errors
    /// The version is not spoken here (`-32022`), fields are missing (`-32602`), or header and body contradict each other
    /// (`-32020`).
    pub(super) fn of(headers: &HeaderMap, message: &Message) -> Result<Self, RpcError> {
        let header = header_version(headers)?;
        let Message::Request { method, params, .. } = message else {
            return Self::of_header(header);
        };
        let own = params.get("_meta").and_then(Json::as_object);
        let named = own.and_then(|fields| fields.get(meta::VERSION));
        let is_stateless = named.is_some()
            || method == "server/discover"
            || (method != "initialize"
                && header.is_some_and(|version| version >= Version::V2026_07_28.as_str()));
        if !is_stateless {
            // A device in between that goes by these fields must not be told something else.
            check_headers(headers, method, params, Needed::WhereGiven)
                .map_err(|error| mismatch(&error.to_string()))?;
            return Self::of_header(header);
        }
        let missing =
            |key: &str| RpcError::invalid_params(format!("`_meta` has no `{key}` of the right kind"));
        let named = named.and_then(Json::as_str).ok_or_else(|| missing(meta::VERSION))?;
        let header = header.ok_or_else(|| mismatch("the header field `mcp-protocol-version` is missing"))?;
        if header != named {
            return Err(mismatch("the header field `mcp-protocol-version` does not match the body"));
        }
        if !Version::parse(named).is_some_and(Version::is_stateless) {
            return Err(unsupported(named));
        }
        let capabilities =
            own.and_then(|fields| fields.get(meta::CLIENT_CAPABILITIES)).and_then(Json::as_object);
        let capabilities = capabilities.ok_or_else(|| missing(meta::CLIENT_CAPABILITIES))?;
        check_headers(headers, method, params, Needed::Always)
            .map_err(|error| mismatch(&error.to_string()))?;
        Ok(Self::Stateless(super::params::capabilities(capabilities, &PASSED_ON)?))
    }

    fn of_header(header: Option<&str>) -> Result<Self, RpcError> {
        match header {
            None => Ok(Self::Handshake(Version::UNNAMED)),
            Some(text) => match Version::parse(text) {
                Some(version) if version.is_stateless() => Ok(Self::Stateless(Map::new())),
                Some(version) => Ok(Self::Handshake(version)),
                None => Err(unsupported(text)),
            },
        }
    }
}

fn header_version(headers: &HeaderMap) -> Result<Option<&str>, RpcError> {
    let mut values = headers.get_all(&HEADER_VERSION).iter();
    let first = values.next();
    if values.any(|other| Some(other) != first) {
        return Err(mismatch("the header field `mcp-protocol-version` stands twice"));
    }
    first.map(readable).transpose()
}

fn readable(value: &HeaderValue) -> Result<&str, RpcError> {
    value.to_str().map_err(|_| mismatch("the header field `mcp-protocol-version` cannot be read"))
}

fn mismatch(message: &str) -> RpcError {
    RpcError::new(code::HEADER_MISMATCH, message)
}

fn unsupported(asked: &str) -> RpcError {
    let message = "the protocol version is not supported";
    RpcError::new(code::UNSUPPORTED_VERSION, message)
        .with_data(json!({ "supported": Version::ALL, "requested": crate::text::one_line(asked, 80) }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mcp::Id;

    fn era(version: &str, method: &str, own: Json) -> Result<Era, i64> {
        let mut headers = HeaderMap::new();
        if !version.is_empty() {
            headers.insert(&HEADER_VERSION, version.parse().unwrap());
        }
        headers.insert("mcp-method", method.parse().unwrap());
        let params = json!({ "_meta": own });
        let params = params.as_object().unwrap().clone();
        let message = Message::Request { id: Id::Number(1), method: method.to_owned(), params };
        Era::of(&headers, &message).map_err(|error| error.code)
    }

    #[test]
    fn header_and_body_say_one_version() {
        let new = json!({ meta::VERSION: "2026-07-28", meta::CLIENT_CAPABILITIES: {} });
        assert_eq!(era("2026-07-28", "tools/list", new.clone()), Ok(Era::Stateless(Map::new())));
        assert_eq!(era("", "tools/list", new.clone()), Err(code::HEADER_MISMATCH));
        assert_eq!(era("2025-11-25", "tools/list", new), Err(code::HEADER_MISMATCH));
        let unknown = json!({ meta::VERSION: "v999.0.0", meta::CLIENT_CAPABILITIES: {} });
        assert_eq!(era("v999.0.0", "tools/list", unknown.clone()), Err(code::UNSUPPORTED_VERSION));
        assert_eq!(era("2026-07-28", "tools/list", unknown), Err(code::HEADER_MISMATCH));
        for own in
            [json!({}), json!(3), json!({ meta::VERSION: 3 }), json!({ meta::CLIENT_CAPABILITIES: {} })]
        {
            assert_eq!(era("2026-07-28", "server/discover", own.clone()), Err(code::INVALID_PARAMS), "{own}");
            assert_eq!(era("2026-07-28", "tools/list", own.clone()), Err(code::INVALID_PARAMS), "{own}");
        }
        let bare = json!({ meta::VERSION: "2026-07-28" });
        assert_eq!(era("2026-07-28", "tools/list", bare), Err(code::INVALID_PARAMS));
        let old = json!({ meta::VERSION: "2025-11-25", meta::CLIENT_CAPABILITIES: {} });
        assert_eq!(era("2025-11-25", "tools/list", old), Err(code::UNSUPPORTED_VERSION));
    }

    #[test]
    fn versions_with_a_handshake_go_by_the_header() {
        assert_eq!(era("", "tools/list", json!({})), Ok(Era::Handshake(Version::UNNAMED)));
        assert_eq!(era("2025-11-25", "tools/list", json!({})), Ok(Era::Handshake(Version::V2025_11_25)));
        assert_eq!(era("1999-01-01", "tools/list", json!({})), Err(code::UNSUPPORTED_VERSION));
        assert_eq!(
            era("2026-07-28", "initialize", json!({})),
            Ok(Era::Stateless(Map::new())),
            "it is told that there is none"
        );
    }
}
