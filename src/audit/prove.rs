//! Makes proofs from the log: that a record is in it, and that it continues an older checkpoint.
//!
//! The log is verified on the way: nothing is proven from records that are not what the gateway wrote.

use std::path::{Path, PathBuf};

use serde_json::Value as Json;

use super::checkpoint::Checkpoint;
use super::digest::Digest;
use super::note::{NoteError, NoteVerifier, read_text};
use super::proof::{ConsistencyProof, InclusionProof, ProofBuilder};
use super::tree::Frontier;
use super::tree_state::{checkpoint_file, public_key_file};
use super::verify::{Trusted, VerifyFailure, Visitor, verify_each};

/// Why there is no proof.
#[derive(Debug, thiserror::Error)]
pub enum ProveError {
    /// The log does not verify.
    #[error("the decision log does not verify, so nothing is proven from it")]
    Log(#[from] VerifyFailure),
    /// The checkpoint or the key beside the log cannot be used.
    #[error("`{path}` cannot be used")]
    Note {
        /// Which file.
        path: PathBuf,
        /// The fault.
        #[source]
        source: NoteError,
    },
    /// The record came after the last checkpoint.
    #[error("record {seq} is newer than the last checkpoint, which has {size} records")]
    TooNew {
        /// The record.
        seq: u64,
        /// Records in the checkpoint.
        size: u64,
    },
    /// Records that the proof needs are not in the log any more.
    #[error(
        "record {seq} cannot be proven: it, or records that the proof needs, are not in the log any more"
    )]
    Gone {
        /// The record.
        seq: u64,
    },
    /// The older checkpoint cannot be continued from.
    #[error(
        "there is no proof from {old} records to {new}: records before them are not in the log any more, or there are fewer now"
    )]
    NotContinued {
        /// Records in the older checkpoint.
        old: u64,
        /// Records in the last one.
        new: u64,
    },
}

impl ProveError {
    /// Advice for the operator.
    pub fn help(&self) -> Option<&'static str> {
        match self {
            Self::Log(failure) => Some(failure.help()),
            Self::TooNew { .. } => Some("the gateway signs a checkpoint each minute: try again then"),
            Self::Note { .. } => Some("a gateway with this log signs its first checkpoint within a minute"),
            Self::Gone { .. } | Self::NotContinued { .. } => {
                Some("use the copies of the records in your SIEM or backup")
            }
        }
    }
}

/// Reads the last checkpoint of the log: the signed note, what it says, and the key.
fn last_checkpoint(log: &Path) -> Result<(String, Checkpoint, NoteVerifier), ProveError> {
    let fault = |path: &Path| {
        let path = path.to_owned();
        move |source| ProveError::Note { path, source }
    };
    let public = public_key_file(log);
    let verifier = NoteVerifier::read(&public).map_err(fault(&public))?;
    let path = checkpoint_file(log);
    let note = read_text(&path).map_err(fault(&path))?;
    let checkpoint = Checkpoint::open(&note, &verifier).map_err(fault(&path))?;
    Ok((note, checkpoint, verifier))
}

/// Builds a proof while the log is verified up to the last record of the checkpoint.
struct Builder<F> {
    size: u64,
    begin: F,
    proof: Option<ProofBuilder>,
}

impl<F: Fn(&Frontier) -> Option<ProofBuilder>> Visitor for Builder<F> {
    fn begins(&mut self, before: &Frontier) {
        // After a cut only the tree before it is known, as at the beginning. Where the proof began earlier it stays incomplete.
        if before.size() < self.size {
            self.proof = (self.begin)(before).or(self.proof.take());
        }
    }

    fn record(&mut self, seq: u64, hash: &Digest) {
        if let Some(proof) = self.proof.as_mut().filter(|_| seq <= self.size) {
            proof.push(hash);
        }
    }
}

fn build(
    log: &Path,
    size: u64,
    begin: impl Fn(&Frontier) -> Option<ProofBuilder>,
) -> Result<Option<Vec<Digest>>, ProveError> {
    let mut builder = Builder { size, begin, proof: None };
    verify_each(log, &Trusted::default(), &mut |_| {}, &mut builder)?;
    Ok(builder.proof.and_then(ProofBuilder::finish))
}

/// Proves that record `seq` is in the log, against the last checkpoint. Reads the whole log.
///
/// # Errors
/// The log does not verify, the record is newer than the checkpoint, or it is not in the log any more.
pub fn prove_record(log: &Path, seq: u64) -> Result<InclusionProof, ProveError> {
    let (note, checkpoint, _) = last_checkpoint(log)?;
    let size = checkpoint.size;
    if seq == 0 || seq > size {
        return Err(ProveError::TooNew { seq, size });
    }
    let index = seq - 1;
    let hashes = build(log, size, |before| ProofBuilder::inclusion(index, size, before))?;
    let hashes = hashes.ok_or(ProveError::Gone { seq })?;
    Ok(InclusionProof { index, hashes, checkpoint: note })
}

/// Proves that the log continues an older checkpoint, in this file, up to the last one. Reads the whole log.
///
/// # Errors
/// The log does not verify, the older checkpoint is not one of this log, or records before it are not in the log any more.
pub fn prove_growth(log: &Path, older: &Path) -> Result<ConsistencyProof, ProveError> {
    let (new, checkpoint, verifier) = last_checkpoint(log)?;
    let fault = |source| ProveError::Note { path: older.to_owned(), source };
    let old = read_text(older).map_err(fault)?;
    let from = Checkpoint::open(&old, &verifier).map_err(fault)?;
    let (first, last) = (from.size, checkpoint.size);
    let hashes = build(log, last, |before| ProofBuilder::consistency(first, last, before))?;
    let hashes = hashes.ok_or(ProveError::NotContinued { old: first, new: last })?;
    Ok(ConsistencyProof { old, hashes, new })
}

/// The hash of a record that was taken out of the log, in any spelling of its JSON: computed, not the one it names.
/// `None` when it names another one, or is no record.
pub fn record_hash(record: &Json) -> Option<Digest> {
    let mut fields = record.as_object()?.clone();
    let named = Digest::from_hex(fields.remove("hash")?.as_str()?.as_bytes())?;
    let canonical = serde_json_canonicalizer::to_vec(&Json::Object(fields)).ok()?;
    (Digest::of(&canonical) == named).then_some(named)
}
