//! The trusted core: asks the policies, has the decision recorded, and only then mints the permit.

mod guard;
mod look;
mod permit;
mod pip;
mod record;
mod refusal;
mod session;

pub use guard::{Guard, GuardParts, know};
pub use permit::{Listing, Permit};
pub use pip::{AttributeSource, Attributes};
pub use refusal::{Denied, Refusal};
pub use session::{Labels, SessionSettings};
