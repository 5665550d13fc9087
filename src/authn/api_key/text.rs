//! The text of an API key: `cax_live_` · 12 characters of id · `_` · 43 of secret · 6 of checksum, all base62.
//!
//! 43 characters of base62 are 256 bits. The prefix lets a secret scanner find keys, the checksum separates a typo or a
//! false find from a key without a look into the store. It guards against accidents only: the secret is what counts.

use aws_lc_rs::digest::{SHA256, digest};

use crate::authn::AuthnError;
use crate::model::KeyId;
use crate::secret::Secret;

const PREFIX: &str = "cax_live_";
const ID_LENGTH: usize = 12;
const SECRET_LENGTH: usize = 43;
const CHECKSUM_LENGTH: usize = 6;
const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Why a text is not an API key; known without looking anything up.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::authn) enum KeyTextError {
    #[error("the text does not have the shape of an api key")]
    Shape,
    #[error("the checksum of the api key does not fit: it was copied with a mistake")]
    Checksum,
}

impl KeyTextError {
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::Shape => "malformed",
            Self::Checksum => "bad_checksum",
        }
    }
}

/// A text that is shaped like a key and has the right checksum.
pub(in crate::authn) struct KeyText<'a> {
    pub(in crate::authn) id: KeyId,
    /// The whole text; what is hashed.
    pub(in crate::authn) whole: &'a str,
}

impl<'a> KeyText<'a> {
    pub(in crate::authn) fn parse(whole: &'a str) -> Result<Self, KeyTextError> {
        let (id, tail) =
            whole.strip_prefix(PREFIX).and_then(|rest| rest.split_once('_')).ok_or(KeyTextError::Shape)?;
        let is_base62 = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if id.len() != ID_LENGTH
            || tail.len() != SECRET_LENGTH + CHECKSUM_LENGTH
            || !is_base62(id)
            || !is_base62(tail)
        {
            return Err(KeyTextError::Shape);
        }
        let (body, sum) = whole.split_at_checked(whole.len() - CHECKSUM_LENGTH).ok_or(KeyTextError::Shape)?;
        if checksum(body) != sum {
            return Err(KeyTextError::Checksum);
        }
        Ok(Self { id: KeyId::parse(id).map_err(|_| KeyTextError::Shape)?, whole })
    }
}

/// A new key: its public id and its whole text.
pub(in crate::authn) fn random_key() -> Result<(KeyId, Secret<String>), AuthnError> {
    // Reserved at once, so that no copy of the secret is left behind by growing.
    let mut text = String::with_capacity(PREFIX.len() + ID_LENGTH + 1 + SECRET_LENGTH + CHECKSUM_LENGTH);
    text.push_str(PREFIX);
    let id_start = text.len();
    push_random(&mut text, ID_LENGTH)?;
    let id = KeyId::parse(text.get(id_start..).unwrap_or_default())?;
    text.push('_');
    push_random(&mut text, SECRET_LENGTH)?;
    let sum = checksum(&text);
    text.push_str(&sum);
    Ok((id, Secret::new(text)))
}

/// So many random base62 characters.
pub(in crate::authn) fn random_text(length: usize) -> Result<String, AuthnError> {
    let mut text = String::with_capacity(length);
    push_random(&mut text, length)?;
    Ok(text)
}

/// Uniform base62 characters: bytes from 248 up are thrown away, because 62 does not divide 256.
fn push_random(text: &mut String, count: usize) -> Result<(), AuthnError> {
    let mut missing = count;
    let mut bytes = [0_u8; 64];
    while missing > 0 {
        aws_lc_rs::rand::fill(&mut bytes).map_err(|_| AuthnError::Random)?;
        let fair = bytes.iter().filter(|byte| **byte < 248).take(missing);
        let characters = fair.filter_map(|byte| ALPHABET.get(usize::from(byte % 62)));
        let before = text.len();
        text.extend(characters.map(|character| char::from(*character)));
        missing -= text.len() - before;
    }
    zeroize::Zeroize::zeroize(&mut bytes);
    Ok(())
}

/// The first 32 bits of SHA-256 in base62, most significant digit first, six digits.
pub(in crate::authn) fn checksum(body: &str) -> String {
    let hash = digest(&SHA256, body.as_bytes());
    let mut rest = hash.as_ref().iter().take(4).fold(0_u32, |sum, byte| (sum << 8) | u32::from(*byte));
    let mut digits = [b'0'; CHECKSUM_LENGTH];
    for digit in digits.iter_mut().rev() {
        *digit = ALPHABET.get(rest as usize % 62).copied().unwrap_or(b'0');
        rest /= 62;
    }
    digits.iter().map(|digit| char::from(*digit)).collect()
}
