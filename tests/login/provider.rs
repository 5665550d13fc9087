//! The real provider as a process of its own.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value as Json, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, Command};

pub(crate) const CLIENT: &str = "caxton";
pub(crate) const SECRET: &str = "a-secret-of-the-test-0123456789abcdef";
const START: Duration = Duration::from_secs(60);

pub(crate) struct Provider {
    pub(crate) issuer: String,
    /// Killed by its own id when this goes.
    _child: Child,
}

impl Provider {
    /// `None`, said aloud, where `tests/run` was never run; there and in CI it is a failure.
    pub(crate) async fn start(redirect_uri: &str) -> Option<Self> {
        let clients = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients");
        if !clients.join("node_modules/oidc-provider").exists() {
            let must = ["CI", "CAXTON_TESTS"].iter().any(|name| std::env::var_os(name).is_some());
            assert!(!must, "the identity provider is not installed: run tests/run");
            eprintln!("skipped: run tests/run first");
            return None;
        }
        let mut child = Command::new("node")
            .arg(clients.join("identity-provider.mjs"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let plan = format!("{}\n", json!({ "redirect_uri": redirect_uri }));
        let mut input = child.stdin.take().unwrap();
        input.write_all(plan.as_bytes()).await.unwrap();
        // Kept open: the provider ends with it.
        child.stdin = Some(input);
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = tokio::time::timeout(START, async {
            loop {
                let line = lines.next_line().await.unwrap().expect("the provider says its name");
                if line.starts_with('{') {
                    return line;
                }
            }
        });
        let said: Json = serde_json::from_str(&line.await.expect("the provider starts in time")).unwrap();
        Some(Self { issuer: said["issuer"].as_str().unwrap().to_owned(), _child: child })
    }
}

/// A port that is free for now, so that its address can be registered before anybody listens.
pub(crate) fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
