//! Versions of policies from the command line: what may be published, what came of it, and the way back.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::fs;
use std::path::Path;

use serde_json::Value as Json;

use crate::support::child::{Ended, run};

const POLICY: &str = "@id(\"a.list\")
@description(\"Everybody lists tools.\")
permit (
  principal,
  action == Caxton::Action::\"tool:list\",
  resource
);
";
const SUITE: &str = "suite: a
entities:
  Gateway::\"g\": {}
  Service::\"s\": {}
tests:
  - name: list
    request: { principal: Service::\"s\", action: tool:list, resource: Gateway::\"g\" }
    expect: { outcome: allow }
  - name: not others
    request: { principal: Service::\"s\", action: agent:list, resource: Gateway::\"g\" }
    expect: { outcome: deny_default }
";

/// A folder with one policy and its tests.
fn house() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("policies")).unwrap();
    fs::create_dir(directory.path().join("policy-tests")).unwrap();
    policy(directory.path(), POLICY);
    suite(directory.path(), SUITE);
    directory
}

fn policy(house: &Path, text: &str) {
    fs::write(house.join("policies/a.cedar"), text).unwrap();
}

fn suite(house: &Path, text: &str) {
    fs::write(house.join("policy-tests/a.test.yaml"), text).unwrap();
}

/// Runs `caxton policy …` and holds the exit code to `code`.
fn policy_command(house: &Path, code: i32, line: &str) -> Ended {
    let arguments: Vec<&str> = ["policy"].into_iter().chain(line.split(' ')).collect();
    let ended = run(house, &arguments);
    assert_eq!(ended.code, Some(code), "caxton policy {line}: {ended:?}");
    ended
}

fn narrowed() -> String {
    POLICY.replace("principal,", "principal is Caxton::Service,")
}

#[test]
fn what_is_published_can_be_shown_compared_taken_back_and_written_out() {
    let house = house();
    let house = house.path();
    let first = policy_command(house, 0, "publish -m first --author ada --json").json();
    assert_eq!((&first["sequence"], &first["parent"]), (&1.into(), &serde_json::Value::Null));
    assert_eq!(first["checks"]["tests"]["rows"], 2);
    policy(house, &narrowed());
    let second = policy_command(house, 0, "publish -m second --json").json();
    assert_eq!(second["parent"], first["version"]);

    let history = policy_command(house, 0, "history --json").json();
    let messages: Vec<_> = history.as_array().unwrap().iter().map(|one| one["message"].clone()).collect();
    assert_eq!(messages, ["second", "first"]);
    assert_eq!(history[0]["live"], true);
    assert_eq!(history[1]["author"], "ada");
    let table = policy_command(house, 0, "history").stdout;
    assert!(table.contains("@2 (newest)") && table.contains("first"), "{table}");

    let diff = policy_command(house, 1, "diff previous current --json").json();
    assert_eq!(diff["changed"][0]["id"], "a.list");
    let digits = &first["version"].as_str().unwrap()[..8];
    let diff = policy_command(house, 1, &format!("diff {digits} @2 --json")).json();
    assert_eq!(diff["changed"].as_array().unwrap().len(), 1);

    policy_command(house, 0, "checkout previous before");
    assert_eq!(fs::read_to_string(house.join("before/policies/a.cedar")).unwrap(), POLICY);
    // A folder that is there keeps what is in it.
    policy_command(house, 2, "checkout previous before");

    let back = policy_command(house, 0, "rollback --json").json();
    assert_eq!((&back["version"], &back["kind"]), (&first["version"], &"rollback".into()));
    assert_eq!(back["sequence"], 3);
    assert!(policy_command(house, 1, "rollback current").stderr.contains("live already"));
    policy_command(house, 0, "verify --all");
}

#[test]
fn what_does_not_pass_is_not_published() {
    let cases: [(&str, &str, &str); 6] = [
        (&POLICY.replace("tool:list", "tool:lst"), SUITE, "refused"),
        (&POLICY.replace("permit", "forbid"), SUITE, "nothing was measured"),
        (POLICY, "suite: a\ntests: []\n", "no test to run"),
        (
            POLICY,
            &format!("{SUITE}prove:\n  - always_denies: {{ action: tool:list }}\n"),
            "not everything that is stated is proven",
        ),
        (
            &narrowed(),
            &format!("{SUITE}gate: {{ clause_coverage: 99 }}\n"),
            "coverage of clauses 75.0 %, 99 % wanted",
        ),
        (
            &narrowed(),
            &format!("{SUITE}gate: {{ mutation_score: 99 }}\n"),
            "mutation score 75.0 %, 99 % wanted",
        ),
    ];
    for (text, tests, words) in cases {
        let house = house();
        policy(house.path(), text);
        suite(house.path(), tests);
        let ended = run(house.path(), &["policy", "publish", "-m", "x"]);
        assert!(matches!(ended.code, Some(1..=3)), "{words}: {ended:?}");
        assert!(ended.stderr.contains(words), "{words}: {ended:?}");
        assert!(ended.stderr.contains("nothing was published"), "{ended:?}");
        assert!(!house.path().join(".caxton").exists(), "{words}");
    }
}

#[test]
fn findings_of_lint_pass_only_when_somebody_says_so() {
    let house = house();
    policy(
        house.path(),
        &format!("{POLICY}@id(\"b\")\n@description(\"All.\")\npermit (principal, action, resource);\n"),
    );
    suite(house.path(), &SUITE.replace("deny_default", "allow"));
    let refused = policy_command(house.path(), 1, "publish -m x");
    assert!(refused.stderr.contains("lint found 2 findings in 1 file: 1 error, 1 warning"), "{refused:?}");
    let linted = policy_command(house.path(), 1, "lint --json").json();
    let rules: std::collections::BTreeSet<_> =
        linted.as_array().unwrap().iter().map(|one| one["rule"].as_str().unwrap().to_owned()).collect();
    let without: String = rules.iter().map(|rule| format!(" --without {rule}")).collect();
    let done = policy_command(house.path(), 0, &format!("publish -m x --json{without}")).json();
    assert_eq!(done["checks"]["lint_findings"], linted.as_array().unwrap().len());
    policy_command(house.path(), 2, "publish -m x --without nosuchrule");
}

#[test]
fn signatures_are_made_and_checked_and_bundles_carry_them() {
    let house = house();
    let house = house.path();
    let trusted = policy_command(house, 0, "keygen ops-2026 --out ops.key --expires-in 365d").stdout;
    fs::write(house.join("trusted.json"), &trusted).unwrap();
    assert!(!trusted.contains("private"), "{trusted}");
    let other = policy_command(house, 0, "keygen other --out other.key").stdout;
    fs::write(house.join("other.json"), other).unwrap();
    policy_command(house, 2, "keygen ops-2026 --out ops.key");

    policy_command(house, 0, "publish -m first");
    let refused = policy_command(house, 1, "verify --trusted-keys trusted.json");
    assert!(refused.stdout.contains("carries no signature"), "{refused:?}");
    policy_command(house, 0, "sign --key ops.key");
    let sound = policy_command(house, 0, "verify --trusted-keys trusted.json");
    assert!(sound.stdout.contains("signed by ops-2026"), "{sound:?}");
    let stranger = policy_command(house, 1, "verify --trusted-keys other.json");
    assert!(stranger.stdout.contains("key `ops-2026` is not trusted"), "{stranger:?}");

    policy_command(house, 0, "bundle build --out one.bundle");
    policy_command(house, 0, "bundle verify one.bundle --trusted-keys trusted.json");
    policy_command(house, 1, "bundle verify one.bundle --trusted-keys other.json");
    let text = fs::read_to_string(house.join("one.bundle")).unwrap();
    fs::write(house.join("two.bundle"), text.replace("\"first\"", "\"other\"")).unwrap();
    let swapped = policy_command(house, 1, "bundle verify two.bundle --trusted-keys trusted.json");
    assert!(swapped.stderr.contains("signed something else"), "{swapped:?}");
    policy_command(house, 2, "bundle verify nosuch.bundle");

    // A key that cannot be used is no reason to publish unsigned.
    policy_command(house, 2, "publish -m x --key nosuch.key");
    policy(house, &narrowed());
    policy_command(house, 0, "publish -m second --key other.key");
    policy_command(house, 0, "rollback --key ops.key");
    policy_command(house, 0, "verify --trusted-keys trusted.json");
    let all = policy_command(house, 1, "verify --all --trusted-keys trusted.json --json").json();
    let sound: Vec<_> = all.as_array().unwrap().iter().map(|one| one["sound"].clone()).collect();
    assert_eq!(sound, [true, false, true]);
}

#[test]
fn names_of_versions_that_are_not_there_are_told() {
    let house = house();
    let house = house.path();
    let empty = policy_command(house, 2, "history");
    assert!(empty.stderr.contains("publish a set first"), "{empty:?}");
    policy_command(house, 0, "publish -m first");
    for (line, words) in [
        ("rollback", "no published version `previous`"),
        ("rollback @7", "no published version `@7`"),
        ("checkout nope to", "a version is `current`"),
        ("sign abcdef12 --key k", "no published version `abcdef12`"),
        ("diff @7", "no published version `@7`"),
    ] {
        let ended = policy_command(house, 2, line);
        assert!(ended.stderr.contains(words), "{line}: {ended:?}");
    }
    // A version that was damaged is not rolled back to.
    policy(house, &narrowed());
    policy_command(house, 0, "publish -m second");
    for object in walk(&house.join(".caxton/versions/objects")) {
        if fs::read_to_string(&object).unwrap() == POLICY {
            fs::write(object, POLICY.replace("tool:list", "tool:call")).unwrap();
        }
    }
    let ended = policy_command(house, 2, "rollback");
    assert!(ended.stderr.contains("not the file that was published"), "{ended:?}");
    policy_command(house, 1, "verify --all");
}

fn walk(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

const CONFIG: &str =
    "server: { data_dir: data }\nsecurity: { authorization: { version_store: .caxton/versions } }\n";

#[test]
fn the_emergency_lock_opens_only_for_what_was_locked() {
    let house = house();
    let house = house.path();
    fs::write(house.join("caxton.yaml"), CONFIG).unwrap();
    policy_command(house, 0, "publish -m first");
    let config = |code: i32, line: &str| {
        let arguments: Vec<&str> = ["config"].into_iter().chain(line.split(' ')).collect();
        let ended = run(house, &[&arguments[..], &["--config", "caxton.yaml"]].concat());
        assert_eq!(ended.code, Some(code), "caxton config {line}: {ended:?}");
        ended
    };
    config(2, "lock");
    config(2, "unlock");
    assert!(config(1, "unlock --enhanced-validation").stderr.contains("nothing is locked"));
    let locked = config(0, "lock --emergency --reason intruder --json").json();
    assert_eq!((&locked["locked"], &locked["reason"]), (&true.into(), &"intruder".into()));
    assert!(config(1, "lock --emergency").stderr.contains("locked already"));
    let status = run(house, &["agents", "hot-reload-security-status", "--config", "caxton.yaml", "--json"]);
    assert_eq!(status.code, Some(0), "{status:?}");
    assert_eq!(status.json()["locked"], "intruder");

    // Something was published in the meantime.
    policy(house, &narrowed());
    let second = policy_command(house, 0, "publish -m second --json").json();
    let version = second["version"].as_str().unwrap();
    assert!(
        config(1, "unlock --enhanced-validation").stderr.contains("still locked: the policies there are")
    );
    config(1, &format!("unlock --enhanced-validation --accept-version {}", &version[..11]));
    // It is accepted, and a test fails.
    suite(house, &SUITE.replace("deny_default", "allow"));
    let accept = format!("unlock --enhanced-validation --accept-version {}", &version[..12]);
    assert!(config(1, &accept).stderr.contains("1 failed"));
    suite(house, SUITE);
    assert!(house.join("data/change.lock").exists());
    config(0, &accept);
    assert!(!house.join("data/change.lock").exists());
}

#[test]
fn the_status_names_what_is_wrong() {
    let house = house();
    let house = house.path();
    let status = |code: i32| {
        let ended =
            run(house, &["agents", "hot-reload-security-status", "--config", "caxton.yaml", "--json"]);
        assert_eq!(ended.code, Some(code), "{ended:?}");
        ended.json()
    };
    fs::write(house.join("caxton.yaml"), "server: { data_dir: data }\n").unwrap();
    let files = status(0);
    assert_eq!((&files["source"], &files["watched"]), (&"files".into(), &false.into()));
    policy_command(house, 0, "publish -m first");
    fs::write(house.join("caxton.yaml"), CONFIG).unwrap();
    assert!(status(0)["notes"][0].as_str().unwrap().contains("no signature is required"));
    let trusted = policy_command(house, 0, "keygen ops --out ops.key").stdout;
    fs::write(house.join("trusted.json"), trusted).unwrap();
    let signed = CONFIG.replace("versions }", "versions, trusted_keys_file: trusted.json }");
    fs::write(house.join("caxton.yaml"), signed).unwrap();
    assert!(status(1)["problems"][0].as_str().unwrap().contains("carries no signature"));
    policy_command(house, 0, "sign --key ops.key");
    let sound = status(0);
    assert_eq!(sound["trusted_keys"][0]["key_id"], "ops");
    assert_eq!(sound["newest_published"], 1);
    let table = run(house, &["agents", "hot-reload-security-status", "--config", "caxton.yaml"]);
    assert!(table.stdout.contains("signatures required"), "{table:?}");
}

#[test]
fn keys_of_the_configuration_that_contradict_each_other_are_mistakes() {
    let house = house();
    let house = house.path();
    policy_command(house, 0, "publish -m first");
    let trusted = policy_command(house, 0, "keygen ops --out ops.key").stdout;
    fs::write(house.join("trusted.json"), trusted).unwrap();
    for (keys, words) in [
        ("trusted_keys_file: trusted.json", "no version store is given"),
        ("version_store: .caxton/versions, policy_dir: policies", "published versions decide"),
        ("version_store: .caxton/versions, watch: true", "published versions decide"),
        (
            "version_store: .caxton/versions, bundle: { url: 'https://policies.example/b' }",
            "the bundle server could replace the policies",
        ),
        ("bundle: { url: 'https://policies.example/b' }", "no version store is given"),
        (
            "version_store: .caxton/versions, trusted_keys_file: trusted.json, bundle: { url: 'http://policies.example/b' }",
            "in the clear",
        ),
    ] {
        fs::write(house.join("caxton.yaml"), format!("security: {{ authorization: {{ {keys} }} }}\n"))
            .unwrap();
        let ended = run(house, &["config", "validate", "--config", "caxton.yaml"]);
        assert_eq!(ended.code, Some(1), "{keys}: {ended:?}");
        assert!(ended.stderr.contains(words), "{keys}: {ended:?}");
    }
}

#[test]
fn the_bench_answers_as_cedar_does_and_says_how_fast() {
    let house = house();
    let rows = policy_command(house.path(), 0, "bench --sizes 50,1 --time 1 --json").json();
    let sizes: Vec<_> = rows.as_array().unwrap().iter().map(|row| row["policies"].clone()).collect();
    assert_eq!(sizes, [1, 50]);
    for row in rows.as_array().unwrap() {
        assert_eq!(row["differences"], 0);
        assert_eq!(row["questions"], 2);
        assert!(row["ours_us"].as_f64().unwrap() > 0.0 && row["check_ms"].as_f64().unwrap() > 0.0);
        assert_eq!(row["change_ms"].is_null(), row["policies"] == 1, "{row}");
    }
    let table = policy_command(house.path(), 0, "bench --sizes 20 --time 1").stdout;
    assert!(table.contains("times faster") && table.contains("all answers alike"), "{table}");
    policy_command(house.path(), 2, "bench --sizes 0");
    suite(house.path(), &SUITE.replace("allow", "deny_default"));
    let red = policy_command(house.path(), 1, "bench");
    assert!(red.stderr.contains("nothing was measured"), "{red:?}");
}

// ---- links ----

const TEMPLATE: &str = "@id(\"share.one\")
@description(\"One principal lists agents.\")
permit (
  principal == ?principal,
  action == Caxton::Action::\"agent:list\",
  resource
);
";
const LINKS: &str = "links:
  - template: share.one
    id: share.one.ann
    principal: Service::\"ann\"
  - template: share.one
    id: share.one.bob
    principal: Service::\"bob\"
";
const LINKED_SUITE: &str = "suite: share
entities:
  Gateway::\"g\": {}
  Service::\"ann\": {}
  Service::\"bob\": {}
  Service::\"eve\": {}
tests:
  - name: ann
    request: { principal: Service::\"ann\", action: agent:list, resource: Gateway::\"g\" }
    expect: { outcome: allow, policies: [share.one.ann] }
  - name: bob
    request: { principal: Service::\"bob\", action: agent:list, resource: Gateway::\"g\" }
    expect: { outcome: allow, policies: [share.one.bob] }
  - name: what links do not say
    matrix: { who: ['Service::\"ann\"', 'Service::\"bob\"'] }
    request: { principal: \"${who}\", action: tool:list, resource: Gateway::\"g\" }
    expect: { outcome: allow, policies: [a.list] }
  - name: eve
    request: { principal: Service::\"eve\", action: agent:list, resource: Gateway::\"g\" }
    expect: { outcome: deny_default }
";

/// Templates with their links go the whole way: tested, covered, mutated, published, written out again, compared.
#[test]
fn links_go_with_the_policies_that_they_make() {
    let directory = house();
    let house = directory.path();
    fs::write(house.join("policies/share.cedar"), TEMPLATE).unwrap();
    let unlinked = policy_command(house, 0, "validate");
    assert!(unlinked.stderr.contains("nothing links the template `share.one`"), "{unlinked:?}");
    let refused = policy_command(house, 1, "lint");
    assert!(refused.stderr.contains("unlinked-template"), "{refused:?}");

    fs::write(house.join("policies/share.links.yaml"), LINKS).unwrap();
    fs::write(house.join("policy-tests/share.test.yaml"), LINKED_SUITE).unwrap();
    assert!(policy_command(house, 0, "validate").stdout.contains("valid"), "links");
    policy_command(house, 0, "lint");
    policy_command(house, 0, "test");
    let covered: Json =
        serde_json::from_str(&policy_command(house, 0, "coverage --format json").stdout).unwrap();
    assert_eq!(covered["summary"]["percent"], 100.0, "{covered}");
    let mutated = policy_command(house, 0, "mutate --format json");
    let mutated: Json = serde_json::from_str(&mutated.stdout).unwrap();
    assert_eq!(mutated["summary"]["unlinked_templates"], 0, "{mutated}");
    let listed = policy_command(house, 0, "list");
    for words in [
        "a template with 2 links",
        "share.links.yaml:2",
        "?principal = Caxton::Service::\"ann\"",
        "3 policies, 1 template",
    ] {
        assert!(listed.stdout.contains(words), "{words}: {}", listed.stdout);
    }
    let listed: Json = serde_json::from_str(&policy_command(house, 0, "list --format json").stdout).unwrap();
    let bob = listed.as_array().unwrap().iter().find(|row| row["id"] == "share.one.bob").unwrap();
    assert_eq!((&bob["linked_from"], &bob["template"]), (&"share.one".into(), &false.into()), "{bob}");

    policy_command(house, 0, "publish --message first");
    policy_command(house, 0, "checkout current out");
    assert_eq!(fs::read_to_string(house.join("out/policies/share.links.yaml")).unwrap(), LINKS);
    policy_command(house, 0, "bundle build --out all.bundle");
    policy_command(house, 0, "bundle verify all.bundle");

    // One link less is another version, and the tests notice.
    let (one, _) = LINKS.split_once("  - template: share.one\n    id: share.one.bob").unwrap();
    fs::write(house.join("policies/share.links.yaml"), one).unwrap();
    let red = policy_command(house, 2, "test");
    assert!(red.stdout.contains("there is no policy `share.one.bob`"), "{red:?}");
    let changed = policy_command(house, 1, "diff current");
    assert!(changed.stdout.contains("share.one.bob"), "{changed:?}");
    fs::write(house.join("policies/share.links.yaml"), LINKS.replace("id: share.one.bob", "id: a.list"))
        .unwrap();
    let taken = policy_command(house, 1, "validate");
    assert!(taken.stderr.contains("share.links.yaml:5:"), "{taken:?}");
}
