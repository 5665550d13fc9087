//! Files written whole or not at all.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// Puts `text` in the place of a file: beside it first, then in its name, so that it is never visible half written. The mode of
/// a file that was there stays.
pub(super) fn replace(file: &Path, text: &str) -> anyhow::Result<()> {
    let beside = beside(file);
    let failed = || format!("writing `{}`", file.display());
    let written = write(&beside, file, text).and_then(|()| std::fs::rename(&beside, file));
    if written.is_err() {
        // The rest of a file that could not be written is removed.
        let _ = std::fs::remove_file(&beside);
    }
    written.with_context(failed)
}

/// Writes a file that is not there yet.
pub(super) fn create(file: &Path, text: &str) -> anyhow::Result<()> {
    let made = std::fs::File::create_new(file).and_then(|mut made| made.write_all(text.as_bytes()));
    made.with_context(|| format!("writing `{}`", file.display()))
}

fn write(beside: &Path, file: &Path, text: &str) -> std::io::Result<()> {
    let mut made = std::fs::File::create_new(beside)?;
    if let Ok(found) = std::fs::metadata(file) {
        made.set_permissions(found.permissions())?;
    }
    made.write_all(text.as_bytes())?;
    made.sync_all()
}

fn beside(file: &Path) -> PathBuf {
    let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    file.with_file_name(format!(".{name}.{}.new", std::process::id()))
}
