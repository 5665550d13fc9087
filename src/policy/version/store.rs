//! Keeps published versions in a directory: texts by their digest, publications by their number.
//!
//! ```text
//! objects/3f/3f9a…          a text, named by its SHA-256
//! history/000000000001.json a publication: manifest and signatures
//! ```
//!
//! What is live is the publication with the highest number; there is no pointer that could disagree. Every file is written
//! beside its place, synced, and then takes its name, and a publication takes its number only when all its texts are
//! there; so after a crash there is a publication or there is none. Two that publish at once cannot take one number.

use std::collections::HashSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use super::bundle_file::{fits, gather};
use super::error::VersionError;
use super::manifest::{MANIFEST_BYTES, Manifest, Published, sha256};
use super::source::VersionSource;
use crate::policy::set::settings::Limits;
use crate::policy::{Source, Sources};

/// A directory of published versions.
#[derive(Debug, Clone)]
pub struct VersionStore {
    root: PathBuf,
    limits: Limits,
}

impl VersionStore {
    /// The store in `root`, which is made when something is published.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), limits: Limits::default() }
    }

    /// Its directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Whether anything was ever published here.
    pub fn exists(&self) -> bool {
        self.history_dir().is_dir()
    }

    fn history_dir(&self) -> PathBuf {
        self.root.join("history")
    }

    /// The file of the publication with this number.
    pub fn history_file(&self, sequence: u64) -> PathBuf {
        self.history_dir().join(format!("{sequence:012}.json"))
    }

    fn object(&self, digest: &str) -> PathBuf {
        self.root.join("objects").join(digest.get(..2).unwrap_or_default()).join(digest)
    }

    fn keep_texts<'s>(&self, files: impl Iterator<Item = &'s Source>) -> Result<(), VersionError> {
        let mut touched = HashSet::new();
        for file in files {
            let digest = sha256(file.text.as_bytes());
            let path = self.object(&digest);
            // What is there under this name and is not this text was damaged: it is written again.
            let limit = file.text.len() as u64;
            if read_bounded(&path, limit).is_ok_and(|there| there == file.text.as_bytes()) {
                continue;
            }
            let directory = path.parent().unwrap_or(&self.root).to_owned();
            std::fs::create_dir_all(&directory).map_err(VersionError::io(&directory))?;
            replace(&path, file.text.as_bytes()).map_err(VersionError::io(&path))?;
            touched.insert(directory);
        }
        if !touched.is_empty() {
            touched.insert(self.root.join("objects"));
            touched.insert(self.root.clone());
        }
        touched.iter().try_for_each(|directory| sync(directory))
    }
}

impl VersionSource for VersionStore {
    fn numbers(&self) -> Result<Vec<u64>, VersionError> {
        let directory = self.history_dir();
        let entries = match std::fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(VersionError::io(&directory)(error)),
        };
        let mut numbers = Vec::new();
        for entry in entries {
            let name = entry.map_err(VersionError::io(&directory))?.file_name();
            let name = name.to_str().and_then(|name| name.strip_suffix(".json"));
            // What is being written has a name that begins with a dot.
            numbers.extend(name.and_then(|name| name.parse::<u64>().ok()));
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    fn read(&self, sequence: u64) -> Result<Published, VersionError> {
        let path = self.history_file(sequence);
        if !path.exists() {
            return Err(VersionError::NotFound(format!("@{sequence}")));
        }
        let published = Published::parse(&read_bounded(&path, MANIFEST_BYTES)?)?;
        match published.manifest.sequence == sequence {
            true => Ok(published),
            false => Err(VersionError::Swapped(format!("`{}` has another number inside", path.display()))),
        }
    }

    fn sources(&self, manifest: &Manifest) -> Result<Sources, VersionError> {
        manifest.check()?;
        gather(manifest, |digest| {
            let path = self.object(digest);
            let bytes = read_bounded(&path, self.limits.file_bytes as u64)?;
            let text = String::from_utf8(bytes);
            text.map(Into::into)
                .map_err(|_| VersionError::Swapped(format!("`{}` is not text", path.display())))
        })
    }

    fn add(&self, published: &Published, sources: &Sources) -> Result<(), VersionError> {
        published.check()?;
        fits(&published.manifest, sources)?;
        let newest = self.numbers()?.last().copied().unwrap_or(0);
        let sequence = published.manifest.sequence;
        if sequence <= newest {
            return Err(VersionError::Raced(sequence));
        }
        self.keep_texts(sources.iter())?;
        let directory = self.history_dir();
        std::fs::create_dir_all(&directory).map_err(VersionError::io(&directory))?;
        let path = self.history_file(sequence);
        let beside = beside(&path);
        let linked = write_synced(&beside, &published.to_bytes()?)
            // A link, unlike a renaming, never takes a name that is there.
            .and_then(|()| std::fs::hard_link(&beside, &path));
        // Not used from here on, whether it has its name or not.
        let _ = std::fs::remove_file(&beside);
        match linked {
            Ok(()) => sync(&directory),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                Err(VersionError::Raced(sequence))
            }
            Err(error) => Err(VersionError::io(&path)(error)),
        }
    }

    fn resign(&self, published: &Published) -> Result<(), VersionError> {
        published.check()?;
        let sequence = published.manifest.sequence;
        if self.read(sequence)?.manifest != published.manifest {
            return Err(VersionError::Swapped(format!("@{sequence} is another publication")));
        }
        let path = self.history_file(sequence);
        replace(&path, &published.to_bytes()?).map_err(VersionError::io(&path))?;
        sync(&self.history_dir())
    }

    fn revision(&self) -> Result<Option<String>, VersionError> {
        let Some(newest) = self.numbers()?.last().copied() else { return Ok(None) };
        let path = self.history_file(newest);
        let signed = std::fs::metadata(&path).and_then(|found| found.modified());
        let signed = signed.map_err(VersionError::io(&path))?.duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(Some(format!("{newest} {}", signed.as_nanos())))
    }

    fn place(&self) -> String {
        self.root.display().to_string()
    }
}

/// Reads a file that may not be larger than `limit`.
pub(super) fn read_bounded(path: &Path, limit: u64) -> Result<Vec<u8>, VersionError> {
    // One byte more than allowed, so that a file that grows while it is read is seen as well.
    let bytes = crate::regular::read(path, limit).map_err(VersionError::io(path))?;
    match bytes.len() as u64 > limit {
        true => Err(VersionError::TooLarge { what: format!("`{}`", path.display()), limit }),
        false => Ok(bytes),
    }
}

/// A name of its own beside a file.
fn beside(path: &Path) -> PathBuf {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    path.with_file_name(format!(".{name}.{}.new", uuid::Uuid::now_v7()))
}

fn write_synced(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = std::fs::File::create_new(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Puts bytes in the place of a file, whole or not at all.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let beside = beside(path);
    let written = write_synced(&beside, bytes).and_then(|()| std::fs::rename(&beside, path));
    if written.is_err() {
        let _ = std::fs::remove_file(&beside);
    }
    written
}

/// Makes names in a directory outlast a loss of power.
fn sync(directory: &Path) -> Result<(), VersionError> {
    let opened = std::fs::File::open(directory);
    opened.and_then(|opened| opened.sync_all()).map_err(VersionError::io(directory))
}
