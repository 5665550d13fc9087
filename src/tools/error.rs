//! What can go wrong with tools, and whose fault it is.

use std::error::Error;
use std::time::Duration;

use crate::model::{JsonPointer, ServerName, ToolId};

use super::arguments::ArgumentError;
use super::auth::TokenError;
use super::connections::StoreError;
use super::definition::DefinitionError;
use super::pin::PinError;
use super::upstream::Failure;
use crate::mcp::{RpcError, code};
use crate::text::one_line;

/// Why a server cannot be used. For the operator.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// It did not answer in time.
    #[error("it did not answer within {limit:?}")]
    Timeout {
        /// The deadline.
        limit: Duration,
    },
    /// The address is not one of HTTP.
    #[error("its `url` is not an address of `http` or `https`")]
    Address,
    /// A configured header cannot be sent.
    #[error("its header `{0}` is not one of HTTP")]
    Header(String),
    /// The HTTP client cannot be made.
    #[error("the HTTP client cannot be made")]
    Client(#[source] Box<dyn Error + Send + Sync>),
    /// Its credentials cannot be set up.
    #[error("its credentials cannot be set up")]
    Credentials(#[source] TokenError),
    /// The process cannot be started.
    #[error("its program cannot be started")]
    Spawn(#[source] std::io::Error),
    /// The protocol's handshake failed.
    #[error("the MCP handshake failed")]
    Handshake(#[source] Box<dyn Error + Send + Sync>),
    /// The question for its tools failed.
    #[error("the question for its tools failed")]
    Listing(#[source] Box<dyn Error + Send + Sync>),
    /// It lists more items than the setting allows.
    #[error("it lists more than {limit} {what}")]
    TooMany {
        /// Items allowed.
        limit: usize,
        /// `tools`, `prompts` and so on.
        what: String,
    },
    /// Its listing has more pages than are read.
    #[error("its list of {what} has more than {limit} pages")]
    TooManyPages {
        /// Pages allowed.
        limit: usize,
        /// `tools`, `prompts` and so on.
        what: String,
    },
    /// Its listing is larger than is kept.
    #[error("its list of {what} has more than {limit} bytes")]
    ListTooLarge {
        /// Bytes allowed.
        limit: usize,
        /// `tools`, `prompts` and so on.
        what: String,
    },
    /// The connection ended.
    #[error("the connection was closed")]
    Closed,
}

impl UpstreamError {
    pub(super) fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Handshake(cause) | Self::Listing(cause) => cause.downcast_ref(),
            _ => None,
        }
    }

    /// Whether there is no token for the server, or none that it accepts.
    pub(super) fn is_of_a_credential(&self) -> bool {
        matches!(self.failure(), Some(Failure::NoToken(_) | Failure::TokenRefused))
    }

    /// Whether the caller has connected no account at the server.
    pub(super) fn is_not_connected(&self) -> bool {
        matches!(self.failure(), Some(Failure::NoToken(error)) if matches!(**error, TokenError::NotConnected))
    }

    /// Whether the server answers only who shows a token.
    pub(super) fn asks_for_a_token(&self) -> bool {
        matches!(self.failure(), Some(Failure::Status(401 | 403) | Failure::Refused(_)))
    }

    /// Whether the server is there and has only forgotten the session.
    pub(super) fn is_session_lost(&self) -> bool {
        matches!(self.failure(), Some(Failure::SessionLost))
    }

    /// Whether the server does not know the handshake of the versions with sessions.
    pub(super) fn knows_no_sessions(&self) -> bool {
        match self.failure() {
            Some(Failure::Refused(error)) => {
                matches!(error.code, code::METHOD_NOT_FOUND | code::UNSUPPORTED_VERSION)
            }
            Some(Failure::Status(status)) => matches!(status, 404 | 405),
            _ => false,
        }
    }

    /// Whether the server answered, and its answer could not be used.
    pub(super) fn is_of_an_answer(&self) -> bool {
        let unusable = matches!(
            self.failure(),
            Some(
                Failure::Refused(_)
                    | Failure::Status(_)
                    | Failure::Unusable(_)
                    | Failure::TooLarge(_)
                    | Failure::NoToken(_)
                    | Failure::TokenRefused
            )
        );
        unusable
            || matches!(self, Self::TooMany { .. } | Self::TooManyPages { .. } | Self::ListTooLarge { .. })
    }
}

/// Why the registry cannot be made at all.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// Two servers have one name, or one has the name of the built-in tools.
    #[error("the server name `{0}` is taken")]
    NameTaken(ServerName),
    /// Credentials at a server cannot be set up.
    #[error("the credentials at the server `{0}` cannot be set up")]
    Credentials(ServerName, #[source] TokenError),
    /// The accounts of callers cannot be kept.
    #[error("accounts at servers cannot be connected")]
    Connections(#[from] StoreError),
    /// Pins cannot be read.
    #[error(transparent)]
    Pin(#[from] PinError),
    /// A built-in tool cannot be loaded: the program itself is damaged, or the sandbox is set too tight.
    #[error("a built-in tool cannot be loaded")]
    Builtin(#[source] Box<dyn Error + Send + Sync>),
}

/// Why a call cannot even be asked about.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PrepareError {
    /// There is no such tool in the live bundle.
    #[error("there is no tool `{0}`")]
    ToolUnknown(ToolId),
    /// The tool's definition is no longer the one that was approved.
    #[error("the definition of the tool `{0}` changed and was not approved")]
    Drifted(ToolId),
    /// The arguments break the tool's schema.
    #[error(transparent)]
    Arguments(#[from] ArgumentError),
}

/// Why an allowed call had no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ToolError {
    /// Between the decision and the call the tool became another one.
    #[error("the tool `{0}` changed after the decision")]
    Changed(ToolId),
    /// The caller's account at the server is offered another tool than the approved one. Nothing was sent.
    #[error(
        "the server offers the tool `{tool}` to the caller's account otherwise than it was approved; its calls are refused"
    )]
    Differs {
        /// The tool.
        tool: ToolId,
    },
    /// The server is not connected; the call may or may not have reached it.
    #[error("the server `{server}` is not available")]
    Unavailable {
        /// The server.
        server: ServerName,
    },
    /// No answer in time; the server may still carry the call out.
    #[error("the server `{server}` did not answer within {limit:?}")]
    Timeout {
        /// The server.
        server: ServerName,
        /// The deadline.
        limit: Duration,
    },
    /// The server refused the call (a JSON-RPC error).
    #[error("the server `{server}` refused the call with code {code}: {message}", code = error.code, message = error.message)]
    Refused {
        /// The server.
        server: ServerName,
        /// Its error. The message is cleaned and bounded; all of it is untrusted.
        error: Box<RpcError>,
    },
    /// There is no credential that the server accepts: of the gateway, or of the caller. The server did nothing.
    #[error("there is no valid credential for the server `{server}`")]
    Credentials {
        /// The server.
        server: ServerName,
    },
    /// The caller has to connect an account of its own at the server first. The server did nothing.
    #[error(
        "no account at the server `{server}` is connected: connect one with `caxton tools connect {server}`"
    )]
    NotConnected {
        /// The server.
        server: ServerName,
    },
    /// The server's answer is none that can be passed on.
    #[error("the answer of the server `{server}` cannot be used: {message}")]
    Unusable {
        /// The server.
        server: ServerName,
        /// Why, for the operator.
        message: String,
    },
    /// The server wants something that the gateway does not offer (input of a person, a background task).
    #[error("the tool `{tool}` requires input beyond its arguments")]
    NeedsMore {
        /// The tool.
        tool: ToolId,
    },
    /// A task is followed, and no call of its tool is permitted any more.
    #[error("the tool `{tool}` may not be called any more")]
    NotPermitted {
        /// The tool.
        tool: ToolId,
    },
    /// The sandbox stopped a built-in tool.
    #[error("the tool `{tool}` was stopped: {message}")]
    Sandbox {
        /// The tool.
        tool: String,
        /// Why, for the operator.
        message: String,
        /// The text that the caller receives.
        told: String,
    },
    /// The result is larger than the setting allows.
    #[error("the result has more than {limit} bytes")]
    TooLarge {
        /// Bytes allowed.
        limit: usize,
    },
}

impl ToolError {
    /// The same without the text of the server, where parts of its result are masked: they may be in it.
    pub(super) fn withheld(self, redact: &[JsonPointer]) -> Self {
        match self {
            Self::Refused { server, error } => {
                Self::Refused { server, error: Box::new(super::tasks::withheld(*error, redact)) }
            }
            other => other,
        }
    }

    /// The text that the caller receives: nothing about limits or other servers.
    pub fn client_text(&self) -> String {
        match self {
            Self::Changed(_) => "the tool changed, list the tools again".to_owned(),
            Self::NotPermitted { .. } => "the task's tool may not be called any more".to_owned(),
            Self::Unavailable { .. } => "the tool's server is not available".to_owned(),
            Self::Credentials { .. } => {
                "the gateway has no valid credential for the tool's server".to_owned()
            }
            Self::NotConnected { .. } | Self::Differs { .. } => self.to_string(),
            Self::Timeout { .. } => "the tool did not answer in time".to_owned(),
            // The message of the tool's own server, as the caller would have received it without a gateway.
            Self::Refused { error, .. } => error.message.clone(),
            Self::Unusable { .. } => "the tool's server gave an answer that cannot be used".to_owned(),
            Self::NeedsMore { .. } => "the tool requires input that this gateway does not forward".to_owned(),
            Self::Sandbox { told, .. } => told.clone(),
            Self::TooLarge { .. } => "the tool's answer is too large".to_owned(),
        }
    }
}

/// A problem with a server or a tool that an operator can correct; the gateway runs on without it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct ToolProblem {
    /// The server.
    pub server: ServerName,
    /// Which tool, when it is about one.
    pub tool: Option<String>,
    /// The fault, in one line.
    pub message: String,
    /// The advice for the operator.
    pub help: String,
}

impl ToolProblem {
    pub(super) fn unreachable(server: &ServerName, error: &UpstreamError) -> Self {
        Self {
            server: server.clone(),
            tool: None,
            message: format!("the server is not available: {}", chain(error)),
            help: "it is tried again in the background; its tools fail until it answers".to_owned(),
        }
    }

    pub(super) fn of_accounts(server: &ServerName) -> Self {
        Self {
            server: server.clone(),
            tool: None,
            message: "the server lists its tools for connected accounts only, and none of them is approved"
                .to_owned(),
            help: format!(
                "connect an account with `caxton tools connect {server}`, then `caxton tools import {server} --as-connected`"
            ),
        }
    }

    pub(super) fn refused(server: &ServerName, tool: &str, error: &DefinitionError) -> Self {
        Self {
            server: server.clone(),
            tool: Some(tool.to_owned()),
            message: format!("the tool is left out: {error}"),
            help: "the server's author has to correct the definition".to_owned(),
        }
    }
}

/// An error with its causes on one line, without repeating what a cause has said already.
pub(super) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let message = error.to_string();
        if !text.contains(&message) {
            text.push_str(": ");
            text.push_str(&message);
        }
        cause = error.source();
    }
    one_line(&text, 400)
}
