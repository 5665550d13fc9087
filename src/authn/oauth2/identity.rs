//! Who has logged in: by an ID token, or, at a provider that speaks OAuth 2.0 alone, by what its userinfo endpoint says.
//!
//! Without an ID token the access token is all that the gateway holds of a login. It came from the provider's token endpoint, for
//! our code and our proof key (RFC 7636), so it is for this person; the endpoint then names the person. An answer that is none,
//! or names nobody, ends the login.

use std::sync::Arc;

use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;

use super::METHOD;
use crate::authn::LoggedIn;
use crate::authn::jwt::parts::{Expected, IdTokens, OF_TOKEN, read};
use crate::authn::scheme::Refused;
use crate::clock::SharedClock;
use crate::model::Proof;

/// How a provider says who a person is.
pub(super) enum Identity {
    /// In an ID token (OpenID Connect).
    IdToken(IdTokens),
    /// At its userinfo endpoint alone.
    Userinfo(UserinfoIdentity),
}

impl Identity {
    /// Keeps what proves the person fresh until `stop`.
    pub(super) async fn follow_keys(&self, stop: &CancellationToken) {
        match self {
            Self::IdToken(tokens) => tokens.follow_keys(stop).await,
            Self::Userinfo(_) => {}
        }
    }

    /// Whether people can log in now, for the operator.
    pub(super) fn status(&self) -> (bool, String) {
        match self {
            Self::IdToken(tokens) => tokens.status(),
            Self::Userinfo(named) => {
                (true, format!("`userinfo_endpoint` of `{}` names the person", named.expected.issuer))
            }
        }
    }
}

/// Claims that only a token can state, and that say nothing of a person.
const OF_CREDENTIAL: [&str; 2] = ["act", "cnf"];

/// Reads the answer of a userinfo endpoint.
pub(super) struct UserinfoIdentity {
    /// The field that has the person's id.
    subject: String,
    expected: Expected,
    clock: SharedClock,
}

impl UserinfoIdentity {
    pub(super) fn new(issuer: &str, client: &str, subject: &str, clock: SharedClock) -> Self {
        let expected = Expected {
            issuer: issuer.into(),
            audience: client.into(),
            resources: Vec::new(),
            leeway_seconds: 0,
            delegated: false,
        };
        Self { subject: subject.to_owned(), expected, clock }
    }

    /// The person that the answer names, whose fields become roles, groups and tags as claims of a token do.
    pub(super) fn person(&self, told: Map<String, Value>) -> Result<LoggedIn, Refused> {
        let no_subject = || {
            let detail = format!("`{}` of the answer is no text and no whole number", self.subject);
            Refused::invalid(METHOD, "no_subject").because(detail)
        };
        let subject = match told.get(&self.subject) {
            Some(Value::String(text)) if !text.is_empty() => text.clone(),
            // Providers before OpenID number their people.
            Some(Value::Number(number)) if number.is_u64() => number.to_string(),
            _ => return Err(no_subject()),
        };
        let of_person = |(name, value): &(String, Value)| {
            let name = name.as_str();
            // What is null was not said.
            !OF_TOKEN.contains(&name) && !OF_CREDENTIAL.contains(&name) && !value.is_null()
        };
        let mut claims: Map<String, Value> = told.into_iter().filter(of_person).collect();
        // In place of what a token would say of itself: it has just come, for us.
        let now = self.clock.now_seconds();
        let own = [
            ("iss", Value::from(self.expected.issuer.as_ref())),
            ("aud", Value::from(self.expected.audience.as_ref())),
            ("sub", Value::from(subject)),
            ("exp", Value::from(now)),
        ];
        claims.extend(own.map(|(name, value)| (name.to_owned(), value)));
        let payload = Value::Object(claims).to_string();
        let read = read(payload.as_bytes(), &self.expected)
            .map_err(|error| Refused::invalid(METHOD, error.reason()).because(error))?;
        let person = read.into_person(&self.expected.issuer);
        let subject = Arc::new(person.to_subject(Proof::Login { key: "userinfo".into() }));
        Ok(LoggedIn { subject, person, at_millis: self.clock.now_millis() })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::clock::ManualClock;

    fn named(subject: &str, told: Value) -> Result<LoggedIn, Refused> {
        let clock = Arc::new(ManualClock::at_millis(1_768_039_200_000));
        let identity = UserinfoIdentity::new("https://login.example", "caxton", subject, clock);
        identity.person(told.as_object().unwrap().clone())
    }

    #[test]
    fn a_person_is_named_by_one_field_that_is_text_or_a_whole_number() {
        for (subject, told, id) in [
            ("sub", json!({ "sub": "vera" }), "https://login.example|vera"),
            (
                "id",
                json!({ "id": 583_231, "login": "octocat", "email": null }),
                "https://login.example|583231",
            ),
        ] {
            assert_eq!(named(subject, told).unwrap().subject.principal().id(), id);
        }
        for told in [
            json!({}),
            json!({ "sub": null }),
            json!({ "sub": "" }),
            json!({ "sub": true }),
            json!({ "sub": -1 }),
            json!({ "sub": 1.5 }),
            json!({ "sub": ["vera"] }),
            json!({ "sub": { "id": "vera" } }),
            json!({ "id": "vera" }),
        ] {
            assert_eq!(named("sub", told.clone()).unwrap_err().reason, "no_subject", "{told}");
        }
        for told in [json!({ "sub": "ve\u{200b}ra" }), json!({ "sub": "x".repeat(257) })] {
            assert_eq!(named("sub", told).unwrap_err().reason, "claim_value");
        }
    }

    #[test]
    fn what_only_a_token_can_say_is_not_taken_from_the_answer() {
        let told = json!({
            "sub": "vera", "iss": "https://evil.example", "aud": "other", "exp": 0, "cnf": { "jkt": "x" },
            "act": { "sub": "mallory" }, "roles": ["viewer"], "groups": ["/eng"], "plan": { "name": "pro" },
            "company": "acme", "site_admin": false,
        });
        let person = named("sub", told).unwrap();
        let entity = person.subject.entity();
        assert_eq!(entity.uid.id(), "https://login.example|vera");
        let mut parents: Vec<String> = entity.parents.iter().map(ToString::to_string).collect();
        parents.sort();
        assert_eq!(parents, ["Caxton::Group::\"/eng\"", "Caxton::Role::\"viewer\""]);
        assert!(person.subject.delegation().is_empty());
    }
}
