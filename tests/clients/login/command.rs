//! `caxton auth login`, as a person at a terminal uses it, against the real provider.

use std::path::Path;
use std::process::Stdio;

use reqwest::{StatusCode, Url};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};

use super::browser::Browser;
use super::house::House;
use crate::support::child::LIMIT;

/// The command with a home of its own.
fn caxton(home: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_caxton"));
    command
        .args(arguments)
        .current_dir(home)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("HOME", home)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

async fn run(home: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let ended = tokio::time::timeout(LIMIT, caxton(home, arguments).output()).await.unwrap().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (ended.status.code(), text(ended.stdout), text(ended.stderr))
}

/// The next line of stderr that begins so.
async fn line(lines: &mut Lines<BufReader<ChildStderr>>, begins: &str) -> String {
    let wait = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            if line.starts_with(begins) {
                return line;
            }
        }
        panic!("it ended without a line that begins with `{begins}`")
    };
    tokio::time::timeout(LIMIT, wait).await.unwrap()
}

fn start(home: &Path, arguments: &[&str]) -> (Child, Lines<BufReader<ChildStderr>>) {
    let mut child = caxton(home, arguments).spawn().unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    (child, lines)
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_browser_and_then_other_commands_are_that_person_until_logout() {
    let Some(house) = House::open(|_| {}).await else { return };
    let home = tempfile::tempdir().unwrap();
    let url = house.world.url("");
    let (code, _, said) = run(home.path(), &["api", "auth-status", "--url", &url]).await;
    assert_eq!(code, Some(2));
    assert!(said.contains("caxton auth login"), "{said}");

    let (child, mut lines) =
        start(home.path(), &["auth", "login", "--no-browser", "--server", &url, "--json"]);
    let place = line(&mut lines, &url).await;
    let page = Browser::new().walk(&place, "olivia", |_| false).await.unwrap();
    assert_eq!(page.status, StatusCode::OK, "{page:?}");
    let link = page.text.split("href=\"").nth(1).unwrap().split('"').next().unwrap().replace("&amp;", "&");
    // Somebody who tries the port first, with another state, is sent away and changes nothing.
    let mut forged = Url::parse(&link).unwrap();
    forged.query_pairs_mut().clear().append_pair("code", "x").append_pair("state", "x");
    let mut browser = Browser::new();
    assert_eq!(browser.step(&forged).await.status, StatusCode::BAD_REQUEST);
    let done = browser.step(&Url::parse(&link).unwrap()).await;
    assert!(done.text.contains("Done"), "{done:?}");
    let ended = child.wait_with_output().await.unwrap();
    assert_eq!(ended.status.code(), Some(0));
    let told: serde_json::Value = serde_json::from_slice(&ended.stdout).unwrap();
    assert_eq!(told["subject"], "olivia");
    assert!(!told.to_string().contains("cax_rt_"), "no secret on the terminal");

    // For nobody else's eyes.
    let logins = home.path().join(".config/caxton/logins");
    let file = std::fs::read_dir(&logins).unwrap().next().unwrap().unwrap().path();
    let mode = |path: &Path| {
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(path).unwrap().permissions())
    };
    assert_eq!((mode(&file) & 0o777, mode(&logins) & 0o777), (0o600, 0o700));

    let (code, said, complaint) = run(home.path(), &["api", "auth-status", "--url", &url]).await;
    assert_eq!(code, Some(0), "{complaint}");
    assert!(said.contains("oauth2"), "{said}");
    let records = house.world.records();
    let record = records.iter().rfind(|record| record["action"] == "config:read").unwrap();
    assert_eq!(record["subject"]["principal"], format!("Caxton::User::\"{}|olivia\"", house.provider.issuer));

    // An access token that has ended is renewed on the way.
    let text = std::fs::read_to_string(&file).unwrap();
    let mut kept: serde_json::Value = serde_json::from_str(&text).unwrap();
    kept["expires_at"] = 0.into();
    std::fs::write(&file, kept.to_string()).unwrap();
    assert_eq!(run(home.path(), &["api", "auth-status", "--url", &url]).await.0, Some(0));
    let renewed: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    assert_ne!(renewed["refresh_token"], kept["refresh_token"]);
    assert_eq!(mode(&file) & 0o777, 0o600);

    // Another gateway gets nothing of it, and a file that others can read is not used.
    let other = run(home.path(), &["api", "auth-status", "--url", "http://127.0.0.1:1"]).await;
    assert_eq!(other.0, Some(2), "{other:?}");
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let open = run(home.path(), &["api", "auth-status", "--url", &url]).await;
    assert!(open.0 == Some(2) && open.2.contains("may be read by others"), "{open:?}");
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();

    let out = run(home.path(), &["auth", "logout", "--url", &url]).await;
    assert_eq!(out.0, Some(0), "{out:?}");
    assert!(!file.exists());
    let token = crate::support::Credential::Token(renewed["access_token"].as_str().unwrap().to_owned());
    assert_eq!(house.world.get(&token, "/v1/agents").await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(run(home.path(), &["auth", "logout", "--url", &url]).await.0, Some(1), "there is none");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_code_on_another_device() {
    let Some(house) = House::open(|_| {}).await else { return };
    let home = tempfile::tempdir().unwrap();
    let url = house.world.url("");
    let (child, mut lines) = start(home.path(), &["auth", "login", "--device", "--url", &url]);
    let whole = line(&mut lines, "or open: ").await;
    let place = whole.strip_prefix("or open: ").unwrap();
    let page = Browser::new().walk(place, "vera", |_| false).await.unwrap();
    assert_eq!(page.status, StatusCode::OK, "{page:?}");
    let ended = tokio::time::timeout(LIMIT, child.wait_with_output()).await.unwrap().unwrap();
    assert_eq!(ended.status.code(), Some(0));
    let said = String::from_utf8(ended.stdout).unwrap();
    assert!(said.ends_with("as vera\n"), "{said}");
    let (code, _, refused) = run(home.path(), &["api", "auth-status", "--url", &url]).await;
    assert_eq!(code, Some(1), "a viewer may not: {refused}");
}

#[tokio::test]
async fn nobody_there_and_nothing_offered_are_told_apart() {
    let home = tempfile::tempdir().unwrap();
    let gone = run(home.path(), &["auth", "login", "--device", "--url", "http://127.0.0.1:1"]).await;
    assert_eq!(gone.0, Some(3), "{gone:?}");
    let clear = run(home.path(), &["auth", "login", "--url", "http://gateway.example"]).await;
    assert!(clear.0 == Some(2) && clear.2.contains("in the clear"), "{clear:?}");
    let world = crate::support::World::new().await;
    let none = run(home.path(), &["auth", "login", "--device", "--url", &world.url("")]).await;
    assert!(none.0 == Some(1) && none.2.contains("not offered"), "{none:?}");
}
