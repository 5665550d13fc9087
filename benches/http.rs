//! A decision over HTTP (JWT, rate limit, Cedar, record) against a bare axum JSON echo of the same body, in one
//! process, in interleaved rounds, loaded from outside by `wrk` (Debian package `wrk`).
//!
//! ```text
//! cargo bench --bench http
//! ```

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a bench that cannot be set up has failed, and its figures go to stdout"
)]

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use axum::{Json, Router, routing::post};
use caxton::authn::issue::TokenIssuer;
use caxton::authn::jwt::{JwtAlgorithm, JwtKey, KeyMaterial};
use caxton::clock::SystemClock;
use caxton::server::{Gateway, Settings};
use serde_json::{Value, json};

/// The binary's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ROUNDS: usize = 7;
const SECONDS: u64 = 2;
const CONNECTIONS: u32 = 64;
const POLICIES: [usize; 2] = [10, 10_000];

fn body() -> Value {
    json!({
        "subject": { "type": "Bench::User", "id": "u7" },
        "action": { "name": "read" },
        "resource": { "type": "Bench::Doc", "id": "d7", "properties": { "public": true } },
        "context": { "hour": 11 },
    })
}

const SCHEMA: &str = "namespace Bench { entity User; entity Doc = { public: Bool }; action read appliesTo { principal: User, resource: Doc, context: { hour: Long } }; }";

/// One policy that lets the caller ask, and `count - 1` about users and documents.
fn policies(count: usize) -> String {
    let mut text = "@id(\"bench.ask\") permit (principal in Caxton::Role::\"asker\", action == Caxton::Action::\"policy:test\", resource);\n".to_owned();
    for number in 0..count.saturating_sub(1) {
        text.push_str(&format!(
            "@id(\"bench.p{number}\") permit (principal == Bench::User::\"u{number}\", action == Bench::Action::\"read\", resource == Bench::Doc::\"d{number}\") when {{ resource.public && context.hour < 18 }};\n"
        ));
    }
    text
}

async fn echo() -> SocketAddr {
    let router =
        Router::new().route("/access/v1/evaluation", post(async |Json(body): Json<Value>| Json(body)));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

async fn gateway(directory: &Path, count: usize, issuer: &TokenIssuer) -> Gateway {
    let place = directory.join(count.to_string());
    let (policy_dir, schema_dir) = (place.join("policies"), place.join("schemas"));
    fs::create_dir_all(&policy_dir).expect("a directory");
    fs::create_dir_all(&schema_dir).expect("a directory");
    fs::write(policy_dir.join("bench.cedar"), policies(count)).expect("the policies");
    fs::copy("schemas/caxton.cedarschema", schema_dir.join("caxton.cedarschema")).expect("the schema");
    fs::write(schema_dir.join("bench.cedarschema"), SCHEMA).expect("the schema");
    let mut settings = Settings::embedded(place.join("data"));
    settings.policy_dir = Some(policy_dir);
    settings.schema_dir = Some(schema_dir);
    settings.limit.per_principal = "1000000000/second".parse().expect("a rate");
    settings.authn.jwt = Some(caxton::authn::jwt::Settings {
        keys: vec![JwtKey {
            name: "bench".into(),
            algorithm: JwtAlgorithm::EdDsa,
            material: KeyMaterial::Pem(issuer.public_pem().expect("a key")),
            kid: None,
        }],
        issuer: "bench".into(),
        audience: "bench".into(),
        ..Default::default()
    });
    Gateway::start(settings).await.expect("a gateway")
}

/// Requests a second and the median latency in microseconds, as `wrk` counts them; every answer must be a 200.
fn load(address: SocketAddr, script: &Path) -> (f64, f64) {
    let output = Command::new("wrk")
        .args(["-t1", &format!("-c{CONNECTIONS}"), &format!("-d{SECONDS}s"), "--latency", "-s"])
        .arg(script)
        .arg(format!("http://{address}/access/v1/evaluation"))
        .output()
        .expect("`wrk` is installed");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(!text.contains("Non-2xx"), "{text}");
    let after = |label: &str| {
        let line = text
            .lines()
            .find(|line| line.trim_start().starts_with(label))
            .unwrap_or_else(|| panic!("{text}"));
        line.trim_start().trim_start_matches(label).trim().to_owned()
    };
    let median = after("50%");
    let micros = match median.strip_suffix("us") {
        Some(micros) => micros.parse().expect("a number"),
        None => median.trim_end_matches("ms").parse::<f64>().expect("a number") * 1000.0,
    };
    (after("Requests/sec:").parse().expect("a number"), micros)
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[tokio::main]
async fn main() {
    let directory = tempfile::tempdir().expect("a directory");
    let issuer = TokenIssuer::generate("bench", "bench", Arc::new(SystemClock)).expect("an issuer");
    let claims = json!({ "roles": ["asker"] });
    let token = issuer.issue("bench", Duration::from_secs(3600), claims.as_object().expect("claims").clone());
    let script = directory.path().join("post.lua");
    let text = format!(
        "wrk.method = 'POST'\nwrk.body = '{}'\nwrk.headers['Content-Type'] = 'application/json'\nwrk.headers['Authorization'] = 'Bearer {}'\n",
        body(),
        token.expose(),
    );
    fs::write(&script, text).expect("the script");

    let mut servers = vec![("bare axum echo".to_owned(), echo().await)];
    let mut gateways = Vec::new();
    for count in POLICIES {
        let gateway = gateway(directory.path(), count, &issuer).await;
        servers.push((format!("decision, {count} policies"), gateway.address()));
        gateways.push(gateway);
    }
    let mut rates: BTreeMap<usize, Vec<f64>> = BTreeMap::new();
    let mut latencies: BTreeMap<usize, Vec<f64>> = BTreeMap::new();
    for round in 0..=ROUNDS {
        for (number, (_, address)) in servers.iter().enumerate() {
            let (address, script) = (*address, script.clone());
            let (rate, latency) =
                tokio::task::spawn_blocking(move || load(address, &script)).await.expect("a run");
            // The first round warms up.
            if round > 0 {
                rates.entry(number).or_default().push(rate);
                latencies.entry(number).or_default().push(latency);
            }
        }
    }
    let base: Vec<f64> = rates[&0].clone();
    println!("{ROUNDS} interleaved rounds of {SECONDS} s, {CONNECTIONS} connections; medians");
    println!("{:<28} {:>12} {:>10} {:>16}", "", "requests/s", "p50 µs", "ratio to echo");
    for (number, (name, _)) in servers.iter().enumerate() {
        let mut ratios: Vec<f64> = rates[&number].iter().zip(&base).map(|(rate, base)| rate / base).collect();
        let rate = median(rates.get_mut(&number).expect("rounds"));
        let latency = median(latencies.get_mut(&number).expect("rounds"));
        println!("{name:<28} {rate:>12.0} {latency:>10.0} {:>15.2}x", median(&mut ratios));
    }
    for gateway in gateways {
        gateway.drain().await;
    }
}
