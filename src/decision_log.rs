//! The decision log as an effect owner: its records leave the gateway against a permit to read them.
//!
//! How records are written, chained and found lives in `audit`, which knows no permit; this is the one way to them from
//! outside. Nothing is read without a permit:
//! ```compile_fail,E0061
//! use caxton::{audit::query::Filter, decision_log::DecisionLog};
//! fn read(log: &DecisionLog, filter: &Filter) {
//!     let _ = log.query(filter);
//! }
//! ```

use std::path::PathBuf;

use serde_json::Value as Json;

use crate::audit::query::{Filter, QueryError, query};
use crate::authz::Permit;
use crate::model::ReadAudit;

/// The log of this gateway.
#[derive(Debug, Clone)]
pub struct DecisionLog {
    path: PathBuf,
}

impl DecisionLog {
    /// The log in this file.
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// The newest records that match, oldest first. Reads the file: call it off the async threads.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn query(&self, permit: Permit<ReadAudit>, filter: &Filter) -> Result<Vec<Json>, QueryError> {
        let ReadAudit = permit.into_operation();
        query(&self.path, filter)
    }
}
