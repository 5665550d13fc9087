//! Searching and following.

use std::fs::{self, OpenOptions};
use std::io::Write as _;

use serde_json::Value as Json;

use super::*;
use crate::audit::follow::Follower;
use crate::audit::query::{DecisionFilter, EventFilter, Filter, FilterWords, LogSearch, query, search};
use crate::audit::record_reader::{ChainCheck, ChainSummary, RecordReadError, RecordReader};
use crate::audit::{LINE_LIMIT, tail};

fn seqs(records: &[Json]) -> Vec<u64> {
    records.iter().map(|record| record["seq"].as_u64().unwrap()).collect()
}

/// 1: a failed login; 2: an agent's tool call for alice; 3: bob, denied, two seconds later.
fn place() -> TestLog {
    let place = TestLog::new();
    let mut bob = whole();
    bob.time_millis += 2000;
    bob.actor = None;
    bob.agent = None;
    bob.items = Vec::new();
    bob.outcome = Outcome::DenyExplicit;
    bob.policies = vec![policy("forbid", "tools.limit")];
    if let Some(subject) = &mut bob.subject {
        subject.principal = EntityUid::caxton("User", "https://idp|bob").to_string();
    }
    fs::write(place.log(), lines(&[event(), whole(), bob])).unwrap();
    place
}

#[test]
fn each_filter_keeps_what_it_names() {
    let place = place();
    let at = 1_768_039_200_121;
    let parse = |event_type, user, agent, decision, policy| {
        let words = |word: Option<&str>| word.map(str::to_owned);
        let words = FilterWords {
            event_type: words(event_type),
            user: words(user),
            agent: words(agent),
            decision: words(decision),
            policy: words(policy),
            ..FilterWords::default()
        };
        Filter::read(words, 0).unwrap()
    };
    let cases = [
        (Filter::all(), vec![1, 2, 3]),
        (parse(Some("tool_call"), None, None, None, None), vec![2, 3]),
        (parse(None, Some("alice"), None, None, None), vec![2]),
        (parse(None, Some("https://idp|bob"), None, None, None), vec![3]),
        (parse(None, Some("Caxton::User::\"https://idp|bob\""), None, None, None), vec![3]),
        (parse(None, Some("researcher"), None, None, None), vec![]),
        (parse(None, Some("ob"), None, None, None), vec![]),
        (parse(None, None, Some("researcher"), None, None), vec![2]),
        (parse(None, None, None, Some("allow"), None), vec![2]),
        (parse(None, None, None, Some("deny"), None), vec![1, 3]),
        (parse(None, None, None, None, Some("tools.limit")), vec![3]),
        // Of an item of the list.
        (parse(None, None, None, None, Some("tools.drifted")), vec![2]),
        (Filter { id: Some("2".to_owned()), ..Filter::all() }, vec![2]),
        (Filter { id: Some("nobody".to_owned()), ..Filter::all() }, vec![]),
        (Filter { principal: Some("Agent::\"researcher\"".to_owned()), ..Filter::all() }, vec![2]),
        (Filter { principal: Some("bob".to_owned()), ..Filter::all() }, vec![3]),
        (Filter { principal: Some("Agent::\"bob\"".to_owned()), ..Filter::all() }, vec![]),
        (Filter { from_millis: Some(at), ..Filter::all() }, vec![2, 3]),
        (Filter { to_millis: Some(at), ..Filter::all() }, vec![1]),
        (Filter { from_millis: Some(at), to_millis: Some(at + 1), ..Filter::all() }, vec![2]),
        (Filter { limit: Some(2), ..Filter::all() }, vec![2, 3]),
        (Filter { limit: Some(0), ..Filter::all() }, vec![]),
        (Filter { decision: Some(DecisionFilter::Deny), limit: Some(1), ..Filter::all() }, vec![3]),
    ];
    for (filter, expected) in cases {
        assert_eq!(seqs(&query(&place.log(), &filter).unwrap()), expected, "{filter:?}");
    }
}

#[test]
fn words_that_mean_nothing_are_refused() {
    let read = |change: &dyn Fn(&mut FilterWords)| {
        let mut words = FilterWords::default();
        change(&mut words);
        Filter::read(words, 0)
    };
    let kind = |word: &str| read(&|words| words.event_type = Some(word.to_owned()));
    assert_eq!(kind("login_failure").unwrap().event_type, Some(EventFilter::Named("login_failure")));
    let changes = EventFilter::Type(EventType::ConfigurationChange);
    assert_eq!(kind("config_change").unwrap().event_type, Some(changes));
    let some = |text: &str| Some(text.to_owned());
    type Change<'c> = &'c dyn Fn(&mut FilterWords);
    let refused: [(Change<'_>, &str); 9] = [
        (
            &|words| words.event_type = some("toolcall"),
            "`toolcall` is not an event type: did you mean `tool_call`?",
        ),
        (&|words| words.decision = some("maybe"), "`maybe` is not a decision, use `allow` or `deny`"),
        (
            &|words| words.outcome = some("deny_explict"),
            "`deny_explict` is not an outcome: did you mean `deny_explicit`?",
        ),
        (
            &|words| words.reason = some("nopermit"),
            "`nopermit` is not a reason code: did you mean `no_permit`?",
        ),
        (
            &|words| words.address = some("10.0.0"),
            "`10.0.0` is not an address or network, use for example `10.1.2.3` or `10.0.0.0/8`",
        ),
        (
            &|words| words.last = some("soon"),
            "`soon` is not a time span, use for example `24h`, `7d` or `90m`",
        ),
        (
            &|words| words.from = some("2026-01-01T25:00"),
            "`2026-01-01T25:00` is not a time, use for example `2026-01-31`, `2026-01-31T12:00:00Z` or `2026-01-31T12:00:00+01:00`; without a zone it is UTC",
        ),
        (
            &|words| (words.last, words.to) = (some("1h"), some("2026-01-01")),
            "`last` stands beside `from` or `to`: use one of them",
        ),
        (
            &|words| words.address = some("10.0.0.0/33"),
            "`10.0.0.0/33` is not an address or network, use for example `10.1.2.3` or `10.0.0.0/8`",
        ),
    ];
    for (change, expected) in refused {
        assert_eq!(read(change).unwrap_err().to_string(), expected);
    }
    assert!(query(Path::new("/nowhere"), &Filter::all()).is_err());
}

#[test]
fn unknown_fields_are_shown_and_broken_lines_counted() {
    let place = place();
    let newer = "{\"seq\":4,\"outcome\":\"allow\",\"of_the_future\":{\"a\":[1]}}\n";
    let long = "x".repeat(3 << 20);
    fs::write(place.log(), place.text() + newer + "nonsense\n[1]\n" + &long + "\n" + newer + "{\"torn\":")
        .unwrap();
    let filter = Filter::all();
    let found = search(&place.log(), &LogSearch::newest(&filter)).unwrap();
    assert_eq!(found.records.iter().map(|record| record.seq).collect::<Vec<_>>(), [4, 4, 3, 2, 1]);
    assert_eq!(found.records[1].json["of_the_future"]["a"][0], 1);
    assert_eq!((found.next, found.unreadable), (None, 3));
}

#[test]
fn the_tail_is_the_end_and_what_comes() {
    let place = TestLog::with_lines(400);
    let text = place.text();
    let rest = |follower: &mut Follower| {
        let mut numbers = Vec::new();
        while let Some(record) = follower.next_record().unwrap() {
            numbers.push(record.seq);
        }
        numbers
    };
    for (count, expected) in [(0, vec![]), (1, vec![400]), (3, vec![398, 399, 400])] {
        assert_eq!(rest(&mut tail(&place.log(), count).unwrap()), expected);
    }
    assert_eq!(rest(&mut tail(&place.log(), 1000).unwrap()).len(), 400);
    assert!(tail(Path::new("/nowhere/audit.log"), 1).is_err());

    let cut = text.len() - 30;
    fs::write(place.log(), &text[..cut]).unwrap();
    let mut end = tail(&place.log(), 1).unwrap();
    assert_eq!(rest(&mut end), [399]);
    let mut file = OpenOptions::new().append(true).open(place.log()).unwrap();
    file.write_all(&text.as_bytes()[cut..cut + 10]).unwrap();
    assert_eq!(end.next_record().unwrap(), None, "half a line is not a record");
    file.write_all(&text.as_bytes()[cut + 10..]).unwrap();
    assert_eq!(rest(&mut end), [400]);
}

// ---- the records of several logs, with the chain proven on the way ----

fn records(path: &Path, proof: ChainCheck) -> Result<(Vec<u64>, ChainSummary), RecordReadError> {
    let mut records = RecordReader::open(path, proof)?;
    let mut seen = Vec::new();
    while let Some(record) = records.next_record()? {
        let json: serde_json::Value = serde_json::from_slice(record.text).unwrap();
        seen.push(json["seq"].as_u64().unwrap());
    }
    Ok((seen, records.proven()))
}

fn refused(path: &Path) -> String {
    records(path, ChainCheck::Verify).unwrap_err().to_string()
}

#[test]
fn a_chain_goes_on_from_log_to_log() {
    let place = TestLog::with_lines(6);
    let text = place.text();
    let (first, second) = text.split_at(text.match_indices('\n').nth(2).unwrap().0 + 1);
    let folder = place.directory.path().join("logs");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("a.log"), first).unwrap();
    std::fs::write(folder.join("b.jsonl"), second).unwrap();
    std::fs::write(folder.join("notes.txt"), "not a log").unwrap();
    let whole = ChainSummary { records: 6, without_beginning: 0, torn_tail: 0 };
    assert_eq!(records(&folder, ChainCheck::Verify).unwrap(), ((1..=6).collect(), whole));
    // Without the first, the second begins in the middle, and that is said.
    std::fs::remove_file(folder.join("a.log")).unwrap();
    let middle = ChainSummary { records: 3, without_beginning: 1, torn_tail: 0 };
    assert_eq!(records(&folder, ChainCheck::Verify).unwrap(), ((4..=6).collect(), middle));
    // Another gateway's log begins a chain of its own.
    std::fs::write(folder.join("c.log"), lines(&[event()])).unwrap();
    assert_eq!(records(&folder, ChainCheck::Verify).unwrap().0, [4, 5, 6, 1]);
    std::fs::remove_file(folder.join("b.jsonl")).unwrap();
    std::fs::remove_file(folder.join("c.log")).unwrap();
    assert!(refused(&folder).ends_with("has no `*.log` or `*.jsonl` file"), "{}", refused(&folder));
}

#[test]
fn what_is_no_chain_is_refused_with_its_line_or_taken_as_it_is() {
    let place = TestLog::with_lines(4);
    let text = place.text();
    let all: Vec<&str> = text.lines().collect();
    let write = |lines: &[&str]| std::fs::write(place.log(), lines.join("\n") + "\n").unwrap();
    write(&[all[0], all[2]]);
    assert!(
        refused(&place.log()).contains("line 2: record 3 stands where record 2 should be"),
        "{}",
        refused(&place.log())
    );
    assert_eq!(records(&place.log(), ChainCheck::Skip).unwrap().0, [1, 3]);
    let changed = all[1].replace("request-1", "request-2");
    write(&[all[0], &changed]);
    assert!(refused(&place.log()).contains("line 2: the content does not match the hash"));
    std::fs::write(place.log(), "x".repeat(LINE_LIMIT + 10)).unwrap();
    for proof in [ChainCheck::Verify, ChainCheck::Skip] {
        assert!(records(&place.log(), proof).unwrap_err().to_string().contains("line 1: the line is longer"));
    }
    assert!(refused(&place.directory.path().join("nothing.log")).ends_with("nothing.log` could not be read"));
}

#[test]
fn a_torn_end_is_told_and_an_export_without_its_last_line_end_is_whole() {
    let place = TestLog::with_lines(3);
    let text = place.text();
    std::fs::write(place.log(), &text[..text.len() - 40]).unwrap();
    let (seen, proven) = records(&place.log(), ChainCheck::Verify).unwrap();
    assert_eq!((seen, proven.torn_tail > 0), (vec![1, 2], true));
    std::fs::write(place.log(), text.trim_end()).unwrap();
    assert_eq!(records(&place.log(), ChainCheck::Skip).unwrap().0, [1, 2, 3]);
    std::fs::write(place.log(), text.trim_end().to_owned() + "x").unwrap();
    assert!(refused(&place.log()).contains("line 3: "));
}
