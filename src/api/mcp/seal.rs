//! Seals what a server of version 2026-07-28 hands to a client and gets back: the state between two rounds of one request, and the
//! name of a task.
//!
//! The client brings it back, and could bring it back changed, for another request, as somebody else, or years later. So the
//! client gets it encrypted and bound to the principal, to the request and to a time (AES-256-GCM, NIST SP 800-38D, with a
//! random nonce), under a key that lives as long as the process.

use std::time::Duration;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use crate::clock::SharedClock;

/// How long a client has for its answers.
const VALID: Duration = Duration::from_secs(10 * 60);

/// The key of this process.
pub(super) struct Seal {
    key: RandomizedNonceKey,
    clock: SharedClock,
}

/// No key can be made: the system has no randomness.
#[derive(Debug, thiserror::Error)]
#[error("no key for the state of requests can be made")]
pub struct NoRandomness;

/// The state is not one that this process sealed for this request of this principal, or is too old.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("`requestState` is not valid for this request; call again without it")]
pub(super) struct NotOurs;

#[derive(Serialize, Deserialize)]
struct Content {
    /// Milliseconds since the Unix epoch.
    until: i64,
    /// The server's own state.
    state: Option<String>,
}

impl Seal {
    pub(super) fn new(clock: SharedClock) -> Result<Self, NoRandomness> {
        let mut bytes = [0_u8; 32];
        aws_lc_rs::rand::fill(&mut bytes).map_err(|_| NoRandomness)?;
        let key = RandomizedNonceKey::new(&AES_256_GCM, &bytes).map_err(|_| NoRandomness)?;
        Ok(Self { key, clock })
    }

    /// The server's state, for the client. `binding` says whose request it belongs to.
    pub(super) fn close(&self, state: Option<String>, binding: &str) -> Option<String> {
        self.close_for(VALID, state, binding)
    }

    /// The same, valid for so long.
    pub(super) fn close_for(&self, valid: Duration, state: Option<String>, binding: &str) -> Option<String> {
        let valid = i64::try_from(valid.as_millis()).ok()?;
        let content = Content { until: self.clock.now_millis().saturating_add(valid), state };
        let mut bytes = serde_json::to_vec(&content).ok()?;
        let nonce = self.key.seal_in_place_append_tag(Aad::from(binding.as_bytes()), &mut bytes).ok()?;
        let mut sealed = nonce.as_ref().to_vec();
        sealed.extend_from_slice(&bytes);
        Some(BASE64_URL_SAFE_NO_PAD.encode(sealed))
    }

    /// The server's state in what a client brought back.
    pub(super) fn open(&self, sealed: &str, binding: &str) -> Result<Option<String>, NotOurs> {
        let mut bytes = BASE64_URL_SAFE_NO_PAD.decode(sealed).map_err(|_| NotOurs)?;
        let (nonce, sealed) = bytes.split_at_mut_checked(NONCE_LEN).ok_or(NotOurs)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| NotOurs)?;
        let aad = Aad::from(binding.as_bytes());
        let plain = self.key.open_in_place(nonce, aad, sealed).map_err(|_| NotOurs)?;
        let content: Content = crate::json::parse_as(plain).map_err(|_| NotOurs)?;
        if self.clock.now_millis() >= content.until {
            return Err(NotOurs);
        }
        Ok(content.state)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::clock::ManualClock;

    #[test]
    fn a_state_opens_for_its_request_unchanged_and_for_a_while() {
        let clock = Arc::new(ManualClock::at_millis(0));
        let seal = Seal::new(clock.clone()).unwrap();
        for state in [None, Some(String::new()), Some("{\"round\":1}".to_owned())] {
            let sealed = seal.close(state.clone(), "ann|tools/call|x").unwrap();
            assert!(!sealed.contains("round"));
            assert_eq!(seal.open(&sealed, "ann|tools/call|x"), Ok(state.clone()));
            assert_ne!(seal.close(state, "ann|tools/call|x").unwrap(), sealed);
            for binding in ["bob|tools/call|x", "ann|tools/call|y", ""] {
                assert_eq!(seal.open(&sealed, binding), Err(NotOurs), "{binding}");
            }
            for place in [0, 15, 16, sealed.len() - 1] {
                let mut other = sealed.clone().into_bytes();
                other[place] = if other[place] == b'A' { b'B' } else { b'A' };
                assert_eq!(seal.open(std::str::from_utf8(&other).unwrap(), "ann|tools/call|x"), Err(NotOurs));
            }
            assert_eq!(seal.open(&format!("{sealed}-TAMPERED"), "ann|tools/call|x"), Err(NotOurs));
            assert_eq!(Seal::new(clock.clone()).unwrap().open(&sealed, "ann|tools/call|x"), Err(NotOurs));
            clock.advance(VALID);
            assert_eq!(seal.open(&sealed, "ann|tools/call|x"), Err(NotOurs));
        }
        for text in ["", "a", "%", "AAAAAAAAAAAAAAAA"] {
            assert_eq!(seal.open(text, ""), Err(NotOurs), "{text}");
        }
    }
}
