//! The files beside the log that have its last checkpoint: `audit.log.checkpoint`, the signed note alone, for everyone, and
//! `audit.log.tree`, the same with what the gateway needs to go on from there; and the key that signs them.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::AuditError;
use super::checkpoint::Checkpoint;
use super::digest::Digest;
use super::file::beside;
use super::line::ChainHead;
use super::note::{NoteError, NoteKey, NoteVerifier, read_text, write_whole};
use super::tree::Frontier;
use crate::json;

const KIND: &str = "caxton.audit/tree@v1";

/// The file of the last checkpoint.
pub fn checkpoint_file(log: &Path) -> PathBuf {
    beside(log, "checkpoint")
}

/// The file of the public half of the key.
pub fn public_key_file(log: &Path) -> PathBuf {
    beside(log, "pub")
}

/// The file of the key, when the configuration names no other.
pub(super) fn key_file(log: &Path) -> PathBuf {
    beside(log, "key")
}

/// The last checkpoint of a log, as the signed note, and the public key that it was signed with; `None` before the first one.
///
/// # Errors
/// A file cannot be read.
pub fn signed_checkpoint(log: &Path) -> Result<Option<(String, String)>, NoteError> {
    let file = checkpoint_file(log);
    if !is_there(&file) {
        return Ok(None);
    }
    let key = NoteVerifier::read(&public_key_file(log))?;
    Ok(Some((read_text(&file)?, key.to_string())))
}

/// The state of the tree when the last checkpoint was signed.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TreeState {
    checkpoint: String,
    last_hash: Digest,
    peaks: Vec<Digest>,
}

/// The state is not what the gateway wrote.
#[derive(Debug, thiserror::Error)]
#[error("the state of the tree in `{path}` does not count")]
pub struct TreeFault {
    /// Its file.
    path: PathBuf,
    /// The fault.
    #[source]
    source: NoteError,
}

impl TreeState {
    /// Where the state stands.
    pub(super) fn file(log: &Path) -> PathBuf {
        beside(log, "tree")
    }

    /// Signs a checkpoint of this tree and writes both files; the note.
    pub(super) fn write(log: &Path, head: ChainHead, tree: &Frontier, key: &NoteKey) -> io::Result<String> {
        let note = Checkpoint::of(key.verifier().name(), tree).sign(key);
        let state = Self { checkpoint: note.clone(), last_hash: head.hash, peaks: tree.peaks().to_vec() };
        let json = serde_json::to_string(&state)?;
        let text = format!("{KIND}\n{}\n{json}\n", key.verifier().name());
        write_whole(&Self::file(log), &key.sign(&text))?;
        write_whole(&checkpoint_file(log), &note)?;
        Ok(note)
    }

    /// The last record and the tree of the last checkpoint; `None` when there is none yet. An older copy of the state is
    /// found where the checkpoint beside it is newer.
    pub(super) fn read(
        log: &Path,
        verifier: &NoteVerifier,
    ) -> Result<Option<(ChainHead, Frontier)>, TreeFault> {
        let (path, beside) = (Self::file(log), checkpoint_file(log));
        if !is_there(&path) && !is_there(&beside) {
            return Ok(None);
        }
        let read = read_text(&path).and_then(|text| Self::parse(&text, verifier));
        let state = read.map_err(|source| TreeFault { path: path.clone(), source })?;
        if is_there(&beside) {
            let signed = read_text(&beside).and_then(|note| Checkpoint::open(&note, verifier));
            let signed = signed.map_err(|source| TreeFault { path: beside, source })?;
            if signed.size > state.0.seq {
                let source = NoteError::Malformed("it is older than the checkpoint beside it");
                return Err(TreeFault { path, source });
            }
        }
        Ok(Some(state))
    }

    /// The checkpoint of the state: a crash may have come before it was written beside the log too.
    pub(super) fn checkpoint(log: &Path, verifier: &NoteVerifier) -> Result<Checkpoint, NoteError> {
        let (_, tree) = Self::parse(&read_text(&Self::file(log))?, verifier)?;
        Ok(Checkpoint::of(verifier.name(), &tree))
    }

    /// Whether the log has such a file.
    pub(super) fn exists(log: &Path) -> bool {
        is_there(&Self::file(log))
    }

    fn parse(text: &str, verifier: &NoteVerifier) -> Result<(ChainHead, Frontier), NoteError> {
        let wrong = || NoteError::Malformed("it is not what the gateway writes");
        let mut lines = verifier.open(text)?.lines();
        if (lines.next(), lines.next()) != (Some(KIND), Some(verifier.name())) {
            return Err(wrong());
        }
        let state: Option<Self> = lines.next().and_then(|line| json::parse_as(line.as_bytes()).ok());
        let state = state.ok_or_else(wrong)?;
        let checkpoint = Checkpoint::open(&state.checkpoint, verifier)?;
        let tree = Frontier::new(checkpoint.size, state.peaks).filter(|tree| tree.root() == checkpoint.root);
        let tree = tree.ok_or(NoteError::Malformed("its tree is not that of its checkpoint"))?;
        Ok((ChainHead { seq: checkpoint.size, hash: state.last_hash }, tree))
    }
}

fn is_there(path: &Path) -> bool {
    path.try_exists().unwrap_or(true)
}

/// Opens the key of the log; makes one for a log that has none.
pub(super) fn open_key(log: &Path, path: &Path) -> Result<NoteKey, AuditError> {
    let public = public_key_file(log);
    let fault = |source| AuditError::Key { path: path.to_owned(), source };
    let key = if is_there(path) {
        NoteKey::read(path).map_err(fault)?
    } else if is_there(&public) || is_there(&TreeState::file(log)) {
        return Err(AuditError::KeyMissing { path: path.to_owned() });
    } else {
        // Random, so that two logs never have one name.
        let random = uuid::Uuid::now_v7().simple().to_string();
        let name = random.get(16..).unwrap_or(&random);
        let key = NoteKey::generate(&format!("caxton.audit/{name}")).map_err(fault)?;
        key.write(path).map_err(fault)?;
        key
    };
    match read_text(&public) {
        Ok(known) if known.trim_end() == key.verifier().to_string() => Ok(key),
        Ok(_) => Err(AuditError::OtherKey { path: path.to_owned(), public }),
        Err(NoteError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            write_whole(&public, &format!("{}\n", key.verifier()))
                .map_err(|source| AuditError::File { path: public, source })?;
            Ok(key)
        }
        Err(source) => Err(AuditError::Key { path: public, source }),
    }
}
