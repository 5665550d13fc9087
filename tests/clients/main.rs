//! Clients, providers and browsers that are not ours: the official MCP clients of Python and TypeScript, and people
//! who log in at a real OpenID provider.

#[path = "../support/mod.rs"]
mod support;

mod login;
mod mcp_clients;
