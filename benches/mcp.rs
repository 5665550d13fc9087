//! A proxied `tools/call` (API key, rate limit, decision, record) beside nginx's plain proxy to the same upstream, in
//! interleaved rounds, loaded from outside by `wrk`; then `tools/list` of 200 tools. Needs Debian's `wrk`, `nginx` and Node.
//! Where `ENVOY` names the program of Envoy, the call is also measured beside Envoy with its RBAC filter, each of the two on
//! one core.
//!
//! ```text
//! ENVOY=envoy cargo bench --bench mcp
//! ```

#![expect(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a bench that cannot be set up has failed, its figures go to stdout, and it is told by the environment what to do"
)]

use std::ffi::OsStr;
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
        // nginx ends its workers only when it is told to; whatever does not end then is killed.
        let pid = self.0.id().to_string();
        let _ = Command::new("kill").args(["-s", "TERM", &pid]).status();
        for _ in 0..40 {
            if matches!(self.0.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
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

/// What the process of a gateway is told: the directory for its data and the port of its upstream server.
const GATEWAY: &str = "CAXTON_BENCH_GATEWAY";

/// A gateway in a process of its own, its address and an API key. `pinned` is the core that it may use; all without it.
fn gateway(place: &Path, upstream: u16, pinned: Option<&str>) -> (Process, SocketAddr, String) {
    let own = std::env::current_exe().expect("this program");
    let mut command = on_core(pinned, own.as_os_str());
    let mut child = command
        .env(GATEWAY, format!("{upstream} {}", place.display()))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a gateway");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("its output")).read_line(&mut line).expect("its address");
    let (address, key) = line.trim().split_once(' ').expect("an address and a key");
    (Process(child), address.parse().expect("an address"), key.to_owned())
}

/// A command whose process may use one core only.
fn on_core(core: Option<&str>, program: &OsStr) -> Command {
    let Some(core) = core else { return Command::new(program) };
    let mut command = Command::new("taskset");
    command.args(["-c", core]).arg(program);
    command
}

/// The process of a gateway: says its address and a key, and runs until nobody listens any more.
#[tokio::main]
async fn serve(told: &str) {
    let (upstream, place) = told.split_once(' ').expect("a port and a directory");
    let (gateway, key) = start(Path::new(place), upstream.parse().expect("a port")).await;
    println!("{} {key}", gateway.address());
    let mut rest = String::new();
    let wait = tokio::task::spawn_blocking(move || std::io::stdin().read_line(&mut rest));
    // The end of the input is the end of the bench.
    drop(wait.await);
    gateway.drain().await;
}

async fn start(place: &Path, upstream: u16) -> (Gateway, String) {
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

/// Envoy with its RBAC filter, which looks at one header field, on the core `core`.
fn envoy(program: &OsStr, place: &Path, upstream: u16, core: &str) -> (Process, SocketAddr) {
    let port = free_port();
    let text = format!(
        r#"static_resources:
  listeners:
  - address: {{ socket_address: {{ address: 127.0.0.1, port_value: {port} }} }}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: bench
          route_config:
            virtual_hosts:
            - {{ name: all, domains: ["*"], routes: [ {{ match: {{ prefix: / }}, route: {{ cluster: upstream }} }} ] }}
          http_filters:
          - name: envoy.filters.http.rbac
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC
              rules:
                action: ALLOW
                policies:
                  bench:
                    permissions: [ {{ any: true }} ]
                    principals: [ {{ header: {{ name: x-api-key, string_match: {{ exact: bench }} }} }} ]
          - name: envoy.filters.http.router
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
  clusters:
  - name: upstream
    type: STATIC
    load_assignment:
      cluster_name: upstream
      endpoints: [ {{ lb_endpoints: [ {{ endpoint: {{ address: {{ socket_address: {{ address: 127.0.0.1, port_value: {upstream} }} }} }} }} ] }} ]
"#
    );
    let config = place.join("envoy.yaml");
    fs::write(&config, text).expect("its configuration");
    let child = on_core(Some(core), program)
        .args(["--concurrency", "1", "--log-level", "error", "--use-dynamic-base-id", "-c"])
        .arg(&config)
        .spawn()
        .expect("Envoy");
    std::thread::sleep(Duration::from_secs(2));
    (Process(child), SocketAddr::from(([127, 0, 0, 1], port)))
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

impl Side {
    fn new(
        name: &'static str,
        (address, path): (SocketAddr, &'static str),
        script: &Path,
        processes: Vec<String>,
    ) -> Self {
        let script = script.to_owned();
        Self {
            name,
            address,
            path,
            script,
            processes,
            rates: Vec::new(),
            latencies: Vec::new(),
            costs: Vec::new(),
        }
    }

    fn round(&mut self, counts: bool) {
        let before = processor_time(&self.processes);
        let (rate, latency) = load(self.address, self.path, &self.script);
        if counts {
            self.rates.push(rate);
            self.latencies.push(latency);
            self.costs.push((processor_time(&self.processes) - before) / (rate * f64::from(SECONDS)));
        }
    }
}

/// Loads the sides in turn and prints them beside the first.
fn compare(what: &str, sides: &mut [Side]) {
    for round in 0..=ROUNDS {
        // The first round warms up.
        sides.iter_mut().for_each(|side| side.round(round > 0));
    }
    println!("{what}: {ROUNDS} interleaved rounds of {SECONDS} s, {CONNECTIONS} connections; medians");
    println!(
        "{:<28} {:>12} {:>10} {:>12} {:>10} {:>10}",
        "", "requests/s", "p50 µs", "CPU µs each", "rate", "p50"
    );
    let base = (sides[0].rates.clone(), sides[0].latencies.clone());
    for side in sides {
        let ratio = |values: &[f64], base: &[f64]| {
            let mut ratios: Vec<f64> = values.iter().zip(base).map(|(value, base)| value / base).collect();
            median(&mut ratios)
        };
        let (rate, wait) = (ratio(&side.rates, &base.0), ratio(&side.latencies, &base.1));
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
}

fn main() {
    if let Ok(told) = std::env::var(GATEWAY) {
        return serve(&told);
    }
    let directory = tempfile::tempdir().expect("a directory");
    let place = directory.path();
    let (_node, port) = upstream();
    let call = |name: &str| {
        let params = json!({ "name": name, "arguments": { "text": "hello" } });
        json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params })
    };
    let list = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list" });
    let plain = script(place.join("plain.lua"), &call("echo"), "bench");
    {
        let (_nginx, proxy, workers) = nginx(place, port);
        let (caxton, at, key) = gateway(&place.join("all"), port, None);
        let own = vec![caxton.0.id().to_string()];
        let named = script(place.join("named.lua"), &call("bench___echo"), &key);
        let own_name = script(place.join("own.lua"), &call("echo"), &key);
        let lists = script(place.join("lists.lua"), &list, &key);
        let mut sides = [
            Side::new("nginx, tools/call", (proxy, "/mcp"), &plain, workers),
            Side::new("caxton, tools/call", (at, "/mcp"), &named, own.clone()),
            Side::new("caxton, /servers/bench/mcp", (at, "/servers/bench/mcp"), &own_name, own.clone()),
            Side::new("caxton, tools/list of 200", (at, "/mcp"), &lists, own),
        ];
        compare("All cores", &mut sides);
    }
    let Some(program) = std::env::var_os("ENVOY") else { return };
    let core = "0";
    let (envoy, proxy) = envoy(&program, place, port, core);
    let (caxton, at, key) = gateway(&place.join("one"), port, Some(core));
    let named = script(place.join("pinned.lua"), &call("bench___echo"), &key);
    let pid = |process: &Process| vec![process.0.id().to_string()];
    let mut sides = [
        Side::new("envoy with RBAC, tools/call", (proxy, "/mcp"), &plain, pid(&envoy)),
        Side::new("caxton, tools/call", (at, "/mcp"), &named, pid(&caxton)),
    ];
    compare("The proxy on one core", &mut sides);
}
