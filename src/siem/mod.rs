//! Sends the records of the decision log on to receivers: files, syslog, webhooks, SIEMs.
//!
//! Each sink reads the log behind the gateway with a cursor of its own. Every record arrives at least once and in order,
//! or it stands in the sink's file of dead letters, or it is counted as lost; the cursor moves only after the receiver has
//! acknowledged. No decision waits for a sink: a sink shares nothing with the journal but the file that it reads.

mod batch;
mod cursor;
mod dead_letters;
mod delivery;
pub mod export;
pub mod format;
pub mod mask;
mod running;
pub mod settings;
mod sink;

#[cfg(test)]
pub(crate) mod tests;

pub use cursor::{FileCursors, follower_folder};
pub use running::{RunningSinks, SiemError, SinkPorts, Sinks};
pub use settings::Settings;
pub use sink::SinkSetupError;
