//! Sentences from the results of calls, whatever the gateway wraps the results in.

use serde_json::Value;

/// Characters of a tool's own text in an answer.
const MAX_QUOTE: usize = 500;

/// A message's text: a string, or the text parts of a list.
pub(crate) fn text(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => {
            parts.iter().filter_map(|part| part.get("text")?.as_str()).collect::<Vec<_>>().join("\n")
        }
        _ => String::new(),
    }
}

/// What the clerk says to the result of `function`.
pub(crate) fn to_result(function: &str, result: &str) -> String {
    let Ok(result) = serde_json::from_str::<Value>(result) else {
        return format!("That did not work: {}", quote(result));
    };
    if let Some(error) = result.get("error") {
        let error = error.as_str().map_or_else(|| error.to_string(), str::to_owned);
        return format!("That did not work: {}", quote(&error));
    }
    if function.ends_with("csv_parser") {
        return match find(&result, "row_count").and_then(Value::as_u64) {
            Some(1) => "The table has 1 row.".to_owned(),
            Some(count) => format!("The table has {count} rows."),
            None => "The table could not be read.".to_owned(),
        };
    }
    if function.ends_with("memory_write") {
        return "I will remember that.".to_owned();
    }
    if function.ends_with("memory_search") {
        let mut facts = Vec::new();
        collect(&result, &mut facts);
        return match facts.as_slice() {
            [] => "I remember nothing about that.".to_owned(),
            facts => format!("I remember: {}", quote(&facts.join("; "))),
        };
    }
    quote(&result.to_string())
}

/// The first member called `name`, however deep.
fn find<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    match value {
        Value::Object(members) => {
            members.get(name).or_else(|| members.values().find_map(|member| find(member, name)))
        }
        Value::Array(items) => items.iter().find_map(|item| find(item, name)),
        _ => None,
    }
}

/// All strings in members called `observations`.
fn collect<'a>(value: &'a Value, into: &mut Vec<&'a str>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                match member {
                    Value::Array(items) if name == "observations" => {
                        into.extend(items.iter().filter_map(Value::as_str));
                    }
                    _ => collect(member, into),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, into)),
        _ => {}
    }
}

fn quote(text: &str) -> String {
    text.chars().take(MAX_QUOTE).collect()
}
