//! The real binary as a child process: started, listened to, signalled and ended by its own pid, each wait bounded.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses its own part")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests"
)]

use std::io::{BufRead as _, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use caxton::audit::follow::Follower;
use serde_json::Value as Json;

/// The longest wait for anything; a loaded machine is slow, one that is suspended for a minute is slower, a broken
/// gateway is slower still.
pub const LIMIT: Duration = Duration::from_secs(180);

/// How a process ended and what it said.
#[derive(Debug)]
pub struct Ended {
    /// The exit code; none when a signal ended it.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ended {
    /// stdout as one JSON document.
    pub fn json(&self) -> Json {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The lines of stderr that are log lines.
    pub fn log_lines(&self) -> Vec<Json> {
        let lines = self.stderr.lines().filter(|line| line.starts_with('{'));
        lines.map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect()
    }
}

/// The lines that come out of a pipe.
struct Lines {
    coming: Receiver<String>,
    heard: String,
}

impl Lines {
    fn of(pipe: impl Read + Send + 'static) -> Self {
        let (sender, coming) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(pipe).lines() {
                let Ok(line) = line else { return };
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self { coming, heard: String::new() }
    }

    /// The next line; `None` at the end.
    fn next(&mut self, deadline: Instant) -> Option<String> {
        match self.coming.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) => {
                self.heard.push_str(&line);
                self.heard.push('\n');
                Some(line)
            }
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("nothing came for too long after:\n{}", self.heard),
        }
    }

    fn until(&mut self, wanted: &str) -> Option<String> {
        let deadline = Instant::now() + LIMIT;
        loop {
            match self.next(deadline) {
                Some(line) if line.contains(wanted) => return Some(line),
                Some(_) => {}
                None => return None,
            }
        }
    }

    fn rest(&mut self) -> String {
        let deadline = Instant::now() + LIMIT;
        while self.next(deadline).is_some() {}
        std::mem::take(&mut self.heard)
    }
}

/// A child that does not outlive its test.
pub struct Caxton {
    child: Child,
    stdout: Lines,
    stderr: Lines,
}

impl Drop for Caxton {
    fn drop(&mut self) {
        // Both fail when it has ended, which is fine.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Caxton {
    /// Starts the binary in `directory` with nothing of this process's environment.
    pub fn spawn(directory: &Path, arguments: &[&str]) -> Self {
        Self::spawn_with(directory, arguments, |command| {
            command.stdin(Stdio::null());
        })
    }

    /// The same with a person at its standard input, and programs of `programs` before those of the system.
    pub fn spawn_talking(directory: &Path, arguments: &[&str], programs: &Path) -> Self {
        Self::spawn_with(directory, arguments, |command| {
            let path = format!("{}:/usr/bin:/bin", programs.display());
            command.env("PATH", path).stdin(Stdio::piped());
        })
    }

    fn spawn_with(directory: &Path, arguments: &[&str], change: impl FnOnce(&mut Command)) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_caxton"));
        command
            .args(arguments)
            .current_dir(directory)
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("TMPDIR", directory)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        change(&mut command);
        let mut child = command.spawn().unwrap();
        let stdout = Lines::of(child.stdout.take().unwrap());
        let stderr = Lines::of(child.stderr.take().unwrap());
        Self { child, stdout, stderr }
    }

    /// The next line of stderr that contains `wanted`.
    pub fn hear(&mut self, wanted: &str) -> String {
        self.stderr
            .until(wanted)
            .unwrap_or_else(|| panic!("it ended without saying `{wanted}`:\n{}", self.stderr.heard))
    }

    /// Types a line.
    pub fn type_line(&mut self, line: &str) {
        use std::io::Write as _;
        writeln!(self.child.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    /// What it has said on stderr so far.
    pub fn heard(&self) -> &str {
        &self.stderr.heard
    }

    /// The next line of stdout.
    pub fn line(&mut self) -> String {
        self.stdout.next(Instant::now() + LIMIT).expect("stdout ended")
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal by name (`HUP`, `TERM`) to this process and no other.
    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let sent =
            Command::new("/bin/sh").args(["-c", "kill -s \"$0\" \"$1\"", name, &pid]).status().unwrap();
        assert!(sent.success());
    }

    /// Ends it as a power cut would end it.
    pub fn kill(mut self) -> Ended {
        self.child.kill().unwrap();
        self.end()
    }

    /// Waits for its end.
    pub fn end(mut self) -> Ended {
        let (stdout, stderr) = (self.stdout.rest(), self.stderr.rest());
        // Both pipes are closed: the process is gone or about to be.
        let code = self.child.wait().unwrap().code();
        Ended { code, stdout, stderr }
    }
}

/// Runs a command to its end.
pub fn run(directory: &Path, arguments: &[&str]) -> Ended {
    Caxton::spawn(directory, arguments).end()
}

/// A gateway that serves.
pub struct Running {
    pub process: Caxton,
    pub scheme: &'static str,
    pub api: SocketAddr,
    pub operations: SocketAddr,
}

impl Running {
    /// Starts a gateway and waits until it says where it listens.
    pub fn start(directory: &Path, arguments: &[&str]) -> Self {
        Self::try_start(directory, arguments).unwrap_or_else(|ended| panic!("it does not start: {ended:?}"))
    }

    /// The same, or how it ended instead.
    pub fn try_start(directory: &Path, arguments: &[&str]) -> Result<Self, Ended> {
        let arguments = [&["start"], arguments].concat();
        let mut process = Caxton::spawn(directory, &arguments);
        let Some(line) = process.stderr.until(", policies ") else { return Err(process.end()) };
        let address = |before: &str| -> SocketAddr {
            let rest = line.split(before).nth(1).unwrap_or_else(|| panic!("{line}"));
            rest.split(',').next().unwrap().parse().unwrap_or_else(|error| panic!("{error}: {line}"))
        };
        let version = env!("CARGO_PKG_VERSION");
        let scheme = if line.contains(" on https://") { "https" } else { "http" };
        let api = address(&format!("caxton {version} on {scheme}://"));
        Ok(Self { scheme, api, operations: address("probes and metrics on http://"), process })
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}://{}{path}", self.scheme, self.api)
    }

    /// Tells it to stop, and waits until it has.
    pub fn stop(self) -> Ended {
        self.process.signal("TERM");
        self.process.end()
    }
}

/// The records of a decision log, its closed segments included: what is being written at this moment is no record yet.
pub fn whole_lines(log: &Path) -> Vec<Json> {
    let mut follower = Follower::new(log, 0);
    let mut records = Vec::new();
    while let Some(record) = follower.next_record().unwrap() {
        records.push(serde_json::from_str(record.text).unwrap());
    }
    records
}

/// A directory with a configuration for free ports and generous bounds, and room for more of it.
pub struct Place {
    pub directory: tempfile::TempDir,
}

impl Place {
    /// `security` is YAML, two spaces in, that is added to that section.
    pub fn new(security: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let text = format!(
            "server: {{ port: 0, metrics_port: 0, data_dir: data }}\n\
             memory: {{ max_search_results: 1000, deadline: 60s, sqlite_security: {{ trusted_schema: true }} }}\n\
             security:\n  audit: {{ deadline: 10s }}\n{security}"
        );
        std::fs::write(directory.path().join("caxton.yaml"), text).unwrap();
        Self { directory }
    }

    /// Replaces a piece of the configuration.
    pub fn edit(&self, piece: &str, by: &str) {
        let file = self.path().join("caxton.yaml");
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.contains(piece), "{text}");
        std::fs::write(file, text.replace(piece, by)).unwrap();
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    pub fn start(&self) -> Running {
        Running::start(self.path(), &["--config", "caxton.yaml"])
    }

    /// A key of a service with these permission words.
    pub fn service(&self, name: &str, words: &str) -> String {
        self.key(&["--name", name, "--permissions", words])
    }

    /// A key of a deployed agent.
    pub fn agent(&self, name: &str) -> String {
        self.key(&["--name", name, "--agent", name])
    }

    fn key(&self, arguments: &[&str]) -> String {
        let create = ["auth", "create-key", "--data-dir", "data", "--json"];
        let made = run(self.path(), &[&create, arguments].concat());
        assert_eq!(made.code, Some(0), "{made:?}");
        made.json()["key"].as_str().unwrap().to_owned()
    }

    pub fn log(&self) -> PathBuf {
        self.path().join("data/audit.log")
    }

    /// All records so far, oldest first.
    pub fn records(&self) -> Vec<Json> {
        whole_lines(&self.log())
    }

    /// `caxton audit verify` of the log.
    pub fn verify(&self) -> Ended {
        run(self.path(), &["audit", "verify", "--json", "data/audit.log"])
    }
}

/// Bounds that no load of a test reaches.
pub const ROOMY: &str = "  rate_limit: { per_principal: 1000000/minute, burst: 100000 }\n  api_keys: { rate_limit_per_key: 1000000/minute, burst_limit: 100000 }\n";
