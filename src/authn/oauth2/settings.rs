//! What the operator says about the login of people.

use std::path::PathBuf;
use std::time::Duration;

use reqwest::Url;

use crate::secret::Address;

use crate::authn::AuthnError;
use crate::authn::jwt::JwtAlgorithm;
use crate::authn::jwt::parts::{is_private, read_key_file};
use crate::secret::Secret;

/// The source of the gateway's client secret.
pub enum ClientSecret {
    /// Here.
    Given(Secret<String>),
    /// In a file; one final line break is not part of it.
    File(PathBuf),
}

impl ClientSecret {
    pub(super) fn read(&self) -> Result<Secret<String>, AuthnError> {
        let path = match self {
            Self::Given(secret) => return Ok(Secret::new(secret.expose().clone())),
            Self::File(path) => path,
        };
        let bytes = read_key_file(path)?;
        let text = std::str::from_utf8(bytes.expose()).map(|text| text.trim_end_matches(['\r', '\n']));
        match text {
            Ok(text) if !text.is_empty() && !text.contains(char::is_control) => {
                Ok(Secret::new(text.to_owned()))
            }
            _ => Err(AuthnError::Oauth2Setting {
                setting: "client_secret_file",
                reason: "the file does not hold one line of text",
            }),
        }
    }
}

/// What a provider speaks, and so what says who a person is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProviderKind {
    /// OpenID Connect: an ID token.
    OpenId,
    /// OAuth 2.0 alone: the answer of the userinfo endpoint.
    Custom {
        /// The field of the answer that has the person's id: text or a whole number, never given to another person.
        subject: String,
    },
}

/// The provider, and the gateway's credentials there. Configured addresses take precedence over those that the provider publishes.
pub struct Settings {
    /// What the provider speaks. Default OpenID Connect.
    pub kind: ProviderKind,
    /// The provider's name, to the letter as it stands in its tokens.
    pub issuer: String,
    /// The authorization endpoint.
    pub authorization_endpoint: Option<Address>,
    /// The token endpoint.
    pub token_endpoint: Option<Address>,
    /// The userinfo endpoint, called after each login; only when it is given. A provider with OAuth 2.0 alone has one.
    pub userinfo_endpoint: Option<Address>,
    /// The device authorization endpoint (RFC 8628).
    pub device_authorization_endpoint: Option<Address>,
    /// The provider's keys.
    pub jwks_uri: Option<Address>,
    /// Our name at the provider.
    pub client_id: String,
    /// Our secret at the provider; `None` for a public client.
    pub client_secret: Option<ClientSecret>,
    /// The redirect address, exactly as registered at the provider.
    pub redirect_uri: Url,
    /// The scopes that are requested; `openid` is always among them at an OpenID provider.
    pub scopes: Vec<String>,
    /// The one algorithm of ID tokens. Default RS256.
    pub algorithm: JwtAlgorithm,
    /// How far clocks may be apart; whole seconds. Default 5 s.
    pub leeway: Duration,
    /// How long a person may take to log in. Default 10 minutes.
    pub login_timeout: Duration,
    /// Logins under way at once. Default 1,000.
    pub max_logins: usize,
    /// Logins under way at once from one address. Default 20.
    pub max_logins_per_address: usize,
    /// Time for one answer of the provider. Default 10 s.
    pub timeout: Duration,
    /// The largest answer of the provider, in bytes. Default 256 KiB.
    pub max_bytes: usize,
    /// How long a session counts after its login, however much it is used. Default 12 hours.
    pub max_session: Duration,
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings")
            .field("issuer", &self.issuer)
            .field("client_id", &self.client_id)
            .finish_non_exhaustive()
    }
}

impl Settings {
    /// The usual bounds, for this provider, client and way back.
    pub fn new(issuer: impl Into<String>, client_id: impl Into<String>, redirect_uri: Url) -> Self {
        Self {
            kind: ProviderKind::OpenId,
            issuer: issuer.into(),
            authorization_endpoint: None,
            token_endpoint: None,
            userinfo_endpoint: None,
            device_authorization_endpoint: None,
            jwks_uri: None,
            client_id: client_id.into(),
            client_secret: None,
            redirect_uri,
            scopes: ["openid", "profile", "email"].map(str::to_owned).into(),
            algorithm: JwtAlgorithm::Rs256,
            leeway: Duration::from_secs(5),
            login_timeout: Duration::from_secs(600),
            max_logins: 1_000,
            max_logins_per_address: 20,
            timeout: Duration::from_secs(10),
            max_bytes: 256 * 1024,
            max_session: Duration::from_secs(12 * 3600),
        }
    }

    pub(super) fn check(&self) -> Result<(), AuthnError> {
        let refuse = |setting, reason| Err(AuthnError::Oauth2Setting { setting, reason });
        let issuer = Url::parse(&self.issuer);
        if !issuer.is_ok_and(|url| is_private(&url) && url.query().is_none() && url.fragment().is_none()) {
            return refuse(
                "issuer",
                "it is no `https` address (`http` on this host) without query and fragment",
            );
        }
        let endpoints = [
            &self.authorization_endpoint,
            &self.token_endpoint,
            &self.userinfo_endpoint,
            &self.device_authorization_endpoint,
            &self.jwks_uri,
        ];
        if endpoints.into_iter().flatten().any(|address| !is_private(address.expose()))
            || !is_private(&self.redirect_uri)
        {
            return refuse("an address", "codes and tokens would cross the network in the clear");
        }
        let needed = [&self.authorization_endpoint, &self.token_endpoint, &self.userinfo_endpoint];
        if self.kind != ProviderKind::OpenId && needed.into_iter().any(Option::is_none) {
            return refuse("an address", "a provider with OAuth 2.0 alone is not asked about itself");
        }
        if self.client_id.is_empty() {
            return refuse("client_id", "it is empty");
        }
        if self.algorithm == JwtAlgorithm::Hs256 {
            return refuse("id_token_algorithm", "a shared secret has no place in a key set");
        }
        if self.max_logins == 0 || self.max_logins_per_address == 0 {
            return refuse("max_logins", "it is 0");
        }
        Ok(())
    }
}
