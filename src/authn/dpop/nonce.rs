//! Values that a proof must hold to show that it was made a moment ago (RFC 9449, section 8).
//!
//! A nonce is the second in which it was given out, and an HMAC of it under a key that lives as long as the process. So
//! none is kept, and one of an earlier process proves nothing.

use aws_lc_rs::hmac::{self, HMAC_SHA256};
use aws_lc_rs::rand::SystemRandom;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::authn::AuthnError;

pub(super) struct Nonces {
    key: hmac::Key,
    lifetime: i64,
}

impl Nonces {
    /// `lifetime` is in seconds.
    pub(super) fn new(lifetime: i64) -> Result<Self, AuthnError> {
        let key = hmac::Key::generate(HMAC_SHA256, &SystemRandom::new()).map_err(|_| AuthnError::Random)?;
        Ok(Self { key, lifetime })
    }

    /// The one to give out at `now`, in seconds since the Unix epoch.
    pub(super) fn at(&self, now: i64) -> String {
        let second = now.to_be_bytes();
        let tag = hmac::sign(&self.key, &second);
        URL_SAFE_NO_PAD.encode([second.as_slice(), tag.as_ref()].concat())
    }

    /// Whether it was given out here, and not too long ago.
    pub(super) fn counts(&self, nonce: &str, now: i64) -> bool {
        let Ok(bytes) = URL_SAFE_NO_PAD.decode(nonce) else { return false };
        let Some((second, tag)) = bytes.split_first_chunk::<8>() else { return false };
        // Compares in constant time.
        let ours = hmac::verify(&self.key, second, tag).is_ok();
        let age = now.saturating_sub(i64::from_be_bytes(*second));
        ours && (0..self.lifetime).contains(&age)
    }
}
