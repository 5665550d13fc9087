//! The cause of a change, and why a change was refused.

use std::time::Duration;

use crate::authn::AuthnError;
use crate::blocking;
use crate::changes::loader::SourceError;
use crate::policy::PolicyErrors;
use crate::policy::version::VersionError;
use crate::tools::PinError;

/// The cause of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// An operator on this host (SIGHUP).
    Signal,
    /// Files changed.
    Watch,
    /// Tools came or went.
    Tools,
    /// An operator over the API.
    Api,
    /// A bundle from the network.
    Remote,
}

impl Cause {
    /// The word in records.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Signal => "signal",
            Self::Watch => "watch",
            Self::Tools => "tools",
            Self::Api => "api",
            Self::Remote => "remote",
        }
    }
}

/// Why a change was refused. The old set stays in force.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// The emergency lock is engaged.
    #[error("changes are locked: {0}")]
    Locked(String),
    /// The set could not be read, or may not decide.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The set is not valid.
    #[error("{}", report(.0))]
    Policies(PolicyErrors),
    /// An agent beside the set cannot be deployed.
    #[error("{0}")]
    Agents(String),
    /// The pins of a server cannot be trusted.
    #[error("{0}{cause}", cause = std::error::Error::source(.0).map(|cause| format!(": {cause}")).unwrap_or_default())]
    Pins(Box<PinError>),
    /// The files of the issuer's keys are refused.
    #[error("{0}{cause}", cause = std::error::Error::source(.0).map(|cause| format!(": {cause}")).unwrap_or_default())]
    Keys(Box<AuthnError>),
    /// An agent, or the pins of a server, are not what they were when the emergency lock was engaged.
    #[error("changes are locked; changed since then: the {0}")]
    LockedFile(String),
    /// The check took too long.
    #[error("the check took longer than {0:?}")]
    Slow(Duration),
    /// The gateway decides by directories, so nothing can be published to it.
    #[error("this gateway reads its policies from directories; nothing can be published to it")]
    NoStore,
    /// A rollback has to be signed like every version.
    #[error("versions have to be signed here: sign the rollback where the key is, and publish it")]
    MustBeSigned,
    /// The accepted version could not be stored.
    #[error("the accepted version could not be saved")]
    Remember(#[source] std::io::Error),
    /// It could not be recorded: no record, no effect.
    #[error("the change could not be recorded")]
    Unrecorded,
    /// The check did not finish.
    #[error("the check stopped before its end")]
    Stopped,
}

impl From<blocking::Stopped> for ReloadError {
    fn from(_: blocking::Stopped) -> Self {
        Self::Stopped
    }
}

impl ReloadError {
    /// Whether the same change may succeed later without a correction.
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Slow(_) | Self::Remember(_) | Self::Unrecorded | Self::Stopped)
    }

    /// The message with its cause.
    pub(super) fn with_cause(&self) -> String {
        let cause = match self {
            Self::Source(SourceError::Version(error)) => std::error::Error::source(error),
            _ => std::error::Error::source(self),
        };
        match cause {
            Some(cause) => format!("{self}: {cause}"),
            None => self.to_string(),
        }
    }
}

impl From<VersionError> for ReloadError {
    fn from(error: VersionError) -> Self {
        Self::Source(error.into())
    }
}

/// Every mistake, one to a line.
pub(super) fn report(errors: &PolicyErrors) -> String {
    errors.problems().iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}
