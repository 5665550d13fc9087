//! Proofs that the caller holds the key to which a token is bound (DPoP, RFC 9449): a stolen copy of the token alone
//! opens nothing.
//!
//! A proof is a small token that the caller signs for one request: its method, its address, the moment, and the access
//! token that it goes with. The key comes with it and proves nothing by itself; it counts when the token says its
//! thumbprint. Each proof serves once.
//!
//! A proof is looked at after the other credentials hold, so that a stranger can neither have signatures checked nor
//! fill the table of used ones. That table dies with the process: a proof that an earlier process may have seen has to
//! hold a nonce of this one.

mod nonce;
mod proof;
mod replay;
mod settings;
mod target;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderName, Method};

use self::nonce::Nonces;
pub(super) use self::proof::DpopProof;
pub use self::replay::LocalReplays;
use super::jwt::parts::TokenDigest;
use super::scheme::{Evidence, Refused, RefusedKind};
use super::{AuthnError, jwt, mtls};
use crate::clock::SharedClock;
use crate::model::{HolderKeys, Subject, Thumbprint};
use crate::shared_state::{NotFresh, ProofId, ReplayTable};

pub use self::settings::Settings;

pub(super) const METHOD: &str = "dpop";
const HEADER: HeaderName = HeaderName::from_static("dpop");
const NONCE_REQUIRED: &str = "nonce_required";

/// Judges proofs.
pub(super) struct DpopProofs {
    settings: Settings,
    nonces: Nonces,
    replays: Arc<dyn ReplayTable>,
    /// When this process began, in seconds since the Unix epoch.
    began: i64,
    clock: SharedClock,
}

impl std::fmt::Debug for DpopProofs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Proofs").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl DpopProofs {
    pub(super) fn new(
        settings: Settings,
        replays: Arc<dyn ReplayTable>,
        clock: SharedClock,
    ) -> Result<Self, AuthnError> {
        Ok(Self {
            nonces: Nonces::new(seconds(settings.nonce_lifetime))?,
            replays,
            began: clock.now_seconds(),
            settings,
            clock,
        })
    }

    /// The key that the caller has proven to hold, when the request has a proof. It goes with the access `token`, if there
    /// is one; a token that is bound must be bound to this very key.
    pub(super) async fn examine(
        &self,
        evidence: &Evidence<'_>,
        token: Option<(&str, Option<Thumbprint>)>,
        subject: &Subject,
    ) -> Result<Option<Thumbprint>, Refused> {
        match self.check(evidence, token)? {
            Some(proof) => self.spend(&proof, subject).await.map(Some),
            None => Ok(None),
        }
    }

    /// A proof that holds for this request, if there is one. It counts when it is spent.
    pub(super) fn check<'e>(
        &self,
        evidence: &Evidence<'e>,
        token: Option<(&str, Option<Thumbprint>)>,
    ) -> Result<Option<DpopProof<'e>>, Refused> {
        let mut values = evidence.headers.get_all(HEADER).iter();
        let value = match (values.next(), values.next()) {
            (None, _) => return Ok(None),
            // Section 4.3: there is not more than one. The other may be an attacker's.
            (Some(_), Some(_)) => return Err(Refused::invalid(METHOD, "repeated_header")),
            (Some(value), None) => value.to_str().map_err(|_| Refused::invalid(METHOD, "malformed"))?,
        };
        let proof = DpopProof::parse(value, &self.settings.algorithms)?;
        let (token, bound) = token.unzip();
        // Before the signature, which costs more.
        if bound.flatten().is_some_and(|bound| bound != proof.thumbprint) {
            return Err(Refused::invalid(METHOD, "wrong_key"));
        }
        proof.check_signature()?;
        check_request(&proof, evidence.method, evidence.address)?;
        if let Some(token) = token
            && proof.claim("ath")? != URL_SAFE_NO_PAD.encode(TokenDigest::of(token).bytes())
        {
            return Err(Refused::invalid(METHOD, "wrong_token"));
        }
        self.check_time(&proof)?;
        Ok(Some(proof))
    }

    /// A proof of now, and not of an earlier life of the gateway, which knew what it had seen.
    fn check_time(&self, proof: &DpopProof<'_>) -> Result<(), Refused> {
        let now = self.clock.now_seconds();
        let leeway = seconds(self.settings.leeway);
        if proof.made > now.saturating_add(leeway) {
            return Err(Refused::invalid(METHOD, "not_yet_valid"));
        }
        if proof.made <= now.saturating_sub(seconds(self.settings.max_age)) {
            return Err(Refused::new(RefusedKind::Expired, METHOD, "expired"));
        }
        let may_be_seen = proof.made <= self.began.saturating_add(leeway);
        match proof.nonce()? {
            Some(nonce) if self.nonces.counts(nonce, now) => Ok(()),
            None if !self.settings.require_nonce && !may_be_seen => Ok(()),
            // No guess, and nothing that failed before: not counted against the address.
            Some(_) | None => Err(Refused::new(RefusedKind::Missing, METHOD, NONCE_REQUIRED)),
        }
    }

    /// Takes note of the proof, which serves once.
    pub(super) async fn spend(
        &self,
        proof: &DpopProof<'_>,
        subject: &Subject,
    ) -> Result<Thumbprint, Refused> {
        let mut id = Context::new(&SHA256);
        id.update(&proof.thumbprint);
        id.update(proof.claim("jti")?.as_bytes());
        let mut bytes = ProofId::default();
        bytes.copy_from_slice(id.finish().as_ref());
        let end = proof.made.saturating_add(seconds(self.settings.max_age));
        let principal = subject.principal().to_string();
        let unavailable = |reason| Refused::new(RefusedKind::Unavailable, METHOD, reason);
        match self.replays.take(bytes, &principal, end, self.clock.now_seconds()).await {
            Ok(Ok(())) => Ok(proof.thumbprint),
            Ok(Err(NotFresh::Used)) => Err(Refused::invalid(METHOD, "replayed")),
            Ok(Err(NotFresh::Full)) => Err(unavailable("too_many_proofs")),
            Err(why) => Err(unavailable("state_unavailable").because(why)),
        }
    }

    /// The challenge for a refused caller (section 7.1); `refused` only when it came with one, or should have.
    pub(super) fn challenge(&self, refused: &Refused) -> Challenge {
        let error = match (refused.method, refused.reason) {
            (METHOD, NONCE_REQUIRED) => Some("use_dpop_nonce"),
            (METHOD, "required" | "not_bound" | "wrong_token") => Some("invalid_token"),
            (METHOD, _) => Some("invalid_dpop_proof"),
            _ => None,
        };
        let names: Vec<&str> = self.settings.algorithms.iter().map(|algorithm| algorithm.as_str()).collect();
        let error_text = error.map_or_else(String::new, |error| format!(", error=\"{error}\""));
        let nonce = (error == Some("use_dpop_nonce")).then(|| self.nonces.at(self.clock.now_seconds()));
        let text = format!("DPoP algs=\"{}\"{error_text}", names.join(" "));
        Challenge { text, nonce, of_proof: error.is_some() }
    }

    /// The nonce for the caller's next request, when each needs one.
    pub(super) fn next_nonce(&self) -> Option<String> {
        self.settings.require_nonce.then(|| self.nonces.at(self.clock.now_seconds()))
    }
}

/// How a caller may prove that it holds the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    /// For `WWW-Authenticate`.
    pub text: String,
    /// For `DPoP-Nonce`, when the next proof needs it.
    pub nonce: Option<String>,
    /// Whether it was the proof that did not hold.
    pub of_proof: bool,
}

/// A proof for one request does for no other.
fn check_request(proof: &DpopProof<'_>, method: &Method, address: Option<&str>) -> Result<(), Refused> {
    if proof.claim("htm")? != method.as_str() {
        return Err(Refused::invalid(METHOD, "wrong_method"));
    }
    let Some(called) = address.and_then(target::normal) else {
        let why =
            "it is not certain under which address the caller reached this gateway: set `server.public_url`";
        return Err(Refused::new(RefusedKind::Unavailable, METHOD, "no_address").because(why));
    };
    if target::normal(proof.address()?).as_ref() != Some(&called) {
        return Err(Refused::invalid(METHOD, "wrong_address").because(called));
    }
    Ok(())
}

fn seconds(span: std::time::Duration) -> i64 {
    i64::try_from(span.as_secs()).unwrap_or(i64::MAX)
}

/// Whether the token was presented as what it is (RFC 9449, sections 7.1 and 7.2).
pub(super) fn check_scheme(token: &jwt::Token<'_>) -> Result<(), Refused> {
    match (token.holder.dpop, token.with_proof) {
        (Some(_), true) | (None, false) => Ok(()),
        (None, true) => Err(Refused::invalid(METHOD, "not_bound")),
        // A stolen token, presented as one that is not bound to a key.
        (Some(_), false) => Err(Refused::invalid(METHOD, "required")),
    }
}

/// Whether the caller has proven all that the token, or its session, is bound to.
pub(super) fn confirm(bound: &HolderKeys, proven: &HolderKeys) -> Result<(), Refused> {
    if bound.dpop.is_some() && bound.dpop != proven.dpop {
        return Err(Refused::invalid(METHOD, "missing"));
    }
    if bound.certificate.is_some() && bound.certificate != proven.certificate {
        return Err(Refused::invalid(mtls::METHOD, "wrong_certificate"));
    }
    Ok(())
}
