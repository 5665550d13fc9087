//! What can go wrong with the decision log, and whose turn it is then.

use std::path::PathBuf;
use std::sync::Arc;

use super::file::FileFault;
use super::line::LineFault;
use super::note::NoteError;
use super::seal::SealFault;
use super::tree_state::TreeFault;

/// Why the journal could not be opened, or did not take a record.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// A setting that cannot work.
    #[error("the settings of the decision log are wrong: {0}")]
    Settings(&'static str),
    /// The file or its directory could not be made, protected or read.
    #[error("the decision log `{path}` could not be opened")]
    File {
        /// The log.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
    /// Another gateway writes this log.
    #[error("the decision log `{path}` is in use by another process")]
    Locked {
        /// The log.
        path: PathBuf,
    },
    /// A directory, a device or a symbolic link.
    #[error("the decision log `{path}` is not a regular file")]
    NotAFile {
        /// The log.
        path: PathBuf,
    },
    /// The end of the log is not what this gateway wrote.
    #[error("the decision log `{path}` is damaged near its end")]
    Damaged {
        /// The log.
        path: PathBuf,
        /// The fault.
        #[source]
        source: LineFault,
    },
    /// Records that were there are not there any more.
    #[error("records {first} to {last} are missing in the decision log `{path}`")]
    Missing {
        /// The log.
        path: PathBuf,
        /// The first of them.
        first: u64,
        /// The last of them.
        last: u64,
    },
    /// The key that signs checkpoints cannot be used.
    #[error("the key of the decision log `{path}` cannot be used")]
    Key {
        /// Its file.
        path: PathBuf,
        /// The fault.
        #[source]
        source: NoteError,
    },
    /// There are checkpoints, and not the key that made them.
    #[error(
        "the key of the decision log `{path}` is missing, and the log has checkpoints that were signed with it"
    )]
    KeyMissing {
        /// Its file.
        path: PathBuf,
    },
    /// The key is not the one that belongs to the log.
    #[error("`{path}` is not the key of this decision log: its public half is not the one in `{public}`")]
    OtherKey {
        /// Its file.
        path: PathBuf,
        /// The file of the public half.
        public: PathBuf,
    },
    /// A seal of a closed part is not what the gateway wrote.
    #[error(transparent)]
    Seal(#[from] SealFault),
    /// The state of the tree is not what the gateway wrote.
    #[error(transparent)]
    Tree(#[from] TreeFault),
    /// The record does not fit a line, even without its context.
    #[error("the record is {bytes} bytes long, at most {limit} are allowed")]
    TooLarge {
        /// Bytes it has.
        bytes: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// The record could not be put into JSON.
    #[error("the record could not be encoded")]
    Encode(#[source] serde_json::Error),
    /// The record is not written: there must be no effect.
    #[error("the decision log cannot take records")]
    Unavailable(#[source] JournalFault),
}

impl AuditError {
    /// Advice for the operator.
    pub fn help(&self) -> Option<&'static str> {
        match self {
            Self::Locked { .. } => Some("give each gateway its own data directory"),
            Self::NotAFile { .. } => Some("name the file itself, not a link to it"),
            Self::Damaged { .. } => Some(
                "run `caxton audit verify` on it, then keep the file elsewhere as evidence and start a new one",
            ),
            Self::Missing { .. } => Some(
                "put the files with these records back; or keep the log, its `.segments` and its other files elsewhere as evidence, and start a new one",
            ),
            Self::Key { source: NoteError::Exposed { .. }, .. } => Some(
                "treat the key as compromised: keep the log elsewhere as evidence, and start a new one with a new key",
            ),
            Self::KeyMissing { .. } => Some("put the key back from your backup"),
            Self::OtherKey { .. } => Some("name the key of this log in `security.audit.checkpoint_key_file`"),
            Self::Seal(_) | Self::Tree(_) => {
                Some("run `caxton audit verify`, keep the log elsewhere as evidence, and start a new one")
            }
            Self::Key { .. } => None,
            Self::Unavailable(cause) => cause.help(),
            Self::Settings(_) | Self::File { .. } | Self::TooLarge { .. } | Self::Encode(_) => None,
        }
    }
}

/// Why the journal does not take records at the moment.
#[derive(Debug, Clone, thiserror::Error)]
pub enum JournalFault {
    /// The file did not take it.
    #[error(transparent)]
    File(Arc<FileFault>),
    /// The record was not written within the deadline.
    #[error("the record was not written within the deadline")]
    Slow,
    /// The journal is closed.
    #[error("the journal is closed")]
    Closed,
}

impl JournalFault {
    fn help(&self) -> Option<&'static str> {
        match self {
            Self::File(fault) => fault.help(),
            Self::Slow => Some("look at the disk under the log"),
            Self::Closed => None,
        }
    }
}
