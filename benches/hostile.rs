//! One hostile and one honest caller of one gateway: how much longer the honest one waits, and how much memory it takes.
//!
//! The gateway is the program itself, started anew for each row. The honest caller lists tools, one call after another; it
//! does so for a while alone, and then beside the hostile caller. Wanted is a p99 of at most three times the quiet one, and
//! less than 400 MiB of resident memory at any time.
//!
//! ```text
//! cargo bench --bench hostile              # two cores; ends with 1 when a row is over
//! cargo bench --bench hostile --profile dev -- bodies   # short, one row, figures that say little
//! ```

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a bench that cannot be set up has failed, and its figures go to stdout"
)]

#[path = "../tests/support/child.rs"]
mod child;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use child::{Place, ROOMY, Running};
use reqwest::Client;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// How long the honest caller calls, alone and beside the hostile one.
const SPAN: Duration = Duration::from_secs(if cfg!(debug_assertions) { 3 } else { 15 });
/// What the hostile caller does at once.
const AT_ONCE: usize = 32;
const MIB: usize = 1 << 20;
/// What is wanted.
const MOST_RATIO: f64 = 3.0;
const MOST_MIB: u64 = 400;

const ROWS: [&str; 8] = [
    "screening",
    "bodies",
    "conversations",
    "refused credentials",
    "calls above a rate",
    "doubling $ref",
    "silent connections",
    "nothing",
];

/// What a hostile caller knows.
struct Hostile {
    api: SocketAddr,
    key: String,
    client: Client,
}

impl Hostile {
    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.api)
    }

    /// Posts one body again and again, so many at once.
    async fn post(
        self: Arc<Self>,
        path: &'static str,
        body: impl Fn(u64) -> Value + Send + Sync + Clone + 'static,
    ) {
        let mut all = JoinSet::new();
        for number in 0..AT_ONCE as u64 {
            let (this, body) = (Arc::clone(&self), body.clone());
            all.spawn(async move {
                for round in 0.. {
                    let request = this.client.post(this.url(path)).header("x-api-key", &this.key);
                    // Whatever it is answered.
                    let _ = request.json(&body(number << 32 | round)).send().await;
                }
            });
        }
        all.join_all().await;
    }

    /// Asks again and again with this key.
    async fn get(self: Arc<Self>, path: &'static str, key: String) {
        let mut all = JoinSet::new();
        for _ in 0..AT_ONCE {
            let (this, key) = (Arc::clone(&self), key.clone());
            all.spawn(async move {
                loop {
                    let _ = this.client.get(this.url(path)).header("x-api-key", &key).send().await;
                }
            });
        }
        all.join_all().await;
    }

    /// Ten connections of HTTP/2 with a hundred of the largest bodies each.
    async fn bodies(self: Arc<Self>) {
        let mut all = JoinSet::new();
        for _ in 0..10 {
            let this = Arc::clone(&self);
            all.spawn(async move {
                loop {
                    let _ = this.hundred_bodies().await;
                }
            });
        }
        all.join_all().await;
    }

    async fn hundred_bodies(&self) -> Result<(), h2::Error> {
        let stream = TcpStream::connect(self.api).await.expect("a connection");
        let (client, connection) = h2::client::handshake(stream).await?;
        let driving = tokio::spawn(connection);
        let mut answers = Vec::new();
        for _ in 0..100 {
            let request = http::Request::post(self.url("/v1/messages"))
                .header("x-api-key", &self.key)
                .header("content-type", "application/json")
                .body(())
                .expect("a request");
            let mut ready = client.clone().ready().await?;
            let (answer, mut body) = ready.send_request(request, false)?;
            // All but the end, so that each waits for the others.
            body.send_data(Bytes::from(vec![b' '; MIB - 1]), false)?;
            answers.push((answer, body));
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        driving.abort();
        Ok(())
    }

    /// More connections than one address may have, anew all the time, on which nothing is said.
    async fn silent(self: Arc<Self>) {
        let mut held = std::collections::VecDeque::new();
        loop {
            if let Ok(stream) = TcpStream::connect(self.api).await {
                held.push_back(stream);
            }
            if held.len() > 400 {
                held.pop_front();
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    }

    /// What the row says, until it is taken down.
    async fn attack(self: Arc<Self>, row: &str) {
        let message = |text: String| move |_| json!({ "receiver": "clerk", "content": text });
        match row {
            "screening" => self.post("/v1/messages", message("\u{fdfa}".repeat(MIB / 3 - 100))).await,
            "bodies" => self.bodies().await,
            "conversations" => self.post("/v1/messages", message("a word ".repeat(MIB / 7 - 100))).await,
            "refused credentials" => self.get("/v1/tools", "cax_live_guess".to_owned()).await,
            "calls above a rate" => {
                let key = self.key.clone();
                self.get("/v1/capabilities", key).await;
            }
            "doubling $ref" => self.post("/v1/tools/builtin/json_validator/call", |_| doubling()).await,
            "silent connections" => self.silent().await,
            _ => std::future::pending().await,
        }
    }
}

/// A schema whose check doubles with each definition, so that the last one is never reached.
fn doubling() -> Value {
    let mut definitions = serde_json::Map::new();
    for number in 0..60 {
        let next = format!("#/$defs/d{}", number + 1);
        definitions.insert(format!("d{number}"), json!({ "allOf": [{ "$ref": next }, { "$ref": next }] }));
    }
    definitions.insert("d60".to_owned(), json!({ "type": "object" }));
    let schema = json!({ "$ref": "#/$defs/d0", "$defs": definitions });
    json!({ "arguments": { "schema": schema.to_string(), "document": "{}" } })
}

/// The p99 of the honest caller's waits, in milliseconds, and how many calls there were. A call that is not answered as it
/// should be is one that waits for ever.
async fn honest(url: &str, key: &str) -> (f64, usize) {
    let client = Client::new();
    let (began, mut waits) = (Instant::now(), Vec::new());
    while began.elapsed() < SPAN {
        let asked = Instant::now();
        let answer = client.get(url).header("x-api-key", key).timeout(Duration::from_secs(30)).send().await;
        let good = match answer {
            Ok(answer) => answer.status().is_success() && answer.bytes().await.is_ok(),
            Err(_) => false,
        };
        waits.push(if good { asked.elapsed().as_secs_f64() * 1_000.0 } else { f64::INFINITY });
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    waits.sort_by(f64::total_cmp);
    (waits[waits.len() * 99 / 100], waits.len())
}

/// The most resident memory of a process so far, in MiB.
fn peak_mib(process: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{process}/status")).expect("Linux");
    let line = text.lines().find(|line| line.starts_with("VmHWM:")).expect("a peak");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).expect("a number") / 1_024
}

fn place() -> Place {
    // One route has a rate that the hostile caller runs into; everything else is wide, so that other bounds are met.
    let place = Place::new(
        &ROOMY.replace("burst: 100000 }", "burst: 100000, per_route: { \"/v1/capabilities\": 10/minute } }"),
    );
    let agents = place.path().join("agents");
    std::fs::create_dir(&agents).expect("a directory");
    let clerk =
        "---\nname: clerk\nversion: \"1.0.0\"\nhandler: builtin:echo_agent\n---\nYou are the clerk.\n";
    std::fs::write(agents.join("clerk.md"), clerk).expect("an agent");
    place
}

/// Whether the row is as it should be.
async fn run(row: &'static str) -> bool {
    let place = place();
    let honest_key = place.service("honest", "tool:list");
    let key = place.service("hostile", "message:send,tool:call");
    let gateway: Running = place.start();
    let url = gateway.url("/v1/tools");
    honest(&url, &honest_key).await;
    let (quiet, _) = honest(&url, &honest_key).await;
    let hostile = Arc::new(Hostile { api: gateway.api, key, client: Client::new() });
    let attack = tokio::spawn(hostile.attack(row));
    let (beside, calls) = honest(&url, &honest_key).await;
    attack.abort();
    let peak = peak_mib(gateway.process.pid());
    let ratio = beside / quiet;
    let good = ratio <= MOST_RATIO && peak < MOST_MIB;
    let word = if good { "" } else { "over" };
    println!("{row:<22} {quiet:>10.2} {beside:>10.2} {ratio:>7.2}x {calls:>7} {peak:>9} {word}");
    drop(gateway);
    good
}

fn main() -> std::process::ExitCode {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    // The callers have a core; the gateway has what it takes.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    println!(
        "{:<22} {:>10} {:>10} {:>8} {:>7} {:>9}",
        "hostile caller", "quiet p99", "p99 ms", "ratio", "calls", "peak MiB"
    );
    let rows = ROWS
        .into_iter()
        .filter(|row| wanted.is_empty() || wanted.iter().any(|word| row.contains(word.as_str())));
    let bad = rows.filter(|row| !runtime.block_on(run(row))).count();
    // Without optimisation the figures are of another program.
    if bad > 0 && !cfg!(debug_assertions) {
        return std::process::ExitCode::FAILURE;
    }
    std::process::ExitCode::SUCCESS
}
