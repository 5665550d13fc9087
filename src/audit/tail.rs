//! The end of the log, and what comes after it.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use serde_json::Value as Json;

use super::line::LINE_LIMIT;
use super::query::QueryError;
use crate::json;

const BLOCK: usize = 1 << 16;

/// Reads the last records, then those that come.
#[derive(Debug)]
pub struct Tail {
    path: PathBuf,
    reader: BufReader<File>,
    /// A line whose end is not there yet.
    line: Vec<u8>,
}

impl Tail {
    /// Stands before the last `count` records.
    pub fn open(path: &Path, count: usize) -> Result<Self, QueryError> {
        let fault = |source| QueryError::new(path, source);
        let mut file = File::open(path).map_err(fault)?;
        let start = before_last_lines(&file, count).map_err(fault)?;
        file.seek(SeekFrom::Start(start)).map_err(fault)?;
        Ok(Self { path: path.to_owned(), reader: BufReader::new(file), line: Vec::new() })
    }

    /// The next record that is complete; `None` when there is none yet. Lines that are not records are skipped.
    pub fn next_record(&mut self) -> Result<Option<Json>, QueryError> {
        loop {
            let read = self
                .reader
                .read_until(b'\n', &mut self.line)
                .map_err(|source| QueryError::new(&self.path, source))?;
            if !self.line.ends_with(b"\n") {
                if self.line.len() > LINE_LIMIT {
                    self.line.clear();
                }
                if read == 0 {
                    return Ok(None);
                }
                continue;
            }
            let record = json::parse(&self.line).ok().filter(Json::is_object);
            self.line.clear();
            if record.is_some() {
                return Ok(record);
            }
        }
    }
}

/// The offset of the last `count` whole lines, searched from the end.
fn before_last_lines(file: &File, count: usize) -> io::Result<u64> {
    let mut end = file.metadata()?.len();
    let mut newlines = 0;
    let mut block = vec![0; BLOCK];
    while end > 0 {
        let start = end.saturating_sub(BLOCK as u64);
        let piece = block.get_mut(..usize::try_from(end - start).unwrap_or(BLOCK)).unwrap_or_default();
        file.read_exact_at(piece, start)?;
        for (at, _) in piece.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n') {
            if newlines == count {
                return Ok(start + at as u64 + 1);
            }
            newlines += 1;
        }
        end = start;
    }
    Ok(0)
}
