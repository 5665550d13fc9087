//! Reads the records of one or more logs in order, and proves the chain on the way.
//!
//! A replay is only worth what its records are worth: whoever can write a log could make any change of the policies
//! look harmless. So each line is held against its hash and the one before it, unless the caller says that the lines
//! are no chain (a selection, an export), and then it is the caller's turn to say so.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::line::{LineFault, Link, check, check_next};
use super::read::{Line, Lines};
use super::verify::has_changed_end;

/// The most logs of one folder.
const MAX_LOGS: usize = 4096;

/// Why the records cannot be read on.
#[derive(Debug, thiserror::Error)]
pub enum RecordsError {
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
        /// Which folder.
        path: PathBuf,
        /// What it has.
        what: &'static str,
    },
    /// A line is not as the gateway wrote it.
    #[error("`{path}` line {line}: {what}")]
    Line {
        /// Which log.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// What is wrong with it.
        what: LineFault,
    },
}

/// Whether lines are held against each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// Each line has to be whole and to follow the one before.
    Chain,
    /// Lines are taken as they are.
    Nothing,
}

/// What is known about the chain once all records are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Proven {
    /// Records read.
    pub records: u64,
    /// Logs that begin in the middle of a chain whose beginning was not read.
    pub without_beginning: u64,
    /// Bytes of a last line that a crash cut.
    pub torn_tail: u64,
}

/// The records of one or more logs.
pub struct Records {
    waiting: std::vec::IntoIter<PathBuf>,
    open: Option<Open>,
    proof: Proof,
    last: Option<Link>,
    proven: Proven,
    done: u64,
}

struct Open {
    path: PathBuf,
    lines: Lines,
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

impl Records {
    /// The records of a log, or of all `*.log` and `*.jsonl` files in a folder, in the order of their names.
    pub fn open(path: &Path, proof: Proof) -> Result<Self, RecordsError> {
        let logs = if path.is_dir() { logs(path)? } else { vec![path.to_owned()] };
        let (last, proven) = (None, Proven::default());
        Ok(Self { waiting: logs.into_iter(), open: None, proof, last, proven, done: 0 })
    }

    /// Bytes of all logs, for a progress bar.
    pub fn bytes(&self) -> u64 {
        self.waiting
            .as_slice()
            .iter()
            .map(|path| std::fs::metadata(path).map_or(0, |found| found.len()))
            .sum()
    }

    /// Bytes read so far.
    pub fn consumed(&self) -> u64 {
        self.done + self.open.as_ref().map_or(0, |open| open.lines.consumed())
    }

    /// What was proven so far.
    pub fn proven(&self) -> Proven {
        self.proven
    }

    /// The next record; `None` at the end of the last log.
    pub fn next_record(&mut self) -> Result<Option<RecordLine<'_>>, RecordsError> {
        loop {
            if self.open.is_none() {
                let Some(path) = self.waiting.next() else { return Ok(None) };
                let file =
                    File::open(&path).map_err(|source| RecordsError::Read { path: path.clone(), source })?;
                self.open = Some(Open { path, lines: Lines::new(file), line: 0 });
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
    fn advance(&mut self) -> Result<bool, RecordsError> {
        let Some(open) = &mut self.open else { return Ok(false) };
        let path = &open.path;
        let wrong = |line, what| RecordsError::Line { path: path.clone(), line, what };
        let first = open.line == 0;
        let found = open.lines.next().map_err(|source| RecordsError::Read { path: path.clone(), source })?;
        match found {
            Some(Line::Whole(text)) => {
                open.line += 1;
                if self.proof == Proof::Chain {
                    let (link, continues) =
                        follow(text, self.last, first).map_err(|what| wrong(open.line, what))?;
                    self.last = Some(link);
                    self.proven.without_beginning += u64::from(!continues);
                }
                self.proven.records += 1;
                return Ok(true);
            }
            Some(Line::TooLong) => return Err(wrong(open.line + 1, LineFault::TooLong)),
            // A selection or an export may lack its last line end.
            Some(Line::Torn(_)) if self.proof == Proof::Nothing => {
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
fn follow(text: &[u8], last: Option<Link>, first: bool) -> Result<(Link, bool), LineFault> {
    if !first {
        return check_next(text, last.unwrap_or(Link::GENESIS)).map(|link| (link, true));
    }
    let (link, before) = check(text)?;
    let begins = link.seq == 1 && before == Link::GENESIS.hash;
    let continues = last.is_some_and(|last| link.seq == last.seq + 1 && before == last.hash);
    Ok((link, begins || continues))
}

fn logs(folder: &Path) -> Result<Vec<PathBuf>, RecordsError> {
    let failed = |source| RecordsError::Read { path: folder.to_owned(), source };
    let mut logs = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let is_log = path.extension().is_some_and(|ending| ending == "log" || ending == "jsonl");
        if is_log && path.is_file() {
            logs.push(path);
        }
    }
    let wrong = |what| RecordsError::Folder { path: folder.to_owned(), what };
    match logs.len() {
        0 => Err(wrong("has no `*.log` or `*.jsonl` file")),
        1..=MAX_LOGS => {
            logs.sort();
            Ok(logs)
        }
        _ => Err(wrong("has more than 4,096 logs")),
    }
}
