//! The trusted core: asks the policies, has the decision recorded, and only then mints the permit.

mod permit;

pub use permit::Permit;
