//! The decision log: every decision is on record before it takes effect.
//!
//! [`Journal::append`] takes a [`Record`] and gives a [`Receipt`] once the record is in the file; the guard
//! needs the receipt to mint a permit, so an effect without a record cannot be written down in this program.
//! Lines are chained by SHA-256, so that [`verify::verify`] finds what was changed, deleted, moved or spliced.
//! `docs/decision-log.md` is the contract for readers of the file.

mod application;
mod checkpoint;
mod digest;
mod error;
mod escape;
mod file;
pub mod follow;
mod fsync_thread;
pub mod index;
mod items;
mod journal;
mod keeper;
mod line;
mod line_reader;
mod note;
mod principal_shares;
mod proof;
pub mod prove;
pub mod query;
mod queue;
mod record;
pub mod record_reader;
mod recover;
mod redact;
mod refusals;
mod scan;
mod seal;
mod segments;
mod settings;
mod tail;
mod tree;
mod tree_state;
pub mod verify;
mod writer;

#[cfg(test)]
mod tests;

pub use application::{
    ApplicationEvent, ApplicationEvent as SecurityEvent, ApplicationEventError, AuditLog, DataProcessing,
    LegalBasis,
};
pub use checkpoint::Checkpoint;
pub use digest::Digest;
pub use error::{AuditError, JournalFault};
pub use escape::{escape_json, visible};
pub use file::FileFault;
pub use journal::{Journal, Receipt};
pub use keeper::{Keeper, KeeperEvent};
pub use line::{LINE_LIMIT, LineFault, SCHEMA_VERSION};
pub use note::{NoteError, NoteVerifier};
pub use proof::{ConsistencyProof, InclusionProof, LogProof, ProofError};
pub use record::{AgentRecord, Item, Record, RecordError, Shadow, SourceRecord, SubjectRecord};
pub use recover::{Recovery, TornLine};
pub use redact::MASK;
pub use seal::{Seal, SealCause, SealFault};
pub use segments::{Segment, segment_folder, segments};
pub use settings::{Durability, Settings};
pub use tail::tail;
pub use tree_state::{TreeFault, checkpoint_file, public_key_file, signed_checkpoint};
