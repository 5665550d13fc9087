//! Who asks: a requester whose identity has been proven.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{AgentId, Entity, EntityUid, KeyId, RoleName, Value};

/// How the identity was proven; goes into the record, the credential itself never does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proof {
    /// A signed token; `key` is the name of the verifying key.
    Jwt {
        /// Which configured key verified it.
        key: Arc<str>,
        /// The token's `jti`, when it has one.
        jti: Option<Arc<str>>,
    },
    /// An API key.
    ApiKey {
        /// The public part.
        id: KeyId,
    },
    /// A person who has just logged in at the provider; a session comes of it.
    Login {
        /// The key of the provider that signed the ID token.
        key: Arc<str>,
    },
    /// An access token of the gateway's own, made from an API key or from a login.
    Session {
        /// Which session it belongs to.
        id: Arc<str>,
        /// The token's `jti`.
        jti: Arc<str>,
        /// The public part of the key that it was made from; none when a person has logged in.
        key: Option<KeyId>,
    },
    /// A TLS client certificate.
    Certificate {
        /// SHA-256 of the certificate, in hex.
        fingerprint: Arc<str>,
    },
    /// The gateway started this itself: an agent's turn, or its own background work.
    Internal,
}

impl Proof {
    /// `jwt`, `api_key`, `oauth2`, `session`, `mtls` or `internal`.
    pub fn method(&self) -> &'static str {
        match self {
            Self::Jwt { .. } => "jwt",
            Self::ApiKey { .. } => "api_key",
            Self::Login { .. } => "oauth2",
            Self::Session { .. } => "session",
            Self::Certificate { .. } => "mtls",
            Self::Internal => "internal",
        }
    }
}

/// A party that a token was delegated to (RFC 8693, section 4.1), as its issuer names it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Delegate {
    /// The issuer in whose names it stands.
    pub issuer: Arc<str>,
    /// Its name there.
    pub subject: Arc<str>,
}

impl Delegate {
    /// The id that it has as a `Caxton::User`.
    pub fn id(&self) -> String {
        format!("{}|{}", self.issuer, self.subject)
    }

    /// The principal that it would be, if it called by itself.
    pub fn uid(&self) -> EntityUid {
        EntityUid::caxton("User", self.id())
    }
}

/// An authenticated requester, with its Cedar entity.
///
/// For an agent the entity here is bare: what the agent is stands in the register of deployed agents, and
/// the guard takes it from there, so that a key cannot say more about an agent than its definition does.
#[derive(Debug, Clone)]
pub struct Subject {
    entity: Arc<Entity>,
    proof: Proof,
    delegation: Arc<[Delegate]>,
}

impl Subject {
    fn of(entity: Entity, proof: Proof) -> Self {
        Self { entity: entity.into(), proof, delegation: Arc::default() }
    }

    /// The same, where others act for it: the one that acts now first, then those before.
    pub fn delegated_to(self, delegation: impl Into<Arc<[Delegate]>>) -> Self {
        Self { delegation: delegation.into(), ..self }
    }

    /// A person: `issuer` and `subject` of the token that proved it.
    ///
    /// The entity id is `<issuer>|<subject>`, so that two issuers can never name the same user.
    pub fn user(
        issuer: &str,
        subject: &str,
        email: Option<&str>,
        roles: impl IntoIterator<Item = RoleName>,
        groups: impl IntoIterator<Item = Arc<str>>,
        claims: impl IntoIterator<Item = (Arc<str>, BTreeSet<Arc<str>>)>,
        proof: Proof,
    ) -> Self {
        let uid = EntityUid::caxton("User", format!("{issuer}|{subject}"));
        let mut entity = Entity::bare(uid)
            .with("id", Value::text(subject))
            .with("issuer", Value::text(issuer))
            .with_some("email", email.map(Value::text));
        entity.parents.extend(roles.into_iter().map(|role| EntityUid::caxton("Role", role.shared())));
        entity.parents.extend(groups.into_iter().map(|group| EntityUid::caxton("Group", group)));
        for (name, values) in claims {
            entity.tags.insert(name.as_ref().into(), Value::texts(values));
        }
        Self::of(entity, proof)
    }

    /// A program with an API key of its own. Instants are milliseconds since the Unix epoch.
    pub fn service(
        name: &str,
        key: &KeyId,
        roles: impl IntoIterator<Item = RoleName>,
        permissions: impl IntoIterator<Item = Arc<str>>,
        created: i64,
        expires: i64,
        proof: Proof,
    ) -> Self {
        let mut entity = Entity::bare(EntityUid::caxton("Service", name))
            .with("name", Value::text(name))
            .with("key_id", Value::text(key.as_str()))
            .with("permissions", Value::texts(permissions))
            .with("created", Value::Datetime(created))
            .with("expires", Value::Datetime(expires));
        entity.parents.extend(roles.into_iter().map(|role| EntityUid::caxton("Role", role.shared())));
        Self::of(entity, proof)
    }

    /// The holder of a TLS client certificate, by the name `id` that the certificate gives it; `fingerprint` is its
    /// SHA-256 in hex.
    pub fn workload(
        id: &str,
        names: impl IntoIterator<Item = Arc<str>>,
        issuer: &str,
        fingerprint: &str,
    ) -> Self {
        let entity = Entity::bare(EntityUid::caxton("Workload", id))
            .with("san", Value::texts(names))
            .with("issuer_dn", Value::text(issuer))
            .with("fingerprint", Value::text(fingerprint));
        Self::of(entity, Proof::Certificate { fingerprint: fingerprint.into() })
    }

    /// A deployed agent.
    pub fn agent(id: &AgentId, proof: Proof) -> Self {
        Self::of(Entity::bare(EntityUid::caxton("Agent", id.shared())), proof)
    }

    /// A subject for tests that need any.
    #[cfg(test)]
    pub(crate) fn for_test() -> Self {
        Self::of(Entity::bare(EntityUid::caxton("System", "gateway")), Proof::Internal)
    }

    /// The Cedar principal's name.
    pub fn principal(&self) -> &EntityUid {
        &self.entity.uid
    }

    /// The principal as far as the credential describes it.
    pub fn entity(&self) -> &Arc<Entity> {
        &self.entity
    }

    /// Those that act for it by a delegated token: the one that acts now first, then those before. Empty as a rule.
    pub fn delegation(&self) -> &Arc<[Delegate]> {
        &self.delegation
    }

    /// How it was proven.
    pub fn proof(&self) -> &Proof {
        &self.proof
    }

    /// The agent, when the principal is one.
    pub fn as_agent(&self) -> Option<AgentId> {
        (self.entity.uid.base_type() == "Agent").then(|| AgentId::parse(self.entity.uid.id()).ok()).flatten()
    }
}
