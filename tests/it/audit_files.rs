//! The files of the decision log, as an operator has to do with them: rotation by the gateway and by `logrotate`, checkpoints
//! that are kept elsewhere, and proofs.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "helpers of tests"
)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::support::child::{Ended, LIMIT, Place, ROOMY, Running, run};
use crate::support::until;
use reqwest::Client;
use serde_json::json;

/// What the tests ask of the decision log.
const AUDIT: &str = "deadline: 10s, rotation_size: 64KiB, checkpoint_interval: 1s";

/// A gateway, and callers that ask it all the time until they are stopped.
struct Loaded {
    running: Running,
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    callers: Vec<tokio::task::JoinHandle<()>>,
}

impl Loaded {
    fn start(place: &Place, key: &str) -> Self {
        let running = place.start();
        let stop = Arc::new(AtomicBool::new(false));
        let answered = Arc::new(AtomicU64::new(0));
        let client = Client::builder().timeout(LIMIT).build().unwrap();
        let callers = (0..3)
            .map(|_| {
                let request =
                    client.get(running.url("/v1/memory/workspace:w/entities")).header("x-api-key", key);
                let (stop, answered) = (Arc::clone(&stop), Arc::clone(&answered));
                tokio::spawn(async move {
                    while !stop.load(Ordering::Relaxed) {
                        let response = request.try_clone().unwrap().send().await.unwrap();
                        assert_eq!(response.status(), 200, "the gate stays open");
                        answered.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        Self { running, stop, answered, callers }
    }

    /// Waits until so many more were answered.
    async fn answers(&self, more: u64) {
        let wanted = self.answered.load(Ordering::Relaxed) + more;
        until("answers", async || self.answered.load(Ordering::Relaxed) >= wanted).await;
    }

    /// Stops callers and gateway; how many were answered.
    async fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        for caller in self.callers {
            caller.await.unwrap();
        }
        let ended = self.running.stop();
        assert_eq!(ended.code, Some(0), "{ended:?}");
        self.answered.load(Ordering::Relaxed)
    }
}

fn place() -> (Place, String) {
    let place = Place::new(ROOMY);
    place.edit("deadline: 10s", AUDIT);
    let key = place.service("reader", "memory:read");
    (place, key)
}

fn audit(place: &Place, arguments: &[&str]) -> Ended {
    run(place.path(), &[&["audit"], arguments].concat())
}

fn segments(place: &Place) -> Vec<PathBuf> {
    let folder = place.path().join("data/audit.log.segments");
    let mut found: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.retain(|path| path.extension().is_some_and(|ending| ending == "zst"));
    found.sort();
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gateway_rotates_its_log_under_load_and_nothing_is_missing() {
    let (place, key) = place();
    let loaded = Loaded::start(&place, &key);
    until("three segments", async || segments(&place).len() >= 3).await;
    let answered = loaded.stop().await;
    let records = place.records();
    let reads = records
        .iter()
        .filter(|record| record["action"] == "memory:read" || record["action"] == "memory:list");
    assert!(reads.count() as u64 >= answered, "{answered} answers");
    let named = |name: &str| records.iter().filter(|record| record["event"] == name).count();
    assert!(named("audit_rotated") >= 3 && named("audit_checkpoint") >= 1, "{}", named("audit_checkpoint"));
    let verified = place.verify();
    assert_eq!(verified.code, Some(0), "{verified:?}");
    let report = verified.json();
    assert_eq!(report["records"], records.len(), "{report}");
    assert_eq!(report["checkpoints"], json!([records.len()]), "the last checkpoint is signed at the end");
    // What reads the log reads all of it.
    let found = audit(&place, &["query", "--log", "data/audit.log", "--id", "1", "--json"]);
    assert_eq!(found.json()[0]["seq"], 1, "{found:?}");
}

/// `logrotate` with this configuration for the log, now.
fn logrotate(place: &Place, how: &str) {
    let file = place.path().join("logrotate.conf");
    let log = place.log();
    std::fs::write(&file, format!("{} {{\n  rotate 5\n  {how}\n}}\n", log.display())).unwrap();
    let state = place.path().join("logrotate.state");
    let done =
        Command::new("/usr/sbin/logrotate").arg("-f").arg("-s").args([&state, &file]).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn logrotate_does_not_close_the_gate() {
    if !Path::new("/usr/sbin/logrotate").exists() {
        assert!(std::env::var_os("CAXTON_TESTS").is_none(), "logrotate is not installed");
        return;
    }
    let (place, key) = place();
    place.edit("rotation_size: 64KiB", "rotation_size: 64MiB");
    let loaded = Loaded::start(&place, &key);
    loaded.answers(50).await;
    for (how, moved) in [("create", 1), ("nocreate", 2)] {
        logrotate(&place, how);
        loaded.answers(50).await;
        until("the move is on record", async || {
            place.records().iter().filter(|record| record["event"] == "audit_file_moved").count() == moved
        })
        .await;
    }
    let verified = place.verify();
    assert_eq!((verified.code, &verified.json()["cut"]), (Some(0), &json!(null)), "{verified:?}");
    logrotate(&place, "copytruncate");
    loaded.answers(50).await;
    until("the cut is sealed", async || {
        let verified = place.verify();
        verified.code == Some(0) && verified.json()["cut"].as_array().is_some_and(|cut| cut.len() == 1)
    })
    .await;
    loaded.stop().await;
    // The copy that logrotate made has what was cut off.
    let copied = std::fs::read_to_string(place.path().join("data/audit.log.1")).unwrap();
    let report = place.verify().json();
    let first = copied.lines().next().unwrap();
    assert!(first.contains(&format!("\"seq\":{},", report["cut"][0][0])), "{first}");
    let again = place.start();
    assert_eq!(again.stop().code, Some(0), "it starts on such a log");
}

/// A log with three hundred records and a last checkpoint, and an older checkpoint that was kept elsewhere.
async fn kept_elsewhere() -> Place {
    let (place, key) = place();
    let loaded = Loaded::start(&place, &key);
    let checkpoint = place.path().join("data/audit.log.checkpoint");
    until("a checkpoint", async || checkpoint.exists()).await;
    std::fs::copy(&checkpoint, place.path().join("older")).unwrap();
    std::fs::copy(place.path().join("data/audit.log.pub"), place.path().join("key.pub")).unwrap();
    loaded.answers(300).await;
    loaded.stop().await;
    place
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_that_was_kept_elsewhere_is_compared() {
    let place = kept_elsewhere().await;
    let verify = |arguments: &[&str]| audit(&place, &[&["verify", "data/audit.log"], arguments].concat());
    let key = std::fs::read_to_string(place.path().join("key.pub")).unwrap();
    for key in ["key.pub", key.trim()] {
        let sound = verify(&["--checkpoint", "older", "--key", key]);
        assert_eq!(sound.code, Some(0), "{sound:?}");
        assert!(sound.stdout.contains("signed checkpoint: agrees with the first"), "{sound:?}");
    }
    for (arguments, said) in [
        (&["--checkpoint", "nowhere"][..], "`nowhere` cannot be used"),
        (&["--checkpoint", "key.pub"], "it is not a signed note"),
        (&["--key", "older"], "is not the public key of a decision log"),
        (&["--key", "hello"], "is not the public key of a decision log"),
    ] {
        let refused = verify(arguments);
        assert!(refused.code == Some(2) && refused.stderr.contains(said), "{arguments:?} {refused:?}");
    }
    // The last segment and everything after it are gone, and the checkpoint beside the log with them.
    let newest = segments(&place).pop();
    for file in [place.log(), place.path().join("data/audit.log.checkpoint")].into_iter().chain(newest) {
        std::fs::remove_file(file).unwrap();
    }
    std::fs::write(place.log(), "").unwrap();
    std::fs::copy(place.path().join("older"), place.path().join("data/audit.log.checkpoint")).unwrap();
    let started = Running::try_start(place.path(), &["--config", "caxton.yaml"]);
    let refused = started.err().unwrap();
    assert!(
        refused.code != Some(0) && refused.stderr.contains("are missing in the decision log"),
        "{refused:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proof_convinces_one_who_has_only_the_key() {
    let place = kept_elsewhere().await;
    let write = |name: &str, text: &str| std::fs::write(place.path().join(name), text).unwrap();
    let prove =
        |arguments: &[&str]| audit(&place, &[&["prove", "--log", "data/audit.log"], arguments].concat());
    let check =
        |arguments: &[&str]| audit(&place, &[&["check-proof", "--key", "key.pub"], arguments].concat());
    let found = audit(&place, &["query", "--log", "data/audit.log", "--id", "150", "--json"]);
    write("record.json", &found.stdout);
    let id = found.json()[0]["decision_id"].as_str().unwrap().to_owned();
    for named in ["150", &id] {
        let proof = prove(&[named]);
        assert!(
            proof.code == Some(0) && proof.stdout.starts_with("c2sp.org/tlog-proof@v1\nindex 149\n"),
            "{proof:?}"
        );
        write("proof", &proof.stdout);
        let checked = check(&["proof", "--record", "record.json"]);
        assert!(
            checked.code == Some(0) && checked.stdout.starts_with("ok: it is record 150 of the log"),
            "{checked:?}"
        );
    }
    let changed = found.stdout.replace("\"allow\"", "\"deny_default\"");
    assert_ne!(changed, found.stdout);
    write("record.json", &changed);
    let checked = check(&["proof", "--record", "record.json"]);
    assert!(checked.code == Some(1) && checked.stdout.starts_with("not ok"), "{checked:?}");
    let grown = prove(&["--since", "older"]);
    assert_eq!(grown.code, Some(0), "{grown:?}");
    write("grown", &grown.stdout);
    let checked = check(&["grown"]);
    assert!(checked.code == Some(0) && checked.stdout.contains("continues the one of"), "{checked:?}");
    write("grown", &grown.stdout.replacen('A', "B", 3));
    let checked = check(&["grown"]);
    assert_ne!(checked.code, Some(0), "{checked:?}");
    for (refused, said) in [
        (prove(&["100000"]), "is newer than the last checkpoint"),
        (prove(&["nothing"]), "there is no record of `nothing`"),
        (check(&["proof"]), "name the file with it, `--record FILE`"),
        (check(&["older"]), "it is not a proof"),
    ] {
        assert!(refused.code == Some(2) && refused.stderr.contains(said), "{refused:?}");
    }
}
