//! The index of the decision log: where the records of a user, a tool, a policy or a day stand.
//!
//! It is a cache. The log is what counts: a record that is found is read from the log, and compared with what was asked for
//! there. An index that is missing, broken, of another version or of another log is built anew, and whatever it does not
//! have yet is read line by line.
//!
//! # Form
//!
//! Records are indexed in chunks of 4,096, which are written once and never changed, so that building costs as much as
//! appending. Each fact of a record that can be asked for (its user, its outcome, its decision id) becomes a [term]: 26
//! bits of a keyed hash. A chunk keeps pairs of term and position in 64 sorted lists, so that a question reads one short
//! list of each chunk for each of its terms. Two facts of one hash give a candidate too many, which is dropped when its
//! line is read. A column and a B-tree for each field would change a dozen pages for each record, and names and ids would
//! stand in them; this form has about 30 bytes a record (`docs/decision-log.md` has the numbers).
//!
//! [term]: terms::Term

mod build;
mod chunk;
mod files;
mod reader;
mod store;
mod terms;

#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};

pub use self::build::{IndexStep, Indexer};
pub(super) use self::chunk::Candidate;
pub(super) use self::reader::{Candidates, IndexReader};
use super::file::beside;
use super::follow::FollowError;
use crate::db::DbError;

/// Why the index cannot be used or written.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// The database refused.
    #[error("the index of the decision log cannot be used")]
    Database(#[from] DbError),
    /// It was written by another version of Caxton, or is not whole.
    #[error("the index `{0}` is not one of this version")]
    Version(PathBuf),
    /// Somebody else writes it.
    #[error(
        "the index of `{0}` is kept by another process: a gateway that runs keeps it up to date by itself"
    )]
    Locked(PathBuf),
    /// A file beside the log could not be written or removed.
    #[error("`{path}` could not be written")]
    Write {
        /// Which file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// The log could not be read.
    #[error("the decision log `{path}` could not be read")]
    Log {
        /// The log.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// The log cannot be read on.
    #[error(transparent)]
    Follow(#[from] FollowError),
    /// It is of another log.
    #[error("the index `{0}` is of another log")]
    OtherLog(PathBuf),
    /// A record stands elsewhere.
    #[error(
        "the index says that record {seq} stands at byte {offset} of the file that begins with record {segment}, and it does not"
    )]
    Differs {
        /// The record.
        seq: u64,
        /// The file, by its first record.
        segment: u64,
        /// Where it should be.
        offset: u64,
    },
}

impl IndexError {
    /// What to do about it.
    pub fn help(&self) -> &'static str {
        match self {
            Self::Locked(_) => "nothing has to be done; to build it anew, stop the gateway first",
            Self::Log { .. } | Self::Follow(_) => {
                "run `caxton audit verify`: it names the line that is wrong"
            }
            Self::Write { .. } => "make room, or correct the owner and mode of the directory",
            Self::Database(_) | Self::Version(_) | Self::OtherLog(_) | Self::Differs { .. } => {
                "build it anew with `caxton audit index --rebuild`"
            }
        }
    }
}

/// The index of this log.
pub fn index_path(log: &Path) -> PathBuf {
    beside(log, "index")
}
