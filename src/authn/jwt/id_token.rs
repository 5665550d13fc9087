//! ID tokens (OpenID Connect Core 1.0): proven by the same verifier as every other token, and then held to what makes
//! one an answer to *this* login: made for us, for this `nonce`, with this access token.
//!
//! An ID token is no credential: it comes straight from the provider's token endpoint to the gateway, and no other party's
//! is looked at.

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};
use subtle::ConstantTimeEq as _;
use tokio_util::sync::CancellationToken;

use super::{Settings, TokenVerifier, claims, jws, refuse_claim};
use crate::authn::oauth2::METHOD;
use crate::authn::scheme::{Refused, RefusedKind};
use crate::authn::{AuthnError, LoggedIn};
use crate::clock::SharedClock;
use crate::json;
use crate::model::Proof;
use crate::telemetry::Metrics;

/// Claims that only the ID token can state; those of the provider's userinfo endpoint are ignored for them.
pub(in crate::authn) const OF_TOKEN: [&str; 7] = ["iss", "sub", "aud", "exp", "nbf", "iat", "jti"];

/// The values that an ID token must match.
pub(in crate::authn) struct ExpectedIdToken<'a> {
    /// The `nonce` of the login; `None` where the protocol has no place for one (RFC 8628).
    pub(in crate::authn) nonce: Option<&'a str>,
    /// The access token that came with it.
    pub(in crate::authn) access_token: &'a str,
}

/// An ID token that was proven.
pub(in crate::authn) struct ProvenIdentity {
    claims: Map<String, Value>,
    key: Arc<str>,
}

impl ProvenIdentity {
    pub(in crate::authn) fn subject(&self) -> Option<&str> {
        self.claims.get("sub").and_then(Value::as_str)
    }

    /// Adds what the ID token does not say itself. What is null was not said.
    pub(in crate::authn) fn add(&mut self, more: Map<String, Value>) {
        let of_person =
            |(name, value): &(String, Value)| !OF_TOKEN.contains(&name.as_str()) && !value.is_null();
        for (name, value) in more.into_iter().filter(of_person) {
            self.claims.entry(name).or_insert(value);
        }
    }
}

/// Verifies the ID tokens of one provider for one client.
pub(in crate::authn) struct IdTokens {
    verifier: TokenVerifier,
}

impl IdTokens {
    /// `settings.audience` is the client's id.
    pub(in crate::authn) fn new(
        settings: Settings,
        clock: SharedClock,
        metrics: Arc<Metrics>,
    ) -> Result<Self, AuthnError> {
        Ok(Self { verifier: TokenVerifier::new(settings, clock, metrics)? })
    }

    /// Keeps the provider's keys fresh until `stop`.
    pub(in crate::authn) async fn follow_keys(&self, stop: &CancellationToken) {
        self.verifier.keys.follow(stop).await;
    }

    /// Whether ID tokens can be checked now, for the operator.
    pub(in crate::authn) fn status(&self) -> (bool, String) {
        self.verifier.keys.status()
    }

    /// Checks everything that an ID token must be (OpenID Connect Core 1.0, sections 3.1.3.7 and 3.1.3.8).
    pub(in crate::authn) fn prove(
        &self,
        text: &str,
        wanted: &ExpectedIdToken<'_>,
    ) -> Result<ProvenIdentity, Refused> {
        self.examine(text, wanted).map_err(|refused| Refused { method: METHOD, ..refused })
    }

    fn examine(&self, text: &str, wanted: &ExpectedIdToken<'_>) -> Result<ProvenIdentity, Refused> {
        let verifier = &self.verifier;
        if text.len() > verifier.max_token_bytes {
            return Err(Refused::invalid(METHOD, "too_long"));
        }
        let live = verifier.keys.current().map_err(|error| {
            Refused::new(RefusedKind::Unavailable, METHOD, "keys_unavailable").because(error)
        })?;
        let token = jws::Compact::parse(text).map_err(|e| Refused::invalid(METHOD, e.reason()).because(e))?;
        // An access token of the provider is meant for another audience (RFC 9068, section 2.1).
        if token.media_type.as_deref().is_some_and(|kind| kind != "jwt") {
            return Err(Refused::invalid(METHOD, "wrong_type"));
        }
        let key = live.ring.verify(&token).map_err(|error| verifier.refuse_key(error))?;
        let read = claims::read(&token.payload, &verifier.expected).map_err(refuse_claim)?;
        let now = verifier.clock.now_seconds();
        let leeway = verifier.expected.leeway_seconds;
        read.validity.check(now, leeway).map_err(refuse_claim)?;
        if read.validity.issued.is_none() {
            return Err(refuse_claim(claims::ClaimError::Missing("iat")));
        }
        let claims =
            json::parse_object(&token.payload).map_err(|_| refuse_claim(claims::ClaimError::Malformed))?;
        check_party(&claims, &verifier.expected.audience)?;
        check_nonce(&claims, wanted.nonce)?;
        check_access_token(&claims, wanted.access_token)?;
        Ok(ProvenIdentity { claims, key })
    }

    /// The person that the claims come to, read as those of any token.
    pub(in crate::authn) fn person(&self, proven: ProvenIdentity) -> Result<LoggedIn, Refused> {
        let refuse = |error| Refused { method: METHOD, ..refuse_claim(error) };
        let payload = Value::Object(proven.claims).to_string();
        let expected = &self.verifier.expected;
        let person =
            claims::read(payload.as_bytes(), expected).map_err(refuse)?.into_person(&expected.issuer);
        let subject = Arc::new(person.to_subject(Proof::Login { key: proven.key }));
        Ok(LoggedIn { subject, person, at_millis: self.verifier.clock.now_millis() })
    }
}

fn text<'c>(claims: &'c Map<String, Value>, name: &'static str) -> Result<Option<&'c str>, Refused> {
    match claims.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(refuse_claim(claims::ClaimError::Type(name))),
    }
}

/// Made for us and not for a client that shares our audience: of several audiences one is the party that asked.
fn check_party(claims: &Map<String, Value>, client: &str) -> Result<(), Refused> {
    let several = claims.get("aud").and_then(Value::as_array).is_some_and(|list| list.len() > 1);
    match text(claims, "azp")? {
        None if several => Err(refuse_claim(claims::ClaimError::Missing("azp"))),
        Some(party) if party != client => Err(refuse_claim(claims::ClaimError::Audience).because("`azp`")),
        _ => Ok(()),
    }
}

/// Without it a stolen ID token, or one of another login, could be put in the place of this login's.
fn check_nonce(claims: &Map<String, Value>, wanted: Option<&str>) -> Result<(), Refused> {
    let Some(wanted) = wanted else { return Ok(()) };
    let found = text(claims, "nonce")?.ok_or_else(|| refuse_claim(claims::ClaimError::Missing("nonce")))?;
    if bool::from(found.as_bytes().ct_eq(wanted.as_bytes())) {
        Ok(())
    } else {
        Err(Refused::invalid(METHOD, "wrong_nonce"))
    }
}

/// `at_hash`: the left half of the hash of the access token. All supported algorithms hash with SHA-256.
fn check_access_token(claims: &Map<String, Value>, access_token: &str) -> Result<(), Refused> {
    let Some(given) = text(claims, "at_hash")? else { return Ok(()) };
    let hash = digest(&SHA256, access_token.as_bytes());
    let half = hash.as_ref().get(..16).unwrap_or_default();
    if URL_SAFE_NO_PAD.encode(half) == given {
        Ok(())
    } else {
        Err(Refused::invalid(METHOD, "wrong_access_token"))
    }
}
