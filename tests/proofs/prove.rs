//! Statements and gates in test files: who holds the policies to them, and which of them mean nothing.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::fs;
use std::path::Path;
use std::process::Command as Process;

use crate::support::solver::solver;

const LIST: &str = "@id(\"t.list\") permit (principal, action == Caxton::Action::\"tool:list\", resource)
when { context.session.denied < 3 };
";

const TESTS: &str = "suite: s
entities: { Agent::\"a\": {}, Gateway::\"g\": {} }
tests:
  - name: listed
    request: { principal: Agent::\"a\", action: tool:list, resource: Gateway::\"g\" }
    expect: { outcome: allow }
";

struct Ended {
    code: i32,
    stdout: String,
    stderr: String,
}

fn caxton(directory: &Path, arguments: &[&str]) -> Ended {
    let mut command = Process::new(env!("CARGO_BIN_EXE_caxton"));
    command.current_dir(directory).arg("policy").args(arguments).env("NO_COLOR", "1");
    if arguments.first() == Some(&"prove") {
        // A machine that is busy with other tests leaves questions open that are none.
        command.args(["--timeout", "300"]);
    }
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Ended { code: output.status.code().unwrap(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// A folder with one policy and one test file, which goes on with `more`.
fn project(more: &str) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in [("policies/a.cedar", LIST), ("policy-tests/a.test.yaml", &format!("{TESTS}{more}"))]
    {
        let path = directory.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    directory
}

#[test]
fn the_shipped_statements_are_proven() {
    let Some(solver) = solver() else { return };
    let directory = tempfile::tempdir().unwrap();
    let ended = caxton(directory.path(), &["prove", "--shipped"]);
    assert_eq!(ended.code, 0, "{}\n{}", ended.stdout, ended.stderr);
    for statement in [
        "no agent reaches another agent's private memory",
        "only administrators of memory change what all agents read",
        "only administrators publish policies or take them back",
        "no policy can err",
        "every policy decides something",
    ] {
        assert!(ended.stdout.contains(&format!("✓ proven  {statement}  ")), "{statement}\n{}", ended.stdout);
    }
    let last = ended.stdout.lines().last().unwrap();
    assert!(last.starts_with(&format!("16 proven ({}, ", solver.version())), "{last}");
}

#[test]
fn a_statement_that_does_not_hold_comes_with_its_place_and_a_test() {
    if solver().is_none() {
        return;
    }
    let project = project(
        "prove:
  - name: nobody who was denied lists tools
    always_denies: { action: tool:list, when: context.session.denied > 0 }
  - never_errors: [t.list]
",
    );
    let ended = caxton(project.path(), &["prove", "--show", "1"]);
    assert_eq!(ended.code, 1);
    assert!(
        ended.stdout.starts_with(
            "✗ refuted  nobody who was denied lists tools  policy-tests/a.test.yaml:8  not so in 10 of 399 environments
    Agent::\"a\" asks for tool:list on Gateway::\"g\"
      here: allow by t.list
      as a test:
      - name: Agent asks for tool:list on Gateway
        # now: allow by t.list
        # expected is a denial, this or `deny_default`
        entities:
          Agent::\"a\": {}
          Gateway::\"g\": {}
        request: { principal: Agent::\"a\", action: tool:list, resource: Gateway::\"g\", context: { session: { denied: 1 } } }
        expect: { outcome: deny_explicit }
    … and 9 more

✓ proven  t.list cannot err  policy-tests/a.test.yaml:10  399 environments
1 proven, 1 refuted ("
        ),
        "{}",
        ended.stdout
    );
    let json = caxton(project.path(), &["prove", "--format", "json"]);
    let report: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(json.code, 1);
    assert_eq!(report["proofs"][0]["verdict"], "refuted");
    assert_eq!(report["proofs"][0]["place"], "policy-tests/a.test.yaml:8");
    assert_eq!(report["proofs"][1]["verdict"], "proven");
    assert_eq!(report["proofs"][0]["counterexamples"][0]["decided"][0]["outcome"], "allow");
}

#[test]
fn a_statement_about_another_version_reads_a_commit_or_a_folder() {
    if solver().is_none() {
        return;
    }
    let project = project(
        "prove:
  - no_more_permissive_than: { ref: HEAD, except: [config:read] }
  - equivalent_to: { dir: before }
",
    );
    let git = |arguments: &[&str]| {
        let identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"];
        let status = Process::new("git").current_dir(&project).args(identity).args(arguments).status();
        assert!(status.unwrap().success());
    };
    let policies = project.path().join("policies/a.cedar");
    fs::create_dir_all(project.path().join("before/policies")).unwrap();
    fs::write(project.path().join("before/policies/a.cedar"), LIST).unwrap();
    git(&["init", "-q"]);
    git(&["add", "."]);
    git(&["commit", "-q", "-m", "first"]);
    assert_eq!(caxton(project.path(), &["prove"]).code, 0);
    // The one action that may be opened is, and the statement about the folder sees it.
    let opened = "@id(\"t.config\") permit (principal, action == Caxton::Action::\"config:read\", resource);";
    fs::write(&policies, format!("{LIST}{opened}")).unwrap();
    let ended = caxton(project.path(), &["prove"]);
    assert_eq!(ended.code, 1);
    let verdicts: Vec<&str> = ended.stdout.lines().filter(|line| line.contains("a.test.yaml:")).collect();
    assert_eq!(
        verdicts,
        [
            "✓ proven  no more is permitted than by HEAD, config:read left out  policy-tests/a.test.yaml:8  394 environments",
            "✗ refuted  the same is permitted as by before  policy-tests/a.test.yaml:9  not so in 5 of 399 environments"
        ]
    );
}

#[test]
fn a_statement_that_means_nothing_is_refused_with_its_place() {
    let cases = [
        ("- {}", "a statement states exactly one thing"),
        ("- name: nothing", "a statement states exactly one thing"),
        ("- { never_errors: all, none_needless: all }", "a statement states exactly one thing"),
        ("- never_erors: all", "unknown field `never_erors`"),
        ("- never_errors: [t.lst]", "there is no policy `t.lst`"),
        ("- never_errors: []", "name the policies, or write `all`"),
        ("- never_errors: 3", "a text or a list of texts"),
        ("- none_needless: [t.list]", "`none_needless` is about `all` policies"),
        ("- no_more_permissive_than: {}", "a version is either a `ref` or a `dir`"),
        ("- no_more_permissive_than: { ref: a, dir: b }", "a version is either a `ref` or a `dir`"),
        ("- equivalent_to: { dir: ../elsewhere }", "`dir` is a folder below this one"),
        ("- equivalent_to: { dir: /etc }", "`dir` is a folder below this one"),
        ("- equivalent_to: { dir: nowhere }", "`nowhere` has no folder `policies`"),
        ("- equivalent_to: { ref: nowhere }", "`nowhere` is neither a folder nor a commit"),
        ("- equivalent_to: { ref: --output=x }", "`--output=x` is neither a folder nor a commit"),
        ("- equivalent_to: { dir: policies, exept: [] }", "unknown field `exept`"),
        ("- always_denies: { principal: Agnet }", "there is no entity type `Agnet`"),
        ("- always_denies: { action: tool:lst }", "there is no action `tool:lst`"),
        ("- always_denies: { when: 'context.' }", "`context.` is not an expression"),
        ("- always_denies: { when: context.sesion }", "the condition does not fit the schema"),
        (
            "- always_allows: { principal: Agent, action: model:call, resource: Config }",
            "the statement is vacuous",
        ),
    ];
    for (statement, message) in cases {
        let project = project(&format!("prove:\n  {statement}\n"));
        let ended = caxton(project.path(), &["prove"]);
        assert_eq!(ended.code, 2, "{statement}: {}", ended.stderr);
        let told = ended.stderr.lines().find(|line| line.contains(message));
        let told = told.unwrap_or_else(|| panic!("{statement}: {}", ended.stderr));
        assert!(told.contains("policy-tests/a.test.yaml:8: "), "{statement}: {told}");
        assert!(ended.stderr.contains("nothing was proved: 1 "), "{statement}: {}", ended.stderr);
        assert_eq!(ended.stdout, "", "{statement}");
    }
    let ended = caxton(project("").path(), &["prove"]);
    assert_eq!(ended.code, 2);
    assert!(ended.stderr.contains("there is nothing to prove: no test file has `prove`"), "{}", ended.stderr);
}

#[test]
fn gates_are_told_by_test_and_checked_where_they_are_measured() {
    // One row sees two of four points, and notices four of nine changes.
    let cases = [
        ("clause_coverage: 50", "coverage", 0, ""),
        ("clause_coverage: 75", "coverage", 1, "too little: 50.0 % is covered, 75 % is wanted"),
        ("mutation_score: 40", "mutate", 0, ""),
        ("mutation_score: 90", "mutate", 1, "too little: the score is 44.4 %, 90 % is wanted"),
    ];
    for (gate, command, code, message) in cases {
        let project = project(&format!("gate: {{ {gate} }}\n"));
        let ended = caxton(project.path(), &[command]);
        assert_eq!(ended.code, code, "{gate}: {}\n{}", ended.stdout, ended.stderr);
        assert!(ended.stderr.contains(message), "{gate}: {}", ended.stderr);
        assert_eq!(ended.stderr.contains("too little"), code == 1, "{gate}: {}", ended.stderr);
        // A higher `--min` counts as well, a lower one does not lower the gate.
        assert_eq!(caxton(project.path(), &[command, "--min", "100"]).code, 1, "{gate}");
        assert_eq!(caxton(project.path(), &[command, "--min", "1"]).code, code, "{gate}");
        let test = caxton(project.path(), &["test"]);
        assert_eq!(test.code, 0);
        let wanted = gate.split(' ').next_back().unwrap();
        assert!(
            test.stderr
                .contains(&format!("note: a gate of {wanted} % is checked by `caxton policy {command}`\n")),
            "{}",
            test.stderr
        );
    }
    let both = project("gate: { clause_coverage: 5 }\nprove: [{ never_errors: all }]\n");
    let test = caxton(both.path(), &["test"]);
    assert!(
        test.stderr.contains("note: `caxton policy prove` seeks proofs of 1 statement\n"),
        "{}",
        test.stderr
    );
}

#[test]
fn a_gate_that_nobody_can_reach_is_refused() {
    for gate in ["clause_coverage: 101", "mutation_score: -1", "clause_coverage: .nan"] {
        let project = project(&format!("gate: {{ {gate} }}\n"));
        let ended = caxton(project.path(), &["test"]);
        assert_eq!(ended.code, 2, "{gate}");
        assert!(
            ended.stdout.contains("a gate is a number of per cent, from 0 to 100"),
            "{gate}: {}",
            ended.stdout
        );
    }
    let ended = caxton(project("gate: { coverage: 90 }\n").path(), &["test"]);
    assert_eq!(ended.code, 2);
    assert!(ended.stdout.contains("unknown field `coverage`"), "{}", ended.stdout);
}

#[test]
fn a_pasted_test_may_bring_entities_that_the_file_has_in_the_same_words() {
    let pasted = |entity: &str| {
        format!(
            "  - name: pasted
    entities: {{ Agent::\"a\": {entity}, Gateway::\"g\": {{}} }}
    request: {{ principal: Agent::\"a\", action: tool:list, resource: Gateway::\"g\" }}
    expect: {{ outcome: allow }}
"
        )
    };
    let ended = caxton(project(&pasted("{}")).path(), &["test"]);
    assert_eq!(ended.code, 0, "{}", ended.stdout);
    let ended = caxton(project(&pasted("{ attrs: { signed: false } }")).path(), &["test"]);
    assert_eq!(ended.code, 2);
    assert!(ended.stdout.contains("`Agent::\"a\"` is described twice"), "{}", ended.stdout);
}

#[test]
fn the_example_in_the_guide_is_read() {
    let guide = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/proof.md")).unwrap();
    let example = guide.split("```yaml\n").nth(1).unwrap().split("```").next().unwrap();
    let mut suites = caxton::workbench::run::Suites::default();
    suites.add("a.test.yaml", example);
    assert_eq!(caxton::workbench::prove::stated(&suites).unwrap().len(), 5);
    assert_eq!(suites.promises().statements, 5);
    assert_eq!(suites.promises().gate.mutation_score, Some(97.0));
}

const SWITCH: &str = r#"namespace Own { entity Switches; entity Switch in [Switches] = { on?: Bool }; }"#;

/// A test, and a proof, sees the entities that only a policy names, as the gateway does.
#[test]
fn an_entity_that_only_a_policy_names_is_there_for_tests_and_proofs() {
    for (condition, entity) in [
        (r#"Own::Switch::"kill" has on"#, r#"Own::Switch::"kill": { attrs: { on: false } }"#),
        (
            r#"Own::Switch::"kill" in Own::Switches::"all""#,
            r#"Own::Switch::"kill": { in: ['Own::Switches::"all"'] }, Own::Switches::"all": {}"#,
        ),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let forbid =
            format!("@id(\"t.kill\") forbid (principal, action, resource) when {{ {condition} }};\n");
        let suite = format!(
            "suite: s
entities: {{ Agent::\"a\": {{}}, Gateway::\"g\": {{}} }}
tests:
  - name: switched off
    request: {{ principal: Agent::\"a\", action: tool:list, resource: Gateway::\"g\" }}
    expect: {{ outcome: allow, policies: [t.list] }}
  - name: switched on
    entities: {{ {entity} }}
    request: {{ principal: Agent::\"a\", action: tool:list, resource: Gateway::\"g\" }}
    expect: {{ outcome: deny_explicit, policies: [t.kill] }}
prove:
  - name: the switch stops all
    always_denies: {{ when: '{condition}' }}
  - name: all can be listed
    always_allows: {{ action: tool:list, when: context.session.denied < 3 }}
"
        );
        for (name, text) in [
            ("policies/a.cedar", format!("{LIST}{forbid}")),
            ("policy-tests/a.test.yaml", suite),
            (
                "schemas/own.cedarschema",
                format!("{}\n{SWITCH}", include_str!("../../schemas/caxton.cedarschema")),
            ),
        ] {
            let path = directory.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let ended = caxton(directory.path(), &["test"]);
        assert_eq!(ended.code, 0, "{}\n{}", ended.stdout, ended.stderr);
        if solver().is_none() {
            continue;
        }
        let ended = caxton(directory.path(), &["prove"]);
        assert!(
            ended.stdout.contains("✓ proven  the switch stops all"),
            "{}\n{}",
            ended.stdout,
            ended.stderr
        );
        assert!(ended.stdout.contains("✗ refuted  all can be listed"), "{}\n{}", ended.stdout, ended.stderr);
        assert!(ended.stdout.contains("Own::Switch::\"kill\""), "{}", ended.stdout);
    }
}

/// What is accepted must not end the process either, whatever is done with it.
#[test]
fn no_depth_of_a_policy_ends_the_process() {
    let row = |part: &str, by: &str, times: usize| vec![part; times].join(by);
    let chained = |times: usize| {
        [
            row("context.session.denied == 1", " && ", times),
            row("context.session.denied == 1", " || ", times),
            format!("{} true", "if context.source.mtls then true else ".repeat(times)),
            format!("context.session.denied == {}", row("1", " + ", times)),
            format!(
                "context.session.denied == 1 }} {}",
                "when { context.source.mtls } ".repeat(times).trim_end().trim_end_matches('}')
            ),
        ]
    };
    let bracketed = |times: usize| {
        [
            format!("{}true{}", "(".repeat(times), ")".repeat(times)),
            format!("[{}1{}].isEmpty()", "[".repeat(times), "]".repeat(times)),
            format!("{}1{} == 1", "{ a: ".repeat(times), " }".repeat(times)),
        ]
    };
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("policies")).unwrap();
    let file = directory.path().join("policies/deep.cedar");
    let write = |condition: &str| {
        let text = format!(
            "@id(\"deep.one\")\n@description(\"d\")\npermit (principal is Caxton::Agent, action == Caxton::Action::\"tool:list\", resource)\nwhen {{ {condition} }};\n"
        );
        fs::write(&file, text).unwrap();
    };
    for condition in chained(3_000).into_iter().chain(bracketed(1_000)) {
        write(&condition);
        for command in ["validate", "fmt"] {
            let ended = caxton(directory.path(), &[command]);
            assert_ne!(ended.code, 0, "{command}: {}", ended.stdout);
            let said = format!("{}{}", ended.stdout, ended.stderr);
            assert!(said.contains("nested deeper than"), "{command}: {said}");
        }
    }
    // Just below the bounds everything that walks over an expression has to come back.
    for condition in chained(900).into_iter().chain(bracketed(50)) {
        write(&condition);
        for arguments in [
            &["validate"][..],
            &["lint"],
            &[
                "explain",
                "--principal",
                "Agent::\"a\"",
                "--action",
                "tool:list",
                "--resource",
                "Gateway::\"g\"",
            ],
        ] {
            let ended = caxton(directory.path(), arguments);
            assert!((0..=2).contains(&ended.code), "{arguments:?}: {} {}", ended.code, ended.stderr);
        }
    }
}
