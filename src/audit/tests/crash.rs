//! `kill -9` under load: whatever was acknowledged is on record, and the log goes on.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::process::{Command, Stdio};

use super::*;
use crate::audit::verify::verify;

const DIRECTORY: &str = "CAXTON_TEST_KILLED";
const ROUNDS: u64 = 10;

#[test]
fn what_was_acknowledged_survives_kill_minus_nine() {
    let place = TestLog::new();
    let acknowledged = place.directory.path().join("acknowledged");
    let mut total = 0;
    for round in 0..ROUNDS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "audit::tests::crash::child", "--ignored", "--test-threads=1"])
            .env(DIRECTORY, place.directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        // A different number of records each time, so that the blow falls at different moments.
        while fs::metadata(&acknowledged).map_or(0, |found| found.len() / 8) < total + 40 + round * 7 {
            assert!(child.try_wait().unwrap().is_none(), "the child must live until it is killed");
            std::thread::yield_now();
        }
        child.kill().unwrap();
        child.wait().unwrap();

        let seqs: Vec<u64> = fs::read(&acknowledged)
            .unwrap()
            .as_chunks::<8>()
            .0
            .iter()
            .map(|bytes| u64::from_le_bytes(*bytes))
            .collect();
        total = seqs.len() as u64;
        let (journal, recovery) = place.open();
        journal.close();
        let report = verify(&place.log()).unwrap();
        assert_eq!((report.records, report.torn_tail), (recovery.last_seq, 0));
        let last = seqs.iter().max().copied().unwrap_or_default();
        assert!(report.records >= last, "record {last} was acknowledged, the log ends at {}", report.records);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "run and killed by the test above"]
async fn child() {
    let directory = std::path::PathBuf::from(std::env::var_os(DIRECTORY).unwrap());
    let settings = Settings {
        path: directory.join("audit.log"),
        deadline: std::time::Duration::from_secs(180),
        ..Settings::default()
    };
    let (journal, _) = Journal::open(settings, Arc::new(Metrics::new())).unwrap();
    let tasks = (0..16).map(|_| {
        let journal = journal.clone();
        let mut acknowledged =
            OpenOptions::new().create(true).append(true).open(directory.join("acknowledged")).unwrap();
        tokio::spawn(async move {
            loop {
                let receipt = journal.append(whole()).await.unwrap();
                // The effect: it stays even though the process is killed in the next moment.
                acknowledged.write_all(&receipt.seq().to_le_bytes()).unwrap();
            }
        })
    });
    futures::future::join_all(tasks.collect::<Vec<_>>()).await;
}
