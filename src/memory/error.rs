//! Why memory refuses, and whose fault it is.

use std::path::PathBuf;

use crate::db::DbError;

/// Who can correct the cause of an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The caller: the message may be shown to it.
    Caller,
    /// Load: the same request may work later.
    Load,
    /// The operator: the message names files and causes, and is not for the caller.
    Operator,
}

/// A refusal. Names that callers chose are shortened and escaped in the message.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// A part of the request is over its bound.
    #[error("{what} is {found} {unit}, at most {limit} are allowed")]
    TooLarge {
        /// The part that is empty or too large.
        what: &'static str,
        /// How much was given.
        found: usize,
        /// How much is allowed.
        limit: usize,
        /// The unit that is counted, in words.
        unit: &'static str,
    },
    /// A name, kind or label without a character.
    #[error("{what} is empty")]
    Empty {
        /// The part that is empty or too large.
        what: &'static str,
    },
    /// There is no such row in the scope.
    #[error("there is no `{0}` in this scope")]
    NoSuchRow(String),
    /// A relation needs both of its ends in its own scope.
    #[error("the relation cannot be stored: there is no `{0}` in this scope")]
    UnknownEnd(String),
    /// Two different relations whose ends and kind are spelled into the same id, or an id that is spelled otherwise.
    #[error("the relation id `{0}` does not belong to these ends and this kind")]
    RelationId(String),
    /// The row is not as it was when the decision about it was made; nothing was done.
    #[error("`{0}` has changed since the decision")]
    Changed(String),
    /// The scope holds as many rows as it may.
    #[error("the scope is full: it holds {limit} {what}")]
    Full {
        /// `entities` or `relations`.
        what: &'static str,
        /// How many it may hold.
        limit: u32,
    },
    /// Nothing to look for is left when marks and spaces are taken away.
    #[error("the search has no word")]
    EmptySearch,
    /// Too many calls are waiting.
    #[error("memory is busy")]
    Busy,
    /// The answer did not come in time; a write that was late was not done.
    #[error("memory did not answer in time")]
    Overdue,
    /// The gateway is stopping.
    #[error("memory is closed")]
    Closed,
    /// The database could not be opened.
    #[error("memory cannot start")]
    Open(#[source] DbError),
    /// The file is no database, or a damaged one.
    #[error("the memory database `{path}` is damaged: {finding}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// SQLite's first finding, on one line.
        finding: String,
    },
    /// A thread could not be started.
    #[error("memory cannot start a thread")]
    Thread(#[source] std::io::Error),
    /// SQLite answered something that should not happen.
    #[error("the memory database failed")]
    Sqlite(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl MemoryError {
    /// Who can correct the cause.
    pub fn fault(&self) -> Fault {
        match self {
            Self::TooLarge { .. }
            | Self::Empty { .. }
            | Self::NoSuchRow(_)
            | Self::UnknownEnd(_)
            | Self::RelationId(_)
            | Self::Changed(_)
            | Self::Full { .. }
            | Self::EmptySearch => Fault::Caller,
            Self::Busy | Self::Overdue | Self::Closed => Fault::Load,
            Self::Open(_) | Self::Damaged { .. } | Self::Thread(_) | Self::Sqlite(_) => Fault::Operator,
        }
    }

    /// Advice, when there is any.
    pub fn help(&self) -> Option<&'static str> {
        match self {
            Self::Changed(_) => Some("read the row again and repeat the request"),
            Self::Full { .. } => Some("delete rows, or raise the scope's bound in the configuration"),
            Self::Damaged { .. } => Some("restore the file from a backup, or move it away to start empty"),
            Self::Busy | Self::Overdue => Some("ask again later"),
            _ => None,
        }
    }
}

/// A name from a caller for an error message: at most 80 characters, escaped so that it cannot forge a line of a log.
pub(super) fn escaped_name(name: &str) -> String {
    name.chars().take(80).flat_map(char::escape_debug).collect()
}
