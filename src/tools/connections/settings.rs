//! What can be set about accounts of callers at servers.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::Url;

use crate::tools::auth::SharedSecret;

/// [`ConnectionSettings::max_idle`] where nothing else is set.
const MAX_IDLE: Duration = Duration::from_secs(90 * 24 * 3_600);

/// Where the tokens of accounts are kept, and under which address the gateway is called.
pub struct ConnectionSettings {
    /// The database file.
    pub database: PathBuf,
    /// The key that seals the tokens in it: 64 hexadecimal digits. `None`: no account can be connected.
    pub key: Option<SharedSecret>,
    /// The address under which browsers call the gateway; authorization servers send them back there. `None`: no account can
    /// be connected.
    pub public_url: Option<Url>,
    /// A connection whose tokens were not replaced for so long ends. Default: 90 days.
    pub max_idle: Duration,
}

/// The key is not shown.
impl fmt::Debug for ConnectionSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionSettings").field("database", &self.database).finish_non_exhaustive()
    }
}

impl ConnectionSettings {
    /// In a data directory, without a key and an address.
    pub fn in_directory(data: &Path) -> Self {
        Self { database: data.join("connections.db"), key: None, public_url: None, max_idle: MAX_IDLE }
    }
}

impl Default for ConnectionSettings {
    fn default() -> Self {
        Self::in_directory(Path::new("."))
    }
}
