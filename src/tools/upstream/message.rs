//! Reads the messages of a server: strictly, and so that one that cannot be read fails its own call only.
//!
//! What a server says is as untrusted as what a caller says. A key that stands twice, or nesting without end, would be
//! read in one way here and in another by the model or the program behind the gateway.

use rmcp::model::{ErrorCode, ErrorData, RequestId, ServerJsonRpcMessage};
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::json::JsonError;
use crate::text::one_line;

/// The message in `bytes`. An answer that is not acceptable becomes an error for the call it belongs to; `None` for what
/// belongs to no call.
pub(super) fn read(bytes: &[u8]) -> Option<ServerJsonRpcMessage> {
    match crate::json::parse_as(bytes) {
        Ok(message) => Some(message),
        Err(error) => refused(bytes, &error),
    }
}

/// The request that a message answers, as far as it can be read without trusting anything else in the message.
#[derive(Deserialize)]
struct Envelope {
    id: Option<RequestId>,
    /// A request of the server's, whose id is not one of ours.
    method: Option<IgnoredAny>,
}

fn refused(bytes: &[u8], error: &JsonError) -> Option<ServerJsonRpcMessage> {
    // Skips values without recursion; an id that stands twice is none.
    let envelope: Envelope = serde_json::from_slice(bytes).ok()?;
    let id = envelope.id.filter(|_| envelope.method.is_none())?;
    let message = format!("the server's answer cannot be read: {}", one_line(&error.to_string(), 200));
    let error = ErrorData::new(ErrorCode::INTERNAL_ERROR, message, None);
    Some(ServerJsonRpcMessage::error(error, Some(id)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(result: &str) -> String {
        format!(r#"{{"jsonrpc":"2.0","id":7,"result":{result}}}"#)
    }

    fn error(text: &str) -> String {
        match read(text.as_bytes()) {
            Some(ServerJsonRpcMessage::Error(error)) => {
                assert_eq!(error.id, Some(RequestId::Number(7)));
                error.error.message.into_owned()
            }
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn an_answer_that_is_not_acceptable_is_an_error_of_its_call() {
        let deep = format!("{}{}", "[".repeat(1_000_000), "]".repeat(1_000_000));
        for (result, expected) in [
            (r#"{"content":[],"content":[]}"#, "the key `content` stands twice"),
            (r#"{"content":[],"structuredContent":{"a":{"b":1,"b":2}}}"#, "the key `b` stands twice"),
            (
                &format!(r#"{{"content":[],"structuredContent":{{"a":{deep}}}}}"#),
                "nested deeper than 64 levels",
            ),
        ] {
            assert!(error(&answer(result)).contains(expected), "{result:.80}");
        }
        assert!(matches!(read(answer("{}").as_bytes()), Some(ServerJsonRpcMessage::Response(_))));
    }

    #[test]
    fn what_belongs_to_no_call_is_left_out() {
        for text in [
            "",
            "no json",
            r#"{"jsonrpc":"2.0","id":7,"id":8,"result":{}}"#,
            r#"{"jsonrpc":"2.0","id":7,"method":"ping","params":{"a":1,"a":2}}"#,
            r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"a":1,"a":2}}"#,
        ] {
            assert!(read(text.as_bytes()).is_none(), "{text}");
        }
    }
}
