//! Why a version is not taken, not kept, or not found.

use std::path::PathBuf;

use crate::policy::PolicyErrors;

/// What is wrong with a version, a key or the store.
#[derive(Debug, thiserror::Error)]
pub enum VersionError {
    /// The operating system refused.
    #[error("`{}` cannot be read or written", path.display())]
    Io {
        /// Which file or directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// Not the JSON of a manifest, a bundle or a key.
    #[error("{what} is not well formed: {why}")]
    Malformed {
        /// What was read.
        what: String,
        /// What is wrong with it.
        why: String,
    },
    /// Larger than allowed.
    #[error("{what} is larger than {limit} bytes")]
    TooLarge {
        /// What was read.
        what: String,
        /// The bound.
        limit: u64,
    },
    /// A name that could lead out of its directory, or that no directory could give back.
    #[error("`{0}` is not the name of a policy or schema file")]
    FileName(String),
    /// The texts are not the ones that the manifest names.
    #[error("{0}")]
    Swapped(String),
    /// There is nothing in the store.
    #[error("nothing is published in `{0}`")]
    Empty(String),
    /// The published versions cannot be asked.
    #[error(transparent)]
    Unavailable(#[from] crate::shared_state::Unavailable),
    /// No version of that name.
    #[error("there is no published version `{0}`")]
    NotFound(String),
    /// Several versions begin so.
    #[error("`{0}` is the beginning of several published versions: give more digits")]
    Ambiguous(String),
    /// Another publication took the number first.
    #[error("number {0} was published in the meantime")]
    Raced(u64),
    /// No trusted signature where one is wanted.
    #[error("the version carries no signature")]
    Unsigned,
    /// None of the signatures counts; why for each.
    #[error("no valid signature: {0}")]
    NotTrusted(String),
    /// An older publication than one that was accepted before.
    #[error("number {given} is not newer than number {seen}, which was accepted before")]
    Replayed {
        /// The number of what was offered.
        given: u64,
        /// The number of what was accepted.
        seen: u64,
    },
    /// Its time is over.
    #[error("the version expired at {0}")]
    Expired(String),
    /// The key cannot be used.
    #[error("the key cannot be used: {0}")]
    Key(String),
    /// The policies themselves are refused.
    #[error("the policies are not valid")]
    Policies(#[source] PolicyErrors),
}

impl VersionError {
    pub(super) fn io(path: &std::path::Path) -> impl FnOnce(std::io::Error) -> Self + '_ {
        move |source| Self::Io { path: path.to_owned(), source }
    }

    pub(super) fn malformed(what: impl Into<String>, why: impl std::fmt::Display) -> Self {
        Self::Malformed { what: what.into(), why: why.to_string() }
    }

    /// What the operator can do about it.
    pub fn help(&self) -> Option<&'static str> {
        match self {
            Self::Unsigned | Self::NotTrusted(_) => {
                Some("sign it with a trusted key: `caxton policy sign --key FILE`")
            }
            Self::Replayed { .. } => {
                Some("an older set comes back as a new publication: `caxton policy rollback VERSION`")
            }
            Self::Expired(_) => Some("publish it again with a later `--expires-in`"),
            Self::Empty(_) => Some("publish a set first: `caxton policy publish`"),
            Self::NotFound(_) | Self::Ambiguous(_) => Some("`caxton policy history` lists them"),
            Self::Raced(_) => Some("look at `caxton policy history`, then try again"),
            Self::Swapped(_) => {
                Some("the files were changed or damaged; get the version again from where it was published")
            }
            _ => None,
        }
    }
}
