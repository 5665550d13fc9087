//! Receivers of the decision log: strict ones for the contracts of Splunk, Elastic, Sentinel, OpenTelemetry and webhooks, and
//! real ones (`rsyslog`, `rotel`), with a gateway and receivers that are killed at random.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests"
)]

mod contracts;
mod real;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value as Json;

use crate::support::child::{LIMIT, Place, ROOMY, Running};

/// The most that a test waits for a receiver.
const PATIENCE: Duration = Duration::from_secs(120);

/// A directory with these sinks, each a YAML record four spaces in, and a key that may do something.
fn place(sinks: &str) -> (Place, String) {
    let place = Place::new(ROOMY);
    place.edit(
        "audit: { deadline: 10s }",
        &format!("audit:\n    deadline: 10s\n    instance: gateway-1\n{sinks}"),
    );
    let key = place.service("reader", "agent:list,memory:write,memory:read");
    (place, key)
}

/// Makes records: one for each request, allowed and refused.
async fn make_records(gateway: &Running, key: &str, number: usize) {
    let client = reqwest::Client::builder().timeout(LIMIT).build().unwrap();
    for n in 0..number {
        let key = if n % 5 == 4 { "wrong" } else { key };
        // What it is answered does not matter: the gateway may be killed meanwhile.
        let _ = client.get(gateway.url("/v1/agents")).header("x-api-key", key).send().await;
    }
}

/// Every number from the first to the last came, and when each came first, all before it had come.
fn assert_whole_and_in_order(seqs: &[u64], last: u64, what: &str) {
    let mut seen = BTreeSet::new();
    for seq in seqs {
        let next = seen.last().map_or(1, |last| last + 1);
        assert!(*seq <= next, "{what}: {seq} came before {next}: {seqs:?}");
        seen.insert(*seq);
    }
    assert_eq!(seen.len() as u64, last, "{what}: {seqs:?}");
}

fn last_seq(place: &Place) -> u64 {
    place.records().last().map_or(0, |record| record["seq"].as_u64().unwrap())
}

/// Waits until `found` holds; it is told why not.
async fn wait_until(what: &str, mut found: impl FnMut() -> Result<(), String>) {
    let began = Instant::now();
    while let Err(why) = found() {
        assert!(began.elapsed() < PATIENCE, "{what}: {why}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn lines(path: &Path) -> Vec<Json> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    // A line that is being written, or that a crash cut, is no record.
    text.split_inclusive('\n')
        .filter_map(|line| serde_json::from_str(line.strip_suffix('\n')?).ok())
        .collect()
}

async fn metrics(gateway: &Running) -> String {
    reqwest::get(format!("http://{}/metrics", gateway.operations)).await.unwrap().text().await.unwrap()
}

/// Every example of the page loads, with the files that it names.
#[test]
fn the_examples_of_the_page_load() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/siem.md");
    let page = std::fs::read_to_string(page).unwrap();
    let place = Place::new("");
    let files = [
        "hec.token",
        "hook.key",
        "elastic.key",
        "sentinel.secret",
        "logs-ca.pem",
        "gateway.pem",
        "gateway.key",
    ];
    for file in files {
        std::fs::write(place.path().join(file), "secret\n").unwrap();
    }
    let own = format!("{}/", place.path().display());
    let environment = caxton::config::Environment::from_iter([("OTLP_TOKEN", "token")]);
    let mut count = 0;
    for block in page.split("```yaml\n").skip(1) {
        let block = block.split("```").next().unwrap().replace("/etc/caxton/", &own);
        let text = if block.starts_with("security:") {
            block
        } else {
            let list: String = block.lines().map(|line| format!("      {line}\n")).collect();
            format!("security:\n  audit:\n    sinks:\n{list}")
        };
        let file = place.path().join("example.yaml");
        std::fs::write(&file, &text).unwrap();
        let loaded = caxton::config::load(Some(&file), &environment);
        let loaded = loaded.unwrap_or_else(|problems| panic!("{text}\n{}", problems.render(false)));
        assert!(!loaded.settings.siem.sinks.is_empty(), "{text}");
        count += 1;
    }
    assert_eq!(count, 8);
}
