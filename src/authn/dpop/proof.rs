//! A proof of possession (RFC 9449, section 4.2), taken apart: what it says, and the key that it brings with it.

use serde_json::{Map, Value};

use crate::authn::jwt::JwtAlgorithm;
use crate::authn::jwt::parts::{ClaimError, Compact, VerificationKey, date, holder_key, text};
use crate::authn::scheme::Refused;
use crate::json;
use crate::model::Thumbprint;

use super::METHOD;

/// A key of 8,192 bits and its signature, and little else.
const MAX_PROOF_BYTES: usize = 8 * 1024;
const TYPES: [&str; 1] = ["dpop+jwt"];

/// Not proven yet.
pub(in crate::authn) struct DpopProof<'a> {
    token: Compact<'a>,
    key: VerificationKey,
    pub(super) thumbprint: Thumbprint,
    claims: Map<String, Value>,
    /// `iat`, in seconds since the Unix epoch.
    pub(super) made: i64,
}

impl<'a> DpopProof<'a> {
    pub(super) fn parse(proof: &'a str, algorithms: &[JwtAlgorithm]) -> Result<Self, Refused> {
        if proof.len() > MAX_PROOF_BYTES {
            return Err(Refused::invalid(METHOD, "too_long"));
        }
        let (token, header) = Compact::parse_as(proof, &TYPES)
            .map_err(|error| Refused::invalid(METHOD, error.reason()).because(error))?;
        // Unlike a token it must say what it is: else a token of another kind, signed with the same key, would do.
        if token.media_type.is_none() {
            return Err(Refused::invalid(METHOD, "wrong_type"));
        }
        let algorithm = algorithms
            .iter()
            .copied()
            .filter(|algorithm| *algorithm != JwtAlgorithm::Hs256)
            .find(|algorithm| algorithm.as_str() == token.algorithm)
            .ok_or_else(|| Refused::invalid(METHOD, "wrong_algorithm"))?;
        let jwk = header.get("jwk").and_then(Value::as_object);
        let jwk = jwk.ok_or_else(|| Refused::invalid(METHOD, "malformed").because("`jwk` is no object"))?;
        let (key, thumbprint) = holder_key(jwk, algorithm)
            .map_err(|reason| Refused::invalid(METHOD, "unusable_key").because(reason))?;
        let claims = json::parse_object(&token.payload).map_err(|_| refuse(&ClaimError::Malformed))?;
        let made = date(&claims, "iat").and_then(|iat| iat.ok_or(ClaimError::Missing("iat")));
        Ok(Self { made: made.map_err(|error| refuse(&error))?, token, key, thumbprint, claims })
    }

    /// Whether the holder of the key has signed it.
    pub(super) fn check_signature(&self) -> Result<(), Refused> {
        if self.key.check(&self.token) { Ok(()) } else { Err(Refused::invalid(METHOD, "bad_signature")) }
    }

    /// A claim that must be there.
    pub(super) fn claim(&self, name: &'static str) -> Result<&str, Refused> {
        let found = text(&self.claims, name).and_then(|found| found.ok_or(ClaimError::Missing(name)));
        found.map_err(|error| refuse(&error))
    }

    /// The address that it is for. It may be longer than a name.
    pub(super) fn address(&self) -> Result<&str, Refused> {
        let found = self.claims.get("htu").ok_or_else(|| refuse(&ClaimError::Missing("htu")))?;
        found.as_str().ok_or_else(|| refuse(&ClaimError::Type("htu")))
    }

    /// A value of the gateway's, when it has one.
    pub(super) fn nonce(&self) -> Result<Option<&str>, Refused> {
        text(&self.claims, "nonce").map_err(|error| refuse(&error))
    }
}

fn refuse(error: &ClaimError) -> Refused {
    Refused::invalid(METHOD, error.reason()).because(error)
}
