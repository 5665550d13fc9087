//! Errors of the connection to a Vault, without secrets.

use std::path::PathBuf;

use vaultrs::error::ClientError;

use crate::text::one_line;

/// Why secrets could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// The client could not be set up.
    #[error("the client of the vault could not be set up: {0}")]
    Setup(String),
    /// A file with a credential could not be read.
    #[error("`{}` cannot be read", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// The system error.
        #[source]
        source: std::io::Error,
    },
    /// A file with a credential holds no credential.
    #[error("`{}` holds no credential: it is empty or has more than one line", file.display())]
    Credential {
        /// The file.
        file: PathBuf,
    },
    /// The Vault did not answer, or not in time.
    #[error("the vault at `{address}` did not answer: {why}")]
    Unreachable {
        /// The address of the Vault.
        address: String,
        /// The error of the connection.
        why: String,
    },
    /// The login was refused.
    #[error("the vault refused the login ({0})")]
    Login(String),
    /// A secret could not be read.
    #[error("the secret `{path}` could not be read ({why})")]
    Secret {
        /// Its path with the mount.
        path: String,
        /// The reason that the Vault gave.
        why: String,
    },
    /// The secret does not have the field.
    #[error("the secret `{path}` has no text field `{field}`; it has {field_list}")]
    Field {
        /// Its path.
        path: String,
        /// The field.
        field: String,
        /// The fields that it has.
        field_list: String,
    },
    /// The secret has several fields and none was named.
    #[error("the secret `{path}` has {field_list}, and none is chosen")]
    WhichField {
        /// Its path.
        path: String,
        /// The fields that it has.
        field_list: String,
    },
    /// The value is larger than a setting may be.
    #[error("the secret `{path}` is larger than 64 KiB")]
    TooLarge {
        /// Its path.
        path: String,
    },
}

impl VaultError {
    /// Advice that stands apart from the message.
    pub fn help(&self) -> &'static str {
        match self {
            Self::Setup(_) => "see `security.vault.address` and `security.vault.ca_file`",
            Self::File { .. } | Self::Credential { .. } => {
                "the file has to hold the credential alone, readable by the gateway's user"
            }
            Self::Unreachable { .. } => "see that the vault runs, is unsealed, and can be reached from here",
            Self::Login(_) => "see the role, and whether its credential is still good",
            Self::Secret { .. } => {
                "see `security.vault.secret_mount`, and that the role's policy may read the path"
            }
            Self::Field { .. } | Self::WhichField { .. } => "name one with `field`",
            Self::TooLarge { .. } => "name a smaller one",
        }
    }

    /// Whether the vault itself could not be reached.
    pub fn is_unreachable(&self) -> bool {
        matches!(self, Self::Unreachable { .. })
    }
}

/// Why a request failed, without the body of the answer, which may hold the secret.
pub(super) enum RequestFailure {
    /// The Vault did not answer.
    Unreachable(String),
    /// The Vault refused the request.
    Refused(String),
}

impl From<ClientError> for RequestFailure {
    fn from(error: ClientError) -> Self {
        use rustify::errors::ClientError as Http;
        Self::Refused(match &error {
            ClientError::APIError { code, errors } if errors.is_empty() => format!("status {code}"),
            // Vault's own words about a refusal name paths and policies.
            ClientError::APIError { code, errors } => {
                let errors: Vec<&str> =
                    errors.iter().map(|error| error.trim()).filter(|error| !error.is_empty()).collect();
                format!("status {code}: {}", one_line(&errors.join("; "), 200))
            }
            ClientError::RestClientError { source: Http::ServerResponseError { code, .. } } => {
                format!("status {code}")
            }
            ClientError::RestClientError {
                source: Http::RequestError { source, .. } | Http::ResponseError { source },
            } => return Self::Unreachable(one_line(&chain(source.as_ref()), 200)),
            // The causes of the others quote what they could not parse.
            _ => "an answer that is not understood".to_owned(),
        })
    }
}

fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.last().map_or_else(String::new, ToString::to_string)
}
