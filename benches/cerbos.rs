//! A decision over HTTP beside Cerbos, another policy decision point, with equivalent rules: one user, one document, one
//! condition, and as many more about others. Requests a second in interleaved turns, and resident memory of both.
//!
//! ```text
//! npm install --prefix target/cerbos @cerbos/cerbos-linux-x64@0.55
//! cargo bench --profile release --bench cerbos        # needs `wrk`
//! ```
//! Here a request is authenticated, limited, decided twice and recorded; there it is decided, with logs off.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a bench that cannot be set up has failed, and its figures go to stdout"
)]

#[path = "support/gateway.rs"]
mod support;

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::{gateway, load, median, post};

/// The binary's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ROUNDS: usize = 5;
const SECONDS: u64 = 2;
const RULES: [usize; 2] = [1, 10_000];
const CERBOS: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/target/cerbos/node_modules/@cerbos/cerbos-linux-x64/cerbos-linux-x64"
);

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(at) = arguments.iter().position(|argument| argument == "--serve") {
        return serve(Path::new(&arguments[at + 1]), arguments[at + 2].parse().expect("a count"));
    }
    if !Path::new(CERBOS).exists() {
        println!(
            "skipped: install it with `npm install --prefix target/cerbos @cerbos/cerbos-linux-x64@0.55`"
        );
        return;
    }
    println!(
        "{ROUNDS} interleaved rounds of {SECONDS} s; medians
{:>7} {:>10} {:>14} {:>10} {:>10} {:>12} {:>10}",
        "rules", "Caxton/s", "Cerbos/s", "ratio", "Caxton MiB", "Cerbos MiB", "of it"
    );
    for rules in RULES {
        compare(rules);
    }
}

fn compare(rules: usize) {
    let directory = tempfile::tempdir().expect("a directory");
    let (ours, cerbos) = (Peer::caxton(directory.path(), rules), Peer::cerbos(directory.path(), rules));
    let (mut rates, mut others, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..=ROUNDS {
        let (rate, _) = ours.load();
        let (other, _) = cerbos.load();
        // The first round warms up.
        if round > 0 {
            rates.push(rate);
            others.push(other);
            ratios.push(rate / other);
        }
    }
    let (mine, theirs) = (ours.resident(), cerbos.resident());
    println!(
        "{rules:>7} {:>10.0} {:>14.0} {:>9.1}x {mine:>10.0} {theirs:>12.0} {:>10.2}",
        median(&mut rates),
        median(&mut others),
        median(&mut ratios),
        mine / theirs
    );
}

/// A server in a process of its own, stopped at the end.
struct Peer {
    child: Child,
    address: SocketAddr,
    path: &'static str,
    script: PathBuf,
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Peer {
    fn caxton(directory: &Path, rules: usize) -> Self {
        let here = std::env::current_exe().expect("this bench");
        let mut command = Command::new(here);
        command.arg("--serve").arg(directory).arg(rules.to_string());
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("a second process");
        let mut line = String::new();
        let said = child.stdout.take().expect("its output");
        BufReader::new(said).read_line(&mut line).expect("an address");
        let address = line.trim().parse().expect("an address");
        Self { child, address, path: "/access/v1/evaluation", script: directory.join("caxton.lua") }
    }

    fn cerbos(directory: &Path, rules: usize) -> Self {
        let policies = directory.join("cerbos");
        fs::create_dir_all(&policies).expect("a directory");
        for number in 0..rules {
            fs::write(policies.join(format!("u{number}.yaml")), rule(number)).expect("a policy");
        }
        let (http, grpc) = (free_port(), free_port());
        let config = json!({
            "server": { "httpListenAddr": http.to_string(), "grpcListenAddr": grpc.to_string() },
            "telemetry": { "disabled": true },
            "audit": { "enabled": false },
            "storage": { "driver": "disk", "disk": { "directory": policies, "watchForChanges": false } },
        });
        let file = directory.join("cerbos.yaml");
        fs::write(&file, config.to_string()).expect("the configuration");
        let child = Command::new(CERBOS)
            .args(["server", "--log-level=error"])
            .arg(format!("--config={}", file.display()))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts");
        let body = json!({
            "requestId": "bench",
            "principal": { "id": "u0", "roles": ["user"] },
            "resources": [{
                "resource": { "kind": "doc", "id": "d0", "attr": { "public": true, "hour": 11 } },
                "actions": ["read"],
            }],
        });
        let script = post(&directory.join("cerbos.lua"), &body, "");
        let peer = Self { child, address: http, path: "/api/check/resources", script };
        peer.wait(&body);
        peer
    }

    /// Until it answers, and as it should.
    fn wait(&self, body: &Value) {
        let begun = Instant::now();
        loop {
            let answer = self.ask(&body.to_string()).unwrap_or_default();
            if answer.contains("EFFECT_ALLOW") {
                return;
            }
            assert!(begun.elapsed() < Duration::from_secs(120), "it does not answer: {answer}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn ask(&self, body: &str) -> std::io::Result<String> {
        use std::io::Write as _;
        let mut stream = TcpStream::connect(self.address)?;
        write!(
            stream,
            "POST {} HTTP/1.1\r\nhost: peer\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            self.path,
            body.len()
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }

    fn load(&self) -> (f64, f64) {
        load(self.address, self.path, &self.script, SECONDS)
    }

    /// Resident memory in MiB.
    fn resident(&self) -> f64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it runs");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a size");
        let size = line.split_whitespace().nth(1).unwrap_or_else(|| panic!("{line}"));
        size.parse::<f64>().expect("a number") / 1024.0
    }
}

/// What the policy about user and document of this number says, in Cerbos's words; a policy of the user's own, which it finds
/// by the user's name.
fn rule(number: usize) -> String {
    let expression = format!("R.id == \"d{number}\" && R.attr.public && R.attr.hour < 18");
    let rule = json!({ "action": "read", "effect": "EFFECT_ALLOW", "condition": { "match": { "expr": expression } } });
    let policy = json!({
        "apiVersion": "api.cerbos.dev/v1",
        "principalPolicy": {
            "principal": format!("u{number}"),
            "version": "default",
            "rules": [{ "resource": "doc", "actions": [rule] }],
        },
    });
    policy.to_string()
}

fn free_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port")
}

/// The gateway, until the input ends.
#[tokio::main]
async fn serve(directory: &Path, rules: usize) {
    let issuer = support::issuer();
    support::script(directory, &issuer);
    // One more, which lets the caller ask.
    let gateway = gateway(directory, rules + 1, &issuer, false).await;
    println!("{}", gateway.address());
    let ended = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
    let _ = ended.await;
    gateway.drain().await;
}
