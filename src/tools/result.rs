//! What a tool answered, in MCP's shape.

use rmcp::model::CallToolResult;
use serde::Serialize;
use serde_json::{Value as Json, json};

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

    /// Bytes of its JSON text.
    pub(super) fn size(&self) -> usize {
        serde_json::to_vec(self).map_or(usize::MAX, |bytes| bytes.len())
    }
}
