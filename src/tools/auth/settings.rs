//! What the operator says about the gateway's credentials at a server.

use std::fmt;
use std::path::PathBuf;

use crate::secret::{Address, Secret};

/// OAuth 2.1 towards one server over HTTP.
#[derive(Debug)]
pub struct UpstreamAuth {
    /// Whose access the tokens give.
    pub grant: UpstreamGrant,
    /// The gateway as a client of the server's authorization server.
    pub client: OauthClient,
    /// The scopes that are requested, with spaces between; none: the authorization server decides.
    pub scope: String,
    /// The server's name as a resource (RFC 8707). `None`: its address without query.
    pub resource: Option<String>,
    /// The server's name at an authorization server that knows no `resource` (RFC 8693, section 2.1).
    pub audience: Option<String>,
    /// What the gateway itself shows the server when it asks for its tools.
    pub own_access: OwnAccess,
    /// The most callers with a connection of their own at once; the one idle longest makes room. Default 1,000.
    pub max_callers: usize,
}

impl UpstreamAuth {
    /// One token for all callers, without scopes.
    pub fn client_credentials(client: OauthClient) -> Self {
        Self {
            grant: UpstreamGrant::ClientCredentials,
            client,
            scope: String::new(),
            resource: None,
            audience: None,
            own_access: OwnAccess::ClientCredentials,
            max_callers: 1_000,
        }
    }

    /// Whether each caller has a token of its own.
    pub(in crate::tools) fn is_of_callers(&self) -> bool {
        !matches!(self.grant, UpstreamGrant::ClientCredentials)
    }

    /// Whether callers connect accounts of their own.
    pub fn is_of_accounts(&self) -> bool {
        matches!(self.grant, UpstreamGrant::AuthorizationCode)
    }
}

/// Whose access a token gives.
#[derive(Debug)]
pub enum UpstreamGrant {
    /// The gateway's own (RFC 6749, section 4.4); all callers share it.
    ClientCredentials,
    /// The caller's: a token about the caller, signed by the gateway, is exchanged (RFC 8693).
    TokenExchange,
    /// The caller's, with the consent of the organisation: an identity provider makes an assertion for the server's
    /// authorization server (Identity Assertion Authorization Grant), which gives the token (RFC 7523).
    IdentityAssertion {
        /// The gateway as a client of the identity provider.
        identity_provider: OauthClient,
    },
    /// The caller's: a person has consented once, by authorization code with PKCE, and the tokens are kept.
    AuthorizationCode,
}

/// What the gateway itself shows the server, which no caller has a part in: the list of tools.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OwnAccess {
    /// A token of its own by client credentials.
    ClientCredentials,
    /// Nothing: the server lets anyone list its tools.
    Nothing,
}

/// The gateway as a client of one authorization server.
#[derive(Debug)]
pub struct OauthClient {
    /// Where tokens are requested.
    pub place: TokenPlace,
    /// The gateway's name there.
    pub id: String,
    /// How the gateway proves itself there.
    pub key: ClientKey,
}

/// Where tokens are requested. A secret is sent there, so an upstream server alone never decides it.
#[derive(Debug)]
pub enum TokenPlace {
    /// This address, whatever anyone publishes.
    Endpoint {
        /// The token endpoint.
        endpoint: Address,
        /// The name of the authorization server; the audience of what the gateway signs for it. `None`: the endpoint.
        issuer: Option<String>,
    },
    /// Where this issuer says (RFC 8414, OpenID Connect Discovery 1.0). To the letter as it names itself.
    Issuer(String),
    /// Where the issuer says that the server names as its own (RFC 9728), if both have one origin.
    OfServer,
}

/// How the gateway proves itself as a client. What lies in a file is read with each request for a token, so that it can be
/// replaced while the gateway runs.
pub enum ClientKey {
    /// A shared secret in the `Authorization` field (`client_secret_basic`).
    Basic(SharedSecret),
    /// A shared secret in the body (`client_secret_post`).
    Post(SharedSecret),
    /// Nothing (`none`): whoever knows its name may say that it is this client. For codes with PKCE only.
    Public,
    /// A signed assertion (`private_key_jwt`, RFC 7523).
    PrivateKey {
        /// A private key in PEM (PKCS #8): Ed25519, P-256 or RSA.
        file: PathBuf,
        /// The name of the key at the authorization server.
        kid: Option<String>,
    },
}

/// The source of a shared secret.
pub enum SharedSecret {
    /// Here.
    Given(Secret<String>),
    /// In a file; one final line break is not part of it.
    File(PathBuf),
}

/// How, never what.
impl fmt::Debug for ClientKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Basic(_) => "client_secret_basic",
            Self::Post(_) => "client_secret_post",
            Self::Public => "none",
            Self::PrivateKey { .. } => "private_key_jwt",
        })
    }
}
