//! Proofs over all requests, with the real solver: what holds is proven, what does not comes back as a request that the
//! gateway decides as the report says, and whatever else happens is not proven.

#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "helpers of tests")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command as Process;
use std::sync::Arc;
use std::time::{Duration, Instant};

use caxton::policy::{Bundle, SourceKind, Sources};
use caxton::workbench::prove::{
    Circumstances, CircumstancesError, Claim, ProofResult, ProofVerdict, Settings, Several, Solver,
    SolverError, prove,
};
use caxton::workbench::run::{Settings as RunSettings, Suites, TestResult, run};

use crate::support::solver::solver;

const LIST: &str = "@id(\"t.list\")
permit (principal, action == Caxton::Action::\"tool:list\", resource)
when { context.session.denied < 3 };
";

fn set(policies: &str) -> Bundle {
    let schema = Sources::new().with_shipped(SourceKind::Schema);
    Bundle::load(schema.with_policy("a.cedar", policies)).unwrap()
}

fn sought(bundle: &Bundle, claim: Result<Claim, impl std::fmt::Debug>) -> Option<ProofResult> {
    Some(prove(bundle, &claim.unwrap(), &solver()?, &|_, _| {}))
}

fn against(ours: &str, theirs: &str, except: &[&str]) -> Option<ProofResult> {
    let (ours, theirs) = (set(ours), Arc::new(set(theirs)));
    let except: Vec<String> = except.iter().map(|action| (*action).to_owned()).collect();
    sought(&ours, Claim::no_more_permissive(&ours, theirs, "before", &except))
}

fn several(texts: &[&str]) -> Several {
    Several(texts.iter().map(|text| (*text).to_owned()).collect())
}

/// A counterexample is a test: pasted into a suite it reads, and fails as the report says.
fn fails_as_told(bundle: &Bundle, proof: &ProofResult) {
    assert_eq!(proof.verdict, ProofVerdict::Refuted);
    for counterexample in &proof.counterexamples {
        let mut suites = Suites::default();
        suites.add("a.test.yaml", format!("suite: s\ntests:\n{}", counterexample.test));
        let report = run(bundle, &suites, &RunSettings::default());
        let suite = &report.suites[0];
        assert!(suite.problem.is_none(), "{:?}\n{}", suite.problem, counterexample.test);
        let TestResult::Failed { failures } = &suite.tests[0].result else {
            panic!("{:?}\n{}", suite.tests[0].result, counterexample.test);
        };
        assert_eq!(failures[0].decision.as_ref().unwrap().outcome, counterexample.decided[0].outcome);
    }
}

#[test]
fn what_holds_is_proven_and_what_does_not_comes_with_a_request() {
    let wider = LIST.replace("< 3", "<= 3");
    let Some(proof) = against(LIST, &wider, &[]) else { return };
    assert_eq!((proof.verdict, proof.refuted_in), (ProofVerdict::Proven, 0));
    let Some(proof) = against(&wider, LIST, &[]) else { return };
    fails_as_told(&set(&wider), &proof);
    // Five kinds of principals on two kinds of resources.
    assert_eq!((proof.refuted_in, proof.counterexamples.len()), (10, 3));
    let shown = &proof.counterexamples[0];
    assert_eq!(
        shown.test,
        "- name: Agent asks for tool:list on Gateway
  # now: allow by t.list
  # before: deny_default
  entities:
    Agent::\"agent-1\": {}
    Gateway::\"gateway-1\": {}
  request: { principal: Agent::\"agent-1\", action: tool:list, resource: Gateway::\"gateway-1\", context: { session: { denied: 3 } } }
  expect: { outcome: deny_default }
"
    );
    // What is left out is not looked at, neither by its own name nor by that of its group.
    for except in ["tool:list", "tool:*"] {
        let Some(proof) = against(&wider, LIST, &[except]) else { return };
        assert_eq!(proof.verdict, ProofVerdict::Proven);
        assert!(proof.environments < 399);
    }
}

#[test]
fn the_rules_are_the_gateways() {
    // `denied * 2` cannot be told of the least numbers. Cedar would leave the forbid out and permit; the gateway denies.
    let guarded = "@id(\"t.all\") permit (principal, action == Caxton::Action::\"tool:list\", resource);
@id(\"t.guard\") forbid (principal, action == Caxton::Action::\"tool:list\", resource)
when { context.session.denied * 2 > 100 };
";
    let spelt_out = "@id(\"t.all\") permit (principal, action == Caxton::Action::\"tool:list\", resource)
when { context.session.denied <= 50 && context.session.denied >= -4611686018427387904 };
";
    let (one, other) = (set(guarded), Arc::new(set(spelt_out)));
    let Some(proof) = sought(&one, Claim::equivalent(&one, other, "spelt out", &[])) else { return };
    assert_eq!(proof.verdict, ProofVerdict::Proven, "{proof:#?}");
    // A policy that only watches permits nothing.
    let watched = format!("@mode(\"log_only\") {LIST}");
    let Some(proof) = against(&watched, "", &[]) else { return };
    assert_eq!(proof.verdict, ProofVerdict::Proven);
    let Some(proof) = against(LIST, &watched, &[]) else { return };
    fails_as_told(&set(LIST), &proof);
}

#[test]
fn a_policy_that_can_err_is_found_with_the_request_that_it_errs_on() {
    let bundle = set(&format!(
        "{LIST}@id(\"t.sum\")
forbid (principal is Caxton::Agent, action == Caxton::Action::\"tool:list\", resource)
when {{ context.session.denied + context.session.tool_calls > 10 }};
"
    ));
    let Some(proof) = sought(&bundle, Claim::never_errors(&bundle, &[])) else { return };
    fails_as_told(&bundle, &proof);
    assert_eq!((proof.refuted_in, proof.counterexamples.len()), (2, 1));
    let decided = &proof.counterexamples[0].decided[0];
    assert_eq!((decided.outcome, decided.policies.as_slice()), ("deny_error", &["t.sum".to_owned()][..]));
    assert!(decided.errors[0].contains("integer overflow"), "{decided:?}");
    let Some(proof) = sought(&bundle, Claim::never_errors(&bundle, &["t.list".to_owned()])) else { return };
    assert_eq!(proof.verdict, ProofVerdict::Proven);
    let unknown = Claim::never_errors(&bundle, &["t.lst".to_owned()]).unwrap_err();
    assert_eq!(unknown.to_string(), "there is no policy `t.lst`");
    assert_eq!(unknown.help().unwrap(), "did you mean `t.list`?");
}

#[test]
fn circumstances_are_a_scope_and_conditions() {
    let bundle = set(LIST);
    let about = |principal: &[&str], when: &[&str], unless: &[&str]| Circumstances {
        principal: several(principal),
        action: several(&["tool:list"]),
        resource: several(&["Gateway"]),
        when: several(when),
        unless: several(unless),
    };
    let often = about(&["Agent", "Role::\"viewer\""], &["context.session.denied > 2"], &[]);
    let Some(proof) = sought(&bundle, Claim::always_denies(&bundle, &often)) else { return };
    assert_eq!(proof.verdict, ProofVerdict::Proven);
    assert_eq!(
        proof.statement,
        "nothing is permitted for principal Agent or Role::\"viewer\", action tool:list, resource Gateway, when context.session.denied > 2"
    );
    let seldom = about(&["Agent"], &[], &["context.session.denied > 2"]);
    let Some(proof) = sought(&bundle, Claim::always_allows(&bundle, &seldom)) else { return };
    assert_eq!(proof.verdict, ProofVerdict::Proven);
    let once = about(&["Agent"], &["context.session.denied == 1"], &[]);
    let Some(proof) = sought(&bundle, Claim::always_denies(&bundle, &once)) else { return };
    fails_as_told(&bundle, &proof);
    assert!(proof.counterexamples[0].test.contains("context: { session: { denied: 1 } }"));
    let thrice = about(&["Agent"], &["context.session.denied <= 3"], &[]);
    let Some(proof) = sought(&bundle, Claim::always_allows(&bundle, &thrice)) else { return };
    fails_as_told(&bundle, &proof);
    assert!(proof.counterexamples[0].test.ends_with("expect: { outcome: allow }\n"));
}

#[test]
fn circumstances_that_mean_nothing_are_refused() {
    let bundle = set(LIST);
    let refused = |about: Circumstances| Claim::always_denies(&bundle, &about).unwrap_err();
    let error = refused(Circumstances { principal: several(&["Agnet"]), ..Circumstances::default() });
    assert_eq!(error.to_string(), "there is no entity type `Agnet`");
    let error = refused(Circumstances { action: several(&["tool:lst"]), ..Circumstances::default() });
    assert_eq!(error.to_string(), "there is no action `tool:lst`");
    // It cannot end the condition and begin another policy.
    let text = "true }; @id(\"x\") permit (principal, action, resource) when { true";
    let error = refused(Circumstances { when: several(&[text]), ..Circumstances::default() });
    assert!(matches!(error, CircumstancesError::Expression(..)), "{error}");
    let error = refused(Circumstances { when: several(&["context.nothing"]), ..Circumstances::default() });
    assert!(matches!(error, CircumstancesError::Schema(_)), "{error}");
    // An action that never concerns the resource: what is said of it would be true whatever the policies say.
    for (principal, action, resource) in
        [("Agent", "tool:list", "Config"), ("Metrics", "tool:list", "Gateway")]
    {
        let error = refused(Circumstances {
            principal: several(&[principal]),
            action: several(&[action]),
            resource: several(&[resource]),
            ..Circumstances::default()
        });
        assert_eq!(
            error.to_string(),
            "the schema has no request that meets these conditions: the statement is vacuous",
            "{principal} {action} {resource}"
        );
    }
}

#[test]
fn circumstances_that_no_request_meets_prove_nothing() {
    let bundle = set(LIST);
    let about = Circumstances {
        action: several(&["tool:list"]),
        when: several(&["context.session.denied > 2", "context.session.denied < 2"]),
        ..Circumstances::default()
    };
    let Some(proof) = sought(&bundle, Claim::always_denies(&bundle, &about)) else { return };
    assert_eq!(proof.verdict, ProofVerdict::NotProven);
    assert_eq!(proof.open[0].why, "no request meets the conditions: the statement is vacuous");
}

#[test]
fn policies_that_change_nothing_are_found_with_the_reason() {
    let bundle = set("@id(\"t.wide\") permit (principal, action in Caxton::Action::\"tool:*\", resource);
@id(\"t.within\") permit (principal is Caxton::Agent, action == Caxton::Action::\"tool:list\", resource)
when { principal.signed };
@id(\"t.never\") permit (principal, action == Caxton::Action::\"config:read\", resource)
when { context.session.denied > 5 && context.session.denied < 5 };
@id(\"t.in-vain\") permit (principal, action == Caxton::Action::\"config:update\", resource)
when { context.source.tls };
@id(\"t.closed\") forbid (principal, action == Caxton::Action::\"config:update\", resource);
@id(\"t.idle\") forbid (principal, action == Caxton::Action::\"audit:read\", resource);
");
    let Some(proof) = sought(&bundle, Ok::<_, String>(Claim::none_needless())) else { return };
    let found: Vec<(&str, usize, &str)> =
        proof.needless.iter().map(|one| (one.policy.as_str(), one.line, one.why.as_str())).collect();
    // `t.closed` stays: without it `t.in-vain` would permit.
    assert_eq!(
        found,
        [
            ("t.within", 2, "`t.wide` permits everything that it permits"),
            ("t.never", 4, "no request matches it"),
            ("t.in-vain", 6, "`t.closed` forbids everything that it permits"),
            ("t.idle", 9, "nothing that it forbids would be permitted without it")
        ]
    );
    assert_eq!(proof.verdict, ProofVerdict::Refuted);
}

#[test]
fn an_action_that_the_other_schema_does_not_have_is_denied_there() {
    let extended = Sources::new()
        .with_shipped(SourceKind::Schema)
        .with_schema(
            "tools/a.cedarschema",
            "namespace Caxton { action \"a___b\" in [Action::\"tool:call\"] appliesTo { principal: [Agent], resource: [Tool], context: BaseContext }; }",
        )
        .with_policy(
            "a.cedar",
            "@id(\"t.call\") permit (principal, action in Caxton::Action::\"tool:call\", resource);",
        );
    let ours = Bundle::load(extended).unwrap();
    let theirs = Arc::new(set(
        "@id(\"t.call\") permit (principal, action in Caxton::Action::\"tool:call\", resource);",
    ));
    let claim = Claim::no_more_permissive(&ours, Arc::clone(&theirs), "before", &[]);
    let Some(proof) = sought(&ours, claim) else { return };
    fails_as_told(&ours, &proof);
    assert_eq!((proof.refuted_in, proof.notes.len()), (1, 1));
    assert_eq!(proof.counterexamples[0].environment, "Agent a___b Tool");
    assert_eq!(proof.counterexamples[0].decided[1].outcome, "deny_error");
    // The other way round nothing is lost, but the two are not the same.
    let (back, ours) = (theirs, Arc::new(ours));
    let Some(proof) = sought(&back, Claim::no_more_permissive(&back, Arc::clone(&ours), "after", &[])) else {
        return;
    };
    assert_eq!(proof.verdict, ProofVerdict::Proven);
    let Some(proof) = sought(&back, Claim::equivalent(&back, ours, "after", &[])) else { return };
    assert_eq!((proof.verdict, proof.refuted_in), (ProofVerdict::Refuted, 1));
}

#[test]
fn older_policies_that_do_not_fit_the_newer_schema_are_not_proven() {
    let with = |attribute: &str, policies: &str| {
        let schema = format!(
            "namespace Caxton {{ entity Agent = {{ {attribute}: Bool }}; entity Gateway; action \"tool:list\" appliesTo {{ principal: [Agent], resource: [Gateway], context: {{}} }}; }}"
        );
        Bundle::load(Sources::new().with_schema("s.cedarschema", &schema).with_policy("a.cedar", policies))
            .unwrap()
    };
    let policy = |attribute: &str| {
        format!(
            "@id(\"t\") permit (principal, action == Caxton::Action::\"tool:list\", resource) when {{ principal.{attribute} }};"
        )
    };
    let ours = with("proven", &policy("proven"));
    let theirs = Arc::new(with("signed", &policy("signed")));
    let Some(proof) = sought(&ours, Claim::no_more_permissive(&ours, theirs, "before", &[])) else { return };
    assert_eq!(proof.verdict, ProofVerdict::NotProven);
    assert_eq!(proof.open[0].place, "Agent tool:list Gateway");
    assert!(proof.open[0].why.contains("not well typed"), "{proof:?}");
    assert!(
        proof.notes[0].starts_with("the schemas differ; before is read with the schema here"),
        "{proof:?}"
    );
}

#[test]
fn every_kind_of_value_is_told_as_a_test_tells_it() {
    let bundle = set(
        "@id(\"t.odd\") permit (principal is Caxton::User, action == Caxton::Action::\"tool:list\", resource)
when {
  context.source.ip.isInRange(ip(\"10.0.0.0/8\")) &&
  context.system.now > datetime(\"2030-01-01\") &&
  context.screening.score.greaterThan(decimal(\"0.5\")) &&
  context.session.labels.containsAll([\"a: b\", \"it's\"]) &&
  principal.hasTag(\"team\") && principal.getTag(\"team\").contains(\"\\n#\") &&
  context has actor && context.actor has user && context.actor.user in Caxton::Group::\"x y\"
};
",
    );
    let about = Circumstances { principal: several(&["User"]), ..Circumstances::default() };
    let Some(proof) = sought(&bundle, Claim::always_denies(&bundle, &about)) else { return };
    assert_eq!(proof.refuted_in, 2, "{proof:#?}");
    fails_as_told(&bundle, &proof);
    let test = &proof.counterexamples[0].test;
    for part in [
        "User::\"user-1\": { tags: { team: [\"\\u000a#\"] } }",
        "'Group::\"x y\"': {}",
        "User::\"user-2\": { in: ['Group::\"x y\"'] }",
        "actor: { user: User::\"user-2\" }",
        "screening: { score: '",
        "labels: ['a: b', \"it's\"]",
        "source: { ip: '10.",
        "system: { now: '",
    ] {
        assert!(test.contains(part), "{part}\n{test}");
    }
}

// ---- the solver as a process ----

fn script(directory: &Path, body: &str) -> PathBuf {
    use std::os::unix::fs::PermissionsExt as _;
    let path = directory.join("cvc5");
    fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

fn settings(solver: PathBuf) -> Settings {
    Settings { solver, timeout: Duration::from_millis(100), threads: 1, ..Settings::default() }
}

#[test]
fn a_solver_that_is_not_there_or_is_another_program_is_told() {
    let missing = Solver::find(&settings("/nonexistent/cvc5".into())).unwrap_err();
    assert!(matches!(missing, SolverError::Missing { .. }));
    assert_eq!(missing.to_string(), "the solver `/nonexistent/cvc5` cannot be run");
    let other = Solver::find(&settings("/bin/echo".into())).unwrap_err();
    assert_eq!(other.to_string(), "`/bin/echo` does not answer like cvc5");
}

#[test]
fn a_solver_that_hangs_is_killed_and_sees_nothing_of_the_environment() {
    let directory = tempfile::tempdir().unwrap();
    let seen = directory.path().join("seen");
    let body = format!(
        "case \"$1\" in --version) echo 'This is cvc5 version 0.1';; *) env > {0}; echo \"$$ $*\" > {0}.pid; exec sleep 600;; esac",
        seen.display()
    );
    let path = script(directory.path(), &body);
    let bundle = set(LIST);
    let claim = Claim::always_denies(
        &bundle,
        &Circumstances {
            principal: several(&["Agent"]),
            action: several(&["tool:list"]),
            resource: several(&["Gateway"]),
            ..Circumstances::default()
        },
    );
    let (claim, pid_file) = (claim.unwrap(), seen.with_extension("pid"));
    // Until the shell has had the time to write down what it sees: a machine may be busy with other tests.
    let seconds = [1, 4, 16, 64].into_iter().find(|seconds| {
        let patient = Settings { timeout: Duration::from_secs(*seconds), ..settings(path.clone()) };
        let solver = Solver::find(&patient).unwrap();
        assert_eq!(solver.version(), "cvc5 0.1");
        let began = Instant::now();
        let proof = prove(&bundle, &claim, &solver, &|_, _| {});
        assert_eq!(proof.verdict, ProofVerdict::NotProven);
        let why = format!("the solver came to no answer within {seconds} s");
        assert!(proof.open[0].why.starts_with(&why), "{proof:?}");
        assert!(began.elapsed() < Duration::from_secs(500), "it was waited for");
        fs::read_to_string(&pid_file).is_ok_and(|told| told.ends_with('\n'))
    });
    let seconds = seconds.expect("the solver is started");
    let environment = fs::read_to_string(&seen).unwrap();
    let names: Vec<&str> = environment.lines().filter_map(|line| line.split('=').next()).collect();
    // The last three are the shell's own.
    assert!(names.iter().all(|name| ["PATH", "PWD", "SHLVL", "_", "OLDPWD"].contains(name)), "{names:?}");
    let told = fs::read_to_string(pid_file).unwrap();
    let (pid, arguments) = told.trim().split_once(' ').unwrap();
    assert_eq!(arguments, format!("--lang smt --tlimit-per={seconds}000"));
    let alive = fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "));
    assert!(!alive, "the solver still runs");
}

#[test]
fn a_solver_that_breaks_off_or_talks_nonsense_proves_nothing() {
    for answer in ["exit 1", "read x; echo maybe", "read x; echo unknown", "read x; echo unsat; kill -9 $$"] {
        let directory = tempfile::tempdir().unwrap();
        let body = format!("case \"$1\" in --version) echo 'This is cvc5 version 0.1';; *) {answer};; esac");
        let solver = Solver::find(&settings(script(directory.path(), &body))).unwrap();
        let bundle = set(&format!(
            "{LIST}@id(\"t.sum\") permit (principal, action == Caxton::Action::\"tool:list\", resource) when {{ context.session.denied + 1 > 0 }};"
        ));
        let claim = Claim::never_errors(&bundle, &[]).unwrap();
        let proof = prove(&bundle, &claim, &solver, &|_, _| {});
        // A solver that lies is beyond us: cvc5 is trusted to say `unsat` only when it is so.
        if !answer.contains("unsat") {
            assert_eq!(proof.verdict, ProofVerdict::NotProven, "{answer}");
            assert_eq!(proof.open.len(), 10, "{answer}");
        }
        assert_eq!(proof.refuted_in, 0);
    }
}

// ---- the command ----

fn caxton(directory: &Path, arguments: &[&str], solver: Option<&str>) -> (i32, String, String) {
    let mut command = Process::new(env!("CARGO_BIN_EXE_caxton"));
    command.current_dir(directory).args(["policy", "analyze"]).args(arguments).env("NO_COLOR", "1");
    if !directory.join("policies").is_dir() {
        command.arg("--shipped");
    }
    if !arguments.contains(&"--timeout") {
        // A machine that is busy with other tests leaves questions open that are none.
        command.args(["--timeout", "300"]);
    }
    if let Some(solver) = solver {
        command.env("CVC5", solver);
    }
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[test]
fn without_a_solver_nothing_is_proven() {
    let directory = tempfile::tempdir().unwrap();
    let (code, stdout, stderr) = caxton(directory.path(), &["never-errors"], Some("/nonexistent/cvc5"));
    assert_eq!(code, 3);
    assert!(
        stdout.starts_with("? not proven  no policy can err\n    everywhere: there is no solver\n"),
        "{stdout}"
    );
    assert!(stdout.contains("0 proven, 1 not proven (no solver, policies "), "{stdout}");
    assert!(stderr.contains("no solver: the solver `/nonexistent/cvc5` cannot be run"), "{stderr}");
    assert!(stderr.contains("help: install cvc5"), "{stderr}");
}

#[test]
fn the_shipped_policies_never_err_and_none_is_needless() {
    let Some(solver) = solver() else { return };
    let directory = tempfile::tempdir().unwrap();
    let (code, stdout, _) = caxton(directory.path(), &[], None);
    assert_eq!(code, 0, "{stdout}");
    let lines: Vec<&str> = stdout.lines().collect();
    assert_eq!(
        lines[..2],
        [
            "✓ proven  no policy can err  399 environments",
            "✓ proven  every policy decides something  399 environments"
        ]
    );
    assert!(lines[2].starts_with(&format!("2 proven ({}, policies ", solver.version())), "{stdout}");
}

#[test]
fn a_change_is_held_against_a_commit() {
    if solver().is_none() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let git = |arguments: &[&str]| {
        let identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"];
        let status = Process::new("git").current_dir(&directory).args(identity).args(arguments).status();
        assert!(status.unwrap().success());
    };
    fs::create_dir(directory.path().join("policies")).unwrap();
    let policies = directory.path().join("policies/a.cedar");
    fs::write(&policies, LIST).unwrap();
    git(&["init", "-q"]);
    git(&["add", "."]);
    git(&["commit", "-q", "-m", "first"]);
    let ask = |arguments: &[&str]| caxton(directory.path(), arguments, None);
    assert_eq!(ask(&["equivalent", "HEAD"]).0, 0);
    fs::write(&policies, LIST.replace("< 3", "< 2")).unwrap();
    assert_eq!(ask(&["no-more-permissive", "HEAD"]).0, 0);
    assert_eq!(ask(&["equivalent", "HEAD"]).0, 1);
    fs::write(&policies, LIST.replace("< 3", "< 4")).unwrap();
    let (code, stdout, _) = ask(&["no-more-permissive", "HEAD", "--show", "1"]);
    assert_eq!(code, 1);
    assert!(
        stdout.starts_with(
            "✗ refuted  no more is permitted than by HEAD  not so in 10 of 399 environments
    Agent::\"agent-1\" asks for tool:list on Gateway::\"gateway-1\"
      here: allow by t.list
      HEAD: deny_default
      as a test:
      - name: Agent asks for tool:list on Gateway
"
        ),
        "{stdout}"
    );
    assert!(stdout.contains("    … and 9 more\n"), "{stdout}");
    assert_eq!(ask(&["no-more-permissive", "HEAD", "--except", "tool:*"]).0, 0);
    let (code, _, stderr) = ask(&["no-more-permissive", "HEAD", "--except", "tool:lst"]);
    assert_eq!(
        (code, stderr.as_str()),
        (
            2,
            "note: no folder `schemas` here, using the shipped schema\nerror: there is no action `tool:lst`\nhelp: did you mean `tool:list`?\n"
        )
    );
    let (code, _, stderr) = ask(&["equivalent", "nowhere"]);
    assert_eq!(code, 2);
    assert!(stderr.contains("`nowhere` is neither a folder nor a commit of this repository"), "{stderr}");
}

#[test]
fn a_condition_that_does_not_fit_is_shown_where_it_stands() {
    let directory = tempfile::tempdir().unwrap();
    let ask = |arguments: &[&str]| caxton(directory.path(), arguments, None);
    let (code, _, stderr) =
        ask(&["always-denies", "--action", "tool:list", "--when", "context.sesion.denied > 1"]);
    assert_eq!(code, 2);
    assert!(stderr.contains("attribute `sesion`"), "{stderr}");
    assert!(stderr.contains("context.sesion.denied > 1"), "{stderr}");
    let (code, _, stderr) = ask(&["always-denies", "--principal", "Agent", "--when", "principal.status =="]);
    assert_eq!(code, 2);
    assert!(stderr.contains("`principal.status ==` is not an expression"), "{stderr}");
    for timeout in ["0", "-1", "soon", "1e9"] {
        assert_eq!(ask(&["--timeout", timeout]).0, 2, "{timeout}");
    }
}

// ---- many permits about one environment ----

/// As many as are no longer one question, each for a role of its own, under one forbid.
fn many(bound: impl Fn(usize) -> usize, forbid: &str) -> String {
    let permits: String = (0..14)
        .map(|number| {
            format!(
                "@id(\"t.{number}\") permit (principal is Caxton::Agent in Caxton::Role::\"r{number}\", action == Caxton::Action::\"tool:list\", resource is Caxton::Gateway) when {{ context.session.denied < {} }};\n",
                bound(number)
            )
        })
        .collect();
    format!(
        "{permits}@id(\"t.tls\") forbid (principal, action == Caxton::Action::\"tool:list\", resource) when {{ {forbid} }};\n"
    )
}

#[test]
fn many_permits_are_held_against_each_other_in_pieces() {
    let plain = many(|number| number + 5, "!context.source.tls");
    let wider = many(|number| if number == 7 { 50 } else { number + 5 }, "!context.source.tls");
    let reworded = many(|number| number + 5, "context.source.tls == false");
    let Some(proof) = against(&plain, &wider, &[]) else { return };
    assert_eq!(proof.verdict, ProofVerdict::Proven, "{proof:#?}");
    let Some(proof) = against(&plain, &reworded, &[]) else { return };
    assert_eq!(proof.verdict, ProofVerdict::Proven, "{proof:#?}");
    let Some(proof) = against(&wider, &plain, &[]) else { return };
    fails_as_told(&set(&wider), &proof);
    assert_eq!(proof.refuted_in, 1);
    let test = &proof.counterexamples[0].test;
    assert!(test.contains("Role::\"r7\"") && test.contains("now: allow by t.7\n"), "{test}");
    // With one permit for all that they permit, none of them is its like: the whole other set answers.
    let one = "@id(\"t.all\") permit (principal, action == Caxton::Action::\"tool:list\", resource) when { context.source.tls && context.session.denied < 17 };";
    let Some(proof) = against(&plain, one, &[]) else { return };
    assert_eq!(proof.verdict, ProofVerdict::Refuted, "the last bound is 18: {proof:#?}");
    let Some(proof) = against(&plain, &one.replace("17", "18"), &[]) else { return };
    assert_eq!(proof.verdict, ProofVerdict::Proven, "{proof:#?}");
    let bundle = set(&plain);
    for (when, verdict) in [(16, ProofVerdict::Refuted), (17, ProofVerdict::Proven)] {
        let when = format!("context.session.denied > {when}");
        let about = Circumstances { when: several(&[when.as_str()]), ..Circumstances::default() };
        let Some(proof) = sought(&bundle, Claim::always_denies(&bundle, &about)) else { return };
        assert_eq!(proof.verdict, verdict, "{when}: {proof:#?}");
    }
}

#[test]
fn among_many_permits_the_needless_one_is_found() {
    let doubled = format!(
        "{}@id(\"t.within\") permit (principal is Caxton::Agent in Caxton::Role::\"r3\", action == Caxton::Action::\"tool:list\", resource is Caxton::Gateway) when {{ context.session.denied < 4 }};\n",
        many(|number| number + 5, "!context.source.tls")
    );
    let bundle = set(&doubled);
    let Some(proof) = sought(&bundle, Ok::<_, String>(Claim::none_needless())) else { return };
    let found: Vec<(&str, &str)> =
        proof.needless.iter().map(|one| (one.policy.as_str(), one.why.as_str())).collect();
    assert_eq!(found, [("t.within", "`t.3` permits everything that it permits")]);
}
