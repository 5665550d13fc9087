//! One message a line, as servers over standard input and output speak.

use std::io;

use tokio::io::{AsyncBufRead, AsyncBufReadExt as _};

/// Reads lines within a bound. A longer one is left out.
#[derive(Debug)]
pub(super) struct LineReader<R> {
    input: R,
    /// The line so far. A read that is cancelled goes on here.
    line: Vec<u8>,
    /// Whether the rest of a line that was too long is being skipped.
    skipping: bool,
    limit: usize,
}

/// A line, as far as it is given out.
pub(super) enum Line {
    /// The whole line, with its end.
    Whole(Vec<u8>),
    /// The beginning of a line that was too long; the rest was skipped.
    TooLong(Vec<u8>),
}

/// Bytes of a line that was too long which are given out: its id may be among them.
const BEGINNING: usize = 4096;

impl<R: AsyncBufRead + Unpin> LineReader<R> {
    /// Lines of at most `limit` bytes.
    pub(super) fn new(input: R, limit: usize) -> Self {
        Self { input, line: Vec::new(), skipping: false, limit }
    }

    /// The next line; none at the end.
    pub(super) async fn next(&mut self) -> io::Result<Option<Line>> {
        loop {
            let part = self.input.fill_buf().await?;
            if part.is_empty() {
                return Ok(None);
            }
            let end = part.iter().position(|byte| *byte == b'\n');
            let taken = end.map_or(part.len(), |end| end + 1);
            if self.line.len().saturating_add(taken) > self.limit {
                self.skipping = true;
                self.line.extend_from_slice(part.get(..taken.min(BEGINNING)).unwrap_or_default());
                self.line.truncate(BEGINNING);
                self.line.shrink_to_fit();
            } else if !self.skipping {
                self.line.extend_from_slice(part.get(..taken).unwrap_or_default());
            }
            self.input.consume(taken);
            if end.is_some() {
                let line = std::mem::take(&mut self.line);
                return Ok(Some(if std::mem::take(&mut self.skipping) {
                    Line::TooLong(line)
                } else {
                    Line::Whole(line)
                }));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_line_that_is_too_long_is_left_out_and_the_next_is_read() {
        let long = "x".repeat(10_000);
        let text = format!("one\n{long}\ntwo\nopen");
        for capacity in [1, 7, 100_000] {
            let input = tokio::io::BufReader::with_capacity(capacity, text.as_bytes());
            let mut lines = LineReader::new(input, 5_000);
            let mut read = Vec::new();
            while let Some(line) = lines.next().await.unwrap() {
                read.push(match line {
                    Line::Whole(line) => String::from_utf8(line).unwrap(),
                    Line::TooLong(beginning) => {
                        assert!(long.as_bytes().starts_with(&beginning) && beginning.len() <= BEGINNING);
                        "too long".to_owned()
                    }
                });
            }
            assert_eq!(read, ["one\n", "too long", "two\n"]);
        }
    }
}
