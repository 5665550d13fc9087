//! Each format against its golden file, against the schema of who reads it, and against strings that break logs.

mod injection;
mod schemas;

use serde_json::Value;

use super::{OcsfVersion, RecordFormat, RenderSettings, Renderer};
use crate::json;
use crate::siem::tests::{lines, records};

pub(super) fn settings(version: OcsfVersion) -> RenderSettings {
    RenderSettings { ocsf_version: version, instance: "gateway-1".into(), product_version: "1.0.0" }
}

pub(super) fn parsed(line: &str) -> Value {
    json::parse(line.as_bytes()).unwrap()
}

/// The records in this format, one after the other.
pub(super) fn rendered(lines: &[String], format: RecordFormat, version: OcsfVersion) -> Vec<String> {
    let mut renderer = Renderer::new(format, settings(version));
    lines.iter().map(|line| renderer.render(&parsed(line), Some(line))).collect()
}

fn check_golden(name: &str, text: &str) {
    let path = std::path::Path::new("tests/golden/siem").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        golden == text,
        "`{}` is another: it is what receivers read; write it with UPDATE_GOLDEN=1",
        path.display()
    );
}

#[tokio::test]
async fn every_format_is_the_golden_one() {
    let lines = lines(records()).await;
    for format in RecordFormat::ALL {
        for version in [OcsfVersion::V1_8, OcsfVersion::V1_9] {
            let rendered = rendered(&lines, format, version);
            let (name, text) = match format {
                RecordFormat::Cef | RecordFormat::Leef if version == OcsfVersion::V1_8 => continue,
                RecordFormat::Cef | RecordFormat::Leef => {
                    (format!("{format}.txt"), rendered.join("\n") + "\n")
                }
                _ => {
                    let values: Vec<Value> = rendered.iter().map(|line| parsed(line)).collect();
                    let version = if format == RecordFormat::Ocsf { version.as_str() } else { "" };
                    (format!("{format}{version}.json"), serde_json::to_string_pretty(&values).unwrap() + "\n")
                }
            };
            check_golden(&name, &text);
        }
    }
}

#[tokio::test]
async fn the_own_format_keeps_every_byte_of_the_log() {
    let lines = lines(records()).await;
    assert_eq!(rendered(&lines, RecordFormat::Caxton, OcsfVersion::V1_9), lines);
}

#[tokio::test]
async fn an_event_names_the_one_before_it_only_where_it_was_seen() {
    let lines = lines(records()).await;
    let events: Vec<Value> =
        rendered(&lines, RecordFormat::Ocsf, OcsfVersion::V1_9).iter().map(|line| parsed(line)).collect();
    assert_eq!(events[0]["attestation_list"][0].get("prev_event"), None);
    for pair in events.windows(2) {
        let before = &pair[1]["attestation_list"][0]["prev_event"];
        assert_eq!(before["uid"], pair[0]["metadata"]["uid"]);
        assert_eq!(before["type_uid"], pair[0]["type_uid"]);
        assert_eq!(before["fingerprint"], pair[0]["attestation_list"][0]["fingerprint"]);
    }
    let mut renderer = Renderer::new(RecordFormat::Ocsf, settings(OcsfVersion::V1_9));
    renderer.follows(&parsed(&lines[3]));
    let again = parsed(&renderer.render(&parsed(&lines[4]), None));
    assert_eq!(again, events[4], "a renderer that begins in the middle writes the same");
    let after_a_gap = parsed(&renderer.render(&parsed(&lines[6]), None));
    assert_eq!(after_a_gap["attestation_list"][0].get("prev_event"), None);
}

#[test]
fn the_words_of_formats_are_read_back() {
    for format in RecordFormat::ALL {
        assert_eq!(format.as_str().parse(), Ok(format));
    }
    assert!("OCSF".parse::<RecordFormat>().is_err());
}
