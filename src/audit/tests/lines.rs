//! The record as a line: the golden file, canonical JSON, hidden characters, masks and bounds.

use serde_json::Value as Json;

use super::*;
use crate::audit::line::{LINE_LIMIT, LineFault, check};
use crate::audit::{AuditError, MASK, visible};
use crate::json;
use crate::text::is_hidden;

fn parsed(line: &str) -> Json {
    json::parse(line.as_bytes()).unwrap()
}

/// The canonical form of the line as an independent implementation makes it.
fn canonical_without_hash(line: &str) -> Vec<u8> {
    let mut value = parsed(line);
    value.as_object_mut().unwrap().remove("hash");
    serde_json_canonicalizer::to_vec(&value).unwrap()
}

fn assert_sound(line: &str) {
    let canonical = canonical_without_hash(line);
    let hash = hex::encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &canonical));
    assert_eq!(parsed(line)["hash"], hash, "{line}");
    assert!(check(line.as_bytes()).is_ok(), "{line}");
    assert!(!line.contains(is_hidden), "{line}");
}

#[test]
fn the_record_is_the_golden_one() {
    let golden: Json = json::parse(&std::fs::read("tests/golden/decision-record.json").unwrap()).unwrap();
    let mut counted = event();
    counted.count = 7;
    counted.route = Some("GET /v1/agents/{id}".into());
    counted.key_id = Some("k1".into());
    let lines: Vec<Json> = lines(&[whole(), counted]).lines().map(parsed).collect();
    let shown = serde_json::to_string_pretty(&lines).unwrap();
    assert_eq!(golden, Json::Array(lines), "a changed record is an API change; it is now:\n{shown}");
}

#[test]
fn any_rfc_8785_implementation_comes_to_the_same_hash() {
    let text = lines(&[whole(), event()]);
    text.lines().for_each(assert_sound);
    let [first, second] = text.lines().map(parsed).collect::<Vec<_>>().try_into().unwrap();
    assert_eq!(first["prev_hash"], "0".repeat(64));
    assert_eq!(second["prev_hash"], first["hash"]);
    assert_eq!((&first["seq"], &second["seq"]), (&1.into(), &2.into()));
}

#[test]
fn no_naughty_string_reaches_the_log_raw_and_all_come_back_out() {
    let Some(path) = testdata("naughty-strings/blns.json") else {
        eprintln!("skipped: the naughty strings are not here");
        return;
    };
    let mut strings: Vec<String> = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    assert!(strings.len() > 400);
    // Every hidden character there is, with marks around each that a wrong escape would eat.
    strings.extend(
        (0..=0x10_ffff).filter_map(char::from_u32).filter(|&c| is_hidden(c)).map(|c| format!("\\{c}\\u{c}0")),
    );
    for text in strings {
        let mut record = event();
        record.detail = Some(text.clone());
        record.resource = Some(text.clone());
        record.source.user_agent = Some(text.as_str().into());
        record.set_context(Value::record([(text.as_str(), Value::record([("a", Value::text(&text))]))]));
        let line = line(&record);
        assert_sound(&line);
        if text.len() <= 1024 {
            assert_eq!(parsed(&line)["detail"], text);
        }
    }
}

#[test]
fn keys_are_sorted_as_rfc_8785_sorts_them() {
    // U+1F600 sorts before U+FB33 in UTF-16 and after it by code point.
    let mut record = event();
    let keys = ["\u{fb33}", "\u{1f600}", "\u{20ac}", "1", "\r", "ö", "\u{80}"];
    record.set_context(Value::record(keys.map(|key| (key, Value::Bool(true)))));
    assert_sound(&line(&record));
}

#[test]
fn a_key_that_means_something_to_the_json_library_stays_a_key() {
    let mut record = event();
    let key = "$serde_json::private::RawValue";
    record.set_context(Value::record([(key, Value::text("{\"outcome\":\"allow\"}"))]));
    let line = line(&record);
    assert_sound(&line);
    assert_eq!(parsed(&line)["context"][key], "{\"outcome\":\"allow\"}");
}

#[test]
fn credentials_are_masked_and_named() {
    let token = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln";
    let cases = [
        ("password", Value::text("x"), true),
        ("X-Api-Key", Value::text("x"), true),
        ("client_secret", Value::record([("a", Value::text("x"))]), true),
        ("refreshTokens", Value::texts(["x"]), true),
        ("note", Value::text(token), true),
        ("note", Value::text("Bearer abcdefghijkl"), true),
        ("note", Value::text("cax_live_0123456789"), true),
        ("note", Value::text("-----BEGIN PRIVATE KEY-----"), true),
        ("notes", Value::texts(["sk-0123456789abcdef"]), true),
        ("note", Value::text("a bearer of news"), false),
        ("note", Value::text("Bearer"), false),
        ("max_tokens", Value::Long(100), false),
        ("has_password", Value::Bool(true), false),
    ];
    for (name, value, masked) in cases {
        let mut record = event();
        record.set_context(Value::record([("input", Value::record([(name, value.clone())]))]));
        let line = parsed(&line(&record));
        let text = line["context"].to_string();
        assert_eq!(text.contains(MASK), masked, "{name}: {value:?}: {text}");
        let expected = if masked { serde_json::json!([format!("input.{name}")]) } else { Json::Null };
        assert_eq!(line.get("masked").cloned().unwrap_or_default(), expected, "{name}");
    }
}

#[test]
fn large_values_become_digests_and_deep_ones_end() {
    let mut deep = Value::Bool(true);
    for _ in 0..60 {
        deep = Value::record([("a", deep)]);
    }
    let mut record = event();
    record.set_context(Value::record([
        ("deep", deep),
        ("many", Value::Set(vec![Value::Long(1); 300])),
        ("text", Value::text("x".repeat(5000))),
    ]));
    record.detail = Some("é".repeat(5000));
    let line = line(&record);
    assert_sound(&line);
    assert!(line.len() < 5000, "{}", line.len());
    let value = parsed(&line);
    let digest =
        hex::encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, "x".repeat(5000).as_bytes()));
    assert_eq!(value["context"]["text"], serde_json::json!({"bytes": 5000, "sha256": digest}));
    assert_eq!(value["context"]["many"]["bytes"], 601);
    assert!(value["detail"].as_str().unwrap().ends_with("é…"));
}

#[test]
fn a_context_that_does_not_fit_becomes_one_digest() {
    let mut record = event();
    let words = Value::Set(vec![Value::text("x".repeat(1000)); 250]);
    record.set_context(Value::record([("a", words.clone()), ("b", words.clone()), ("c", words)]));
    let mut item = whole().items.remove(0);
    item.set_context(Value::record([("a", Value::Long(1))]));
    record.items = vec![item];
    record.set_entities([&crate::model::Entity::bare(EntityUid::caxton("Agent", "a")).into()]);
    let line = line(&record);
    assert_sound(&line);
    let line = parsed(&line);
    assert_eq!(line["context"]["sha256"].as_str().unwrap().len(), 64);
    // What could not be evaluated anyway goes with it.
    let item = &line["items"][0];
    assert!(line["entities"].is_null() && item["context"].is_null() && item["entities"].is_null());
}

#[test]
fn a_record_that_does_not_fit_at_all_is_refused_and_leaves_nothing() {
    let mut record = event();
    let mut item = whole().items.remove(0);
    // No list is cut below its items, and these cannot be made short.
    item.policies = vec![policy("permit", &"p".repeat(10_000))];
    record.items = vec![item; 10];
    let mut out = "before".to_owned();
    let refused = Encoder::default().line(&record, ChainHead::GENESIS, 4096, &mut out).unwrap_err();
    assert!(matches!(refused, AuditError::TooLarge { limit: 4096, .. }));
    assert_eq!(out, "before");
}

#[test]
fn long_lists_are_cut_and_counted() {
    let mut record = event();
    record.errors = vec![RecordError { message: "m".repeat(9000), policy: "p".into() }; 10_000];
    record.policies = vec![policy("permit", "p"); 1000];
    let keys = (0..1000).map(|n| (format!("password{n}"), Value::text("x")));
    record.set_context(Value::record([("a", Value::record(keys))]));
    let line = line(&record);
    assert_sound(&line);
    let value = parsed(&line);
    assert_eq!(value["errors"].as_array().unwrap().len(), 32);
    assert_eq!(value["errors_omitted"], 9968);
    assert_eq!(value["policies_omitted"], 744);
    assert_eq!(value["masked"].as_array().unwrap().len(), 64);
}

#[test]
fn a_line_that_is_not_spelled_by_a_journal_is_refused() {
    let mut record = event();
    record.detail = Some("a\u{202e}b \\u202e".to_owned());
    let good = line(&record);
    assert_sound(&good);
    let cases = [
        (good.replacen("\\u202e", "\\u202E", 1), LineFault::Spelling),
        (good.replacen("\\u202e", "\u{202e}", 1), LineFault::Spelling),
        (good.replacen("\"detail\":", "\"detail\": ", 1), LineFault::Hash),
        (good.replacen("deny_explicit", "allow", 1), LineFault::Hash),
        (good.replacen(",\"hash\"", ",\"h\":1,\"hash\"", 1), LineFault::Hash),
        (good.to_uppercase(), LineFault::NotARecord),
        (good.replacen("}", " }", 1), LineFault::Hash),
        (good.clone() + " ", LineFault::NotARecord),
        ("{}".to_owned(), LineFault::NotARecord),
        (String::new(), LineFault::NotARecord),
        ("x".repeat(LINE_LIMIT), LineFault::NotARecord),
    ];
    for (line, fault) in cases {
        assert_eq!(check(line.as_bytes()).unwrap_err(), fault, "{}", line.get(..200).unwrap_or(&line));
    }
}

#[test]
fn a_terminal_is_shown_what_is_hidden() {
    assert_eq!(visible("plain ö"), "plain ö");
    assert_eq!(visible("a\u{1b}[2Jb\u{202e}"), "a\\u{1b}[2Jb\\u{202e}");
}

/// A list of `count` items with long names, each decided.
fn list(count: usize, name: usize) -> Record {
    let mut record = whole();
    let item = |number: usize| {
        let resource =
            EntityUid::caxton("Tool", format!("{number}-{}", "n".repeat(name)).as_str()).to_string();
        let outcome = if number.is_multiple_of(3) { Outcome::DenyDefault } else { Outcome::Allow };
        let mut item = Item::new(resource.clone(), outcome, vec![policy("permit", "tools.researcher")]);
        item.principal = Some(resource);
        item.errors = vec![RecordError { message: "e".repeat(400), policy: "tools.other".into() }];
        item.set_context(Value::record([("text", Value::text("x".repeat(900)))]));
        item
    };
    record.items = (0..count).map(item).collect();
    record
}

#[test]
fn a_long_list_stands_on_several_lines_with_every_item_and_how_it_ended() {
    for (limit, count, name) in [(512 << 10, 1_000, 900), (16 << 10, 1_000, 900), (16 << 10, 300, 10)] {
        let record = list(count, name);
        let (mut encoder, mut text) = (Encoder::default(), String::new());
        let head = encoder.line(&record, ChainHead::GENESIS, limit, &mut text).unwrap();
        let after = encoder.line(&event(), head, limit, &mut text).unwrap();
        let mut lines: Vec<&str> = text.lines().collect();
        lines.iter().for_each(|line| assert_sound(line));
        assert!(lines.iter().all(|line| line.len() < limit), "{limit}");
        assert_eq!(
            (lines.len() as u64, parsed(lines.pop().unwrap())["seq"].as_u64()),
            (after.seq, Some(after.seq))
        );
        let parts: Vec<Json> = lines.iter().map(|line| parsed(line)).collect();
        assert_eq!(parts.len() > 1, limit == 16 << 10, "{}", parts.len());
        assert!(parts.len() < count / 8, "{}", parts.len());
        for (number, part) in parts.iter().enumerate() {
            if parts.len() > 1 {
                assert_eq!((&part["part"], &part["parts"]), (&(number + 1).into(), &parts.len().into()));
            }
            assert_eq!(part["decision_id"], parts[0]["decision_id"]);
            assert_eq!(
                (part["seq"].as_u64(), &part["action"]),
                (Some(number as u64 + 1), &parts[0]["action"])
            );
            assert_eq!(part.get("context").is_some(), number == 0);
        }
        let items: Vec<&Json> = parts.iter().flat_map(|part| part["items"].as_array().unwrap()).collect();
        assert_eq!(items.len(), count);
        for (item, logged) in record.items.iter().zip(items) {
            assert_eq!(logged["outcome"], item.outcome.as_str());
            assert_eq!(logged["policies"][0]["id"], "tools.researcher");
            assert_eq!(logged["errors"][0]["policy"], "tools.other");
            let digest =
                hex::encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, item.resource.as_bytes()));
            let named = if name > 200 { format!("sha256:{digest}") } else { item.resource.clone() };
            assert_eq!((&logged["resource"], &logged["principal"]), (&named.clone().into(), &named.into()));
        }
    }
    // One that fits when it is shorter stands on one line, with its names as they are.
    let (mut encoder, mut text) = (Encoder::default(), String::new());
    encoder.line(&list(100, 900), ChainHead::GENESIS, 512 << 10, &mut text).unwrap();
    let line = parsed(text.trim_end());
    assert!(line.get("part").is_none() && line["items"][99]["resource"].as_str().unwrap().len() > 900);
}

#[test]
fn a_credential_in_the_name_of_a_thing_is_masked_everywhere_in_its_record() {
    let mut record = whole();
    let name = EntityUid::caxton("HttpPath", "api.example/v1/sk-0123456789abcdefghij/files");
    record.resource = Some(name.to_string());
    record.items.iter_mut().for_each(|item| item.resource = name.to_string());
    record.set_entities([&Arc::new(Entity::bare(name))]);
    let line = line(&record);
    assert_sound(&line);
    assert!(!line.contains("0123456789abcdefghij"), "{line}");
    let line = parsed(&line);
    assert_eq!(line["resource"], "Caxton::HttpPath::\"api.example/v1/[masked]/files\"");
    assert_eq!(
        (&line["items"][0]["resource"], &line["entities"][0]["uid"]),
        (&line["resource"], &line["resource"])
    );
    assert!(line["masked"].as_array().unwrap().contains(&"resource".into()));
}
