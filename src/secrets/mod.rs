//! Secrets from a Vault: fetched before anything starts, never written anywhere.
//!
//! A fetched secret is text in memory that is wiped when it is dropped. A Vault that does not answer, a refused login
//! and a missing secret are errors, and the gateway does not start; a secret has no default. Messages name paths and fields, never values.
//!
//! The client is that of the `vaultrs` library. It would take addresses, tokens and even `VAULT_SKIP_VERIFY` from the
//! environment for settings that are not given, so every setting is given here.

mod error;
mod settings;
mod vault;

pub use error::VaultError;
pub use settings::{SecretRequest, VaultLogin, VaultSettings};
pub use vault::{NamedSecret, VaultProvider};
