//! What a tool answered, in MCP's shape.

use rmcp::model::CallToolResult;
use serde::Serialize;
use serde_json::{Value as Json, json};

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
}

impl ToolResult {
    /// An answer of one text.
    pub fn text(text: impl Into<String>, is_error: bool) -> Self {
        let block = json!({ "type": "text", "text": text.into() });
        Self { content: vec![block], structured: None, is_error }
    }

    /// A structured answer, with its JSON text for clients that read text only.
    pub fn structured(value: Json) -> Self {
        Self { structured: Some(value.clone()), ..Self::text(value.to_string(), false) }
    }

    pub(super) fn from_mcp(result: CallToolResult) -> Self {
        Self {
            // A content block is text and maps with text keys: it always serialises.
            content: result.content.iter().filter_map(|block| serde_json::to_value(block).ok()).collect(),
            structured: result.structured_content,
            is_error: result.is_error.unwrap_or(false),
        }
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
        self
    }

    /// Bytes of its JSON text.
    pub(super) fn size(&self) -> usize {
        serde_json::to_vec(self).map_or(usize::MAX, |bytes| bytes.len())
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
        let untouched = result.clone().redacted(&[]);
        assert_eq!(untouched, result);
        let redacted = result.redacted(&pointers);
        assert!(!serde_json::to_string(&redacted).unwrap().contains("123-45"));
        assert_eq!(redacted.structured.unwrap()["customer"], json!({ "name": "Ann", "ssn": "[redacted]" }));
        assert_eq!(redacted.content.len(), 5);
        assert_eq!(redacted.content[1]["text"], WITHHELD);
    }
}
