//! The registry against servers that behave and servers that do not.

mod fake;
mod http;
mod stdio;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value as Json, json};

use super::*;
use crate::authz::Permit;
use crate::model::{ServerName, Subject, ToolId, Value};
use crate::sandbox::Sandbox;
use crate::telemetry::Metrics;

/// Far beyond what anything here takes; a test that reaches it has failed.
const PATIENCE: Duration = Duration::from_secs(180);
/// The deadline of a call in these tests, where one that is reached is the point.
const SHORT: Duration = Duration::from_millis(200);

fn name(text: &str) -> ServerName {
    ServerName::parse(text).unwrap()
}

fn id(text: &str) -> ToolId {
    ToolId::parse(text).unwrap()
}

fn args(json: Json) -> Map<String, Json> {
    json.as_object().unwrap().clone()
}

fn server(transport: Transport) -> ServerSettings {
    ServerSettings {
        connect_timeout: PATIENCE,
        call_timeout: PATIENCE,
        ..ServerSettings::new(name("s"), transport)
    }
}

/// Settings that look for changes all the time, without the built-in tools: compiling them takes seconds in
/// a debug build.
fn settings(dir: &Path, servers: Vec<ServerSettings>) -> Settings {
    Settings {
        servers,
        auto_import: true,
        schema_dir: dir.to_owned(),
        refresh_interval: Duration::from_millis(20),
        refresh_gap: Duration::from_millis(1),
        retry_min: Duration::from_millis(10),
        retry_max: Duration::from_millis(50),
        forbidden_tools: ["csv_parser", "json_validator"].map(str::to_owned).into(),
        ..Settings::default()
    }
}

async fn connect(settings: Settings) -> Result<(Registry, Vec<ToolProblem>), RegistryError> {
    let metrics = Arc::new(Metrics::new());
    let sandbox = Sandbox::new(crate::sandbox::Settings::default(), Arc::clone(&metrics)).unwrap();
    tokio::time::timeout(
        PATIENCE,
        Registry::connect(settings, sandbox, RegistryPorts::without_callers(metrics)),
    )
    .await
    .unwrap()
}

fn ids(registry: &Registry) -> Vec<String> {
    registry
        .tools()
        .iter()
        .map(|tool| tool.id().to_string())
        .filter(|id| !id.starts_with("builtin"))
        .collect()
}

fn permit(registry: &Registry, tool: &str, arguments: Json) -> Permit<crate::model::InvokeTool> {
    let operation = registry.prepare(&id(tool), args(arguments)).unwrap();
    Permit::for_test(operation, Subject::for_test())
}

async fn call(registry: &Registry, tool: &str, arguments: Json) -> Result<ToolResult, ToolError> {
    let permit = permit(registry, tool, arguments);
    let called = registry.call(permit, CallOptions::default());
    match tokio::time::timeout(PATIENCE, called).await.unwrap()? {
        Answered::Complete(result) => Ok(result),
        round => panic!("{round:?}"),
    }
}

/// Waits for the registry to change until `done` holds.
async fn until(registry: &Registry, done: impl Fn(&Registry) -> bool) {
    let mut changes = registry.changes();
    let changed = async {
        while !done(registry) {
            changes.changed().await.unwrap();
        }
    };
    tokio::time::timeout(PATIENCE, changed).await.unwrap();
}

fn attribute(registry: &Registry, tool: &str, attribute: &str) -> Value {
    registry.get(&id(tool)).unwrap().descriptor().entity.attributes.get(attribute).unwrap().clone()
}

#[tokio::test]
async fn built_in_tools_are_there_without_any_server() {
    let (registry, problems) = connect(Settings::default()).await.unwrap();
    assert_eq!(problems, []);
    let listed: Vec<String> = registry.tools().iter().map(|tool| tool.id().to_string()).collect();
    assert_eq!(listed, ["builtin___csv_parser", "builtin___json_validator"]);
    for (hint, value) in [
        ("sandboxed", true),
        ("pinned", true),
        ("drifted", false),
        ("read_only", true),
        ("open_world", false),
    ] {
        assert_eq!(attribute(&registry, "builtin___csv_parser", hint), Value::Bool(value), "{hint}");
    }
    let result = call(&registry, "builtin___csv_parser", json!({ "text": "a,b\n1,2\n" })).await.unwrap();
    assert_eq!(result.structured.unwrap()["row_count"], 1);
    assert!(!result.is_error);
    let bad = json!({ "document": "{", "schema": "{}" });
    let result = call(&registry, "builtin___json_validator", bad).await.unwrap();
    assert!(result.is_error || result.structured.unwrap()["valid"] == false);

    // Arguments are judged before anything happens.
    let prepare = |tool: &str, json| registry.prepare(&id(tool), args(json));
    let prepared = prepare("builtin___csv_parser", json!({ "text": "a", "max_rows": 5 })).unwrap();
    let shown = |rows| {
        Value::record([
            ("delimiter", Value::text(",")),
            ("has_header", Value::Bool(true)),
            ("max_rows", Value::Long(rows)),
            ("sanitize", Value::Bool(true)),
            ("text", Value::text("a")),
        ])
    };
    assert_eq!(prepared.input, shown(5));
    // What a caller leaves out is what the tool takes in its place, and a policy sees it.
    let prepared = prepare("builtin___csv_parser", json!({ "text": "a" })).unwrap();
    assert_eq!(prepared.input, shown(100_000));
    assert_eq!(prepared.arguments["max_rows"], 100_000);
    let error = prepare("builtin___csv_parser", json!({ "text": "a", "max_rows": 0 })).unwrap_err();
    assert!(
        matches!(error, PrepareError::Arguments(error) if error.path == "/max_rows" && error.rule == "minimum")
    );
    let error = prepare("builtin___none", json!({})).unwrap_err();
    assert_eq!(error, PrepareError::ToolUnknown(id("builtin___none")));
}

/// What was judged must be what goes live: a file that changes between two reads may be half of each.
#[tokio::test]
async fn pins_that_change_while_they_are_read_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let pins = dir.path().join("tools");
    let write = |text: &str| {
        let definition = Definition::read(&fake::tool(text), 65_536).unwrap();
        Pins::new(&name("s"), [definition]).unwrap().write(&pins).unwrap();
    };
    write("one");
    // Nobody listens there.
    let transport = Transport::Http { url: "http://127.0.0.1:1/mcp".parse().unwrap(), headers: Vec::new() };
    let (registry, _) = connect(settings(dir.path(), vec![server(transport)])).await.unwrap();
    assert_eq!(registry.read_pins().unwrap().digests().len(), 1);
    for change in [&(|| write("two")) as &dyn Fn(), &|| std::fs::remove_dir_all(&pins).unwrap()] {
        let error = registry.read_pins_while(change).unwrap_err();
        assert!(error.to_string().contains("was changed while it was read"), "{error}");
    }
    assert!(registry.read_pins().unwrap().digests().is_empty(), "the next one reads what is there");
}

/// A schema whose check doubles with each definition: it runs until its fuel is gone.
fn doubling() -> Json {
    let definition = |number: usize| {
        let next = json!({ "$ref": format!("#/$defs/d{}", number + 1) });
        (format!("d{number}"), json!({ "allOf": [next, next] }))
    };
    let mut definitions: Map<String, Json> = (0..60).map(definition).collect();
    definitions.insert("d60".to_owned(), json!({ "type": "object" }));
    let schema = json!({ "$ref": "#/$defs/d0", "$defs": definitions });
    json!({ "schema": schema.to_string(), "document": "{}" })
}

/// The attack: as many guests that compute as there are places for all callers.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn guests_of_one_caller_wait_for_each_other_and_not_for_those_of_another() {
    let (registry, _) = connect(Settings::default()).await.unwrap();
    let start = |caller: &str, tool: &str, arguments: Json| {
        let subject =
            Subject::agent(&crate::model::AgentId::parse(caller).unwrap(), crate::model::Proof::Internal);
        let operation = registry.prepare(&id(tool), args(arguments)).unwrap();
        let permit = Permit::for_test(operation, subject);
        let registry = registry.clone();
        tokio::spawn(async move {
            // What the guest says of such a schema does not matter here.
            let _ = registry.call(permit, CallOptions::default()).await;
        })
    };
    let slow: Vec<_> = (0..crate::sandbox::guests_at_once())
        .map(|_| start("busy", "builtin___json_validator", doubling()))
        .collect();
    while registry.guests_under_way() < slow.len() {
        tokio::task::yield_now().await;
    }
    let own = start("busy", "builtin___csv_parser", json!({ "text": "a\n1\n" }));
    let other = start("honest", "builtin___csv_parser", json!({ "text": "a\n1\n" }));
    other.await.unwrap();
    assert_eq!(registry.guests_under_way(), slow.len(), "the guest of another did not wait for these");
    assert!(!own.is_finished(), "another guest of the same caller waits");
    for call in slow.into_iter().chain([own]) {
        call.await.unwrap();
    }
}

#[test]
fn the_shipped_fragment_is_what_the_generator_makes() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas/tools/builtin.cedarschema");
    let made = builtin_fragment().unwrap();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &made).unwrap();
    }
    let shipped = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(shipped, made, "run this test with UPDATE_GOLDEN=1 to write the file");
}

#[test]
fn an_entity_has_exactly_the_attributes_of_the_schema() {
    let definition = Definition::read(&fake::tool("t"), 65_536).unwrap();
    let pin_status = tool::PinStatus { pinned: false, drifted: false };
    let operator = tool::OperatorSettings { labels: [Arc::from("pii")].into(), actor_bound: false };
    let module = {
        let sandbox = Sandbox::new(crate::sandbox::Settings::default(), Arc::new(Metrics::new())).unwrap();
        let [parser, _] = crate::sandbox::builtin_tools();
        sandbox.compile_builtin(parser.name, parser.wasm, parser.fuel).unwrap()
    };
    let tool =
        Tool::new(&name("s"), definition, pin_status, operator, tool::Backend::Builtin(module)).unwrap();
    let entity = &tool.descriptor().entity;
    let defaults = [("read_only", false), ("destructive", true), ("idempotent", false), ("open_world", true)];
    for (hint, default) in defaults {
        assert_eq!(*entity.attributes.get(hint).unwrap(), Value::Bool(default), "{hint}");
        let declared = entity.attributes.get(format!("declared_{hint}").as_str());
        assert_eq!(declared, Some(&Value::Bool(false)), "{hint}");
    }
    let schema = include_str!("../../../schemas/caxton.cedarschema");
    let declared = schema.split_once("entity Tool in [McpServer] = {").unwrap().1.split_once('}').unwrap().0;
    let mut declared: Vec<&str> = declared
        .lines()
        .filter_map(|line| line.trim().split_once(':'))
        .map(|(name, _)| name.trim_end_matches('?'))
        .collect();
    declared.sort_unstable();
    let given: Vec<&str> = entity.attributes.keys().map(AsRef::as_ref).collect();
    assert_eq!(given, declared);
    assert_eq!(entity.parents, [crate::model::EntityUid::caxton("McpServer", "s")]);
}

#[tokio::test]
async fn a_taken_server_name_stops_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let named = |text: &str| {
        let transport = Transport::Http { url: "http://127.0.0.1:9/".parse().unwrap(), headers: Vec::new() };
        ServerSettings::new(name(text), transport)
    };
    for servers in [vec![named("builtin")], vec![named("a"), named("a")]] {
        let error = connect(settings(dir.path(), servers)).await.unwrap_err();
        assert!(matches!(error, RegistryError::NameTaken(_)), "{error}");
    }
}

#[tokio::test]
async fn tools_that_the_operator_forbids_do_not_exist() {
    let dir = tempfile::tempdir().unwrap();
    let mut settings = settings(dir.path(), Vec::new());
    settings.forbidden_tools.remove("json_validator");
    let (registry, _) = connect(settings).await.unwrap();
    assert!(registry.get(&id("builtin___csv_parser")).is_none());
    assert!(registry.get(&id("builtin___json_validator")).is_some());
}
