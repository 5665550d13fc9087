//! Reads the records of the log in order, from any record on, and goes on when the log grows, is rotated or compressed.
//!
//! Every receiver of records (the index, the sinks, `audit tail`) reads through a [`Follower`] of its own. A follower only
//! reads: what it waits for, and how far it came, is the business of its owner. It does not verify the chain.

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Read, Seek as _, SeekFrom};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value as Json;

use super::line::LINE_LIMIT;
use super::segments::{Segment, open_growing, segment_folder, segments};
use crate::{json, regular};

/// Bytes that are read at once.
const BLOCK: usize = 1 << 18;

/// Why a follower cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// A file could not be read.
    #[error("the decision log `{path}` could not be read")]
    Read {
        /// Which file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// Something that is no record.
    #[error("a line of the decision log `{path}` after record {after} is not a record")]
    NotARecord {
        /// Which file.
        path: PathBuf,
        /// The last record before it.
        after: u64,
    },
    /// Records are not there any more.
    #[error("records {first} to {last} are not in the decision log `{log}` any more")]
    Gone {
        /// The log.
        log: PathBuf,
        /// The first that is missing.
        first: u64,
        /// The last that is missing.
        last: u64,
    },
}

/// One record of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FollowedRecord<'f> {
    /// Its number.
    pub seq: u64,
    /// Its line, as it stands in the log, without the line end.
    pub text: &'f str,
    /// Number of the first record of the file that it stands in.
    pub segment: u64,
    /// Where its line begins in that file (of a compressed one: in its content), in bytes.
    pub offset: u64,
}

/// Reads a log in order.
pub struct Follower {
    log: PathBuf,
    /// Number of the last record that was read.
    after: u64,
    open: Option<OpenFile>,
    line: Vec<u8>,
    /// Whether lines that are no records are passed over.
    passes_damage: bool,
}

struct OpenFile {
    path: PathBuf,
    reader: BufReader<Box<dyn Read + Send>>,
    /// Number of the first record of the file.
    first: u64,
    /// Where the next line begins.
    offset: u64,
    which: Which,
    /// Whether the beginning of a line was read, and not its end.
    partial: bool,
    /// Whether a record was read from it: then the file may not be any more what it was when it was opened.
    seasoned: bool,
}

enum Which {
    /// A segment; number of its last record.
    Closed { last: u64 },
    /// The file that grows, with device and inode, or one that was it (`left`).
    Growing { identity: (u64, u64), left: bool },
}

#[derive(Deserialize)]
struct Numbered {
    seq: u64,
}

impl Follower {
    /// Stands after record `after`; 0 is before the first one. Opens nothing yet.
    pub fn new(log: &Path, after: u64) -> Self {
        Self { log: log.to_owned(), after, open: None, line: Vec::new(), passes_damage: false }
    }

    /// Number of the last record that was read.
    pub fn position(&self) -> u64 {
        self.after
    }

    /// Goes on after record `after`, which may be an earlier one.
    pub fn seek(&mut self, after: u64) {
        self.after = after;
        self.open = None;
    }

    /// Passes over lines that are no records, and over the missing end of a segment, from now on: what they held is then told
    /// as [`FollowError::Gone`]. For a reader that has to go on where the log was damaged.
    pub fn pass_damage(&mut self) {
        self.passes_damage = true;
    }

    /// The next record; `None` when there is none yet. Reads files: call it off the async threads.
    ///
    /// # Errors
    /// A file cannot be read, or the next record is not in the log any more: [`FollowError::Gone`] says up to which number,
    /// and [`Follower::seek`] goes on after it.
    pub fn next_record(&mut self) -> Result<Option<FollowedRecord<'_>>, FollowError> {
        loop {
            let Some(mut open) = self.open.take().map_or_else(|| self.find(), |open| Ok(Some(open)))? else {
                return Ok(None);
            };
            match open.read_line(&mut self.line)? {
                LineEnd::Whole => {
                    let offset = open.offset;
                    open.offset += self.line.len() as u64;
                    let Some(seq) = number(&self.line) else {
                        if std::mem::take(&mut open.seasoned) && matches!(open.which, Which::Growing { .. }) {
                            // As below, in the middle of a line.
                            continue;
                        }
                        open.damage(self.passes_damage, self.after)?;
                        self.open = Some(open);
                        continue;
                    };
                    if seq > self.after.saturating_add(1) && std::mem::take(&mut open.seasoned) {
                        // It was emptied, and has grown past the place up to which it was read.
                        self.line.clear();
                        continue;
                    }
                    if seq > self.after.saturating_add(1) {
                        let first = self.after.saturating_add(1);
                        return Err(FollowError::Gone { log: self.log.clone(), first, last: seq - 1 });
                    }
                    let segment = open.first;
                    open.seasoned |= seq > self.after;
                    self.open = Some(open);
                    if seq <= self.after {
                        continue;
                    }
                    self.after = seq;
                    let text = str::from_utf8(&self.line).unwrap_or_default().trim_end_matches('\n');
                    return Ok(Some(FollowedRecord { seq, text, segment, offset }));
                }
                LineEnd::Missing if self.passes_damage && open.is_cut_off(self.after) => {
                    let (first, last) = (self.after.saturating_add(1), open.last().unwrap_or(self.after));
                    return Err(FollowError::Gone { log: self.log.clone(), first, last });
                }
                LineEnd::Missing if open.grows(&self.log, self.after)? => {
                    self.open = Some(open);
                    return Ok(None);
                }
                LineEnd::Missing => {}
                LineEnd::TooLong => {
                    open.damage(self.passes_damage, self.after)?;
                    // What is left of the line is read as a line of its own, which is no record either.
                    open.offset += self.line.len() as u64;
                    open.partial = false;
                    self.open = Some(open);
                }
            }
        }
    }

    /// Opens the file with the next record, before that record or at it; `None` when there is no such file yet.
    fn find(&self) -> Result<Option<OpenFile>, FollowError> {
        let next = self.after.saturating_add(1);
        // Twice, because a file that was growing may have become a segment in between.
        for _ in 0..2 {
            let closed = segments(&self.log).map_err(|source| failed(&segment_folder(&self.log), source))?;
            if let Some(segment) = closed.iter().find(|segment| segment.last >= next) {
                return OpenFile::closed(segment, next).map(Some);
            }
            let growing = open_growing(&self.log).map_err(|source| failed(&self.log, source))?;
            let Some(file) = growing else { continue };
            let opened = OpenFile::growing(&self.log, file, next)?;
            if opened.as_ref().is_none_or(|opened| opened.first <= next) {
                return Ok(opened);
            }
            let again = segments(&self.log).map_err(|source| failed(&segment_folder(&self.log), source))?;
            if again == closed {
                return Ok(opened);
            }
        }
        Ok(None)
    }
}

impl std::fmt::Debug for Follower {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Follower").field("log", &self.log).field("after", &self.after).finish_non_exhaustive()
    }
}

enum LineEnd {
    /// The line is complete.
    Whole,
    /// The file ends here, in the middle of a line or at its beginning.
    Missing,
    /// Longer than any record.
    TooLong,
}

impl OpenFile {
    fn closed(segment: &Segment, next: u64) -> Result<Self, FollowError> {
        let path = segment.path.clone();
        let which = Which::Closed { last: segment.last };
        if segment.compressed {
            let reader = segment.open().map_err(|source| failed(&path, source))?;
            return Ok(Self::new(path, reader, segment.first, 0, which));
        }
        let file = regular::open(&path).map_err(|source| failed(&path, source))?;
        let offset = seek_to(&file, next).map_err(|source| failed(&path, source))?;
        Ok(Self::new(path, Box::new(file), segment.first, offset, which))
    }

    /// `None` for a file in which there is no whole record yet.
    fn growing(log: &Path, file: File, next: u64) -> Result<Option<Self>, FollowError> {
        let fault = |source| failed(log, source);
        let found = file.metadata().map_err(fault)?;
        let identity = (found.dev(), found.ino());
        let Some((_, first)) = record_at(&file, 0, found.len()).map_err(fault)? else { return Ok(None) };
        let offset = seek_to(&file, next).map_err(fault)?;
        let which = Which::Growing { identity, left: false };
        Ok(Some(Self::new(log.to_owned(), Box::new(file), first, offset, which)))
    }

    fn new(path: PathBuf, reader: Box<dyn Read + Send>, first: u64, offset: u64, which: Which) -> Self {
        let reader = BufReader::with_capacity(BLOCK, reader);
        Self { path, reader, first, offset, which, partial: false, seasoned: false }
    }

    /// Reads on to the end of the line. A line of which only the beginning is there stays in `line` for the next call.
    fn read_line(&mut self, line: &mut Vec<u8>) -> Result<LineEnd, FollowError> {
        if !self.partial {
            line.clear();
        }
        let room = (LINE_LIMIT + 2).saturating_sub(line.len()) as u64;
        let read = self.reader.by_ref().take(room).read_until(b'\n', line);
        read.map_err(|source| failed(&self.path, source))?;
        self.partial = line.last() != Some(&b'\n');
        Ok(match self.partial {
            false => LineEnd::Whole,
            true if line.len() > LINE_LIMIT => LineEnd::TooLong,
            true => LineEnd::Missing,
        })
    }

    /// At the end of the file: whether more may come. `false` when the next record is in another file.
    fn grows(&mut self, log: &Path, after: u64) -> Result<bool, FollowError> {
        let (identity, left) = match &mut self.which {
            Which::Closed { last } if after >= *last => return Ok(false),
            // Cut off: what is missing is found, or found missing, by the next look.
            Which::Closed { .. } => return Err(self.not_a_record(after)),
            Which::Growing { identity, left } => (*identity, left),
        };
        if *left {
            return Ok(false);
        }
        let stays = match fs::symlink_metadata(log) {
            Ok(found) => (found.dev(), found.ino()) == identity && found.len() >= self.offset,
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(source) => return Err(failed(log, source)),
        };
        // Something may have been written before the file was moved: it is read to its end once more.
        *left = !stays;
        Ok(stays)
    }

    /// A line that is no record: an error, unless damage is passed over.
    fn damage(&self, passes: bool, after: u64) -> Result<(), FollowError> {
        if passes { Ok(()) } else { Err(self.not_a_record(after)) }
    }

    /// The number of the last record of a segment.
    fn last(&self) -> Option<u64> {
        match self.which {
            Which::Closed { last } => Some(last),
            Which::Growing { .. } => None,
        }
    }

    /// At the end of the file: whether it is a segment whose end is missing.
    fn is_cut_off(&self, after: u64) -> bool {
        self.last().is_some_and(|last| after < last)
    }

    fn not_a_record(&self, after: u64) -> FollowError {
        FollowError::NotARecord { path: self.path.clone(), after }
    }
}

fn failed(path: &Path, source: io::Error) -> FollowError {
    FollowError::Read { path: path.to_owned(), source }
}

/// The record on this line. The arguments of a request may be as deep as the strict reader
/// goes, and stand a few levels deeper in their record: nobody may hide a record by that.
pub(crate) fn read_record(line: &[u8]) -> Option<Json> {
    json::parse(line).ok().or_else(|| serde_json::from_slice(line).ok()).filter(Json::is_object)
}

/// The number of the record on this line.
fn number(line: &[u8]) -> Option<u64> {
    serde_json::from_slice::<Numbered>(line).ok().map(|numbered| numbered.seq)
}

/// Number of the first record of the file; `None` when there is no whole record in it.
pub(super) fn first_record(file: &File) -> io::Result<Option<u64>> {
    Ok(record_at(file, 0, file.metadata()?.len())?.map(|(_, seq)| seq))
}

/// Puts the file where record `next` begins, or where some record before it does; the offset.
fn seek_to(file: &File, next: u64) -> io::Result<u64> {
    let end = file.metadata()?.len();
    // INVARIANT: a record that begins at `low` is not after `next`; one that begins at or after `high` is not before it.
    let (mut low, mut high) = (0, end);
    while high - low > BLOCK as u64 {
        let middle = low + (high - low) / 2;
        match record_at(file, middle, end)? {
            Some((begins, seq)) if seq <= next && begins > low => low = begins,
            _ => high = middle,
        }
    }
    let mut file = file;
    file.seek(SeekFrom::Start(low))
}

/// The first whole record that begins at `from` or after it: its offset and number. At 0 a line begins, elsewhere after a
/// line end.
fn record_at(file: &File, from: u64, end: u64) -> io::Result<Option<(u64, u64)>> {
    let mut window = vec![0; BLOCK.min(usize::try_from(end.saturating_sub(from)).unwrap_or(BLOCK))];
    loop {
        file.read_exact_at(&mut window, from)?;
        let begin = match from {
            0 => Some(0),
            _ => window.iter().position(|&byte| byte == b'\n').map(|at| at + 1),
        };
        let rest = begin.and_then(|begin| window.get(begin..));
        let length = rest.and_then(|rest| rest.iter().position(|&byte| byte == b'\n'));
        if let (Some(begin), Some(rest), Some(length)) = (begin, rest, length) {
            let line = rest.get(..length).unwrap_or_default();
            return Ok(number(line).map(|seq| (from + begin as u64, seq)));
        }
        let wider = (window.len() * 2).min(usize::try_from(end - from).unwrap_or(usize::MAX));
        if wider == window.len() || window.len() > 4 * LINE_LIMIT {
            return Ok(None);
        }
        window.resize(wider, 0);
    }
}

#[cfg(test)]
mod tests;
