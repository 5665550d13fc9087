//! Reads every line of a log, oldest first, its closed segments included. What is not a record is given as it is.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read, Seek as _, SeekFrom};
use std::path::Path;

use super::follow::read_record;
use super::line_reader::{Line, LineReader};
use super::segments::{Segment, open_growing, segments};
use crate::regular;

/// Where a line begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// Number of the first record of the file.
    pub(super) segment: u64,
    /// Bytes from the beginning of the file, or of the content of a compressed one.
    pub(super) offset: u64,
}

/// The lines of a log that are still to be read.
pub(super) struct LogScan {
    waiting: VecDeque<Source>,
    open: Option<LineReader>,
}

/// A file, and from which of its bytes on it is read.
enum Source {
    Closed(Segment, u64),
    Growing(File, u64),
}

impl LogScan {
    /// Stands at the beginning of the log, or at `begin`: where that file is gone, at the first one after it.
    ///
    /// # Errors
    /// There is no log, or it cannot be read.
    pub(super) fn open(log: &Path, begin: Option<Place>) -> io::Result<Self> {
        // The file that grows is opened first: one that is closed in between is found among the segments.
        let growing = open_growing(log)?;
        let closed = segments(log)?;
        let first = match &growing {
            Some(file) => first_number(file)?,
            None if closed.is_empty() => return Err(io::ErrorKind::NotFound.into()),
            None => None,
        };
        let offset_in =
            |first: u64| begin.filter(|begin| begin.segment == first).map_or(0, |begin| begin.offset);
        let is_before = |first: u64| begin.is_some_and(|begin| first < begin.segment);
        let is_closed = first.is_some_and(|first| closed.iter().any(|segment| segment.first == first));
        let mut waiting = VecDeque::new();
        for segment in closed.into_iter().filter(|segment| !is_before(segment.first)) {
            let offset = offset_in(segment.first);
            waiting.push_back(Source::Closed(segment, offset));
        }
        if let Some(file) = growing.filter(|_| !is_closed && !first.is_some_and(is_before)) {
            waiting.push_back(Source::Growing(file, first.map_or(0, offset_in)));
        }
        Ok(Self { waiting, open: None })
    }

    /// The next line; `None` at the end of the log.
    pub(super) fn next_line(&mut self) -> io::Result<Option<ScannedLine>> {
        loop {
            let open = match &mut self.open {
                Some(open) => open,
                None => {
                    let Some(source) = self.waiting.pop_front() else { return Ok(None) };
                    self.open.insert(LineReader::new(source.open()?))
                }
            };
            let line = open.next()?.map(ScannedLine::from);
            if line.is_some() {
                return Ok(line);
            }
            self.open = None;
        }
    }
}

/// One line, without its newline.
pub(super) enum ScannedLine {
    Whole(Vec<u8>),
    /// Longer than any record.
    TooLong,
    /// The end of a file without a newline.
    Torn,
}

impl From<Line<'_>> for ScannedLine {
    fn from(line: Line<'_>) -> Self {
        match line {
            Line::Whole(text) => Self::Whole(text.to_vec()),
            Line::TooLong => Self::TooLong,
            Line::Torn(_) => Self::Torn,
        }
    }
}

impl Source {
    fn open(self) -> io::Result<Box<dyn Read + Send>> {
        match self {
            Self::Closed(segment, offset) => open_at(&segment, offset),
            Self::Growing(mut file, offset) => {
                file.seek(SeekFrom::Start(offset))?;
                Ok(Box::new(file))
            }
        }
    }
}

/// The content of a segment from this byte on.
fn open_at(segment: &Segment, offset: u64) -> io::Result<Box<dyn Read + Send>> {
    if !segment.compressed {
        let mut file = regular::open(&segment.path)?;
        file.seek(SeekFrom::Start(offset))?;
        return Ok(Box::new(file));
    }
    let mut content = segment.open()?;
    io::copy(&mut content.by_ref().take(offset), &mut io::sink())?;
    Ok(content)
}

/// The number of the first record of a file that grows; `None` while it has no whole record. The file stands at its
/// beginning afterwards.
pub(super) fn first_number(file: &File) -> io::Result<Option<u64>> {
    let mut file = file;
    file.seek(SeekFrom::Start(0))?;
    let mut line = Vec::new();
    let most = super::line::LINE_LIMIT as u64 + 1;
    BufReader::new(file.take(most)).read_until(b'\n', &mut line)?;
    file.seek(SeekFrom::Start(0))?;
    let is_whole = line.last() == Some(&b'\n');
    Ok(is_whole.then(|| number(&line)).flatten())
}

/// The number of the record on this line.
pub(super) fn number(line: &[u8]) -> Option<u64> {
    read_record(line)?.get("seq")?.as_u64()
}
