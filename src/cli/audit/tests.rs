//! Exit codes, times, and what a person sees.

use std::fs;

use clap::Parser as _;
use serde_json::json;

use serde_json::Value as Json;

use super::rows::columns;
use super::*;
use crate::audit::query::{end_of, start_of};
use crate::cli::output::Format;
use crate::text::is_hidden;

#[derive(clap::Parser)]
struct ParsedLine {
    #[command(subcommand)]
    command: Command,
}

fn run_line(words: &[&str]) -> anyhow::Result<Exit> {
    let line = ParsedLine::try_parse_from([&["audit"], words].concat())?;
    run(line.command, &Output::new(Format::Json))
}

/// A log whose two records can be found but, being made by hand, not verified.
fn log() -> (tempfile::TempDir, String) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.log");
    let record = json!({"seq": 1, "time": "2026-01-10T10:00:00.120Z", "outcome": "allow"});
    fs::write(&path, format!("{record}\n{record}\n")).unwrap();
    let path = path.display().to_string();
    (directory, path)
}

#[test]
fn the_exit_code_tells_sound_from_changed_from_wrong_usage() {
    let (directory, path) = log();
    assert_eq!(run_line(&["verify", &path]).unwrap(), Exit::Found);
    assert_eq!(run_line(&["verify", "--log", &path]).unwrap(), Exit::Found);
    let empty = directory.path().join("empty").display().to_string();
    fs::write(&empty, "").unwrap();
    assert_eq!(run_line(&["verify", &empty]).unwrap(), Exit::Fine);
    let torn = directory.path().join("torn").display().to_string();
    fs::write(&torn, "{\"a").unwrap();
    assert_eq!(run_line(&["verify", &torn]).unwrap(), Exit::Fine);
    for words in [
        vec!["verify", "/nowhere/audit.log"],
        vec!["query", "--log", "/nowhere/audit.log"],
        vec!["tail", "--log", "/nowhere/audit.log"],
        vec!["query", "--log", &path, "--decision", "maybe"],
        vec!["query", "--log", &path, "--event-type", "maybe"],
        vec!["query", "--log", &path, "--last", "soon"],
        vec!["query", "--log", &path, "--from", "yesterday"],
        vec!["query", "--log", &path, "--last", "1h", "--from", "2026-01-01"],
    ] {
        assert!(run_line(&words).is_err(), "{words:?}");
    }
    for words in [
        vec!["query", "--log", &path, "--decision", "allow", "--from", "2026-01-10", "--to", "2026-01-10"],
        vec!["query", "--log", &path, "--last", "24h", "--limit", "1"],
        vec!["tail", "--log", &path, "-n", "1"],
    ] {
        assert_eq!(run_line(&words).unwrap(), Exit::Fine, "{words:?}");
    }
}

#[test]
fn times_are_read_in_the_ways_people_write_them() {
    let hour = 3_600_000;
    for (text, millis) in
        [("24h", 24 * hour), ("7d", 168 * hour), ("90m", hour + hour / 2), ("1h 30m", hour + hour / 2)]
    {
        assert_eq!(span_millis(text).unwrap(), millis, "{text}");
    }
    for text in ["", "soon", "24", "-1h"] {
        assert!(span_millis(text).is_err(), "{text}");
    }
    let morning = 1_767_225_600_000;
    assert_eq!(start_of("2026-01-01").unwrap(), morning);
    assert_eq!(end_of("2026-01-01").unwrap(), morning + 24 * hour);
    assert_eq!(end_of("2026-01-01T01:00:00Z").unwrap(), morning + hour);
    assert_eq!(start_of("2026-01-01T01:00:00+01:00").unwrap(), morning);
    assert_eq!(end_of("2026-01-01T01:00:00").unwrap(), morning + hour, "without a zone it is UTC");
    assert_eq!(end_of("2026-01-01T01").ok(), Some(morning + hour), "and never cut to a day");
    for text in ["2026-01-01T25:00:00", "2026-13-01", "2026-01-01Z", "2026-01-01 noon", "yesterday", ""] {
        assert!(start_of(text).is_err(), "{text}");
    }
}

#[test]
fn a_row_says_who_did_what_to_what_and_why() {
    let record = json!({
        "seq": 7, "time": "2026-01-10T10:00:00.120Z", "latency_us": 42, "outcome": "deny_explicit",
        "action": "web___get", "resource": "Caxton::Tool::\"web___get\"", "reason_code": "forbidden",
        "subject": {"principal": "Caxton::Agent::\"researcher\""}, "actor": "Caxton::User::\"idp|alice\"",
        "policies": [{"id": "a"}, {"id": "b"}],
    });
    let expected = [
        "7",
        "2026-01-10T10:00:00.120Z",
        "Agent researcher for User idp|alice",
        "web___get",
        "Tool web___get",
        "deny_explicit",
        "a, b",
        "42",
    ];
    assert_eq!(columns(&record), expected);
    let many = json!({"event": "login_failure", "count": 8});
    assert_eq!(columns(&many)[3], "login_failure ×8");
    let event = json!({"event": "login_failure", "detail": "jwt: expired", "reason_code": "unauthenticated"});
    assert_eq!(columns(&event), ["", "-", "-", "login_failure", "jwt: expired", "-", "unauthenticated", ""]);
    assert_eq!(columns(&json!({})), ["", "-", "-", "-", "-", "-", "-", ""]);
}

#[test]
fn a_name_cannot_move_the_cursor() {
    let hostile = "\u{1b}[2J\u{1b}]0;x\u{7}\u{9b}31m\u{202e}evil\r\n";
    let record = json!({
        "time": hostile, "outcome": hostile, "action": hostile, "resource": hostile, "actor": hostile,
        "subject": {"principal": hostile}, "policies": [{"id": hostile}],
    });
    assert!(!columns(&record).concat().contains(is_hidden));
    let shown = plain_json(&serde_json::to_string_pretty(&record).unwrap());
    assert!(!shown.replace('\n', "").contains(is_hidden));
    assert_eq!(serde_json::from_str::<Json>(&shown).unwrap(), record);
    let line = plain_json(&record.to_string());
    assert!(!line.contains(is_hidden));
}
