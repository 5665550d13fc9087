//! The trusted core: asks the policies, has the decision recorded, and only then mints the permit.

mod guard;
mod permit;
mod pip;
mod record;
mod session;

pub use guard::{Denied, Guard, GuardParts, Refusal, is_known, know};
pub use permit::{Listing, Permit};
pub use pip::{AttributeSource, Attributes};
pub use session::SessionSettings;
