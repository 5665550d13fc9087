//! One world: the live gateway, `auth check`, `policy explain` and `policy test` are asked the same questions about the same
//! tools, agents and roles, and give one answer.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests")]

use std::fmt::Write as _;
use std::path::Path;

use crate::support::child::{Ended, run};
use crate::support::{Credential, ISSUER, World, upstream, write};
use caxton::model::ServerName;
use caxton::tools::{Definition, Pins, ServerSettings, Transport};
use reqwest::StatusCode;
use serde_json::{Value as Json, json};

const POLICIES: &str = r#"@id("own.pay-limit")
@reason("at most 100")
forbid (principal, action == Caxton::Action::"desk___pay", resource)
when { context.input.amount > 100 };

@id("own.office-reads")
@reason("the office only reads")
forbid (principal in Caxton::Workspace::"office", action in Caxton::Action::"tool:call", resource is Caxton::Tool)
unless { resource.read_only };

@id("own.personal")
@reason("personal data")
forbid (principal, action in Caxton::Action::"tool:call", resource is Caxton::Tool)
when { resource.labels.contains("pii") };

@id("own.desk-clerks")
permit (principal in Caxton::Role::"desk-clerk", action in Caxton::Action::"tool:call", resource is Caxton::Tool)
when { !resource.open_world };
"#;

/// The tools of the server `desk`, which no other server could be mistaken for by its hints.
fn tools() -> Json {
    let tool = |name: &str, annotations: Json| {
        let amount = json!({ "type": "object", "properties": { "amount": { "type": "integer" } }, "required": ["amount"] });
        json!({ "name": name, "description": name, "inputSchema": amount, "annotations": annotations })
    };
    json!([
        tool("pay", json!({})),
        tool("look", json!({ "readOnlyHint": true, "openWorldHint": false })),
        tool("send", json!({ "openWorldHint": true, "destructiveHint": false })),
        tool("dump", json!({ "readOnlyHint": true, "openWorldHint": false })),
    ])
}

const TOOLS: [&str; 5] = ["desk___pay", "desk___look", "desk___send", "desk___dump", "builtin___csv_parser"];

/// Somebody, as the gateway knows and as tests write it.
struct Somebody {
    credential: Credential,
    name: &'static str,
    /// What a test has to say, because no file of the gateway does.
    entity: &'static str,
    /// As `auth check` takes it.
    flag: [String; 2],
}

async fn world() -> (World, Vec<Somebody>) {
    let (url, _) = upstream(tools()).await;
    let world = World::with(|settings, directory| {
        for folder in ["policies", "schemas"] {
            std::fs::create_dir(directory.join(folder)).unwrap();
        }
        write(&directory.join("policies/own.cedar"), POLICIES);
        let agent = |name: &str, workspace: &str, tools: &str| {
            let text = format!("---\nname: {name}\ncapabilities: [tool-access]\ntools: [{tools}]\nworkspace: {workspace}\nhandler: builtin:echo_agent\n---\nx\n");
            write(&directory.join(format!("agents/{name}.md")), &text);
        };
        agent("payer", "finance", "desk___pay, desk___send, csv_parser");
        agent("reader", "office", "desk___look, desk___send, desk___dump");
        let name = ServerName::parse("desk").unwrap();
        let read = |tool: &Json| Definition::read(tool, 65_536).unwrap();
        let pins = Pins::new(&name, tools().as_array().unwrap().iter().map(read)).unwrap();
        pins.write(&directory.join("schemas/tools")).unwrap();
        let mut server = ServerSettings::new(name, Transport::Http { url: url.parse().unwrap(), headers: vec![] });
        server.labels.insert("dump".to_owned(), ["pii".into()].into());
        settings.tools.servers.push(server);
        settings.tools.schema_dir = directory.join("schemas");
        settings.policy_dir = Some(directory.join("policies"));
        settings.schema_dir = Some(directory.join("schemas"));
        settings.extend_shipped = true;
        let config = format!(
            "server: {{ data_dir: data, agents_dir: agents }}
security: {{ authorization: {{ policy_dir: policies, schema_dir: schemas, extend_shipped: true }} }}
mcp: {{ servers: [{{ name: desk, url: \"{url}\", labels: {{ dump: [pii] }} }}] }}
"
        );
        write(&directory.join("caxton.yaml"), &config);
    })
    .await;
    let root = world.person("root", &["admin"]);
    let role = json!({ "user": format!("{ISSUER}|ann"), "role": "desk-clerk" });
    let assigned = world.post(&root, "/v1/auth/roles", &role).await;
    assert_eq!(assigned.status, StatusCode::OK, "{assigned:?}");
    let flag = |kind: &str, name: &str| [format!("--{kind}"), name.to_owned()];
    let somebody = |credential, name, entity, flag| Somebody { credential, name, entity, flag };
    let people = vec![
        somebody(world.agent("payer"), "Agent::\"payer\"", "", flag("agent", "payer")),
        somebody(world.agent("reader"), "Agent::\"reader\"", "", flag("agent", "reader")),
        somebody(world.agent("clerk"), "Agent::\"clerk\"", "", flag("agent", "clerk")),
        somebody(
            world.service("ci", &["tool:call"]),
            "Service::\"ci\"",
            "  Role::\"tool:call\": {}\n  Service::\"ci\": { attrs: { permissions: [\"tool:call\"] }, in: ['Role::\"tool:call\"'] }\n",
            flag("service", "ci"),
        ),
        somebody(world.person("ann", &[]), "ANN", "", flag("user", &format!("{ISSUER}|ann"))),
    ];
    (world, people)
}

/// A question, and what the gateway decided when it was really asked.
struct Answered {
    who: String,
    tool: &'static str,
    input: Json,
    outcome: String,
    policies: Vec<String>,
}

/// The calls, really made, with their records.
async fn ask(world: &World, people: &[Somebody], count: usize) -> Vec<Answered> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut draw = |most: usize| {
        // Xorshift: the same questions in each run.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % u64::try_from(most).unwrap()).unwrap()
    };
    let before = world.records().len();
    let mut asked = Vec::new();
    for _ in 0..count {
        let (who, tool) = (&people[draw(people.len())], TOOLS[draw(TOOLS.len())]);
        let input = match tool.starts_with("desk") {
            true => json!({ "amount": draw(200) }),
            false => json!({ "text": "a\n1\n" }),
        };
        let (server, name) = tool.split_once("___").unwrap();
        let answer = world
            .post(&who.credential, &format!("/v1/tools/{server}/{name}/call"), &json!({ "arguments": input }))
            .await;
        assert!(answer.status == StatusCode::OK || answer.status == StatusCode::FORBIDDEN, "{answer:?}");
        let who = who.name.replace("ANN", &format!("User::\"{ISSUER}|ann\""));
        asked.push((who, tool, input));
    }
    let calls = world.records().into_iter().skip(before).filter(|record| record["event_type"] == "tool_call");
    let calls: Vec<Json> = calls.collect();
    assert_eq!(calls.len(), asked.len());
    let answered = asked.into_iter().zip(calls).map(|((who, tool, input), record)| {
        let policies = record["policies"].as_array().into_iter().flatten();
        let policies = policies.map(|one| one["id"].as_str().unwrap().to_owned()).collect();
        Answered { who, tool, input, outcome: record["outcome"].as_str().unwrap().to_owned(), policies }
    });
    answered.collect()
}

fn command(directory: &Path, line: &[&str]) -> Ended {
    let config = ["--config", "caxton.yaml"];
    run(directory, &[line, &config].concat())
}

/// `policy test`: every question with the gateway's answer as what is expected, in files that are not too long to be read.
fn test_agrees(directory: &Path, people: &[Somebody], answers: &[Answered]) {
    let mut line = vec!["policy".to_owned(), "test".to_owned(), "--attributes".to_owned()];
    for (file, some) in answers.chunks(500).enumerate() {
        let name = format!("answers-{file}.test.yaml");
        write(&directory.join(&name), &suite_of(people, some, file * 500));
        line.push(name);
    }
    let line: Vec<&str> = line.iter().map(String::as_str).collect();
    let tested = command(directory, &line);
    assert_eq!(tested.code, Some(0), "{tested:?}");
    assert!(tested.stdout.contains(&format!("{} passed", answers.len())), "{}", tested.stdout);
}

/// The text of a test file; its first question has the number `first`.
fn suite_of(people: &[Somebody], answers: &[Answered], first: usize) -> String {
    let mut suite = format!("suite: the gateway's answers from {first}\nentities:\n  Gateway::\"g\": {{}}\n");
    people.iter().for_each(|one| suite.push_str(one.entity));
    suite.push_str("tests:\n");
    for (number, Answered { who, tool, input, outcome, policies }) in answers.iter().enumerate() {
        let (number, policies) = (first + number, serde_json::to_string(policies).unwrap());
        writeln!(
            suite,
            "  - name: question {number}\n    request: {{ principal: '{who}', action: {tool}, resource: 'Tool::\"{tool}\"', context: {{ input: {input} }} }}\n    expect: {{ outcome: {outcome}, policies: {policies} }}"
        )
        .unwrap();
    }
    suite
}

/// `policy explain`: some of them, one by one.
fn explain_agrees(directory: &Path, people: &[Somebody], answers: &[Answered]) {
    let entities: String = people.iter().map(|one| one.entity).collect();
    write(&directory.join("known.fixtures.yaml"), &format!("entities:\n  Gateway::\"g\": {{}}\n{entities}"));
    for Answered { who, tool, input, outcome, policies } in answers {
        let (resource, context) = (format!("Tool::\"{tool}\""), json!({ "input": input }).to_string());
        let line = [
            "policy",
            "explain",
            "--json",
            "--attributes",
            "--entities",
            "known.fixtures.yaml",
            "--principal",
            who,
            "--action",
            tool,
            "--resource",
            &resource,
            "--context",
            &context,
        ];
        let explained = command(directory, &line);
        let explained = explained.json();
        let by = explained[0]["decided"].as_array().unwrap().iter();
        let mut by: Vec<String> = by.map(|one| one["id"].as_str().unwrap().to_owned()).collect();
        by.sort();
        assert_eq!(explained[0]["outcome"], outcome.as_str(), "{who} {tool} {input}: {explained}");
        assert_eq!(by, *policies, "{who} {tool} {input}");
    }
}

/// `auth check`, against the gateway and without it: of every tool, in what the gateway decided for it with that input.
async fn check_agrees(world: &World, people: &[Somebody], answers: &[Answered]) {
    let root = world.person("root", &["admin"]);
    for one in people.iter().filter(|one| one.flag[0] != "--service") {
        let [kind, name] = &one.flag;
        let body = json!({ kind.trim_start_matches("--"): name, "permission": "tool:call" });
        let live = world.post(&root, "/v1/auth/check", &body).await.json();
        let line = ["auth", "check", "--offline", "--json", kind, name, "--permission", "tool:call"];
        let offline = command(world.directory.path(), &line).json();
        assert_eq!(live["answers"], offline["answers"], "{name}");
        let who = one.name.replace("ANN", &format!("User::\"{ISSUER}|ann\""));
        // An amount of 0 is asked about: those that a limit on it does not decide.
        for answer in answers
            .iter()
            .filter(|answer| answer.who == who && !answer.policies.contains(&"own.pay-limit".to_owned()))
        {
            let checked = live["answers"].as_array().unwrap().iter().find(|one| one["action"] == answer.tool);
            let allowed = checked.unwrap()["allowed"].as_bool().unwrap();
            assert_eq!(allowed, answer.outcome == "allow", "{who} {}: {live}", answer.tool);
        }
    }
}

async fn one_answer(count: usize, explained: usize) {
    let (world, people) = world().await;
    let answers = ask(&world, &people, count).await;
    let outcomes: std::collections::BTreeSet<&str> = answers.iter().map(|one| one.outcome.as_str()).collect();
    assert_eq!(outcomes.into_iter().collect::<Vec<_>>(), ["allow", "deny_default", "deny_explicit"]);
    check_agrees(&world, &people, &answers).await;
    let directory = world.stop().await;
    test_agrees(directory.path(), &people, &answers);
    explain_agrees(directory.path(), &people, &answers[..explained]);
}

#[tokio::test]
async fn gateway_check_explain_and_test_give_one_answer() {
    one_answer(150, 8).await;
}

#[tokio::test]
#[ignore = "takes long: for the night"]
async fn gateway_check_explain_and_test_give_one_answer_to_2000_questions() {
    one_answer(2000, 200).await;
}

/// Six own policies beside the shipped set: reports about them are there at once. In a build without optimisation the bounds
/// are ten times as wide.
#[test]
#[ignore = "measures time: for the night, when nothing else runs"]
fn reports_about_own_policies_are_quick() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path();
    let (mut policies, mut tests) = (
        String::new(),
        String::from(
            "suite: own\nentities:\n  Gateway::\"g\": {}\n  Role::\"admin\": {}\n  User::\"i|a\": { in: ['Role::\"admin\"'] }\n  Agent::\"a\": {}\n  AuditLog::\"l\": {}\ntests:\n",
        ),
    );
    let actions = [
        ("agent:list", "Gateway::\"g\""),
        ("agent:read", "Agent::\"a\""),
        ("agent:logs", "Agent::\"a\""),
        ("agent:delete", "Agent::\"a\""),
        ("audit:read", "AuditLog::\"l\""),
        ("tool:list", "Gateway::\"g\""),
    ];
    for (number, (action, resource)) in actions.into_iter().enumerate() {
        writeln!(policies, "@id(\"own.{number}\")\n@reason(\"closed\")\nforbid (principal is Caxton::User, action == Caxton::Action::\"{action}\", resource)\nwhen {{ context.system.hour < 6 || context.system.hour > 20 }};\n").unwrap();
        for (hour, outcome) in [(5, "deny_explicit"), (6, "allow"), (20, "allow"), (21, "deny_explicit")] {
            writeln!(tests, "  - name: {action} at {hour}\n    request: {{ principal: 'User::\"i|a\"', action: '{action}', resource: '{resource}', context: {{ system: {{ hour: {hour} }} }} }}\n    expect: {{ outcome: {outcome} }}").unwrap();
        }
    }
    for folder in ["policies", "policy-tests"] {
        std::fs::create_dir(directory.join(folder)).unwrap();
    }
    write(&directory.join("policies/own.cedar"), &policies);
    write(&directory.join("policy-tests/own.test.yaml"), &tests);
    write(
        &directory.join("caxton.yaml"),
        "security: { authorization: { policy_dir: policies, extend_shipped: true } }\n",
    );
    let slow = if cfg!(debug_assertions) { 10.0 } else { 1.0 };
    for (line, most) in [("lint", 0.2), ("test", 0.2), ("coverage", 0.2), ("mutate --no-solver", 3.0)] {
        let words: Vec<&str> = ["policy"].into_iter().chain(line.split(' ')).collect();
        let taken = (0..3).map(|_| {
            let begun = std::time::Instant::now();
            let ended = command(directory, &words);
            assert!(ended.code.is_some_and(|code| code < 2), "{ended:?}");
            begun.elapsed().as_secs_f64()
        });
        let best = taken.fold(f64::INFINITY, f64::min);
        assert!(best < most * slow, "`policy {line}` took {best} s");
    }
}

/// What `init` lays out passes every gate that its workflow names, and its hook; what `eject` writes is the shipped set.
#[test]
fn a_new_repository_passes_its_own_checks() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path();
    let laid_out = run(directory, &["policy", "init"]);
    assert_eq!(laid_out.code, Some(0), "{laid_out:?}");
    let workflow = std::fs::read_to_string(directory.join(".github/workflows/policies.yml")).unwrap();
    let commands: Vec<&str> = workflow
        .lines()
        .filter_map(|line| line.trim().trim_start_matches("run: ").strip_prefix("caxton policy "))
        .filter(|line| !line.starts_with("diff"))
        .collect();
    assert_eq!(commands.len(), 7, "{commands:?}");
    for line in commands {
        let words: Vec<&str> = ["policy"].into_iter().chain(line.split_whitespace()).collect();
        let ended = run(directory, &words);
        assert_eq!(ended.code, Some(0), "{line}: {ended:?}");
    }
    let binary = Path::new(env!("CARGO_BIN_EXE_caxton")).parent().unwrap();
    let hook = |script: &str| {
        std::process::Command::new("bash")
            .args(["-c", script])
            .current_dir(directory)
            .env_clear()
            .env("PATH", format!("{}:/usr/bin:/bin", binary.display()))
            .env("HOME", directory)
            .output()
            .unwrap()
    };
    let committed = hook(
        "git init -q && git config core.hooksPath .githooks && git add . && git -c user.name=a -c user.email=a@b.example commit -qm one",
    );
    assert!(committed.status.success(), "{committed:?}");
    let text = std::fs::read_to_string(directory.join("policies/limits.cedar")).unwrap();
    write(&directory.join("policies/limits.cedar"), &text.replace("> 1000", "> 5000"));
    let refused = hook("git -c user.name=a -c user.email=a@b.example commit -qam two");
    assert!(!refused.status.success(), "the hook takes a change that a test speaks against: {refused:?}");

    let again = run(directory, &["policy", "init"]);
    assert!(again.code == Some(2) && again.stderr.contains("is there already"), "{again:?}");
    let ejected = run(directory, &["policy", "eject", "shipped"]);
    assert_eq!(ejected.code, Some(0), "{ejected:?}");
    let shipped = directory.join("shipped");
    for line in [["policy", "validate"], ["policy", "test"]] {
        let ended = run(&shipped, &line);
        assert_eq!(ended.code, Some(0), "{ended:?}");
    }
    let validated = run(&shipped, &["policy", "validate"]);
    assert!(
        validated.stdout.starts_with("valid: ") && !validated.stdout.contains("shipped"),
        "{validated:?}"
    );
}
