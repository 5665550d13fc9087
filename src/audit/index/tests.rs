//! Both ways to search find the same; and the index is no more than a cache.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::*;
use crate::audit::query::{
    Bounds, DecisionFilter, EventFilter, Filter, LogSearch, Order, QueryError, SearchResult, for_each, search,
};
use crate::audit::segment_folder;
use crate::audit::segments::Segment;
use crate::clock::rfc3339;
use crate::model::{EventType, Outcome, ReasonCode};

/// Records of a chunk in these tests.
const CHUNK: usize = 8;

struct Place {
    folder: tempfile::TempDir,
    next: u64,
    first: u64,
}

impl Place {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), next: 1, first: 1 }
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("audit.log")
    }

    /// Appends a record with these fields and the next number.
    fn append(&mut self, mut record: Json) {
        record["seq"] = self.next.into();
        self.next += 1;
        let mut file = OpenOptions::new().create(true).append(true).open(self.log()).unwrap();
        file.write_all(format!("{record}\n").as_bytes()).unwrap();
    }

    /// Closes the file that grows, when there is anything in it.
    fn rotate(&mut self, compressed: bool) {
        if self.first == self.next {
            return;
        }
        let folder = segment_folder(&self.log());
        fs::create_dir_all(&folder).unwrap();
        let segment = Segment::new(&folder, self.first, self.next - 1, compressed);
        let content = fs::read(self.log()).unwrap();
        let content = if compressed { zstd::encode_all(content.as_slice(), 3).unwrap() } else { content };
        fs::write(&segment.path, content).unwrap();
        fs::remove_file(self.log()).unwrap();
        self.first = self.next;
    }

    fn index(&self) -> Indexer {
        Indexer::open(&self.log()).unwrap().with_chunks_of(CHUNK)
    }

    fn build(&self) -> u64 {
        catch_up(&mut self.index())
    }

    fn find(&self, filter: &Filter, use_index: bool) -> SearchResult {
        search(&self.log(), &LogSearch { use_index, ..LogSearch::newest(filter) }).unwrap()
    }
}

fn catch_up(indexer: &mut Indexer) -> u64 {
    while indexer.step().unwrap() == IndexStep::Written {}
    indexer.indexed().unwrap()
}

/// A record of a few possible names, so that filters meet.
fn record(numbers: &[usize; 8], time: i64) -> Json {
    let [who, actor, action, resource, outcome, policy, address, more] = *numbers;
    let of = |names: &[&str], number: usize| names[number % names.len()].to_owned();
    let people = [
        "Caxton::User::\"idp|ann\"",
        "Caxton::User::\"idp|bob\"",
        "Caxton::Agent::\"clerk\"",
        "Caxton::Service::\"ann\"",
        "Caxton::User::\"a|b|ann\"",
        "odd",
        "Caxton::Tool::\"x::\\\"y\"",
    ];
    let addresses = ["10.1.2.3", "10.1.2.4", "10.1.9.1", "10.7.0.1", "2001:db8::1", "::ffff:10.1.2.3", "odd"];
    let mut record = json!({
        "time": rfc3339(time),
        "decision_id": format!("decision-{}", who + 10 * more),
        "request_id": format!("request-{}", more % 5),
        "event_type": of(&["tool_call", "authorization", "message", "of_the_future"], action),
        "outcome": of(&["allow", "deny_explicit", "deny_default", "of_the_future"], outcome),
        "reason_code": of(&["permitted", "forbidden", "no_permit"], outcome),
        "action": of(&["tool:list", "files___read"], action),
        "resource": of(&["Caxton::Tool::\"files___read\"", "Caxton::User::\"idp|ann\"", "no name"], resource),
        "policies": [{ "id": of(&["p.a", "p.b"], policy) }],
        "source": { "ip": of(&addresses, address), "tls": true },
        "subject": { "principal": of(&people, who) },
    });
    if actor % 2 == 0 {
        record["actor"] = of(&people, actor / 2).into();
    }
    if more % 3 == 0 {
        record["agent"] = json!({ "id": of(&["clerk", "a|clerk"], more) });
        record["event"] = of(&["login_failure", "rate_limited"], more).into();
        record["trace_id"] = format!("trace-{}", more % 4).into();
    }
    if more % 4 == 0 {
        record["obligations"] = json!([of(&["label:pii", "redact:/a", "label:"], more / 4)]);
        record["items"] = json!([
            { "resource": "Caxton::Tool::\"other\"", "action": "tool:call", "policies": [{ "id": "p.item" }] },
            { "resource": "Caxton::User::\"idp|bob\"" },
        ]);
    }
    if more % 7 == 6 {
        // A record of which nearly nothing is known.
        return json!({ "detail": "odd", "outcome": 5, "time": 7 });
    }
    record
}

fn filters() -> Vec<Filter> {
    let all = Filter::all;
    let some = |text: &str| Some(text.to_owned());
    let names = [
        "ann",
        "bob",
        "clerk",
        "idp|ann",
        "b|ann",
        "a|b|ann",
        "User::\"idp|ann\"",
        "Caxton::User::\"idp|ann\"",
        "Caxton::Agent::\"clerk\"",
        "Agent::\"clerk\"",
        "a|clerk",
        "odd",
        "x::\\\"y",
        "nobody",
        "",
    ];
    let mut filters = vec![all()];
    for name in names {
        filters.push(Filter { user: some(name), ..all() });
        filters.push(Filter { agent: some(name), ..all() });
        filters.push(Filter { principal: some(name), ..all() });
        filters.push(Filter { actor: some(name), ..all() });
        filters.push(Filter { resource: some(name), ..all() });
    }
    for name in ["files___read", "Tool::\"files___read\"", "other", "no name"] {
        filters.push(Filter { resource: some(name), ..all() });
    }
    for id in ["decision-10", "decision-3", "request-2", "trace-1", "12", "07", "nothing"] {
        filters.push(Filter { id: some(id), ..all() });
        filters.push(Filter { decision_id: some(id), ..all() });
        filters.push(Filter { request_id: some(id), ..all() });
        filters.push(Filter { trace_id: some(id), ..all() });
    }
    for action in ["tool:list", "tool:call", "files___read"] {
        filters.push(Filter { action: some(action), ..all() });
    }
    for policy in ["p.a", "p.item", "p.none"] {
        filters.push(Filter { policy: some(policy), ..all() });
    }
    for label in ["pii", "", "none"] {
        filters.push(Filter { label: some(label), ..all() });
    }
    for network in [
        "10.1.2.3/32",
        "10.1.2.0/24",
        "10.1.0.0/16",
        "10.1.8.0/21",
        "10.0.0.0/8",
        "2001:db8::/32",
        "2001:db8::1/128",
        "2001:db8::/56",
        "0.0.0.0/0",
        "10.1.2.2/31",
    ] {
        filters.push(Filter { address: Some(network.parse().unwrap()), ..all() });
    }
    for decision in [DecisionFilter::Allow, DecisionFilter::Deny] {
        filters.push(Filter { decision: Some(decision), ..all() });
        filters.push(Filter { decision: Some(decision), user: some("ann"), limit: Some(2), ..all() });
    }
    filters.push(Filter { outcome: Some(Outcome::DenyDefault), ..all() });
    filters.push(Filter { reason: Some(ReasonCode::Forbidden), policy: some("p.b"), ..all() });
    filters.push(Filter { event_type: Some(EventFilter::Type(EventType::ToolCall)), ..all() });
    filters.push(Filter { event_type: Some(EventFilter::Named("login_failure")), ..all() });
    filters.push(Filter { from_millis: Some(1_030_000), ..all() });
    filters.push(Filter { to_millis: Some(1_030_000), ..all() });
    filters.push(Filter {
        from_millis: Some(1_010_000),
        to_millis: Some(1_040_000),
        user: some("bob"),
        ..all()
    });
    filters
}

fn seqs(found: &SearchResult) -> Vec<u64> {
    found.records.iter().map(|record| record.seq).collect()
}

/// All pages of a search, one after the other.
fn paged(log: &Path, filter: &Filter, order: Order, bounds: Bounds, use_index: bool) -> Vec<u64> {
    let filter = Filter { limit: Some(3), ..filter.clone() };
    let (mut all, mut after) = (Vec::new(), None);
    for _ in 0..1_000 {
        let page = search(log, &LogSearch { filter: &filter, order, after, use_index, bounds }).unwrap();
        assert!(page.passed_over.is_none(), "{:?}", page.passed_over);
        all.extend(seqs(&page));
        match page.next {
            Some(next) => after = Some(next),
            None => return all,
        }
    }
    panic!("there is no end: {filter:?} {order:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    /// Over many filters, segments plain and compressed, and records that came after the index was built.
    #[test]
    fn both_ways_find_the_same(
        records in prop::collection::vec((prop::array::uniform8(0_usize..28), 0_u8..24), 1..90),
        late in 0_usize..12,
    ) {
        let mut place = Place::new();
        let mut time = 1_000_000;
        let indexed = records.len().saturating_sub(late);
        for (number, (numbers, turn)) in records.iter().enumerate() {
            if number == indexed {
                place.build();
            }
            // Clocks are set back, too.
            time += i64::from(*turn) * 100 - 300;
            place.append(record(numbers, time));
            if *turn < 2 {
                place.rotate(*turn == 1);
            }
        }
        if late == 0 {
            prop_assert_eq!(place.build() as usize, records.len() / CHUNK * CHUNK);
        }
        // Pages take long, so each case turns those of some filters.
        let turn = records.len();
        for (number, filter) in filters().into_iter().enumerate() {
            let (with, without) = (place.find(&filter, true), place.find(&filter, false));
            prop_assert!(with.passed_over.is_none(), "{:?}", with.passed_over);
            prop_assert_eq!(seqs(&with), seqs(&without), "{:?}", filter);
            prop_assert_eq!(with.next, without.next, "{:?}", filter);
            let lines = |found: SearchResult| found.records.into_iter().map(|record| record.line).collect::<Vec<_>>();
            prop_assert_eq!(lines(with), lines(without));
            if (number + turn) % 10 != 0 {
                continue;
            }
            let mut newest = seqs(&place.find(&Filter { limit: None, ..filter.clone() }, false));
            prop_assert_eq!(&paged(&place.log(), &filter, Order::NewestFirst, Bounds::NONE, true), &newest);
            prop_assert_eq!(&paged(&place.log(), &filter, Order::NewestFirst, Bounds::NONE, false), &newest);
            newest.reverse();
            // With bounds that end each search after a few lines or bytes, nothing is left out.
            let tight = Bounds { lines: 20, bytes: 700, until: None };
            for (bounds, use_index) in [(Bounds::NONE, true), (Bounds::NONE, false), (tight, true)] {
                let oldest = paged(&place.log(), &filter, Order::OldestFirst, bounds, use_index);
                prop_assert_eq!(&oldest, &newest, "{:?} {:?} {}", filter, bounds, use_index);
            }
            let mut each = Vec::new();
            let filter = Filter { limit: None, ..filter };
            for_each(&place.log(), &filter, true, &mut |record| {
                each.push(record.seq);
                ControlFlow::Continue(())
            }).unwrap();
            prop_assert_eq!(&each, &newest);
        }
    }
}

/// A log of `count` records of one user, with an index.
fn indexed(count: usize) -> Place {
    let mut place = Place::new();
    append_some(&mut place, count);
    place.build();
    place
}

fn append_some(place: &mut Place, count: usize) {
    for _ in 0..count {
        place.append(record(&[0; 8], 1_000_000));
    }
}

fn ann() -> Filter {
    Filter { user: Some("ann".to_owned()), ..Filter::all() }
}

#[test]
fn it_goes_on_where_it_was_and_reads_nothing_twice() {
    let mut place = indexed(3 * CHUNK + 2);
    let mut indexer = place.index();
    assert_eq!(indexer.indexed().unwrap(), 3 * CHUNK as u64);
    append_some(&mut place, CHUNK);
    assert_eq!(catch_up(&mut indexer), 4 * CHUNK as u64);
    assert!(matches!(Indexer::open(&place.log()), Err(IndexError::Locked(_))), "one process writes it");
    assert_eq!(place.find(&ann(), true).records.len(), 4 * CHUNK + 2);
    drop(indexer);
    place.rotate(true);
    append_some(&mut place, CHUNK);
    assert_eq!(place.build(), 5 * CHUNK as u64);
    assert_eq!(place.find(&ann(), true).records.len(), 5 * CHUNK + 2);
}

#[test]
fn an_index_that_cannot_be_used_is_passed_over_and_built_anew() {
    type Damage = fn(&Place);
    let damages: [(&str, Damage); 4] = [
        ("not a database", |place| fs::write(index_path(&place.log()), vec![7; 9_000]).unwrap()),
        ("empty", |place| fs::write(index_path(&place.log()), "").unwrap()),
        ("another log", |place| {
            let text = fs::read_to_string(place.log()).unwrap();
            fs::write(place.log(), text.replace("idp|ann", "idp|amy")).unwrap();
        }),
        ("ahead of the log", |place| {
            let text = fs::read_to_string(place.log()).unwrap();
            let kept: Vec<&str> = text.lines().take(3).collect();
            fs::write(place.log(), kept.join("\n") + "\n").unwrap();
        }),
    ];
    for (what, damage) in damages {
        let place = indexed(2 * CHUNK);
        for suffix in ["-wal", "-shm"] {
            let _ = fs::remove_file(place.folder.path().join(format!("audit.log.index{suffix}")));
        }
        damage(&place);
        let filter = Filter::all();
        let found = place.find(&filter, true);
        let error = found.passed_over.as_ref().map(|error| error.help());
        assert_eq!(error, Some("build it anew with `caxton audit index --rebuild`"), "{what}");
        assert_eq!(seqs(&found), seqs(&place.find(&filter, false)), "{what}");
        place.build();
        let found = place.find(&filter, true);
        assert!(found.passed_over.is_none(), "{what}: {:?}", found.passed_over);
        assert_eq!(seqs(&found), seqs(&place.find(&filter, false)), "{what}");
    }
}

/// In the middle of the log, where no look at its end can find it.
#[test]
fn a_line_that_is_not_the_record_of_the_index_is_an_error_with_its_fix() {
    let mut place = indexed(2 * CHUNK);
    let text = fs::read_to_string(place.log()).unwrap();
    let mut lines: Vec<&str> = text.lines().collect();
    lines.swap(2, 3);
    fs::write(place.log(), lines.join("\n") + "\n").unwrap();
    let error = search(&place.log(), &LogSearch::newest(&ann())).unwrap_err();
    let QueryError::Index(error @ IndexError::Differs { seq: 4, segment: 1, .. }) = error else {
        panic!("{error:?}");
    };
    assert!(error.help().contains("--rebuild"));
    place.append(json!({}));
}

#[test]
fn what_was_removed_with_its_segment_is_not_found_and_forgotten() {
    let mut place = Place::new();
    for _ in 0..4 {
        append_some(&mut place, CHUNK);
        place.rotate(false);
    }
    append_some(&mut place, CHUNK);
    place.build();
    let segments: Vec<_> = crate::audit::segments(&place.log()).unwrap();
    fs::remove_file(&segments[0].path).unwrap();
    let found = place.find(&ann(), true);
    assert_eq!(seqs(&found), seqs(&place.find(&ann(), false)));
    assert_eq!(found.records.last().unwrap().seq, CHUNK as u64 + 1);
    append_some(&mut place, CHUNK);
    place.build();
    let reader = IndexReader::open(&place.log()).unwrap().unwrap();
    assert_eq!(reader.first_seq(), CHUNK as u64 + 1);
    // An index that begins with a log that has lost its beginning.
    let rebuilt = catch_up(&mut Indexer::rebuild(&place.log()).unwrap().with_chunks_of(CHUNK));
    assert_eq!(rebuilt, 6 * CHUNK as u64);
    assert_eq!(seqs(&place.find(&ann(), true)), seqs(&place.find(&ann(), false)));
}

/// A caller can have arguments as deep as the strict reader goes; their record is deeper.
#[test]
fn a_record_that_is_deeper_than_the_strict_reader_goes_is_indexed_and_found() {
    let mut place = Place::new();
    append_some(&mut place, 2);
    let deep = (0..70).fold(json!(1), |inner, _| json!({ "a": inner }));
    let mut odd = record(&[0; 8], 1_000_000);
    odd["context"] = deep;
    place.append(odd);
    append_some(&mut place, CHUNK);
    assert_eq!(place.build(), CHUNK as u64);
    for use_index in [true, false] {
        let found = place.find(&ann(), use_index);
        assert_eq!((found.records.len(), found.unreadable), (CHUNK + 3, 0));
    }
}

#[test]
fn it_is_private_and_leaves_the_directory_as_it_is() {
    use std::os::unix::fs::PermissionsExt as _;
    let mut place = Place::new();
    append_some(&mut place, CHUNK);
    fs::set_permissions(place.folder.path(), fs::Permissions::from_mode(0o750)).unwrap();
    place.build();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&index_path(&place.log())), 0o600);
    assert_eq!(mode(&place.folder.path().join("audit.log.index.lock")), 0o600);
    assert_eq!(mode(place.folder.path()), 0o750);
}

#[test]
fn a_search_ends_at_its_bounds() {
    let place = indexed(20 * CHUNK);
    let filter = Filter { limit: Some(1_000), ..ann() };
    let bounds = Bounds { lines: 20, bytes: 1_000, until: None };
    let found = search(&place.log(), &LogSearch { bounds, ..LogSearch::newest(&filter) }).unwrap();
    assert!(found.next.is_some() && found.records.len() < 200, "{}", found.records.len());
    let late = Bounds { until: Some(Instant::now() - Duration::from_secs(1)), ..Bounds::NONE };
    let found = search(&place.log(), &LogSearch { bounds: late, ..LogSearch::newest(&filter) }).unwrap();
    assert_eq!((found.records.len(), found.next.is_some()), (0, true));
    let unindexed = LogSearch { use_index: false, bounds, ..LogSearch::newest(&filter) };
    assert!(matches!(search(&place.log(), &unindexed), Err(QueryError::Behind { lines: 20 })));
}

/// Size and speed over as many records as `CAXTON_INDEX_RECORDS` says (a million by default):
/// `cargo nextest run --release --run-ignored only -E 'test(index::tests::numbers)' --no-capture`
#[test]
#[ignore = "writes gigabytes"]
fn numbers() {
    let count: u64 = option_env!("CAXTON_INDEX_RECORDS").map_or(1_000_000, |count| count.parse().unwrap());
    let folder = tempfile::tempdir_in(".").unwrap();
    let log = folder.path().join("audit.log");
    let day = 86_400_000;
    let end = 1_800_000_000_000_i64;
    let mut out = std::io::BufWriter::with_capacity(1 << 20, fs::File::create(&log).unwrap());
    let mut random = 88_172_645_463_325_252_u64;
    let mut next = move |most: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % most
    };
    for seq in 1..=count {
        // Ten days, 20,000 users, 500 tools, 5,000 addresses.
        let time = rfc3339(end - 10 * day + (10 * day) * seq as i64 / count as i64);
        let (user, tool, address) = (next(20_000), next(500), next(5_000));
        let (id, call) = (uuid::Uuid::now_v7(), uuid::Uuid::now_v7());
        let (outcome, reason) =
            [("allow", "permitted"), ("deny_default", "no_permit")][usize::from(next(20) == 0)];
        writeln!(out, "{{\"action\":\"desk___tool{tool}\",\"args_sha256\":\"{0}\",\"call_id\":\"{call}\",\"context\":{{\"input\":{{\"bytes\":312,\"sha256\":\"{0}\"}},\"now\":\"{time}\",\"session\":{{\"labels\":[],\"calls\":4}}}},\"decision_id\":\"{id}\",\"entity_version\":3,\"event_type\":\"tool_call\",\"latency_us\":61,\"outcome\":\"{outcome}\",\"policies\":[{{\"effect\":\"permit\",\"id\":\"tools.desk\",\"mode\":\"enforce\"}}],\"policy_version\":\"{0}\",\"prev_hash\":\"{0}\",\"reason_code\":\"{reason}\",\"request_id\":\"{call}\",\"resource\":\"Caxton::Tool::\\\"desk___tool{tool}\\\"\",\"schema_version\":1,\"seq\":{seq},\"source\":{{\"ip\":\"10.0.{1}.{2}\",\"tls\":true,\"user_agent\":\"mcp/1.0\"}},\"subject\":{{\"credential\":\"k{user}\",\"method\":\"jwt\",\"principal\":\"Caxton::User::\\\"https://idp.example|user{user}\\\"\"}},\"time\":\"{time}\",\"hash\":\"{0}\"}}",
            "ab".repeat(32), address / 250, address % 250).unwrap();
    }
    out.flush().unwrap();
    let size = |path: &Path| fs::metadata(path).unwrap().len();
    let took = |what: &str, begin: Instant| println!("{what}: {:?}", begin.elapsed());
    println!("{count} records, {} bytes a record", size(&log) / count);
    let begin = Instant::now();
    let mut indexer = Indexer::open(&log).unwrap();
    catch_up(&mut indexer);
    took("building", begin);
    drop(indexer);
    println!(
        "index: {} bytes, {:.1} a record",
        size(&index_path(&log)),
        size(&index_path(&log)) as f64 / count as f64
    );
    let some = |text: &str| Some(text.to_owned());
    let newest = search(&log, &LogSearch::newest(&Filter { limit: Some(1), ..Filter::all() })).unwrap();
    let decision = newest.records[0].json["decision_id"].as_str().unwrap().to_owned();
    let all = || Filter { limit: Some(1_000), ..Filter::all() };
    for (what, filter) in [
        ("one user, the last day", Filter { user: some("user77"), from_millis: Some(end - day), ..all() }),
        ("one user, ever", Filter { user: some("user77"), ..all() }),
        ("a user that is not there", Filter { user: some("nobody"), ..all() }),
        ("one decision", Filter { decision_id: Some(decision), ..all() }),
        ("denied, the newest", Filter { decision: Some(DecisionFilter::Deny), ..all() }),
        (
            "one tool and one address",
            Filter { resource: some("desk___tool7"), address: Some("10.0.3.7/32".parse().unwrap()), ..all() },
        ),
        (
            "a network of ten million",
            Filter { address: Some("10.0.3.0/24".parse().unwrap()), user: some("user5"), ..all() },
        ),
    ] {
        let begin = Instant::now();
        let found = search(&log, &LogSearch::newest(&filter)).unwrap();
        took(&format!("{what} ({} records)", found.records.len()), begin);
    }
    if count <= 1_000_000 {
        let begin = Instant::now();
        let filter = Filter { user: some("user77"), from_millis: Some(end - day), ..all() };
        search(&log, &LogSearch { use_index: false, ..LogSearch::newest(&filter) }).unwrap();
        took("one user, the last day, without the index", begin);
    }
}
