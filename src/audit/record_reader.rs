//! Reads the records of one or more logs in order, and verifies the chain on the way.
//!
//! A replay is as trustworthy as its records: with a forged log any change of the policies looks harmless. So each line
//! is checked against its hash and the line before it, unless the caller says that the lines are no chain (a selection or
//! an export); the caller then has to report that nothing was verified.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::line::{ChainHead, LineFault, check, check_next};
use super::line_reader::{Line, LineReader};
use super::segments::{Segment, segments};
use super::verify::has_changed_end;

/// The most logs of one folder.
const MAX_LOGS: usize = 4096;

/// Why the records cannot be read on.
#[derive(Debug, thiserror::Error)]
pub enum RecordReadError {
    /// The system refused.
    #[error("the decision log `{path}` could not be read")]
    Read {
        /// Which log or folder.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// No log, or too many.
    #[error("the folder `{path}` {what}")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// The fault.
        what: &'static str,
    },
    /// A line is not as the gateway wrote it.
    #[error("`{path}` line {line}: {what}")]
    Line {
        /// The log.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// The fault.
        what: LineFault,
    },
}

/// Whether the chain of hashes is verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChainCheck {
    /// Each line has to have its own hash and that of the line before.
    Verify,
    /// Lines are read without a check of their hashes.
    Skip,
}

/// The result of the verification after all records were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ChainSummary {
    /// Records read.
    pub records: u64,
    /// Logs that begin in the middle of a chain whose beginning was not read.
    pub without_beginning: u64,
    /// Bytes of a last line that a crash cut.
    pub torn_tail: u64,
}

/// The records of one or more logs.
pub struct RecordReader {
    waiting: std::vec::IntoIter<LogPart>,
    open: Option<OpenLog>,
    check_chain: ChainCheck,
    last: Option<ChainHead>,
    proven: ChainSummary,
    done: u64,
}

/// A file with records.
enum LogPart {
    Segment(Segment),
    File(PathBuf),
}

impl LogPart {
    fn path(&self) -> &Path {
        match self {
            Self::Segment(segment) => &segment.path,
            Self::File(path) => path,
        }
    }

    fn open(&self) -> io::Result<LineReader> {
        Ok(match self {
            Self::Segment(segment) => LineReader::new(segment.open()?),
            Self::File(path) => LineReader::new(File::open(path)?),
        })
    }
}

struct OpenLog {
    path: PathBuf,
    lines: LineReader,
    line: u64,
}

/// One record, as text.
#[derive(Debug, Clone, Copy)]
pub struct RecordLine<'a> {
    /// The log it stands in.
    pub path: &'a Path,
    /// Its line, from 1.
    pub line: u64,
    /// Its JSON.
    pub text: &'a [u8],
}

impl RecordReader {
    /// The records of a log with its closed segments, or of all `*.log`, `*.log.zst` and `*.jsonl` files in a folder, in the
    /// order of their names.
    pub fn open(path: &Path, check_chain: ChainCheck) -> Result<Self, RecordReadError> {
        let logs = if path.is_dir() { logs(path)? } else { with_segments(path)? };
        let last = None;
        let proven = ChainSummary::default();
        Ok(Self { waiting: logs.into_iter(), open: None, check_chain, last, proven, done: 0 })
    }

    /// Bytes of all logs, for a progress bar.
    pub fn bytes(&self) -> u64 {
        self.waiting
            .as_slice()
            .iter()
            .map(|part| std::fs::metadata(part.path()).map_or(0, |found| found.len()))
            .sum()
    }

    /// Bytes read so far.
    pub fn consumed(&self) -> u64 {
        self.done + self.open.as_ref().map_or(0, |open| open.lines.consumed())
    }

    /// The result of the verification so far.
    pub fn proven(&self) -> ChainSummary {
        self.proven
    }

    /// The next record; `None` at the end of the last log.
    pub fn next_record(&mut self) -> Result<Option<RecordLine<'_>>, RecordReadError> {
        loop {
            if self.open.is_none() {
                let Some(part) = self.waiting.next() else { return Ok(None) };
                let path = part.path().to_owned();
                let lines =
                    part.open().map_err(|source| RecordReadError::Read { path: path.clone(), source })?;
                self.open = Some(OpenLog { path, lines, line: 0 });
            }
            if self.advance()? {
                break;
            }
        }
        // INVARIANT: `advance` said that there is a line.
        Ok(self.open.as_ref().map(|open| RecordLine {
            path: &open.path,
            line: open.line,
            text: open.lines.current(),
        }))
    }

    /// Goes to the next line of the open log; `false` at its end, which closes it.
    fn advance(&mut self) -> Result<bool, RecordReadError> {
        let Some(open) = &mut self.open else { return Ok(false) };
        let path = &open.path;
        let wrong = |line, what| RecordReadError::Line { path: path.clone(), line, what };
        let first = open.line == 0;
        let found =
            open.lines.next().map_err(|source| RecordReadError::Read { path: path.clone(), source })?;
        match found {
            Some(Line::Whole(text)) => {
                open.line += 1;
                if self.check_chain == ChainCheck::Verify {
                    let (head, continues) =
                        follow(text, self.last, first).map_err(|what| wrong(open.line, what))?;
                    self.last = Some(head);
                    self.proven.without_beginning += u64::from(!continues);
                }
                self.proven.records += 1;
                return Ok(true);
            }
            Some(Line::TooLong) => return Err(wrong(open.line + 1, LineFault::TooLong)),
            // A selection or an export may lack its last line end.
            Some(Line::Torn(_)) if self.check_chain == ChainCheck::Skip => {
                open.line += 1;
                self.proven.records += 1;
                return Ok(true);
            }
            Some(Line::Torn(text)) if has_changed_end(text) => {
                return Err(wrong(open.line + 1, LineFault::Spelling));
            }
            Some(Line::Torn(text)) => self.proven.torn_tail += text.len() as u64,
            None => {}
        }
        self.done += open.lines.consumed();
        self.open = None;
        Ok(false)
    }
}

/// The place of a line in the chain, and whether what came before it was read too.
fn follow(text: &[u8], last: Option<ChainHead>, first: bool) -> Result<(ChainHead, bool), LineFault> {
    if !first {
        return check_next(text, last.unwrap_or(ChainHead::GENESIS)).map(|head| (head, true));
    }
    let (head, before) = check(text)?;
    let begins = head.seq == 1 && before == ChainHead::GENESIS.hash;
    let continues = last.is_some_and(|last| head.seq == last.seq + 1 && before == last.hash);
    Ok((head, begins || continues))
}

fn with_segments(log: &Path) -> Result<Vec<LogPart>, RecordReadError> {
    let failed = |source| RecordReadError::Read { path: log.to_owned(), source };
    let closed = segments(log).map_err(failed)?;
    let mut parts: Vec<LogPart> = closed.into_iter().map(LogPart::Segment).collect();
    parts.push(LogPart::File(log.to_owned()));
    Ok(parts)
}

fn logs(folder: &Path) -> Result<Vec<LogPart>, RecordReadError> {
    let failed = |source| RecordReadError::Read { path: folder.to_owned(), source };
    let mut logs = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if !path.is_file() {
            continue;
        }
        let is_log = path.extension().is_some_and(|ending| ending == "log" || ending == "jsonl");
        match Segment::parse(path.clone()) {
            Some(segment) => logs.push(LogPart::Segment(segment)),
            None if is_log => logs.push(LogPart::File(path)),
            None => {}
        }
    }
    let wrong = |what| RecordReadError::Folder { path: folder.to_owned(), what };
    match logs.len() {
        0 => Err(wrong("has no `*.log` or `*.jsonl` file")),
        1..=MAX_LOGS => {
            logs.sort_by(|one, other| one.path().cmp(other.path()));
            Ok(logs)
        }
        _ => Err(wrong("has more than 4,096 logs")),
    }
}
