//! What may be used once: proofs of possession (RFC 9449, section 11.1).

use super::PortFuture;

/// SHA-256 over what makes a proof unique: its key and its `jti`.
pub type ProofId = [u8; 32];

/// Why a proof does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotFresh {
    /// It was used before.
    Used,
    /// There are too many, of this principal or of all.
    Full,
}

/// Proofs that were used and could be used again.
///
/// Taking is atomic: of several requests with one proof at the same time, one is let through. A proof is forgotten only
/// when its time is over: where there is no room, a proof is refused, because a table that forgot early would admit an
/// attacker who first fills it.
pub trait ReplayTable: Send + Sync + 'static {
    /// Remembers a proof that could be used until the second `end`. Instants are seconds since the Unix epoch.
    fn take<'a>(
        &'a self,
        proof: ProofId,
        principal: &'a str,
        end: i64,
        now: i64,
    ) -> PortFuture<'a, Result<(), NotFresh>>;
}
