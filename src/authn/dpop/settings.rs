//! What the operator says about proofs of possession.

use std::time::Duration;

use crate::authn::jwt::JwtAlgorithm;

/// Which proofs are accepted.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Algorithms that a proof may be signed with. Default `ES256`, `EdDSA`, `RS256`; `HS256` never counts.
    pub algorithms: Vec<JwtAlgorithm>,
    /// How old a proof may be; whole seconds. Default 60 s.
    pub max_age: Duration,
    /// How far ahead the clock of a client may be; whole seconds. Default 5 s.
    pub leeway: Duration,
    /// Whether each proof must hold a value that this gateway has given out. Default no.
    pub require_nonce: bool,
    /// How long such a value counts; whole seconds. Default 5 minutes.
    pub nonce_lifetime: Duration,
    /// Proofs that are remembered while they could be used again; when they are too many, more are answered with 503.
    /// Default 100,000.
    pub max_proofs: usize,
    /// The same for one principal, so that none can shut the others out. Default 10,000.
    pub max_proofs_per_principal: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            algorithms: vec![JwtAlgorithm::Es256, JwtAlgorithm::EdDsa, JwtAlgorithm::Rs256],
            max_age: Duration::from_secs(60),
            leeway: Duration::from_secs(5),
            require_nonce: false,
            nonce_lifetime: Duration::from_secs(300),
            max_proofs: 100_000,
            max_proofs_per_principal: 10_000,
        }
    }
}
