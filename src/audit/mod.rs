//! The decision log: every decision is on record before it takes effect.
//!
//! [`Journal::append`] takes a [`Record`] and gives a [`Receipt`] once the record is in the file; the guard
//! needs the receipt to mint a permit, so an effect without a record cannot be written down in this program.
//! Lines are chained by SHA-256, so that [`verify::verify`] finds what was changed, deleted, moved or spliced.
//! `docs/decision-log.md` is the contract with those who read the file.

mod digest;
mod error;
mod escape;
mod file;
mod items;
mod journal;
mod line;
pub mod query;
mod queue;
mod read;
mod record;
pub mod records;
mod recover;
mod redact;
mod refusals;
mod settings;
mod share;
mod syncer;
mod tail;
pub mod verify;
mod writer;

#[cfg(test)]
mod tests;

pub use digest::Digest;
pub use error::{AuditError, Unavailable};
pub use escape::{escape_json, visible};
pub use file::FileFault;
pub use journal::{Journal, Receipt};
pub use line::{LINE_LIMIT, LineFault, SCHEMA_VERSION};
pub use record::{AgentRecord, Item, Record, RecordError, Shadow, SourceRecord, SubjectRecord};
pub use recover::{Recovery, TornLine};
pub use redact::MASK;
pub use settings::{Durability, Settings};
pub use tail::Tail;
