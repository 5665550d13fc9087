//! `cnf`: whose key a token is bound to (RFC 7800, section 3.1).
//!
//! A binding that is not understood refuses the token: if it were ignored, every holder of a copy could use the token.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::claims::ClaimError;
use crate::model::{HolderKeys, Thumbprint};

const DPOP: &str = "jkt";
const CERTIFICATE: &str = "x5t#S256";

/// Reads the claim; a token without it is not bound to a key.
pub(in crate::authn) fn read(claim: Option<&Value>) -> Result<HolderKeys, ClaimError> {
    let Some(claim) = claim else { return Ok(HolderKeys::default()) };
    let members = claim.as_object().ok_or(ClaimError::Type("cnf"))?;
    if members.is_empty() || members.keys().any(|name| name != DPOP && name != CERTIFICATE) {
        return Err(ClaimError::Unsupported("cnf"));
    }
    Ok(HolderKeys { dpop: thumbprint(members, DPOP)?, certificate: thumbprint(members, CERTIFICATE)? })
}

fn thumbprint(members: &Map<String, Value>, name: &str) -> Result<Option<Thumbprint>, ClaimError> {
    let Some(value) = members.get(name) else { return Ok(None) };
    let text = value.as_str().ok_or(ClaimError::Type("cnf"))?;
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| ClaimError::Value("cnf"))?;
    bytes.try_into().map(Some).map_err(|_| ClaimError::Value("cnf"))
}

/// Writes the claim; none for a token that is not bound to a key.
pub(in crate::authn) fn write(holder: &HolderKeys) -> Option<Value> {
    let member = |name: &str, thumbprint: Option<Thumbprint>| {
        thumbprint.map(|bytes| (name.to_owned(), URL_SAFE_NO_PAD.encode(bytes).into()))
    };
    let members = [member(DPOP, holder.dpop), member(CERTIFICATE, holder.certificate)];
    let members: Map<String, Value> = members.into_iter().flatten().collect();
    (!members.is_empty()).then_some(Value::Object(members))
}
