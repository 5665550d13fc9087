//! Reads lines of the log at their places. A file is found by the number of its first record, so a line is found again after
//! its file was rotated or compressed.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use super::chunk::Candidate;
use crate::audit::LINE_LIMIT;
use crate::audit::scan::first_number;
use crate::audit::segments::{Segment, open_growing, segments};
use crate::regular;

/// The files of a log, of which the one that was read last stays open.
pub(super) struct LogFiles {
    log: PathBuf,
    open: Option<(u64, OpenFile)>,
}

enum OpenFile {
    /// Read at any place.
    Plain(File),
    /// Read from the beginning on; `at` is the place that was reached.
    Compressed { content: BufReader<Box<dyn Read + Send>>, at: u64, segment: Segment },
    /// Removed with its records.
    Gone,
}

impl LogFiles {
    pub(super) fn new(log: &Path) -> Self {
        Self { log: log.to_owned(), open: None }
    }

    /// The lines of these records of one file, without their line ends, in the order in which they are wanted. None when the file was removed. A line is given
    /// as the bytes at its place, whatever they are.
    pub(super) fn lines(&mut self, wanted: &[Candidate]) -> io::Result<Vec<(Candidate, Vec<u8>)>> {
        let Some(first) = wanted.first() else { return Ok(Vec::new()) };
        let mut order: Vec<Candidate> = wanted.to_vec();
        let is_backwards = wanted.last().is_some_and(|last| last.place.offset < first.place.offset);
        if is_backwards {
            order.reverse();
        }
        let mut lines = Vec::with_capacity(order.len());
        for candidate in order {
            match self.line(&candidate)? {
                Some(line) => lines.push((candidate, line)),
                None => return Ok(Vec::new()),
            }
        }
        if is_backwards {
            lines.reverse();
        }
        Ok(lines)
    }

    /// `None` when the file was removed.
    fn line(&mut self, wanted: &Candidate) -> io::Result<Option<Vec<u8>>> {
        let segment = wanted.place.segment;
        if self.open.as_ref().is_none_or(|(open, _)| *open != segment) {
            self.open = Some((segment, self.find(segment)?));
        }
        let Some((_, file)) = &mut self.open else { return Ok(None) };
        file.line(wanted)
    }

    /// Whether the file with this first record is compressed.
    pub(super) fn is_compressed(&mut self, segment: u64) -> io::Result<bool> {
        Ok(matches!(self.find(segment)?, OpenFile::Compressed { .. }))
    }

    fn find(&self, first: u64) -> io::Result<OpenFile> {
        // Twice, because a file that was growing may have become a segment in between, or a plain one compressed.
        for _ in 0..2 {
            if let Some(growing) = open_growing(&self.log)?
                && first_number(&growing)? == Some(first)
            {
                return Ok(OpenFile::Plain(growing));
            }
            let closed = segments(&self.log)?;
            let Some(segment) = closed.into_iter().find(|segment| segment.first == first) else { continue };
            match OpenFile::of(segment) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                opened => return opened,
            }
        }
        Ok(OpenFile::Gone)
    }
}

impl OpenFile {
    fn of(segment: Segment) -> io::Result<Self> {
        if !segment.compressed {
            return regular::open(&segment.path).map(Self::Plain);
        }
        let content = BufReader::with_capacity(1 << 18, segment.open()?);
        Ok(Self::Compressed { content, at: 0, segment })
    }

    fn line(&mut self, wanted: &Candidate) -> io::Result<Option<Vec<u8>>> {
        let length = usize::try_from(wanted.length).unwrap_or(usize::MAX).min(LINE_LIMIT + 1);
        let mut line = vec![0; length];
        let read = match self {
            Self::Gone => return Ok(None),
            Self::Plain(file) => file.read_exact_at(&mut line, wanted.place.offset),
            Self::Compressed { content, at, segment } => {
                if *at > wanted.place.offset {
                    *content = BufReader::with_capacity(1 << 18, segment.open()?);
                    *at = 0;
                }
                let between = wanted.place.offset - *at;
                io::copy(&mut content.by_ref().take(between), &mut io::sink())?;
                *at = wanted.place.offset + length as u64;
                content.read_exact(&mut line)
            }
        };
        match read {
            Ok(()) if line.last() == Some(&b'\n') => line.truncate(length - 1),
            // Cut off, or another line: no record of this number.
            Ok(()) => line.clear(),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => line.clear(),
            Err(error) => return Err(error),
        }
        Ok(Some(line))
    }
}
