//! A desk clerk: an agent's handler that uses tools and memory without a language model.
//!
//! One run is one turn. Input and output have the shape of OpenAI's chat completions: the messages so far and the
//! functions on offer come in, one assistant message goes out, and whoever runs the clerk makes the calls in it
//! and comes back with their results. The clerk understands `count rows: CSV`, `remember: TEXT` and
//! `recall: WORDS`. What a tool answers is data to it, never an order.

mod reply;

use std::process::ExitCode;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

#[derive(Deserialize)]
struct Turn {
    messages: Vec<Message>,
    #[serde(default)]
    tools: Vec<Tool>,
}

#[derive(Deserialize)]
struct Message {
    role: String,
    #[serde(default)]
    content: Option<Value>,
    #[serde(default)]
    tool_calls: Option<Vec<Call>>,
    #[serde(default)]
    tool_call_id: Option<String>,
}

#[derive(Deserialize)]
struct Tool {
    function: Offer,
}

#[derive(Deserialize)]
struct Offer {
    name: String,
}

#[derive(Serialize, Deserialize)]
struct Call {
    id: String,
    #[serde(rename = "type")]
    kind: String,
    function: Function,
}

#[derive(Serialize, Deserialize)]
struct Function {
    name: String,
    arguments: String,
}

#[derive(Serialize)]
struct Answer {
    role: &'static str,
    content: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<Call>,
}

impl Answer {
    fn say(text: impl Into<String>) -> Self {
        Self { role: "assistant", content: Some(text.into()), tool_calls: Vec::new() }
    }
}

fn main() -> ExitCode {
    guest::run(answer)
}

fn answer(turn: Turn) -> Result<Answer, String> {
    let last = turn.messages.last().ok_or("there is no message to answer")?;
    let text = last.content.as_ref().map(reply::text).unwrap_or_default();
    match last.role.as_str() {
        "user" => Ok(serve(&turn, text.trim())),
        "tool" => Ok(Answer::say(reply::to_result(called(&turn, last).unwrap_or_default(), &text))),
        role => Err(format!("a message of role `{role}` is not for the clerk")),
    }
}

fn serve(turn: &Turn, text: &str) -> Answer {
    if let Some(csv) = after(text, "count rows:") {
        call(turn, "csv_parser", &json!({ "text": csv }))
    } else if let Some(fact) = after(text, "remember:") {
        let name: Vec<&str> = fact.split_whitespace().take(6).collect();
        let entity = json!({ "name": name.join(" "), "kind": "note", "observations": [fact] });
        call(turn, "memory_write", &entity)
    } else if let Some(words) = after(text, "recall:") {
        call(turn, "memory_search", &json!({ "words": words }))
    } else {
        Answer::say(format!(
            "You said: {text}\nI can `count rows: CSV`, `remember: TEXT` and `recall: WORDS`."
        ))
    }
}

/// What follows `order`, which may be written in capitals.
fn after<'a>(text: &'a str, order: &str) -> Option<&'a str> {
    let head = text.get(..order.len())?;
    head.eq_ignore_ascii_case(order).then(|| text.get(order.len()..).unwrap_or_default().trim())
}

/// Asks for one call, if the function is on offer. The gateway may put the server's name in front of a tool's.
fn call(turn: &Turn, wanted: &str, arguments: &Value) -> Answer {
    let offered = turn.tools.iter().map(|tool| tool.function.name.as_str());
    let Some(name) = offered.filter(|name| is_named(name, wanted)).min_by_key(|name| name.len()) else {
        return Answer::say(format!("I cannot do that: `{wanted}` is not among the functions I was given."));
    };
    let made: usize =
        turn.messages.iter().filter_map(|message| message.tool_calls.as_ref()).map(Vec::len).sum();
    let function = Function { name: name.to_owned(), arguments: arguments.to_string() };
    let call = Call { id: format!("call_{}", made + 1), kind: "function".to_owned(), function };
    Answer { role: "assistant", content: None, tool_calls: vec![call] }
}

/// `wanted` alone or behind a separator: `builtin___csv_parser`, but not `mycsv_parser`.
fn is_named(name: &str, wanted: &str) -> bool {
    name.strip_suffix(wanted).is_some_and(|front| front.is_empty() || !front.ends_with(char::is_alphanumeric))
}

/// The function whose result `message` brings.
fn called<'a>(turn: &'a Turn, message: &Message) -> Option<&'a str> {
    let calls = turn.messages.iter().rev().filter_map(|message| message.tool_calls.as_ref()).flatten();
    let mut named = calls.filter(|call| Some(&call.id) == message.tool_call_id.as_ref());
    named.next().map(|call| call.function.name.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(messages: Value) -> Turn {
        let offer = |name: &str| json!({"type": "function", "function": {"name": name, "parameters": {}}});
        let tools = [offer("builtin___csv_parser"), offer("memory_write"), offer("memory_search")];
        serde_json::from_value(json!({"model": "clerk", "messages": messages, "tools": tools})).unwrap()
    }

    fn asked(text: &str) -> Answer {
        answer(turn(json!([{"role": "user", "content": text}]))).unwrap()
    }

    #[test]
    fn orders_become_calls() {
        let cases = [
            ("Count rows: a\n1", "builtin___csv_parser", json!({"text": "a\n1"})),
            ("recall: tea time", "memory_search", json!({"words": "tea time"})),
            (
                "remember: tea is at four",
                "memory_write",
                json!({"name": "tea is at four", "kind": "note", "observations": ["tea is at four"]}),
            ),
        ];
        for (text, name, arguments) in cases {
            let answer = asked(text);
            assert_eq!(answer.tool_calls[0].function.name, name);
            assert_eq!(
                serde_json::from_str::<Value>(&answer.tool_calls[0].function.arguments).unwrap(),
                arguments
            );
        }
    }

    #[test]
    fn what_is_not_offered_is_not_called() {
        let mut turn = turn(json!([{"role": "user", "content": "count rows: a\n1"}]));
        turn.tools.retain(|tool| tool.function.name != "builtin___csv_parser");
        let answer = answer(turn).unwrap();
        assert!(answer.tool_calls.is_empty());
        assert!(answer.content.unwrap().contains("not among"));
        assert!(!is_named("mycsv_parser", "csv_parser"));
    }

    #[test]
    fn results_become_sentences() {
        let with = |function: &str, content: &str| {
            let call = json!({"id": "call_1", "type": "function", "function": {"name": function, "arguments": "{}"}});
            let messages = json!([
                {"role": "user", "content": "x"},
                {"role": "assistant", "content": null, "tool_calls": [call]},
                {"role": "tool", "tool_call_id": "call_1", "content": content},
            ]);
            answer(turn(messages)).unwrap().content.unwrap()
        };
        let csv = "builtin___csv_parser";
        assert_eq!(with(csv, r#"{"row_count": 1}"#), "The table has 1 row.");
        assert_eq!(with(csv, r#"{"structuredContent": {"row_count": 2}}"#), "The table has 2 rows.");
        assert_eq!(with(csv, "denied by policy"), "That did not work: denied by policy");
        assert_eq!(with("memory_write", r#"{"id": 3}"#), "I will remember that.");
        assert_eq!(with("memory_write", r#"{"error": "denied"}"#), "That did not work: denied");
        assert_eq!(
            with("memory_search", r#"{"entities": [{"observations": ["a", "b"]}]}"#),
            "I remember: a; b"
        );
        assert_eq!(with("memory_search", "[]"), "I remember nothing about that.");
    }

    #[test]
    fn small_talk_and_nonsense() {
        assert!(asked("hello").content.unwrap().starts_with("You said: hello"));
        assert!(answer(turn(json!([]))).is_err());
        assert!(answer(turn(json!([{"role": "system", "content": "x"}]))).is_err());
    }
}
