//! How a gateway notices that what decides has changed.

use std::time::Duration;

/// How changes are noticed.
#[derive(Debug, Clone)]
pub struct FollowSettings {
    /// Whether directories of policies and schemas are watched. Off by default: a file that is still being written can
    /// look whole. Published versions are always followed.
    pub watch: bool,
    /// How often a store, or a directory that is watched, is looked at. Default 500 ms.
    pub poll: Duration,
    /// How long nothing must change in a directory before it is read. Default 300 ms.
    pub quiet: Duration,
    /// Where bundles are fetched from.
    pub remote: Option<RemoteSettings>,
}

impl Default for FollowSettings {
    fn default() -> Self {
        Self {
            watch: false,
            poll: Duration::from_millis(500),
            quiet: Duration::from_millis(300),
            remote: None,
        }
    }
}

/// Where bundles are fetched from.
#[derive(Debug, Clone)]
pub struct RemoteSettings {
    /// The address.
    pub url: crate::secret::Address,
    /// How often.
    pub interval: Duration,
    /// The longest wait after failures.
    pub longest_wait: Duration,
}
