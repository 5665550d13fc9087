//! Why authentication could not be set up, or a key not be made.

use std::path::PathBuf;

use crate::db::DbError;
use crate::model::IdError;

/// A mistake in the settings, or a store that cannot be used.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each variant's message says what it is")]
pub enum AuthnError {
    /// The store of logins cannot be asked.
    #[error(transparent)]
    Unavailable(#[from] crate::shared_state::Unavailable),
    #[error("the key file `{path}` could not be read")]
    KeyFile { path: PathBuf, source: std::io::Error },
    #[error("the key `{key}` cannot be used with {algorithm}: {reason}")]
    KeyMaterial { key: String, algorithm: &'static str, reason: &'static str },
    #[error("the key set `{path}` is refused")]
    KeySet { path: PathBuf, source: super::jwt::JwkError },
    #[error("the client for key sets could not be made")]
    Client(#[source] reqwest::Error),
    #[error("the jwt setting `{setting}` is not acceptable: {reason}")]
    JwtSetting { setting: &'static str, reason: &'static str },
    #[error("the pepper file `{path}` could not be read or made")]
    PepperFile { path: PathBuf, source: std::io::Error },
    #[error("the pepper file `{path}` is not acceptable: {reason}")]
    Pepper { path: PathBuf, reason: &'static str },
    #[error("the oauth2 setting `{setting}` is not acceptable: {reason}")]
    Oauth2Setting { setting: &'static str, reason: &'static str },
    #[error("the api-key header `{header}` is already used by another scheme")]
    HeaderTaken { header: String },
    #[error(transparent)]
    ClientTrust(#[from] super::mtls::TrustError),
    #[error(transparent)]
    Store(#[from] DbError),
    #[error("the key store refused")]
    Query(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the key store holds a record that cannot be read")]
    Record(#[from] IdError),
    #[error("what is stored of a key or a login cannot be read")]
    Permissions(#[from] serde_json::Error),
    #[error("an api key must end at a moment in the future")]
    Expiry,
    #[error("the system gave no random bytes")]
    Random,
    #[error("the signing key `{path}` is not acceptable: {reason}")]
    SigningFile { path: PathBuf, reason: &'static str },
    #[error("a signing key could not be made")]
    SigningKey,
}
