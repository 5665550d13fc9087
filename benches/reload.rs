//! Loading 10,000 policies: beside Cedar's parsing and validating, once more with one changed file of a hundred, what
//! decisions notice of it, and how much memory it takes.
//!
//! ```text
//! cargo bench --profile release --bench reload
//! ```

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a bench that cannot be set up has failed, and its figures go to stdout"
)]

use std::fs;
use std::hint::black_box;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use caxton::model::{Entity, EntityUid, Outcome, Value};
use caxton::policy::live::{Live, LivePolicy, Origin};
use caxton::policy::{Bundle, Query, Settings, SourceKind, Sources};
use caxton::telemetry::Metrics;
use cedar_policy as cedar;

/// The binary's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const POLICIES: usize = 10_000;
const FILES: usize = 100;
const ROUNDS: usize = 3;
const MAIN_SCHEMA: &str = include_str!("../schemas/caxton.cedarschema");

fn main() {
    if std::env::args().any(|argument| argument == "--memory") {
        return memory();
    }
    load();
    decisions();
    let here = std::env::current_exe().unwrap();
    let output = Command::new(here).arg("--memory").output().unwrap();
    print!("{}", String::from_utf8_lossy(&output.stdout));
}

/// The files; `change` is written behind the last of them.
fn files(policies: usize, change: &str) -> Vec<(String, String)> {
    let mut files: Vec<(String, String)> =
        (0..FILES.min(policies)).map(|file| (format!("team-{file:03}.cedar"), String::new())).collect();
    let count = files.len();
    for number in 0..policies {
        let body = match number % 4 {
            0 => format!(
                "permit (principal == Caxton::Agent::\"a{number}\", action == Caxton::Action::\"memory:read\", resource in Caxton::MemoryScope::\"agent:a{number}\") when {{ context.session.tool_calls < 50 && !context.session.labels.contains(\"pii\") }};"
            ),
            1 => format!(
                "permit (principal in Caxton::Role::\"r{number}\", action in Caxton::Action::\"tool:call\", resource is Caxton::Tool) when {{ resource.read_only && context.system.hour > 6 }};"
            ),
            2 => format!(
                "permit (principal == Caxton::User::\"u{number}\", action in [Caxton::Action::\"memory:read\", Caxton::Action::\"memory:search\"], resource in Caxton::MemoryScope::\"agent:a{number}\");"
            ),
            _ => format!(
                "forbid (principal in Caxton::Workspace::\"w{number}\", action in Caxton::Action::\"tool:*\", resource in Caxton::McpServer::\"m{number}\") unless {{ context.source.mtls }};"
            ),
        };
        let text = format!("@id(\"p{number}\") @description(\"number {number}\")\n{body}\n");
        files[number * count / policies].1.push_str(&text);
    }
    if let Some((_, text)) = files.last_mut() {
        text.push_str(change);
    }
    files
}

fn sources(files: &[(String, String)]) -> Sources {
    let schema = (SourceKind::Schema, "caxton.cedarschema".into(), MAIN_SCHEMA.into());
    let policies =
        files.iter().map(|(name, text)| (SourceKind::Policy, name.as_str().into(), text.as_str().into()));
    Sources::from_texts(policies.chain([schema]))
}

/// Cedar's own parsing and validating of the same texts.
fn cedar_check(files: &[(String, String)]) {
    let (schema, _) = cedar::Schema::from_cedarschema_str(MAIN_SCHEMA).unwrap();
    let mut set = cedar::PolicySet::new();
    for (_, text) in files {
        for policy in text.parse::<cedar::PolicySet>().unwrap().policies() {
            set.add(policy.new_id(cedar::PolicyId::new(policy.annotation("id").unwrap()))).unwrap();
        }
    }
    assert!(cedar::Validator::new(schema).validate(&set, cedar::ValidationMode::Strict).validation_passed());
}

fn load() {
    let files = [files(POLICIES, ""), files(POLICIES, "// Changed.\n")];
    let (mut whole, mut one, mut cedars) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        cedars.push(timed(|| cedar_check(&files[0])));
        let texts = sources(&files[0]);
        let mut bundle = None;
        whole.push(timed(|| bundle = Some(Bundle::load(texts).unwrap())));
        let bundle = bundle.unwrap();
        let texts = sources(&files[1]);
        one.push(timed(|| drop(black_box(bundle.load_next(texts, Settings::default()).unwrap()))));
    }
    let (whole, one, cedars) = (median(whole), median(one), median(cedars));
    println!("{POLICIES} policies in {FILES} files, medians of {ROUNDS} rounds");
    println!("Cedar parses and validates   {cedars:>9.1} ms");
    println!("a full load                  {whole:>9.1} ms   {:.2} of that", whole / cedars);
    println!("one file changed             {one:>9.1} ms   1/{:.0} of a full load", whole / one);
}

/// What a thread that decides all the time notices of full loads beside it.
fn decisions() {
    let files = files(POLICIES, "");
    let bundle = |text: &[(String, String)]| Arc::new(Bundle::load(sources(text)).unwrap());
    let live =
        |bundle| Live { bundle, origin: Origin::Files, expires_millis: None, candidate: None, stored: None };
    let metrics = Arc::new(Metrics::new());
    let policy = LivePolicy::new(live(bundle(&files)), Settings::default(), metrics);
    let (stop, query) = (AtomicBool::new(false), query());
    let (mut quiet, mut busy, mut reloads) = (Vec::new(), Vec::new(), 0);
    let decide = |times: &mut Vec<Duration>, length: Duration| {
        let begun = Instant::now();
        while begun.elapsed() < length {
            let asked = Instant::now();
            assert_eq!(black_box(policy.current().decide(&query)).outcome, Outcome::Allow);
            times.push(asked.elapsed());
        }
    };
    for _ in 0..ROUNDS {
        decide(&mut quiet, Duration::from_secs(1));
        stop.store(false, Ordering::SeqCst);
        std::thread::scope(|scope| {
            let reloader = scope.spawn(|| {
                let mut count = 0;
                while !stop.load(Ordering::SeqCst) {
                    policy.install(live(bundle(&files)), || {});
                    count += 1;
                }
                count
            });
            decide(&mut busy, Duration::from_secs(1));
            stop.store(true, Ordering::SeqCst);
            reloads += reloader.join().unwrap();
        });
    }
    let p99 = |times: &mut Vec<Duration>| {
        times.sort_unstable();
        times[times.len() / 100 * 99].as_secs_f64() * 1e6
    };
    let (quiet, busy) = (p99(&mut quiet), p99(&mut busy));
    println!("p99 of a decision, at rest   {quiet:>9.1} µs");
    println!("p99 during {reloads:>3} full loads    {busy:>9.1} µs   {:.2} times that", busy / quiet);
}

fn query() -> Query {
    let agent = EntityUid::caxton("Agent", "a400");
    let text = |text: &str| Value::text(text);
    let principal = Entity::bare(agent.clone())
        .with("name", text("a400"))
        .with("version", text("1"))
        .with("capabilities", Value::texts::<&str>([]))
        .with("tools", Value::texts::<&str>([]))
        .with("memory_scope", text("agent"))
        .with("status", text("running"))
        .with("signed", Value::Bool(true))
        .with("deployed_by", text("ops"))
        .with("definition_sha256", text(&"0".repeat(64)));
    let scope = Entity::bare(EntityUid::caxton("MemoryScope", "agent:a400")).with("scope", text("agent"));
    let none = || Value::texts::<&str>([]);
    let context = Value::record([
        (
            "source",
            Value::record([
                ("ip", Value::Ip("192.0.2.7".into())),
                ("tls", Value::Bool(true)),
                ("mtls", Value::Bool(false)),
            ]),
        ),
        (
            "system",
            Value::record([
                ("now", Value::Datetime(1_768_039_200_000)),
                ("hour", Value::Long(10)),
                ("weekday", Value::Long(6)),
                ("lockdown", Value::Bool(false)),
                ("policy_version", text("f")),
            ]),
        ),
        (
            "session",
            Value::record([
                ("id", text("s-1")),
                ("age_seconds", Value::Long(12)),
                ("labels", none()),
                ("tool_calls", Value::Long(3)),
                ("denied", Value::Long(0)),
                ("tools_called", none()),
            ]),
        ),
        (
            "screening",
            Value::record([
                ("injection", Value::Bool(false)),
                ("score", Value::Decimal("0.0000".into())),
                ("findings", none()),
            ]),
        ),
    ]);
    Query {
        principal: agent,
        action: EntityUid::action("memory:read"),
        resource: scope.uid.clone(),
        context,
        entities: vec![Arc::new(principal), Arc::new(scope)],
    }
}

/// In a process of its own: what 10,000 policies add to what ten take, while decisions go on.
fn memory() {
    let few = Bundle::load(sources(&files(10, ""))).unwrap();
    let before = resident(&few);
    let mut many = Bundle::load(sources(&files(POLICIES, ""))).unwrap();
    let once = resident(&many);
    let mut changed = |times: usize| {
        for number in 0..times {
            let files = files(POLICIES, &format!("// Changed {number}.\n"));
            many = many.load_next(sources(&files), Settings::default()).unwrap();
        }
        resident(&many)
    };
    let (first, tenth) = (changed(1), changed(9));
    println!(
        "memory for {POLICIES} policies   {:>9.1} MiB; after one file changed {:.1}, after ten changes {:.1}",
        once - before,
        first - before,
        tenth - before
    );
    drop(few);
}

/// Resident memory in MiB, once decisions have gone on for a while: until then the allocator keeps what was freed.
fn resident(bundle: &Bundle) -> f64 {
    let (begun, query) = (Instant::now(), query());
    while begun.elapsed() < Duration::from_millis(300) {
        black_box(bundle.decide(&query));
    }
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
}

fn timed(work: impl FnOnce()) -> f64 {
    let begun = Instant::now();
    work();
    begun.elapsed().as_secs_f64() * 1e3
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
