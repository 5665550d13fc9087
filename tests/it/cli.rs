//! The command line from outside: every command explains itself, refuses what it does not know, and speaks JSON.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::support::child::{Ended, run};
use crate::support::golden::golden;
use serde_json::{Value as Json, json};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn words(line: &str) -> Vec<&str> {
    line.split(' ').filter(|word| !word.is_empty()).collect()
}

/// Runs a line that must end with `code`.
fn expect(directory: &Path, code: i32, line: &str) -> Ended {
    let ended = run(directory, &words(line));
    assert_eq!(ended.code, Some(code), "caxton {line}: {ended:?}");
    ended
}

/// Runs a line with `--format json`: its output is one JSON document.
fn json(directory: &Path, code: i32, line: &str) -> Json {
    expect(directory, code, &format!("{line} --format json")).json()
}

// ---- help, usage, version ----

/// The commands below `command`, as its help lists them.
fn below(help: &str) -> Vec<String> {
    let list = help.split("\nCommands:\n").nth(1).unwrap_or_default();
    let lines = list.lines().take_while(|line| !line.is_empty());
    // A line that goes on from the one before is set in further.
    let names = lines.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    names.map(|line| words(line)[0].to_owned()).collect()
}

/// Every command with its help, parents first.
fn tree(directory: &Path) -> Vec<(String, String)> {
    let (mut found, mut waiting) = (Vec::new(), vec![String::new()]);
    while let Some(command) = waiting.pop() {
        let help = expect(directory, 0, &format!("{command} --help")).stdout;
        let children = below(&help);
        waiting.extend(children.iter().rev().map(|name| format!("{command} {name}").trim().to_owned()));
        found.push((command, help));
    }
    found
}

#[test]
fn every_command_explains_itself() {
    let directory = tempfile::tempdir().unwrap();
    let tree = tree(directory.path());
    let names: Vec<&str> = tree.iter().map(|(name, _)| name.as_str()).collect();
    let wanted = [
        "",
        "start",
        "demo",
        "agents",
        "agents hot-reload-security-status",
        "agents validate",
        "agents validate-all",
        "policy",
        "policy validate",
        "policy list",
        "policy test",
        "policy coverage",
        "policy explain",
        "policy lint",
        "policy mutate",
        "policy diff",
        "policy analyze",
        "policy analyze never-errors",
        "policy analyze none-needless",
        "policy analyze no-more-permissive",
        "policy analyze equivalent",
        "policy analyze disjoint",
        "policy analyze always-denies",
        "policy analyze always-allows",
        "policy prove",
        "policy replay",
        "policy schema",
        "policy repl",
        "policy fmt",
        "policy init",
        "policy eject",
        "policy import",
        "policy import-roles",
        "policy matrix",
        "policy bench",
        "policy publish",
        "policy history",
        "policy rollback",
        "policy checkout",
        "policy keygen",
        "policy sign",
        "policy verify",
        "policy promote",
        "policy bundle",
        "policy bundle build",
        "policy bundle verify",
        "explain",
        "audit",
        "audit verify",
        "audit prove",
        "audit check-proof",
        "audit query",
        "audit show",
        "audit tail",
        "audit export",
        "audit index",
        "auth",
        "auth create-key",
        "auth assign-role",
        "auth revoke-role",
        "auth check",
        "auth list-keys",
        "auth rotate-key",
        "auth login",
        "auth logout",
        "auth token",
        "auth rotate-signing-key",
        "auth revoke-token",
        "auth revoke-subject",
        "auth revoke-key",
        "admin",
        "admin revoke-all-sessions",
        "api",
        "api auth-status",
        "security",
        "security gen-client-cert",
        "security gen-server-cert",
        "entities",
        "entities list",
        "entities get",
        "entities put",
        "entities patch",
        "entities delete",
        "entities import",
        "entities export",
        "entities watch",
        "config",
        "config validate",
        "config show",
        "config schema",
        "config lock",
        "config unlock",
        "tools",
        "tools list",
        "tools import",
        "tools diff",
        "tools approve",
        "tools connect",
        "tools connections",
        "tools disconnect",
        "tools verify",
        "completion",
    ];
    assert_eq!(names, wanted);
    let mut all = String::new();
    for (name, help) in &tree {
        assert!(help.contains("Example:") && help.contains(&format!("caxton {name}")), "{name}:\n{help}");
        assert!(help.contains("\nUsage: caxton"), "{name}:\n{help}");
        all.push_str(&format!("$ caxton {name} --help\n").replace("  ", " "));
        all.push_str(&help.lines().map(|line| format!("{}\n", line.trim_end())).collect::<String>());
        all.push('\n');
    }
    golden("tests/golden/cli/help.txt", all.trim_end_matches('\n'));
}

#[test]
fn wrong_usage_ends_with_2() {
    let directory = tempfile::tempdir().unwrap();
    for (name, _) in tree(directory.path()) {
        let ended = expect(directory.path(), 2, &format!("{name} --no-such-option"));
        assert_eq!(ended.stdout, "", "{name}");
        assert!(ended.stderr.contains("--no-such-option"), "{name}: {ended:?}");
    }
    for line in [
        "",
        "nothing",
        "policy",
        "audit",
        "auth",
        "config",
        "tools",
        "demo --format xml",
        "start --config",
        "start --config nowhere.yaml",
        "policy test nowhere.test.yaml",
        "policy validate --policies nowhere",
        "audit verify nowhere.log",
        "audit query --log nowhere.log",
        "audit tail --log nowhere.log",
        "audit show 1 --log nowhere.log",
        "audit index --log nowhere.log",
        "audit export --log nowhere.log --output -",
        "audit export --format sarif --output -",
        "audit export --format csv",
        "audit query --format csv",
        "audit query --outcome deny_explict --log nowhere.log",
        "audit query --address here --log nowhere.log",
        "audit query --api-key-file key",
        "audit query --url http://127.0.0.1:1 --log nowhere.log",
        "audit tail -n many",
        "audit query --decision perhaps --log nowhere.log",
        "audit query --event-type nonsense",
        "audit query --last soon",
        "audit query --from tomorrow",
        "audit query --last 1h --from 2026-01-01",
        "auth create-key",
        "auth create-key --name a/b",
        "auth create-key --name a --expires-in soon",
        "auth create-key --name a --agent b --permissions tool:call",
        "auth list-keys --data-dir nowhere",
        "auth revoke-key",
        "auth rotate-key nobody --data-dir nowhere",
        "auth rotate-key a --grace soon",
        "auth revoke-subject alice",
        "auth revoke-token t --data-dir nowhere",
        "auth rotate-signing-key --data-dir nowhere",
        "admin",
        "admin revoke-all-sessions --data-dir nowhere",
        "api",
        "api auth-status --url x",
        "config validate --config nowhere.yaml",
        "config validate --config a --embedded",
        "config show --config nowhere.yaml",
        "tools import",
        "tools import nobody",
        "tools diff nobody",
        "tools approve nobody",
        "tools list --config nowhere.yaml",
        "tools verify nowhere.wasm",
    ] {
        let ended = expect(directory.path(), 2, line);
        assert_eq!(ended.stdout, "", "caxton {line}");
        assert!(!ended.stderr.is_empty() && !ended.stderr.contains("panicked"), "caxton {line}: {ended:?}");
    }
    // Whatever was asked for wrongly, nothing was made.
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn the_version_names_the_commit_and_the_language() {
    let directory = tempfile::tempdir().unwrap();
    let said = expect(directory.path(), 0, "--version").stdout;
    let commit = option_env!("CAXTON_COMMIT").unwrap_or("unknown");
    let version = env!("CARGO_PKG_VERSION");
    let language = caxton::policy::language_version();
    assert_eq!(said, format!("caxton {version} (commit {commit}, Cedar language {language})\n"));
    assert!(language.starts_with("4."), "{language}");
    assert_eq!(expect(directory.path(), 0, "-V").stdout, said);
}

// ---- the demo and its log ----

#[test]
fn the_demo_is_decided_as_expected_and_its_log_can_be_read() {
    let directory = tempfile::tempdir().unwrap();
    let report = json(directory.path(), 0, "demo");
    let calls = report["calls"].as_array().unwrap();
    assert!((12..=20).contains(&calls.len()), "{}", calls.len());
    let who: BTreeSet<_> = calls.iter().map(|call| call["who"].as_str().unwrap()).collect();
    assert_eq!(who.len(), 4, "{who:?}");
    assert!(calls.iter().all(|call| call["as_expected"] == true) && report["as_expected"] == true);
    let of = |decision| calls.iter().filter(|call| call["decision"] == decision).count();
    assert_eq!(of("allow") + of("deny_default") + of("deny_explicit"), calls.len());
    assert!(of("allow") > 3 && of("deny_default") > 1 && of("deny_explicit") > 1);
    let fields = ["who", "did", "what", "decision", "policy"]
        .map(|name| move |call: &Json| call[name].as_str().unwrap().to_owned());
    let lines = calls.iter().map(|call| fields.each_ref().map(|field| field(call)).join(" | ") + "\n");
    golden("tests/golden/cli/demo.txt", &lines.collect::<String>());
    let shown = expect(directory.path(), 0, "demo").stdout;
    let wide: Vec<&str> =
        shown.lines().take_while(|line| !line.is_empty()).filter(|line| line.chars().count() > 80).collect();
    assert!(wide.is_empty(), "{wide:?}");

    let log = Path::new(report["log"].as_str().unwrap()).to_owned();
    assert!(log.starts_with(directory.path()), "it writes to the temporary directory only");
    let name = log.to_str().unwrap();
    verified(directory.path(), name, &report["verified"]);
    queried(directory.path(), name);
    tailed(directory.path(), name);
    damaged(directory.path(), &log);
}

fn verified(directory: &Path, log: &str, by_the_demo: &Json) {
    let report = json(directory, 0, &format!("audit verify {log}"));
    assert_eq!(report["ok"], true);
    // The demo looked while the gateway was up; its end is on record since.
    assert_eq!(report["records"].as_u64().unwrap(), by_the_demo["records"].as_u64().unwrap() + 1);
    let said = expect(directory, 0, &format!("audit verify --log {log}")).stdout;
    assert!(said.starts_with(&format!("ok: {} records, chain intact", report["records"])), "{said}");
}

fn queried(directory: &Path, log: &str) {
    let query = |options: &str| -> Vec<Json> {
        let found = json(directory, 0, &format!("audit query --log {log} {options}"));
        found.as_array().unwrap().clone()
    };
    let all = query("");
    let count = |test: &dyn Fn(&Json) -> bool| all.iter().filter(|record| test(record)).count();
    assert_eq!(query("--last 1h").len(), all.len());
    assert_eq!(query("--to 2026-01-01").len(), 0);
    assert_eq!(query("--limit 2").len(), 2);
    let denied = query("--decision deny");
    assert!(!denied.is_empty() && denied.iter().all(|record| record["outcome"] != "allow"));
    assert_eq!(query("--decision allow").len() + denied.len(), all.len());
    assert_eq!(query("--event-type tool_call").len(), count(&|record| record["event_type"] == "tool_call"));
    for (options, principal) in [
        ("--agent researcher", "Caxton::Agent::\"researcher\""),
        ("--user ada", "Caxton::User::\"https://login.example|ada\""),
        ("--user build-job", "Caxton::Service::\"build-job\""),
    ] {
        let found = query(options);
        assert!(!found.is_empty(), "{options}");
        for record in found {
            let subject = record["subject"]["principal"].as_str();
            let deployed = record["event"] == "agent_deployed" && record["agent"]["id"] == "researcher";
            assert!(
                subject == Some(principal) || record["actor"] == principal || deployed,
                "{options}: {record}"
            );
        }
    }
    let by_policy = query("--policy tools.csv-row-limit");
    assert_eq!(by_policy.len(), 1, "{by_policy:?}");
    let table = expect(directory, 0, &format!("audit query --log {log} --decision deny")).stdout;
    assert!(table.contains("tools.csv-row-limit") && table.contains("memory.private"), "{table}");
}

fn tailed(directory: &Path, log: &str) {
    let records = fs::read_to_string(log).unwrap().lines().count();
    let last = json(directory, 0, &format!("audit tail --log {log} -n 3"));
    let last = last.as_array().unwrap();
    assert_eq!(last.len(), 3);
    assert_eq!((&last[2]["event"], &last[2]["seq"]), (&json!("gateway_stopped"), &json!(records)));
    let table = expect(directory, 0, &format!("audit tail --log {log}")).stdout;
    assert!(table.contains("gateway_stopped"), "{table}");
}

fn damaged(directory: &Path, log: &Path) {
    let bytes = fs::read(log).unwrap();
    let copy = directory.join("copy.log");
    let lines: Vec<&[u8]> = bytes.split_inclusive(|&byte| byte == b'\n').collect();
    let mut flipped = bytes.clone();
    flipped[bytes.len() / 2] ^= 1;
    let without_one = [&lines[..4], &lines[5..]].concat().concat();
    let swapped = [&lines[..4], &[lines[5], lines[4]], &lines[6..]].concat().concat();
    for (what, damaged) in [("flipped", flipped), ("deleted", without_one), ("moved", swapped)] {
        fs::write(&copy, damaged).unwrap();
        let report = json(directory, 1, "audit verify copy.log");
        assert_eq!(report["ok"], false, "{what}");
        assert!(report["line"].is_u64() && report["problem"].is_string(), "{what}: {report}");
        let ended = expect(directory, 1, "audit verify copy.log");
        assert!(ended.stdout.starts_with("not ok: ") && ended.stderr.contains("help: "), "{what}: {ended:?}");
    }
    fs::write(&copy, &bytes).unwrap();
    expect(directory, 0, "audit verify copy.log");
}

// ---- keys ----

#[test]
fn a_key_is_made_listed_and_revoked() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let made = json(
        directory,
        0,
        "auth create-key --data-dir d --name ci --permissions tool:list,tool:call --expires-in 12h",
    );
    let (id, key) = (made["id"].as_str().unwrap(), made["key"].as_str().unwrap());
    assert!(key.starts_with(&format!("cax_live_{id}_")), "{key}");
    // In a shell: the key alone on stdout, the talk beside it.
    let plain = expect(directory, 0, "auth create-key --data-dir d --name bot --agent researcher");
    assert!(plain.stdout.starts_with("cax_live_") && plain.stdout.lines().count() == 1, "{plain:?}");
    assert!(!plain.stderr.contains(plain.stdout.trim()), "{plain:?}");

    let listed = json(directory, 0, "auth list-keys --data-dir d");
    let shown: Vec<_> = listed.as_array().unwrap().iter().map(|key| (&key["name"], &key["status"])).collect();
    assert_eq!(shown, [(&json!("ci"), &json!("active")), (&json!("bot"), &json!("active"))]);
    for text in [listed.to_string(), expect(directory, 0, "auth list-keys --data-dir d").stdout] {
        assert!(!text.contains(key) && !text.contains(plain.stdout.trim()), "a list shows a key");
    }

    let next = json(directory, 0, &format!("auth rotate-key {id} --grace 1h --data-dir d"));
    assert_eq!(next["replaces"], id);
    assert!(next["key"].as_str().unwrap().starts_with("cax_live_"));
    expect(directory, 1, &format!("auth rotate-key {id} --data-dir d"));
    expect(directory, 1, "auth rotate-key nobody --data-dir d");
    let listed = json(directory, 0, "auth list-keys --data-dir d");
    let old = listed.as_array().unwrap().iter().find(|key| key["id"] == id).unwrap();
    assert_eq!((&old["status"], &old["replaced_by"]), (&json!("replaced"), &next["id"]));
    assert_eq!(json(directory, 0, "auth revoke-token t-1 --data-dir d"), json!({ "revoked": "t-1" }));
    assert_eq!(json(directory, 0, "admin revoke-all-sessions --data-dir d"), json!({ "sessions": 0 }));
    assert!(
        json(directory, 0, "auth rotate-signing-key --data-dir d")["kid"]
            .as_str()
            .unwrap()
            .starts_with("caxton-")
    );

    let revoked = json(directory, 0, &format!("auth revoke-key {id} --data-dir d"));
    assert_eq!(revoked, json!({ "id": id, "revoked": true }));
    let unknown = json(directory, 1, "auth revoke-key nobody --data-dir d");
    assert_eq!(unknown, json!({ "id": "nobody", "revoked": false }));
    let listed = json(directory, 0, "auth list-keys --data-dir d");
    let shown: Vec<_> =
        listed.as_array().unwrap().iter().map(|key| key["status"].as_str().unwrap()).collect();
    assert_eq!(shown, ["revoked", "active", "active"]);
}

// ---- policies ----

#[test]
fn the_shipped_policies_are_valid_and_tested() {
    let empty = tempfile::tempdir().unwrap();
    // In the checkout its files, in an empty directory what is built in, when that is meant.
    for (directory, shipped) in [(root().as_path(), ""), (empty.path(), " --shipped")] {
        let validated = json(directory, 0, &format!("policy validate{shipped}"));
        assert_eq!((&validated["valid"], &validated["problems"]), (&json!(true), &json!([])));
        let tested = json(directory, 0, &format!("policy test{shipped}"));
        let count = |what: &str| tested["summary"][what].as_u64().unwrap();
        assert!(count("passed") > 50 && count("failed") + count("broken") == 0, "{}", tested["summary"]);
        expect(directory, 0, &format!("policy validate{shipped}"));
        let said = expect(directory, 0, &format!("policy test --filter tools{shipped}"));
        let last = said.stdout.lines().next_back().unwrap();
        assert!(last.contains(" passed (") && !last.contains("failed"), "{said:?}");
    }
}

#[test]
fn a_mistake_in_a_policy_is_found_with_its_place() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    fs::create_dir(directory.join("policies")).unwrap();
    let policy = "@id(\"a.b\")\n@description(\"x\")\npermit (principal, action, resource) when { principal.nothing };\n";
    fs::write(directory.join("policies/a.cedar"), policy).unwrap();
    let found = json(directory, 1, "policy validate");
    assert_eq!(found["valid"], false);
    let problem = &found["problems"][0];
    assert_eq!((&problem["line"], problem["file"].as_str().is_some()), (&json!(3), true), "{problem}");
    let ended = expect(directory, 1, "policy validate");
    assert!(ended.stderr.contains("a.cedar:3:"), "{ended:?}");
}

// ---- the configuration ----

#[test]
fn the_configuration_is_checked_shown_and_described() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    fs::write(
        directory.join("good.yaml"),
        "server: { port: 0, metrics_port: 0 }\nmodel: { base_url: \"https://m.example/v1\", api_key: hunter2hunter2, name: m }\n",
    )
    .unwrap();
    fs::write(directory.join("bad.yaml"), "server: { prot: 1, port: many }\n").unwrap();

    assert_eq!(json(directory, 0, "config validate --config good.yaml")["valid"], true);
    assert_eq!(json(directory, 0, "config validate --embedded")["valid"], true);
    let weak = json(directory, 1, "config validate --config good.yaml --security-check");
    assert!(!weak["weaknesses"].as_array().unwrap().is_empty(), "{weak}");
    let bad = json(directory, 1, "config validate --config bad.yaml");
    assert_eq!((&bad["valid"], bad["problems"].as_array().unwrap().len()), (&json!(false), 2), "{bad}");
    let ended = expect(directory, 1, "config validate --config bad.yaml");
    assert!(ended.stderr.contains("did you mean `server.port`?"), "{ended:?}");

    let shown = json(directory, 0, "config show --config good.yaml");
    let port = shown.as_array().unwrap().iter().find(|value| value["key"] == "server.port").unwrap();
    assert_eq!(port["value"].to_string().trim_matches('"'), "0", "{port}");
    for text in [shown.to_string(), expect(directory, 0, "config show --config good.yaml").stdout] {
        assert!(text.contains("model.api_key") && !text.contains("hunter2"), "{text}");
    }
    json(directory, 2, "config show --config bad.yaml");

    let schema = json(directory, 0, "config schema");
    assert!(schema["$schema"].is_string() && schema["properties"]["server"].is_object());
}

// ---- tools ----

#[test]
fn tools_are_listed_and_modules_checked() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let listed = json(directory, 0, "tools list");
    assert_eq!(listed["problems"], json!([]));
    let tools: Vec<_> = listed["tools"].as_array().unwrap().iter().map(|tool| &tool["id"]).collect();
    assert_eq!(tools, ["builtin___csv_parser", "builtin___json_validator"]);
    assert!(expect(directory, 0, "tools list").stdout.contains("builtin___csv_parser"));

    // Mistakes of the configuration are data too.
    fs::write(directory.join("bad.yaml"), "server: { prot: 1 }\n").unwrap();
    assert_eq!(json(directory, 2, "tools list --config bad.yaml")["valid"], false);

    fs::write(directory.join("not.wasm"), "not a module").unwrap();
    let refused = json(directory, 1, "tools verify not.wasm");
    assert!(refused["problem"].is_string(), "{refused}");
}

/// LEB128, as WebAssembly writes its numbers.
fn leb(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = u8::try_from(number & 0x7f).unwrap();
        number >>= 7;
        bytes.push(if number == 0 { low } else { low | 0x80 });
        if number == 0 {
            return bytes;
        }
    }
}

fn section(id: u8, content: Vec<u8>) -> Vec<u8> {
    [vec![id], leb(content.len()), content].concat()
}

/// A valid module of `functions` functions that each keep thousands of values alive over thousands of branches.
fn slow_to_compile(functions: usize) -> Vec<u8> {
    const LOCALS: usize = 4_000;
    let mut code = [leb(1), leb(LOCALS), vec![0x7f]].concat();
    for step in 0..20_000 {
        // local[c] = local[a] + local[b]; and a block that may be left.
        let place = |factor: usize| leb(step * factor % LOCALS);
        let sum = [vec![0x20], place(7), vec![0x20], place(31), vec![0x6a, 0x21], place(13)].concat();
        code.extend([vec![0x02, 0x40, 0x20], place(3), vec![0x0d, 0x00], sum, vec![0x0b]].concat());
    }
    code.push(0x0b);
    let body = [leb(code.len()), code].concat();
    let types = [leb(1), vec![0x60, 0, 0]].concat();
    let export = [leb(1), leb(6), b"_start".to_vec(), vec![0x00, 0x00]].concat();
    [
        b"\0asm\x01\0\0\0".to_vec(),
        section(1, types),
        section(3, [leb(functions), vec![0; functions]].concat()),
        section(7, export),
        section(10, [leb(functions), body.repeat(functions)].concat()),
    ]
    .concat()
}

/// Within every bound on its structure, and minutes to compile: the process that compiles it is ended.
#[test]
fn a_module_that_compiles_too_long_or_too_large_is_refused_in_time() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let module = slow_to_compile(14);
    assert!(module.len() > 4 << 20 && module.len() < 8 << 20, "{}", module.len());
    fs::write(directory.join("slow.wasm"), module).unwrap();
    let bounded = |limits: &str| {
        fs::write(directory.join("caxton.yaml"), format!("runtime: {{ limits: {{ {limits} }} }}\n")).unwrap();
        let began = std::time::Instant::now();
        let refused = json(directory, 1, "tools verify slow.wasm --config caxton.yaml");
        (refused["problem"].as_str().unwrap().to_owned(), began.elapsed())
    };
    let (problem, took) = bounded("max_compile_time: 1s");
    assert!(problem.contains("compiling it takes longer than 1s"), "{problem}");
    assert!(took < std::time::Duration::from_secs(20), "{took:?}");
    let (problem, _) = bounded("max_compile_time: 600s, max_compile_memory: 128MB");
    assert!(problem.contains("compiling it takes more than 134217728 bytes of memory"), "{problem}");

    // A file that is not a module is refused as before, by the process that compiles.
    let ended = run(directory, &["compile-module"]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
}
