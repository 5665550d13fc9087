//! Servers as child processes.

use super::*;
use crate::secret::Secret;

fn shell(script: &str, env: &[(&str, &str)]) -> ServerSettings {
    server(Transport::Stdio {
        command: "sh".to_owned(),
        args: vec!["-c".to_owned(), script.to_owned()],
        env: env.iter().map(|(name, value)| ((*name).to_owned(), Secret::new((*value).to_owned()))).collect(),
    })
}

/// A server in shell: it answers the handshake and one listing with one tool, whose description is `$TOLD`.
fn script(before: &str, after: &str) -> String {
    format!(
        r#"{before}
        read -r request
        echo '{{"jsonrpc":"2.0","id":0,"result":{{"protocolVersion":"2025-06-18","capabilities":{{"tools":{{}}}},"serverInfo":{{"name":"sh","version":"1"}}}}}}'
        read -r initialized
        while read -r request; do
          id=${{request#*'"id":'}}; id=${{id%%[,\}}]*}}
          case $request in
            *tools/list*) printf '{{"jsonrpc":"2.0","id":%s,"result":{{"tools":[{{"name":"t","description":"%s","inputSchema":{{"type":"object"}}}}]}}}}\n' "$id" "$TOLD" ;;
            *tools/call*) {after} ;;
          esac
        done"#
    )
}

fn description(registry: &Registry) -> String {
    registry.get(&id("s___t")).unwrap().definition().description.clone().unwrap()
}

#[tokio::test]
async fn a_child_gets_only_the_environment_that_is_listed() {
    let dir = tempfile::tempdir().unwrap();
    let script = script("TOLD=\"${HOME:-none} ${CARGO_MANIFEST_DIR:-none} ${KEY:-none} $PATH\"", ":");
    let (registry, problems) =
        connect(settings(dir.path(), vec![shell(&script, &[("KEY", "given")])])).await.unwrap();
    assert_eq!(problems, []);
    assert_eq!(description(&registry), "none none given /usr/local/bin:/usr/bin:/bin");
}

/// Whether a process is gone, or dead and waiting to be collected.
fn has_ended(pid: &str) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return true;
    };
    stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z'))
}

#[tokio::test]
async fn a_child_and_its_children_end_with_the_registry() {
    let dir = tempfile::tempdir().unwrap();
    let script = script("tail -f /dev/null & TOLD=\"$$ $!\"", ":");
    let (registry, _) = connect(settings(dir.path(), vec![shell(&script, &[])])).await.unwrap();
    let pids = description(&registry);
    assert!(pids.split(' ').all(|pid| !has_ended(pid)), "{pids}");
    drop(registry);
    let ended = async {
        let mut look = tokio::time::interval(Duration::from_millis(5));
        while !pids.split(' ').all(has_ended) {
            look.tick().await;
        }
    };
    tokio::time::timeout(PATIENCE, ended).await.unwrap();
}

#[tokio::test]
async fn a_child_that_dies_is_started_again() {
    let dir = tempfile::tempdir().unwrap();
    // Its description is its process id, so a new process shows as a changed, refused tool.
    let script = script("TOLD=$$", "exit 1");
    let (registry, _) = connect(settings(dir.path(), vec![shell(&script, &[])])).await.unwrap();
    let error = call(&registry, "s___t", json!({})).await.unwrap_err();
    assert_eq!(error, ToolError::Unavailable { server: name("s") });
    until(&registry, |registry| registry.get(&id("s___t")).unwrap().drifted()).await;
}

#[tokio::test]
async fn an_endless_line_fills_no_memory_and_the_call_ends_at_its_deadline() {
    let dir = tempfile::tempdir().unwrap();
    let script = script("TOLD=t", "head -c 20000000 /dev/zero | tr '\\0' x");
    let server = ServerSettings { call_timeout: SHORT, ..shell(&script, &[]) };
    let settings = Settings { max_response_bytes: 100_000, ..settings(dir.path(), vec![server]) };
    let (registry, _) = connect(settings).await.unwrap();
    let error = call(&registry, "s___t", json!({})).await.unwrap_err();
    assert_eq!(error, ToolError::Timeout { server: name("s"), limit: SHORT });
}

#[tokio::test]
async fn programs_that_are_no_servers_are_problems() {
    let dir = tempfile::tempdir().unwrap();
    let silent = ServerSettings { connect_timeout: SHORT, ..shell("cat >/dev/null", &[]) };
    let missing = server(Transport::Stdio {
        command: "/nonexistent/program".to_owned(),
        args: Vec::new(),
        env: Vec::new(),
    });
    for (server, expected) in [
        (silent, "it did not answer within"),
        (shell("exit 3", &[]), "the MCP handshake failed"),
        (shell("echo nonsense; exit 0", &[]), "the MCP handshake failed"),
        (missing, "its program cannot be started"),
    ] {
        let (_, problems) = connect(settings(dir.path(), vec![server])).await.unwrap();
        assert!(problems[0].message.contains(expected), "{problems:?}");
    }
}

/// The reference server of the MCP project, when it is installed: see `docs/tools.md`.
#[tokio::test]
async fn the_reference_server_lists_and_answers() {
    let module = "node_modules/@modelcontextprotocol/server-everything/dist/index.js";
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(module);
    if !root.exists() {
        eprintln!("skipped: `{}` is not installed", root.display());
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let everything = server(Transport::Stdio {
        command: "node".to_owned(),
        args: vec![root.display().to_string(), "stdio".to_owned()],
        env: Vec::new(),
    });
    let settings = Settings { refresh_interval: PATIENCE, ..settings(dir.path(), vec![everything]) };
    let (registry, problems) = connect(settings).await.unwrap();
    assert_eq!(problems, []);
    let echoed = call(&registry, "s___echo", json!({ "message": "hello" })).await.unwrap();
    assert_eq!(echoed.content[0]["text"], "Echo: hello");
    let sum = call(&registry, "s___get-sum", json!({ "a": 2, "b": 40 })).await.unwrap();
    assert_eq!(sum.content[0]["text"], "The sum of 2 and 40 is 42.");
    let input = registry.prepare(&id("s___get-sum"), args(json!({ "a": 2, "b": 0.5 }))).unwrap().input;
    let decimals = [("a", Value::Decimal("2.0".into())), ("b", Value::Decimal("0.5".into()))];
    assert_eq!(input, Value::record(decimals));
}
