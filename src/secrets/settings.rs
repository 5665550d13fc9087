//! The Vault's address, the login, and the secrets to fetch.

use std::path::PathBuf;
use std::time::Duration;

/// How to reach a Vault and what to take from it.
#[derive(Debug, Clone)]
pub struct VaultSettings {
    /// `https`, or `http` on this host.
    pub address: crate::secret::Address,
    /// Further certificate authorities for the Vault's certificate, PEM.
    pub ca_file: Option<PathBuf>,
    /// The namespace (Vault Enterprise).
    pub namespace: Option<String>,
    /// The login.
    pub login: VaultLogin,
    /// The mount of a KV engine, version 2, and after a `/` where in it the paths begin.
    pub secret_mount: String,
    /// The secrets to fetch.
    pub secrets: Vec<SecretRequest>,
    /// Time for one answer. Default 10 s.
    pub timeout: Duration,
    /// Keep the login alive while the gateway runs.
    pub auto_renew: bool,
    /// How long before its expiry a login is renewed; half its life if that is shorter. Default 1 h.
    pub renew_threshold: Duration,
}

/// A way to log in. The secret of each is in a file, which is read at each login, so that it can be replaced.
#[derive(Debug, Clone)]
pub enum VaultLogin {
    /// A token that was issued elsewhere.
    Token {
        /// The file with the token.
        file: PathBuf,
    },
    /// AppRole.
    AppRole {
        /// The mount of the method.
        mount: String,
        /// The role.
        role_id: String,
        /// The file with the secret id.
        secret_id_file: PathBuf,
    },
    /// The service account of a Kubernetes pod.
    Kubernetes {
        /// The mount of the method.
        mount: String,
        /// The role.
        role: String,
        /// The file with the pod's token.
        token_file: PathBuf,
    },
}

/// One secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretRequest {
    /// Its path below `secret_mount`.
    pub path: String,
    /// The name that stands for it in the configuration: `${NAME}`.
    pub name: String,
    /// The field; may be left out when there is only one.
    pub field: Option<String>,
}
