//! Seals: what is signed about a closed part of the log, so that the chain can be verified across files, and across records
//! that are not there any more.
//!
//! Beside each closed segment stands `FIRST-LAST.seal`, a signed note with the end of the chain and the tree at its end.
//! Two kinds have no segment: a cut, where the growing file was emptied from outside, and the tombstone
//! (`deleted.seal`), for everything that retention has deleted.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::digest::Digest;
use super::line::ChainHead;
use super::note::{NoteError, NoteKey, NoteVerifier, read_text, write_whole};
use super::segments::{Segment, segment_folder};
use super::tree::Frontier;
use crate::json;

const KIND: &str = "caxton.audit/segment@v1";
const ENDING: &str = "seal";
const TOMBSTONE: &str = "deleted.seal";

/// How a part of the log was closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SealCause {
    /// By the gateway's own rotation.
    Rotated,
    /// The file was moved from outside; its records were kept.
    Moved,
    /// The file was emptied from outside; these records are where the one who did it has put them.
    Cut,
    /// Retention has deleted these records.
    Deleted,
}

/// What is signed about the records from `first` to `last`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seal {
    /// How they were closed.
    pub cause: SealCause,
    /// When that was, RFC 3339.
    pub closed: String,
    /// Number of the first record.
    pub first: u64,
    /// Number of the last record.
    pub last: u64,
    /// Hash of the last record.
    pub last_hash: Digest,
    /// When the last record was made, RFC 3339; for a cut, when it was noticed.
    pub last_time: String,
    /// The tree over all records up to the last one: see [`Frontier`].
    peaks: Vec<Digest>,
}

impl Seal {
    pub(super) fn new(
        cause: SealCause,
        first: u64,
        end: ChainEnd<'_>,
        last_time: String,
        closed: String,
    ) -> Self {
        let ChainEnd { head, tree } = end;
        Self {
            cause,
            closed,
            first,
            last: head.seq,
            last_hash: head.hash,
            last_time,
            peaks: tree.peaks().to_vec(),
        }
    }

    /// The seal of what retention has deleted when it deletes these records too.
    pub(super) fn deleted(of: &Self, first: u64, closed: String) -> Self {
        Self { cause: SealCause::Deleted, closed, first, ..of.clone() }
    }

    /// The end of the chain.
    pub(super) fn head(&self) -> ChainHead {
        ChainHead { seq: self.last, hash: self.last_hash }
    }

    /// The tree over all records up to the last one.
    pub(super) fn tree(&self) -> Option<Frontier> {
        Frontier::new(self.last, self.peaks.clone())
    }

    fn path(&self, log: &Path) -> PathBuf {
        let folder = segment_folder(log);
        match self.cause {
            SealCause::Deleted => folder.join(TOMBSTONE),
            _ => Segment::new(&folder, self.first, self.last, false).path.with_extension(ENDING),
        }
    }

    /// Signs and writes it.
    pub(super) fn write(&self, log: &Path, key: &NoteKey) -> io::Result<()> {
        let json = serde_json::to_string(self)?;
        let text = format!("{KIND}\n{}\n{json}\n", key.verifier().name());
        write_whole(&self.path(log), &key.sign(&text))
    }

    /// Reads a note, and verifies its signature.
    pub(super) fn open(note: &str, verifier: &NoteVerifier) -> Result<Self, NoteError> {
        let text = verifier.open(note)?;
        let mut lines = text.lines();
        if (lines.next(), lines.next()) != (Some(KIND), Some(verifier.name())) {
            return Err(NoteError::Malformed("it is not the seal of a part of this log"));
        }
        let seal: Option<Self> = lines.next().and_then(|line| json::parse_as(line.as_bytes()).ok());
        let seal = seal.ok_or(NoteError::Malformed("its third line is not what a seal says"))?;
        let is_sound = 0 < seal.first && seal.first <= seal.last && seal.tree().is_some();
        if is_sound { Ok(seal) } else { Err(NoteError::Malformed("its numbers do not fit together")) }
    }
}

/// The last record of some part of the log, and the tree up to it.
#[derive(Debug, Clone, Copy)]
pub(super) struct ChainEnd<'e> {
    pub(super) head: ChainHead,
    pub(super) tree: &'e Frontier,
}

/// Removes the seal of a segment that was deleted.
pub(super) fn remove(log: &Path, seal: &Seal) -> io::Result<()> {
    fs::remove_file(seal.path(log))
}

/// A seal that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the seal `{path}` does not count")]
pub struct SealFault {
    /// Its file.
    pub path: PathBuf,
    /// The fault.
    #[source]
    pub source: NoteError,
}

/// All seals of this log, oldest first; the tombstone is the first where there is one.
pub(super) fn seals(log: &Path, verifier: &NoteVerifier) -> Result<Vec<Seal>, SealFault> {
    let folder = segment_folder(log);
    let fault = |path: &Path, source| SealFault { path: path.to_owned(), source };
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(fault(&folder, NoteError::File { path: folder.clone(), source })),
    };
    let mut found = Vec::new();
    for entry in entries {
        let failed = |source| fault(&folder, NoteError::File { path: folder.clone(), source });
        let path = entry.map_err(failed)?.path();
        if path.extension().is_none_or(|ending| ending != ENDING) {
            continue;
        }
        let read = read_text(&path).and_then(|note| open_named(&note, verifier, &path, log));
        found.push(read.map_err(|source| fault(&path, source))?);
    }
    found.sort_by_key(|seal| (seal.first, seal.last));
    Ok(found)
}

/// Reads a seal; one under another's name is refused, so that none can be put in the place of another.
fn open_named(note: &str, verifier: &NoteVerifier, path: &Path, log: &Path) -> Result<Seal, NoteError> {
    let seal = Seal::open(note, verifier)?;
    match seal.path(log).file_name() == path.file_name() {
        true => Ok(seal),
        false => Err(NoteError::Malformed("it is the seal of other records than its name says")),
    }
}
