//! What editors, shells, hooks and pipelines get.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use crate::support::child;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use caxton::policy::{Bundle, SourceKind, Sources};
use caxton::workbench::editor::{cedar_schema, fixtures_schema, test_schema};
use caxton::workbench::run::{Settings, Suites, run};
use serde_json::{Value as Json, json};

fn shipped() -> Bundle {
    Bundle::load(Sources::shipped()).unwrap()
}

fn yaml(text: &str) -> Json {
    serde_saphyr::from_str(text).unwrap()
}

#[test]
fn every_shipped_test_file_fits_its_schema() {
    let tests = jsonschema::validator_for(&test_schema(&shipped())).unwrap();
    let fixtures = jsonschema::validator_for(&fixtures_schema()).unwrap();
    let mut seen = 0;
    for entry in fs::read_dir("policy-tests").unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let validator = match name.as_str() {
            name if name.ends_with(".test.yaml") => &tests,
            name if name.ends_with(".fixtures.yaml") => &fixtures,
            _ => continue,
        };
        let errors: Vec<String> = validator
            .iter_errors(&yaml(&fs::read_to_string(&path).unwrap()))
            .map(|error| error.to_string())
            .collect();
        assert!(errors.is_empty(), "{name}: {errors:?}");
        seen += 1;
    }
    assert!(seen > 9, "{seen}");
    for wrong in [
        "suite: x",
        "{ suite: x, tests: [], colour: red }",
        "{ suite: x, tests: [{ name: a }] }",
        "{ suite: x, tests: [{ name: a, expect: { outcom: allow } }] }",
        "{ suite: x, tests: [], fixtures: [a.yaml] }",
        "{ suite: x, tests: [], prove: [{}] }",
        "{ suite: x, tests: [], prove: [{ never_errors: all, none_needless: all }] }",
        "{ suite: x, tests: [], prove: [{ never_erors: all }] }",
        "{ suite: x, tests: [], prove: [{ always_denies: { whom: Agent } }] }",
        "{ suite: x, tests: [], gate: { coverage: 90 } }",
        "{ suite: x, tests: [], gate: { mutation_score: 101 } }",
    ] {
        assert!(!tests.is_valid(&yaml(wrong)), "{wrong}");
    }
}

/// The parser names the keys that it knows when it meets one that it does not: the schema has the same.
#[test]
fn the_schema_has_the_keys_that_the_parser_has() {
    let bundle = shipped();
    let known = |text: &str| -> BTreeSet<String> {
        let mut suites = Suites::default();
        suites.add("a.test.yaml", text);
        let report = run(&bundle, &suites, &Settings::default());
        let problem = report.suites[0].problem.clone().unwrap_or_else(|| panic!("{text} is accepted"));
        let list =
            problem.message.split("expected one of ").nth(1).unwrap_or_else(|| panic!("{}", problem.message));
        list.split(',').map(|key| key.trim().trim_matches('`').to_owned()).collect()
    };
    let schema = test_schema(&bundle);
    let keys = |pointer: &str| -> BTreeSet<String> {
        schema.pointer(pointer).and_then(Json::as_object).unwrap().keys().cloned().collect()
    };
    assert_eq!(keys("/properties"), known("{ suite: x, tests: [], zzz: 1 }"));
    let test = "/properties/tests/items/properties";
    assert_eq!(keys(test), known("{ suite: x, tests: [{ name: a, expect: {}, zzz: 1 }] }"));
    let expect = known("{ suite: x, tests: [{ name: a, expect: { zzz: 1 } }] }");
    assert_eq!(keys(&format!("{test}/expect/properties")), expect);
    let request = known(
        "{ suite: x, tests: [{ name: a, expect: {}, request: { principal: a, action: b, resource: c, zzz: 1 } }] }",
    );
    assert_eq!(keys(&format!("{test}/request/properties")), request);
    let entity = known("{ suite: x, tests: [], entities: { a: { zzz: 1 } } }");
    assert_eq!(keys("/properties/entities/additionalProperties/properties"), entity);
    let statement = known("{ suite: x, tests: [], prove: [{ zzz: 1 }] }");
    assert_eq!(keys("/properties/prove/items/properties"), statement);
    let parts = known("{ suite: x, tests: [], prove: [{ always_denies: { zzz: 1 } }] }");
    assert_eq!(keys("/properties/prove/items/properties/always_denies/properties"), parts);
    let version = known("{ suite: x, tests: [], prove: [{ equivalent_to: { zzz: 1 } }] }");
    assert_eq!(keys("/properties/prove/items/properties/equivalent_to/properties"), version);
    let gates = known("{ suite: x, tests: [], gate: { zzz: 1 } }");
    assert_eq!(keys("/properties/gate/properties"), gates);
    let offered = schema.pointer(&format!("{test}/request/properties/action/anyOf/0/enum")).unwrap();
    assert!(offered.as_array().unwrap().contains(&json!("builtin___csv_parser")));
}

/// One schema file says what the several say.
#[test]
fn the_schema_in_one_file_is_the_schema() {
    let shipped = shipped();
    let text = cedar_schema(&shipped).unwrap().to_string();
    let policies = shipped.sources().iter().filter(|source| source.kind == SourceKind::Policy);
    let one = Sources::new().with_schema("all.cedarschema.json", &text);
    let bundle =
        Bundle::load(policies.fold(one, |all, file| all.with_policy(&file.name, &file.text))).unwrap();
    assert_eq!(bundle.policies().count(), shipped.policies().count());
    assert_eq!(test_schema(&bundle), test_schema(&shipped), "the same actions and types");
    assert_eq!(cedar_schema(&bundle).unwrap(), cedar_schema(&shipped).unwrap());
}

#[test]
fn shells_complete_every_command() {
    let folder = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ended = child::run(folder.path(), &["completion", shell]);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        for word in ["replay", "import-roles", "completion"] {
            assert!(ended.stdout.contains(word), "{shell}: {word}");
        }
    }
    assert_eq!(child::run(folder.path(), &["completion", "csh"]).code, Some(2));
}

// ---- the samples ----

struct Repository(tempfile::TempDir);

impl Repository {
    fn new() -> Self {
        let repository = Self(tempfile::tempdir().unwrap());
        for folder in ["policies", "schemas", "schemas/tools", "policy-tests"] {
            fs::create_dir_all(repository.path().join(folder)).unwrap();
            for entry in fs::read_dir(folder).unwrap() {
                let from = entry.unwrap().path();
                if from.is_file() {
                    fs::copy(&from, repository.path().join(&from)).unwrap();
                }
            }
        }
        assert!(repository.git(&["init", "--quiet"]));
        let hook = repository.path().join(".git/hooks/pre-commit");
        fs::create_dir_all(hook.parent().unwrap()).unwrap();
        fs::copy("examples/policy-repository/pre-commit", hook).unwrap();
        repository
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn git(&self, arguments: &[&str]) -> bool {
        let binary = PathBuf::from(env!("CARGO_BIN_EXE_caxton"));
        let path = format!("{}:/usr/bin:/bin", binary.parent().unwrap().display());
        let ran = Command::new("git")
            .current_dir(self.path())
            .env_clear()
            .env("PATH", path)
            .env("HOME", self.path())
            .args(["-c", "user.name=t", "-c", "user.email=t@example.org"])
            .args(arguments)
            .output()
            .unwrap();
        ran.status.success()
    }

    fn commits(&self) -> bool {
        self.git(&["add", "."]) && self.git(&["commit", "--quiet", "-m", "x"])
    }
}

#[test]
fn the_hook_refuses_what_is_staged_and_broken_and_nothing_else() {
    let repository = Repository::new();
    assert!(repository.commits(), "the shipped set passes");
    let file = repository.path().join("policies/tools.cedar");
    let sound = fs::read_to_string(&file).unwrap();
    for (from, to) in [
        ("max_rows > 100000", "max_row > 100000"),
        ("max_rows > 100000", "max_rows   > 100000"),
        ("max_rows > 100000", "max_rows > 200000"),
    ] {
        fs::write(&file, sound.replace(from, to)).unwrap();
        assert!(!repository.commits(), "{to}");
        // What is not staged does not count.
        assert!(repository.git(&["reset", "--quiet"]));
        fs::write(repository.path().join("README.md"), to).unwrap();
        assert!(
            repository.git(&["add", "README.md"]) && repository.git(&["commit", "--quiet", "-m", "x"]),
            "{to}"
        );
    }
    fs::write(&file, sound).unwrap();
    fs::write(repository.path().join("policies/more.cedar"), "// nothing yet\n").unwrap();
    assert!(repository.commits());
}

/// Every command of the samples and of the page about them exists, with the options that it is given.
#[test]
fn the_samples_use_commands_that_exist() {
    let folder = tempfile::tempdir().unwrap();
    let mut seen = BTreeSet::new();
    for file in [
        "examples/policy-repository/pre-commit",
        "examples/policy-repository/policies.yaml",
        "docs/editors.md",
    ] {
        let text = fs::read_to_string(file).unwrap();
        for line in text.lines().filter_map(|line| line.split("caxton policy ").nth(1)) {
            let line = line.split(['`', '>', '#']).next().unwrap_or_default();
            let mut words = line.split_whitespace();
            let command = words.next().unwrap().to_owned();
            let help = child::run(folder.path(), &["policy", &command, "--help"]);
            assert_eq!(help.code, Some(0), "{file}: {command}");
            for option in words.filter(|word| word.starts_with("--")) {
                assert!(help.stdout.contains(option), "{file}: `{command}` has no `{option}`");
            }
            seen.insert(command);
        }
    }
    let wanted =
        ["coverage", "diff", "fmt", "lint", "matrix", "mutate", "replay", "schema", "test", "validate"];
    assert!(wanted.iter().all(|command| seen.contains(*command)), "{seen:?}");
    let workflow = yaml(&fs::read_to_string("examples/policy-repository/policies.yaml").unwrap());
    assert!(workflow["jobs"]["gate"]["steps"].as_array().unwrap().len() > 8);
}
