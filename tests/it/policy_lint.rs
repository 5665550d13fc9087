//! Lint: each rule finds its bad example and nothing else, no rule finds its good one or the shipped set.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::fs;

use crate::support::golden::golden;
use caxton::cli::output::{Exit, Format, Output};
use caxton::cli::policy::{Command, PolicyFolders, lint as command, run_in};
use caxton::policy::{Bundle, SourceKind, Sources};
use caxton::workbench::lint::{RULES, lint, page};
use caxton::workbench::run::{Settings, Suites, examine};

/// The built-in schema with one text of policies.
fn set(policies: &str) -> Bundle {
    let schema = Sources::new().with_shipped(SourceKind::Schema);
    Bundle::load(schema.with_policy("a.cedar", policies)).unwrap()
}

fn ids(bundle: &Bundle) -> Vec<&'static str> {
    lint(bundle, None).iter().map(|found| found.rule.id).collect()
}

#[test]
fn each_rule_finds_its_bad_example_and_leaves_its_good_one() {
    let named = |rule: &&caxton::workbench::lint::Rule| {
        !["missing-test", "unknown-name"].contains(&rule.id) && !rule.bad.is_empty()
    };
    for rule in RULES.iter().filter(named) {
        let example = |text: &str| set(&format!("@id(\"example.first\")\n{text}\n"));
        assert_eq!(ids(&example(rule.bad)), [rule.id], "{}", rule.bad);
        assert!(ids(&example(rule.good)).is_empty(), "{}: {:?}", rule.id, ids(&example(rule.good)));
    }
}

/// `unknown-name` compares with the tests, so its examples need some.
#[test]
fn a_name_that_no_test_has_is_found_with_the_nearest_one() {
    let rule = RULES.iter().find(|rule| rule.id == "unknown-name").unwrap();
    let mut suites = Suites::default();
    let tests = "suite: s
entities: { Workspace::\"support\": {}, Agent::\"a\": { in: [Workspace::\"support\"] }, Gateway::\"g\": {} }
tests:
  - name: t
    request: { principal: Agent::\"a\", action: tool:list, resource: Gateway::\"g\" }
    expect: { outcome: ";
    let found = |policy: &str, outcome: &str| -> Vec<String> {
        let bundle = set(&format!("@id(\"t.a\")\n{policy}\n"));
        suites.add("a.test.yaml", format!("{tests}{outcome} }}\n"));
        let (_, questions) = examine(&bundle, &suites, &Settings::default());
        lint(&bundle, Some(&questions))
            .iter()
            .map(|one| format!("{}: {}", one.rule.id, one.problem.message))
            .collect()
    };
    let mut found = found;
    let bad = found(rule.bad, "deny_default");
    assert_eq!(
        bad,
        [
            "unknown-name: no test lists `Workspace::\"suport\"`; did you mean `Workspace::\"support\"`?",
            "missing-test: no test in which `t.a` holds",
        ]
    );
    assert!(found(rule.good, "allow").is_empty());
    // In a condition, and a permission word, which the schema has.
    let condition = "permit (principal in Caxton::Role::\"tool:list\", action == Caxton::Action::\"tool:list\", resource) when { principal in Caxton::Group::\"x\" };";
    assert_eq!(
        found(condition, "deny_default").first().unwrap(),
        "unknown-name: no test lists `Group::\"x\"`"
    );
}

#[test]
fn a_policy_in_another_file_than_its_name_says_is_found() {
    let schema = Sources::new().with_shipped(SourceKind::Schema);
    let one = |id: &str| {
        format!(
            "@id(\"{id}\") permit (principal is Caxton::Agent, action == Caxton::Action::\"tool:list\", resource) when {{ principal.signed }};"
        )
    };
    let bundle = Bundle::load(
        schema
            .with_policy("support.cedar", &one("finance.a"))
            .with_policy("finance.cedar", &one("finance.b")),
    );
    assert_eq!(ids(&bundle.unwrap()), ["other-file"]);
}

#[test]
fn nothing_is_found_in_the_shipped_policies() {
    let bundle = Bundle::load(Sources::shipped()).unwrap();
    let (_, questions) = examine(&bundle, &Suites::shipped(), &Settings::default());
    let found: Vec<_> = lint(&bundle, Some(&questions)).iter().map(|one| one.problem.to_string()).collect();
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn a_policy_that_holds_in_no_test_is_found_where_there_are_tests() {
    let own = "@id(\"own.idle\")\npermit (principal is Caxton::System, action == Caxton::Action::\"config:read\", resource);\n";
    let bundle = Bundle::load(Sources::shipped().with_policy("own.cedar", own)).unwrap();
    let (_, questions) = examine(&bundle, &Suites::shipped(), &Settings::default());
    let found = lint(&bundle, Some(&questions));
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].rule.id, found[0].problem.policy.as_deref()), ("missing-test", Some("own.idle")));
    assert_eq!(found[0].problem.position().unwrap().line, 2);
    assert!(lint(&bundle, None).is_empty());
}

#[test]
fn edges_of_the_rules() {
    let list = "action == Caxton::Action::\"tool:list\"";
    let cases: &[(&str, &[&str])] = &[
        // Comparing with a literal cannot fail, reckoning can.
        (
            &format!(
                "forbid (principal, {list}, resource) when {{ context.source.ip.isInRange(ip(\"10.0.0.0/8\")) }};"
            ),
            &[],
        ),
        (
            &format!(
                "forbid (principal, {list}, resource) when {{ context.system.now.offset(duration(\"1h\")) > datetime(\"2026-01-01\") }};"
            ),
            &["forbid-can-err"],
        ),
        // What fails in a permit grants nothing.
        (&format!("permit (principal, {list}, resource) when {{ context.session.denied + 1 > 3 }};"), &[]),
        // The same part in two branches is no copy.
        (
            &format!(
                "permit (principal, {list}, resource) when {{ (context.source.tls && context.source.mtls) || (context.source.tls && context.system.hour > 5) }};"
            ),
            &[],
        ),
        (
            &format!(
                "permit (principal, {list}, resource) when {{ (context.source.tls && context.source.tls) || context.source.mtls }};"
            ),
            &["repeated-part"],
        ),
        (&format!("permit (principal, {list}, resource) when {{ !(true) }};"), &["constant-condition"]),
        // A pattern about something else than a URL is fine.
        (&format!("permit (principal, {list}, resource) when {{ context.session.id like \"s-*\" }};"), &[]),
        // Of two that say the same, the second is named; another role is not the same.
        (
            &format!(
                "permit (principal, {list}, resource);\n@id(\"t.b\") permit (principal, {list}, resource);"
            ),
            &["shadowed"],
        ),
        (
            &format!(
                "permit (principal in Caxton::Role::\"a\", {list}, resource);\n@id(\"t.b\") permit (principal in Caxton::Role::\"b\", {list}, resource);"
            ),
            &[],
        ),
        // A condition on the wider one leaves room for the other, which it does not limit.
        (
            &format!(
                "permit (principal, {list}, resource) when {{ context.source.tls }};\n@id(\"t.b\") permit (principal is Caxton::Agent, {list}, resource);"
            ),
            &["bypassed-limit"],
        ),
        // A broader permit that looks at the same, or that is for a group of its own, bypasses nothing.
        (
            &format!(
                "permit (principal is Caxton::Agent, {list}, resource) when {{ context.source.tls }};\n@id(\"t.b\") permit (principal, {list}, resource) when {{ context.source.tls || context.source.mtls }};"
            ),
            &["bypassed-limit"],
        ),
        (
            &format!(
                "permit (principal is Caxton::Agent, {list}, resource) when {{ context.source.tls }};\n@id(\"t.b\") permit (principal in Caxton::Role::\"a\", {list}, resource);"
            ),
            &[],
        ),
        // A watcher does not stand in for one that decides.
        (
            &format!(
                "@mode(\"log_only\") permit (principal, {list}, resource);\n@id(\"t.b\") permit (principal, {list}, resource);"
            ),
            &[],
        ),
        // Only agents call the model, so both say the same.
        (
            "permit (principal, action == Caxton::Action::\"model:call\", resource);\n@id(\"t.b\") permit (principal is Caxton::Agent, action == Caxton::Action::\"model:call\", resource is Caxton::Model);",
            &["shadowed"],
        ),
        ("forbid (principal, action, resource) when { context.system.lockdown };", &[]),
    ];
    for (text, wanted) in cases {
        assert_eq!(ids(&set(&format!("@id(\"t.a\") {text}\n"))), *wanted, "{text}");
    }
}

/// The page is made from the rules; `UPDATE_GOLDEN=1` writes it.
#[test]
fn the_page_has_every_rule() {
    golden("docs/lint.md", &page());
}

#[test]
fn exit_codes_and_sarif() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    let run = |options: command::LintOptions| {
        run_in(folder.path(), Command::Lint(options), &Output::new(Format::Table))
    };
    write(
        "policies/a.cedar",
        "@id(\"t.a\")\npermit (principal, action, resource)\nwhen { context.source.mtls };\n",
    );
    let sarif = folder.path().join("lint.sarif");
    let options = command::LintOptions { sarif: Some(sarif.clone()), ..command::LintOptions::default() };
    assert_eq!(run(options).unwrap(), Exit::Found);
    let written: serde_json::Value = serde_json::from_str(&fs::read_to_string(sarif).unwrap()).unwrap();
    assert_eq!(written["version"], "2.1.0");
    let result = &written["runs"][0]["results"][0];
    assert_eq!(result["ruleId"], "open-permit");
    let place = &result["locations"][0]["physicalLocation"];
    assert!(place["artifactLocation"]["uri"].as_str().unwrap().ends_with("policies/a.cedar"));
    assert_eq!(
        (place["region"]["startLine"].as_u64(), place["region"]["startColumn"].as_u64()),
        (Some(2), Some(9))
    );
    assert_eq!(written["runs"][0]["tool"]["driver"]["rules"].as_array().unwrap().len(), RULES.len());

    let without =
        |id: &str| command::LintOptions { without: vec![id.to_owned()], ..command::LintOptions::default() };
    assert_eq!(run(without("open-permit")).unwrap(), Exit::Fine);
    assert!(
        run(without("open-permits")).unwrap_err().to_string().starts_with("there is no rule `open-permits`")
    );
    write("policies/a.cedar", "permit (principal, action, resource);");
    assert_eq!(
        run(command::LintOptions { folders: PolicyFolders::default(), ..command::LintOptions::default() })
            .unwrap(),
        Exit::Usage
    );
}
