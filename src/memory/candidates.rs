//! Rows that a search or a list found, with their content locked until each has a permit of its own.
//!
//! The content cannot be reached but through [`Candidates::release`]:
//! ```compile_fail,E0616
//! fn peek(candidates: caxton::memory::Candidates) -> usize {
//!     candidates.locked.len()
//! }
//! ```

use std::fmt;

use super::view::{EntityView, MemoryItem, same_row};
use crate::authz::Permit;
use crate::model::{MemoryRow, ReadMemory};

/// The rows that were found, best first. Only their attributes are accessible.
pub struct Candidates<V = EntityView> {
    locked: Vec<V>,
}

impl<V: MemoryItem> Candidates<V> {
    pub(super) fn new(found: Vec<V>) -> Self {
        Self { locked: found }
    }

    /// How many were found.
    pub fn len(&self) -> usize {
        self.locked.len()
    }

    /// Whether nothing was found.
    pub fn is_empty(&self) -> bool {
        self.locked.is_empty()
    }

    /// Each row as policies see it, in the order found.
    pub fn rows(&self) -> Vec<MemoryRow> {
        self.locked.iter().map(MemoryItem::row).collect()
    }

    /// One operation for each row, to be judged by itself.
    pub fn operations(&self) -> Vec<ReadMemory> {
        self.locked.iter().map(|view| ReadMemory { row: view.row() }).collect()
    }

    /// The content of the rows that have a permit, in the order found.
    ///
    /// A permit for a row that was not found, or that was judged with other attributes, releases nothing.
    pub fn release(self, permits: Vec<Permit<ReadMemory>>) -> Vec<V> {
        let allowed: Vec<MemoryRow> = permits.into_iter().map(|permit| permit.into_operation().row).collect();
        let may = |view: &V| {
            let row = view.row();
            allowed.iter().any(|judged| same_row(judged, &row))
        };
        self.locked.into_iter().filter(may).collect()
    }
}

/// Says how many, never what.
impl<V> fmt::Debug for Candidates<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Candidates").field("locked", &self.locked.len()).finish()
    }
}
