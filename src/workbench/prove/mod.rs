//! Proof: statements that hold for every request there can be, not only for those that a test asks.
//!
//! Policies and statement become one formula for each request environment (an action with the types of principal and
//! resource), and a solver looks for a request that speaks against the statement. If it finds none there is none. If it
//! finds one, the request is evaluated as the gateway would, and only then shown. Anything else (no solver, no
//! answer in time, a request that does not hold up) is *not proven*, never a pass.
//!
//! The rules are the gateway's, not just Cedar's: policies in `log_only` mode do not decide, and a `forbid` that cannot
//! be evaluated denies.

mod circumstances;
mod claim;
mod compare;
mod decisions;
mod errors;
mod needless;
pub(super) mod paste;
mod settings;
mod shrink;
mod solver;
mod space;
mod stated;
pub(super) mod witness;

pub use circumstances::CircumstancesError;
use claim::Kind;
pub use claim::{Claim, Needless, Open, ProofResult, ProofVerdict};
pub use settings::Settings;
pub(super) use solver::{Answer, Session};
pub use solver::{Solver, SolverError};
pub(super) use space::{Environment, Rule, relevant, together};
pub use stated::{Stated, StatedError, VersionName, stated};
pub use witness::{Counterexample, Decided, names_in_tests};

pub use super::case::{Circumstances, Several};

use crate::policy::Bundle;

/// What is told while a proof is sought: first the number of steps, with `false`, then each step, with `true`.
pub type Step<'s> = &'s (dyn Fn(usize, bool) + Sync);

/// Seeks a proof that `claim` holds for the policies of `bundle`, on all threads that the settings allow.
pub fn prove(bundle: &Bundle, claim: &Claim, solver: &Solver, step: Step<'_>) -> ProofResult {
    let proof = match &claim.kind {
        Kind::NeverErrors(only) => errors::prove(bundle, &claim.words, only, solver, step),
        Kind::Decisions { relation, other, named, except } => {
            let pair = decisions::Pair { bundle, other, named, relation: *relation, except };
            pair.prove(&claim.words, solver, step)
        }
        Kind::NoneNeedless => needless::prove(bundle, &claim.words, solver, step),
    };
    ProofResult { place: claim.place.clone(), ..proof }
}
