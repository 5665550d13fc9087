//! Policy: what may be done, written in Cedar, checked before it goes live, decided in microseconds.
//!
//! A [`Bundle`] is loaded from [`Sources`] as a whole or refused as a whole. [`Bundle::decide`] answers a
//! [`Query`] with a [`Verdict`]: deny by default, forbid wins, and what cannot be decided (an error in a
//! forbid, a request that does not fit the schema) is denied. No type of the policy language leaves this
//! module.

mod anatomy;
mod annotations;
pub mod bench;
mod bundle;
pub mod case;
mod closure;
mod conflict;
pub mod coverage;
mod depth;
pub mod diagnostics;
pub mod diff;
pub mod editor;
mod error;
mod evaluate;
pub mod explain;
mod extension;
pub mod format;
pub mod import;
mod index;
mod json;
mod kin;
pub mod lint;
pub mod live;
mod load;
pub mod matrix;
pub mod mutate;
mod narrow;
mod part;
mod program;
pub mod prove;
pub mod replay;
mod request;
mod roles;
pub mod run;
mod settings;
pub mod shadow;
mod shape;
mod shipped;
mod sight;
mod source;
mod standing;
mod typed;
mod verdict;
pub mod version;
mod vocabulary;
pub mod workbench;

#[cfg(test)]
mod tests;

pub use annotations::Annotations;
pub use bundle::Bundle;
pub use closure::close;
pub use error::{PolicyError, PolicyErrors, Position, Problem};
pub use json::{CedarAnswer, Check, JsonEntities, JsonError, JsonNames, JsonQuery};
pub use load::PolicyInfo;
pub use narrow::{Reachable, Side};
pub use program::Effect;
pub use request::Query;
pub use roles::RolesError;
pub use settings::{Limits, OnPolicyError, Settings};
pub use source::{Link, Source, SourceKind, Sources};
pub use typed::{Completeness, TypeFault};
pub use verdict::{PolicyFault, Verdict};

/// The version of the policy language, `4.6.0`.
pub fn language_version() -> String {
    cedar_policy::get_lang_version().to_string()
}
