//! `caxton audit verify`.

use std::path::Path;

use serde::Serialize;

use crate::audit::verify::{VerifyFailure, VerifyReport, verify_with};
use crate::cli::output::{Exit, Output};

/// Bytes of a log that are verified so fast that a progress bar would only flicker.
const NO_BAR_BELOW: u64 = 64 << 20;

#[derive(Serialize)]
struct Verified<'a> {
    ok: bool,
    #[serde(flatten)]
    report: Option<&'a VerifyReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

pub(super) fn verify(path: &Path, output: &Output) -> anyhow::Result<Exit> {
    let bar = bar(std::fs::metadata(path).map_or(0, |found| found.len()));
    let verified = verify_with(path, &mut |bytes| bar.set_position(bytes));
    bar.finish_and_clear();
    match verified {
        Ok(report) => {
            let shown = Verified { ok: true, report: Some(&report), line: None, seq: None, problem: None };
            output.data(&shown, |_| sound(&report))?;
            if report.torn_tail > 0 {
                output.say(format_args!(
                    "warning: {} bytes of a truncated line follow\nhelp: start the gateway once: it repairs the log and records the repair",
                    report.torn_tail
                ));
            }
            Ok(Exit::Fine)
        }
        Err(failure @ VerifyFailure::Read { .. }) => Err(failure.into()),
        Err(failure @ VerifyFailure::Broken { line, seq, what }) => {
            let problem = Some(what.to_string());
            let shown = Verified { ok: false, report: None, line: Some(line), seq: Some(seq), problem };
            output.data(&shown, |_| format!("not ok: {failure}"))?;
            output.say(format_args!("help: {}", failure.help()));
            Ok(Exit::Found)
        }
    }
}

/// What is said of a log that verifies.
pub(in crate::cli) fn sound(report: &VerifyReport) -> String {
    let last = report.last_hash.get(..16).unwrap_or(&report.last_hash);
    match report.last_seq {
        Some(seq) => {
            format!("ok: {} records, chain intact to record {seq}, last hash {last}…", report.records)
        }
        None => "ok: no records yet".to_owned(),
    }
}

fn bar(bytes: u64) -> indicatif::ProgressBar {
    match bytes {
        ..NO_BAR_BELOW => indicatif::ProgressBar::hidden(),
        _ => indicatif::ProgressBar::new(bytes),
    }
}
