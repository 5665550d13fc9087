//! What the gateway says about a caller to an authorization server that takes its word (RFC 8693, RFC 7521).
//!
//! It stands in the place of the caller's own credential, which is for the gateway and never leaves it. It names one
//! audience, counts for a minute, and opens nothing here: own access tokens have another `typ`.

use serde_json::{Map, Value, json};

use super::Tokens;
use crate::authn::AuthnError;
use crate::authn::api_key::random_text;
use crate::model::{Delegate, Subject, Value as Attribute};
use crate::secret::Secret;

/// How long an assertion counts, in seconds.
const ASSERTION_SECONDS: i64 = 60;
const JTI_LENGTH: usize = 22;

impl Tokens {
    /// A signed statement that the caller is `subject`, for `audience`. Reads the store and the key's file.
    ///
    /// `sub` is the principal as policies name it, so that no two kinds of callers share a name. For a person `sub_id`
    /// has the issuer and the name there (RFC 9493, section 3.2.4).
    pub fn assertion(&self, subject: &Subject, audience: &str) -> Result<Secret<String>, AuthnError> {
        let now = self.clock.now_millis().div_euclid(1000);
        let own = [
            ("iss", json!(&*self.settings.issuer)),
            ("aud", json!(audience)),
            ("sub", json!(subject.principal().to_string())),
            ("iat", json!(now)),
            ("exp", json!(now.saturating_add(ASSERTION_SECONDS))),
            ("jti", json!(random_text(JTI_LENGTH)?)),
        ];
        let mut claims: Map<String, Value> =
            own.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let attributes = &subject.entity().attributes;
        let text = |name: &str| match attributes.get(name) {
            Some(Attribute::String(text)) => Some(text.to_string()),
            _ => None,
        };
        if let (Some(issuer), Some(name)) = (text("issuer"), text("id")) {
            let id = json!({ "format": "iss_sub", "iss": issuer, "sub": name });
            claims.insert("sub_id".to_owned(), id);
        }
        // Without them the token that comes of it would be worth more than what was presented.
        claims.extend(actors(subject.delegation()).map(|actor| ("act".to_owned(), actor)));
        self.signing.sign(&*self.store, "JWT", claims)
    }
}

/// A chain of delegation as `act` (RFC 8693, section 4.1).
fn actors(chain: &[Delegate]) -> Option<Value> {
    chain.iter().rev().fold(None, |before, delegate| {
        let mut actor = json!({ "iss": &*delegate.issuer, "sub": &*delegate.subject });
        if let (Some(before), Some(actor)) = (before, actor.as_object_mut()) {
            actor.insert("act".to_owned(), before);
        }
        Some(actor)
    })
}
