//! A request as a test that can be pasted under `tests:` of any test file.

use serde_json::{Map, Value as Json};

use crate::text::{one_line, quote_yaml};
use crate::workbench::run::SingleRequest;

/// What the test expects.
pub(in crate::workbench) struct Expectation<'e> {
    pub(in crate::workbench) outcome: &'e str,
    /// Compared only when given.
    pub(in crate::workbench) policies: Option<&'e [String]>,
}

/// The test, as an item of a list of tests.
pub(in crate::workbench) fn test_case(
    name: &str,
    comments: &[String],
    request: &SingleRequest,
    expect: &Expectation<'_>,
) -> String {
    let mut lines = vec![format!("- name: {}", scalar(name))];
    lines.extend(comments.iter().map(|comment| format!("  # {}", one_line(comment, usize::MAX))));
    lines.push("  entities:".to_owned());
    let mut entities = request.entities.clone();
    for name in [&request.principal, &request.resource] {
        entities.entry(name.clone()).or_insert_with(|| Json::Object(Map::new()));
    }
    let mut names: Vec<&String> = entities.keys().collect();
    // Who and on what first, then what they are in.
    names.sort_by_key(|name| (**name != request.principal, **name != request.resource, *name));
    for (name, entry) in names.into_iter().filter_map(|name| Some((name, entities.get(name)?))) {
        let written = without_empty(entry);
        lines.push(format!("    {}: {}", scalar(name), flow(&written)));
    }
    let mut asked = Map::new();
    for (key, value) in
        [("principal", &request.principal), ("action", &request.action), ("resource", &request.resource)]
    {
        asked.insert(key.to_owned(), value.clone().into());
    }
    if !request.context.is_empty() {
        asked.insert("context".to_owned(), request.context.clone().into());
    }
    // The map sorts its keys; people read who, what, on what.
    let order = ["principal", "action", "resource", "context"];
    let asked: Vec<String> =
        order.iter().filter_map(|key| Some(format!("{key}: {}", flow(asked.get(*key)?)))).collect();
    lines.push(format!("  request: {{ {} }}", asked.join(", ")));
    let policies = expect.policies.map(|policies| {
        let policies: Vec<String> = policies.iter().map(|id| scalar(id)).collect();
        format!(", policies: [{}]", policies.join(", "))
    });
    lines.push(format!("  expect: {{ outcome: {}{} }}", expect.outcome, policies.unwrap_or_default()));
    lines.join("\n") + "\n"
}

/// `attrs`, `in` and `tags` that say nothing are left out.
fn without_empty(entry: &Json) -> Json {
    let Json::Object(parts) = entry else { return entry.clone() };
    let says = |part: &Json| match part {
        Json::Object(fields) => !fields.is_empty(),
        Json::Array(items) => !items.is_empty(),
        _ => true,
    };
    Json::Object(parts.iter().filter(|(_, part)| says(part)).map(|(k, v)| (k.clone(), v.clone())).collect())
}

/// A value in YAML's flow style.
fn flow(value: &Json) -> String {
    match value {
        Json::String(text) => scalar(text),
        Json::Array(items) => {
            let items: Vec<String> = items.iter().map(flow).collect();
            format!("[{}]", items.join(", "))
        }
        Json::Object(fields) if fields.is_empty() => "{}".to_owned(),
        Json::Object(fields) => {
            let mut fields: Vec<String> =
                fields.iter().map(|(key, value)| format!("{}: {}", scalar(key), flow(value))).collect();
            fields.sort();
            format!("{{ {} }}", fields.join(", "))
        }
        other => other.to_string(),
    }
}

/// A text as YAML: bare where that cannot be read as anything else, else in quotes.
fn scalar(text: &str) -> String {
    let entity = text.split_once("::\"").is_some_and(|(kind, rest)| {
        let id = rest.strip_suffix('"').unwrap_or("\"");
        let name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        kind.split("::")
            .all(|part| part.starts_with(|c: char| c.is_ascii_alphabetic()) && part.chars().all(name))
            && id.chars().all(|c| name(c) || "-./@*|:".contains(c))
    });
    let reserved = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    let word = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && !text.ends_with([':', ' '])
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "_-./:* ".contains(c))
        && !text.contains(": ")
        && !reserved.contains(&text.to_lowercase().as_str());
    if entity || word {
        text.to_owned()
    } else if text.chars().all(|c| matches!(c, ' '..='~') && c != '\'') {
        format!("'{text}'")
    } else {
        quote_yaml(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_read_back_as_it_was() {
        let texts = [
            "",
            " ",
            "true",
            "No",
            "12",
            "1e3",
            "-",
            "- a",
            "a: b",
            "a #b",
            "it's",
            "\"",
            "\\",
            "\n",
            "\u{85}",
            "\u{2028}",
            "\u{feff}",
            "\u{10ffff}",
            "é",
            "[a",
            "{a",
            "a, b",
            "&a",
            "*a",
            "!a",
            "%a",
            "@a",
            "`a",
            "~",
            "null",
            "a:",
            "Agent::\"a\"",
            "Agent::\"a b\"",
            "Agent::\"a'b\"",
            "Agent::\"{x}\"",
            "a::\"b\"c\"",
            "2026-01-01T00:00:00Z",
        ];
        for text in texts {
            let yaml = format!("{{ {}: [{}] }}", scalar(text), scalar(text));
            let read: std::collections::BTreeMap<String, Vec<String>> =
                serde_saphyr::from_str(&yaml).unwrap_or_else(|error| panic!("{yaml}: {error}"));
            assert_eq!(read, [(text.to_owned(), vec![text.to_owned()])].into(), "{yaml}");
        }
    }
}
