//! Policy tests as people write them: `policy-tests/*.test.yaml`, read so strictly that a typo never passes.
//!
//! A test names a request and what has to come out of it. What it leaves out is filled from a neutral default
//! (module `neutral`), so that it states only what matters. Everything it does say is checked against the schema and
//! the policies: unknown keys, entities that are not listed, misspelt actions, types, attributes and policy ids
//! are errors with the line they stand in, not outcomes.

mod error;
mod format;
mod known;
mod matrix;
mod name;
pub(super) mod neutral;
mod statement;
mod typed;
mod world;

pub use error::{CaseError, Located};
pub(super) use format::{Expect, FixtureFile, Request, Search, SuiteFile, TestCase};
pub use known::KnownWorld;
pub(super) use matrix::{Row, rows};
pub(super) use name::{SchemaNames, core_shorthand, shorthand, type_shorthand};
pub(super) use statement::Statement;
pub use statement::{Circumstances, ComparedVersion, Gate, Several};
pub(super) use world::World;
