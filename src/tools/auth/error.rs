//! Why there is no token for a server. For the operator; no text has a secret, a token, or a word of an authorization
//! server beyond its error code.

use std::io;

use crate::authn::AuthnError;
use crate::secret::HiddenError;

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// It did not answer, or not in time.
    #[error("the authorization server did not answer")]
    NoAnswer(#[source] HiddenError),
    /// Its answer is larger than is read, in bytes.
    #[error("an answer of the authorization server has more than {0} bytes")]
    TooLarge(usize),
    /// An HTTP status that says nothing more.
    #[error("the authorization server answered with HTTP status {0}")]
    Status(u16),
    /// It refused, with an error code of RFC 6749, section 5.2.
    #[error("the authorization server refused: `{0}`")]
    Refused(String),
    /// An answer that is none.
    #[error("an answer of the authorization server cannot be used: {0}")]
    Unusable(&'static str),
    /// The issuer's metadata names another issuer (RFC 8414, section 3.3).
    #[error("the metadata published for the issuer `{0}` names another issuer")]
    OtherIssuer(String),
    /// There is no metadata of the issuer.
    #[error("the issuer `{0}` publishes no metadata: set `token_endpoint`")]
    NoMetadata(String),
    /// The token endpoint in metadata is not one that a secret is sent to.
    #[error("the token endpoint that the issuer `{0}` names is not acceptable: {1}")]
    Endpoint(String, &'static str),
    /// The server's metadata names no authorization server.
    #[error("the server's metadata names no authorization server: set `issuer`")]
    NoIssuer,
    /// The server's metadata is about another resource (RFC 9728, section 3.3).
    #[error("the server's metadata is for another resource")]
    OtherResource,
    /// The server names an issuer at another address; only the operator can say whether that is right.
    #[error(
        "the server names `{0}` as its authorization server, which is at another address: if that is right, set `issuer` to it"
    )]
    Unconfirmed(String),
    /// The file of a secret or key cannot be read.
    #[error("the file of the client's secret or key cannot be read")]
    File(#[source] io::Error),
    /// The file of a secret or key does not hold one.
    #[error("the client's secret or key cannot be used: {0}")]
    Key(&'static str),
    /// What the gateway says about a caller cannot be signed.
    #[error("the assertion about the caller cannot be signed")]
    Signing(#[source] AuthnError),
    /// There is nobody to sign: the command line has no identity.
    #[error("a token of a caller is asked for where there are no callers")]
    NoIdentity,
    /// The authorization server cannot be asked for a person's consent.
    #[error("the issuer `{0}` cannot be asked for a person's consent: {1}")]
    Consent(String, &'static str),
    /// The caller has no account at the server, or none any more. Nothing is wrong.
    #[error("the caller has connected no account")]
    NotConnected,
    /// The tokens of accounts cannot be read or kept.
    #[error("the tokens of the caller's account cannot be read or kept")]
    Account(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The client for HTTP cannot be made.
    #[error("the HTTP client cannot be made")]
    Client(#[source] reqwest::Error),
    /// The work ended before its end.
    #[error("the request for a token was stopped")]
    Stopped,
}

impl TokenError {
    /// Whether the authorization server may be somewhere else by now: nobody answered, or something that is none did.
    pub(super) fn is_of_address(&self) -> bool {
        matches!(self, Self::NoAnswer(_) | Self::Status(404 | 405 | 410) | Self::Unusable(_))
    }
}
