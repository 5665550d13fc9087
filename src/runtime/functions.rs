//! What an agent is offered: its tools and its memory, as functions in the shape of OpenAI's chat completions.

use std::collections::HashMap;

use serde_json::{Map, Value as Json, json};

use super::effects::VisibleTool;
use crate::model::ToolId;

/// The function behind a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Function {
    Tool(ToolId),
    MemoryWrite,
    MemorySearch,
    MemoryRead,
}

/// The functions of one turn.
pub(super) struct Functions {
    offered: Vec<Json>,
    by_name: HashMap<String, Function>,
}

/// OpenAI allows `[a-zA-Z0-9_-]{1,64}`.
const LONGEST_NAME: usize = 64;

impl Functions {
    pub(super) fn new(tools: &[VisibleTool], memory: bool) -> Self {
        let mut functions = Self { offered: Vec::new(), by_name: HashMap::new() };
        if memory {
            functions.offer_memory();
        }
        for tool in tools {
            let description = tool.definition().description.clone().unwrap_or_default();
            let parameters = Json::Object(tool.definition().input_schema.clone());
            let id = tool.id().clone();
            functions.offer(id.as_str().to_owned(), &description, parameters, Function::Tool(id));
        }
        functions
    }

    fn offer_memory(&mut self) {
        let text = json!({ "type": "string" });
        let write = json!({
            "type": "object",
            "properties": { "name": text, "kind": text, "observations": { "type": "array", "items": text } },
            "required": ["name", "kind", "observations"],
        });
        let search = json!({ "type": "object", "properties": { "words": text }, "required": ["words"] });
        let read = json!({ "type": "object", "properties": { "name": text }, "required": ["name"] });
        self.offer(
            "memory_write".to_owned(),
            "Remember a thing and what is known about it.",
            write,
            Function::MemoryWrite,
        );
        self.offer("memory_search".to_owned(), "Search what is remembered.", search, Function::MemorySearch);
        self.offer(
            "memory_read".to_owned(),
            "Read one remembered thing by its name.",
            read,
            Function::MemoryRead,
        );
    }

    fn offer(&mut self, name: String, description: &str, parameters: Json, function: Function) {
        let name = self.free_name(&name);
        self.offered.push(json!({
            "type": "function",
            "function": { "name": name, "description": description, "parameters": parameters },
        }));
        self.by_name.insert(name, function);
    }

    /// The name with everything that OpenAI does not allow as `_`, and a number where two would be one.
    fn free_name(&self, name: &str) -> String {
        let legal = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
        let plain: String = name.chars().map(legal).take(LONGEST_NAME).collect();
        if !self.by_name.contains_key(&plain) {
            return plain;
        }
        let numbered = (2_u32..).map(|number| {
            let end = format!("_{number}");
            let head: String = plain.chars().take(LONGEST_NAME.saturating_sub(end.len())).collect();
            head + &end
        });
        let mut free = numbered.filter(|candidate| !self.by_name.contains_key(candidate));
        free.next().unwrap_or(plain)
    }

    /// The `tools` of a request.
    pub(super) fn offered(&self) -> &[Json] {
        &self.offered
    }

    /// The function of this name, when it was offered.
    pub(super) fn find(&self, name: &str) -> Option<&Function> {
        self.by_name.get(name)
    }
}

/// Arguments of a function call: JSON text of an object, as OpenAI sends them.
pub(super) fn arguments(text: &str) -> Result<Map<String, Json>, String> {
    match crate::json::parse_object(text.as_bytes()) {
        Ok(fields) => Ok(fields),
        Err(error) => Err(format!("the arguments are not a JSON object: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_made_legal_and_stay_apart() {
        let mut functions = Functions::new(&[], true);
        let id = |name: &str| Function::Tool(ToolId::parse(name).unwrap());
        functions.offer("s___a.b".to_owned(), "", json!({}), id("s___a.b"));
        functions.offer("s___a/b".to_owned(), "", json!({}), id("s___a/b"));
        functions.offer("é".repeat(100), "", json!({}), id("s___x"));
        assert_eq!(functions.find("s___a_b"), Some(&id("s___a.b")));
        assert_eq!(functions.find("s___a_b_2"), Some(&id("s___a/b")));
        assert_eq!(functions.find(&"_".repeat(64)), Some(&id("s___x")));
        assert_eq!(functions.find("memory_write"), Some(&Function::MemoryWrite));
        assert_eq!(functions.find("other"), None);
    }

    #[test]
    fn arguments_are_one_object_with_no_key_twice() {
        assert!(arguments("{\"a\":1}").is_ok());
        assert!(arguments("[1]").is_err());
        assert!(arguments("{\"a\":1,\"a\":2}").is_err());
    }
}
