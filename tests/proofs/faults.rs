//! Thirty faults that people make in policies, each found by a command of the workbench; and a sound set in which none of
//! them finds anything.

#![expect(clippy::panic, clippy::unwrap_used, reason = "helpers of tests")]

use caxton::policy::{Bundle, PolicyErrors, SourceKind, Sources};
use caxton::workbench::coverage::measure;
use caxton::workbench::lint::lint;
use caxton::workbench::mutate::mutate;
use caxton::workbench::prove::{Circumstances, Claim, ProofResult, ProofVerdict, Several, prove};
use caxton::workbench::run::{Settings, Suites, examine};

use crate::support::solver::solver;

/// Who finds a fault, and the words it finds it with.
enum By {
    /// `validate` refuses it.
    Validate(&'static str),
    /// `validate` warns of it.
    Warning(&'static str),
    /// A rule of `lint`.
    Lint(&'static str),
    /// `test`: a test of the suite fails.
    Test(&'static str),
    /// `coverage`: this part, and what was not seen of it.
    Coverage(&'static str, &'static str),
    /// `mutate`: a change by this operator to this line is not noticed.
    Mutate(&'static str, &'static str),
}

/// A sound policy: agents that are signed list tools by day, unless they were denied too often.
const SOUND: &str = "@id(\"t.day\")
@description(\"Signed agents list tools by day.\")
permit (principal is Caxton::Agent, action == Caxton::Action::\"tool:list\", resource)
when { principal.signed && context.system.hour >= 6 && context.system.hour < 22 }
unless { context.session.denied > 3 };
";

const SUITE: &str = "suite: s
entities:
  Gateway::\"g\": {}
  Agent::\"a\": {}
  Agent::\"unsigned\": { attrs: { signed: false } }
  Service::\"s\": {}
tests:
  - name: by day
    matrix: { hour: [6, 12, 21] }
    request: { principal: Agent::\"a\", action: tool:list, resource: Gateway::\"g\", context: { system: { hour: \"${hour}\" } } }
    expect: { outcome: allow }
  - name: by night
    matrix: { hour: [5, 22] }
    request: { principal: Agent::\"a\", action: tool:list, resource: Gateway::\"g\", context: { system: { hour: \"${hour}\" } } }
    expect: { outcome: deny_default }
  - name: others
    matrix: { principal: ['Agent::\"unsigned\"', 'Service::\"s\"'] }
    request: { principal: \"${principal}\", action: tool:list, resource: Gateway::\"g\" }
    expect: { outcome: deny_default }
  - name: another action
    request: { principal: Agent::\"a\", action: agent:list, resource: Gateway::\"g\" }
    expect: { outcome: deny_default }
  - name: denied often
    request: { principal: Agent::\"a\", action: tool:list, resource: Gateway::\"g\", context: { session: { denied: 4 } } }
    expect: { outcome: deny_default }
  - name: denied three times
    request: { principal: Agent::\"a\", action: tool:list, resource: Gateway::\"g\", context: { session: { denied: 3 } } }
    expect: { outcome: allow }
";

fn load(policies: &str) -> Result<Bundle, PolicyErrors> {
    let schema = Sources::new().with_shipped(SourceKind::Schema);
    Bundle::load(schema.with_policy("a.cedar", policies))
}

fn suites(text: &str) -> Suites {
    let mut suites = Suites::default();
    suites.add("a.test.yaml", text);
    suites
}

#[test]
fn in_a_sound_set_nothing_is_found() {
    let bundle = load(SOUND).unwrap();
    assert!(bundle.warnings().is_empty());
    let (report, questions) = examine(&bundle, &suites(SUITE), &Settings::default());
    assert_eq!((report.summary().passed, report.summary().failed, report.summary().broken), (6, 0, 0));
    assert!(lint(&bundle, Some(&questions)).is_empty());
    let coverage = measure(&bundle, &questions);
    assert_eq!(coverage.summary.covered, coverage.summary.points);
    let mutation = mutate(&bundle, &questions, 2, &|_, _| {});
    assert_eq!(mutation.survivors.len(), 0, "{:#?}", mutation.survivors);
    assert!(mutation.summary.mutants > 20);
}

/// What is replaced, and by what.
type Edit = (&'static str, &'static str);

/// `(fault, the text that is replaced in the policy, what it is replaced by, in the suite likewise, who finds it)`.
fn faults() -> Vec<(&'static str, Edit, Edit, By)> {
    const SAME: Edit = ("", "");
    let second = |text: &'static str| ("unless { context.session.denied > 3 };\n", text);
    vec![
        (
            "a misspelt attribute",
            ("principal.signed", "principal.singed"),
            SAME,
            By::Validate("attribute `singed`"),
        ),
        ("a misspelt action", ("tool:list", "tool:lst"), SAME, By::Validate("unrecognized action")),
        (
            "a misspelt type",
            ("is Caxton::Agent", "is Caxton::Agnet"),
            SAME,
            By::Validate("unrecognized entity type"),
        ),
        ("a forgotten id", ("@id(\"t.day\")", ""), SAME, By::Validate("no `@id`")),
        (
            "an id used twice",
            second(
                "unless { context.session.denied > 3 };\n@id(\"t.day\") permit (principal is Caxton::Agent, action == Caxton::Action::\"agent:list\", resource);",
            ),
            SAME,
            By::Validate("already used"),
        ),
        ("a misspelt mode", ("@id", "@mode(\"logonly\") @id"), SAME, By::Validate("is not known")),
        (
            "an optional attribute without `has`",
            ("context.session.denied > 3", "context.actor.scopes.contains(\"x\")"),
            SAME,
            By::Validate("optional attribute"),
        ),
        (
            "a number compared with a text",
            ("context.system.hour < 22", "context.system.hour < \"22\""),
            SAME,
            By::Validate("expected Long but saw String"),
        ),
        (
            "an action that does not apply",
            (
                "principal is Caxton::Agent, action == Caxton::Action::\"tool:list\"",
                "principal is Caxton::User, action == Caxton::Action::\"model:call\"",
            ),
            SAME,
            By::Lint("never-matches"),
        ),
        (
            "a condition that cannot hold",
            ("principal.signed &&", "principal is Caxton::User &&"),
            SAME,
            By::Warning("impossible"),
        ),
        (
            "a permit that another one makes idle",
            second(
                "unless { context.session.denied > 3 };\n@id(\"t.all\") permit (principal is Caxton::Agent, action in Caxton::Action::\"tool:*\", resource);",
            ),
            SAME,
            By::Lint("shadowed"),
        ),
        (
            "a URL compared with `like`",
            ("principal.signed", "principal.name like \"https://*.example.org/*\""),
            SAME,
            By::Lint("url-like"),
        ),
        (
            "a forgotten scope",
            (
                "principal is Caxton::Agent, action == Caxton::Action::\"tool:list\", resource)\nwhen { principal.signed && ",
                "principal, action, resource)\nwhen { ",
            ),
            SAME,
            By::Lint("open-permit"),
        ),
        (
            "a forbid that can err",
            second(
                "unless { context.session.denied > 3 };\n@id(\"t.err\") forbid (principal, action == Caxton::Action::\"tool:list\", resource) when { context.session.denied + context.session.tool_calls > 9000 };",
            ),
            SAME,
            By::Lint("forbid-can-err"),
        ),
        (
            "a misspelt annotation",
            ("@description", "@descripton"),
            SAME,
            By::Validate("`@descripton` is not known"),
        ),
        (
            "a promise that is not kept",
            ("@description", "@require_approval(\"admin\") @description"),
            SAME,
            By::Validate("`@require_approval` is not carried out"),
        ),
        (
            "a thing compared with itself",
            ("principal.signed", "principal.name == principal.name"),
            SAME,
            By::Lint("constant-condition"),
        ),
        (
            "a part copied and not changed",
            ("context.system.hour < 22", "context.system.hour >= 6"),
            SAME,
            By::Lint("repeated-part"),
        ),
        (
            "a policy without a test",
            second(
                "unless { context.session.denied > 3 };\n@id(\"t.idle\") permit (principal is Caxton::System, action == Caxton::Action::\"config:read\", resource);",
            ),
            SAME,
            By::Lint("missing-test"),
        ),
        (
            "an inverted comparison",
            ("context.system.hour >= 6", "context.system.hour <= 6"),
            SAME,
            By::Test("by day"),
        ),
        (
            "`&&` where `||` was meant, untested",
            ("principal.signed &&", "(principal.signed && context.source.tls) ||"),
            SAME,
            By::Coverage("context.source.tls", "never true"),
        ),
        (
            "a clause that no test reaches",
            SAME,
            (
                "  - name: denied often\n    request: { principal: Agent::\"a\", action: tool:list, resource: Gateway::\"g\", context: { session: { denied: 4 } } }\n    expect: { outcome: deny_default }\n",
                "",
            ),
            By::Coverage("context.session.denied > 3", "never true"),
        ),
        (
            "an untested bound",
            SAME,
            ("hour: [6, 12, 21]", "hour: [7, 12, 21]"),
            By::Mutate(
                "compare",
                "when { principal.signed && context.system.hour > 6 && context.system.hour < 22 }",
            ),
        ),
        (
            "an action too many",
            (
                "action == Caxton::Action::\"tool:list\"",
                "action in [Caxton::Action::\"tool:list\", Caxton::Action::\"config:update\"]",
            ),
            SAME,
            By::Mutate(
                "drop-action",
                "permit (principal is Caxton::Agent, action in [Caxton::Action::\"tool:list\"], resource)",
            ),
        ),
    ]
}

#[test]
fn every_fault_is_found() {
    let all = faults();
    assert_eq!(all.len(), 24);
    let mut missed = Vec::new();
    for (fault, policy, suite, by) in all {
        let replaced = |text: &str, (from, to): (&str, &str)| {
            assert!(text.contains(from), "{fault}: `{from}`");
            if from.is_empty() { text.to_owned() } else { text.replacen(from, to, 1) }
        };
        let (policies, suite) = (replaced(SOUND, policy), replaced(SUITE, suite));
        let (is_found, told) = found(&policies, &suite, &by);
        if !is_found {
            missed.push(format!("{fault}, in\n{policies}\nwhat is found: {told:#?}"));
        }
    }
    assert!(missed.is_empty(), "not found: {}", missed.join("\n\n"));
}

/// Whether it is found, and what is.
fn found(policies: &str, suite: &str, by: &By) -> (bool, Vec<String>) {
    let told = |found: Vec<String>, words: &str| (found.iter().any(|one| one.contains(words)), found);
    let bundle = match (load(policies), by) {
        (Err(errors), By::Validate(words)) => {
            let messages = errors.problems().iter().map(|problem| problem.message.clone()).collect();
            return told(messages, words);
        }
        (Err(errors), _) => panic!("{errors}\n{policies}"),
        (Ok(bundle), _) => bundle,
    };
    let (report, questions) = examine(&bundle, &suites(suite), &Settings::default());
    match by {
        By::Validate(_) => (false, Vec::new()),
        By::Warning(words) => {
            told(bundle.warnings().iter().map(|problem| problem.message.clone()).collect(), words)
        }
        By::Lint(rule) => {
            told(lint(&bundle, Some(&questions)).iter().map(|one| one.rule.id.to_owned()).collect(), rule)
        }
        By::Test(name) => {
            let tests = report.suites.iter().flat_map(|suite| &suite.tests);
            let failed = tests
                .filter(|test| matches!(test.result, caxton::workbench::run::TestResult::Failed { .. }))
                .map(|test| test.name.clone());
            told(failed.collect(), name)
        }
        By::Coverage(text, gap) => {
            let coverage = measure(&bundle, &questions);
            let parts = coverage.policies.iter().flat_map(|policy| &policy.parts);
            let gaps = parts.map(|part| format!("{} {}", part.text, part.gaps().join(", "))).collect();
            told(gaps, &format!("{text} {gap}"))
        }
        By::Mutate(operator, line) => {
            let mutation = mutate(&bundle, &questions, 2, &|_, _| {});
            let unnoticed =
                mutation.survivors.iter().map(|one| format!("{}: {}", one.operator, one.after.join("\n")));
            told(unnoticed.collect(), &format!("{operator}: {line}"))
        }
    }
}

// ---- what only a proof finds ----

/// What is asked of a set with a fault.
enum Asked {
    NeverErrors,
    NoneNeedless,
    NoMoreThanSound,
    Denies(&'static str, &'static str, &'static str),
}

fn proof_of(bundle: &Bundle, asked: &Asked) -> Option<ProofResult> {
    let several = |text: &str| Several(vec![text.to_owned()]);
    let claim = match asked {
        Asked::NeverErrors => Claim::never_errors(bundle, &[]).unwrap(),
        Asked::NoneNeedless => Claim::none_needless(),
        Asked::NoMoreThanSound => {
            Claim::no_more_permissive(bundle, load(SOUND).unwrap().into(), "before", &[]).unwrap()
        }
        Asked::Denies(action, when, unless) => {
            let about = Circumstances {
                principal: several("Agent"),
                action: several(action),
                when: several(when),
                unless: several(unless),
                ..Circumstances::default()
            };
            Claim::always_denies(bundle, &about).unwrap()
        }
    };
    Some(prove(bundle, &claim, &solver()?, &|_, _| {}))
}

const PRIVATE: Asked = Asked::Denies(
    "memory:*",
    "resource.scope == \"agent\"",
    "resource has agent && resource.agent == principal",
);

/// `(fault, the text that is replaced in the policy and what by, what is asked, the words it is found with)`.
fn faults_for_proof() -> Vec<(&'static str, Edit, Asked, &'static str)> {
    let end = "unless { context.session.denied > 3 };\n";
    vec![
        (
            "a permit that says less than another one in other words",
            (
                end,
                "unless { context.session.denied > 3 };\n@id(\"t.noon\") permit (principal is Caxton::Agent, action == Caxton::Action::\"tool:list\", resource)\nwhen { principal.signed && context.system.hour == 12 && context.session.denied == 0 };",
            ),
            Asked::NoneNeedless,
            "t.noon: `t.day` permits everything that it permits",
        ),
        (
            "two bounds with nothing between them",
            (
                end,
                "unless { context.session.denied > 3 };\n@id(\"t.night\") permit (principal is Caxton::Agent, action == Caxton::Action::\"tool:list\", resource)\nwhen { context.system.hour > 22 && context.system.hour < 6 };",
            ),
            Asked::NoneNeedless,
            "t.night: no request matches it",
        ),
        (
            "a permit that a forbid takes back as a whole",
            (
                end,
                "unless { context.session.denied > 3 };\n@id(\"t.vain\") permit (principal is Caxton::Service, action == Caxton::Action::\"config:read\", resource)\nwhen { context.source.tls };\n@id(\"t.shut\") forbid (principal is Caxton::Service, action == Caxton::Action::\"config:read\", resource)\nunless { context.system.hour > 30 && context.system.hour < 20 };",
            ),
            Asked::NoneNeedless,
            "t.vain: `t.shut` forbids everything that it permits",
        ),
        (
            "a permit that can err",
            ("context.session.denied > 3", "context.session.denied * 2 > 6"),
            Asked::NeverErrors,
            "error in t.day: integer overflow",
        ),
        (
            "a bound that lets one more in, with its test",
            ("context.session.denied > 3", "context.session.denied > 4"),
            Asked::NoMoreThanSound,
            "denied: 4",
        ),
        (
            "a back door that no test knocks at",
            (
                end,
                "unless { context.session.denied > 3 };\n@id(\"t.debug\") permit (principal is Caxton::Agent, action == Caxton::Action::\"memory:read\", resource is Caxton::MemoryEntity)\nwhen { resource.owner == principal.name };",
            ),
            PRIVATE,
            "now: allow by t.debug",
        ),
    ]
}

#[test]
fn what_only_a_proof_finds_is_found() {
    if solver().is_none() {
        return;
    }
    for (fault, (from, to), asked, words) in faults_for_proof() {
        let policies = SOUND.replacen(from, to, 1);
        assert_ne!(policies, SOUND, "{fault}");
        let bundle = load(&policies).unwrap_or_else(|errors| panic!("{fault}: {errors}"));
        assert!(bundle.warnings().is_empty(), "{fault}: {:?}", bundle.warnings());
        // Nobody else says a word, but that a policy has no test, and that a broader permit goes round a limit.
        let (_, questions) = examine(&bundle, &suites(SUITE), &Settings::default());
        let others: Vec<&str> = lint(&bundle, Some(&questions)).iter().map(|one| one.rule.id).collect();
        assert!(
            others.iter().all(|rule| ["missing-test", "bypassed-limit"].contains(rule)),
            "{fault}: {others:?}"
        );
        let Some(proof) = proof_of(&bundle, &asked) else { return };
        assert_eq!(proof.verdict, ProofVerdict::Refuted, "{fault}: {proof:#?}");
        let needless = proof.needless.iter().map(|one| format!("{}: {}", one.policy, one.why));
        let told: Vec<String> =
            needless.chain(proof.counterexamples.iter().map(|one| one.test.clone())).collect();
        assert!(told.iter().any(|one| one.contains(words)), "{fault}: {told:#?}");
    }
}

#[test]
fn in_a_sound_set_everything_is_proven() {
    let bundle = load(SOUND).unwrap();
    for asked in [Asked::NeverErrors, Asked::NoneNeedless, Asked::NoMoreThanSound, PRIVATE] {
        let Some(proof) = proof_of(&bundle, &asked) else { return };
        assert_eq!(proof.verdict, ProofVerdict::Proven, "{proof:#?}");
    }
}
