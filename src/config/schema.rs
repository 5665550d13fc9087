//! JSON Schema of the file, for editors: written from the table of keys.

use serde_json::{Map, Value as Json, json};

use super::reader::{KeyInfo, KeyStatus};

/// A schema of draft 2020-12.
pub fn json_schema() -> Json {
    let mut root = section(&super::keys(), "");
    if let Json::Object(fields) = &mut root {
        fields.insert("$schema".into(), json!("https://json-schema.org/draft/2020-12/schema"));
        fields.insert("title".into(), json!("Caxton configuration"));
    }
    root
}

/// The keys whose path begins with `prefix`, and the sections below.
fn section(keys: &[KeyInfo], prefix: &str) -> Json {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for key in keys {
        let Some(rest) = key.path.strip_prefix(prefix) else { continue };
        let name = rest.split('.').next().unwrap_or(rest);
        if name.ends_with("[]") || properties.contains_key(name) {
            continue;
        }
        let schema = if name == rest { leaf(keys, key) } else { section(keys, &format!("{prefix}{name}.")) };
        if name == rest && key.status == KeyStatus::Required {
            required.push(name.to_owned());
        }
        properties.insert(name.to_owned(), schema);
    }
    let mut schema = json!({ "additionalProperties": false, "properties": properties });
    if let Json::Object(fields) = &mut schema {
        // A section without keys reads as nothing in YAML; a record must have its keys.
        let kind = if required.is_empty() { json!(["object", "null"]) } else { json!("object") };
        fields.insert("type".into(), kind);
        if !required.is_empty() {
            fields.insert("required".into(), json!(required));
        }
    }
    schema
}

fn leaf(keys: &[KeyInfo], key: &KeyInfo) -> Json {
    let mut schema = key.schema.clone();
    let records = format!("{}[].", key.path);
    let has_records = keys.iter().any(|other| other.path.starts_with(&records));
    if let Json::Object(fields) = &mut schema {
        fields.insert("description".into(), json!(key.doc));
        if has_records {
            fields.insert("items".into(), section(keys, &records));
        }
    }
    schema
}
