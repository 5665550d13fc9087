//! How long a replay of 100,000 recorded decisions takes, from the log's bytes to the report.
//!
//! The log is written by the gateway's own journal, with records as a replayable gateway makes them: tool calls with
//! arguments, memory, agents, and one in twenty a list of twenty tools. Each line's hash and place in the chain is checked,
//! each decision is made twice, by the version that made it and by a candidate that differs.

#![expect(clippy::unwrap_used, reason = "a bench that cannot be set up has failed")]

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use caxton::audit::record_reader::ChainCheck;
use caxton::audit::{Item, Journal, Record, Settings as LogSettings, SourceRecord, SubjectRecord};
use caxton::cli::policy::replay::replay_log;
use caxton::model::{DecisionId, Entity, EntityUid, EventType, RequestId, Value};
use caxton::policy::{Bundle, Query, SourceKind, Sources, Verdict};
use caxton::telemetry::Metrics;
use caxton::workbench::replay::Settings;

/// As in the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const RECORDS: usize = 100_000;
const NOW: i64 = 1_768_039_200_121;

fn main() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("audit.log");
    let baseline = Bundle::load(Sources::shipped()).unwrap();
    let candidate = candidate();
    write_log(&log, &baseline);
    let bytes = std::fs::metadata(&log).unwrap().len();
    let mut out = std::io::stdout().lock();
    for _ in 0..3 {
        let began = Instant::now();
        let versions = [&baseline, &candidate];
        let (replay, proven) =
            replay_log(&log, ChainCheck::Verify, versions, Settings::default(), None).unwrap();
        let seconds = began.elapsed().as_secs_f64();
        assert_eq!(proven.records, RECORDS as u64);
        assert_eq!(replay.not_reproduced, 0, "{:?}", replay.unlike.first());
        assert_eq!(replay.unknown(), 0, "{:?}", replay.left_out);
        writeln!(
            out,
            "{} records ({} MiB), {} decisions made twice, {} flips: {seconds:.2} s",
            replay.records,
            bytes >> 20,
            replay.compared,
            replay.flipped
        )
        .unwrap();
    }
}

/// The shipped policies, but without the developer's.
fn candidate() -> Bundle {
    let schemas = Sources::new().with_shipped(SourceKind::Schema);
    let shipped = Sources::shipped();
    let policies = shipped.iter().filter(|source| source.kind == SourceKind::Policy);
    let changed = policies.fold(schemas, |sources, source| {
        sources.with_policy(&source.name, &source.text.replace("Role::\"developer\"", "Role::\"builder\""))
    });
    Bundle::load(changed).unwrap()
}

fn write_log(path: &Path, bundle: &Bundle) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let settings = LogSettings {
        path: path.to_owned(),
        deadline: std::time::Duration::from_secs(60),
        ..LogSettings::default()
    };
    let (journal, _) = Journal::open(settings, Arc::new(Metrics::new())).unwrap();
    runtime.block_on(async {
        for number in 0..RECORDS {
            journal.append(record(number, bundle)).await.unwrap();
        }
    });
    journal.close();
}

fn record(number: usize, bundle: &Bundle) -> Record {
    let agent = format!("agent-{}", number % 50);
    let own = EntityUid::caxton("MemoryScope", format!("agent:{agent}"));
    match number % 20 {
        0 => list(number, bundle, &agent_entity(&agent)),
        1..10 => one(number, bundle, &agent_entity(&agent), "builtin___csv_parser", &tool("csv_parser")),
        10..15 => {
            let scope = Entity::bare(own).with("scope", Value::text("agent"));
            let scope = scope.with("agent", Value::Entity(EntityUid::caxton("Agent", agent.as_str())));
            one(number, bundle, &agent_entity(&agent), "memory:read", &scope.into())
        }
        _ => one(
            number,
            bundle,
            &developer(number),
            "agent:list",
            &Entity::bare(EntityUid::caxton("Gateway", "caxton")).into(),
        ),
    }
}

fn one(number: usize, bundle: &Bundle, who: &Arc<Entity>, action: &str, what: &Arc<Entity>) -> Record {
    let input = action.contains("___").then(|| Value::record([("text", Value::text("a,b\n1,2\n3,4\n"))]));
    let query = query(number, bundle, who, action, what, input);
    let verdict = bundle.decide(&query);
    let mut record = head(number, bundle, &query, &verdict);
    record.set_context(query.context);
    record.set_entities(&query.entities);
    record
}

/// What an agent sees of twenty tools.
fn list(number: usize, bundle: &Bundle, who: &Arc<Entity>) -> Record {
    let tools: Vec<_> =
        (0..20).map(|n| tool(if n % 2 == 0 { "csv_parser" } else { "json_validator" })).collect();
    let gateway = Entity::bare(EntityUid::caxton("Gateway", "caxton")).into();
    let query = query(number, bundle, who, "tool:list", &gateway, None);
    let verdict = Verdict { policies: Vec::new(), ..bundle.decide(&query) };
    let mut record = head(number, bundle, &query, &verdict);
    for tool in &tools {
        let asked = Query {
            action: EntityUid::action(tool.uid.id()),
            resource: tool.uid.clone(),
            entities: vec![Arc::clone(who), Arc::clone(tool)],
            ..query.clone()
        };
        let verdict = bundle.decide_open(&asked);
        let mut item = Item::new(tool.uid.to_string(), verdict.outcome, verdict.policies);
        item.action = Some(tool.uid.id().into());
        item.open_input = true;
        record.items.push(item);
    }
    record.set_context(query.context);
    record.set_entities(tools.iter().chain([who]));
    record
}

fn head(number: usize, bundle: &Bundle, query: &Query, verdict: &Verdict) -> Record {
    let source = SourceRecord { ip: [10, 0, 0, 7].into(), tls: true, user_agent: Some("agent/1.4".into()) };
    let mut record = Record::new(
        DecisionId::generate(),
        NOW + number as i64,
        RequestId::generate(),
        source,
        EventType::Authorization,
        verdict.outcome,
        verdict.reason,
    );
    record.policies = verdict.policies.clone();
    record.policy_version = Some(bundle.version().clone());
    record.subject = Some(SubjectRecord {
        credential: Some("cax_9f2b7c".into()),
        method: "api_key",
        principal: query.principal.to_string(),
    });
    record.action = Some(query.action.id().into());
    record.resource = Some(query.resource.to_string());
    record.latency_us = 41;
    record
}

fn query(
    number: usize,
    bundle: &Bundle,
    who: &Arc<Entity>,
    action: &str,
    what: &Arc<Entity>,
    input: Option<Value>,
) -> Query {
    let source = [
        ("ip", Value::Ip("10.0.0.7".into())),
        ("tls", Value::Bool(true)),
        ("mtls", Value::Bool(false)),
        ("user_agent", Value::text("agent/1.4")),
    ];
    let system = [
        ("now", Value::Datetime(NOW + number as i64)),
        ("hour", Value::Long(10)),
        ("weekday", Value::Long(6)),
        ("lockdown", Value::Bool(false)),
        ("policy_version", Value::text(bundle.version().as_str())),
    ];
    let session = [
        ("id", Value::text(format!("session-{}", number % 997))),
        ("age_seconds", Value::Long(31)),
        ("labels", Value::texts(["internal"])),
        ("tool_calls", Value::Long(4)),
        ("denied", Value::Long(0)),
        ("tools_called", Value::texts(["builtin___csv_parser"])),
    ];
    let screening = [
        ("injection", Value::Bool(false)),
        ("score", Value::Decimal("0.0000".into())),
        ("findings", Value::Set(Vec::new())),
    ];
    let mut context = vec![
        ("source", Value::record(source)),
        ("system", Value::record(system)),
        ("session", Value::record(session)),
        ("screening", Value::record(screening)),
    ];
    context.extend(input.map(|input| ("input", input)));
    Query {
        principal: who.uid.clone(),
        action: EntityUid::action(action),
        resource: what.uid.clone(),
        context: Value::record(context),
        entities: vec![Arc::clone(who), Arc::clone(what)],
    }
}

fn agent_entity(name: &str) -> Arc<Entity> {
    Entity::bare(EntityUid::caxton("Agent", name))
        .with("name", Value::text(name))
        .with("version", Value::text("1.4.0"))
        .with("capabilities", Value::texts(["research"]))
        .with("tools", Value::texts(["builtin___csv_parser"]))
        .with("memory_scope", Value::text("agent"))
        .with("status", Value::text("active"))
        .with("signed", Value::Bool(false))
        .with("deployed_by", Value::text("Caxton::User::\"https://login.example|ada\""))
        .with("definition_sha256", Value::text("cd".repeat(32)))
        .in_parent(EntityUid::caxton("Workspace", "lab"))
        .in_parent(EntityUid::caxton("Capability", "research"))
        .into()
}

fn developer(number: usize) -> Arc<Entity> {
    let subject = format!("dev-{}", number % 200);
    Entity::bare(EntityUid::caxton("User", format!("https://login.example|{subject}")))
        .with("id", Value::text(&subject))
        .with("issuer", Value::text("https://login.example"))
        .with("email", Value::text(format!("{subject}@example.org")))
        .in_parent(EntityUid::caxton("Role", "developer"))
        .tagged("department", Value::texts(["research"]))
        .into()
}

fn tool(name: &str) -> Arc<Entity> {
    let flags = [
        "read_only",
        "idempotent",
        "declared_read_only",
        "declared_destructive",
        "declared_idempotent",
        "declared_open_world",
        "pinned",
        "sandboxed",
    ];
    let set = |entity: Entity, (names, value): (&[&str], bool)| {
        names.iter().fold(entity, |entity, name| entity.with(name, Value::Bool(value)))
    };
    let id = format!("builtin___{name}");
    let entity = Entity::bare(EntityUid::caxton("Tool", id.as_str()))
        .with("id", Value::text(&id))
        .with("name", Value::text(name))
        .with("server", Value::text("builtin"))
        .with("definition_sha256", Value::text("ef".repeat(32)))
        .with("labels", Value::Set(Vec::new()))
        .in_parent(EntityUid::caxton("McpServer", "builtin"));
    let entity = set(entity, (&flags, true));
    set(entity, (&["destructive", "open_world", "drifted"], false)).into()
}
