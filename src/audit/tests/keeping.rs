//! Rotation, seals, checkpoints, retention: through the journal and its keeper, and what is found when somebody changes the
//! files.

use std::fs::{self, OpenOptions};
use std::time::Duration;

use super::*;
use crate::audit::follow::Follower;
use crate::audit::line::check_next;
use crate::audit::record_reader::{ChainCheck, RecordReader};
use crate::audit::verify::{Trusted, VerifyFailure, VerifyReport, verify, verify_with};
use crate::audit::{
    AuditError, Keeper, KeeperEvent, NoteVerifier, SealCause, checkpoint_file, public_key_file,
    segment_folder, segments,
};

/// The time of the records of these tests, in milliseconds since the Unix epoch.
const NOW: i64 = 1_768_039_200_120;
const DAY: i64 = 86_400_000;

/// A journal with its keeper.
struct Kept {
    place: TestLog,
    settings: Settings,
    journal: Journal,
    keeper: Keeper,
}

impl Kept {
    fn new(change: impl FnOnce(&mut Settings)) -> Self {
        let place = TestLog::new();
        let mut settings = place.settings();
        change(&mut settings);
        let (journal, mut keeper) = open(&settings).unwrap();
        keeper.deletion_pace = Duration::ZERO;
        Self { place, settings, journal, keeper }
    }

    fn log(&self) -> PathBuf {
        self.place.log()
    }

    async fn append(&self, count: usize) {
        for _ in 0..count {
            let _ = self.journal.append(event()).await.unwrap();
        }
    }

    /// Closes the file as the settings of the tests ask for: a second after the first record in it.
    fn rotate(&mut self) -> Vec<KeeperEvent> {
        self.keeper.step(NOW + 1_000)
    }

    /// Ends this gateway and begins another one on the same log.
    fn restart(&mut self) -> Result<Recovery, AuditError> {
        self.journal.close();
        let (journal, recovery) = Journal::open(self.settings.clone(), Arc::new(Metrics::new()))?;
        self.keeper = Keeper::new(journal.clone(), self.settings.clone());
        self.keeper.deletion_pace = Duration::ZERO;
        self.journal = journal;
        Ok(recovery)
    }

    /// Steps until nothing is to be deleted any more, as one who records each deletion; the numbers that were deleted.
    fn delete(&mut self, now: i64) -> Vec<(u64, u64)> {
        let (mut deleted, mut idle) = (Vec::new(), 0);
        while idle < 2 {
            let events = self.keeper.step(now);
            let wanted = events.iter().find_map(|event| match event {
                KeeperEvent::Deleting { first, last } => Some((*first, *last)),
                _ => None,
            });
            if let Some((first, last)) = wanted {
                deleted.push((first, last));
                self.keeper.deletion_recorded(last);
            }
            // What was recorded is deleted by a step that says nothing.
            idle = if events.is_empty() { idle + 1 } else { 0 };
        }
        deleted
    }

    fn verify(&self) -> VerifyReport {
        verify(&self.log()).unwrap()
    }

    /// All numbers that a follower reads.
    fn followed(&self, after: u64) -> Vec<u64> {
        let mut follower = Follower::new(&self.log(), after);
        let mut numbers = Vec::new();
        while let Some(record) = follower.next_record().unwrap() {
            numbers.push(record.seq);
        }
        numbers
    }
}

fn open(settings: &Settings) -> Result<(Journal, Keeper), AuditError> {
    let (journal, _) = Journal::open(settings.clone(), Arc::new(Metrics::new()))?;
    let keeper = Keeper::new(journal.clone(), settings.clone());
    Ok((journal, keeper))
}

fn often(settings: &mut Settings) {
    settings.rotation_interval = Duration::from_secs(1);
}

fn plain(settings: &mut Settings) {
    often(settings);
    settings.compresses = false;
}

fn closed(cause: SealCause, first: u64, last: u64) -> KeeperEvent {
    KeeperEvent::Closed { cause, first, last }
}

#[tokio::test]
async fn segments_are_closed_sealed_and_compressed_and_the_chain_goes_on() {
    let mut kept = Kept::new(often);
    for round in 0..3 {
        kept.append(5).await;
        let events = kept.rotate();
        let first = round * 5 + 1;
        assert_eq!(events[0], closed(SealCause::Rotated, first, first + 4), "{events:?}");
        // One record that came after each.
        assert!(kept.rotate().is_empty(), "nothing to do");
    }
    kept.append(1).await;
    let found = segments(&kept.log()).unwrap();
    assert_eq!(
        found.iter().map(|s| (s.first, s.last, s.compressed)).collect::<Vec<_>>(),
        [(1, 5, true), (6, 10, true), (11, 15, true)]
    );
    let report = kept.verify();
    assert_eq!((report.records, report.segments, report.last_seq), (16, 3, Some(16)));
    assert_eq!(report.checkpoints, [15], "signed when the last segment was closed");
    for after in 0..=16 {
        assert_eq!(kept.followed(after), (after + 1..=16).collect::<Vec<_>>());
    }
    let mut records = RecordReader::open(&kept.log(), ChainCheck::Verify).unwrap();
    while records.next_record().unwrap().is_some() {}
    assert_eq!((records.proven().records, records.proven().without_beginning), (16, 0));
    assert_eq!(kept.restart().unwrap().last_seq, 16);
    kept.append(1).await;
    assert_eq!(kept.verify().records, 17);
    assert_eq!(kept.restart().unwrap().last_seq, 17);
}

#[tokio::test]
async fn a_file_is_closed_when_it_is_large() {
    let mut kept = Kept::new(|settings| settings.rotation_bytes = 2_000);
    kept.append(2).await;
    assert!(kept.keeper.step(NOW).is_empty());
    kept.append(3).await;
    assert_eq!(kept.keeper.step(NOW)[0], closed(SealCause::Rotated, 1, 5));
    assert_eq!(kept.verify().segments, 1);
}

#[tokio::test]
async fn checkpoints_are_signed_at_intervals_and_their_own_record_is_no_reason_for_one() {
    let mut kept = Kept::new(|_| {});
    assert!(kept.keeper.step(NOW).is_empty() && !checkpoint_file(&kept.log()).exists(), "no record yet");
    kept.append(3).await;
    assert!(kept.keeper.step(NOW).is_empty(), "the first one is not announced");
    assert_eq!(kept.verify().checkpoints, [3]);
    kept.append(2).await;
    assert!(kept.keeper.step(NOW + 59_999).is_empty());
    let events = kept.keeper.step(NOW + 60_000);
    let [KeeperEvent::Checkpoint { note }] = events.as_slice() else { panic!("{events:?}") };
    assert_eq!(fs::read_to_string(checkpoint_file(&kept.log())).unwrap(), *note);
    assert_eq!(kept.verify().checkpoints, [5]);
    kept.append(1).await;
    assert!(kept.keeper.step(NOW + 120_000).is_empty(), "that was the record of the checkpoint");
    kept.append(1).await;
    assert_eq!(kept.keeper.step(NOW + 180_000).len(), 1);
    assert!(kept.keeper.finish(NOW + 180_001).is_empty());
    assert_eq!(kept.verify().checkpoints, [7]);
}

#[tokio::test]
async fn what_is_missing_at_the_end_is_found_by_the_checkpoint_and_stops_the_start() {
    let mut kept = Kept::new(|_| {});
    kept.append(8).await;
    kept.keeper.step(NOW);
    kept.append(2).await;
    kept.journal.close();
    let whole = kept.place.text();
    let cut = |lines: usize| whole.split_inclusive('\n').take(lines).collect::<String>();
    for lines in (0..=10).rev() {
        fs::write(kept.log(), cut(lines)).unwrap();
        let verified = verify(&kept.log());
        let started = kept.restart();
        if lines >= 8 {
            assert_eq!(verified.unwrap().records, lines as u64, "not signed yet");
            assert_eq!(started.unwrap().last_seq, lines as u64);
            continue;
        }
        let first = lines as u64 + 1;
        assert!(
            matches!(verified, Err(VerifyFailure::Truncated { first: found, last: 8, .. }) if found == first),
            "{lines} {verified:?}"
        );
        let Err(AuditError::Missing { first: found, last: 8, .. }) = started else {
            panic!("{lines} {started:?}")
        };
        assert_eq!(found, first);
    }
    fs::remove_file(kept.log()).unwrap();
    assert!(matches!(kept.restart(), Err(AuditError::Missing { first: 1, last: 8, .. })));
    fs::write(kept.log(), whole).unwrap();
    assert_eq!(kept.restart().unwrap().last_seq, 10);
}

#[tokio::test]
async fn a_log_that_was_written_anew_does_not_agree_with_a_checkpoint() {
    let mut kept = Kept::new(|_| {});
    kept.append(4).await;
    kept.keeper.step(NOW);
    let elsewhere = kept.place.directory.path().join("kept");
    fs::copy(checkpoint_file(&kept.log()), &elsewhere).unwrap();
    let key = NoteVerifier::read(&public_key_file(&kept.log())).unwrap();
    kept.append(2).await;
    kept.keeper.finish(NOW);
    kept.journal.close();
    let trusted =
        |checkpoint: &Path| Trusted { key: Some(key.clone()), checkpoints: vec![checkpoint.to_owned()] };
    let report = verify_with(&kept.log(), &trusted(&elsewhere), &mut |_| {}).unwrap();
    assert_eq!(report.checkpoints, [4, 6]);
    // Every record computed anew, with one that says something else.
    let mut forged = vec![event(); 6];
    forged[1].outcome = Outcome::Allow;
    fs::write(kept.log(), lines(&forged)).unwrap();
    assert!(matches!(verify(&kept.log()), Err(VerifyFailure::Forked { size: 6, .. })));
    assert!(
        matches!(kept.restart(), Err(AuditError::Damaged { .. })),
        "its end is not the one that was signed"
    );
    // One who may write beside the log signs with a key of his own: the key that was kept elsewhere does not take it.
    for file in ["tree", "checkpoint", "key", "pub"] {
        fs::remove_file(kept.log().with_extension(format!("log.{file}"))).unwrap();
    }
    kept.restart().unwrap();
    kept.keeper.step(NOW);
    assert_eq!(verify(&kept.log()).unwrap().checkpoints, [6], "by itself it looks sound");
    let found = verify_with(&kept.log(), &trusted(&elsewhere), &mut |_| {});
    assert!(matches!(found, Err(VerifyFailure::Beside { .. })), "{found:?}");
    fs::remove_file(checkpoint_file(&kept.log())).unwrap();
    let found = verify_with(&kept.log(), &trusted(&elsewhere), &mut |_| {});
    assert!(
        matches!(found, Err(VerifyFailure::Beside { .. })),
        "the other one has signed the state: {found:?}"
    );
    fs::remove_file(kept.log().with_extension("log.tree")).unwrap();
    let found = verify_with(&kept.log(), &trusted(&elsewhere), &mut |_| {});
    assert!(matches!(found, Err(VerifyFailure::Forked { size: 4, .. })), "{found:?}");
}

#[tokio::test]
async fn retention_deletes_whole_segments_and_leaves_a_signed_tombstone() {
    let mut kept = Kept::new(|settings| {
        often(settings);
        settings.retention = Some(Duration::from_secs(90 * 86_400));
    });
    for _ in 0..3 {
        kept.append(4).await;
        kept.rotate();
    }
    kept.append(1).await;
    let old = kept.place.directory.path().join("old");
    fs::copy(checkpoint_file(&kept.log()), &old).unwrap();
    assert_eq!(kept.delete(NOW + 90 * DAY - 1), []);
    let waits = kept.keeper.step(NOW + 90 * DAY);
    assert_eq!(waits, [KeeperEvent::Deleting { first: 1, last: 4 }]);
    assert_eq!(segments(&kept.log()).unwrap().len(), 4, "not before it is on record");
    // The records have one time; the growing file was closed by then too, and its record is deleted as well.
    assert_eq!(kept.delete(NOW + 90 * DAY), [(1, 4), (5, 8), (9, 12), (13, 13)]);
    assert!(segments(&kept.log()).unwrap().is_empty());
    kept.append(2).await;
    let report = kept.verify();
    assert_eq!((report.records, report.first_seq, report.deleted_to), (2, Some(14), Some(13)));
    let trusted = Trusted { key: None, checkpoints: vec![old] };
    let report = verify_with(&kept.log(), &trusted, &mut |_| {}).unwrap();
    assert_eq!((report.checkpoints, report.checkpoints_too_old), (vec![13], vec![12]));
    assert_eq!(kept.restart().unwrap().last_seq, 15);
    kept.append(1).await;
    assert_eq!(kept.verify().last_seq, Some(16));
    // Without the tombstone the beginning is missing.
    fs::remove_file(segment_folder(&kept.log()).join("deleted.seal")).unwrap();
    assert!(verify(&kept.log()).is_err());
}

#[tokio::test]
async fn a_crash_between_the_steps_of_deleting_is_made_good() {
    let mut kept = Kept::new(plain);
    kept.append(4).await;
    kept.rotate();
    kept.append(1).await;
    let folder = segment_folder(&kept.log());
    let saved: Vec<(PathBuf, Vec<u8>)> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect();
    kept.settings.retention = Some(Duration::from_secs(1));
    kept.keeper = Keeper::new(kept.journal.clone(), kept.settings.clone());
    kept.keeper.deletion_pace = Duration::ZERO;
    kept.delete(NOW + 900);
    assert_eq!(kept.delete(NOW + 2_000), [(1, 4), (5, 5)]);
    // The tombstone was written, and the segment with its seal is still there.
    for (path, content) in &saved {
        fs::write(path, content).unwrap();
    }
    assert_eq!(kept.verify().deleted_to, Some(5));
    kept.delete(NOW + 5_000);
    assert!(saved.iter().all(|(path, _)| !path.exists()));
    assert_eq!(kept.verify().deleted_to, Some(5));
}

#[tokio::test]
async fn a_log_that_another_program_moves_stays_whole_and_the_gate_open() {
    for removed in [false, true] {
        let mut kept = Kept::new(|settings| settings.compresses = false);
        kept.append(3).await;
        let elsewhere = kept.place.directory.path().join("audit.log.1");
        match removed {
            true => fs::remove_file(kept.log()).unwrap(),
            false => fs::rename(kept.log(), &elsewhere).unwrap(),
        }
        kept.append(2).await;
        assert!(kept.journal.available());
        assert_eq!(kept.keeper.step(NOW)[0], closed(SealCause::Moved, 1, 3), "{removed}");
        // What the other program does with its name is its own affair.
        let _ = fs::remove_file(&elsewhere);
        assert_eq!((kept.verify().records, kept.verify().segments), (5, 1));
        assert_eq!(kept.followed(0), [1, 2, 3, 4, 5]);
        // As logrotate's `create` does it.
        fs::rename(kept.log(), &elsewhere).unwrap();
        fs::write(kept.log(), "").unwrap();
        assert_eq!(kept.keeper.step(NOW)[0], closed(SealCause::Moved, 4, 5), "also without a request");
        kept.append(1).await;
        assert_eq!(kept.verify().records, 6);
        let mode = fs::metadata(kept.log()).unwrap().permissions();
        assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode) & 0o777, 0o600);
        assert_eq!(kept.restart().unwrap().last_seq, 6);
    }
}

#[tokio::test]
async fn a_log_that_another_program_empties_goes_on_and_the_gap_is_signed() {
    let mut kept = Kept::new(|_| {});
    kept.append(3).await;
    let mut follower = Follower::new(&kept.log(), 0);
    assert_eq!(follower.next_record().unwrap().unwrap().seq, 1);
    OpenOptions::new().write(true).open(kept.log()).unwrap().set_len(0).unwrap();
    kept.append(2).await;
    assert_eq!(kept.keeper.step(NOW)[0], closed(SealCause::Cut, 1, 3));
    let report = kept.verify();
    assert_eq!((report.records, report.cut.as_slice(), report.last_seq), (2, &[(1, 3)][..], Some(5)));
    assert_eq!(kept.restart().unwrap().last_seq, 5);
    kept.append(1).await;
    assert_eq!(kept.verify().records, 3);
    // Emptied between the look at the file and the append, as the file then is: with the last record alone.
    let last = kept.place.text().split_inclusive('\n').next_back().unwrap().to_owned();
    let before = kept.place.text().len();
    fs::write(kept.log(), &last).unwrap();
    assert!(last.len() < before);
    kept.append(1).await;
    assert_eq!(kept.keeper.step(NOW)[0], closed(SealCause::Cut, 4, 5));
    assert_eq!(kept.verify().cut, [(1, 3), (4, 5)]);
    kept.append(1).await;
    // Emptied once more, and the gateway ends before the next record.
    OpenOptions::new().write(true).open(kept.log()).unwrap().set_len(0).unwrap();
    assert_eq!(kept.keeper.step(NOW)[0], closed(SealCause::Cut, 6, 8));
    assert_eq!(kept.restart().unwrap().last_seq, 8);
    assert_eq!(kept.verify().cut, [(1, 3), (4, 5), (6, 8)]);
    kept.append(1).await;
    assert_eq!(kept.verify().last_seq, Some(9));
}

#[tokio::test]
async fn a_crash_between_rotation_and_the_new_file_or_the_seal_is_made_good() {
    let mut kept = Kept::new(plain);
    kept.append(3).await;
    kept.rotate();
    kept.append(2).await;
    kept.journal.close();
    let folder = segment_folder(&kept.log());
    fs::rename(kept.log(), folder.join(format!("{:020}-{:020}.log", 4, 5))).unwrap();
    // Not sealed, not in a checkpoint, no growing file.
    assert_eq!(kept.restart().unwrap().last_seq, 5);
    kept.append(1).await;
    assert_eq!(kept.verify().segments, 2);
    kept.keeper.step(NOW);
    assert!(folder.join(format!("{:020}-{:020}.seal", 4, 5)).exists());
    assert_eq!(kept.verify().records, 6);
    // Compressed, and the plain file not removed yet; half a compressed one of another.
    let segment = &segments(&kept.log()).unwrap()[0];
    let plain = fs::read(&segment.path).unwrap();
    fs::write(segment.path.with_extension("log.zst"), zstd::encode_all(plain.as_slice(), 3).unwrap())
        .unwrap();
    fs::write(folder.join(format!("{:020}-{:020}.log.zst.new", 4, 5)), "half").unwrap();
    assert_eq!(kept.verify().records, 6);
    kept.settings.compresses = true;
    kept.restart().unwrap();
    kept.keeper.step(NOW);
    kept.keeper.step(NOW);
    assert!(segments(&kept.log()).unwrap().iter().all(|segment| segment.compressed));
    assert_eq!(kept.verify().records, 6);
}

#[tokio::test]
async fn a_segment_or_seal_that_is_changed_or_missing_is_found() {
    let mut kept = Kept::new(plain);
    for _ in 0..3 {
        kept.append(3).await;
        kept.rotate();
    }
    kept.append(1).await;
    let folder = segment_folder(&kept.log());
    let mut files: Vec<PathBuf> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert_eq!(files.len(), 6, "{files:?}");
    for file in &files {
        let content = fs::read(file).unwrap();
        for at in (0..content.len()).step_by(7) {
            let mut changed = content.clone();
            changed[at] ^= 1 << (at % 8);
            fs::write(file, changed).unwrap();
            assert!(verify(&kept.log()).is_err(), "{file:?} at {at}");
        }
        fs::remove_file(file).unwrap();
        // Of the newest, the seal may not be there yet.
        let is_newest_seal = *file == files[5];
        assert_eq!(verify(&kept.log()).is_err(), !is_newest_seal, "{file:?}");
        fs::write(file, content).unwrap();
    }
    // Segments in each other's places, and the seal of one under the name of another.
    for ending in ["log", "seal"] {
        let of = |number: usize| {
            files.iter().filter(|file| file.extension().unwrap() == ending).nth(number).unwrap()
        };
        let (one, other) = (fs::read(of(0)).unwrap(), fs::read(of(1)).unwrap());
        fs::write(of(0), &other).unwrap();
        fs::write(of(1), &one).unwrap();
        assert!(verify(&kept.log()).is_err());
        fs::write(of(0), &one).unwrap();
        fs::write(of(1), &other).unwrap();
    }
    kept.verify();
}

#[test]
fn the_key_belongs_to_the_log() {
    let place = TestLog::new();
    let key = place.log().with_extension("log.key");
    place.open().0.close();
    let elsewhere = place.directory.path().join("key");
    fs::rename(&key, &elsewhere).unwrap();
    let refused = || Journal::open(place.settings(), Arc::new(Metrics::new())).unwrap_err();
    assert!(matches!(refused(), AuditError::KeyMissing { .. }));
    fs::write(&key, "nonsense").unwrap();
    fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    assert!(matches!(refused(), AuditError::Key { .. }));
    let other = TestLog::new();
    other.open().0.close();
    fs::copy(other.log().with_extension("log.key"), &key).unwrap();
    assert!(matches!(refused(), AuditError::OtherKey { .. }));
    fs::remove_file(&key).unwrap();
    let settings = Settings { checkpoint_key: Some(elsewhere), ..place.settings() };
    Journal::open(settings, Arc::new(Metrics::new())).unwrap().0.close();
}

/// A log of `count` records in three segments and the file that grows, with nothing compressed.
async fn three_segments(count: usize) -> Kept {
    let mut kept = Kept::new(plain);
    for _ in 0..3 {
        kept.append(count / 4).await;
        kept.rotate();
    }
    kept.append(count - 3 * (count / 4)).await;
    kept.keeper.finish(NOW);
    kept.journal.close();
    kept
}

/// Every flip of a single bit in `content`, at every `step`th byte: the line that it is in does not follow the line before
/// it, or the end of the file is not whole.
fn flips_are_found(content: &[u8], mut last: ChainHead, step: usize) -> ChainHead {
    let mut start = 0_usize;
    for line in content.split_inclusive(|&byte| byte == b'\n') {
        for at in (start.next_multiple_of(step)..start + line.len()).step_by(step) {
            for bit in 0..8 {
                let mut flipped = line.to_vec();
                flipped[at - start] ^= 1 << bit;
                // What a reader takes for the line: up to the first line end.
                let first = flipped.split(|&byte| byte == b'\n').next().unwrap();
                let is_whole = flipped.contains(&b'\n');
                assert!(!is_whole || check_next(first, last).is_err(), "byte {at}, bit {bit}");
            }
        }
        last = check_next(line.strip_suffix(b"\n").unwrap(), last).unwrap();
        start += line.len();
    }
    last
}

async fn every_change_of_a_log_with_segments_is_found(step: usize) {
    let kept = three_segments(1_000).await;
    assert_eq!((kept.verify().records, kept.verify().segments), (1_000, 3));
    let files: Vec<PathBuf> =
        segments(&kept.log()).unwrap().into_iter().map(|segment| segment.path).chain([kept.log()]).collect();
    let mut last = ChainHead::GENESIS;
    for file in &files {
        let content = fs::read(file).unwrap();
        // The chain is checked line by line, so a line is checked against the one before it.
        last = flips_are_found(&content, last, step);
        let lines: Vec<&[u8]> = content.split_inclusive(|&byte| byte == b'\n').collect();
        for at in (0..lines.len()).step_by(step.max(10)) {
            let mut deleted = lines.clone();
            deleted.remove(at);
            let mut repeated = lines.clone();
            repeated.insert(at, lines[at]);
            let mut swapped = lines.clone();
            swapped.swap(at, (at + 1) % lines.len());
            let truncated =
                content[..content.len() - lines[lines.len() - 1].len() * (at + 1) / lines.len() - 1].to_vec();
            for changed in [deleted.concat(), repeated.concat(), swapped.concat(), truncated] {
                fs::write(file, changed).unwrap();
                assert!(verify(&kept.log()).is_err(), "{file:?}, line {at}");
            }
        }
        fs::write(file, &content).unwrap();
        kept.verify();
    }
    // Spliced: the last two files of another log, which has the same numbers.
    let other = three_segments(1_000).await;
    assert_eq!(other.verify().records, 1_000);
    let mut record = event();
    record.event = Some("login_success");
    let forged = lines(&vec![record; 1_000]);
    let mut forged = forged.split_inclusive('\n').skip(750);
    fs::write(kept.log(), forged.by_ref().collect::<String>()).unwrap();
    assert!(verify(&kept.log()).is_err());
}

#[tokio::test]
async fn changes_of_a_thousand_records_in_segments_are_found() {
    every_change_of_a_log_with_segments_is_found(97).await;
}

#[tokio::test]
#[ignore = "minutes: every bit, run by tests/nightly"]
async fn every_bit_of_a_thousand_records_in_segments_is_found() {
    every_change_of_a_log_with_segments_is_found(1).await;
}

#[tokio::test]
async fn records_before_a_cut_cannot_be_forged_without_the_key() {
    let mut kept = Kept::new(plain);
    kept.append(3).await;
    kept.rotate();
    kept.append(2).await;
    OpenOptions::new().write(true).open(kept.log()).unwrap().set_len(0).unwrap();
    kept.append(2).await;
    kept.keeper.step(NOW);
    assert_eq!(kept.verify().cut, [(4, 5)]);
    let segment = segments(&kept.log()).unwrap().remove(0);
    let seal = segment.path.with_extension("seal");
    let sealed = fs::read(&seal).unwrap();
    let mut forged = vec![event(); 3];
    forged[1].outcome = Outcome::Allow;
    fs::write(&segment.path, lines(&forged)).unwrap();
    assert!(verify(&kept.log()).is_err());
    fs::remove_file(&seal).unwrap();
    assert!(matches!(verify(&kept.log()), Err(VerifyFailure::SealMissing { first: 1, last: 3 })));
    // Nor does the gateway sign it.
    kept.restart().unwrap();
    kept.keeper.step(NOW);
    assert!(!seal.exists());
    fs::write(&seal, sealed).unwrap();
    assert!(matches!(verify(&kept.log()), Err(VerifyFailure::SealDiffers { first: 1, last: 3 })));
}

#[tokio::test]
async fn an_empty_file_that_is_moved_becomes_no_segment() {
    let mut kept = Kept::new(plain);
    kept.append(3).await;
    kept.rotate();
    fs::rename(kept.log(), kept.place.directory.path().join("away")).unwrap();
    assert!(kept.keeper.step(NOW).is_empty());
    kept.append(1).await;
    fs::remove_file(kept.log()).unwrap();
    kept.append(1).await;
    assert_eq!(kept.keeper.step(NOW)[0], closed(SealCause::Moved, 4, 4));
    assert_eq!((kept.verify().records, kept.verify().segments), (5, 2));
}

#[tokio::test]
async fn a_segment_whose_end_did_not_reach_the_disk_is_shortened_at_the_start() {
    for (lines, torn) in [(5, ""), (4, "{\"half"), (4, "\0\0\0\0"), (0, ""), (0, "{")] {
        let mut kept = Kept::new(plain);
        kept.append(2).await;
        kept.rotate();
        kept.append(6).await;
        kept.journal.close();
        let folder = segment_folder(&kept.log());
        let text = kept.place.text();
        let short: String = text.split_inclusive('\n').take(lines).collect();
        fs::remove_file(kept.log()).unwrap();
        fs::write(folder.join(format!("{:020}-{:020}.log", 3, 8)), short + torn).unwrap();
        assert_eq!(kept.restart().unwrap().last_seq, 2 + lines as u64, "{lines} {torn:?}");
        kept.append(1).await;
        kept.keeper.step(NOW);
        assert_eq!(kept.verify().records, 3 + lines as u64);
    }
}

#[tokio::test]
async fn a_cut_is_signed_before_anything_follows_it() {
    let mut kept = Kept::new(|_| {});
    kept.append(3).await;
    kept.keeper.step(NOW);
    OpenOptions::new().write(true).open(kept.log()).unwrap().set_len(0).unwrap();
    kept.append(2).await;
    // Killed before the keeper looks.
    assert_eq!(kept.restart().unwrap().last_seq, 5);
    assert_eq!(kept.verify().cut, [(1, 3)]);
}

#[tokio::test]
async fn the_start_believes_no_older_copy_of_a_signed_file() {
    let mut kept = Kept::new(|_| {});
    kept.append(4).await;
    kept.keeper.step(NOW);
    let tree = kept.log().with_extension("log.tree");
    let older = fs::read(&tree).unwrap();
    kept.append(4).await;
    kept.keeper.finish(NOW);
    kept.journal.close();
    let whole = kept.place.text();
    let newest = fs::read(&tree).unwrap();
    fs::write(kept.log(), whole.split_inclusive('\n').take(5).collect::<String>()).unwrap();
    fs::write(&tree, older).unwrap();
    assert!(matches!(kept.restart(), Err(AuditError::Tree(_))));
    fs::remove_file(&tree).unwrap();
    assert!(matches!(kept.restart(), Err(AuditError::Tree(_))));
    fs::write(&tree, &newest).unwrap();
    assert!(matches!(kept.restart(), Err(AuditError::Missing { first: 6, last: 8, .. })));
    // A name that says more than there is inside does not help.
    let name = segment_folder(&kept.log()).join(format!("{:020}-{:020}.log", 6, 8));
    fs::write(&name, "").unwrap();
    assert!(kept.restart().is_err());
    let _ = fs::remove_file(&name);
    fs::write(kept.log(), whole).unwrap();
    assert_eq!(kept.restart().unwrap().last_seq, 8);
}

#[tokio::test]
async fn the_folder_of_segments_is_the_gateways_own() {
    let place = TestLog::new();
    let elsewhere = place.directory.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    let folder = segment_folder(&place.log());
    std::os::unix::fs::symlink(&elsewhere, &folder).unwrap();
    let opened = Journal::open(place.settings(), Arc::new(Metrics::new()));
    assert!(matches!(opened, Err(AuditError::File { .. })));
    fs::remove_file(&folder).unwrap();
    fs::create_dir(&folder).unwrap();
    fs::set_permissions(&folder, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    place.open().0.close();
    let mode = fs::metadata(&folder).unwrap().permissions();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode) & 0o777, 0o700);
    // A link in the place of a file that is to be written is removed, and not followed.
    let victim = place.directory.path().join("victim");
    fs::write(&victim, "mine").unwrap();
    std::os::unix::fs::symlink(&victim, place.log().with_extension("log.tree.new")).unwrap();
    let (journal, _) = place.open();
    let mut keeper = Keeper::new(journal.clone(), place.settings());
    let _ = journal.append(event()).await.unwrap();
    keeper.step(NOW);
    assert!(checkpoint_file(&place.log()).exists());
    assert_eq!(fs::read_to_string(victim).unwrap(), "mine");
}

#[tokio::test]
async fn a_follower_reads_what_came_after_a_cut_also_when_there_is_more_than_before() {
    let kept = Kept::new(|_| {});
    kept.append(3).await;
    let mut follower = Follower::new(&kept.log(), 0);
    while follower.next_record().unwrap().is_some() {}
    OpenOptions::new().write(true).open(kept.log()).unwrap().set_len(0).unwrap();
    kept.append(20).await;
    let mut numbers = Vec::new();
    while let Some(record) = follower.next_record().unwrap() {
        numbers.push(record.seq);
    }
    assert_eq!(numbers, (4..=23).collect::<Vec<_>>());
}

/// A kill may come at any step of the very first checkpoint.
#[tokio::test]
async fn a_crash_around_the_first_checkpoint_is_no_finding_and_its_removal_is_one() {
    let mut kept = Kept::new(plain);
    kept.append(3).await;
    kept.rotate();
    kept.append(1).await;
    // Killed after the state and before the note.
    fs::remove_file(checkpoint_file(&kept.log())).unwrap();
    assert_eq!(kept.verify().checkpoints, [3]);
    assert_eq!(kept.restart().unwrap().last_seq, 4);
    kept.keeper.step(NOW);
    assert_eq!(kept.verify().checkpoints, [4]);
    for file in [checkpoint_file(&kept.log()), kept.log().with_extension("log.tree")] {
        fs::remove_file(file).unwrap();
    }
    assert!(matches!(verify(&kept.log()), Err(VerifyFailure::NoCheckpoint(_))));
}
