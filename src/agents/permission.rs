//! The words of an agent file's `capabilities` that say what the agent itself may do.
//!
//! They are permissions, not capabilities that others may ask for: policies see them as `principal.permissions`, and the
//! shipped policies forbid an agent what its file does not name.

use std::collections::BTreeSet;

use crate::model::CapabilityName;

/// What an agent may do at all, by its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum AgentPermission {
    /// Read and search memory.
    MemoryRead,
    /// Write and delete what is in memory.
    MemoryWrite,
    /// Take messages, and receive replies to its own.
    MessageReceive,
    /// Send messages.
    MessageSend,
    /// Call the tools that its file names.
    ToolAccess,
}

impl AgentPermission {
    /// Every permission, in the order of their words.
    pub const ALL: [Self; 5] =
        [Self::MemoryRead, Self::MemoryWrite, Self::MessageReceive, Self::MessageSend, Self::ToolAccess];

    /// The word of an agent file, of policies and of the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MemoryRead => "memory-read",
            Self::MemoryWrite => "memory-write",
            Self::MessageReceive => "message-receive",
            Self::MessageSend => "message-send",
            Self::ToolAccess => "tool-access",
        }
    }

    fn of(word: &CapabilityName) -> Option<Self> {
        Self::ALL.into_iter().find(|permission| permission.as_str() == word.as_str())
    }

    /// The permissions among `words`, and the capabilities that are left.
    pub(super) fn split(words: BTreeSet<CapabilityName>) -> (BTreeSet<Self>, BTreeSet<CapabilityName>) {
        let mut permissions = BTreeSet::new();
        let mut capabilities = BTreeSet::new();
        for word in words {
            match Self::of(&word) {
                Some(permission) => {
                    permissions.insert(permission);
                }
                None => {
                    capabilities.insert(word);
                }
            }
        }
        (permissions, capabilities)
    }
}
