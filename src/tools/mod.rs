//! Tools: what the upstream MCP servers and the built-in WebAssembly modules offer, typed, pinned and callable.
//!
//! A tool is callable only when its definition is the one that was pinned, its arguments fit its JSON Schema,
//! and a [`crate::authz::Permit`] for exactly this call exists. Upstream servers are not trusted: what they
//! send is read under budgets, and every wait has a deadline.

mod approved;
mod arguments;
mod auth;
mod builtin;
mod catalogue;
mod connections;
mod definition;
mod error;
mod known_names;
mod listening;
mod offers;
mod pin;
mod registry;
mod result;
mod schema_fragment;
mod session;
mod settings;
mod skills;
mod tasks;
mod tool;
mod typing;
mod upstream;

#[cfg(test)]
mod tests;

pub use approved::approved_tools;
pub use arguments::{ArgumentError, ArgumentSchema, to_cedar};
pub use auth::{
    ClientKey, OauthClient, OwnAccess, SharedSecret, TokenError, TokenPlace, UpstreamAuth, UpstreamGrant,
};
pub use builtin::builtin_fragment;
pub use connections::{
    ConnectingProgram, ConnectionError, ConnectionFacts, ConnectionSettings, ConsentGiven, EndedConnection,
    LinkOpened, LoggedInBrowser, ReturnedBrowser, StartedConnection, StoreError, check_number,
};
pub use definition::{Annotations, Definition, DefinitionError};
pub use error::{PrepareError, RegistryError, ToolError, ToolProblem, UpstreamError};
pub use known_names::{KnownTools, NamedTool};
pub use listening::ListenPermits;
pub use offers::Offered;
pub use pin::{PinChange, PinError, Pins, fragment_path, pin_path};
pub use registry::{CallOptions, PinDraft, Registry, RegistryPorts};
pub use result::ToolResult;
pub use schema_fragment::cedar_fragment;
pub use session::{Answered, ClientSession, ClientSide};
pub use settings::{ServerSettings, Settings, Transport};
pub use skills::{OfferedEntries, OfferedSkills};
pub use tasks::{BegunTask, TaskAnswer};
pub use tool::Tool;
pub use typing::{Field, InputType, RecordType};
pub(crate) use upstream::read_untrusted;
pub use upstream::{FromServer, Health, Listing, ServerEvents, offered};
