//! Explanations: what decided, what came near, and what each part came to.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::fs;
use std::path::Path;

use caxton::cli::output::{Exit, Format, Output};
use caxton::cli::policy::{Command, explain as command, run_in};
use caxton::policy::{Bundle, Sources};
use caxton::workbench::explain::{Account, Explanation, PartOutcome, explain};
use caxton::workbench::run::{Settings, SingleRequest, examine};

fn asked(principal: &str, action: &str, resource: &str, context: &str) -> Explanation {
    let request = SingleRequest {
        principal: principal.to_owned(),
        action: action.to_owned(),
        resource: resource.to_owned(),
        context: serde_json::from_str(context).unwrap(),
        ..SingleRequest::default()
    };
    let bundle = Bundle::load(Sources::shipped()).unwrap();
    let (_, questions) = examine(&bundle, &request.into_suites(None).unwrap(), &Settings::default());
    explain(&bundle, &questions).pop().unwrap()
}

/// `(text, value, blocks)` of each part.
fn parts(account: &Account) -> Vec<(&str, PartOutcome, bool)> {
    account.parts.iter().map(|part| (part.text.as_str(), part.value, part.blocks)).collect()
}

#[test]
fn the_policy_that_decided_tells_each_part_and_what_it_looked_at() {
    let found = asked("Agent::\"a\"", "memory:read", "MemoryEntity::\"agent:b/x\"", "{}");
    assert_eq!((found.outcome, found.reason), ("deny_explicit", "forbidden"));
    // An agent of which no file says what it may do is denied by that, too.
    let [without_word, private] = found.decided.as_slice() else { panic!("{:?}", found.decided) };
    assert_eq!((without_word.id.as_str(), without_word.result), ("agents.memory-read", PartOutcome::True));
    assert_eq!(
        (private.id.as_str(), private.effect, private.result),
        ("memory.private", "forbid", PartOutcome::True)
    );
    assert_eq!(
        parts(private),
        [
            ("principal is Caxton::Agent", PartOutcome::True, false),
            ("action in Caxton::Action::\"memory:*\"", PartOutcome::True, false),
            ("resource.scope == \"agent\"", PartOutcome::True, false),
            ("resource has agent", PartOutcome::True, false),
            ("resource.agent == principal", PartOutcome::False, false),
        ]
    );
    let looked = &private.parts[4].looked_at[0];
    assert_eq!(
        (looked.path.as_str(), looked.value.as_deref()),
        ("resource.agent", Some("Caxton::Agent::\"b\""))
    );
    let near = |id: &str| found.near.iter().find(|account| account.id == id).unwrap();
    assert_eq!(
        parts(near("memory.workspace"))[2..],
        [
            ("resource has workspace", PartOutcome::False, true),
            ("principal in resource.workspace", PartOutcome::NotAsked, false)
        ]
    );
    let all = Bundle::load(Sources::shipped()).unwrap().policies().count();
    assert_eq!(found.decided.len() + found.near.len() + found.others, all);
}

#[test]
fn an_unless_that_holds_blocks() {
    let found = asked("Agent::\"a\"", "tool:list", "Gateway::\"g\"", "{}");
    assert_eq!(found.outcome, "allow");
    assert_eq!(found.decided[0].id, "agents.list-tools");
    let inactive = found.near.iter().find(|account| account.id == "agents.inactive").unwrap();
    assert_eq!(inactive.result, PartOutcome::False);
    assert_eq!(parts(inactive)[1], ("principal.status == \"active\"", PartOutcome::True, true));
    // What was allowed needs no other permit: only forbids came near.
    assert!(found.near.iter().all(|account| account.effect == "forbid"));
}

#[test]
fn what_was_denied_names_the_permits_that_one_element_kept_away() {
    let found = asked("Service::\"s\"", "tool:list", "Gateway::\"g\"", "{}");
    assert_eq!((found.outcome, found.decided.len()), ("deny_default", 0));
    let first = &found.near[0];
    assert_eq!(first.effect, "permit");
    let near: Vec<&str> = found.near.iter().map(|account| account.id.as_str()).collect();
    for id in ["agents.list-tools", "permissions.tool:list", "roles.viewer"] {
        assert!(near.contains(&id), "{near:?}");
    }
    assert!(!near.contains(&"permissions.tool:call"), "two elements do not match");
}

#[test]
fn an_error_is_told_with_its_cause() {
    let policy = "@id(\"t.over\")\nforbid (principal, action == Caxton::Action::\"tool:list\", resource)\nwhen { context.session.denied * 9223372036854775807 > 1 };\n";
    let bundle = Bundle::load(Sources::shipped().with_policy("own.cedar", policy)).unwrap();
    let request = SingleRequest {
        principal: "Agent::\"a\"".to_owned(),
        action: "tool:list".to_owned(),
        resource: "Gateway::\"g\"".to_owned(),
        context: serde_json::from_str("{\"session\":{\"denied\":2}}").unwrap(),
        ..SingleRequest::default()
    };
    let (_, questions) = examine(&bundle, &request.into_suites(None).unwrap(), &Settings::default());
    let found = explain(&bundle, &questions).pop().unwrap();
    assert_eq!(found.outcome, "deny_error");
    let over = found.decided.iter().find(|account| account.id == "t.over").unwrap();
    assert_eq!(over.result, PartOutcome::Error);
    assert!(over.parts[1].error.as_ref().unwrap().contains("integer overflow"), "{:?}", over.parts[1]);
    assert_eq!(over.parts[1].looked_at[0].value.as_deref(), Some("2"));
}

/// What the guide shows is what is printed.
#[test]
fn the_guide_is_right() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let guide = fs::read_to_string(root.join("docs/policies.md")).unwrap();
    let block = guide.split("```text\n").find(|block| block.starts_with("$ caxton policy explain")).unwrap();
    let (_, shown) = block.split("```").next().unwrap().split_once('\n').unwrap();
    let bundle = Bundle::load(Sources::shipped()).unwrap();
    let filter = Some("an agent does not call a tool that it was not granted".to_owned());
    let (_, questions) = examine(
        &bundle,
        &caxton::workbench::run::Suites::shipped(),
        &Settings { filter, ..Settings::default() },
    );
    let printed = command::text(&explain(&bundle, &questions)[0], 1);
    let printed = anstream::adapter::strip_str(&printed).to_string();
    assert!(printed.starts_with(shown.trim_end()), "{printed}");
}

// ---- the command ----

fn run(options: command::ExplainOptions) -> anyhow::Result<Exit> {
    run_in(Path::new(env!("CARGO_MANIFEST_DIR")), Command::Explain(options), &Output::new(Format::Json))
}

fn flags(action: &str, context: &str) -> command::ExplainOptions {
    command::ExplainOptions {
        principal: Some("Agent::\"researcher\"".to_owned()),
        action: Some(action.to_owned()),
        resource: Some("Gateway::\"caxton\"".to_owned()),
        context: Some(context.to_owned()),
        near: 1,
        ..command::ExplainOptions::default()
    }
}

#[test]
fn a_request_comes_from_flags_from_a_file_or_from_a_test_and_a_typo_is_an_error() {
    assert_eq!(run(flags("tool:list", "{}")).unwrap(), Exit::Fine);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("request.json");
    fs::write(
        &file,
        r#"{"principal": "Agent::\"x\"", "action": "tool:list", "resource": "Gateway::\"g\"",
        "entities": {"Agent::\"x\"": {"attrs": {"status": "suspended"}}}, "now": "2026-01-10T10:00:00Z"}"#,
    )
    .unwrap();
    let from =
        |request| command::ExplainOptions { request: Some(request), ..command::ExplainOptions::default() };
    assert_eq!(run(from(file.clone())).unwrap(), Exit::Fine);
    let by_test = |text: &str| command::ExplainOptions {
        test: Some(text.to_owned()),
        ..command::ExplainOptions::default()
    };
    assert_eq!(run(by_test("agents: an agent lists tools")).unwrap(), Exit::Fine);

    let refused = |options| run(options).unwrap_err().to_string();
    assert_eq!(refused(flags("tool:lst", "{}")), "there is no action `tool:lst`; did you mean `tool:list`?");
    assert_eq!(
        refused(flags("tool:list", "{\"sistem\":{}}")),
        "there is no key `sistem`; did you mean `system`?"
    );
    assert!(refused(flags("memory:read", "{}")).starts_with("the request does not fit the schema: "));
    assert_eq!(refused(by_test("no such")), "there is no request to explain");
    assert!(refused(by_test("roles")).ends_with("at most 20 are explained in one run"));
    assert!(refused(command::ExplainOptions::default()).starts_with("name a request: "));
    fs::write(&file, "{\"principle\": 1}").unwrap();
    assert!(format!("{:#}", run(from(file)).unwrap_err()).contains("unknown field `principle`"));
}

#[test]
fn entities_come_from_a_file_of_fixtures() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("policy-tests/common.fixtures.yaml");
    let options = command::ExplainOptions { entities: Some(fixtures), ..flags("tool:list", "{}") };
    assert_eq!(run(options).unwrap(), Exit::Fine);
}
