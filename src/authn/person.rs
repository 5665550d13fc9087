//! A person as an issuer describes them: what the claims of a token come to, and what a session keeps of a login.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::model::{Proof, RoleName, Subject};

/// Claims of a proven token, read. The same issuer and `sub` are the same principal, whichever token said so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Person {
    pub(super) issuer: String,
    pub(super) subject: String,
    pub(super) email: Option<String>,
    pub(super) roles: BTreeSet<RoleName>,
    pub(super) groups: BTreeSet<String>,
    pub(super) tags: BTreeMap<String, BTreeSet<String>>,
}

impl Person {
    /// `sub` of the token.
    pub fn name(&self) -> &str {
        &self.subject
    }

    /// The principal, proven as `proof` says.
    pub(super) fn to_subject(&self, proof: Proof) -> Subject {
        let shared = |text: &String| Arc::from(text.as_str());
        let tags = self.tags.iter().map(|(name, values)| (shared(name), values.iter().map(shared).collect()));
        let roles = self.roles.iter().cloned();
        let groups = self.groups.iter().map(shared);
        Subject::user(&self.issuer, &self.subject, self.email.as_deref(), roles, groups, tags, proof)
    }
}

/// A person whom the provider has just authenticated.
#[derive(Debug, Clone)]
pub struct LoggedIn {
    /// The principal.
    pub subject: Arc<Subject>,
    /// The claims that a session keeps.
    pub person: Person,
    /// When that was, in milliseconds since the Unix epoch.
    pub at_millis: i64,
}
