//! What can go wrong with the decision log, and whose turn it is then.

use std::path::PathBuf;
use std::sync::Arc;

use super::file::FileFault;
use super::line::LineFault;

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
