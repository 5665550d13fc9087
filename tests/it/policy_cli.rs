//! The shipped policies and the workbench: every policy is tested, every mistake is named with its place.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "helpers of tests")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::support::golden::golden;
use caxton::cli::output::{Exit, Format, Output};
use caxton::cli::policy::{Command, FromLog, PolicyFolders, WorldOptions, render, run_in};
use caxton::cli::policy::{coverage, lint};
use caxton::policy::{Bundle, Effect, SourceKind, Sources};
use caxton::workbench::diagnostics::{Finding, in_order, render as render_problem};
use caxton::workbench::run::{Report, Settings, Suites, TestResult, run};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn shipped() -> Bundle {
    Bundle::load(Sources::shipped()).unwrap()
}

/// Without colours.
fn plain(text: &str) -> String {
    anstream::adapter::strip_str(text).to_string()
}

/// Runs one suite against the shipped policies.
fn report_of(text: &str) -> Report {
    let mut suites = Suites::default();
    suites.add("a.test.yaml", text);
    run(&shipped(), &suites, &Settings::default())
}

// ---- the shipped set ----

#[test]
fn the_shipped_tests_pass_from_files_and_from_the_program() {
    let from_files = Sources::from_dirs(&root().join("policies"), &root().join("schemas")).unwrap();
    let names = |sources: &Sources| -> Vec<(SourceKind, String, String)> {
        sources.iter().map(|one| (one.kind, one.name.to_string(), one.text.to_string())).collect()
    };
    assert_eq!(names(&from_files), names(&Sources::shipped()), "a file is not built in");
    let bundle = shipped();
    assert!(bundle.warnings().is_empty(), "{:?}", bundle.warnings());
    for suites in [Suites::shipped(), Suites::from_dir(&root().join("policy-tests")).unwrap()] {
        let report = run(&bundle, &suites, &Settings::default());
        let summary = report.summary();
        assert_eq!((summary.failed, summary.broken), (0, 0), "{}", render::report(&report));
        assert_eq!(report.suites.len(), 11, "a test file is not built in");
        assert!(summary.rows > 450);
    }
}

#[test]
fn every_shipped_policy_decides_in_a_test() {
    let bundle = shipped();
    let report = run(&bundle, &Suites::shipped(), &Settings::default());
    let tests = report.suites.iter().flat_map(|suite| &suite.tests);
    let decided: BTreeSet<&str> = tests.flat_map(|test| &test.decided_by).map(String::as_str).collect();
    let idle: Vec<&str> =
        bundle.policies().map(|policy| policy.id.as_ref()).filter(|id| !decided.contains(id)).collect();
    assert!(idle.is_empty(), "no test lets these decide: {idle:?}");
}

/// Each rule has a case in which it does not hold: without its scope and conditions, its own suite fails.
#[test]
fn no_shipped_policy_could_hold_always() {
    let shipped_sources = Sources::shipped();
    for policy in shipped().policies() {
        let id = policy.id.as_ref();
        // The words are alike, and `permissions.test.yaml` has a row for each that is denied.
        if id.starts_with("permissions.") && id != "permissions.*" && id != "permissions.tool:call" {
            continue;
        }
        let effect = match policy.effect {
            Effect::Permit => "permit",
            Effect::Forbid => "forbid",
        };
        let widened = format!("@id(\"{id}\")\n{effect} (principal, action, resource);\n");
        let sources = shipped_sources.iter().fold(Sources::new(), |sources, source| match source.kind {
            SourceKind::Schema => sources.with_schema(&source.name, &source.text),
            SourceKind::Policy => {
                sources.with_policy(&source.name, &source.text.replace(policy.text(), &widened))
            }
            SourceKind::Links => sources.with_links_file(&source.name, &source.text),
        });
        let topic = id.split('.').next().unwrap();
        let file = root().join(format!("policy-tests/{topic}.test.yaml"));
        let report =
            run(&Bundle::load(sources).unwrap(), &Suites::from_files(&[file]).unwrap(), &Settings::default());
        // `roles.admin` and `*` hold for every action: their suites tell them by their principal.
        assert!(report.summary().failed > 0, "no test of `{topic}` notices that `{id}` holds always");
    }
}

#[test]
fn every_shipped_policy_is_named_after_its_file_and_explains_itself() {
    for policy in shipped().policies() {
        let topic = Path::new(policy.file.as_ref()).file_stem().unwrap().to_str().unwrap();
        assert!(policy.id.starts_with(&format!("{topic}.")), "`{}` stands in `{}`", policy.id, policy.file);
        assert!(policy.annotations.get("description").is_some(), "`{}` has no description", policy.id);
        let tells = policy.annotations.get("reason").is_some();
        assert_eq!(
            tells,
            policy.effect == Effect::Forbid,
            "`{}`: a forbid has a reason, a permit none",
            policy.id
        );
    }
}

#[test]
fn every_permission_word_of_the_schema_has_its_policy() {
    let bundle = shipped();
    let schema = fs::read_to_string(root().join("schemas/caxton.cedarschema")).unwrap();
    let quoted = schema.split('"').skip(1).step_by(2);
    let words: BTreeSet<&str> = quoted.filter(|word| word.contains(':') || *word == "*").collect();
    // Agents' turns are no permission of a key, and a cluster has no actions yet. Who changes what is known of others
    // decides what they may: only administrators do. And `http:*` is about programs of the operator's own, whose rules
    // are the operator's own.
    let mut without: BTreeSet<&str> =
        ["model:*", "model:call", "cluster:*", "entity:*", "entity:write", "entity:import"].into();
    // Keys and the sessions of others are for administrators, own tokens for whoever has a key: no word gives them.
    // A task is followed by whoever began it, and nobody else can name it.
    without.extend(words.iter().filter(|word| word.starts_with("auth:") || word.starts_with("task:")));
    for word in &words {
        let has = bundle.policy(&format!("permissions.{word}")).is_some();
        assert_eq!(has, !without.contains(word) && !word.starts_with("http:"), "`{word}`");
    }
    assert!(words.len() > 40);
}

/// What the guide shows is what happens.
#[test]
fn the_guide_is_right() {
    let guide = fs::read_to_string(root().join("docs/policies.md")).unwrap();
    let block = |language: &str| {
        guide.split(&format!("```{language}\n")).nth(1).unwrap().split("```").next().unwrap()
    };
    let bundle = Bundle::load(Sources::shipped().with_policy("own.cedar", block("cedar"))).unwrap();
    let mut suites = Suites::default();
    suites.add("own.test.yaml", block("yaml"));
    let report = run(&bundle, &suites, &Settings::default());
    assert_eq!(report.summary().passed, 2, "{}", render::report(&report));

    let console = block("console");
    let files = Sources::shipped().iter().count();
    assert!(console.contains(&format!("valid: {} policies in {files} files", shipped().policies().count())));
    let summary = run(&shipped(), &Suites::shipped(), &Settings::default()).summary();
    let told = format!("{} passed ({} rows", summary.passed, summary.rows);
    assert!(console.contains(&told), "{summary:?}");
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    assert!(readme.contains(&told), "README.md: {summary:?}");
}

// ---- mistakes in tests ----

#[test]
fn a_typo_never_passes() {
    let cases = [
        ("requst: {}", "unknown field `requst`, expected one of"),
        (
            "request: { principal: Agent::\"a\", action: tool:lst, resource: Gateway::\"g\" }",
            "there is no action `tool:lst`",
        ),
        (
            "request: { principal: Agnet::\"a\", action: tool:list, resource: Gateway::\"g\" }",
            "there is no entity type `Agnet`",
        ),
        (
            "request: { principal: a, action: tool:list, resource: Gateway::\"g\" }",
            "`a` is not the name of an entity",
        ),
        (
            "request: { principal: Agent::\"aa\", action: tool:list, resource: Gateway::\"g\" }",
            "`Agent::\"aa\"` is not listed under `entities`",
        ),
        (
            "request: { principal: Agent::\"a\", action: tool:list, resource: Gateway::\"g\", context: { sistem: {} } }",
            "there is no key `sistem`",
        ),
        (
            "request: { principal: Agent::\"a\", action: tool:list, resource: Gateway::\"g\", context: { system: { hour: '9' } } }",
            "`context.system.hour` is \"9\", the schema wants Long",
        ),
        (
            "request: { principal: Agent::\"a\", action: tool:list, resource: Gateway::\"g\", context: { screening: { score: 0.12345 } } }",
            "`context.screening.score` is 0.12345, the schema wants decimal",
        ),
        (
            "request: { principal: Agent::\"a\", action: tool:list, resource: Gateway::\"g\", context: { actor: { user: User::\"u\" } } }",
            "`User::\"u\"` is not listed under `entities`",
        ),
        (
            "request: { principal: Agent::\"a\", action: tool:list, resource: Gateway::\"g\", context: { actor: { scopes: [], usr: User::\"u\" } } }",
            "there is no key `usr`",
        ),
        (
            "request: { principal: Agent::\"a\", action: tool:call, resource: Gateway::\"g\" }",
            "`tool:call` is a group of actions, and a request is for one action",
        ),
        (
            "request: { principal: Agent::\"a\", action: tool:list, resource: Agent::\"a\" }",
            "the request does not fit the schema: ",
        ),
        (
            "request: { principal: Agent::\"a\", action: tool:list, resource: 'Gateway::\"${g}\"' }",
            "`${g}` is not in the matrix of this test",
        ),
        (
            "matrix: { g: [g], h: [1] }\n    request: { principal: Agent::\"a\", action: tool:list, resource: 'Gateway::\"${g}\"' }",
            "the matrix key `h` is not used in this test",
        ),
        (
            "matrix: 3\n    request: { principal: Agent::\"a\", action: tool:list, resource: Gateway::\"g\" }",
            "`matrix` is either lists by name, or a list of rows",
        ),
        (
            "matrix: { a: [] }\n    request: { principal: Agent::\"a\", action: tool:list, resource: Gateway::\"g\" }",
            "`matrix` is either lists by name, or a list of rows",
        ),
        (
            "entities: { Agent::\"a\": { attrs: { signed: false } } }\n    request: { principal: Agent::\"a\", action: tool:list, resource: Gateway::\"g\" }",
            "`Agent::\"a\"` is described twice",
        ),
        (
            "entities: { Agent::\"b\": { attrs: { tolls: [] } } }\n    request: { principal: Agent::\"a\", action: tool:list, resource: Gateway::\"g\" }",
            "there is no attribute `tolls`",
        ),
        (
            "entities: { Agent::\"b\": { in: [Workspace::\"w\"] } }\n    request: { principal: Agent::\"a\", action: tool:list, resource: Gateway::\"g\" }",
            "`Workspace::\"w\"` is not listed under `entities`",
        ),
        (
            "entities: { Agent::\"b\": { in: [Gateway::\"g\"] } }\n    request: { principal: Agent::\"a\", action: tool:list, resource: Gateway::\"g\" }",
            "a `Agent` cannot be in a `Gateway`",
        ),
        (
            "entities: { Agent::\"b\": { tags: { t: [x] } } }\n    request: { principal: Agent::\"a\", action: tool:list, resource: Gateway::\"g\" }",
            "there is no tag `t`",
        ),
        (
            "search: { principal: Agent::\"a\", action: tool:list, resource: Gateway }",
            "a search expects `exactly: [...]`",
        ),
        ("", "a test has either `request` or `search`"),
    ];
    for (test, message) in cases {
        let text = format!(
            "suite: s\nentities: {{ Agent::\"a\": {{}}, Gateway::\"g\": {{}} }}\ntests:\n  - name: t\n    {test}\n    expect: {{ outcome: allow }}\n"
        );
        let problem = only_problem(&report_of(&text));
        assert!(problem.0.starts_with(message), "{test}\n  gave: {}", problem.0);
        assert!((4..=6).contains(&problem.1), "{test}: line {}", problem.1);
    }
}

#[test]
fn an_expectation_that_means_nothing_is_an_error() {
    let cases = [
        ("{ outcome: allowed }", "there is no outcome `allowed`"),
        ("{ policies: [agents.list-tools] }", "a request expects an `outcome`"),
        ("{ outcome: allow, exactly: [] }", "`exactly` goes with a search"),
        ("{ outcome: allow, policies: [agents.list-tool] }", "there is no policy `agents.list-tool`"),
        ("{ outcome: allow, polices: [] }", "unknown field `polices`"),
    ];
    for (expect, message) in cases {
        let text = format!(
            "suite: s\nentities: {{ Agent::\"a\": {{}}, Gateway::\"g\": {{}} }}\ntests:\n  - name: t\n    request: {{ principal: Agent::\"a\", action: tool:list, resource: Gateway::\"g\" }}\n    expect: {expect}\n"
        );
        assert!(only_problem(&report_of(&text)).0.starts_with(message), "{expect}");
    }
}

#[test]
fn a_file_that_is_not_a_suite_runs_nothing_and_says_where() {
    let deep = format!("suite: s\ntests: {}{}\n", "[".repeat(40), "]".repeat(40));
    let long = format!("suite: s\ntests: []\n#{}\n", "x".repeat(256 * 1024));
    let cases: [(&str, &str, u64); 15] = [
        (
            "suite: s\nprove: [{ never_errors: all, none_needless: all }]\ntests: []\n",
            "a statement states exactly one thing",
            2,
        ),
        (
            "suite: s\ntests: []\ngate: { clause_coverage: 101 }\n",
            "a gate is a number of per cent, from 0 to 100",
            3,
        ),
        ("suite: s\ntests: []\nentitees: {}\n", "unknown field `entitees`", 3),
        ("suite: s\ntests: []\nsuite: t\n", "the key `suite` is there twice", 3),
        (
            "suite: s\nentities:\n  Agent::\"a\": {}\n  Agent::\"a\": {}\ntests: []\n",
            "the key `Agent::\"a\"` is there twice",
            4,
        ),
        (
            "suite: s\nentities: { Agent::\"a\": { attrs: { version: a, version: b } } }\ntests: []\n",
            "the key `version` is there twice",
            2,
        ),
        ("suite: &s s\ntests: []\n", "anchors and aliases are not allowed", 1),
        ("suite: s\nnow: tomorrow\ntests: []\n", "`now` is tomorrow, the schema wants an instant", 2),
        (
            "suite: s\nfixtures: [../x.fixtures.yaml]\ntests: []\n",
            "the fixture file `../x.fixtures.yaml` cannot be used: it has to lie beside",
            2,
        ),
        (
            "suite: s\nfixtures: [/etc/passwd]\ntests: []\n",
            "the fixture file `/etc/passwd` cannot be used: it has to lie beside",
            2,
        ),
        (
            "suite: s\nfixtures: [passwd]\ntests: []\n",
            "the fixture file `passwd` cannot be used: its name has to end",
            2,
        ),
        (
            "suite: s\nfixtures: [no.fixtures.yaml]\ntests: []\n",
            "the fixture file `no.fixtures.yaml` cannot be used: there is no such file",
            2,
        ),
        ("suite: s\ntests: []\n---\nsuite: t\n", "there is more than one document", 3),
        (&deep, "the file is too large or nested too deeply", 2),
        (&long, "the file has 262165 bytes, at most 262144 are read", 0),
    ];
    for (text, message, line) in cases {
        let report = report_of(text);
        let problem = report.suites[0].problem.as_ref().unwrap_or_else(|| panic!("accepted: {text}"));
        let shown: String = text.chars().take(80).collect();
        assert!(problem.message.starts_with(message), "{shown}\n  gave: {}", problem.message);
        assert_eq!(problem.line, line, "{shown}");
        assert_eq!(report.summary().broken, 1);
    }
}

/// Test files come from anybody: whatever is done to one, the run ends with a report.
#[test]
fn a_damaged_file_gives_a_report() {
    let bundle = shipped();
    let text = fs::read_to_string(root().join("policy-tests/messages.test.yaml")).unwrap();
    let fixtures = fs::read_to_string(root().join("policy-tests/common.fixtures.yaml")).unwrap();
    for (index, _) in text.char_indices().step_by(101) {
        let (head, tail) = text.split_at(index);
        for damaged in [
            head.to_owned(),
            format!("{head}\u{0}{tail}"),
            format!("{head}{{[{tail}"),
            format!("{head}&{tail}"),
        ] {
            let mut suites = Suites::default();
            suites.add("a.test.yaml", damaged);
            suites.add("common.fixtures.yaml", fixtures.as_str());
            let report = run(&bundle, &suites, &Settings::default());
            assert_eq!(report.suites.len(), 1);
            assert!(!render::report(&report).is_empty());
        }
    }
}

#[test]
fn two_tests_of_one_name_are_refused() {
    let test = "  - name: t\n    request: { principal: Agent::\"a\", action: tool:list, resource: Gateway::\"g\" }\n    expect: { outcome: allow }\n";
    let text =
        format!("suite: s\nentities: {{ Agent::\"a\": {{}}, Gateway::\"g\": {{}} }}\ntests:\n{test}{test}");
    let report = report_of(&text);
    let problem = report.suites[0].problem.as_ref().unwrap();
    assert_eq!((problem.message.as_str(), problem.line), ("the name `t` is used twice in this file", 7));
}

#[test]
fn a_matrix_cannot_grow_without_bound() {
    let values = vec!["1"; 101].join(", ");
    let text = format!(
        "suite: s\ntests:\n  - name: t\n    matrix: {{ a: [{values}], b: [{values}] }}\n    expect: {{}}\n"
    );
    assert_eq!(only_problem(&report_of(&text)).0, "the matrix has more than 10000 rows");
}

fn only_problem(report: &Report) -> (String, u64) {
    let suite = &report.suites[0];
    if let Some(problem) = &suite.problem {
        return (problem.message.clone(), problem.line);
    }
    match &suite.tests[0].result {
        TestResult::Broken { problem } => (problem.message.clone(), problem.line),
        other => panic!("not broken: {other:?}"),
    }
}

// ---- what is not said ----

/// What a record of the log can hold has a form in a test: instants with an offset or counted, durations, control characters,
/// entities that the gateway did not find.
#[test]
fn what_a_record_can_hold_can_be_written() {
    let schema = r#"
        entity U { at: datetime, left: duration, note: String };
        entity R; action a appliesTo { principal: U, resource: R };"#;
    let policies = r#"
        @id("p") permit (principal, action == Action::"a", resource)
        when {
          principal.at == datetime("2026-01-31T10:00:00Z") && principal.left == duration("1h30m") &&
          principal.note == "a\u{7f}b\u{1}"
        };
        @id("far") permit (principal == U::"far", action == Action::"a", resource)
        when { principal.at.offset(duration("1ms")) == datetime("1970-01-01").offset(duration("300000000000001ms")) };"#;
    let row = |name: &str, entity: &str, outcome: &str| {
        format!(
            "  - name: {name}\n    entities: {{ 'U::\"{name}\"': {entity}, 'R::\"r\"': {{}} }}\n    \
             request: {{ principal: 'U::\"{name}\"', action: a, resource: 'R::\"r\"' }}\n    expect: {outcome}\n"
        )
    };
    let attrs = |at: &str| format!("{{ attrs: {{ at: \"{at}\", left: 90m, note: \"a\\u007fb\\u0001\" }} }}");
    let text = [
        "suite: s\ntests:\n".to_owned(),
        row("utc", &attrs("2026-01-31T10:00:00Z"), "{ outcome: allow }"),
        row("zone", &attrs("2026-01-31T12:00:00+02:00"), "{ outcome: allow }"),
        row("counted", &attrs("1769853600000ms"), "{ outcome: allow }"),
        row("day", &attrs("2026-01-31"), "{ outcome: deny_default }"),
        row("far", &attrs("300000000000000ms"), "{ outcome: allow, policies: [far] }"),
        row("gone", "{ absent: true }", "{ outcome: deny_default, errors: 1 }"),
    ];
    let sources = Sources::new().with_schema("s", schema).with_policy("p", policies);
    let bundle = Bundle::load(sources).unwrap();
    let mut suites = Suites::default();
    suites.add("a.test.yaml", text.concat());
    let report = run(&bundle, &suites, &Settings::default());
    assert_eq!((report.summary().passed, report.summary().failed), (6, 0), "{}", render::report(&report));

    let head = "suite: s\nentities: { Agent::\"a\": { absent: true, attrs: { version: a } } }\ntests: []\n";
    assert_eq!(
        only_problem(&report_of(head)).0,
        "`Agent::\"a\"` is `absent`, so nothing else can be said of it"
    );
    let twice = "suite: s\nentities: { Agent::\"a\": { absent: true } }\ntests:\n  - name: t\n    entities: { Agent::\"a\": {} }\n    request: { principal: Agent::\"a\", action: tool:list, resource: Gateway::\"g\" }\n    expect: { outcome: allow }\n";
    assert_eq!(only_problem(&report_of(twice)).0, "`Agent::\"a\"` is described twice");
}

#[test]
fn circumstances_that_are_not_said_are_the_documented_ones() {
    let policies = r#"
        @id("t.neutral") permit (principal, action == Caxton::Action::"tool:list", resource is Caxton::Gateway)
        when {
          context.source.ip == ip("127.0.0.1") && !context.source.tls && !context.source.mtls &&
          context.system.now == datetime("2026-11-21T23:30:00Z") && context.system.hour == 23 &&
          context.system.weekday == 6 && !context.system.lockdown &&
          context.session.id == "a" && context.session.labels.isEmpty() && context.session.tool_calls == 0 &&
          !context.screening.injection && context.screening.score == decimal("0.0") && !(context has actor)
        };
        @id("t.entities") permit (principal, action == Caxton::Action::"builtina___x", resource is Caxton::Tool)
        when {
          principal.status == "active" && principal.tools.isEmpty() && resource.name == "x" &&
          resource.server == "builtina" && resource.destructive && resource.open_world && resource.pinned &&
          !resource.drifted && resource in Caxton::McpServer::"builtina" && context.input.n == 0
        };"#;
    let schema = r#"namespace Caxton { action "builtina___x" in [Action::"tool:call"] appliesTo {
        principal: [Agent], resource: [Tool], context: { source: SourceContext, input: { n: Long } } }; }"#;
    let base = fs::read_to_string(root().join("schemas/caxton.cedarschema")).unwrap();
    let sources = Sources::new().with_schema("a", &base).with_schema("b", schema).with_policy("p", policies);
    let mut suites = Suites::default();
    suites.add(
        "a.test.yaml",
        r#"
suite: s
now: 2026-11-21T23:30:00Z
entities: { Agent::"a": {}, Gateway::"g": {}, Tool::"builtina___x": {} }
tests:
  - name: circumstances
    request: { principal: Agent::"a", action: tool:list, resource: Gateway::"g" }
    expect: { outcome: allow, policies: [t.neutral] }
  - name: an instant of its own brings its own hour
    request: { principal: Agent::"a", action: tool:list, resource: Gateway::"g", context: { system: { now: 2026-11-21T01:30:00Z, hour: 1 } } }
    expect: { outcome: deny_default }
  - name: entities
    request: { principal: Agent::"a", action: builtina___x, resource: Tool::"builtina___x" }
    expect: { outcome: allow, policies: [t.entities] }
"#,
    );
    let report = run(&Bundle::load(sources).unwrap(), &suites, &Settings::default());
    assert_eq!(report.summary().passed, 3, "{}", render::report(&report));
}

#[test]
fn an_error_in_a_policy_fails_a_test_that_does_not_expect_it() {
    let policies = r#"
        @id("t.allow") permit (principal, action == Caxton::Action::"tool:list", resource);
        @id("t.overflow") forbid (principal, action == Caxton::Action::"tool:list", resource)
        when { context.session.tool_calls + 9223372036854775807 > 0 };"#;
    let base = fs::read_to_string(root().join("schemas/caxton.cedarschema")).unwrap();
    let bundle = Bundle::load(Sources::new().with_schema("a", &base).with_policy("p", policies)).unwrap();
    let test = |calls: u8, expect: &str| {
        let mut suites = Suites::default();
        let text = format!(
            "suite: s\nentities: {{ Agent::\"a\": {{}}, Gateway::\"g\": {{}} }}\ntests:\n  - name: t\n    request: {{ principal: Agent::\"a\", action: tool:list, resource: Gateway::\"g\", context: {{ session: {{ tool_calls: {calls} }} }} }}\n    expect: {expect}\n"
        );
        suites.add("a.test.yaml", text);
        run(&bundle, &suites, &Settings::default()).summary().passed
    };
    assert_eq!(test(1, "{ outcome: deny_error, policies: [t.overflow], errors: 1 }"), 1);
    assert_eq!(test(1, "{ outcome: deny_error }"), 0, "an error that was not expected");
    assert_eq!(test(1, "{ outcome: allow }"), 0);
    assert_eq!(test(0, "{ outcome: deny_explicit, policies: [t.overflow] }"), 1);
}

// ---- messages ----

const FAILING: &str = r#"
suite: what a person sees
entities:
  Agent::"researcher": { attrs: { tools: [builtin___csv_parser], permissions: [tool-access] } }
  Tool::"builtin___csv_parser": {}
  Tool::"builtin___json_validator": {}
tests:
  - name: the parser takes many rows
    matrix: { rows: [10, 100001], hour: [9, 23] }
    request: { principal: Agent::"researcher", action: builtin___csv_parser, resource: Tool::"builtin___csv_parser", context: { input: { max_rows: "${rows}" }, system: { hour: "${hour}" } } }
    expect: { outcome: allow }
  - name: another policy decides
    request: { principal: Agent::"researcher", action: builtin___csv_parser, resource: Tool::"builtin___csv_parser" }
    expect: { outcome: allow, policies: ["permissions.tool:call"] }
  - name: the list is shorter
    search: { principal: Agent::"researcher", action: tool:call, resource: Tool }
    expect: { exactly: [Tool::"builtin___csv_parser", Tool::"builtin___json_validator"] }
  - name: this one is right
    request: { principal: Agent::"researcher", action: builtin___json_validator, resource: Tool::"builtin___json_validator" }
    expect: { outcome: deny_default }
  - name: this one has a typo
    request: { principal: Agent::"reseacher", action: builtin___json_validator, resource: Tool::"builtin___json_validator" }
    expect: { outcome: deny_default }
  - name: "this one \u001b[2J plays with the terminal"
    request: { principal: Agent::"researcher", action: "tool:lst", resource: Tool::"builtin___json_validator" }
    expect: { outcome: deny_default }
"#;

#[test]
fn a_failing_run_names_the_row_and_what_decided() {
    let report = report_of(FAILING);
    let text = render::report(&report).replace(report.policy_version.short(), "<version>");
    golden("tests/golden/policy_test.txt", &plain(&text));
    assert!(!text.contains("\u{1b}[2J"), "a test file reached the terminal");
    let summary = report.summary();
    assert_eq!((summary.passed, summary.failed, summary.broken, summary.rows), (1, 3, 2, 7));
}

#[test]
fn problems_of_policies_show_the_place_the_cause_and_the_fix() {
    let policies = r#"// A set with one mistake of each kind.
permit (principal, action == Caxton::Action::"tool:list", resource);

@id("twice")
permit (principal, action == Caxton::Action::"tool:list", resource);

@id("twice")
forbid (principal, action == Caxton::Action::"tool:list", resource);

@id("unknown-attribute")
permit (principal is Caxton::Agent, action == Caxton::Action::"tool:list", resource)
when { principal.tols.contains("x") };

@id("untyped")
forbid (principal, action == Caxton::Action::"builtin___csv_parser", resource)
when { context.input.max_rows > 100 };

@id("wrong-type")
forbid (principal, action == Caxton::Action::"builtin___csv_parser", resource)
when { context.input.text > 100 };

@id("unknown-action")
permit (principal, action == Caxton::Action::"tool:lst", resource);

@id("misspelt-mode") @mode("log-only")
forbid (principal, action == Caxton::Action::"tool:list", resource);
"#;
    let sources = Sources::new().with_shipped(SourceKind::Schema).with_policy("bad.cedar", policies);
    let errors = Bundle::load(sources).unwrap_err();
    let ordered = in_order(errors.problems());
    let shown: Vec<String> = ordered.iter().map(|problem| render_problem(problem, 100)).collect();
    golden("tests/golden/policy_validate.txt", &plain(&shown.join("\n")));
    let findings: Vec<Finding> = ordered.into_iter().map(Finding::from).collect();
    golden("tests/golden/policy_validate.json", &(serde_json::to_string_pretty(&findings).unwrap() + "\n"));
    assert_eq!(findings.len(), 7);
    assert!(findings.iter().all(|finding| finding.line.is_some()), "a problem without a place");
}

#[test]
fn a_syntax_error_is_shown_where_it_is() {
    let sources = Sources::shipped().with_policy(
        "broken.cedar",
        "@id(\"x\")\npermit (principal, action, resource)\nwhen { context.system.lockdown = true };\n",
    );
    let errors = Bundle::load(sources).unwrap_err();
    golden("tests/golden/policy_syntax.txt", &plain(&render_problem(&errors.problems()[0], 100)));
}

// ---- the command ----

struct Folder(tempfile::TempDir);

impl Folder {
    fn new(files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        Self(folder)
    }

    fn run(&self, command: Command) -> anyhow::Result<Exit> {
        run_in(self.0.path(), command, &Output::new(Format::Table))
    }

    fn test(&self) -> anyhow::Result<Exit> {
        self.run(test_command(None))
    }
}

fn test_command(filter: Option<&str>) -> Command {
    command(vec![], filter, None)
}

fn test_files(files: Vec<PathBuf>) -> Command {
    command(files, None, None)
}

fn command(files: Vec<PathBuf>, filter: Option<&str>, junit: Option<PathBuf>) -> Command {
    Command::Test {
        files,
        filter: filter.map(str::to_owned),
        junit,
        from: FromLog::default(),
        watch: false,
        world: WorldOptions::default(),
        folders: PolicyFolders::default(),
    }
}

const ONE_POLICY: &str =
    "@id(\"t.allow\")\npermit (principal, action == Caxton::Action::\"tool:list\", resource);\n";

fn suite(outcome: &str) -> String {
    format!(
        "suite: s\nentities: {{ Agent::\"a\": {{}}, Gateway::\"g\": {{}} }}\ntests:\n  - name: t\n    request: {{ principal: Agent::\"a\", action: tool:list, resource: Gateway::\"g\" }}\n    expect: {{ outcome: {outcome} }}\n"
    )
}

#[test]
fn exit_codes_tell_fine_from_found_from_broken() {
    let set = |policy: &str, test: &str| {
        Folder::new(&[("policies/a.cedar", policy), ("policy-tests/deep/a.test.yaml", test)])
    };
    assert_eq!(set(ONE_POLICY, &suite("allow")).test().unwrap(), Exit::Fine);
    assert_eq!(set(ONE_POLICY, &suite("deny_default")).test().unwrap(), Exit::Found);
    assert_eq!(set(ONE_POLICY, &suite("alow")).test().unwrap(), Exit::Usage);
    assert_eq!(set("permit (principal, action, resource);", &suite("allow")).test().unwrap(), Exit::Usage);
    let validate = || Command::Validate { folders: PolicyFolders::default() };
    assert_eq!(set(ONE_POLICY, "").run(validate()).unwrap(), Exit::Fine);
    assert_eq!(set("permit (principal, action, resource);", "").run(validate()).unwrap(), Exit::Found);
    let empty = set("// nothing yet", "").run(validate()).unwrap_err().to_string();
    assert!(empty.starts_with("no policies of your own: no policy stands in `"), "{empty}");
}

#[test]
fn nothing_to_run_is_not_a_pass() {
    let folder =
        Folder::new(&[("policies/a.cedar", ONE_POLICY), ("policy-tests/a.test.yaml", &suite("allow"))]);
    assert_eq!(folder.run(test_command(Some("s: t"))).unwrap(), Exit::Fine);
    let missed = folder.run(test_command(Some("no such test"))).unwrap_err();
    assert_eq!(missed.to_string(), "no test has `no such test` in its `suite: name`");
    let without = Folder::new(&[("policies/a.cedar", ONE_POLICY)]);
    let message = without.test().unwrap_err().to_string();
    assert!(message.starts_with("there are no tests: no folder `policy-tests` in `/"), "{message}");
    let empty = Folder::new(&[("policies/a.cedar", ONE_POLICY), ("policy-tests/readme", "")]);
    assert_eq!(empty.test().unwrap_err().to_string(), "there is no test to run");
}

/// A pipeline in a wrong folder is not green, and the message says where it looked.
#[test]
fn an_empty_folder_is_no_pass_unless_the_shipped_set_is_meant() {
    let shipped = || PolicyFolders { shipped: true, ..PolicyFolders::default() };
    let folder = Folder::new(&[]);
    let test = |folders| Command::Test {
        files: vec![],
        filter: Some("system:".to_owned()),
        junit: None,
        from: FromLog::default(),
        watch: false,
        world: WorldOptions::default(),
        folders,
    };
    let coverage = |folders| Command::Coverage(coverage::CoverageOptions { folders, ..Default::default() });
    let lint = |folders| Command::Lint(lint::LintOptions { folders, ..Default::default() });
    let commands: [&dyn Fn(PolicyFolders) -> Command; 4] =
        [&test, &|folders| Command::Validate { folders }, &coverage, &lint];
    for command in commands {
        let message = folder.run(command(PolicyFolders::default())).unwrap_err().to_string();
        let place = folder.0.path().canonicalize().unwrap();
        let wanted =
            format!("no policies of your own: there is no folder `policies` in `{}`", place.display());
        assert!(message.starts_with(&wanted), "{message}");
        assert!(message.contains("`--shipped`"), "{message}");
        assert_eq!(folder.run(command(shipped())).unwrap(), Exit::Fine);
    }
    let named = Folder::new(&[("policies/readme.md", ""), ("caxton.yaml", "")]);
    let message = named.run(Command::Validate { folders: PolicyFolders::default() }).unwrap_err().to_string();
    assert!(
        message.contains("has no file `*.cedar`") && message.contains("`--config caxton.yaml`"),
        "{message}"
    );
}

#[test]
fn a_folder_that_was_named_has_to_be_there() {
    let folder = Folder::new(&[("policies/a.cedar", ONE_POLICY)]);
    let folders = PolicyFolders { policies: Some(folder.0.path().join("none")), ..PolicyFolders::default() };
    let refused = folder.run(Command::Validate { folders }).unwrap_err();
    assert!(refused.to_string().starts_with("cannot read `"), "{refused}");
    let files = vec![folder.0.path().join("none.test.yaml")];
    let command = test_files(files);
    assert!(folder.run(command).unwrap_err().to_string().ends_with("none.test.yaml` cannot be read"));
}

#[test]
fn results_are_written_as_junit_xml() {
    let text = format!("{}  - name: 'a <b> & \"c\"'\n    expect: {{}}\n", suite("deny_default"));
    let folder = Folder::new(&[("policies/a.cedar", ONE_POLICY), ("policy-tests/a.test.yaml", &text)]);
    let file = folder.0.path().join("junit.xml");
    let command = command(vec![], None, Some(file.clone()));
    assert_eq!(folder.run(command).unwrap(), Exit::Usage);
    let xml = fs::read_to_string(file).unwrap();
    assert!(xml.contains("<testsuites tests=\"2\" failures=\"1\" errors=\"1\">"), "{xml}");
    assert!(xml.contains("<failure message=\"expected deny_default, got allow\"/>"), "{xml}");
    assert!(xml.contains("name=\"a &lt;b&gt; &amp; &quot;c&quot;\""), "{xml}");
}

#[test]
fn cases_of_cedars_own_runner_run_too() {
    let case = |decision: &str, reason: &str, errors: u8| {
        format!(
            r#"[{{ "name": "one", "request": {{ "principal": "Caxton::System::\"gateway\"", "action": "Caxton::Action::\"tool:list\"",
                "resource": "Caxton::Gateway::\"g\"", "context": {{
                  "source": {{ "ip": "127.0.0.1", "tls": true, "mtls": false }},
                  "system": {{ "now": "2026-01-01T00:00:00Z", "hour": 0, "weekday": 4, "lockdown": false, "policy_version": "" }},
                  "session": {{ "id": "", "age_seconds": 0, "labels": [], "tool_calls": 0, "denied": 0, "tools_called": [] }},
                  "screening": {{ "injection": false, "score": "0.0", "findings": [] }} }} }},
              "entities": [{{ "uid": {{ "type": "Caxton::System", "id": "gateway" }}, "attrs": {{}}, "parents": [] }}],
              "decision": "{decision}", "reason": [{reason}], "num_errors": {errors} }}]"#
        )
    };
    let run = |text: &str| {
        let folder = Folder::new(&[("policies/a.cedar", ONE_POLICY), ("cases.json", text)]);
        let files = vec![folder.0.path().join("cases.json")];
        folder.run(test_files(files)).unwrap()
    };
    assert_eq!(run(&case("allow", "\"t.allow\"", 0)), Exit::Fine);
    assert_eq!(run(&case("deny", "\"t.allow\"", 0)), Exit::Found);
    assert_eq!(run(&case("allow", "", 0)), Exit::Found);
    assert_eq!(run(&case("allow", "\"t.allow\"", 1)), Exit::Found);
    assert_eq!(run(&case("allow", "\"t.alow\"", 0)), Exit::Usage, "a misspelt policy");
    assert_eq!(run(&case("allowed", "\"t.allow\"", 0)), Exit::Usage);
    assert_eq!(run("{}"), Exit::Usage);
}
