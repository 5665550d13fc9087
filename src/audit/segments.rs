//! The files of a decision log: the one that grows, and beside it a folder with the segments that are closed.
//!
//! `audit.log` grows. Rotation moves it to `audit.log.segments/FIRST-LAST.log`, where FIRST and LAST are the numbers of its
//! first and last record, with 20 digits; a compressed one ends in `.log.zst`. Names therefore sort as the records do,
//! and say which records are in them without a look at the content.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::file::beside;
use crate::regular;

/// The digits of a record number in the name of a segment.
const DIGITS: usize = 20;
const PLAIN: &str = ".log";
const COMPRESSED: &str = ".log.zst";

/// A closed part of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Number of its first record.
    pub first: u64,
    /// Number of its last record.
    pub last: u64,
    /// Its file.
    pub path: PathBuf,
    /// Whether it is compressed (zstd).
    pub compressed: bool,
}

impl Segment {
    /// The segment with these records in `folder`.
    pub(super) fn new(folder: &Path, first: u64, last: u64, compressed: bool) -> Self {
        let ending = if compressed { COMPRESSED } else { PLAIN };
        let path = folder.join(format!("{first:0DIGITS$}-{last:0DIGITS$}{ending}"));
        Self { first, last, path, compressed }
    }

    /// Reads a segment's name; `None` for a file that is none.
    pub(super) fn parse(path: PathBuf) -> Option<Self> {
        let name = path.file_name()?.to_str()?;
        let (range, compressed) = match name.strip_suffix(COMPRESSED) {
            Some(range) => (range, true),
            None => (name.strip_suffix(PLAIN)?, false),
        };
        let (first, last) = range.split_once('-')?;
        let number = |text: &str| (text.len() == DIGITS).then(|| text.parse().ok()).flatten();
        let (first, last): (u64, u64) = (number(first)?, number(last)?);
        (first > 0 && first <= last).then_some(Self { first, last, path, compressed })
    }

    /// Its lines, decompressed.
    pub(super) fn open(&self) -> io::Result<Box<dyn Read + Send>> {
        let file = regular::open(&self.path)?;
        Ok(match self.compressed {
            true => Box::new(zstd::Decoder::new(file)?),
            false => Box::new(file),
        })
    }
}

/// The folder of the closed segments of this log.
pub fn segment_folder(log: &Path) -> PathBuf {
    beside(log, "segments")
}

/// The closed segments of this log, oldest first; none when there is no folder. Where a segment is there plain and compressed,
/// compression was interrupted, and only the plain file counts.
pub fn segments(log: &Path) -> io::Result<Vec<Segment>> {
    let entries = match fs::read_dir(segment_folder(log)) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in entries {
        found.extend(Segment::parse(entry?.path()));
    }
    found.sort_by_key(|segment| (segment.first, segment.last, segment.compressed));
    found.dedup_by_key(|segment| (segment.first, segment.last));
    Ok(found)
}

/// The closed segments and the file that grows, so that no record is missing or there twice, also when the log is rotated
/// meanwhile.
pub(super) fn files(log: &Path) -> io::Result<(Vec<Segment>, File)> {
    loop {
        let growing = regular::open(log)?;
        let closed = segments(log)?;
        let own = growing.metadata()?;
        let is_closed = closed.last().is_some_and(|segment| {
            fs::metadata(&segment.path)
                .is_ok_and(|found| (found.dev(), found.ino()) == (own.dev(), own.ino()))
        });
        if !is_closed {
            return Ok((closed, growing));
        }
    }
}

/// Opens the file that grows; `None` while there is none, as for a moment during rotation.
pub(super) fn open_growing(log: &Path) -> io::Result<Option<File>> {
    match regular::open(log) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_which_records_are_inside() {
        let place = tempfile::tempdir().unwrap();
        let log = place.path().join("audit.log");
        assert_eq!(segments(&log).unwrap(), []);
        let folder = segment_folder(&log);
        fs::create_dir(&folder).unwrap();
        let plain = Segment::new(&folder, 11, 20, false);
        let both = [Segment::new(&folder, 1, 10, false), Segment::new(&folder, 1, 10, true)];
        for segment in both.iter().chain([&plain]) {
            fs::write(&segment.path, "").unwrap();
        }
        for other in ["1-2.log", "notes.txt", &format!("{:020}-{:020}.log", 9, 3), "tombstone"] {
            fs::write(folder.join(other), "").unwrap();
        }
        assert_eq!(segments(&log).unwrap(), [both[0].clone(), plain]);
    }
}
