//! Mutation, held against sets whose survivors were worked out by hand.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use caxton::cli::output::{Exit, Format, Output};
use caxton::cli::policy::{Command, mutate as command, run_in};
use caxton::model::EntityUid;
use caxton::policy::{Bundle, Link, SourceKind, Sources};
use caxton::workbench::mutate::{Mutant, Mutation, OPERATORS, mutate, mutate_with};
use caxton::workbench::prove::Solver;
use caxton::workbench::run::{Settings, Suites, examine, run};

use crate::support::solver::solver;

const WORLD: &str = "suite: s
entities:
  Gateway::\"g\": {}
  Config::\"c\": {}
  Model::\"m\": {}
  Agent::\"a\": {}
  Service::\"s\": {}
tests:
";

fn row(name: &str, action: &str, resource: &str, context: &str, outcome: &str) -> String {
    format!(
        "  - name: {name}\n    request: {{ principal: Agent::\"a\", action: {action}, resource: {resource}, context: {context} }}\n    expect: {{ outcome: {outcome} }}\n"
    )
}

fn list(name: &str, denied: u32, outcome: &str) -> String {
    row(name, "tool:list", "Gateway::\"g\"", &format!("{{ session: {{ denied: {denied} }} }}"), outcome)
}

/// The built-in schema with one text of policies, put to rows of tests.
fn tried(policies: &str, rows: &[String], threads: usize) -> Mutation {
    let schema = Sources::new().with_shipped(SourceKind::Schema);
    let bundle = Bundle::load(schema.with_policy("a.cedar", policies)).unwrap();
    let mut suites = Suites::default();
    suites.add("a.test.yaml", format!("{WORLD}{}", rows.concat()));
    let (report, questions) = examine(&bundle, &suites, &Settings::default());
    assert_eq!(report.summary().passed, rows.len(), "{}", caxton::cli::policy::render::report(&report));
    mutate(&bundle, &questions, threads, &|_, _| {})
}

/// `(operator, changed line)` of each survivor.
fn survivors(mutation: &Mutation) -> Vec<(&str, &str)> {
    mutation
        .survivors
        .iter()
        .map(|mutant| (mutant.operator, mutant.after.first().map_or("", String::as_str)))
        .collect()
}

const LIMIT: &str = "@id(\"t.limit\")
permit (principal, action == Caxton::Action::\"tool:list\", resource)
when { context.session.denied < 3 };
";

#[test]
fn one_row_leaves_the_survivors_that_were_worked_out() {
    // Removed, flipped, `unless` and `false` are noticed; nothing asks about the bound or about another action.
    let mutation = tried(LIMIT, &[list("none", 0, "allow")], 1);
    assert_eq!(
        survivors(&mutation),
        [
            ("widen-scope", "permit (principal, action, resource)"),
            ("always-true", "when { true };"),
            ("compare", "when { context.session.denied <= 3 };"),
            ("number", "when { context.session.denied < 4 };"),
            ("number", "when { context.session.denied < 2 };"),
        ]
    );
    let summary = mutation.summary;
    assert_eq!((summary.mutants, summary.killed, summary.survived), (9, 4, 5));
    assert!((summary.score - 400.0 / 9.0).abs() < 1e-9);
    assert!(mutation.survivors.iter().all(|mutant| mutant.reached && mutant.policy == "t.limit"));
    assert_eq!((mutation.survivors[0].line, mutation.survivors[1].line), (2, 3));
}

#[test]
fn a_row_on_each_side_of_the_bound_and_one_beside_the_scope_notice_everything() {
    let rows = [
        list("below", 2, "allow"),
        list("on it", 3, "deny_default"),
        row("beside", "agent:list", "Gateway::\"g\"", "{}", "deny_default"),
    ];
    let mutation = tried(LIMIT, &rows, 3);
    assert_eq!(survivors(&mutation), []);
    assert_eq!((mutation.summary.mutants, mutation.summary.killed), (9, 9));
    assert!((mutation.summary.score - 100.0).abs() < 1e-9);
}

#[test]
fn what_no_test_reaches_is_not_run_and_counts_as_unnoticed() {
    let policies = format!(
        "{LIMIT}@id(\"t.unseen\")\nforbid (principal is Caxton::Service, action == Caxton::Action::\"config:read\", resource)\nwhen {{ context.source.tls && context.source.mtls }};\n"
    );
    let mutation = tried(&policies, &[list("none", 0, "allow")], 2);
    let unseen: Vec<_> = mutation.survivors.iter().filter(|mutant| mutant.policy == "t.unseen").collect();
    assert!(unseen.iter().all(|mutant| !mutant.reached));
    let operators: Vec<&str> = unseen.iter().map(|mutant| mutant.operator).collect();
    assert_eq!(
        operators,
        [
            "remove-policy",
            "flip-effect",
            "widen-scope",
            "swap-action",
            "widen-scope",
            "swap-clause",
            "drop-clause",
            "always-true",
            "swap-join",
            "always-true",
        ]
    );
    assert_eq!(mutation.summary.not_reached, 10);
    assert_eq!(
        unseen[3].after,
        ["forbid (principal is Caxton::Service, action == Caxton::Action::\"config:update\", resource)"]
    );
    assert!(unseen[0].after.is_empty());
}

#[test]
fn what_the_schema_refuses_or_does_not_tell_apart_is_left_out() {
    // Only agents call models, so neither `is` matters; without `has`, what follows it would not be valid.
    let policies = "@id(\"t.model\")
permit (principal is Caxton::Agent, action == Caxton::Action::\"model:call\", resource is Caxton::Model)
unless { context has actor && context.actor.scopes.contains(\"x\") };
";
    let mutation = tried(policies, &[row("turn", "model:call", "Model::\"m\"", "{}", "allow")], 1);
    assert_eq!(mutation.summary.equivalent, 3, "both `is`, and the only action that there is for a model");
    // `true`, and `||`: each lets the second part be asked without the first.
    assert_eq!(mutation.summary.invalid, 2);
}

#[test]
fn members_of_lists_and_sets_are_left_out_one_by_one() {
    let policies = "@id(\"t.lists\")
permit (principal, action in [Caxton::Action::\"tool:list\", Caxton::Action::\"config:read\"], resource)
when { [1, 2].containsAny([context.system.weekday]) || [\"x\", \"y,z\"].containsAll(context.session.labels) };
";
    let mutation = tried(policies, &[list("one", 0, "allow")], 1);
    let changed: BTreeSet<(&str, &str)> = survivors(&mutation).into_iter().collect();
    for wanted in [
        ("drop-action", "permit (principal, action in [Caxton::Action::\"tool:list\"], resource)"),
        (
            "drop-member",
            "when { [1, 2].containsAny([context.system.weekday]) || [\"x\"].containsAll(context.session.labels) };",
        ),
        (
            "drop-member",
            "when { [2].containsAny([context.system.weekday]) || [\"x\", \"y,z\"].containsAll(context.session.labels) };",
        ),
        (
            "all-any",
            "when { [1, 2].containsAll([context.system.weekday]) || [\"x\", \"y,z\"].containsAll(context.session.labels) };",
        ),
        (
            "number",
            "when { [1, 3].containsAny([context.system.weekday]) || [\"x\", \"y,z\"].containsAll(context.session.labels) };",
        ),
    ] {
        assert!(changed.contains(&wanted), "{wanted:?} in {changed:#?}");
    }
    // The action that the row asks for was noticed, and that `containsAny` of nothing is false.
    assert!(!changed.iter().any(|(_, line)| line.contains("[Caxton::Action::\"config:read\"]")));
    assert!(!changed.iter().any(|(_, line)| line.contains("containsAny(context.session.labels)")));
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let rows = [list("none", 0, "allow"), list("many", 9, "deny_default")];
    let (one, many) = (tried(LIMIT, &rows, 1), tried(LIMIT, &rows, 8));
    assert_eq!(survivors(&one), survivors(&many));
    assert_eq!(one.summary, many.summary);
}

// ---- templates ----

const TEMPLATE: &str = "@id(\"t.template\")
permit (principal == ?principal, action == Caxton::Action::\"tool:list\", resource)
when { context.session.denied < 3 };
";

#[test]
fn a_template_is_changed_and_all_its_links_with_it() {
    let link = |id: &str, agent: &str| Link {
        template: "t.template".to_owned(),
        id: id.to_owned(),
        principal: Some(EntityUid::caxton("Agent", agent)),
        resource: None,
    };
    let schema = Sources::new().with_shipped(SourceKind::Schema);
    let sources =
        schema.with_policy("a.cedar", TEMPLATE).with_link(link("t.a", "a")).with_link(link("t.b", "b"));
    let bundle = Bundle::load(sources).unwrap();
    let world = WORLD.replace("  Agent::\"a\": {}\n", "  Agent::\"a\": {}\n  Agent::\"b\": {}\n");
    let ask = |rows: &[String]| {
        let mut suites = Suites::default();
        suites.add("a.test.yaml", format!("{world}{}", rows.concat()));
        let (report, questions) = examine(&bundle, &suites, &Settings::default());
        assert_eq!(report.summary().passed, rows.len());
        mutate(&bundle, &questions, 1, &|_, _| {})
    };
    let below = [list("below", 2, "allow")];
    let mutation = ask(&below);
    assert_eq!(mutation.summary.mutants, 10);
    assert!(mutation.survivors.iter().all(|mutant| mutant.policy == "t.template"));
    assert_eq!(
        survivors(&mutation),
        [
            ("widen-scope", "permit (principal, action == Caxton::Action::\"tool:list\", resource)"),
            ("widen-scope", "permit (principal == ?principal, action, resource)"),
            ("always-true", "when { true };"),
            ("compare", "when { context.session.denied <= 3 };"),
            ("number", "when { context.session.denied < 4 };"),
        ]
    );
    // What a link lets through is seen by a row about any of them.
    let other = |name: &str, denied: u32, outcome: &str| {
        list(name, denied, outcome).replace("Agent::\"a\"", "Agent::\"b\"")
    };
    let rows = [
        other("below", 2, "allow"),
        other("on it", 3, "deny_default"),
        list("a", 0, "allow"),
        row("beside", "agent:list", "Gateway::\"g\"", "{}", "deny_default"),
        list("nobody", 0, "deny_default").replace("Agent::\"a\"", "Service::\"s\""),
    ];
    assert_eq!(survivors(&ask(&rows)), []);
}

#[test]
fn a_template_that_nothing_links_is_told_and_not_changed() {
    let mutation = tried(&format!("{LIMIT}{TEMPLATE}"), &[list("none", 0, "allow")], 1);
    assert_eq!((mutation.summary.mutants, mutation.summary.unlinked_templates), (9, 1));
    assert!(command::text(&mutation).contains("1 template that nothing links: not changed"));
}

// ---- a closer look ----

/// Whether a sketch, pasted, passes with the policies as they are and fails with the change.
fn notices(policies: &str, mutant: &Mutant) -> (bool, bool) {
    let sketch = mutant.sketch.as_ref().unwrap();
    let changed = match mutant.after.is_empty() {
        true => String::new(),
        false => policies.replacen(&mutant.before.join("\n"), &mutant.after.join("\n"), 1),
    };
    assert_ne!(policies, changed);
    let passes = |policies: &str| {
        let schema = Sources::new().with_shipped(SourceKind::Schema);
        let bundle = Bundle::load(schema.with_policy("a.cedar", policies)).unwrap();
        let mut suites = Suites::default();
        suites.add("a.test.yaml", format!("suite: s\ntests:\n{}", sketch.test));
        let summary = run(&bundle, &suites, &Settings::default()).summary();
        assert_eq!(summary.passed + summary.failed + summary.broken, 1);
        summary.passed == 1
    };
    (passes(policies), passes(&changed))
}

fn looked_at(policies: &str, rows: &[String], solver: Option<&Solver>) -> Mutation {
    let schema = Sources::new().with_shipped(SourceKind::Schema);
    let bundle = Bundle::load(schema.with_policy("a.cedar", policies)).unwrap();
    let mut suites = Suites::default();
    suites.add("a.test.yaml", format!("{WORLD}{}", rows.concat()));
    let (_, questions) = examine(&bundle, &suites, &Settings::default());
    mutate_with(&bundle, &questions, 2, solver, &|_, _| {})
}

#[test]
fn with_a_solver_each_survivor_comes_with_a_test_that_notices_it() {
    let Some(solver) = solver() else { return };
    let policies = format!(
        "{LIMIT}@id(\"t.inactive\")
forbid (principal is Caxton::Agent, action in [Caxton::Action::\"tool:list\", Caxton::Action::\"agent:list\"], resource)
unless {{ principal.status == \"active\" }};
"
    );
    let mutation = looked_at(&policies, &[list("none", 0, "allow")], Some(&solver));
    assert_eq!(mutation.solver.as_deref(), Some(solver.version()));
    // A `forbid` that can never hold is refused before any test.
    assert!(mutation.survivors.len() > 9, "{:?}", survivors(&mutation));
    for mutant in &mutation.survivors {
        assert!(mutant.sketch.as_ref().is_some_and(|sketch| sketch.notices), "{mutant:?}");
        assert_eq!(notices(&policies, mutant), (true, false), "{mutant:?}");
    }
    let bound = mutation.survivors.iter().find(|mutant| mutant.operator == "compare").unwrap();
    assert_eq!(
        bound.sketch.as_ref().unwrap().test,
        "- name: t.limit where Agent asks for tool:list on Gateway
  # with the change: allow by t.limit
  entities:
    Agent::\"agent-1\": {}
    Gateway::\"gateway-1\": {}
  request: { principal: Agent::\"agent-1\", action: tool:list, resource: Gateway::\"gateway-1\", context: { session: { denied: 3 } } }
  expect: { outcome: deny_default }
"
    );
}

#[test]
fn what_is_proved_to_mean_the_same_is_left_out() {
    let Some(solver) = solver() else { return };
    // The second bound says nothing beside the first.
    let policies = LIMIT.replace("denied < 3", "denied < 3 && context.session.denied < 9");
    let rows = [
        list("below", 2, "allow"),
        list("on it", 3, "deny_default"),
        row("beside", "agent:list", "Gateway::\"g\"", "{}", "deny_default"),
    ];
    let without = looked_at(&policies, &rows, None);
    let changed = |bound: &str| format!("when {{ context.session.denied < 3 && {bound} }};");
    let same = [
        ("always-true", changed("true")),
        ("compare", changed("context.session.denied <= 9")),
        ("number", changed("context.session.denied < 10")),
        ("number", changed("context.session.denied < 8")),
    ];
    let same: Vec<(&str, &str)> = same.iter().map(|(operator, line)| (*operator, line.as_str())).collect();
    assert_eq!(survivors(&without), same);
    assert_eq!((without.summary.proven_equivalent, without.summary.survived), (0, 4));
    let with = looked_at(&policies, &rows, Some(&solver));
    assert_eq!(survivors(&with), []);
    assert_eq!((with.summary.proven_equivalent, with.summary.mutants), (4, without.summary.mutants - 4));
    assert!((with.summary.score - 100.0).abs() < 1e-9);
    assert!(command::text(&with).contains(&format!("4 by proof with {}; ", solver.version())));
}

#[test]
fn a_permit_that_matches_more_of_what_is_forbidden_anyway_means_the_same() {
    let Some(solver) = solver() else { return };
    let policies = "@id(\"t.list\") permit (principal is Caxton::Agent, action == Caxton::Action::\"tool:list\", resource)
when { principal.status == \"active\" };
@id(\"t.inactive\") forbid (principal is Caxton::Agent, action == Caxton::Action::\"tool:list\", resource)
unless { principal.status == \"active\" };
";
    let with = looked_at(policies, &[list("none", 0, "allow")], Some(&solver));
    let permit: Vec<_> =
        survivors(&with).into_iter().filter(|(operator, _)| *operator == "always-true").collect();
    assert_eq!(permit, [], "`when` means the same, and a `forbid` that can never hold is refused");
}

#[test]
fn without_a_solver_the_nearest_test_is_where_to_start() {
    let mutation = looked_at(LIMIT, &[list("none", 0, "allow")], None);
    for mutant in &mutation.survivors {
        let sketch = mutant.sketch.as_ref().unwrap();
        assert!(!sketch.notices);
        assert!(
            sketch.test.contains(&format!("  # as in `s: none`; change it to be {}\n", mutant.hint)),
            "{}",
            sketch.test
        );
        assert_eq!(notices(LIMIT, mutant), (true, true), "{mutant:?}");
    }
    // A row that the policy answers otherwise, unseen: naming the policies is enough.
    let second = format!(
        "{LIMIT}@id(\"t.second\") permit (principal is Caxton::Agent, action == Caxton::Action::\"tool:list\", resource);\n"
    );
    let mutation = looked_at(&second, &[list("none", 0, "allow")], None);
    let removed = mutation.survivors.iter().find(|mutant| mutant.operator == "remove-policy").unwrap();
    let sketch = removed.sketch.as_ref().unwrap();
    assert!(sketch.notices);
    assert!(
        sketch.test.ends_with("  expect: { outcome: allow, policies: [t.limit, t.second] }\n"),
        "{}",
        sketch.test
    );
    let shown = command::text(&mutation);
    assert!(shown.contains("this test does:") && shown.contains("a test to start from:"), "{shown}");
}

// ---- the shipped set ----

#[test]
fn with_proofs_the_shipped_tests_notice_every_mistake_that_anybody_could() {
    let Some(solver) = solver() else { return };
    let bundle = Bundle::load(Sources::shipped()).unwrap();
    let (_, questions) = examine(&bundle, &Suites::shipped(), &Settings::default());
    let mutation = mutate_with(&bundle, &questions, 2, Some(&solver), &|_, _| {});
    assert_eq!(survivors(&mutation), []);
    assert!(mutation.summary.mutants > 400, "{:?}", mutation.summary);
}

#[test]
fn the_shipped_tests_notice_at_least_95_of_100_mistakes() {
    let bundle = Bundle::load(Sources::shipped()).unwrap();
    let (_, questions) = examine(&bundle, &Suites::shipped(), &Settings::default());
    let mutation = mutate(&bundle, &questions, 2, &|_, _| {});
    assert!(mutation.summary.mutants > 400, "{:?}", mutation.summary);
    assert_eq!(mutation.summary.not_reached, 0);
    assert!(mutation.summary.score >= 97.0, "{}", command::text(&mutation));
}

#[test]
fn the_guide_lists_every_operator() {
    let guide = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/mutation.md")).unwrap();
    let listed = guide.lines().filter(|line| line.starts_with("| `")).count();
    assert_eq!(listed, OPERATORS.len());
    for operator in OPERATORS {
        let row = format!("| `{}` | {} | {} |", operator.id, operator.changes, operator.hint);
        assert!(guide.contains(&row), "{row}");
    }
}

// ---- the command ----

#[test]
fn the_gate_and_the_list_of_survivors() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write("policies/a.cedar", LIMIT);
    write("policy-tests/a.test.yaml", &format!("{WORLD}{}", list("none", 0, "allow")));
    let run = |min| {
        let options = command::MutateOptions { min, ..command::MutateOptions::default() };
        run_in(folder.path(), Command::Mutate(options), &Output::new(Format::Table)).unwrap()
    };
    assert_eq!(run(None), Exit::Fine);
    assert_eq!(run(Some(44.4)), Exit::Fine);
    assert_eq!(run(Some(44.5)), Exit::Found);
    write("policy-tests/a.test.yaml", &format!("{WORLD}{}", list("none", 9, "allow")));
    assert_eq!(run(None), Exit::Found, "tests that fail notice nothing");

    let text = command::text(&tried(LIMIT, &[list("none", 0, "allow")], 1));
    let text = anstream::adapter::strip_str(&text).to_string();
    let shown = "t.limit  compare  policies/a.cedar:3
  - when { context.session.denied < 3 };
  + when { context.session.denied <= 3 };
  the policy answers as before in every test
  would notice: a request exactly on the bound
";
    assert!(text.contains(shown), "{text}");
    assert!(
        text.contains("score 44.4 %: 4 of 9 changes noticed (0 in parts that no test reaches; "),
        "{text}"
    );
}
