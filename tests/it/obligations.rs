//! Obligations of permits, as a caller meets them: what is masked on the way to a tool and back, and what stays on the session.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use reqwest::StatusCode;
use serde_json::{Value as Json, json};

use crate::support::{Credential, World, outcome, write};

/// A gateway whose own policies are these, beside the shipped ones.
async fn world(policies: &'static str) -> (World, Credential) {
    let world = World::with(|settings, directory| {
        let directory = directory.join("policies");
        std::fs::create_dir(&directory).unwrap();
        write(&directory.join("house.cedar"), policies);
        settings.policy_dir = Some(directory);
    })
    .await;
    let caller = world.service("clerk", &[]);
    (world, caller)
}

const CALL: &str = "/v1/tools/builtin/csv_parser/call";

async fn call(world: &World, caller: &Credential, text: &str) -> (StatusCode, Json, Json) {
    let answer = world.post(caller, CALL, &json!({ "arguments": { "text": text } })).await;
    let record = world.records().into_iter().next_back().unwrap();
    (answer.status, answer.json(), record)
}

#[tokio::test]
async fn what_a_permit_redacts_leaves_in_no_part_of_the_result() {
    let (world, caller) = world(
        "@id(\"house.rows\") @description(\"Rows without numbers.\") @redact(\"/rows/*/1\")\npermit (principal, action in Caxton::Action::\"tool:call\", resource);\n",
    )
    .await;
    let (status, answer, record) = call(&world, &caller, "name,ssn\nann,123-45\nbob,678-90\n").await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let text = answer.to_string();
    assert!(text.contains("ann") && text.contains("bob") && text.contains("[redacted]"), "{text}");
    assert!(!text.contains("123-45") && !text.contains("678-90"), "{text}");
    assert_eq!(record["obligations"], json!(["redact:/rows/*/1"]), "{record}");
    world.stop().await;
}

#[tokio::test]
async fn an_argument_is_redacted_before_the_tool_has_it() {
    let (world, caller) = world(
        "@id(\"house.text\") @description(\"No text at all.\") @redact(\"/text\")\npermit (principal, action in Caxton::Action::\"tool:call\", resource);\n",
    )
    .await;
    let (status, answer, record) = call(&world, &caller, "name,ssn\nann,123-45\n").await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert!(answer.to_string().contains("[redacted]") && !answer.to_string().contains("ann"), "{answer}");
    assert_eq!(outcome(&record), ("allow", "permitted"));
    world.stop().await;
}

/// Of two permits that allow one call both obligations hold.
#[tokio::test]
async fn a_label_stays_on_the_session_and_a_policy_sees_it_from_then_on() {
    let (world, caller) = world(
        "@id(\"house.call\") @description(\"Reads people.\") @label(\"pii hr\")\npermit (principal, action in Caxton::Action::\"tool:call\", resource);\n\
         @id(\"house.once\") @description(\"Not after people were read.\") @reason(\"people were read\")\nforbid (principal, action in Caxton::Action::\"tool:call\", resource) when { context.session.labels.contains(\"pii\") };\n",
    )
    .await;
    let (status, answer, record) = call(&world, &caller, "a\n1\n").await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert_eq!(record["obligations"], json!(["label:hr", "label:pii"]), "{record}");
    let (status, answer, record) = call(&world, &caller, "a\n1\n").await;
    assert_eq!(
        (status, outcome(&record)),
        (StatusCode::FORBIDDEN, ("deny_explicit", "forbidden")),
        "{answer}"
    );
    world.stop().await;
}

/// Only a tool call can be redacted; elsewhere the permit would allow more than its author wrote.
#[tokio::test]
async fn a_permit_that_redacts_allows_nothing_that_cannot_be_redacted() {
    let (world, caller) = world(
        "@id(\"house.all\") @description(\"Everything, without numbers.\") @redact(\"/ssn\")\npermit (principal, action, resource);\n",
    )
    .await;
    let answer = world.get(&caller, "/v1/policies").await;
    let record = world.records().into_iter().next_back().unwrap();
    assert_eq!(answer.status, StatusCode::FORBIDDEN, "{answer:?}");
    assert_eq!(outcome(&record), ("deny_error", "obligation_unsupported"), "{record}");
    world.stop().await;
}
