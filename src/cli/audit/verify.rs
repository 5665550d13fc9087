//! `caxton audit verify`.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use serde::Serialize;

use crate::audit::NoteVerifier;
use crate::audit::verify::{Trusted, VerifyFailure, VerifyReport, verify_with};
use crate::cli::installation::LogFile;
use crate::cli::output::{Exit, Output};

/// Bytes of a log that are verified so fast that a progress bar would only flicker.
const NO_BAR_BELOW: u64 = 64 << 20;

/// What to verify, and against what.
#[derive(Debug, Args)]
pub struct VerifyOptions {
    /// The log file, when it is not `--log`.
    file: Option<PathBuf>,
    /// Compare with this checkpoint, which was kept elsewhere; may be given several times.
    #[arg(long, value_name = "FILE")]
    checkpoint: Vec<PathBuf>,
    /// The public key of the log, kept elsewhere: a file, or the key itself [default: the one beside the log]
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// The log.
    #[command(flatten)]
    log: LogFile,
}

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

pub(super) fn verify(options: VerifyOptions, output: &Output) -> anyhow::Result<Exit> {
    let path = match options.file {
        Some(file) => file,
        None => options.log.path(output)?,
    };
    let key = options.key.as_deref().map(read_key).transpose()?;
    let trusted = Trusted { key, checkpoints: options.checkpoint };
    let bar = bar(std::fs::metadata(&path).map_or(0, |found| found.len()));
    let verified = verify_with(&path, &trusted, &mut |bytes| bar.set_position(bytes));
    bar.finish_and_clear();
    match verified {
        Ok(report) => {
            let shown = Verified { ok: true, report: Some(&report), line: None, seq: None, problem: None };
            output.data(&shown, |_| sound(&report))?;
            warn(&report, output);
            Ok(Exit::Fine)
        }
        Err(failure) if failure.is_finding() => {
            let (line, seq) = failure.place();
            let problem = Some(match &failure {
                VerifyFailure::Broken { what, .. } => what.to_string(),
                _ => failure.to_string(),
            });
            let shown = Verified { ok: false, report: None, line, seq, problem };
            output.data(&shown, |_| format!("not ok: {}", with_causes(&failure)))?;
            output.say(format_args!("help: {}", failure.help()));
            Ok(Exit::Found)
        }
        Err(failure) => Err(failure.into()),
    }
}

fn with_causes(failure: &VerifyFailure) -> String {
    let mut text = failure.to_string();
    let mut cause = std::error::Error::source(failure);
    while let Some(next) = cause {
        text.push_str(": ");
        text.push_str(&next.to_string());
        cause = next.source();
    }
    text
}

/// A public key: the text itself, or a file with it.
pub(super) fn read_key(key: &str) -> anyhow::Result<NoteVerifier> {
    let wrong = || format!("`{key}` is not the public key of a decision log, nor a file with one");
    if Path::new(key).is_file() {
        return NoteVerifier::read(Path::new(key)).with_context(wrong);
    }
    NoteVerifier::parse(key).with_context(wrong)
}

/// What a report says beside that the log is sound.
fn warn(report: &VerifyReport, output: &Output) {
    if report.torn_tail > 0 {
        output.say(format_args!(
            "warning: {} bytes of a truncated line follow\nhelp: start the gateway once: it repairs the log and records the repair",
            report.torn_tail
        ));
    }
    for (first, last) in &report.cut {
        output.say(format_args!(
            "warning: records {first} to {last} are not here: another program emptied the file\nhelp: they are where that program has put them; let the gateway rotate the log by itself (`security.audit.rotation_size`)"
        ));
    }
    for size in &report.checkpoints_too_old {
        output.say(format_args!(
            "warning: the checkpoint with {size} records was not compared: records before it are not in the log any more"
        ));
    }
}

/// What is said of a log that verifies.
pub(in crate::cli) fn sound(report: &VerifyReport) -> String {
    let last = report.last_hash.get(..16).unwrap_or(&report.last_hash);
    let Some(seq) = report.last_seq else { return "ok: no records yet".to_owned() };
    let mut text = format!("ok: {} records, chain intact to record {seq}, last hash {last}…", report.records);
    if let Some(size) = report.checkpoints.iter().max() {
        text.push_str(&format!("\nsigned checkpoint: agrees with the first {size} records"));
    }
    if let Some(deleted) = report.deleted_to {
        text.push_str(&format!("\nretention has deleted records 1 to {deleted}, as a signed tombstone says"));
    }
    text
}

fn bar(bytes: u64) -> indicatif::ProgressBar {
    match bytes {
        ..NO_BAR_BELOW => indicatif::ProgressBar::hidden(),
        _ => indicatif::ProgressBar::new(bytes),
    }
}
