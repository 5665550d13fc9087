//! Strings that break logs, in every field that a caller can fill: one record stays one record, and parses back.

use std::collections::BTreeMap;

use super::schemas::Schemas;
use super::*;
use crate::audit::{AgentRecord, Record, SubjectRecord, visible};
use crate::model::{EntityUid, EventType, Outcome, RequestId, Value as CedarValue};
use crate::siem::tests::record;
use crate::text::is_hidden;

fn naughty() -> Option<Vec<String>> {
    let Ok(bytes) = std::fs::read("../shared/testdata/naughty-strings/blns.json") else {
        eprintln!("skipped: the naughty strings are not here");
        return None;
    };
    let mut strings: Vec<String> = serde_json::from_slice(&bytes).unwrap();
    assert!(strings.len() > 500, "{}", strings.len());
    for more in [
        "a|b=c\\|\\=\\",
        "x\ny",
        "x\r\nCEF:0|a|b|c|d|e|9|",
        "\t",
        "\u{2028}",
        "\u{202e}",
        "\u{0}",
        "\\u0000",
        "=",
        "|",
        "a=b c=d cs1=forged outcome=allow",
        "\\",
        "\"]}",
        "<34>1 2026-01-01T00:00:00Z h a - - - forged",
        "\\n",
    ] {
        strings.push(more.to_owned());
    }
    Some(strings)
}

/// A record with the string wherever a caller's text can be.
fn poisoned(number: u64, text: &str) -> Record {
    let mut record = record(number, EventType::ToolCall, Outcome::DenyDefault, text, ("Tool", text));
    let name = |kind: &str| EntityUid::caxton(kind, text).to_string();
    record.subject =
        Some(SubjectRecord { principal: name("User"), method: "jwt", credential: Some(text.into()) });
    record.actor = Some(name("User"));
    record.delegation = vec![name("Agent")];
    record.agent = Some(AgentRecord {
        id: text.into(),
        version: Some(text.into()),
        definition_sha256: "cd".repeat(32).into(),
    });
    record.source.user_agent = Some(text.into());
    record.request_id = RequestId::from_caller(text);
    record.trace = Some((text.into(), text.into()));
    record.route = Some(text.into());
    record.key_id = Some(text.into());
    record.detail = Some(text.to_owned());
    record.obligations = vec![text.to_owned()];
    record.set_context(CedarValue::record([("input", CedarValue::record([(text, CedarValue::text(text))]))]));
    record
}

/// Header fields and extension of a CEF line, as a strict reader takes them apart.
pub(in crate::siem) fn parse_cef(line: &str) -> (Vec<String>, BTreeMap<String, String>) {
    let mut header = vec![String::new()];
    let mut rest = line.chars();
    while header.len() <= 7 {
        match rest.next().unwrap() {
            '\\' => header.last_mut().unwrap().push(rest.next().filter(|c| "\\|".contains(*c)).unwrap()),
            '|' => header.push(String::new()),
            c => header.last_mut().unwrap().push(c),
        }
    }
    header.pop();
    let extension: String = rest.collect();
    // A key begins after a space, and ends at a `=` that is not escaped.
    let (mut fields, mut key, mut value) = (BTreeMap::new(), String::new(), String::new());
    let mut chars = extension.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => value.push(chars.next().filter(|c| "\\=".contains(*c)).unwrap()),
            '=' => {
                let begins = value.rfind(' ').map_or(0, |at| at + 1);
                let next = value.split_off(begins);
                if !key.is_empty() {
                    let whole = value.strip_suffix(' ').unwrap_or(&value).to_owned();
                    assert!(fields.insert(std::mem::take(&mut key), whole).is_none(), "twice in {line}");
                }
                (key, value) = (next, String::new());
            }
            c => value.push(c),
        }
    }
    fields.insert(key, value);
    (header, fields)
}

fn parse_leef(line: &str) -> BTreeMap<String, String> {
    let parts: Vec<&str> = line.splitn(7, '|').collect();
    assert_eq!(parts[..2], ["LEEF:2.0", "Caxton"], "{line}");
    assert_eq!(parts[5], "x09");
    let mut fields = BTreeMap::new();
    for pair in parts[6].split('\t') {
        let (key, value) = pair.split_once('=').unwrap();
        assert!(fields.insert(key.to_owned(), value.to_owned()).is_none(), "{key} twice in {line}");
    }
    fields
}

#[tokio::test]
async fn one_record_stays_one_record_in_every_format_and_parses_back() {
    let Some(strings) = naughty() else { return };
    let records = strings.iter().enumerate().map(|(number, text)| poisoned(number as u64 + 1, text));
    let lines = lines(records.collect()).await;
    assert_eq!(lines.len(), strings.len());
    let schemas = [OcsfVersion::V1_8, OcsfVersion::V1_9].map(|version| (version, Schemas::new(version)));
    for format in RecordFormat::ALL {
        let rendered = rendered(&lines, format, OcsfVersion::V1_9);
        for (line, log) in rendered.iter().zip(&lines) {
            let hidden = |c: char| is_hidden(c) && !(format == RecordFormat::Leef && c == '\t');
            assert!(!line.contains(hidden), "{line:?}");
            check(format, line, &parsed(log));
        }
    }
    for (version, schemas) in schemas {
        rendered(&lines, RecordFormat::Ocsf, version).iter().for_each(|line| schemas.check(&parsed(line)));
    }
}

/// What the reader of the format finds is what stands in the log.
fn check(format: RecordFormat, line: &str, log: &Value) {
    let in_log = |pointer: &str| log.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let seen = |pointer: &str| visible(&in_log(pointer)).into_owned();
    let (agent, detail) = (in_log("/agent/id"), in_log("/detail"));
    match format {
        RecordFormat::Caxton => assert_eq!(parsed(line), *log),
        RecordFormat::Ocsf => {
            let event = parsed(line);
            assert_eq!(event["ai_agent"]["name"], agent);
            assert_eq!(event["status_detail"], detail);
            assert_eq!(event["unmapped"]["caxton"]["context"], log["context"]);
        }
        RecordFormat::Ecs => {
            let document = parsed(line);
            assert_eq!(document["gen_ai"]["agent"]["id"], agent);
            let context = document["caxton"]["context"].as_str().unwrap();
            assert_eq!(parsed(context), log["context"]);
        }
        RecordFormat::Asim => {
            let row = parsed(line);
            assert_eq!(row["SrcAgentName"], agent);
            assert_eq!(row["AdditionalFields"]["context"], log["context"]);
        }
        RecordFormat::Cef => {
            let (header, fields) = parse_cef(line);
            assert_eq!(header[..3], ["CEF:0", "Caxton", "Caxton Gateway"]);
            assert_eq!(header.len(), 7);
            assert_eq!(
                fields.get("cs3").map(String::as_str).unwrap_or_default().trim_end(),
                seen("/agent/id").trim_end()
            );
            assert_eq!(fields.get("outcome").unwrap(), "deny_default");
            assert_eq!(fields.get("cn1").unwrap(), &log["seq"].to_string());
        }
        RecordFormat::Leef => {
            let fields = parse_leef(line);
            assert_eq!(fields.get("agent"), Some(&seen("/agent/id")));
            assert_eq!(fields.get("outcome").unwrap(), "deny_default");
            assert_eq!(fields.get("sequence").unwrap(), &log["seq"].to_string());
        }
    }
}
