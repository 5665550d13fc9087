//! From a tool's JSON Schema to the types that policies see in `context.input`.
//!
//! The typing may be coarser than the schema, never wrong: what has no exact counterpart becomes opaque text
//! (canonical JSON), and an argument that was not declared is either refused or gathered, so that nothing
//! goes past a policy unseen. The whole schema is checked as well (see `arguments`); types only decide how a
//! valid argument is shown.
//!
//! | JSON Schema | Cedar |
//! |---|---|
//! | `boolean` | `Bool` |
//! | `integer` | `Long` |
//! | `number` | `decimal`: a value with more than four decimal digits, or out of range, is refused |
//! | `string`, and `enum` or `const` of strings | `String` |
//! | `array` with one `items` schema | `Set<T>` |
//! | `object` with `properties` | a record; `required` decides which attributes are optional |
//! | `additionalProperties: true` or a schema | one more optional attribute `_extra: String` |
//! | no `additionalProperties` | undeclared arguments are refused |
//! | `T` or `null` | an optional attribute; `null` is the same as absent |
//! | local `$ref` | what it points to; a recursive one is opaque |
//! | everything else (unions, tuples, no `type`) | opaque: `String` with the canonical JSON text |

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Map, Value as Json};

/// Nesting beyond this is opaque.
const MAX_DEPTH: usize = 12;

/// Schema nodes that are typed; the rest is opaque. Stops references that multiply.
const MAX_NODES: usize = 1_024;

/// Words whose subschemas may declare further properties of the same object.
const COMPOSING: [&str; 8] =
    ["allOf", "anyOf", "oneOf", "if", "then", "else", "dependentSchemas", "dependencies"];

/// How one argument is shown to policies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InputType {
    /// A truth value.
    Bool,
    /// A whole number.
    Long,
    /// A number with at most four decimal digits.
    Decimal,
    /// Text.
    String,
    /// Values of one type, without order or repetition.
    Set(Box<InputType>),
    /// Named values.
    Record(RecordType),
    /// Anything, as its canonical JSON text.
    Json,
}

/// Named values.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RecordType {
    /// The declared ones.
    pub fields: BTreeMap<Arc<str>, Field>,
    /// The attribute that gathers undeclared ones as JSON text; without it they are refused.
    pub extra: Option<Arc<str>>,
}

/// One named value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// Its type.
    pub kind: InputType,
    /// Whether it is always there.
    pub required: bool,
}

impl RecordType {
    /// The type of a tool's arguments under its input schema.
    pub fn of_arguments(schema: &Map<String, Json>) -> Self {
        let mut reader = SchemaReader { root: schema, nodes: 0, local_refs: !has_nested_base(schema) };
        let typed = if schema.contains_key("$ref") && !schema.contains_key("properties") {
            reader.referenced(schema, 0, &mut Vec::new()).kind
        } else {
            InputType::Record(reader.record(schema, 0, &mut Vec::new()))
        };
        match typed {
            InputType::Record(record) => record,
            _ => Self { fields: BTreeMap::new(), extra: Some("_extra".into()) },
        }
    }

    fn gather_undeclared(&mut self) {
        let mut name = String::from("_extra");
        while self.fields.contains_key(name.as_str()) {
            name.insert(0, '_');
        }
        self.extra = Some(name.into());
    }
}

/// A type, and whether `null` stands for "absent".
struct TypedSchema {
    kind: InputType,
    nullable: bool,
}

impl From<InputType> for TypedSchema {
    fn from(kind: InputType) -> Self {
        Self { kind, nullable: false }
    }
}

struct SchemaReader<'a> {
    root: &'a Map<String, Json>,
    nodes: usize,
    /// `#/…` means the root; untrue when a nested `$id` moves the base.
    local_refs: bool,
}

impl<'a> SchemaReader<'a> {
    fn read(&mut self, schema: &'a Json, depth: usize, refs: &mut Vec<&'a str>) -> TypedSchema {
        self.nodes += 1;
        let Json::Object(schema) = schema else {
            return InputType::Json.into();
        };
        if depth > MAX_DEPTH || self.nodes > MAX_NODES {
            return InputType::Json.into();
        }
        if schema.contains_key("$ref") {
            return self.referenced(schema, depth, refs);
        }
        match declared_type(schema) {
            DeclaredType::One { name, nullable } => {
                let kind = self.named(name, schema, depth, refs);
                // Opaque text shows a null as itself.
                TypedSchema { nullable: nullable && kind != InputType::Json, kind }
            }
            DeclaredType::Many => InputType::Json.into(),
            DeclaredType::Nothing => self.untyped(schema, depth, refs),
        }
    }

    fn named(
        &mut self,
        name: &str,
        schema: &'a Map<String, Json>,
        depth: usize,
        refs: &mut Vec<&'a str>,
    ) -> InputType {
        match name {
            "boolean" => InputType::Bool,
            "integer" => InputType::Long,
            "number" => InputType::Decimal,
            "string" => InputType::String,
            "array" => self.array(schema, depth, refs),
            "object" if is_open_map(schema) => InputType::Json,
            "object" => InputType::Record(self.record(schema, depth, refs)),
            _ => InputType::Json,
        }
    }

    fn array(&mut self, schema: &'a Map<String, Json>, depth: usize, refs: &mut Vec<&'a str>) -> InputType {
        // Tuples: `prefixItems`, and `items` as a list in older drafts.
        match schema.get("items") {
            Some(items @ Json::Object(_)) if !schema.contains_key("prefixItems") => {
                let item = self.read(items, depth + 1, refs);
                let kind = if item.nullable { InputType::Json } else { item.kind };
                InputType::Set(Box::new(kind))
            }
            _ => InputType::Json,
        }
    }

    fn record(&mut self, schema: &'a Map<String, Json>, depth: usize, refs: &mut Vec<&'a str>) -> RecordType {
        let required: BTreeSet<&str> = schema
            .get("required")
            .and_then(Json::as_array)
            .map(|names| names.iter().filter_map(Json::as_str).collect())
            .unwrap_or_default();
        let mut record = RecordType::default();
        if let Some(Json::Object(properties)) = schema.get("properties") {
            for (name, property) in properties {
                let typed = self.read(property, depth + 1, refs);
                let required = required.contains(name.as_str()) && !typed.nullable;
                record.fields.insert(name.as_str().into(), Field { kind: typed.kind, required });
            }
        }
        for name in required {
            let undeclared = || Field { kind: InputType::Json, required: true };
            record.fields.entry(name.into()).or_insert_with(undeclared);
        }
        if gathers(schema) {
            record.gather_undeclared();
        }
        record
    }

    fn untyped(
        &mut self,
        schema: &'a Map<String, Json>,
        depth: usize,
        refs: &mut Vec<&'a str>,
    ) -> TypedSchema {
        if let Some(kind) = type_of_values(schema) {
            return kind.into();
        }
        for word in ["anyOf", "oneOf"] {
            if let Some(Json::Array(branches)) = schema.get(word) {
                return self.optional(branches, depth, refs);
            }
        }
        match schema.get("allOf").and_then(Json::as_array).map(Vec::as_slice) {
            Some([only]) => self.read(only, depth + 1, refs),
            _ => InputType::Json.into(),
        }
    }

    /// `T` or `null`; any other union is opaque.
    fn optional(&mut self, branches: &'a [Json], depth: usize, refs: &mut Vec<&'a str>) -> TypedSchema {
        let is_null = |branch: &Json| branch.get("type").and_then(Json::as_str) == Some("null");
        match branches {
            [only] => self.read(only, depth + 1, refs),
            [null, other] | [other, null] if is_null(null) => {
                let kind = self.read(other, depth + 1, refs).kind;
                TypedSchema { nullable: kind != InputType::Json, kind }
            }
            _ => InputType::Json.into(),
        }
    }

    fn referenced(
        &mut self,
        schema: &'a Map<String, Json>,
        depth: usize,
        refs: &mut Vec<&'a str>,
    ) -> TypedSchema {
        let target = schema.get("$ref").and_then(Json::as_str);
        let Some(pointer) = target.filter(|_| self.local_refs).filter(|target| !refs.contains(target)) else {
            return InputType::Json.into();
        };
        let Some(target) = resolve(self.root, pointer) else {
            return InputType::Json.into();
        };
        refs.push(pointer);
        let mut typed = self.read(target, depth + 1, refs);
        refs.pop();
        // Newer drafts let words stand beside `$ref`; they may declare more properties.
        if let InputType::Record(record) = &mut typed.kind
            && (schema.contains_key("properties") || composes(schema))
            && record.extra.is_none()
        {
            record.gather_undeclared();
        }
        typed
    }
}

enum DeclaredType<'a> {
    One { name: &'a str, nullable: bool },
    Many,
    Nothing,
}

fn declared_type(schema: &Map<String, Json>) -> DeclaredType<'_> {
    match schema.get("type") {
        Some(Json::String(name)) => DeclaredType::One { name, nullable: false },
        Some(Json::Array(names)) => {
            let mut names: BTreeSet<&str> = names.iter().filter_map(Json::as_str).collect();
            let nullable = names.remove("null");
            if names.contains("number") {
                names.remove("integer");
            }
            match names.pop_first() {
                Some(name) if names.is_empty() => DeclaredType::One { name, nullable },
                _ => DeclaredType::Many,
            }
        }
        Some(_) => DeclaredType::Many,
        None => DeclaredType::Nothing,
    }
}

/// The one type of the values in `enum` or `const`.
fn type_of_values(schema: &Map<String, Json>) -> Option<InputType> {
    let values = match (schema.get("const"), schema.get("enum")) {
        (Some(value), _) => std::slice::from_ref(value),
        (None, Some(Json::Array(values))) => values.as_slice(),
        _ => return None,
    };
    let all = |fits: fn(&Json) -> bool| !values.is_empty() && values.iter().all(fits);
    match () {
        () if all(Json::is_string) => Some(InputType::String),
        () if all(Json::is_boolean) => Some(InputType::Bool),
        () if all(Json::is_i64) => Some(InputType::Long),
        () => Some(InputType::Json),
    }
}

/// An object whose names are not known beforehand: a map, not a record.
fn is_open_map(schema: &Map<String, Json>) -> bool {
    !schema.contains_key("properties") && schema.get("additionalProperties") != Some(&Json::Bool(false))
}

fn composes(schema: &Map<String, Json>) -> bool {
    COMPOSING.iter().any(|word| schema.contains_key(*word))
}

fn gathers(schema: &Map<String, Json>) -> bool {
    schema.contains_key("patternProperties")
        || match schema.get("additionalProperties") {
            None => composes(schema) || schema.contains_key("$ref"),
            Some(Json::Bool(open)) => *open,
            Some(_) => true,
        }
}

/// Whether `#/…` may mean something else than the root.
fn has_nested_base(schema: &Map<String, Json>) -> bool {
    fn inside(json: &Json) -> bool {
        match json {
            Json::Array(items) => items.iter().any(inside),
            Json::Object(fields) => {
                fields.get("$id").is_some_and(Json::is_string) || fields.values().any(inside)
            }
            _ => false,
        }
    }
    schema.values().any(inside)
}

fn resolve<'a>(root: &'a Map<String, Json>, reference: &str) -> Option<&'a Json> {
    let pointer = reference.strip_prefix("#/")?;
    // Percent-escapes in a pointer are rare; without decoding them the result is opaque, not wrong.
    let mut steps = pointer.split('/').map(|step| step.replace("~1", "/").replace("~0", "~"));
    let first = root.get(&steps.next()?)?;
    steps.try_fold(first, |json, step| match json {
        Json::Object(fields) => fields.get(&step),
        Json::Array(items) => items.get(step.parse::<usize>().ok()?),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The type's Cedar text is the clearest way to say what is expected.
    fn typed(schema: Json) -> String {
        let record = RecordType::of_arguments(schema.as_object().unwrap());
        super::super::schema_fragment::record_text(&record)
    }

    fn property(schema: Json) -> String {
        typed(json!({ "type": "object", "properties": { "x": schema }, "required": ["x"] }))
    }

    #[test]
    fn plain_types_have_their_counterpart() {
        for (schema, expected) in [
            (json!({ "type": "boolean" }), "{ x: Bool }"),
            (json!({ "type": "integer", "minimum": 1 }), "{ x: Long }"),
            (json!({ "type": "number" }), "{ x: __cedar::decimal }"),
            (json!({ "type": ["integer", "number"] }), "{ x: __cedar::decimal }"),
            (json!({ "type": "string", "format": "uri" }), "{ x: String }"),
            (json!({ "enum": ["a", "b"] }), "{ x: String }"),
            (json!({ "const": 3 }), "{ x: Long }"),
            (json!({ "const": true }), "{ x: Bool }"),
            (json!({ "type": "array", "items": { "type": "integer" } }), "{ x: Set<Long> }"),
            (
                json!({ "type": "array", "items": { "type": "array", "items": { "type": "string" } } }),
                "{ x: Set<Set<String>> }",
            ),
            (
                json!({ "type": "object", "properties": { "a": { "type": "string" } } }),
                "{ x: { a?: String } }",
            ),
        ] {
            assert_eq!(property(schema.clone()), expected, "{schema}");
        }
    }

    #[test]
    fn null_makes_an_argument_optional() {
        for schema in [
            json!({ "type": ["integer", "null"] }),
            json!({ "anyOf": [{ "type": "integer" }, { "type": "null" }], "default": null }),
            json!({ "oneOf": [{ "type": "null" }, { "type": "integer" }] }),
        ] {
            assert_eq!(property(schema.clone()), "{ x?: Long }", "{schema}");
        }
    }

    #[test]
    fn what_has_no_counterpart_is_opaque() {
        for schema in [
            json!({}),
            json!(true),
            json!({ "type": "null" }),
            json!({ "type": ["string", "integer"] }),
            json!({ "enum": ["a", 1] }),
            json!({ "anyOf": [{ "type": "string" }, { "type": "integer" }] }),
            json!({ "type": "array" }),
            json!({ "type": "array", "prefixItems": [{ "type": "string" }], "items": { "type": "string" } }),
            json!({ "type": "object" }),
            json!({ "type": "object", "additionalProperties": { "type": "string" } }),
            json!({ "$ref": "https://example.com/x.json" }),
            json!({ "$ref": "#/$defs/none" }),
        ] {
            assert_eq!(property(schema.clone()), "{ x: String }", "{schema}");
        }
        let nulls = json!({ "type": "array", "items": { "type": ["string", "null"] } });
        assert_eq!(property(nulls), "{ x: Set<String> }");
    }

    #[test]
    fn undeclared_arguments_are_refused_or_gathered() {
        let with = |additional: Option<Json>, more: Json| {
            let mut schema = json!({ "type": "object", "properties": { "a": { "type": "string" } } });
            let fields = schema.as_object_mut().unwrap();
            fields.extend(additional.map(|value| ("additionalProperties".to_owned(), value)));
            fields.extend(more.as_object().unwrap().clone());
            typed(schema)
        };
        assert_eq!(with(None, json!({})), "{ a?: String }");
        assert_eq!(with(Some(json!(false)), json!({})), "{ a?: String }");
        let gathered = "{ a?: String, _extra?: String }";
        assert_eq!(with(Some(json!(true)), json!({})), gathered);
        assert_eq!(with(Some(json!({ "type": "integer" })), json!({})), gathered);
        assert_eq!(with(Some(json!(false)), json!({ "patternProperties": { "^x": {} } })), gathered);
        assert_eq!(with(None, json!({ "allOf": [{ "properties": { "b": {} } }] })), gathered);
        let taken = json!({ "properties": { "_extra": { "type": "string" } }, "additionalProperties": true });
        assert_eq!(typed(taken), "{ _extra?: String, __extra?: String }");
    }

    #[test]
    fn local_references_are_followed_and_recursion_is_opaque() {
        let schema = json!({
            "type": "object",
            "properties": { "p": { "$ref": "#/$defs/P" }, "n": { "$ref": "#/$defs/Node" } },
            "$defs": {
                "P": { "type": "object", "properties": { "age": { "type": "integer" } }, "required": ["age"] },
                "Node": { "type": "object", "properties": { "next": { "$ref": "#/$defs/Node" } } }
            }
        });
        assert_eq!(typed(schema), "{ n?: { next?: String }, p?: { age: Long } }");
        let root = json!({ "$ref": "#/$defs/A", "$defs": { "A": { "properties": { "a": { "type": "string" } }, "type": "object" } } });
        assert_eq!(typed(root), "{ a?: String }");
    }

    #[test]
    fn a_moved_base_makes_references_opaque() {
        let schema = json!({
            "type": "object",
            "properties": { "p": { "$id": "https://x/y", "$defs": { "A": { "type": "string" } }, "allOf": [{ "$ref": "#/$defs/A" }] } },
            "$defs": { "A": { "type": "integer" } }
        });
        assert_eq!(typed(schema), "{ p?: String }");
    }

    #[test]
    fn references_that_multiply_stop_at_the_budget() {
        let mut defs = Map::new();
        for level in 0..12 {
            let next = json!({ "$ref": format!("#/$defs/d{}", level + 1) });
            let properties: Map<String, Json> = (0..8).map(|i| (format!("p{i}"), next.clone())).collect();
            defs.insert(format!("d{level}"), json!({ "type": "object", "properties": properties }));
        }
        defs.insert("d12".to_owned(), json!({ "type": "string" }));
        let text = typed(
            json!({ "type": "object", "properties": { "x": { "$ref": "#/$defs/d0" } }, "$defs": defs }),
        );
        assert!(text.len() < 100_000, "{}", text.len());
    }

    #[test]
    fn a_required_argument_without_a_declaration_is_opaque() {
        assert_eq!(typed(json!({ "type": "object", "required": ["z"] })), "{ z: String }");
    }

    #[test]
    fn no_schema_means_no_arguments() {
        assert_eq!(typed(json!({ "type": "object" })), "{}");
    }
}
