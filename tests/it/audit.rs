//! The decision log as its readers meet it: pages, stream and export over HTTP, and the commands.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "helpers of tests")]

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use crate::support::child::run;
use crate::support::{Answer, Credential, World, send, until};
use reqwest::{Method, StatusCode};
use serde_json::{Value as Json, json};

fn numbers(records: &Json) -> Vec<u64> {
    records.as_array().unwrap().iter().map(|record| record["seq"].as_u64().unwrap()).collect()
}

fn events(answer: &Answer) -> Vec<u64> {
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    numbers(&answer.json()["events"])
}

/// Two callers: one lists agents thirty times, the other may not.
async fn busy() -> (World, Credential) {
    let world = World::new().await;
    let (lister, stranger) =
        (world.service("lister", &["agent:list"]), world.service("stranger", &["metrics:view"]));
    for _ in 0..30 {
        assert_eq!(world.get(&lister, "/v1/agents").await.status, StatusCode::OK);
    }
    for _ in 0..3 {
        assert_eq!(world.get(&stranger, "/v1/agents").await.status, StatusCode::FORBIDDEN);
    }
    let root = world.person("root", &["admin"]);
    (world, root)
}

#[tokio::test]
async fn pages_follow_each_other_in_both_orders() {
    let (world, root) = busy().await;
    let all: Vec<u64> = world
        .records()
        .iter()
        .filter(|record| record["subject"]["principal"] == "Caxton::Service::\"lister\"")
        .map(|record| record["seq"].as_u64().unwrap())
        .collect();
    assert_eq!(all.len(), 60, "the list, and each agent");
    for order in ["newest", "oldest"] {
        let first = format!("/v1/audit/events?user=lister&last=1h&limit=7&order={order}");
        let (mut path, mut found, mut pages) = (first.clone(), Vec::new(), 0);
        loop {
            let page = world.get(&root, &path).await;
            found.extend(events(&page));
            pages += 1;
            match page.json()["next_cursor"].as_str() {
                Some(cursor) => path = format!("{first}&cursor={cursor}"),
                None => break,
            }
        }
        if order == "newest" {
            found.reverse();
        }
        assert_eq!((found, pages), (all.clone(), 9), "{order}");
        let cursor = path.rsplit_once('=').unwrap().1;
        let other =
            world.get(&root, &format!("/v1/audit/events?user=stranger&order={order}&cursor={cursor}")).await;
        assert_eq!(other.status, StatusCode::BAD_REQUEST, "{other:?}");
        assert_eq!(other.json()["detail"], "`cursor` is not from an answer to this question");
    }
    world.stop().await;
}

#[tokio::test]
async fn each_parameter_keeps_what_it_names_and_wrong_words_are_refused() {
    let (world, root) = busy().await;
    let denied = world.records().into_iter().find(|record| record["outcome"] == "deny_default").unwrap();
    let text = |name: &str| denied[name].as_str().unwrap().to_owned();
    let denials = 3;
    for (query, count) in [
        (format!("id={}", text("decision_id")), 1),
        (format!("decision_id={}", text("decision_id")), 1),
        (format!("request_id={}", text("call_id")), 1),
        (format!("id={}", denied["seq"]), 1),
        ("trace=4bf92f3577b34da6a3ce929d0e0e4736".to_owned(), 0),
        ("user=stranger".to_owned(), denials),
        ("user=stranger&outcome=deny_default&reason=no_permit".to_owned(), denials),
        ("user=stranger&action=agent:list&resource=caxton".to_owned(), denials),
        ("user=stranger&action=agent:read".to_owned(), 0),
        (
            "principal=Service::%22stranger%22&address=127.0.0.0/8&from=2026-01-01&to=9999-01-01T00:00"
                .to_owned(),
            denials,
        ),
        ("user=stranger&address=10.0.0.0/8".to_owned(), 0),
        ("user=stranger&label=pii".to_owned(), 0),
        ("user=stranger&actor=ann".to_owned(), 0),
        ("user=stranger&to=2026-01-01".to_owned(), 0),
        ("user=stranger&policy=none".to_owned(), 0),
        ("user=stranger&decision=allow".to_owned(), 0),
    ] {
        let found = world.get(&root, &format!("/v1/audit/events?{query}")).await;
        assert_eq!(events(&found).len(), count, "{query}: {found:?}");
    }
    for (query, detail) in [
        ("outcome=deny_explict", "`deny_explict` is not an outcome: did you mean `deny_explicit`?"),
        ("reason=nopermit", "`nopermit` is not a reason code: did you mean `no_permit`?"),
        ("address=10.0.0", "`10.0.0` is not an address or network"),
        ("from=yesterday", "`yesterday` is not a time"),
        ("last=soon", "`soon` is not a time span"),
        ("last=1h&from=2026-01-01", "`last` stands beside `from` or `to`"),
        ("order=up", "`up` is not an order, use `newest` or `oldest`"),
        ("limit=0", "`limit` is 0"),
        ("cursor=AAAA", "`cursor` is not from an answer to this question"),
        ("after=1", "unknown field `after`"),
    ] {
        let refused = world.get(&root, &format!("/v1/audit/events?{query}")).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{query}: {refused:?}");
        let said = refused.json()["detail"].as_str().unwrap().to_owned();
        assert!(said.contains(detail), "{query}: {said}");
    }
    world.stop().await;
}

/// Reads events of a stream until there are `count`: their ids and records.
async fn read(response: &mut reqwest::Response, count: usize) -> Vec<(u64, Json)> {
    let mut text = String::new();
    loop {
        let events = text.split("\n\n").filter(|event| event.contains("data:"));
        let field = |event: &str, name: &str| {
            let line = event.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.trim().to_owned()
        };
        let whole = text.matches("\n\n").count();
        if whole >= count {
            let read = |event: &str| {
                (field(event, "id:").parse().unwrap(), serde_json::from_str(&field(event, "data:")).unwrap())
            };
            return events.take(count).map(read).collect();
        }
        let piece = response.chunk().await.unwrap().expect("the stream goes on");
        text.push_str(&String::from_utf8_lossy(&piece));
    }
}

#[tokio::test]
async fn a_stream_sends_what_comes_and_goes_on_where_it_ended() {
    let (world, root) = busy().await;
    let stranger = world.service("late", &["metrics:view"]);
    let open = |query: &str, last: Option<u64>| {
        let request = world.request(&root, Method::GET, &format!("/v1/audit/stream?user=late{query}"));
        let request = last.iter().fold(request, |request, last| request.header("last-event-id", *last));
        async move { request.send().await.unwrap() }
    };
    let mut stream = open("", None).await;
    assert_eq!(stream.status(), StatusCode::OK);
    assert_eq!(stream.headers()["content-type"], "text/event-stream");
    for _ in 0..3 {
        world.get(&stranger, "/v1/agents").await;
    }
    let live = read(&mut stream, 3).await;
    drop(stream);
    for (id, record) in &live {
        assert_eq!((record["seq"].as_u64(), record["outcome"].as_str()), (Some(*id), Some("deny_default")));
    }
    let ids: Vec<u64> = live.iter().map(|(id, _)| *id).collect();
    assert!(ids.is_sorted(), "{ids:?}");
    let mut again = open("", Some(ids[0])).await;
    assert_eq!(read(&mut again, 2).await, live[1..]);
    let mut again = open("&after=0", None).await;
    assert_eq!(read(&mut again, 3).await, live);
    // Those of one caller are few.
    let mut held = vec![again];
    until("a place is refused", async || {
        held.push(open("", None).await);
        held.last().unwrap().status() == StatusCode::SERVICE_UNAVAILABLE
    })
    .await;
    assert!(held.len() <= 6, "{}", held.len());
    let other = world.person("other", &["admin"]);
    let request = world.request(&other, Method::GET, "/v1/audit/stream");
    assert_eq!(request.send().await.unwrap().status(), StatusCode::OK);
    drop(held);
    let refused = world.request(&root, Method::GET, "/v1/audit/stream").header("last-event-id", "x");
    assert_eq!(send(refused).await.status, StatusCode::BAD_REQUEST);
    let denied = world.get(&stranger, "/v1/audit/stream").await;
    assert_eq!(denied.status, StatusCode::FORBIDDEN);
    world.stop().await;
}

#[tokio::test]
async fn a_stream_ends_with_the_credential_that_opened_it() {
    let world = World::new().await;
    let root = world.person("root", &["admin"]);
    let made = world
        .post(&root, "/v1/auth/keys", &json!({ "name": "watcher", "permissions": ["audit:read"] }))
        .await;
    assert_eq!(made.status, StatusCode::CREATED, "{made:?}");
    let made = made.json();
    let key =
        made.as_object().unwrap().values().filter_map(Json::as_str).max_by_key(|text| text.len()).unwrap();
    let watcher = Credential::Key(key.to_owned());
    let mut stream = world.request(&watcher, Method::GET, "/v1/audit/stream").send().await.unwrap();
    assert_eq!(stream.status(), StatusCode::OK);
    let id = made["id"].as_str().or(made["key_id"].as_str()).unwrap();
    let ended = send(world.request(&root, Method::DELETE, &format!("/v1/auth/keys/{id}"))).await;
    assert_eq!(ended.status, StatusCode::NO_CONTENT, "{ended:?}");
    let end = async { while stream.chunk().await.unwrap().is_some() {} };
    tokio::time::timeout(Duration::from_secs(30), end).await.expect("the stream ends");
    world.stop().await;
}

#[tokio::test]
async fn an_export_is_the_log_and_has_a_permission_of_its_own() {
    let (world, root) = busy().await;
    let json = world.get(&root, "/v1/audit/export?to=9999-01-01").await;
    assert_eq!(json.headers["content-type"], "application/x-ndjson");
    assert_eq!(json.headers["content-disposition"], "attachment; filename=\"audit.json\"");
    let log = std::fs::read_to_string(world.log()).unwrap();
    assert!(log.starts_with(&json.text) && json.text.lines().count() > 33, "{}", json.text.lines().count());
    let csv = world.get(&root, "/v1/audit/export?format=csv&user=stranger").await;
    assert_eq!(csv.headers["content-type"], "text/csv; charset=utf-8; header=present");
    let lines: Vec<&str> = csv.text.split_terminator("\r\n").collect();
    assert!(lines[0].starts_with("seq,time,event_type,"));
    assert_eq!(lines.len(), 4, "{lines:?}");
    assert!(lines[1..].iter().all(|line| line.contains(",deny_default,no_permit,")), "{lines:?}");
    let wrong = world.get(&root, "/v1/audit/export?format=parquet").await;
    assert_eq!(wrong.status, StatusCode::BAD_REQUEST, "{wrong:?}");
    assert!(wrong.text.contains("use `json`, `csv`, `ocsf`"), "{wrong:?}");
    let reader = world.service("reader", &["audit:read"]);
    assert_eq!(world.get(&reader, "/v1/audit/events").await.status, StatusCode::OK);
    assert_eq!(world.get(&reader, "/v1/audit/export").await.status, StatusCode::FORBIDDEN);
    let exporter = world.service("exporter", &["audit:export"]);
    assert_eq!(world.get(&exporter, "/v1/audit/export?user=nobody").await.text, "");
    assert_eq!(world.get(&exporter, "/v1/audit/events").await.status, StatusCode::FORBIDDEN);
    let asked: BTreeSet<String> =
        world.records().iter().filter_map(|record| Some(record["action"].as_str()?.to_owned())).collect();
    assert!(asked.contains("audit:read") && asked.contains("audit:export"), "{asked:?}");
    world.stop().await;
}

#[tokio::test]
async fn a_program_records_events_of_its_own() {
    let world = World::new().await;
    let program = world.service("billing", &["audit:record"]);
    let body = json!({
        "event_type": "data_export", "identity": "ann", "resource": "customers", "outcome": "success",
        "metadata": { "rows": 1000, "api_key": "hunter2hunter2", "event_type": "tool_call" },
    });
    let made = world.post(&program, "/v1/audit/events", &body).await;
    assert_eq!(made.status, StatusCode::CREATED, "{made:?}");
    let made = made.json();
    let records = world.records();
    let of = |field: &str, value: &Json| records.iter().find(|record| &record[field] == value).unwrap();
    let (event, decision) = (of("seq", &made["seq"]), of("decision_id", &made["decision_id"]));
    assert_eq!(event["decision_id"], made["event_id"]);
    assert_eq!((&event["event_type"], &event["event"]), (&json!("application_event"), &json!("application")));
    assert_eq!(event["subject"]["principal"], "Caxton::Service::\"billing\"");
    assert!(event.get("action").is_none() && event.get("resource").is_none(), "{event}");
    assert_eq!(event["context"]["application"]["event_type"], "data_export");
    assert_eq!(event["context"]["application"]["metadata"]["api_key"], "[masked]");
    assert_eq!((&decision["action"], &decision["outcome"]), (&json!("audit:record"), &json!("allow")));
    assert_eq!(event["call_id"], decision["call_id"]);
    for (wrong, field) in [
        (json!({ "event_type": "Tool Call" }), "event_type"),
        (json!({ "event_type": "a", "outcome": "so so" }), "outcome"),
        (json!({ "event_type": "a", "identity": "x".repeat(513) }), "identity"),
        (json!({ "event_type": "a", "metadata": { "x": "x".repeat(17_000) } }), "metadata"),
        (json!({ "event_type": "a", "seq": 1 }), "seq"),
        (json!({}), "event_type"),
    ] {
        let refused = world.post(&program, "/v1/audit/events", &wrong).await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{refused:?}");
        assert!(refused.json()["detail"].as_str().unwrap().contains(field), "{refused:?}");
    }
    let reader = world.service("reader", &["audit:read"]);
    assert_eq!(world.post(&reader, "/v1/audit/events", &body).await.status, StatusCode::FORBIDDEN);
    let found = world.get(&reader, "/v1/audit/events?event_type=application_event&user=billing").await;
    assert_eq!(events(&found), [made["seq"].as_u64().unwrap()]);
    world.stop().await;
}

fn caxton(directory: &Path, code: i32, line: &str) -> String {
    let words: Vec<&str> = line.split(' ').collect();
    let ended = run(directory, &words);
    assert_eq!(ended.code, Some(code), "{line}: {ended:?}");
    ended.stdout
}

/// The commands on the file and at the gateway say the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_read_the_file_and_the_gateway() {
    let (world, _) = busy().await;
    let Credential::Key(key) = world.service("auditor", &["audit:read", "audit:export"]) else {
        unreachable!()
    };
    let here = tempfile::tempdir().unwrap();
    let at = |name: &str| here.path().join(name);
    std::fs::write(at("key"), key).unwrap();
    let log = format!("--log {}", world.log().display());
    let remote = format!("--url {} --api-key-file key", world.url(""));
    let run = |code: i32, line: &str| caxton(here.path(), code, line);
    for options in
        ["--user lister --limit 1000", "--user stranger --outcome deny_default", "--user lister --limit 4"]
    {
        let file: Json =
            serde_json::from_str(&run(0, &format!("audit query {options} {log} --json"))).unwrap();
        let scan: Json =
            serde_json::from_str(&run(0, &format!("audit query {options} --no-index {log} --json"))).unwrap();
        let over: Json =
            serde_json::from_str(&run(0, &format!("audit query {options} {remote} --json"))).unwrap();
        assert!(!numbers(&file).is_empty());
        assert_eq!((&file, &file), (&scan, &over), "{options}");
    }
    let tail: Json =
        serde_json::from_str(&run(0, &format!("audit tail -n 2 --user stranger {log} --json"))).unwrap();
    let over: Json =
        serde_json::from_str(&run(0, &format!("audit tail -n 2 --user stranger {remote} --json"))).unwrap();
    assert_eq!((numbers(&tail).len(), &tail), (2, &over));
    run(0, &format!("audit export --format csv --user lister --output a.csv {log}"));
    run(0, &format!("audit export --format csv --user lister --output b.csv {remote}"));
    let text = |name: &str| std::fs::read_to_string(at(name)).unwrap();
    assert_eq!((text("a.csv").lines().count(), text("a.csv")), (61, text("b.csv")));
    let piped = run(0, &format!("audit export --format csv --user lister --output - {log}"));
    // What a child writes is read by lines.
    assert_eq!(text("a.csv").replace("\r\n", "\n"), piped.replace("\r\n", "\n"));
    let ocsf = run(0, &format!("audit export --format ocsf --user lister --output - {log}"));
    assert!(ocsf.lines().count() == 60 && ocsf.lines().all(|line| line.contains("\"class_uid\":")), "{ocsf}");
    run(0, &format!("audit export --user lister --output c.json {log}"));
    assert_eq!(text("c.json").lines().count(), 60);
    let left: Vec<_> =
        std::fs::read_dir(here.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 4, "{left:?}");
    let denied = &tail[0];
    let id = denied["decision_id"].as_str().unwrap();
    let shown = run(0, &format!("audit show {id} {log}"));
    let wide: Vec<&str> = shown.lines().filter(|line| line.chars().count() > 80).collect();
    assert!(wide.is_empty(), "{wide:?}");
    for part in [
        "deny default",
        "Service stranger",
        "agent:list (authorization)",
        "no permit held (no_permit)",
        "127.0.0.1",
        id,
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let record: Json = serde_json::from_str(&run(0, &format!("audit show {id} {log} --json"))).unwrap();
    assert_eq!(&record, denied);
    run(1, &format!("audit show nothing {log}"));
    // The gateway keeps the index by itself.
    let locked = run(2, &format!("audit index {log}"));
    assert_eq!(locked, "");
    let place = world.stop().await;
    let log = place.path().join("data/audit.log");
    let said = run(0, &format!("audit index --rebuild --log {} --json", log.display()));
    let said: Json = serde_json::from_str(&said).unwrap();
    assert_eq!(
        said["last"].as_u64().unwrap() as usize,
        std::fs::read_to_string(&log).unwrap().lines().count()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_checkpoint_is_given_to_those_who_may_read() {
    let world = World::new().await;
    let (root, stranger) = (world.person("root", &["admin"]), world.service("stranger", &[]));
    assert_eq!(world.get(&stranger, "/v1/audit/checkpoint").await.status, 403);
    let answer = crate::support::eventually("a checkpoint", async || {
        let answer = world.get(&root, "/v1/audit/checkpoint").await;
        (answer.status == 200).then(|| answer.json())
    })
    .await;
    let key = caxton::audit::NoteVerifier::parse(answer["key"].as_str().unwrap()).unwrap();
    let checkpoint = caxton::audit::Checkpoint::open(answer["checkpoint"].as_str().unwrap(), &key).unwrap();
    assert!(checkpoint.size >= 1 && checkpoint.origin.starts_with("caxton.audit/"));
}
