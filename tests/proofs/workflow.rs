//! The workflow sample, step by step as a runner takes it: a sound change passes every gate, and each kind of bad change
//! is stopped by the gate that is there for it.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests")]

use crate::support::solver::solver;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value as Json;

const HOUSE: &str = "tests/golden/workbench/house.in";

/// What the golden set's tests leave open, so that it reaches the bounds of the workflow.
const MORE: &str = "  - name: support reads below the limit, or with a note
    matrix: { order: [1, 3] }
    request: { principal: User::\"sam\", action: order:read, resource: \"Order::\\\"${order}\\\"\", context: { hour: 9 } }
    expect: { outcome: allow, policies: [orders.support] }
  - name: support reads nothing at the limit and cancels nothing
    matrix: [{ action: order:read, order: 4 }, { action: order:cancel, order: 1 }]
    request: { principal: User::\"sam\", action: \"${action}\", resource: \"Order::\\\"${order}\\\"\", context: { hour: 9 } }
    expect: { outcome: deny_default }
  - name: support reads just below
    request: { principal: User::\"sam\", action: order:read, resource: Order::\"5\", context: { hour: 9 } }
    expect: { outcome: allow }
prove:
  - never_errors: all
  - always_denies: { when: principal.suspended }
";

const ORDERS: &str = "  Order::\"3\": { attrs: { owner: User::\"sid\", total: 5000, note: lost } }
  Order::\"4\": { attrs: { owner: User::\"sid\", total: 1000 } }
  Order::\"5\": { attrs: { owner: User::\"sid\", total: 999 } }
";

struct Checkout(tempfile::TempDir);

impl Checkout {
    /// A clone whose `origin/main` holds the set as it is.
    fn new() -> Self {
        let made = Self(tempfile::tempdir().unwrap());
        for file in ["policies/orders.cedar", "schemas/shop.cedarschema"] {
            made.write(file, &fs::read_to_string(Path::new(HOUSE).join(file)).unwrap());
        }
        let house =
            |file: &str| fs::read_to_string(Path::new(HOUSE).join("policy-tests").join(file)).unwrap();
        let (tests, _) = house("orders.test.yaml")
            .split_once("prove:")
            .map(|(a, b)| (a.to_owned(), b.to_owned()))
            .unwrap();
        made.write("policy-tests/orders.test.yaml", &format!("{tests}{MORE}"));
        made.write("policy-tests/orders.fixtures.yaml", &(house("orders.fixtures.yaml") + ORDERS));
        // The runner may install what it likes; here it is there already.
        made.write("../bin/sudo", "#!/bin/sh\nexit 0\n");
        let sudo = made.root().join("bin/sudo");
        let mut mode = fs::metadata(&sudo).unwrap().permissions();
        std::os::unix::fs::PermissionsExt::set_mode(&mut mode, 0o755);
        fs::set_permissions(sudo, mode).unwrap();
        for step in [
            "caxton policy fmt",
            "caxton policy matrix --write policy-tests/matrix.md",
            "git init -q -b main",
            "git add . && git commit -qm one",
            "git clone -q --bare . ../origin.git",
            "git remote add origin ../origin.git",
            "git fetch -q origin",
            "git checkout -qb change",
        ] {
            assert_eq!(made.step(step), Some(0), "{step}");
        }
        made
    }

    fn root(&self) -> PathBuf {
        self.0.path().to_owned()
    }

    fn write(&self, file: &str, text: &str) {
        let path = self.root().join("checkout").join(file);
        fs::create_dir_all(self.root().join("checkout")).unwrap();
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn edit(&self, file: &str, from: &str, to: &str) {
        let path = self.root().join("checkout").join(file);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{text}");
        fs::write(path, text.replacen(from, to, 1)).unwrap();
    }

    /// Runs a step as a runner does; its exit code.
    fn step(&self, script: &str) -> Option<i32> {
        let binary = PathBuf::from(env!("CARGO_BIN_EXE_caxton"));
        let path = format!(
            "{}:{}:/usr/bin:/bin",
            self.root().join("bin").display(),
            binary.parent().unwrap().display()
        );
        let ran = Command::new("bash")
            .args(["-e", "-o", "pipefail", "-c", script])
            .current_dir(self.root().join("checkout"))
            .env_clear()
            .env("PATH", path)
            .env("HOME", self.root())
            .envs([("GIT_AUTHOR_NAME", "t"), ("GIT_AUTHOR_EMAIL", "t@example.org")])
            .envs([("GIT_COMMITTER_NAME", "t"), ("GIT_COMMITTER_EMAIL", "t@example.org")])
            .output()
            .unwrap();
        ran.status.code()
    }

    /// The names of the steps that stop the run, each taken by itself.
    fn stopped(&self) -> Vec<String> {
        let steps = steps();
        assert!(steps.len() >= 9, "{steps:?}");
        // As the workflow's `if` has it.
        let has_log = self.root().join("checkout/recorded/audit.log").exists();
        let wanted =
            steps.into_iter().filter(|(_, script)| has_log || !script.contains("recorded/audit.log"));
        let failing = wanted.filter(|(_, script)| self.step(script) != Some(0));
        failing.map(|(name, _)| name).collect()
    }
}

/// Every script of the workflow, in order, for a pull request to `main`.
fn steps() -> Vec<(String, String)> {
    let text = fs::read_to_string("examples/policy-repository/policies.yaml").unwrap();
    let workflow: Json = serde_saphyr::from_str(&text).unwrap();
    let steps = workflow["jobs"]["gate"]["steps"].as_array().unwrap().clone();
    let scripts = steps.iter().filter_map(|step| {
        let script = step["run"].as_str()?.replace("${{ github.base_ref }}", "main");
        assert!(!script.contains("${{"), "{script}");
        Some((step["name"].as_str().unwrap_or("version").to_owned(), script))
    });
    scripts.collect()
}

#[test]
fn a_sound_change_passes_and_each_bad_one_is_stopped_by_its_gate() {
    if solver().is_none() {
        return;
    }
    let checkout = Checkout::new();
    checkout.edit(
        "policies/orders.cedar",
        "Who is suspended does nothing.",
        "Nobody who is suspended does anything.",
    );
    assert_eq!(checkout.stopped(), [""; 0]);
    // A log that nothing can be learnt from is no log without flips.
    let replay = "Flips over recorded decisions";
    let line = fs::read_to_string(Path::new(HOUSE).join("audit.log")).unwrap();
    for log in ["", line.lines().next().unwrap(), &line] {
        checkout.write("recorded/audit.log", log);
        assert_eq!(checkout.stopped(), [replay], "{log}");
        checkout.step("git worktree remove --force ../base");
    }
    checkout.step("rm -r recorded");
    let sound = fs::read_to_string(checkout.root().join("checkout/policies/orders.cedar")).unwrap();
    let bad = |from: &str, to: &str| {
        checkout.write("policies/orders.cedar", &sound);
        checkout.edit("policies/orders.cedar", from, to);
        checkout.stopped()
    };
    let has = |stopped: &[String], names: &[&str]| {
        for name in names {
            assert!(stopped.iter().any(|stopped| stopped == name), "{name}: {stopped:?}");
        }
    };
    has(&bad("context.hour >= 6", "context.hour   >= 6"), &["Layout, validity, lint"]);
    has(&bad("context.hour >= 6", "context.hour >= 5"), &["Tests", "Flips over the tests"]);
    has(
        &bad("when { principal.suspended };", "when { principal.suspended && context.hour >= 0 };"),
        &["Coverage", "Proof"],
    );
    has(
        &bad("principal in Caxton::Role::\"support\"", "principal in Caxton::Role::\"desk\""),
        &["Who may do what"],
    );
}
