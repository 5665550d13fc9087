//! The guides' own lines about HTTP, identity, policies and roles, and metrics: each is tried as it stands there, and its answer is
//! written down. What is not there yet shows as that, and a line that begins to work changes the file.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "helpers of tests")]

use std::fs;
use std::path::Path;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use caxton::authn::jwt::{self, JwtAlgorithm, JwtKey, KeyMaterial};
use caxton::clock::{Clock as _, SystemClock};
use caxton::secret::Secret;
use reqwest::Method;
use serde_json::{Value as Json, json};

use crate::support::child::run;
use crate::support::golden::golden;
use crate::support::{AUDIENCE, Credential, ISSUER, World, send, write};

/// The guides' `JWT_SECRET`.
const SHARED: &str = "a shared secret that is long enough to sign with";
const FILES: [(&str, &str); 4] = [
    ("roles.yaml", include_str!("../import/roles.yaml")),
    ("agent.yaml", include_str!("../import/agent.yaml")),
    ("rbac.conf", include_str!("../import/rbac.conf")),
    ("rbac.csv", include_str!("../import/rbac.csv")),
];

/// A gateway that was set up by the guides: their roles, a shared secret for tokens, a contact.
async fn world() -> World {
    World::with(|settings, directory| {
        for (name, text) in FILES {
            write(&directory.join(name), text);
        }
        write(&directory.join("caxton.yaml"), "server: { data_dir: place }\n");
        settings.roles_file = Some(directory.join("roles.yaml"));
        settings.api.security_contact = Some("mailto:security@example.com".parse().unwrap());
        let shared = KeyMaterial::Secret(Secret::new(SHARED.into()));
        let key =
            JwtKey { name: "shared".into(), algorithm: JwtAlgorithm::Hs256, material: shared, kid: None };
        let given = settings.authn.jwt.take().unwrap_or_else(|| jwt::Settings {
            issuer: ISSUER.into(),
            audience: AUDIENCE.into(),
            ..Default::default()
        });
        let keys = given.keys.into_iter().chain([key]).collect();
        settings.authn.jwt = Some(jwt::Settings { keys, ..given });
    })
    .await
}

/// A token as the guides sign one.
fn signed(claims: &str) -> Credential {
    let claims = claims.replace("ISSUER", ISSUER).replace("AUDIENCE", AUDIENCE);
    let mut claims: Json = serde_json::from_str(&claims).unwrap();
    claims.as_object_mut().unwrap().insert("exp".into(), (SystemClock.now_seconds() + 3_600).into());
    let part = |json: &Json| BASE64_URL_SAFE_NO_PAD.encode(json.to_string());
    let input = format!("{}.{}", part(&json!({ "alg": "HS256", "typ": "JWT" })), part(&claims));
    let key = hmac::Key::new(hmac::HMAC_SHA256, SHARED.as_bytes());
    let signature = BASE64_URL_SAFE_NO_PAD.encode(hmac::sign(&key, input.as_bytes()));
    Credential::Token(format!("{input}.{signature}"))
}

async fn over_the_wire(world: &World, who: &str, method: &str, path: &str) -> String {
    if path.starts_with("/metrics") {
        let query = path.strip_prefix("/metrics").unwrap();
        let shown = world.metrics(query).await;
        let families = shown.lines().filter(|line| line.starts_with("# TYPE ")).count();
        let all = world.metrics("").await.lines().filter(|line| line.starts_with("# TYPE ")).count();
        let which = if families == all { "all families" } else { "some of the families" };
        assert!(families > 5, "{shown}");
        return format!("{which}, at the port for operations");
    }
    let credential = match who.split_once(':') {
        Some(("key", words)) => {
            let words: Vec<&str> = words.split(',').collect();
            world.service(&format!("k{}", words.join("-").replace(':', "-")), &words)
        }
        Some(("role", role)) => world.person(role, &[role]),
        _ => Credential::Nothing,
    };
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    let request = world.request(&credential, method, path);
    let answer = send(request).await;
    let status = answer.status.as_u16();
    let kind = answer.headers.get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if kind.starts_with("text/plain") {
        return format!("{status}: {}", answer.text.lines().next().unwrap_or_default());
    }
    let body: Json = serde_json::from_str(&answer.text).unwrap_or_default();
    if let Some(agents) = body["agents"].as_array() {
        let names = agents.iter().filter_map(|agent| agent["id"].as_str().or(agent.as_str()));
        let names = names.collect::<Vec<_>>().join(", ");
        let needs = body["needs"].as_str().map(|word| format!("none; it needs `{word}`"));
        return format!("{status}: {}", if names.is_empty() { needs.unwrap_or_default() } else { names });
    }
    let detail = body["detail"].as_str().or(body["title"].as_str()).unwrap_or("an answer");
    format!("{status}: {detail}")
}

async fn with_token(world: &World, claims: &str) -> String {
    let answer = world.get(&signed(claims), "/v1/agents").await;
    let status = answer.status.as_u16();
    let records = world.records();
    let last = records.iter().rev().find(|record| record["event_type"] == "authentication");
    let reason =
        last.filter(|_| status == 401).map(|record| record["detail"].as_str().unwrap_or_default().to_owned());
    match reason {
        Some(reason) => format!("{status}; the log says `{reason}`"),
        None => format!("{status}"),
    }
}

/// The exit code and the first line of what a command says, without what is another each time.
fn command(directory: &Path, line: &str) -> String {
    let words: Vec<&str> = line.split(' ').skip(1).collect();
    let ended = run(directory, &words);
    let said = if ended.code == Some(0) && !ended.stdout.is_empty() { &ended.stdout } else { &ended.stderr };
    let is_said = |line: &&str| !line.trim().is_empty() && !line.starts_with("note: no folder");
    let first = said.lines().find(is_said).unwrap_or_default();
    let code = ended.code.unwrap_or_else(|| panic!("{line}: {ended:?}"));
    format!("exit {code}: {}", steady(first))
}

/// A line without the parts that differ from run to run: keys, ids and times.
fn steady(line: &str) -> String {
    let differs = |word: &str| {
        let letters = word.trim_matches(|c: char| !c.is_ascii_alphanumeric());
        letters.starts_with("cax_")
            || letters.starts_with("20")
            || letters.len() == 12 && letters.bytes().any(|b| b.is_ascii_digit())
    };
    line.split(' ').map(|word| if differs(word) { "…" } else { word }).collect::<Vec<_>>().join(" ")
}

// Commands ask the gateway while this test waits for them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_line_of_the_guides_has_its_answer() {
    let lines =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/guides/gateway-lines.txt"));
    let lines = lines.unwrap();
    let world = world().await;
    let key = world.service("root", &["*"]);
    let Credential::Key(text) = &key else { panic!("a key") };
    write(&world.directory.path().join("root.key"), text);
    let url = world.url("");
    let mut answers = String::from("# The guides' lines, one by one\n");
    let mut count = 0;
    for line in lines.lines().skip(2).filter(|line| !line.is_empty()) {
        if let Some(group) = line.strip_prefix("# ") {
            answers.push_str(&format!("\n## {group}\n"));
            continue;
        }
        count += 1;
        let answer = match line.split_once(' ').unwrap() {
            ("$", text) => {
                let gateway = format!("--url {url} --api-key-file root.key");
                command(world.directory.path(), &text.replace("GATEWAY", &gateway))
            }
            ("token", claims) => with_token(&world, claims).await,
            ("metric", name) => {
                let family = name.strip_suffix("_total").unwrap_or(name);
                let metrics = world.metrics("").await;
                let kind = metrics.lines().find_map(|line| line.strip_prefix(&format!("# TYPE {family} ")));
                kind.map_or_else(|| "is not there".to_owned(), |kind| format!("a {kind}"))
            }
            (who, rest) => {
                let (method, path) = rest.split_once(' ').unwrap();
                over_the_wire(&world, who, method, path).await
            }
        };
        answers.push_str(&format!("\n`{line}`\n: {answer}\n"));
    }
    assert!(count >= 40, "{count} lines");
    golden("tests/golden/guides/gateway-lines.md", &answers);
    world.stop().await;
}
