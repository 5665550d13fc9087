//! Small JSON files of the data directory, each written atomically.

use std::io::{Read as _, Write as _};
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The largest file that is read, in bytes.
const MAX_BYTES: u64 = 4 * 1024 * 1024;

/// The value in the file; `None` when there is no file.
pub(super) fn read<T: DeserializeOwned>(path: &Path) -> std::io::Result<Option<T>> {
    let file = match crate::regular::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    file.take(MAX_BYTES).read_to_end(&mut bytes)?;
    crate::json::parse_as(&bytes).map(Some).map_err(std::io::Error::other)
}

/// Writes the value to a temporary file, syncs it, renames it to `path` and syncs the directory, so that the file survives
/// a loss of power.
pub(super) fn write<T: Serialize>(path: &Path, value: &T) -> std::io::Result<()> {
    put(path, value, |beside| std::fs::rename(beside, path))
}

/// The same for a file that is not there; `AlreadyExists` when there is one. Of several at the same time, one succeeds.
pub(super) fn create<T: Serialize>(path: &Path, value: &T) -> std::io::Result<()> {
    put(path, value, |beside| {
        // A link, unlike a renaming, never takes a name that is there.
        let linked = std::fs::hard_link(beside, path);
        std::fs::remove_file(beside)?;
        linked
    })
}

fn put<T: Serialize>(
    path: &Path,
    value: &T,
    name: impl FnOnce(&Path) -> std::io::Result<()>,
) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut bytes = serde_json::to_vec_pretty(value).map_err(std::io::Error::other)?;
    bytes.push(b'\n');
    let beside = path.with_extension(format!("{}.new", uuid::Uuid::now_v7()));
    let mut options = std::fs::OpenOptions::new();
    let made = options.write(true).create_new(true).mode(0o600).open(&beside);
    let written = made.and_then(|mut made| {
        made.write_all(&bytes)?;
        made.sync_all()?;
        name(&beside)?;
        path.parent().map_or(Ok(()), |directory| std::fs::File::open(directory)?.sync_all())
    });
    if written.is_err() {
        let _ = std::fs::remove_file(&beside);
    }
    written
}
