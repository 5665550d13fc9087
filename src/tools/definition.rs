//! A tool as its server describes it, read once under a budget, and the digest that pins it.
//!
//! All of it is pinned, also fields that nothing here knows (`_meta`, icons, extensions): nothing reaches a model that the pin
//! does not cover.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};
use unicode_normalization::UnicodeNormalization as _;

use crate::model::{IdError, ServerName, ToolId};
use crate::text::{is_deceptive, is_hidden, one_line};

/// The longest tool name, in characters (the bound that MCP recommends).
pub(super) const MAX_NAME_CHARS: usize = 128;

/// The deepest nesting of JSON in a definition.
pub(super) const MAX_DEPTH: usize = 32;

/// The hints of a tool about its own effects. A server may lie, so policies also see whether a hint was declared.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Annotations {
    /// A title for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// It changes nothing. MCP's default is false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_only_hint: Option<bool>,
    /// It may destroy something. MCP's default is true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destructive_hint: Option<bool>,
    /// Doing it twice is doing it once. MCP's default is false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idempotent_hint: Option<bool>,
    /// It reaches beyond its server. MCP's default is true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub open_world_hint: Option<bool>,
}

/// An MCP tool definition, within the budget and with a name that is safe to show, log and compare.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Definition {
    /// The name in Unicode normalisation form C: two spellings that look the same are one tool.
    pub name: String,
    /// The server's own spelling, when it is another one; used on the wire to that server only.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub upstream_name: Option<String>,
    /// A title for people.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub title: Option<String>,
    /// The description that the model receives.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub description: Option<String>,
    /// JSON Schema of the arguments.
    pub input_schema: Map<String, Json>,
    /// JSON Schema of the structured result.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub output_schema: Option<Map<String, Json>>,
    /// Hints.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub annotations: Option<Annotations>,
    /// The other fields (`_meta`, `icons`, `execution`, extensions), as they came.
    #[serde(flatten)]
    pub rest: Map<String, Json>,
}

/// Why a definition is not taken over.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DefinitionError {
    /// It does not have the shape of an MCP tool.
    #[error("the definition is not an MCP tool: {0}")]
    Shape(String),
    /// The name is empty.
    #[error("the tool has no name")]
    NoName,
    /// The name is too long.
    #[error("the tool's name has {0} characters, at most {MAX_NAME_CHARS} are allowed")]
    LongName(usize),
    /// The name has a character that cannot be seen, or one that changes how the rest is read.
    #[error("the tool's name has the character {0:?}, which cannot be seen")]
    NameCharacter(char),
    /// The name does not fit into a tool id.
    #[error(transparent)]
    Id(#[from] IdError),
    /// More bytes than the setting allows.
    #[error("the definition is {size} bytes, at most {limit} are allowed")]
    TooLarge {
        /// Bytes given.
        size: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// Nested deeper than 32 levels.
    #[error("the definition is nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
    /// Text that a person who approves the tool would not see, but a model would read.
    #[error("the definition hides text with the character {0:?}")]
    Hidden(char),
    /// The server lists two tools whose names are one after normalisation.
    #[error("the server lists this name more than once")]
    Twice,
    /// The input schema cannot be checked against.
    #[error("the input schema cannot be used: {0}")]
    Schema(String),
}

impl Definition {
    /// Reads a definition that a server sent. `max_bytes` bounds its compact JSON text.
    pub fn read(json: &Json, max_bytes: usize) -> Result<Self, DefinitionError> {
        // Depth first: every later step recurses.
        if depth_exceeds(json, MAX_DEPTH) {
            return Err(DefinitionError::TooDeep);
        }
        let size = json.to_string().len();
        if size > max_bytes {
            return Err(DefinitionError::TooLarge { size, limit: max_bytes });
        }
        if let Some(character) = hidden(json) {
            return Err(DefinitionError::Hidden(character));
        }
        let mut definition = Self::deserialize(json)
            .map_err(|error| DefinitionError::Shape(one_line(&error.to_string(), 200)))?;
        // The field is our own; a server cannot set it.
        let spelled = std::mem::take(&mut definition.name);
        definition.name = spelled.nfc().collect();
        definition.upstream_name = (spelled != definition.name).then_some(spelled);
        check_name(&definition.name)?;
        Ok(definition)
    }

    /// The name on the wire to the tool's own server.
    pub fn wire_name(&self) -> &str {
        self.upstream_name.as_deref().unwrap_or(&self.name)
    }

    /// The tool's id across all servers.
    pub fn id(&self, server: &ServerName) -> Result<ToolId, IdError> {
        ToolId::new(server, &self.name)
    }

    /// SHA-256 over the canonical JSON (RFC 8785) of the definition, in lower-case hexadecimal.
    pub fn sha256(&self) -> String {
        // A definition is strings, booleans, numbers and maps with text keys: it always serialises. If that
        // were ever untrue, an empty digest equals no pin.
        serde_json_canonicalizer::to_vec(self)
            .map(|bytes| hex::encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &bytes)))
            .unwrap_or_default()
    }

    /// The definition as MCP's `tools/list` shows it to a client, under the name `shown`.
    pub fn to_mcp(&self, shown: &str) -> Json {
        let mut json = serde_json::to_value(self).unwrap_or_default();
        if let Some(fields) = json.as_object_mut() {
            fields.remove("upstreamName");
            fields.insert("name".to_owned(), Json::String(shown.to_owned()));
        }
        json
    }

    /// Whether a server's definition is the pinned one. A pin without further fields was made when they were neither pinned nor
    /// shown, and shows none: that the server sends some is no change of it.
    pub fn is_pinned_as(&self, pinned: &Self) -> bool {
        self == pinned || (pinned.rest.is_empty() && Self { rest: Map::new(), ..self.clone() } == *pinned)
    }

    /// The top-level fields in which two definitions differ, by their MCP names.
    pub fn changed_fields(&self, other: &Self) -> Vec<&'static str> {
        [
            ("name", self.wire_name() != other.wire_name()),
            ("title", self.title != other.title),
            ("description", self.description != other.description),
            ("inputSchema", self.input_schema != other.input_schema),
            ("outputSchema", self.output_schema != other.output_schema),
            ("annotations", self.annotations != other.annotations),
            ("other fields", self.rest != other.rest),
        ]
        .into_iter()
        .filter_map(|(field, changed)| changed.then_some(field))
        .collect()
    }
}

fn check_name(name: &str) -> Result<(), DefinitionError> {
    let characters = name.chars().count();
    if name.trim().is_empty() {
        return Err(DefinitionError::NoName);
    }
    if characters > MAX_NAME_CHARS {
        return Err(DefinitionError::LongName(characters));
    }
    match name.chars().find(|&c| is_hidden(c)) {
        Some(character) => Err(DefinitionError::NameCharacter(character)),
        None => Ok(()),
    }
}

fn hidden(json: &Json) -> Option<char> {
    let in_text = |text: &str| {
        text.chars().find(|&c| is_deceptive(c) || (c.is_control() && !matches!(c, '\n' | '\r' | '\t')))
    };
    match json {
        Json::String(text) => in_text(text),
        Json::Array(items) => items.iter().find_map(hidden),
        Json::Object(fields) => {
            fields.iter().find_map(|(name, value)| in_text(name).or_else(|| hidden(value)))
        }
        Json::Null | Json::Bool(_) | Json::Number(_) => None,
    }
}

fn depth_exceeds(json: &Json, budget: usize) -> bool {
    let Some(budget) = budget.checked_sub(1) else {
        return true;
    };
    match json {
        Json::Array(items) => items.iter().any(|item| depth_exceeds(item, budget)),
        Json::Object(fields) => fields.values().any(|value| depth_exceeds(value, budget)),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => false,
    }
}

impl fmt::Display for Definition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const BUDGET: usize = 65_536;

    fn named(name: &str) -> Result<Definition, DefinitionError> {
        Definition::read(&json!({ "name": name, "inputSchema": { "type": "object" } }), BUDGET)
    }

    #[test]
    fn any_visible_name_is_taken() {
        for name in ["echo", "get-sum", "fs/read.file", "a b", "名前", "x\"y\\z", "_a___b"] {
            assert_eq!(named(name).unwrap().name, name);
        }
    }

    #[test]
    fn a_name_that_deceives_is_refused() {
        let cases = [
            ("", DefinitionError::NoName),
            ("  ", DefinitionError::NoName),
            ("a\nb", DefinitionError::NameCharacter('\n')),
            ("a\u{200b}b", DefinitionError::NameCharacter('\u{200b}')),
            ("a\u{202e}b", DefinitionError::Hidden('\u{202e}')),
            ("a\u{e0041}", DefinitionError::Hidden('\u{e0041}')),
            ("a\u{7f}", DefinitionError::Hidden('\u{7f}')),
        ];
        for (name, error) in cases {
            assert_eq!(named(name).unwrap_err(), error, "{name:?}");
        }
        assert_eq!(named(&"é".repeat(129)).unwrap_err(), DefinitionError::LongName(129));
    }

    #[test]
    fn equal_looking_names_are_one_name_and_the_wire_keeps_the_servers_spelling() {
        let definition = named("cafe\u{301}").unwrap();
        assert_eq!(definition.name, "caf\u{e9}");
        assert_eq!(definition.wire_name(), "cafe\u{301}");
        assert_eq!(definition.to_mcp("s___x").get("upstreamName"), None);
    }

    #[test]
    fn a_server_cannot_set_the_wire_name() {
        let json = json!({ "name": "echo", "upstreamName": "drop", "inputSchema": {} });
        assert_eq!(Definition::read(&json, BUDGET).unwrap().wire_name(), "echo");
    }

    #[test]
    fn the_digest_ignores_the_order_of_keys_and_covers_every_field() {
        let one =
            json!({ "name": "a", "description": "d", "inputSchema": { "type": "object", "properties": {} } });
        let two = json!({ "inputSchema": { "properties": {}, "type": "object" }, "_meta": { "t": 1 }, "name": "a", "description": "d" });
        let same =
            json!({ "inputSchema": { "properties": {}, "type": "object" }, "name": "a", "description": "d" });
        let three =
            json!({ "name": "a", "description": "D", "inputSchema": { "type": "object", "properties": {} } });
        let digest = |json| Definition::read(json, BUDGET).unwrap().sha256();
        assert_eq!(digest(&one), digest(&same));
        assert_ne!(digest(&one), digest(&two), "`_meta` is pinned");
        let [bare, with_meta] = [&one, &two].map(|json| Definition::read(json, BUDGET).unwrap());
        assert!(with_meta.is_pinned_as(&bare) && !bare.is_pinned_as(&with_meta));
        assert_eq!(with_meta.to_mcp("a")["_meta"], json!({ "t": 1 }));
        assert_ne!(digest(&one), digest(&three));
        assert_eq!(digest(&one).len(), 64);
    }

    #[test]
    fn a_bomb_is_refused_by_size_and_by_depth() {
        let large = json!({ "name": "a", "description": "x".repeat(BUDGET), "inputSchema": {} });
        assert!(matches!(Definition::read(&large, BUDGET), Err(DefinitionError::TooLarge { .. })));
        let mut deep = json!({});
        for _ in 0..100 {
            deep = json!({ "items": deep });
        }
        let deep = json!({ "name": "a", "inputSchema": deep });
        assert_eq!(Definition::read(&deep, BUDGET).unwrap_err(), DefinitionError::TooDeep);
    }

    #[test]
    fn text_for_models_only_is_refused() {
        let json = json!({ "name": "a", "description": "add\u{e0049}\u{e0067}", "inputSchema": {} });
        assert_eq!(Definition::read(&json, BUDGET).unwrap_err(), DefinitionError::Hidden('\u{e0049}'));
        let inside =
            json!({ "name": "a", "inputSchema": { "properties": { "x": { "title": "\u{202e}" } } } });
        assert_eq!(Definition::read(&inside, BUDGET).unwrap_err(), DefinitionError::Hidden('\u{202e}'));
    }

    #[test]
    fn what_is_not_a_tool_is_refused() {
        for json in [json!(3), json!({ "name": "a" }), json!({ "name": "a", "inputSchema": [] })] {
            assert!(matches!(Definition::read(&json, BUDGET), Err(DefinitionError::Shape(_))), "{json}");
        }
    }
}
