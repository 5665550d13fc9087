//! No record, no effect, also when the gateway dies at a random moment: whatever is in the memory and whatever a
//! client was told has its decision in the log, and the log is whole again after the next start.
//!
//! `CAXTON_CRASH_ROUNDS` says how often the long test kills, `CAXTON_CRASH_SEED` repeats its moments.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "helpers of tests"
)]

use crate::support::child;
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::time::Duration;

use crate::support::child::{LIMIT, Place, ROOMY, Running};
use reqwest::Client;
use serde_json::{Value as Json, json};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Clients that write at once, each in a scope of its own.
const CLIENTS: usize = 6;
/// What a list answers at most, so that a scope can be read whole.
const MOST: usize = 1_000;
const LONGEST_DELAY: u64 = 500_000;

const CLERK: &str = "---\nname: clerk\ncapabilities: [desk, memory-read, memory-write, message-receive, message-send, tool-access]\nworkspace: office\n---\nYou are the clerk.\n";

/// SplitMix64: small, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[expect(clippy::disallowed_methods, reason = "whoever runs the test sets its rounds and its seed")]
fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

/// One who writes, and who may write.
#[derive(Clone)]
struct Writer {
    client: Client,
    key: String,
    scope: String,
    /// The name of each entity, which is the id of its request too, begins so.
    prefix: String,
    most: usize,
}

impl Writer {
    /// Writes until the gateway is gone; tells which names it was told are stored.
    async fn write(self, gateway: String, begun: Arc<Notify>) -> Vec<String> {
        let mut told = Vec::new();
        for n in 0..self.most {
            let name = format!("{}-n{n}", self.prefix);
            let body = json!({ "name": name, "kind": "note", "observations": [format!("the note {name}")] });
            let request = self
                .client
                .post(format!("{gateway}/v1/memory/{}/entities", self.scope))
                .header("x-api-key", &self.key)
                .header("x-request-id", &name);
            let Ok(response) = request.json(&body).send().await else { break };
            let status = response.status();
            let Ok(text) = response.text().await else { break };
            assert_eq!(status, 200, "{name}: {text}");
            told.push(name);
            begun.notify_one();
        }
        told
    }

    /// The names in its scope.
    async fn stored(&self, gateway: &str, key: &str) -> Vec<String> {
        let url = format!("{gateway}/v1/memory/{}/entities?limit={MOST}", self.scope);
        let response = self.client.get(url).header("x-api-key", key).send().await.unwrap();
        let (status, text) = (response.status(), response.text().await.unwrap());
        assert_eq!(status, 200, "{text}");
        let answer: Json = serde_json::from_str(&text).unwrap();
        let entities = answer["entities"].as_array().unwrap();
        assert!(entities.len() < MOST, "the scope cannot be read whole");
        entities.iter().map(|entity| entity["name"].as_str().unwrap().to_owned()).collect()
    }
}

struct Crash {
    place: Place,
    client: Client,
    service: String,
    agent: String,
    rounds: usize,
}

impl Crash {
    fn new(rounds: usize) -> Self {
        let place = Place::new(ROOMY);
        // So that some die while the log is rotated, sealed, compressed or signed.
        place.edit("deadline: 10s", "deadline: 10s, rotation_size: 64KiB, checkpoint_interval: 1s");
        std::fs::create_dir(place.path().join("agents")).unwrap();
        std::fs::write(place.path().join("agents/clerk.md"), CLERK).unwrap();
        let service = place.service("writer", "memory:write,memory:read");
        let agent = place.agent("clerk");
        let client = Client::builder().timeout(LIMIT).build().unwrap();
        Self { place, client, service, agent, rounds }
    }

    /// The last one is an agent that writes into its own memory, which it keeps from round to round.
    fn writers(&self, round: usize) -> Vec<Writer> {
        let writer = |number: usize| {
            let agent = number == CLIENTS - 1;
            Writer {
                client: self.client.clone(),
                key: if agent { self.agent.clone() } else { self.service.clone() },
                scope: if agent {
                    "agent:clerk".to_owned()
                } else {
                    format!("workspace:round-{round}-{number}")
                },
                prefix: format!("r{round}-c{number}"),
                most: if agent { (MOST - 1) / self.rounds } else { MOST - 1 },
            }
        };
        (0..CLIENTS).map(writer).collect()
    }

    /// Loads the gateway and kills it `delay` after the first answer; says what the clients were told.
    async fn kill_under_load(&self, gateway: Running, writers: &[Writer], delay: Duration) -> Vec<String> {
        let begun = Arc::new(Notify::new());
        let mut writing = JoinSet::new();
        for writer in writers {
            writing.spawn(writer.clone().write(gateway.url(""), Arc::clone(&begun)));
        }
        timeout(LIMIT, begun.notified()).await.expect("nobody was answered");
        // The load goes on for that long; the wait is the point of it.
        let _ = timeout(delay, std::future::pending::<()>()).await;
        let ended = gateway.process.kill();
        assert_eq!(ended.code, None, "{ended:?}");
        timeout(LIMIT, writing.join_all()).await.expect("a client hangs").into_iter().flatten().collect()
    }

    /// Whether the last line of the log was cut.
    fn torn(&self) -> bool {
        std::fs::read(self.place.log()).unwrap().last().is_some_and(|&byte| byte != b'\n')
    }

    /// Everything stored and everything told has its decision; everything told is stored.
    async fn check(&self, gateway: &Running, writers: &[Writer], told: &[String]) -> usize {
        let mut stored = HashSet::new();
        for writer in writers {
            let own = writer.scope.starts_with("agent:");
            let key = if own { &self.agent } else { &self.service };
            stored.extend(writer.stored(&gateway.url(""), key).await);
        }
        let records = self.place.records();
        let mut allowed: HashMap<&str, Vec<&str>> = HashMap::new();
        for record in &records {
            if record["action"] == "memory:write" && record["outcome"] == "allow" {
                let id = record["request_id"].as_str().unwrap();
                allowed.entry(id).or_default().push(record["resource"].as_str().unwrap());
            }
        }
        for name in stored.iter().chain(told) {
            let resources = allowed.get(name.as_str()).map(Vec::as_slice);
            assert!(
                matches!(resources, Some([resource]) if resource.contains(name.as_str())),
                "`{name}` happened, its record is {resources:?}"
            );
        }
        for name in told {
            assert!(stored.contains(name), "`{name}` was answered and is lost");
        }
        let verified = self.place.verify();
        assert_eq!((verified.code, &verified.json()["ok"]), (Some(0), &json!(true)), "{verified:?}");
        // The gateway that runs again has records of its own: of a rotation, of a checkpoint.
        assert!(verified.json()["records"].as_u64().unwrap() >= records.len() as u64, "{verified:?}");
        stored.len()
    }
}

async fn crash(rounds: usize, seed: u64) {
    println!("CAXTON_CRASH_SEED={seed} CAXTON_CRASH_ROUNDS={rounds}");
    let mut random = Random(seed);
    let crash = Crash::new(rounds);
    let mut gateway = crash.place.start();
    let mut torn_lines = 0;
    for round in 0..rounds {
        let delay = Duration::from_micros(random.next() % LONGEST_DELAY);
        let writers = crash.writers(round);
        let told = crash.kill_under_load(gateway, &writers, delay).await;
        let torn = crash.torn();
        gateway = crash.place.start();
        let stored = crash.check(&gateway, &writers, &told).await;
        println!(
            "round {round}: killed after {delay:?}, {} answers, {stored} stored, torn: {torn}",
            told.len()
        );
        // Whether a kill tears a line is chance; that a torn line is said and kept, and a whole one is not, is none.
        assert_eq!(gateway.process.heard().contains("audit_repaired"), torn, "{}", gateway.process.heard());
        torn_lines += usize::from(torn);
        assert!(!crash.torn());
        assert_eq!(torn_files(&crash.place).len(), torn_lines);
    }
    let ended = gateway.stop();
    assert_eq!(ended.code, Some(0), "{ended:?}");
}

fn torn_files(place: &Place) -> Vec<String> {
    let names = std::fs::read_dir(place.path().join("data")).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with("audit.log.torn-")).collect()
}

fn seed() -> u64 {
    number("CAXTON_CRASH_SEED").unwrap_or_else(|| RandomState::new().hash_one("a seed"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_under_load_leaves_no_effect_without_its_record() {
    crash(3, seed()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes; `tests/nightly` runs it"]
async fn many_kills_under_load_leave_no_effect_without_its_record() {
    let rounds = number("CAXTON_CRASH_ROUNDS").unwrap_or(50);
    crash(usize::try_from(rounds).unwrap().clamp(1, MOST - 1), seed()).await;
}

/// A log with a few records, of a gateway that was stopped in order.
async fn place_with_a_log() -> Place {
    let place = Place::new("");
    let key = place.service("writer", "memory:write");
    let gateway = place.start();
    let writer = Writer {
        client: Client::new(),
        key,
        scope: "workspace:desk".to_owned(),
        prefix: "before".to_owned(),
        most: 3,
    };
    let told = writer.write(gateway.url(""), Arc::new(Notify::new())).await;
    assert_eq!(told.len(), 3);
    assert_eq!(gateway.stop().code, Some(0));
    place
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_a_line_is_moved_aside_and_said() {
    let place = place_with_a_log().await;
    let whole = std::fs::read_to_string(place.log()).unwrap();
    let last = whole.lines().next_back().unwrap();
    let half = &last[..last.len() / 2];
    std::fs::write(place.log(), format!("{whole}{half}")).unwrap();
    // A torn end is no violation; whoever looks is told of it.
    let verified = place.verify();
    assert_eq!((verified.code, &verified.json()["torn_tail"]), (Some(0), &json!(half.len())), "{verified:?}");
    assert!(verified.stderr.contains("of a truncated line"), "{verified:?}");

    let ended = place.start().stop();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let kept = torn_files(&place);
    let [kept] = kept.as_slice() else { panic!("{kept:?}") };
    assert_eq!(std::fs::read_to_string(place.path().join("data").join(kept)).unwrap(), half);
    let said = ended.log_lines();
    let said: Vec<_> = said.iter().filter(|line| line["fields"]["event_type"] == "audit_repaired").collect();
    let [said] = said.as_slice() else { panic!("{ended:?}") };
    assert_eq!((&said["target"], &said["level"]), (&json!("SECURITY"), &json!("WARN")));
    let details = said["fields"]["details"].as_str().unwrap();
    assert!(details.contains(kept) && details.contains(&format!("{} bytes", half.len())), "{details}");

    // What was whole is untouched, and the chain goes on from it.
    let now = std::fs::read_to_string(place.log()).unwrap();
    assert!(now.starts_with(&whole) && now.len() > whole.len());
    let verified = place.verify();
    assert_eq!((verified.code, &verified.json()["torn_tail"]), (Some(0), &json!(0)), "{verified:?}");
    // Once is enough.
    let ended = place.start().stop();
    assert!(!ended.stderr.contains("audit_repaired") && torn_files(&place).len() == 1, "{ended:?}");
}

/// A whole line that is wrong is not the work of a crash: the gateway does not go on from it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_whole_line_that_was_changed_is_not_repaired() {
    let place = place_with_a_log().await;
    let whole = std::fs::read_to_string(place.log()).unwrap();
    let at = whole.rfind("gateway_stopped").unwrap();
    let changed = format!("{}Gateway_stopped{}", &whole[..at], &whole[at + "gateway_stopped".len()..]);
    std::fs::write(place.log(), &changed).unwrap();
    let verified = place.verify();
    assert_eq!((verified.code, &verified.json()["ok"]), (Some(1), &json!(false)), "{verified:?}");
    let ended = child::run(place.path(), &["start", "--config", "caxton.yaml"]);
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert!(ended.stderr.contains("is damaged near its end"), "{ended:?}");
    assert!(ended.stderr.contains("help: run `caxton audit verify`"), "{ended:?}");
    assert_eq!(std::fs::read_to_string(place.log()).unwrap(), changed);
}

/// A copy by SQLite's own backup, from another process, as `docs/memory.md` recommends.
fn back_up(place: &Place, database: &str) {
    let text = "import sqlite3, sys\n\
                source, copy = sqlite3.connect(sys.argv[1], timeout=30), sqlite3.connect(sys.argv[2])\n\
                source.backup(copy)\nsource.close()\ncopy.close()";
    let data = place.path().join("data");
    let mut command = std::process::Command::new("python3");
    command.args(["-c", text]).arg(data.join(database)).arg(data.join(format!("{database}.copy")));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

/// A process that closes a database whose locks are gone takes the log for left over and removes it: what the gateway
/// commits from then on would be in a file without a name.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_beside_a_running_gateway_loses_nothing_and_a_revocation_still_counts() {
    let crash = Crash::new(1);
    let revoked = crash.place.service("leaver", "memory:write,memory:read");
    let gateway = crash.place.start();
    let mut told = Vec::new();
    let mut writers = Vec::new();
    for part in 0..3 {
        for database in ["memory.db", "keys.db"] {
            back_up(&crash.place, database);
        }
        let mut writer = crash.writers(part).swap_remove(0);
        writer.most = 5;
        told.extend(writer.clone().write(gateway.url(""), Arc::new(Notify::new())).await);
        writers.push(writer);
    }
    assert_eq!(told.len(), 15);
    let leaver = Writer { key: revoked.clone(), scope: "workspace:leavers".to_owned(), ..writers[0].clone() };
    assert_eq!(leaver.stored(&gateway.url(""), &revoked).await.len(), 0);

    // The key is revoked by another process, after the backups.
    let id = revoked.split('_').nth(2).unwrap();
    let ended = child::run(crash.place.path(), &["auth", "revoke-key", id, "--data-dir", "data"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let refused = |gateway: &Running| {
        let url = gateway.url("/v1/memory/workspace:leavers/entities");
        crash.client.get(url).header("x-api-key", &revoked).send()
    };
    assert_eq!(refused(&gateway).await.unwrap().status(), 401);

    let ended = gateway.process.kill();
    assert_eq!(ended.code, None, "{ended:?}");
    let gateway = crash.place.start();
    assert_eq!(crash.check(&gateway, &writers, &told).await, told.len());
    assert_eq!(refused(&gateway).await.unwrap().status(), 401);
    assert_eq!(gateway.stop().code, Some(0));
}
