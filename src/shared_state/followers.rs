//! How far each follower of the decision log came.

use std::fmt;

use super::Unavailable;

/// The name of a follower: 1 to 64 lower-case letters, digits, `-` and `_`, a letter or digit first. It is part of file names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FollowerName(String);

/// A text that cannot be the name of a follower.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("write 1 to 64 lower-case letters, digits, `-` and `_`, a letter or digit first")]
pub struct FollowerNameError;

impl FollowerName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for FollowerName {
    type Err = FollowerNameError;

    fn from_str(text: &str) -> Result<Self, FollowerNameError> {
        let legal =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_');
        let first = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
        if first && text.len() <= 64 && text.bytes().all(legal) {
            Ok(Self(text.to_owned()))
        } else {
            Err(FollowerNameError)
        }
    }
}

impl fmt::Display for FollowerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Cursors of followers: for each name the number of the last record that is done with.
///
/// A stored cursor is there after a crash, whole or as it was before. Each gateway follows its own log, so a name belongs to one
/// follower of one gateway; two that store under one name at the same time are a mistake of the caller. Synchronous: asked
/// off the async threads, because an implementation may wait for a disk or a network.
pub trait FollowerCursors: fmt::Debug + Send + Sync + 'static {
    /// The cursor of this follower; `None` when it has stored none. One that cannot be read is an error that says where it
    /// is, never a beginning.
    fn load(&self, name: &FollowerName) -> Result<Option<u64>, Unavailable>;

    /// Stores the cursor of this follower for good.
    fn store(&self, name: &FollowerName, seq: u64) -> Result<(), Unavailable>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_no_path() {
        for good in ["splunk", "0-a_b", &"a".repeat(64)] {
            assert_eq!(good.parse::<FollowerName>().unwrap().to_string(), *good);
        }
        for bad in ["", "..", "a/b", "A", "-a", "_a", "a b", "a.b", "ä", "a\n", &"a".repeat(65)] {
            assert!(bad.parse::<FollowerName>().is_err(), "{bad:?}");
        }
    }
}
