//! Policy: what may be done, written in Cedar, checked before it goes live, decided in microseconds.
//!
//! A [`Bundle`] is loaded from [`Sources`] as a whole or refused as a whole. [`Bundle::decide`] answers a
//! [`Query`] with a [`Verdict`]: deny by default, forbid wins, and what cannot be decided (an error in a
//! forbid, a request that does not fit the schema) is denied. No type of the policy language leaves this
//! module.

pub(crate) mod engine;
pub mod live;
pub(crate) mod set;
pub mod shadow;
pub mod version;

#[cfg(test)]
mod tests;

pub use engine::closure::close;
pub use engine::coerce::{Completeness, TypeFault};
pub use engine::compiled::Effect;
pub use engine::json::{CedarAnswer, EntityCheck, JsonEntities, JsonNames, JsonQuery, RequestJsonError};
pub use engine::reachability::{Reachable, Side};
pub use engine::request::Query;
pub use engine::undeclared::{UndeclaredError, UndeclaredValues};
pub use engine::verdict::{PolicyFault, Verdict};
pub use set::annotations::PolicyAnnotations;
pub use set::bundle::Bundle;
pub use set::error::{PolicyError, PolicyErrors, PolicyProblem, SourcePosition};
pub use set::load::PolicyInfo;
pub use set::roles::RolesError;
pub use set::settings::{Limits, OnPolicyError, Settings};
pub use set::source::{Link, Source, SourceKind, Sources};

/// The version of the policy language, `4.6.0`.
pub fn language_version() -> String {
    cedar_policy::get_lang_version().to_string()
}
