//! Appending, closing, recovering.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use super::*;
use crate::audit::verify::verify;
use crate::audit::{AuditError, Durability, FileFault, JournalFault};

fn fault(error: AuditError) -> JournalFault {
    match error {
        AuditError::Unavailable(cause) => cause,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_receipt_comes_after_the_line() {
    let place = TestLog::new();
    let (journal, recovery) = place.open();
    assert_eq!((recovery.last_seq, recovery.torn), (0, None));
    let record = whole();
    let receipt = journal.append(record.clone()).await.unwrap();
    assert_eq!((receipt.decision(), receipt.seq()), (record.decision_id, 1));
    assert_eq!(place.text(), lines(&[record]));
    assert!(journal.available());
}

#[tokio::test]
async fn the_log_is_private() {
    let place = TestLog::new();
    let path = place.directory.path().join("a/b/audit.log");
    let settings = Settings { path: path.clone(), ..place.settings() };
    let (_journal, _) = Journal::open(settings, Arc::new(Metrics::new())).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
}

#[tokio::test]
async fn a_record_that_is_not_confirmed_is_counted() {
    let place = TestLog::new();
    let metrics = Arc::new(Metrics::new());
    let (journal, _) = Journal::open(place.settings(), Arc::clone(&metrics)).unwrap();
    journal.append(event()).await.unwrap();
    assert_eq!(metrics.audit_dropped.get(), 0);
    journal.close();
    assert!(journal.append(event()).await.is_err());
    assert_eq!(metrics.audit_dropped.get(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_tasks_write_one_chain() {
    for durability in [Durability::Written, Durability::Synced] {
        let place = TestLog::new();
        // A queue shorter than the number of tasks: some have to wait for a slot.
        let settings = Settings { durability, queue: 8, ..place.settings() };
        let metrics = Arc::new(Metrics::new());
        let (journal, _) = Journal::open(settings, Arc::clone(&metrics)).unwrap();
        let tasks: Vec<_> = (0..64)
            .map(|_| {
                let journal = journal.clone();
                tokio::spawn(async move {
                    let mut seqs = Vec::new();
                    for _ in 0..20 {
                        seqs.push(journal.append(event()).await.unwrap().seq());
                    }
                    seqs
                })
            })
            .collect();
        let mut seqs = BTreeSet::new();
        for task in tasks {
            let own = task.await.unwrap();
            assert!(own.is_sorted(), "a caller's records are in its own order");
            seqs.extend(own);
        }
        assert_eq!(seqs, (1..=1280).collect(), "every receipt has its own number");
        journal.flush().await.unwrap();
        assert_eq!(verify(&place.log()).unwrap().records, 1280);
        assert_eq!((metrics.audit_queue_depth.get(), metrics.audit_dropped.get()), (0, 0));
    }
}

#[tokio::test]
async fn a_record_that_was_queued_is_written_though_its_caller_went_away() {
    let place = TestLog::new();
    let (journal, _) = place.open();
    {
        let append = journal.append(event());
        tokio::pin!(append);
        // Polled once: the record is queued, then the caller goes.
        let _ = futures::poll!(append.as_mut());
    }
    let receipt = journal.append(event()).await.unwrap();
    assert_eq!(receipt.seq(), 2);
    assert_eq!(verify(&place.log()).unwrap().records, 2);
}

#[tokio::test]
async fn a_caller_that_goes_away_leaves_its_record_to_the_thread() {
    let place = TestLog::new();
    let (journal, _) = place.open();
    {
        let append = journal.append(event());
        tokio::pin!(append);
        let _ = futures::poll!(append.as_mut());
        assert_eq!(place.text(), "", "it lets others go first");
    }
    // No other append follows it. The flush is the thread's as well, and comes after what was left.
    journal.flush().await.unwrap();
    assert_eq!(verify(&place.log()).unwrap().records, 1);
}

#[tokio::test]
async fn callers_that_are_ready_together_share_one_write() {
    let place = TestLog::new();
    let (journal, _) = place.open();
    let appends = (0..5).map(|_| journal.append(event()));
    let mut appends: Vec<_> = appends.map(Box::pin).collect();
    for append in &mut appends {
        assert!(futures::poll!(append.as_mut()).is_pending());
    }
    assert_eq!(place.text(), "");
    // The first to come round writes for all; the others find their receipts.
    let first = appends.remove(0).await.unwrap();
    assert_eq!((first.seq(), place.text().lines().count()), (1, 5));
    for (append, seq) in appends.into_iter().zip(2..) {
        assert_eq!(futures::FutureExt::now_or_never(append).unwrap().unwrap().seq(), seq);
    }
}

#[tokio::test]
async fn an_append_that_is_given_up_does_not_stay_on_the_gauge() {
    let place = TestLog::new();
    let metrics = Arc::new(Metrics::new());
    let (journal, _) = Journal::open(place.settings(), Arc::clone(&metrics)).unwrap();
    {
        let append = journal.append(event());
        tokio::pin!(append);
        let _ = futures::poll!(append.as_mut());
        assert_eq!(metrics.audit_queue_depth.get(), 1);
    }
    assert_eq!(metrics.audit_queue_depth.get(), 0);
}

#[tokio::test]
async fn the_chain_goes_on_after_a_restart() {
    let place = TestLog::new();
    for round in 1..=3 {
        let (journal, recovery) = place.open();
        assert_eq!(recovery.last_seq, round - 1);
        assert_eq!(journal.append(event()).await.unwrap().seq(), round);
    }
    assert_eq!(verify(&place.log()).unwrap().records, 3);
}

#[tokio::test]
async fn a_closed_journal_gives_the_file_back_and_takes_nothing() {
    let place = TestLog::new();
    let (journal, _) = place.open();
    let other = journal.clone();
    let _ = journal.append(event()).await.unwrap();
    journal.close();
    assert!(!other.available());
    assert!(matches!(fault(other.append(event()).await.unwrap_err()), JournalFault::Closed));
    assert!(other.flush().await.is_err());
    let (again, recovery) = place.open();
    assert_eq!(recovery.last_seq, 1);
    assert!(again.available());
}

#[tokio::test]
async fn two_gateways_cannot_share_a_log() {
    let place = TestLog::new();
    let (_journal, _) = place.open();
    let refused = Journal::open(place.settings(), Arc::new(Metrics::new())).unwrap_err();
    assert!(matches!(refused, AuditError::Locked { .. }), "{refused:?}");
    assert!(refused.help().is_some());
}

#[test]
fn a_link_or_a_directory_is_not_a_log() {
    let place = TestLog::new();
    let target = place.directory.path().join("elsewhere");
    fs::write(&target, "").unwrap();
    std::os::unix::fs::symlink(&target, place.log()).unwrap();
    let open = || Journal::open(place.settings(), Arc::new(Metrics::new())).unwrap_err();
    assert!(matches!(open(), AuditError::NotAFile { .. }));
    fs::remove_file(place.log()).unwrap();
    fs::create_dir(place.log()).unwrap();
    assert!(matches!(open(), AuditError::NotAFile { .. }));
}

#[test]
fn settings_that_cannot_work_are_refused() {
    let place = TestLog::new();
    let good = place.settings();
    let bad = [
        Settings { queue: 0, ..good.clone() },
        Settings { deadline: Duration::ZERO, ..good.clone() },
        Settings { fsync_interval: Duration::ZERO, ..good.clone() },
        Settings { retry: Duration::ZERO, ..good.clone() },
        Settings { record_bytes: 100, ..good.clone() },
        Settings { rotation_bytes: 0, ..good.clone() },
        Settings { rotation_interval: Duration::ZERO, ..good.clone() },
        Settings { checkpoint_interval: Duration::ZERO, ..good.clone() },
        Settings { record_bytes: 2 << 20, ..good },
    ];
    for settings in bad {
        let refused = Journal::open(settings, Arc::new(Metrics::new())).unwrap_err();
        assert!(matches!(refused, AuditError::Settings(_)), "{refused:?}");
    }
}

/// The log as a crash leaves it when it cuts the last line at every place there is.
#[tokio::test]
async fn a_torn_last_line_is_kept_aside_wherever_it_was_cut() {
    let whole_text = TestLog::with_lines(3).text();
    let third = whole_text.trim_end().rfind('\n').unwrap() + 1;
    for cut in third + 1..whole_text.len() {
        let place = TestLog::new();
        fs::write(place.log(), &whole_text[..cut]).unwrap();
        let (journal, recovery) = place.open();
        let torn = recovery.torn.unwrap();
        assert_eq!((recovery.last_seq, torn.bytes), (2, (cut - third) as u64));
        assert_eq!(torn.saved_to, place.directory.path().join("audit.log.torn-3"));
        assert_eq!(fs::read_to_string(torn.saved_to).unwrap(), whole_text[third..cut]);
        assert_eq!(journal.append(event()).await.unwrap().seq(), 3);
        assert_eq!(verify(&place.log()).unwrap().records, 3);
    }
}

#[test]
fn torn_lines_of_several_crashes_are_all_kept() {
    let place = TestLog::new();
    for name in ["audit.log.torn-1", "audit.log.torn-1.1", "audit.log.torn-1.2"] {
        OpenOptions::new().create(true).append(true).open(place.log()).unwrap().write_all(b"{\"a").unwrap();
        assert_eq!(place.open().1.torn.unwrap().saved_to, place.directory.path().join(name));
    }
}

#[test]
fn a_whole_line_that_is_wrong_is_no_crash_and_is_refused() {
    let text = TestLog::with_lines(5).text();
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let cases = [
        text.replacen("deny_explicit", "allow", 1),
        lines[..4].concat() + "{}\n",
        lines[..4].concat() + "\n",
        lines[..4].concat() + lines[2],
        lines[1..].concat(),
        text.clone() + "\0\0\0\n",
        text.clone() + &"x".repeat(3 << 20),
    ];
    for damaged in cases {
        let place = TestLog::new();
        fs::write(place.log(), &damaged).unwrap();
        let refused = Journal::open(place.settings(), Arc::new(Metrics::new())).unwrap_err();
        let is_first_missing = matches!(refused, AuditError::Missing { first: 1, last: 1, .. });
        assert!(is_first_missing || matches!(refused, AuditError::Damaged { .. }), "{refused:?}");
        assert_eq!(place.text(), damaged, "evidence is not touched");
    }
}

#[tokio::test]
async fn a_long_log_is_recovered_from_its_end() {
    let place = TestLog::new();
    let mut record = event();
    record.items = vec![whole().items.remove(0); 400];
    fs::write(place.log(), lines(&vec![record; 50])).unwrap();
    assert!(fs::metadata(place.log()).unwrap().len() > 3 << 20);
    let (journal, recovery) = place.open();
    assert_eq!(recovery.last_seq, 50);
    let _ = journal.append(event()).await.unwrap();
    assert_eq!(verify(&place.log()).unwrap().records, 51);
}

#[tokio::test]
async fn a_log_that_is_replaced_by_something_else_closes_the_gate_until_that_is_gone() {
    let place = TestLog::new();
    let (journal, _) = place.open();
    let _ = journal.append(event()).await.unwrap();
    let elsewhere = place.directory.path().join("moved");
    fs::rename(place.log(), &elsewhere).unwrap();
    let refused = |error| match fault(error) {
        JournalFault::File(fault) => assert!(matches!(*fault, FileFault::Replaced(_)), "{fault}"),
        other => panic!("{other}"),
    };
    fs::write(place.log(), "something\n").unwrap();
    refused(journal.append(event()).await.unwrap_err());
    assert!(!journal.available());
    fs::remove_file(place.log()).unwrap();
    std::os::unix::fs::symlink(&elsewhere, place.log()).unwrap();
    refused(journal.append(event()).await.unwrap_err());
    fs::remove_file(place.log()).unwrap();
    // An empty file with a second name would stay in the hands of whoever has that name.
    fs::write(place.directory.path().join("second"), "").unwrap();
    fs::hard_link(place.directory.path().join("second"), place.log()).unwrap();
    refused(journal.append(event()).await.unwrap_err());
    fs::remove_file(place.log()).unwrap();
    assert_eq!(journal.append(event()).await.unwrap().seq(), 2);
    assert!(journal.available());
    assert_eq!(verify(&place.log()).unwrap().records, 2);
}

#[tokio::test]
async fn a_log_that_somebody_else_touches_closes_the_gate() {
    let place = TestLog::new();
    let (journal, _) = place.open();
    for _ in 0..2 {
        let _ = journal.append(event()).await.unwrap();
    }
    let good = place.text();
    let file = OpenOptions::new().append(true).open(place.log()).unwrap();
    (&file).write_all(b"{\"forged\":true}\n").unwrap();
    let expect_changed = |error| match fault(error) {
        JournalFault::File(fault) => assert!(matches!(*fault, FileFault::Changed { .. }), "{fault}"),
        other => panic!("{other}"),
    };
    expect_changed(journal.append(event()).await.unwrap_err());
    file.set_len(10).unwrap();
    expect_changed(journal.append(event()).await.unwrap_err());
    file.set_len(0).unwrap();
    (&file).write_all(good.as_bytes()).unwrap();
    assert_eq!(journal.append(event()).await.unwrap().seq(), 3);
}

#[tokio::test]
async fn an_oversized_record_is_refused_and_the_next_one_goes_on() {
    let place = TestLog::new();
    let (journal, _) = place.open();
    let mut record = event();
    record.event = Some(Box::leak("e".repeat(1 << 20).into_boxed_str()));
    assert!(matches!(journal.append(record).await.unwrap_err(), AuditError::TooLarge { .. }));
    assert_eq!(journal.append(event()).await.unwrap().seq(), 1);
    assert!(journal.available());
}
