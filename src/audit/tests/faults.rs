//! A file that cannot grow: a process of its own with a limit on the size of its files.

use std::process::{Command, Stdio};

use super::*;
use crate::audit::verify::verify;
use crate::audit::{AuditError, Durability, FileFault, JournalFault};

const DIRECTORY: &str = "CAXTON_TEST_FULL_DISK";

/// Runs `child` below in a process whose files may have 16 KiB. `SIGXFSZ` is ignored, so that `write` fails as on a
/// full disk: after it took a part.
#[test]
fn a_full_disk_closes_the_gate_and_opens_it_again() {
    let place = TestLog::new();
    let test = std::env::current_exe().unwrap();
    let script = "trap '' XFSZ; ulimit -S -f \"$1\"; shift; exec \"$@\"";
    // dash counts in blocks of 512 bytes, bash in 1024; either is small.
    let status = Command::new("sh")
        .args(["-c", script, "sh", "32"])
        .arg(test)
        .args(["--exact", "audit::tests::faults::child", "--ignored", "--test-threads=1"])
        .env(DIRECTORY, place.directory.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&status.stdout);
    assert!(status.status.success() && said.contains("1 passed"), "{said}");
    assert_eq!(verify(&place.log()).unwrap().torn_tail, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "run by the test above, under a limit"]
async fn child() {
    let directory = std::env::var_os(DIRECTORY).unwrap();
    for durability in [Durability::Written, Durability::Synced] {
        let path = Path::new(&directory).join("audit.log");
        let _ = std::fs::remove_file(&path);
        limit("16384");
        let settings = Settings {
            path: path.clone(),
            durability,
            deadline: std::time::Duration::from_secs(180),
            retry: std::time::Duration::from_millis(5),
            ..Settings::default()
        };
        fill_and_recover(settings).await;
    }
}

async fn fill_and_recover(settings: Settings) {
    let path = settings.path.clone();
    let metrics = Arc::new(Metrics::new());
    let (journal, _) = Journal::open(settings, Arc::clone(&metrics)).unwrap();
    let mut taken = 0;
    let refused = loop {
        // Several at once, so that the batch that fails has records that would have fitted.
        let batch = futures::future::join_all((0..5).map(|_| journal.append(whole()))).await;
        let count = batch.len();
        let mut errors: Vec<AuditError> = batch.into_iter().filter_map(Result::err).collect();
        taken += count - errors.len();
        if let Some(error) = errors.pop() {
            break error;
        }
    };
    let AuditError::Unavailable(JournalFault::File(fault)) = refused else { panic!("{refused:?}") };
    assert!(matches!(*fault, FileFault::Io(_)), "{fault}");
    let sink = crate::telemetry::SinkLabels { sink: "file".to_owned() };
    assert!(metrics.audit_sink_errors.get_or_create(&sink).get() > 0);

    let report = verify(&path).unwrap();
    assert_eq!((report.records, report.torn_tail), (taken as u64, 0), "nothing of a refused record is left");
    // Where five did not fit, one may.
    while journal.append(whole()).await.is_ok() {
        taken += 1;
    }
    assert_eq!(verify(&path).unwrap().records, taken as u64);

    limit("unlimited");
    // By itself, without a request that has to fail first.
    while !journal.available() {
        tokio::task::yield_now().await;
    }
    assert_eq!(journal.append(whole()).await.unwrap().seq(), taken as u64 + 1);
    assert!(journal.available());
    journal.close();
    assert_eq!(verify(&path).unwrap().records, taken as u64 + 1);
}

/// Sets the soft limit of this process.
fn limit(bytes: &str) {
    let own = std::process::id().to_string();
    let status =
        Command::new("prlimit").args(["--pid", &own, &format!("--fsize={bytes}:")]).status().unwrap();
    assert!(status.success());
}
