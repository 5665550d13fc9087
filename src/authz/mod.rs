//! The trusted core: asks the policies, has the decision recorded, and only then mints the permit.

mod context;
mod decide;
mod evaluate;
mod guard;
mod list;
mod pending;
mod permit;
mod pip;
mod record;
mod refusal;
mod screening;
mod shared;
mod signals;
#[cfg(test)]
mod tests;

pub use decide::resolve_entities;
pub use guard::{Guard, GuardParts};
pub use permit::{AdmittedList, Permit};
pub use pip::{AttributeSource, KnownAttributes};
pub use refusal::{Denied, Refusal};
