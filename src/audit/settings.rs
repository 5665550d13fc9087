//! What an operator can choose about the decision log.

use std::path::PathBuf;
use std::time::Duration;

use super::AuditError;
use super::line::LINE_LIMIT;

/// When a record counts as written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// In the kernel: survives the death of the gateway, not of the machine. Synced soon after.
    #[default]
    Written,
    /// On the disk (`fdatasync`), one sync for all records that wait.
    Synced,
}

impl Durability {
    /// The word in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Written => "written",
            Self::Synced => "synced",
        }
    }
}

/// How the journal writes.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The log file.
    pub path: PathBuf,
    /// When a record counts as written.
    pub durability: Durability,
    /// Records that may wait for the writer; at least 1.
    pub queue: usize,
    /// The longest an append waits before the gate closes.
    pub deadline: Duration,
    /// With [`Durability::Written`]: the longest a record waits before it is synced to the disk.
    pub fsync_interval: Duration,
    /// How often a journal that cannot write looks whether it can again.
    pub retry: Duration,
    /// The longest line, in bytes. A longer record loses its context to a digest, then is refused.
    pub record_bytes: usize,
    /// The growing file is closed when it has this many bytes.
    pub rotation_bytes: usize,
    /// The growing file is closed when its first record is this old.
    pub rotation_interval: Duration,
    /// Whether closed segments are compressed (zstd).
    pub compresses: bool,
    /// Closed segments are deleted when their last record is this old; `None`: never.
    pub retention: Option<Duration>,
    /// How often a checkpoint is signed, when there are new records.
    pub checkpoint_interval: Duration,
    /// The file of the key that signs checkpoints; `None`: beside the log.
    pub checkpoint_key: Option<PathBuf>,
    /// For how long refused credentials and calls above a rate are counted into few records; with nothing, each is one.
    pub refusal_window: Duration,
    /// How many addresses, principals and reasons are counted one by one; the rest share a count for each reason.
    pub refusal_kinds: usize,
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

impl Default for Settings {
    fn default() -> Self {
        Self {
            path: PathBuf::from(".caxton/audit.log"),
            durability: Durability::Written,
            queue: 4096,
            deadline: Duration::from_millis(100),
            fsync_interval: Duration::from_secs(1),
            retry: Duration::from_millis(250),
            record_bytes: 512 * 1024,
            rotation_bytes: 256 << 20,
            rotation_interval: DAY,
            compresses: true,
            retention: Some(90 * DAY),
            checkpoint_interval: Duration::from_secs(60),
            checkpoint_key: None,
            refusal_window: Duration::from_secs(60),
            refusal_kinds: 4_096,
        }
    }
}

impl Settings {
    /// Refuses what could not work, in words for the operator.
    pub(super) fn check(&self) -> Result<(), AuditError> {
        let wrong = if self.queue == 0 {
            "`queue` must be at least 1"
        } else if self.deadline.is_zero() {
            "`deadline` must be longer than nothing"
        } else if self.fsync_interval.is_zero() || self.retry.is_zero() {
            "`fsync_interval` and `retry` must be longer than nothing"
        } else if self.rotation_bytes == 0 || self.rotation_interval.is_zero() {
            "`rotation_bytes` and `rotation_interval` must be more than nothing"
        } else if self.checkpoint_interval.is_zero() {
            "`checkpoint_interval` must be longer than nothing"
        } else if !(4096..=LINE_LIMIT).contains(&self.record_bytes) {
            "`record_bytes` must be between 4 KiB and 1 MiB"
        } else {
            return Ok(());
        };
        Err(AuditError::Settings(wrong))
    }
}
