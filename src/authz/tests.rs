//! The guard over ports of the shared state that answer late, or cannot be asked.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use serde_json::Map;

use super::*;
use crate::audit::Journal;
use crate::clock::ManualClock;
use crate::limit::{LocalCounters, Rate};
use crate::model::{
    Entity, EntityUid, InvokeTool, KeyId, ListTools, Outcome, Proof, ReasonCode, RequestContext, SeeTool,
    Subject, ToolDescriptor, ToolId, Value,
};
use crate::policy::live::{Live, LivePolicy, Origin};
use crate::policy::{Bundle, Query, SourceKind, Sources};
use crate::screen::Screen;
use crate::shared_state::faulty::{Delayed, Unreachable};
use crate::shared_state::{
    CountedLimit, Labels, Limited, LocalLockdown, LocalSessions, Lockdown, PortFuture, RateCounter,
    RateCounters as _, Remaining, SessionSettings, Unavailable,
};
use crate::telemetry::Metrics;

/// At most three tool calls in a session; nothing in a lockdown.
const POLICY: &str = r#"@id("t.all") permit (principal, action, resource);
@id("t.three") forbid (principal, action in Caxton::Action::"tool:call", resource)
  when { context.session.tool_calls >= 3 };
@id("t.lockdown") forbid (principal, action, resource) when { context.system.lockdown };"#;

/// Knows what each principal has proven, and nothing else.
struct AsProven;

impl AttributeSource for AsProven {
    fn current(&self) -> Arc<dyn KnownAttributes> {
        Arc::new(Self)
    }
}

impl KnownAttributes for AsProven {
    fn entity(&self, _: &EntityUid) -> Option<Arc<Entity>> {
        None
    }

    fn principal(&self, proven: &Arc<Entity>) -> Option<Arc<Entity>> {
        Some(Arc::clone(proven))
    }

    fn close(&self, _: &mut Query, _: &[&Bundle]) -> bool {
        true
    }

    fn version(&self) -> u64 {
        0
    }

    fn age_seconds(&self, _: i64) -> Option<u64> {
        None
    }

    fn is_stale(&self, _: i64) -> bool {
        false
    }
}

struct Bench {
    _directory: tempfile::TempDir,
    log: PathBuf,
    guard: Guard,
}

/// A guard over the embedded ports, or those that `change` puts in their place.
fn bench(change: impl FnOnce(&mut GuardParts)) -> Bench {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("audit.log");
    let metrics = Arc::new(Metrics::new());
    let clock = Arc::new(ManualClock::at_millis(1_768_039_200_000));
    let settings = crate::audit::Settings { path: log.clone(), ..crate::audit::Settings::default() };
    let (journal, _) = Journal::open(settings, Arc::clone(&metrics)).unwrap();
    let sources = Sources::new().with_shipped(SourceKind::Schema).with_policy("t.cedar", POLICY);
    let bundle = Arc::new(Bundle::load(sources).unwrap());
    let live = Live { bundle, origin: Origin::Files, stored: None, expires_millis: None, candidate: None };
    let rate = Rate::new(1_000, Duration::from_secs(1), 1_000).unwrap();
    let limit = CountedLimit { scope: "principal", name: "".into(), rate, max_keys: 10 };
    let mut parts = GuardParts {
        policy: Arc::new(LivePolicy::new(live, Default::default(), Arc::clone(&metrics))),
        journal,
        limiter: LocalCounters::new(Arc::clone(&metrics)).counter(&limit),
        screen: Screen::new(Default::default()),
        attributes: Arc::new(AsProven),
        sessions: Arc::new(LocalSessions::new(SessionSettings::default(), clock.clone())),
        lockdown: Arc::new(LocalLockdown::default()),
        clock,
        metrics,
        replayable: false,
    };
    change(&mut parts);
    Bench { _directory: directory, log, guard: Guard::new(parts) }
}

fn caller() -> (Arc<Subject>, Arc<RequestContext>) {
    let id = KeyId::parse("one").unwrap();
    let subject = Subject::service("ci", &id, [], [], 0, 0, Proof::ApiKey { id: id.clone() });
    (Arc::new(subject), Arc::new(RequestContext::internal()))
}

fn csv_parser() -> Arc<ToolDescriptor> {
    let id = ToolId::parse("builtin___csv_parser").unwrap();
    let texts =
        [("id", id.as_str()), ("name", "csv_parser"), ("server", "builtin"), ("definition_sha256", "0")];
    let hints = ["read_only", "destructive", "idempotent", "open_world"];
    let declared =
        ["declared_read_only", "declared_destructive", "declared_idempotent", "declared_open_world"];
    let states = ["pinned", "drifted", "sandboxed"];
    let mut entity = Entity::bare(EntityUid::caxton("Tool", id.shared()));
    entity = entity.with("labels", Value::texts(Vec::<&str>::new()));
    entity = texts.iter().fold(entity, |entity, (name, text)| entity.with(name, Value::text(*text)));
    let flags = hints.iter().chain(&declared).chain(&states);
    entity = flags.fold(entity, |entity, name| entity.with(name, Value::Bool(false)));
    let labels = Labels::from(["mail".into()]);
    Arc::new(ToolDescriptor { id, entity: Arc::new(entity), labels })
}

fn call() -> InvokeTool {
    let input = Value::record([("text", Value::text("a,b"))]);
    InvokeTool { tool: csv_parser(), arguments: Map::new(), input, rest: Map::new(), redact: Vec::new() }
}

impl Bench {
    async fn list(&self) -> Result<(), Denied> {
        let (subject, context) = caller();
        self.guard.admit(&subject, ListTools, &context).await.map(drop)
    }

    async fn call(&self) -> Result<(), Denied> {
        let (subject, context) = caller();
        self.guard.admit(&subject, call(), &context).await.map(drop)
    }

    fn last_record(&self) -> serde_json::Value {
        let log = std::fs::read_to_string(&self.log).unwrap();
        crate::json::parse(log.lines().last().unwrap().as_bytes()).unwrap()
    }

    /// The denial is for shared state that cannot be asked, and on record.
    fn assert_unavailable(&self, denied: &Denied) {
        assert_eq!((denied.outcome, denied.reason), (Outcome::DenyError, ReasonCode::StateUnavailable));
        let record = self.last_record();
        assert_eq!(record["decision_id"], denied.decision.unwrap().to_string());
        assert_eq!(
            (&record["outcome"], &record["reason_code"]),
            (&"deny_error".into(), &"state_unavailable".into())
        );
    }
}

#[tokio::test]
async fn state_that_cannot_be_asked_allows_nothing() {
    let well = bench(|_| {});
    well.list().await.unwrap();
    well.call().await.unwrap();
    let unreachable: [fn(&mut GuardParts); 3] = [
        |parts| parts.limiter = Arc::new(Unreachable),
        |parts| parts.sessions = Arc::new(Unreachable),
        |parts| parts.lockdown = Arc::new(Unreachable),
    ];
    for change in unreachable {
        let bench = bench(change);
        bench.assert_unavailable(&bench.list().await.unwrap_err());
        bench.assert_unavailable(&bench.call().await.unwrap_err());
    }
}

#[tokio::test]
async fn labels_and_lists_need_the_session() {
    let (subject, context) = caller();
    let well = bench(|_| {});
    let broken = bench(|parts| parts.sessions = Arc::new(Unreachable));
    let listing = well.guard.admit(&subject, ListTools, &context).await.unwrap().listing();
    let items = || vec![SeeTool { tool: csv_parser() }];
    assert_eq!(well.guard.admit_each(&listing, items()).await.unwrap().len(), 1);
    broken.assert_unavailable(&broken.guard.admit_each(&listing, items()).await.err().unwrap());

    assert!(well.guard.labels(&subject, &context).await.is_ok());
    let pii = Labels::from(["pii".into()]);
    assert!(well.guard.carry(&subject, &context, &pii).await.unwrap());
    let denied = broken.guard.labels(&subject, &context).await.unwrap_err();
    assert_eq!(denied.reason, ReasonCode::StateUnavailable);
    let denied = broken.guard.carry(&subject, &context, &pii).await.unwrap_err();
    assert_eq!(denied.reason, ReasonCode::StateUnavailable);

    assert_eq!(well.guard.above_rate(&subject).await, Ok(None));
    let broken = bench(|parts| parts.limiter = Arc::new(Unreachable));
    assert!(broken.guard.above_rate(&subject).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn calls_at_once_cannot_all_be_the_last_one_allowed() {
    let delayed = |parts: &mut GuardParts| {
        let clock = Arc::clone(&parts.clock);
        parts.sessions = Arc::new(Delayed(LocalSessions::new(SessionSettings::default(), clock)));
        parts.lockdown = Arc::new(Delayed(LocalLockdown::default()));
    };
    for bench in [bench(|_| {}), bench(delayed)] {
        let bench = Arc::new(bench);
        let calls = (0..16).map(|_| {
            let bench = Arc::clone(&bench);
            tokio::spawn(async move { bench.call().await.is_ok() })
        });
        let allowed = join_all(calls).await.into_iter().filter(|allowed| *allowed.as_ref().unwrap()).count();
        assert_eq!(allowed, 3);
        let (subject, context) = caller();
        let labels = bench.guard.labels(&subject, &context).await.unwrap();
        assert_eq!(
            labels,
            Labels::from(["mail".into()]),
            "what the tool returns is labelled before it is called"
        );
    }
}

#[tokio::test]
async fn a_lockdown_holds_from_the_next_question_on() {
    let lockdown = Arc::new(LocalLockdown::default());
    let bench = bench(|parts| parts.lockdown = lockdown.clone());
    bench.list().await.unwrap();
    lockdown.set(true).await.unwrap();
    assert_eq!(bench.list().await.unwrap_err().reason, ReasonCode::Forbidden);
    lockdown.set(false).await.unwrap();
    bench.list().await.unwrap();
}

/// Lets every request through, and loses what is owed.
struct Forgetful;

impl RateCounter for Forgetful {
    fn take<'a>(&'a self, _: &'a EntityUid) -> PortFuture<'a, Result<Remaining, Limited>> {
        PortFuture::now(Ok(Rate::PER_PRINCIPAL.remaining(10)))
    }

    fn peek<'a>(&'a self, _: &'a EntityUid) -> PortFuture<'a, Result<(), Limited>> {
        PortFuture::now(Ok(()))
    }

    fn owe<'a>(&'a self, _: &'a EntityUid, more: u32) -> PortFuture<'a, ()> {
        match more {
            0 => PortFuture::now(()),
            _ => PortFuture::unavailable(Unavailable::new("rate limits", "timeout")),
        }
    }
}

#[tokio::test]
async fn questions_that_cannot_be_counted_are_not_answered() {
    let (subject, context) = caller();
    let question = || Query {
        principal: EntityUid::caxton("User", "a"),
        action: EntityUid::caxton("Action", "tool:list"),
        resource: EntityUid::caxton("Gateway", "caxton"),
        context: Value::record([] as [(&str, Value); 0]),
        entities: Vec::new(),
    };
    let ask = async |bench: &Bench, many: usize| {
        let questions: Vec<Query> = (0..many).map(|_| question()).collect();
        bench
            .guard
            .evaluate(&subject, &context, questions, |_| false)
            .await
            .map(|(_, verdicts)| verdicts.len())
    };
    assert_eq!(ask(&bench(|_| {}), 3).await.unwrap(), 3);
    let forgetful = bench(|parts| parts.limiter = Arc::new(Forgetful));
    assert_eq!(ask(&forgetful, 1).await.unwrap(), 1, "the first is counted with the asking");
    forgetful.assert_unavailable(&ask(&forgetful, 3).await.unwrap_err());
}
