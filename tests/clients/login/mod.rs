//! People log in at a real OpenID provider (`oidc-provider`), in the browser and from the command line; and a provider
//! that lies, one that is down, and everybody who sends somebody else's browser gets nothing.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test that cannot be set up has failed"
)]

mod browser;
mod command;
mod house;
mod liar;
mod mcp;
mod provider;
mod real;
mod threats;
