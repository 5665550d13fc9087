//! Bearer tokens (RFC 7519) from an issuer that the operator trusts.
//!
//! What decides is the configuration, never the token: which key, with which algorithm, from which issuer, for
//! which audience. The token's header may only fail to match. Every claim that the decision rests on must be
//! there and have its right JSON type; a library's lenient reading of claims is not used.
//!
//! A token that was proven once is remembered by its SHA-256, so that its signature is not checked again; its
//! times are checked on every use.

mod cache;
mod claims;
mod confirmation;
mod id_token;
mod jwk;
mod jws;
mod key;
#[cfg(test)]
mod provider_tests;
mod settings;
mod source;
#[cfg(test)]
mod source_tests;
#[cfg(test)]
pub(super) mod testing;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod wycheproof_tests;

/// What the gateway's own tokens are read with as well.
pub(super) mod parts {
    pub(in crate::authn) use super::cache::{Cache, Ends, TokenDigest};
    pub(in crate::authn) use super::claims::{ClaimError, Expected, Validity, date, read, text};
    pub(in crate::authn) use super::confirmation::write as confirmation;
    pub(in crate::authn) use super::id_token::{ExpectedIdToken, IdTokens, OF_TOKEN};
    pub(in crate::authn) use super::jwk::holder_key;
    pub(in crate::authn) use super::jws::{Compact, kid_of};
    pub(in crate::authn) use super::key::{VerificationKey, parse, read as read_key_file};
    pub(in crate::authn) use super::settings::is_private;
}

use std::sync::Arc;

use http::{HeaderMap, header};
use tokio_util::sync::CancellationToken;

use self::cache::{Cache, VerifiedToken};
use self::claims::Expected;
use self::key::KeyError;
use self::source::IssuerKeys;
pub use self::source::{KeyDraft, KeyFiles};
use super::AuthnError;
use super::scheme::{Refused, RefusedKind};
use super::tokens::Tokens;
use crate::clock::SharedClock;
use crate::model::{HolderKeys, Proof, Subject};
use crate::telemetry::Metrics;

pub use self::cache::TokenDigest;
pub use self::jwk::JwkError;
pub use self::settings::{JwksPlace, JwksUrl, JwtAlgorithm, JwtKey, KeyMaterial, Settings};

pub(super) const METHOD: &str = "jwt";

/// `Authorization: Bearer …` or `DPoP …`: a token of our own, or of the issuer that the operator trusts.
#[derive(Debug)]
pub(super) struct JwtScheme {
    issuer: Option<TokenVerifier>,
    own: Arc<Tokens>,
}

impl JwtScheme {
    pub(super) fn new(
        settings: Option<Settings>,
        own: Arc<Tokens>,
        clock: SharedClock,
        metrics: Arc<Metrics>,
    ) -> Result<Self, AuthnError> {
        let issuer = settings.map(|settings| TokenVerifier::new(settings, clock, metrics)).transpose()?;
        Ok(Self { issuer, own })
    }

    /// Keeps fetched keys fresh until `stop`.
    pub(super) async fn follow_keys(&self, stop: &CancellationToken) {
        if let Some(verifier) = &self.issuer {
            verifier.keys.follow(stop).await;
        }
    }

    /// Whether tokens of the issuer can be checked; `None` when none count.
    pub(super) fn status(&self) -> Option<(bool, String)> {
        self.issuer.as_ref().map(|verifier| verifier.keys.status())
    }

    /// The keys that lie in files; `None` when there are none.
    pub(super) fn key_files(&self) -> Option<KeyFiles> {
        self.issuer.as_ref().and_then(|verifier| KeyFiles::of(&verifier.keys))
    }

    pub(super) fn presents(&self, headers: &HeaderMap) -> bool {
        headers.contains_key(header::AUTHORIZATION)
    }

    /// The token of the request, proven but for what its holder has to prove.
    pub(super) async fn examine<'h>(&self, headers: &'h HeaderMap) -> Result<Option<Token<'h>>, Refused> {
        let mut values = headers.get_all(header::AUTHORIZATION).iter();
        match (values.next(), values.next()) {
            (None, _) => Ok(None),
            (Some(_), Some(_)) => Err(Refused::invalid(METHOD, "repeated_header")),
            (Some(value), None) => {
                let (with_proof, text) = presented(value)?;
                let (subject, holder) = self.verify(text).await?;
                Ok(Some(Token { text, subject, holder, with_proof }))
            }
        }
    }

    async fn verify(&self, token: &str) -> Result<(Arc<Subject>, HolderKeys), Refused> {
        // Before anything is hashed, decoded or parsed; each issuer has its own bound below this one.
        let longest = self.issuer.as_ref().map_or(0, |issuer| issuer.max_token_bytes);
        if token.len() > longest.max(self.own.longest()) {
            return Err(Refused::invalid(METHOD, "too_long"));
        }
        let digest = TokenDigest::of(token);
        // Whose a token is that was proven before need not be read off it again.
        let proven = self.issuer.as_ref().filter(|issuer| issuer.cache.knows(&digest));
        if proven.is_none() && Tokens::claims_to_be_ours(token) {
            return self.own.examine(token, digest).await;
        }
        let Some(issuer) = &self.issuer else { return Err(Refused::invalid(METHOD, "not_enabled")) };
        let known = issuer.prove(token, digest)?;
        let jti = match known.subject.proof() {
            Proof::Jwt { jti, .. } => jti.as_deref(),
            Proof::ApiKey { .. }
            | Proof::Certificate { .. }
            | Proof::Login { .. }
            | Proof::Session { .. }
            | Proof::Internal => None,
        };
        // `iat` counts whole seconds, and the issuer's clock may be ahead of ours as far as it is tolerated: what may have
        // been made before a revocation is refused, though its `iat` lies after it.
        let made = known
            .validity
            .issued
            .map(|seconds| seconds.saturating_sub(issuer.expected.leeway_seconds).saturating_mul(1000));
        self.own.check_revoked(&digest, jti, &known.subject, (made, METHOD)).await?;
        Ok((known.subject, known.holder))
    }
}

/// Reads bytes as a key set and as a token, and believes neither: for fuzzing.
pub(crate) fn read_untrusted(bytes: &[u8]) {
    use JwtAlgorithm::{EdDsa, Es256, Hs256, Rs256};
    for algorithm in [Rs256, Es256, EdDsa, Hs256] {
        // Neither outcome is a fault.
        let _ = jwk::read(bytes, algorithm);
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = jws::Compact::parse(text);
    }
}

/// A token whose signature and claims hold, as it was presented.
pub(super) struct Token<'h> {
    pub(super) text: &'h str,
    pub(super) subject: Arc<Subject>,
    /// The keys that its holder has to prove as well.
    pub(super) holder: HolderKeys,
    /// Whether it came with the scheme `DPoP`.
    pub(super) with_proof: bool,
}

/// The token in `Bearer <token>` (RFC 6750, section 2.1) or `DPoP <token>` (RFC 9449, section 7.1), and whether it is the
/// second; the scheme's case does not matter (RFC 9110).
fn presented(value: &header::HeaderValue) -> Result<(bool, &str), Refused> {
    let text = value.to_str().map_err(|_| Refused::invalid(METHOD, "malformed"))?;
    match text.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => {
            Ok((false, token.trim_start_matches(' ')))
        }
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("dpop") => {
            Ok((true, token.trim_start_matches(' ')))
        }
        _ => Err(Refused::invalid(METHOD, "unsupported_scheme")),
    }
}

/// Checks tokens against settings that were checked themselves.
struct TokenVerifier {
    keys: Arc<IssuerKeys>,
    expected: Expected,
    max_token_bytes: usize,
    cache: Cache<VerifiedToken>,
    clock: SharedClock,
}

impl std::fmt::Debug for TokenVerifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Verifier").field("expected", &self.expected).finish_non_exhaustive()
    }
}

impl TokenVerifier {
    fn new(settings: Settings, clock: SharedClock, metrics: Arc<Metrics>) -> Result<Self, AuthnError> {
        settings.check()?;
        Ok(Self {
            keys: Arc::new(IssuerKeys::load(settings.keys, settings.jwks, Arc::clone(&clock), metrics)?),
            expected: Expected {
                issuer: settings.issuer,
                audience: settings.audience,
                resources: settings.resources,
                leeway_seconds: i64::try_from(settings.leeway.as_secs()).unwrap_or(0),
                delegated: settings.delegated,
            },
            max_token_bytes: settings.max_token_bytes,
            cache: Cache::new(settings.cache_entries),
            clock,
        })
    }

    #[cfg(test)]
    fn verify(&self, token: &str) -> Result<Arc<Subject>, Refused> {
        self.prove(token, TokenDigest::of(token)).map(|known| known.subject)
    }

    fn prove(&self, token: &str, digest: TokenDigest) -> Result<VerifiedToken, Refused> {
        if token.len() > self.max_token_bytes {
            return Err(Refused::invalid(METHOD, "too_long"));
        }
        let live = self.keys.current().map_err(|error| {
            Refused::new(RefusedKind::Unavailable, METHOD, "keys_unavailable").because(error)
        })?;
        let now = self.clock.now_seconds();
        if let Some(known) = self.cache.find(&digest).filter(|known| known.generation == live.generation) {
            known.validity.check(now, self.expected.leeway_seconds).map_err(refuse_claim)?;
            return Ok(known);
        }
        let verified = self.verify_afresh(token, &live, now)?;
        let oldest = now.saturating_sub(self.expected.leeway_seconds);
        self.cache.remember(digest, verified.clone(), oldest);
        Ok(verified)
    }

    fn verify_afresh(
        &self,
        token: &str,
        live: &source::LiveKeys,
        now: i64,
    ) -> Result<VerifiedToken, Refused> {
        let token =
            jws::Compact::parse(token).map_err(|e| Refused::invalid(METHOD, e.reason()).because(e))?;
        let key = live.ring.verify(&token).map_err(|error| self.refuse_key(error))?;
        let claims =
            claims::read(&token.payload, &self.expected).map_err(|error| self.refuse_party(error))?;
        claims.validity.check(now, self.expected.leeway_seconds).map_err(refuse_claim)?;
        Ok(VerifiedToken {
            validity: claims.validity,
            holder: claims.holder,
            subject: Arc::new(claims.into_subject(&self.expected.issuer, key)),
            generation: live.generation,
        })
    }

    /// Of a token from elsewhere, or for elsewhere, the operator learns which setting says where it has to be from and for. It is
    /// signed by the right key: a caller that guesses learns nothing by it, and is told nothing.
    fn refuse_party(&self, error: claims::ClaimError) -> Refused {
        use claims::ClaimError::{Audience, Issuer, Missing};
        let (issuer, audience) = (&self.expected.issuer, &self.expected.audience);
        let (reason, setting, value) = match error {
            Missing("iss") => ("issuer_missing", "jwt_issuer", issuer),
            Issuer => (error.reason(), "jwt_issuer", issuer),
            Missing("aud") => ("audience_missing", "jwt_audience", audience),
            Audience => (error.reason(), "jwt_audience", audience),
            _ => return refuse_claim(error),
        };
        let detail = format!("{error}: `security.authentication.{setting}` is `{value}`");
        Refused { reason, ..refuse_claim(error).because(detail) }
    }

    /// An unknown key may be the issuer's next one, so its callers are not blocked.
    fn refuse_key(&self, error: KeyError) -> Refused {
        let kind = match error {
            KeyError::Unknown if self.keys.unknown_kid() => RefusedKind::Unavailable,
            KeyError::Unknown | KeyError::Algorithm | KeyError::Signature => RefusedKind::Invalid,
        };
        Refused::new(kind, METHOD, error.reason()).because(error)
    }
}

/// Whether an issuer with these settings would let the token in.
#[cfg(test)]
pub(super) fn accepts_for_test(
    settings: Settings,
    clock: SharedClock,
    metrics: Arc<Metrics>,
    token: &str,
) -> bool {
    TokenVerifier::new(settings, clock, metrics).is_ok_and(|verifier| verifier.verify(token).is_ok())
}

fn refuse_claim(error: claims::ClaimError) -> Refused {
    let kind = match error {
        claims::ClaimError::Expired => RefusedKind::Expired,
        _ => RefusedKind::Invalid,
    };
    Refused::new(kind, METHOD, error.reason()).because(error)
}
