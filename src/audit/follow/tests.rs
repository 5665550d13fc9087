use std::fs::{self, OpenOptions};
use std::io::Write as _;

use super::*;
use crate::audit::segment_folder;

/// Lines like those of the journal, as far as a follower looks.
fn lines(numbers: std::ops::RangeInclusive<u64>, padding: usize) -> String {
    let pad = "x".repeat(padding);
    numbers
        .map(|seq| format!("{{\"context\":{{\"seq\":{}}},\"detail\":\"{pad}\",\"seq\":{seq}}}\n", seq + 5))
        .collect()
}

struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("audit.log")
    }

    fn append(&self, text: &str) {
        let mut file = OpenOptions::new().create(true).append(true).open(self.log()).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    fn rotate(&self, first: u64, last: u64) -> Segment {
        let folder = segment_folder(&self.log());
        fs::create_dir_all(&folder).unwrap();
        let segment = Segment::new(&folder, first, last, false);
        fs::rename(self.log(), &segment.path).unwrap();
        segment
    }

    fn compress(&self, segment: &Segment) {
        let plain = fs::read(&segment.path).unwrap();
        let target = Segment::new(&segment_folder(&self.log()), segment.first, segment.last, true);
        fs::write(target.path, zstd::encode_all(plain.as_slice(), 3).unwrap()).unwrap();
        fs::remove_file(&segment.path).unwrap();
    }
}

fn read(follower: &mut Follower) -> Vec<u64> {
    let mut numbers = Vec::new();
    while let Some(record) = follower.next_record().unwrap() {
        assert!(record.text.ends_with(&format!("\"seq\":{}}}", record.seq)), "{}", record.text);
        numbers.push(record.seq);
    }
    numbers
}

#[test]
fn it_goes_on_through_growth_rotation_and_compression() {
    let place = Place::new();
    let mut follower = Follower::new(&place.log(), 0);
    assert_eq!(read(&mut follower), [0_u64; 0], "there is no log yet");
    place.append(&lines(1..=3, 10));
    assert_eq!(read(&mut follower), [1, 2, 3]);
    // Half a line is no record; the file moves before it is read to the end.
    let fourth = lines(4..=4, 10);
    place.append(&fourth[..10]);
    assert_eq!(read(&mut follower), [0_u64; 0]);
    place.append(&fourth[10..]);
    place.append(&lines(5..=5, 10));
    let first = place.rotate(1, 5);
    assert_eq!(read(&mut follower), [4, 5]);
    place.append(&lines(6..=8, 10));
    assert_eq!(read(&mut follower), [6, 7, 8]);
    place.rotate(6, 8);
    place.append(&lines(9..=9, 10));
    place.compress(&first);
    assert_eq!(read(&mut follower), [9]);
    for after in 0..=9 {
        let mut late = Follower::new(&place.log(), after);
        assert_eq!(read(&mut late), (after + 1..=9).collect::<Vec<_>>(), "after {after}");
    }
    follower.seek(4);
    assert_eq!(read(&mut follower), [5, 6, 7, 8, 9]);
}

#[test]
fn it_finds_any_record_of_a_long_file() {
    let place = Place::new();
    // Some lines longer than a block, and one nearly as long as a line may be.
    let text: String = (1..=400)
        .map(|seq| lines(seq..=seq, if seq % 50 == 7 { 300_000 } else { 1_000 }))
        .chain([lines(401..=401, LINE_LIMIT - 100), lines(402..=420, 10)])
        .collect();
    place.append(&text);
    for after in [0, 1, 6, 7, 8, 55, 56, 57, 58, 200, 399, 400, 401, 402, 419, 420] {
        let mut follower = Follower::new(&place.log(), after);
        let found = follower.next_record().unwrap().map(|record| (record.seq, record.offset));
        assert_eq!(found.map(|(seq, _)| seq), (after < 420).then_some(after + 1));
        if let Some((seq, offset)) = found {
            assert!(text[offset as usize..].starts_with(&lines(seq..=seq, 0)[..20]), "{seq} at {offset}");
        }
    }
}

#[test]
fn what_is_not_there_any_more_is_said_with_its_numbers() {
    let place = Place::new();
    place.append(&lines(11..=12, 10));
    let mut follower = Follower::new(&place.log(), 3);
    let error = follower.next_record().unwrap_err();
    assert!(matches!(error, FollowError::Gone { first: 4, last: 10, .. }), "{error}");
    follower.seek(10);
    assert_eq!(read(&mut follower), [11, 12]);
    // Cut from outside: the file begins anew.
    fs::write(place.log(), lines(13..=13, 10)).unwrap();
    assert_eq!(read(&mut follower), [13]);
}

#[test]
fn a_line_that_is_no_record_stops_it() {
    let place = Place::new();
    place.append(&lines(1..=1, 10));
    place.append("nonsense\n");
    let mut follower = Follower::new(&place.log(), 0);
    assert!(follower.next_record().unwrap().is_some());
    assert!(matches!(follower.next_record(), Err(FollowError::NotARecord { after: 1, .. })));
    let long = Place::new();
    long.append(&lines(1..=1, LINE_LIMIT + 10));
    assert!(matches!(Follower::new(&long.log(), 0).next_record(), Err(FollowError::NotARecord { .. })));
}

#[test]
fn a_reader_that_passes_damage_goes_on_and_is_told_what_is_missing() {
    let place = Place::new();
    place.append(&lines(1..=2, 10));
    place.append("nonsense\n");
    place.append(&"x".repeat(LINE_LIMIT + 100));
    place.append("\n");
    place.append(&lines(5..=6, 10));
    let mut follower = Follower::new(&place.log(), 0);
    follower.pass_damage();
    assert_eq!(follower.next_record().unwrap().unwrap().seq, 1);
    assert_eq!(follower.next_record().unwrap().unwrap().seq, 2);
    let error = follower.next_record().unwrap_err();
    assert!(matches!(error, FollowError::Gone { first: 3, last: 4, .. }), "{error}");
    follower.seek(4);
    assert_eq!(read(&mut follower), [5, 6]);
    // A segment whose end is missing.
    let segment = place.rotate(1, 6);
    place.append(&lines(7..=8, 10));
    let text = fs::read_to_string(&segment.path).unwrap();
    fs::write(&segment.path, text.strip_suffix(&lines(6..=6, 10)).unwrap()).unwrap();
    let mut careful = Follower::new(&place.log(), 4);
    assert_eq!(careful.next_record().unwrap().unwrap().seq, 5);
    assert!(matches!(careful.next_record(), Err(FollowError::NotARecord { after: 5, .. })));
    follower.seek(4);
    assert_eq!(follower.next_record().unwrap().unwrap().seq, 5);
    let error = follower.next_record().unwrap_err();
    assert!(matches!(error, FollowError::Gone { first: 6, last: 6, .. }), "{error}");
    follower.seek(6);
    assert_eq!(read(&mut follower), [7, 8]);
}
