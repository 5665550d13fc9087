//! The emergency lock: while it is engaged, nothing changes what decides.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Unavailable;
use crate::model::PolicyVersion;

/// The content of an engaged lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EngagedLock {
    /// The reason that the operator gave.
    pub reason: String,
    /// The operator who engaged it.
    pub author: String,
    /// When it was engaged, in milliseconds since the Unix epoch.
    pub time_millis: i64,
    /// The version that was live, which goes on deciding.
    pub version: PolicyVersion,
}

/// Why the lock was not engaged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EngageError {
    /// It is engaged: the first reason and the first version stand.
    #[error("the emergency lock is engaged already")]
    Engaged,
    /// It could not be asked.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// The emergency lock. It holds across a restart, and can be engaged while no gateway runs.
///
/// Engaging is atomic: of several operators at the same time, one engages it. Asked off the async threads, where a policy
/// set is read: an implementation may wait for a disk or a network.
pub trait EmergencyLock: fmt::Debug + Send + Sync + 'static {
    /// The engaged lock; `None` when there is none. A lock that cannot be read counts as engaged: callers treat the error
    /// as one.
    fn engaged(&self) -> Result<Option<EngagedLock>, Unavailable>;

    /// Engages the lock.
    fn engage(&self, engaged: &EngagedLock) -> Result<(), EngageError>;

    /// Releases the lock; `false` when it was not engaged.
    fn release(&self) -> Result<bool, Unavailable>;
}
