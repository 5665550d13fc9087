//! Secrets from a Vault: fetched before anything starts, never written anywhere.
//!
//! What comes from here is text in memory that is wiped when it is dropped. A Vault that does not answer, a login that
//! is refused, a secret that is not there: each is an error, and the gateway does not start; there is no default in
//! place of a secret. Messages name paths and fields, never values.
//!
//! The client is that of the `vaultrs` library. It would take addresses, tokens and even `VAULT_SKIP_VERIFY` from the
//! environment where it is told nothing, so it is told everything here.

mod error;
mod settings;
mod vault;

pub use error::VaultError;
pub use settings::{VaultLogin, VaultSettings, Wanted};
pub use vault::{Fetched, VaultProvider};
