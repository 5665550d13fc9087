//! A proxied `tools/call` (API key, rate limit, decision, record) beside nginx's plain proxy to the same upstream, in
//! interleaved rounds, loaded from outside by `wrk`; then `tools/list` of 200 tools. Needs Debian's `wrk`, `nginx` and Node.
//!
//! ```text
//! cargo bench --bench mcp
//! ```

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a bench that cannot be set up has failed, and its figures go to stdout"
)]

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use caxton::tools::{ServerSettings, Transport};
use caxton::{Clock as _, Gateway, KeyHolder, KeyStore, Settings, SystemClock};
use serde_json::{Value, json};

/// The binary's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ROUNDS: usize = 7;
const SECONDS: u32 = 2;
const CONNECTIONS: u32 = 32;
/// Tools beside the one that is called.
const MORE_TOOLS: usize = 199;
const HOUR_MILLIS: i64 = 3_600_000;

/// A process that ends with the bench.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Processor time of a process and of its children so far, in microseconds.
fn processor_time(pids: &[String]) -> f64 {
    let of = |pid: &String| {
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).expect("Linux, and the process lives");
        let fields: Vec<&str> = text.rsplit(')').next().expect("a name").split_whitespace().collect();
        // `utime` and `stime` in ticks of 10 ms (proc(5)).
        let ticks = |field: usize| fields[field].parse::<f64>().expect("a number");
        (ticks(11) + ticks(12)) * 10_000.0
    };
    pids.iter().map(of).sum()
}

fn children(pid: u32) -> Vec<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).expect("Linux");
    text.split_whitespace().map(str::to_owned).collect()
}

/// The upstream server, and its port.
fn upstream() -> (Process, u16) {
    let mut child = Command::new("node")
        .args(["benches/support/mcp-upstream.mjs", &MORE_TOOLS.to_string()])
        .stdout(Stdio::piped())
        .spawn()
        .expect("Node is installed");
    let mut line = String::new();
    let output = child.stdout.take().expect("its output");
    BufReader::new(output).read_line(&mut line).expect("its port");
    (Process(child), line.trim().parse().expect("a port"))
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").port()
}

/// nginx as a plain proxy that keeps its connections, and its processes.
fn nginx(place: &Path, upstream: u16) -> (Process, SocketAddr, Vec<String>) {
    let port = free_port();
    let text = format!(
        "daemon off; worker_processes 2; pid {place}/nginx.pid; error_log stderr crit;\n\
         events {{ worker_connections 512; }}\n\
         http {{ access_log off; client_body_temp_path {place}/body; proxy_temp_path {place}/proxy;\n\
         fastcgi_temp_path {place}/f; uwsgi_temp_path {place}/u; scgi_temp_path {place}/s;\n\
         keepalive_requests 1000000;\n\
         upstream one {{ server 127.0.0.1:{upstream}; keepalive 64; keepalive_requests 1000000; }}\n\
         server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://one; proxy_http_version 1.1;\n\
         proxy_set_header Connection \"\"; }} }} }}\n",
        place = place.display()
    );
    let config = place.join("nginx.conf");
    fs::write(&config, text).expect("its configuration");
    let child = Command::new("/usr/sbin/nginx").arg("-c").arg(&config).spawn().expect("nginx is installed");
    std::thread::sleep(Duration::from_millis(500));
    let workers = children(child.id());
    (Process(child), SocketAddr::from(([127, 0, 0, 1], port)), workers)
}

async fn gateway(place: &Path, upstream: u16) -> (Gateway, String) {
    let mut settings = Settings::embedded(place.join("data"));
    let policies = place.join("policies");
    fs::create_dir_all(&policies).expect("a directory");
    let text = "@id(\"bench\") permit (principal is Caxton::Service, action in Caxton::Action::\"tool:*\", resource);";
    fs::write(policies.join("bench.cedar"), text).expect("the policies");
    settings.policy_dir = Some(policies);
    settings.limit.per_principal = "1000000000/second".parse().expect("a rate");
    let url = format!("http://127.0.0.1:{upstream}/mcp").parse().expect("an address");
    let name = "bench".parse().expect("a name");
    let mut server = ServerSettings::new(name, Transport::Http { url, headers: Vec::new() });
    server.call_timeout = Duration::from_secs(30);
    settings.tools.servers = vec![server];
    settings.tools.auto_import = true;
    let keys = KeyStore::open(&settings.authn.api_keys).expect("a key store");
    let now = SystemClock.now_millis();
    let permissions = ["tool:call".parse().expect("a word")];
    let name = "bench".parse().expect("a name");
    let key = keys.create(&name, &KeyHolder::Service, &permissions, now, now + HOUR_MILLIS).expect("a key");
    let gateway = Gateway::start(settings).await.expect("a gateway");
    (gateway, key.secret.expose().to_owned())
}

/// Writes what `wrk` sends.
fn script(path: PathBuf, body: &Value, key: &str) -> PathBuf {
    let text = format!(
        "wrk.method = 'POST'\nwrk.body = '{body}'\nwrk.headers['Content-Type'] = 'application/json'\n\
         wrk.headers['Accept'] = 'application/json, text/event-stream'\nwrk.headers['X-API-Key'] = '{key}'\n"
    );
    fs::write(&path, text).expect("the script");
    path
}

/// Requests a second and the median latency in microseconds; every answer must be a 200.
fn load(address: SocketAddr, path: &str, script: &Path) -> (f64, f64) {
    let output = Command::new("wrk")
        .args(["-t1", &format!("-c{CONNECTIONS}"), &format!("-d{SECONDS}s"), "--latency", "-s"])
        .arg(script)
        .arg(format!("http://{address}{path}"))
        .output()
        .expect("`wrk` is installed");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(!text.contains("Non-2xx"), "{text}");
    let after = |label: &str| {
        let line = text.lines().find(|line| line.trim_start().starts_with(label)).expect("wrk's summary");
        line.trim_start().trim_start_matches(label).trim().to_owned()
    };
    let latency = after("50%");
    let micros = match latency.strip_suffix("us") {
        Some(micros) => micros.parse().expect("a number"),
        None => latency.trim_end_matches("ms").parse::<f64>().expect("a number") * 1000.0,
    };
    (after("Requests/sec:").parse().expect("a number"), micros)
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// One side of the comparison.
struct Side {
    name: &'static str,
    address: SocketAddr,
    path: &'static str,
    script: PathBuf,
    processes: Vec<String>,
    rates: Vec<f64>,
    latencies: Vec<f64>,
    costs: Vec<f64>,
}

#[tokio::main]
async fn main() {
    let directory = tempfile::tempdir().expect("a directory");
    let (_node, port) = upstream();
    let (_nginx, proxy, workers) = nginx(directory.path(), port);
    let (gateway, key) = gateway(directory.path(), port).await;

    let call = |name: &str| {
        let params = json!({ "name": name, "arguments": { "text": "hello" } });
        json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params })
    };
    let list = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list" });
    let own = vec!["self".to_owned()];
    let side = |name, address, path, script, processes| Side {
        name,
        address,
        path,
        script,
        processes,
        rates: Vec::new(),
        latencies: Vec::new(),
        costs: Vec::new(),
    };
    let plain = script(directory.path().join("plain.lua"), &call("echo"), "");
    let named = script(directory.path().join("named.lua"), &call("bench___echo"), &key);
    let own_name = script(directory.path().join("own.lua"), &call("echo"), &key);
    let lists = script(directory.path().join("lists.lua"), &list, &key);
    let at = gateway.address();
    let mut sides = [
        side("nginx, tools/call", proxy, "/mcp", plain, workers),
        side("caxton, tools/call", at, "/mcp", named, own.clone()),
        side("caxton, /servers/bench/mcp", at, "/servers/bench/mcp", own_name, own.clone()),
        side("caxton, tools/list of 200", at, "/mcp", lists, own),
    ];
    for round in 0..=ROUNDS {
        for side in &mut sides {
            let before = processor_time(&side.processes);
            let (address, path, script) = (side.address, side.path, side.script.clone());
            let (rate, latency) =
                tokio::task::spawn_blocking(move || load(address, path, &script)).await.expect("a run");
            // The first round warms up.
            if round > 0 {
                side.rates.push(rate);
                side.latencies.push(latency);
                side.costs.push((processor_time(&side.processes) - before) / (rate * f64::from(SECONDS)));
            }
        }
    }
    println!("{ROUNDS} interleaved rounds of {SECONDS} s, {CONNECTIONS} connections; medians");
    println!(
        "{:<28} {:>12} {:>10} {:>12} {:>10} {:>10}",
        "", "requests/s", "p50 µs", "CPU µs each", "rate", "p50"
    );
    let base = (sides[0].rates.clone(), sides[0].latencies.clone());
    for side in &mut sides {
        let ratios = |values: &[f64], base: &[f64]| {
            let mut ratios: Vec<f64> = values.iter().zip(base).map(|(value, base)| value / base).collect();
            median(&mut ratios)
        };
        let (rate, wait) = (ratios(&side.rates, &base.0), ratios(&side.latencies, &base.1));
        println!(
            "{:<28} {:>12.0} {:>10.0} {:>12.1} {:>9.2}x {:>9.2}x",
            side.name,
            median(&mut side.rates),
            median(&mut side.latencies),
            median(&mut side.costs),
            rate,
            wait
        );
    }
    gateway.drain().await;
}
