//! The text of a refresh token: `cax_rt_` · 43 characters of secret · 6 of checksum.
//!
//! The first of a session is random. Each successor is an HMAC of the one before under the server's pepper, so that the
//! same token always leads to the same successor: an answer that got lost can be given again, also after a crash,
//! without any token being kept. What is stored is a hash, again under the pepper.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::port::RefreshHash;
use crate::authn::AuthnError;
use crate::authn::api_key::{Pepper, checksum};
use crate::secret::Secret;

const PREFIX: &str = "cax_rt_";
const SECRET_LENGTH: usize = 43;
const CHECKSUM_LENGTH: usize = 6;

/// A text that is shaped like a refresh token and has the right checksum.
pub(super) struct RefreshText(Secret<String>);

impl RefreshText {
    /// The first of a session.
    pub(super) fn random() -> Result<Self, AuthnError> {
        let mut bytes = [0_u8; 32];
        aws_lc_rs::rand::fill(&mut bytes).map_err(|_| AuthnError::Random)?;
        let text = Self::of(&bytes);
        zeroize::Zeroize::zeroize(&mut bytes);
        Ok(text)
    }

    /// The one that follows this one.
    pub(super) fn successor(&self, pepper: &Pepper) -> Self {
        Self::of(&pepper.hash(&format!("refresh-successor\0{}", self.0.expose())))
    }

    fn of(secret: &[u8; 32]) -> Self {
        let mut text = String::with_capacity(PREFIX.len() + SECRET_LENGTH + CHECKSUM_LENGTH);
        text.push_str(PREFIX);
        URL_SAFE_NO_PAD.encode_string(secret, &mut text);
        let sum = checksum(&text);
        text.push_str(&sum);
        Self(Secret::new(text))
    }

    /// Reads one; `None` when it has not the shape or was copied with a mistake.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let secret = text.strip_prefix(PREFIX)?;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if secret.len() != SECRET_LENGTH + CHECKSUM_LENGTH || !secret.bytes().all(plain) {
            return None;
        }
        let (body, sum) = text.split_at_checked(text.len() - CHECKSUM_LENGTH)?;
        (checksum(body) == sum).then(|| Self(Secret::new(text.to_owned())))
    }

    pub(super) fn hash(&self, pepper: &Pepper) -> RefreshHash {
        pepper.hash(&format!("refresh\0{}", self.0.expose()))
    }

    pub(super) fn into_secret(self) -> Secret<String> {
        self.0
    }
}
