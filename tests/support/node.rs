//! A Node program of `tests/clients` as a process of its own, which ends with its test.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::Value as Json;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, Command};

use super::PATIENCE;

/// The program; killed by its own id when this goes.
pub struct Node {
    /// The first line of JSON that it said: it has come up.
    pub said: Json,
    _child: Child,
}

/// Where `tests/run` puts the programs of others.
pub fn clients() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients")
}

impl Node {
    /// Starts `script` with `plan` as the first line of its input, which stays open: a program may end with it.
    pub async fn start(script: &str, plan: &Json) -> Self {
        let mut child = Command::new("node")
            .arg(clients().join(script))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        child.stdin.as_mut().unwrap().write_all(format!("{plan}\n").as_bytes()).await.unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let first = tokio::time::timeout(PATIENCE, async {
            loop {
                let line =
                    lines.next_line().await.unwrap().expect("it ended without saying that it is there");
                if line.starts_with('{') {
                    return line;
                }
            }
        });
        let said = serde_json::from_str(&first.await.expect("it starts in time")).unwrap();
        Self { said, _child: child }
    }
}
