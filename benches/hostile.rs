//! One hostile and one honest caller of one gateway: how much longer the honest one waits, and how much memory it takes.
//!
//! Three processes. The gateway is the program itself, started anew for each row. The honest caller is a thread of this
//! process with one socket: it lists tools, one call after another, and allocates nothing while it waits. The hostile
//! caller is a process of its own, which sends bodies that were made before the clock ran.
//!
//! On a machine of two cores the hostile process takes time from the honest caller whatever the gateway does. So each
//! row is measured three times: quiet, beside the hostile caller, and beside the same number of the same requests a second
//! to a server that reads and drops them (`to a sink`). What is between the last two is the gateway's part.
//!
//! Wanted is a p99 of at most three times the quiet one, and less than 400 MiB of resident memory at any time.
//!
//! ```text
//! cargo bench --profile release --bench hostile              # two cores; ends with 1 when a row is over
//! cargo bench --bench hostile --profile dev -- bodies   # short, one row, figures that say little
//! ```

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a bench that cannot be set up has failed, its figures go to stdout, and the hostile process ends at once"
)]

#[path = "../tests/support/child.rs"]
mod child;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io::{self, Read as _, Write as _};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use child::{Place, ROOMY, Running};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// How long the honest caller calls in each of the three measurements.
const SPAN: Duration = Duration::from_secs(if cfg!(debug_assertions) { 3 } else { 15 });
/// The pause of the honest caller after each answer.
const PAUSE: Duration = Duration::from_millis(5);
/// An honest call that takes longer counts as never answered.
const PATIENCE: Duration = Duration::from_secs(30);
/// How many requests of the hostile caller are under way at once.
const AT_ONCE: usize = 32;
const MIB: usize = 1 << 20;
/// What is wanted.
const MOST_RATIO: f64 = 3.0;
const MOST_MIB: u64 = 400;
/// The first argument of the process that is the hostile caller.
const ATTACKER: &str = "attacker";
/// In place of an address: the hostile caller serves its requests itself.
const SINK: &str = "sink";

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

/// What the hostile caller has sent: requests, connections where it sends none.
static SENT: AtomicU64 = AtomicU64::new(0);

/// A hostile caller at work.
struct Attacker {
    address: SocketAddr,
    key: String,
    /// One permit for each request, where the rate is given.
    pace: Option<Semaphore>,
}

impl Attacker {
    /// Waits until the rate allows one more, and counts it.
    async fn begin(&self) {
        if let Some(pace) = &self.pace {
            pace.acquire().await.expect("never closed").forget();
        }
        SENT.fetch_add(1, Ordering::Relaxed);
    }

    fn request(&self, method: &str, path: &str, key: &str, body: &[u8]) -> Bytes {
        let mut request =
            format!("{method} {path} HTTP/1.1\r\nhost: {}\r\nx-api-key: {key}\r\n", self.address);
        if !body.is_empty() {
            request.push_str("content-type: application/json\r\n");
            request.push_str(&format!("content-length: {}\r\n", body.len()));
        }
        request.push_str("\r\n");
        [request.as_bytes(), body].concat().into()
    }

    /// Sends one request again and again, on so many connections at once.
    async fn repeat(self: Arc<Self>, request: Bytes) {
        let mut all = JoinSet::new();
        for _ in 0..AT_ONCE {
            let (this, request) = (Arc::clone(&self), request.clone());
            all.spawn(async move {
                loop {
                    // Until the gateway closes the connection.
                    let _ = this.repeat_on_one(&request).await;
                }
            });
        }
        all.join_all().await;
    }

    async fn repeat_on_one(&self, request: &Bytes) -> io::Result<()> {
        let mut stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let mut buffer = vec![0; 64 * 1024];
        loop {
            self.begin().await;
            stream.write_all(request).await?;
            let mut filled = 0;
            let mut left = loop {
                match stream.read(&mut buffer[filled..]).await? {
                    0 => return Ok(()),
                    read => filled += read,
                }
                if let Some(head) = head(&buffer[..filled]) {
                    break (head.bytes + head.body).saturating_sub(filled);
                }
            };
            while left > 0 {
                match stream.read(&mut buffer).await? {
                    0 => return Ok(()),
                    read => left = left.saturating_sub(read),
                }
            }
        }
    }

    /// Ten connections of HTTP/2 with a hundred of the largest bodies each.
    async fn bodies(self: Arc<Self>) {
        let body = Bytes::from(vec![b' '; MIB - 1]);
        let mut all = JoinSet::new();
        for _ in 0..10 {
            let (this, body) = (Arc::clone(&self), body.clone());
            all.spawn(async move {
                loop {
                    let _ = this.hundred_bodies(&body).await;
                }
            });
        }
        all.join_all().await;
    }

    async fn hundred_bodies(&self, body: &Bytes) -> Result<(), h2::Error> {
        let stream = TcpStream::connect(self.address).await.map_err(|_| h2::Reason::CANCEL)?;
        let (client, connection) = h2::client::handshake(stream).await?;
        let driving = tokio::spawn(connection);
        let mut answers = Vec::new();
        for _ in 0..100 {
            self.begin().await;
            let request = http::Request::post(format!("http://{}/v1/messages", self.address))
                .header("x-api-key", &self.key)
                .header("content-type", "application/json")
                .body(())
                .expect("a request");
            let mut ready = client.clone().ready().await?;
            let (answer, mut sending) = ready.send_request(request, false)?;
            // All but the end, so that each waits for the others.
            sending.send_data(body.clone(), false)?;
            answers.push((answer, sending));
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        driving.abort();
        Ok(())
    }

    /// More connections than one address may have, anew all the time, on which nothing is said.
    async fn silent(self: Arc<Self>) {
        let mut held = VecDeque::new();
        loop {
            self.begin().await;
            if let Ok(stream) = TcpStream::connect(self.address).await {
                held.push_back(stream);
            }
            if held.len() > 400 {
                held.pop_front();
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    }

    /// What the row says, until the process ends.
    async fn attack(self: Arc<Self>, row: &str) {
        let post =
            |path: &str, body: &Value| self.request("POST", path, &self.key, body.to_string().as_bytes());
        let message = |text: String| json!({ "receiver": "clerk", "content": text });
        match row {
            "screening" => {
                let request = post("/v1/messages", &message("\u{fdfa}".repeat(MIB / 3 - 100)));
                self.repeat(request).await;
            }
            "bodies" => self.bodies().await,
            "conversations" => {
                let request = post("/v1/messages", &message("a word ".repeat(MIB / 7 - 100)));
                self.repeat(request).await;
            }
            "refused credentials" => {
                let request = self.request("GET", "/v1/tools", "cax_live_guess", &[]);
                self.repeat(request).await;
            }
            "calls above a rate" => {
                let request = self.request("GET", "/v1/capabilities", &self.key, &[]);
                self.repeat(request).await;
            }
            "doubling $ref" => {
                let request = post("/v1/tools/builtin/json_validator/call", &doubling());
                self.repeat(request).await;
            }
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

/// The hostile process: `attacker ROW ADDRESS KEY RATE`, until its standard input ends. Then it says how many it has sent.
fn attacker(arguments: &[String]) {
    let [row, address, key, rate] = arguments else { panic!("attacker ROW ADDRESS KEY RATE") };
    let address = match address.as_str() {
        SINK => sink(),
        address => address.parse().expect("an address"),
    };
    let rate: f64 = rate.parse().expect("a rate, 0 for as many as go");
    let attacker =
        Arc::new(Attacker { address, key: key.clone(), pace: (rate > 0.0).then(|| Semaphore::new(0)) });
    let row = row.clone();
    std::thread::spawn(move || {
        let runtime = single_thread();
        runtime.block_on(async {
            tokio::spawn(keep_pace(Arc::clone(&attacker), rate));
            attacker.attack(&row).await;
        });
    });
    let _ = io::stdin().read_to_end(&mut Vec::new());
    println!("{}", SENT.load(Ordering::Relaxed));
    std::process::exit(0);
}

/// Hands out as many permits a second as the rate says.
async fn keep_pace(attacker: Arc<Attacker>, rate: f64) {
    let Some(pace) = &attacker.pace else { return };
    let (began, mut given) = (Instant::now(), 0);
    loop {
        tokio::time::sleep(Duration::from_millis(5)).await;
        let due = (began.elapsed().as_secs_f64() * rate) as usize;
        pace.add_permits(due - given);
        given = due;
    }
}

fn single_thread() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// A server on a thread of this process that reads requests and drops them.
fn sink() -> SocketAddr {
    let (sender, address) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        single_thread().block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            sender.send(listener.local_addr().expect("an address")).expect("somebody waits");
            loop {
                let Ok((stream, _)) = listener.accept().await else { continue };
                tokio::spawn(async move {
                    let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                    let service = hyper::service::service_fn(|request: hyper::Request<_>| drop_body(request));
                    let _ = server.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
    });
    address.recv().expect("an address")
}

async fn drop_body(
    request: hyper::Request<hyper::body::Incoming>,
) -> Result<hyper::Response<Full<Bytes>>, Infallible> {
    let mut body = request.into_body();
    while let Some(Ok(_)) = body.frame().await {}
    Ok(hyper::Response::new(Full::new(Bytes::from_static(b"{}"))))
}

/// The head of an answer.
struct Head {
    status: u16,
    /// Bytes of the head itself.
    bytes: usize,
    /// Bytes of the body.
    body: usize,
}

/// The head of an answer, once all of it is there. What the gateway answers has a length.
fn head(bytes: &[u8]) -> Option<Head> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    let text = std::str::from_utf8(&bytes[..end]).ok()?;
    let status = text.split(' ').nth(1)?.parse().ok()?;
    let length = text.lines().filter_map(|line| line.split_once(':')).find_map(|(name, value)| {
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok()).flatten()
    });
    Some(Head { status, bytes: end + 4, body: length.unwrap_or(0) })
}

/// The honest caller: one socket, one call after another.
struct Honest {
    stream: std::net::TcpStream,
    request: Vec<u8>,
    buffer: Vec<u8>,
}

impl Honest {
    fn new(address: SocketAddr, key: &str) -> Self {
        let request = format!("GET /v1/tools HTTP/1.1\r\nhost: {address}\r\nx-api-key: {key}\r\n\r\n");
        Self { stream: connect(address), request: request.into_bytes(), buffer: vec![0; 256 * 1024] }
    }

    /// Whether it was answered as it should be.
    fn call(&mut self) -> io::Result<bool> {
        self.stream.write_all(&self.request)?;
        let mut filled = 0;
        loop {
            match self.stream.read(&mut self.buffer[filled..])? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => filled += read,
            }
            if let Some(head) = head(&self.buffer[..filled])
                && filled >= head.bytes + head.body
            {
                return Ok(head.status == 200 && head.body > 0);
            }
        }
    }

    /// Waits in milliseconds, shortest first. A call that is not answered as it should be is one that waits for ever.
    fn waits(&mut self) -> Vec<f64> {
        let (began, mut waits) = (Instant::now(), Vec::with_capacity(10_000));
        while began.elapsed() < SPAN {
            let asked = Instant::now();
            let good = match self.call() {
                Ok(good) => good,
                Err(_) => {
                    self.stream = connect(self.stream.peer_addr().expect("an address"));
                    false
                }
            };
            waits.push(if good { asked.elapsed().as_secs_f64() * 1_000.0 } else { f64::INFINITY });
            std::thread::sleep(PAUSE);
        }
        waits.sort_by(f64::total_cmp);
        waits
    }
}

fn connect(address: SocketAddr) -> std::net::TcpStream {
    let stream = std::net::TcpStream::connect(address).expect("a connection");
    stream.set_nodelay(true).expect("a socket");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
    stream
}

fn p99(waits: &[f64]) -> f64 {
    waits[waits.len() * 99 / 100]
}

/// The hostile process, as this one sees it.
struct Hostile {
    process: Child,
    began: Instant,
}

impl Hostile {
    fn start(row: &str, address: &str, key: &str, rate: f64) -> Self {
        let process = Command::new(std::env::current_exe().expect("this program"))
            .args([ATTACKER, row, address, key, &rate.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a process");
        Self { process, began: Instant::now() }
    }

    /// Ends it; how many it has sent a second.
    fn end(mut self) -> f64 {
        let seconds = self.began.elapsed().as_secs_f64();
        drop(self.process.stdin.take());
        let mut sent = String::new();
        self.process.stdout.take().expect("a pipe").read_to_string(&mut sent).expect("a number");
        self.process.wait().expect("its end");
        sent.trim().parse::<f64>().expect("a number") / seconds
    }
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
fn run(row: &'static str) -> bool {
    let place = place();
    let honest_key = place.service("honest", "tool:list");
    let key = place.service("hostile", "message:send,tool:call");
    let gateway: Running = place.start();
    let mut honest = Honest::new(gateway.api, &honest_key);
    honest.waits();
    let quiet = p99(&honest.waits());
    let hostile = Hostile::start(row, &gateway.api.to_string(), &key, 0.0);
    let waits = honest.waits();
    let rate = hostile.end();
    let peak = peak_mib(gateway.process.pid());
    // What is under way comes to its end.
    std::thread::sleep(Duration::from_secs(2));
    let hostile = Hostile::start(row, SINK, &key, rate.max(0.001));
    let sink = p99(&honest.waits());
    hostile.end();
    let beside = p99(&waits);
    let ratio = beside / quiet;
    let good = ratio <= MOST_RATIO && peak < MOST_MIB;
    let word = if good { "" } else { "over" };
    println!(
        "{row:<20} {quiet:>9.2} {sink:>9.2} {:>9.2} {beside:>9.2} {ratio:>7.2}x {:>7} {rate:>9.0} {peak:>9} {word}",
        waits[waits.len() / 2],
        waits.len(),
    );
    drop(gateway);
    good
}

fn main() -> std::process::ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == ATTACKER) {
        attacker(&arguments[1..]);
    }
    let wanted: Vec<String> = arguments.into_iter().filter(|word| !word.starts_with("--")).collect();
    println!(
        "{:<20} {:>9} {:>9} {:>9} {:>9} {:>8} {:>7} {:>9} {:>9}",
        "hostile caller",
        "quiet p99",
        "to a sink",
        "p50 ms",
        "p99 ms",
        "ratio",
        "calls",
        "hostile/s",
        "peak MiB"
    );
    let rows = ROWS
        .into_iter()
        .filter(|row| wanted.is_empty() || wanted.iter().any(|word| row.contains(word.as_str())));
    let bad = rows.filter(|row| !run(row)).count();
    // Without optimisation the figures are of another program.
    if bad > 0 && !cfg!(debug_assertions) {
        return std::process::ExitCode::FAILURE;
    }
    std::process::ExitCode::SUCCESS
}
