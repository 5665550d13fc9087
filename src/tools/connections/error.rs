//! What can go wrong with accounts of callers at servers, and whose fault it is.

use crate::blocking;
use crate::db::DbError;
use crate::model::ServerName;
use crate::tools::auth::TokenError;

/// Why the connections cannot be kept. For the operator.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is no key.
    #[error(
        "there is no key for the tokens of connected accounts: write one with `openssl rand -hex 32 > FILE`, and name the file as `mcp.connection_key_file`"
    )]
    NoKey,
    /// The gateway does not know under which address browsers call it.
    #[error("authorization servers have to send browsers back to the gateway: set `server.public_url`")]
    NoAddress,
    /// The key cannot be read.
    #[error("the key of connected accounts (`mcp.connection_key_file`) cannot be read")]
    KeyFile(#[source] TokenError),
    /// The key is none.
    #[error(
        "the key of connected accounts (`mcp.connection_key_file`) is not 64 hexadecimal digits: write one with `openssl rand -hex 32`"
    )]
    KeyForm,
    /// The cipher refused.
    #[error("the tokens of an account cannot be sealed")]
    Sealing,
    /// The system has no randomness.
    #[error("the system gave no random bytes")]
    Random,
    /// The database cannot be opened.
    #[error("the database of connected accounts cannot be opened")]
    Database(#[from] DbError),
    /// The database cannot be read or written.
    #[error("the database of connected accounts cannot be used")]
    Query(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The work ended before its end.
    #[error("the work on connected accounts stopped before its end")]
    Stopped,
}

impl From<blocking::Stopped> for StoreError {
    fn from(_: blocking::Stopped) -> Self {
        Self::Stopped
    }
}

/// Why an account was not connected, or a connection not ended.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// There is no such server, or its callers have no accounts of their own there.
    #[error("there is no server `{0}` at which accounts can be connected")]
    NotOffered(ServerName),
    /// The caller acts for another by a delegated token.
    #[error(
        "a caller with a delegated token cannot connect accounts: the person who delegated it has to connect one"
    )]
    Delegated,
    /// Too many accounts are being connected.
    #[error("too many accounts are being connected at the moment")]
    Busy,
    /// A parameter is missing, or cannot be what it should be.
    #[error("the parameter `{0}` is missing or not acceptable")]
    Parameter(&'static str),
    /// The browser that came is not one that may finish this; in one stable word.
    #[error("this link is not valid, or no longer: {0}")]
    Refused(&'static str),
    /// The authorization server cannot be asked, or gave no token.
    #[error("the authorization server of `{server}` gave no token")]
    AuthorizationServer {
        /// The MCP server.
        server: ServerName,
        /// Why.
        #[source]
        source: TokenError,
    },
    /// There is no connection to end.
    #[error("there is no such connection")]
    NoConnection,
    /// The permit was given for something else.
    #[error("the permit is for another connection")]
    Mismatch,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl ConnectionError {
    /// Whether a browser that came back with this has ended the connection that it began itself. Otherwise it came with the answer
    /// to another one, or with none.
    pub fn ends_own_connection(&self) -> bool {
        !matches!(self, Self::Refused("wrong_state" | "wrong_browser" | "malformed"))
    }
}
