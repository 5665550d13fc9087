//! Recorded decisions, decided again: from real traffic through a gateway, from hostile lines, and from the command line.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use crate::support;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::support::{Credential, World, send};
use caxton::api::{Access, endpoints};
use caxton::audit::record_reader::{ChainCheck, RecordReader};
use caxton::cli::output::{Exit, Format, Output};
use caxton::cli::policy::{Command, FromLog, PolicyFolders, diff, replay as command, run_in};
use caxton::policy::{Bundle, OnPolicyError, SourceKind, Sources};
use caxton::workbench::replay::{NotEvaluated, Place, Replay, Replayer, Settings, find, suite_of_record};
use caxton::workbench::run::{Settings as RunSettings, Suites, run};
use reqwest::Method;
use serde_json::{Value as Json, json};

/// A gateway whose log is replayable.
async fn world() -> World {
    World::with(|settings, _| settings.replayable = true).await
}

/// The log of a gateway that had all kinds of calls, and the directory that keeps it.
async fn recorded() -> (PathBuf, tempfile::TempDir) {
    let world = world().await;
    traffic(&world).await;
    (world.log(), world.stop().await)
}

fn shipped() -> Bundle {
    Bundle::load(Sources::shipped()).unwrap()
}

/// The shipped set with a text of one file replaced.
fn changed(file: &str, from: &str, to: &str) -> Sources {
    let schemas = Sources::new().with_shipped(SourceKind::Schema);
    let mut found = false;
    let shipped = Sources::shipped();
    let policies = shipped.iter().filter(|source| source.kind == SourceKind::Policy);
    let sources = policies.fold(schemas, |sources, source| {
        let text = source.text.replace(from, to);
        found |= *source.name == *file && text != *source.text;
        sources.with_policy(&source.name, if *source.name == *file { &text } else { &source.text })
    });
    assert!(found, "`{from}` is not in {file}");
    sources
}

fn replayed(log: &Path, baseline: &Bundle, candidate: &Bundle, settings: Settings) -> Replay {
    let mut records = RecordReader::open(log, ChainCheck::Verify).unwrap();
    let mut replayer = Replayer::new(baseline, candidate, settings);
    while let Some(record) = records.next_record().unwrap() {
        let place = Place { log: "audit.log", line: record.line };
        replayer.line(place, record.text, None).unwrap();
    }
    replayer.finish()
}

/// Everything that can be asked for over HTTP, by several callers.
async fn traffic(world: &World) {
    let callers = [
        world.person("ada", &["admin"]),
        world.person("dev", &["developer"]),
        world.service("nobody", &["metrics:view"]),
        world.agent("clerk"),
        world.agent("researcher"),
    ];
    for (number, caller) in callers.iter().enumerate() {
        for endpoint in endpoints().into_iter().filter(|one| matches!(one.access, Access::Action(_))) {
            // What stops the gateway or an agent, or ends the tokens of all callers, would end the test.
            if endpoint.method == "DELETE" || endpoint.path == "/v1/admin/sessions/revoke-all" {
                continue;
            }
            // Its answer has no end.
            if endpoint.path == "/v1/audit/stream" {
                continue;
            }
            let path = endpoint.path.replace("{scope}", "workspace:lab").replace("{id}", "clerk");
            let path =
                path.replace("{name}", "desk").replace("{server}", "builtin").replace("{tool}", "csv_parser");
            let method = Method::from_bytes(endpoint.method.as_bytes()).unwrap();
            let request = world.request(caller, method, &path);
            let request = match body(endpoint.path) {
                Json::Null => request,
                body => request.json(&body),
            };
            send(request.header("user-agent", format!("test/{number}"))).await;
        }
    }
}

fn body(path: &str) -> Json {
    let party = json!({ "type": "Caxton::User", "id": "x", "properties": { "id": "x", "issuer": "i" } });
    match path {
        "/v1/messages" => json!({ "capability": "desk", "content": "hello" }),
        "/v1/capabilities/{name}/messages" => json!({ "content": "hello" }),
        "/v1/tools/{server}/{tool}/call" => json!({ "arguments": { "text": "a,b\n1,2\n" } }),
        "/v1/memory/{scope}/entities" => json!({ "name": "x", "kind": "y" }),
        "/v1/memory/{scope}/relations" => json!({ "from": "x", "kind": "y", "to": "x" }),
        "/v1/memory/{scope}/search" => json!({ "words": "x" }),
        "/access/v1/evaluation" | "/access/v1/evaluations" => {
            json!({ "subject": party, "action": { "name": "agent:list" }, "resource": { "type": "Caxton::Gateway", "id": "g" } })
        }
        "/mcp" => json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {} }),
        _ => Json::Null,
    }
}

#[tokio::test]
async fn every_decision_of_a_gateway_comes_out_as_it_was_recorded() {
    let world = world().await;
    traffic(&world).await;
    let log = world.log();
    let directory = world.stop().await;
    let same = shipped();
    let replay = replayed(&log, &same, &same, Settings::default());
    assert_eq!(replay.not_reproduced, 0, "{:#?}", replay.unlike);
    assert_eq!((replay.flipped, replay.other_policies), (0, 0));
    assert!(replay.reproduced > 90, "{replay:#?}");
    assert_eq!(replay.compared, replay.reproduced);
    let causes: Vec<&NotEvaluated> = replay.left_out.iter().map(|left| &left.cause).collect();
    assert!(causes.iter().all(|cause| matches!(cause, NotEvaluated::Gateway { .. })), "{causes:?}");
    // Lists and questions about others are among them, each item by itself.
    let text = fs::read_to_string(&log).unwrap();
    let lines: Vec<Json> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let items = |action: &str| -> usize {
        let of = lines.iter().filter(|line| line["action"] == action);
        of.map(|line| line["items"].as_array().map_or(0, Vec::len)).sum()
    };
    assert!(items("tool:list") > 0 && items("policy:test") > 0 && items("agent:list") > 0);
    assert!(lines.iter().any(|line| line["items"][0]["open_input"] == true));
    drop(directory);
}

#[tokio::test]
async fn a_log_that_is_not_replayable_says_so_and_is_not_guessed_at() {
    let world = World::new().await;
    let ada = world.person("ada", &["admin"]);
    world.get(&ada, "/v1/agents").await;
    let log = world.log();
    let _directory = world.stop().await;
    let text = fs::read_to_string(&log).unwrap();
    assert!(!text.contains("\"entities\""), "{text}");
    let candidate =
        Bundle::load(changed("roles.cedar", "Caxton::Role::\"admin\"", "Caxton::Role::\"none\"")).unwrap();
    let replay = replayed(&log, &shipped(), &candidate, Settings::default());
    assert_eq!((replay.compared, replay.flipped), (0, 0));
    assert!(
        replay.left_out.iter().any(|left| left.cause == NotEvaluated::NoEntities && left.count > 0),
        "{replay:?}"
    );
}

#[tokio::test]
async fn flips_are_found_grouped_and_become_tests() {
    let (log, _directory) = recorded().await;
    // Developers lose the tools and shared memory; viewers' word for metrics is spelt otherwise.
    let sources = changed("roles.cedar", "Caxton::Role::\"developer\"", "Caxton::Role::\"builder\"");
    let (baseline, candidate) = (shipped(), Bundle::load(sources).unwrap());
    let keep = Settings { keep_records: true, ..Settings::default() };
    let replay = replayed(&log, &baseline, &candidate, keep);
    assert!(replay.flipped > 5 && replay.opened == 0 && replay.closed == replay.flipped, "{replay:?}");
    let dev = format!("User::\"{}|dev\"", support::ISSUER);
    let names: Vec<_> = replay.by_principal.iter().map(|group| group.name.as_str()).collect();
    assert_eq!(names, [dev.as_str()]);
    assert_eq!(replay.by_principal[0].flips, replay.flipped);
    let by_policy: BTreeSet<_> = replay.by_policy.iter().map(|group| group.name.as_str()).collect();
    assert!(by_policy.contains("roles.developer-use"), "{by_policy:?}");
    let total: u64 = replay.by_action.iter().map(|group| group.flips).sum();
    assert_eq!(total, replay.flipped);
    assert!(replay.by_action.iter().all(|group| !group.records.is_empty()));

    let (suite, written, failed) =
        caxton::workbench::replay::suite_of_flips(&baseline, &candidate, &replay.flips);
    assert!(failed.is_empty(), "{failed:#?}");
    // Flips that differ in nothing that matters are one test.
    let more =
        suite.lines().filter_map(|line| line.trim().strip_prefix("# ")?.strip_suffix(" more like this one"));
    let more: u64 = more.map(|count| count.parse::<u64>().unwrap()).sum();
    assert_eq!((written as u64 + more, more > 0), (replay.flipped, true));
    let results = |bundle: &Bundle| {
        let mut suites = Suites::default();
        suites.add("replay.test.yaml", suite.clone());
        let summary = run(bundle, &suites, &RunSettings::default()).summary();
        (summary.passed, summary.failed, summary.broken)
    };
    assert_eq!(results(&baseline), (written, 0, 0), "{suite}");
    assert_eq!(results(&candidate), (0, written, 0), "{suite}");
    // A test states what matters, and nothing that no policy looks at.
    assert!(suite.contains("in: [Role::\"developer\"]"), "{suite}");
    assert!(!suite.contains("user_agent") && !suite.contains("policy_version"), "{suite}");
}

#[tokio::test]
async fn every_recorded_decision_can_become_a_test() {
    let (log, _directory) = recorded().await;
    let bundle = shipped();
    let mut written = 0;
    for line in fs::read_to_string(&log).unwrap().lines() {
        let record: Json = serde_json::from_str(line).unwrap();
        let id = record["decision_id"].as_str().unwrap();
        let found = find(line.as_bytes(), id).unwrap().unwrap();
        match suite_of_record(&bundle, found) {
            Ok((suite, failed)) => {
                // A list asks whether any input could do; a test has one.
                assert!(failed.is_empty() || record["action"] == "tool:list", "{failed:?}\n{line}");
                written += suite.matches("- name:").count();
            }
            Err(error) => {
                let head = record["outcome"] == "allow" && record["policies"] == json!([]);
                let by_gateway = head
                    || !matches!(
                        record["reason_code"].as_str(),
                        Some("permitted" | "forbidden" | "no_permit")
                    );
                assert!(by_gateway || record["action"].is_null(), "{error}\n{line}");
            }
        }
    }
    assert!(written > 80, "{written}");
}

/// Threads share the work, and what they find is what one finds.
#[tokio::test]
async fn many_threads_find_what_one_finds() {
    let (log, _directory) = recorded().await;
    let sources = changed("roles.cedar", "Caxton::Role::\"developer\"", "Caxton::Role::\"builder\"");
    let (baseline, candidate) = (shipped(), Bundle::load(sources).unwrap());
    // Several batches: the log again and again, which is no chain any more.
    let text = fs::read_to_string(&log).unwrap();
    let long = log.with_extension("jsonl");
    fs::write(&long, text.repeat(8)).unwrap();
    let settings = Settings::default();
    let (shared, proven) =
        command::replay_log(&long, ChainCheck::Skip, [&baseline, &candidate], settings, None).unwrap();
    let alone = replayed(&log, &baseline, &candidate, settings);
    assert_eq!(proven.records, alone.records * 8);
    assert!(proven.records > 600, "{}", proven.records);
    assert_eq!((shared.flipped, shared.reproduced), (alone.flipped * 8, alone.reproduced * 8));
    let lines: Vec<u64> = shared.flips.iter().map(|flip| flip.line).collect();
    assert!(lines.is_sorted());
    let causes = |replay: &Replay| -> Vec<(NotEvaluated, u64, String)> {
        replay.left_out.iter().map(|left| (left.cause.clone(), left.count, left.first.clone())).collect()
    };
    let eight: Vec<_> =
        causes(&alone).into_iter().map(|(cause, count, first)| (cause, count * 8, first)).collect();
    assert_eq!(causes(&shared), eight);
    let groups = |replay: &Replay| -> Vec<(String, u64)> {
        replay.by_policy.iter().map(|group| (group.name.clone(), group.flips)).collect()
    };
    let eight: Vec<_> = groups(&alone).into_iter().map(|(name, flips)| (name, flips * 8)).collect();
    assert_eq!(groups(&shared), eight);
    // The first bad line is the one that is told.
    fs::write(&long, format!("{}nothing\n{}nothing\n", text.repeat(2), text.repeat(5))).unwrap();
    let wrong =
        command::replay_log(&long, ChainCheck::Skip, [&baseline, &candidate], settings, None).unwrap_err();
    let line = text.lines().count() * 2 + 1;
    assert!(wrong.to_string().contains(&format!("line {line}: the line is not JSON")), "{wrong}");
}

// ---- hidden values ----

const FETCH: &str = "namespace Caxton { action \"web___fetch\" in [\"tool:call\"] appliesTo {
  principal: [User, Agent], resource: [Tool],
  context: { source: SourceContext, system: SystemContext, session: SessionContext, actor?: ActorContext,
             screening: ScreeningContext, input: { url: String, size: Long } } }; }";

/// A record of a call with arguments, as a log that keeps digests of them has it.
fn call(input: &Json, entities: Json, outcome: &str, policy: &str, version: &str) -> Json {
    let policies = match policy {
        "" => json!([]),
        id => json!([{ "effect": "permit", "id": id, "mode": "enforce" }]),
    };
    json!({
        "schema_version": 1, "seq": 7, "decision_id": "01989f00-0000-7000-8000-000000000007",
        "time": "2026-01-10T10:00:00.121Z", "event_type": "tool_call", "outcome": outcome,
        "reason_code": if outcome == "allow" { "permitted" } else { "no_permit" },
        "policies": policies, "policy_version": version,
        "subject": { "principal": "Caxton::Agent::\"a\"", "method": "internal" },
        "action": "web___fetch", "resource": "Caxton::Tool::\"web___fetch\"",
        "context": {
            "source": { "ip": "127.0.0.1", "tls": false, "mtls": false },
            "system": { "now": "2026-01-10T10:00:00.121Z", "hour": 10, "weekday": 6, "lockdown": false,
                        "policy_version": version },
            "session": { "id": "s", "age_seconds": 0, "labels": [], "tool_calls": 0, "denied": 0, "tools_called": [] },
            "screening": { "injection": false, "score": "0.0000", "findings": [] },
            "input": input,
        },
        "entities": entities,
    })
}

fn entities(tags: Json) -> Json {
    let flag = |name: &str| (name.to_owned(), json!(false));
    let mut tool: serde_json::Map<String, Json> = [
        "read_only",
        "destructive",
        "idempotent",
        "open_world",
        "declared_read_only",
        "declared_destructive",
        "declared_idempotent",
        "declared_open_world",
        "pinned",
        "drifted",
        "sandboxed",
    ]
    .into_iter()
    .map(flag)
    .collect();
    for name in ["id", "name", "server", "definition_sha256"] {
        tool.insert(name.to_owned(), json!("web___fetch"));
    }
    tool.insert("labels".to_owned(), json!([]));
    json!([
        { "uid": "Caxton::Agent::\"a\"", "attrs": {
            "name": "a", "version": "1", "capabilities": [], "tools": tags, "memory_scope": "agent",
            "status": "active", "signed": true, "deployed_by": "x", "definition_sha256": "" } },
        { "uid": "Caxton::Tool::\"web___fetch\"", "attrs": tool },
    ])
}

fn fetch_bundle(condition: &str) -> Bundle {
    let policy = format!(
        "@id(\"t.fetch\") permit (principal, action == Caxton::Action::\"web___fetch\", resource) when {{ {condition} }};"
    );
    let sources = Sources::new().with_shipped(SourceKind::Schema).with_schema("web.cedarschema", FETCH);
    Bundle::load(sources.with_policy("t.cedar", &policy)).unwrap()
}

fn one(record: &Json, baseline: &Bundle, candidate: &Bundle) -> Replay {
    let mut replayer = Replayer::new(baseline, candidate, Settings::default());
    replayer.line(Place { log: "l", line: 1 }, record.to_string().as_bytes(), None).unwrap();
    replayer.finish()
}

#[test]
fn a_decision_that_hangs_on_a_value_the_log_does_not_hold_is_left_out() {
    let digest = format!("sha256:{}", "ab".repeat(32));
    let summary = json!({ "bytes": 2000, "sha256": "cd".repeat(32) });
    let blind = fetch_bundle("context.input.size < 10");
    let seeing = fetch_bundle("context.input.size < 10 && context.input.url like \"https:*\"");
    for url in [json!(digest), json!("[masked]"), summary] {
        let record = |bundle: &Bundle| {
            call(
                &json!({ "url": url, "size": 3 }),
                entities(json!([])),
                "allow",
                "t.fetch",
                bundle.version().as_str(),
            )
        };
        let replay = one(&record(&blind), &blind, &blind);
        assert_eq!((replay.reproduced, replay.flipped), (1, 0), "{replay:?}");
        // The version that decided knew the value; the log does not.
        let replay = one(&record(&seeing), &seeing, &blind);
        assert_eq!((replay.reproduced, replay.not_reproduced), (0, 0));
        assert_eq!(replay.left_out[0].cause, NotEvaluated::Hidden { path: "context.input.url".to_owned() });
        // And so does the candidate.
        let replay = one(&record(&blind), &blind, &seeing);
        assert_eq!(replay.left_out[0].cause, NotEvaluated::Hidden { path: "context.input.url".to_owned() });
        assert_eq!((replay.compared, replay.flipped), (0, 0));
    }
    // Values that are there are looked at, and attributes of entities are values too.
    let record = call(
        &json!({ "url": "ftp://a", "size": 3 }),
        entities(json!([])),
        "allow",
        "t.fetch",
        blind.version().as_str(),
    );
    assert_eq!(one(&record, &blind, &seeing).flipped, 1);
    let by_tools = fetch_bundle("principal is Caxton::Agent && principal.tools.contains(resource.id)");
    let record = call(
        &json!({ "url": "a", "size": 3 }),
        entities(json!("[masked]")),
        "allow",
        "t.fetch",
        blind.version().as_str(),
    );
    assert_eq!(
        one(&record, &blind, &by_tools).left_out[0].cause,
        NotEvaluated::Hidden { path: "attrs.tools".to_owned() }
    );
}

#[test]
fn a_record_that_its_own_version_does_not_bear_out_is_told_and_not_compared() {
    let bundle = fetch_bundle("context.input.size < 10");
    let wide = fetch_bundle("context.input.size < 10 || true");
    let input = json!({ "url": "a", "size": 30 });
    let record = call(&input, entities(json!([])), "allow", "t.fetch", bundle.version().as_str());
    let replay = one(&record, &bundle, &wide);
    assert_eq!((replay.not_reproduced, replay.compared, replay.flipped), (1, 0, 0));
    assert!(replay.has_findings());
    assert_eq!((replay.unlike[0].recorded.outcome, replay.unlike[0].now.outcome), ("allow", "deny_default"));
    // The right outcome by another policy is none either.
    let record = call(
        &json!({ "url": "a", "size": 3 }),
        entities(json!([])),
        "allow",
        "t.other",
        bundle.version().as_str(),
    );
    assert_eq!(one(&record, &bundle, &wide).not_reproduced, 1);
}

#[test]
fn what_an_error_means_is_what_it_meant_to_the_gateway() {
    let sources = |condition: &str| {
        let policy = format!(
            "@id(\"t.fetch\") permit (principal, action == Caxton::Action::\"web___fetch\", resource);
             @id(\"t.errs\") permit (principal, action, resource is Caxton::Tool) when {{ {condition} }};"
        );
        let sources = Sources::new().with_shipped(SourceKind::Schema).with_schema("web.cedarschema", FETCH);
        sources.with_policy("t.cedar", &policy)
    };
    let load = |condition: &str, rule| Bundle::load(sources(condition)).unwrap().with_errors_as(rule);
    let erring =
        "context.session.age_seconds + 9223372036854775807 > context.system.hour + 9223372036854775807";
    for (rule, reproduced, flipped) in [(OnPolicyError::Deny, 0, 0), (OnPolicyError::DenyOnForbidError, 1, 0)]
    {
        let (bundle, calm) = (load(erring, rule), load("false", rule));
        let input = json!({ "url": "a", "size": 30 });
        let record = call(&input, entities(json!([])), "allow", "t.fetch", bundle.version().as_str());
        let replay = one(&record, &bundle, &calm);
        assert_eq!((replay.reproduced, replay.flipped), (reproduced, flipped), "{rule:?}");
    }
}

#[test]
fn decisions_of_other_versions_are_counted_and_taken_only_when_asked_to() {
    let bundle = fetch_bundle("context.input.size < 10");
    let narrow = fetch_bundle("context.input.size < 2");
    let input = json!({ "url": "a", "size": 3 });
    let record = call(&input, entities(json!([])), "deny_default", "", &"0".repeat(64));
    let replay = one(&record, &bundle, &narrow);
    assert_eq!((replay.left_out[0].cause.clone(), replay.compared), (NotEvaluated::OtherVersion, 0));
    assert_eq!(replay.other_versions.values().sum::<u64>(), 1);
    let settings = Settings { other_versions: true, ..Settings::default() };
    let mut replayer = Replayer::new(&bundle, &narrow, settings);
    replayer.line(Place { log: "l", line: 1 }, record.to_string().as_bytes(), None).unwrap();
    let replay = replayer.finish();
    // What the baseline decides stands for what was recorded.
    assert_eq!((replay.reproduced, replay.compared, replay.flipped, replay.closed), (0, 1, 1, 1));
}

#[test]
fn a_request_that_does_not_fit_the_candidates_schema_is_denied_by_it_and_says_why() {
    let bundle = fetch_bundle("context.input.size < 10");
    let schema = FETCH.replace("size: Long", "size: Long, host: String");
    let sources = Sources::new().with_shipped(SourceKind::Schema).with_schema("web.cedarschema", &schema);
    let candidate = Bundle::load(sources.with_policy(
        "t.cedar",
        "@id(\"t.fetch\") permit (principal, action == Caxton::Action::\"web___fetch\", resource);",
    ))
    .unwrap();
    let record = call(
        &json!({ "url": "a", "size": 3 }),
        entities(json!([])),
        "allow",
        "t.fetch",
        bundle.version().as_str(),
    );
    let replay = one(&record, &bundle, &candidate);
    assert_eq!((replay.flipped, replay.flips[0].new.outcome), (1, "deny_error"));
    assert_eq!(replay.flips[0].mismatch.as_deref(), Some("`input`: `host` is missing"));
}

#[test]
fn lines_that_are_no_records_are_refused_in_words() {
    let bundle = shipped();
    let refused = |line: &str| {
        let mut replayer = Replayer::new(&bundle, &bundle, Settings::default());
        let found = replayer.line(Place { log: "l", line: 1 }, line.as_bytes(), None);
        found.unwrap_err().to_string()
    };
    assert!(refused("").starts_with("the line is not JSON"));
    assert!(refused("[1]").starts_with("the line is not a record"));
    assert!(refused("{\"a\":1,\"a\":2}").contains("not JSON"), "{}", refused("{\"a\":1,\"a\":2}"));
    assert!(refused(&format!("{}1{}", "[".repeat(100), "]".repeat(100))).contains("not JSON"));
    let mut record = call(&json!({}), json!([]), "allow", "", "x");
    record["schema_version"] = json!(2);
    assert_eq!(refused(&record.to_string()), "the record has the shape 2, and this program knows 1");
    record["schema_version"] = json!(1);
    record["outcome"] = json!("perhaps");
    assert!(refused(&record.to_string()).contains("perhaps"));
}

// ---- the command ----

struct Folder(tempfile::TempDir);

impl Folder {
    /// A log of real decisions, and a candidate that takes the developer's role away.
    async fn new() -> Self {
        let world = world().await;
        let dev = world.person("dev", &["developer"]);
        world.get(&dev, "/v1/agents").await;
        world.get(&Credential::Nothing, "/v1/agents").await;
        let log = world.log();
        let directory = world.stop().await;
        fs::create_dir(directory.path().join(".caxton")).unwrap();
        fs::copy(log, directory.path().join(".caxton/audit.log")).unwrap();
        let folder = Self(directory);
        folder.write("candidate/roles.cedar", "@id(\"t.none\") forbid (principal, action, resource);");
        folder
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.0.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.0.path().join(name)).unwrap()
    }

    fn run(&self, change: impl FnOnce(&mut command::ReplayOptions)) -> anyhow::Result<Exit> {
        let mut options =
            command::ReplayOptions { candidate: "candidate".to_owned(), show: 3, ..Default::default() };
        change(&mut options);
        run_in(self.0.path(), Command::Replay(options.into()), &Output::new(Format::Table))
    }

    fn as_test(&self, id: &str) -> anyhow::Result<Exit> {
        let from = FromLog { from_log: Some(id.to_owned()), log: None };
        let command = Command::Test {
            files: vec![],
            filter: None,
            junit: None,
            watch: false,
            from,
            world: caxton::cli::policy::WorldOptions::default(),
            folders: PolicyFolders::default(),
        };
        run_in(self.0.path(), command, &Output::new(Format::Table))
    }
}

#[tokio::test]
async fn exit_codes_say_flips_and_bad_logs() {
    let folder = Folder::new().await;
    assert_eq!(folder.run(|_| {}).unwrap(), Exit::Found);
    folder.write("same/policies/x.cedar", "");
    fs::remove_dir_all(folder.0.path().join("same")).unwrap();
    for source in Sources::shipped().iter().filter(|source| source.kind == SourceKind::Policy) {
        folder.write(&format!("same/{}", source.name), &source.text);
    }
    assert_eq!(folder.run(|options| options.candidate = "same".to_owned()).unwrap(), Exit::Fine);
    // A folder of logs, and only the last week.
    let week = |options: &mut command::ReplayOptions| {
        options.recorded.log = Some(folder.0.path().join(".caxton"));
        options.recorded.last = Some("7d".to_owned());
    };
    assert_eq!(folder.run(week).unwrap(), Exit::Found);
    // A changed line: refused, unless the chain is given up.
    let log = folder.read(".caxton/audit.log");
    folder.write(".caxton/audit.log", &log.replacen("\"latency_us\":", "\"latency_us\":1", 1));
    assert_eq!(folder.run(|_| {}).unwrap(), Exit::Usage);
    assert_eq!(folder.run(|options| options.recorded.no_verify = true).unwrap(), Exit::Found);
    folder.write(".caxton/audit.log", "nothing\n");
    assert_eq!(folder.run(|options| options.recorded.no_verify = true).unwrap(), Exit::Usage);
    fs::remove_file(folder.0.path().join(".caxton/audit.log")).unwrap();
    assert_eq!(folder.run(|_| {}).unwrap(), Exit::Usage);
}

#[tokio::test]
async fn the_command_refuses_what_it_cannot_do() {
    let folder = Folder::new().await;
    let refused =
        |change: &dyn Fn(&mut command::ReplayOptions)| format!("{:#}", folder.run(change).unwrap_err());
    folder.write("empty/README.md", "");
    assert_eq!(
        refused(&|options| options.candidate = "empty".to_owned()),
        "`empty` has neither a folder `policies` nor a `*.cedar` file"
    );
    assert!(refused(&|options| options.candidate = "nowhere".to_owned()).starts_with("`nowhere` is neither"));
    assert!(
        refused(&|options| options.recorded.last = Some("soon".to_owned()))
            .starts_with("`soon` is not a time span")
    );
    let tests = folder.0.path().join("flips.test.yaml");
    assert_eq!(
        refused(&|options| {
            options.tests = Some(tests.clone());
            options.flip = Some("999".to_owned());
        }),
        "no decision of record `999` flips"
    );
    assert!(!tests.exists());
    assert_eq!(folder.run(|options| options.tests = Some(tests.clone())).unwrap(), Exit::Found);
    assert!(
        folder.read("flips.test.yaml").contains("expect: { outcome: allow"),
        "{}",
        folder.read("flips.test.yaml")
    );
    assert!(refused(&|options| options.tests = Some(tests.clone())).contains("is there already"));
    assert!(format!("{:#}", folder.as_test("nothing").unwrap_err()).ends_with("has no record `nothing`"));
    // After two agents that were deployed and the start.
    assert_eq!(folder.as_test("4").unwrap(), Exit::Fine);
}

#[tokio::test]
async fn a_comparison_takes_recorded_traffic_as_well() {
    let folder = Folder::new().await;
    for source in Sources::shipped().iter() {
        let place = if source.kind == SourceKind::Policy { "policies" } else { "schemas" };
        folder.write(&format!("old/{place}/{}", source.name), &source.text);
        folder.write(&format!("{place}/{}", source.name), &source.text);
    }
    folder.write("policy-tests/none.test.yaml", "suite: none\ntests: []\n");
    let diff = |change: &dyn Fn(&mut diff::DiffOptions)| {
        let mut options = diff::DiffOptions { old: "old".to_owned(), show: 3, ..Default::default() };
        change(&mut options);
        run_in(folder.0.path(), Command::Diff(options.into()), &Output::new(Format::Table))
    };
    let log = folder.0.path().join(".caxton/audit.log");
    let with_log = |options: &mut diff::DiffOptions| options.recorded.log = Some(log.clone());
    assert_eq!(diff(&with_log).unwrap(), Exit::Fine);
    // The tests do not know this caller; the matrix does, because a policy names it, and the log shows what it loses.
    folder.write(
        "policies/dev.cedar",
        "@id(\"t.dev\") forbid (principal == Caxton::User::\"https://login.example|dev\", action, resource);",
    );
    assert_eq!(diff(&|_| {}).unwrap(), Exit::Found);
    assert_eq!(diff(&with_log).unwrap(), Exit::Found);
    folder.write(".caxton/audit.log", "nothing\n");
    assert_eq!(diff(&with_log).unwrap(), Exit::Usage);
}

/// An entity that only the candidate names was never looked up: its state at that time is not known.
#[tokio::test]
async fn what_a_candidate_names_and_the_log_does_not_hold_is_not_guessed_at() {
    let (log, _directory) = recorded().await;
    let named = "@id(\"own.off\") forbid (principal, action == Caxton::Action::\"agent:list\", resource) when { Caxton::Agent::\"clerk\".status == \"off\" };";
    let candidate = Bundle::load(Sources::shipped().with_policy("own.cedar", named)).unwrap();
    let replay = replayed(&log, &shipped(), &candidate, Settings::default());
    let cause = NotEvaluated::Hidden { path: "Caxton::Agent::\"clerk\"".to_owned() };
    assert!(replay.left_out.iter().any(|left| left.cause == cause), "{:?}", replay.left_out);
    assert_eq!(replay.flipped, 0);
    assert!(replay.compared > 0, "the others are compared");
}
