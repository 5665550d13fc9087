//! The official MCP clients of Python and TypeScript, as two callers with different rights, use the tools of a
//! server that is not ours (`@modelcontextprotocol/server-everything`) through a gateway, over both transports;
//! what they may not do they are told, and the decision log says the same.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test that cannot be set up has failed"
)]

mod callers;
mod clients;
mod house;
mod log;

use callers::{Caller, Want, callers};
use clients::{Installed, Seen};
use house::{House, Upstream};
use log::Log;
use serde_json::Value as Json;

/// Whoever has no key learns nothing.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_key_there_is_nothing() {
    let Some(installed) = Installed::find() else { return };
    let house = House::open(Upstream::Stdio, &installed).await;
    for client in installed.clients() {
        let words = client.refused(&house.url(), "cax_live_nobody").await;
        assert!(words.contains("401") || words.to_lowercase().contains("unauthorized"), "{client}: {words}");
    }
    let log = house.close().await;
    assert_eq!(log.decisions().count(), 0, "nobody was asked about");
}

#[tokio::test(flavor = "multi_thread")]
async fn over_stdio() {
    through(Upstream::Stdio).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_streamable_http() {
    through(Upstream::Http).await;
}

async fn through(upstream: Upstream) {
    let Some(installed) = Installed::find() else { return };
    let house = House::open(upstream, &installed).await;
    let clients = installed.clients();
    let mut seen = Vec::new();
    for caller in callers() {
        for client in &clients {
            let key = house.key(caller.who);
            seen.push((
                format!("{client} as {}", caller.who),
                client.run(&house.url(), key, &caller.calls).await,
            ));
        }
    }
    let log = house.close().await;
    let mut seen = seen.iter();
    for caller in callers() {
        for (label, answers) in seen.by_ref().take(clients.len()) {
            check(&caller, answers, &log, label);
        }
        let on_record = log.decisions().filter(|record| {
            record["event_type"] == "tool_call"
                && record["items"].is_null()
                && record["subject"]["principal"] == caller.principal
        });
        assert_eq!(
            on_record.count(),
            caller.calls.len() * clients.len(),
            "{}: one record a decision",
            caller.who
        );
    }
}

/// What one client saw as one caller, against what it should have seen and what the log says.
fn check(caller: &Caller, seen: &Seen, log: &Log, label: &str) {
    assert_eq!(seen.server.as_deref(), Some("caxton"), "{label}");
    let names: Vec<&str> = seen.tools.keys().map(String::as_str).collect();
    assert_eq!(names, caller.sees, "{label}: the list is what may be called");
    assert_eq!(seen.calls.len(), caller.calls.len(), "{label}");
    for (call, answer) in caller.calls.iter().zip(&seen.calls) {
        let label = format!("{label}: {} {}", call.tool, call.arguments);
        match call.want {
            Want::Text(text) => {
                let result = result(answer, false, &label);
                assert_eq!(result["content"][0]["text"], text, "{label}");
                let record = log.decision(&result["_meta"]["caxton/decision_id"], &label);
                assert_eq!(record["outcome"], "allow", "{label}");
                agrees(record, caller, call.tool, &label);
            }
            Want::Denied { says, outcome, policy } => {
                let result = result(answer, true, &label);
                let text = result["content"][0]["text"].as_str().expect("a refusal says why");
                let id = &result["_meta"]["caxton/refusal"]["decision_id"];
                let named = id.as_str().is_some_and(|id| text.contains(id));
                assert!(text.contains(says) && named, "{label}: {text}");
                let record = log.decision(id, &label);
                assert_eq!(record["outcome"], outcome, "{label}");
                assert_eq!(record["policies"][0]["id"], policy.map_or(Json::Null, Json::from), "{label}");
                agrees(record, caller, call.tool, &label);
            }
        }
    }
}

fn result<'a>(answer: &'a Json, is_error: bool, label: &str) -> &'a Json {
    let result = answer.get("result").unwrap_or_else(|| panic!("{label}: {answer}"));
    assert_eq!(result["isError"].as_bool().unwrap_or(false), is_error, "{label}: {answer}");
    result
}

/// The record is about this caller, this tool, and carries no text of the arguments.
fn agrees(record: &Json, caller: &Caller, tool: &str, label: &str) {
    assert_eq!(record["subject"]["principal"], caller.principal, "{label}");
    assert_eq!(record["action"], tool, "{label}");
    assert_eq!(record["resource"], format!("Caxton::Tool::\"{tool}\""), "{label}");
    assert_eq!(record["event_type"], "tool_call", "{label}");
    assert!(!record.to_string().contains(callers::SPOKEN), "{label}: the log holds digests of texts");
}
