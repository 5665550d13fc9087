//! A decision over HTTP (JWT, rate limit, Cedar, record) against a bare axum JSON echo of the same body, in one
//! process, in interleaved rounds, loaded from outside by `wrk` (Debian package `wrk`).
//!
//! ```text
//! cargo bench --bench http
//! ```

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a bench that cannot be set up has failed, and its figures go to stdout"
)]

#[path = "support/gateway.rs"]
mod support;

use std::collections::BTreeMap;
use std::net::SocketAddr;

use axum::body::Bytes;
use axum::http::header::CONTENT_TYPE;
use axum::{Router, routing::post};
use serde_json::Value;
use support::{CONNECTIONS, gateway, load, median};

/// The binary's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ROUNDS: usize = 7;
const SECONDS: u32 = 2;
const PATH: &str = "/access/v1/evaluation";
/// Policies, and whether a candidate set of as many is asked as well.
const GATEWAYS: [(usize, bool); 3] = [(10, false), (10_000, false), (10_000, true)];

/// Processor time of this process so far, in microseconds. It says more than the rate where other work shares the machine:
/// `wrk` is another process.
fn processor_time() -> f64 {
    let text = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    let fields: Vec<&str> = text.rsplit(')').next().expect("a name").split_whitespace().collect();
    // `utime` and `stime` in ticks of 10 ms (proc(5)).
    let ticks = |field: usize| fields[field].parse::<f64>().expect("a number");
    (ticks(11) + ticks(12)) * 10_000.0
}

async fn echo() -> SocketAddr {
    let answer = async |body: Bytes| {
        let body: Value = serde_json::from_slice(&body).expect("what the script sends");
        ([(CONTENT_TYPE, "application/json")], body.to_string())
    };
    let router = Router::new().route(PATH, post(answer));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

#[tokio::main]
async fn main() {
    let directory = tempfile::tempdir().expect("a directory");
    let issuer = support::issuer();
    let script = support::script(directory.path(), &issuer);

    let mut servers = vec![("bare axum echo".to_owned(), echo().await)];
    let mut gateways = Vec::new();
    for (count, candidate) in GATEWAYS {
        let gateway = gateway(directory.path(), count, &issuer, candidate).await;
        let beside = if candidate { " and a candidate" } else { "" };
        servers.push((format!("{count} policies{beside}"), gateway.address()));
        gateways.push(gateway);
    }
    let mut rates: BTreeMap<usize, Vec<f64>> = BTreeMap::new();
    let mut latencies: BTreeMap<usize, Vec<f64>> = BTreeMap::new();
    let mut costs: BTreeMap<usize, Vec<f64>> = BTreeMap::new();
    for round in 0..=ROUNDS {
        for (number, (_, address)) in servers.iter().enumerate() {
            let (address, script) = (*address, script.clone());
            let before = processor_time();
            let (rate, latency) =
                tokio::task::spawn_blocking(move || load(address, PATH, &script, SECONDS.into()))
                    .await
                    .expect("a run");
            // The first round warms up.
            if round > 0 {
                rates.entry(number).or_default().push(rate);
                latencies.entry(number).or_default().push(latency);
                let requests = rate * f64::from(SECONDS);
                costs.entry(number).or_default().push((processor_time() - before) / requests);
            }
        }
    }
    let base: Vec<f64> = rates[&0].clone();
    println!("{ROUNDS} interleaved rounds of {SECONDS} s, {CONNECTIONS} connections; medians");
    println!(
        "{:<32} {:>12} {:>10} {:>12} {:>16}",
        "", "requests/s", "p50 µs", "CPU µs each", "ratio to echo"
    );
    for (number, (name, _)) in servers.iter().enumerate() {
        let mut ratios: Vec<f64> = rates[&number].iter().zip(&base).map(|(rate, base)| rate / base).collect();
        let rate = median(rates.get_mut(&number).expect("rounds"));
        let latency = median(latencies.get_mut(&number).expect("rounds"));
        let cost = median(costs.get_mut(&number).expect("rounds"));
        let ratio = median(&mut ratios);
        println!("{name:<32} {rate:>12.0} {latency:>10.0} {cost:>12.1} {ratio:>15.2}x");
    }
    for gateway in gateways {
        gateway.drain().await;
    }
}
