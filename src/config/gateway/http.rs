//! The bounds of connections.

use std::time::Duration;

/// Bounds of connections.
#[derive(Debug, Clone)]
pub struct HttpLimits {
    /// The most connections at once; one more takes the place of one that waits. Default 1,024.
    pub max_connections: usize,
    /// How long the header of a request may take. Default 10 s.
    pub header_timeout: Duration,
    /// The largest header section, in bytes. Default 32 KiB.
    pub max_header_bytes: usize,
    /// The most header fields. Default 100.
    pub max_headers: usize,
    /// How long a connection may be without a request, from the moment it is there. Default 60 s.
    pub idle_timeout: Duration,
    /// The most connections of one address at once; one more takes the place of one that waits. Trusted proxies
    /// are not counted. Default 256.
    pub max_connections_per_address: usize,
    /// The most requests at once on one HTTP/2 connection. Default 100.
    pub max_streams: u32,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            max_connections: 1_024,
            header_timeout: Duration::from_secs(10),
            max_header_bytes: 32 * 1024,
            max_headers: 100,
            idle_timeout: Duration::from_secs(60),
            max_connections_per_address: 256,
            max_streams: 100,
        }
    }
}
