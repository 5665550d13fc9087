//! Cedar's own test data through our evaluator: the same decision, the same determining policies and the same
//! erring policies as recorded. Then with the fail-closed rule, which may only turn an allow into a deny, and
//! only where a forbid erred. The data is not part of this project: without it the test says so and skips.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "data that cannot be read has failed the test"
)]

use crate::support::cedar_data as data;
use std::collections::BTreeSet;

use crate::support::cedar_data::Files;
use caxton::model::{EntityUid, Outcome, ReasonCode};
use caxton::policy::{Bundle, Effect, EntityCheck, JsonNames, Sources};
use caxton::workbench::run::{Settings, Suites, run as run_tests};
use serde_json::{Value, json};

#[derive(Debug, Default, PartialEq)]
struct Counts {
    files: usize,
    requests: usize,
    with_errors: usize,
    denied_by_rule: usize,
    as_peer_cases: usize,
}

fn set_of(texts: &Value) -> BTreeSet<String> {
    texts.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
}

/// Runs one case file; panics with the case's name where we differ from what is recorded.
fn run(name: &str, files: &Files, counts: &mut Counts) {
    let case: Value = serde_json::from_str(&files[name]).unwrap();
    let text = |key: &str| files[case[key].as_str().unwrap()].as_str();
    let sources = Sources::new().with_schema("case.cedarschema", text("schema"));
    let bundle = Bundle::insecure_load_as_cedar(sources.with_policy("case.cedar", text("policies")));
    let bundle = bundle.unwrap_or_else(|errors| panic!("{name}: {errors}"));
    let entities = bundle.entities_from_json(text("entities"), EntityCheck::Schema);
    let entities = entities.unwrap_or_else(|error| panic!("{name}: {error}"));
    counts.files += 1;
    for request in case["requests"].as_array().unwrap() {
        let label = format!("{name}: {}", request["description"]);
        let (principal, action, resource) = (&request["principal"], &request["action"], &request["resource"]);
        let names = JsonNames { principal, action, resource };
        let check = match request.get("validateRequest").and_then(Value::as_bool) {
            Some(false) => EntityCheck::Nothing,
            _ => EntityCheck::Schema,
        };
        let query = bundle.query_from_json(&names, request["context"].clone(), &entities, check);
        let query = query.unwrap_or_else(|error| panic!("{label}: {error}"));

        let answer = bundle.decide_as_cedar(&query);
        assert_eq!(answer.allow, request["decision"] == "allow", "{label}: decision");
        assert_eq!(answer.reasons, set_of(&request["reason"]), "{label}: determining policies");
        assert_eq!(answer.errors, set_of(&request["errors"]), "{label}: errors");

        let verdict = bundle.decide_json(&query);
        let allowed = verdict.outcome == Outcome::Allow;
        if allowed != answer.allow {
            let erred = |id: &String| bundle.policy(id).unwrap().effect == Effect::Forbid;
            assert!(!allowed && answer.errors.iter().any(erred), "{label}: only an erring forbid may differ");
            assert_eq!(verdict.outcome, Outcome::DenyError, "{label}");
            assert_eq!(verdict.reason, ReasonCode::PolicyError, "{label}");
            counts.denied_by_rule += 1;
        }
        counts.requests += 1;
        counts.with_errors += usize::from(!answer.errors.is_empty());
    }
    as_peer_cases(name, &bundle, &case, text("entities"), counts);
}

/// The same requests as `caxton policy test` takes them from a team that comes with `cedar run-tests`.
fn as_peer_cases(name: &str, bundle: &Bundle, case: &Value, entities: &str, counts: &mut Counts) {
    let entities: Value = serde_json::from_str(entities).unwrap();
    let uid = |name: &Value| {
        let text = |key: &str| name[key].as_str().unwrap();
        EntityUid::new(text("type"), text("id")).to_string()
    };
    let requests = case["requests"].as_array().unwrap().iter();
    // A test has to fit the schema, whatever its file says.
    let fitting = requests.filter(|request| request["validateRequest"] != false);
    let cases: Vec<Value> = fitting
        .map(|request| {
            let (principal, action) = (uid(&request["principal"]), uid(&request["action"]));
            let (resource, context) = (uid(&request["resource"]), &request["context"]);
            json!({
                "request": { "principal": principal, "action": action, "resource": resource, "context": context },
                "entities": entities,
                "decision": request["decision"],
                "reason": request["reason"],
                "num_errors": request["errors"].as_array().unwrap().len(),
            })
        })
        .collect();
    let mut suites = Suites::default();
    suites.add("cases.json", Value::Array(cases.clone()).to_string());
    let report = run_tests(bundle, &suites, &Settings::default());
    let summary = report.summary();
    let expected = (cases.len(), 0, 0, cases.len());
    let found = (summary.passed, summary.failed, summary.broken, summary.rows);
    assert_eq!(found, expected, "{name}: {:?}", report.suites);
    counts.as_peer_cases += cases.len();
}

fn run_all(files: &Files) -> Counts {
    let mut counts = Counts::default();
    for name in data::cases(files) {
        run(name, files, &mut counts);
    }
    println!(
        "{} files, {} requests, {} of them with errors, {} as cases of `policy test`; the fail-closed rule denies {} that Cedar allows",
        counts.files, counts.requests, counts.with_errors, counts.as_peer_cases, counts.denied_by_rule
    );
    counts
}

#[test]
fn the_corpus_gives_what_is_recorded() {
    let Some(files) = data::corpus() else { return };
    let counts = run_all(&files);
    assert_eq!((counts.files, counts.requests), (1010, 8080), "the corpus is not whole");
}

#[test]
fn the_handwritten_cases_give_what_is_recorded() {
    let Some(files) = data::handwritten() else { return };
    let counts = run_all(&files);
    assert_eq!((counts.files, counts.requests), (22, 74), "the cases are not whole");
}
