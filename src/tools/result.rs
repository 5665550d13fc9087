//! What a tool answered, in MCP's shape.

use serde::Serialize;
use serde_json::{Map, Value as Json, json};

use crate::model::JsonPointer;

/// The answer of a tool. Its text is untrusted, also that of built-in tools.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ToolResult {
    /// MCP content blocks.
    pub content: Vec<Json>,
    /// The structured result, when there is one.
    #[serde(rename = "structuredContent", skip_serializing_if = "Option::is_none")]
    pub structured: Option<Json>,
    /// Whether the tool itself says that it failed.
    pub is_error: bool,
    /// Whether the server itself wrote `isError: false`, which may be left out.
    #[serde(skip)]
    pub says_no_error: bool,
    /// What else the server sent (`_meta` and fields that nothing here knows), as it came.
    #[serde(flatten)]
    pub rest: Map<String, Json>,
}

impl ToolResult {
    /// An answer of one text.
    pub fn text(text: impl Into<String>, is_error: bool) -> Self {
        let block = json!({ "type": "text", "text": text.into() });
        Self { content: vec![block], structured: None, is_error, says_no_error: false, rest: Map::new() }
    }

    /// A structured answer, with its JSON text for clients that read text only.
    pub fn structured(value: Json) -> Self {
        Self { structured: Some(value.clone()), ..Self::text(value.to_string(), false) }
    }

    /// Takes the result of `tools/call` apart. The error says in which field it is none.
    pub(super) fn from_mcp(mut result: Map<String, Json>) -> Result<Self, &'static str> {
        let structured = result.remove("structuredContent").filter(|value| !value.is_null());
        let content = match result.remove("content") {
            Some(Json::Array(blocks)) if blocks.iter().all(is_block) => blocks,
            Some(_) => return Err("`content` is not a list of content blocks"),
            None if structured.is_some() => Vec::new(),
            None => return Err("it has no `content`"),
        };
        let (is_error, says_no_error) = match result.remove("isError") {
            None | Some(Json::Null) => (false, false),
            Some(Json::Bool(is_error)) => (is_error, !is_error),
            Some(_) => return Err("`isError` is neither true nor false"),
        };
        if result.get("_meta").is_some_and(|own| !own.is_object()) {
            return Err("`_meta` is not an object");
        }
        Ok(Self { content, structured, is_error, says_no_error, rest: result })
    }

    /// The result with what `pointers` point to masked: in the structured result, and in each text that is a JSON object or
    /// array. A pointer cannot point into any other content, so that is withheld: the value may be in it.
    pub(super) fn redacted(mut self, pointers: &[JsonPointer]) -> Self {
        if pointers.is_empty() {
            return self;
        }
        if let Some(structured) = &mut self.structured {
            for pointer in pointers {
                pointer.redact(structured);
            }
        }
        self.content = self.content.into_iter().map(|block| redacted_block(&block, pointers)).collect();
        self.rest.clear();
        self
    }

    /// Whether its JSON text has at most so many bytes.
    pub(super) fn fits(&self, limit: usize) -> bool {
        serde_json::to_writer(Budget(limit), self).is_ok()
    }
}

/// A block of content is an object with a type, and has the fields of its type where that is one of 2025-11-25. Others are for
/// the client to know.
fn is_block(block: &Json) -> bool {
    let Some(kind) = block.get("type").and_then(Json::as_str) else { return false };
    let has_text = |fields: &Json, name: &str| fields.get(name).is_some_and(Json::is_string);
    match kind {
        "text" => has_text(block, "text"),
        "image" | "audio" => has_text(block, "data") && has_text(block, "mimeType"),
        "resource_link" => has_text(block, "uri") && has_text(block, "name"),
        "resource" => block.get("resource").is_some_and(|resource| {
            has_text(resource, "uri") && (has_text(resource, "text") || has_text(resource, "blob"))
        }),
        _ => true,
    }
}

/// Counts what is written, and fails at the end of the budget.
struct Budget(usize);

impl std::io::Write for Budget {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 = self.0.checked_sub(bytes.len()).ok_or(std::io::ErrorKind::FileTooLarge)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// What stands in the place of content that a pointer cannot point into.
const WITHHELD: &str = "[withheld: only JSON can be redacted]";

fn redacted_block(block: &Json, pointers: &[JsonPointer]) -> Json {
    let text = block.get("text").and_then(Json::as_str).filter(|_| block["type"] == "text");
    let document = text.and_then(|text| crate::json::parse(text.as_bytes()).ok());
    let text = match document.filter(|document| document.is_object() || document.is_array()) {
        Some(mut document) => {
            for pointer in pointers {
                pointer.redact(&mut document);
            }
            document.to_string()
        }
        None => WITHHELD.to_owned(),
    };
    json!({ "type": "text", "text": text })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_redacted_is_in_no_part_of_a_result() {
        let pointers = [JsonPointer::parse("/customer/ssn").unwrap()];
        let secret = json!({ "customer": { "name": "Ann", "ssn": "123-45" } });
        let mut result = ToolResult::structured(secret.clone());
        result.content.extend([
            json!({ "type": "text", "text": "the number is 123-45" }),
            json!({ "type": "resource", "resource": { "uri": "a", "text": secret.to_string() } }),
            json!({ "type": "image", "data": "123-45", "mimeType": "image/png" }),
            json!({ "type": "text", "text": "\"123-45\"" }),
        ]);
        result.rest.insert("_meta".to_owned(), json!({ "x": "123-45" }));
        let untouched = result.clone().redacted(&[]);
        assert_eq!(untouched, result);
        let redacted = result.redacted(&pointers);
        assert!(!serde_json::to_string(&redacted).unwrap().contains("123-45"));
        assert_eq!(redacted.structured.unwrap()["customer"], json!({ "name": "Ann", "ssn": "[redacted]" }));
        assert_eq!(redacted.content.len(), 5);
        assert_eq!(redacted.content[1]["text"], WITHHELD);
    }

    #[test]
    fn what_a_server_sends_is_kept_and_what_is_no_result_is_refused() {
        let read = |value: Json| ToolResult::from_mcp(serde_json::from_value(value).unwrap());
        let sent = json!({
            "content": [{ "type": "text", "text": "a", "annotations": { "x": 1 } }, { "type": "new", "y": [] }],
            "structuredContent": { "a": 1 }, "isError": true, "_meta": { "a/b": 1 }, "later": null,
        });
        assert_eq!(serde_json::to_value(read(sent.clone()).unwrap()).unwrap(), sent);
        assert_eq!(read(json!({ "structuredContent": [1] })).unwrap().content, [] as [Json; 0]);
        for (bad, why) in [
            (json!({}), "it has no `content`"),
            (json!({ "content": null }), "`content` is not a list of content blocks"),
            (json!({ "content": {} }), "`content` is not a list of content blocks"),
            (json!({ "content": ["a"] }), "`content` is not a list of content blocks"),
            (json!({ "content": [{}] }), "`content` is not a list of content blocks"),
            (
                json!({ "content": [{ "type": "text", "text": 7 }] }),
                "`content` is not a list of content blocks",
            ),
            (
                json!({ "content": [{ "type": "image", "data": "" }] }),
                "`content` is not a list of content blocks",
            ),
            (
                json!({ "content": [{ "type": "resource", "resource": {} }] }),
                "`content` is not a list of content blocks",
            ),
            (json!({ "content": [], "isError": "no" }), "`isError` is neither true nor false"),
            (json!({ "content": [], "_meta": "x" }), "`_meta` is not an object"),
        ] {
            assert_eq!(read(bad).unwrap_err(), why);
        }
    }

    #[test]
    fn a_result_is_measured_without_being_written() {
        let result = ToolResult::text("x".repeat(100), false);
        let size = serde_json::to_vec(&result).unwrap().len();
        assert!(result.fits(size) && !result.fits(size - 1));
    }
}
