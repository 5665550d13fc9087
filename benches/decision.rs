//! A decision of ours beside one of Cedar's plain authoriser, on the same policies and the same requests.
//!
//! Both run in turns in one loop, so that what disturbs the machine disturbs both; the medians' ratio is what
//! counts. `cold` is the first pass of each of our turns, after Cedar's turn has had the caches. `decide` is from entities
//! and requests that are built already; `end to end` builds them, checked against the schema, from what a gateway has in
//! hand: the circumstances of the request, and the entities it keeps, each side in its own form. `build` is what the one
//! takes longer than the other, in turns of their own, by what deciding takes. Every answer is compared before anything is
//! measured.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a bench that cannot be set up has failed")]

use std::hint::black_box;
use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use caxton::model::{Entity, EntityUid, Outcome, Value};
use caxton::policy::{Bundle, EntityCheck, JsonEntities, JsonNames, JsonQuery, Query, Sources};
use cedar_policy as cedar;
use serde_json::{Value as Json, json};

/// The binary's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SIZES: [usize; 4] = [10, 100, 1_000, 10_000];
const REQUESTS: usize = 16;
const TOOLS: usize = 20;
const MAIN_SCHEMA: &str = include_str!("../schemas/caxton.cedarschema");

/// Each side's turn lasts at least so long, so that most of it is not spent on bringing back what the other side's turn
/// drove out of the processor's caches.
const TURN: Duration = Duration::from_millis(8);
const TURNS: usize = 15;

fn main() {
    let mut out = std::io::stdout().lock();
    let head = ["policies", "ours µs", "cold µs", "Cedar µs", "ratio"];
    let [policies, ours, cold, cedar, ratio] = head;
    writeln!(out, "{policies:>8} {ours:>10} {cold:>10} {cedar:>12} {ratio:>8}   what").unwrap();
    for size in SIZES {
        let bench = Bench::new(size);
        bench.compare_answers();
        let prepared = race(&|i| _ = black_box(bench.ours(i)), &|i| drop(black_box(bench.plain(i))));
        let whole = race(&|i| _ = black_box(bench.ours_whole(i)), &|i| drop(black_box(bench.plain_whole(i))));
        for (what, Race { ours, cold, plain }) in [("decide", prepared), ("end to end", whole)] {
            let (ours, cold, plain) = (micros(ours), micros(cold), micros(plain));
            let ratio = plain / ours;
            writeln!(out, "{size:>8} {ours:>10.2} {cold:>10.2} {plain:>12.2} {ratio:>7.1}x   {what}")
                .unwrap();
        }
        let both = race(&|i| _ = black_box(bench.ours_whole(i)), &|i| _ = black_box(bench.ours(i)));
        let (whole, decide) = (micros(both.ours), micros(both.plain));
        let building = whole - decide;
        let times = building / decide;
        writeln!(out, "{size:>8} {building:>10.2} {:>10} {:>12} {times:>7.2}x   build, to decide", "", "")
            .unwrap();
    }
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

/// Median times of one request.
struct Race {
    ours: Duration,
    /// Ours in the first pass after Cedar's turn.
    cold: Duration,
    plain: Duration,
}

fn race(ours: &dyn Fn(usize), plain: &dyn Fn(usize)) -> Race {
    let (mut of_ours, mut first, mut of_plain) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..TURNS {
        let (cold, mean) = turn(ours);
        first.push(cold);
        of_ours.push(mean);
        of_plain.push(turn(plain).1);
    }
    Race { ours: median(of_ours), cold: median(first), plain: median(of_plain) }
}

/// The time of one request in the first pass over all of them, and in the whole turn.
fn turn(ask: &dyn Fn(usize)) -> (Duration, Duration) {
    let begun = Instant::now();
    let pass = || (0..REQUESTS).for_each(|i| ask(black_box(i)));
    pass();
    let (first, mut passes) = (begun.elapsed(), 1);
    while begun.elapsed() < TURN {
        pass();
        passes += 1;
    }
    (first / REQUESTS as u32, begun.elapsed() / (passes * REQUESTS as u32))
}

struct Bench {
    bundle: Bundle,
    set: cedar::PolicySet,
    schema: cedar::Schema,
    queries: Vec<Query>,
    /// What a gateway holds longer than a request.
    kept: Vec<Vec<Arc<Entity>>>,
    plain_kept: Vec<Vec<cedar::Entity>>,
    prepared: Vec<JsonQuery>,
    plain: Vec<(cedar::Request, cedar::Entities)>,
}

impl Bench {
    fn new(size: usize) -> Self {
        let text = policies(size);
        let tools = tools();
        let sources = Sources::new()
            .with_schema("caxton.cedarschema", MAIN_SCHEMA)
            .with_schema("tools.cedarschema", &tools);
        let bundle = Bundle::load(sources.with_policy("bench.cedar", &text)).unwrap();
        let fragment = |text: &str| cedar::SchemaFragment::from_cedarschema_str(text).unwrap().0;
        let schema = cedar::Schema::from_schema_fragments([fragment(MAIN_SCHEMA), fragment(&tools)]).unwrap();
        let mut set = cedar::PolicySet::new();
        for policy in text.parse::<cedar::PolicySet>().unwrap().policies() {
            set.add(policy.new_id(cedar::PolicyId::new(policy.annotation("id").unwrap()))).unwrap();
        }
        let queries: Vec<Query> = (0..REQUESTS).map(|number| query(number * 5, size)).collect();
        let prepared = queries.iter().map(|query| json_query(&bundle, query)).collect();
        let kept: Vec<_> = queries.iter().map(|query| query.entities.clone()).collect();
        let plain_kept: Vec<Vec<_>> =
            queries.iter().map(|query| query.entities.iter().map(plain_entity).collect()).collect();
        let each = queries.iter().zip(&plain_kept);
        let plain = each.map(|(query, entities)| plain_request(query, entities, &schema)).collect();
        Self { bundle, set, schema, queries, kept, plain_kept, prepared, plain }
    }

    fn ours(&self, i: usize) -> Outcome {
        self.bundle.decide_json(&self.prepared[i]).outcome
    }

    fn plain(&self, i: usize) -> cedar::Response {
        let (request, entities) = &self.plain[i];
        cedar::Authorizer::new().is_authorized(request, &self.set, entities)
    }

    fn ours_whole(&self, i: usize) -> Outcome {
        self.bundle.decide(&self.queries[i]).outcome
    }

    fn plain_whole(&self, i: usize) -> cedar::Response {
        let (request, entities) = plain_request(&self.queries[i], &self.plain_kept[i], &self.schema);
        cedar::Authorizer::new().is_authorized(&request, &self.set, &entities)
    }

    fn compare_answers(&self) {
        let mut allowed = 0;
        let held = self.kept.iter().flatten().all(|entity| Arc::strong_count(entity) > 1);
        assert!(held, "a gateway holds what it asks about");
        for i in 0..REQUESTS {
            let response = self.plain(i);
            let allow = response.decision() == cedar::Decision::Allow;
            let verdict = self.bundle.decide(&self.queries[i]);
            assert_eq!(verdict.outcome == Outcome::Allow, allow, "{:?}", verdict.mismatch);
            assert_eq!(self.ours(i), verdict.outcome);
            let mut reasons: Vec<String> = response.diagnostics().reason().map(ToString::to_string).collect();
            reasons.sort();
            let ours: Vec<String> = verdict.policies.iter().map(|policy| policy.id.to_string()).collect();
            assert_eq!(ours, reasons);
            allowed += usize::from(allow);
        }
        assert!(allowed > 0 && allowed < REQUESTS, "the requests do not tell anything: {allowed} allowed");
    }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

// ---- the world -----------------------------------------------------------------------------------------------

/// Three guardrails, then grants of the kinds that teams write: by agent, by role, by memory scope, by workspace.
fn policies(size: usize) -> String {
    let mut text = String::from(
        r#"@id("lockdown") forbid(principal, action, resource) when { context.system.lockdown };
@id("injection") forbid(principal, action in Caxton::Action::"tool:call", resource) when { context.screening.injection };
@id("admin") permit(principal is Caxton::User in Caxton::Role::"admin", action, resource);
"#,
    );
    for i in 3..size {
        let tool = format!("srv___t{}", i % TOOLS);
        let body = match i % 5 {
            0 => format!(
                "permit(principal == Caxton::Agent::\"a{i}\", action == Caxton::Action::\"{tool}\", resource == Caxton::Tool::\"{tool}\") \
                 when {{ context.input.size < 1000 && context.session.tool_calls < 50 }};"
            ),
            1 => format!(
                "permit(principal in Caxton::Role::\"r{i}\", action in Caxton::Action::\"tool:call\", resource is Caxton::Tool) \
                 when {{ resource.read_only }};"
            ),
            2 => format!(
                "permit(principal == Caxton::User::\"u{i}\", action in [Caxton::Action::\"memory:read\", Caxton::Action::\"memory:search\"], \
                 resource in Caxton::MemoryScope::\"agent:a{i}\");"
            ),
            3 => format!(
                "forbid(principal in Caxton::Workspace::\"w{i}\", action in Caxton::Action::\"tool:*\", resource in Caxton::McpServer::\"m{i}\");"
            ),
            _ => format!(
                "permit(principal is Caxton::Agent in Caxton::Workspace::\"w{i}\", action == Caxton::Action::\"memory:search\", \
                 resource == Caxton::MemoryScope::\"workspace:w{i}\") unless {{ context.session.labels.contains(\"pii\") }};"
            ),
        };
        text.push_str(&format!("@id(\"p{i}\") {body}\n"));
    }
    text
}

fn tools() -> String {
    let actions: Vec<String> = (0..TOOLS).map(|tool| format!("\"srv___t{tool}\"")).collect();
    format!(
        "namespace Caxton {{ action {} in [\"tool:call\"] appliesTo {{ principal: [User, Service, Agent], resource: [Tool], \
         context: {{ source: SourceContext, system: SystemContext, session: SessionContext, actor?: ActorContext, \
         screening: ScreeningContext, input: {{ size: Long, name: String }} }} }}; }}",
        actions.join(", ")
    )
}

/// Agent `a<number>` calls a tool; every other one the tool that a policy grants it.
fn query(number: usize, size: usize) -> Query {
    let granted = if number.is_multiple_of(2) { number + 5 } else { number } % size.max(6);
    let agent = granted - granted % 5;
    let tool =
        format!("srv___t{}", if number.is_multiple_of(10) { agent % TOOLS } else { (agent + 1) % TOOLS });
    let uid = |kind: &str, id: &str| EntityUid::caxton(kind, id);
    let text = |text: &str| Value::text(text);
    let principal = Entity::bare(uid("Agent", &format!("a{agent}")))
        .with("name", text("researcher"))
        .with("version", text("1.2.0"))
        .with("capabilities", Value::texts(["search", "summarise"]))
        .with("tools", Value::texts(["srv___t1", "srv___t2"]))
        .with("memory_scope", text("workspace"))
        .with("status", text("running"))
        .with("signed", Value::Bool(true))
        .with("deployed_by", text("ops"))
        .with("definition_sha256", text(&"0".repeat(64)))
        .in_parent(uid("Workspace", "lab"))
        .in_parent(uid("Role", "agent"))
        .in_parent(uid("Role", "r16"));
    let mut resource = Entity::bare(uid("Tool", &tool)).in_parent(uid("McpServer", "srv"));
    for name in ["name", "server", "definition_sha256"] {
        resource = resource.with(name, text("x"));
    }
    resource = resource.with("id", text(&tool));
    for name in ["read_only", "destructive", "idempotent", "open_world", "pinned", "drifted", "sandboxed"] {
        resource = resource.with(name, Value::Bool(false));
    }
    for name in ["declared_read_only", "declared_destructive", "declared_idempotent", "declared_open_world"] {
        resource = resource.with(name, Value::Bool(false));
    }
    resource = resource.with("labels", Value::texts::<&str>([]));
    Query {
        principal: principal.uid.clone(),
        action: uid("Action", &tool),
        resource: resource.uid.clone(),
        context: context(),
        entities: vec![principal.into(), resource.into()],
    }
}

fn context() -> Value {
    let record = |fields: Vec<(&str, Value)>| Value::record(fields);
    let none = || Value::texts::<&str>([]);
    record(vec![
        (
            "source",
            record(vec![
                ("ip", Value::Ip("192.0.2.7".into())),
                ("tls", Value::Bool(true)),
                ("mtls", Value::Bool(false)),
                ("user_agent", Value::text("client/1.0")),
            ]),
        ),
        (
            "system",
            record(vec![
                ("now", Value::Datetime(1_768_039_200_000)),
                ("hour", Value::Long(10)),
                ("weekday", Value::Long(6)),
                ("lockdown", Value::Bool(false)),
                ("policy_version", Value::text("f".repeat(64))),
            ]),
        ),
        (
            "session",
            record(vec![
                ("id", Value::text("s-1")),
                ("age_seconds", Value::Long(12)),
                ("labels", none()),
                ("tool_calls", Value::Long(3)),
                ("denied", Value::Long(0)),
                ("tools_called", Value::texts(["srv___t1"])),
            ]),
        ),
        (
            "screening",
            record(vec![
                ("injection", Value::Bool(false)),
                ("score", Value::Decimal("0.0000".into())),
                ("findings", none()),
            ]),
        ),
        ("input", record(vec![("size", Value::Long(120)), ("name", Value::text("report.csv"))])),
    ])
}

// ---- the same for Cedar's own API ------------------------------------------------------------------------------

fn plain_uid(uid: &EntityUid) -> cedar::EntityUid {
    cedar::EntityUid::from_type_name_and_id(uid.type_name().parse().unwrap(), cedar::EntityId::new(uid.id()))
}

fn plain_value(value: &Value) -> cedar::RestrictedExpression {
    use cedar::RestrictedExpression as Expression;
    match value {
        Value::Bool(value) => Expression::new_bool(*value),
        Value::Long(value) => Expression::new_long(*value),
        Value::String(text) => Expression::new_string(text.to_string()),
        Value::Set(items) => Expression::new_set(items.iter().map(plain_value)),
        Value::Record(fields) => {
            Expression::new_record(fields.iter().map(|(name, value)| (name.to_string(), plain_value(value))))
                .unwrap()
        }
        Value::Entity(uid) => Expression::new_entity_uid(plain_uid(uid)),
        Value::Decimal(text) => Expression::new_decimal(text.as_ref()),
        Value::Ip(text) => Expression::new_ip(text.as_ref()),
        Value::Duration(text) => Expression::new_duration(text.as_ref()),
        Value::Datetime(millis) => Expression::new_datetime(caxton::clock::rfc3339(*millis)),
    }
}

fn plain_entity(entity: &Arc<Entity>) -> cedar::Entity {
    let attributes = entity.attributes.iter().map(|(name, value)| (name.to_string(), plain_value(value)));
    let parents = entity.parents.iter().map(plain_uid).collect();
    cedar::Entity::new(plain_uid(&entity.uid), attributes.collect(), parents).unwrap()
}

fn plain_request(
    query: &Query,
    kept: &[cedar::Entity],
    schema: &cedar::Schema,
) -> (cedar::Request, cedar::Entities) {
    let Value::Record(fields) = &query.context else { unreachable!() };
    let context = fields.iter().map(|(name, value)| (name.to_string(), plain_value(value)));
    let context = cedar::Context::from_pairs(context).unwrap();
    let entities = kept.iter().cloned();
    let entities = cedar::Entities::from_entities(entities, Some(schema)).unwrap();
    let (principal, action, resource) =
        (plain_uid(&query.principal), plain_uid(&query.action), plain_uid(&query.resource));
    (cedar::Request::new(principal, action, resource, context, Some(schema)).unwrap(), entities)
}

fn json_query(bundle: &Bundle, query: &Query) -> JsonQuery {
    let uid = |uid: &EntityUid| json!({ "type": uid.type_name(), "id": uid.id() });
    let list: Vec<Json> = query
        .entities
        .iter()
        .map(|entity| {
            let attributes: Json = entity.attributes.iter().map(|(k, v)| (k.to_string(), plain_json(v))).collect();
            json!({ "uid": uid(&entity.uid), "attrs": attributes, "parents": entity.parents.iter().map(uid).collect::<Vec<_>>() })
        })
        .collect();
    let entities: JsonEntities =
        bundle.entities_from_json(&Json::from(list).to_string(), EntityCheck::Schema).unwrap();
    let (principal, action, resource) = (uid(&query.principal), uid(&query.action), uid(&query.resource));
    let names = JsonNames { principal: &principal, action: &action, resource: &resource };
    bundle.query_from_json(&names, plain_json(&query.context), &entities, EntityCheck::Schema).unwrap()
}

fn plain_json(value: &Value) -> Json {
    let call = |name: &str, argument: &str| json!({ "__extn": { "fn": name, "arg": argument } });
    match value {
        Value::Bool(value) => json!(value),
        Value::Long(value) => json!(value),
        Value::String(text) => json!(text.as_ref()),
        Value::Set(items) => items.iter().map(plain_json).collect(),
        Value::Record(fields) => {
            fields.iter().map(|(name, value)| (name.to_string(), plain_json(value))).collect()
        }
        Value::Entity(uid) => json!({ "__entity": { "type": uid.type_name(), "id": uid.id() } }),
        Value::Decimal(text) => call("decimal", text),
        Value::Ip(text) => call("ip", text),
        Value::Duration(text) => call("duration", text),
        Value::Datetime(millis) => call("datetime", &caxton::clock::rfc3339(*millis)),
    }
}
