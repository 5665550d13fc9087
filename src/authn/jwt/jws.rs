//! The compact form of a signed token (RFC 7515 section 7.1), taken apart but not believed.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use crate::json;

const MAX_KID_BYTES: usize = 128;
/// Media types of tokens that are meant for an API (RFC 7519 section 5.1, RFC 9068); all others
/// (`logout+jwt`, `dpop+jwt`, …) say something else than "let me in".
const TYPES: [&str; 2] = ["jwt", "at+jwt"];

/// A fault of the token that is found before its signature is checked.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::authn) enum JwsError {
    #[error("a token has three parts with dots between")]
    Parts,
    #[error("a part is not unpadded, canonical base64url")]
    Encoding,
    #[error("the header is not a JSON object with each name once")]
    Header,
    #[error("the header field `{0}` is missing or has the wrong JSON type")]
    Field(&'static str),
    #[error("the header field `kid` is empty, has control characters, or more than 128 bytes")]
    Kid,
    #[error("the token has a `typ` that is not for an API")]
    Type,
    #[error("the header has `{0}`, which is not supported and must not be passed over")]
    Unsupported(&'static str),
}

impl JwsError {
    pub(in crate::authn) fn reason(&self) -> &'static str {
        match self {
            Self::Parts | Self::Encoding | Self::Header | Self::Field(_) | Self::Kid => "malformed",
            Self::Type => "wrong_type",
            Self::Unsupported(_) => "unsupported_header",
        }
    }
}

/// A token's parts, decoded.
#[derive(Debug)]
pub(in crate::authn) struct Compact<'a> {
    pub(in crate::authn) algorithm: String,
    pub(in crate::authn) kid: Option<String>,
    /// `typ` in short form and small letters.
    pub(in crate::authn) media_type: Option<String>,
    pub(in crate::authn) signing_input: &'a str,
    pub(in crate::authn) payload: Vec<u8>,
    pub(in crate::authn) signature: Vec<u8>,
}

impl<'a> Compact<'a> {
    /// An access token.
    pub(in crate::authn) fn parse(token: &'a str) -> Result<Self, JwsError> {
        Self::parse_as(token, &TYPES).map(|(token, _)| token)
    }

    /// A token that has one of these types in short form, or none; with its whole header.
    pub(in crate::authn) fn parse_as(
        token: &'a str,
        types: &[&str],
    ) -> Result<(Self, Map<String, Value>), JwsError> {
        let (signing_input, signature) = token.rsplit_once('.').ok_or(JwsError::Parts)?;
        let (header, payload) = signing_input.split_once('.').ok_or(JwsError::Parts)?;
        if payload.contains('.') || header.is_empty() || signature.is_empty() {
            return Err(JwsError::Parts);
        }
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| JwsError::Encoding);
        let header = json::parse_object(&decode(header)?).map_err(|_| JwsError::Header)?;
        check_extensions(&header)?;
        let media_type = media_type(&header, types)?;
        let token = Self {
            media_type,
            algorithm: text(&header, "alg")?.ok_or(JwsError::Field("alg"))?.to_owned(),
            kid: kid(&header)?.map(str::to_owned),
            signing_input,
            payload: decode(payload)?,
            signature: decode(signature)?,
        };
        Ok((token, header))
    }
}

fn text<'h>(header: &'h Map<String, Value>, name: &'static str) -> Result<Option<&'h str>, JwsError> {
    match header.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(JwsError::Field(name)),
    }
}

/// `crit` lists what must be understood (RFC 7515 section 4.1.11), and nothing is; `enc` and `zip` make it no JWS;
/// `b64` changes what was signed (RFC 7797). Key hints (`jku`, `jwk`, `x5u`, `x5c`) are not looked at: a key that
/// comes with the token proves nothing.
fn check_extensions(header: &Map<String, Value>) -> Result<(), JwsError> {
    match ["crit", "b64", "enc", "zip"].into_iter().find(|name| header.contains_key(*name)) {
        Some(name) => Err(JwsError::Unsupported(name)),
        None => Ok(()),
    }
}

/// Without `typ` a token is taken for `JWT`: many issuers leave it out, and issuer, audience and algorithm are
/// checked whatever it says.
fn media_type(header: &Map<String, Value>, types: &[&str]) -> Result<Option<String>, JwsError> {
    let Some(media_type) = text(header, "typ")? else { return Ok(None) };
    let media_type = media_type.to_ascii_lowercase();
    let short = media_type.strip_prefix("application/").unwrap_or(&media_type);
    if types.contains(&short) { Ok(Some(short.to_owned())) } else { Err(JwsError::Type) }
}

/// The `kid` of a token's header, to choose the verifier; it is not trusted.
pub(in crate::authn) fn kid_of(token: &str) -> Option<String> {
    let header = URL_SAFE_NO_PAD.decode(token.split('.').next()?).ok()?;
    let header = json::parse_object(&header).ok()?;
    kid(&header).ok()?.map(str::to_owned)
}

fn kid(header: &Map<String, Value>) -> Result<Option<&str>, JwsError> {
    match text(header, "kid")? {
        Some(kid) if !is_kid(kid) => Err(JwsError::Kid),
        kid => Ok(kid),
    }
}

/// Bounded, and nothing that plays games in a log.
pub(in crate::authn) fn is_kid(kid: &str) -> bool {
    !kid.is_empty() && kid.len() <= MAX_KID_BYTES && !kid.contains(char::is_control)
}
