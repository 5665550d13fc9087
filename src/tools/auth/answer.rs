//! What an authorization server answers to a request for a token, held to its bounds.

use std::time::Duration;

use http::HeaderValue;
use serde_json::{Map, Value as Json};
use tokio::time::Instant;

use super::error::TokenError;
use crate::secret::Secret;

/// The longest token: it goes into a header field.
const LONGEST_TOKEN: usize = 16 * 1024;
/// How long a token of unknown life is taken to count.
const UNKNOWN_LIFE: Duration = Duration::from_secs(300);
/// The longest that a token is kept, whatever its server says.
const LONGEST_LIFE: Duration = Duration::from_secs(24 * 3_600);
/// A token is renewed so long before its end, or after three quarters of its life.
const MARGIN: Duration = Duration::from_secs(60);

/// What kind of token is expected in an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expected {
    /// An access token, of a grant that has no other.
    AccessToken,
    /// An access token, of a token exchange, which says what it gives (RFC 8693, section 2.2.1).
    ExchangedToken,
    /// An assertion for another authorization server. It opens nothing by itself (`token_type` is `N_A`).
    IdentityAssertion,
}

/// A token of an answer.
pub(super) struct TokenAnswer {
    pub(super) token: Secret<String>,
    pub(super) life: Duration,
    /// The token for the next one, of a grant that has one.
    pub(super) refresh: Option<Secret<String>>,
}

pub(super) const TYPE_ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
pub(super) const TYPE_JWT: &str = "urn:ietf:params:oauth:token-type:jwt";
pub(super) const TYPE_ID_JAG: &str = "urn:ietf:params:oauth:token-type:id-jag";

impl TokenAnswer {
    pub(super) fn read(mut answer: Map<String, Json>, expected: Expected) -> Result<Self, TokenError> {
        let unusable = |why| Err(TokenError::Unusable(why));
        let Some(Json::String(token)) = answer.remove("access_token") else {
            return unusable("it has no `access_token`");
        };
        let token = Secret::new(token);
        let refresh = match answer.remove("refresh_token") {
            Some(Json::String(refresh)) => Some(Secret::new(refresh)),
            _ => None,
        };
        if refresh.as_ref().is_some_and(|refresh| refresh.expose().len() > LONGEST_TOKEN) {
            return unusable("its refresh token is too long");
        }
        if token.expose().is_empty() || token.expose().len() > LONGEST_TOKEN {
            return unusable("its token is empty or too long");
        }
        // RFC 6750, section 2.1: anything else could end the header field.
        if !token.expose().bytes().all(is_of_a_token) {
            return unusable("its token has characters that no token has");
        }
        let kind = answer.get("token_type").and_then(Json::as_str).unwrap_or_default();
        let given = answer.get("issued_token_type").and_then(Json::as_str);
        match expected {
            Expected::IdentityAssertion if given != Some(TYPE_ID_JAG) => {
                return unusable("it is no identity assertion authorization grant");
            }
            Expected::IdentityAssertion => {}
            _ if !kind.eq_ignore_ascii_case("bearer") => return unusable("its token is no bearer token"),
            Expected::ExchangedToken if !matches!(given, Some(TYPE_ACCESS_TOKEN | TYPE_JWT)) => {
                return unusable("its `issued_token_type` is no access token");
            }
            Expected::ExchangedToken | Expected::AccessToken => {}
        }
        let refresh = refresh.filter(|refresh| !refresh.expose().is_empty());
        Ok(Self { token, life: life(answer.get("expires_in"))?, refresh })
    }
}

/// The life of a token in an answer: between one second and a day, whatever it says.
fn life(seconds: Option<&Json>) -> Result<Duration, TokenError> {
    let seconds = match seconds {
        None | Some(Json::Null) => return Ok(UNKNOWN_LIFE),
        Some(Json::Number(number)) => number.as_u64(),
        // Some servers write it as a text.
        Some(Json::String(text)) => text.parse().ok(),
        Some(_) => None,
    };
    let seconds = seconds.ok_or(TokenError::Unusable("its `expires_in` is no number of seconds"))?;
    Ok(Duration::from_secs(seconds).clamp(Duration::from_secs(1), LONGEST_LIFE))
}

/// The characters of a bearer token (`b64token`).
fn is_of_a_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'+' | b'/' | b'=')
}

/// An access token as it is shown to a server.
#[derive(Debug)]
pub(in crate::tools) struct BearerToken {
    /// The `Authorization` field; marked, so that nothing prints it.
    pub(super) header: HeaderValue,
    /// From here on it is renewed.
    pub(super) renew_at: Instant,
    /// From here on it is not used.
    pub(super) ends_at: Instant,
}

impl BearerToken {
    /// `asked_at` is when the request for it was sent: its life began no earlier.
    pub(super) fn new(answer: &TokenAnswer, asked_at: Instant) -> Result<Self, TokenError> {
        let text = Secret::new(format!("Bearer {}", answer.token.expose()));
        let mut header = HeaderValue::from_str(text.expose())
            .map_err(|_| TokenError::Unusable("its token cannot be sent in a header field"))?;
        header.set_sensitive(true);
        let margin = MARGIN.min(answer.life / 4);
        Ok(Self {
            header,
            renew_at: asked_at + answer.life.saturating_sub(margin),
            ends_at: asked_at + answer.life,
        })
    }

    /// The field of a request.
    pub(in crate::tools) fn header(&self) -> HeaderValue {
        self.header.clone()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(answer: Json, expected: Expected) -> Result<TokenAnswer, TokenError> {
        TokenAnswer::read(answer.as_object().unwrap().clone(), expected)
    }

    #[test]
    fn only_a_bearer_token_that_fits_a_header_field_is_taken() {
        for (answer, fine) in [
            (json!({ "access_token": "aZ09-._~+/=", "token_type": "Bearer" }), true),
            (json!({ "access_token": "a", "token_type": "bearer", "scope": "less" }), true),
            (json!({ "access_token": "a" }), false),
            (json!({ "access_token": "a", "token_type": "DPoP" }), false),
            (json!({ "access_token": "", "token_type": "Bearer" }), false),
            (json!({ "access_token": "a\r\nx-admin: 1", "token_type": "Bearer" }), false),
            (json!({ "access_token": "a b", "token_type": "Bearer" }), false),
            (json!({ "access_token": "a".repeat(LONGEST_TOKEN + 1), "token_type": "Bearer" }), false),
            (json!({ "access_token": 1, "token_type": "Bearer" }), false),
            (json!({ "id_token": "a", "token_type": "Bearer" }), false),
        ] {
            assert_eq!(read(answer.clone(), Expected::AccessToken).is_ok(), fine, "{answer}");
        }
    }

    #[test]
    fn an_exchange_gives_what_was_asked_for() {
        let answer =
            |given: &str| json!({ "access_token": "a", "token_type": "Bearer", "issued_token_type": given });
        for (given, exchanged, assertion) in [
            (TYPE_ACCESS_TOKEN, true, false),
            (TYPE_JWT, true, false),
            (TYPE_ID_JAG, false, true),
            ("urn:ietf:params:oauth:token-type:refresh_token", false, false),
        ] {
            assert_eq!(read(answer(given), Expected::ExchangedToken).is_ok(), exchanged, "{given}");
            assert_eq!(read(answer(given), Expected::IdentityAssertion).is_ok(), assertion, "{given}");
        }
    }

    #[test]
    fn an_absurd_life_is_held_to_its_bounds() {
        let life = |value: Json| {
            let answer = json!({ "access_token": "a", "token_type": "Bearer", "expires_in": value });
            read(answer, Expected::AccessToken).map(|answer| answer.life.as_secs())
        };
        for (value, seconds) in [
            (json!(3600), 3_600),
            (json!("3600"), 3_600),
            (json!(0), 1),
            (json!(u64::MAX), 86_400),
            (json!(null), 300),
        ] {
            assert_eq!(life(value.clone()).unwrap(), seconds, "{value}");
        }
        for value in [json!(-1), json!(1e300), json!("soon"), json!("-5"), json!([1]), json!(true)] {
            assert!(life(value.clone()).is_err(), "{value}");
        }
    }

    #[test]
    fn a_token_is_renewed_before_its_end_and_not_shown() {
        let now = Instant::now();
        for (life, renewed) in [(3_600, 3_540), (100, 75), (1, 0)] {
            let token = Secret::new("hunter2".to_owned());
            let answer = TokenAnswer { token, life: Duration::from_secs(life), refresh: None };
            let bearer = BearerToken::new(&answer, now).unwrap();
            assert_eq!((bearer.renew_at - now).as_secs(), renewed);
            assert_eq!((bearer.ends_at - now).as_secs(), life);
            assert!(!format!("{bearer:?}").contains("hunter2"));
            assert_eq!(bearer.header(), "Bearer hunter2");
        }
    }
}
