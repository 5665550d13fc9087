//! A definition as a person reads it before it counts: what it says of itself, what it takes, what it may do.

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::Value as Json;

use crate::text::{one_line, shorten};
use crate::tools::{Annotations, Definition, ServerSettings};

/// The longest line of a description, in characters, and the most lines; `--format json` has all of it.
const LINE: usize = 100;
const LINES: usize = 12;

/// Words in a name, a description or an argument that speak of credentials.
const SECRETS: [&str; 12] = [
    "secret",
    "secrets",
    "password",
    "passwords",
    "credential",
    "credentials",
    "token",
    "tokens",
    "env",
    "environment",
    "apikey",
    "passphrase",
];

/// What is approved of one tool.
#[derive(Debug, Serialize)]
pub(super) struct ShownTool {
    id: String,
    description: Option<String>,
    /// `amount: integer`, `note: string (optional)`.
    arguments: Vec<String>,
    hints: Vec<String>,
    labels: Vec<String>,
    warnings: Vec<String>,
}

impl ShownTool {
    pub(super) fn new(server: &ServerSettings, definition: &Definition) -> Self {
        let labels = server.labels.get(&definition.name).into_iter().flatten();
        let said = definition.annotations.clone().unwrap_or_default();
        Self {
            id: format!("{}___{}", server.name, definition.name),
            description: definition.description.clone(),
            arguments: arguments(definition),
            hints: hints(&said),
            labels: labels.map(ToString::to_string).collect(),
            warnings: warnings(definition, &said),
        }
    }

    /// Some lines, the first of which is the tool's id.
    pub(super) fn text(&self) -> String {
        let plain = |text: &str| shorten(&one_line(text, usize::MAX), LINE);
        let mut lines = vec![plain(&self.id)];
        let described = self.description.as_deref().unwrap_or("(no description)");
        lines.extend(described.lines().take(LINES).map(|line| format!("  {}", plain(line))));
        if let more @ 1.. = described.lines().count().saturating_sub(LINES) {
            lines.push(format!("  … and {more} more lines (`--format json` has them)"));
        }
        let mut list = |name: &str, items: &[String], none: &str| {
            let items = if items.is_empty() { none.to_owned() } else { items.join(", ") };
            if !items.is_empty() {
                lines.push(format!("  {name:<10} {}", plain(&items)));
            }
        };
        list("arguments", &self.arguments, "none");
        list("hints", &self.hints, "");
        list("labels", &self.labels, "");
        lines.extend(self.warnings.iter().map(|warning| format!("  {:<10} {}", "warning", plain(warning))));
        lines.join("\n")
    }
}

fn arguments(definition: &Definition) -> Vec<String> {
    let required: BTreeSet<&str> = definition
        .input_schema
        .get("required")
        .and_then(Json::as_array)
        .into_iter()
        .flatten()
        .filter_map(Json::as_str)
        .collect();
    let properties = definition.input_schema.get("properties").and_then(Json::as_object);
    let shown = |(name, schema): (&String, &Json)| {
        let kind = match schema.get("type") {
            Some(Json::String(kind)) => kind.clone(),
            Some(other) => other.to_string(),
            None => "any".to_owned(),
        };
        let optional = if required.contains(name.as_str()) { "" } else { " (optional)" };
        format!("{name}: {kind}{optional}")
    };
    properties.into_iter().flatten().map(shown).collect()
}

/// The hints as policies see them; of what the server does not say, MCP's default.
fn hints(said: &Annotations) -> Vec<String> {
    let hint = |given: Option<bool>, default: bool, yes: &str, no: &str| {
        let word = if given.unwrap_or(default) { yes } else { no };
        if given.is_some() { word.to_owned() } else { format!("{word} (not declared)") }
    };
    vec![
        hint(said.read_only_hint, false, "read-only", "not read-only"),
        hint(said.destructive_hint, true, "destructive", "not destructive"),
        hint(said.open_world_hint, true, "open world", "closed world"),
    ]
}

fn warnings(definition: &Definition, said: &Annotations) -> Vec<String> {
    let mut warnings = Vec::new();
    match said.open_world_hint {
        Some(true) => warnings.push("reaches the open world".to_owned()),
        None => {
            warnings.push("may reach the open world: the server does not say that it does not".to_owned())
        }
        Some(false) => {}
    }
    let arguments = definition.input_schema.get("properties").and_then(Json::as_object);
    let arguments = arguments.into_iter().flat_map(|all| all.keys());
    let description = definition.description.as_deref().unwrap_or_default();
    let texts = [definition.name.as_str(), description].into_iter().chain(arguments.map(String::as_str));
    let found: BTreeSet<String> = texts
        .flat_map(|text| text.split(|c: char| !c.is_alphanumeric()))
        .map(str::to_lowercase)
        .filter(|word| SECRETS.contains(&word.as_str()))
        .collect();
    if !found.is_empty() {
        let words = found.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ");
        warnings.push(format!("may read secrets: it speaks of {words}"));
    }
    warnings
}
