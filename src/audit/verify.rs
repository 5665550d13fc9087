//! Finds out whether the log is as the gateway wrote it, and where it is not.
//!
//! Every record is checked against its own hash and against the record before it, from the first on. What a
//! chain alone cannot show is that whole records at the very end are missing, or that an attacker with access to
//! the file computed everything after a change anew: keep the last number and hash elsewhere and compare.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::line::{ChainHead, LineFault, check, check_next};
use super::line_reader::{Line, LineReader};

/// The result for a sound log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VerifyReport {
    /// The number of records.
    pub records: u64,
    /// Number of the first one.
    pub first_seq: Option<u64>,
    /// Number of the last one.
    pub last_seq: Option<u64>,
    /// Hash of the last one.
    pub last_hash: String,
    /// Bytes of a last line that a crash cut; the gateway repairs it when it starts.
    pub torn_tail: u64,
}

/// Why the log did not verify.
#[derive(Debug, thiserror::Error)]
pub enum VerifyFailure {
    /// It could not be read.
    #[error("the decision log `{path}` could not be read")]
    Read {
        /// The log.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// It is not as the gateway wrote it.
    #[error("line {line}, where record {seq} should be: {what}")]
    Broken {
        /// The line, from 1.
        line: u64,
        /// The record that should be there.
        seq: u64,
        /// The fault.
        what: LineFault,
    },
}

impl VerifyFailure {
    /// Advice for the operator.
    pub fn help(&self) -> &'static str {
        match self {
            Self::Read { .. } => "name the log file, and run as a user who may read it",
            Self::Broken { .. } => {
                "everything before that line is intact; keep the file as evidence, compare it with the copies \
                 in your SIEM or backup, and start a new log"
            }
        }
    }
}

/// Checks the whole log.
pub fn verify(path: &Path) -> Result<VerifyReport, VerifyFailure> {
    verify_with(path, &mut |_| {})
}

/// Checks the whole log, and calls `progress` now and then with the bytes that are done.
pub fn verify_with(path: &Path, progress: &mut dyn FnMut(u64)) -> Result<VerifyReport, VerifyFailure> {
    let fault = |source| VerifyFailure::Read { path: path.to_owned(), source };
    let mut lines = LineReader::new(File::open(path).map_err(fault)?);
    let mut last = ChainHead::GENESIS;
    let mut torn_tail = 0;
    loop {
        if last.seq.is_multiple_of(1024) {
            progress(lines.consumed());
        }
        // Record n stands on line n: numbers start at 1 and there is nothing else in the file.
        let broken = |what| VerifyFailure::Broken { line: last.seq + 1, seq: last.seq + 1, what };
        match lines.next().map_err(fault)? {
            None => break,
            Some(Line::Whole(line)) => last = check_next(line, last).map_err(broken)?,
            Some(Line::TooLong) => return Err(broken(LineFault::TooLong)),
            Some(Line::Torn(line)) if has_changed_end(line) => return Err(broken(LineFault::Spelling)),
            Some(Line::Torn(line)) => torn_tail += line.len() as u64,
        }
    }
    Ok(VerifyReport {
        records: last.seq,
        first_seq: (last.seq > 0).then_some(1),
        last_seq: (last.seq > 0).then_some(last.seq),
        last_hash: last.hash.to_string(),
        torn_tail,
    })
}

/// Whether a last line is a whole record with something other than a newline after it: no crash does that.
pub(super) fn has_changed_end(line: &[u8]) -> bool {
    line.split_last().is_some_and(|(_, line)| check(line).is_ok())
}
