//! The client that asks authorization servers. Every answer is bounded in size and time, no redirect is followed (it would
//! carry a secret to a host that nobody configured), and no proxy is taken from the environment.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, StatusCode, header};
use reqwest::{Client, Url};
use serde_json::{Map, Value as Json};

use super::error::TokenError;
use crate::json;
use crate::secret::Address;
use crate::text::one_line;

/// The most bytes of one answer: metadata and tokens have a few thousand.
const LARGEST_ANSWER: usize = 64 * 1024;
/// The most characters of an error code.
const LONGEST_CODE: usize = 64;

/// Asks authorization servers.
#[derive(Debug, Clone)]
pub(super) struct TokenHttp(Client);

impl TokenHttp {
    /// `limit` is the time for one answer.
    pub(super) fn new(limit: Duration) -> Result<Self, TokenError> {
        let client = Client::builder()
            .timeout(limit)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .user_agent(concat!("caxton/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| TokenError::Client(error.without_url()))?;
        Ok(Self(client))
    }

    /// Metadata; `None` where there is none.
    pub(super) async fn metadata(&self, url: Url) -> Result<Option<Map<String, Json>>, TokenError> {
        let request = self.0.get(url.clone()).header(header::ACCEPT, "application/json");
        let (status, body) = read(&Address::new(url), request).await?;
        match status {
            StatusCode::OK => json::parse_object(&body)
                .map(Some)
                .map_err(|_| TokenError::Unusable("its metadata is no JSON object")),
            // A server that wants credentials for every path, or has no such file.
            status if status.is_client_error() => Ok(None),
            status => Err(TokenError::Status(status.as_u16())),
        }
    }

    /// Sends a form, and gives the JSON object of a good answer.
    pub(super) async fn post(
        &self,
        endpoint: &Address,
        form: &[(&str, &str)],
        authorization: Option<HeaderValue>,
    ) -> Result<Map<String, Json>, TokenError> {
        let (status, body) = self.send(endpoint, form, authorization).await?;
        match status {
            StatusCode::OK => {
                json::parse_object(&body).map_err(|_| TokenError::Unusable("it is no JSON object"))
            }
            status => Err(refused(status, &body)),
        }
    }

    /// Sends a form whose good answer says nothing (RFC 7009, section 2.2).
    pub(super) async fn post_for_nothing(
        &self,
        endpoint: &Address,
        form: &[(&str, &str)],
        authorization: Option<HeaderValue>,
    ) -> Result<(), TokenError> {
        let (status, body) = self.send(endpoint, form, authorization).await?;
        if status.is_success() { Ok(()) } else { Err(refused(status, &body)) }
    }

    async fn send(
        &self,
        endpoint: &Address,
        form: &[(&str, &str)],
        authorization: Option<HeaderValue>,
    ) -> Result<(StatusCode, Vec<u8>), TokenError> {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        headers.extend(authorization.map(|value| (header::AUTHORIZATION, value)));
        let request = self.0.post(endpoint.expose().clone()).headers(headers).body(encode(form));
        read(endpoint, request).await
    }
}

/// What an answer that is not good says: an error code of RFC 6749, section 5.2, or its status alone.
fn refused(status: StatusCode, body: &[u8]) -> TokenError {
    let answer = json::parse_object(body).ok().filter(|_| status.is_client_error());
    let code = answer.as_ref().and_then(|answer| answer.get("error")).and_then(Json::as_str);
    code.map_or(TokenError::Status(status.as_u16()), |code| TokenError::Refused(plain(code)))
}

async fn read(
    address: &Address,
    request: reqwest::RequestBuilder,
) -> Result<(StatusCode, Vec<u8>), TokenError> {
    let failed = |error: reqwest::Error| TokenError::NoAnswer(address.hide_in(&error.without_url()));
    let mut response = request.send().await.map_err(failed)?;
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(failed)? {
        if body.len().saturating_add(chunk.len()) > LARGEST_ANSWER {
            return Err(TokenError::TooLarge(LARGEST_ANSWER));
        }
        body.extend_from_slice(&chunk);
    }
    Ok((response.status(), body))
}

/// The error code as it may stand in a log: it is the other side's word.
fn plain(code: &str) -> String {
    let code: String = code.chars().filter(char::is_ascii_graphic).collect();
    one_line(&code, LONGEST_CODE)
}

/// A form as a body (`application/x-www-form-urlencoded`).
fn encode(form: &[(&str, &str)]) -> String {
    let mut body = String::new();
    for (name, value) in form {
        if !body.is_empty() {
            body.push('&');
        }
        body.push_str(&percent(name));
        body.push('=');
        body.push_str(&percent(value));
    }
    body
}

/// A word of a form. What is not a letter, digit, `-`, `.` or `_` is written in hexadecimal.
pub(super) fn percent(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'-' | b'.' | b'_' => encoded.push(char::from(byte)),
            _ => {
                encoded.push('%');
                encoded.push_str(&hex::encode_upper([byte]));
            }
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_holds_any_value_as_one_value() {
        let form = encode(&[("scope", "a b"), ("secret", "x&client_id=evil+%\u{e9}~*")]);
        assert_eq!(form, "scope=a%20b&secret=x%26client_id%3Devil%2B%25%C3%A9%7E%2A");
        let mut url = Url::parse("http://h/").unwrap();
        url.set_query(Some(&form));
        let read: Vec<_> = url.query_pairs().map(|(_, value)| value.into_owned()).collect();
        assert_eq!(read, ["a b", "x&client_id=evil+%\u{e9}~*"]);
    }

    #[test]
    fn an_error_code_has_no_line_breaks_and_an_end() {
        assert_eq!(plain("invalid_client\r\nlevel=ERROR"), "invalid_clientlevel=ERROR");
        assert!(plain(&"x".repeat(10_000)).len() <= LONGEST_CODE + 3);
    }
}
