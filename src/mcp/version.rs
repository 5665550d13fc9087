//! The versions of the protocol.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A protocol version, in the order of their dates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Version {
    /// 2024-11-05; spoken over standard input and output, and by old clients.
    #[serde(rename = "2024-11-05")]
    V2024_11_05,
    /// 2025-03-26: streamable HTTP with sessions.
    #[serde(rename = "2025-03-26")]
    V2025_03_26,
    /// 2025-06-18.
    #[serde(rename = "2025-06-18")]
    V2025_06_18,
    /// 2025-11-25: the last one with a handshake and sessions.
    #[serde(rename = "2025-11-25")]
    V2025_11_25,
    /// 2026-07-28: each request stands alone.
    #[serde(rename = "2026-07-28")]
    V2026_07_28,
}

impl Version {
    /// All that are spoken here, oldest first.
    pub const ALL: [Self; 5] =
        [Self::V2024_11_05, Self::V2025_03_26, Self::V2025_06_18, Self::V2025_11_25, Self::V2026_07_28];
    /// The newest one with a handshake.
    pub const NEWEST_WITH_SESSIONS: Self = Self::V2025_11_25;
    /// What a request over HTTP that names no version means (2025-06-18, "Protocol Version Header").
    pub const UNNAMED: Self = Self::V2025_03_26;

    /// The version of this name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|version| version.as_str() == text)
    }

    /// Its name, a date.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V2024_11_05 => "2024-11-05",
            Self::V2025_03_26 => "2025-03-26",
            Self::V2025_06_18 => "2025-06-18",
            Self::V2025_11_25 => "2025-11-25",
            Self::V2026_07_28 => "2026-07-28",
        }
    }

    /// Whether each request stands alone: no handshake, no session, results with a type.
    pub fn is_stateless(self) -> bool {
        self >= Self::V2026_07_28
    }

    /// What `initialize` answers to a client that asks for the version of this name: the same one, or the newest that has
    /// a handshake ("Version Negotiation").
    pub fn negotiate(asked: &str) -> Self {
        Self::parse(asked).filter(|version| !version.is_stateless()).unwrap_or(Self::NEWEST_WITH_SESSIONS)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handshake_never_ends_in_a_version_without_one() {
        assert_eq!(Version::negotiate("2025-03-26"), Version::V2025_03_26);
        for asked in ["2026-07-28", "2099-01-01", "", "x"] {
            assert_eq!(Version::negotiate(asked), Version::V2025_11_25, "{asked}");
        }
    }

    #[test]
    fn names_are_dates_in_order() {
        assert!(Version::ALL.is_sorted());
        for version in Version::ALL {
            assert_eq!(Version::parse(version.as_str()), Some(version));
            assert_eq!(serde_json::to_value(version).unwrap(), version.as_str());
        }
    }
}
