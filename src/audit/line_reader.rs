//! Reads the log line by line in bounded memory.

use std::io::{self, BufRead, BufReader, Read};

use super::line::LINE_LIMIT;

/// One line, without its newline.
pub(super) enum Line<'a> {
    Whole(&'a [u8]),
    /// Longer than any record; the rest of it is skipped.
    TooLong,
    /// The end of the file without a newline.
    Torn(&'a [u8]),
}

/// The lines of a file.
pub(super) struct LineReader {
    reader: BufReader<Box<dyn Read + Send>>,
    line: Vec<u8>,
    consumed: u64,
}

impl LineReader {
    pub(super) fn new(file: impl Read + Send + 'static) -> Self {
        Self { reader: BufReader::with_capacity(1 << 18, Box::new(file)), line: Vec::new(), consumed: 0 }
    }

    /// Bytes read so far.
    pub(super) fn consumed(&self) -> u64 {
        self.consumed
    }

    /// The line that was read last, without its newline.
    pub(super) fn current(&self) -> &[u8] {
        self.line.strip_suffix(b"\n").unwrap_or(&self.line)
    }

    /// The next line; `None` at the end of the file.
    pub(super) fn next(&mut self) -> io::Result<Option<Line<'_>>> {
        self.line.clear();
        // Twice, because a writer may be in the middle of this line.
        if self.fill()? && self.fill()? {
            return Ok(match self.line.as_slice() {
                [] => None,
                torn => Some(Line::Torn(torn)),
            });
        }
        if self.line.len() > LINE_LIMIT && !self.line.ends_with(b"\n") {
            self.skip_line()?;
            return Ok(Some(Line::TooLong));
        }
        Ok(Some(Line::Whole(self.line.strip_suffix(b"\n").unwrap_or(&self.line))))
    }

    fn skip_line(&mut self) -> io::Result<()> {
        loop {
            self.line.clear();
            if self.fill()? || self.line.ends_with(b"\n") {
                return Ok(());
            }
        }
    }

    /// Reads on until a newline or the limit; `true` when the file ended before either.
    fn fill(&mut self) -> io::Result<bool> {
        if self.line.len() > LINE_LIMIT || self.line.ends_with(b"\n") {
            return Ok(false);
        }
        let room = (LINE_LIMIT + 1 - self.line.len()) as u64;
        self.consumed += self.reader.by_ref().take(room).read_until(b'\n', &mut self.line)? as u64;
        Ok(self.line.len() <= LINE_LIMIT && !self.line.ends_with(b"\n"))
    }
}
