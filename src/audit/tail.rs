//! The end of the log, and what comes after it, across rotation.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::follow::Follower;
use super::query::QueryError;
use super::scan::number;
use super::segments::{open_growing, segments};

const BLOCK: u64 = 1 << 16;

/// A follower that stands before the last `count` records.
///
/// # Errors
/// There is no log, or it cannot be read.
pub fn tail(path: &Path, count: u64) -> Result<Follower, QueryError> {
    let last = last_number(path).map_err(|source| QueryError::new(path, source))?;
    Ok(Follower::new(path, last.saturating_sub(count)))
}

/// Number of the last record of the log; 0 when it has none.
///
/// # Errors
/// There is no log, or it cannot be read.
pub(super) fn last_number(path: &Path) -> io::Result<u64> {
    let growing = open_growing(path)?;
    let closed = segments(path)?;
    if growing.is_none() && closed.is_empty() {
        return Err(io::ErrorKind::NotFound.into());
    }
    let of_growing = growing.as_ref().map(last_of_file).transpose()?.flatten();
    Ok(of_growing.or(closed.last().map(|segment| segment.last)).unwrap_or_default())
}

/// The number of the last whole line that is a record.
fn last_of_file(file: &File) -> io::Result<Option<u64>> {
    let mut end = file.metadata()?.len();
    // Bytes before the line end that was found last.
    let mut rest: Vec<u8> = Vec::new();
    let mut is_whole = false;
    while end > 0 {
        let start = end.saturating_sub(BLOCK);
        let mut block = vec![0; usize::try_from(end - start).unwrap_or_default()];
        file.read_exact_at(&mut block, start)?;
        block.extend(rest);
        rest = block;
        while let Some(at) = rest.iter().rposition(|&byte| byte == b'\n') {
            let line = rest.split_off(at);
            if is_whole && let Some(number) = line.get(1..).and_then(number) {
                return Ok(Some(number));
            }
            is_whole = true;
        }
        end = start;
    }
    Ok(is_whole.then(|| number(&rest)).flatten())
}
