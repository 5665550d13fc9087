//! Identifiers as types: a name that was read once is known to be well formed ever after.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::text::is_hidden;

/// Why a text is not an identifier of the wanted kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Nothing was given.
    #[error("{kind} is empty")]
    Empty {
        /// What was being read.
        kind: &'static str,
    },
    /// Longer than the bound.
    #[error("{kind} is {length} bytes long, at most {limit} are allowed")]
    TooLong {
        /// What was being read.
        kind: &'static str,
        /// Bytes given.
        length: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// A character that has no place in this kind of name.
    #[error("{kind} has the character {character:?}, {allowed}")]
    Character {
        /// What was being read.
        kind: &'static str,
        /// The first offender.
        character: char,
        /// What is allowed, in words.
        allowed: &'static str,
    },
}

fn check(
    kind: &'static str,
    limit: usize,
    text: &str,
    legal: fn(char) -> bool,
    allowed: &'static str,
) -> Result<(), IdError> {
    if text.is_empty() {
        return Err(IdError::Empty { kind });
    }
    if text.len() > limit {
        return Err(IdError::TooLong { kind, length: text.len(), limit });
    }
    match text.chars().find(|&c| !legal(c)) {
        Some(character) => Err(IdError::Character { kind, character, allowed }),
        None => Ok(()),
    }
}

/// Letters, digits, and the four marks that appear in names people choose. Fillers such as U+3164 count as letters in
/// Unicode and have no shape, so they are refused.
fn is_name(c: char) -> bool {
    c.is_alphanumeric() && !is_hidden(c) || matches!(c, '-' | '_' | '.' | ' ')
}

/// Any character that can be seen: names that come from other systems (MCP tools).
fn is_visible(c: char) -> bool {
    !is_hidden(c)
}

/// Bytes of the name of a role.
const LONGEST_ROLE: usize = 128;

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $kind:literal, $limit:expr, $legal:ident, $allowed:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(Arc<str>);

        impl $type {
            /// Reads one, or says which rule it breaks.
            pub fn parse(text: impl AsRef<str>) -> Result<Self, IdError> {
                let text = text.as_ref();
                check($kind, $limit, text, $legal, $allowed)?;
                Ok(Self(text.into()))
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The text, shared.
            pub fn shared(&self) -> Arc<str> {
                Arc::clone(&self.0)
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $type {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::parse(text)
            }
        }

        impl TryFrom<String> for $type {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                Self::parse(text)
            }
        }

        impl From<$type> for String {
            fn from(id: $type) -> Self {
                id.0.as_ref().to_owned()
            }
        }
    };
}

name!(
    /// A deployed agent.
    AgentId, "agent id", 128, is_name, "letters, digits, `-`, `_`, `.` and spaces are allowed"
);
name!(
    /// A workspace that agents share.
    WorkspaceId, "workspace id", 128, is_name, "letters, digits, `-`, `_`, `.` and spaces are allowed"
);
name!(
    /// What an agent can do for others; messages are routed by it.
    CapabilityName, "capability", 128, is_name, "letters, digits, `-`, `_`, `.` and spaces are allowed"
);
name!(
    /// A conversation (FIPA `conversation-id`).
    ConversationId, "conversation id", 128, is_name, "letters, digits, `-`, `_`, `.` and spaces are allowed"
);
name!(
    /// A role of `roles.yaml` or of the shipped set.
    RoleName, "role", LONGEST_ROLE, is_role, "letters, digits, `-`, `_`, `.`, `:`, `*`, `%` and spaces are allowed"
);
name!(
    /// A program that calls with an API key of its own.
    ServiceName, "service name", 128, is_name, "letters, digits, `-`, `_`, `.` and spaces are allowed"
);
name!(
    /// The public part of an API key: looked up, logged, shown.
    KeyId, "key id", 64, is_name, "letters, digits, `-`, `_`, `.` and spaces are allowed"
);
name!(
    /// An upstream MCP server as the configuration names it. Never contains `___`, the separator of [`ToolId`].
    ServerName, "server name", 64, is_server, "letters, digits and `-` are allowed"
);
name!(
    /// A tool across all servers: `<server>___<tool>`; the tool part is any legal MCP name.
    ToolId, "tool id", 256, is_visible, "control, bidirectional and invisible characters are not allowed"
);

/// Permission words (`tool:call`, `agent:*`) are roles too.
fn is_role(c: char) -> bool {
    is_name(c) || matches!(c, ':' | '*' | '%')
}

fn is_server(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '-'
}

impl RoleName {
    /// The role that an issuer's token names: characters that a role name does not have, and `%`, are percent-encoded, so that
    /// two roles never become one. `cn=ops/eu` is `cn%3Dops%2Feu`. One that is too long for a role name then is
    /// `sha256:` and the digest of what the token says, in hexadecimal.
    ///
    /// # Errors
    /// It is empty.
    pub fn of_claim(text: &str) -> Result<Self, IdError> {
        let mut escaped = String::with_capacity(text.len());
        for c in text.chars() {
            if is_role(c) && c != '%' {
                escaped.push(c);
            } else {
                let mut bytes = [0; 4];
                c.encode_utf8(&mut bytes).bytes().for_each(|byte| escaped.push_str(&format!("%{byte:02X}")));
            }
        }
        if escaped.len() > LONGEST_ROLE {
            let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
            escaped = format!("sha256:{}", hex::encode(digest));
        }
        Self::parse(escaped)
    }
}

impl ToolId {
    /// What stands between server and tool.
    pub const SEPARATOR: &'static str = "___";

    /// The id of `tool` on `server`.
    pub fn new(server: &ServerName, tool: &str) -> Result<Self, IdError> {
        Self::parse(format!("{server}{}{tool}", Self::SEPARATOR))
    }

    /// The server's name; the whole id when it has no separator.
    pub fn server(&self) -> &str {
        self.as_str().split_once(Self::SEPARATOR).map_or(self.as_str(), |(server, _)| server)
    }

    /// The tool's name as its own server spells it.
    pub fn tool(&self) -> &str {
        self.as_str().split_once(Self::SEPARATOR).map_or(self.as_str(), |(_, tool)| tool)
    }
}

/// One decision (UUIDv7, RFC 9562): sorts by time, is unique across gateways.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DecisionId(Uuid);

impl DecisionId {
    /// A new id.
    pub fn generate() -> Self {
        Self(Uuid::now_v7())
    }
}

impl fmt::Display for DecisionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One request, as the gateway tells it from all others. No caller has a say in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct CallId(Uuid);

impl CallId {
    /// A certain one, for records that have to be the same each time.
    pub const fn from_number(number: u128) -> Self {
        Self(Uuid::from_u128(number))
    }
}

/// One request from outside; many decisions may belong to it. Its text may be the caller's, so two callers can choose the
/// same one; the call id beside it is the gateway's own.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RequestId {
    text: Arc<str>,
    call: CallId,
}

impl RequestId {
    /// A new id.
    pub fn generate() -> Self {
        let call = Uuid::now_v7();
        let text = (&*call.hyphenated().encode_lower(&mut Uuid::encode_buffer())).into();
        Self { text, call: CallId(call) }
    }

    /// Takes the caller's id over when it is short and plain, makes a new one otherwise.
    pub fn from_caller(text: &str) -> Self {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if (1..=64).contains(&text.len()) && text.chars().all(plain) {
            Self { text: text.into(), call: CallId(Uuid::now_v7()) }
        } else {
            Self::generate()
        }
    }

    /// The same request under a certain call id.
    #[must_use]
    pub fn with_call(mut self, call: CallId) -> Self {
        self.call = call;
        self
    }

    /// The text: the caller's when it sent one.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The gateway's own name for the request.
    pub fn call(&self) -> CallId {
        self.call
    }
}

/// SHA-256 over the canonical files of a policy bundle, in lower-case hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PolicyVersion(Arc<str>);

impl PolicyVersion {
    /// From the digest's hexadecimal text.
    pub fn from_hex(hex: &str) -> Self {
        Self(hex.into())
    }

    /// All 64 digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first twelve digits, for people.
    pub fn short(&self) -> &str {
        self.0.get(..12).unwrap_or(&self.0)
    }

    /// The text, shared.
    pub fn shared(&self) -> Arc<str> {
        Arc::clone(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_refused_with_the_rule_they_break() {
        let cases: [(&str, &str); 5] = [
            ("", "agent id is empty"),
            ("a/b", "agent id has the character '/', letters, digits, `-`, `_`, `.` and spaces are allowed"),
            (
                "a\u{0}b",
                "agent id has the character '\\0', letters, digits, `-`, `_`, `.` and spaces are allowed",
            ),
            (
                "a\u{3164}b",
                "agent id has the character '\u{3164}', letters, digits, `-`, `_`, `.` and spaces are allowed",
            ),
            (&"x".repeat(129), "agent id is 129 bytes long, at most 128 are allowed"),
        ];
        for (text, message) in cases {
            assert_eq!(AgentId::parse(text).unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn tool_ids_split_at_the_first_separator() {
        let server = ServerName::parse("every-thing").unwrap();
        let id = ToolId::new(&server, "get-sum/v1.2___x").unwrap();
        assert_eq!((id.server(), id.tool()), ("every-thing", "get-sum/v1.2___x"));
        assert!(ServerName::parse("a___b").is_err());
        for hidden in ["\u{202e}", "\u{200b}", "\u{fe0f}", "\u{e0041}", "\u{1b}"] {
            assert!(ToolId::parse(format!("a___{hidden}b")).is_err(), "{}", hidden.escape_unicode());
        }
    }

    #[test]
    fn a_caller_cannot_put_anything_but_a_plain_id_into_the_log() {
        assert_eq!(RequestId::from_caller("abc-1").as_str(), "abc-1");
        assert_ne!(RequestId::from_caller("a\nb").as_str(), "a\nb");
        assert_ne!(RequestId::from_caller("a").call(), RequestId::from_caller("a").call());
    }
}
