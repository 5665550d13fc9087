//! What the operator says about the gateway's own tokens.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How own tokens are made and how long they count.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The database of keys, which holds the sessions as well.
    pub store: PathBuf,
    /// The file with the server's pepper.
    pub pepper: PathBuf,
    /// The directory of private signing keys.
    pub signing_dir: PathBuf,
    /// The value of `iss`; must not be that of another issuer whose tokens count.
    pub issuer: Arc<str>,
    /// The value of `aud`.
    pub audience: Arc<str>,
    /// How long an access token counts. Default 1 hour.
    pub access: Duration,
    /// How long a refresh token counts. Default 24 hours.
    pub refresh: Duration,
    /// A session that is not used for this long is over. Default 15 minutes.
    pub idle: Duration,
    /// How long a used refresh token is answered with the same successor, for a client that lost the answer.
    /// Default 30 s.
    pub grace: Duration,
    /// How far clocks may be apart; whole seconds. Default 5 s.
    pub leeway: Duration,
    /// Sessions of one key; the one idle longest makes room. Default 100.
    pub max_sessions_per_key: u32,
    /// The provider at which people log in; sessions of another provider's people are over. `None`: no session of a person counts.
    pub login_issuer: Option<Arc<str>>,
    /// Longer tokens are refused unread; bytes.
    pub max_token_bytes: usize,
    /// How many proven tokens are remembered.
    pub cache_entries: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self::in_directory(Path::new("./.caxton"))
    }
}

impl Settings {
    /// The usual file names in a data directory.
    pub fn in_directory(directory: &Path) -> Self {
        Self {
            store: directory.join("keys.db"),
            pepper: directory.join("keys.pepper"),
            signing_dir: directory.join("signing"),
            issuer: "caxton".into(),
            audience: "caxton-api".into(),
            access: Duration::from_secs(3600),
            refresh: Duration::from_secs(24 * 3600),
            idle: Duration::from_secs(15 * 60),
            grace: Duration::from_secs(30),
            leeway: Duration::from_secs(5),
            max_sessions_per_key: 100,
            login_issuer: None,
            max_token_bytes: 8 * 1024,
            cache_entries: 10_000,
        }
    }
}
