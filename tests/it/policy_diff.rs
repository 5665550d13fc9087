//! What a change of the policies changes, between folders and between git commits.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::fs;
use std::process::Command as Process;

use caxton::cli::output::{Exit, Format, Output};
use caxton::cli::policy::{Command, diff as command, run_in};
use caxton::policy::{Bundle, SourceKind, Sources};
use caxton::workbench::diff::{ChangedPart, Difference, diff};
use caxton::workbench::matrix::{Shift, shift};
use caxton::workbench::run::{Settings, Suites, examine};

const OLD: &str = "@id(\"t.list\") @description(\"old words\")
permit (principal, action == Caxton::Action::\"tool:list\", resource)
when { context.session.denied < 3 };
@id(\"t.gone\")
permit (principal is Caxton::Service, action == Caxton::Action::\"agent:list\", resource);
";

const SUITE: &str = "suite: s
entities: { Gateway::\"g\": {}, Agent::\"a\": {}, Service::\"s\": {} }
tests:
  - name: listed
    matrix: { denied: [0, 3, 4] }
    request: { principal: Agent::\"a\", action: tool:list, resource: Gateway::\"g\", context: { session: { denied: \"${denied}\" } } }
    expect: { outcome: deny_default }
  - name: agents
    request: { principal: Service::\"s\", action: agent:list, resource: Gateway::\"g\" }
    expect: { outcome: deny_default }
";

fn set(policies: &str) -> Bundle {
    let schema = Sources::new().with_shipped(SourceKind::Schema);
    Bundle::load(schema.with_policy("a.cedar", policies)).unwrap()
}

fn compared(old: &str, new: &str) -> Difference {
    let (old, new) = (set(old), set(new));
    let mut suites = Suites::default();
    suites.add("a.test.yaml", SUITE);
    let (_, questions) = examine(&new, &suites, &Settings::default());
    diff(&old, &new, &questions)
}

#[test]
fn the_same_differs_in_nothing() {
    let difference = compared(OLD, OLD);
    assert!(difference.is_none());
    assert_eq!((difference.asked, difference.other_policies), (4, 0));
    // Nor do spaces, breaks of lines and comments.
    let spaced = OLD.replace(
        "when { context.session.denied < 3 }",
        "when\n{ // not often\n  (context.session.denied   < 3)\n}",
    );
    let spaced = spaced.replace("(principal, action", "(\n  principal,\n  action");
    assert!(compared(OLD, &spaced).is_none(), "{:?}", compared(OLD, &spaced));
}

#[test]
fn policies_and_decisions_that_differ_are_told() {
    let new = "@id(\"t.list\") @description(\"new words\")
permit (principal, action == Caxton::Action::\"tool:list\", resource)
when { context.session.denied <= 3 };
@id(\"t.new\")
forbid (principal is Caxton::Agent, action == Caxton::Action::\"tool:list\", resource)
when { context.session.denied == 0 };
";
    let difference = compared(OLD, new);
    let ids = |list: &[caxton::workbench::diff::Named]| -> Vec<String> {
        list.iter().map(|one| one.id.clone()).collect()
    };
    assert_eq!(
        (ids(&difference.added), ids(&difference.removed)),
        (vec!["t.new".to_owned()], vec!["t.gone".to_owned()])
    );
    let [changed] = difference.changed.as_slice() else { unreachable!("{:?}", difference.changed) };
    assert!(changed.meaning);
    let part = |kind: &str, old: &str, new: &str| ChangedPart {
        kind: kind.to_owned(),
        old: Some(old.to_owned()),
        new: Some(new.to_owned()),
    };
    assert_eq!(
        changed.parts,
        [
            part("when", "{ context.session.denied < 3 }", "{ context.session.denied <= 3 }"),
            part("@description", "old words", "new words"),
        ]
    );
    // 0 is forbidden now, 3 is allowed now, 4 is denied by both; and agents are no longer listed.
    let flips: Vec<_> = difference
        .flips
        .iter()
        .map(|flip| (flip.test.as_str(), flip.old.outcome, flip.new.outcome, flip.new.policies.join(",")))
        .collect();
    assert_eq!(
        flips,
        [
            ("s: listed (denied = 0)", "allow", "deny_explicit", "t.new".to_owned()),
            ("s: listed (denied = 3)", "deny_default", "allow", "t.list".to_owned()),
            ("s: agents", "allow", "deny_default", String::new()),
        ]
    );
    let text = anstream::adapter::strip_str(&command::text(
        &command::ComparedVersions {
            difference: difference.clone(),
            matrix: Shift::default(),
            traffic: None,
        },
        1,
    ))
    .to_string();
    assert!(text.contains("Action::\"tool:list\"  2 flips\n  Agent::\"a\" on Gateway::\"g\"\n    allow by t.list → deny_explicit by t.new\n"), "{text}");
    assert!(text.contains("  … and 1 more\n"), "{text}");
    assert!(
        text.contains(
            "\n3 flips in 4 requests of the tests: 1 newly allowed, 2 no longer allowed; 0 decided alike"
        ),
        "{text}"
    );
}

#[test]
fn words_about_a_policy_are_no_change_of_meaning_but_its_mode_is() {
    let words = compared(OLD, &OLD.replace("old words", "new words"));
    assert_eq!((words.changed.len(), words.changed[0].meaning, words.flips.len()), (1, false, 0));
    let mode = compared(OLD, &OLD.replace("@description(\"old words\")", "@mode(\"log_only\")"));
    assert!(mode.changed[0].meaning);
    assert_eq!(mode.flips.len(), 1, "what only watches no longer permits");
}

#[test]
fn the_same_decision_by_another_policy_is_counted() {
    let difference = compared(OLD, &OLD.replace("t.list", "t.renamed"));
    assert_eq!((difference.added.len(), difference.removed.len(), difference.flips.len()), (1, 1, 0));
    assert_eq!(difference.other_policies, 1);
}

#[test]
fn cells_of_the_matrix_that_differ_are_told() {
    let chief = "@id(\"t.chief\")
permit (principal in Caxton::Role::\"chief\", action == Caxton::Action::\"agent:view\", resource is Caxton::Agent);";
    let (old, new) = (set(OLD), set(&format!("{OLD}{chief}")));
    let told = |shift: &Shift| -> Vec<String> {
        let side = |side: &Option<caxton::workbench::diff::ComparedSide>| {
            side.as_ref()
                .map_or_else(String::new, |side| format!("{} {}", side.outcome, side.policies.join(",")))
        };
        let cells = shift.flips.iter();
        cells
            .map(|at| {
                format!(
                    "{} {} {}: {}→ {}",
                    at.principal,
                    at.action,
                    at.resource,
                    side(&at.old),
                    side(&at.new)
                )
            })
            .collect()
    };
    assert_eq!(shift(&old, &old).flips.len(), 0);
    // A role that only one of them names stands in both columns.
    let came = shift(&old, &new);
    assert_eq!(told(&came), ["chief agent:view Agent::\"b\": deny_default → allow t.chief"]);
    assert_eq!(told(&shift(&new, &old)), ["chief agent:view Agent::\"b\": allow t.chief→ deny_default "]);
    assert!(came.cells > 300, "{}", came.cells);
    // The same decision by another policy is none that differs; an action that came and that nobody may do is none either.
    assert_eq!(shift(&new, &set(&format!("{OLD}{}", chief.replace("t.chief", "t.boss")))).flips.len(), 0);
    let schema = Sources::new().with_shipped(SourceKind::Schema).with_schema(
        "more.cedarschema",
        "namespace Caxton { action \"more\" in [\"agent:*\"] appliesTo { principal: [User], resource: [Gateway], context: {} }; }",
    );
    let more = |policies: &str| Bundle::load(schema.clone().with_policy("a.cedar", policies)).unwrap();
    assert_eq!(shift(&old, &more(OLD)).flips.len(), 0);
    let all =
        "@id(\"t.all\") permit (principal is Caxton::User, action == Caxton::Action::\"more\", resource);";
    let came = shift(&old, &more(&format!("{OLD}{all}")));
    assert_eq!(told(&came), ["nobody more Gateway::\"x\": → allow t.all"]);
    let difference = compared(OLD, OLD);
    let text = command::text(&command::ComparedVersions { difference, matrix: came, traffic: None }, 3);
    let text = anstream::adapter::strip_str(&text).to_string();
    assert!(
        text.contains("\nmore  1 flip\n  nobody on Gateway::\"x\"\n    not there → allow by t.all\n"),
        "{text}"
    );
    assert!(text.contains("of the matrix: 1 newly allowed, 0 no longer allowed"), "{text}");
}

// ---- the command ----

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        folder.write("policies/a.cedar", OLD);
        folder.write("policy-tests/a.test.yaml", SUITE);
        folder
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.0.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn git(&self, arguments: &[&str]) {
        let done = Process::new("git")
            .arg("-C")
            .arg(self.0.path())
            .args(["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "init.defaultBranch=main"])
            .args(arguments)
            .output()
            .unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }

    fn run(&self, base: &str, old: &str, new: Option<&str>) -> anyhow::Result<Exit> {
        let options = command::DiffOptions {
            old: old.to_owned(),
            new: new.map(str::to_owned),
            show: 3,
            ..Default::default()
        };
        run_in(&self.0.path().join(base), Command::Diff(options.into()), &Output::new(Format::Table))
    }
}

#[test]
fn versions_are_folders_or_commits() {
    let folder = Folder::new();
    folder.git(&["init", "--quiet"]);
    folder.git(&["add", "."]);
    folder.git(&["commit", "--quiet", "-m", "one"]);
    folder.git(&["tag", "one"]);
    assert_eq!(folder.run("", "HEAD", None).unwrap(), Exit::Fine);
    folder.write("policies/a.cedar", &OLD.replace("< 3", "< 4"));
    assert_eq!(folder.run("", "one", None).unwrap(), Exit::Found);
    folder.git(&["commit", "--quiet", "-a", "-m", "two"]);
    assert_eq!(folder.run("", "one", Some("HEAD")).unwrap(), Exit::Found);
    assert_eq!(folder.run("", "HEAD", Some("HEAD")).unwrap(), Exit::Fine);
    // A folder beats a commit of that name, and what is not committed does not count as the commit.
    folder.write("one/policies/a.cedar", &OLD.replace("< 3", "< 4"));
    assert_eq!(folder.run("", "one", None).unwrap(), Exit::Fine);
    folder.write("other/policies/b.cedar", OLD);
    assert_eq!(folder.run("", "other", Some("HEAD")).unwrap(), Exit::Found);
}

#[test]
fn policies_may_lie_below_the_root_of_the_repository() {
    let folder = Folder::new();
    folder.write("below/policies/a.cedar", &OLD.replace("< 3", "< 4"));
    folder.write("below/policy-tests/a.test.yaml", SUITE);
    folder.git(&["init", "--quiet"]);
    folder.git(&["add", "."]);
    folder.git(&["commit", "--quiet", "-m", "one"]);
    assert_eq!(folder.run("below", "HEAD", None).unwrap(), Exit::Fine);
    assert_eq!(folder.run("", "HEAD", Some("below")).unwrap(), Exit::Found);
}

#[test]
fn what_is_no_version_is_refused() {
    let folder = Folder::new();
    let refused = |old: &str| format!("{:#}", folder.run("", old, None).unwrap_err());
    assert!(refused("nowhere").starts_with("`nowhere` is neither a folder nor a commit of this repository"));
    folder.git(&["init", "--quiet"]);
    folder.git(&["commit", "--quiet", "--allow-empty", "-m", "empty"]);
    assert_eq!(refused("HEAD"), "`HEAD` has no `*.cedar` file in `policies`");
    // What begins like an option is a name all the same.
    assert!(refused("--all").starts_with("`--all` is neither"));
    folder.write("nothing/readme", "");
    assert_eq!(refused("nothing"), "`nothing` has neither a folder `policies` nor a `*.cedar` file");
    folder.write("broken/policies/a.cedar", "permit (principal);");
    assert_eq!(folder.run("", "broken", None).unwrap(), Exit::Usage);
}
