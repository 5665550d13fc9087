//! The client programs of `tests/clients`, run as a user runs them: one process, one plan in, one answer out.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value as Json, json};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use super::callers::Call;

/// For a client's whole run, on a machine that is busy with other tests.
const LIMIT: Duration = Duration::from_secs(300);

/// Where `tests/run` has put the programs that these tests need.
pub(crate) struct Installed {
    root: PathBuf,
    python: PathBuf,
}

impl Installed {
    /// `None`, said aloud, where `tests/run` was never run; there and in CI it is a failure.
    pub(crate) fn find() -> Option<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let found =
            Self { root: root.join("tests/clients"), python: root.join("target/test-venv/bin/python") };
        if found.python.exists() && found.server_package().exists() {
            return Some(found);
        }
        let must = ["CI", "CAXTON_TESTS"].iter().any(|name| std::env::var_os(name).is_some());
        assert!(!must, "the MCP clients are not installed: run tests/run");
        eprintln!("skipped: run tests/run first");
        None
    }

    /// The `everything` server's program.
    pub(crate) fn server_package(&self) -> PathBuf {
        self.file("node_modules/@modelcontextprotocol/server-everything/dist/index.js")
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Python with the protocol's discovery and with its older handshake; TypeScript.
    pub(crate) fn clients(&self) -> [Client; 3] {
        let python = |mode| Client { program: self.python.clone(), script: self.file("client.py"), mode };
        [
            python("auto"),
            python("legacy"),
            Client { program: "node".into(), script: self.file("client.mjs"), mode: "legacy" },
        ]
    }
}

/// One of the client programs.
pub(crate) struct Client {
    program: PathBuf,
    script: PathBuf,
    mode: &'static str,
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.script.file_name().unwrap_or_default().display(), self.mode)
    }
}

/// What a client saw.
#[derive(Debug, Deserialize)]
pub(crate) struct Seen {
    pub(crate) server: Option<String>,
    /// Names and input schemas.
    pub(crate) tools: BTreeMap<String, Json>,
    /// An outcome a call: `result` or `error`.
    pub(crate) calls: Vec<Json>,
}

impl Client {
    /// Lists the tools and makes the calls.
    pub(crate) async fn run(&self, url: &str, key: &str, calls: &[Call]) -> Seen {
        let calls = calls.iter().map(|call| json!({ "name": call.tool, "arguments": call.arguments }));
        let output = self.output(url, key, calls.collect()).await;
        let words = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{self}: {words}");
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{self}: {error}: {words}"))
    }

    /// Fails to connect; what the client says about it.
    pub(crate) async fn refused(&self, url: &str, key: &str) -> String {
        let output = self.output(url, key, Vec::new()).await;
        assert!(!output.status.success(), "{self} got in: {}", String::from_utf8_lossy(&output.stdout));
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    async fn output(&self, url: &str, key: &str, calls: Vec<Json>) -> Output {
        let plan = json!({ "url": url, "key": key, "mode": self.mode, "calls": calls }).to_string();
        let mut process = Command::new(&self.program)
            .arg(&self.script)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("{self}: {error}"));
        let mut input = process.stdin.take().unwrap();
        input.write_all(plan.as_bytes()).await.unwrap();
        drop(input);
        let ended = tokio::time::timeout(LIMIT, process.wait_with_output()).await;
        ended.unwrap_or_else(|_| panic!("{self} did not end within {LIMIT:?}")).unwrap()
    }
}
