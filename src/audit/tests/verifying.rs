//! Every way to change a log, found.

use std::fs;

use super::*;
use crate::audit::LineFault;
use crate::audit::verify::{VerifyFailure, verify};

fn broken(place: &TestLog, text: impl AsRef<[u8]>) -> Option<(u64, LineFault)> {
    fs::write(place.log(), text).unwrap();
    match verify(&place.log()) {
        Ok(_) => None,
        Err(VerifyFailure::Broken { line, seq, what, .. }) => {
            assert_eq!(line, seq);
            Some((line, what))
        }
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn a_sound_log_is_counted() {
    let place = TestLog::with_lines(3);
    let report = verify(&place.log()).unwrap();
    assert_eq!((report.records, report.first_seq, report.last_seq), (3, Some(1), Some(3)));
    assert!(place.text().contains(&report.last_hash));
    fs::write(place.log(), "").unwrap();
    assert_eq!(verify(&place.log()).unwrap().records, 0);
    assert!(matches!(verify(Path::new("/nowhere/audit.log")), Err(VerifyFailure::Read { .. })));
}

#[test]
fn a_flip_of_any_bit_is_found_in_its_line() {
    let place = TestLog::new();
    let mut record = event();
    record.detail = Some("a\u{202e}b\u{9f}\u{e0041}".to_owned());
    let text = lines(&[record.clone(), record]).into_bytes();
    let first_end = text.iter().position(|&byte| byte == b'\n').unwrap();
    for position in 0..text.len() {
        for bit in 0..8 {
            let mut flipped = text.clone();
            flipped[position] ^= 1 << bit;
            let (line, _) = broken(&place, &flipped).unwrap_or_else(|| panic!("byte {position}, bit {bit}"));
            assert_eq!(line, if position <= first_end { 1 } else { 2 }, "byte {position}, bit {bit}");
        }
    }
}

#[test]
fn deleted_repeated_and_swapped_lines_are_found() {
    let place = TestLog::with_lines(6);
    let text = place.text();
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let sequence = |seq: usize, found: usize| {
        Some((seq as u64, LineFault::Sequence { expected: seq as u64, found: found as u64 }))
    };
    for at in 0..lines.len() {
        let mut repeated = lines.clone();
        repeated.insert(at, lines[at]);
        assert_eq!(broken(&place, repeated.concat()), sequence(at + 2, at + 1), "line {at} repeated");
        if at + 1 < lines.len() {
            let mut deleted = lines.clone();
            deleted.remove(at);
            assert_eq!(broken(&place, deleted.concat()), sequence(at + 1, at + 2), "line {at} deleted");
            let mut swapped = lines.clone();
            swapped.swap(at, at + 1);
            assert_eq!(broken(&place, swapped.concat()), sequence(at + 1, at + 2), "line {at} swapped");
        }
    }
}

#[test]
fn a_splice_of_another_log_is_found() {
    let place = TestLog::with_lines(4);
    let text = place.text();
    let other = lines(&vec![whole(); 4]);
    let (own, foreign): (Vec<_>, Vec<_>) =
        (text.split_inclusive('\n').collect(), other.split_inclusive('\n').collect());
    // The foreign line is sound and has the right number, but continues another record.
    let spliced = [own[0], own[1], foreign[2], foreign[3]].concat();
    assert_eq!(broken(&place, spliced), Some((3, LineFault::Chain)));
    let spliced = [own[0], foreign[1], own[2], own[3]].concat();
    assert_eq!(broken(&place, spliced), Some((2, LineFault::Chain)));
}

#[test]
fn a_record_computed_anew_breaks_the_link_of_the_next() {
    let place = TestLog::with_lines(3);
    let text = place.text();
    let own: Vec<&str> = text.split_inclusive('\n').collect();
    let mut forged = event();
    forged.outcome = Outcome::Allow;
    let forged = lines(&[event(), forged]);
    let forged = forged.split_inclusive('\n').nth(1).unwrap();
    assert_eq!(broken(&place, [own[0], forged, own[2]].concat()), Some((3, LineFault::Chain)));
}

#[test]
fn foreign_lines_and_endless_ones_are_found() {
    let place = TestLog::with_lines(2);
    let text = place.text();
    for extra in ["\n", "{}\n", "hello\n", "\r\n"] {
        assert_eq!(broken(&place, text.clone() + extra), Some((3, LineFault::NotARecord)), "{extra:?}");
    }
    let endless = text.clone() + &"x".repeat(2 << 20);
    assert_eq!(broken(&place, endless), Some((3, LineFault::TooLong)));
    assert_eq!(broken(&place, text.replace('\n', "\r\n")), Some((1, LineFault::NotARecord)));
}

#[test]
fn a_torn_last_line_is_reported_and_is_no_violation() {
    let place = TestLog::with_lines(2);
    let text = place.text();
    fs::write(place.log(), &text[..text.len() - 20]).unwrap();
    let report = verify(&place.log()).unwrap();
    let first = text.find('\n').unwrap() + 1;
    assert_eq!((report.records, report.torn_tail), (1, (text.len() - 20 - first) as u64));
}

#[test]
fn the_failure_says_where_and_what_to_do() {
    let place = TestLog::with_lines(2);
    let text = place.text().replacen("deny_explicit", "allow", 1);
    fs::write(place.log(), text).unwrap();
    let failure = verify(&place.log()).unwrap_err();
    assert_eq!(
        failure.to_string(),
        "line 1, where record 1 should be: the content does not match the hash: the record was changed"
    );
    assert!(failure.help().contains("keep the files as evidence"));
}
